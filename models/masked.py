"""The masked autoencoder: nine tenths of a clip's patches are hidden, and a narrow decoder says what they were.

He et al. 2022 (arXiv 2111.06377), for video Tong et al. 2022 and Feichtenhofer et al. 2022; sizes in paper.md, "Clip and tokens".
Only visible tokens are encoded; of hidden ones only is anything predicted.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from models.config import ClipConfig, MaskedConfig, Modality
from models.encoder import Maps, VideoEncoder
from models.layers import EPSILON, Block, Grid, cut_patches, initialise, join_patches, pick, space_time_positions
from pipeline.errors import PipelineError

Mask = Mapping[Modality, Bool[Tensor, "batch token"]]
"""True where a token is hidden; of each modality equally many in every clip."""


class MaskedOutput(NamedTuple):
    """What an autoencoder makes of a batch."""

    loss: Float[Tensor, ""]
    reconstruction: dict[Modality, Float[Tensor, "batch hidden cell"]]
    """The hidden patches alone, in the units of the target (normalised where the configuration says so)."""
    hidden: dict[Modality, Int[Tensor, "batch hidden"]]
    """Which tokens those are."""
    mask: dict[Modality, Bool[Tensor, "batch token"]]


class MaskedAutoencoder(nn.Module):
    """One autoencoder for all modalities of a clip; `encoder` is what pose networks begin from."""

    def __init__(self, clip: ClipConfig, config: MaskedConfig) -> None:
        super().__init__()
        self.clip, self.config = clip, config
        self.encoder = VideoEncoder(clip, config.encoder)
        width, patch = config.decoder_dim, config.encoder.patch
        self.narrow = nn.Linear(config.encoder.dim, width)
        self.mask_tokens = nn.ParameterDict({name: torch.zeros(width) for name in clip.modalities})
        self.decoder = nn.ModuleList(Block(width, config.decoder_heads) for _ in range(config.decoder_depth))
        self.decoder_norm = nn.LayerNorm(width, EPSILON)
        cells = patch[0] * patch[1] * patch[2]
        self.predictions = nn.ModuleDict({name: nn.Linear(width, cells) for name in clip.modalities})
        for name, grid in self.encoder.grids.items():
            self.register_buffer(f"positions_{name}", space_time_positions(grid, width), persistent=False)
            _visible_count(grid, config)
        for part in (self.narrow, self.decoder, self.predictions):
            initialise(part)
        for token in self.mask_tokens.values():
            nn.init.normal_(token, std=0.02)
        if config.around_mean:
            for name, (_, h, w) in self.encoder.grids.items():
                self.register_buffer(f"mean_{name}", torch.zeros(h * w, cells))
                nn.init.zeros_(self.predictions[name].weight)  # type: ignore[arg-type]

    def forward(self, maps: Maps, generator: torch.Generator | None = None, mask: Mask | None = None) -> MaskedOutput:
        """Hide tokens (those of `mask`, or at random from `generator`), reconstruct them, and measure how well.

        Raises PipelineError where the maps are not the clip's, or a mask hides unequally many tokens in two clips.
        """
        patches = self.encoder.stem.cut(maps)
        first = next(iter(patches.values()))
        seen, hidden = self._parted(first.shape[0], first.device, generator, mask)
        reconstruction = self._decode(self.encoder.encode(patches, seen), seen, hidden)
        loss = self._loss(patches, reconstruction, hidden)
        if mask is None:
            mask = {name: self._as_mask(name, index) for name, index in hidden.items()}
        return MaskedOutput(loss, reconstruction, hidden, dict(mask))

    @torch.no_grad()
    def reconstruct(self, maps: Maps, mask: Mask) -> dict[Modality, Float[Tensor, "batch 1 frame row column"]]:
        """The clip with its hidden patches as they are predicted, in the clip's own units, and the visible ones as they were."""
        output = self(maps, mask=mask)
        videos = {}
        for name, patches in self.encoder.stem.cut(maps).items():
            index = output.hidden[name].unsqueeze(-1).expand(-1, -1, patches.shape[-1])
            predicted = output.reconstruction[name]
            if self.config.normalise_patches:
                mean, deviation = self._level(patches.gather(1, index))
                predicted = predicted * deviation + mean
            videos[name] = self._joined(name, patches.scatter(1, index, predicted.to(patches.dtype)))
        return videos

    @torch.no_grad()
    def set_mean(self, maps: Mapping[Modality, Float[Tensor, "row column"]]) -> None:
        """The mean map of each modality, which predictions are counted from where the configuration says `around_mean`."""
        patch = self.config.encoder.patch
        for name in self.clip.modalities:
            video = maps[name].expand(1, 1, patch[0], -1, -1)
            self.get_buffer(f"mean_{name}").copy_(cut_patches(video, patch)[0])

    def _parted(
        self, batch: int, device: torch.device, generator: torch.Generator | None, mask: Mask | None
    ) -> tuple[dict[Modality, Tensor], dict[Modality, Tensor]]:
        """Numbers of the tokens that are seen, and of those that are hidden, by modality."""
        seen, hidden = {}, {}
        for name, (t, h, w) in self.encoder.grids.items():
            if mask is not None:
                visible = _equal_count(name, mask)
                order = mask[name].to(torch.uint8).argsort(dim=1, stable=True)
            else:
                visible = _visible_count((t, h, w), self.config)
                tube = self.config.masking == "tube"
                noise_device = device if generator is None else generator.device
                noise = torch.rand(batch, h * w if tube else t * h * w, generator=generator, device=noise_device)
                order = noise.to(device).argsort(dim=1)
                if tube:
                    times = h * w * torch.arange(t, device=device)
                    order = (order[:, :, None] + times).flatten(1)
            seen[name], hidden[name] = order[:, :visible], order[:, visible:]
        return seen, hidden

    def _decode(
        self,
        tokens: Float[Tensor, "batch seen dim"],
        seen: Mapping[Modality, Tensor],
        hidden: Mapping[Modality, Tensor],
    ) -> dict[Modality, Tensor]:
        """Predicted patches at the hidden places; the last block works out nothing else."""
        tables: dict[Modality, Tensor] = {name: getattr(self, f"positions_{name}") for name in seen}
        known = self.narrow(tokens)
        places = torch.cat([tables[name][index] for name, index in seen.items()], dim=1)
        asked = [tables[name][index] + self.mask_tokens[name] for name, index in hidden.items()]
        counts = [index.shape[1] for index in hidden.values()]
        mixed = torch.cat([known + places, *(part.to(known.dtype) for part in asked)], dim=1)
        for block in self.decoder[:-1]:
            mixed = block(mixed)
        mixed = self.decoder_norm(self.decoder[-1](mixed, queries=sum(counts)))
        parts = zip(hidden, mixed.split(counts, dim=1), strict=True)
        return {name: self._patches(name, part, hidden[name]) for name, part in parts}

    def _patches(
        self, name: Modality, decoded: Float[Tensor, "batch hidden width"], hidden: Int[Tensor, "batch hidden"]
    ) -> Float[Tensor, "batch hidden cell"]:
        predicted: Tensor = self.predictions[name](decoded)
        if not self.config.around_mean:
            return predicted
        mean = self.get_buffer(f"mean_{name}")  # of one moment: the same at every time
        _, deviation = self.clip.levels.get(name, (0.0, 1.0))
        return mean[hidden % len(mean)] + deviation * predicted.float()

    def _loss(
        self,
        patches: Mapping[Modality, Tensor],
        reconstruction: Mapping[Modality, Tensor],
        hidden: Mapping[Modality, Tensor],
    ) -> Tensor:
        """Mean squared error over all cells of hidden patches, of modalities in proportion to their hidden cells."""
        errors, weights = [], []
        for name, index in hidden.items():
            target = pick(patches[name], index)
            weight = self._energy(patches[name], target) if self.config.energy_weighted else None
            if self.config.normalise_patches:
                mean, deviation = self._level(target)
                target = (target - mean) / deviation
            predicted = reconstruction[name].float()
            if weight is None:
                errors.append(functional.mse_loss(predicted, target) * target.numel())
                weights.append(torch.full_like(errors[-1], target.numel()))
            else:
                errors.append(((predicted - target).square().sum(dim=-1) * weight).sum())
                weights.append(weight.sum() * target.shape[-1])
        return torch.stack(errors).sum() / torch.stack(weights).sum()

    def _level(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of each patch, and the square root of its variance plus the floor."""
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        return mean, (variance + self.config.variance_floor).sqrt()

    @staticmethod
    def _energy(patches: Tensor, target: Tensor) -> Tensor:
        """(batch, hidden): 1 + a patch's energy over that of the clip's average patch."""
        average = patches.square().mean(dim=(1, 2))[:, None]
        return 1 + target.square().mean(dim=-1) / average.clamp(min=1e-12)

    def _as_mask(self, name: Modality, hidden: Tensor) -> Tensor:
        t, h, w = self.encoder.grids[name]
        mask = torch.zeros(hidden.shape[0], t * h * w, dtype=torch.bool, device=hidden.device)
        return mask.scatter(1, hidden, torch.ones_like(hidden, dtype=torch.bool))

    def _joined(self, name: Modality, patches: Tensor) -> Tensor:
        return join_patches(patches, self.encoder.grids[name], self.config.encoder.patch)


def _visible_count(grid: Grid, config: MaskedConfig) -> int:
    """Tokens of one modality that stay visible; PipelineError where none or all would."""
    t, h, w = grid
    tube = config.masking == "tube"
    count = round((1 - config.mask_ratio) * (h * w if tube else t * h * w)) * (t if tube else 1)
    if not 0 < count < t * h * w:
        raise PipelineError(
            f"Of {t * h * w} tokens a mask_ratio of {config.mask_ratio} ({config.masking}) leaves {count} visible; "
            "choose another ratio or smaller patches."
        )
    return count


def _equal_count(name: Modality, mask: Mask) -> int:
    """Visible tokens of every clip alike."""
    counts = (~mask[name]).sum(dim=1)
    visible = int(counts[0])
    if bool((counts != visible).any()) or visible in (0, mask[name].shape[1]):
        raise PipelineError(
            f"The {name} mask hides all, none or unequally many tokens in some clips; hide as many in each."
        )
    return visible
