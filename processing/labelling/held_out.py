"""How well a labeller finds people whose keypoints are known: a part of a picture set in YOLO's layout, image by image.

Every true person is met by the labelled one whose box overlaps theirs most (by at least 0.3 of their union, each used once); a
person nobody met has missed every joint. Shares are over visible joints among the paper's 13.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from pipeline.errors import PipelineError
from pipeline.skeleton import COCO_INDEX, JOINTS
from processing.labelling.people import Frame, Labeller, Person

VISIBLE = 2
_LEAST_OVERLAP = 0.3
_BATCH = 32
_LEFT_SHOULDER, _RIGHT_SHOULDER, _LEFT_HIP, _RIGHT_HIP = 5, 6, 11, 12


@dataclass(frozen=True)
class Score:
    """A labeller measured on some pictures. Errors in pixels are over joints of people that were met."""

    pictures: int
    people: int
    met: float  # share of the people
    invented: int  # labelled people that met nobody
    joints: int  # visible ones
    pck_torso_0_2: (
        float  # share within 0.2 of the torso: from between the shoulders to between the hips, in the picture
    )
    pck_height_0_05: float  # share within 0.05 of the picture's height
    mean_px: float
    median_px: float
    bias_px: tuple[float, float]  # mean of labelled minus true u and v


@dataclass(frozen=True)
class HeldOut:
    """Scores of one labeller over all pictures, over those with one person, and over those with more."""

    labeller: str
    all: Score
    alone: Score
    with_bystander: Score
    pck_torso_0_2_by_joint: dict[str, float]

    def card(self) -> dict[str, Any]:
        """As plain values, rounded to four decimals; None for what could not be measured."""
        return _rounded(asdict(self))


def measure(labeller: Labeller, folder: Path, part: str) -> HeldOut:
    """Score `labeller` on `images/<part>` of a picture set; PipelineError when there is none, or labels are not of 17 points."""
    names = sorted(path.stem for path in (folder / "images" / part).glob("*.jpg"))
    if not names:
        raise PipelineError(f"{folder / 'images' / part} holds no pictures to measure a labeller on.")
    outcomes = []
    for first in range(0, len(names), _BATCH):
        some = names[first : first + _BATCH]
        frames = [read_picture(folder / "images" / part / f"{name}.jpg") for name in some]
        for name, frame, people in zip(some, frames, labeller.people(frames), strict=True):
            truths = read_truth(folder / "labels" / part / f"{name}.txt", frame.shape[1], frame.shape[0])
            outcomes.append(_outcome(truths, people, frame.shape[0]))
    alone = [one for one in outcomes if one.people == 1]
    several = [one for one in outcomes if one.people > 1]
    visible = np.concatenate([one.visible for one in outcomes])
    near = np.concatenate([one.within_torso for one in outcomes])
    by_joint = {
        name: float(near[visible[:, at], at].mean()) if visible[:, at].any() else float("nan")
        for at, name in enumerate(JOINTS)
    }
    return HeldOut(labeller.name, _score(outcomes), _score(alone), _score(several), by_joint)


def read_truth(path: Path, width: int, height: int) -> list[tuple[Person, Float64[np.ndarray, "17"]]]:
    """The people of a label file and COCO's visibility of each keypoint (0 not labelled, 1 hidden, 2 visible)."""
    people = []
    for line in path.read_text().splitlines():
        values = np.array(line.split(), np.float64)
        if len(values) != 5 + 17 * 3:
            raise PipelineError(f"{path}: a line holds {len(values)} numbers; a person with 17 keypoints has 56.")
        size = np.array([width, height], np.float64)
        centre, half = values[1:3] * size, 0.5 * values[3:5] * size
        keypoints = values[5:].reshape(17, 3)
        box = np.concatenate([centre - half, centre + half]) - 0.5
        person = Person(box, 1.0, keypoints[:, :2] * size - 0.5, np.minimum(keypoints[:, 2], 1.0))
        people.append((person, keypoints[:, 2]))
    return people


@dataclass(frozen=True)
class _Outcome:
    people: int
    met: int
    invented: int
    visible: np.ndarray  # (person, joint): which joints count
    within_torso: np.ndarray
    within_height: np.ndarray
    off_px: np.ndarray  # (person, joint, 2), NaN for people nobody met


def _outcome(truths: Sequence[tuple[Person, np.ndarray]], found: Sequence[Person], height: int) -> _Outcome:
    joints = np.array(COCO_INDEX)
    off = np.full((len(truths), len(joints), 2), np.nan)
    overlap = np.array([[_overlap(true.box_px, one.box_px) for one in found] for true, _ in truths])
    while overlap.size and overlap.max() >= _LEAST_OVERLAP:
        true, one = divmod(int(overlap.argmax()), len(found))
        off[true] = found[one].keypoints_px[joints] - truths[true][0].keypoints_px[joints]
        overlap[true], overlap[:, one] = -1.0, -1.0
    met = int(np.isfinite(off[:, 0, 0]).sum())
    visible = np.array([seen[joints] == VISIBLE for _, seen in truths], bool).reshape(-1, len(joints))
    distance = np.linalg.norm(off, axis=2)
    torso = np.array([_torso_px(true, seen) for true, seen in truths]).reshape(-1, 1)
    return _Outcome(
        len(truths), met, len(found) - met, visible, distance <= 0.2 * torso, distance <= 0.05 * height, off
    )


def _score(outcomes: Sequence[_Outcome]) -> Score:
    if not any(one.people for one in outcomes):
        nothing = float("nan")
        return Score(len(outcomes), 0, nothing, 0, 0, nothing, nothing, nothing, nothing, (nothing, nothing))
    visible = np.concatenate([one.visible for one in outcomes])
    off = np.concatenate([one.off_px for one in outcomes])[visible]
    off = off[np.isfinite(off[:, 0])]
    distance = np.linalg.norm(off, axis=1)
    people = sum(one.people for one in outcomes)
    return Score(
        pictures=len(outcomes),
        people=people,
        met=sum(one.met for one in outcomes) / people,
        invented=sum(one.invented for one in outcomes),
        joints=int(visible.sum()),
        pck_torso_0_2=float(np.concatenate([one.within_torso for one in outcomes])[visible].mean()),
        pck_height_0_05=float(np.concatenate([one.within_height for one in outcomes])[visible].mean()),
        mean_px=float(distance.mean()) if len(distance) else float("nan"),
        median_px=float(np.median(distance)) if len(distance) else float("nan"),
        bias_px=(float(off[:, 0].mean()), float(off[:, 1].mean())) if len(distance) else (float("nan"), float("nan")),
    )


def _torso_px(true: Person, seen: np.ndarray) -> float:
    """Length of the trunk in the picture; that of a mean body as tall as the box where a corner of it is not labelled."""
    corners = [_LEFT_SHOULDER, _RIGHT_SHOULDER, _LEFT_HIP, _RIGHT_HIP]
    if (seen[corners] == 0).any():
        return 0.29 * float(true.box_px[3] - true.box_px[1])
    places = true.keypoints_px
    shoulders, hips = places[corners[:2]].mean(axis=0), places[corners[2:]].mean(axis=0)
    return float(np.linalg.norm(shoulders - hips))


def _overlap(first: Float64[np.ndarray, "4"], second: Float64[np.ndarray, "4"]) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = float(np.prod(np.maximum(sides, 0.0)))
    union = float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2])) - shared
    return shared / union if union > 0 else 0.0


def read_picture(path: Path) -> Frame:
    """A picture of a set."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
