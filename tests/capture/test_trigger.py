"""Trigger client, recorder and simulated board over a real pseudo-terminal, with everything that goes wrong on such a line."""

import os
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from serial.tools.list_ports_common import ListPortInfo

from capture.board_clock import fit_board_clock
from capture.firmware.schedule import left_out
from capture.simulator.clock import DeviceClock, RigClock
from capture.simulator.faults import FaultPlan
from capture.simulator.trigger import SimulatedTriggerBoard
from capture.trigger import TriggerClient, find_trigger_port
from capture.trigger_lines import TriggerOrder, parse_line
from capture.trigger_recorder import TriggerRecorder
from pipeline.errors import PipelineError
from pipeline.pulses import KIND_BOOT, KIND_EDGE, KIND_PING, KIND_PULSE, PULSE_RECORD, read_pulses
from pipeline.settings import TriggerSettings

SETTINGS = TriggerSettings(radar_us=3, camera_us=200, camera_delay_us=1500)


def simulated(*, speed: float = 1.0, clock: DeviceClock | None = None, **faults: object) -> SimulatedTriggerBoard:
    pulses: list[tuple[int, float]] = []
    camera: list[tuple[int, float]] = []
    board = SimulatedTriggerBoard(
        RigClock(speed),
        threading.Condition(),
        faults=FaultPlan.model_validate(faults),
        device_clock=clock,
        on_radar_pulse=lambda number, true_s: pulses.append((number, true_s)),
        on_camera_pulse=lambda number, true_s: camera.append((number, true_s)),
    )
    board.radar_pulses, board.camera_pulses = pulses, camera  # type: ignore[attr-defined]
    return board


def wait_for(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def state(client: TriggerClient) -> str:
    return client.status().state


# --- the client ------------------------------------------------------------------------------------------------------
def test_a_run_from_start_to_end():
    with simulated(speed=20) as board, TriggerClient(board.port) as client:
        assert client.identity is not None
        assert client.identity.firmware == "maepose-trigger/1"
        client.configure(SETTINGS)
        client.start(hz=10, pulses=40, run=5)
        with pytest.raises(PipelineError, match="it is pulsing; stop it first"):
            client.configure(SETTINGS)
        with pytest.raises(PipelineError, match="it is pulsing; stop it first"):
            client.start(hz=10, pulses=41, run=6)
        wait_for(lambda: state(client) == "done")
        status = client.status()
        assert (status.run, status.sent, status.late) == (5, 38, 0)
        with pytest.raises(PipelineError, match="just had a run of that number"):
            client.start(hz=10, pulses=7, run=5)
        client.start(hz=10, pulses=1000, run=6, signature=False)
        wait_for(lambda: client.status().sent > 10)
        client.stop()
        client.stop()
        stopped = client.status()
        assert stopped.state == "stopped"
    numbers = [number for number, _ in board.radar_pulses]
    assert numbers[:38] == [k for k in range(40) if not left_out(k, 10_000)]
    assert numbers[38:] == list(range(stopped.sent))
    times = dict(board.radar_pulses[:38])
    for number, true_s in board.camera_pulses[:38]:
        assert true_s - times[number] == pytest.approx(1500e-6, abs=1e-6)
        assert times[number] - times[0] == pytest.approx(number * 0.1, abs=2e-6)


def test_what_the_board_would_refuse_is_a_sentence():
    with simulated() as board, TriggerClient(board.port) as client:
        with pytest.raises(PipelineError, match="cannot pulse at 1000 Hz"):
            client.start(hz=1000, pulses=1, run=1)
        with pytest.raises(PipelineError, match=r"cannot pulse at 9\.99999 Hz"):
            client.start(hz=9.99999, pulses=1, run=1)
        with pytest.raises(PipelineError, match="0 as run 1"):
            client.start(hz=10, pulses=0, run=1)
        client.configure(TriggerSettings(camera_delay_us=99_900))
        with pytest.raises(PipelineError, match="camera's pulse does not fit into a period"):
            client.start(hz=10, pulses=5, run=1)


def test_orders_and_lines():
    assert TriggerOrder(29.97, 600, 1, True).line == "START hz=29.97 n=600 run=1 sig=1"
    assert TriggerOrder(10, 600, 2**32 - 1, False).line == "START hz=10 n=600 run=4294967295 sig=0"
    for text in ("", "P 1 2", "P 1 2 x", "HELLO", "OK", "S 1 2 3"):
        assert parse_line(text) is None


def test_noise_on_the_line_delays_commands_and_changes_none():
    with simulated(speed=20, trigger_garbage=0.5, seed=4) as board, TriggerClient(board.port) as client:
        client.configure(SETTINGS)
        client.start(hz=20, pulses=60, run=1)
        wait_for(lambda: state(client) == "done")
        readings = [client.ping() for _ in range(10)]
        assert client.status().sent == 58
        assert board.garbage > 20
        assert client.rejected > 0.8 * board.garbage  # the newest are still on their way
    assert [reading.nonce for reading in readings] == list(range(1, 11))
    assert all(reading.sent_ns < reading.received_ns for reading in readings)


def test_a_garbled_command_is_said_again():
    master, slave = os.openpty()
    tty.setraw(slave)
    heard: list[bytes] = []

    def answer() -> None:
        from capture.firmware.lines import frame

        replies = [
            frame("BOOT 7 maepose-trigger/1") + frame("OK ID?"),
            frame("ERR crc"),
            frame("OK CFG"),
        ]
        held = b""
        while replies:
            held += os.read(master, 1000)
            *lines, held = held.split(b"\n")
            for line in filter(None, lines):
                heard.append(line)
                os.write(master, replies.pop(0))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    with TriggerClient(os.ttyname(slave), timeout_s=20) as client:
        client.configure(SETTINGS)
    thread.join()
    assert heard[1] == heard[2] == b"CFG radar_us=3 cam_us=200 cam_delay_us=1500*" + heard[1][-4:]
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (b"", "says nothing: check its USB cable"),
        (b"mmwDemo:/>\n", "Something else than the trigger firmware answers .*mmwDemo"),
        (b"\r\nMicroPython v1.27\r\n>>> ", "stands at its MicroPython prompt"),
    ],
)
def test_a_port_that_is_not_the_boards_is_told(said, sentence):
    master, slave = os.openpty()
    tty.setraw(slave)
    closed = threading.Event()

    def talk() -> None:
        while not closed.is_set():
            os.read(master, 1000)
            os.write(master, said or b"")

    threading.Thread(target=talk, daemon=True).start()
    with pytest.raises(PipelineError, match=sentence):
        TriggerClient(os.ttyname(slave), timeout_s=0.3).connect()
    closed.set()
    os.write(slave, b"x")


def test_a_board_of_another_firmware_version_is_told(monkeypatch):
    with simulated() as board:
        monkeypatch.setattr("capture.trigger.FIRMWARE", "maepose-trigger/2")
        with pytest.raises(PipelineError, match=r"runs maepose-trigger/1, this program needs maepose-trigger/2"):
            TriggerClient(board.port).connect()


def test_a_silent_board_and_an_absent_port_are_told(tmp_path):
    with simulated(trigger_silent=True) as board, pytest.raises(PipelineError, match="says nothing"):
        TriggerClient(board.port, timeout_s=0.2).connect()
    with pytest.raises(PipelineError, match="is not there; plug the trigger board in, or name its port"):
        TriggerClient(str(tmp_path / "ttyACM0")).connect()


def usb_port(device: str, product: int = 0x0005) -> ListPortInfo:
    info = ListPortInfo(device)
    info.vid, info.pid = 0x2E8A, product
    return info


def test_the_port_is_found_by_its_id_and_its_answer():
    with simulated() as board, simulated() as other, simulated(trigger_silent=True) as silent:
        ports = [usb_port(silent.port), usb_port(board.port), usb_port(other.port, 0x000A)]
        assert find_trigger_port(ports) == board.port
        with pytest.raises(PipelineError, match="No trigger firmware answers on"):
            find_trigger_port([usb_port(silent.port)])
        with pytest.raises(PipelineError, match="Several trigger boards are connected"):
            find_trigger_port([usb_port(board.port), usb_port(other.port)])
    with pytest.raises(PipelineError, match="No trigger board is connected"):
        find_trigger_port([ListPortInfo("/dev/ttyS0")])


# --- the recorder ----------------------------------------------------------------------------------------------------
def test_what_was_recorded_maps_to_the_times_at_which_it_happened(tmp_path):
    clock = DeviceClock(offset_s=30.0, drift_ppm=200.0)
    with simulated(clock=clock) as board, TriggerClient(board.port) as client:
        client.configure(SETTINGS)
        with TriggerRecorder(client, tmp_path, ping_every_s=0.1) as recorder:
            client.start(hz=50, pulses=75, run=3)
            edges = []
            while state(client) != "done":
                edges.append(board.clock.now_s())
                board.edge(edges[-1])
                time.sleep(0.03)
            assert recorder.alive
    counters, notes = recorder.counters(), recorder.notes()
    assert notes == []
    assert counters["pings"] >= 20
    assert {name: counters[name] for name in ("pulses", "edges", "rejected_lines", "pulses_missing")} == {
        "pulses": 73,
        "edges": len(edges),
        "rejected_lines": 0,
        "pulses_missing": 0,
    }
    records = read_pulses(tmp_path)
    assert records is not None
    assert records["kind"][0] == KIND_BOOT
    found = fit_board_clock(records)
    assert len(found.lines) == 1
    host_s = found.host_s(records)
    origin_s = board.clock.origin_monotonic_s
    pulses = records["kind"] == KIND_PULSE
    assert records["number"][pulses].tolist() == [number for number, _ in board.radar_pulses]
    assert set(records["run"][pulses]) == {3}
    truth = np.array([true_s for _, true_s in board.radar_pulses]) + origin_s
    # Within half of the quickest round trip, which even a loaded machine has in milliseconds.
    pings = records[records["kind"] == KIND_PING]
    trip_s = float((pings["received_ns"] - pings["sent_ns"]).min()) / 1e9
    assert np.abs(host_s[pulses] - truth).max() < trip_s / 2 + 2e-3
    assert np.abs(host_s[records["kind"] == KIND_EDGE] - np.array(edges) - origin_s).max() < trip_s / 2 + 2e-3
    assert np.isnan(host_s[0])
    assert (records["received_ns"][pulses] / 1e9 > truth).all()


def test_lost_and_garbled_lines_are_counted_and_nothing_is_renumbered(tmp_path):
    with (
        simulated(speed=20, trigger_garbage=0.2, trigger_lose_lines=0.1, seed=2) as board,
        TriggerClient(board.port) as client,
        TriggerRecorder(client, tmp_path, ping_every_s=0.05) as recorder,
    ):
        client.start(hz=50, pulses=500, run=1)
        wait_for(lambda: state(client) == "done")
    records = read_pulses(tmp_path)
    assert records is not None
    pulses = records[records["kind"] == KIND_PULSE]
    kept = [int(number) for number in pulses["number"]]
    said = {int(line.split()[2]): int(line.split()[3]) for line in board.sent_lines}
    assert board.lost > 20
    assert len(kept) == len(said) - board.lost
    assert kept == sorted(set(kept))
    assert all(said[number] == at_us for number, at_us in zip(kept, pulses["board_us"], strict=True))
    counters = recorder.counters()
    assert counters["pulses_missing"] == board.lost
    assert board.garbage > 20
    assert counters["rejected_lines"] > 0.8 * board.garbage  # it went on after the recorder had left
    words = " ".join(recorder.notes())
    assert f"lines of {board.lost} trigger pulses never came" in words
    assert "were garbled and rejected" in words


@pytest.mark.parametrize("resume", [False, True])
def test_a_board_that_restarts_is_marked_and_goes_on_only_if_asked(tmp_path, resume):
    with (
        simulated(trigger_reboot_s=0.4) as board,
        TriggerClient(board.port) as client,
        TriggerRecorder(client, tmp_path, ping_every_s=0.1, resume=resume) as recorder,
    ):
        client.configure(SETTINGS)
        client.start(hz=50, pulses=60, run=8)
        wait_for(lambda: recorder.counters()["restarts"])
        wait_for(lambda: state(client) == ("done" if resume else "idle"))
        wait_for(lambda: recorder.counters()["pings"] > 12)
    records = read_pulses(tmp_path)
    assert records is not None
    boots = records["run"][records["kind"] == KIND_BOOT]
    assert len(set(boots)) == len(boots) == 2
    pulses = records[records["kind"] == KIND_PULSE]
    assert set(pulses["run"]) == ({8, 9} if resume else {8})
    first = pulses[pulses["run"] == 8]["number"]
    if resume:
        second = pulses[pulses["run"] == 9]["number"]
        assert first[-1] + 1 + second[-1] + 1 == 60
    words = " ".join(recorder.notes())
    assert "restarted while it was recorded" in words
    assert ("went on as run 9" in words) == resume
    # Each start has its own clock, and every pulse comes out at its true time.
    found = fit_board_clock(records)
    assert len(found.lines) == 2
    host_s = found.host_s(records)[records["kind"] == KIND_PULSE]
    run, truth = 7, {}
    for number, true_s in board.radar_pulses:  # the line of a run's last one may have died with the board
        run += number == 0
        truth[run, number] = true_s
    for pulse, at_s in zip(pulses, host_s, strict=True):
        true_s = truth[int(pulse["run"]), int(pulse["number"])]
        assert at_s == pytest.approx(true_s + board.clock.origin_monotonic_s, abs=0.05)


def test_a_wrong_rate_is_told_with_both_numbers(tmp_path):
    with (
        simulated(speed=20, trigger_rate=1.25) as board,
        TriggerClient(board.port) as client,
        TriggerRecorder(client, tmp_path, ping_every_s=0.05) as recorder,
    ):
        client.start(hz=10, pulses=60, run=2)
        wait_for(lambda: state(client) == "done")
    assert any("pulsed at 12.500 Hz in run 2; 10 Hz were asked for" in note for note in recorder.notes())


def test_a_cable_pulled_and_plugged_leaves_a_mark_and_recording_goes_on(tmp_path):
    port = tmp_path / "ttyTRIGGER"
    first = simulated()
    with first:
        port.symlink_to(first.port)
        client = TriggerClient(str(port), timeout_s=0.5)
        client.connect()
        recorder = TriggerRecorder(client, tmp_path, ping_every_s=0.1, resume=True)
        recorder.__enter__()
        client.start(hz=50, pulses=100_000, run=1)
        wait_for(lambda: recorder.counters()["pulses"] > 20)
    wait_for(lambda: not recorder.alive)
    assert "went away" in str(recorder.problem) or "is not there" in str(recorder.problem)
    port.unlink()
    with simulated() as second:
        port.symlink_to(second.port)
        wait_for(lambda: recorder.alive and recorder.counters()["reconnections"] == 1)
        wait_for(lambda: len(second.radar_pulses) > 20)
        recorder.__exit__()
        client.close()
    records = read_pulses(tmp_path)
    assert records is not None
    assert (records["kind"] == KIND_BOOT).sum() == 2
    pulses = records[records["kind"] == KIND_PULSE]
    assert set(pulses["run"]) == {1, 2}
    assert "was gone for" in " ".join(recorder.notes())
    assert client.port == str(port)


def test_a_cable_that_stays_out_is_given_up(tmp_path):
    with simulated() as board:
        client = TriggerClient(board.port, timeout_s=0.3)
        client.connect()
        recorder = TriggerRecorder(client, tmp_path, ping_every_s=0.05, give_up_s=0.5)
        recorder.__enter__()
    wait_for(lambda: "did not come back within 0.5 s" in str(recorder.problem))
    assert not recorder.alive
    recorder.__exit__()
    assert any("did not come back" in note for note in recorder.notes())


def test_a_board_that_falls_silent_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("capture.trigger_recorder._SILENT_S", 0.4)
    with simulated() as board, TriggerClient(board.port, timeout_s=0.1) as client:
        with TriggerRecorder(client, tmp_path, ping_every_s=0.1) as recorder:
            wait_for(lambda: recorder.counters()["pings"] > 3)
            assert recorder.alive
            board._faults = board._faults.model_copy(update={"trigger_silent": True})
            wait_for(lambda: "has said nothing for" in str(recorder.problem))
            wait_for(lambda: recorder.counters()["pings_unanswered"] > 0)
        assert any("has said nothing for" in note for note in recorder.notes())


def test_a_host_that_falls_silent_stops_the_board():
    with simulated(speed=1.0) as board:
        board._protocol._silence_us = 300_000
        with TriggerClient(board.port) as client:
            client.start(hz=50, pulses=10_000, run=1)
            time.sleep(1.0)
            status = client.status()
    assert status.state == "silent"
    assert 0 < status.sent <= len(board.radar_pulses) < 40


def test_a_killed_recorder_leaves_whole_records(tmp_path):
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from capture.trigger import TriggerClient\n"
        "from capture.trigger_recorder import TriggerRecorder\n"
        "with TriggerClient(sys.argv[1]) as client, TriggerRecorder(client, Path(sys.argv[2]), ping_every_s=0.1):\n"
        "    client.start(hz=100, pulses=100_000, run=1, signature=False)\n"
        "    time.sleep(600)\n"
    )
    with simulated() as board:
        process = subprocess.Popen([sys.executable, "-c", script, board.port, str(tmp_path)])
        path = tmp_path / "pulses.bin"
        wait_for(lambda: path.exists() and path.stat().st_size > 120 * PULSE_RECORD.itemsize, 60)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.stat().st_size % PULSE_RECORD.itemsize == 0
    with path.open("ab") as file:
        file.write(b"half")  # as a power cut may leave it
    records = read_pulses(tmp_path)
    assert records is not None
    numbers = records["number"][records["kind"] == KIND_PULSE]
    assert numbers.size > 100
    assert numbers.tolist() == list(range(numbers.size))
    assert fit_board_clock(records).lines[0] is not None


def test_a_full_disk_is_said_and_hurts_nobody(tmp_path):
    full = tmp_path / "pulses.bin"
    full.symlink_to(Path("/dev/full"))
    with simulated(speed=20) as board, TriggerClient(board.port) as client:
        with TriggerRecorder(client, tmp_path, ping_every_s=0.05) as recorder:
            client.start(hz=50, pulses=20, run=1)
            wait_for(lambda: state(client) == "done")
            assert "cannot be written any more" in str(recorder.problem)
        assert recorder.counters()["pulses"] == 18


def test_nothing_waits_at_speed_zero():
    with simulated(speed=0) as board, TriggerClient(board.port) as client:
        client.start(hz=10, pulses=400, run=1)
        wait_for(lambda: len(board.radar_pulses) == sum(not left_out(k, 10_000) for k in range(400)))
        assert board.clock.now_s() > 39
