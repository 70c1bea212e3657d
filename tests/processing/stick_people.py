"""Stick people in front of a pinhole camera: what a perfect labeller would see, who hides whom, and the truth about it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.skeleton import COCO_INDEX
from processing.labelling.people import Person

SIZE = (640, 480)
FOCAL, CENTRE = 384.0, (319.5, 239.5)
RATE_HZ = 10.0

# x to the picture's right and y down, in statures from the middle of the hips; a person who faces the camera, so that their
# left is on the picture's right. The 13 joints in order.
STANDING = np.array(
    [
        [0.0, -0.38],
        [0.11, -0.29], [0.16, -0.11], [0.19, 0.03],
        [-0.11, -0.29], [-0.16, -0.11], [-0.19, 0.03],
        [0.06, 0.0], [-0.06, 0.0],
        [0.07, 0.245], [-0.07, 0.245],
        [0.07, 0.49], [-0.07, 0.49],
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Walker:
    """Somebody: height, where their hips are (x, z in metres, by time), how they wave, and when they are in the room."""

    x_m: Callable[[float], float]
    z_m: Callable[[float], float]
    height_m: float = 1.7
    wave: float = 0.6
    here: Callable[[float], bool] = lambda _: True
    score: float = 0.9

    def joints_px(self, time_s: float) -> np.ndarray:
        """The 13 joints in pixels; arms wave and legs step, so poses change as people's do."""
        pose = STANDING.copy()
        lift = self.wave * (0.5 - 0.5 * np.cos(2 * np.pi * 0.5 * time_s))
        for shoulder, elbow, wrist, side in ((1, 2, 3, 1.0), (4, 5, 6, -1.0)):
            angle = 0.3 + lift * 2.0
            pose[elbow] = pose[shoulder] + 0.186 * np.array([side * np.sin(angle), np.cos(angle)])
            pose[wrist] = pose[elbow] + 0.146 * np.array([side * np.sin(angle + 0.3), np.cos(angle + 0.3)])
        hips = np.array([self.x_m(time_s), 0.05])
        metres = hips + pose * self.height_m
        return metres / self.z_m(time_s) * FOCAL + np.array(CENTRE)


def still(value: float) -> Callable[[float], float]:
    return lambda _: value


def passing(start_s: float, start: float, speed: float) -> Callable[[float], float]:
    """Walks at `speed` metres a second, at `start` when it is `start_s`."""
    return lambda time_s: start + speed * (time_s - start_s)


def person_at(joints_px: np.ndarray, score: float = 0.9, confidence: float | np.ndarray = 0.9) -> Person:
    """A labeller's Person with these 13 joints; eyes and ears at the nose."""
    keypoints = np.tile(joints_px[0], (17, 1)).astype(np.float64)
    keypoints[list(COCO_INDEX)] = joints_px
    sure = np.full(17, 0.9)
    sure[list(COCO_INDEX)] = confidence
    low, high = joints_px.min(axis=0), joints_px.max(axis=0)
    margin = 0.05 * (high[1] - low[1])
    return Person(np.concatenate([low - margin, high + margin]).astype(np.float64), score, keypoints, sure)


@dataclass
class Scene:
    """What is seen frame by frame; `who[frame][number]` is the walker each detection is of."""

    times_s: np.ndarray
    people: list[list[Person]]
    depth_m: list[np.ndarray]
    who: list[list[int]]


def look_at(
    walkers: list[Walker], seconds: float, *, jitter_px: float = 1.0, seed: int = 0, occlusion: float = 0.55
) -> Scene:
    """Detections at 10 Hz. A walker of whom a nearer one covers more than `occlusion` of the box is not seen."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    scene = Scene(times_s, [], [], [])
    for now in times_s:
        seen: list[tuple[float, int, Person]] = []
        for number in sorted(range(len(walkers)), key=lambda one: walkers[one].z_m(now)):
            walker = walkers[number]
            if not walker.here(now):
                continue
            joints = walker.joints_px(now) + rng.normal(0, jitter_px, (13, 2))
            person = person_at(joints, walker.score + rng.normal(0, 0.02))
            middle = joints[[1, 4, 7, 8]].mean(axis=0)
            if not (0 < middle[0] < SIZE[0] and 0 < middle[1] < SIZE[1]):
                continue
            if any(_covered(person.box_px, nearer.box_px) > occlusion for _, _, nearer in seen):
                continue
            seen.append((walker.z_m(now) - 0.1 + rng.normal(0, 0.02), number, person))
        seen.sort(key=lambda one: -one[2].score)  # as a labeller hands them over: whoever it is surest of comes first
        scene.people.append([person for _, _, person in seen])
        scene.depth_m.append(np.array([depth for depth, _, _ in seen], np.float64))
        scene.who.append([number for _, number, _ in seen])
    return scene


def _covered(box: np.ndarray, by: np.ndarray) -> float:
    width, height = np.minimum(box[2:], by[2:]) - np.maximum(box[:2], by[:2])
    return max(width, 0.0) * max(height, 0.0) / float(np.prod(box[2:] - box[:2]))
