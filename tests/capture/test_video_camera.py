import time

import numpy as np
import pytest
from camera_pictures import colour, film

from capture.camera import Pace
from capture.camera_sources import open_camera
from capture.video_camera import VideoFile, Webcam
from pipeline.camera_frames import DOMAIN_NONE, STREAM_COLOR
from pipeline.errors import PipelineError
from pipeline.settings import CameraSettings

SETTINGS = CameraSettings(source="video", path="film.mp4")


def read_all(source):
    frames = []
    while not source.ended:
        frame = source.read(1.0)
        if frame is not None:
            frames.append(frame)
    return frames


def test_a_video_is_timed_by_its_own_stamps(tmp_path):
    stamps = [0, 33, 67, 100, 400, 433, 900]
    source = VideoFile(film(tmp_path / "film.mp4", stamps), SETTINGS)
    description = source.open()
    assert (description.source, description.name) == ("video", "film.mp4")
    assert description.color is None
    assert description.depth_unit_m is None
    assert "no metric scale" in description.degraded[0]
    frames = read_all(source)
    source.close()
    assert [frame.timestamp_ms for frame in frames] == pytest.approx(stamps, abs=1.0)
    assert [frame.frame_number for frame in frames] == list(range(1, 8))
    assert {(frame.stream, frame.domain) for frame in frames} == {(STREAM_COLOR, DOMAIN_NONE)}
    assert np.abs(frames[4].picture.astype(int) - colour(4)).mean() < 6
    assert len(source.description.degraded) == 1


def test_a_video_without_time_stamps_is_taken_as_even_and_says_so(tmp_path):
    path = film(tmp_path / "bare.h264", range(0, 400, 40), form="h264")
    source = VideoFile(path, SETTINGS)
    rate_hz = source.open().rate_hz
    frames = read_all(source)
    source.close()
    assert len(frames) == 10
    np.testing.assert_allclose([frame.timestamp_ms for frame in frames], np.arange(10) * 1000 / rate_hz)
    assert any("no time stamps" in sentence and "evenly spaced" in sentence for sentence in source.description.degraded)


def test_a_video_that_breaks_off_is_kept_up_to_there(tmp_path):
    whole = film(tmp_path / "film.mkv", range(0, 3000, 33)).read_bytes()
    (tmp_path / "part.mkv").write_bytes(whole[: len(whole) // 2])
    source = VideoFile(tmp_path / "part.mkv", SETTINGS)
    source.open()
    frames = read_all(source)
    source.close()
    assert 10 < len(frames) < 91


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "film.mp4").write_text("no film")
    with pytest.raises(PipelineError, match="cannot be read as a video"):
        open_camera(SETTINGS, tmp_path).open()
    with pytest.raises(PipelineError, match="There is no video"):
        VideoFile(tmp_path / "none.mp4", SETTINGS).open()


def test_files_are_handed_out_as_fast_as_they_were_taken(tmp_path):
    source = VideoFile(film(tmp_path / "film.mp4", [0, 100, 300]), SETTINGS, Pace(1.0))
    source.open()
    frames = []
    began_ns = time.monotonic_ns()
    while not source.ended:
        frame = source.read(0.02)
        if frame is not None:
            frames.append(frame)
    source.close()
    after_s = (np.array([frame.received_ns for frame in frames]) - began_ns) / 1e9
    assert (after_s > [0.0, 0.099, 0.299]).all()


def test_a_webcam_is_read_by_its_own_thread(tmp_path):
    """libavdevice's test picture stands in for the Video4Linux device; what follows it is the same."""
    source = Webcam("testsrc=size=160x120:rate=30:duration=1", CameraSettings(source="webcam"), form="lavfi")
    description = source.open()
    assert (description.rate_hz, description.color) == (30.0, None)
    assert any("160 x 120 pixels, not 640 x 480" in sentence for sentence in description.degraded)
    frames = [source.read(10.0) for _ in range(30)]
    assert [frame.frame_number for frame in frames] == list(range(1, 31))
    assert frames[0].picture.shape == (120, 160, 3)
    assert np.diff([frame.timestamp_ms for frame in frames]) == pytest.approx(33.333, abs=0.1)
    with pytest.raises(PipelineError, match=r"sends no more \(its stream ended\)"):
        source.read(10.0)
    source.close()


def test_a_webcam_that_is_not_there_or_is_none_is_named(tmp_path):
    with pytest.raises(PipelineError, match="There is no webcam"):
        open_camera(CameraSettings(source="webcam", path=str(tmp_path / "video9")), tmp_path).open()
    with pytest.raises(PipelineError, match="does not open"):
        open_camera(CameraSettings(source="webcam", path="/dev/null"), tmp_path).open()
