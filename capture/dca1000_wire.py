"""The DCA1000EVM's datagrams as bytes: commands, replies, asynchronous status, data packets. No sockets here.

Sources: TI SPRUIJ4A, "DCA1000EVM Data Capture Card User's Guide" (command and response formats, data packet format);
TI "DCA1000EVM CLI Software Developer Guide" 1.01, section 2.3 (what each command carries); real captured replies.
All words are little-endian.

    command  | u16 0xA55A | u16 code | u16 n      | n bytes | u16 0xEEAA |   host -> card, configuration port
    reply    | u16 0xA55A | u16 code | u16 status |           u16 0xEEAA |   card -> host, status 0 = done, 1 = failed
    status   | the same with code 0x0A, whenever the card likes; status is a set of `StatusBit`s
    data     | u32 sequence from 1 | u48 bytes sent before this packet | payload |   card -> host, data port
"""

import ipaddress
import struct
from enum import IntEnum
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipeline.card_config import THROUGHPUT_MBPS, throughput_mbps
from pipeline.errors import PipelineError

CARD_IP = "192.168.33.180"
HOST_IP = "192.168.33.30"
CONFIG_PORT = 4096
DATA_PORT = 4098
CARD_SOURCE_PORT = 1024  # seen on a real card: filter on its address, never on a port

HEADER = 0xA55A
FOOTER = 0xEEAA
REPLY_BYTES = 8

DATA_HEADER = struct.Struct("<IIH")  # sequence, low 32 bits and high 16 bits of the byte count
DATA_HEADER_BYTES = DATA_HEADER.size
SEQUENCE_SPAN = 2**32
BYTE_COUNT_SPAN = 2**48


class CommandCode(IntEnum):
    """What a datagram on the configuration port is about."""

    RESET_FPGA = 0x01
    RESET_AR_DEV = 0x02
    CONFIG_FPGA_GEN = 0x03
    CONFIG_EEPROM = 0x04
    RECORD_START = 0x05
    RECORD_STOP = 0x06
    PLAYBACK_START = 0x07
    PLAYBACK_STOP = 0x08
    SYSTEM_CONNECT = 0x09
    SYSTEM_ERROR = 0x0A
    CONFIG_PACKET_DATA = 0x0B
    CONFIG_DATA_MODE_AR_DEV = 0x0C
    INIT_FPGA_PLAYBACK = 0x0D
    READ_FPGA_VERSION = 0x0E


class StatusBit(IntEnum):
    """Bit numbers of an asynchronous status word."""

    NO_LVDS_DATA = 0
    NO_HEADER = 1
    EEPROM_FAILURE = 2
    SD_DETECTED = 3
    SD_REMOVED = 4
    SD_FULL = 5
    MODE_CONFIG_FAILURE = 6
    DDR_FULL = 7
    RECORD_COMPLETED = 8
    LVDS_BUFFER_FULL = 9
    PLAYBACK_COMPLETED = 10
    PLAYBACK_OUT_OF_SEQUENCE = 11


EVENT_BITS = frozenset(
    {StatusBit.SD_DETECTED, StatusBit.SD_REMOVED, StatusBit.RECORD_COMPLETED, StatusBit.PLAYBACK_COMPLETED}
)
"""Bits that report something that happened; every other bit is a fault."""

_STATUS_SENTENCES: dict[StatusBit, str] = {
    StatusBit.NO_LVDS_DATA: "the card sees no LVDS data: check that the radar is chirping, then the lane mode, "
    "lvdsStreamCfg and the 60-pin cable",
    StatusBit.NO_HEADER: "the card logs in multi mode and finds no headers in the LVDS data: log raw, or send headers",
    StatusBit.EEPROM_FAILURE: "the card could not write its EEPROM",
    StatusBit.SD_DETECTED: "an SD card was put in",
    StatusBit.SD_REMOVED: "the SD card was taken out",
    StatusBit.SD_FULL: "the SD card is full",
    StatusBit.MODE_CONFIG_FAILURE: "the card refused its mode: check its DIP switches against the configuration",
    StatusBit.DDR_FULL: "the card's memory is full and samples were lost: shorten the packet delay or slow the radar",
    StatusBit.RECORD_COMPLETED: "recording completed",
    StatusBit.LVDS_BUFFER_FULL: "the card's LVDS buffer overflowed and samples were lost: lower the LVDS rate",
    StatusBit.PLAYBACK_COMPLETED: "playback completed",
    StatusBit.PLAYBACK_OUT_OF_SEQUENCE: "a playback packet was missing or out of order",
}


def status_bits(status: int) -> tuple[StatusBit, ...]:
    """The bits set in an asynchronous status word, lowest first; bits without a meaning are left out."""
    return tuple(bit for bit in StatusBit if status >> bit & 1)


def describe_status(status: int) -> tuple[str, ...]:
    """One sentence for every bit set in an asynchronous status word, unknown bits included."""
    sentences = [_STATUS_SENTENCES[bit] for bit in status_bits(status)]
    unknown = status & ~sum(1 << bit for bit in StatusBit)
    if unknown:
        sentences.append(f"the card set status bits 0x{unknown:04x}, which TI's guide does not explain")
    return tuple(sentences)


# --- commands and replies --------------------------------------------------------------------------------------------


class Reply(NamedTuple):
    """A card's answer to a command, or with code SYSTEM_ERROR an asynchronous status."""

    code: CommandCode
    status: int


def encode_command(code: CommandCode, data: bytes = b"") -> bytes:
    """A command as it goes to the card."""
    return struct.pack("<HHH", HEADER, code, len(data)) + data + struct.pack("<H", FOOTER)


def decode_command(datagram: bytes) -> tuple[CommandCode, bytes]:
    """Code and data of a command; PipelineError where it is not one."""
    if len(datagram) >= REPLY_BYTES:
        header, code, length = struct.unpack_from("<HHH", datagram)
        (footer,) = struct.unpack_from("<H", datagram, len(datagram) - 2)
        if header == HEADER and footer == FOOTER and length == len(datagram) - REPLY_BYTES:
            return _known(code, datagram), datagram[6:-2]
    raise PipelineError(f"{_shown(datagram)} is no DCA1000 command (0xA55A, code, length, data, 0xEEAA).")


def encode_reply(code: CommandCode, status: int = 0) -> bytes:
    """A card's answer; `status` is 0 done, 1 failed, or for READ_FPGA_VERSION the version word."""
    return struct.pack("<HHHH", HEADER, code, status, FOOTER)


def encode_status(status: int) -> bytes:
    """An asynchronous status word as the card sends it."""
    return encode_reply(CommandCode.SYSTEM_ERROR, status)


def decode_reply(datagram: bytes) -> Reply:
    """A reply or an asynchronous status; PipelineError where it is neither."""
    if len(datagram) == REPLY_BYTES:
        header, code, status, footer = struct.unpack("<HHHH", datagram)
        if header == HEADER and footer == FOOTER:
            return Reply(_known(code, datagram), status)
    raise PipelineError(f"{_shown(datagram)} is no DCA1000 reply (0xA55A, code, status, 0xEEAA).")


def _known(code: int, datagram: bytes) -> CommandCode:
    try:
        return CommandCode(code)
    except ValueError:
        raise PipelineError(f"{_shown(datagram)} carries code 0x{code:02x}; the card knows 0x01 to 0x0e.") from None


def _shown(datagram: bytes) -> str:
    return f"A datagram of {len(datagram)} bytes ({datagram[:16].hex(' ') or 'empty'})"


# --- what commands carry ---------------------------------------------------------------------------------------------


class FpgaConfig(BaseModel):
    """CONFIG_FPGA_GEN, six bytes (CLI Developer Guide 2.3.1). The defaults are an xWR1843's: `01 02 01 02 03 1e`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    logging: Literal["raw", "multi"] = "raw"
    lanes: Literal["four", "two"] = Field("two", description="two on xWR16xx/18xx/68xx, four on xWR12xx/14xx")
    transfer: Literal["capture", "playback"] = "capture"
    destination: Literal["sd", "ethernet"] = "ethernet"
    bits: Literal[12, 14, 16] = 16
    timer_s: int = Field(30, ge=0, le=255, description="seconds of LVDS silence after which the card says so")

    def encode(self) -> bytes:
        """The command's six data bytes."""
        return bytes([table.index(getattr(self, name)) + 1 for name, table in _FPGA_CODES.items()] + [self.timer_s])

    @classmethod
    def decode(cls, data: bytes) -> "FpgaConfig":
        """What `encode` made; PipelineError where a byte has no meaning."""
        if len(data) != 6:
            raise PipelineError(f"CONFIG_FPGA_GEN carries 6 bytes, not {len(data)}.")
        fields: dict[str, str | int] = {"timer_s": data[5]}
        for (name, table), code in zip(_FPGA_CODES.items(), data[:5], strict=True):
            if not 1 <= code <= len(table):
                raise PipelineError(f"CONFIG_FPGA_GEN: the byte for {name} is {code}, but must be 1 to {len(table)}.")
            fields[name] = table[code - 1]
        return cls.model_validate(fields)


_FPGA_CODES: dict[str, tuple[str | int, ...]] = {  # in wire order; a meaning's code is its place, from 1
    "logging": ("raw", "multi"),
    "lanes": ("four", "two"),
    "transfer": ("capture", "playback"),
    "destination": ("sd", "ethernet"),
    "bits": (12, 14, 16),
}

PACKET_DELAY_LIMITS_US = (5, 500)
_CLOCKS_PER_US = 125  # 8 ns clocks
# Megabits a second, Ethernet headers included, that the card sends at a packet delay (CLI Developer Guide 2.3.7).


class PacketConfig(BaseModel):
    """CONFIG_PACKET_DATA, `u16 packet size, u16 delay in 8 ns clocks, u16 0` (CLI Developer Guide 2.3.7)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    packet_size: int = Field(1470, ge=48, le=1472, description="bytes of a data datagram at most; TI's tools say 1470")
    delay_us: int = Field(25, description="pause between two data packets")

    @field_validator("delay_us")
    @classmethod
    def _in_range(cls, delay_us: int) -> int:
        low, high = PACKET_DELAY_LIMITS_US
        if not low <= delay_us <= high:
            rates = ", ".join(f"{delay} us about {rate:.0f} Mbit/s" for delay, rate in THROUGHPUT_MBPS.items())
            raise PipelineError(
                f"A packet delay of {delay_us} us is out of the card's range; choose {low} to {high} us ({rates})."
            )
        return delay_us

    @property
    def payload_bytes(self) -> int:
        """Payload of a full packet: whole 8-byte LVDS words behind the header (1470 -> 1456 seen on a real card)."""
        return (self.packet_size - DATA_HEADER_BYTES) // 8 * 8

    @property
    def rate_mbps(self) -> float:
        """About the most the card sends at this delay, Mbit/s; exact at TI's own points."""
        return throughput_mbps(self.delay_us)

    def encode(self) -> bytes:
        """The command's six data bytes."""
        return struct.pack("<HHH", self.packet_size, self.delay_us * _CLOCKS_PER_US, 0)

    @classmethod
    def decode(cls, data: bytes) -> "PacketConfig":
        """What `encode` made; PipelineError where a value is out of range."""
        if len(data) != 6:
            raise PipelineError(f"CONFIG_PACKET_DATA carries 6 bytes, not {len(data)}.")
        size, clocks, _ = struct.unpack("<HHH", data)
        try:
            return cls(packet_size=size, delay_us=clocks // _CLOCKS_PER_US)
        except ValidationError:
            raise PipelineError(f"CONFIG_PACKET_DATA: packet size {size} must be 48 to 1472.") from None


class EepromConfig(BaseModel):
    """CONFIG_EEPROM, 18 bytes: addresses the card keeps when its power goes (CLI Developer Guide 2.3.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host_ip: str = HOST_IP
    card_ip: str = CARD_IP
    card_mac: str = Field(description="six hexadecimal bytes joined by ':' , '-' or '.'")
    config_port: int = Field(CONFIG_PORT, ge=1, le=65535)
    data_port: int = Field(DATA_PORT, ge=1, le=65535)

    def encode(self) -> bytes:
        """The command's 18 data bytes: host address, card address and MAC last byte first, then both ports."""
        mac = self.card_mac.replace("-", ":").replace(".", ":").split(":")
        try:
            addresses = ipv4_bytes(self.host_ip)[::-1] + ipv4_bytes(self.card_ip)[::-1]
            hardware = bytes(int(part, 16) for part in mac)[::-1]
        except ValueError:
            hardware = b""
        if len(hardware) != 6:
            raise PipelineError(
                f"{self.card_mac!r} is no MAC address; write six bytes in hexadecimal: 12:34:56:78:90:12."
            )
        return addresses + hardware + struct.pack("<HH", self.config_port, self.data_port)

    @classmethod
    def decode(cls, data: bytes) -> "EepromConfig":
        """What `encode` made."""
        if len(data) != 18:
            raise PipelineError(f"CONFIG_EEPROM carries 18 bytes, not {len(data)}.")
        config_port, data_port = struct.unpack_from("<HH", data, 14)
        return cls(
            host_ip=str(ipaddress.IPv4Address(data[0:4][::-1])),
            card_ip=str(ipaddress.IPv4Address(data[4:8][::-1])),
            card_mac=data[8:14][::-1].hex(":"),
            config_port=config_port,
            data_port=data_port,
        )


class Version(NamedTuple):
    """READ_FPGA_VERSION's status word: major in bits 0-6, minor in 7-13, playback firmware in 14 (0x0402 -> 2.8)."""

    major: int
    minor: int
    playback: bool

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}{' (playback)' if self.playback else ''}"


def encode_version(version: Version) -> int:
    """The status word that says `version`."""
    return version.major & 0x7F | (version.minor & 0x7F) << 7 | version.playback << 14


def decode_version(status: int) -> Version:
    """What the status word of READ_FPGA_VERSION says."""
    return Version(status & 0x7F, status >> 7 & 0x7F, bool(status >> 14 & 1))


def encode_data_header(sequence: int, byte_count: int) -> bytes:
    """The ten bytes before a data packet's payload; both counters wrap."""
    count = byte_count % BYTE_COUNT_SPAN
    return DATA_HEADER.pack(sequence % SEQUENCE_SPAN, count & 0xFFFFFFFF, count >> 32)


def decode_data_header(datagram: bytes) -> tuple[int, int]:
    """(sequence, bytes sent before this packet) of a data datagram; PipelineError where it is too short."""
    if len(datagram) < DATA_HEADER_BYTES:
        raise PipelineError(f"{_shown(datagram)} is no data packet: its header alone takes {DATA_HEADER_BYTES} bytes.")
    sequence, low, high = DATA_HEADER.unpack_from(datagram)
    return sequence, low | high << 32


def ipv4_bytes(address: str) -> bytes:
    """The four bytes of a dotted address, as in a socket address; PipelineError where it is none."""
    try:
        return ipaddress.IPv4Address(address).packed
    except ValueError:
        raise PipelineError(f"{address!r} is no IPv4 address; write it as 192.168.33.30.") from None
