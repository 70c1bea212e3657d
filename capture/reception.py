"""What a reception is set to, what it counts, how it ended - and the sentences a person reads about it."""

from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from capture.dca1000_wire import CARD_IP, DATA_PORT, HOST_IP
from capture.receiver_kernels import COMPLETE, RESTARTED, SILENT, SOCKET_FAILED
from capture.receiver_socket import rmem_max
from pipeline.errors import PipelineError

Status = Literal[
    "stopped", "complete", "no-data", "silent", "restarted", "socket-failed", "disk-full", "write-failed", "failed"
]
"""Why a reception ended: told to stop; expected bytes received; no packet came; no packet came any more; the card began to
count again; the socket broke; the disk is full; it could not be written; a fault of this program."""

_MIB = 2**20
LARGEST_DATAGRAM_BYTES = 2**16


class ReceiverSettings(BaseModel):
    """What a reception is set to.

    What has no hole before it is closed, and written, at once. A hole stays open for late packets until the stream is
    `window_bytes` beyond the end of its frame, or for `close_after_s`; then it is zeros for good. The window defaults to
    16 MiB, or two frames where that is more; the ring to 128 MiB, or twice the window and a frame.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frame_bytes: int = Field(gt=0)
    host_ip: str = HOST_IP
    data_port: int = Field(DATA_PORT, ge=0, le=65535, description="0: the system chooses; see Receiver.address")
    card_ip: str = Field(CARD_IP, description="packets from any other address are dropped and counted")
    window_bytes: int | None = Field(None, ge=0)
    close_after_s: float = Field(1.0, gt=0)
    ring_bytes: int | None = Field(
        None, ge=2**16, description="memory for the window and for a writer that falls behind"
    )
    receive_buffer_bytes: int = Field(32 * _MIB, gt=0, description="socket buffer asked of the kernel")
    expected_bytes: int | None = Field(None, gt=0, description="end by itself when the stream is this long")
    first_packet_timeout_s: float | None = Field(10.0, gt=0)
    silence_timeout_s: float | None = Field(None, gt=0)
    reserve_bytes: int = Field(64 * _MIB, ge=0, description="disk space left free for closing the recording")
    byte_count_base: int = Field(0, ge=0, description="the card's byte count at the stream's start; 0 at RECORD_START")

    @property
    def window(self) -> int:
        """`window_bytes`, or its default."""
        return max(2 * self.frame_bytes, 16 * _MIB) if self.window_bytes is None else self.window_bytes

    @property
    def ring(self) -> int:
        """`ring_bytes`, or its default; PipelineError where it is too small for the window."""
        needed = self.window + self.frame_bytes + LARGEST_DATAGRAM_BYTES
        ring = max(2 * needed, 128 * _MIB) if self.ring_bytes is None else self.ring_bytes
        if ring < needed:
            raise PipelineError(
                f"A ring of {ring} bytes cannot hold the reorder window of {self.window} bytes and a frame of "
                f"{self.frame_bytes}: give it {needed} bytes or more, or lower window_bytes."
            )
        return ring


@dataclass(frozen=True)
class ReceiverCounters:
    """What happened so far. Byte counts are of payload."""

    packets: int  # stored
    bytes: int  # stored
    stream_bytes: int  # end of the furthest packet: what adc.bin will hold
    written_bytes: int  # what adc.bin holds
    frames_closed: int
    missing_bytes: int  # of what is closed: lost, zero in adc.bin
    duplicates: int
    reordered: int  # came after a later packet and filled the hole it had left
    too_late: int  # came after their frame was closed
    foreign: int  # from another address than the card's
    malformed: int
    implausible: int  # byte counts further ahead than any link can have carried
    kernel_drops: int  # thrown away by the kernel because the socket buffer was full
    writer_overruns: int  # dropped because the ring was full
    backlog_peak_bytes: int  # most bytes that ever waited in the ring
    slowest_sync_ms: int
    seconds: float  # from the first packet to the latest

    def as_dict(self) -> dict[str, int]:
        """Every counter but `seconds`."""
        return {name: value for name, value in asdict(self).items() if name != "seconds"}


@dataclass(frozen=True)
class ReceiverResult:
    """How a reception ended. `adc.bin` and `packets.bin` are whole and agree, whatever the status."""

    status: Status
    sentence: str  # for a person: what happened, and where it went wrong what to do
    counters: ReceiverCounters
    notes: tuple[str, ...]  # what the machine did not permit, and what was odd

    @property
    def ok(self) -> bool:
        """True where it ended as asked."""
        return self.status in ("stopped", "complete")


def outcome(
    reason: int, counters: ReceiverCounters, settings: ReceiverSettings, address: tuple[str, int]
) -> tuple[Status, str]:
    """Status and sentence for the receive loop's exit `reason` (`capture.receiver_kernels`)."""
    end = f"after {counters.stream_bytes} bytes"
    if reason == RESTARTED:
        return "restarted", (
            f"The card began to count again {end} (RECORD_START or a reset in mid-recording), and the recording ends "
            "there: let nothing else command the card, and record again."
        )
    if reason == SOCKET_FAILED:
        return "socket-failed", f"The data socket stopped working {end}: check the network adapter."
    if counters.packets == 0:
        return "no-data", _why_no_data(counters, settings, address)
    if reason == SILENT:
        return "silent", (
            f"No packet came for {settings.silence_timeout_s:g} s {end}: the radar stopped, or check its power and the "
            "cables."
        )
    if reason == COMPLETE:
        return "complete", f"All {settings.expected_bytes} bytes were reached."
    return "stopped", f"Stopped as asked {end}."


def _why_no_data(counters: ReceiverCounters, settings: ReceiverSettings, address: tuple[str, int]) -> str:
    odd = [
        f"{count} packets {what}"
        for count, what in (
            (counters.foreign, f"came from other addresses than {settings.card_ip} and were ignored"),
            (counters.malformed, "carried no payload"),
            (counters.implausible, "said that the card was in the middle of a recording: stop that one first"),
            (counters.kernel_drops, "were dropped by the kernel"),
        )
        if count
    ]
    return (
        f"No data packet came from {settings.card_ip} to {address[0]}:{address[1]}: check that the radar is chirping, the "
        "lane mode (two lanes on xWR18xx), lvdsStreamCfg -1 0 1 0, the SOP switches, that the firmware streams over LVDS, "
        f"and the firewall.{' But ' + ', '.join(odd) + '.' if odd else ''}"
    )


def losses(counters: ReceiverCounters) -> tuple[str, ...]:
    """A sentence for each way in which this machine, not the wire, lost packets."""
    said: list[str] = []
    if counters.kernel_drops:
        said.append(
            f"The kernel dropped {counters.kernel_drops} packets because the socket buffer was full: raise "
            f"net.core.rmem_max (now {rmem_max()}) and receive_buffer_bytes, or free the processor."
        )
    if counters.writer_overruns:
        said.append(
            f"{counters.writer_overruns} packets were dropped because the disk was slower than the card: record to a "
            "faster disk, or raise ring_bytes."
        )
    return tuple(said)
