"""Measures of units' predictions: of each test set whole, by action, joint, target frame, and bins of distance and speed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from models.metrics import errors_by, errors_by_joint, errors_by_target, joint_distances, pose_errors
from models.truth_frames import TruthFrames
from pipeline.errors import PipelineError

BINS = 5
"""Bins hold equally many labelled frames of a data set, so that each is judged on as much as the others."""
KEYS = ["split", "trained_on", "test_set", "modality", "method", "held_out", "seed"]
"""What every row of a long table begins with (`models.evaluation.Evaluation`)."""
Row = tuple[object, ...]


@dataclass(frozen=True)
class Bins:
    """One quantity's bins over a data set: `at` the bin of each labelled frame (-1: none), and a row a bin in `table`."""

    quantity: str
    unit: str
    at: Int64[np.ndarray, " frame"]
    table: pd.DataFrame
    """Index bin; low, middle (median), high."""


class UnitMeasures(NamedTuple):
    """Rows of long tables; each ends with a metric and its value."""

    values: list[Row]
    by_action: list[Row]
    by_joint: list[Row]
    by_target: list[Row]
    by_bin: list[Row]
    """quantity, bin, frames"""
    scale_source: str


@dataclass(frozen=True)
class UnitRows:
    """One unit's predictions of one test set of one person, and what of `KEYS` it is; `modalities` it stands under."""

    split: str
    trained_on: str
    test_set: str
    modalities: tuple[str, ...]
    method: str
    held_out: str
    seed: int
    rows: pd.DataFrame
    """recording, frame, joint, u, v"""


@dataclass(frozen=True)
class Measured:
    """The long tables of an `Evaluation`, and the scale that every fold of a data set has."""

    values: pd.DataFrame
    by_action: pd.DataFrame
    by_joint: pd.DataFrame
    by_target: pd.DataFrame
    by_bin: pd.DataFrame
    scale_source: dict[str, str]


def measure(units: Iterable[UnitRows], truth: dict[str, TruthFrames], targets: Sequence[int]) -> Measured:
    """Every unit on every test set; `targets`: frames of a clip that a pose is predicted for.

    Raises PipelineError for predictions that do not fit the truth, a fold without labels, and a unit that does not predict the
    same frames as the others of its fold.
    """
    bins = {name: _bins(frames) for name, frames in truth.items()}
    clips = {name: frames.clips(targets) for name, frames in truth.items()}
    rows: tuple[list[Row], ...] = ([], [], [], [], [])
    sources: dict[str, set[str]] = {name: set() for name in truth}
    folds: dict[Row, tuple[str, bytes]] = {}
    for unit in units:
        frames = truth[unit.test_set]
        what = f"{unit.method} ({'/'.join(unit.modalities)}, without {unit.held_out}, seed {unit.seed})"
        at, places = frames.at(unit.rows, f"{what} on {unit.test_set}")
        if not (frames.confidence[at] > 0).any():
            raise PipelineError(
                f"The fold of {unit.held_out} has no labels on {unit.test_set}; label the recordings or leave the person out."
            )
        fold = (unit.split, unit.trained_on, unit.test_set, unit.held_out)
        other, wanted = folds.setdefault(fold, (what, at.tobytes()))
        if wanted != at.tobytes():
            raise PipelineError(
                f"{what} and {other} predict different frames of {unit.test_set}, so they cannot be compared; "
                "remove their predictions and run the study again."
            )
        its = clips[unit.test_set][at]
        if unit.split == "inside":  # clips of a last fifth may lie across the others
            its = np.full_like(its, -1)
        measured = measure_unit(frames, at, places, bins[unit.test_set], its, targets)
        sources[unit.test_set].add(measured.scale_source)
        for modality in unit.modalities:
            keys = (unit.split, unit.trained_on, unit.test_set, modality, unit.method, unit.held_out, unit.seed)
            for table, found in zip(rows, measured[:5], strict=True):
                table += [(*keys, *row) for row in found]
    if not rows[0]:
        raise PipelineError("The study has no predictions yet; run `maepose study` first.")
    by: tuple[list[str], ...] = ([], ["action"], ["joint"], ["target"], ["quantity", "bin", "frames"])
    tables = [
        pd.DataFrame(found, columns=[*KEYS, *more, "metric", "value"]) for found, more in zip(rows, by, strict=True)
    ]
    edges = pd.concat(
        one.table.assign(test_set=name, quantity=one.quantity, unit=one.unit) for name in bins for one in bins[name]
    )
    tables[-1] = tables[-1].merge(
        edges.rename_axis("bin").reset_index(), how="left", on=["test_set", "quantity", "bin"]
    )
    values, by_action, by_joint, by_target, by_bin = tables
    scales = {name: _one_scale(found) for name, found in sources.items()}
    return Measured(values, by_action, by_joint, by_target, by_bin, scales)


def bins_of(quantity: str, unit: str, values: Float64[np.ndarray, " frame"]) -> Bins:
    """Up to `BINS` bins of equally many frames; fewer where values repeat (to a thousandth), none where all are NaN."""
    values = values.round(3)
    known = np.isfinite(values)
    if not known.any():
        return Bins(quantity, unit, np.full(len(values), -1), pd.DataFrame(columns=["low", "middle", "high"]))
    inner = np.unique(np.quantile(values[known], np.arange(1, BINS) / BINS))
    inner = inner[inner > values[known].min()]  # a first bin without frames would be none
    at = np.where(known, np.searchsorted(inner, np.where(known, values, 0), side="right"), -1)
    groups = pd.Series(values[known]).groupby(at[known])
    table = pd.DataFrame({"low": groups.min(), "middle": groups.median(), "high": groups.max()})
    return Bins(quantity, unit, at, table)


def measure_unit(
    truth: TruthFrames,
    at: Int64[np.ndarray, " frame"],
    places: Float64[np.ndarray, "frame joint 2"],
    bins: list[Bins],
    clips: Int64[np.ndarray, "frame 2"],
    targets: Sequence[int],
) -> UnitMeasures:
    """`at`: positions in `truth` of the frames that `places` predict, `clips` their clips and targets (`TruthFrames.clips`).

    Each frame counts as a clip of one target, but by target.

    Raises PipelineError as `models.metrics.pose_errors`.
    """
    predicted, true, confidence = places[:, None], truth.uv[at][:, None], truth.confidence[at][:, None]
    view = truth.view(at)
    whole = dict(pose_errors(predicted, true, confidence, view))
    source = str(whole.pop("scale_source", "none"))
    actions = errors_by(list(truth.action[at]), predicted, true, confidence, view).drop(
        columns="scale_source", errors="ignore"
    )
    off = joint_distances(predicted, true, confidence)[:, 0]
    return UnitMeasures(
        list(whole.items()),
        _long(actions),
        _long(errors_by_joint(predicted, true, confidence)),
        _by_target(places, truth.uv[at], truth.confidence[at], clips, targets),
        [row for one in bins for row in _by_bin(off, one.at[at], one)],
        source,
    )


def _by_target(
    places: Float64[np.ndarray, "frame joint 2"],
    true: Float64[np.ndarray, "frame joint 2"],
    confidence: Float64[np.ndarray, "frame joint"],
    clips: Int64[np.ndarray, "frame 2"],
    targets: Sequence[int],
) -> list[Row]:
    """Of frames whose place in a clip is known, by the frame of the clip; what no clip has is masked."""
    known = clips[:, 0] >= 0
    if not (confidence[known] > 0).any():
        return []
    numbers, clip = np.unique(clips[known, 0], return_inverse=True)
    where, shape = (clip, clips[known, 1]), (len(numbers), len(targets), *confidence.shape[1:])
    predicted, labels, seen = np.zeros((*shape, 2)), np.zeros((*shape, 2)), np.zeros(shape)
    predicted[where], labels[where], seen[where] = places[known], true[known], confidence[known]
    return _long(errors_by_target(predicted, labels, seen).set_axis(list(targets)))


def _long(wide: pd.DataFrame) -> list[Row]:
    values = wide.to_numpy(np.float64).tolist()
    return [
        (key, name, value)
        for key, row in zip(wide.index, values, strict=True)
        for name, value in zip(wide, row, strict=True)
    ]


def _by_bin(off: Float64[np.ndarray, "frame joint"], which: Int64[np.ndarray, " frame"], bins: Bins) -> list[Row]:
    seen = np.isfinite(off)
    inside = (which >= 0) & seen.any(axis=1)
    count = int(which.max(initial=-1)) + 1
    total, joints, frames = (
        np.bincount(which[inside], weight[inside], count)
        for weight in (np.where(seen, off, 0).sum(axis=1), seen.sum(axis=1), np.ones(len(off)))
    )
    there = np.flatnonzero(frames)
    return [(bins.quantity, int(n), int(frames[n]), "mpjpe_norm", total[n] / joints[n]) for n in there]


def _one_scale(sources: set[str]) -> str:
    return "none" if not sources or "none" in sources else "+".join(sorted(sources))


def _bins(truth: TruthFrames) -> list[Bins]:
    speed_unit = "m/s" if truth.in_metres else "picture/s"
    speeds = truth.speeds()
    return [
        bins_of("range", "m", truth.range_m),
        *(bins_of(name, speed_unit, speeds[name].to_numpy()) for name in ("root_speed", "joint_speed")),
    ]
