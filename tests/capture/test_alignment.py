"""Whole sessions through `align`, against the truth: see sync_sessions.py for what happens in them."""

from dataclasses import replace

import numpy as np
import pytest
from sync_sessions import ACTIVE_S, HARD, Count, Session, anything, compare, play, with_seed, write

from capture.alignment import align, alignment_of
from pipeline.errors import PipelineError
from pipeline.recording import read_recording
from pipeline.sealing import seal
from pipeline.sync import read_sync

EASY = Session()
ALONE = {
    "drift": {"board_ppm": 200.0, "camera_ppm": -200.0},
    "offset": {"board_offset_s": 30.0, "camera_offset_s": -30.0},
    "days": {"board_offset_s": 4e5, "camera_offset_s": 9e5},
    "lost lines": {"lose_lines": 0.05},
    "most lines lost": {"lose_lines": 0.6},
    "missed triggers": {"miss_triggers": 0.05},
    "many missed triggers": {"miss_triggers": 0.3},
    "dropped pictures": {"drop_camera": 0.05},
    "late camera": {"camera_late_s": 3.0},
    "first two triggers missed": {"miss_first": 2},
    "first seven triggers missed": {"miss_first": 7},
    "jitter": {"radar_jitter_s": 0.001, "camera_jitter_s": 0.01},
    "stalls": {"stalls": 0.03},
    "lost packets": {"lose_packets": 0.05, "lose_whole": 0.01},
    "no pings": {"pings": False},
    "no metadata": {"metadata": False},
}
ALL_TOGETHER = {
    "all": {},
    "without signature": {"signature": False},
    "without board": {"board": False},
    "20 Hz": {"hz": 20.0},
    "slow camera link": {"camera_latency_s": 0.022},
    "no pings": {"pings": False},
}


def run(session, folder):
    truth = play(session)
    table, report = alignment_of(write(session, truth, folder))
    return compare(session, truth, table), report, table, truth


def check(count: Count):
    assert (count.wrong_radar, count.wrong_camera, count.unmatched) == (0, 0, 0), count


@pytest.mark.parametrize("edges", [False, True], ids=["arrival", "edges"])
@pytest.mark.parametrize("name", ALONE)
def test_each_fault_alone(name, edges, tmp_path):
    session = with_seed(replace(EASY, edges=edges, **ALONE[name]), 1)
    count, report, _, _ = run(session, tmp_path)
    check(count)
    assert count.ambiguous <= 0.05 * count.rows
    assert report.mode == "board"
    assert report.camera_edges is edges
    assert report.verdict in ("aligned", "look"), report.reasons


@pytest.mark.parametrize("name", ALL_TOGETHER)
def test_all_faults_together(name, tmp_path):
    total = Count()
    for seed in range(8):
        session = with_seed(
            replace(HARD, edges=seed % 2 == 1, seconds=(10, 20, 40)[seed % 3], **ALL_TOGETHER[name]), seed
        )
        count, report, _, truth = run(session, tmp_path)
        check(count)
        if session.board and truth.pulse_of_frame[0] >= 0 and report.radar_pulse_offset is not None:
            assert report.radar_pulse_offset == truth.pulse_of_frame[0]
        total += count
    assert total.ambiguous < 0.03 * total.rows
    assert total.ok > 0.6 * total.rows


def test_ten_minutes_of_everything(tmp_path):
    session = with_seed(replace(HARD, seconds=600, edges=True), 5)
    count, report, table, truth = run(session, tmp_path)
    check(count)
    assert report.gap_signature
    assert count.ambiguous < 0.02 * count.rows
    assert report.clocks["board"].drift_ppm == pytest.approx(session.board_ppm, abs=2)
    assert report.clocks["color"].drift_ppm == pytest.approx(session.camera_ppm, abs=2)
    assert np.abs(table["radar_offset_s"].dropna()).median() < 3e-4
    # every loss is accounted for
    counts = report.counts
    assert counts["ok"] + counts["no_radar"] + counts["no_camera"] + counts["ambiguous"] == counts["rows"] == len(table)
    assert counts["radar_frames"] == len(truth.frame_s) == (table["radar_frame"] >= 0).sum()
    fired = int(truth.fired[: counts["pulses"] + 30].sum())
    assert counts["pulses"] == fired
    assert counts["color_dropped"] + counts["color_frames"] == pytest.approx(600 * 30 - 75, abs=20)


def test_what_the_columns_say(tmp_path):
    session = Session(seed=4, edges=True, miss_triggers=0.1, drop_camera=0.3)
    count, report, table, truth = run(session, tmp_path)
    check(count)
    assert table["time_ns"].is_monotonic_increasing
    known = table[table["pulse"] >= 0]
    assert np.abs(known["time_ns"] * 1e-9 - truth.pulse_s[known["pulse"]]).max() < 1e-3
    assert set(known["run"]) == {41}
    assert (table["status"] == "no-radar").sum() == truth.fired.sum() - len(truth.pulse_of_frame)
    seen = table[table["color_frame"] >= 0]
    told = seen["color_offset_s"].to_numpy()
    middle_s = truth.pulse_s[seen["pulse"]] + ACTIVE_S / 2
    assert np.abs(told - (truth.color_s[seen["color_frame"]] - middle_s)).max() < 1.5e-3
    assert report.middle_offset_s == pytest.approx(ACTIVE_S / 2)
    assert ((table["color_frame"] >= 0) | (table["color_offset_s"].isna())).all()


def test_without_edges_the_report_says_how_late_pictures_may_be(tmp_path):
    session = Session(seed=1, camera_latency_s=0.012)
    _, report, table, truth = run(session, tmp_path)
    seen = table[table["color_frame"] >= 0]
    late_s = seen["color_offset_s"] - (truth.color_s[seen["color_frame"]] - truth.pulse_s[seen["pulse"]] - ACTIVE_S / 2)
    assert late_s.median() == pytest.approx(0.012, abs=0.002)
    assert late_s.max() < report.clocks["color"].late_ms * 1e-3
    assert any("late" in reason and "sync-out" in reason for reason in report.reasons)


def test_align_writes_what_can_be_read_back_and_leaves_a_sealed_recording_alone(tmp_path):
    session = Session(seed=2)
    folder = write(session, play(session), tmp_path)
    report = align(folder)
    table, read = read_sync(folder)
    assert read == report
    assert report.verdict == "aligned"
    assert len(table) == report.counts["rows"]
    seal(folder)
    before = (folder / "sync.parquet").read_bytes()
    with pytest.raises(PipelineError, match="sealed"):
        align(folder)
    again, report_again = alignment_of(folder)
    assert report_again == report
    assert again.equals(table)
    assert (folder / "sync.parquet").read_bytes() == before


@pytest.mark.parametrize("drop_camera", [0.05, 0.6])
@pytest.mark.parametrize("speed", [0.5, 4.0])
def test_a_simulated_rig_whose_clock_runs_at_another_speed_than_the_walls(speed, drop_camera, tmp_path):
    session = with_seed(replace(HARD, edges=True, seconds=20, drop_camera=drop_camera), 3)
    truth = play(session)
    begin_ns = 5_000_000_000_000

    def scaled(times_ns):
        return np.where(times_ns > 0, begin_ns + ((times_ns - begin_ns) / speed).astype(np.int64), times_ns)

    for name, columns in (
        ("packets.bin", ("monotonic_ns",)),
        ("pulses.bin", ("sent_ns", "received_ns")),
        ("camera.bin", ("received_ns",)),
    ):
        for column in columns:
            truth.files[name][column] = scaled(truth.files[name][column])
    folder = write(session, truth, tmp_path)
    manifest = read_recording(folder).manifest
    settings = {"kind": "simulated", "simulator": {"speed": speed}}
    manifest = manifest.model_copy(update={"rig": {**manifest.rig, "settings": settings}})
    (folder / "recording.json").write_text(manifest.model_dump_json())
    table, report = alignment_of(folder)
    assert report.mode == "board"
    assert report.camera_edges
    assert not any("crystal" in reason or "faster than" in reason or "set anew" in reason for reason in report.reasons)
    sure = table[(table["status"] != "ambiguous") & (table["radar_frame"] >= 0)]
    assert (truth.pulse_of_frame[sure["radar_frame"]] == sure["pulse"]).all()
    seen = sure[sure["color_frame"] >= 0]
    off_s = truth.color_s[seen["color_frame"]] - truth.pulse_s[seen["pulse"]] - ACTIVE_S / 2
    assert np.abs(off_s / speed - seen["color_offset_s"]).max() < 1e-3
    nearest_s = np.abs(truth.color_s - (truth.pulse_s[sure["pulse"]] + ACTIVE_S / 2)[:, None]).min(1)
    assert len(seen) >= (nearest_s < 0.5 / 30).sum() > (130 if drop_camera < 0.1 else 50)


@pytest.mark.slow
def test_hundreds_of_sessions_of_any_kind(tmp_path):
    total = Count()
    for seed in range(2000, 2300):
        session = anything(seed)
        count, _, _, _ = run(replace(session, busy_s=min(session.busy_s, 0.005)), tmp_path)
        check(count)
        total += count
    assert total.ambiguous < 0.04 * total.rows


@pytest.mark.parametrize("busy_s", [0.005, 0.02, 0.1])
def test_a_machine_too_busy_to_time_frames_leaves_them_open_rather_than_wrong(busy_s, tmp_path):
    total = Count()
    for seed in range(4):
        session = with_seed(replace(HARD, edges=True, busy_s=busy_s, skip_exposures=0.3), seed)
        count, report, _, _ = run(session, tmp_path / str(seed))
        check(count)
        assert report.mode == "board"
        assert report.camera_edges
        total += count
        assert any("too busy" in reason for reason in report.reasons) is (busy_s > 0.005)
    assert total.ambiguous > 0.9 * total.rows if busy_s == 0.1 else total.ok > 0.3 * total.rows
