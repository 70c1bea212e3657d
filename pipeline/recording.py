"""A recording folder, `<root>/recordings/<id>/`: create and read it. `pipeline.sealing` ends it.

recording.json   the manifest
radar.cfg        the exact text sent to the radar (absent where an import had none)
adc.bin          the card's byte stream, lost bytes zero-filled
packets.bin      one `PACKET_RECORD` a stored packet (absent where an import had no packets: loss is then unknown)
pulses.bin       what the trigger board said (`pipeline.pulses`; absent without a board)
color.mkv depth.bin camera.bin   pictures (`pipeline.camera_frames`; absent without a camera)
sync.parquet     which of all these belong together (`pipeline.sync`)
source/          the original files of an import
"""

import fnmatch
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int16, Int64, Shaped
from pydantic import ValidationError

from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from pipeline.manifest import ID_PATTERN, RecordingManifest
from pipeline.packets import PACKET_RECORD, missing_ranges
from pipeline.provenance import sha256_json
from pipeline.waveform import Waveform


def recordings_folder(root: Path) -> Path:
    """Where recordings lie under a data root."""
    return root / "recordings"


def recording_folder(root: Path, recording_id: str) -> Path:
    """Where a recording lies, or would; PipelineError for what is no id, so that no name leaves the data root."""
    if not re.fullmatch(ID_PATTERN, recording_id):
        raise PipelineError(f"{recording_id!r} is not a recording id; ids are letters, digits, '.', '_' and '-'.")
    return recordings_folder(root) / recording_id


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


def amend_manifest(folder: Path, **changes: object) -> None:
    """Change fields of the manifest of a recording that is still under way; PipelineError once it is sealed."""
    recording = read_recording(folder)
    if recording.sealed:
        raise PipelineError(f"{recording.id} is sealed; sealed recordings never change.")
    write_manifest(folder, recording.manifest.model_copy(update=changes))


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

    @property
    def frame_period_s(self) -> float:
        """Seconds from frame to frame: of the trigger pulses where there were some, else by the radar's own clock."""
        rate_hz = self.manifest.pulse_rate_hz
        return 1.0 / rate_hz if rate_hz else self.waveform.frame_period_s

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
    """The recording `recording_id` under `root`; PipelineError when there is none, and as `open_folder`."""
    folder = recording_folder(root, recording_id)
    if not folder.is_dir():
        raise PipelineError(
            f"There is no recording {recording_id!r} under {root}; `maepose list --root {root}` names the ones there are."
        )
    return open_folder(folder)


def open_folder(folder: Path) -> Recording:
    """The recording in `folder` of `recordings/`.

    Raises PipelineError where its manifest cannot be read or is another name's: all that is derived would go by two names.
    """
    recording = read_recording(folder)
    if recording.id != folder.name:
        raise PipelineError(
            f"{folder} holds the recording {recording.id}: the folder was renamed or copied, and must have the recording's name; "
            f"rename it back to {recording.id}, or, where that is there too, move the copy out of {folder.parent}."
        )
    return recording


def recording_ids(root: Path) -> list[str]:
    """Ids of all recordings under `root`, by name; those that are just being made, in hidden folders, are none yet."""
    return sorted(path.parent.name for path in recordings_folder(root).glob("[!.]*/recording.json"))


def matching(root: Path, asked: Sequence[str]) -> tuple[str, ...]:
    """Ids under `root` that are asked for, by name or by a pattern with `*`, `?` or `[...]`, each once.

    Raises PipelineError for a pattern that nothing matches; a plain name is passed on, for `open_recording` to judge.
    """
    there = recording_ids(root)
    names: dict[str, None] = {}
    for one in asked:
        found = fnmatch.filter(there, one) if re.search(r"[*?\[]", one) else [one]
        if not found:
            raise PipelineError(f"No recording under {root} matches {one!r}; `maepose list --root {root}` names them.")
        names |= dict.fromkeys(found)
    return tuple(names)


def read_recording(folder: Path) -> Recording:
    """Open a recording folder wherever it lies and whatever its name, as while it is being made."""
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
