"""Raw files with packet headers, as TI's recorder writes them when `packetSequenceEnable` is set and it does not post-process.

Source: TI's DCA1000 CLI (BSD), `recorddatarecv.cpp`, `writeDataToFile`. Little-endian, one record a packet:

    u32 sequence   number of the packet, from 1
    u32 size       bytes of payload
    u48 count      bytes the card had sent before this packet
    payload        `size` bytes
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from capture.stream_placer import StreamPlacer
from pipeline.errors import PipelineError

_HEADER = struct.Struct("<IIIH")
_MOST_PAYLOAD_BYTES = 9000
_RECORDS_CHECKED = 8


def has_packet_headers(path: Path) -> bool:
    """Whether the file begins with records whose numbers and byte counts add up; samples never do so by chance."""
    with path.open("rb") as file:
        begin = file.read(_RECORDS_CHECKED * (_HEADER.size + _MOST_PAYLOAD_BYTES))
    place, checked, last, end = 0, 0, 0, 0
    while checked < _RECORDS_CHECKED and place + _HEADER.size <= len(begin):
        sequence, size, low, high = _HEADER.unpack_from(begin, place)
        ahead = (low | high << 32) - end
        if not 0 < size <= _MOST_PAYLOAD_BYTES or sequence <= last:
            return False
        if checked and not 0 <= ahead <= (sequence - last) * _MOST_PAYLOAD_BYTES:
            return False
        last, end = sequence, end + ahead + size
        place += _HEADER.size + size
        checked += 1
    return checked >= 2 or (checked == 1 and place == len(begin))


def copy_headed_pieces(
    pieces: list[Path], folder: Path, *, frame_bytes: int
) -> tuple[dict[str, int | float], list[str]]:
    """Write `adc.bin` and `packets.bin` from the pieces' records; returns counters and notes. Packets have no times.

    PipelineError where a record in the middle cannot be; an incomplete last one is left out and said.
    """
    notes: list[str] = []
    base: int | None = None
    with StreamPlacer(folder) as placer:
        for piece in pieces:
            with piece.open("rb") as file:
                for sequence, count, payload in _records(file, piece.name, notes):
                    if base is None:
                        base = 0 if sequence <= 4096 else count // frame_bytes * frame_bytes
                        if base:
                            notes.append(
                                f"{piece.name} begins at byte {count} of the card's stream; adc.bin starts with frame "
                                f"{base // frame_bytes} of the recording."
                            )
                    if count < base:
                        raise PipelineError(
                            f"{piece.name} holds a packet from before the recording's start (byte {count}); it mixes recordings."
                        )
                    placer.place(count - base, payload, sequence, 0)
    return dict(vars(placer.counters)), notes


def _records(file: BinaryIO, name: str, notes: list[str]) -> Iterator[tuple[int, int, bytes]]:
    place, end = 0, 0
    while head := file.read(_HEADER.size):
        if len(head) < _HEADER.size:
            notes.append(f"{name} ends with {len(head)} bytes of an incomplete packet header; they were left out.")
            return
        sequence, size, low, high = _HEADER.unpack(head)
        count = low | high << 32
        if not 0 < size <= _MOST_PAYLOAD_BYTES or (place and abs(count - end) > 1 << 40):
            raise PipelineError(
                f"{name} is damaged at byte {place}: a packet of {size} bytes at byte {count} of the stream cannot be; copy it "
                "again."
            )
        payload = file.read(size)
        if len(payload) < size:
            notes.append(f"{name} ends in the middle of packet {sequence}: {len(payload)} of {size} bytes were kept.")
        if payload:
            yield sequence, count, payload
        place += _HEADER.size + size
        end = count + size
