"""UDP datagrams in captured frames, and frames around datagrams.

link layer   Ethernet II with any number of VLAN tags, Linux "cooked" v1 and v2, raw IP, BSD loopback
network      IPv4 (RFC 791), fragments put together again; anything else is counted and passed over
transport    UDP (RFC 768)
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from capture.pcap_file import LINK_ETHERNET, CaptureFile, Frame, FrameRun

_RAW_IP = (12, 14, 101, 228)
_NULL, _LOOP, _COOKED, _COOKED_2 = 0, 108, 113, 276
_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
_IPV4, _UDP = 0x0800, 17
_UDP_HEADER = struct.Struct(">HHHH")
_MOST_OPEN_FRAGMENTS = 256


class Datagram(NamedTuple):
    """One UDP datagram; addresses are four bytes. `cut` is how many payload bytes the capture's snap length cut off."""

    time_ns: int
    source: bytes
    source_port: int
    destination: bytes
    port: int
    payload: bytes
    cut: int
    hardware_source: bytes  # the sender's MAC address; empty where the link layer has none


class DatagramRun(NamedTuple):
    """Whole datagrams of one length between one pair of sockets that follow one another; `first` is the first of them."""

    first: Datagram
    times_ns: Int64[np.ndarray, " datagram"]
    payloads: UInt8[np.ndarray, "datagram byte"]

    def datagrams(self) -> Iterator[Datagram]:
        """The same datagrams, one by one."""
        for time_ns, payload in zip(self.times_ns.tolist(), self.payloads, strict=True):
            yield self.first._replace(time_ns=time_ns, payload=payload.tobytes())


@dataclass
class UdpFrames:
    """Iterates the UDP datagrams of a capture file; the counts are complete once it is exhausted."""

    file: CaptureFile
    other_frames: int = 0  # not IPv4, not UDP, or shorter than their own headers
    unknown_link_frames: int = 0
    lost_fragments: int = 0  # fragments of datagrams that never became whole
    _open: dict[tuple[bytes, bytes, int], "_Fragments"] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Datagram]:
        for piece in self.pieces():
            if isinstance(piece, Datagram):
                yield piece
            else:
                yield from piece.datagrams()

    def pieces(self) -> Iterator[Datagram | DatagramRun]:
        """The same datagrams in the same order, those alike together where many of them follow one another."""
        for piece in self.file.pieces():
            run = _plain_run(piece) if isinstance(piece, FrameRun) else None
            if run is not None:
                yield run
                continue
            for frame in (piece,) if isinstance(piece, Frame) else piece.frames():
                datagram = self._datagram(frame)
                if datagram is not None:
                    yield datagram
        self.lost_fragments += sum(len(parts.pieces) for parts in self._open.values())
        self._open.clear()

    def _datagram(self, frame: Frame) -> Datagram | None:
        data, link = frame.data, frame.link_type
        if link == LINK_ETHERNET:
            begin, kind = 14, int.from_bytes(data[12:14])
            while kind in _VLAN_TYPES:
                kind, begin = int.from_bytes(data[begin + 2 : begin + 4]), begin + 4
            hardware = data[6:12]
        else:
            begin, kind, hardware = _other_link(link, data)
            if kind < 0:
                self.unknown_link_frames += 1
                return None
        if kind != _IPV4 or len(data) < begin + 20 or data[begin] >> 4 != 4:
            self.other_frames += 1
            return None
        head = (data[begin] & 15) * 4
        # A total length of 0 stands in frames that the network card was to split.
        total = int.from_bytes(data[begin + 2 : begin + 4]) or frame.length - begin
        fragment = int.from_bytes(data[begin + 6 : begin + 8])
        if head < 20 or data[begin + 9] != _UDP or total < head:
            self.other_frames += 1
            return None
        source, destination = data[begin + 12 : begin + 16], data[begin + 16 : begin + 20]
        body = data[begin + head : begin + total]
        cut = total - head - len(body)
        if fragment & 0x3FFF:
            key = (source, destination, int.from_bytes(data[begin + 4 : begin + 6]))
            whole = self._put_together(key, (fragment & 0x1FFF) * 8, bool(fragment & 0x2000), body, cut)
            if whole is None:
                return None
            body, cut = whole, 0
        if len(body) < 8:
            self.other_frames += 1
            return None
        source_port, port, length, _ = _UDP_HEADER.unpack_from(body)
        payload = body[8:length] if length >= 8 else body[8:]
        cut = max(0, length - 8 - len(payload)) if length >= 8 else cut
        return Datagram(frame.time_ns, source, source_port, destination, port, payload, cut, hardware)

    def _put_together(
        self, key: tuple[bytes, bytes, int], offset: int, more: bool, body: bytes, cut: int
    ) -> bytes | None:
        """The whole IP payload once this fragment completes it."""
        if key not in self._open and len(self._open) >= _MOST_OPEN_FRAGMENTS:
            oldest = next(iter(self._open))
            self.lost_fragments += len(self._open.pop(oldest).pieces)
        parts = self._open.setdefault(key, _Fragments())
        parts.pieces[offset] = body
        if not more:
            parts.total = offset + len(body) + cut
        whole = parts.whole()
        if whole is not None:
            del self._open[key]
        return whole


_SAME_IN_A_RUN = np.ones(42, bool)
_SAME_IN_A_RUN[[18, 19, 24, 25, 40, 41]] = False  # IPv4 identification and both check sums


def _plain_run(run: FrameRun) -> DatagramRun | None:
    """The datagrams of a run of plain Ethernet, IPv4 and UDP frames with one header; None for any other run."""
    if run.link_type != LINK_ETHERNET or run.data.shape[1] < 42:
        return None
    head = run.data[0, :42].tobytes()
    total, length = int.from_bytes(head[16:18]), int.from_bytes(head[38:40])
    unfragmented = not int.from_bytes(head[20:22]) & 0x3FFF
    if head[12:15] != b"\x08\x00\x45" or head[23] != _UDP or not unfragmented:
        return None
    if length < 8 or total != 20 + length or run.data.shape[1] < 14 + total:
        return None
    if not (run.data[:, :42] == run.data[0, :42])[:, _SAME_IN_A_RUN].all():
        return None
    payloads = run.data[:, 42 : 34 + length]
    source_port, port = _UDP_HEADER.unpack_from(head, 34)[:2]
    first = Datagram(
        int(run.times_ns[0]), head[26:30], source_port, head[30:34], port, payloads[0].tobytes(), 0, head[6:12]
    )
    return DatagramRun(first, run.times_ns, payloads)


@dataclass
class _Fragments:
    pieces: dict[int, bytes] = field(default_factory=dict)
    total: int | None = None

    def whole(self) -> bytes | None:
        if self.total is None:
            return None
        joined = bytearray()
        for offset in sorted(self.pieces):
            if offset > len(joined):
                return None
            joined[offset : offset + len(self.pieces[offset])] = self.pieces[offset]
        return bytes(joined) if len(joined) >= self.total else None


def _other_link(link: int, data: bytes) -> tuple[int, int, bytes]:
    """(where IP begins, EtherType, sender's MAC) of links other than Ethernet; EtherType -1 where the link is unknown."""
    if link in _RAW_IP:
        return 0, _IPV4, b""
    if link == _COOKED and len(data) >= 16:
        begin, kind = 16, int.from_bytes(data[14:16])
        while kind in _VLAN_TYPES:
            kind, begin = int.from_bytes(data[begin + 2 : begin + 4]), begin + 4
        return begin, kind, data[6:12]
    if link == _COOKED_2 and len(data) >= 20:
        begin, kind = 20, int.from_bytes(data[0:2])
        while kind in _VLAN_TYPES:
            kind, begin = int.from_bytes(data[begin + 2 : begin + 4]), begin + 4
        return begin, kind, data[12:18]
    if link in (_NULL, _LOOP) and len(data) >= 4:
        return 4, _IPV4 if 2 in (data[0], data[3]) else 0, b""  # AF_INET in either byte order
    return 0, -1 if link not in (_COOKED, _COOKED_2, _NULL, _LOOP) else 0, b""


def udp_frame(
    source: bytes,
    source_port: int,
    destination: bytes,
    port: int,
    payload: bytes,
    *,
    hardware_source: bytes,
    hardware_destination: bytes,
    identification: int,
) -> bytes:
    """An Ethernet frame with one IPv4 UDP datagram, both check sums right; addresses are 4 and 6 bytes."""
    length = 8 + len(payload)
    pseudo = source + destination + struct.pack(">HH", _UDP, length)
    udp = _UDP_HEADER.pack(source_port, port, length, 0) + payload
    checksum = _checksum(pseudo + udp) or 0xFFFF  # 0 would say "no check sum" (RFC 768)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, identification & 0xFFFF, 0x4000, 64, _UDP, 0)
    head += source + destination
    head = head[:10] + _checksum(head).to_bytes(2) + head[12:]
    return hardware_destination + hardware_source + b"\x08\x00" + head + udp[:6] + checksum.to_bytes(2) + payload


def _checksum(data: bytes) -> int:
    """The Internet check sum (RFC 1071): words are summed modulo 2**16 - 1, so one division does it."""
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data) % 0xFFFF
    if total == 0 and any(data):
        total = 0xFFFF
    return ~total & 0xFFFF
