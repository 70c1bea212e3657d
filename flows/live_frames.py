"""Frames of a recording as they come: of one that is being made, read behind its recorder, or of a sealed one at its own pace."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int16, Int64, Shaped

from capture.session import RecorderHandle, attach, recorder_alive, session_known
from pipeline.errors import PipelineError
from pipeline.packets import PACKET_RECORD, missing_ranges
from pipeline.recording import Recording, open_recording, recordings_folder

_POLL_S = 0.005
_RECORDS_WITHIN_S = 0.5  # a frame's bytes are written before the records that vouch for them
_FIRST_FRAME_WITHIN_S = 30.0


@dataclass(frozen=True)
class ArrivedFrame:
    """One radar frame. `at_ns` is CLOCK_MONOTONIC when its last packet came, `waiting` how many whole frames lie behind it."""

    index: int
    words: Int16[np.ndarray, " word"]
    missing_bytes: int
    at_ns: int
    waiting: int


def running_recording(root: Path, recording_id: str | None) -> str:
    """The recording that is being made, or the named one if it is; PipelineError when there is not exactly one."""
    if recording_id is not None:
        if not session_known(root, recording_id) or not recorder_alive(root, recording_id):
            raise PipelineError(
                f"{recording_id} is not being recorded; `maepose live --replay {recording_id}` shows a recording that is done."
            )
        return recording_id
    alive = [path.name for path in sorted((root / "sessions").glob("*")) if recorder_alive(root, path.name)]
    if len(alive) != 1:
        found = f"{len(alive)} are running: {', '.join(alive)}; name one" if alive else "none is running"
        raise PipelineError(
            f"There is not one capture to follow under {root}: {found}, or name a recording with --replay."
        )
    return alive[0]


def await_recording(root: Path, recording_id: str) -> Recording:
    """The recording a recorder is about to make, once its folder is there; PipelineError when the recorder fails first."""
    handle, give_up = attach(root, recording_id), time.monotonic() + _FIRST_FRAME_WITHIN_S
    while not (recordings_folder(root) / recording_id / "recording.json").exists():
        progress = handle.progress()
        if progress.ended or time.monotonic() > give_up:
            raise PipelineError(progress.message or f"{recording_id} has not begun within {_FIRST_FRAME_WITHIN_S:g} s.")
        time.sleep(_POLL_S)
    return open_recording(root, recording_id)


def frames_being_made(root: Path, recording: Recording, ended: Callable[[], bool]) -> Iterator[ArrivedFrame]:
    """Every whole frame from the newest on, as soon as its bytes are on disk, until the recorder ends or `ended()`."""
    handle, frame_bytes = RecorderHandle(root, recording.id), recording.waveform.frame_bytes
    stream, tail = recording.folder / "adc.bin", PacketTail(recording.folder / "packets.bin")
    index = max(_whole_frames(stream, frame_bytes) - 1, 0)
    over = False
    while not ended():
        whole = _whole_frames(stream, frame_bytes)
        if index >= whole:
            if over:
                return
            over = handle.progress().ended  # once more round: its last bytes came before its last word
            time.sleep(_POLL_S)
            continue
        words = np.fromfile(stream, "<i2", count=frame_bytes // 2, offset=index * frame_bytes)
        missing, at_ns = tail.frame(index * frame_bytes, (index + 1) * frame_bytes)
        yield ArrivedFrame(index, words, missing, at_ns, whole - index - 1)
        index += 1


def frames_replayed(recording: Recording, ended: Callable[[], bool]) -> Iterator[ArrivedFrame]:
    """Every frame of a sealed recording when its time has come, the first at once."""
    missing, period_ns = recording.frame_missing_bytes(), round(recording.frame_period_s * 1e9)
    begin_ns = time.monotonic_ns()
    for index in range(recording.frame_count):
        due_ns = begin_ns + index * period_ns
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            if ended():
                return
            time.sleep(min(left_ns / 1e9, 0.1))
        waiting = (time.monotonic_ns() - due_ns) // period_ns
        behind = min(int(waiting), recording.frame_count - 1 - index)
        yield ArrivedFrame(index, recording.frame_words(index), int(missing[index]), due_ns, behind)


class PacketTail:
    """Reads `packets.bin` behind its writer; keeps only the records of frames still to come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._records = np.zeros(0, PACKET_RECORD)

    def frame(self, begin: int, stop: int) -> tuple[int, int]:
        """Bytes of `[begin, stop)` that never arrived, and CLOCK_MONOTONIC of the last packet of them in nanoseconds."""
        give_up = time.monotonic() + _RECORDS_WITHIN_S
        while True:
            self._take_new()
            records = self._inside(begin, stop)
            missing = int(np.diff(missing_ranges(records, stop - begin)).sum())
            # The frame's bytes are all there, so what is not recorded either never came or is recorded in a moment.
            if not missing or self._past(stop) or time.monotonic() > give_up:
                break
            time.sleep(_POLL_S)
        at_ns = int(records["monotonic_ns"].max()) if len(records) else time.monotonic_ns()
        offsets = self._offsets()
        self._records = self._records[offsets + self._records["length"] > stop]
        return missing, at_ns

    def _take_new(self) -> None:
        if not self._path.exists():
            return
        new = np.fromfile(self._path, PACKET_RECORD, offset=self._read * PACKET_RECORD.itemsize)
        self._read += len(new)
        self._records = np.concatenate([self._records, new])

    def _inside(self, begin: int, stop: int) -> Shaped[np.ndarray, " packets"]:
        """Records that touch `[begin, stop)`, cut to it, their offsets counted from `begin`."""
        starts, stops = self._offsets(), self._offsets() + self._records["length"]
        touching = (stops > begin) & (starts < stop)
        records = self._records[touching].copy()
        first, last = np.maximum(starts[touching], begin), np.minimum(stops[touching], stop)
        records["byte_offset"], records["length"] = first - begin, last - first
        return records

    def _past(self, stop: int) -> bool:
        return bool((self._offsets() + self._records["length"] > stop).any())

    def _offsets(self) -> Int64[np.ndarray, " packets"]:
        return self._records["byte_offset"].astype(np.int64)


def _whole_frames(path: Path, frame_bytes: int) -> int:
    return path.stat().st_size // frame_bytes if path.exists() else 0
