"""The simulated rig: radar, card, trigger board and scene on one clock, as a context manager or as a process of its own.

    python -m capture.simulator.rig --json --data-port 4098 --scene '{"seed": 3}'

shows one person at one of the paper's actions in a laboratory (`shown.SceneOrder`). It prints one JSON object with
the wires' ends as soon as they answer, and one with the truth of every recording when it ends, which it does on SIGTERM,
SIGINT or when its standard input closes.
"""

import argparse
import contextlib
import json
import os
import select
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import ValidationError

from capture.simulator.card import SimulatedCard
from capture.simulator.clock import DeviceClock, RigClock
from capture.simulator.faults import FaultPlan, RecordingTruth, fault_plan
from capture.simulator.impairments import IDEAL, PRESETS, Impairments
from capture.simulator.lvds import warm_up
from capture.simulator.radar import SimulatedRadar
from capture.simulator.radar_firmware import FIRMWARE_KINDS, FirmwareKind
from capture.simulator.scene import Scene, default_scene
from capture.simulator.shown import SceneOrder, shown_scene
from capture.simulator.sync_cable import CableEnd
from capture.simulator.trigger import SimulatedTriggerBoard
from pipeline.errors import PipelineError

CARD_IP = "127.0.0.2"
"""Any address of the loopback network but the host's own, so that a datagram's sender tells who sent it."""


class SimulatedRig:
    """Everything a host's wires end at. Inside the context `radar.port` and `board.port` are serial lines, `card` answers.

    The board's pulses reach the radar but for those the fault plan takes; a simulated camera's sync-out ends at `cable`.
    `scene` defaults to the small seeded `default_scene`; what is streamed is what the radar is configured with over serial.
    `speed` is simulated seconds a second, 0 as fast as the receiver takes it. The first run's frames are exactly
    `simulate_frames(scene, waveform, n, seed, impairments=impairments)`; the next run has its noise from `seed + 1`.
    """

    def __init__(
        self,
        scene: Scene | None = None,
        *,
        seed: int = 0,
        impairments: Impairments = IDEAL,
        speed: float = 1.0,
        faults: FaultPlan | None = None,
        firmware: FirmwareKind = "studio-cli",
        card_ip: str = CARD_IP,
        config_port: int = 0,
        data_port: int = 4098,
        radar_clock: DeviceClock | None = None,
        card_clock: DeviceClock | None = None,
        board_clock: DeviceClock | None = None,
    ) -> None:
        self.scene = scene or default_scene(seed)
        self.seed, self.firmware = seed, firmware
        self.clock = RigClock(speed)
        wake = threading.Condition()
        self.card = SimulatedCard(
            self.clock,
            wake,
            self.scene,
            lambda: self.radar.run,
            lambda: self.radar.reset(),
            card_ip=card_ip,
            config_port=config_port,
            data_port=data_port,
            seed=seed,
            impairments=impairments,
            faults=faults,
            device_clock=card_clock,
        )
        self.radar = SimulatedRadar(self.clock, wake, firmware=firmware, faults=faults, device_clock=radar_clock)
        self._faults = faults or FaultPlan()
        self.board = SimulatedTriggerBoard(
            self.clock,
            wake,
            faults=self._faults,
            device_clock=board_clock,
            on_radar_pulse=self._pulse,
            on_radar_planned=self._pulse,
            on_unplanned=self.radar.no_pulse_after,
        )
        self.cable = CableEnd(self.board.edge, self.scene_zero_s)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "SimulatedRig":
        warm_up(self.scene)
        self._stack.enter_context(self.radar)
        self._stack.enter_context(self.card)
        self._stack.enter_context(self.board)
        self._stack.enter_context(self.cable)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        if self.card.error is not None and kind is None:
            raise self.card.error

    def scene_zero_s(self) -> float | None:
        """True time at which the scene of the latest run began; None before there is one."""
        with self.radar.wake:
            return self.radar.run.scene_zero_s if self.radar.run is not None else None

    def _pulse(self, number: int, true_s: float) -> None:
        if reaches_radar(self._faults, number):
            self.radar.pulse(true_s)

    @property
    def truths(self) -> list[RecordingTruth]:
        """What every recording so far really sent, and what it left out."""
        return self.card.truths

    def wires(self) -> dict[str, Any]:
        """Where the host finds this rig."""
        return {
            "card_ip": self.card.card_ip,
            "config_port": self.card.config_port,
            "data_port": self.card.data_port,
            "radar_port": self.radar.port,
            "trigger_port": self.board.port,
            "sync_cable_port": self.cable.port,
            "origin_monotonic_s": self.clock.origin_monotonic_s,
            "firmware": self.firmware,
            "seed": self.seed,
            "speed": self.clock.speed,
        }


def reaches_radar(plan: FaultPlan, number: int) -> bool:
    """Whether pulse `number` gets through to the radar's SYNC_IN."""
    chance = np.random.default_rng([plan.seed, 3, number]).random()
    return number not in plan.radar_miss_pulses and chance >= plan.radar_miss


def truth_report(truth: RecordingTruth) -> dict[str, Any]:
    """A recording's truth as JSON holds it."""
    return {**asdict(truth), "missing": truth.missing()}


def main(arguments: list[str] | None = None) -> int:
    """Run a rig until it is told to end; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m capture.simulator.rig", description="A radar rig without hardware."
    )
    parser.add_argument("--json", action="store_true", help="say where the wires end as one JSON object")
    parser.add_argument("--scene", default="{}", help="what is shown, as JSON (capture.simulator.shown.SceneOrder)")
    parser.add_argument(
        "--clocks", default="{}", help='device clocks as JSON: {"board": {"offset_s": 0, "drift_ppm": 20}}'
    )
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds a second; 0: as fast as it is read")
    parser.add_argument("--faults", default="{}", help="a fault plan as JSON (capture.simulator.faults.FaultPlan)")
    parser.add_argument("--firmware", choices=FIRMWARE_KINDS, default="studio-cli", help="the radar's image")
    parser.add_argument(
        "--board", choices=tuple(PRESETS), default="good-board", help="what the radar does to its echoes"
    )
    parser.add_argument("--card-ip", default=CARD_IP)
    parser.add_argument("--config-port", type=int, default=0, help="the card's; 0: a free one")
    parser.add_argument("--data-port", type=int, default=4098, help="the host's port that data packets go to")
    options = parser.parse_args(arguments)
    sys.setswitchinterval(5e-4)  # the thread that sends must not wait 5 ms for the one that makes frames
    with contextlib.suppress(OSError):  # a real rig does not wait for what else this machine does
        os.nice(-10)
    ended_read, ended_write = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(ended_write, b"x"))
    try:
        order = scene_order(json_object(options.scene))
        clocks = {name: DeviceClock(**values) for name, values in json_object(options.clocks).items()}
        rig = SimulatedRig(
            shown_scene(order),
            impairments=PRESETS[options.board],
            seed=order.seed,
            speed=options.speed,
            faults=fault_plan(json_object(options.faults)),
            firmware=options.firmware,
            card_ip=options.card_ip,
            config_port=options.config_port,
            data_port=options.data_port,
            radar_clock=clocks.get("radar"),
            card_clock=clocks.get("card"),
            board_clock=clocks.get("board"),
        )
        with rig:
            _say(options.json, rig.wires())
            _wait_for_end(ended_read)
        _say(options.json, {"recordings": [truth_report(truth) for truth in rig.truths]})
    except PipelineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def json_object(text: str) -> dict[str, Any]:
    """A JSON object given on the command line; PipelineError where it is none."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise PipelineError(f"{text[:40]!r} is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise PipelineError(f"A JSON object is needed, not {text[:40]!r}.")
    return value


def scene_order(fields: dict[str, Any]) -> SceneOrder:
    """A scene from settings; PipelineError names the field that is wrong."""
    try:
        return SceneOrder.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise PipelineError(f"Scene: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def _say(as_json: bool, facts: dict[str, Any]) -> None:
    lines = [json.dumps(facts)] if as_json else [f"{name}: {value}" for name, value in facts.items()]
    with contextlib.suppress(BrokenPipeError):  # whoever asked may be gone
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


def _wait_for_end(ended: int) -> None:
    """Until a signal, or until standard input is closed by the process that holds its other end."""
    waiting = [ended, sys.stdin.fileno()]
    while True:
        readable, _, _ = select.select(waiting, [], [])
        if ended in readable or not os.read(sys.stdin.fileno(), 4096):
            return


if __name__ == "__main__":
    sys.exit(main())
