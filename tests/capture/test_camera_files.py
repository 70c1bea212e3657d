import os
import shutil

import numpy as np
import pytest
from camera_pictures import color_frame, colour, depth, depth_frame
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from capture.camera import CameraFrame
from capture.camera_files import CameraFiles
from pipeline.camera_frames import CAMERA_RECORD, FLAG_FROZEN, STREAM_COLOR, STREAM_DEPTH, read_camera_records
from pipeline.camera_reader import ColorReader, depth_records, read_depth
from pipeline.depth_codec import decode_depth, encode_depth
from pipeline.errors import PipelineError
from pipeline.manifest import FileDigest, RecordingManifest
from pipeline.recording import write_manifest
from pipeline.waveform import PRESETS


def like(picture: np.ndarray, number: int) -> bool:
    """Whether a decoded picture is frame `number`, lossy as it is: nearer to it than to its neighbours."""
    far = [np.abs(picture.astype(int) - colour(n)).mean() for n in (number - 1, number, number + 1)]
    return far[1] < 6 and int(np.argmin(far)) == 1


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Forty frames of both streams, closed properly."""
    folder = tmp_path_factory.mktemp("recorded")
    files = CameraFiles(folder, 30.0)
    for number in range(40):
        files.write(color_frame(number, sensor_timestamp_us=number * 33_333, exposure_us=8000))
        files.write(depth_frame(number))
    files.sync()
    files.close()
    return folder


def test_every_frame_comes_back_in_order_and_by_index(recorded):
    with ColorReader(recorded) as color:
        assert len(color) == 40
        assert all(like(picture, index) for index, picture in color.frames())
        for index in (39, 0, 20, 21, 19, 5, 38):
            assert like(color[index], index)
        with pytest.raises(PipelineError, match="colour frames 0 to 39, not 40"):
            color[40]


def test_depth_is_bit_for_bit_what_was_written(recorded):
    found = depth_records(recorded)
    assert len(found) == 40
    for number in (17, 0, 39):
        np.testing.assert_array_equal(read_depth(recorded, found[number]), depth(number))
    with pytest.raises(PipelineError, match="colour frame"):
        read_depth(recorded, read_camera_records(recorded)[0])


def test_records_hold_every_time_and_minus_one_for_what_is_not_known(recorded):
    records = read_camera_records(recorded)
    color = records[records["stream"] == STREAM_COLOR]
    assert color["index"].tolist() == list(range(40))
    assert color["sensor_timestamp_us"].tolist() == [number * 33_333 for number in range(40)]
    assert color["exposure_us"][7] == 8000
    assert color["backend_timestamp_ms"][7] == color["frame_timestamp_us"][7] == -1
    assert color["received_ns"][3] == 10**12 + 3 * 33_333_333
    assert not (records["flags"] & FLAG_FROZEN).any()


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 65535)))
def test_any_depth_picture_survives(picture):
    np.testing.assert_array_equal(decode_depth(encode_depth(picture)), picture)


def test_what_is_no_depth_picture_is_refused():
    for data in (b"", b"\x01\x00\x01\x00garbage-garbage-garbage"):
        with pytest.raises(PipelineError, match="does not decode"):
            decode_depth(data)


@pytest.mark.parametrize("share", [0.2, 0.31, 0.5, 0.77, 0.95, 0.999])
def test_a_video_cut_off_anywhere_gives_the_frames_that_are_there(recorded, tmp_path, share):
    video = (recorded / "color.mkv").read_bytes()
    (tmp_path / "color.mkv").write_bytes(video[: round(len(video) * share)])
    shutil.copy(recorded / "camera.bin", tmp_path)
    with ColorReader(tmp_path) as color:
        assert len(color) > 0
        assert len(color) < 40 or share > 0.9
        assert all(like(picture, index) for index, picture in color.frames())
        for index in (len(color) - 1, 0, len(color) // 2):  # without an index at its end, too
            assert not len(color) or like(color[index], index)


def test_a_writer_that_just_vanishes_leaves_all_but_the_last_frame(tmp_path):
    (tmp_path / "live").mkdir()
    files = CameraFiles(tmp_path / "live", 30.0)
    for number in range(20):
        files.write(color_frame(number))
        files.write(depth_frame(number))
    shutil.copytree(tmp_path / "live", tmp_path / "killed")  # what is in the files, not what is in memory
    files.close()
    with ColorReader(tmp_path / "killed") as color:
        assert len(color) in (19, 20)
        assert all(like(picture, index) for index, picture in color.frames())
    assert len(depth_records(tmp_path / "killed")) == 20


@pytest.mark.parametrize("length", [0, 200, 500])
def test_a_writer_that_vanishes_before_the_first_frame_is_out_leaves_none(recorded, tmp_path, length):
    (tmp_path / "color.mkv").write_bytes((recorded / "color.mkv").read_bytes()[:length])
    shutil.copy(recorded / "camera.bin", tmp_path)
    with ColorReader(tmp_path) as color:
        assert list(color.frames()) == []


def test_a_record_more_or_less_than_there_are_frames(recorded, tmp_path):
    shutil.copytree(recorded, tmp_path / "copy")
    records = read_camera_records(recorded)
    records[:-30].tofile(tmp_path / "copy" / "camera.bin")
    with ColorReader(tmp_path / "copy") as color:
        assert len(color) == 25  # 15 of the 30 records were of colour
    depth_file = tmp_path / "copy" / "depth.bin"
    records.tofile(tmp_path / "copy" / "camera.bin")
    os.truncate(depth_file, depth_file.stat().st_size - 10)
    assert len(depth_records(tmp_path / "copy")) == 39
    with pytest.raises(PipelineError, match="ends before depth frame 39"):
        read_depth(tmp_path / "copy", records[records["stream"] == STREAM_DEPTH][39])


def test_a_frozen_picture_is_marked(tmp_path):
    files = CameraFiles(tmp_path, 30.0)
    for number in (0, 1, 1, 1, 2):
        files.write(CameraFrame(STREAM_COLOR, colour(number), received_ns=number, timestamp_ms=0.0))
    assert files.counts[STREAM_COLOR].frozen == 2
    files.close()
    assert (read_camera_records(tmp_path)["flags"] & FLAG_FROZEN).tolist() == [0, 0, 1, 1, 0]


def test_pictures_of_odd_size_keep_it(tmp_path):
    files = CameraFiles(tmp_path, 30.0)
    for number in range(3):
        files.write(CameraFrame(STREAM_COLOR, colour(number, 53, 41), received_ns=number, timestamp_ms=0.0))
    files.close()
    with ColorReader(tmp_path) as color:
        assert color[2].shape == (41, 53, 3)
        assert np.abs(color[2].astype(int) - colour(2, 53, 41)).mean() < 6


def test_files_are_never_written_over_and_the_reserve_is_kept(tmp_path):
    files = CameraFiles(tmp_path, 30.0, reserve_bytes=10**18)
    files.write(color_frame(0))
    with pytest.raises(PipelineError, match=r"disk of .* is full"):
        files.sync()
    with pytest.raises(PipelineError, match="never written over"):
        CameraFiles(tmp_path, 30.0)


def test_a_camera_that_changes_its_size_is_refused(tmp_path):
    files = CameraFiles(tmp_path, 30.0)
    files.write(color_frame(0))
    with pytest.raises(PipelineError, match="changed its picture to 32 x 24"):
        files.write(CameraFrame(STREAM_COLOR, colour(1, 32, 24), received_ns=1, timestamp_ms=0.0))
    files.close()


def test_the_reader_says_why_pictures_are_not_there(tmp_path):
    with pytest.raises(PipelineError, match=r"has no color.mkv: it was recorded without it"):
        ColorReader(tmp_path)
    manifest = RecordingManifest(
        id="r", simulated=True, waveform=PRESETS["light"], removed={"color.mkv": FileDigest(sha256="0", bytes=1)}
    )
    write_manifest(tmp_path, manifest)
    with pytest.raises(PipelineError, match="deleted on purpose once its labels had passed"):
        ColorReader(tmp_path)
    (tmp_path / "color.mkv").write_bytes(b"this is no video" * 100)
    with pytest.raises(PipelineError, match="cannot be read as a video"):
        ColorReader(tmp_path)
    assert len(depth_records(tmp_path)) == 0
    assert depth_records(tmp_path).dtype == CAMERA_RECORD
