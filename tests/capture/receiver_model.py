"""Helpers of the receiver's tests: streams of packets, a plain model of what must become of them, a way to send them."""

import itertools
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from capture.dca1000 import SEQUENCE_SPAN, encode_data_header
from capture.receiver import Receiver
from capture.reception import ReceiverResult, ReceiverSettings
from pipeline.packets import FLAG_LATE, PACKET_RECORD

CARD, HOST, STRANGER = "127.0.0.1", "127.0.0.1", "127.0.0.2"
NEVER_S = 1e6


class Packet(NamedTuple):
    """A data packet as a card sends it; `offset` is its place in the stream, its count that plus the base."""

    sequence: int
    offset: int
    payload: bytes

    def datagram(self, base: int = 0) -> bytes:
        return encode_data_header(self.sequence, self.offset + base) + self.payload


def packets_of(lengths: Iterable[int], *, first_sequence: int = 1, seed: int = 0) -> list[Packet]:
    """A stream of payloads of these lengths, no byte of them 0."""
    noise = np.random.default_rng(seed)
    starts = itertools.accumulate(lengths := list(lengths), initial=0)
    return [
        Packet((first_sequence + n) % SEQUENCE_SPAN, start, noise.integers(1, 256, length, np.uint8).tobytes())
        for n, (start, length) in enumerate(zip(starts, lengths, strict=False))
    ]


@dataclass
class Model:
    """What the receiver must do, byte by byte: no ring, no batches, no list of holes."""

    window: int
    frame: int
    stream: dict[int, int] = field(default_factory=dict)
    high: int = 0
    counters: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("packets", "bytes", "duplicates", "reordered", "too_late"), 0)
    )
    records: list[tuple[int, int, int, int]] = field(default_factory=list)

    def feed(self, packet: Packet) -> None:
        closed = max((self.high - self.window) // self.frame * self.frame, 0)
        places = range(packet.offset, packet.offset + len(packet.payload))
        missing = [place for place in places if place not in self.stream]
        new = [place for place in missing if place >= closed]
        late = packet.offset < self.high
        if new:
            self.stream |= {place: packet.payload[place - packet.offset] for place in new}
            self.counters["packets"] += 1
            self.counters["bytes"] += len(new)
            self.counters["reordered"] += late
            self.records.append((new[0], packet.sequence, len(new), FLAG_LATE if late else 0))
        else:
            self.counters["too_late" if missing else "duplicates"] += 1
        self.high = max(self.high, places.stop)

    @property
    def adc(self) -> bytes:
        return bytes(self.stream.get(place, 0) for place in range(self.high))

    @property
    def missing(self) -> list[list[int]]:
        holes = [place for place in range(self.high) if place not in self.stream]
        runs = [list(run) for _, run in itertools.groupby(enumerate(holes), lambda pair: pair[1] - pair[0])]
        return [[run[0][1], run[-1][1] + 1] for run in runs]


def settings_for(**changes) -> ReceiverSettings:
    return ReceiverSettings(
        **{
            "frame_bytes": 1000,
            "host_ip": HOST,
            "card_ip": CARD,
            "data_port": 0,
            "window_bytes": 10_000,
            "ring_bytes": 2**20,
            "receive_buffer_bytes": 2**23,
            "close_after_s": NEVER_S,
            "first_packet_timeout_s": None,
            "reserve_bytes": 0,
            **changes,
        }
    )


def send(address: tuple[str, int], datagrams: Iterable[bytes], *, source: str = CARD) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        for datagram in datagrams:
            sender.sendto(datagram, address)


def record(folder: Path, datagrams: Sequence[bytes], **changes) -> ReceiverResult:
    """A whole reception: everything sent at once, then stopped."""
    with Receiver(folder, settings_for(**changes)) as receiver:
        receiver.start()
        send(receiver.address, datagrams)
        return receiver.stop()


def files(folder: Path) -> tuple[bytes, np.ndarray]:
    return (folder / "adc.bin").read_bytes(), np.fromfile(folder / "packets.bin", PACKET_RECORD)


def counted(result: ReceiverResult, names: Iterable[str]) -> dict[str, int]:
    return {name: getattr(result.counters, name) for name in names}
