"""People of the simulated rig, by a network of our own trained on rendered people (`training`, verb `train-labeller`).

It knows nothing of real people. Joints are the peaks of its maps, refined below a cell by a parabola through a peak and its
neighbours; each joint goes to the person whose centre it points at. Confidence is a peak's height. Eyes and ears are not found.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from pipeline.errors import PipelineError
from pipeline.skeleton import COCO_INDEX, JOINTS
from processing.labelling.people import Frame, Person
from processing.labelling.weight_files import simulated_weights

PICTURE_PX = 320
"""Columns that a frame is scaled to."""

_BATCH = 4
_LEAST_CENTRE, _LEAST_JOINT = 0.3, 0.05
_MOST_PEOPLE, _MOST_PEAKS = 6, 12
_APART = 0.2  # of a person's height; a second centre closer than that is the same person
_STRAY = 0.25  # of a person's height: standard deviation of where their joints point

Maps = Float32[np.ndarray, "channel row column"]
Peaks = Float64[np.ndarray, "peak 3"]
"""Column, row and height, the highest first; cells count from the middle of the first one."""


class SimulatedLabeller:
    """A `people.Labeller`. Build it with `simulated_labeller`."""

    def __init__(self, weights: Path | None, root: Path, device: str) -> None:
        if importlib.util.find_spec("torch") is None:
            raise PipelineError("torch is not installed; install it with `pip install 'maepose[training]'`.")
        from processing.labelling.joint_maps import load_network

        found = simulated_weights(weights, root)
        self.name = f"simulated:{found.label}"
        self._device, self._network = device, load_network(found.path).to(device)

    def people(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """See `people.Labeller`."""
        import torch

        from processing.labelling.joint_maps import scaled_light

        found = []
        for first in range(0, len(frames), _BATCH):
            batch = np.stack(frames[first : first + _BATCH])
            _, rows, columns, _ = batch.shape
            size = (round(rows * PICTURE_PX / columns), PICTURE_PX)
            with torch.inference_mode():
                light = torch.nn.functional.interpolate(scaled_light(batch).to(self._device), size, mode="area")
                maps = self._network(light.to(memory_format=torch.channels_last)).cpu().numpy()
            scale = np.array([columns / size[1], rows / size[0]])
            found += [[_in_pixels(person, scale) for person in people_in(one)] for one in maps]
        return found


def simulated_labeller(weights: Path | None = None, *, root: Path, device: str = "cpu") -> SimulatedLabeller:
    """The labeller of the simulated rig: with `weights`, else those retrained in the data root, else the project's own.

    Raises PipelineError when torch is not installed, or the file is not there or holds something else.
    """
    return SimulatedLabeller(weights, root, device)


def people_in(maps: Maps) -> list[Person]:
    """Everybody that the network's maps of one picture show, in cells; see `joint_maps` for the channels."""
    from processing.labelling.joint_maps import BOX, CELLS, CENTRE, TO_CENTRE

    surely = 1.0 / (1.0 + np.exp(-maps[: CENTRE + 1].astype(np.float64)))
    to_centre, box = maps[TO_CENTRE].astype(np.float64) * CELLS, maps[BOX].astype(np.float64) * CELLS
    centres, boxes = _centres(_peaks(surely[CENTRE], _LEAST_CENTRE), box)
    keypoints, confidence = np.zeros((len(centres), 17, 2)), np.zeros((len(centres), 17))
    heights = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0).max(axis=1, initial=1.0)
    for joint in range(len(JOINTS)):
        peaks = _peaks(surely[joint], _LEAST_JOINT)
        at = np.round(peaks[:, :2]).astype(int)
        points_at = peaks[:, :2] + to_centre[2 * joint : 2 * joint + 2, at[:, 1], at[:, 0]].T
        off = np.linalg.norm(points_at[None] - centres[:, None, :2], axis=2) / (_STRAY * heights[:, None])
        claim = peaks[:, 2] * np.exp(-0.5 * off**2)
        while claim.size and claim.max() > 0.1 * _LEAST_JOINT:
            whose, peak = divmod(int(claim.argmax()), len(peaks))
            keypoints[whose, COCO_INDEX[joint]] = peaks[peak, :2]
            confidence[whose, COCO_INDEX[joint]] = peaks[peak, 2]
            claim[whose], claim[:, peak] = 0.0, 0.0
    return [
        Person(boxes[i], float(centres[i, 2]), keypoints[i], np.clip(confidence[i], 0.0, 1.0))
        for i in range(len(centres))
    ]


def _centres(
    peaks: Peaks, box: Float64[np.ndarray, "4 row column"]
) -> tuple[Float64[np.ndarray, "person 3"], Float64[np.ndarray, "person 4"]]:
    """One centre a person, and their boxes."""
    at = np.round(peaks[:, :2]).astype(int)
    reach = box[:, at[:, 1], at[:, 0]].T
    boxes = np.concatenate([peaks[:, :2] - reach[:, :2], peaks[:, :2] + reach[:, 2:]], axis=1)
    kept: list[int] = []
    for number, peak in enumerate(peaks):
        height = max(float(boxes[number, 3] - boxes[number, 1]), 1.0)
        if all(np.linalg.norm(peak[:2] - peaks[other, :2]) > _APART * height for other in kept):
            kept.append(number)
    kept = kept[:_MOST_PEOPLE]
    return peaks[kept], boxes[kept]


def _peaks(surely: Float64[np.ndarray, "row column"], least: float) -> Peaks:
    """Cells that are as high as their eight neighbours, moved to the top of the parabolas through them and those beside."""
    padded = np.pad(surely, 1)
    rows, columns = surely.shape
    around = np.stack([padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)])
    found = np.argwhere((surely >= around.max(axis=0)) & (surely >= least))
    found = found[np.argsort(-surely[found[:, 0], found[:, 1]], kind="stable")][:_MOST_PEAKS]
    logarithm = np.log(np.maximum(padded, 1e-6))
    peaks = []
    for row, column in found.tolist():
        across = _top(*logarithm[row + 1, column : column + 3]) if 0 < column < columns - 1 else 0.0
        down = _top(*logarithm[row : row + 3, column + 1]) if 0 < row < rows - 1 else 0.0
        peaks.append((column + across, row + down, surely[row, column]))
    return np.array(peaks, np.float64).reshape(-1, 3)


def _top(before: float, here: float, after: float) -> float:
    """Where a parabola through three neighbouring values is highest, from the middle one, which is the largest."""
    bend = before - 2 * here + after
    return 0.0 if bend >= -1e-9 else float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))


def _in_pixels(person: Person, scale: Float64[np.ndarray, "2"]) -> Person:
    """From cells to a frame's pixels, both counted from the middle of the first one."""
    from processing.labelling.joint_maps import STRIDE

    box = (person.box_px.reshape(2, 2) + 0.5) * STRIDE * scale - 0.5
    keypoints = np.where(person.confidence[:, None] > 0, (person.keypoints_px + 0.5) * STRIDE * scale - 0.5, 0.0)
    return Person(box.ravel(), person.score, keypoints, person.confidence)
