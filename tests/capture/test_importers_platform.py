"""Sessions of the first authors' platform, all three generations of its folder."""

import csv
import json
import struct

import numpy as np
import pytest
from card_packets import SMALL, small_cfg
from sample_streams import as_words, echoes

from capture.importers import import_recording
from pipeline.errors import PipelineError
from pipeline.sealing import verify
from pipeline.waveform import PRESETS

FRAME = SMALL.frame_bytes
FRAMES = [as_words(echoes(SMALL.frame_shape, seed=n), "i-first").tobytes() for n in range(6)]
START_S = 1_785_000_000.25


@pytest.fixture
def bring_in(tmp_path):
    def run(source, *, configs=None, **options):
        configs = [small_cfg(tmp_path)] if configs is None else configs
        return import_recording(tmp_path / "data", source, configs, **options)

    return run


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def record(number, data, *, time_s=None, lost=0):
    time_s = START_S + number * 0.1 if time_s is None else time_s
    return struct.pack("<4sIdBI", b"VMRF", number, time_s, lost, len(data)) + data


def adc(recording):
    return (recording.folder / "adc.bin").read_bytes()


def noted(recording, text):
    return any(text in note for note in recording.manifest.notes)


# --- version 2: a header a frame -------------------------------------------------------------------------------------


def version_2(folder, numbers):
    data = b"".join(record(n, frame) for n, frame in zip(numbers, FRAMES, strict=False))
    put(folder / "raw" / "mmwave.bin", data)
    return folder


def test_numbered_frames_have_their_times(bring_in, tmp_path):
    session = version_2(tmp_path / "session", range(100, 106))
    put(session / "metadata.json", json.dumps({"adc_params": {"chirps": 8, "tx": 2, "rx": 4, "samples": 64}}).encode())
    table(session / "timestamps.csv", ["frame_num", "mmwave_ts", "camera_ts", "diff_ms", "lost_packet"], [])
    for source in (session, session / "raw" / "mmwave.bin"):
        recording = bring_in(source)
        assert adc(recording) == b"".join(FRAMES)
        assert (recording.frame_count, recording.waveform.sample_order) == (6, "i-first")
        assert recording.frame_time_ns().tolist() == [round((START_S + n * 0.1) * 1e9) for n in range(100, 106)]
        assert recording.missing_ranges().tolist() == []
        assert recording.manifest.origin == "capture platform session, version 2"
        assert {"source/timestamps.csv", "source/metadata.json"} <= set(recording.manifest.sources)
        assert verify(recording).ok


def test_missing_frames_are_holes_of_whole_frames(bring_in, tmp_path):
    recording = bring_in(version_2(tmp_path / "session", [7, 8, 11, 12]))
    assert adc(recording) == FRAMES[0] + FRAMES[1] + bytes(2 * FRAME) + FRAMES[2] + FRAMES[3]
    assert recording.missing_ranges().tolist() == [[2 * FRAME, 4 * FRAME]]
    assert recording.frame_missing_bytes().tolist() == [0, 0, FRAME, FRAME, 0, 0]
    assert not recording.loop_valid(2).any()
    assert recording.loop_valid(4).all()
    assert noted(recording, "2 of 6 frames are not in the file")
    assert recording.manifest.counters["lost_frames"] == 2


def test_frames_out_of_order_and_repeated(bring_in, tmp_path):
    data = record(2, FRAMES[0]) + record(0, FRAMES[1]) + record(2, FRAMES[2]) + record(1, FRAMES[3], lost=1)
    recording = bring_in(put(tmp_path / "session" / "raw" / "mmwave.bin", data))
    assert adc(recording) == FRAMES[1] + FRAMES[3] + FRAMES[0]
    assert noted(recording, "1 frames repeat a frame number")
    assert recording.manifest.counters["frames_after_loss"] == 1


@pytest.mark.parametrize(
    ("keep", "note"), [(-1000, "in the middle of frame 3: 15384 of 16384 bytes"), (-16395, "10 bytes of an inco")]
)
def test_a_session_that_was_cut_short(bring_in, tmp_path, keep, note):
    data = b"".join(record(n, FRAMES[n]) for n in range(4))
    recording = bring_in(put(tmp_path / "session" / "raw" / "mmwave.bin", data[:keep]))
    assert (recording.frame_count, adc(recording)[: 3 * FRAME]) == (3, b"".join(FRAMES[:3]))
    assert noted(recording, note)
    assert verify(recording).ok


@pytest.mark.parametrize("time_s", [0.0, -5.0, float("nan"), float("inf")])
def test_times_that_are_none_are_unknown(bring_in, tmp_path, time_s):
    data = b"".join(record(n, FRAMES[n], time_s=time_s) for n in range(2))
    assert bring_in(put(tmp_path / "s" / "raw" / "mmwave.bin", data)).frame_time_ns().tolist() == [0, 0]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (record(0, FRAMES[0]) + b"garbage" * 10, rf"damaged at byte {FRAME + 21}: no frame begins there"),
        (
            record(0, FRAMES[0]) + record(1, FRAMES[1][:-4]),
            r"Frame 1 of mmwave\.bin has 16380 bytes, but a frame .* has 16384",
        ),
        (record(0, FRAMES[0]) + record(2**31, FRAMES[1]), "numbered over a span of 2147483649"),
        (record(0, FRAMES[0])[:10], "less than one frame"),
    ],
)
def test_damaged_sessions(bring_in, tmp_path, data, sentence):
    with pytest.raises(PipelineError, match=sentence):
        bring_in(put(tmp_path / "session" / "raw" / "mmwave.bin", data))


def test_the_sessions_own_geometry_must_agree(bring_in, tmp_path):
    session = version_2(tmp_path / "session", range(2))
    put(session / "metadata.json", json.dumps({"adc_params": {"chirps": 16, "tx": 1, "rx": 4, "samples": 64}}).encode())
    with pytest.raises(PipelineError, match=r"chirps 16 \(configured: 8\), tx 1 \(configured: 2\)"):
        bring_in(session)


def test_the_platforms_published_profile_is_taken_where_the_session_has_its_shape(tmp_path):
    paper = PRESETS["paper"]
    frame = as_words(echoes(paper.frame_shape), "i-first").tobytes()
    session = tmp_path / "session"
    put(session / "raw" / "mmwave.bin", record(5, frame))
    with pytest.raises(PipelineError, match="comes without a radar configuration; name the"):
        import_recording(tmp_path / "data", session)
    put(
        session / "metadata.json",
        json.dumps({"adc_params": {"chirps": 255, "tx": 2, "rx": 4, "samples": 256}}).encode(),
    )
    recording = import_recording(tmp_path / "data", session)
    assert recording.waveform.model_dump() == {**paper.model_dump(), "sample_order": "i-first"}
    assert noted(recording, "preset paper")
    assert recording.stream_bytes == 2_088_960


# --- version 1: frames one after another -----------------------------------------------------------------------------


def test_frames_timed_by_a_table_of_topics(bring_in, tmp_path):
    session = tmp_path / "20260101_120000"
    put(session / "raw.bin", b"".join(FRAMES[:4]))
    rows = [(t, n, f"{START_S + n * 0.1:.6f}") for n in (3, 4, 6, 7) for t in ("radar.raw", "radar.rd", "camera.rgb")]
    table(session / "timestamps.csv", ["topic", "frame_id", "ts"], rows)
    (session / "RD").mkdir()
    np.save(session / "RD" / "3.npy", np.zeros((4, 4)))
    recording = bring_in(session)
    assert adc(recording) == FRAMES[0] + FRAMES[1] + bytes(FRAME) + FRAMES[2] + FRAMES[3]
    assert recording.missing_ranges().tolist() == [[2 * FRAME, 3 * FRAME]]
    times = recording.frame_time_ns()
    assert times[[0, 1, 3, 4]].tolist() == [round((START_S + n * 0.1) * 1e9) for n in (3, 4, 6, 7)]
    assert recording.manifest.origin == "capture platform session, version 1"
    assert verify(recording).ok


def test_frames_timed_by_a_table_of_frames(bring_in, tmp_path):
    session = tmp_path / "session_1"
    put(session / "raw" / "mmwave.bin", b"".join(FRAMES[:3]) + FRAMES[3][:100])
    table(
        session / "timestamps.csv",
        ["frame_num", "mmwave_ts", "camera_ts", "diff_ms"],
        [(n, START_S + n, 0, -1) for n in range(3)],
    )
    recording = bring_in(session)
    assert (recording.frame_count, recording.trailing_bytes) == (3, 100)
    assert recording.frame_time_ns().tolist() == [round((START_S + n) * 1e9) for n in range(3)]
    assert noted(recording, "ends 100 bytes over 3 whole frames")
    assert verify(recording).ok


@pytest.mark.parametrize(
    ("header", "rows", "note"),
    [
        (["topic", "frame_id", "ts"], [("radar.raw", 0, 1.0)], "names 1 radar frames and raw.bin holds 3"),
        (["a", "b"], [(1, 2)], "its columns are a, b"),
        (["frame_num", "mmwave_ts"], [("x", 2)] * 3, "was not understood"),
        (["frame_num", "mmwave_ts"], [], "did not number these frames"),
    ],
)
def test_tables_that_do_not_fit_leave_frames_without_times(bring_in, tmp_path, header, rows, note):
    session = tmp_path / "session"
    put(session / "raw.bin", b"".join(FRAMES[:3]))
    table(session / "timestamps.csv", header, rows)
    recording = bring_in(session)
    assert adc(recording) == b"".join(FRAMES[:3])
    assert recording.packets is None
    assert noted(recording, note)
