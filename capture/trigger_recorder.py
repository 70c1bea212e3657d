"""Everything the trigger board says, into `pulses.bin`, for as long as a recording lasts.

Records are appended as lines arrive and fsynced with every PING, so that a kill leaves whole records. Nothing is renumbered: a
line that was lost is a gap in its numbers, and every (re)connection and restart of the board leaves a KIND_BOOT record.
"""

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from capture.firmware.schedule import left_out
from capture.trigger import TriggerClient
from capture.trigger_lines import BoardLine, Boot, Edge, Pulse, TriggerStatus
from pipeline.errors import PipelineError
from pipeline.pulses import KIND_BOOT, KIND_EDGE, KIND_PING, KIND_PULSE, PULSE_RECORD

_BURST = 8  # PINGs at both ends of a recording, so that a short one has a line as well
_BURST_EVERY_S = 0.02
_RETRY_S = 0.5
_SILENT_S = 3.0  # the board says something every second
_RATE_TOLERANCE = 1e-3
_FEWEST_FOR_RATE = 5


@dataclass
class _Run:
    """What came of one run."""

    received: int = 0
    missing: int = 0  # numbers passed over that the signature does not leave out
    first: tuple[int, int] = (-1, 0)  # number and board time
    last: tuple[int, int] = (-1, 0)
    status: TriggerStatus | None = None
    hz: float = 0.0  # what was asked for; 0 for a run this recording did not start

    @property
    def measured_hz(self) -> float | None:
        """Rate of the pulses by the board's own clock."""
        if self.received < _FEWEST_FOR_RATE or self.last[1] <= self.first[1]:
            return None
        return (self.last[0] - self.first[0]) * 1e6 / (self.last[1] - self.first[1])


@dataclass
class _Tally:
    edges: int = 0
    pings: int = 0
    pings_unanswered: int = 0
    restarts: int = 0
    reconnections: int = 0
    boot: int | None = None
    runs: dict[int, _Run] = field(default_factory=dict)


class TriggerRecorder:
    """Records a connected client's board into `folder`/pulses.bin while the context lasts; `client.start` goes on working.

    A PING goes out every `ping_every_s` (of the wall's seconds; a simulated rig that runs faster wants more of them). When the
    port goes away it is opened again for up to `give_up_s`. A board that restarted stands still; with `resume` the rest of
    the pulses is begun as the next run number, never as the same.
    """

    def __init__(
        self,
        client: TriggerClient,
        folder: Path,
        *,
        ping_every_s: float = 1.0,
        give_up_s: float = 60.0,
        resume: bool = False,
    ) -> None:
        self.client, self.path = client, folder / "pulses.bin"
        self._ping_every_s, self._give_up_s, self._resume = ping_every_s, give_up_s, resume
        self._tally = _Tally()
        self._writing = threading.Lock()
        self._file = -1
        self._wake = threading.Event()
        self._closing = False
        self._heard_s = time.monotonic()
        self._lost_at_s: float | None = None
        self._gone_s = 0.0
        self._restarted = False
        self._write_problem = self._port_problem = ""
        self._sentences: list[str] = []
        self._thread = threading.Thread(target=self._run, name="trigger-recorder", daemon=True)

    def __enter__(self) -> "TriggerRecorder":
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise PipelineError(f"{self.path} cannot be written ({error.strerror}).") from error
        self._heard_s = time.monotonic()
        if self.client.identity is not None:
            self._take(self.client.identity, time.monotonic_ns())
        self.client.listener = self._take
        self._burst()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join()
        self._burst()
        self.client.listener = None
        with self._writing:
            self._sync()
            os.close(self._file)
            self._file = -1

    # --- what became of it -------------------------------------------------------------------------------------------
    @property
    def alive(self) -> bool:
        """Whether the board is there and speaks."""
        return not self.problem

    @property
    def problem(self) -> str | None:
        """What is wrong just now, in a sentence; None when nothing is."""
        if self._write_problem or self._port_problem:
            return self._write_problem or self._port_problem
        if self.client.lost:
            return f"The trigger board's serial port {self.client.port} went away ({self.client.lost})."
        silent_s = time.monotonic() - self._heard_s
        if silent_s > max(_SILENT_S, 3 * self._ping_every_s):
            return f"The trigger board has said nothing for {silent_s:.0f} s."
        return None

    def counters(self) -> dict[str, int]:
        """What was recorded and what was not. `pulses_missing`: numbers up to the last one known of that never came."""
        tally = self._tally
        runs = list(tally.runs.values())
        return {
            "pulses": sum(run.received for run in runs),
            "pulses_missing": sum(_missing(run) for run in runs),
            "pulses_late": sum(run.status.late for run in runs if run.status is not None),
            "edges": tally.edges,
            "pings": tally.pings,
            "pings_unanswered": tally.pings_unanswered,
            "rejected_lines": self.client.rejected,
            "restarts": tally.restarts,
            "reconnections": tally.reconnections,
        }

    def notes(self) -> list[str]:
        """What whoever uses the recording should know, one sentence each."""
        count = self.counters()
        notes = list(self._sentences)
        if count["rejected_lines"]:
            notes.append(f"{count['rejected_lines']} lines of the trigger board were garbled and rejected.")
        if count["pulses_missing"]:
            notes.append(
                f"The lines of {count['pulses_missing']} trigger pulses never came; they are gaps in the numbers."
            )
        if count["pulses_late"]:
            notes.append(f"The trigger board left out {count['pulses_late']} pulses that it could not make in time.")
        for number, run in self._tally.runs.items():
            measured = run.measured_hz
            if run.hz and measured and abs(measured / run.hz - 1) > _RATE_TOLERANCE:
                notes.append(
                    f"The trigger board pulsed at {measured:.3f} Hz in run {number}; {run.hz:g} Hz were asked for."
                )
            if run.status is not None and run.status.state == "silent":
                notes.append(f"The trigger board stopped run {number} because it no longer heard this machine.")
            if run.hz and not run.received and run.status is not None:
                notes.append(f"No line of a pulse came in run {number}.")
        problem = self.problem
        return [*notes, problem] if problem and problem not in notes else notes

    # --- lines, on the client's thread -------------------------------------------------------------------------------
    def _take(self, line: BoardLine, received_ns: int) -> None:
        self._heard_s = time.monotonic()
        tally = self._tally
        if isinstance(line, Pulse):
            self._append(KIND_PULSE, line.run, line.number, line.board_us, 0, received_ns)
            self._count(line)
        elif isinstance(line, Edge):
            self._append(KIND_EDGE, line.run, line.number, line.board_us, 0, received_ns)
            tally.edges += 1
        elif isinstance(line, TriggerStatus):
            if line.run:
                self._of(line.run).status = line
        elif isinstance(line, Boot):
            self._append(KIND_BOOT, line.boot, 0, 0, 0, received_ns)
            if tally.boot is not None and line.boot != tally.boot:
                tally.restarts += 1
                self._sentences.append("The trigger board restarted while it was recorded, and its run ended there.")
                self._restarted = True
                self._wake.set()
            tally.boot = line.boot

    def _of(self, number: int) -> _Run:
        run = self._tally.runs.setdefault(number, _Run())
        order = self.client.order
        if order is not None and order.run == number:
            run.hz = order.hz
        return run

    def _count(self, pulse: Pulse) -> None:
        run = self._of(pulse.run)
        if run.first[0] < 0:
            run.first = (pulse.number, pulse.board_us)
        order = self.client.order
        for passed in range(run.last[0] + 1, pulse.number):
            signature = order is not None and order.run == pulse.run and order.signature
            run.missing += not (signature and order is not None and left_out(passed, order.rate_mhz))
        run.last = (pulse.number, pulse.board_us)
        run.received += 1

    def _append(self, kind: int, run: int, number: int, board_us: int, sent_ns: int, received_ns: int) -> None:
        record = np.zeros(1, PULSE_RECORD)
        record[0] = (kind, 0, 0, run, number, board_us, sent_ns, received_ns)
        with self._writing:
            if self._file < 0 or self._write_problem:
                return
            try:
                os.write(self._file, record.tobytes())  # one write a record: a kill leaves it whole or not at all
            except OSError as error:
                self._write_problem = f"{self.path} cannot be written any more ({error.strerror})."

    def _sync(self) -> None:
        with contextlib.suppress(OSError):  # a full disk is said by the write
            os.fsync(self._file)

    # --- clocks and connection, on a thread of its own ---------------------------------------------------------------
    def _run(self) -> None:
        while True:
            self._wake.wait(self._ping_every_s)
            self._wake.clear()
            if self._closing:
                return
            if self.client.lost or self._lost_at_s is not None:
                if not self._reconnect():
                    self._wake.wait(_RETRY_S)
                    self._wake.set()
                    continue
                self._restarted = True
                self._burst()
            if self._restarted:
                self._restarted = False
                self._go_on()
            self._ping()
            with self._writing:
                self._sync()

    def _ping(self) -> bool:
        try:
            reading = self.client.ping()
        except PipelineError:
            self._tally.pings_unanswered += 1
            return False
        self._append(KIND_PING, 0, reading.nonce, reading.board_us, reading.sent_ns, reading.received_ns)
        self._tally.pings += 1
        return True

    def _burst(self) -> None:
        for _ in range(_BURST):
            if not self._ping():
                return
            time.sleep(_BURST_EVERY_S)

    def _reconnect(self) -> bool:
        now_s = time.monotonic()
        if self._lost_at_s is None:
            self._lost_at_s = now_s
        if now_s - self._lost_at_s > self._give_up_s:
            self._port_problem = (
                f"The trigger board's serial port {self.client.port} went away and did not come back within "
                f"{self._give_up_s:g} s."
            )
            self._closing = True
            return False
        try:
            self.client.connect()
        except PipelineError as error:
            self._port_problem = str(error)
            return False
        gone_s = time.monotonic() - self._lost_at_s
        self._lost_at_s, self._port_problem = None, ""
        self._tally.reconnections += 1
        self._sentences.append(f"The trigger board's serial port was gone for {gone_s:.1f} s.")
        return True

    def _go_on(self) -> None:
        """After a restart or a silence that stopped the run: nothing, or the rest of the pulses as another run."""
        order, settings = self.client.order, self.client.settings
        if not self._resume or order is None:
            return
        left = order.pulses - self._of(order.run).last[0] - 1
        if left <= 0:
            return
        try:
            status = self.client.status()
            if status.run == order.run and status.state != "silent":
                return  # it pulses, or it was told to stop
            if settings is not None:
                self.client.configure(settings)
            self.client.start(order.hz, left, order.run + 1, order.signature)
        except PipelineError as error:
            self._sentences.append(f"The trigger board could not be started again: {error}")
            return
        self._sentences.append(f"The pulses went on as run {order.run + 1}.")


def _missing(run: _Run) -> int:
    """Numbers passed over, and those after the last one that came which the board says it has sent."""
    sent = run.status.sent if run.status is not None else 0
    late = run.status.late if run.status is not None else 0
    return max(run.missing - late, sent - run.received, 0)
