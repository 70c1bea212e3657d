"""Whole sessions on the simulated rig, radar with trigger board and camera: matched to the frame, whatever goes wrong."""

import os
import re
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from capture.finishing import finish
from capture.firmware.schedule import left_out
from capture.rig import SIMULATED_CLOCKS
from capture.script import parse_script
from capture.session import CaptureRequest, launch
from capture.simulator.clock import DeviceClock
from capture.simulator.faults import FaultPlan
from capture.simulator.rig import reaches_radar
from pipeline.camera_frames import STREAM_COLOR, STREAM_DEPTH, read_camera_records
from pipeline.camera_reader import ColorReader, depth_records
from pipeline.cfg_text import write_cfg
from pipeline.errors import PipelineError
from pipeline.pulses import KIND_PULSE, read_pulses
from pipeline.recording import open_recording
from pipeline.sealing import recover, remove_pictures, verify
from pipeline.settings import RigSettings
from pipeline.sync import read_sync
from pipeline.waveform import PRESETS

SMALL = PRESETS["light"].model_copy(
    update={
        "name": "small.cfg",
        "samples": 64,
        "idle_time_us": 100.0,
        "ramp_end_time_us": 40.0,
        "sample_rate_ksps": 2000,
    }
)
SPEED = 0.5
"""Of the simulated rig where times are judged: this machine may have other work, and lateness is not what is tested."""
BAD_CLOCKS = {"board": {"offset_s": 30.0, "drift_ppm": 200.0}, "camera": {"offset_s": -30.0, "drift_ppm": -200.0}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "small.cfg").write_text(write_cfg(SMALL))
    return tmp_path


def _rig(**changes: object) -> RigSettings:
    simulator = {name: changes.pop(name) for name in ("faults", "clocks", "speed") if name in changes}
    fields = {"waveform": "small.cfg", "reserve_bytes": 1_000_000, "simulator": {"firmware": "mmwDemo", **simulator}}
    # 15 pictures a second: each moment has one near it, and a slow machine draws them all.
    camera = {"width": 320, "height": 240, "rate_hz": 15, **dict(changes.pop("camera", {}))}  # type: ignore[arg-type]
    return RigSettings.model_validate(fields | {"camera": camera} | changes)


def test_a_session_with_everything_wrong_is_aligned_to_the_frame_and_every_loss_accounted_for(root):
    faults = {
        "seed": 4,
        "trigger_lose_lines": 0.05,
        "trigger_garbage": 0.05,
        "radar_miss": 0.05,
        "radar_miss_pulses": [0, 1],
        "camera_drop": 0.05,
        "camera_late_s": 3.0,
        "loss": 0.01,
    }
    script = parse_script("arm-raise 2 2, stepping 2.5 2")
    handle = launch(
        root, CaptureRequest(participant="p01", script=script), _rig(faults=faults, clocks=BAD_CLOCKS, speed=SPEED)
    )
    end = handle.wait(240)
    assert (end.state, end.status) == ("done", "success"), end.message
    recording = open_recording(root, handle.recording_id)
    assert verify(recording).ok
    folder, manifest = recording.folder, recording.manifest
    hz, pulses = manifest.rig["trigger"]["hz"], manifest.rig["trigger"]["pulses"]
    assert (hz, recording.frame_period_s) == (10.0, 0.1)
    assert recording.waveform.trigger == "hardware"
    assert recording.waveform.period_ms < 100

    # Radar: frame i was started by the i-th pulse that was sent and arrived.
    plan = FaultPlan.model_validate(faults)
    sent = [k for k in range(pulses) if not left_out(k, 10_000)]
    started_by = [k for k in sent if reaches_radar(plan, k)]
    assert recording.frame_count == len(started_by) < len(sent)
    table, report = read_sync(folder)
    assert report.mode == "board", report.reasons
    assert report.gap_signature
    paired = table[(table["radar_frame"] >= 0) & (table["status"] != "ambiguous")]
    assert len(paired) > 0.9 * len(started_by)
    wrong = [(k, i) for k, i in zip(paired["pulse"], paired["radar_frame"], strict=True) if started_by[i] != k]
    assert wrong == []

    # Camera: the picture chosen is the stored one that was truly taken nearest to the middle of the radar's frame.
    board, camera = (DeviceClock(**BAD_CLOCKS[name]) for name in ("board", "camera"))
    lines = read_pulses(folder)
    board_us = {int(one["number"]): int(one["board_us"]) for one in lines[lines["kind"] == KIND_PULSE]}
    lost_lines = [k for k in sent if k not in board_us]
    assert manifest.counters["trigger_pulses_missing"] == len(lost_lines) > 0
    assert manifest.counters["trigger_rejected_lines"] > 0
    records = read_camera_records(folder)
    judged = ~table["status"].isin(["no-radar", "ambiguous"])  # radar frames, with or without a picture
    middle_s = 0.5 * recording.waveform.chirp_period_s * recording.waveform.chirps_per_frame
    for name, stream in (("color", STREAM_COLOR), ("depth", STREAM_DEPTH)):
        taken = records[records["stream"] == stream]
        true_s = np.array([camera.true_s(float(stamp) / 1e6) for stamp in taken["sensor_timestamp_us"]])
        rows = table[(table[f"{name}_frame"] >= 0) & table["pulse"].isin(list(board_us))]
        assert len(rows) > 40
        for pulse, chosen in zip(rows["pulse"], rows[f"{name}_frame"], strict=True):
            off_s = np.abs(true_s - (board.true_s(board_us[pulse] / 1e6) + middle_s))
            assert off_s[chosen] <= off_s.min() + 2e-3  # half way between two pictures either is right
        # The camera was late: what was before its first picture has none. (On a slow machine the pulses began later still.)
        seen = table[judged & table["pulse"].isin(list(board_us))]
        at_s = np.array([board.true_s(board_us[pulse] / 1e6) + middle_s for pulse in seen["pulse"]])
        assert (seen[f"{name}_frame"][at_s < true_s[0] - 0.1] < 0).all()
        dropped = taken["frame_number"][-1] - taken["frame_number"][0] + 1 - len(taken)
        assert manifest.counters[f"camera_{name}_gaps"] == dropped > 0
    assert (table["status"] == "ok").sum() > 40
    assert manifest.counters["missing_bytes"] == int(recording.frame_missing_bytes().sum()) > 0

    # Segments lie where the script put them, in frames.
    assert [segment.action for segment in manifest.segments] == ["arm-raise", "stepping"]
    since_s = SPEED * (recording.frame_time_ns() - recording.frame_time_ns()[0]) / 1e9
    starts_s = [since_s[segment.start_frame] for segment in manifest.segments]
    assert starts_s == pytest.approx([2.0, 6.0], abs=0.35)  # frames are missing where pulses were

    # Pictures: there, readable, and gone for good once privacy says so.
    assert manifest.camera is not None
    assert manifest.camera.simulated
    with ColorReader(folder) as color:
        assert len(color) == (records["stream"] == STREAM_COLOR).sum()
        assert color[3].std() > 5
    assert len(depth_records(folder)) == (records["stream"] == STREAM_DEPTH).sum()
    removed = remove_pictures(recording, "Deleted for this test.")
    assert not (folder / "color.mkv").exists()
    assert set(removed.manifest.removed) == {"color.mkv", "depth.bin"}
    assert "Deleted for this test." in removed.manifest.notes
    assert verify(removed).ok
    assert removed.raw_digest == recording.raw_digest
    with pytest.raises(PipelineError, match="deleted on purpose"):
        ColorReader(folder)


def test_without_camera_and_with_a_silent_board_the_radar_is_recorded_and_both_are_said(root):
    faults = {"camera_absent": True, "trigger_silent": True}
    handle = launch(root, CaptureRequest(seconds=1), _rig(faults=faults))
    end = handle.wait(240)
    assert (end.state, end.status) == ("done", "success"), end.message
    manifest = open_recording(root, handle.recording_id).manifest
    assert manifest.waveform.trigger == "software"
    assert manifest.camera is None
    assert any("No RealSense camera is attached" in note and "without pictures" in note for note in manifest.notes)
    assert any("trigger board" in note and "runs by its own clock" in note for note in manifest.notes)
    assert not (root / "recordings" / handle.recording_id / "sync.parquet").exists()


def test_a_killed_recorder_leaves_a_session_that_recovers_with_its_alignment(root):
    handle = launch(root, CaptureRequest(seconds=60), _rig(speed=SPEED))
    deadline = time.monotonic() + 240
    while handle.progress().color_frames < 45 or handle.progress().frames < 20:
        assert time.monotonic() < deadline, handle.progress()
        time.sleep(0.1)
    os.kill(int((root / "sessions" / handle.recording_id / "pid").read_text()), signal.SIGKILL)
    while not handle.progress().ended:
        time.sleep(0.1)
    folder = root / "recordings" / handle.recording_id
    size = -1
    while size != (size := (folder / "camera.bin").stat().st_size):
        time.sleep(1.0)  # the camera's own process ends when its parent is gone
    recovered = recover(folder, finish=partial(finish, acts=()))
    assert recovered.manifest.status == "recovered"
    assert verify(recovered).ok
    table, report = read_sync(folder)
    assert report.mode == "board"
    assert (table["status"] == "ok").sum() >= 10
    assert recovered.manifest.camera is not None


@pytest.mark.parametrize(
    ("faults", "sentences"),
    [
        pytest.param(
            {"camera_unplug_s": 3, "trigger_reboot_s": 1.5},
            (
                r"The camera sent nothing for \d+ s",
                "The trigger board restarted while it was recorded",
                "The board ran 2 times",
            ),
            id="camera unplugged, board restarts",
        ),
        pytest.param(
            {"camera_freeze_s": 7, "trigger_rate": 1.1, "trigger_garbage": 0.1},
            (
                r"\d+ colour frames are bit for bit the one before",
                "pulsed at 11.000 Hz .* 10 Hz were asked for",
                r"\d+ lines of the trigger board were garbled",
            ),
            id="picture frozen, pulses at the wrong rate, garbage",
        ),
        pytest.param(
            {"camera_no_depth": True, "camera_no_metadata": True, "camera_usb2": True},
            ("sent no depth, though it has it",),
            id="no depth, no metadata, USB 2",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_goes_wrong_mid_session_is_said_and_the_rest_is_kept(root, faults, sentences):
    speed = SPEED if "trigger_rate" in faults else 1.0  # where half of the pulses are missed, each picture counts
    handle = launch(root, CaptureRequest(seconds=8), _rig(faults=faults, speed=speed))
    end = handle.wait(240)
    assert (end.state, end.status) == ("done", "success"), end.message
    assert end.warnings or "trigger_rate" in faults
    recording = open_recording(root, handle.recording_id)
    assert verify(recording).ok
    assert recording.frame_count > 20
    said = " ".join(recording.manifest.notes)
    for sentence in sentences:
        assert re.search(sentence, said), said
    if "camera_unplug_s" not in faults:  # how long the camera runs before the radar starts depends on this machine
        assert (read_sync(recording.folder)[0]["status"] == "ok").any()
    with ColorReader(recording.folder) as color:
        assert len(color) > 0
    assert recording.manifest.camera is not None
    assert bool(recording.manifest.camera.degraded) == ("camera_usb2" in faults)


def test_clocks_of_a_simulated_rig_disagree_unless_its_settings_say_otherwise():
    assert len({(clock.offset_s, clock.drift_ppm) for clock in SIMULATED_CLOCKS.values()}) == len(SIMULATED_CLOCKS)
