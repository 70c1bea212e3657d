"""Where clips begin, and the labels of their frames: tables over recordings, no radar data."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int64

from models.config import ClipConfig
from models.maps import MapReader
from pipeline.errors import PipelineError
from pipeline.labels import label_arrays, read_labels
from pipeline.recording import Recording, open_recording
from pipeline.skeleton import JOINTS
from pipeline.sync import read_sync

COLUMNS = {
    "recording": "string",
    "start": "int64",
    "participant": "string",
    "action": "string",
    "earliest": "int64",
    "latest": "int64",
}
"""`start` is a clip's first frame; begun anywhere from `earliest` to `latest` it lies in the same stretch of whole frames.
`participant` and `action` are empty where the recording does not say."""


def clip_table(root: Path, recordings: Sequence[str], clip: ClipConfig, *, stride: int, labelled: bool) -> pd.DataFrame:
    """Every clip of `recordings`, one each `stride` frames: columns `COLUMNS`; recordings as given, clips by their start.

    A clip never reaches across a frame that lost bytes, a pulse the radar missed, the border of an action's segment, or out of
    the part of the recording that `clip` is taken from.
    `labelled`: only clips with at least one joint seen in at least one target frame.
    Raises PipelineError for no recordings at all, one without cube (or, `labelled`, without labels), and where no clip is left.
    """
    if not recordings:
        raise PipelineError("There are no recordings to take clips from; the split is empty.")
    if stride < 1:
        raise PipelineError(f"Clips begin every {stride} frames, which is no distance; choose a stride of 1 or more.")
    tables = [_clips_of(root, name, clip, stride) for name in recordings]
    table = pd.concat(tables, ignore_index=True).astype(COLUMNS)
    if table.empty:
        raise PipelineError(
            f"No clip of {clip.frames} frames fits into {_named(recordings)}: "
            "every stretch without loss inside one action is shorter; use longer recordings or shorter clips."
        )
    if not labelled:
        return table
    seen = (target_labels(root, table, clip)[1] > 0).any(axis=(1, 2))
    if not seen.any():
        raise PipelineError(
            f"All labels of {_named(recordings)} are masked in every target frame, so there is nothing to learn from; label anew."
        )
    return table.iloc[np.flatnonzero(seen)].reset_index(drop=True)


def target_labels(
    root: Path, table: pd.DataFrame, clip: ClipConfig
) -> tuple[Float32[np.ndarray, "clip target joint 2"], Float32[np.ndarray, "clip target joint"]]:
    """Joints at the target frames of each clip of `table`: shares of the picture, and confidence; both 0 where not seen.

    Raises PipelineError for a recording without labels.
    """
    uv, confidence = frame_labels(root, table, clip)
    return uv[:, list(clip.targets)], confidence[:, list(clip.targets)]


def frame_labels(
    root: Path, table: pd.DataFrame, clip: ClipConfig
) -> tuple[Float32[np.ndarray, "clip frame joint 2"], Float32[np.ndarray, "clip frame joint"]]:
    """As `target_labels`, at every frame of each clip."""
    uv = np.zeros((len(table), clip.frames, len(JOINTS), 2), np.float32)
    confidence = np.zeros(uv.shape[:3], np.float32)
    starts = table["start"].to_numpy()
    for name, rows in table.groupby("recording", sort=False).indices.items():
        frames = starts[rows][:, None] + np.arange(clip.frames)
        uv_all, confidence_all = recording_labels(root, str(name), int(frames.max()) + 1)
        uv[rows], confidence[rows] = uv_all[frames], confidence_all[frames]
    return uv, confidence


def recording_labels(
    root: Path, recording_id: str, frames: int
) -> tuple[Float32[np.ndarray, "frame joint 2"], Float32[np.ndarray, "frame joint"]]:
    """Joints of frames 0 to `frames` - 1: shares of the picture, and confidence; both 0 where a joint was not seen."""
    arrays = label_arrays(read_labels(root, recording_id).table, frames)
    known = np.isfinite(arrays.uv).all(axis=-1) & (arrays.confidence > 0)
    uv = np.where(known[..., None], arrays.uv, 0).astype(np.float32)
    return uv, np.where(known, arrays.confidence, 0).astype(np.float32)


def _clips_of(root: Path, recording_id: str, clip: ClipConfig, stride: int) -> pd.DataFrame:
    recording = open_recording(root, recording_id)
    valid = MapReader(root, recording_id, clip).valid
    rows = []
    begin, end = (round(share * len(valid)) for share in clip.part)
    for first, stop, action in stretches(recording, valid):
        first, stop = max(first, begin), min(stop, end)
        latest = stop - clip.frames
        rows += [(recording_id, start, first, latest, action) for start in range(first, latest + 1, stride)]
    table = pd.DataFrame(rows, columns=["recording", "start", "earliest", "latest", "action"])
    return table.assign(participant=recording.manifest.participant or "")[list(COLUMNS)].astype(COLUMNS)


def stretches(recording: Recording, valid: Bool[np.ndarray, " frame"]) -> list[tuple[int, int, str]]:
    """Frames that follow one another without a break: first, one past the last, and the action (empty: none was named)."""
    actions = np.full(len(valid), -1)
    for number, segment in enumerate(recording.manifest.segments):
        actions[segment.start_frame : segment.stop_frame] = number
    new = np.ones(len(valid), bool)
    new[1:] = (actions[1:] != actions[:-1]) | ~valid[1:] | ~valid[:-1] | (np.diff(_pulses(recording, len(valid))) > 1)
    edges = [*np.flatnonzero(new), len(valid)]
    names = [segment.action for segment in recording.manifest.segments]
    return [
        (int(first), int(stop), names[actions[first]] if actions[first] >= 0 else "")
        for first, stop in pairwise(edges)
        if valid[first]
    ]


def _pulses(recording: Recording, frames: int) -> Int64[np.ndarray, " frame"]:
    """Number of the pulse that began each frame; one after another where nothing else is known."""
    numbers = np.arange(frames, dtype=np.int64)
    if not (recording.folder / "sync.parquet").exists():
        return numbers
    table, _ = read_sync(recording.folder)
    rows = table[table["radar_frame"].between(0, frames - 1) & (table["pulse"] >= 0)].drop_duplicates("radar_frame")
    known = rows["radar_frame"].to_numpy()
    if not len(known):
        return numbers
    # a frame without a pulse of its own follows the one before it
    last = np.maximum.accumulate(np.where(np.isin(numbers, known), numbers, -1))
    pulse = np.zeros(frames, np.int64)
    pulse[known] = rows["pulse"].to_numpy()
    return np.where(last >= 0, pulse[last] + numbers - last, numbers - known[0] + pulse[known[0]])


def _named(recordings: Sequence[str]) -> str:
    return recordings[0] if len(recordings) == 1 else f"these {len(recordings)} recordings"
