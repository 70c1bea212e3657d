"""What training clips go through: exact symmetries of the physics, and noise (docs/simulator.md, "Proof").

| symmetry                     | range-Doppler | range-azimuth | joints                                                        |
|------------------------------|---------------|---------------|---------------------------------------------------------------|
| mirror, left to right        | unchanged     | azimuth flips | mirrored about the boresight, left and right change names     |
| reverse, the last frame first| Doppler flips | unchanged     | read at the frames that have become targets                   |

Both hold where clutter removal and TDM compensation do: range-azimuth maps of preset `paper` have neither symmetry.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from models.batch import ClipBatch
from models.config import AugmentConfig, ClipConfig, Modality
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS, MIRROR_PAIRS

_SWAPPED = list(range(len(JOINTS)))
for _left, _right in MIRROR_PAIRS:
    _SWAPPED[_left], _SWAPPED[_right] = _right, _left


class Draws(NamedTuple):
    """What chance says of each clip of a batch."""

    mirror: Bool[Tensor, " batch"]
    reverse: Bool[Tensor, " batch"]
    level_db: Float[Tensor, " batch"]
    noise_seed: int


def check_augmentation(augment: AugmentConfig, clip: ClipConfig) -> None:
    """Raise PipelineError for changes that are no symmetry of `clip`'s maps, or that its scaling makes meaningless."""
    if clip.cube == "paper" and "ra" in clip.modalities and (augment.mirror or augment.reverse):
        raise PipelineError(
            "Range-azimuth maps of cube preset 'paper' lack TDM compensation, so mirrored and reversed ones look like no person; "
            "set mirror and reverse to 0, or use preset 'default'."
        )
    if clip.scaling != "window" and (augment.noise_db or augment.level_db):
        raise PipelineError(
            f"Maps scaled by {clip.scaling} have no dB, so noise_db and level_db mean nothing; set them to 0, or scale by window."
        )


def draw(augment: AugmentConfig, uniform: Float64[np.ndarray, "batch 3"], noise_seed: int) -> Draws:
    """Make choices of numbers from 0 to 1."""
    chance = torch.from_numpy(uniform)
    return Draws(
        mirror=chance[:, 0] < augment.mirror,
        reverse=chance[:, 1] < augment.reverse,
        level_db=((2 * chance[:, 2] - 1) * augment.level_db).float(),
        noise_seed=noise_seed,
    )


def augmented(
    batch: ClipBatch,
    clip: ClipConfig,
    augment: AugmentConfig,
    draws: Draws,
) -> ClipBatch:
    """Change whole clips as drawn. `batch.uv` and `confidence` hold every *frame* of the clips, before and after."""
    maps = {
        name: _noisy(_flipped_maps(name, values, draws), name, clip, augment, draws)
        for name, values in batch.maps.items()
    }
    uv, confidence = batch.uv, batch.confidence
    uv = torch.where(draws.reverse[:, None, None, None], uv.flip(1), uv)
    confidence = torch.where(draws.reverse[:, None, None], confidence.flip(1), confidence)
    mirrored = torch.stack([2 * augment.boresight_u - uv[..., 0], uv[..., 1]], dim=-1)[:, :, _SWAPPED]
    swapped = confidence[:, :, _SWAPPED]
    # what leaves the picture is no longer seen, and a masked joint stays at 0
    swapped = swapped * ((mirrored[..., 0] >= 0) & (mirrored[..., 0] <= 1))
    mirrored = mirrored * (swapped > 0)[..., None]
    uv = torch.where(draws.mirror[:, None, None, None], mirrored, uv)
    confidence = torch.where(draws.mirror[:, None, None], swapped, confidence)
    return ClipBatch(maps, uv, confidence, batch.clip)


def flipped_columns(values: Tensor) -> Tensor:
    """Columns in opposite order about column n // 2, the zero bin; with an even number the first has no partner and stays."""
    flipped = values.flip(-1)
    return flipped if values.shape[-1] % 2 else flipped.roll(1, -1)


def _flipped_maps(name: Modality, values: Tensor, draws: Draws) -> Tensor:
    reverse = draws.reverse[:, None, None, None, None]
    values = torch.where(reverse, values.flip(2), values)
    flip = reverse if name == "rd" else draws.mirror[:, None, None, None, None]
    return torch.where(flip, flipped_columns(values), values)


def _noisy(values: Tensor, name: Modality, clip: ClipConfig, augment: AugmentConfig, draws: Draws) -> Tensor:
    """The clip's level shifted and noise added, in dB of the modality's window, then cut to 0..1 again."""
    if not augment.noise_db and not augment.level_db:
        return values
    low, high = clip.window_db[name]
    values = values + draws.level_db[:, None, None, None, None] / (high - low)
    if augment.noise_db:
        generator = torch.Generator().manual_seed(draws.noise_seed + (name == "ra"))
        values = values + torch.randn(values.shape, generator=generator) * (augment.noise_db / (high - low))
    return values.clamp_(0, 1)
