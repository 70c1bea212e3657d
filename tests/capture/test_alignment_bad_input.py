"""What goes wrong in a lab, said in a sentence, with the rest of the session kept."""

from dataclasses import replace

import numpy as np
import pytest
from sync_sessions import HARD, Session, compare, play, with_seed, write

from capture.alignment import align, alignment_of
from pipeline.camera_frames import DOMAIN_NONE, FLAG_FROZEN, FLAG_REOPENED, STREAM_COLOR, STREAM_DEPTH
from pipeline.manifest import RecordingManifest
from pipeline.pulses import KIND_BOOT, KIND_EDGE, KIND_PING, KIND_PULSE, PULSE_RECORD
from pipeline.recording import read_recording
from pipeline.sync import read_sync

SESSION = Session(seed=11, miss_triggers=0.05, drop_camera=0.05, seconds=20)


def aligned(session, truth, root, **manifest):
    """Through `align` and back from disk; `manifest` changes recording.json."""
    folder = write(session, truth, root)
    if manifest:
        kept = read_recording(folder).manifest.model_copy(update=manifest)
        (folder / "recording.json").write_text(RecordingManifest.model_dump_json(kept))
    align(folder)
    return read_sync(folder)


def says(report, *words):
    assert any(all(word in reason for word in words) for reason in report.reasons), report.reasons


def right(session, truth, table, *, ambiguous=0.02):
    count = compare(session, truth, table)
    assert (count.wrong_radar, count.wrong_camera, count.unmatched) == (0, 0, 0), count
    assert count.ambiguous <= ambiguous * count.rows, count


def test_a_silent_board_leaves_host_time(tmp_path):
    truth = play(SESSION)
    truth.files["pulses.bin"] = truth.files["pulses.bin"][:0]
    table, report = aligned(SESSION, truth, tmp_path)
    assert (report.mode, report.verdict) == ("host", "look")
    says(report, "no pulses", "host time")
    assert (table["status"] == "ok").sum() > 0.9 * len(truth.frame_s)
    assert (table["pulse"] == -1).all()


def test_a_board_that_only_answers_pings_leaves_host_time(tmp_path):
    truth = play(SESSION)
    records = truth.files["pulses.bin"]
    truth.files["pulses.bin"] = records[records["kind"] == KIND_PING]
    _, report = aligned(SESSION, truth, tmp_path)
    assert (report.mode, report.verdict) == ("host", "look")
    says(report, "no pulses")


def test_no_board_recorded_for_a_triggered_radar(tmp_path):
    truth = play(SESSION)
    del truth.files["pulses.bin"]
    _, report = aligned(SESSION, truth, tmp_path)
    assert report.mode == "host"
    says(report, "no board was recorded")


def test_no_camera_file(tmp_path):
    truth = play(SESSION)
    del truth.files["camera.bin"]
    table, report = aligned(SESSION, truth, tmp_path)
    assert report.verdict == "failed"
    says(report, "No camera")
    assert (
        truth.pulse_of_frame[table["radar_frame"][table["radar_frame"] >= 0]]
        == table["pulse"][table["radar_frame"] >= 0]
    ).all()


def test_a_camera_that_sent_nothing(tmp_path):
    truth = play(SESSION)
    truth.files["camera.bin"] = truth.files["camera.bin"][:0]
    table, report = aligned(SESSION, truth, tmp_path)
    assert report.verdict == "failed"
    says(report, "no colour frame")
    assert not (table["status"] == "ok").any()


def test_no_depth(tmp_path):
    truth = play(SESSION)
    records = truth.files["camera.bin"]
    truth.files["camera.bin"] = records[records["stream"] == STREAM_COLOR]
    table, report = aligned(SESSION, truth, tmp_path)
    assert report.verdict == "aligned"
    assert (table["depth_frame"] == -1).all()
    assert (table["status"] == "ok").sum() > 170


def test_no_radar_frame(tmp_path):
    truth = play(SESSION)
    folder = write(SESSION, truth, tmp_path)
    (folder / "adc.bin").write_bytes(b"")
    table, report = alignment_of(folder)
    assert report.verdict == "failed"
    says(report, "no whole radar frame")
    assert (table["status"] == "no-radar").all()


@pytest.mark.parametrize("empty", [False, True])
def test_no_packet_times(empty, tmp_path):
    truth = play(SESSION)
    folder = write(SESSION, truth, tmp_path)
    (folder / "packets.bin").write_bytes(b"") if empty else (folder / "packets.bin").unlink()
    table, report = alignment_of(folder)
    assert report.verdict == "failed"
    says(report, "No radar frame has a time")
    assert not (table["status"] == "ok").any()


def test_garbage_and_duplicates_are_left_out_and_counted(tmp_path):
    rng = np.random.default_rng(1)
    truth = play(replace(SESSION, edges=True))
    for name in ("pulses.bin", "camera.bin"):
        records = truth.files[name]
        twice = np.repeat(records, np.where(rng.random(len(records)) < 0.05, 2, 1))
        junk = np.frombuffer(rng.bytes(20 * records.itemsize), records.dtype)
        at = np.sort(rng.integers(0, len(twice), 20))
        truth.files[name] = np.insert(twice, at, junk)
    table, report = aligned(replace(SESSION, edges=True), truth, tmp_path)
    right(replace(SESSION, edges=True), truth, table)
    assert report.camera_edges
    says(report, "pulses.bin", "left out")
    says(report, "camera.bin", "left out")


def test_garbage_that_looks_like_records(tmp_path):
    """Right kinds and sane arrivals, but numbers and times that are no sense."""
    rng = np.random.default_rng(2)
    session = replace(SESSION, edges=True)
    truth = play(session)
    pulses, camera = truth.files["pulses.bin"], truth.files["camera.bin"]
    bad = rng.choice(len(pulses), 15, replace=False)
    junk = pulses[bad].copy()
    junk["board_us"] = rng.integers(0, 10**14, 15)
    junk["number"] = rng.integers(-5, 10**7, 15)
    truth.files["pulses.bin"] = np.insert(pulses, bad, junk)
    bad = rng.choice(len(camera), 10, replace=False)
    camera["sensor_timestamp_us"][bad] = rng.integers(0, 10**13, 10)
    table, report = aligned(session, truth, tmp_path)
    count = compare(session, truth, table)
    assert (count.wrong_radar, count.unmatched) == (0, 0)
    assert count.wrong_camera <= 10  # the frames whose own stamp was spoilt are not matched
    assert report.mode == "board"


def test_pulses_at_the_wrong_rate(tmp_path):
    session = replace(SESSION, hz=9.1)
    truth = play(session)
    rig = {"trigger": {"hz": 10.0, "signature": True, "pulses": len(truth.pulse_s)}}
    table, report = aligned(session, truth, tmp_path, rig=rig)
    right(session, truth, table)
    assert report.verdict == "look"
    says(report, "9.1 Hz although 10 were asked for")


def test_a_radar_that_does_not_wait_for_pulses(tmp_path):
    session = replace(SESSION, board=False, hz=10.1)
    truth = play(session)
    truth.files["pulses.bin"] = play(SESSION).files["pulses.bin"]
    rig = {"trigger": {"hz": 10.0, "signature": True}}
    manifest = {"rig": rig, "waveform": read_recording(write(SESSION, play(SESSION), tmp_path / "a")).waveform}
    table, report = aligned(session, truth, tmp_path / "b", **manifest)
    right(session, truth, table)
    assert (report.mode, report.verdict) == ("host", "look")
    says(report, "do not keep to the pulses", "99.01 ms")


def test_a_board_that_reboots_begins_another_run(tmp_path):
    session = replace(SESSION, edges=True)
    truth = play(session)
    records = truth.files["pulses.bin"].copy()
    cut_s = truth.pulse_s[80]
    down = (records["received_ns"] > (cut_s - 0.5) * 1e9) & (records["received_ns"] < (cut_s + 0.02) * 1e9)
    after = records["received_ns"] >= (cut_s + 0.02) * 1e9
    zero_us = round((cut_s - 0.3) * 1e6)
    records["board_us"][after] -= zero_us
    pulses = after & (records["kind"] == KIND_PULSE)
    records["number"][pulses] -= 81
    records["run"][pulses] = 42
    edges = after & (records["kind"] == KIND_EDGE)
    records["number"][edges] -= records["number"][edges][0] if edges.any() else 0
    boot = np.zeros(2, PULSE_RECORD)
    boot["kind"], boot["run"], boot["received_ns"] = (
        KIND_BOOT,
        (7, 8),
        (truth.files["pulses.bin"]["received_ns"][0], round(cut_s * 1e9)),
    )
    kept = records[~down]
    at = int(np.flatnonzero(kept["received_ns"] > boot["received_ns"][1])[0])
    truth.files["pulses.bin"] = np.concatenate([boot[:1], kept[:at], boot[1:], kept[at:]])
    table, report = aligned(session, truth, tmp_path, rig={"trigger": {"hz": 10.0, "signature": False}})
    assert report.mode == "board"
    assert report.counts["board_restarts"] == 1
    says(report, "ran 2 times")
    sure = table[(table["status"] != "ambiguous") & (table["radar_frame"] >= 0)]
    number = sure["pulse"] + np.where(sure["run"] == 42, 81, 0)
    assert (truth.pulse_of_frame[sure["radar_frame"]] == number).all()
    assert len(sure) > 0.9 * len(truth.frame_s)
    assert (sure["run"] == 42).sum() > 90


def test_a_board_line_that_was_down_for_a_while_comes_back_as_the_same_start(tmp_path):
    truth = play(SESSION)
    records = truth.files["pulses.bin"]
    boot = np.zeros(2, PULSE_RECORD)
    boot["kind"], boot["run"] = KIND_BOOT, 7
    gone = (records["received_ns"] > truth.pulse_s[60] * 1e9) & (records["received_ns"] < truth.pulse_s[110] * 1e9)
    at = int(np.flatnonzero(gone)[0])
    boot["received_ns"] = records["received_ns"][0], round(truth.pulse_s[110] * 1e9)
    kept = records[~gone]
    truth.files["pulses.bin"] = np.concatenate([boot[:1], kept[:at], boot[1:], kept[at:]])
    table, report = aligned(SESSION, truth, tmp_path)
    right(SESSION, truth, table)
    assert report.counts["pulse_lines_lost"] >= 48
    assert set(table["run"]) == {41}


def test_a_camera_whose_clock_is_set_anew(tmp_path):
    truth = play(SESSION)
    records = truth.files["camera.bin"]
    later = records["received_ns"] > (truth.pulse_s[100]) * 1e9
    for name in ("sensor_timestamp_us", "frame_timestamp_us"):
        records[name][later] += 7_300_000
    table, report = aligned(SESSION, truth, tmp_path)
    right(SESSION, truth, table)
    assert report.verdict == "look"
    says(report, "set anew 1 times", "colour")


def test_a_camera_that_was_plugged_in_again(tmp_path):
    session = replace(SESSION, edges=True)
    truth = play(session)
    records = truth.files["camera.bin"]
    gone = (records["received_ns"] > truth.pulse_s[70] * 1e9) & (records["received_ns"] < truth.pulse_s[110] * 1e9)
    later = records["received_ns"] >= truth.pulse_s[110] * 1e9
    for stream in (STREAM_COLOR, STREAM_DEPTH):
        mine = records["stream"] == stream
        first = int(np.flatnonzero(mine & later)[0])
        records["flags"][first] |= FLAG_REOPENED
        records["frame_number"][mine & later] -= records["frame_number"][first]
        records["index"][mine & later] -= np.uint32((mine & gone).sum())
        stored = truth.color_s if stream == STREAM_COLOR else truth.depth_s
        kept = np.delete(stored, np.flatnonzero(gone[mine]))
        truth.__dict__["color_s" if stream == STREAM_COLOR else "depth_s"] = kept
    records["sensor_timestamp_us"][later] -= 4_900_000_000
    records["frame_timestamp_us"][later] -= 4_900_000_000
    truth.files["camera.bin"] = records[~gone]
    table, report = aligned(session, truth, tmp_path)
    right(session, truth, table)
    assert report.camera_edges
    says(report, "paused 1 times")
    says(report, "radar frames have no picture")


def test_a_camera_that_stops(tmp_path):
    session = replace(SESSION, camera_stops_s=3.2)
    truth = play(session)
    table, report = aligned(session, truth, tmp_path)
    right(session, truth, table)
    assert report.verdict == "look"
    says(report, "stop 3.", "before the radar's end")


def test_frozen_pictures_are_not_matched(tmp_path):
    truth = play(SESSION)
    records = truth.files["camera.bin"]
    frozen = (records["stream"] == STREAM_COLOR) & (records["index"] > 300)
    records["flags"][frozen] |= FLAG_FROZEN
    table, report = aligned(SESSION, truth, tmp_path)
    assert 295 < table["color_frame"].max() <= 300
    assert (table["status"] == "no-camera").sum() > 60
    says(report, "frozen")


def test_a_camera_without_a_clock_is_timed_by_arrival(tmp_path):
    truth = play(SESSION)
    records = truth.files["camera.bin"]
    records["domain"], records["timestamp_ms"], records["frame_number"] = DOMAIN_NONE, -1.0, -1
    records["sensor_timestamp_us"] = records["frame_timestamp_us"] = -1
    table, report = aligned(SESSION, truth, tmp_path)
    assert report.verdict == "look"
    says(report, "timed by their arrival")
    assert (table["status"] == "ok").sum() > 0.9 * len(truth.frame_s)


def test_a_host_that_slept_for_a_second_does_not_move_the_camera(tmp_path):
    truth = play(SESSION)
    records = truth.files["camera.bin"]
    begin, end = truth.pulse_s[100] * 1e9, truth.pulse_s[115] * 1e9
    asleep = (records["received_ns"] > begin) & (records["received_ns"] < end)
    records["received_ns"][asleep] = end
    table, report = aligned(SESSION, truth, tmp_path)
    right(SESSION, truth, table)
    assert report.verdict == "aligned"


@pytest.mark.parametrize("seed", range(4))
def test_any_bytes_at_all(seed, tmp_path):
    """Whatever lies in the files, there is a table and a verdict."""
    rng = np.random.default_rng(seed)
    session = with_seed(replace(HARD, seconds=10), seed)
    truth = play(session)
    for name in ("pulses.bin", "camera.bin"):
        records = truth.files[name]
        spoilt = rng.random(len(records)) < (0.1, 0.5, 1.0, 1.0)[seed]
        records[spoilt] = np.frombuffer(rng.bytes(int(spoilt.sum()) * records.itemsize), records.dtype)
    table, report = aligned(session, truth, tmp_path)
    assert report.verdict in ("aligned", "look", "ambiguous", "failed")
    assert (table["radar_frame"] >= 0).sum() == len(truth.frame_s)
    if report.mode == "board":
        count = compare(session, truth, table)
        assert count.wrong_radar == 0
