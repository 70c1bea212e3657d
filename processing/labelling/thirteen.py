"""COCO's 17 keypoints -> the paper's 13 joints, in its order; what was not found well enough is masked, not invented."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from pipeline.skeleton import COCO_INDEX
from processing.labelling.people import Person

TRUNK: tuple[int, ...] = (1, 4, 7, 8)
"""Shoulders and hips among the 13 joints: their depth is a person's, and their distance measures the others'."""


def thirteen_joints(
    people: Sequence[Person | None], min_confidence: float, size_px: tuple[int, int]
) -> tuple[Float64[np.ndarray, "frame joint 2"], Float64[np.ndarray, "frame joint"]]:
    """Pixels and confidence of the 13 joints of one person a frame, None where there is none.

    A joint with less than `min_confidence`, or outside a picture of `size_px` (width, height), has NaN and confidence 0.
    """
    places = np.full((len(people), len(COCO_INDEX), 2), np.nan)
    confidence = np.zeros(places.shape[:2])
    for frame, person in enumerate(people):
        if person is not None:
            places[frame] = person.keypoints_px[list(COCO_INDEX)]
            confidence[frame] = person.confidence[list(COCO_INDEX)]
    inside = np.all((places > -0.5) & (places < np.array(size_px) - 0.5), axis=-1)
    return masked(places, np.where(inside & (confidence >= min_confidence), confidence, 0.0))


def masked(
    places: Float64[np.ndarray, "frame joint 2"], confidence: Float64[np.ndarray, "frame joint"]
) -> tuple[Float64[np.ndarray, "frame joint 2"], Float64[np.ndarray, "frame joint"]]:
    """NaN wherever confidence is 0, and 0 wherever a place is not a number."""
    confidence = np.where(np.isfinite(places).all(axis=-1), confidence, 0.0)
    return np.where(confidence[..., None] > 0, places, np.nan), confidence


def trunk_length(places: Float64[np.ndarray, "*frame joint 2"]) -> Float64[np.ndarray, "*frame"]:
    """From the middle of the shoulders to the middle of the hips, in the unit of `places`; NaN where one is masked."""
    shoulders, hips = places[..., [1, 4], :].mean(axis=-2), places[..., [7, 8], :].mean(axis=-2)
    length: Float64[np.ndarray, "*frame"] = np.linalg.norm(shoulders - hips, axis=-1)
    return length
