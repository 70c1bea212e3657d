"""A simulated DCA1000EVM at the far end of its Ethernet cable: answers commands, turns samples into data packets.

What is as on a real card: replies and data leave from a port that is not the configuration port; a data packet leaves
when it is full; the rest comes 2.000 s after the last sample, together with the status "record completed"; without
samples the card says so when its timer runs out. What nobody has measured, and is chosen here: RECORD_STOP sends what is
left at once, RECORD_START while recording starts over, a command that is no command is not answered.
"""

import contextlib
import socket
import threading
from collections.abc import Callable

from capture.dca1000_wire import (
    CommandCode,
    EepromConfig,
    FpgaConfig,
    PacketConfig,
    StatusBit,
    Version,
    decode_command,
    encode_reply,
    encode_status,
    encode_version,
)
from capture.simulator.card_recording import CardRecording
from capture.simulator.clock import DeviceClock, RigClock
from capture.simulator.datagrams import DatagramSender
from capture.simulator.faults import FaultPlan, RecordingTruth
from capture.simulator.impairments import IDEAL, Impairments
from capture.simulator.lvds import RadarRun
from capture.simulator.scene import Scene
from pipeline.errors import PipelineError

_POLL_S = 0.1
VERSION = Version(2, 8, False)  # what a real card answered


class SimulatedCard:
    """Answers on (`card_ip`, `config_port`); port 0 lets the system choose. Data go to `data_port` of whoever commands.

    `radar_run` tells which sensorStart is in force, `reset_radar` is the radar's reset line, `wake` is notified by radar
    and card whenever one of them changes. Use as a context manager.
    """

    def __init__(
        self,
        clock: RigClock,
        wake: threading.Condition,
        scene: Scene,
        radar_run: Callable[[], RadarRun | None],
        reset_radar: Callable[[], None],
        *,
        card_ip: str,
        config_port: int,
        data_port: int,
        seed: int = 0,
        impairments: Impairments = IDEAL,
        faults: FaultPlan | None = None,
        device_clock: DeviceClock | None = None,
    ) -> None:
        self.clock, self.wake, self.scene, self.seed = clock, wake, scene, seed
        self.impairments = impairments
        self.radar_run, self._reset_radar = radar_run, reset_radar
        self.faults, self.device_clock = faults or FaultPlan(), device_clock or DeviceClock()
        self.card_ip, self.data_port = card_ip, data_port
        self.fpga, self.packet_config = FpgaConfig(), PacketConfig()
        self.truths: list[RecordingTruth] = []
        self._ignore = dict(self.faults.ignore_commands)
        self._host: tuple[str, int] | None = None
        self._recording: CardRecording | None = None
        self.error: BaseException | None = None  # what broke a recording, if anything did
        self._closed = False
        try:
            self._config = _bind(card_ip, config_port)
            self._out = _bind(card_ip, 0)
        except OSError as error:
            raise PipelineError(
                f"The simulated card cannot answer on {card_ip}:{config_port} ({error.strerror}); choose another port, "
                "or 0 for a free one."
            ) from error
        self._config.settimeout(_POLL_S)
        self.config_port: int = self._config.getsockname()[1]
        self._thread = threading.Thread(target=self._answer, name="card-commands", daemon=True)

    def __enter__(self) -> "SimulatedCard":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._thread.join()
        self._end_recording()
        self._config.close()
        self._out.close()

    # --- commands ----------------------------------------------------------------------------------------------------
    def _answer(self) -> None:
        while not self._closed:
            try:
                datagram, sender = self._config.recvfrom(2048)
            except TimeoutError:
                continue
            if self._gone():
                continue
            try:
                code, data = decode_command(datagram)
            except PipelineError:
                continue
            if self._ignore.get(code.name, 0) > 0:
                self._ignore[code.name] -= 1
                continue
            self._host = sender
            if self.faults.status_before_reply is not None:
                self.send_status(self.faults.status_before_reply)
            if code.name in self.faults.fail_commands:
                self._send(encode_reply(code, 1))
                continue
            self._obey(code, data)

    def _obey(self, code: CommandCode, data: bytes) -> None:
        status = 0
        try:
            if code == CommandCode.CONFIG_FPGA_GEN:
                self.fpga = FpgaConfig.decode(data)
            elif code == CommandCode.CONFIG_PACKET_DATA:
                self.packet_config = PacketConfig.decode(data)
            elif code == CommandCode.CONFIG_EEPROM:
                self.data_port = EepromConfig.decode(data).data_port
            elif code == CommandCode.READ_FPGA_VERSION:
                status = encode_version(VERSION)
        except PipelineError:
            status = 1
        if code == CommandCode.RESET_FPGA:
            self._end_recording()
            self.fpga, self.packet_config = FpgaConfig(), PacketConfig()
        elif code == CommandCode.RESET_AR_DEV:
            self._reset_radar()
        elif code == CommandCode.RECORD_START:
            self._end_recording()
            self._start_recording()
        self._send(encode_reply(code, status))
        if code == CommandCode.RECORD_STOP and self._recording:
            self._recording.stop()

    def _send(self, datagram: bytes) -> None:
        if self._host is not None and not self._gone():
            with contextlib.suppress(OSError):  # the host may be gone, which a card never notices
                self._out.sendto(datagram, self._host)

    def send_status(self, status: int) -> None:
        """Send an asynchronous status word to whoever commands."""
        self._send(encode_status(status))

    def _gone(self) -> bool:
        recording = self._recording
        return self.faults.card_dead or (recording is not None and recording.unplugged)

    # --- recording ---------------------------------------------------------------------------------------------------
    def _start_recording(self) -> None:
        assert self._host is not None
        truth = RecordingTruth()
        self.truths.append(truth)
        sender = DatagramSender(self._out, self._host[0], self.data_port)
        self._recording = CardRecording(self, len(self.truths) - 1, truth, sender)
        self._recording.start()

    def _end_recording(self) -> None:
        if self._recording:
            self._recording.abandon()
            self.error = self.error or self._recording.error
            self._recording = None

    def no_data_status(self) -> int:
        """Which status a timer without usable samples raises: multi mode looks for headers that raw samples lack."""
        return 1 << (StatusBit.NO_HEADER if self.fpga.logging == "multi" else StatusBit.NO_LVDS_DATA)

    def hears_lvds(self) -> bool:
        """Whether samples that the radar sends reach the recording: lane count and mode must match an xWR18xx."""
        fpga = self.fpga
        as_sent = (fpga.lanes, fpga.logging, fpga.transfer, fpga.destination) == ("two", "raw", "capture", "ethernet")
        return as_sent and not self.faults.no_lvds


def _bind(ip: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((ip, port))
    except OSError:
        sock.close()
        raise
    return sock
