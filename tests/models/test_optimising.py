"""Each layer learns at its own rate, and the rate rises and falls as it should."""

import math

import pytest
import torch
from torch import nn

from models.config import TrainConfig
from models.optimising import average, one_layer, optimiser, parameter_groups, rate_factor

CONFIG = TrainConfig(rate=0.01, layer_decay=0.5, weight_decay=0.1, warmup=0.2)


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.position_rows = nn.Parameter(torch.ones(3, 4))
        self.mask_token = nn.Parameter(torch.ones(1, 4))
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.head = nn.Linear(4, 2)

    def layers(self):
        yield 0, [self.position_rows, self.mask_token]
        for number, block in enumerate(self.blocks, start=1):
            yield number, block.parameters()
        yield 4, self.head.parameters()


def test_rates_of_each_layer_at_each_step():
    network = Stack()
    adamw, schedule = optimiser(network, list(network.layers()), CONFIG, steps=10)
    for step in range(10):
        for group in adamw.param_groups:
            expected = 0.01 * 0.5 ** (4 - group["layer"]) * rate_factor(step, 10, 0.2)
            assert group["lr"] == pytest.approx(expected, rel=1e-12), (step, group["names"])
        adamw.step()
        schedule.step()
    assert {group["layer"] for group in adamw.param_groups} == {0, 1, 2, 3, 4}


def test_weights_move_as_far_as_their_layers_rate():
    """Adam's first step moves every weight by its rate, whatever the gradient."""
    network = Stack()
    config = CONFIG.model_copy(update={"weight_decay": 0.0, "warmup": 0.0})
    adamw, _ = optimiser(network, list(network.layers()), config, steps=10)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    for number, parameter in enumerate(network.parameters()):
        parameter.grad = torch.full_like(parameter, 3.0 + number)
    adamw.step()
    layer_of = {"position_rows": 0, "mask_token": 0, "blocks.0": 1, "blocks.1": 2, "blocks.2": 3, "head": 4}
    for name, value in network.named_parameters():
        layer = next(number for start, number in layer_of.items() if name.startswith(start))
        moved = (before[name] - value).detach()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.01 * 0.5 ** (4 - layer)), rtol=1e-3, atol=1e-7)


def test_biases_positions_and_tokens_are_not_decayed():
    network = Stack()
    groups = parameter_groups(network, list(network.layers()), CONFIG)
    decayed = {name for group in groups if group["weight_decay"] for name in group["names"]}
    assert decayed == {"blocks.0.weight", "blocks.1.weight", "blocks.2.weight", "head.weight"}
    assert {group["weight_decay"] for group in groups} == {0.0, 0.1}
    assert sum(len(group["names"]) for group in groups) == len(list(network.parameters()))


def test_weights_in_no_layer_or_in_two_are_refused():
    network = Stack()
    with pytest.raises(ValueError, match=r"in no layer: blocks\.0\.weight"):
        parameter_groups(network, [(0, network.head.parameters()), *list(network.layers())[:1]], CONFIG)
    with pytest.raises(ValueError, match="in the layers 0 and 1"):
        parameter_groups(network, [(0, network.parameters()), (1, network.head.parameters())], CONFIG)


def test_the_rate_rises_in_a_line_and_falls_in_a_cosine():
    factors = [rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert rate_factor(100, 100, 0.1) == 0.0
    assert rate_factor(0, 1, 0.0) == 1.0


def test_one_layer_has_one_rate():
    network = Stack()
    groups = parameter_groups(network, one_layer(network), CONFIG)
    assert {group["lr"] for group in groups} == {0.01}


def test_the_average_forgets_the_first_weights():
    network = nn.Linear(1, 1, bias=False)
    copy = average(network, decay=0.9)
    expected = 0.0
    for step in range(30):
        with torch.no_grad():
            network.weight.fill_(float(step))
        copy.update_parameters(network)
        # the first update takes the weights as they are
        kept = min(0.9, (1 + step) / (10 + step)) if step else 0.0
        expected = kept * expected + (1 - kept) * step
        assert copy.module.weight.item() == pytest.approx(expected, rel=1e-5)
    assert not copy.module.weight.requires_grad
