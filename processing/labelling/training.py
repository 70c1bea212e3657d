"""Trains the simulated rig's labeller from nothing on a picture set, on one processor core, in half an hour.

Every step looks at a batch of windows cut from the pictures, most of them about somebody: a picture is mostly wall. Joint and
centre maps are to be Gaussians, half as high where something hides the joint, under a focal loss that soon leaves the easy cells
alone (Lin et al. 2017, for soft targets as by Li et al. 2020); distances are under a smooth absolute loss where they mean
something. Arithmetic is bfloat16, sums are single. The same plan, pictures and versions give the same weights on the same kind of
processor.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from torch.nn import functional

from pipeline.errors import PipelineError
from pipeline.skeleton import COCO_INDEX, JOINTS, MIRRORED
from processing.labelling.held_out import read_picture, read_truth
from processing.labelling.joint_maps import BOX, CELLS, CENTRE, STRIDE, TO_CENTRE, JointMaps, save_network, scaled_light

_TRUNK = [1, 4, 7, 8]  # shoulders and hips
_HIDDEN_HEIGHT = 0.5
_SPREAD, _LEAST_SPREAD, _MOST_SPREAD = (
    0.035,
    0.9,
    2.5,
)  # of a Gaussian: share of the body's extent; at least, at most cells
_SKIRT = 0.3  # height of a Gaussian down to which its cells' distances count
_ANYWHERE = 0.2  # share of windows that lie anywhere
_DISTANCES = 0.05  # weight of the distances' loss


@dataclass(frozen=True)
class Plan:
    """A whole training: the learning rate rises over the first tenth of the steps to `rate` and falls to nothing."""

    steps: int = 4000
    batch: int = 16
    rate: float = 3e-3
    window_px: tuple[int, int] = (160, 192)  # columns and rows
    seed: int = 0


@dataclass(frozen=True)
class Examples:
    """Pictures in memory, and the people in each: joints (column, row in pixels, visibility) and boxes."""

    pictures: UInt8[np.ndarray, "picture row column 3"]
    joints: list[Float64[np.ndarray, "_ 13 3"]]
    boxes: list[Float64[np.ndarray, "_ 4"]]


def train(
    pictures: Path,
    part: str,
    weights: Path,
    plan: Plan,
    *,
    on_progress: Callable[[int, int, float], None] = lambda done, steps, loss: None,
) -> dict[str, Any]:
    """Train on `images/<part>` of a picture set and write `weights`; returns their card. `on_progress` gets the loss as well.

    Raises PipelineError where there are no pictures.
    """
    examples = read_examples(pictures, part)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums come out alike whatever the machine's cores
    try:
        network = _trained(examples, plan, on_progress)
    finally:
        torch.set_num_threads(threads)
    save_network(network, weights)
    return {
        "plan": asdict(plan),
        "pictures": len(examples.pictures),
        "people": sum(map(len, examples.boxes)),
        "parameters": sum(tensor.numel() for tensor in network.parameters()),
        "bytes": weights.stat().st_size,
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }


def read_examples(pictures: Path, part: str) -> Examples:
    """A part of a picture set; PipelineError where there are no pictures."""
    paths = sorted((pictures / "images" / part).glob("*.jpg"))
    if not paths:
        raise PipelineError(f"{pictures / 'images' / part} holds no pictures to train on.")
    frames = np.stack([read_picture(path) for path in paths])
    joints, boxes = [], []
    for path in paths:
        truths = read_truth(pictures / "labels" / part / f"{path.stem}.txt", frames.shape[2], frames.shape[1])
        places = [np.concatenate([who.keypoints_px, seen[:, None]], axis=1)[list(COCO_INDEX)] for who, seen in truths]
        joints.append(np.array(places, np.float64).reshape(-1, len(JOINTS), 3))
        boxes.append(np.array([who.box_px for who, _ in truths], np.float64).reshape(-1, 4))
    return Examples(frames, joints, boxes)


def _trained(examples: Examples, plan: Plan, on_progress: Callable[[int, int, float], None]) -> JointMaps:
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    network = JointMaps().train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.rate, total_steps=max(plan.steps, 2), pct_start=0.1, div_factor=10, final_div_factor=100
    )
    order: list[int] = []
    for step in range(plan.steps):
        while len(order) < plan.batch:
            order += rng.permutation(len(examples.pictures)).tolist()
        chosen, order = order[: plan.batch], order[plan.batch :]
        windows, targets = zip(*(_window(examples, number, plan.window_px, rng) for number in chosen), strict=True)
        light = scaled_light(np.stack(windows))
        gain = torch.from_numpy(rng.uniform(0.75, 1.25, (plan.batch, 3, 1, 1))).float()
        light = light * gain + torch.from_numpy(rng.uniform(-0.3, 0.3, (plan.batch, 3, 1, 1))).float()
        with torch.autocast("cpu", torch.bfloat16):
            maps = network(light.to(memory_format=torch.channels_last))
        loss = _loss(maps.float(), torch.from_numpy(np.stack(targets)))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        on_progress(step + 1, plan.steps, float(loss.detach()))
    return network.eval()


def _window(
    examples: Examples, number: int, size: tuple[int, int], rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "row column 3"], Float32[np.ndarray, "channel cell_row cell_column"]]:
    """A piece of a picture, mirrored half the time, and the maps wanted of it."""
    picture, joints, boxes = examples.pictures[number], examples.joints[number].copy(), examples.boxes[number].copy()
    rows, columns, _ = picture.shape
    width, height = min(size[0], columns), min(size[1], rows)
    corner = rng.uniform(0.0, 1.0, 2) * (columns - width, rows - height)
    if len(boxes) and rng.random() >= _ANYWHERE:
        box = boxes[int(rng.integers(len(boxes)))]
        slack = np.abs(np.array([width, height]) - (box[2:] - box[:2])) / 2
        corner = (box[:2] + box[2:]) / 2 + rng.uniform(-1.0, 1.0, 2) * slack - np.array([width, height]) / 2
    left, top = np.clip(np.round(corner), 0, (columns - width, rows - height)).astype(int).tolist()
    window = picture[top : top + height, left : left + width]
    joints[..., :2] -= (left, top)
    boxes -= (left, top, left, top)
    if rng.random() < 0.5:
        window = window[:, ::-1]
        joints[..., 0] = width - 1 - joints[..., 0]
        joints = joints[:, MIRRORED]
        boxes[:, [0, 2]] = width - 1 - boxes[:, [2, 0]]
    joints[..., :2] = (joints[..., :2] + 0.5) / STRIDE - 0.5
    boxes = (boxes + 0.5) / STRIDE - 0.5
    return np.ascontiguousarray(window), wanted_maps(joints, boxes, (-(-height // STRIDE), -(-width // STRIDE)))


def wanted_maps(
    joints: Float64[np.ndarray, "person 13 3"], boxes: Float64[np.ndarray, "person 4"], shape: tuple[int, int]
) -> Float32[np.ndarray, "channel row column"]:
    """The maps of `joint_maps` that are true of some people, in cells; distances are NaN where they mean nothing."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    maps = np.zeros((BOX.stop, *shape), np.float32)
    maps[CENTRE + 1 :] = np.nan
    nearest = np.full((CENTRE + 1, *shape), np.inf)
    for person, box in zip(joints, boxes, strict=True):
        labelled = person[:, 2] > 0
        trunk = [joint for joint in _TRUNK if labelled[joint]]
        if not labelled.any():
            continue
        centre = person[trunk if len(trunk) > 1 else labelled, :2].mean(axis=0)
        extent = np.ptp(person[labelled, :2], axis=0).max()
        spread = float(np.clip(_SPREAD * extent, _LEAST_SPREAD, _MOST_SPREAD))
        for channel, (u, v, seen) in enumerate((*person, (*centre, 2.0))):
            if seen == 0:
                continue
            square = (columns - u) ** 2 + (rows - v) ** 2
            bump = np.exp(-square / (2 * spread**2))
            maps[channel] = np.maximum(maps[channel], bump * (1.0 if seen == 2 else _HIDDEN_HEIGHT))
            own = (bump > _SKIRT) & (square < nearest[channel])
            nearest[channel][own] = square[own]
            if channel < CENTRE:
                first = TO_CENTRE.start + 2 * channel
                ways = [centre[0] - columns, centre[1] - rows]
            else:
                first = BOX.start
                ways = [columns - box[0], rows - box[1], box[2] - columns, box[3] - rows]
            for number, way in enumerate(ways):
                maps[first + number][own] = way[own]
    return maps


def _loss(maps: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    logits, heights = maps[:, : CENTRE + 1], wanted[:, : CENTRE + 1]
    off = (heights - torch.sigmoid(logits)).abs()
    surprise = functional.binary_cross_entropy_with_logits(logits, heights, reduction="none")
    bumps = (heights > 0.9).sum().clamp(min=1)
    distances = wanted[:, CENTRE + 1 :]
    known = ~torch.isnan(distances)
    apart = functional.smooth_l1_loss(maps[:, CENTRE + 1 :][known] * CELLS, distances[known], reduction="sum", beta=2.0)
    loss: torch.Tensor = (off**2 * surprise).sum() / bumps + _DISTANCES * 2 * apart / known.sum().clamp(min=1)
    return loss
