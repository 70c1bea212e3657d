"""The optimiser: which weights learn how fast, the rate over the run, and an average of the weights."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from models.config import TrainConfig

Tensors = tuple[Tensor, ...] | list[Tensor]

Layer = tuple[int, Iterable[nn.Parameter]]
"""Number of a layer, counted from the input, and its weights."""


def parameter_groups(network: nn.Module, layers: Sequence[Layer], config: TrainConfig) -> list[dict[str, Any]]:
    """Groups for an optimiser, one a layer and kind of weight, each with its own `lr`, `weight_decay`, `layer` and `names`.

    The rate of the highest layer is `config.rate`, that of each one below `config.layer_decay` times as much: it stands in the
    group's `lr` itself, so that any scheduler scales it. Biases, norms, position embeddings and learnt tokens are not decayed.
    Raises ValueError for weights that are in no layer, or in two.
    """
    number_of: dict[nn.Parameter, int] = {}
    for number, parameters in layers:
        for parameter in parameters:
            if number_of.setdefault(parameter, number) != number:
                raise ValueError(f"a weight is in the layers {number_of[parameter]} and {number}")
    named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    missing = [name for name, parameter in named if parameter not in number_of]
    if missing:
        raise ValueError(f"these weights are in no layer: {', '.join(missing[:5])}")
    last = max(number_of.values())
    members: dict[tuple[int, bool], list[tuple[str, nn.Parameter]]] = defaultdict(list)
    for name, parameter in named:
        members[number_of[parameter], _decayed(name, parameter)].append((name, parameter))
    return [
        {
            "params": [parameter for _, parameter in group],
            "names": [name for name, _ in group],
            "layer": number,
            "lr": config.rate * config.layer_decay ** (last - number),
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (number, decayed), group in sorted(members.items(), key=lambda item: item[0])
    ]


def one_layer(network: nn.Module) -> list[Layer]:
    """All weights at one rate."""
    return [(0, network.parameters())]


def _decayed(name: str, parameter: nn.Parameter) -> bool:
    words = name.rsplit(".", 1)[-1]
    return parameter.ndim > 1 and "position" not in name and "token" not in words


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """Share of its height that the rate has at optimiser step `step` of `steps`: up in a line, then down a cosine to nothing.

    paper.md, "Clip and tokens": warm-up, cosine.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    done = (step - rising) / max(steps - rising, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def optimiser(network: nn.Module, layers: Sequence[Layer], config: TrainConfig, steps: int) -> tuple[AdamW, LambdaLR]:
    """AdamW over `parameter_groups`, and the schedule that is stepped after each of `steps` steps."""
    groups = parameter_groups(network, layers, config)
    # one kernel for all weights: on CPUs too it spares a pass over them for each of the update's terms
    adamw = AdamW(groups, lr=config.rate, betas=config.betas, fused=True)
    return adamw, LambdaLR(adamw, lambda step: rate_factor(step, steps, config.warmup))


def average(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of `network` that follows it slowly: `update_parameters` after each step.

    The decay rises to `decay` as (1 + n) / (10 + n), so that the first, random weights do not linger.
    """

    @torch.no_grad()
    def follow(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(list(averaged), list(current), 1 - kept)

    copy = AveragedModel(network, multi_avg_fn=follow)
    return copy.requires_grad_(False)
