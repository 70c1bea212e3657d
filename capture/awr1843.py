"""The radar's serial command line: find the port, recognise the firmware, send a configuration, start and stop.

One line at a time, each with its reply checked; what replies look like is in `capture/awr1843_replies.py`.
"""

import termios
import time
from collections.abc import Iterable

import serial
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from capture.awr1843_replies import (
    ALREADY_STOPPED_ERROR,
    PROMPT,
    ConfigLines,
    Firmware,
    Reply,
    ended,
    lines_for,
    parse_reply,
    recognise,
)
from capture.serial_port import open_serial
from pipeline.errors import PipelineError

__all__ = ["BAUD_RATES", "ConfigLines", "Firmware", "RadarClient", "Reply", "find_radar_port", "lines_for"]

USB_ID = (0x0451, 0xBEF3)  # TI XDS110: two ports, "application/user" (the command line) and "auxiliary" (data)
BAUD_RATES = (115_200, 921_600)  # mmWave demo; TI's mmWave Studio CLI image
LINE_LIMIT = 255  # the firmware's buffer holds 256 characters with their end

_PROMPT_WAIT_S = 0.25
_QUIET_S = 0.03
_START_TIMEOUT_S = 10.0  # sensorStart calibrates the radio first
_RETRIES = 2


class RadarClient:
    """The radar's command line on a serial port (a path; "auto" finds it), as a context manager.

    Entering connects and recognises the firmware, at `baud` or at whichever of BAUD_RATES answers. Every method raises
    PipelineError when the port goes away or the radar does not answer within `timeout_s`.
    """

    firmware: Firmware

    def __init__(self, port: str = "auto", baud: int | None = None, *, timeout_s: float = 2.0) -> None:
        self.port, self.baud, self.timeout_s = port, baud, timeout_s
        self._echoes = False
        self._start_line = "sensorStart"
        self._serial: serial.Serial | None = None

    def __enter__(self) -> "RadarClient":
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> Firmware:
        """Open the port, find the baud rate, and ask the firmware what it is. PipelineError says what to check."""
        if self.port == "auto":
            self.port = find_radar_port()
        rates = (self.baud,) if self.baud else BAUD_RATES
        for rate in rates:
            self.close()
            self._serial = _open(self.port, rate)
            if self._prompted(tries=2):
                self.baud = rate
                self.firmware = self._identify(rate)
                return self.firmware
        self.close()
        raise PipelineError(
            f"The radar at {self.port} does not answer at {' or '.join(map(str, rates))} baud: check that this is the "
            "application/user port, that the board is powered and in functional mode (SOP switches), and that its firmware "
            "has a command line."
        )

    def close(self) -> None:
        """Give the port back."""
        if self._serial is not None:
            self._serial.close()
            self._serial = None

    def wait_ready(self, timeout_s: float = 5.0) -> None:
        """Wait until the firmware prompts, as after a reset of the board."""
        deadline = time.monotonic() + timeout_s
        while not self._prompted(tries=1):
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"The radar at {self.port} did not come back within {timeout_s:g} s of its reset; power-cycle the board."
                )

    # --- configuration -----------------------------------------------------------------------------------------------
    def send_config(self, text: str | Iterable[str]) -> ConfigLines:
        """Stop the sensor and send the lines of a `.cfg`, except those that start or stop it and those that this firmware
        does not have; returns what was sent and what was left out. The text's own start line is what `start` sends.

        PipelineError quotes the line, its number and the radar's words.
        """
        lines = lines_for(self.firmware, text if isinstance(text, str) else "\n".join(text))
        for number, line in lines.sent:
            if not line.isascii() or not line.isprintable() or len(line) > LINE_LIMIT:
                raise PipelineError(
                    f"Line {number} of the radar configuration cannot be sent: {line[:60]!r} has {len(line)} characters; "
                    f"the radar takes {LINE_LIMIT} of plain ASCII at most."
                )
        self.stop()
        for number, line in lines.sent:
            reply = self._exchange(line, number)
            if reply.outcome not in ("done", "skipped"):
                raise self._refusal(line, reply, number)
        self._start_line = lines.start
        return lines

    def start(self) -> None:
        """sensorStart: frames begin, or with hardware trigger wait for pulses."""
        reply = self._exchange(self._start_line, timeout_s=_START_TIMEOUT_S)
        if reply.outcome == "nothing":
            raise PipelineError(
                f"The radar at {self.port} does not answer {self._start_line}: its firmware hangs. The stock demo does so "
                "with more than 256 range x 64 Doppler bins; power-cycle the board and use fewer loops, or flash TI's "
                "mmWave Studio CLI image."
            )
        if reply.outcome == "ignored" or reply.error == ALREADY_STOPPED_ERROR:
            raise PipelineError(
                f"The radar at {self.port} was running already ({reply.words}), with a configuration of its own; stop it "
                "and send the configuration again."
            )
        if reply.outcome != "done":
            raise self._refusal(self._start_line, reply)

    def stop(self) -> None:
        """sensorStop; a sensor that stands still already is fine."""
        reply = self._exchange("sensorStop")
        if reply.outcome not in ("done", "ignored") and reply.error != ALREADY_STOPPED_ERROR:
            raise self._refusal("sensorStop", reply)

    # --- one line ----------------------------------------------------------------------------------------------------
    def send_line(self, line: str, timeout_s: float | None = None) -> Reply:
        """Send one line as it is and return what the radar says to it; outcome "nothing" when it says nothing in time."""
        while self._read(0.0):  # what nobody asked for; an echo tells it from the answer if more comes
            pass
        self._write(line.encode("ascii", "replace") + b"\n")
        deadline = time.monotonic() + (timeout_s or self.timeout_s)
        received = b""
        while time.monotonic() < deadline and not ended(received, line, echoes=self._echoes):
            received += self._read(0.05)
        return parse_reply(received, line)

    def _exchange(self, line: str, number: int | None = None, timeout_s: float | None = None) -> Reply:
        """`send_line`, again where noise on the wire reached the radar instead of the line."""
        for _ in range(_RETRIES + 1):
            reply = self.send_line(line, timeout_s)
            garbled = self._echoes and not reply.echoed and reply.outcome != "nothing"
            if not (garbled and _misread(reply, line)):
                break
        if garbled:
            raise PipelineError(
                f"{_place(line, number)} reached the radar at {self.port} garbled (it read {reply.words[:120]!r}): check the "
                "USB cable and that no other program uses the port, then send the configuration again."
            )
        if reply.outcome == "nothing" and line != self._start_line:
            raise PipelineError(
                f"The radar at {self.port} did not answer {_place(line, number)} within {timeout_s or self.timeout_s:g} s"
                f"{f' (it said {reply.words[:120]!r})' if reply.words else ''}; power-cycle the board if this stays so."
            )
        return reply

    def _refusal(self, line: str, reply: Reply, number: int | None = None) -> PipelineError:
        what = "does not know" if reply.outcome == "unknown command" else "refused"
        return PipelineError(
            f"The radar ({self.firmware}) {what} {_place(line, number)}: {reply.words or reply.outcome}."
        )

    # --- the port ----------------------------------------------------------------------------------------------------
    def _identify(self, baud: int) -> Firmware:
        version, listing, probe = self._first_words("version"), self._first_words("help"), self._first_words("cfarCfg")
        return recognise(version.words, listing.words, probe, baud)

    def _first_words(self, line: str) -> Reply:
        """`send_line`, again where nothing or another line was heard; a radar that echoes one line echoes all."""
        for _ in range(_RETRIES + 1):
            reply = self.send_line(line)
            self._echoes = self._echoes or reply.echoed
            if reply.outcome != "nothing" and not _misread(reply, line):
                break
        return reply

    def _prompted(self, tries: int) -> bool:
        """Whether an empty line, which also ends any half a line left by others, brings the prompt."""
        for _ in range(tries):
            self._drain()
            self._write(b"\n")
            deadline, received = time.monotonic() + _PROMPT_WAIT_S, b""
            while time.monotonic() < deadline:
                received += self._read(0.02)
                if PROMPT.search(received):
                    self._drain()
                    return True
        return False

    def _drain(self) -> None:
        """Read until the line is quiet."""
        deadline = time.monotonic() + 1.0
        while self._read(_QUIET_S) and time.monotonic() < deadline:
            pass

    def _read(self, timeout_s: float) -> bytes:
        port = self._opened()
        try:
            port.timeout = timeout_s
            return bytes(port.read(max(1, port.in_waiting)))
        except (OSError, serial.SerialException) as error:
            raise self._gone(error) from error

    def _write(self, data: bytes) -> None:
        port = self._opened()
        try:
            port.write(data)
            port.flush()
        except (OSError, serial.SerialException, termios.error) as error:  # termios.error: flushing, and gone
            raise self._gone(error) from error

    def _opened(self) -> serial.Serial:
        if self._serial is None:
            raise PipelineError(f"The radar's port {self.port} is not open; connect first.")
        return self._serial

    def _gone(self, error: Exception) -> PipelineError:
        return PipelineError(
            f"The radar's serial port {self.port} went away ({error}); plug it in again and start over."
        )


def _misread(reply: Reply, line: str) -> bool:
    """Whether the radar says it does not know a command, and not the one that `line` begins with."""
    return reply.outcome == "unknown command" and f"'{line.split(' ', 1)[0]}'" not in reply.words


def _place(line: str, number: int | None) -> str:
    return f"`{line}`" if number is None else f"line {number}, `{line}`,"


def _open(port: str, baud: int) -> serial.Serial:
    rivals = "terminal programs, ModemManager"
    return open_serial(port, baud, 0.05, device="radar", setting="radar_port", rivals=rivals)


def find_radar_port(ports: Iterable[ListPortInfo] | None = None) -> str:
    """The command line's port among `ports` (default: this machine's): the XDS110's application/user port by its name,
    else whichever of its ports answers. PipelineError when there is none, or more than one board.
    """
    found = [port for port in (ports or list_ports.comports()) if (port.vid, port.pid) == USB_ID]
    if not found:
        raise PipelineError(
            "No radar is connected: no USB serial port has TI's id 0451:bef3. Plug in the AWR1843BOOST (its own USB socket, "
            "not the DCA1000's), or name the port in rig.toml (radar_port)."
        )
    named = [
        port.device for port in found if "application/user" in f"{port.description} {port.interface or ''}".lower()
    ]
    candidates = named or [port.device for port in found if _answers(port.device)]
    if not candidates:
        devices = ", ".join(port.device for port in found)
        raise PipelineError(
            f"No radar firmware answers on {devices}: check power and SOP switches, and that no other program uses them."
        )
    if len(candidates) > 1:
        raise PipelineError(
            f"Several radars are connected ({', '.join(candidates)}); name one in rig.toml (radar_port)."
        )
    return candidates[0]


def _answers(port: str) -> bool:
    client = RadarClient(port)
    try:
        client.connect()
    except PipelineError:
        return False
    finally:
        client.close()
    return True
