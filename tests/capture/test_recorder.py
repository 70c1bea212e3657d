"""The recorder against the simulated rig over its real wires: every way a session can go.

A process of its own where it is stopped, killed or left alone; where only what it says and leaves counts, its `main` runs here.
"""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from capture import recorder
from capture.preflight import examine
from capture.rig import rig_lock
from capture.session import CaptureRequest, RecorderHandle, SessionOrder, attach, launch, session_folder
from pipeline.cfg_text import write_cfg
from pipeline.errors import PipelineError
from pipeline.recording import new_recording_id, open_recording
from pipeline.sealing import recover, verify
from pipeline.settings import RigSettings, read_rig
from pipeline.waveform import PRESETS

SMALL = PRESETS["light"].model_copy(
    update={
        "name": "small.cfg",
        "loops": 16,
        "samples": 64,
        "ramp_end_time_us": 40.0,
        "sample_rate_ksps": 2000,
        "period_ms": 50.0,
    }
)
assert SMALL.frame_bytes % 1456  # frames end inside packets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "small.cfg").write_text(write_cfg(SMALL))
    return tmp_path


def _rig(**changes: object) -> RigSettings:
    faults = changes.pop("faults", {})
    simulator = {"faults": faults, "firmware": changes.pop("firmware", "mmwDemo")}
    alone = {"camera": {"source": "none"}, "trigger": {"port": "none"}}  # test_session has them
    fields = {"waveform": "small.cfg", "reserve_bytes": 1_000_000, "simulator": simulator, **alone, **changes}
    return RigSettings.model_validate(fields)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Those that the recorder's `main` takes over are given back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _run(root: Path, request: CaptureRequest | None = None, **rig: object):
    """A session by the recorder's `main` in this process: its handle, and its last word."""
    request = request or CaptureRequest(seconds=1)
    order = SessionOrder(recording_id=new_recording_id(""), request=request, rig=_rig(**rig))
    folder = session_folder(root, order.recording_id)
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(order.model_dump_json())
    code = recorder.main([str(root), order.recording_id])
    end = attach(root, order.recording_id).progress()
    assert (code, end.state) in ((0, "done"), (1, "failed"))
    return attach(root, order.recording_id), end


def test_a_session_is_sealed_whole_and_says_simulated(root):
    request = CaptureRequest(participant="P01", action="arm raise", seconds=1, room="lab")
    handle = launch(root, request, _rig())
    end = handle.wait(120)
    assert (end.state, end.status) == ("done", "success"), end.message
    recording = open_recording(root, handle.recording_id)
    assert verify(recording).ok
    manifest = recording.manifest
    assert manifest.simulated
    assert manifest.rig["kind"] == "simulated"
    assert (manifest.participant, manifest.room, manifest.segments[0].action) == ("P01", "lab", "arm raise")
    assert "p01-arm-raise" in recording.id
    assert recording.frame_count >= 20
    assert recording.missing_ranges().shape == (0, 2)
    assert (recording.folder / "radar.cfg").read_text() == write_cfg(SMALL)
    assert manifest.counters["packets"] == len(recording.packets)
    assert manifest.counters["kernel_drops"] == 0
    # The tail the card held for two seconds is there: nothing of the last frame is cut off.
    assert recording.trailing_bytes == 0
    times_s = recording.frame_time_ns() / 1e9
    assert np.median(np.diff(times_s)) == pytest.approx(0.05, abs=0.005)
    assert np.abs(recording.frame_words(3)).max() > 50
    assert (root / "catalogue.parquet").exists()
    assert attach(root, handle.recording_id).progress().ended


def test_losses_are_counted_to_the_byte_and_the_session_goes_on(root):
    faults = {"lose_packets": [1, 40, 41], "duplicate": 0.02, "reorder": 0.05, "seed": 3}
    handle, end = _run(root, faults=faults)
    assert end.status == "success", end.message
    recording = open_recording(root, handle.recording_id)
    assert recording.missing_ranges().tolist() == [[0, 1456], [39 * 1456, 41 * 1456]]
    assert verify(recording).missing_bytes == 3 * 1456 == end.missing_bytes
    assert not recording.loop_valid(0)[0]
    assert recording.manifest.counters["duplicates"] > 0
    assert recording.manifest.counters["reordered"] > 0


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ({"no_lvds": True}, "lvdsStreamCfg"),
        ({"fail_commands": ["CONFIG_FPGA_GEN"]}, "answered CONFIG_FPGA_GEN with failure"),
        ({"radar_fail": ["profileCfg"]}, "profileCfg"),
        ({"silent_after_s": 0.3}, "fell silent"),
    ],
)
def test_what_fails_after_arming_is_sealed_as_an_abort(root, faults, says):
    patience_s = 2 if "no_lvds" in faults else 30
    handle, end = _run(
        root, CaptureRequest(seconds=2), faults=faults, first_packet_timeout_s=patience_s, silence_timeout_s=1
    )
    assert end.state == "failed"
    assert says in end.message
    recording = open_recording(root, handle.recording_id)
    assert recording.manifest.status == "abort"
    assert says in recording.manifest.reason
    assert (recording.frame_count > 0) == (says == "fell silent")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"faults": {"card_dead": True}}, "card"),
        ({"faults": {"radar_silent": True}}, "radar"),
        ({"reserve_bytes": 10**17}, "disk"),
        ({"waveform": "absent.cfg"}, "no waveform 'absent.cfg'"),
        ({"waveform": "paper"}, "demo firmware"),
        ({"faults": {"losss": 1}}, "losss"),
    ],
)
def test_what_fails_before_leaves_no_recording(root, changes, says):
    handle, end = _run(root, **changes)
    assert end.state == "failed"
    assert says in end.message
    assert "\n" not in end.message
    assert not handle.folder.exists()


def test_stopping_early_seals_what_came(root):
    handle = launch(root, CaptureRequest(seconds=300), _rig())
    _until_recording(handle, frames=5)
    handle.request_stop()
    end = handle.wait(120)
    assert (end.state, end.status) == ("done", "abort")
    recording = open_recording(root, handle.recording_id)
    assert recording.manifest.reason.startswith("Stopped by request after")
    assert recording.frame_count >= 5
    assert verify(recording).ok


def test_a_killed_recorder_leaves_a_recording_that_recovers(root):
    handle = launch(root, CaptureRequest(seconds=300), _rig())
    _until_recording(handle, frames=40)
    pid = int((root / "sessions" / handle.recording_id / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    end = handle.wait(60)
    assert end.state == "failed"
    assert f"maepose recover {handle.recording_id}" in end.message
    assert open_recording(root, handle.recording_id).manifest.status == "recording"
    recording = recover(handle.folder)
    assert recording.manifest.status == "recovered"
    assert recording.frame_count >= 10  # what is younger than the reorder window is still in memory
    assert verify(recording).ok
    _, again = _run(root, CaptureRequest(seconds=0.5))  # the dead one holds neither the rig nor a port
    assert again.status == "success"


def test_two_captures_at_once(root):
    first = launch(root, CaptureRequest(seconds=300), _rig())
    _until_recording(first, frames=1)
    _, end = _run(root)
    assert end.state == "failed"
    assert "Another capture is using this rig" in end.message
    first.request_stop()
    assert first.wait(120).state == "done"


def test_a_rigs_lock_that_cannot_be_opened_is_said_with_what_to_do(root, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(root))
    hardware = _rig(kind="hardware", card_ip="192.0.2.8")
    with rig_lock(root, hardware):
        assert (root / "maepose-rig-192.0.2.8.lock").stat().st_mode & 0o444 == 0o444
        with pytest.raises(PipelineError, match="Another capture is using this rig"), rig_lock(root, hardware):
            pass
    (root / "maepose-rig-192.0.2.9.lock").mkdir()
    words = r"maepose-rig-192.0.2.9.lock cannot be opened: Is a directory; while nothing is recorded, remove that file"
    with pytest.raises(PipelineError, match=words), rig_lock(root, _rig(kind="hardware", card_ip="192.0.2.9")):
        pass


def test_a_data_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match="cannot be written"):
        launch(tmp_path / "file", CaptureRequest())


def test_doctor(root):
    checks = {check.name: check for check in examine(root, _rig())}
    assert [check for check in checks.values() if not check.passed] == []
    assert "mmWave demo" in checks["radar"].detail
    assert "2.8" in checks["card"].detail
    sick = {check.name: check for check in examine(root, _rig(faults={"card_dead": True}, waveform="light"))}
    assert sick["card"].passed is False
    assert sick["radar"].passed
    assert read_rig(root).simulated


def test_doctor_asks_card_and_radar_each_for_itself(root):
    unplugged = _rig(kind="hardware", radar_port=str(root / "no-such-tty"), host_ip="192.0.2.7", card_ip="192.0.2.8")
    bad = {check.name: check.detail for check in examine(root, unplugged) if check.passed is False}
    assert "no address 192.0.2.7" in bad["card"]
    assert "is not there; plug the radar in" in bad["radar"]


def _until_recording(handle: RecorderHandle, frames: int) -> None:
    deadline = time.monotonic() + 120
    while (progress := handle.progress()).frames < frames:
        assert not progress.ended, progress.message
        assert time.monotonic() < deadline, progress
        time.sleep(0.05)
