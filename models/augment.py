"""What training clips go through: exact symmetries of the physics (docs/simulator.md, "Proof"), and noise.

People walking past, who need other clips, are added before: `models.passersby`.

| symmetry                     | range-Doppler | range-azimuth | joints                                                        |
|------------------------------|---------------|---------------|---------------------------------------------------------------|
| mirror, left to right        | unchanged     | azimuth flips | mirrored about the boresight, left and right change names     |
| reverse, the last frame first| Doppler flips | unchanged     | read at the frames that have become targets                   |

Both hold where clutter removal and TDM compensation do: range-azimuth maps of preset `paper` have neither symmetry.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from models.batch import ClipBatch
from models.config import AugmentConfig, ClipConfig, Modality
from pipeline.errors import PipelineError
from pipeline.skeleton import MIRRORED

Maps = Float[Tensor, "batch 1 frame row column"]

_BANK_CELLS = 2**22


class Draws(NamedTuple):
    """What chance says of each clip of a batch."""

    mirror: Bool[Tensor, " batch"]
    reverse: Bool[Tensor, " batch"]
    level_db: Float[Tensor, " batch"]
    noise: Float[Tensor, " batch"]
    """0 to 1: where each clip's noise begins in the bank of it."""


def changes_anything(augment: AugmentConfig) -> bool:
    """Whether any change is switched on."""
    switches = (augment.mirror, augment.reverse, augment.jitter_frames, augment.noise_db, augment.level_db)
    return any((*switches, augment.passersby))


def check_augmentation(augment: AugmentConfig, clip: ClipConfig) -> None:
    """Raise PipelineError for changes that are no symmetry of `clip`'s maps, or that its scaling makes meaningless."""
    if clip.cube == "paper" and "ra" in clip.modalities and (augment.mirror or augment.reverse):
        raise PipelineError(
            "Range-azimuth maps of cube preset 'paper' lack TDM compensation, so mirrored and reversed ones look like no person; "
            "set mirror and reverse to 0, or use preset 'default'."
        )
    if clip.scaling != "window" and (augment.noise_db or augment.level_db or augment.passersby):
        raise PipelineError(
            f"Maps scaled by {clip.scaling} have no dB, so noise_db, level_db and passersby mean nothing; "
            "set them to 0, or scale by window."
        )
    if augment.passersby and (clip.cube == "paper" or clip.resize_px is not None):
        raise PipelineError(
            "People walk past in maps without furniture and of the cube's own bins alone: set passersby to 0, "
            "or use cubes of preset 'default' and no resize_px."
        )


def draw(augment: AugmentConfig, uniform: Float64[np.ndarray, "batch 4"]) -> Draws:
    """Make choices of numbers from 0 to 1."""
    chance = torch.from_numpy(uniform)
    return Draws(
        mirror=chance[:, 0] < augment.mirror,
        reverse=chance[:, 1] < augment.reverse,
        level_db=((2 * chance[:, 2] - 1) * augment.level_db).float(),
        noise=chance[:, 3],
    )


def augmented(batch: ClipBatch, clip: ClipConfig, augment: AugmentConfig, draws: Draws) -> ClipBatch:
    """Change whole clips as drawn, the maps in place. `uv` and `confidence` hold every *frame*, before and after."""
    for name, values in batch.maps.items():
        _flip(name, values, draws)
        _add_noise(name, values, clip, augment, draws)
    uv, confidence = batch.uv, batch.confidence
    uv = torch.where(draws.reverse[:, None, None, None], uv.flip(1), uv)
    confidence = torch.where(draws.reverse[:, None, None], confidence.flip(1), confidence)
    mirrored = torch.stack([2 * augment.boresight_u - uv[..., 0], uv[..., 1]], dim=-1)[:, :, MIRRORED]
    swapped = confidence[:, :, MIRRORED]
    # what leaves the picture is no longer seen, and a masked joint stays at 0
    swapped = swapped * ((mirrored[..., 0] >= 0) & (mirrored[..., 0] <= 1))
    mirrored = mirrored * (swapped > 0)[..., None]
    uv = torch.where(draws.mirror[:, None, None, None], mirrored, uv)
    confidence = torch.where(draws.mirror[:, None, None], swapped, confidence)
    return ClipBatch(batch.maps, uv, confidence, batch.clip)


def flipped_columns(values: Tensor) -> Tensor:
    """Columns in opposite order about column n // 2, the zero bin; with an even number the first has no partner and stays."""
    flipped = values.flip(-1)
    return flipped if values.shape[-1] % 2 else flipped.roll(1, -1)


def _flip(name: Modality, values: Maps, draws: Draws) -> None:
    for index in torch.nonzero(draws.reverse).ravel().tolist():
        values[index] = values[index].flip(1)
    for index in torch.nonzero(draws.reverse if name == "rd" else draws.mirror).ravel().tolist():
        values[index] = flipped_columns(values[index])


def _add_noise(name: Modality, values: Maps, clip: ClipConfig, augment: AugmentConfig, draws: Draws) -> None:
    """Shift each clip's level and add noise, in dB of the modality's window, then cut to 0..1 again."""
    if not augment.noise_db and not augment.level_db:
        return
    low, high = clip.window_db[name]
    cells = values[0].numel()
    bank = _noise_bank(max(_BANK_CELLS, 2 * cells))
    level, begin = (draws.level_db / (high - low)).tolist(), (draws.noise * (len(bank) - cells)).long().tolist()
    for index, map_ in enumerate(values):
        if augment.noise_db:
            # from the other end for the other modality, whose noise is its own
            first = begin[index] if name == "rd" else len(bank) - cells - begin[index]
            map_.add_(bank[first : first + cells].view_as(map_), alpha=augment.noise_db / (high - low))
        map_.add_(level[index]).clamp_(0, 1)


@cache
def _noise_bank(cells: int) -> Float[Tensor, " cell"]:
    """Normal noise to cut pieces from, which costs a tenth of drawing it anew."""
    return torch.randn(cells, generator=torch.Generator().manual_seed(0))
