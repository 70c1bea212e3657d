"""People by Ultralytics' YOLO pose networks: boxes and keypoints in one pass. Ultralytics is AGPL-3.0 and an optional extra.

Its coordinates count from a picture's outer edge; ours from the middle of the first pixel, so half a pixel is taken off.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import PipelineError
from processing.labelling.people import Frame, Person
from processing.labelling.weight_files import Weights, yolo_weights
from processing.labelling.yolo_library import import_ultralytics

_BATCH = 8  # frames a pass: on a processor more are no faster


class YoloLabeller:
    """A `people.Labeller`. Build it with `yolo_labeller`."""

    def __init__(self, weights: Weights, image_px: int, least_score: float, device: str) -> None:
        self.name = f"yolo:{weights.label}"
        self._options = {"imgsz": image_px, "conf": least_score, "device": device, "verbose": False, "save": False}
        try:
            self._network: Any = import_ultralytics().YOLO(str(weights.path), task="pose")
            shape = list(self._network.model.kpt_shape)
        except PipelineError:
            raise
        except Exception as error:  # unpickling a file that is none raises anything
            raise PipelineError(f"{weights.path} does not load as YOLO pose weights: {error}.") from error
        if shape != [17, 3]:
            raise PipelineError(
                f"{weights.path} finds keypoints of shape {shape}; COCO's 17 with confidences are needed."
            )

    def people(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """See `people.Labeller`."""
        found = []
        for first in range(0, len(frames), _BATCH):
            batch = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames[first : first + _BATCH]]
            found += [_people(result) for result in self._network.predict(batch, **self._options)]
        return found


def yolo_labeller(
    name: str, root: Path, *, image_px: int = 640, least_score: float = 0.25, device: str = "cpu"
) -> YoloLabeller:
    """A labeller with the `.pt` weights called `name`. People scored below `least_score` are left out.

    Raises PipelineError when ultralytics is not installed, or the weights are nowhere or find other keypoints.
    """
    return YoloLabeller(yolo_weights(name, root), image_px, least_score, device)


def _people(result: Any) -> list[Person]:
    boxes = result.boxes.xyxy.cpu().numpy().astype(np.float64) - 0.5
    scores = result.boxes.conf.cpu().numpy().astype(np.float64)
    keypoints = result.keypoints.data.cpu().numpy().astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    return [
        Person(boxes[i], float(scores[i]), keypoints[i, :, :2] - 0.5, np.clip(keypoints[i, :, 2], 0.0, 1.0))
        for i in order.tolist()
    ]
