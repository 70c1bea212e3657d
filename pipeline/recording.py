"""A recording folder, `<root>/recordings/<id>/`: create, open, verify, seal, recover.

    recording.json   the manifest
    radar.cfg        the exact text sent to the radar (absent where an import had none)
    adc.bin          the card's byte stream, lost bytes zero-filled
    packets.bin      one `PACKET_RECORD` a stored packet (absent where an import had no packets: loss is then unknown)
    source/          the original files of an import

A folder is writable while its status is `recording`; sealing records every file's digest and takes write permission away.
"""

import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int16, Int64, Shaped
from pydantic import ValidationError

from pipeline.errors import PipelineError
from pipeline.files import sync_folder, write_atomic
from pipeline.manifest import ID_PATTERN, FileDigest, RecordingManifest, Segment, Status
from pipeline.packets import PACKET_RECORD, missing_ranges
from pipeline.provenance import sha256_file, sha256_json
from pipeline.waveform import Waveform

__all__ = [
    "FileDigest",
    "Recording",
    "RecordingManifest",
    "Segment",
    "VerifyReport",
    "create_recording",
    "new_recording_id",
    "open_recording",
    "recordings_folder",
    "recover",
    "seal",
    "verify",
]


def recordings_folder(root: Path) -> Path:
    """Where recordings lie under a data root."""
    return root / "recordings"


def new_recording_id(label: str = "") -> str:
    """A name that sorts by time, says who and what, and does not collide: `20261123-042600-p01-arm-raise-3f2a`."""
    words = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:60]
    parts = [datetime.now(UTC).strftime("%Y%m%d-%H%M%S"), words, secrets.token_hex(2)]
    return "-".join(part for part in parts if part)


def create_recording(root: Path, manifest: RecordingManifest) -> Path:
    """Make the folder of a new recording with its manifest in status `recording`; returns the folder.

    Raises PipelineError when the id is taken or the data root cannot be written.
    """
    folder = recordings_folder(root) / manifest.id
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        write_manifest(folder, manifest)
    except FileExistsError:
        raise PipelineError(
            f"There is already a recording {manifest.id!r} under {root}; choose another id, recordings are never overwritten."
        ) from None
    except OSError as error:
        raise PipelineError(
            f"The data root {root} cannot be written ({error.strerror}); name a writable one with --root or MAEPOSE_ROOT."
        ) from error
    return folder


def write_manifest(folder: Path, manifest: RecordingManifest) -> None:
    """Write `recording.json` in one atomic step."""
    write_atomic(folder / "recording.json", manifest.model_dump_json(indent=2) + "\n")


@dataclass(frozen=True)
class Recording:
    """A recording folder opened for reading."""

    folder: Path
    manifest: RecordingManifest

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def waveform(self) -> Waveform:
        return self.manifest.waveform

    @property
    def sealed(self) -> bool:
        return self.manifest.status != "recording"

    @cached_property
    def packets(self) -> Shaped[np.ndarray, " packets"] | None:
        """Whole `PACKET_RECORD`s of packets.bin, in order of arrival; None where the origin had no packets."""
        path = self.folder / "packets.bin"
        if not path.exists():
            return None
        count = path.stat().st_size // PACKET_RECORD.itemsize
        return np.memmap(path, PACKET_RECORD, "r", shape=(count,)) if count else np.zeros(0, PACKET_RECORD)

    @cached_property
    def stream_bytes(self) -> int:
        """Bytes in adc.bin."""
        path = self.folder / "adc.bin"
        return path.stat().st_size if path.exists() else 0

    @property
    def frame_count(self) -> int:
        """Whole frames in adc.bin."""
        return self.stream_bytes // self.waveform.frame_bytes

    @property
    def trailing_bytes(self) -> int:
        """Bytes after the last whole frame."""
        return self.stream_bytes % self.waveform.frame_bytes

    def frame_words(self, frame: int) -> Int16[np.ndarray, " word"]:
        """Frame `frame` as it lay on the wire: int16 words, two a complex sample, in `waveform.sample_order`."""
        if not 0 <= frame < self.frame_count:
            raise PipelineError(f"{self.id} has frames 0 to {self.frame_count - 1}, not {frame}.")
        words = self.waveform.frame_bytes // 2
        return np.memmap(self.folder / "adc.bin", "<i2", "r", offset=frame * words * 2, shape=(words,))

    @cached_property
    def _holes(self) -> Int64[np.ndarray, "ranges 2"]:
        if self.packets is None:
            return np.zeros((0, 2), np.int64)
        return missing_ranges(self.packets, self.stream_bytes)

    def missing_ranges(self) -> Int64[np.ndarray, "ranges 2"]:
        """Byte ranges `[start, stop)` of adc.bin that never arrived; empty where loss is unknown (`packets is None`)."""
        return self._holes

    def frame_missing_bytes(self) -> Int64[np.ndarray, " frame"]:
        """Bytes lost in each whole frame."""
        return _overlap_per_block(self._holes, self.waveform.frame_bytes, self.frame_count)

    def loop_valid(self, frame: int) -> Bool[np.ndarray, " loop"]:
        """True for each loop of `frame` whose every byte arrived."""
        loops, frame_bytes = self.waveform.loops, self.waveform.frame_bytes
        begin = frame * frame_bytes
        first, last = (
            np.searchsorted(self._holes[:, 1], begin, "right"),
            np.searchsorted(self._holes[:, 0], begin + frame_bytes, "left"),
        )
        holes = np.clip(self._holes[first:last] - begin, 0, frame_bytes)
        return _overlap_per_block(holes, frame_bytes // loops, loops) == 0

    def frame_time_ns(self) -> Int64[np.ndarray, " frame"]:
        """Monotonic time of the packet that holds each frame's first byte, or the next one stored; 0 where unknown."""
        count = self.frame_count
        if self.packets is None or len(self.packets) == 0:
            return np.zeros(count, np.int64)
        starts = self.packets["byte_offset"].astype(np.int64)
        order = np.argsort(starts, kind="stable")
        stops = starts[order] + self.packets["length"][order]
        begins = np.arange(count, dtype=np.int64) * self.waveform.frame_bytes
        index = np.minimum(np.searchsorted(stops, begins, "right"), len(order) - 1)
        return self.packets["monotonic_ns"][order[index]].astype(np.int64)

    @cached_property
    def raw_digest(self) -> str:
        """One digest of everything a cube depends on: the raw files' digests and the waveform they are read with."""
        if not self.sealed:
            raise PipelineError(
                f"{self.id} is not sealed yet, so it has no digest; wait for its end or run `maepose recover`."
            )
        raw = {
            name: self.manifest.digests[name].sha256
            for name in ("adc.bin", "packets.bin")
            if name in self.manifest.digests
        }
        return sha256_json({"raw": raw, "waveform": self.waveform.model_dump(mode="json")})


def open_recording(root: Path, recording_id: str) -> Recording:
    """The recording `recording_id` under `root`; PipelineError when there is none or its manifest cannot be read."""
    if not re.match(ID_PATTERN, recording_id):
        raise PipelineError(f"{recording_id!r} is not a recording id; ids are letters, digits, '.', '_' and '-'.")
    folder = recordings_folder(root) / recording_id
    if not folder.is_dir():
        raise PipelineError(
            f"There is no recording {recording_id!r} under {root}; `maepose list --root {root}` names the ones there are."
        )
    return read_recording(folder)


def read_recording(folder: Path) -> Recording:
    """Open a recording folder wherever it lies."""
    path = folder / "recording.json"
    try:
        manifest = RecordingManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise PipelineError(
            f"{folder} has no recording.json, so it is no recording; restore the file or remove the folder."
        ) from None
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise PipelineError(f"{path} is not a manifest this version reads: {where}: {first['msg']}.") from error
    return Recording(folder, manifest)


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
    for path in [*_content(folder), folder / "recording.json"]:
        path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    folder.chmod(0o555)
    return read_recording(folder)


def recover(folder: Path) -> Recording:
    """Seal a recording whose recorder died: cut back to the last whole packet record and the bytes it vouches for.

    `adc.bin` is written before the records that vouch for it, so at most the last moment is cut. The caller must know that
    no recorder is still writing (`capture.recorder` holds a lock). Raises PipelineError when already sealed or nothing arrived.
    """
    recording = read_recording(folder)
    if recording.sealed:
        raise PipelineError(
            f"{recording.id} has a proper end ({recording.manifest.status}); there is nothing to recover."
        )
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
    sync_folder(folder)
    frames = stream_bytes // read_recording(folder).waveform.frame_bytes
    return seal(
        folder,
        status="recovered",
        reason=f"The recorder died; {frames} whole frames were on disk, {lost_bytes} unconfirmed bytes at the end were cut.",
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
    for name, digest in manifest.digests.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is gone")
        elif path.stat().st_size != digest.bytes:
            problems.append(f"{name} has {path.stat().st_size} bytes, sealed with {digest.bytes}")
        elif sha256_file(path) != digest.sha256:
            problems.append(f"{name} is not the file that was sealed: its SHA-256 differs")
    if recording.sealed:
        extra = {path.relative_to(folder).as_posix() for path in _content(folder)} - set(manifest.digests)
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


def _content(folder: Path) -> list[Path]:
    """Every file of a recording but its manifest, sorted."""
    return sorted(
        p for p in folder.rglob("*") if p.is_file() and p.name != "recording.json" and not p.name.startswith(".")
    )


def _overlap_per_block(
    ranges: Int64[np.ndarray, "ranges 2"], block_bytes: int, blocks: int
) -> Int64[np.ndarray, " blocks"]:
    """Bytes that ascending, disjoint `ranges` cover in each of `blocks` consecutive blocks of `block_bytes`."""
    edges = np.arange(blocks + 1, dtype=np.int64) * block_bytes
    lengths = ranges[:, 1] - ranges[:, 0]
    before = np.concatenate([[0], np.cumsum(lengths)])
    index = np.searchsorted(ranges[:, 0], edges, "left")  # ranges that start before the edge
    covered = before[index]
    open_range = np.maximum(index - 1, 0)
    if len(ranges):
        covered = covered - np.where(index > 0, np.maximum(ranges[open_range, 1] - edges, 0), 0)
    return np.diff(covered)
