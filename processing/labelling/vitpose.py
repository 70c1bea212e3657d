"""People by ViTPose (Xu et al. 2022; Apache-2.0, in transformers): a detector's box first, then 17 heatmaps of what is in it.

The processor cuts out the box with a quarter more around it at the network's shape and maps peaks back (unbiased, with DARK's
sub-pixel step); both count from the middle of the first pixel, as `people` does. A peak's height is the keypoint's confidence.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import PipelineError
from processing.labelling.detector import DETECTOR, Boxes, Detector, person_detector
from processing.labelling.people import Frame, Person
from processing.labelling.transformers_library import import_transformers, loaded
from processing.labelling.weight_files import Weights, transformers_weights

VITPOSE = "usyd-community/vitpose-base-simple"

_BATCH = 16  # people a pass
_COCO_EXPERT = 0  # of the plus models, which hold one head a data set


class VitPoseLabeller:
    """A `people.Labeller`. Build it with `vitpose_labeller`."""

    def __init__(self, weights: Weights, detector: Detector, device: str) -> None:
        library = import_transformers()
        self.name = f"vitpose:{weights.label} boxes {detector.name}"
        self._detector, self._device = detector, device
        self._processor = loaded(library.VitPoseImageProcessor, weights)
        self._network: Any = loaded(library.VitPoseForPoseEstimation, weights).to(device).eval()
        config = self._network.config
        if config.num_labels != 17:
            raise PipelineError(f"{weights.path} finds {config.num_labels} keypoints; COCO's 17 are needed.")
        self._experts = getattr(config.backbone_config, "num_experts", 1)

    def people(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """See `people.Labeller`."""
        found: list[list[Person]] = [[] for _ in frames]
        sightings = [(at, box) for at, boxes in enumerate(self._detector.boxes(frames)) for box in boxes]
        for first in range(0, len(sightings), _BATCH):
            some = sightings[first : first + _BATCH]
            poses = self._poses([frames[at] for at, _ in some], np.stack([box for _, box in some]))
            for (at, box), (keypoints, confidence) in zip(some, poses, strict=True):
                found[at].append(Person(box[:4], float(box[4]), keypoints, confidence))
        return found

    def _poses(self, frames: list[Frame], boxes: Boxes) -> list[tuple[np.ndarray, np.ndarray]]:
        """Keypoints and confidences of one person a frame."""
        import torch

        corner, size = boxes[:, :2], boxes[:, 2:4] - boxes[:, :2]
        coco = [[[*place, *extent]] for place, extent in zip(corner.tolist(), size.tolist(), strict=True)]
        pixels = self._processor(frames, boxes=coco, return_tensors="pt").to(self._device)
        if self._experts > 1:
            pixels["dataset_index"] = torch.full((len(frames),), _COCO_EXPERT, device=self._device)
        with torch.inference_mode():
            outputs = self._network(**pixels)
        poses = self._processor.post_process_pose_estimation(outputs, boxes=coco)
        return [
            (
                pose["keypoints"].numpy().astype(np.float64),
                np.clip(pose["scores"].numpy().astype(np.float64), 0.0, 1.0),
            )
            for (pose,) in poses
        ]


def vitpose_labeller(
    name: str,
    root: Path,
    *,
    detector: Detector | None = None,
    device: str = "cpu",
    download: bool = False,
) -> VitPoseLabeller:
    """A labeller with the ViTPose weights called `name`, people found by `detector` (RT-DETR where none is given).

    Raises PipelineError when transformers is not installed, or the weights of either are nowhere or of another kind.
    """
    weights = transformers_weights(name, root, download=download)
    detector = detector or person_detector(DETECTOR, root, device=device, download=download)
    return VitPoseLabeller(weights, detector, device)
