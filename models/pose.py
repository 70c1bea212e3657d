"""From a clip to poses: what every pose network can do, the paper's network, and the choice among methods."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.batch import ClipBatch, PoseOutput
from models.config import ClipConfig, PoseConfig
from models.encoder import Maps, VideoEncoder
from models.heads import HEADS
from models.heatmaps import heatmap_targets, line_targets
from models.masked import MaskedAutoencoder
from pipeline.errors import PipelineError
from pipeline.skeleton import LIMBS

Layer = tuple[int, str, list[nn.Parameter]]
"""Depth from the input, name, and weights."""


class PoseNetwork(nn.Module):
    """What every network from clips to poses can do; a method is a subclass with a `forward`, and `layers` if it has depth."""

    def __init__(self, clip: ClipConfig, config: PoseConfig) -> None:
        super().__init__()
        self.clip, self.config = clip, config

    def forward(self, maps: Maps) -> PoseOutput:
        """Poses at the clip's target frames. Raises PipelineError where the maps are not those the network was built for."""
        raise NotImplementedError

    def loss(self, output: PoseOutput, batch: ClipBatch) -> dict[str, Tensor]:
        """`loss` and the parts it is the sum of. A joint counts by its confidence: at 0, not at all."""
        config, parts = self.config, {}
        if output.heatmaps is not None:
            parts["heatmap"] = heatmap_loss(output.heatmaps, batch, config)
        elif output.lines is not None:
            parts["lines"] = line_loss(output.lines, batch, config)
        else:
            parts["place"] = _mean((output.uv - batch.uv).abs().sum(dim=-1), batch.confidence)
        if config.velocity_weight:
            parts["velocity"] = config.velocity_weight * velocity_loss(output.uv, batch)
        if config.bone_weight:
            parts["bone"] = config.bone_weight * bone_loss(output.uv, batch)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def layers(self) -> list[Layer]:
        """Weights by depth for layer-wise rates; a network without depth is one layer."""
        return [(0, "network", list(self.parameters()))]

    def load_encoder(self, masked: MaskedAutoencoder) -> None:
        """Begin from a pre-trained encoder; PipelineError where the method has none."""
        raise PipelineError(f"{self.config.method} has no encoder to pre-train; train it from random weights.")


class EncoderPose(PoseNetwork):
    """MAEPose: the encoder that pre-training fits, all tokens visible, and a head. `maepose-plus` is it with our switches on."""

    def __init__(self, clip: ClipConfig, config: PoseConfig) -> None:
        super().__init__(clip, config)
        motion = config.velocity_weight or config.bone_weight
        if motion and config.decode == "argmax" and config.head in ("heatmap", "simcc"):
            raise PipelineError(
                "Losses on motion and bones need a gradient, and argmax has none; set `decode` to subpixel."
            )
        self.encoder = VideoEncoder(clip, config.encoder, config.drop_path)
        self.head = HEADS[config.head](self.encoder.grids, config.encoder.dim, len(clip.targets), config)

    def forward(self, maps: Maps) -> PoseOutput:
        output: PoseOutput = self.head(self.encoder.stem.split(self.encoder(maps)))
        return output

    def layers(self) -> list[Layer]:
        """The encoder's layers, then the head."""
        encoder = self.encoder.layers()
        return [*encoder, (len(encoder), "head", list(self.head.parameters()))]

    def load_encoder(self, masked: MaskedAutoencoder) -> None:
        """Take over a pre-trained encoder's weights; PipelineError where it reads other clips or has another size."""
        for what, own, other in (
            ("modalities", self.clip.modalities, masked.clip.modalities),
            ("token grid", self.encoder.grids, masked.encoder.grids),
            ("encoder", self.config.encoder, masked.config.encoder),
        ):
            if own != other:
                raise PipelineError(
                    f"The pre-trained {what} is another than this network's: {other} instead of {own}; "
                    "pre-train with the configuration that is to be fine-tuned."
                )
        self.encoder.load_state_dict(masked.encoder.state_dict())


def build_pose_network(clip: ClipConfig, config: PoseConfig) -> PoseNetwork:
    """The network of `config.method`, with random weights. Raises PipelineError where its sizes do not fit one another."""
    if config.method in ("maepose", "maepose-plus"):
        return EncoderPose(clip, config)
    from models.baselines import build_baseline

    return build_baseline(clip, config)


def heatmap_loss(heatmaps: Tensor, batch: ClipBatch, config: PoseConfig) -> Tensor:
    """Squared error of (batch, target, joint, row, column), cells weighed by 1 + peak_weight * target (paper.md, "targets")."""
    target = heatmap_targets(batch.uv, heatmaps.shape[-1], config.sigma_cells)
    error = (1 + config.peak_weight * target) * (heatmaps - target).square()
    return _mean(error.mean(dim=(-2, -1)), batch.confidence)


def line_loss(lines: tuple[Tensor, Tensor], batch: ClipBatch, config: PoseConfig) -> Tensor:
    """Cross-entropy of columns and rows, (batch, target, joint, cell) each, against Gaussians about the joints."""
    targets = line_targets(batch.uv, lines[0].shape[-1], config.sigma_cells)
    entropies = [
        -(target * functional.log_softmax(logits, dim=-1)).sum(dim=-1)
        for target, logits in zip(targets, lines, strict=True)
    ]
    return _mean(torch.stack(entropies).sum(dim=0), batch.confidence)


def velocity_loss(uv: Tensor, batch: ClipBatch) -> Tensor:
    """Distance of the predicted way from target to target from the true one."""
    error = (uv.diff(dim=1) - batch.uv.diff(dim=1)).abs().sum(dim=-1)
    return _mean(error, torch.minimum(batch.confidence[:, 1:], batch.confidence[:, :-1]))


def bone_loss(uv: Tensor, batch: ClipBatch) -> Tensor:
    """Difference of predicted and true lengths of the limbs, in shares of the picture."""
    ends = torch.tensor(LIMBS, device=uv.device).T
    lengths = [_length(places[:, :, ends[0]] - places[:, :, ends[1]]) for places in (uv, batch.uv)]
    confidence = torch.minimum(batch.confidence[:, :, ends[0]], batch.confidence[:, :, ends[1]])
    return _mean((lengths[0] - lengths[1]).abs(), confidence)


def _length(way: Tensor) -> Tensor:
    return (way.square().sum(dim=-1) + 1e-8).sqrt()  # the root of 0 has no gradient


def _mean(error: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean; 0 where all weights are. A weight of 0 drops even an error that is no number."""
    return (error.where(weight > 0, 0.0) * weight).sum() / weight.sum().clamp(min=1e-6)
