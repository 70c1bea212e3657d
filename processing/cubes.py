"""A sealed recording -> its cube store. Does nothing twice, goes on where a killed job stopped, never shows half a cube."""

import errno
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.cube_commit import CubeStatus, cube_key, cube_path, cubes_folder, store_status
from pipeline.cube_config import CubeConfig
from pipeline.cube_layout import frame_arrays, frame_table, small_arrays, store_attributes
from pipeline.cube_writer import JOURNAL, CubeWriter
from pipeline.errors import PipelineError
from pipeline.locks import take_lock
from pipeline.pruned import forget_pruned
from pipeline.recording import Recording
from processing.cube_changes import CubeChange, compare_stores
from processing.transform import ALGORITHM_VERSION, Frame, FrameTransform

_TEMPORARY = ".zarr.tmp-"  # of `pipeline.cube_commit.temporary_path`
_FRAMES_AHEAD = 3  # frames the transform may be ahead of the disk: this many cubes of memory


@dataclass(frozen=True)
class CubeResult:
    """What `process_recording` did. `frames_made` is less than `frames` where whole shards of a killed job were kept.

    `change` is what a cube that stood there before held otherwise, where that was asked for.
    """

    recording: str
    key: str
    path: Path
    frames: int
    frames_made: int
    frames_with_loss: int
    rebuilt: bool
    seconds: float
    change: CubeChange | None = None

    @property
    def frames_per_s(self) -> float:
        """Frames made a second, 0 where there was nothing to do."""
        return self.frames_made / self.seconds if self.frames_made else 0.0


def recording_key(recording: Recording, config: CubeConfig) -> str:
    """Key that the cube of `recording` made with `config` by this version has."""
    return cube_key(recording.raw_digest, config, ALGORITHM_VERSION)


def cube_status(root: Path, recording: Recording, config: CubeConfig) -> CubeStatus:
    """`missing`, `stale` (made from or with something else), `damaged`, or `current`."""
    return store_status(root, recording.id, recording_key(recording, config))


def process_recording(
    recording: Recording,
    root: Path,
    config: CubeConfig,
    *,
    force: bool = False,
    compare: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
    lock_wait_s: float = 0.0,
) -> CubeResult:
    """Make `<root>/cubes/<id>.zarr` unless it stands there with the right key; `force` makes it anew.

    `compare` says what became otherwise, before the old cube is let go; that takes longer than the transform.
    `on_progress(frames done, frames)` is called after each frame; what it raises stops the job, whole shards are kept.
    `threads` bounds the transform's threads (None: all cores). Memory stays at a few frames, whatever the recording's length.
    Raises PipelineError on a recording that is not sealed or has no whole frame, on another job at the same cube that does not
    end within `lock_wait_s`, and on a disk that is full or read-only.
    """
    started = time.perf_counter()
    _check(recording)
    key, frames = recording_key(recording, config), recording.frame_count
    with cube_lock(root, recording.id, lock_wait_s):
        made = 0
        changes: list[CubeChange] = []
        rebuilt = force or store_status(root, recording.id, key) != "current"
        table = frame_table(recording)
        if rebuilt:
            transform = FrameTransform(recording.waveform, config, threads=threads)
            axes = transform.axes()
            arrays = frame_arrays(config, axes.sizes())
            with _disk_errors(root, recording.id):
                writer = CubeWriter(root, recording.id, key, arrays, frames, fresh=force)
            made = frames - writer.next_frame

            def look(store: Path) -> None:
                if compare and writer.final.exists():
                    changes.append(compare_stores(writer.final, store))

            try:
                _transform_frames(recording, transform, writer, on_progress)
                small = small_arrays(axes, table, recording.waveform)
                attributes = store_attributes(recording, config, key, ALGORITHM_VERSION)
                with _disk_errors(root, recording.id):
                    writer.commit(small, attributes, look)
                    forget_pruned(root, recording.id)
            finally:
                writer.close()
        else:
            for left in _leftovers(root, recording.id):
                shutil.rmtree(left)
    return CubeResult(
        recording=recording.id,
        key=key,
        path=cube_path(root, recording.id),
        frames=frames,
        frames_made=made,
        frames_with_loss=int((~table.valid).sum()),
        rebuilt=rebuilt,
        seconds=time.perf_counter() - started,
        change=changes[0] if changes else None,
    )


def leftover_recordings(root: Path) -> frozenset[str]:
    """Recordings of which a job was killed just before it could remove the old cube. One look at the folder finds all."""
    return frozenset(path.name.split(_TEMPORARY)[0] for path in _leftovers(root, "*"))


def _leftovers(root: Path, recording_id: str) -> list[Path]:
    """Old cubes under a temporary name. What a job that was killed half-way can go on from is none: that has a journal."""
    found = cubes_folder(root).glob(f"{recording_id}{_TEMPORARY}*")
    return [path for path in found if not (path / JOURNAL).exists()]


def _check(recording: Recording) -> None:
    """Only what is whole and sealed becomes a cube."""
    if not recording.sealed:
        raise PipelineError(
            f"{recording.id} is not sealed, so it is still being recorded or its recorder died; "
            f"wait for its end or run `maepose recover {recording.id}`."
        )
    if recording.frame_count == 0:
        raise PipelineError(
            f"{recording.id} has no whole frame ({recording.stream_bytes} bytes, a frame has "
            f"{recording.waveform.frame_bytes}), so there is nothing to process."
        )
    sealed = recording.manifest.digests.get("adc.bin")
    if sealed is None or sealed.bytes != recording.stream_bytes:
        raise PipelineError(
            f"adc.bin of {recording.id} has {recording.stream_bytes} bytes, not what was sealed; restore it from a copy."
        )


def _transform_frames(
    recording: Recording,
    transform: FrameTransform,
    writer: CubeWriter,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Transform in this thread, compress and write in another; buffers go round between the two."""
    missing, frames = recording.frame_missing_bytes(), recording.frame_count
    products = transform.config.products
    filled: queue.Queue[Frame | None] = queue.Queue()
    free: queue.Queue[Frame | None] = queue.Queue()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            while (frame := filled.get()) is not None:
                writer.append({name: getattr(frame, name) for name in products})
                free.put(frame)
        except BaseException as error:  # handed to the thread that waits for this one
            failures.append(error)
            free.put(None)

    for _ in range(_FRAMES_AHEAD):
        free.put(None)  # the first rounds have no buffer to reuse
    thread = threading.Thread(target=write, name="cube-writer")
    thread.start()
    try:
        for index in range(writer.next_frame, frames):
            buffer = free.get()
            if failures:
                break
            loop_valid = recording.loop_valid(index) if missing[index] else None
            filled.put(transform(recording.frame_words(index), loop_valid, buffer))
            if on_progress is not None:
                on_progress(index + 1, frames)
    finally:
        filled.put(None)
        thread.join()
    if failures:
        with _disk_errors(writer.final.parents[1], recording.id):
            raise failures[0]


@contextmanager
def cube_lock(root: Path, recording_id: str, wait_s: float = 0.0) -> Iterator[None]:
    """One job at a cube: PipelineError where there is another. The lock is the operating system's: it goes with the process,
    however that ends.
    """
    folder = cubes_folder(root)
    with _disk_errors(root, recording_id):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / f".{recording_id}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not take_lock(handle, wait_s):
            owner = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            raise PipelineError(
                f"Another job (process {owner}) is making the cube of {recording_id}; wait for it or stop it first."
            )
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


@contextmanager
def _disk_errors(root: Path, recording_id: str) -> Iterator[None]:
    """Turn what the file system refuses into a sentence."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise PipelineError(
                f"No room for the cube of {recording_id} under {root} ({reason}); free space and run `maepose process "
                f"{recording_id}` again, it goes on from the shards already written."
            ) from error
        raise PipelineError(
            f"The cube of {recording_id} cannot be written under {root} ({reason}: {error.filename or 'unnamed file'}); "
            "name a writable data root with --root or MAEPOSE_ROOT."
        ) from error
