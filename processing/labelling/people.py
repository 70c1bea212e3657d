"""What every labeller is: colour frames in, for each frame the people seen in it with COCO's 17 keypoints out.

Pixels are those of the frame handed in: u along a row from its left edge, v down from its top edge, so that (0, 0) is the middle
of the first pixel. Which of several people a session is about is no business of a labeller; see `tracking`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, UInt8

COCO_KEYPOINTS: tuple[str, ...] = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
"""COCO's keypoints in its order; `pipeline.skeleton.COCO_INDEX` picks the paper's 13 out of them. Left is the person's own."""

Frame = UInt8[np.ndarray, "row column 3"]
"""A colour picture: red, green, blue, 0 to 255."""


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody seen in a frame. A keypoint that was not found has confidence 0, and its place means nothing."""

    box_px: Float64[np.ndarray, "4"]  # left, top, right, bottom
    score: float  # that this is a person, 0 to 1
    keypoints_px: Float64[np.ndarray, "17 2"]  # u, v in the order of COCO_KEYPOINTS
    confidence: Float64[np.ndarray, "17"]  # of each keypoint, 0 to 1


@runtime_checkable
class Labeller(Protocol):
    """Finds people in pictures. Weights and device are settled when one is built; see `choosing.labeller_for`."""

    @property
    def name(self) -> str:
        """Who labelled, with the weights' digest, as it goes into the labels' metadata: `yolo:simulated-people@1a2b3c4d`."""

    def people(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """Everybody in each frame, the highest score first; frames come in the order they were recorded."""
