"""The cube store: layout that xarray reads, whole shards, journal, commit, damage found."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

from pipeline.cube import open_cube, open_store, stored_config
from pipeline.cube_commit import MARKER, cube_key, cube_path, store_status, temporary_path
from pipeline.cube_config import CubeConfig
from pipeline.cube_layout import CubeAxes, FrameTable, frame_arrays, small_arrays
from pipeline.cube_shards import file_sum
from pipeline.cube_writer import JOURNAL, CubeWriter
from pipeline.errors import PipelineError
from pipeline.waveform import PRESETS

WAVEFORM = PRESETS["light"]
FRAMES, KEY = 150, "k" * 64
AXES = CubeAxes(WAVEFORM.range_axis_m()[:6], WAVEFORM.azimuth_axis_deg(8), WAVEFORM.velocity_axis_mps()[28:36])


def _frame(config: CubeConfig, index: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(index)
    shapes = {"rad": (6, 8, 8), "rd": (6, 8), "ra": (6, 8)}
    values = {name: rng.exponential(1e-6, shapes[name]).astype(np.float32) for name in config.products}
    if "rad" in values:
        rad = rng.integers(0, 256, shapes["rad"])
        values["rad"] = (rad + 1j * rad[::-1] if config.dtype == "complex64" else rad).astype(config.dtype)
    return values


def _table() -> FrameTable:
    loop_valid = np.ones((FRAMES, WAVEFORM.loops), bool)
    loop_valid[7, 3:5] = False
    missing = np.zeros(FRAMES, np.int64)
    missing[7] = 2912
    times = np.arange(FRAMES) * 0.1
    return FrameTable(times, (times * 1e9).astype(np.int64) + 10**12, missing, loop_valid, True, "packets")


def _attributes(config: CubeConfig) -> dict:
    return {
        "simulated": True,
        "waveform": WAVEFORM.model_dump(mode="json"),
        "provenance": {"config": config.model_dump(mode="json")},
    }


def _writer(root: Path, config: CubeConfig, key: str = KEY) -> CubeWriter:
    return CubeWriter(root, "r1", key, frame_arrays(config, AXES.sizes()), FRAMES)


def _write(root: Path, config: CubeConfig, key: str = KEY) -> Path:
    writer = _writer(root, config, key)
    for index in range(writer.next_frame, FRAMES):
        writer.append(_frame(config, index))
    return writer.commit(small_arrays(AXES, _table(), WAVEFORM), _attributes(config))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "complex64"])
def test_every_frame_comes_back_as_written(tmp_path, dtype):
    config = CubeConfig(dtype=dtype)
    _write(tmp_path, config)
    cube = open_cube(tmp_path, "r1")
    for index in (0, 63, 64, 127, 149):
        expected = _frame(config, index)
        for name in ("rad", "rd", "ra"):
            np.testing.assert_array_equal(cube.stored(name, index), expected[name])
    np.testing.assert_array_equal(cube.rd(slice(60, 70)), [_frame(config, index)["rd"] for index in range(60, 70)])
    assert cube.verify(deep=True) == ()
    assert cube.frames == FRAMES
    assert cube.config == config
    assert cube.waveform == WAVEFORM


def test_shards_are_whole_and_only_as_many_as_needed(tmp_path):
    store = _write(tmp_path, CubeConfig())
    names = sorted(path.name for path in (store / "rad" / "c").iterdir())
    assert names == ["0", "1", "2"]
    metadata = json.loads((store / "rad" / "zarr.json").read_text())
    assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [64, 6, 8, 8]
    sharding = metadata["codecs"][0]
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"]["chunk_shape"] == [1, 6, 8, 8]
    assert [codec["name"] for codec in sharding["configuration"]["codecs"]] == ["bytes", "zstd", "crc32c"]


def test_zarr_writes_the_same_shard(tmp_path):
    """Our shard writer against Zarr's own: the same array through both, byte for byte where all chunks are full."""
    config = CubeConfig(products=("rad",))
    store = _write(tmp_path, config)
    block = np.stack([_frame(config, index)["rad"] for index in range(64)])
    ours = zarr.open_group(str(store), mode="r")["rad"]
    other = zarr.create_array(
        str(tmp_path / "other"),
        shape=(64, 6, 8, 8),
        dtype="u1",
        chunks=ours.chunks,
        shards=ours.shards,
        compressors=ours.compressors,
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    other[...] = block
    assert (tmp_path / "other/c/0/0/0/0").read_bytes() == (store / "rad/c/0/0/0/0").read_bytes()


def test_xarray_names_axes_and_decodes_decibels(tmp_path):
    config = CubeConfig(db_floor=-120.0, db_step=0.25)
    store = _write(tmp_path, config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xarray.open_zarr(store, chunks=None)
    assert dataset["rad"].dims == ("frame", "range", "azimuth", "doppler")
    assert dataset["rd"].dims == ("frame", "range", "doppler")
    assert dataset["ra"].dims == ("frame", "range", "azimuth")
    units = {name: dataset[name].attrs["units"] for name in ("range", "azimuth", "velocity", "time", "rad", "rd", "ra")}
    assert units == {
        "range": "m", "azimuth": "degrees", "velocity": "m/s", "time": "s",
        "rad": "dB", "rd": "1", "ra": "1",
    }  # fmt: skip
    assert "receding" in dataset["velocity"].attrs["axis_direction"]
    assert "right" in dataset["azimuth"].attrs["axis_direction"]
    stored = np.stack([_frame(config, index)["rad"] for index in range(3)])
    assert (stored == 0).any()  # the floor is a value, not a hole: CF would make _FillValue NaN
    assert not np.isnan(dataset["rad"][:3]).any()
    np.testing.assert_allclose(dataset["rad"][:3], stored * 0.25 - 120.0, atol=1e-4)
    assert set(dataset.coords) >= {"frame", "time", "range", "azimuth", "velocity"}
    assert not dataset["valid"][7]
    assert dataset["missing_bytes"][7] == 2912
    assert dataset["loop_valid"][7].sum() == WAVEFORM.loops - 2
    assert dataset["valid"].dtype == bool
    nearest = open_cube(tmp_path, "r1").to_xarray()["rd"].sel(velocity=0.0, method="nearest")
    assert float(nearest.velocity) == 0.0


def test_decoded_frames_are_decibels_as_xarray_reads_them(tmp_path):
    _write(tmp_path, CubeConfig())
    cube = open_cube(tmp_path, "r1")
    np.testing.assert_allclose(cube.rad(5), cube.to_xarray()["rad"][5], atol=1e-4)


def test_a_flipped_byte_is_found_on_reading_and_by_deep_verification(tmp_path):
    store = _write(tmp_path, CubeConfig())
    shard = store / "rad/c/1/0/0/0"
    data = bytearray(shard.read_bytes())
    data[1000] ^= 0x10
    shard.write_bytes(data)
    cube = open_cube(tmp_path, "r1")  # same size: opening stays cheap
    with pytest.raises(PipelineError, match=r"r1 is damaged on disk: array rad, frame \d+.*maepose process r1 --force"):
        [cube.rad(index) for index in range(64, 128)]
    cube.rad(0)
    problems = cube.verify(deep=True)
    assert len(problems) == 1
    assert problems[0].startswith("rad/c/1/0/0/0")


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "complex64"])
def test_decibels_whatever_was_stored(tmp_path, dtype):
    config = CubeConfig(dtype=dtype, db_floor=-70.0)
    _write(tmp_path, config)
    cube = open_cube(tmp_path, "r1")
    frame = _frame(config, 3)
    np.testing.assert_allclose(cube.decibels("rd", 3), np.maximum(10 * np.log10(frame["rd"]), -70), rtol=1e-5)
    rad = frame["rad"]
    expected = {
        "uint8": lambda: rad * 0.5 - 70,
        "float16": lambda: rad,
        "float32": lambda: 10 * np.log10(np.maximum(rad, 1e-7)),
        "complex64": lambda: 10 * np.log10(np.maximum(np.abs(rad) ** 2, 1e-7)),
    }[dtype]()
    np.testing.assert_allclose(cube.decibels("rad", 3), expected, rtol=1e-5, atol=1e-4)
    _write(tmp_path, CubeConfig(frame_minmax=True), "m" * 64)
    with pytest.raises(PipelineError, match="has no dB"):
        open_cube(tmp_path, "r1").decibels("ra", 0)


@pytest.mark.parametrize("name", ["zarr.json", "rad/zarr.json", "rad/c/0/0/0/0", "velocity/c/0", MARKER])
def test_a_truncated_or_missing_file_does_not_open(tmp_path, name):
    store = _write(tmp_path, CubeConfig())
    data = (store / name).read_bytes()
    (store / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(PipelineError, match=r"r1.*maepose process r1 --force"):
        open_cube(tmp_path, "r1")
    assert store_status(tmp_path, "r1", KEY) == "damaged"
    (store / name).unlink()
    with pytest.raises(PipelineError, match=r"r1.*maepose process r1 --force"):
        open_cube(tmp_path, "r1")


def test_changed_metadata_does_not_open(tmp_path):
    store = _write(tmp_path, CubeConfig())
    text = (store / "zarr.json").read_text()
    (store / "zarr.json").write_text(text.replace('"m/s"', '"k/s"'))
    with pytest.raises(PipelineError, match=r"zarr.json is not what was committed"):
        open_cube(tmp_path, "r1")


def test_a_store_that_vanishes_while_open_says_so_instead_of_zeros(tmp_path):
    store = _write(tmp_path, CubeConfig())
    cube = open_cube(tmp_path, "r1")
    cube.rad(0)
    (store / "rad/c/1/0/0/0").unlink()
    with pytest.raises(PipelineError, match="changed since it was opened"):
        cube.rad(64)
    other = CubeConfig(db_floor=-100)
    _write(tmp_path, other, "n" * 64)
    with pytest.raises(PipelineError, match="changed since it was opened"):
        cube.rad(0)


def test_a_half_written_store_never_opens(tmp_path):
    config = CubeConfig()
    with pytest.raises(PipelineError, match="There is no cube of r1; make it with `maepose process r1`"):
        open_cube(tmp_path, "r1")
    writer = _writer(tmp_path, config)
    for index in range(100):
        writer.append(_frame(config, index))
    assert store_status(tmp_path, "r1", KEY) == "missing"
    half = temporary_path(tmp_path, "r1", KEY)
    with pytest.raises(FileNotFoundError):
        zarr.open_group(str(half), mode="r")
    half.rename(cube_path(tmp_path, "r1"))  # not even under the final name
    with pytest.raises(PipelineError, match="no commit marker"):
        open_cube(tmp_path, "r1")


def test_an_interrupted_writer_goes_on_from_its_whole_shards(tmp_path):
    config = CubeConfig()
    writer = _writer(tmp_path, config)
    for index in range(100):
        writer.append(_frame(config, index))
    del writer  # as a kill leaves it: an open part file, no clean-up
    again = _writer(tmp_path, config)
    assert again.next_frame == 64
    assert not list(again.store.rglob("*.part"))
    for index in range(64, FRAMES):
        again.append(_frame(config, index))
    again.commit(small_arrays(AXES, _table(), WAVEFORM), _attributes(config))
    cube = open_cube(tmp_path, "r1")
    np.testing.assert_array_equal(cube.stored("rad", slice(None)), [_frame(config, i)["rad"] for i in range(FRAMES)])
    assert cube.verify(deep=True) == ()
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_a_writer_killed_while_it_commits_has_nothing_to_transform_again(tmp_path):
    config = CubeConfig()
    writer = _writer(tmp_path, config)
    for index in range(FRAMES):
        writer.append(_frame(config, index))
    writer._write_metadata(small_arrays(AXES, _table(), WAVEFORM), _attributes(config))
    again = _writer(tmp_path, config)
    assert again.next_frame == FRAMES
    again.commit(small_arrays(AXES, _table(), WAVEFORM), _attributes(config))
    assert open_cube(tmp_path, "r1").verify(deep=True) == ()


@pytest.mark.parametrize("harm", ["flip", "torn journal", "other arrays"])
def test_shards_that_do_not_agree_with_the_journal_are_written_again(tmp_path, harm):
    config = CubeConfig()
    writer = _writer(tmp_path, config)
    for index in range(FRAMES):
        writer.append(_frame(config, index))
    expected = 64
    if harm == "flip":
        shard = writer.store / "rad/c/1/0/0/0"
        data = bytearray(shard.read_bytes())
        data[17] ^= 1
        shard.write_bytes(data)
    elif harm == "torn journal":
        text = (writer.store / JOURNAL).read_text()
        (writer.store / JOURNAL).write_text(text[: len(text) // 2])
    else:
        config, expected = CubeConfig(products=("rad", "rd")), 0
    assert _writer(tmp_path, config).next_frame == expected


def test_leftovers_of_another_configuration_are_removed(tmp_path):
    config = CubeConfig()
    writer = _writer(tmp_path, config, "a" * 64)
    for index in range(70):
        writer.append(_frame(config, index))
    _write(tmp_path, config, "b" * 64)
    assert [path.name for path in (tmp_path / "cubes").iterdir()] == ["r1.zarr"]


def test_the_old_store_stays_until_the_new_one_is_whole(tmp_path):
    config = CubeConfig()
    _write(tmp_path, config)
    assert store_status(tmp_path, "r1", KEY) == "current"
    assert store_status(tmp_path, "r1", "n" * 64) == "stale"
    other = CubeConfig(db_step=1.0)
    writer = _writer(tmp_path, other, "n" * 64)
    for index in range(FRAMES):
        writer.append(_frame(other, index))
    assert open_cube(tmp_path, "r1").key == KEY
    writer.commit(small_arrays(AXES, _table(), WAVEFORM), _attributes(other))
    assert open_cube(tmp_path, "r1").key == "n" * 64
    assert open_cube(tmp_path, "r1").config == other


def test_an_old_store_that_stepped_aside_comes_back_where_the_new_one_never_took_its_name(tmp_path):
    """On a file system that cannot exchange two names: the job was killed between the two renames."""
    config = CubeConfig()
    final = _write(tmp_path, config)
    new = temporary_path(tmp_path, "r1", "n" * 64)
    final.rename(new.with_name(new.name + ".old"))
    writer = _writer(tmp_path, CubeConfig(db_step=1.0), "n" * 64)
    assert open_cube(tmp_path, "r1").key == KEY
    assert writer.next_frame == 0


def test_what_looks_at_both_stores_sees_both_and_can_refuse(tmp_path):
    config, other = CubeConfig(), CubeConfig(db_step=1.0)
    _write(tmp_path, config)
    writer = _writer(tmp_path, other, "n" * 64)
    for index in range(FRAMES):
        writer.append(_frame(other, index))
    small, seen = small_arrays(AXES, _table(), WAVEFORM), []

    def look(store: Path) -> None:
        seen.append((open_store(store).config, open_cube(tmp_path, "r1").config))
        raise PipelineError("no")

    with pytest.raises(PipelineError, match="no"):
        writer.commit(small, _attributes(other), look)
    assert seen == [(other, config)]
    assert open_cube(tmp_path, "r1").config == config
    again = _writer(tmp_path, other, "n" * 64)
    assert again.next_frame == FRAMES
    again.commit(small, _attributes(other), lambda store: None)
    assert open_cube(tmp_path, "r1").config == other
    assert not list(tmp_path.rglob(JOURNAL))


def test_what_a_cube_was_made_with_is_known_while_its_metadata_reads(tmp_path):
    config = CubeConfig(db_step=1.0)
    assert stored_config(tmp_path, "r1") is None
    store = _write(tmp_path, config)
    (store / MARKER).unlink()
    (store / "rad/c/0/0/0/0").unlink()
    assert stored_config(tmp_path, "r1") == config
    metadata = json.loads((store / "zarr.json").read_text())
    metadata["attributes"]["provenance"]["config"]["sharpness"] = 3
    (store / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(PipelineError, match=r"this version does not know \(sharpness: .*maepose process r1 --preset"):
        stored_config(tmp_path, "r1")
    (store / "zarr.json").write_text("{")
    assert stored_config(tmp_path, "r1") is None


def test_the_key_follows_samples_configuration_and_algorithm():
    config = CubeConfig()
    keys = {
        cube_key("raw", config, "1"),
        cube_key("raw2", config, "1"),
        cube_key("raw", CubeConfig(azimuth_bins=32), "1"),
        cube_key("raw", config, "2"),
    }
    assert len(keys) == 4
    assert cube_key("raw", CubeConfig(), "1") == cube_key("raw", config, "1")


def test_reading_what_is_not_there(tmp_path):
    _write(tmp_path, CubeConfig(products=("rd", "ra")))
    cube = open_cube(tmp_path, "r1")
    with pytest.raises(PipelineError, match="holds rd, ra, not rad"):
        cube.rad(0)
    with pytest.raises(PipelineError, match="frames 0 to 149, not 150"):
        cube.rd(150)
    with pytest.raises(PipelineError, match="ascending order"):
        cube.rd(slice(None, None, -1))
    assert cube.rd(slice(0, 0)).shape == (0, 6, 8)


def test_file_sums_see_every_byte(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(5_000_000))
    first = file_sum(path)
    path.write_bytes(bytes(4_999_999) + b"\1")
    assert file_sum(path).bytes == first.bytes
    assert file_sum(path).crc32c != first.crc32c
