"""Peaks of heatmaps and lines: how near they come, and that a head's peaks sit anywhere, not on coarse places alone."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import PoseConfig
from models.heads import HeatmapHead
from models.heatmaps import heatmap_targets, highest_cell, highest_on_line, line_centre, line_targets, refined_peak

torch.set_num_threads(1)


def _distance(said: Tensor, true: Tensor) -> float:
    return float((said - true).norm(dim=-1).mean())


def _uv(clips: int, low: float = 0.05, high: float = 0.95) -> Tensor:
    return low + (high - low) * torch.rand(clips, 5, 13, 2, generator=torch.Generator().manual_seed(0))


def test_targets_are_gaussians_at_the_joints() -> None:
    uv = torch.full((1, 1, 1, 2), 0.5)
    uv[..., 0] = 10.5 / 16
    maps = heatmap_targets(uv, 16, 2.0)[0, 0, 0]
    assert maps[7, 10] == maps[8, 10] == maps.max()
    assert float(maps[7, 12] / maps[7, 10]) == pytest.approx(torch.tensor(-0.5).exp().item())  # one sigma to the right
    columns, rows = line_targets(uv, 16, 2.0)
    assert float(columns.sum()) == pytest.approx(1)
    assert int(columns.argmax()) == 10
    assert float(rows[..., 7]) == pytest.approx(float(rows[..., 8]))


def test_without_noise_the_refined_peak_is_within_a_fiftieth_of_a_cell() -> None:
    uv = _uv(8)
    maps = heatmap_targets(uv, 64, 2.0)
    half_cell = 0.3826 / 64  # mean distance of a square's points from its centre
    assert _distance(highest_cell(maps), uv) == pytest.approx(half_cell, rel=0.05)
    assert _distance(refined_peak(maps, 2.0), uv) < 0.02 / 64


def test_in_noise_the_refined_peak_is_several_times_nearer_than_the_highest_cell() -> None:
    uv = _uv(8)
    maps = heatmap_targets(uv, 64, 2.0)
    maps = maps + 0.2 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(1))
    assert _distance(refined_peak(maps, 2.0), uv) < 0.0039  # paper.md, "Traps met by others"
    assert _distance(highest_cell(maps), uv) > 3 * _distance(refined_peak(maps, 2.0), uv)


def test_at_the_border_the_refined_peak_stays_within_a_cell() -> None:
    uv = _uv(8)
    uv[..., 0] *= 0.03  # up to two cells from the left
    maps = heatmap_targets(uv, 64, 2.0)
    assert float((refined_peak(maps, 2.0) - uv).norm(dim=-1).max()) < 1.0 / 64


def test_lines_say_where_joints_are() -> None:
    uv = _uv(20, 0.15, 0.85)
    columns, rows = line_targets(uv, 64, 2.0)
    logits = [line.clamp(min=1e-12).log() for line in (columns, rows)]
    mean = torch.stack([line_centre(line) for line in logits], dim=-1)
    highest = torch.stack([highest_on_line(line) for line in logits], dim=-1)
    assert _distance(mean, uv) < 1e-4
    assert _distance(highest, uv) == pytest.approx(0.3826 / 64, rel=0.05)


class _LinearAfterUpsampling(nn.Module):
    """The trap: nothing but a 1x1 convolution after upsampling."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.wide, self.maps = nn.Linear(dim, 32), nn.Conv2d(32, 13, 1)

    def forward(self, places: Tensor) -> Tensor:
        coarse = functional.gelu(self.wide(places)).permute(0, 3, 1, 2)
        return self.maps(functional.interpolate(coarse, (32, 32), mode="bilinear", align_corners=False))


def _coarse_share(maps: Tensor) -> float:
    """Share of highest cells that lie at one of the two cells of eight next to a coarse place's centre, in both directions."""
    best = maps.flatten(-2).argmax(dim=-1)
    near = [torch.isin(at % 8, torch.tensor([3, 4])) for at in (best // 32, best % 32)]
    return float((near[0] & near[1]).float().mean())


def test_highest_cells_do_not_stick_to_coarse_places() -> None:
    """Both heads fit the same places over 4x4 coarse ones; if peaks lay anywhere, one in sixteen would be at a centre."""
    torch.manual_seed(0)
    uv = _uv(8, 0.1, 0.9)[:, :1]
    target = heatmap_targets(uv, 32, 2.0)
    places = torch.randn(8, 1, 4, 4, 24)
    config = PoseConfig(heatmap_cells=32, width=64, dropout=0.0)
    ours, trap = HeatmapHead({"rd": (1, 4, 4)}, 24, 1, config), _LinearAfterUpsampling(24)
    shares = []
    for network, answer in (
        (ours, lambda: ours({"rd": places}).heatmaps),
        (trap, lambda: trap(places[:, 0])[:, None]),
    ):
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
        for _ in range(100):
            optimiser.zero_grad()
            ((1 + 9 * target) * (answer() - target).square()).mean().backward()
            optimiser.step()
        shares.append(_coarse_share(answer().detach()))
    assert shares[0] < 0.25
    assert shares[1] > 0.5
