"""A simulated trigger board at the far end of its USB cable: the firmware's own protocol files on a pseudo-terminal.

Only what `board_rp2040.py` does on the real board is replaced: the clock is the rig's as the board's crystal shows it, and the
outputs are callbacks with exactly the times at which the state machines would pulse.
"""

import contextlib
import os
import select
import threading
import time
import tty
from collections import deque
from collections.abc import Callable

import numpy as np

from capture.firmware.lines import frame, unframe
from capture.firmware.protocol import SILENCE_US, Board, Protocol
from capture.firmware.schedule import FIFO_WORDS, parse_rate_mhz
from capture.simulator.clock import DeviceClock, RigClock
from capture.simulator.faults import FaultPlan

_IDLE_S = 0.01  # wall time between looks at the line
_RESTART_S = 0.3  # wall time; a real board takes longer
_FOREVER_US = 1 << 62

PulseListener = Callable[[int, float], None]


class _SimulatedHardware(Board):
    """One start of the board. Lives on the board's thread but for `edge`, which others call."""

    def __init__(self, owner: "SimulatedTriggerBoard", boot: int, zero_s: float) -> None:
        self.boot = boot
        self._owner = owner
        self._zero_s = zero_s  # what the crystal shows where this start's clock is 0
        self._pulses: deque[tuple[float, int, bool]] = deque()  # true time, number, whether it is the camera's
        self._waiting: list[int] = []  # of the radar's, not begun yet
        self._begun = self._edges = 0
        self._delay_us = 0
        self._new_edges: deque[float] = deque()

    def board_us(self, true_s: float) -> int:
        """The board's clock at `true_s`."""
        return int((self._owner.device_clock.reading_s(true_s) - self._zero_s) * 1e6)

    def true_s(self, board_us: int) -> float:
        """When the board's clock shows `board_us`."""
        return self._owner.device_clock.true_s(board_us / 1e6 + self._zero_s)

    def now_us(self) -> int:
        return self.board_us(self._owner.clock.now_s())

    def read(self) -> bytes:
        return self._owner.read()

    def write(self, data: bytes) -> bool:
        return self._owner.write(data)

    def edge(self, true_s: float) -> None:
        """A rising edge at the input."""
        self._new_edges.append(true_s)

    def edges(self) -> list[tuple[int, int]]:
        found = []
        while self._new_edges:
            found.append((self._edges, self.board_us(self._new_edges.popleft())))
            self._edges += 1
        return found

    def begin(self, radar_us: int, camera_us: int, delay_us: int, pulses: list[tuple[int, int]]) -> bool:
        self.forget()
        self._waiting, self._begun, self._delay_us = [], 0, delay_us
        for number, at_us in pulses:
            self.push(number, at_us)
        return True  # never too late: a thread that comes round late still tells its pulses' own times

    def room(self) -> int:
        return FIFO_WORDS - len(self._waiting)

    def push(self, number: int, at_us: int) -> None:
        self._waiting.append(number)
        self._pulses.append((self.true_s(at_us), number, False))
        self._owner.planned(number, self.true_s(at_us))
        self._pulses.append((self.true_s(at_us + self._delay_us), number, True))
        self._pulses = deque(sorted(self._pulses))

    def starved(self) -> bool:
        return False  # for the same reason

    def halt(self) -> int:
        self.pulse_until(self._owner.clock.now_s())
        self.forget()
        self._waiting.clear()
        return self._begun

    def forget(self) -> None:
        """Pulses that wait will not come."""
        self._pulses.clear()
        self._owner.unplanned(self._owner.clock.now_s())

    def next_s(self) -> float | None:
        """True time of the next pulse; None when none waits."""
        return self._pulses[0][0] if self._pulses else None

    def pulse_until(self, true_s: float) -> None:
        """Every pulse up to `true_s`, in order of time."""
        while self._pulses and self._pulses[0][0] <= true_s:
            at_s, number, camera = self._pulses.popleft()
            if not camera:
                self._waiting.remove(number)
                self._begun += 1
            self._owner.pulsed(number, at_s, camera)


class SimulatedTriggerBoard:
    """Serves `port`, a terminal's path, while the context lasts.

    `on_radar_pulse(number, true_s)` and `on_camera_pulse(number, true_s)` are called on the board's thread, soon after `true_s`.
    `on_radar_planned(number, true_s)` tells of a radar pulse that is to come, `on_unplanned(true_s)` that those after
    `true_s` will not: so that a simulated radar can make its frame in time.
    Faults of `faults` named trigger_* happen here; radar_miss* do not. `wake` is the rig's, for speed 0.
    """

    def __init__(
        self,
        clock: RigClock,
        wake: threading.Condition,
        *,
        faults: FaultPlan | None = None,
        device_clock: DeviceClock | None = None,
        on_radar_pulse: PulseListener | None = None,
        on_camera_pulse: PulseListener | None = None,
        on_radar_planned: PulseListener | None = None,
        on_unplanned: Callable[[float], None] | None = None,
    ) -> None:
        self.clock, self.device_clock = clock, device_clock or DeviceClock()
        self.boots = 0
        self.sent_lines: list[str] = []  # P lines the firmware said, lost ones too: the truth
        self.garbage = self.lost = 0
        self._wake = wake
        self._faults = faults or FaultPlan()
        self._listeners = (on_radar_pulse, on_camera_pulse)
        self._on_radar_planned, self._on_unplanned = on_radar_planned, on_unplanned
        self._noise = np.random.default_rng([self._faults.seed, 3])
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._nudge_read, self._nudge_write = os.pipe()
        self._first_run_s: float | None = None
        self._rebooted = self._closed = False
        self._half = b""
        self._hardware, self._protocol = self._boot(0.0)
        self._thread = threading.Thread(target=self._serve, name="trigger-board", daemon=True)

    def __enter__(self) -> "SimulatedTriggerBoard":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        os.write(self._nudge_write, b"x")
        self._thread.join()
        for end in (self._master, self._slave, self._nudge_read, self._nudge_write):
            os.close(end)

    def edge(self, true_s: float) -> None:
        """The camera's sync-out rose."""
        self._hardware.edge(true_s)

    # --- what the hardware's one start sees of the wires -----------------------------------------------------------------
    def pulsed(self, number: int, true_s: float, camera: bool) -> None:
        """An output pulsed."""
        if not camera and self._first_run_s is None:
            self._first_run_s = true_s
        listener = self._listeners[camera]
        if listener is not None:
            listener(number, true_s)

    def planned(self, number: int, true_s: float) -> None:
        """The radar's output is to pulse."""
        if self._on_radar_planned is not None:
            self._on_radar_planned(number, true_s)

    def unplanned(self, true_s: float) -> None:
        """It is not, after `true_s`."""
        if self._on_unplanned is not None:
            self._on_unplanned(true_s)

    def read(self) -> bytes:
        """What the host sent, with the rate of a START bent as `trigger_rate` says."""
        data = b""
        with contextlib.suppress(BlockingIOError, OSError):
            data = os.read(self._master, 4096)
        if self._faults.trigger_rate == 1:
            return data
        *lines, self._half = (self._half + data).split(b"\n")
        return b"".join(self._bent(line) for line in lines)

    def write(self, data: bytes) -> bool:
        """Lines to the host, some lost and some with noise before them."""
        faults = self._faults
        text = unframe(data[:-1]) or ""
        if text.startswith("P "):
            self.sent_lines.append(text)
            number = int(text.split(" ")[2])  # whether its line is lost depends on the pulse alone, never on timing
            if np.random.default_rng([faults.seed, 4, number]).random() < faults.trigger_lose_lines:
                self.lost += 1
                return True
        if self._noise.random() < faults.trigger_garbage:
            self.garbage += 1
            data = self._noise.integers(128, 256, 12, np.uint8).tobytes() + b"\n" + data
        with contextlib.suppress(BlockingIOError):  # nobody reads: the bytes are lost, as on a wire
            os.write(self._master, data)
        return True

    def _bent(self, line: bytes) -> bytes:
        text = unframe(line)
        if text is None or not text.startswith("START hz="):
            return line + b"\n"
        hz, rest = text[len("START hz=") :].split(" ", 1)
        rate_mhz = round(parse_rate_mhz(hz) * self._faults.trigger_rate)
        return frame(f"START hz={rate_mhz // 1000}.{rate_mhz % 1000:03d} {rest}")

    # --- the board's thread ------------------------------------------------------------------------------------------
    def _boot(self, zero_s: float) -> tuple[_SimulatedHardware, Protocol]:
        self.boots += 1
        hardware = _SimulatedHardware(self, int.from_bytes(os.urandom(4), "little"), zero_s)  # no seed: boots differ
        # The host's silence is the wall's, however fast the rig runs.
        silence_us = int(SILENCE_US * self.clock.speed) or _FOREVER_US
        return hardware, Protocol(hardware, silence_us)

    def _serve(self) -> None:
        while not self._closed:
            if self._faults.trigger_silent:
                self.read()
            else:
                self._hardware.pulse_until(self.clock.now_s())
                self._protocol.poll()
                self._reboot_when_due()
            self._wait()

    def _reboot_when_due(self) -> None:
        after_s = self._faults.trigger_reboot_s
        if after_s is None or self._rebooted or self._first_run_s is None:
            return
        if self.clock.now_s() >= self._first_run_s + after_s:
            self._rebooted = True
            self._hardware.halt()  # what the protocol has just told of pulses first
            time.sleep(_RESTART_S)
            self.read()  # what came while it was down is lost
            self._hardware, self._protocol = self._boot(self.device_clock.reading_s(self.clock.now_s()))

    def _wait(self) -> None:
        """Until the next pulse or the host's next word."""
        next_s = None if self._faults.trigger_silent else self._hardware.next_s()
        if not self.clock.speed and next_s is not None:
            with self._wake:
                self.clock.wait_until(next_s, self._wake)
            return
        left_s = _IDLE_S
        if next_s is not None:
            left_s = min(max((next_s - self.clock.now_s()) / self.clock.speed, 0.0), _IDLE_S)
        readable, _, _ = select.select([self._master, self._nudge_read], [], [], left_s)
        if self._nudge_read in readable:
            os.read(self._nudge_read, 64)
