"""The DCA1000EVM card client: every command, sent and answered on the configuration port.

The bytes themselves are in `capture/dca1000_wire.py`; their names are offered here too.
"""

import contextlib
import errno
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from capture.dca1000_wire import (
    BYTE_COUNT_SPAN,
    CARD_IP,
    CARD_SOURCE_PORT,
    CONFIG_PORT,
    DATA_HEADER,
    DATA_HEADER_BYTES,
    DATA_PORT,
    EVENT_BITS,
    HOST_IP,
    PACKET_DELAY_LIMITS_US,
    SEQUENCE_SPAN,
    CommandCode,
    EepromConfig,
    FpgaConfig,
    PacketConfig,
    Reply,
    StatusBit,
    Version,
    decode_command,
    decode_data_header,
    decode_reply,
    decode_version,
    describe_status,
    encode_command,
    encode_data_header,
    encode_reply,
    encode_status,
    encode_version,
    ipv4_bytes,
    status_bits,
)
from pipeline.errors import PipelineError

__all__ = [
    "BYTE_COUNT_SPAN",
    "CARD_IP",
    "CARD_SOURCE_PORT",
    "CONFIG_PORT",
    "DATA_HEADER",
    "DATA_HEADER_BYTES",
    "DATA_PORT",
    "EVENT_BITS",
    "HOST_IP",
    "PACKET_DELAY_LIMITS_US",
    "SEQUENCE_SPAN",
    "CardClient",
    "CardStatus",
    "CommandCode",
    "EepromConfig",
    "FpgaConfig",
    "PacketConfig",
    "Reply",
    "StatusBit",
    "Version",
    "decode_command",
    "decode_data_header",
    "decode_reply",
    "decode_version",
    "describe_status",
    "encode_command",
    "encode_data_header",
    "encode_reply",
    "encode_status",
    "encode_version",
    "status_bits",
]

_IP_RECVERR = 11  # linux/in.h: ICMP answers ("nobody listens there") reach this socket as errors
_MSG_ERRQUEUE = 0x2000
_MAX_DATAGRAM = 65536
_DRAIN_S = 0.2  # how long past a deadline what already waits is still read, so that a flood cannot hold us

# What a person should look at when the card says no.
_ON_FAILURE = {
    CommandCode.RESET_FPGA: "power-cycle the card",
    CommandCode.RESET_AR_DEV: "check the 60-pin cable between card and radar board, and the radar's power",
    CommandCode.CONFIG_FPGA_GEN: "check the card's DIP switches: SW2.5 on (set by software), lanes and device as configured",
    CommandCode.CONFIG_EEPROM: "check SW2.6 and power-cycle the card",
    CommandCode.RECORD_START: "send record stop first: it may still be recording; then reset and configure it again",
    CommandCode.RECORD_STOP: "no recording was running, or the card needs a reset",
    CommandCode.PLAYBACK_START: "the card must run its playback firmware and be configured for playback",
    CommandCode.PLAYBACK_STOP: "no playback was running",
    CommandCode.SYSTEM_CONNECT: "power-cycle the card",
    CommandCode.CONFIG_PACKET_DATA: "check packet size (48 to 1472 bytes) and delay (5 to 500 us)",
    CommandCode.CONFIG_DATA_MODE_AR_DEV: "check that the radar board is powered and connected",
    CommandCode.INIT_FPGA_PLAYBACK: "the card must run its playback firmware",
}


class CardStatus(NamedTuple):
    """An asynchronous status word and when it was read (CLOCK_MONOTONIC)."""

    status: int
    monotonic_ns: int

    @property
    def bits(self) -> tuple[StatusBit, ...]:
        """The bits set, lowest first."""
        return status_bits(self.status)

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence a bit."""
        return describe_status(self.status)

    @property
    def is_fault(self) -> bool:
        """True where any bit is more than news (recording completed, SD card put in, ...)."""
        return any(bit not in EVENT_BITS for bit in range(16) if self.status >> bit & 1)


class CardClient:
    """A DCA1000EVM's configuration port, as a context manager that holds the host's socket.

    Replies are matched by code. An asynchronous status that lands in between, or at any other time, is kept in
    `statuses` and given to `on_status`; `poll` collects those that came since. Datagrams from any other address are
    ignored and counted in `foreign`; the card's source port is never looked at (a real card's is 1024). What comes from
    the card but answers nothing asked (a reply to an earlier attempt, garbage) is counted in `unmatched`.

    `config_port` is the card's; the host listens on `host_port`, the same one unless given (0: the system chooses), on
    which a real card answers. A lost datagram is sent again `retries` times, each waiting `timeout_s`.
    """

    def __init__(
        self,
        card_ip: str = CARD_IP,
        host_ip: str = HOST_IP,
        config_port: int = CONFIG_PORT,
        *,
        host_port: int | None = None,
        timeout_s: float | int = 1.0,
        retries: int = 2,
        on_status: Callable[[CardStatus], None] | None = None,
    ) -> None:
        self.card_ip = card_ip
        self.host_ip = host_ip
        self.config_port = config_port
        self.timeout_s = timeout_s
        self.retries = retries
        self.statuses: list[CardStatus] = []
        self.foreign = 0
        self.unmatched = 0
        self._on_status = on_status
        self._refused = ""
        ipv4_bytes(card_ip)
        self._socket = bind_udp(host_ip, config_port if host_port is None else host_port, "the card's answers")
        with contextlib.suppress(OSError):  # without it only the wording of a timeout is less sharp
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)

    def __enter__(self) -> "CardClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    @property
    def host_address(self) -> tuple[str, int]:
        """Address and port on which the host listens."""
        return self._socket.getsockname()

    # --- commands ----------------------------------------------------------------------------------------------------
    def reset_fpga(self) -> None:
        """RESET_FPGA: the card forgets its configuration."""
        self._command(CommandCode.RESET_FPGA)

    def reset_radar(self) -> None:
        """RESET_AR_DEV: pulls the radar board's reset line; its firmware boots again."""
        self._command(CommandCode.RESET_AR_DEV)

    def configure_fpga(self, config: FpgaConfig | None = None) -> None:
        """CONFIG_FPGA_GEN: what is recorded, from how many lanes, to where."""
        self._command(CommandCode.CONFIG_FPGA_GEN, (config or FpgaConfig()).encode())

    def configure_packets(self, packet_size: int = 1470, delay_us: int = 25) -> None:
        """CONFIG_PACKET_DATA: size of data packets and the pause between two (5 to 500 us)."""
        self._command(CommandCode.CONFIG_PACKET_DATA, PacketConfig(packet_size=packet_size, delay_us=delay_us).encode())

    def configure_eeprom(self, config: EepromConfig) -> None:
        """CONFIG_EEPROM: the addresses the card wakes up with. A wrong one makes it unreachable until SW2.6 is set."""
        self._command(CommandCode.CONFIG_EEPROM, config.encode())

    def record_start(self) -> None:
        """RECORD_START: from now on samples become data packets, counted from sequence 1 and byte 0."""
        self._command(CommandCode.RECORD_START)

    def record_stop(self) -> None:
        """RECORD_STOP: no more samples are taken; bytes already held are still sent."""
        self._command(CommandCode.RECORD_STOP)

    def playback_start(self) -> None:
        """PLAYBACK_START."""
        self._command(CommandCode.PLAYBACK_START)

    def playback_stop(self) -> None:
        """PLAYBACK_STOP."""
        self._command(CommandCode.PLAYBACK_STOP)

    def init_playback(self, data: bytes = b"") -> None:
        """INIT_FPGA_PLAYBACK; TI publishes no layout of its data, so it is passed as it is."""
        self._command(CommandCode.INIT_FPGA_PLAYBACK, data)

    def configure_radar_data_mode(self, data: bytes = b"") -> None:
        """CONFIG_DATA_MODE_AR_DEV; TI publishes no layout of its data, so it is passed as it is."""
        self._command(CommandCode.CONFIG_DATA_MODE_AR_DEV, data)

    def system_connect(self) -> None:
        """SYSTEM_CONNECT: is the card alive?"""
        self._command(CommandCode.SYSTEM_CONNECT)

    def read_status(self) -> CardStatus:
        """SYSTEM_ERROR asked for: the card's status word, which cannot be told from an asynchronous one and is kept too.

        Real cards were seen to answer 0 here whatever was wrong: believe the asynchronous ones.
        """
        self._request(CommandCode.SYSTEM_ERROR)
        return self.statuses[-1]

    def read_version(self) -> Version:
        """READ_FPGA_VERSION."""
        return decode_version(self._request(CommandCode.READ_FPGA_VERSION))

    def poll(self, timeout_s: float | int = 0.0) -> tuple[CardStatus, ...]:
        """The asynchronous statuses that wait in the socket, waiting up to `timeout_s` for the first.

        Those that came while a command was being answered are not among them: `statuses` has them all.
        """
        before = len(self.statuses)
        deadline = time.monotonic() + timeout_s
        while (reply := self._receive(deadline)) is not None:
            self.unmatched += reply.code != CommandCode.SYSTEM_ERROR
            if len(self.statuses) > before:
                deadline = min(deadline, time.monotonic())  # and whatever else is there already
        return tuple(self.statuses[before:])

    # --- asking and listening ----------------------------------------------------------------------------------------
    def _command(self, code: CommandCode, data: bytes = b"") -> None:
        status = self._request(code, data)
        if status != 0:
            raise PipelineError(
                f"The card at {self.card_ip} answered {code.name} with failure (status {status}): {_ON_FAILURE[code]}."
                + self._recent_faults()
            )

    def _request(self, code: CommandCode, data: bytes = b"") -> int:
        """Send, wait for the reply with this code, send again when none comes; the reply's status word."""
        self.poll()  # an answer to an earlier attempt must not pass for this one's
        self._refused = ""
        for _ in range(1 + self.retries):
            deadline = time.monotonic() + self.timeout_s
            self._send(encode_command(code, data))
            while (reply := self._receive(deadline)) is not None:
                if reply.code == code:
                    return reply.status
                self.unmatched += reply.code != CommandCode.SYSTEM_ERROR
        ignored = f" {self.foreign} datagrams from other addresses were ignored." if self.foreign else ""
        raise PipelineError(
            f"The card at {self.card_ip}:{self.config_port} did not answer {code.name} "
            f"({1 + self.retries} times, {self.timeout_s:g} s each): {self._refused or _SILENT}{ignored}"
        )

    def _send(self, datagram: bytes) -> None:
        for _ in range(2):  # an ICMP answer to an earlier datagram is reported here and stops this one
            try:
                self._socket.sendto(datagram, (self.card_ip, self.config_port))
                return
            except OSError as error:
                self._explain(error)

    def _receive(self, deadline: float) -> Reply | None:
        """The next reply or status from the card, statuses already kept; None once `deadline` passed and nothing waits."""
        while (remaining_s := deadline - time.monotonic()) > -_DRAIN_S:
            self._socket.settimeout(max(remaining_s, 0.0))
            try:
                datagram, (address, _port) = self._socket.recvfrom(_MAX_DATAGRAM)
            except (TimeoutError, BlockingIOError):
                return None
            except OSError as error:
                self._explain(error)
                continue
            if address != self.card_ip:
                self.foreign += 1
                continue
            try:
                reply = decode_reply(datagram)
            except PipelineError:
                self.unmatched += 1
                continue
            if reply.code == CommandCode.SYSTEM_ERROR:
                status = CardStatus(reply.status, time.monotonic_ns())
                self.statuses.append(status)
                if self._on_status:
                    self._on_status(status)
            return reply
        return None

    def _explain(self, error: OSError) -> None:
        """Keep what the network said for the sentence a timeout will raise; raise at once where waiting is in vain."""
        self._drop_icmp()
        if error.errno == errno.ECONNREFUSED:
            self._refused = (
                f"the machine at {self.card_ip} says that nothing listens on port {self.config_port}: check card_ip and "
                "config_port."
            )
        elif error.errno == errno.EHOSTUNREACH:
            self._refused = f"no machine answers at {self.card_ip}: check the card's power, the cable and card_ip."
        elif error.errno in (errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.EINVAL):
            raise PipelineError(
                f"{self.host_ip} cannot send to the card at {self.card_ip} ({error.strerror}): give the network adapter "
                f"that the card is plugged into the address {self.host_ip}/24, and let UDP {self.config_port} through "
                "the firewall."
            ) from error
        else:
            raise PipelineError(f"Talking to the card at {self.card_ip} failed: {error.strerror or error}.") from error

    def _drop_icmp(self) -> None:
        """Empty the socket's error queue: until then every wait on the socket returns at once."""
        self._socket.settimeout(0.0)
        with contextlib.suppress(OSError):
            while True:
                self._socket.recvmsg(512, 512, _MSG_ERRQUEUE)

    def _recent_faults(self) -> str:
        faults = [sentence for status in self.statuses[-3:] if status.is_fault for sentence in status.sentences]
        return f" It also reported: {'; '.join(dict.fromkeys(faults))}." if faults else ""


_SILENT = (
    "check the card's power and cable, that the adapter has the host address, the firewall, and SW2.6 (EEPROM or default "
    "addresses)."
)


def bind_udp(host_ip: str, port: int, purpose: str) -> socket.socket:
    """A UDP socket bound to `host_ip`:`port` (0: the system chooses); PipelineError says which of the two is wrong."""
    ipv4_bytes(host_ip)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        udp.bind((host_ip, port))
    except OSError as error:
        udp.close()
        if error.errno == errno.EADDRINUSE:
            reason = (
                f"UDP port {port} of {host_ip} is in use by another program: end the other capture, or change the port"
            )
        elif error.errno == errno.EADDRNOTAVAIL:
            reason = (
                f"this machine has no address {host_ip}: give it to the network adapter that the card is plugged into, or "
                "change host_ip"
            )
        else:
            reason = f"UDP port {port} of {host_ip} cannot be opened ({error.strerror})"
        raise PipelineError(f"Cannot listen for {purpose}: {reason}.") from error
    return udp
