"""The camera's recorder: in this process where its troubles are looked at, as a real one where it is killed."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from camera_pictures import film

import capture.camera_recording as recording_module
from capture.camera_process import CameraProcess
from capture.camera_recording import CameraProgress, CameraRecording
from capture.camera_sources import open_camera
from pipeline.camera_frames import FLAG_FROZEN, FLAG_REOPENED, STREAM_COLOR, STREAM_DEPTH, read_camera_records
from pipeline.camera_reader import ColorReader, depth_records, read_depth
from pipeline.errors import PipelineError
from pipeline.settings import CameraSettings

SETTINGS = CameraSettings(width=160, height=120)
ACTS = [{"action": "arm-raise", "start_s": 0.0, "stop_s": 10.0}]


def order(**more):
    return {"scene": {"seed": 3, "acts": ACTS}, "rig_origin_monotonic_s": time.monotonic(), **more}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "recordings" / "r"
    made.mkdir(parents=True)
    return made


def record(folder, until, timeout_s=60.0, **simulated):
    """Record in this process until `until(progress)`; every progress told, and the result."""
    source = open_camera(SETTINGS, folder, order(**simulated))
    recording = CameraRecording(source, folder, SETTINGS)
    recording.open()
    told: list[CameraProgress] = []
    deadline = time.monotonic() + timeout_s
    result = recording.run(lambda: (bool(told) and until(told[-1])) or time.monotonic() > deadline, told.append)
    return told, result


@pytest.fixture
def hurried(monkeypatch):
    for name, value in (
        ("SILENCE_S", 0.6),
        ("DEPTH_SILENCE_S", 0.6),
        ("FROZEN_S", 0.3),
        ("REOPEN_EVERY_S", 0.3),
        ("_TELL_EVERY_S", 0.05),
    ):
        monkeypatch.setattr(recording_module, name, value)


def test_a_camera_that_is_unplugged_is_found_again_and_the_gap_is_marked(folder, hurried):
    faults = {"camera_unplug_s": 0.7, "camera_replug_s": 1.5}
    seen = {"gone": False}

    def until(progress):
        seen["gone"] |= "The camera is gone, try" in progress.problem
        seen.setdefault("at", 0)
        return progress.reopened == 1 and progress.color_frames > 40

    told, result = record(folder, until, faults=faults)
    assert seen["gone"]
    assert told[-1].problem == ""
    assert result.ok
    assert result.counters["camera_reopened"] == 1
    records = read_camera_records(folder)
    for stream in (STREAM_COLOR, STREAM_DEPTH):
        own = records[records["stream"] == stream]
        again = np.flatnonzero(own["flags"] & FLAG_REOPENED)
        assert len(again) == 1
        gap_s = (own["received_ns"][again[0]] - own["received_ns"][again[0] - 1]) / 1e9
        lost = result.counters[f"camera_{'color' if stream == STREAM_COLOR else 'depth'}_lost_away"]
        assert lost == pytest.approx(gap_s * 30, abs=1.5)
        assert own["sensor_timestamp_us"][again[0]] < 1.5e6  # its clock began again
        assert own["index"].tolist() == list(range(len(own)))
    assert any("sent nothing for" in note for note in result.notes)
    assert any("opened anew at second" in note for note in result.notes)


def test_a_camera_that_does_not_come_back_is_given_up_and_the_session_goes_on(folder, hurried, monkeypatch):
    monkeypatch.setattr(recording_module, "REOPEN_TRIES", 2)
    told, result = record(folder, lambda progress: "try 2 of 2" in progress.problem, faults={"camera_unplug_s": 3.0})
    assert result.ok
    assert any("did not come back in 2 tries" in note for note in result.notes)
    with ColorReader(folder) as color:
        assert len(color) == result.counters["camera_color_frames"] > 5
    assert told[-1].alive


def test_frozen_pictures_and_missing_depth_are_said_while_it_records(folder, hurried):
    faults = {"camera_freeze_s": 1.0, "camera_no_depth": True}

    def until(progress):
        return "it is frozen" in progress.problem and "depth does not" in progress.problem

    told, result = record(folder, until, faults=faults)
    assert until(told[-1])
    assert any("frozen" in note for note in result.notes)
    assert any("sent no depth" in note for note in result.notes)
    records = read_camera_records(folder)
    frozen = (records["flags"] & FLAG_FROZEN) > 0
    assert frozen.sum() == result.counters["camera_color_frozen"] > 5
    assert (records["frame_number"][frozen] > 30).all()  # not in the first second


def test_frames_that_are_lost_are_counted_one_by_one(folder):
    source_frames = {"camera_drop": 0.3, "seed": 4}
    _, result = record(folder, lambda progress: progress.color_frames >= 30, faults=source_frames)
    records = read_camera_records(folder)
    for stream, name in ((STREAM_COLOR, "color"), (STREAM_DEPTH, "depth")):
        numbers = records["frame_number"][records["stream"] == stream]
        missing = numbers[-1] - numbers[0] + 1 - len(numbers)
        assert result.counters[f"camera_{name}_gaps"] == missing > 0
    assert result.counters["camera_overruns"] == 0


def test_a_process_records_and_ends_as_asked(folder, tmp_path):
    film(tmp_path / "film.mkv", range(0, 60_000, 33))
    with CameraProcess(folder, CameraSettings(source="video", path="film.mkv")) as camera:
        description = camera.start()
        assert (description.source, description.depth_unit_m) == ("video", None)
        _wait(lambda: camera.progress().color_frames > 10)
        assert camera.progress().problem == ""
        result = camera.stop()
    assert result.ok, result.sentence
    assert camera.stop() == result
    assert 10 < result.counters["camera_color_frames"] < 1000  # as fast as it was taken, not as fast as it is read
    with ColorReader(folder) as color:
        assert len(color) == result.counters["camera_color_frames"]
        assert color[len(color) - 1].shape == (48, 64, 3)
    assert len(depth_records(folder)) == 0


def test_what_a_killed_process_had_recorded_is_readable(folder):
    with CameraProcess(folder, SETTINGS, order(pictures=5)) as camera:
        camera.start()
        _wait(lambda: camera.progress().color_frames > 15 and camera.progress().depth_frames > 15)
        os.kill(camera.pid, signal.SIGKILL)
        _wait(lambda: not camera.progress().alive)
        assert "process died (exit code -9)" in camera.progress().problem
        result = camera.stop()
    assert not result.ok
    assert "process died" in result.sentence
    records = read_camera_records(folder)
    colors = int((records["stream"] == STREAM_COLOR).sum())
    with ColorReader(folder) as color:
        assert colors - 1 <= len(color) <= colors
        assert sum(1 for _ in color.frames()) == len(color)
    found = depth_records(folder)
    assert len(found) == int((records["stream"] == STREAM_DEPTH).sum()) > 15
    assert read_depth(folder, found[-1]).shape == (120, 160)


def test_a_process_whose_parent_dies_ends_with_its_files_whole(folder, tmp_path):
    """The parent is killed; the camera's process sees its standard input close."""
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from capture.camera_process import CameraProcess\n"
        "from pipeline.settings import CameraSettings\n"
        f"camera = CameraProcess(Path({str(folder)!r}), CameraSettings(source='video', path='film.mkv'))\n"
        "camera.start()\n"
        "while camera.progress().color_frames < 10: time.sleep(0.05)\n"
        "print(camera.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    film(tmp_path / "film.mkv", range(0, 60_000, 33))
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    _wait(lambda: not _runs(pid))
    records = read_camera_records(folder)
    with ColorReader(folder) as color:
        assert len(color) == int((records["stream"] == STREAM_COLOR).sum()) >= 10
    import av

    with av.open(str(folder / "color.mkv")) as video:
        assert video.duration  # the header was finished


def test_what_is_wrong_with_a_camera_is_one_sentence_and_nothing_is_left(folder):
    with (
        CameraProcess(folder, CameraSettings(source="video", path="none.mp4")) as camera,
        pytest.raises(PipelineError, match=r"There is no video .*none\.mp4"),
    ):
        camera.start()
    assert not camera.stop().ok
    with pytest.raises(PipelineError, match="No RealSense camera is attached"):
        record(folder, bool, faults={"camera_absent": True})
    assert list(folder.iterdir()) == []
    assert threading.active_count() < 20


def _wait(done, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def _runs(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
