"""Measures of one unit's predictions of one test set: whole, by action, by joint, and by bins of distance and speed."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from models.metrics import errors_by, errors_by_joint, joint_distances, pose_errors
from models.truth_frames import TruthFrames

BINS = 5
"""Bins hold equally many labelled frames of a data set, so that each is judged on as much as the others."""
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
    by_bin: list[Row]
    """quantity, bin, frames"""
    scale_source: str


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
    truth: TruthFrames, at: Int64[np.ndarray, " frame"], places: Float64[np.ndarray, "frame joint 2"], bins: list[Bins]
) -> UnitMeasures:
    """`at`: positions in `truth` of the frames that `places` predict. Each frame counts as a clip of one target.

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
        [row for one in bins for row in _by_bin(off, one.at[at], one)],
        source,
    )


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
