"""The end of a recording: seal it, recover one whose recorder died, verify it, take its pictures away.

A folder is writable while its status is `recording`; sealing records every file's digest and takes write permission away.
"""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.camera_frames import CAMERA_RECORD
from pipeline.errors import PipelineError
from pipeline.files import sync_folder
from pipeline.locks import take_lock
from pipeline.manifest import FileDigest, Status
from pipeline.packets import PACKET_RECORD
from pipeline.provenance import sha256_file
from pipeline.pulses import PULSE_RECORD
from pipeline.recording import Recording, read_recording, write_manifest

PICTURES = ("color.mkv", "depth.bin")
CAMERA_ENDS_WITHIN_S = 60.0  # the camera's process writes what it has once its recorder is gone


def seal(
    folder: Path,
    *,
    status: Status = "success",
    reason: str = "",
    counters: Mapping[str, int | float] | None = None,
    notes: tuple[str, ...] = (),
) -> Recording:
    """End a recording: store digests, `status` and `counters`, then make its files and folder read-only.

    The manifest is replaced last and in one step, so a kill on the way leaves a recording without an end, which `recover`
    finishes. Sealing a sealed recording is refused.
    """
    recording = read_recording(folder)
    if recording.sealed:
        raise PipelineError(
            f"{recording.id} is already sealed ({recording.manifest.status}); sealed recordings never change."
        )
    digests = {}
    for path in _content(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        digests[path.relative_to(folder).as_posix()] = FileDigest(sha256=sha256_file(path), bytes=path.stat().st_size)
    manifest = recording.manifest.model_copy(
        update={
            "status": status,
            "reason": reason,
            "counters": dict(counters) if counters is not None else recording.manifest.counters,
            "notes": recording.manifest.notes + tuple(notes),
            "digests": digests,
        }
    )
    write_manifest(folder, manifest)
    make_read_only(folder)
    return read_recording(folder)


def make_read_only(folder: Path) -> None:
    """Take write permission from every file of a recording and from its folder."""
    for path in [*_content(folder), folder / "recording.json"]:
        path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    folder.chmod(0o555)


def recover(folder: Path, *, finish: Callable[[Path], None] | None = None) -> Recording:
    """Seal a recording whose recorder died: cut back to the last whole packet record and the bytes it vouches for.

    `finish` is called with the folder just before it is sealed, for what the recorder would have added (the alignment).
    `adc.bin` is written before the records that vouch for it, so at most the last moment is cut. The caller must know that
    no recorder is still writing (`capture.recorder` holds a lock); the camera's process, which ends a moment later, is waited
    for. Raises PipelineError when already sealed or nothing arrived, and when that process does not end.
    """
    recording = read_recording(folder)
    if recording.sealed:
        raise PipelineError(
            f"{recording.id} has a proper end ({recording.manifest.status}); there is nothing to recover."
        )
    _wait_for_camera(folder)
    for name, size in (("pulses.bin", PULSE_RECORD.itemsize), ("camera.bin", CAMERA_RECORD.itemsize)):
        path = folder / name
        if path.exists():
            os.truncate(path, path.stat().st_size // size * size)
    adc, packets_path = folder / "adc.bin", folder / "packets.bin"
    packets = recording.packets
    if packets is None or not adc.exists() or len(packets) == 0:
        return seal(folder, status="abort", reason="The recorder died before any radar data was on disk.")
    stops = packets["byte_offset"].astype(np.int64) + packets["length"]
    vouched = np.flatnonzero(stops > adc.stat().st_size)
    keep = int(vouched[0]) if len(vouched) else len(packets)
    stream_bytes = int(stops[:keep].max(initial=0))
    lost_bytes = adc.stat().st_size - stream_bytes
    del packets, recording  # release the maps before the files shrink
    os.truncate(packets_path, keep * PACKET_RECORD.itemsize)
    os.truncate(adc, stream_bytes)
    if finish is not None:
        finish(folder)
    sync_folder(folder)
    frames = stream_bytes // read_recording(folder).waveform.frame_bytes
    return seal(
        folder,
        status="recovered",
        reason=f"The recorder died; {frames} whole frames were on disk, {lost_bytes} unconfirmed bytes at the end were cut.",
    )


def _wait_for_camera(folder: Path) -> None:
    """Until nobody holds the lock of camera.bin any more (`capture.camera_files`)."""
    if not (folder / "camera.bin").exists():
        return
    with (folder / "camera.bin").open("r+b") as records:
        if not take_lock(records, CAMERA_ENDS_WITHIN_S):
            raise PipelineError(
                f"A process still writes the camera's files of {folder.name}, though its recorder is dead; end it "
                "(`python -m capture.camera_process`), then recover the recording again."
            )


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found; `ok` is True when there is no problem (lost packets are counted, not a problem)."""

    ok: bool
    problems: tuple[str, ...]
    frames: int
    trailing_bytes: int
    missing_bytes: int | None
    frames_with_loss: int | None


def verify(recording: Recording) -> VerifyReport:
    """Check sizes, digests, the packet records and that every hole is zero-filled; None losses mean they are unknown."""
    problems: list[str] = []
    folder, manifest = recording.folder, recording.manifest
    if not recording.sealed:
        problems.append("the recording has no end: run `maepose recover`")
    problems += [
        f"{name} should have been deleted and is still there" for name in manifest.removed if (folder / name).exists()
    ]
    for name, digest in manifest.digests.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is gone")
        elif path.stat().st_size != digest.bytes:
            problems.append(f"{name} has {path.stat().st_size} bytes, sealed with {digest.bytes}")
        elif sha256_file(path) != digest.sha256:
            problems.append(f"{name} is not the file that was sealed: its SHA-256 differs")
    if recording.sealed:
        extra = {path.relative_to(folder).as_posix() for path in _content(folder)}
        extra -= {*manifest.digests, *manifest.removed}
        problems += [f"{name} was added after sealing" for name in sorted(extra)]
    packets, missing, lossy = recording.packets, None, None
    if packets is not None:
        stops = packets["byte_offset"].astype(np.int64) + packets["length"]
        if len(packets) and int(stops.max()) > recording.stream_bytes:
            problems.append("packets.bin names bytes beyond the end of adc.bin")
        else:
            holes = recording.missing_ranges()
            missing = int((holes[:, 1] - holes[:, 0]).sum())
            lossy = int((recording.frame_missing_bytes() > 0).sum())
            if recording.stream_bytes:
                stream = np.memmap(folder / "adc.bin", np.uint8, "r")
                if any(stream[start:stop].any() for start, stop in holes):
                    problems.append("adc.bin holds data where packets.bin says bytes were lost")
    return VerifyReport(not problems, tuple(problems), recording.frame_count, recording.trailing_bytes, missing, lossy)


def remove_pictures(recording: Recording, why: str) -> Recording:
    """Delete the colour and depth of a sealed recording for privacy; `why` is the sentence its manifest keeps.

    The manifest is changed first (digests move to `removed`), so a kill on the way leaves files that the next call, or
    `verify`, finds. Everything else of the recording stays as it was sealed. Raises PipelineError when it is not sealed.
    """
    folder, manifest = recording.folder, recording.manifest
    if not recording.sealed:
        raise PipelineError(f"{recording.id} is still being recorded; its pictures can be removed once it is sealed.")
    gone = {name: manifest.digests[name] for name in PICTURES if name in manifest.digests}
    folder.chmod(0o755)
    try:
        if gone:
            kept = {name: digest for name, digest in manifest.digests.items() if name not in gone}
            changes = {"digests": kept, "removed": manifest.removed | gone, "notes": (*manifest.notes, why)}
            write_manifest(folder, manifest.model_copy(update=changes))
            (folder / "recording.json").chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
        for name in PICTURES:
            (folder / name).unlink(missing_ok=True)
        sync_folder(folder)
    finally:
        folder.chmod(0o555)
    return read_recording(folder)


def _content(folder: Path) -> list[Path]:
    """Every file of a recording but its manifest, sorted."""
    return sorted(
        p for p in folder.rglob("*") if p.is_file() and p.name != "recording.json" and not p.name.startswith(".")
    )
