"""The network of the simulated rig's labeller: a picture in, maps of joints, of centres and of what belongs together out.

A small encoder and decoder with skips; its maps have a quarter of the picture's rows and columns. Channels, in order:

    13  how surely this cell is the joint, by `pipeline.skeleton.JOINTS` (logits)
     1  how surely it is a person's centre: the mean of shoulders and hips (logits)
    26  of a joint's cell, where its person's centre lies: columns to the right and rows down, for each joint
     4  of a centre's cell, where the person's box ends: columns and rows to its left, top, right, bottom

So everybody is found in one pass however many there are, as by CenterNet (Zhou et al. 2019), but that a joint points at its
centre: an arm is found from its own looks, not from the chest's. This module needs torch; import it where torch is there.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from pipeline.skeleton import JOINTS

STRIDE = 4
CENTRE = len(JOINTS)
TO_CENTRE = slice(CENTRE + 1, CENTRE + 1 + 2 * len(JOINTS))
BOX = slice(TO_CENTRE.stop, TO_CENTRE.stop + 4)
CELLS = 8.0
"""Distances leave the network in units of so many cells, so that they are about as large as logits."""

_WIDTHS = (24, 32, 64, 96, 128)
_HEAD = 48
_RARE = -4.0  # logit that the joint maps start from: almost nothing is a joint


class JointMaps(nn.Module):
    """Pictures (batch, 3, row, column) scaled by `scaled_light` to maps (batch, 44, row / 4, column / 4)."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth, fifth = _WIDTHS
        self.down_2 = _convolution(3, first, 2)
        self.down_4 = nn.Sequential(_convolution(first, second, 2), _Residual(second))
        self.down_8 = nn.Sequential(_convolution(second, third, 2), _Residual(third))
        self.down_16 = nn.Sequential(_convolution(third, fourth, 2), _Residual(fourth), _Residual(fourth))
        self.down_32 = nn.Sequential(_convolution(fourth, fifth, 2), _Residual(fifth), _Residual(fifth))
        self.up_16 = _convolution(fifth + fourth, fourth)
        self.up_8 = _convolution(fourth + third, third)
        self.up_4 = _convolution(third + second, _HEAD)
        self.head = nn.Sequential(_convolution(_HEAD, _HEAD), nn.Conv2d(_HEAD, BOX.stop, 1))
        bias = self.head[-1].bias
        assert isinstance(bias, nn.Parameter)
        nn.init.constant_(bias[: CENTRE + 1], _RARE)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        quarter = self.down_4(self.down_2(pictures))
        eighth = self.down_8(quarter)
        sixteenth = self.down_16(eighth)
        coarse = self.down_32(sixteenth)
        coarse = self.up_16(_beside(coarse, sixteenth))
        coarse = self.up_8(_beside(coarse, eighth))
        maps: torch.Tensor = self.head(self.up_4(_beside(coarse, quarter)))
        return maps.float()


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(maps + self.second(self.first(maps)))


def _convolution(into: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def _beside(coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    """`coarse` as large as `fine`, and `fine`."""
    return torch.cat([nn.functional.interpolate(coarse, size=fine.shape[-2:], mode="nearest"), fine], dim=1)


def scaled_light(pictures: UInt8[np.ndarray, "picture row column 3"]) -> torch.Tensor:
    """Pictures as the network takes them: channels first, about from -2 to 2."""
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 110.0) / 60.0


def save_network(network: JointMaps, path: Path) -> None:
    """Write the weights in half precision, in one atomic step."""
    from safetensors.torch import save

    halved = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()
    }
    write_atomic(path, save({name: tensor.contiguous() for name, tensor in halved.items()}))


def load_network(path: Path) -> JointMaps:
    """The network with the weights in `path`, in single precision, ready to look; PipelineError when they are none of its."""
    from safetensors.torch import load_file

    network = JointMaps()
    try:
        network.load_state_dict(load_file(path))  # half precision is copied into single
    except Exception as error:  # safetensors and torch raise of their own kinds for files that are no such weights
        first = str(error).strip().splitlines()[0]
        raise PipelineError(f"{path} holds no weights of the simulated rig's labeller: {first}") from error
    return network.eval()
