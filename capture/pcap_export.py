"""A recording as a packet capture, and a packet capture sent again to a live receiver."""

import math
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from capture.dca1000_wire import (
    CARD_IP,
    CARD_SOURCE_PORT,
    CONFIG_PORT,
    DATA_HEADER_BYTES,
    DATA_PORT,
    HOST_IP,
    encode_data_header,
    ipv4_bytes,
)
from capture.pcap import SIMULATED_MAC, require_data, survey_capture
from capture.pcap_copy import session_packets
from capture.pcap_file import PcapWriter
from capture.udp_frames import Datagram, DatagramRun, udp_frame
from pipeline.errors import PipelineError
from pipeline.recording import Recording

PAYLOAD_BYTES = 1456  # of a real card's full packet, for recordings that do not know their packets
_MOST_PAYLOAD_BYTES = 65507 - DATA_HEADER_BYTES  # what one UDP datagram over IPv4 can carry
_CARD_MAC = bytes.fromhex("123456789012")  # the card's factory setting
_SIMULATED_CARD_MAC = SIMULATED_MAC + b"\0\1"
_HOST_MAC = b"\2\0\0\0\0\1"


class _Packet(NamedTuple):
    time_ns: int
    sequence: int
    offset: int
    length: int


def write_capture(
    recording: Recording, path: Path, *, card_ip: str = CARD_IP, host_ip: str = HOST_IP, data_port: int = DATA_PORT
) -> int:
    """Write `recording`'s data packets as a classic pcap with nanosecond times; returns how many.

    Every stored packet is written in the order it arrived, with its time, size and number: what was lost stays lost. Where the
    recording does not know its packets, its stream is cut into full ones, spread evenly over the frame period. Raises
    PipelineError when `path` exists or cannot be written, or a packet is larger than a datagram can be.
    """
    source, destination = ipv4_bytes(card_ip), ipv4_bytes(host_ip)
    hardware = _SIMULATED_CARD_MAC if recording.manifest.simulated else _CARD_MAC
    if recording.stream_bytes == 0:
        raise PipelineError(f"{recording.id} holds no radar data, so there is nothing to write.")
    stream = np.memmap(recording.folder / "adc.bin", np.uint8, "r")
    partial = path.with_name(f".{path.name}.partial")
    count = 0
    if path.exists():
        raise PipelineError(f"{path} exists; choose another name, captures are not overwritten.")
    try:
        partial.unlink(missing_ok=True)
        with PcapWriter(partial) as writer:
            for packet in _packets(recording):
                payload = encode_data_header(packet.sequence, packet.offset)
                payload += stream[packet.offset : packet.offset + packet.length].tobytes()
                frame = udp_frame(
                    source,
                    CARD_SOURCE_PORT,
                    destination,
                    data_port,
                    payload,
                    hardware_source=hardware,
                    hardware_destination=_HOST_MAC,
                    identification=count,
                )
                writer.write(packet.time_ns, frame)
                count += 1
        partial.rename(path)
    except OSError as error:
        raise PipelineError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return count


def _packets(recording: Recording) -> Iterator[_Packet]:
    records = recording.packets
    waveform = recording.waveform
    start_ns = int(recording.manifest.created_utc.timestamp()) * 1_000_000_000

    def even_time(offset: int) -> int:
        return start_ns + round(offset / waveform.frame_bytes * waveform.frame_period_s * 1e9)

    if records is None:
        for index, offset in enumerate(range(0, recording.stream_bytes, PAYLOAD_BYTES)):
            length = min(PAYLOAD_BYTES, recording.stream_bytes - offset)
            yield _Packet(even_time(offset), index + 1, offset, length)
        return
    if len(records) and int(records["length"].max()) > _MOST_PAYLOAD_BYTES:
        raise PipelineError(
            f"{recording.id} has a packet of {records['length'].max()} bytes; one UDP datagram carries {_MOST_PAYLOAD_BYTES}."
        )
    for block in range(0, len(records), 1 << 16):
        some = records[block : block + (1 << 16)]
        columns = (some[name].tolist() for name in ("kernel_time_ns", "sequence", "byte_offset", "length"))
        for time_ns, sequence, offset, length in zip(*columns, strict=True):
            yield _Packet(time_ns or even_time(offset), sequence, offset, length)


def _whole_packets(
    pieces: Iterator[tuple[Datagram | DatagramRun, tuple[int, int] | None]],
) -> Iterator[Datagram]:
    for piece, place in pieces:
        if isinstance(piece, DatagramRun):
            yield from piece.datagrams()
        elif place is not None and not piece.cut:
            yield piece


@dataclass(frozen=True)
class ReplayCounts:
    """What `replay_capture` sent. `latest_ms` is how late the latest packet was against the capture's timing."""

    packets: int
    payload_bytes: int
    seconds: float
    latest_ms: float


def replay_capture(
    path: Path,
    host: str,
    port: int = DATA_PORT,
    *,
    speed: float = 1.0,
    session: int | None = None,
    card_ip: str | None = None,
    data_port: int = DATA_PORT,
    config_port: int = CONFIG_PORT,
    source_ip: str = "",
) -> ReplayCounts:
    """Send one recording's data packets of a capture to a receiver at `host`:`port`, timed as they were captured.

    `speed` 2 sends twice as fast, infinity without waiting (a receiver may not keep up). `source_ip` is the address to send from,
    which a receiver takes for the card's. Raises PipelineError for a capture without DCA1000 data or a network that refuses.
    """
    if not speed > 0:
        raise PipelineError(
            f"A replay speed of {speed:g} is not possible; give a number above 0, or inf for no waiting."
        )
    survey = survey_capture(path, card_ip=card_ip, data_port=data_port, config_port=config_port)
    require_data(survey)
    chosen = survey.session(session)
    packets = payload_bytes = 0
    latest_s = 0.0
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((source_ip, 0))
            sender.connect((host, port))
            begin = time.monotonic()
            for datagram in _whole_packets(session_packets(survey, chosen)):
                due = begin + (datagram.time_ns - chosen.start_ns) / 1e9 / speed if speed < math.inf else begin
                ahead = due - time.monotonic()
                if (
                    ahead > 0.001
                ):  # a shorter sleep costs more than it is worth: packets go out in bursts of a millisecond
                    time.sleep(ahead)
                else:
                    latest_s = max(latest_s, -ahead)
                sender.send(datagram.payload)
                packets += 1
                payload_bytes += len(datagram.payload) - DATA_HEADER_BYTES
            seconds = time.monotonic() - begin
    except OSError as error:
        raise PipelineError(f"Packets cannot be sent to {host}:{port}: {error.strerror or error}.") from error
    return ReplayCounts(packets, payload_bytes, seconds, latest_s * 1e3 if speed < math.inf else 0.0)
