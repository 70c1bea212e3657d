"""A card's stream of bytes as data packets, and many datagrams for one system call (Linux `sendmmsg`)."""

import ctypes
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int16, Int64, UInt8, UInt64

from capture.dca1000_wire import DATA_HEADER_BYTES

BATCH = 32  # datagrams at once: together they fit the smallest usual socket buffer (92 packets) three times over
_LINE_RATE_S = 1 / 81_600  # a 1 Gbit/s link carries no more full packets
_FULL_BYTES = 80_000
"""Memory of a receiver's queue, as the kernel shows it, that leaves room for one more batch (74 kB) in the smallest usual
buffer (213 kB): what was read and is not yet given back, up to a quarter of the buffer, is not shown (Linux `udp_rmem_release`).
"""

_IOVEC = np.dtype([("base", "<u8"), ("length", "<u8")])
_MMSGHDR = np.dtype(
    {
        "names": ["name", "name_length", "iov", "iov_count", "sent"],
        "formats": ["<u8", "<u4", "<u8", "<u8", "<u4"],
        "offsets": [0, 8, 16, 24, 56],  # struct mmsghdr on 64-bit Linux; control data and flags stay zero
        "itemsize": 64,
    }
)


@dataclass(frozen=True)
class Packets:
    """Data packets in memory: number of the first (from 1), and of each its first stream byte, address and size."""

    first: int
    offset: Int64[np.ndarray, " packet"]
    address: UInt64[np.ndarray, " packet"]
    length: Int64[np.ndarray, " packet"]

    def copy_of(self, index: int, length: int) -> UInt8[np.ndarray, " byte"]:
        """The first `length` bytes of one packet, for as long as the caller keeps them."""
        return np.frombuffer(ctypes.string_at(int(self.address[index]), length), np.uint8)


class Packetiser:
    """Cuts a stream into data packets of one size; what does not fill one waits for more, or for `flush`."""

    def __init__(self, payload_bytes: int, first_sequence: int = 1, first_byte_count: int = 0) -> None:
        self.payload_bytes = payload_bytes
        self.packets = 0
        self.stream_bytes = 0  # packed so far, the waiting ones not
        self._first_sequence, self._first_byte_count = first_sequence, first_byte_count
        self._record = np.dtype(
            [("sequence", "<u4"), ("low", "<u4"), ("high", "<u2"), ("payload", "u1", (payload_bytes,))]
        )
        self._waiting = np.zeros(0, np.uint8)
        self._block = np.zeros(0, self._record)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that do not fill a packet yet."""
        return len(self._waiting)

    def add(self, words: Int16[np.ndarray, " word"]) -> Packets:
        """The packets that these words fill; they stay valid until the next call."""
        stream = np.concatenate([self._waiting, words.view(np.uint8)])
        count = len(stream) // self.payload_bytes
        whole = count * self.payload_bytes
        if len(self._block) < count:
            self._block = np.zeros(count, self._record)
        self._block["payload"][:count] = stream[:whole].reshape(count, self.payload_bytes)
        self._waiting = stream[whole:].copy()
        return self._number(count, self.payload_bytes)

    def flush(self) -> Packets:
        """The last, partial packet, if any byte waits."""
        count = min(1, len(self._waiting))
        if len(self._block) < count:
            self._block = np.zeros(count, self._record)
        if count:
            self._block["payload"][0, : len(self._waiting)] = self._waiting
        packets = self._number(count, len(self._waiting))
        self._waiting = self._waiting[:0]
        return packets

    def _number(self, count: int, payload: int) -> Packets:
        offset = self.stream_bytes + np.arange(count, dtype=np.int64) * payload
        block = self._block[:count]
        block["sequence"] = (self._first_sequence + self.packets + np.arange(count)) % 2**32
        count_before = (self._first_byte_count + offset) % 2**48
        block["low"], block["high"] = count_before & 0xFFFFFFFF, count_before >> 32
        first = self.packets + 1
        self.packets += count
        self.stream_bytes += count * payload
        address = block.ctypes.data + np.arange(count, dtype=np.uint64) * np.uint64(self._record.itemsize)
        length = np.full(count, DATA_HEADER_BYTES + payload, np.int64)
        return Packets(first, offset, address, length)


class DatagramSender:
    """Sends datagrams from memory to one address. Nobody need be listening, as on a wire."""

    def __init__(self, sock: socket.socket, host_ip: str, port: int) -> None:
        self._socket = sock
        self.host_ip, self.port = host_ip, port
        self._name = np.frombuffer(
            socket.AF_INET.to_bytes(2, "little") + port.to_bytes(2, "big") + socket.inet_aton(host_ip) + bytes(8),
            np.uint8,
        )
        self._iovec = np.zeros(BATCH, _IOVEC)
        self._headers = np.zeros(BATCH, _MMSGHDR)
        self._headers["name"] = self._name.ctypes.data
        self._headers["name_length"] = len(self._name)
        self._headers["iov"] = self._iovec.ctypes.data + np.arange(BATCH) * _IOVEC.itemsize
        self._headers["iov_count"] = 1
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._free_s = 0.0

    def send(self, address: UInt64[np.ndarray, " packet"], length: Int64[np.ndarray, " packet"]) -> None:
        """Send up to BATCH datagrams; those the kernel refuses are lost, as on a wire."""
        count = len(address)
        self._iovec["base"][:count], self._iovec["length"][:count] = address, length
        at = 0
        while at < count:
            sent = self._sendmmsg(
                self._socket.fileno(),
                ctypes.c_void_p(self._headers.ctypes.data + at * _MMSGHDR.itemsize),
                count - at,
                0,
            )
            at += max(sent, 1)

    def room(self, count: int, *, wait_for_receiver: bool) -> bool:
        """Whether `count` more datagrams may leave; False after waiting a moment when not.

        Nothing leaves faster than over a 1 Gbit/s link. With `wait_for_receiver` a receiver on this machine must have
        room for them too: so a rig that runs faster than real time floods nobody, which a real card cannot promise.
        """
        now_s = time.monotonic()
        if self._free_s > now_s:
            time.sleep(self._free_s - now_s)
        if wait_for_receiver and queued_bytes(self.host_ip, self.port) > _FULL_BYTES:
            time.sleep(0.0005)
            return False
        self._free_s = max(self._free_s, now_s) + count * _LINE_RATE_S
        return True


def queued_bytes(host_ip: str, port: int) -> int:
    """Kernel memory that unread datagrams hold at a UDP socket of this machine; 0 where there is no such socket."""
    address = socket.inet_aton(host_ip)[::-1].hex().upper()
    ends = (f"{address}:{port:04X}", f"00000000:{port:04X}")
    most = 0
    for line in Path(f"/proc/{os.getpid()}/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] in ends:
            most = max(most, int(fields[4].split(":")[1], 16))
    return most
