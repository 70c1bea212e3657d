"""Sessions of the first authors' capture platform (Vomee, later mSense OS): three generations of one folder.

    raw.bin or raw/mmwave.bin   frames one after another, complete or not there at all, as int16 words
    raw/mmwave.bin, version 2   a record a frame: `<4sIdBI` magic VMRF, frame number, Unix time, loss before it, payload bytes
    timestamps.csv              a row a frame: `frame_num,mmwave_ts,...`, or `topic,frame_id,ts` with a row a stream and frame
    metadata.json               `adc_params`: chirps (loops), tx, rx, samples

The platform drops a frame that lost a packet, so a gap in the frame numbers is a lost frame: it becomes a hole of its size.
Times are the host's, when the frame was complete or fetched. mmWave Studio set the radar up, so I comes first.
"""

import csv
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from pipeline.errors import PipelineError
from pipeline.packets import PACKET_RECORD
from pipeline.waveform import Waveform

MAGIC = b"VMRF"
_HEADER = struct.Struct("<4sIdBI")
_RECORD_BYTES = 1456  # a frame's bytes get records of a real packet's size
_COPY_BYTES = 4 << 20
_FRAME_COLUMNS = ("frame_num", "frame_id", "frame")
_TIME_COLUMNS = ("mmwave_ts", "ts", "timestamp", "time")


@dataclass(frozen=True)
class PlatformSession:
    """Where a session's parts lie; `numbered` tells whether its raw file carries frame headers (version 2)."""

    raw: Path
    numbered: bool

    @property
    def folder(self) -> Path:
        """The session's folder."""
        return self.raw.parent.parent if self.raw.parent.name == "raw" else self.raw.parent

    @property
    def timestamps(self) -> Path | None:
        return self._beside("timestamps.csv")

    @property
    def metadata(self) -> Path | None:
        return self._beside("metadata.json")

    def _beside(self, name: str) -> Path | None:
        path = self.folder / name
        return path if path.is_file() else None

    @property
    def sources(self) -> tuple[Path, ...]:
        """The small files worth keeping beside the recording."""
        return tuple(path for path in (self.timestamps, self.metadata) if path is not None)


def find_platform_session(source: Path) -> PlatformSession | None:
    """The session whose folder or raw file `source` is, or None when it is none."""
    candidates = [source / "raw" / "mmwave.bin", source / "raw.bin"] if source.is_dir() else [source]
    for raw in candidates:
        if not raw.is_file():
            continue
        with raw.open("rb") as file:
            numbered = file.read(4) == MAGIC
        session = PlatformSession(raw, numbered)
        if numbered or (raw.name in ("raw.bin", "mmwave.bin") and session.timestamps):
            return session
    return None


def platform_geometry(session: PlatformSession) -> dict[str, int]:
    """`adc_params` of metadata.json that name the frame's shape; empty where they are not there."""
    if session.metadata is None:
        return {}
    try:
        parameters = json.loads(session.metadata.read_bytes())["adc_params"]
        return {name: int(parameters[name]) for name in ("chirps", "tx", "rx", "samples")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def check_geometry(session: PlatformSession, waveform: Waveform) -> None:
    """PipelineError when metadata.json says another frame shape than the radar configuration."""
    said = platform_geometry(session)
    loops, tx, rx, samples = waveform.frame_shape
    configured = {"chirps": loops, "tx": tx, "rx": rx, "samples": samples}
    wrong = [name for name in said if said[name] != configured[name]]
    if wrong:
        listed = ", ".join(f"{name} {said[name]} (configured: {configured[name]})" for name in wrong)
        raise PipelineError(
            f"{session.metadata.name if session.metadata else ''} says {listed}: {waveform.name} is not this session's radar "
            "configuration; name the right one with --config."
        )


@dataclass(frozen=True)
class _Frames:
    """One row a frame of the raw file: its number, Unix time in s (0 unknown), loss flag, place and bytes in the file.

    `known` is False where the numbers are only the frames' order in the file.
    """

    known: bool
    numbers: Int64[np.ndarray, " frame"]
    times_s: Float64[np.ndarray, " frame"]
    after_loss: Int64[np.ndarray, " frame"]
    places: Int64[np.ndarray, " frame"]
    sizes: Int64[np.ndarray, " frame"]


def copy_platform_session(
    session: PlatformSession, folder: Path, *, frame_bytes: int
) -> tuple[dict[str, int | float], list[str]]:
    """Write `adc.bin` and, where frames are numbered or timed, `packets.bin`; returns counters and notes."""
    notes: list[str] = []
    frames = (
        _read_headers(session.raw, frame_bytes, notes) if session.numbered else _read_rows(session, frame_bytes, notes)
    )
    if len(frames.numbers) == 0:
        raise PipelineError(
            f"{session.raw.name} holds {session.raw.stat().st_size} bytes, less than one frame of {frame_bytes} bytes."
        )
    kept = _first_of_each(frames, notes)
    first = int(frames.numbers[kept].min())
    span = int(frames.numbers[kept].max()) - first + 1
    if span > 100 * len(kept) + 100_000:
        raise PipelineError(
            f"The {len(kept)} frames of {session.raw.name} are numbered over a span of {span}; such gaps cannot be losses."
        )
    records = []
    with session.raw.open("rb") as raw, (folder / "adc.bin").open("wb") as adc:
        for index in kept:
            number, size = int(frames.numbers[index]) - first, int(frames.sizes[index])
            raw.seek(int(frames.places[index]))
            adc.seek(number * frame_bytes)
            _copy(raw, adc, size)
            if frames.known:
                records.append(_frame_records(number, size, frame_bytes, float(frames.times_s[index])))
        if not session.numbered and (rest := session.raw.stat().st_size % frame_bytes):
            raw.seek(-rest, 2)
            adc.seek(span * frame_bytes)
            _copy(raw, adc, rest)
            records.append(_frame_records(span, rest, frame_bytes, 0.0))
    lost = span - len(kept)
    if lost:
        notes.append(
            f"{lost} of {span} frames are not in the file (gaps in the frame numbers); they are holes of whole frames."
        )
    counters: dict[str, int | float] = {
        "frames": len(kept),
        "lost_frames": lost,
        "frames_after_loss": int(frames.after_loss[kept].sum()),
    }
    if frames.known:
        np.concatenate(records).tofile(folder / "packets.bin")
        notes.append(
            "Frame times are the host's clock when the frame was complete or fetched, not when its first byte came."
        )
    else:
        notes.append(
            "The platform did not number these frames, so frames it dropped are unknown; so are the frames' times."
        )
    return counters, notes


def _read_headers(raw: Path, frame_bytes: int, notes: list[str]) -> _Frames:
    rows = []
    total, place = raw.stat().st_size, 0
    with raw.open("rb") as file:
        while place < total:
            file.seek(place)
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size:
                notes.append(
                    f"{raw.name} ends with {len(head)} bytes of an incomplete frame header; they were left out."
                )
                break
            magic, number, time_s, after_loss, size = _HEADER.unpack(head)
            if magic != MAGIC:
                raise PipelineError(f"{raw.name} is damaged at byte {place}: no frame begins there; copy it again.")
            if size != frame_bytes:
                raise PipelineError(
                    f"Frame {number} of {raw.name} has {size} bytes, but a frame of the radar configuration has {frame_bytes}; "
                    "name the configuration this session was made with."
                )
            place += _HEADER.size
            there = min(size, total - place)
            if there < size:
                notes.append(f"{raw.name} ends in the middle of frame {number}: {there} of {size} bytes were kept.")
            rows.append(
                (number, time_s if math.isfinite(time_s) and time_s > 0 else 0.0, after_loss != 0, place, there)
            )
            place += size
    return _frames(rows, known=True)


def _read_rows(session: PlatformSession, frame_bytes: int, notes: list[str]) -> _Frames:
    size = session.raw.stat().st_size
    count = size // frame_bytes
    if size % frame_bytes:
        notes.append(_over(session.raw.name, size, frame_bytes))
    rows = _timestamp_rows(session, notes)
    if rows and len(rows) != count:
        notes.append(
            f"timestamps.csv names {len(rows)} radar frames and {session.raw.name} holds {count}, so no time can be given to a "
            "frame and dropped frames cannot be placed."
        )
        rows = []
    known = bool(rows)
    if not rows:
        rows = [(number, 0.0, False) for number in range(count)]
    return _frames([(*row, index * frame_bytes, frame_bytes) for index, row in enumerate(rows)], known=known)


def _timestamp_rows(session: PlatformSession, notes: list[str]) -> list[tuple[int, float, bool]]:
    """(frame number, Unix time, loss before it) of each radar frame that timestamps.csv names."""
    if session.timestamps is None:
        return []
    try:
        with session.timestamps.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = table.fieldnames or []
            frame = next((name for name in _FRAME_COLUMNS if name in columns), None)
            clock = next((name for name in _TIME_COLUMNS if name in columns), None)
            if frame is None or clock is None:
                raise ValueError(f"its columns are {', '.join(columns) or 'none'}")
            rows = [row for row in table if "raw" in row.get("topic", "raw")]
            return [
                (int(row[frame]), max(0.0, float(row[clock])), row.get("lost_packet") not in (None, "", "0"))
                for row in rows
            ]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        notes.append(f"timestamps.csv was not understood ({error}), so frames have no times.")
        return []


def _over(name: str, size: int, frame_bytes: int) -> str:
    return (
        f"{name} ends {size % frame_bytes} bytes over {size // frame_bytes} whole frames of {frame_bytes} bytes; the incomplete "
        "frame is kept in adc.bin but not used."
    )


def _frames(rows: list[tuple[int, float, bool, int, int]], *, known: bool) -> _Frames:
    numbers, times, after_loss, places, sizes = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    number, loss, place, size = (np.array(column, np.int64) for column in (numbers, after_loss, places, sizes))
    return _Frames(known, number, np.array(times, np.float64), loss, place, size)


def _first_of_each(frames: _Frames, notes: list[str]) -> list[int]:
    """Rows to keep, in file order: of a number that comes again only the first."""
    _, first = np.unique(frames.numbers, return_index=True)
    if len(first) < len(frames.numbers):
        notes.append(f"{len(frames.numbers) - len(first)} frames repeat a frame number and were left out.")
    return sorted(int(row) for row in first)


def _frame_records(number: int, size: int, frame_bytes: int, time_s: float) -> np.ndarray:
    """Packet records that cover `size` bytes of frame `number`, all of one time."""
    in_frame = -(-frame_bytes // _RECORD_BYTES)
    offsets = np.arange(0, size, _RECORD_BYTES)
    records = np.zeros(len(offsets), PACKET_RECORD)
    records["byte_offset"] = number * frame_bytes + offsets
    records["length"] = np.minimum(_RECORD_BYTES, size - offsets)
    records["sequence"] = (number * in_frame + np.arange(len(offsets)) + 1) % 2**32
    records["kernel_time_ns"] = records["monotonic_ns"] = round(time_s * 1e9)
    return records


def _copy(source, target, count: int) -> None:
    while count and (block := source.read(min(count, _COPY_BYTES))):
        target.write(block)
        count -= len(block)
