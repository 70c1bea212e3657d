"""Somebody walking past, laid over maps: what another clip shows of its person, moved in range, azimuth and speed.

Echoes of two people add as complex samples (`maepose mix` adds them there). Maps hold powers, and where phases have
nothing to do with one another powers add on average; so this is that sum, of any two training clips, anew in every epoch.
Whoever passes by is made of training clips alone: nobody held out is ever among them.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from models.config import ClipConfig, Modality

Clip = Float[Tensor, "frame row column"]

DRAWS = 6
"""Numbers from 0 to 1 that a passer-by is made of."""
SPEED_MPS = 1.4
"""A passer-by comes or goes at up to so much: a walk."""
GAIN_DB = 6.0
"""Their echo is up to so much stronger or weaker than that of the clip they are taken from."""


class Walk(NamedTuple):
    """Who passes by each clip of a batch, and how."""

    there: Bool[np.ndarray, " batch"]
    of: Int64[np.ndarray, " batch"]
    """Row of the table whose clip they are taken from."""
    range_m: Float64[np.ndarray, " batch"]
    """How much farther they are in the first frame than in that clip."""
    speed_mps: Float64[np.ndarray, " batch"]
    """How much faster they recede, from the first frame to the last."""
    azimuth: Float64[np.ndarray, " batch"]
    """How much farther to the right, as a share of the columns."""
    gain_db: Float64[np.ndarray, " batch"]


def walk(probability: float, clip: ClipConfig, clips: int, uniform: Float64[np.ndarray, "batch draw"]) -> Walk:
    """Make choices of numbers from 0 to 1: anybody of `clips`, anywhere in the maps, at any walking speed."""
    depth_m = clip.range_bins * (clip.range_step_m or 0.0)
    signed = 2 * uniform - 1
    return Walk(
        there=uniform[:, 0] < probability,
        of=np.floor(uniform[:, 1] * clips).astype(np.int64),
        range_m=signed[:, 2] * depth_m / 2,
        speed_mps=signed[:, 3] * SPEED_MPS,
        azimuth=signed[:, 4] / 2,
        gain_db=signed[:, 5] * GAIN_DB,
    )


def moved(name: Modality, values: Clip, clip: ClipConfig, walk: Walk, row: int, period_s: float) -> Clip:
    """Maps of one clip as if its person were elsewhere and walked, for row `row` of the batch; what leaves the maps is gone."""
    range_step_m, velocity_step_mps = clip.range_step_m or np.inf, clip.velocity_step_mps or np.inf
    shift = walk.speed_mps[row] / velocity_step_mps if name == "rd" else walk.azimuth[row] * clip.azimuth_bins
    found = torch.zeros_like(values)
    for frame in range(len(values)):
        away_m = walk.range_m[row] + walk.speed_mps[row] * frame * period_s
        _shift(values[frame], found[frame], round(away_m / range_step_m), round(shift))
    return found


def added(name: Modality, values: Clip, other: Clip, clip: ClipConfig, gain_db: float) -> Clip:
    """Power of two clips together, scaled as they are; of `other` only what stands out of the floor: noise is there once."""
    low, high = clip.window_db[name]
    mean, deviation = clip.levels.get(name, (0.0, 0.0))
    nepers = (high - low) * np.log(10) / 10
    above = torch.where(other > mean + deviation, torch.expm1(other * nepers), 0.0)
    return (torch.log(torch.exp(values * nepers) + 10 ** (gain_db / 10) * above) / nepers).clamp_(0, 1)


def _shift(values: Float[Tensor, "row column"], into: Float[Tensor, "row column"], rows: int, columns: int) -> None:
    """`into[r + rows, c + columns] = values[r, c]` wherever both are there."""
    (to_row, of_row), (to_column, of_column) = (
        (slice(max(by, 0), n + min(by, 0)), slice(max(-by, 0), n - max(by, 0)))
        for by, n in zip((rows, columns), values.shape, strict=True)
    )
    if abs(rows) < values.shape[0] and abs(columns) < values.shape[1]:
        into[to_row, to_column] = values[of_row, of_column]
