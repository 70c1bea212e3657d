"""From an encoder's tokens to poses at the target frames: heatmap, mlp, gcn and simcc (paper.md, "pose decoder", "Head trap").

Every head gathers time first: the tokens of each target's share of the clip become one, which is a Conv3d with kernel = stride
= (share, 1, 1) written as the matrix product that it is.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from models.batch import PoseOutput
from models.config import Modality, PoseConfig
from models.heatmaps import highest_cell, highest_on_line, line_centre, refined_peak
from models.layers import Grid
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS, LIMBS

Laid = Mapping[Modality, Float[Tensor, "batch time row column dim"]]
"""Tokens of a clip as `ClipStem.split` lays them out."""

_SQUEEZE = 8
"""Channels of a place before places are flattened: the width over this."""
_NECK = ((0, 1), (0, 4))


class TargetFrames(nn.Module):
    """Of each modality, `width` channels at every place and target frame."""

    def __init__(self, grids: Mapping[Modality, Grid], dim: int, width: int, targets: int) -> None:
        super().__init__()
        self.targets = targets
        for name, (t, _, _) in grids.items():
            if t % targets:
                raise PipelineError(
                    f"{targets} target frames do not share the {t} time steps of {name} tokens evenly; "
                    "change the clip's `targets` or the encoder's `patch`."
                )
        self.gather = nn.ModuleDict({name: nn.Linear(dim * (t // targets), width) for name, (t, _, _) in grids.items()})

    def forward(self, laid: Laid) -> dict[Modality, Float[Tensor, "batch target row column width"]]:
        gathered = {}
        for name, tokens in laid.items():
            shared = tokens.unflatten(1, (self.targets, -1)).permute(0, 1, 3, 4, 2, 5).flatten(-2)
            gathered[name] = functional.gelu(self.gather[name](shared))
        return gathered


class HeatmapHead(nn.Module):
    """A map of the picture for every joint and target.

    Upsampling is bilinear and followed by a 3x3 convolution with a non-linearity: without, every map is linear between coarse
    places, and its highest cell sits at one of them. Channels shrink before upsampling, where that costs least.
    """

    def __init__(self, grids: Mapping[Modality, Grid], dim: int, targets: int, config: PoseConfig) -> None:
        super().__init__()
        self.config = config
        channels = max(config.width // 4, 8)
        self.frames = TargetFrames(grids, dim, config.width, targets)
        self.shrink = nn.ModuleDict({name: nn.Linear(config.width, channels) for name in grids})
        self.dropout = nn.Dropout(config.dropout)
        self.refine = nn.Conv2d(channels, channels, 3, padding=1)
        self.maps = nn.Conv2d(channels, len(JOINTS), 1)
        _start(self, self.maps)

    def forward(self, laid: Laid) -> PoseOutput:
        cells = self.config.heatmap_cells
        coarse = {name: self.shrink[name](self.dropout(places)) for name, places in self.frames(laid).items()}
        fine = [
            functional.interpolate(
                places.flatten(0, 1).permute(0, 3, 1, 2), (cells, cells), mode="bilinear", align_corners=False
            )
            for places in coarse.values()
        ]
        mixed = functional.gelu(self.refine(sum(fine[1:], start=fine[0])))
        maps = self.maps(mixed).unflatten(0, (-1, self.frames.targets)).float()
        if self.config.decode == "argmax":
            return PoseOutput(highest_cell(maps), maps)
        return PoseOutput(refined_peak(maps, self.config.sigma_cells), maps)


class FrameVector(nn.Module):
    """One vector of `width` for every target frame: all places and modalities flattened, so that where is not lost."""

    def __init__(self, grids: Mapping[Modality, Grid], dim: int, targets: int, config: PoseConfig) -> None:
        super().__init__()
        channels = max(config.width // _SQUEEZE, 4)
        self.frames = TargetFrames(grids, dim, config.width, targets)
        self.shrink = nn.ModuleDict({name: nn.Linear(config.width, channels) for name in grids})
        self.mix = nn.Linear(channels * sum(h * w for _, h, w in grids.values()), config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, laid: Laid) -> Float[Tensor, "batch target width"]:
        flat = [self.shrink[name](places).flatten(2) for name, places in self.frames(laid).items()]
        return self.dropout(functional.gelu(self.mix(torch.cat(flat, dim=-1))))


class MlpHead(nn.Module):
    """Coordinates by a perceptron."""

    def __init__(self, grids: Mapping[Modality, Grid], dim: int, targets: int, config: PoseConfig) -> None:
        super().__init__()
        self.vector = FrameVector(grids, dim, targets, config)
        self.out = nn.Linear(config.width, 2 * len(JOINTS))
        _start(self, self.out)

    def forward(self, laid: Laid) -> PoseOutput:
        return PoseOutput(0.5 + self.out(self.vector(laid)).unflatten(-1, (len(JOINTS), 2)).float())


class GraphConvolution(nn.Module):
    """Joints hear those that a limb joins to them (Kipf and Welling 2017, equation 2), beside what they knew."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own, self.heard = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.register_buffer("adjacency", _adjacency(), persistent=False)

    def forward(self, joints: Float[Tensor, "batch target joint width"]) -> Float[Tensor, "batch target joint width"]:
        adjacency: Tensor = self.get_buffer("adjacency")
        return joints + functional.gelu(self.norm(self.own(joints) + self.heard(adjacency.to(joints.dtype) @ joints)))


class GcnHead(nn.Module):
    """Coordinates by graph convolutions along the limbs."""

    def __init__(self, grids: Mapping[Modality, Grid], dim: int, targets: int, config: PoseConfig) -> None:
        super().__init__()
        self.width = max(config.width // 4, 8)
        self.vector = FrameVector(grids, dim, targets, config)
        self.joints = nn.Linear(config.width, len(JOINTS) * self.width)
        self.graph = nn.Sequential(GraphConvolution(self.width), GraphConvolution(self.width))
        self.out = nn.Linear(self.width, 2)
        self.rest = nn.Parameter(torch.full((len(JOINTS), 2), 0.5))
        _start(self, self.out)

    def forward(self, laid: Laid) -> PoseOutput:
        joints = self.joints(self.vector(laid)).unflatten(-1, (len(JOINTS), self.width))
        return PoseOutput((self.rest + self.out(self.graph(joints))).float())


class SimccHead(nn.Module):
    """Two distributions a joint, over columns and over rows (Li et al. 2022): a heatmap's sharpness at a line's cost."""

    def __init__(self, grids: Mapping[Modality, Grid], dim: int, targets: int, config: PoseConfig) -> None:
        super().__init__()
        self.config = config
        self.vector = FrameVector(grids, dim, targets, config)
        self.out = nn.Linear(config.width, len(JOINTS) * 2 * config.heatmap_cells)
        _start(self, self.out)

    def forward(self, laid: Laid) -> PoseOutput:
        lines = self.out(self.vector(laid)).unflatten(-1, (len(JOINTS), 2, self.config.heatmap_cells)).float()
        columns, rows = lines[..., 0, :], lines[..., 1, :]
        place = highest_on_line if self.config.decode == "argmax" else line_centre
        return PoseOutput(torch.stack([place(columns), place(rows)], dim=-1), None, (columns, rows))


HEADS: dict[str, type[HeatmapHead | MlpHead | GcnHead | SimccHead]] = {
    "heatmap": HeatmapHead,
    "mlp": MlpHead,
    "gcn": GcnHead,
    "simcc": SimccHead,
}


def _start(head: nn.Module, last: nn.Module) -> None:
    """Xavier weights, and a last layer that says nearly the same of every clip."""
    for module in head.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    assert isinstance(last, nn.Linear | nn.Conv2d)
    nn.init.trunc_normal_(last.weight, std=0.02)


def _adjacency() -> Float[Tensor, "joint joint"]:
    """Limbs and the neck, each joint joined to itself too, normalised on both sides."""
    joined = torch.eye(len(JOINTS))
    for one, other in (*LIMBS, *_NECK):
        joined[one, other] = joined[other, one] = 1
    scale = joined.sum(dim=1).rsqrt()
    return scale[:, None] * joined * scale[None, :]
