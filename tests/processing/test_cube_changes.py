"""What a rebuilt cube changed: known differences found, the old cube kept until the new one is verified."""

import numpy as np
import pytest
from echoes import SMALL, record, scene

import processing.cubes
from pipeline.cube import cube_path, open_cube
from pipeline.cube_config import CubeConfig, preset
from pipeline.errors import PipelineError
from processing import cube_changes
from processing.cube_changes import compare_stores
from processing.cubes import leftover_recordings, process_recording

CONFIG = CubeConfig(azimuth_bins=16)


def many(count: int) -> list[np.ndarray]:
    frames = scene(count=5)
    return [frames[index % 5] for index in range(count)]


def rebuilt(root, before: CubeConfig, after: CubeConfig, frames: int = 6):
    """What changed when the cube of a recording was made with `after` over one made with `before`."""
    recording = record(root, "r", SMALL, many(frames))
    process_recording(recording, root, before)
    result = process_recording(recording, root, after, compare=True)
    assert result.rebuilt
    return result.change


def test_every_number_is_that_of_the_whole_cubes(tmp_path):
    """Streamed statistics beside plain ones over everything at once."""
    recording = record(tmp_path, "r", SMALL, many(6))
    process_recording(recording, tmp_path, CONFIG)
    old = {name: open_cube(tmp_path, "r").decibels(name, slice(None)) for name in ("rad", "rd", "ra")}
    change = process_recording(
        recording, tmp_path, CONFIG.model_copy(update={"doppler_window": "blackman"}), compare=True
    ).change
    new = {name: open_cube(tmp_path, "r").decibels(name, slice(None)) for name in ("rad", "rd", "ra")}
    assert [product.product for product in change.products] == ["rad", "rd", "ra"]
    for product in change.products:
        before, after = old[product.product].astype(np.float64), new[product.product].astype(np.float64)
        difference = np.abs(after - before)
        assert product.frames_compared == 6
        assert product.before.shape == product.after.shape == before.shape
        assert (product.before.unit, product.after.unit) == ("dB", "dB")
        assert product.before.mean == pytest.approx(before.mean(), rel=1e-5)
        assert product.after.maximum == pytest.approx(after.max(), rel=1e-5)
        assert product.share_changed == pytest.approx((difference > 0).mean(), rel=1e-3)
        assert product.mean_difference == pytest.approx(difference.mean(), rel=1e-4)
        assert product.largest_difference == pytest.approx(difference.max(), rel=1e-4)
        assert 0 < product.share_changed <= 1
    assert change.reasons() == ["doppler_window hann -> blackman"]
    assert (change.recording, change.simulated, change.not_compared) == ("r", True, "")


def test_the_same_numbers_again_are_no_change(tmp_path, monkeypatch):
    recording = record(tmp_path, "r", SMALL, many(3))
    process_recording(recording, tmp_path, CONFIG)
    monkeypatch.setattr(processing.cubes, "ALGORITHM_VERSION", "a-later-one")
    change = process_recording(recording, tmp_path, CONFIG, compare=True).change
    assert {product.share_changed for product in change.products} == {0.0}
    assert {product.largest_difference for product in change.products} == {0.0}
    assert change.reasons() == ["algorithm version 1 -> a-later-one"]


def test_other_axes_other_units_and_other_products_are_told_and_not_subtracted(tmp_path):
    change = rebuilt(tmp_path / "axes", CONFIG, CONFIG.model_copy(update={"azimuth_bins": 32}))
    by_name = {product.product: product for product in change.products}
    assert by_name["ra"].before.shape[-1] * 2 == by_name["ra"].after.shape[-1]
    assert by_name["ra"].share_changed is by_name["ra"].largest_difference is None
    assert by_name["rd"].share_changed is not None  # the azimuth axis is none of its own
    change = rebuilt(tmp_path / "paper", CONFIG, preset("paper"))
    by_name = {product.product: product for product in change.products}
    assert by_name["rad"].after is None
    assert by_name["rad"].before.mean < 0
    assert (by_name["rd"].before.unit, by_name["rd"].after.unit) == ("dB", "1")
    assert by_name["rd"].share_changed is None
    assert 0 < by_name["rd"].after.mean < by_name["rd"].after.maximum == 1
    assert "products rad+rd+ra -> rd+ra" in change.reasons()


def test_of_a_long_cube_few_frames_are_read_the_first_and_the_last_among_them(tmp_path, monkeypatch):
    monkeypatch.setattr(cube_changes, "RAD_FRAMES", 3)
    monkeypatch.setattr(cube_changes, "_MAP_FRAMES", 4)
    change = rebuilt(tmp_path, CONFIG, CONFIG.model_copy(update={"range_window": "none"}), frames=9)
    assert [product.frames_compared for product in change.products] == [3, 9, 9]
    assert [piece.start for piece in cube_changes._frames("rad", 9)] == [0, 4, 8]
    assert [piece.start for piece in cube_changes._frames("rd", 9)] == [0, 4, 8]


def test_where_there_was_no_cube_nothing_is_compared(tmp_path):
    recording = record(tmp_path, "r", SMALL, many(2))
    assert process_recording(recording, tmp_path, CONFIG, compare=True).change is None
    assert process_recording(recording, tmp_path, CONFIG, force=True).change is None  # nobody asked


@pytest.mark.parametrize("harm", ["a shard", "a byte", "the marker", "everything"])
def test_an_old_cube_that_does_not_read_is_said_and_replaced(tmp_path, harm):
    recording = record(tmp_path, "r", SMALL, many(3))
    process_recording(recording, tmp_path, CONFIG)
    store = cube_path(tmp_path, "r")
    shard = store / "rd/c/0/0/0"
    if harm == "a shard":
        shard.unlink()
    elif harm == "a byte":
        data = bytearray(shard.read_bytes())
        data[len(data) // 3] ^= 0xFF
        shard.write_bytes(data)
    elif harm == "the marker":
        (store / "commit.json").write_text("{")
    else:
        for path in store.rglob("*"):
            if path.is_file():
                path.unlink()
    change = process_recording(recording, tmp_path, CONFIG.model_copy(update={"db_step": 1.0}), compare=True).change
    assert "cube of r " in change.not_compared
    assert change.after.config["db_step"] == 1.0
    if harm == "a byte":  # found on reading: what read before and after it is told
        by_name = {product.product: product for product in change.products}
        assert by_name["rd"].before is by_name["rd"].share_changed is None
        assert by_name["rd"].after is not None
        assert by_name["rad"].share_changed > 0
    else:
        assert change.products == ()
    assert open_cube(tmp_path, "r").verify(deep=True) == ()


def test_a_new_cube_that_does_not_read_leaves_the_old_one(tmp_path, monkeypatch):
    recording = record(tmp_path, "r", SMALL, many(3))
    process_recording(recording, tmp_path, CONFIG)
    key = open_cube(tmp_path, "r").key

    def compare_rotten(old, new):
        shard = new / "ra/c/0/0/0"
        data = bytearray(shard.read_bytes())
        data[len(data) // 3] ^= 0xFF
        shard.write_bytes(data)
        return compare_stores(old, new)

    monkeypatch.setattr(processing.cubes, "compare_stores", compare_rotten)
    other = CONFIG.model_copy(update={"db_step": 1.0})
    with pytest.raises(PipelineError, match=r"cube of r is damaged on disk: array ra"):
        process_recording(recording, tmp_path, other, compare=True)
    assert open_cube(tmp_path, "r").key == key
    open_cube(tmp_path, "r").rad(slice(None))
    monkeypatch.undo()
    assert process_recording(recording, tmp_path, other, compare=True).change.not_compared == ""


def test_a_job_stopped_while_it_compares_has_nothing_to_transform_again(tmp_path, monkeypatch):
    recording = record(tmp_path, "r", SMALL, many(70))
    process_recording(recording, tmp_path, CONFIG)
    other = CONFIG.model_copy(update={"db_step": 1.0})

    def interrupt(old, new):
        raise KeyboardInterrupt

    monkeypatch.setattr(processing.cubes, "compare_stores", interrupt)
    with pytest.raises(KeyboardInterrupt):
        process_recording(recording, tmp_path, other, compare=True)
    monkeypatch.undo()
    assert open_cube(tmp_path, "r").config == CONFIG
    again = process_recording(recording, tmp_path, other, compare=True)
    assert (again.frames_made, again.rebuilt) == (0, True)
    assert {product.frames_compared for product in again.change.products} == {64, 70}
    assert open_cube(tmp_path, "r").config == other
    assert open_cube(tmp_path, "r").verify(deep=True) == ()


def test_an_old_cube_left_behind_is_removed_and_an_unfinished_one_is_not(tmp_path):
    recording = record(tmp_path, "r", SMALL, many(70))
    process_recording(recording, tmp_path, CONFIG)
    store = cube_path(tmp_path, "r")

    def stop(done: int, total: int) -> None:
        if done == 66:
            raise KeyboardInterrupt

    other = CONFIG.model_copy(update={"db_step": 1.0})
    with pytest.raises(KeyboardInterrupt):
        process_recording(recording, tmp_path, other, on_progress=stop)
    assert leftover_recordings(tmp_path) == set()
    left = store.with_name("r.zarr.tmp-0123456789abcdef")
    left.mkdir()
    (left / "commit.json").write_text("{}")
    assert leftover_recordings(tmp_path) == {"r"}
    assert not process_recording(recording, tmp_path, CONFIG).rebuilt
    assert not left.exists()
    assert process_recording(recording, tmp_path, other).frames_made == 70 - 64
