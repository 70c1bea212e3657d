"""Growing a cube store: whole shards under a temporary name, a journal to go on from, verified and swapped in at the end.

    <id>.zarr.tmp-<key>/progress.jsonl   one line a set of shards, with sizes and CRC-32Cs: what a killed job can keep
    <id>.zarr.tmp-<key>/rad/c/...        shards; no Zarr metadata before the last one is written, so nothing looks whole

Order at the end: metadata, verification, fsync of every file, commit marker, a last look at both stores, exchange of names.
Until that exchange the old store, if any, stays; afterwards it is removed. The journal goes last, so that a job killed at any
point before the exchange finds its shards again.
"""

import ctypes
import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Num
from zarr.codecs import Crc32cCodec

from pipeline.cube_commit import MARKER, CommitMarker, cube_path, cubes_folder, temporary_path
from pipeline.cube_layout import FrameArray, SmallArray
from pipeline.cube_shards import FileSum, ShardFile, file_sum, sync_file
from pipeline.errors import PipelineError
from pipeline.files import sync_folder, write_atomic

JOURNAL = "progress.jsonl"
_ASIDE = ".old"


class CubeWriter:
    """Writes the frames of one cube in order. The caller holds the recording's cube lock: there is one writer at a time.

    `next_frame` is where to begin: past the whole shards that an earlier, killed job with the same key left behind,
    0 with `fresh`.
    """

    def __init__(
        self, root: Path, recording_id: str, key: str, arrays: Sequence[FrameArray], frames: int, *, fresh: bool = False
    ) -> None:
        self.recording_id, self.key, self.arrays, self.frames = recording_id, key, tuple(arrays), frames
        self.final = cube_path(root, recording_id)
        self.store = temporary_path(root, recording_id, key)
        self._shard_frames = arrays[0].shard_frames
        self._open: dict[str, ShardFile] = {}
        self._pending: dict[str, list[np.ndarray]] = {array.name: [] for array in arrays}
        _put_back(self.final)
        for stale in cubes_folder(root).glob(f"{recording_id}.zarr.tmp-*"):
            if stale != self.store or fresh:
                shutil.rmtree(stale)
        self.store.mkdir(parents=True, exist_ok=True)
        self._files = self._resume()
        self.next_frame = min(len(self._files) // len(self.arrays) * self._shard_frames, frames)

    def append(self, frame: Mapping[str, Num[np.ndarray, "..."]]) -> None:
        """Encode the next frame's arrays and write them; a shard that is full is closed and noted in the journal."""
        shard, row = divmod(self.next_frame, self._shard_frames)
        last = self.next_frame == self.frames - 1
        for array in self.arrays:
            if row == 0:
                chunks = self._shard_frames // array.chunk_frames
                self._open[array.name] = ShardFile(self.store / array.shard_file(shard), chunks)
            pending = self._pending[array.name]
            pending.append(frame[array.name] if array.chunk_frames == 1 else frame[array.name].copy())
            if len(pending) == array.chunk_frames or last:
                self._open[array.name].append(array.codec.encode(_chunk(array, pending)))
                pending.clear()
        self.next_frame += 1
        if row == self._shard_frames - 1 or last:
            sums = {array.shard_file(shard): self._open.pop(array.name).close() for array in self.arrays}
            self._files |= sums
            self._note(sums)

    def close(self) -> None:
        """Give up the unfinished shard, keep the whole ones for the next attempt."""
        for shard in self._open.values():
            shard.abandon()
        self._open.clear()

    def commit(
        self,
        small: Sequence[SmallArray],
        attributes: Mapping[str, Any],
        look: Callable[[Path], None] = lambda _: None,
    ) -> Path:
        """Write metadata and small arrays, verify by reading back, make durable, mark, and take the final name.

        `look` is called with the whole new store while the old one, if any, still has its name; where it raises, the old one
        keeps it, and the new one's shards stay for the next attempt.
        """
        assert self.next_frame == self.frames, "commit before the last frame"
        self._write_metadata(small, attributes)
        written = {path.relative_to(self.store).as_posix() for path in self.store.rglob("*") if path.is_file()}
        files = {name: self._files.get(name) or file_sum(self.store / name) for name in sorted(written - {JOURNAL})}
        marker = CommitMarker(
            recording=self.recording_id,
            key=self.key,
            frames=self.frames,
            committed_utc=datetime.now(UTC).isoformat(timespec="seconds"),
            files={name: (total.bytes, total.crc32c) for name, total in files.items()},
        )
        self._read_back()
        for name in files:
            sync_file(self.store / name)
        for folder in [path for path in self.store.rglob("*") if path.is_dir()]:
            sync_folder(folder)
        write_atomic(self.store / MARKER, marker.model_dump_json())
        look(self.store)
        (self.store / JOURNAL).unlink()
        take_name(self.store, self.final)
        return self.final

    def _resume(self) -> dict[str, FileSum]:
        """Keep the leading shards whose journal line and bytes agree; remove everything else."""
        kept: dict[str, FileSum] = {}
        lines: list[str] = []
        journal = self.store / JOURNAL
        for line in journal.read_text().splitlines() if journal.exists() else ():
            try:
                sums = {name: FileSum(*total) for name, total in json.loads(line).items()}
            except (ValueError, TypeError, AttributeError):
                break
            shard = len(lines)
            if set(sums) != {array.shard_file(shard) for array in self.arrays}:
                break
            if not all((self.store / name).is_file() and file_sum(self.store / name) == sums[name] for name in sums):
                break
            kept |= sums
            lines.append(line)
        if not lines:
            shutil.rmtree(self.store)
            self.store.mkdir()
            return {}
        for path in self.store.rglob("*"):
            if path.is_file() and path.relative_to(self.store).as_posix() not in kept:
                path.unlink()
        write_atomic(journal, "\n".join(lines) + "\n")
        return kept

    def _note(self, sums: Mapping[str, FileSum]) -> None:
        with (self.store / JOURNAL).open("a") as journal:
            journal.write(json.dumps({name: [total.bytes, total.crc32c] for name, total in sums.items()}) + "\n")

    def _write_metadata(self, small: Sequence[SmallArray], attributes: Mapping[str, Any]) -> None:
        group = zarr.open_group(str(self.store), mode="a", zarr_format=3, attributes=dict(attributes))
        for array in self.arrays:
            group.create_array(
                array.name,
                shape=(self.frames, *array.frame_shape),
                dtype=array.dtype,
                chunks=(array.chunk_frames, *array.frame_shape),
                shards=(array.shard_frames, *array.frame_shape),
                compressors=array.codec.zarr_codecs(),
                fill_value=0,
                attributes=array.attributes,
                dimension_names=array.dimensions,
            )
        for extra in small:
            group.create_array(
                extra.name,
                data=extra.values,
                chunks=extra.values.shape,
                compressors=[Crc32cCodec()],
                fill_value=0,
                attributes=extra.attributes,
                dimension_names=extra.dimensions,
                config={"write_empty_chunks": True},
            )
        with warnings.catch_warnings():
            # "Consolidated metadata is currently not part in the Zarr format 3 specification": known, and wanted.
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            warnings.filterwarnings("ignore", message=f"Object at {JOURNAL} is not recognized")
            zarr.consolidate_metadata(str(self.store))

    def _read_back(self) -> None:
        """Read a frame of every shard through Zarr: index, codecs and metadata agree, or this raises PipelineError."""
        group = zarr.open_group(str(self.store), mode="r")
        for array in self.arrays:
            stored = group[array.name]
            assert isinstance(stored, zarr.Array)
            for frame in range(0, self.frames, self._shard_frames):
                try:
                    stored[frame]
                except (ValueError, RuntimeError) as error:
                    raise PipelineError(
                        f"The new cube of {self.recording_id} does not read back ({array.name}, frame {frame}: {error}); "
                        "nothing was changed, check the disk and run it again."
                    ) from error


def _chunk(array: FrameArray, frames: Sequence[np.ndarray]) -> np.ndarray:
    """An inner chunk: frames stacked, the end of the last one filled up."""
    if array.chunk_frames == 1:
        return np.ascontiguousarray(frames[0], array.dtype)
    block = np.zeros((array.chunk_frames, *array.frame_shape), array.dtype)
    for row, frame in enumerate(frames):
        block[row] = frame
    return block


def take_name(new: Path, final: Path) -> None:
    """Give the whole store at `new` the name `final` in one step; the store that had it is removed.

    Linux exchanges two names atomically (renameat2, RENAME_EXCHANGE). Where it cannot, the old store steps aside first.
    """
    if final.exists():
        if not _exchange(new, final):
            aside = new.with_name(new.name + _ASIDE)
            final.rename(aside)
            new.rename(final)
            new = aside
        sync_folder(final.parent)
        shutil.rmtree(new)
    else:
        new.rename(final)
        sync_folder(final.parent)


def _put_back(final: Path) -> None:
    """Give an old store its name again that stepped aside for one which, because the job was killed, never took it."""
    if not final.exists():
        for aside in final.parent.glob(f"{final.name}.tmp-*{_ASIDE}"):
            aside.rename(final)
            return


def _exchange(first: Path, second: Path) -> bool:
    at_cwd, rename_exchange = -100, 2
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    if renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), rename_exchange) == 0:
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOSYS, errno.EPERM):  # a file system or kernel without it
        return False
    raise PipelineError(
        f"The finished cube could not take the name {second} ({os.strerror(ctypes.get_errno())}); nothing was changed."
    )
