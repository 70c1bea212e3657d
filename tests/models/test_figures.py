"""The two figures: their numbers by hand, near range at the bottom, and a PNG that says what it shows."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.figures import (
    MapExtent,
    MaskedClip,
    PoseStrip,
    draw_poses,
    draw_reconstruction,
    mean_error,
)

EXTENT = MapExtent(near_m=1.0, far_m=3.0, left=-1.0, right=1.0)
YELLOW, PURPLE = (253, 231, 37), (68, 1, 84)


def _clip(modality, maps: np.ndarray, hidden: np.ndarray, reconstructed: np.ndarray) -> MaskedClip:
    return MaskedClip(modality, EXTENT, np.arange(len(maps)) / 10, maps, hidden, reconstructed)


def _pixels(path: Path) -> tuple[np.ndarray, str]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int), str(image.info["Title"])


def _of_colour(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (abs(pixels - colour) < 12).all(axis=2)


def _strip(**changes) -> PoseStrip:
    rng = np.random.default_rng(5)
    truth = rng.uniform(0.2, 0.8, (3, 13, 2))
    values = {
        "time_s": np.arange(3) / 10,
        "maps": {"rd": (EXTENT, rng.random((3, 8, 6)))},
        "truth": truth,
        "methods": {"one": truth + 0.01, "other": truth},
        "heatmaps": {"one": rng.random((3, 13, 16, 16))},
    }
    return PoseStrip(**(values | changes))


def test_error_of_hidden_cells_alone_and_of_one_value_in_their_place():
    maps = np.array([[[0.2, 0.4, 1.0, 0.0]]])
    hidden = np.array([[[False, False, True, True]]])
    clip = _clip("rd", maps, hidden, np.array([[[9.0, 9.0, 0.5, 0.1]]]))
    assert clip.error == pytest.approx((0.5**2 + 0.1**2) / 2)
    assert clip.flat_error == pytest.approx((0.7**2 + 0.3**2) / 2)


def test_mean_error_leaves_masked_joints_out():
    truth = np.zeros((2, 13, 2))
    poses = truth + np.array([0.03, 0.04])
    truth[1], poses[0, :6] = np.nan, np.nan
    assert mean_error(poses, truth) == pytest.approx(0.05)
    assert np.isnan(mean_error(poses, np.full_like(truth, np.nan)))


@pytest.mark.parametrize("simulated", [True, False])
def test_reconstruction_says_what_it_shows(tmp_path, simulated):
    rng = np.random.default_rng(1)
    clips = [
        _clip(name, rng.random((4, 8, 6)), rng.random((4, 8, 6)) < 0.9, rng.random((4, 8, 6))) for name in ("rd", "ra")
    ]
    path = draw_reconstruction(tmp_path / "new/rec.png", clips, "a clip", "tiny", simulated=simulated)
    assert path.stat().st_size < 400_000
    assert _pixels(path)[1] == ("SIMULATED · a clip" if simulated else "a clip")


@pytest.mark.parametrize("far_first", [False, True])
def test_near_range_is_at_the_bottom_and_hidden_cells_are_covered(tmp_path, far_first):
    """One bright cell at the farthest row and rightmost column; hidden, and not found by the network."""
    maps = np.zeros((1, 6, 6))
    maps[0, 0 if far_first else -1, -1] = 1.0
    extent = MapExtent(3.0, 1.0, -1, 1) if far_first else EXTENT
    clip = MaskedClip("rd", extent, np.zeros(1), maps, maps > 0, np.zeros_like(maps))
    pixels, _ = _pixels(draw_reconstruction(tmp_path / "rec.png", [clip], "t", "q", simulated=False))
    rows, columns = np.nonzero(_of_colour(pixels, YELLOW))
    dark_rows, dark_columns = np.nonzero(_of_colour(pixels, PURPLE))
    assert len(rows) > 100
    assert rows.max() < dark_rows.min() + 0.1 * len(pixels)  # in the first panel alone, at its top
    assert columns.min() > np.percentile(dark_columns, 75)


def test_pose_strip_draws_what_is_there(tmp_path):
    truth = _strip().truth.copy()
    truth[0, 3], truth[2] = np.nan, np.nan
    path = draw_poses(tmp_path / "poses.png", _strip(truth=truth), "three moments", "tiny", simulated=True)
    pixels, title = _pixels(path)
    assert title == "SIMULATED · three moments"
    assert _of_colour(pixels, (255, 140, 26)).sum() > 100  # somebody's left side
    bare = draw_poses(tmp_path / "bare.png", _strip(maps={}, heatmaps={}), "t", "q", simulated=False)
    assert _pixels(bare)[0].shape[0] < pixels.shape[0]


def test_a_method_that_moves_left_is_drawn_further_left(tmp_path):
    places = []
    for name, shift in (("a", -0.15), ("b", 0.15)):
        strip = _strip()
        strip = _strip(methods={"one": strip.truth * [0.3, 1] + [0.35 + shift, 0], "wide": strip.truth}, heatmaps={})
        pixels, _ = _pixels(draw_poses(tmp_path / f"{name}.png", strip, "t", "q", simulated=False))
        upper = pixels[: int(0.62 * len(pixels))]
        places.append(np.nonzero(_of_colour(upper, (255, 140, 26)))[1].mean())
    assert places[1] > places[0] + 20
