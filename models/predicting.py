"""A model's poses of a recording: one a frame, from the clip that ends there, as a live display would have had them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor, nn

from models.batch import PoseOutput
from models.checkpoints import load_model, read_card
from models.config import ClipConfig, Modality
from models.maps import MapReader
from models.metrics import plane_depth_m
from pipeline.camera_geometry import pixel_to_metres, shares_px
from pipeline.errors import PipelineError
from pipeline.labels import label_arrays, labels_path, read_labels
from pipeline.predictions import (
    PredictionMaking,
    Predictions,
    prediction_table,
    predictions_path,
    read_predictions,
    write_predictions,
)
from pipeline.provenance import sha256_file, sha256_json
from pipeline.recording import open_recording
from pipeline.skeleton import JOINTS

ALGORITHM_VERSION = "1"  # part of every table's key: raise it when the same model and cube give other numbers


class Pose(NamedTuple):
    """Joints of one frame: shares of the picture's width and height, and the network's peak there (NaN: its head has none)."""

    uv: Float64[np.ndarray, "joint 2"]
    score: Float64[np.ndarray, " joint"]


@dataclass(frozen=True)
class PredictionResult:
    """What `predict` did. `clips_per_s` counts reading, scaling and the network; 0 where nothing had to be done."""

    recording: str
    model: str
    path: Path
    frames: int
    frames_predicted: int
    rebuilt: bool
    seconds: float
    simulated: bool
    scale_source: str

    @property
    def clips_per_s(self) -> float:
        return self.frames_predicted / self.seconds if self.rebuilt and self.seconds else 0.0


def predict(
    root: Path,
    recording_id: str,
    model: Path,
    *,
    name: str | None = None,
    device: str = "cpu",
    batch: int = 16,
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> PredictionResult:
    """Write `predictions/<id>.<name>.parquet` unless it stands there with the right key; `force` makes it anew.

    `name` None takes that of the folder the model file lies in. `on_progress(frames done, frames)` is called after each batch.
    Frames that no run of whole frames of a clip's length ends at get no rows. Raises PipelineError when the file is no pose
    model, when the recording has no fitting cube, and when no clip fits between its gaps.
    """
    started = time.perf_counter()
    name = name or model.resolve().parent.name
    card = read_card(model, "pose")
    reader = MapReader(root, recording_id, card.clip)
    lag = card.clip.frames - 1 - card.clip.targets[-1]
    digest = sha256_file(model)
    depends_on = [ALGORITHM_VERSION, digest, reader.cube.key, _labels_digest(root, recording_id)]
    key = sha256_json(depends_on)
    table = None if force else _current(root, recording_id, name, key)
    rebuilt = table is None
    if table is None:
        ends = clip_ends(reader.valid, card.clip.frames)
        if not len(ends):
            raise PipelineError(
                f"{recording_id} has no {card.clip.frames} frames in a row without lost bytes, so {name} cannot predict it."
            )
        network, _ = load_model(model, "pose")
        poses: list[Pose] = []
        for maps in _batches(reader, card.clip, ends, batch):
            poses += poses_of(network, maps, device)
            if on_progress is not None:
                on_progress(len(poses), len(ends))
        uv, score = np.stack([pose.uv for pose in poses]), np.stack([pose.score for pose in poses])
        xyz_m, source = _metres(root, recording_id, ends - lag, uv)
        table = prediction_table(ends - lag, uv, score, xyz_m, source)
        making = PredictionMaking(
            key=key,
            algorithm_version=ALGORITHM_VERSION,
            model_sha256=digest,
            card=card.model_dump(mode="json"),
            cube_key=reader.cube.key,
            lag_frames=lag,
            simulated=reader.cube.simulated,
        )
        write_predictions(root, recording_id, Predictions(table, name, making))
    scales = set(table["scale_source"]) - {"none"}
    return PredictionResult(
        recording=recording_id,
        model=name,
        path=predictions_path(root, recording_id, name),
        frames=reader.frames,
        frames_predicted=len(table) // len(JOINTS),
        rebuilt=rebuilt,
        seconds=time.perf_counter() - started,
        simulated=reader.cube.simulated,
        scale_source=", ".join(sorted(scales)) or "none",
    )


def clip_ends(valid: Bool[np.ndarray, " frame"], clip_frames: int) -> Int64[np.ndarray, " clip"]:
    """Last frames of every run of `clip_frames` whole frames."""
    whole = np.concatenate([[0], np.cumsum(valid)])
    return np.flatnonzero(whole[clip_frames:] - whole[:-clip_frames] == clip_frames) + clip_frames - 1


@torch.inference_mode()
def poses_of(network: nn.Module, maps: dict[Modality, Tensor], device: str = "cpu") -> list[Pose]:
    """The pose at the last target of each clip of `maps` ((clip, 1, frame, row, column) a modality)."""
    output: PoseOutput = network.to(device)({name: values.to(device) for name, values in maps.items()})
    uv = output.uv[:, -1].double().cpu().numpy()
    height = peaks(output)
    score = np.full(uv.shape[:2], np.nan) if height is None else height[:, -1].double().cpu().numpy()
    return [Pose(*pair) for pair in zip(uv, score, strict=True)]


def peaks(output: PoseOutput) -> Tensor | None:
    """Height of each joint's peak (clip, target, joint): of its heatmap, or of its two lines together; None without either."""
    if output.heatmaps is not None:
        return output.heatmaps.flatten(3).amax(dim=-1)
    if output.lines is not None:
        across, down = (line.softmax(dim=-1).amax(dim=-1) for line in output.lines)
        return (across * down).sqrt()
    return None


def _batches(
    reader: MapReader, clip: ClipConfig, ends: Int64[np.ndarray, " clip"], batch: int
) -> Iterator[dict[Modality, Tensor]]:
    """Clips that end at `ends`, a batch at a time and in order; every frame is read once, and few are held."""
    borders = np.flatnonzero(np.diff(ends) > 1) + 1
    for first, stop in pairwise([0, *borders, len(ends)]):
        held: dict[Modality, Float32[np.ndarray, "frame row column"]] = {}
        for at in range(first, stop, batch):
            last = int(ends[min(at + batch, stop) - 1])
            for name in clip.modalities:
                known = held[name][1 - clip.frames :] if name in held and clip.frames > 1 else None
                begin = int(ends[at]) + 1 - (1 if known is not None else clip.frames)
                new = reader.scaled(name, begin, last + 1)
                held[name] = new if known is None else np.concatenate([known, new])
            yield {name: _clips(values, clip.frames) for name, values in held.items()}


def _clips(maps: Float32[np.ndarray, "frame row column"], clip_frames: int) -> Tensor:
    """Every run of `clip_frames` frames as (clip, 1, frame, row, column): views, not copies."""
    return torch.from_numpy(maps).unfold(0, clip_frames, 1).permute(0, 3, 1, 2)[:, None]


def _current(root: Path, recording_id: str, name: str, key: str) -> pd.DataFrame | None:
    """The table that is there already with this key."""
    try:
        found = read_predictions(root, recording_id, name)
    except PipelineError:
        return None
    return found.table if found.making.key == key else None


def _labels_digest(root: Path, recording_id: str) -> str:
    """Of the labels that metres come from; empty where there are none."""
    path = labels_path(root, recording_id)
    return sha256_file(path) if path.exists() else ""


def _metres(
    root: Path, recording_id: str, frames: Int64[np.ndarray, " frame"], uv: Float64[np.ndarray, "frame joint 2"]
) -> tuple[Float64[np.ndarray, "frame joint 3"] | None, str]:
    """Camera coordinates in the plane at the labels' depth of shoulders and hips (paper.md, "Protocol"), and its source.

    None and `none` without labels that have metres, or without a camera whose intrinsics are known.
    """
    camera = open_recording(root, recording_id).manifest.camera
    intrinsics = camera.color if camera is not None else None
    if intrinsics is None or not labels_path(root, recording_id).exists():
        return None, "none"
    table = read_labels(root, recording_id).table
    sources = sorted(set(table.loc[table["z_m"].notna(), "scale_source"]) - {"none"})
    if not sources:
        return None, "none"
    depth_m = label_arrays(table, int(frames.max()) + 1).xyz_m[frames][:, None, :, 2]
    plane_m = plane_depth_m(depth_m, np.ones_like(depth_m))
    depth = np.broadcast_to(plane_m[:, None], uv.shape[:2])
    return pixel_to_metres(shares_px(uv, intrinsics), depth, intrinsics), ", ".join(sources)
