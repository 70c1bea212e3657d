"""What is wrong with labels that needs no second opinion: joints that jump, bones that stretch or flicker, sides exchanged.

Everything is measured against the person's own stature in the picture, so it holds for tall and short, near and far.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64

from processing.labelling.tracking_sightings import BONES

# Fastest a joint moves, statures a second, as a mean over 0.1 s: a wrist in a hard throw or punch 7 m/s, a kicking ankle about
# as much; elbows and knees half of that; a trunk at a sprinter's start 3.5 m/s. Rehabilitation and yoga stay under a third.
SPEED_LIMIT = np.array([2.0, 2.0, 3.0, 4.0, 2.0, 3.0, 4.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0])
STRETCH_LIMIT = 1.5  # times a bone's usual length: bodies differ by a tenth, and the stature's estimate by another
_STEP_FRAMES = 2  # labels so many radar frames apart at most are one step
_AROUND = (
    20  # labelled frames on either side from which the stature is taken: turned away, bones look short for a while
)
_SWAPPED_FIT = 0.5  # exchanged sides fit the frame before at less than this share of the distance
_SWAP_APART = 0.04  # of stature: sides so close together cannot be told apart anyway

ARMS, LEGS = ((1, 4), (2, 5), (3, 6)), ((7, 8), (9, 10), (11, 12))
_FIRST, _SECOND = np.array(list(BONES)).T
_SHARE = np.array(list(BONES.values()))


@dataclass(frozen=True)
class Defects:
    """By labelled frame, in order. A step belongs to the frame it leads to; frame 0 has none."""

    jumped: Bool[np.ndarray, "frame joint"]
    stretched: Bool[np.ndarray, "frame bone"]
    flicker: Float64[np.ndarray, "frame bone"]  # change of length since the frame before, share of the bone; NaN
    swapped: Bool[np.ndarray, "frame group"]  # arms, legs
    moved: Bool[np.ndarray, "frame joint"]  # joints with a step
    measured: Bool[np.ndarray, "frame bone"]  # bones with a length

    @cached_property
    def jump_share(self) -> float:
        """Of all steps of all joints."""
        return float(self.jumped.sum() / max(int(self.moved.sum()), 1))

    @cached_property
    def stretched_share(self) -> float:
        """Of all lengths of all bones."""
        return float(self.stretched.sum() / max(int(self.measured.sum()), 1))

    @cached_property
    def swap_share(self) -> float:
        """Of all frames with a step; a swap for one frame counts twice, there and back."""
        return float(self.swapped.any(axis=1).sum() / max(int(self.moved.any(axis=1).sum()), 1))


def find_defects(
    places_px: Float64[np.ndarray, "frame joint 2"], frames: Int64[np.ndarray, " frame"], period_s: float
) -> Defects:
    """Measure labels of one person; `places_px` are NaN where masked, `frames` radar frames, ascending."""
    stature = _stature_px(places_px)
    steps = np.diff(frames, prepend=frames[:1] - _STEP_FRAMES - 1)
    near = (steps <= _STEP_FRAMES)[:, None]
    before = np.concatenate([places_px[:1], places_px[:-1]])
    moved = np.isfinite(places_px).all(-1) & np.isfinite(before).all(-1) & near
    travelled = np.linalg.norm(places_px - before, axis=-1) / stature[:, None]
    with np.errstate(invalid="ignore"):
        jumped = moved & (travelled / (steps[:, None] * period_s) > SPEED_LIMIT)
    lengths = np.linalg.norm(places_px[:, _FIRST] - places_px[:, _SECOND], axis=-1) / stature[:, None] / _SHARE
    measured = np.isfinite(lengths)
    with np.errstate(invalid="ignore"):
        stretched = measured & (lengths > STRETCH_LIMIT)
    flicker = np.where(near, np.abs(lengths - np.concatenate([lengths[:1], lengths[:-1]])), np.nan)
    swapped = np.stack([_swapped(places_px, before, stature, near[:, 0], group) for group in (ARMS, LEGS)], axis=-1)
    for number, group in enumerate((ARMS, LEGS)):  # exchanged sides move joints far: that is one defect, not seven
        jumped[np.ix_(swapped[:, number], np.array(group).ravel())] = False
    return Defects(jumped, stretched, flicker, swapped, moved, measured)


def _stature_px(places_px: Float64[np.ndarray, "frame joint 2"]) -> Float64[np.ndarray, " frame"]:
    """Stature in the picture by the third longest bone of each frame, of which a high quantile over the frames around it."""
    lengths = np.linalg.norm(places_px[:, _FIRST] - places_px[:, _SECOND], axis=-1) / _SHARE
    ranked = np.sort(np.where(np.isfinite(lengths), lengths, -np.inf), axis=1)[:, -3]
    each = np.where(np.isfinite(ranked), ranked, np.nan)
    out = np.full(len(each), np.nan)
    for frame in range(len(each)):
        around = each[max(0, frame - _AROUND) : frame + _AROUND + 1]
        around = around[np.isfinite(around)]
        if len(around):
            out[frame] = np.quantile(around, 0.75)
    return out


def _swapped(
    places: Float64[np.ndarray, "frame joint 2"],
    before: Float64[np.ndarray, "frame joint 2"],
    stature: Float64[np.ndarray, " frame"],
    near: Bool[np.ndarray, " frame"],
    group: tuple[tuple[int, int], ...],
) -> Bool[np.ndarray, " frame"]:
    """Frames where left and right of a group lie as if exchanged since the frame before."""
    left, right = np.array(group).T
    sides, mirrored = np.concatenate([left, right]), np.concatenate([right, left])
    straight = np.linalg.norm(places[:, sides] - before[:, sides], axis=-1)
    exchanged = np.linalg.norm(places[:, mirrored] - before[:, sides], axis=-1)
    known = np.isfinite(straight) & np.isfinite(exchanged)
    # A pair counts only where both of its joints are known in both frames.
    pair = known & np.roll(known, len(group), axis=1)
    counted = pair.sum(axis=1)
    as_is = np.where(pair, straight, 0.0).sum(axis=1)
    other_way = np.where(pair, exchanged, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        far = as_is / np.maximum(counted, 1) / stature > _SWAP_APART
        return np.asarray(near & (counted > 2) & far & (other_way < _SWAPPED_FIT * as_is))
