"""What the figures show, taken from recordings, model files and tables of predictions (`models.figures` draws it)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from models.batch import PoseOutput
from models.checkpoints import load_model
from models.clips import recording_labels
from models.config import MaskedConfig, Modality
from models.figures import MapExtent, MaskedClip, PoseStrip, mean_error
from models.maps import MapReader
from models.masked import MaskedAutoencoder
from models.predicting import clip_ends
from pipeline.cube import open_cube
from pipeline.errors import PipelineError
from pipeline.labels import read_labels
from pipeline.predictions import prediction_arrays, read_predictions
from pipeline.skeleton import JOINTS


@dataclass(frozen=True)
class SideBySide:
    """The truth and every method's poses at the same frames. NaN where the truth is masked."""

    frames: Int64[np.ndarray, " moment"]
    truth: Float[np.ndarray, "moment joint 2"]
    methods: dict[str, Float[np.ndarray, "moment joint 2"]]

    def errors(self) -> dict[str, float]:
        """Mean distance of each method from the truth, in shares of the picture."""
        return {name: mean_error(poses, self.truth) for name, poses in self.methods.items()}


def masked_clips(root: Path, recording_id: str, model: Path, *, seed: int = 42) -> list[MaskedClip]:
    """The liveliest clip of a recording through a pre-trained autoencoder, one entry a modality; `seed` chooses the mask.

    Raises PipelineError when `model` is no autoencoder, and when the recording has no cube or no whole clip.
    """
    network, card = load_model(model, "masked")
    assert isinstance(network, MaskedAutoencoder)
    assert isinstance(card.network, MaskedConfig)
    clip = card.clip
    reader = MapReader(root, recording_id, clip)
    begin = _liveliest(reader, _ends(reader, clip.frames)) - clip.frames + 1
    maps = {name: _batch(reader.scaled(name, begin, begin + clip.frames)) for name in clip.modalities}
    with torch.inference_mode():
        mask = network(maps, torch.Generator().manual_seed(seed)).mask
        videos = network.reconstruct(maps, mask)
    return [
        MaskedClip(
            name,
            map_extent(reader, name),
            reader.cube.time_s[begin : begin + clip.frames],
            maps[name][0, 0].numpy(),
            hidden_cells(mask[name], network.encoder.grids[name], card.network.encoder.patch)[0],
            videos[name][0, 0].numpy(),
        )
        for name in clip.modalities
    ]


def side_by_side(
    root: Path, recording_id: str, models: Iterable[str], still: Mapping[str, Float[np.ndarray, "joint 2"]]
) -> SideBySide:
    """The frames of a recording that are labelled and predicted by all of `models` (names of tables of predictions).

    `still` are further methods, which say one pose whatever the radar sees. Raises PipelineError where a table is missing or was
    made from another cube than there is now, and where no frame is both.
    """
    stored = {name: read_predictions(root, recording_id, name) for name in models}
    cube_key = open_cube(root, recording_id).key
    if stale := [name for name, predictions in stored.items() if predictions.making.cube_key != cube_key]:
        raise PipelineError(
            f"Poses of {recording_id} by {', '.join(stale)} were predicted from another cube than there is now; "
            f"run `maepose predict {recording_id}` with that model again."
        )
    tables = {name: predictions.table for name, predictions in stored.items()}
    frames = 1 + max(int(table["frame"].max()) for table in tables.values())
    predicted = {name: prediction_arrays(table, frames).uv for name, table in tables.items()}
    truth, confidence = recording_labels(root, recording_id, frames)
    known = (confidence > 0).any(axis=1)
    for uv in predicted.values():
        known &= np.isfinite(uv).all(axis=(1, 2))
    chosen = np.flatnonzero(known)
    if not len(chosen):
        raise PipelineError(f"No frame of {recording_id} is both labelled and predicted by {' and '.join(tables)}.")
    methods = {name: uv[chosen] for name, uv in predicted.items()}
    methods |= {name: np.repeat(pose[None], len(chosen), axis=0) for name, pose in still.items()}
    return SideBySide(chosen, np.where(confidence[chosen, :, None] > 0, truth[chosen], np.nan), methods)


def pose_strip(
    root: Path, recording_id: str, models: Mapping[str, Path], poses: SideBySide, moments: int = 6
) -> PoseStrip:
    """`moments` of `poses`, evenly spread, with the maps that the first of `models` reads and the heatmaps there are.

    Raises PipelineError where a file is no pose model, and where the recording has no fitting cube.
    """
    at = np.unique(np.linspace(0, len(poses.frames) - 1, moments).round().astype(int))
    frames = poses.frames[at]
    loaded = {name: load_model(path, "pose") for name, path in models.items()}
    readers = {name: MapReader(root, recording_id, card.clip) for name, (_, card) in loaded.items()}
    first = next(iter(readers.values()))
    heatmaps = {name: _heatmaps(network, readers[name], frames) for name, (network, _) in loaded.items()}
    return PoseStrip(
        time_s=first.cube.time_s[frames],
        maps={name: (map_extent(first, name), _maps(first, name, frames)) for name in first.clip.modalities},
        truth=poses.truth[at],
        methods={name: pose[at] for name, pose in poses.methods.items()},
        heatmaps={name: values for name, values in heatmaps.items() if values is not None},
        size_px=_picture_px(root, recording_id),
    )


def mean_pose(root: Path, recordings: Sequence[str]) -> Float64[np.ndarray, "joint 2"]:
    """Mean place of each joint over all labels of `recordings`: what can be said without looking at the radar."""
    total, weight = np.zeros((len(JOINTS), 2)), np.zeros((len(JOINTS), 1))
    for name in recordings:
        uv, confidence = recording_labels(root, name, int(read_labels(root, name).table["frame"].max()) + 1)
        seen = confidence[..., None] > 0
        total, weight = total + (uv * seen).sum(axis=0), weight + seen.sum(axis=0)
    return total / np.maximum(weight, 1)


def map_extent(reader: MapReader, modality: Modality) -> MapExtent:
    """Borders of the maps that `reader` gives, padding included."""
    clip, axes = reader.clip, reader.cube.axes
    range_step_m = float(axes.range_m[1] - axes.range_m[0])  # negative where far range comes first
    near_m = float(axes.range_m[reader.rows.start]) - range_step_m / 2
    across = axes.velocity_mps if modality == "rd" else np.sin(np.radians(axes.azimuth_deg))
    columns = clip.columns(modality)
    step = float(across[len(across) // 2] - across[len(across) // 2 - 1])
    left = -(columns // 2 + 0.5) * step
    return MapExtent(near_m, near_m + clip.range_bins * range_step_m, left, left + columns * step)


def hidden_cells(
    mask: Bool[Tensor, "batch token"], grid: tuple[int, int, int], patch: tuple[int, int, int]
) -> Bool[np.ndarray, "batch frame row column"]:
    """A mask of one modality's tokens (True: hidden) as cells of its maps."""
    cells = mask.cpu().numpy().reshape(len(mask), *grid)
    for axis, size in enumerate(patch, 1):
        cells = np.repeat(cells, size, axis=axis)
    return cells


def _heatmaps(
    network: torch.nn.Module, reader: MapReader, frames: Int64[np.ndarray, " moment"]
) -> Float[np.ndarray, "moment joint down across"] | None:
    """Heatmaps at the last target of the clips whose last target is each of `frames`; None where the head makes none.

    Of head `simcc` what its two lines say together: the chance of each row times that of each column, each joint's highest as 1.
    """
    clip, made = reader.clip, []
    for frame in frames.tolist():
        begin = frame - clip.targets[-1]
        maps = {name: _batch(reader.scaled(name, begin, begin + clip.frames)) for name in clip.modalities}
        with torch.inference_mode():
            output: PoseOutput = network(maps)
        if output.heatmaps is not None:
            made.append(output.heatmaps[0, -1].numpy())
        elif output.lines is not None:
            across, down = (line[0, -1].softmax(dim=-1).numpy() for line in output.lines)
            both = down[:, :, None] * across[:, None, :]
            made.append(both / both.max(axis=(1, 2), keepdims=True))
        else:
            return None
    return np.stack(made)


def _maps(
    reader: MapReader, modality: Modality, frames: Int64[np.ndarray, " moment"]
) -> Float[np.ndarray, "moment row column"]:
    return np.concatenate([reader.scaled(modality, frame, frame + 1) for frame in frames.tolist()])


def _batch(maps: Float[np.ndarray, "frame row column"]) -> Tensor:
    return torch.from_numpy(maps)[None, None]


def _ends(reader: MapReader, clip_frames: int) -> Int64[np.ndarray, " clip"]:
    ends = clip_ends(reader.valid, clip_frames)
    if not len(ends):
        raise PipelineError(f"{reader.recording_id} has no {clip_frames} frames in a row without lost bytes to show.")
    return ends


def _liveliest(reader: MapReader, ends: Int64[np.ndarray, " clip"]) -> int:
    """Last frame of the clip whose maps change most from frame to frame."""
    maps = reader.scaled(reader.clip.modalities[0], 0, reader.frames)
    change = np.concatenate([[0.0], np.abs(np.diff(maps, axis=0)).mean(axis=(1, 2))])
    within = np.convolve(change, np.ones(reader.clip.frames))[: len(change)]
    return int(ends[np.argmax(within[ends])])


def _picture_px(root: Path, recording_id: str) -> tuple[int, int]:
    """Width and height of the picture that labels are shares of."""
    making = read_labels(root, recording_id).making
    return making.picture_px if making is not None and making.picture_px is not None else (640, 480)
