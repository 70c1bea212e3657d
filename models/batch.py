"""What passes from the loader to a network, and back."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from models.config import Modality


class ClipBatch(NamedTuple):
    """Clips stacked. `uv` are shares of the picture's width and height; a masked joint has confidence 0 and uv 0."""

    maps: dict[Modality, Float[Tensor, "batch 1 frame row column"]]
    uv: Float[Tensor, "batch target joint 2"]
    confidence: Float[Tensor, "batch target joint"]
    clip: Int[Tensor, " batch"]
    """Row of each clip in the data set's table."""


class PoseOutput(NamedTuple):
    """What a pose network says: places, and the logits it had them from where its head makes such."""

    uv: Float[Tensor, "batch target joint 2"]
    heatmaps: Float[Tensor, "batch target joint row column"] | None = None
    lines: tuple[Float[Tensor, "batch target joint column"], Float[Tensor, "batch target joint row"]] | None = None
    """Head `simcc`: logits over columns (u) and rows (v)."""
