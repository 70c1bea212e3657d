"""Payloads put where their byte count says, straight onto disk: `adc.bin` and `packets.bin` of an import.

An import may come in any order and reach back as far as it likes, so nothing is ever closed: late bytes go into their hole
whenever they come. What is never filled stays zero, as a file's holes are.
"""

import struct
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pipeline.packets import FLAG_LATE, PACKET_RECORD

_RECORD = struct.Struct("<QqqIHH")
_WRITE_BYTES = 4 << 20
assert _RECORD.size == PACKET_RECORD.itemsize


@dataclass
class PlacerCounters:
    """What became of the packets; byte counts are of payload."""

    packets: int = 0  # stored
    bytes: int = 0  # stored
    reordered: int = 0  # came after a later packet and filled the hole it had left
    duplicates: int = 0  # said again what was there
    conflicting: int = 0  # said otherwise than what was there; the first one stays


class StreamPlacer:
    """Writes `adc.bin` and `packets.bin` into `folder`; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.counters = PlacerCounters()
        self.stream_bytes = 0  # end of the furthest packet
        self._adc = (folder / "adc.bin").open("w+b", buffering=_WRITE_BYTES)
        self._records = (folder / "packets.bin").open("wb", buffering=_WRITE_BYTES)
        self._holes: list[tuple[int, int]] = []  # [start, stop), ascending, all below stream_bytes

    def place(self, offset: int, payload: bytes, sequence: int, time_ns: int) -> None:
        """Store `payload` at `offset` of the stream; bytes that are there already are never overwritten."""
        end = offset + len(payload)
        late = offset < self.stream_bytes
        if not late:
            if offset > self.stream_bytes:
                self._holes.append((self.stream_bytes, offset))
                self._adc.seek(offset)
            self._adc.write(payload)
            self.stream_bytes = end
        elif not self._fill(offset, end, payload):
            return
        counters = self.counters
        counters.packets += 1
        counters.bytes += len(payload)
        counters.reordered += late
        self._records.write(
            _RECORD.pack(offset, time_ns, time_ns, sequence & 0xFFFFFFFF, len(payload), FLAG_LATE if late else 0)
        )

    def place_run(
        self, offset: int, payloads: UInt8[np.ndarray, "packet byte"], sequence: int, times_ns: np.ndarray
    ) -> None:
        """Store packets of one length whose bytes and numbers follow one another from `offset` and `sequence` on."""
        count, length = payloads.shape
        if offset < self.stream_bytes:
            for index in range(count):
                self.place(offset + index * length, payloads[index].tobytes(), sequence + index, int(times_ns[index]))
            return
        if offset > self.stream_bytes:
            self._holes.append((self.stream_bytes, offset))
            self._adc.seek(offset)
        self._adc.write(payloads.tobytes())
        self.stream_bytes = offset + payloads.size
        self.counters.packets += count
        self.counters.bytes += payloads.size
        records = np.zeros(count, PACKET_RECORD)
        records["byte_offset"] = offset + np.arange(count) * length
        records["kernel_time_ns"] = records["monotonic_ns"] = times_ns
        records["sequence"] = (sequence + np.arange(count)) & 0xFFFFFFFF
        records["length"] = length
        self._records.write(records.tobytes())

    def _fill(self, offset: int, end: int, payload: bytes) -> bool:
        """Write the parts of `[offset, end)` that lie in holes or past the end; False when there are none."""
        self._adc.seek(offset)
        there = self._adc.read(min(end, self.stream_bytes) - offset)
        before = bytearray(payload[: len(there)])  # what should stand there if the packet repeats or fills
        first = touched = max(bisect_right(self._holes, (offset, offset)) - 1, 0)
        left: list[tuple[int, int]] = []
        while touched < len(self._holes) and self._holes[touched][0] < end:
            start, stop = self._holes[touched]
            left += [part for part in ((start, min(stop, offset)), (max(start, end), stop)) if part[0] < part[1]]
            a, b = max(start, offset) - offset, min(stop, end) - offset
            if a < b:
                before[a:b] = there[a:b]
            touched += 1
        new = left != self._holes[first:touched] or end > self.stream_bytes
        agrees = before == there
        self.counters.conflicting += not agrees
        self.counters.duplicates += agrees and not new
        if agrees and new:
            self._holes[first:touched] = left
            self._adc.seek(offset)
            self._adc.write(payload)
            self.stream_bytes = max(self.stream_bytes, end)
        self._adc.seek(self.stream_bytes)
        return agrees and new

    def __enter__(self) -> "StreamPlacer":
        return self

    def __exit__(self, *_: object) -> None:
        self._adc.close()
        self._records.close()
