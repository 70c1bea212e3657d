"""Recording -> cube store: whole, resumable, done once, with real processes killed and real disks refusing."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import xarray
from echoes import SMALL, Echo, record, samples_of, scene, words_of

from pipeline.cube import cube_path, cubes_folder, open_cube
from pipeline.cube_config import CubeConfig, preset
from pipeline.errors import PipelineError
from pipeline.recording import open_recording
from processing.cubes import cube_status, process_recording, recording_key
from processing.transform import FrameTransform

PROJECT = Path(__file__).resolve().parents[2]
CONFIG = CubeConfig(azimuth_bins=16)


def _many(count: int) -> list[np.ndarray]:
    frames = scene(count=5)
    return [frames[index % 5] for index in range(count)]


def _child(code: str, root: Path, **kwargs) -> subprocess.Popen:
    """A real process that has imported what it needs, with `root` and `recording` `r` at hand."""
    program = f"""
import sys, time
from pathlib import Path
from pipeline.cube_config import CubeConfig
from pipeline.errors import PipelineError
from pipeline.recording import open_recording
from processing.cubes import process_recording
root, config = Path({str(root)!r}), CubeConfig(azimuth_bins=16)
recording = open_recording(root, "r")
{textwrap.dedent(code)}
"""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **kwargs,
    )


def test_the_cube_holds_what_the_transform_makes(tmp_path):
    recording = record(tmp_path, "r", SMALL, _many(70))
    seen = []
    result = process_recording(recording, tmp_path, CONFIG, on_progress=lambda done, total: seen.append((done, total)))
    assert (result.frames, result.frames_made, result.frames_with_loss, result.rebuilt) == (70, 70, 0, True)
    assert seen == [(done, 70) for done in range(1, 71)]
    assert result.frames_per_s > 0
    assert result.path == cube_path(tmp_path, "r")
    cube = open_cube(tmp_path, "r")
    transform = FrameTransform(SMALL, CONFIG)
    for frame in (0, 33, 63, 64, 69):
        expected = transform(recording.frame_words(frame))
        np.testing.assert_array_equal(cube.stored("rad", frame), expected.rad)
        np.testing.assert_array_equal(cube.rd(frame), expected.rd)
        np.testing.assert_array_equal(cube.ra(frame), expected.ra)
    assert cube.verify(deep=True) == ()
    assert [path.name for path in cubes_folder(tmp_path).iterdir() if not path.name.startswith(".")] == ["r.zarr"]


def test_xarray_opens_it_with_axes_units_directions_and_provenance(tmp_path):
    recording = record(tmp_path, "r", SMALL, [words_of(samples_of(SMALL, [Echo(20, 6, 0.4, 800)]))] * 3)
    process_recording(recording, tmp_path, CubeConfig())
    dataset = xarray.open_zarr(cube_path(tmp_path, "r"), chunks=None)
    peak = dataset["rad"][1].argmax(...)
    place = dataset["rad"][1].isel(peak)
    assert float(place.range) == pytest.approx(20 * SMALL.range_resolution_m)
    assert float(place.velocity) == pytest.approx(6 * SMALL.velocity_resolution_mps)
    assert float(place.azimuth) == pytest.approx(np.degrees(np.arcsin(0.4)), abs=2.0)  # a bin
    assert float(place) == pytest.approx(20 * np.log10(800 / 32768), abs=0.6)  # half a step, and the azimuth grid
    assert dataset["time"].values.tolist() == pytest.approx([0, 0.1, 0.2])
    attributes = dataset.attrs
    assert attributes["simulated"] is True
    assert attributes["title"].startswith("SIMULATED")
    assert attributes["waveform"]["loops"] == 32
    assert "sensorStart" in attributes["radar_cfg"]
    assert attributes["antenna_layout"]["azimuth_row_columns_half_wavelengths"] == list(range(8))
    assert "receding" in attributes["axis_directions"]["doppler"]
    provenance = attributes["provenance"]
    assert provenance["raw_digest"] == recording.raw_digest
    assert provenance["key"] == recording_key(recording, CubeConfig())
    assert CubeConfig.model_validate(provenance["config"]) == CubeConfig()
    assert {"numpy", "numba", "zarr", "maepose", "python"} <= set(provenance["versions"])


def test_same_key_is_nothing_to_do_and_force_makes_it_anew(tmp_path):
    recording = record(tmp_path, "r", SMALL, _many(3))
    assert cube_status(tmp_path, recording, CONFIG) == "missing"
    process_recording(recording, tmp_path, CONFIG)
    assert cube_status(tmp_path, recording, CONFIG) == "current"
    before = cube_path(tmp_path, "r").stat().st_ino
    again = process_recording(recording, tmp_path, CONFIG)
    assert (again.rebuilt, again.frames_made, again.frames_per_s) == (False, 0, 0.0)
    assert cube_path(tmp_path, "r").stat().st_ino == before
    forced = process_recording(recording, tmp_path, CONFIG, force=True)
    assert (forced.rebuilt, forced.frames_made) == (True, 3)
    assert cube_path(tmp_path, "r").stat().st_ino != before


def test_another_configuration_or_other_samples_make_it_stale(tmp_path):
    recording = record(tmp_path / "a", "r", SMALL, _many(3))
    process_recording(recording, tmp_path / "a", CONFIG)
    other = CubeConfig(azimuth_bins=16, range_window="blackman")
    assert cube_status(tmp_path / "a", recording, other) == "stale"
    assert process_recording(recording, tmp_path / "a", other).rebuilt
    assert cube_status(tmp_path / "a", recording, other) == "current"
    assert open_cube(tmp_path / "a", "r").config == other
    changed = record(tmp_path / "b", "r", SMALL, _many(4))
    assert cube_status(tmp_path / "a", changed, other) == "stale"


def test_damage_is_seen_and_mended(tmp_path):
    recording = record(tmp_path, "r", SMALL, _many(3))
    process_recording(recording, tmp_path, CONFIG)
    shard = cube_path(tmp_path, "r") / "rad/c/0/0/0/0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 0xFF
    shard.write_bytes(data)
    with pytest.raises(PipelineError, match=r"cube of r is damaged .* array rad, .*maepose process r --force"):
        [open_cube(tmp_path, "r").rad(frame) for frame in range(3)]
    process_recording(recording, tmp_path, CONFIG, force=True)
    open_cube(tmp_path, "r").rad(slice(None))
    shard.unlink()
    assert cube_status(tmp_path, recording, CONFIG) == "damaged"
    assert process_recording(recording, tmp_path, CONFIG).rebuilt
    assert open_cube(tmp_path, "r").verify(deep=True) == ()


def test_lost_bytes_carry_their_mask_into_the_cube(tmp_path):
    echoes = [Echo(5, 0, 0.1, 3000), Echo(20, 6, 0.4, 400)]
    frames = [words_of(samples_of(SMALL, echoes, seed=seed)) for seed in range(4)]
    start = SMALL.frame_bytes + 5 * SMALL.frame_bytes // SMALL.loops
    recording = record(tmp_path, "r", SMALL, frames, lost=[(start, start + 3000)])
    result = process_recording(recording, tmp_path, CubeConfig())
    assert result.frames_with_loss == 1
    cube = open_cube(tmp_path, "r")
    assert cube.valid.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(cube.missing_bytes, recording.frame_missing_bytes())
    np.testing.assert_array_equal(cube.loop_valid[1], recording.loop_valid(1))
    assert 2 <= (~cube.loop_valid[1]).sum() <= 4
    assert cube.loop_valid[[0, 2, 3]].all()
    # A hole in a strong static echo must not smear it over Doppler: beside the walker the frame is as quiet as its neighbours.
    quiet = [cube.decibels("rd", frame)[5, :10].max() for frame in range(4)]
    assert quiet[1] < max(quiet[0], quiet[2]) + 6


def test_without_packets_loss_and_times_are_unknown_and_said(tmp_path):
    recording = record(tmp_path, "r", SMALL, _many(3), packets=False)
    process_recording(recording, tmp_path, CONFIG)
    dataset = xarray.open_zarr(cube_path(tmp_path, "r"), chunks=None)
    assert dataset.attrs["loss_known"] is False
    assert "unknown" in dataset["missing_bytes"].attrs["long_name"]
    assert dataset["time"].values.tolist() == pytest.approx([0, 0.1, 0.2])
    assert "configured period" in dataset["time"].attrs["source"]
    assert dataset["monotonic_ns"].values.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "config",
    [
        preset("paper"),
        CubeConfig(dtype="complex64", azimuth_bins=16),
        CubeConfig(range_crop=(3, 20), doppler_crop=(4, 28)),
    ],
    ids=["paper", "complex64", "crops"],
)
def test_other_configurations_come_back(tmp_path, config):
    recording = record(tmp_path, "r", SMALL, _many(3))
    process_recording(recording, tmp_path, config)
    cube = open_cube(tmp_path, "r")
    expected = FrameTransform(SMALL, config)(recording.frame_words(2))
    for name in config.products:
        np.testing.assert_array_equal(cube.stored(name, 2), getattr(expected, name))
    dataset = cube.to_xarray()
    assert set(config.products) == {"rad", "rd", "ra"} & set(dataset.data_vars)
    assert (dataset["range"].values[0] > dataset["range"].values[-1]) == config.flip_range
    assert ("descending" in dataset["range"].attrs["axis_direction"]) == config.flip_range


def test_a_job_killed_half_way_leaves_nothing_that_looks_whole_and_is_finished_later(tmp_path):
    recording = record(tmp_path, "r", SMALL, _many(200))
    child = _child(
        """
        def slowly(done, total):
            if done == 150:
                print("there", flush=True)
                time.sleep(60)
        process_recording(recording, root, config, on_progress=slowly)
        """,
        tmp_path,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "there\n"
    deadline = time.monotonic() + 20  # the writer may still be busy with the second shard
    while (
        len(list(tmp_path.rglob("progress.jsonl"))) == 0
        or next(tmp_path.rglob("progress.jsonl")).read_text().count("\n") < 2
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert cube_status(tmp_path, recording, CONFIG) == "missing"
    with pytest.raises(PipelineError, match="There is no cube of r"):
        open_cube(tmp_path, "r")
    assert not list(cubes_folder(tmp_path).rglob("zarr.json"))
    result = process_recording(recording, tmp_path, CONFIG)
    assert (result.frames, result.frames_made) == (200, 200 - 128)
    cube = open_cube(tmp_path, "r")
    transform = FrameTransform(SMALL, CONFIG)
    for frame in (0, 127, 128, 199):
        np.testing.assert_array_equal(cube.stored("rad", frame), transform(recording.frame_words(frame)).rad)
    assert cube.verify(deep=True) == ()
    assert not list(cubes_folder(tmp_path).glob("*.tmp-*"))


def test_stopping_from_the_progress_callback_keeps_whole_shards_and_the_old_cube(tmp_path):
    recording = record(tmp_path, "r", SMALL, _many(100))
    process_recording(recording, tmp_path, CONFIG)
    other = CubeConfig(azimuth_bins=16, db_step=1.0)

    def stop(done: int, total: int) -> None:
        if done == 90:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process_recording(recording, tmp_path, other, on_progress=stop)
    assert open_cube(tmp_path, "r").config == CONFIG
    assert process_recording(recording, tmp_path, other).frames_made == 100 - 64


def test_what_the_progress_callback_raises_is_not_taken_for_a_disk_error(tmp_path):
    recording = record(tmp_path, "r", SMALL, _many(3))

    def break_pipe(done: int, total: int) -> None:
        raise BrokenPipeError("nobody reads the progress")

    with pytest.raises(BrokenPipeError):
        process_recording(recording, tmp_path, CONFIG, on_progress=break_pipe)
    assert process_recording(recording, tmp_path, CONFIG).frames == 3


def test_two_jobs_at_one_cube(tmp_path):
    recording = record(tmp_path, "r", SMALL, _many(3))
    child = _child(
        """
        def wait(done, total):
            print("going", flush=True)
            sys.stdin.readline()
        process_recording(recording, root, config, on_progress=wait)
        """,
        tmp_path,
        stdin=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "going\n"
    with pytest.raises(PipelineError, match=rf"Another job \(process {child.pid}\) is making the cube of r"):
        process_recording(recording, tmp_path, CONFIG)
    child.communicate("\n\n\n", timeout=60)
    assert child.returncode == 0
    assert not process_recording(recording, tmp_path, CONFIG).rebuilt


def test_a_full_disk_is_a_sentence_and_the_job_goes_on_later(tmp_path):
    recording = record(tmp_path, "r", SMALL, _many(150))
    child = _child(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit := 200_000, limit))  # a write beyond it fails as on a full disk
        try:
            process_recording(recording, root, config)
        except PipelineError as error:
            print(error)
        """,
        tmp_path,
    )
    said, complaints = child.communicate(timeout=120)
    assert said.startswith("No room for the cube of r under"), complaints
    assert "maepose process r" in said
    assert len(said.strip().splitlines()) == 1
    assert cube_status(tmp_path, recording, CONFIG) == "missing"
    assert not list(tmp_path.rglob("*.part"))
    assert process_recording(recording, tmp_path, CONFIG).frames == 150


@pytest.mark.parametrize("nobody", [pytest.param(65534, marks=pytest.mark.skipif(os.getuid() != 0, reason="not root"))])
def test_a_read_only_data_root_is_a_sentence(nobody):
    """Root may write anywhere, so the child becomes nobody; pytest's own folder is closed to that one, hence another."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        record(root, "r", SMALL, _many(2))
        root.chmod(0o755)
        child = _child(
            f"""
            import os
            os.setuid({nobody})
            try:
                process_recording(recording, root, config)
            except PipelineError as error:
                print(error)
            """,
            root,
        )
        said, complaints = child.communicate(timeout=120)
        assert said.startswith("The cube of r cannot be written under"), complaints
        assert "Permission denied" in said


def test_a_file_in_the_place_of_the_folder_is_a_sentence(tmp_path):
    recording = record(tmp_path, "r", SMALL, _many(2))
    (tmp_path / "cubes").write_text("in the way")
    with pytest.raises(PipelineError, match="The cube of r cannot be written under"):
        process_recording(recording, tmp_path, CONFIG)


def test_only_sealed_whole_recordings_are_processed(tmp_path):
    with pytest.raises(PipelineError, match=r"open is not sealed.*maepose recover open"):
        process_recording(record(tmp_path, "open", SMALL, _many(2), sealed=False), tmp_path, CONFIG)
    with pytest.raises(PipelineError, match=f"empty has no whole frame .*{SMALL.frame_bytes}"):
        process_recording(record(tmp_path, "empty", SMALL, [np.zeros(100, np.int16)]), tmp_path, CONFIG)
    cut = record(tmp_path, "cut", SMALL, _many(3))
    (cut.folder / "adc.bin").chmod(0o644)
    os.truncate(cut.folder / "adc.bin", SMALL.frame_bytes * 2)
    with pytest.raises(PipelineError, match=r"adc.bin of cut .* not what was sealed"):
        process_recording(open_recording(tmp_path, "cut"), tmp_path, CONFIG)
    assert not cubes_folder(tmp_path).exists()


def test_trailing_bytes_are_left_out(tmp_path):
    recording = record(tmp_path, "r", SMALL, _many(3), trailing=bytes(1000))
    assert process_recording(recording, tmp_path, CONFIG).frames == 3


def test_a_configuration_that_does_not_fit_leaves_nothing(tmp_path):
    recording = record(tmp_path, "r", SMALL, _many(2))
    with pytest.raises(PipelineError, match="range_bins is 32, fewer than"):
        process_recording(recording, tmp_path, CubeConfig(range_bins=32))
    assert not list(cubes_folder(tmp_path).glob("*.zarr*"))
