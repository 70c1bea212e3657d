"""Pictures: small PNGs, said to be simulated where they are, with right and receding where the axes say."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from echoes import SMALL, Echo, record, samples_of, scene, words_of
from PIL import Image

from pipeline.cube import Cube, open_cube
from pipeline.cube_config import CubeConfig, preset
from pipeline.errors import PipelineError
from pipeline.picture_style import azimuth_cells, edges
from pipeline.waveform import PRESETS
from processing.cubes import process_recording
from processing.pictures import draw_frame, draw_overview, liveliest_frame
from processing.quality import measure_quality
from processing.quality_picture import draw_quality


def _cube(root: Path, frames: list[np.ndarray], config: CubeConfig | None = None, **kwargs) -> Cube:
    recording = record(root, "r", SMALL, frames, **kwargs)
    process_recording(recording, root, config or CubeConfig())
    return open_cube(root, "r")


def _picture(path: Path) -> tuple[np.ndarray, str]:
    assert path.stat().st_size < 400_000
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int), str(image.info["Title"])


@pytest.mark.parametrize("simulated", [True, False])
def test_every_picture_says_what_it_shows_and_whether_it_is_simulated(tmp_path, simulated):
    start = SMALL.frame_bytes * 2 + 3000
    cube = _cube(tmp_path, scene(count=6), simulated=simulated, lost=[(start, start + 10)])
    before = mpl.rcParams.copy()
    paths = [
        draw_frame(cube, 2, tmp_path / "new/folder/frame.png"),
        draw_overview(cube, tmp_path / "overview.png"),
        draw_quality(
            measure_quality(record(tmp_path / "q", "r", SMALL, scene(), simulated=simulated)), tmp_path / "q.png"
        ),
    ]
    titles = [_picture(path)[1] for path in paths]
    assert [title.startswith("SIMULATED") for title in titles] == [simulated] * 3
    assert "r, frame 2 at 0.20 s" in titles[0]
    assert "lost 1456 bytes in" in titles[0]
    assert "6 frames" in titles[1]
    assert "frames that lost bytes: 1" in titles[1]
    assert "Quality of r" in titles[2]
    assert mpl.rcParams == before


def test_right_is_right_and_receding_is_right(tmp_path):
    """The echo's brightest pixels move right when it moves right and away faster."""
    places = []
    for name, sine, doppler in (("a", -0.5, -8), ("b", 0.5, 8)):
        frames = [words_of(samples_of(SMALL, [Echo(30, doppler, sine, 3000)]))]
        cube = _cube(tmp_path / name, frames)
        pixels, _ = _picture(draw_frame(cube, 0, tmp_path / f"{name}.png"))
        bright = (abs(pixels - (253, 231, 37)) < 30).all(axis=2)
        places.append(bright)
    moved_from, moved_to = places[0] & ~places[1], places[1] & ~places[0]
    columns = [np.flatnonzero(changed.any(axis=0)) for changed in (moved_from, moved_to)]
    width = places[0].shape[1]
    first_panel = [column[column < width * 0.28].mean() for column in columns]
    last_panel = [column[column > width * 0.6].mean() for column in columns]
    assert first_panel[1] - first_panel[0] > 0.04 * width
    assert last_panel[1] - last_panel[0] > 0.04 * width


@pytest.mark.parametrize(
    "config",
    [
        preset("paper"),
        CubeConfig(products=("rad",)),
        CubeConfig(products=("ra",)),
        CubeConfig(products=("rad",), frame_minmax=True),
        CubeConfig(products=("rad", "ra"), frame_minmax=True),
        CubeConfig(products=("rad", "rd"), dtype="complex64", azimuth_bins=8),
        CubeConfig(range_crop=(4, 30), doppler_crop=(10, 11), azimuth_bins=9),
    ],
    ids=["paper", "rad only", "ra only", "rad scaled", "ra scaled", "complex", "crops"],
)
def test_any_configuration_is_drawn(tmp_path, config):
    cube = _cube(tmp_path, scene(count=3), config)
    _picture(draw_frame(cube, 1, tmp_path / "frame.png"))
    _picture(draw_overview(cube, tmp_path / "overview.png"))


def test_one_frame_and_frames_of_zeros_are_drawn(tmp_path):
    cube = _cube(tmp_path, [np.zeros(SMALL.frame_bytes // 2, np.int16)])
    _picture(draw_frame(cube, 0, tmp_path / "frame.png"))
    _picture(draw_overview(cube, tmp_path / "overview.png"))
    assert liveliest_frame(cube) == 0


def test_a_full_size_frame_stays_small(tmp_path):
    waveform = PRESETS["light"]
    recording = record(tmp_path, "r", waveform, scene(waveform, 2, noise=40.0))
    process_recording(recording, tmp_path, CubeConfig())
    pixels, _ = _picture(draw_frame(open_cube(tmp_path, "r"), 0, tmp_path / "frame.png"))
    assert pixels.shape[1] > 1000


def test_the_liveliest_frame_is_the_strongest_that_lost_nothing(tmp_path):
    amplitudes = [100, 300, 2000, 900, 200]
    frames = [words_of(samples_of(SMALL, [Echo(30, 8, 0.1, amplitude)])) for amplitude in amplitudes]
    start = SMALL.frame_bytes * 2 + 5000
    cube = _cube(tmp_path, frames, lost=[(start, start + 10)])
    assert liveliest_frame(cube) == 3


def test_a_picture_that_cannot_be_written_is_a_sentence(tmp_path):
    cube = _cube(tmp_path, scene(count=1))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PipelineError, match=r"The picture .* cannot be written"):
        draw_frame(cube, 0, tmp_path / "file" / "frame.png")


def test_bins_are_drawn_where_they_are():
    np.testing.assert_allclose(edges([1.0, 2.0, 4.0]), [0.5, 1.5, 3.0, 5.0])
    np.testing.assert_allclose(edges([4.0, 2.0]), [5.0, 3.0, 1.0])
    azimuth = SMALL.azimuth_axis_deg(4)
    borders, values = azimuth_cells(azimuth, np.arange(4.0)[None])
    np.testing.assert_allclose(np.sin(np.radians(borders)), [-1, -0.75, -0.25, 0.25, 0.75, 1])
    assert values.tolist() == [[0, 1, 2, 3, 0]]
