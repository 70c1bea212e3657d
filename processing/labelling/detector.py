"""Boxes around people, for a pose network that looks at one person at a time: RT-DETR or D-FINE, both Apache-2.0.

Any object detector that transformers loads will do, so long as it knows the class "person".
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from pipeline.errors import PipelineError
from processing.labelling.people import Frame, Labeller
from processing.labelling.transformers_library import import_transformers, loaded
from processing.labelling.weight_files import Weights, transformers_weights

DETECTOR = "PekingU/rtdetr_r50vd_coco_o365"
"""RT-DETR with a ResNet-50, trained on Objects365 and COCO (Apache-2.0)."""

Boxes = Float64[np.ndarray, "person 5"]
"""Left, top, right, bottom in pixels as `people` counts them, and the score; the best first."""

_BATCH = 4


@runtime_checkable
class Detector(Protocol):
    """Finds people in pictures."""

    @property
    def name(self) -> str:
        """With the weights' digest, as it goes into a labeller's name."""

    def boxes(self, frames: Sequence[Frame]) -> list[Boxes]:
        """The people of each frame."""


class TransformersDetector:
    """A `Detector`. Build it with `person_detector`."""

    def __init__(self, weights: Weights, least_score: float, device: str) -> None:
        library = import_transformers()
        self.name = weights.label
        self._processor = loaded(library.AutoImageProcessor, weights)
        self._network: Any = loaded(library.AutoModelForObjectDetection, weights).to(device).eval()
        self._least_score, self._device = least_score, device
        classes = {str(name).lower(): number for number, name in self._network.config.id2label.items()}
        if "person" not in classes:
            raise PipelineError(f"{weights.path} is no detector of people: its classes have no 'person'.")
        self._person = classes["person"]

    def boxes(self, frames: Sequence[Frame]) -> list[Boxes]:
        """See `Detector`."""
        import torch

        found: list[Boxes] = []
        for first in range(0, len(frames), _BATCH):
            batch = list(frames[first : first + _BATCH])
            pixels = self._processor(images=batch, return_tensors="pt").to(self._device)
            with torch.inference_mode():
                outputs = self._network(**pixels)
            results = self._processor.post_process_object_detection(
                outputs, threshold=self._least_score, target_sizes=[frame.shape[:2] for frame in batch]
            )
            found += [self._people(result) for result in results]
        return found

    def _people(self, result: dict[str, Any]) -> Boxes:
        chosen = result["labels"] == self._person
        corners = result["boxes"][chosen].cpu().numpy().astype(np.float64) - 0.5  # theirs count from the outer edge
        scores = result["scores"][chosen].cpu().numpy().astype(np.float64)
        order = np.argsort(-scores, kind="stable")
        boxes = np.concatenate([corners, scores[:, None]], axis=1)[order]
        return boxes[np.all(boxes[:, 2:4] > boxes[:, :2], axis=1)]


class LabellerBoxes:
    """Another labeller's boxes as a `Detector`: YOLO's, for example."""

    def __init__(self, labeller: Labeller) -> None:
        self.name, self._labeller = labeller.name, labeller

    def boxes(self, frames: Sequence[Frame]) -> list[Boxes]:
        """See `Detector`."""
        return [
            np.array([[*one.box_px, one.score] for one in people], np.float64).reshape(-1, 5)
            for people in self._labeller.people(frames)
        ]


def person_detector(
    name: str, root: Path, *, least_score: float = 0.5, device: str = "cpu", download: bool = False
) -> TransformersDetector:
    """The detector called `name`; people scored below `least_score` are left out.

    Raises PipelineError when transformers is not installed, or the weights are nowhere or know no people.
    """
    return TransformersDetector(transformers_weights(name, root, download=download), least_score, device)
