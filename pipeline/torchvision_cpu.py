"""Lets torchvision import beside a CPU-only torch.

PyPI's torchvision wheels carry operators compiled against CUDA. Beside a CPU build of torch that library does not load, the
operators stay undeclared, and `import torchvision` - with it timm, ultralytics and ViTPose - fails on the first that Python
code registers a fake for. Declaring `torchvision::nms` (with a plain-torch kernel) and `qnms` (without) is all those packages
need; with a CUDA build of torch nothing is done. Call `import_torchvision()` before any such import; `roi_align` stays absent.
"""

import importlib.util
from types import ModuleType
from typing import Any

from pipeline.errors import PipelineError

_library: Any = None  # a torch.library.Library lives as long as its registrations should


def import_torchvision() -> ModuleType:
    """torchvision, whatever torch's build; PipelineError when the extra that brings it is not installed."""
    global _library
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("torchvision") is None:
        raise PipelineError(
            "torch and torchvision are not installed; install them with `pip install 'maepose[labels,training]'`."
        )
    import torch

    if torch.version.cuda is None and _library is None and not hasattr(torch.ops.torchvision, "nms"):
        _library = torch.library.Library("torchvision", "DEF")
        _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _library.define(
            "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )  # quantised; never called here
        _library.impl("nms", _nms, "CPU")
    import torchvision

    if _library is not None:
        torchvision.extension._has_ops = lambda: (
            True
        )  # torchvision asks this before it calls the operator declared above
    return torchvision


def _nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """Indices of `boxes` (box, 4: x1 y1 x2 y2) that no better-scored kept box overlaps by more than the threshold."""
    import torch

    order = scores.argsort(descending=True, stable=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low = torch.maximum(boxes[order, :2], boxes[best, :2])
        high = torch.minimum(boxes[order, 2:], boxes[best, 2:])
        overlap = (high - low).clamp(min=0).prod(dim=1)
        order = order[overlap / (area[order] + area[best] - overlap) <= iou_threshold]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.int64)
