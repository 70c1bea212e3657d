"""Trains a small YOLO pose network from nothing on a picture set, on one core, in minutes (Ultralytics: AGPL-3.0).

What makes minutes enough: close-ups of people first, then whole pictures from the weights so found; bfloat16 arithmetic; no
mosaics; and keypoint tolerances wider than COCO's, whose loss is flat, and so teaches nothing, as long as a keypoint is off by
more than a hand's breadth. The same plan, pictures and versions give the same weights on the same kind of processor.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from processing.labelling.people import COCO_KEYPOINTS
from processing.labelling.yolo_library import import_ultralytics

_MIRRORED = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
_KEPT_OPTIONS = ("task", "imgsz")


@dataclass(frozen=True)
class Phase:
    """So many passes over a part of the pictures, the learning rate falling from `rate` along a cosine."""

    part: str
    image_px: int
    passes: int
    rate: float
    zoom: float  # pictures are scaled at random by up to so much, either way
    tolerance: float  # of every keypoint, in COCO's measure: sigma over the root of the person's area, halved


@dataclass(frozen=True)
class Plan:
    """A whole training."""

    phases: tuple[Phase, ...] = field(
        default=(Phase("train-close", 160, 6, 2e-3, 0.2, 0.2), Phase("train", 320, 3, 1e-3, 0.2, 0.1))
    )
    network: str = "yolov8n-pose.yaml"
    batch: int = 8
    seed: int = 0


def train_pose(
    pictures: Path, weights: Path, plan: Plan, *, on_progress: Callable[[float, float], None] = lambda done, total: None
) -> dict[str, Any]:
    """Train on the parts of a picture set that the plan names and write `weights` in half precision; returns their card.

    `on_progress` gets the work done and all of it. Raises PipelineError without ultralytics or where a part has no pictures.
    """
    ultralytics = import_ultralytics()
    count = {phase.part: len(list((pictures / "images" / phase.part).glob("*.jpg"))) for phase in plan.phases}
    for part, there in count.items():
        if not there:
            raise PipelineError(f"{pictures / 'images' / part} holds no pictures to train on.")
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums come out alike whatever the machine's cores
    work = [phase.passes * count[phase.part] * phase.image_px**2 for phase in plan.phases]
    with tempfile.TemporaryDirectory() as scratch:
        try:
            start = plan.network
            for number, phase in enumerate(plan.phases):
                before = sum(work[:number])

                def moved(share: float, before: int = before, own: int = work[number]) -> None:
                    on_progress(before + share * own, sum(work))

                start = str(_phase(ultralytics, pictures, Path(scratch) / str(number), start, phase, plan, moved))
            network = ultralytics.YOLO(start, task="pose").model
        finally:
            torch.set_num_threads(threads)
    write_atomic(weights, _packed(network, ultralytics.__version__))
    return {
        "plan": asdict(plan),
        "pictures": count,
        "parameters": sum(tensor.numel() for tensor in network.parameters()),
        "bytes": weights.stat().st_size,
        "versions": {"ultralytics": ultralytics.__version__, "torch": torch.__version__},
        "licence": "made with Ultralytics, AGPL-3.0",
    }


def _phase(
    ultralytics: Any,
    pictures: Path,
    folder: Path,
    start: str,
    phase: Phase,
    plan: Plan,
    moved: Callable[[float], None],
) -> Path:
    """Train from `start`, a network's description or weights; returns the file of the weights found."""
    network = ultralytics.YOLO(start, task="pose")
    steps = 0

    def use_bfloat16(trainer: Any) -> None:
        # Its own check for mixed precision knows of GPUs only; torch's autocast serves processors as well. Places in a picture
        # are worked out from the head's output, and bfloat16's eight bits are too few for those.
        trainer.amp = True
        trainer.model.model[-1].register_forward_hook(lambda module, arguments, output: _single(output))

    def count(trainer: Any) -> None:
        nonlocal steps
        steps += 1
        moved(steps / (len(trainer.train_loader) * phase.passes))

    network.add_callback("on_train_start", use_bfloat16)
    network.add_callback("on_train_batch_end", count)
    with contextlib.redirect_stdout(io.StringIO()):  # its bars are no answer of ours
        network.train(
            data=str(_described(pictures, folder, phase)),
            epochs=phase.passes,
            imgsz=phase.image_px,
            batch=plan.batch,
            nbs=plan.batch,
            optimizer="AdamW",
            lr0=phase.rate,
            lrf=0.02,
            cos_lr=True,
            warmup_epochs=0.3,
            degrees=3.0,
            translate=0.1,
            scale=phase.zoom,
            hsv_h=0.02,
            mosaic=0.0,
            erasing=0.0,
            rect=True,
            cache="ram",
            channels_last=True,
            workers=0,
            device="cpu",
            amp=False,
            val=False,
            plots=False,
            verbose=False,
            seed=plan.seed,
            deterministic=True,
            project=str(folder),
            name="run",
        )
    return folder / "run" / "weights" / "last.pt"


def _described(pictures: Path, folder: Path, phase: Phase) -> Path:
    """The data set's description, as Ultralytics reads it. It insists on a validation part; nothing is chosen by it."""
    folder.mkdir(parents=True)
    (folder / "probe.txt").write_text(str(next((pictures / "images" / phase.part).glob("*.jpg")).absolute()) + "\n")
    description = {
        "path": str(pictures.absolute()),
        "train": f"images/{phase.part}",
        "val": str(folder / "probe.txt"),
        "names": ["person"],
        "kpt_shape": [17, 3],
        "kpt_oks_sigmas": [phase.tolerance] * len(COCO_KEYPOINTS),
        "flip_idx": _MIRRORED,
    }
    path = folder / "data.yaml"
    path.write_text(json.dumps(description))  # which is YAML as well
    return path


def _single(output: Any) -> Any:
    """Everything in a head's output in single precision."""
    if isinstance(output, dict):
        return {name: _single(part) for name, part in output.items()}
    if isinstance(output, list | tuple):
        return type(output)(_single(part) for part in output)
    return output.float()


def _packed(network: Any, version: str) -> bytes:
    """The network alone as Ultralytics loads it: none of the paths, dates and options of the training that made it."""
    import torch

    network = network.cpu().half().eval()
    network.args = {name: value for name, value in dict(network.args).items() if name in _KEPT_OPTIONS}
    network.criterion = None
    network.pt_path = None
    for tensor in network.parameters():
        tensor.requires_grad = False
    kept = {"model": network, "train_args": dict(network.args), "version": version, "epoch": -1}
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    return buffer.getvalue()
