"""Heatmaps and lines of cells over the picture: their targets, and where their peaks lie.

A picture is cut into `cells` columns and rows; the centre of cell i lies at (i + 0.5) / cells of its width or height.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def heatmap_targets(
    uv: Float[Tensor, "batch target joint 2"], cells: int, sigma_cells: float
) -> Float[Tensor, "batch target joint cells cells"]:
    """A Gaussian of height 1 at every joint (paper.md, "targets"); a joint beyond the picture leaves what of it reaches in."""
    across = _bell(uv[..., 0], cells, sigma_cells)
    down = _bell(uv[..., 1], cells, sigma_cells)
    return down.unsqueeze(-1) * across.unsqueeze(-2)


def line_targets(
    uv: Float[Tensor, "batch target joint 2"], cells: int, sigma_cells: float
) -> tuple[Float[Tensor, "batch target joint cells"], Float[Tensor, "batch target joint cells"]]:
    """Shares of columns and of rows that sum to 1: Gaussians about every joint (Li et al. 2022, SimCC, section 3.2)."""
    across = _bell(uv[..., 0].clamp(0, 1), cells, sigma_cells)
    down = _bell(uv[..., 1].clamp(0, 1), cells, sigma_cells)
    return across / across.sum(dim=-1, keepdim=True), down / down.sum(dim=-1, keepdim=True)


def highest_cell(heatmaps: Float[Tensor, "batch target joint row column"]) -> Float[Tensor, "batch target joint 2"]:
    """u and v of the centre of the highest cell: the paper's decoding. No gradient passes."""
    row, column = _peak(heatmaps)
    return torch.stack([(column + 0.5) / heatmaps.shape[-1], (row + 0.5) / heatmaps.shape[-2]], dim=-1)


def refined_peak(
    heatmaps: Float[Tensor, "batch target joint row column"], sigma_cells: float
) -> Float[Tensor, "batch target joint 2"]:
    """u and v of the peak between cells: the map smoothed by its own Gaussian, a parabola through the highest of that.

    Correlating with the sought shape is the best a linear filter can do against noise; the Gaussian that comes out is broad
    (sigma * sqrt 2), so that a parabola through three cells misses its top by less than a hundredth of one.
    """
    smooth = _smoothed(heatmaps, sigma_cells)
    row, column = _peak(smooth)
    step_row = _vertex(smooth, row, column, down=True)
    step_column = _vertex(smooth, row, column, down=False)
    return torch.stack(
        [(column + 0.5 + step_column) / heatmaps.shape[-1], (row + 0.5 + step_row) / heatmaps.shape[-2]], dim=-1
    )


def line_centre(logits: Float[Tensor, "batch target joint cells"]) -> Float[Tensor, "batch target joint"]:
    """Mean place under a line's distribution: what is nearest on average, and smooth in the logits."""
    cells = logits.shape[-1]
    centres = (torch.arange(cells, device=logits.device, dtype=torch.float32) + 0.5) / cells
    return (logits.float().softmax(dim=-1) * centres).sum(dim=-1)


def highest_on_line(logits: Float[Tensor, "batch target joint cells"]) -> Float[Tensor, "batch target joint"]:
    """Centre of a line's highest cell. No gradient passes."""
    return (logits.argmax(dim=-1) + 0.5) / logits.shape[-1]


def _bell(at: Tensor, cells: int, sigma_cells: float) -> Tensor:
    centres = torch.arange(cells, device=at.device, dtype=at.dtype) + 0.5
    return torch.exp(-0.5 * ((centres - at.unsqueeze(-1) * cells) / sigma_cells) ** 2)


def _peak(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    columns = heatmaps.shape[-1]
    best = heatmaps.flatten(-2).argmax(dim=-1)
    return torch.div(best, columns, rounding_mode="floor"), best % columns


def _smoothed(heatmaps: Tensor, sigma_cells: float) -> Tensor:
    """The map's correlation with a Gaussian, over the norm of what of the Gaussian lies in the picture.

    So divided it is highest where the Gaussian fits best, at the border too (Cauchy-Schwarz): there half a joint is seen.
    """
    radius = math.ceil(3 * sigma_cells)
    offsets = torch.arange(-radius, radius + 1, device=heatmaps.device, dtype=heatmaps.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma_cells) ** 2)
    row, column = kernel.view(1, 1, 1, -1), kernel.view(1, 1, -1, 1)
    flat = heatmaps.reshape(-1, 1, *heatmaps.shape[-2:])
    smooth = functional.conv2d(functional.conv2d(flat, row, padding=(0, radius)), column, padding=(radius, 0))
    inside = torch.ones_like(flat[:1])
    energy = functional.conv2d(inside, row.square(), padding=(0, radius))
    energy = functional.conv2d(energy, column.square(), padding=(radius, 0))
    return (smooth / energy.sqrt()).reshape(heatmaps.shape)


def _vertex(heatmaps: Tensor, row: Tensor, column: Tensor, down: bool) -> Tensor:
    """Cells from the highest one to the top of the parabola through it and its two neighbours; 0 at the border."""
    rows, columns = heatmaps.shape[-2:]
    flat = heatmaps.flatten(-2).float()
    at, size = (row, rows) if down else (column, columns)
    stride = columns if down else 1
    here = row * columns + column
    inside = (at > 0) & (at < size - 1)
    before, middle, after = (
        flat.gather(-1, (here + step * inside * stride).unsqueeze(-1)).squeeze(-1) for step in (-1, 0, 1)
    )
    bend = (2 * middle - before - after).clamp(min=1e-6)
    return (0.5 * (after - before) / bend).clamp(-0.5, 0.5)
