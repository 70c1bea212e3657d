"""One person seen in one frame, reduced to what tells people apart without looking at their clothes: place, size, depth, pose."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from pipeline.skeleton import COCO_INDEX
from processing.labelling.people import Person
from processing.labelling.thirteen import TRUNK

# Bones among the 13 joints and their length as a share of stature (Drillis and Contini, in Winter, Biomechanics and Motor
# Control of Human Movement, 2009, figure 4.1); shoulders and hips between the joints' centres, inside the breadths there.
BONES: dict[tuple[int, int], float] = {
    (1, 7): 0.29,
    (4, 8): 0.29,
    (1, 4): 0.22,
    (7, 8): 0.13,
    (1, 2): 0.186,
    (4, 5): 0.186,
    (2, 3): 0.146,
    (5, 6): 0.146,
    (7, 9): 0.245,
    (8, 10): 0.245,
    (9, 11): 0.246,
    (10, 12): 0.246,
}
_FIRST, _SECOND = np.array(list(BONES)).T
_SHARE = np.array(list(BONES.values()))

_SEEN = 0.3  # confidence from which a keypoint says where somebody is
_SPREAD = 0.08  # of stature: how far a keypoint lies from one frame to the next, at ease
_SAME_BOX, _SAME_POSE = 0.7, 0.75  # two detections so alike are of one person
_FEWEST = 4  # keypoints, or a detection is no person that could be labelled


@dataclass(frozen=True, eq=False)
class Sighting:
    """A detection that counts. Pixels are those of the picture as taken; joints are the paper's 13."""

    frame: int  # place in the sequence looked at
    person: int  # place among the frame's people
    time_s: float
    box_px: Float64[np.ndarray, "4"]
    joints_px: Float64[np.ndarray, "13 2"]
    found: Bool[np.ndarray, "13"]
    place_px: Float64[np.ndarray, "2"]
    stature_px: float
    depth_m: float  # NaN where unknown

    @property
    def size(self) -> float:
        """Stature in pixels at a depth of 1 m, so that it is the person's own; plain pixels where depth is unknown."""
        return self.stature_px * self.depth_m if np.isfinite(self.depth_m) else self.stature_px


def sightings_of(
    frame: int, time_s: float, people: Sequence[Person], depth_m: Float64[np.ndarray, " person"], min_score: float
) -> list[Sighting]:
    """The detections of a frame that count: sure enough, with some keypoints, each person once (the surer one)."""
    order = sorted(range(len(people)), key=lambda number: -people[number].score)
    kept: list[Sighting] = []
    for number in order:
        if people[number].score < min_score:
            continue
        sighting = _sighting(frame, number, time_s, people[number], float(depth_m[number]))
        if sighting.found.sum() >= _FEWEST and not any(_same_person(sighting, other) for other in kept):
            kept.append(sighting)
    return kept


def overlap(first: Float64[np.ndarray, "4"], second: Float64[np.ndarray, "4"]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width, height = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return float(shared / (np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - shared))


def likeness(before: Sighting, after: Sighting, shift_px: Float64[np.ndarray, "2"]) -> float:
    """0 to 1: mean of box overlap and of COCO's keypoint similarity, `before` moved by `shift_px`."""
    boxes = overlap(before.box_px + np.tile(shift_px, 2), after.box_px)
    both = before.found & after.found
    if both.sum() < _FEWEST:
        return boxes
    return 0.5 * boxes + 0.5 * _pose_likeness(before, after, shift_px)


def _pose_likeness(before: Sighting, after: Sighting, shift_px: Float64[np.ndarray, "2"]) -> float:
    both = before.found & after.found
    if not both.any():
        return 0.0
    apart = np.linalg.norm(before.joints_px[both] + shift_px - after.joints_px[both], axis=1)
    spread = _SPREAD * 0.5 * (before.stature_px + after.stature_px)
    return float(np.mean(np.exp(-0.5 * (apart / spread) ** 2)))


def _same_person(first: Sighting, second: Sighting) -> bool:
    pose = _pose_likeness(first, second, np.zeros(2))
    return pose > _SAME_POSE or (pose > 0.5 and overlap(first.box_px, second.box_px) > _SAME_BOX)


def _sighting(frame: int, number: int, time_s: float, person: Person, depth_m: float) -> Sighting:
    joints = person.keypoints_px[list(COCO_INDEX)]
    found = (person.confidence[list(COCO_INDEX)] >= _SEEN) & np.isfinite(joints).all(axis=1)
    trunk = [joint for joint in TRUNK if found[joint]]
    place = joints[trunk].mean(axis=0) if len(trunk) >= 2 else person.box_px.reshape(2, 2).mean(axis=0)
    return Sighting(
        frame, number, time_s, person.box_px, joints, found, place, _stature_px(joints, found, person.box_px), depth_m
    )


def _stature_px(
    joints_px: Float64[np.ndarray, "13 2"], found: Bool[np.ndarray, "13"], box_px: Float64[np.ndarray, "4"]
) -> float:
    """How tall the person would stand in this picture, by the longest bones: turned away from the view they only look shorter.

    The third longest, so that one misplaced joint (which spoils two bones) makes no giant.
    """
    known = found[_FIRST] & found[_SECOND]
    tall = np.sort(np.linalg.norm(joints_px[_FIRST] - joints_px[_SECOND], axis=1)[known] / _SHARE[known])
    if len(tall) < 3:
        return float(max(box_px[3] - box_px[1], 1.0))
    return float(max(tall[-3], 1.0))
