"""The trigger board's serial port: find it, ask who it is, configure, start and stop pulses, compare clocks.

A thread reads whatever the board says; a command waits for its own answer and is said again when it was garbled. What lines look
like is in docs/trigger-board.md.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import serial
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from capture.firmware.lines import LineReader, frame
from capture.firmware.protocol import FIRMWARE
from capture.serial_port import open_serial
from capture.trigger_lines import (
    Accepted,
    BoardLine,
    Boot,
    Pong,
    Refused,
    TriggerOrder,
    TriggerStatus,
    config_line,
    parse_line,
)
from pipeline.errors import PipelineError
from pipeline.settings import TriggerSettings

__all__ = ["PingReading", "TriggerClient", "find_trigger_port"]

USB_ID = (0x2E8A, 0x0005)  # MicroPython on an RP2040
BAUD = 115_200  # means nothing over USB, but 1200 would restart the board into its bootloader

_READ_S = 0.05
_TRIES = 3

Listener = Callable[[BoardLine, int], None]


@dataclass(frozen=True)
class PingReading:
    """One PING: host CLOCK_MONOTONIC when it was sent and when the answer had come, and the board's clock in between."""

    nonce: int
    sent_ns: int
    received_ns: int
    board_us: int


class TriggerClient:
    """The board on a serial port (a path; "auto" finds it), as a context manager.

    `identity` is what it said of itself last, `order` the run started last. `listener(line, received_ns)` gets every line
    the board says, on the thread that reads them; it must be quick and must not call the client.
    """

    def __init__(self, port: str = "auto", *, timeout_s: float = 1.0) -> None:
        self.port, self.timeout_s = port, timeout_s
        self.identity: Boot | None = None
        self.order: TriggerOrder | None = None
        self.settings: TriggerSettings | None = None
        self.listener: Listener | None = None
        self.rejected = 0
        self._asked_port = port
        self._status: TriggerStatus | None = None
        self._nonce = 0
        self._commands = threading.Lock()
        self._replies: queue.Queue[tuple[BoardLine, int]] = queue.Queue()
        self._serial: serial.Serial | None = None
        self._thread: threading.Thread | None = None
        self._lost = ""
        self._heard = b""  # the newest bytes before it said who it is: what another firmware says

    def __enter__(self) -> "TriggerClient":
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def lost(self) -> str:
        """Why the port is gone; empty while it is there."""
        return self._lost

    def connect(self) -> Boot:
        """Open the port (again) and ask the board who it is; PipelineError says what to check."""
        self.close()
        self.port = find_trigger_port() if self._asked_port == "auto" else self._asked_port
        self._lost, self._heard, self.identity = "", b"", None
        self._serial = _open(self.port)
        self._thread = threading.Thread(target=self._read, args=(self._serial,), name="trigger-serial", daemon=True)
        self._thread.start()
        try:
            self._write(b"\n")  # whatever stood half said on the line ends here
            for _ in range(_TRIES):  # the OK may come through and the BOOT before it not
                self._command("ID?", self._silence)
                if self.identity is not None:
                    break
            if self.identity is None or self.identity.firmware != FIRMWARE:
                said = self.identity.firmware if self.identity else "nothing"
                raise PipelineError(
                    f"The trigger board at {self.port} runs {said}, this program needs {FIRMWARE}; flash capture/firmware "
                    "as docs/trigger-board.md says."
                )
        except PipelineError:
            self.close()
            raise
        return self.identity

    def close(self) -> None:
        """Give the port back. A board that pulses stops by itself when it has heard nothing for five seconds."""
        port, thread, self._serial, self._thread = self._serial, self._thread, None, None
        if thread is not None:
            thread.join()
        if port is not None:
            port.close()

    # --- commands ----------------------------------------------------------------------------------------------------
    def configure(self, settings: TriggerSettings) -> None:
        """Widths and delay of the pulses to come; PipelineError while the board pulses."""
        self._command(config_line(settings))
        self.settings = settings

    def start(self, hz: float, pulses: int, run: int, signature: bool = True) -> TriggerOrder:
        """Begin run number `run`: `pulses` numbers at `hz`, some left out as the signature says; returns once obeyed.

        PipelineError for a rate the board cannot keep, a run number it has just had, or a board that pulses already.
        """
        order = TriggerOrder(hz, pulses, run, signature)
        self._command(order.line)
        self.order = order
        return order

    def stop(self) -> None:
        """No more pulses; fine on a board that stands still."""
        self._command("STOP")

    def status(self) -> TriggerStatus:
        """How far the run is."""
        self._command("STATUS?")
        assert self._status is not None  # the board says S before OK
        return self._status

    def ping(self) -> PingReading:
        """Both clocks compared once; also what tells the board that the host is alive."""
        with self._commands:
            self._nonce += 1
            nonce = self._nonce
            self._drain()
            line = frame(f"PING {nonce}")
            sent_ns = time.monotonic_ns()
            self._write(line)
            deadline = time.monotonic() + self.timeout_s
            while (answer := self._reply(deadline)) is not None:
                reply, received_ns = answer
                if isinstance(reply, Pong) and reply.nonce == nonce:
                    return PingReading(nonce, sent_ns, received_ns, reply.board_us)
        raise PipelineError(f"The trigger board at {self.port} did not answer a PING within {self.timeout_s:g} s.")

    def _command(self, text: str, silence: Callable[[], PipelineError] | None = None) -> None:
        name = text.split(" ", 1)[0]
        with self._commands:
            for _ in range(_TRIES):
                self._drain()
                self._write(frame(text))
                deadline = time.monotonic() + self.timeout_s
                while (answer := self._reply(deadline)) is not None:
                    reply = answer[0]
                    if reply == Accepted(name):
                        return
                    if isinstance(reply, Refused):
                        if reply.code == "crc":
                            break
                        raise self._refusal(text, reply.code)
        if silence is not None:
            raise silence()
        raise PipelineError(
            f"The trigger board at {self.port} did not answer `{text}` in {_TRIES} tries of {self.timeout_s:g} s; check the "
            "USB cable, and that no other program uses the port."
        )

    def _refusal(self, text: str, code: str) -> PipelineError:
        meaning = {
            "busy": "it is pulsing; stop it first",
            "run": "it has just had a run of that number; give every run its own",
            "argument": "a value is missing, out of range, or the camera's pulse does not fit into a period",
            "command": "its firmware does not know that command",
        }.get(code, f"code {code}")
        return PipelineError(f"The trigger board at {self.port} refuses `{text}`: {meaning}.")

    def _silence(self) -> PipelineError:
        heard = self._heard.decode("latin-1").strip()
        flash = "flash capture/firmware as docs/trigger-board.md says"
        if ">>>" in heard:
            return PipelineError(
                f"The board at {self.port} stands at its MicroPython prompt: press its reset, or {flash}."
            )
        if heard:
            return PipelineError(
                f"Something else than the trigger firmware answers at {self.port} (it says {heard[:60]!r}): name the right "
                f"port in rig.toml (trigger.port), or {flash}."
            )
        return PipelineError(
            f"The trigger board at {self.port} says nothing: check its USB cable and that the port is the board's, or {flash}."
        )

    # --- the port ----------------------------------------------------------------------------------------------------
    def _read(self, port: serial.Serial) -> None:
        reader = LineReader()
        while self._serial is port:
            try:
                data = port.read(max(1, port.in_waiting))
            except (OSError, serial.SerialException, TypeError) as error:  # TypeError: closed while reading
                if self._serial is port:
                    self._lost = str(error) or type(error).__name__
                return
            received_ns = time.monotonic_ns()
            if self.identity is None:
                self._heard = (self._heard + data)[-200:]
            for text in reader.feed(data):
                line = parse_line(text) if text is not None else None
                if line is None:
                    self.rejected += 1
                else:
                    self._take(line, received_ns)

    def _take(self, line: BoardLine, received_ns: int) -> None:
        if isinstance(line, Boot):
            self.identity = line
        elif isinstance(line, TriggerStatus):
            self._status = line
        elif isinstance(line, Accepted | Refused | Pong):
            self._replies.put((line, received_ns))
        if self.listener is not None:
            self.listener(line, received_ns)

    def _reply(self, deadline: float) -> tuple[BoardLine, int] | None:
        """The next answer, None when none came by `deadline`; PipelineError when the port is gone."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._replies.get(timeout=min(_READ_S, max(deadline - time.monotonic(), 1e-3)))
            if self._lost:
                raise self._gone()
            if time.monotonic() >= deadline:
                return None

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._replies.get_nowait()

    def _write(self, data: bytes) -> None:
        if self._serial is None:
            raise PipelineError(f"The trigger board's port {self.port} is not open; connect first.")
        if self._lost:
            raise self._gone()
        try:
            self._serial.write(data)
        except (OSError, serial.SerialException) as error:
            self._lost = str(error)
            raise self._gone() from error

    def _gone(self) -> PipelineError:
        return PipelineError(f"The trigger board's serial port {self.port} went away ({self._lost}); plug it in again.")


def _open(port: str) -> serial.Serial:
    rivals = "mpremote, terminal programs, ModemManager"
    return open_serial(port, BAUD, _READ_S, device="trigger board", setting="trigger.port", rivals=rivals)


def find_trigger_port(ports: Iterable[ListPortInfo] | None = None) -> str:
    """The board's port among `ports` (default: this machine's): the one with MicroPython's USB id whose firmware answers.

    PipelineError when there is none, or more than one.
    """
    found = [port.device for port in (ports or list_ports.comports()) if (port.vid, port.pid) == USB_ID]
    if not found:
        raise PipelineError(
            "No trigger board is connected: no USB serial port has the RP2040's id 2e8a:0005. Plug it in, name its port in "
            'rig.toml (trigger.port), or set trigger.port = "none".'
        )
    answering = [port for port in found if _answers(port)]
    if not answering:
        raise PipelineError(
            f"No trigger firmware answers on {', '.join(found)}: flash capture/firmware as docs/trigger-board.md says, and "
            "close other programs that use the port."
        )
    if len(answering) > 1:
        raise PipelineError(
            f"Several trigger boards are connected ({', '.join(answering)}); name one in rig.toml (trigger.port)."
        )
    return answering[0]


def _answers(port: str) -> bool:
    try:
        with TriggerClient(port, timeout_s=0.3):
            return True
    except PipelineError:
        return False
