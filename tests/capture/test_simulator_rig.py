"""The simulated rig as its own process, as the rig factory starts it, and whole inside one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from simulator_host import SMALL, DataPort, connected, place

from capture.awr1843 import RadarClient
from capture.dca1000 import CardClient
from capture.simulator.clock import DeviceClock, RigClock
from capture.simulator.echoes import simulate_frames
from capture.simulator.impairments import GOOD_BOARD
from capture.simulator.rig import SimulatedRig, json_object
from capture.simulator.scene import PointScene
from capture.simulator.shown import SceneOrder, shown_scene
from pipeline.cfg_text import write_cfg
from pipeline.errors import PipelineError

PROJECT = Path(__file__).resolve().parents[2]


def start_rig(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "capture.simulator.rig", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )


def wires_of(process: subprocess.Popen[str]) -> dict:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def test_the_process_streams_tells_the_truth_and_leaves_nothing_behind():
    w = SMALL.model_copy(update={"frames": 4})
    with DataPort() as data:
        arguments = [
            "--json",
            "--data-port",
            str(data.port),
            "--scene",
            '{"seed": 11}',
            "--speed",
            "20",
            "--firmware",
            "mmwDemo",
        ]
        process = start_rig(*arguments, "--faults", '{"lose_packets": [3]}')
        wires = wires_of(process)
        assert (wires["card_ip"], wires["data_port"], wires["seed"]) == ("127.0.0.2", data.port, 11)
        with (
            RadarClient(wires["radar_port"]) as radar,
            CardClient(wires["card_ip"], "127.0.0.1", wires["config_port"], host_port=0) as card,
        ):
            card.reset_radar()
            radar.wait_ready()
            radar.send_config(write_cfg(w))
            card.configure_fpga()
            card.configure_packets(delay_us=5)
            card.record_start()
            radar.start()
            deadline = time.monotonic() + 60
            while not card.poll(0.1):
                assert time.monotonic() < deadline
        datagrams = data.settle()
        assert process.stdin is not None
        process.stdin.close()
        truth = json.loads(process.stdout.read())["recordings"]  # type: ignore[union-attr]
        assert process.wait(60) == 0
    assert len(truth) == 1
    assert truth[0]["missing"] == [[2 * 1456, 3 * 1456]]
    assert truth[0]["frames"] == 4
    stream, missing = place(datagrams, 4 * w.frame_bytes)
    assert missing == [(2 * 1456, 3 * 1456)]
    whole = (
        simulate_frames(shown_scene(SceneOrder(seed=11)), w, 4, seed=11, impairments=GOOD_BOARD)
        .ravel()
        .view(np.uint8)
        .copy()
    )
    whole[2 * 1456 : 3 * 1456] = 0
    np.testing.assert_array_equal(stream, whole)
    with pytest.raises(PipelineError):
        RadarClient(wires["radar_port"]).connect()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_even_while_it_streams(number):
    with DataPort() as data:
        process = start_rig("--json", "--data-port", str(data.port), "--firmware", "mmwDemo")
        wires = wires_of(process)
        with (
            RadarClient(wires["radar_port"]) as radar,
            CardClient(wires["card_ip"], "127.0.0.1", wires["config_port"], host_port=0) as card,
        ):
            radar.send_config(write_cfg(SMALL))
            card.record_start()
            radar.start()
            while not data.datagrams:
                time.sleep(0.01)
            process.send_signal(number)
            out, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == ""
    assert json.loads(out)["recordings"][0]["packets"] > 0


def test_bad_options_are_one_sentence():
    process = start_rig("--json", "--faults", "[1]")
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (1, "", "A JSON object is needed, not '[1]'.\n")
    with pytest.raises(PipelineError, match="'nonsense' is not JSON"):
        json_object("nonsense")
    process = start_rig("--json", "--card-ip", "203.0.113.1")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("The simulated card cannot answer on 203.0.113.1:0")


def test_another_run_has_other_noise_and_the_same_scene():
    w = SMALL.model_copy(update={"frames": 2})
    with connected(seed=5, speed=50.0) as wires:
        first = place(wires.record(w), 2 * w.frame_bytes)[0]
        wires.data.datagrams.clear()
        second = place(wires.record(w), 2 * w.frame_bytes)[0]
        scene = wires.rig.scene
    np.testing.assert_array_equal(first.view(np.int16), simulate_frames(scene, w, 2, seed=5).ravel())
    np.testing.assert_array_equal(second.view(np.int16), simulate_frames(scene, w, 2, seed=6).ravel())


def test_hardware_trigger_sends_one_frame_a_pulse():
    w = SMALL.model_copy(update={"trigger": "hardware", "period_ms": 20.0})
    with connected(speed=5.0) as wires:
        wires.arm(w)
        wires.radar.start()
        assert wires.data.settle() == []
        now_s = wires.rig.clock.now_s()
        for pulse_s in (now_s, now_s + 0.025, now_s + 0.03, now_s + 0.06):
            wires.rig.radar.pulse(pulse_s)
        wires.data.settle()
        wires.radar.stop()
        assert wires.wait_status() == 0x0100
        datagrams = wires.data.settle()
        assert wires.rig.truths[0].frames == 3
        scene, run = wires.rig.scene, wires.rig.radar.run
    assert run is not None
    assert run.missed_pulses == 1
    assert place(datagrams, 3 * w.frame_bytes)[1] == []
    assert run.scene_s(2) == pytest.approx(0.06)
    first = place(datagrams, 3 * w.frame_bytes)[0][: w.frame_bytes]
    np.testing.assert_array_equal(first.view(np.int16), simulate_frames(scene, w, 1)[0])


def test_a_radar_clock_that_drifts_moves_the_frames_it_sends():
    w = SMALL.model_copy(update={"frames": 3})
    clock = DeviceClock(drift_ppm=5000.0)
    with connected(speed=50.0, radar_clock=clock) as wires:
        stream = place(wires.record(w), 3 * w.frame_bytes)[0]
        scene = wires.rig.scene
    np.testing.assert_array_equal(stream.view(np.int16), simulate_frames(scene, w, 3, clock=clock).ravel())


class BrokenScene(PointScene):
    def scatterers_at(self, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if times_s[0] > 0.03:
            raise ValueError("no such time")
        return super().scatterers_at(times_s)


def test_a_scene_that_breaks_is_not_kept_quiet():
    def record() -> None:
        with connected(scene=BrokenScene(), speed=10.0) as wires:
            wires.arm(SMALL)
            wires.radar.start()
            wires.data.settle()

    with pytest.raises(ValueError, match="no such time"):
        record()


def test_a_rig_needs_a_speed_that_exists():
    with pytest.raises(PipelineError, match=r"cannot run at speed -1\.0"):
        SimulatedRig(speed=-1.0)
    assert RigClock(4.0).patience_s(2.0) == 0.5
    assert RigClock(0.0).patience_s(2.0) == 2.0
