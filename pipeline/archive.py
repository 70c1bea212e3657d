"""Sealed recordings in an object store: put there, brought back, compared. `recordings/<id>/` there holds the same files as here.

A recording's data is sent first and its manifest, which says every file's digest, last: without `recording.json` there is no
recording. Each file's digest is taken of the very bytes that are sent or received. Nothing is deleted or replaced on either side.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.building import building_folder
from pipeline.errors import PipelineError
from pipeline.files import free_bytes, sync_folder, write_atomic
from pipeline.manifest import FileDigest
from pipeline.object_store import PART_BYTES, ObjectStore
from pipeline.recording import Recording, open_recording, recording_folder, recording_ids, recordings_folder
from pipeline.sealing import PICTURES, make_read_only
from pipeline.settings import read_rig
from pipeline.stored_manifest import FOLDER, MANIFEST, stored_manifest

Where = Literal["here", "there", "both", "differs", "half there"]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Upload:
    """What an upload did: bytes that were sent, files sent, and files that were there already."""

    recording: str
    sent_bytes: int
    sent: tuple[str, ...]
    there: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    """Where a recording is; `stored_bytes` are those in the store, `problem` says what differs or is missing there."""

    id: str
    where: Where
    stored_bytes: int
    problem: str | None = None


def upload(
    root: Path,
    recording_id: str,
    store: ObjectStore,
    *,
    read_back: bool = False,
    on_progress: OnProgress | None = None,
) -> Upload:
    """Put a sealed recording into the store; what is there with its size and digest is not sent again.

    `read_back` reads everything from the store again afterwards and digests it. `on_progress` gets bytes done and bytes in all.
    Raises PipelineError where the recording is not sealed or holds pictures that are to go, a file is not what was sealed, or the
    store holds another recording or file of the name.
    """
    recording = open_recording(root, recording_id)
    if problem := not_for_upload(recording):
        raise PipelineError(problem)
    data, digests = (recording.folder / MANIFEST).read_bytes(), recording.manifest.digests
    base = f"{FOLDER}/{recording_id}"
    sizes = store.sizes(base)
    if f"{base}/{MANIFEST}" in sizes:
        _refuse_another(store, recording, data)
    moved = _counter(on_progress, sum(one.bytes for one in digests.values()) * (2 if read_back else 1))
    sent, there = [], []
    for name, digest in digests.items():
        key = f"{base}/{name}"
        if key not in sizes:
            store.write(key, _sealed_pieces(recording, name, digest, moved), digest.bytes, digest.sha256)
            sent.append(name)
        elif _is_stored(store, key, sizes[key], digest):
            moved(digest.bytes)
            there.append(name)
        else:
            raise PipelineError(
                f"The store {store.address} holds another {key} than this recording's; nothing was replaced: find out whose "
                "it is, and move it away by hand."
            )
    store.settle()
    if lost := _lacking(digests, store.sizes(base), base):
        raise PipelineError(f"The store {store.address} took {recording_id} and lacks some of it: {lost}; start again.")
    if read_back:
        for name, digest in digests.items():
            for _ in _stored_pieces(store, f"{base}/{name}", digest, moved):
                pass
    if not store.create(f"{base}/{MANIFEST}", data, hashlib.sha256(data).hexdigest()):
        _refuse_another(store, recording, data)
    return Upload(recording_id, sum(digests[name].bytes for name in sent), tuple(sent), tuple(there))


def not_for_upload(recording: Recording) -> str:
    """Why a recording is not to be sent now, in a sentence; empty where it may be."""
    manifest = recording.manifest
    if not recording.sealed:
        return f"{recording.id} is not sealed, and only sealed ones are uploaded; wait for its end or run `maepose recover`."
    pictures = [name for name in PICTURES if name in manifest.digests]
    if manifest.camera is not None and manifest.camera.privacy == "skeleton-only" and pictures:
        return (
            f"{recording.id} is to keep no pictures (skeleton-only) and still has {' and '.join(pictures)}; "
            f"`maepose label {recording.id}` deletes them once its labels pass, then it can be uploaded."
        )
    return ""


def fetch(root: Path, recording_id: str, store: ObjectStore, on_progress: OnProgress | None = None) -> Recording:
    """Bring a recording back from the store; it gets its name once every digest has been checked. Nothing to do where it is here.

    Raises PipelineError where the store has none, another one of its name is here, bytes differ from their digests, or the disk
    has no room (what `reserve_bytes` of `rig.toml` keeps for recordings counts as taken).
    """
    folder, base = recording_folder(root, recording_id), f"{FOLDER}/{recording_id}"
    sizes = store.sizes(base)
    if f"{base}/{MANIFEST}" not in sizes:
        raise PipelineError(
            f"The store {store.address} has {'only a part' if sizes else 'nothing'} of {recording_id}; "
            "`maepose list --store` names what it has."
        )
    data = store.read(f"{base}/{MANIFEST}")
    manifest = stored_manifest(store, recording_id, data, store.said_digest(f"{base}/{MANIFEST}"))
    if folder.exists():
        if _bytes_of(folder / MANIFEST) == data:
            return open_recording(root, recording_id)
        raise PipelineError(
            f"{recording_id} in the store is not the {recording_id} that is here; nothing was replaced: move {folder} away to "
            "fetch the other."
        )
    if lost := _lacking(manifest.digests, sizes, base):
        raise PipelineError(
            f"{recording_id} in the store {store.address} is not whole any more: {lost}; nothing was fetched."
        )
    total = sum(one.bytes for one in manifest.digests.values())
    room = max(0, free_bytes(folder) - read_rig(root).reserve_bytes)
    if total > room:
        raise PipelineError(
            f"{recording_id} has {total:,} bytes, and {root} has room for {room:,} beside the reserve of rig.toml; make room "
            "and fetch it again."
        )
    moved = _counter(on_progress, total)
    with building_folder(root, recording_id) as building:
        for name, digest in manifest.digests.items():
            path = building / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                for piece in _stored_pieces(store, f"{base}/{name}", digest, moved):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(path.parent)
        write_atomic(building / MANIFEST, data)
        make_read_only(building)
    sync_folder(folder.parent)
    return open_recording(root, recording_id)


def standings(root: Path, store: ObjectStore) -> list[Standing]:
    """Where every recording is that is here or in the store, by id. Sizes and manifests are compared, no data is read."""
    stored: dict[str, dict[str, int]] = {}
    for key, size in store.sizes(FOLDER).items():
        parts = key.split("/", 2)
        if len(parts) == 3:
            stored.setdefault(parts[1], {})[key] = size
    local = set(recording_ids(root))

    def stand(recording_id: str) -> Standing:
        sizes, base = stored.get(recording_id, {}), f"{FOLDER}/{recording_id}"
        total = sum(sizes.values())
        if f"{base}/{MANIFEST}" not in sizes:
            where: Where = "half there" if sizes else "here"
            return Standing(recording_id, where, total, "its upload was not finished" if sizes else None)
        data = store.read(f"{base}/{MANIFEST}")
        try:
            problem = _lacking(stored_manifest(store, recording_id, data, None).digests, sizes, base)
        except PipelineError as error:
            problem = str(error)
        if recording_id in local and _bytes_of(recordings_folder(root) / recording_id / MANIFEST) != data:
            problem = "the recordings of this name here and there are two"
        where = ("differs" if problem else "both") if recording_id in local else "there"
        return Standing(recording_id, where, total, problem or None)

    with ThreadPoolExecutor(8) as pool:  # a small object each, and a store far away answers each late
        return list(pool.map(stand, sorted({*stored, *local})))


def _refuse_another(store: ObjectStore, recording: Recording, data: bytes) -> None:
    """PipelineError where the manifest in the store is not `data`, this recording's."""
    key = f"{FOLDER}/{recording.id}/{MANIFEST}"
    stored = store.read(key)
    if stored == data:
        return
    ours = recording.manifest
    theirs = stored_manifest(store, recording.id, stored, None)
    gone = sorted(set(ours.removed) & set(theirs.digests))
    if gone and ours.digests | ours.removed == theirs.digests | theirs.removed:
        raise PipelineError(
            f"{recording.id} was uploaded before its {' and '.join(gone)} were deleted here; delete them and {key} in the store "
            f"{store.address} by hand, then upload again."
        )
    raise PipelineError(
        f"The store {store.address} holds another recording of the name {recording.id}; nothing was replaced, for recordings "
        "are never overwritten."
    )


def _lacking(digests: Mapping[str, FileDigest], sizes: Mapping[str, int], base: str) -> str:
    """What a store lacks of a recording by names and sizes, in words; empty where it has all of it."""
    return ", ".join(
        f"{name} has {sizes[f'{base}/{name}']} bytes, sealed with {digest.bytes}"
        if f"{base}/{name}" in sizes
        else f"{name} is gone"
        for name, digest in digests.items()
        if sizes.get(f"{base}/{name}") != digest.bytes
    )


def _is_stored(store: ObjectStore, key: str, size: int, digest: FileDigest) -> bool:
    """True where an object is the sealed file: by the digest it was written with, or by its bytes where it has none."""
    if size != digest.bytes:
        return False
    said = store.said_digest(key)
    if said is None:
        found = hashlib.sha256()
        for piece in store.pieces(key, size):
            found.update(piece)
        said = found.hexdigest()
    return said == digest.sha256


def _sealed_pieces(
    recording: Recording, name: str, digest: FileDigest, moved: Callable[[int], None]
) -> Iterator[bytes]:
    """A file's bytes as they are sent; PipelineError before the last of them counts where they are not what was sealed."""
    found, size = hashlib.sha256(), 0
    try:
        with (recording.folder / name).open("rb") as file:
            while piece := file.read(PART_BYTES):
                found.update(piece)
                size += len(piece)
                moved(len(piece))
                yield piece
    except OSError as error:
        raise PipelineError(f"{recording.folder / name} cannot be read: {error.strerror}.") from error
    if size != digest.bytes or found.hexdigest() != digest.sha256:
        raise PipelineError(
            f"{name} of {recording.id} is not the file that was sealed: its SHA-256 differs; it was not uploaded. "
            f"`maepose verify {recording.id}` says what else changed."
        )


def _stored_pieces(
    store: ObjectStore, key: str, digest: FileDigest, moved: Callable[[int], None]
) -> Iterator[memoryview]:
    """An object's bytes as they come; PipelineError at their end where they are not what was sealed."""
    found = hashlib.sha256()
    for piece in store.pieces(key, digest.bytes):
        found.update(piece)
        moved(len(piece))
        yield piece
    if found.hexdigest() != digest.sha256:
        raise PipelineError(
            f"{key} in the store {store.address} is not the file that was sealed: its SHA-256 differs; restore it there from "
            "another copy."
        )


def _counter(on_progress: OnProgress | None, total: int) -> Callable[[int], None]:
    done = 0

    def moved(count: int) -> None:
        nonlocal done
        done += count
        if on_progress is not None:
            on_progress(done, total)

    return moved


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
