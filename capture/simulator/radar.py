"""A simulated AWR1843BOOST at the far end of its serial cable: a pseudo-terminal with the radar's firmware behind it."""

import contextlib
import os
import select
import termios
import threading
import time
import tty

import numpy as np

from capture.simulator.clock import DeviceClock, RigClock
from capture.simulator.faults import FaultPlan
from capture.simulator.lvds import RadarRun
from capture.simulator.radar_firmware import BANNER, PROMPT, FirmwareHangError, FirmwareKind, RadarFirmware

_POLL_S = 0.05
_BOOT_S = 0.1  # wall time; a real board takes longer
_FIRST_FRAME_S = 0.05  # from sensorStart's Done to the first chirp
_LINE_SPEED: dict[FirmwareKind, int] = {"mmwDemo": termios.B115200, "studio-cli": termios.B921600}
_NEVER_SET = termios.B38400  # a fresh pseudo-terminal's: whoever opened it cares for no baud rate


class SimulatedRadar:
    """Serves `port`, a terminal's path. `run` is the sensorStart in force, if any. Use as a context manager.

    The host's baud rate must be the firmware's: at any other it reads garbage, as on a real line.
    """

    def __init__(
        self,
        clock: RigClock,
        wake: threading.Condition,
        *,
        firmware: FirmwareKind = "mmwDemo",
        faults: FaultPlan | None = None,
        device_clock: DeviceClock | None = None,
    ) -> None:
        self.clock, self.wake = clock, wake
        self.run: RadarRun | None = None
        self._kind: FirmwareKind = firmware
        self._faults, self._device_clock = faults or FaultPlan(), device_clock or DeviceClock()
        self._noise = np.random.default_rng([self._faults.seed, 2])
        self._firmware: RadarFirmware | None = RadarFirmware(firmware)  # None once it hangs
        self._runs = self._lines = 0
        self._line = b""
        self._boots_at_s: float | None = None
        self._closed = False
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)  # the firmware echoes, the terminal must not
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._serve, name="radar-serial", daemon=True)

    def __enter__(self) -> "SimulatedRadar":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._thread.join()
        with self.wake:
            self._stop_run()
        self._unplug()

    def reset(self) -> None:
        """The card pulls the reset line: the sensor stops, the firmware boots again and forgets its configuration."""
        with self.wake:
            self._stop_run()
            self._boots_at_s = time.monotonic() + _BOOT_S

    def pulse(self, true_s: float) -> None:
        """A rising edge on SYNC_IN: starts a frame of a run with hardware trigger."""
        with self.wake:
            if self.run is not None:
                self.run.pulse(true_s)

    def no_pulse_after(self, true_s: float) -> None:
        """Pulses told of for later than `true_s` will not come: the board was stopped or restarted."""
        with self.wake:
            if self.run is not None:
                self.run.no_pulse_after(true_s)

    # --- the serial line ---------------------------------------------------------------------------------------------
    def _serve(self) -> None:
        while not self._closed and self._master >= 0:
            readable, _, _ = select.select([self._master], [], [], _POLL_S)
            received = b""
            if readable:
                with contextlib.suppress(BlockingIOError):
                    received = os.read(self._master, 4096)
            if self._boots_at_s is not None:
                if time.monotonic() < self._boots_at_s:
                    continue  # what comes while it boots is lost
                self._boots_at_s, self._line = None, b""
                self._firmware = RadarFirmware(self._kind)
                self._print(BANNER + PROMPT)
            if received and self._firmware is not None and not self._faults.radar_silent:
                self._take(received)

    def _take(self, received: bytes) -> None:
        if termios.tcgetattr(self._slave)[5] not in (_LINE_SPEED[self._kind], _NEVER_SET):
            self._write(bytes(byte ^ 0xA5 for byte in received))
            return
        for byte in received:
            if byte not in b"\r\n":
                self._line += bytes([byte])
                self._write(bytes([byte]))
                continue
            self._write(b"\r\n")
            line, self._line = self._line, b""
            self._obey(line.decode("latin-1"))
            if self._master < 0 or self._firmware is None:
                return

    def _obey(self, line: str) -> None:
        self._lines += bool(line.strip())
        after = self._faults.unplug_radar_after
        if after is not None and self._lines > after:
            self._unplug()
            return
        assert self._firmware is not None
        name = (line.split() or [""])[0]
        if name and self._noise.random() < self._faults.serial_garbage:
            self._write(self._noise.integers(128, 256, 12, np.uint8).tobytes() + b"\xff\n")
        if name in self._faults.radar_fail:
            self._print("Error -1\n" + PROMPT)
            return
        was_running = self._firmware.running
        try:
            printed = self._firmware.answer(line)
        except FirmwareHangError:
            self._firmware = None
            return
        if self._firmware.running != was_running:
            with self.wake:
                self._stop_run()
                if self._firmware.streaming is not None:
                    start_s = self.clock.now_s() + _FIRST_FRAME_S
                    self.run = RadarRun(self._runs, self._firmware.streaming, start_s, self._device_clock, self.wake)
                    self._runs += 1
                    self.wake.notify_all()
        self._print(printed + PROMPT)

    def _stop_run(self) -> None:
        if self.run is not None:
            self.run.stop(self.clock.now_s())

    def _print(self, text: str) -> None:
        self._write(text.replace("\n", "\n\r").encode())  # the order the board's UART driver has

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody reads: the bytes are lost, as on a wire
            if self._master >= 0:
                os.write(self._master, data)

    def _unplug(self) -> None:
        for end in (self._master, self._slave):
            if end >= 0:
                os.close(end)
        self._master = self._slave = -1
