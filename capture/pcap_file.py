"""Packet-capture files as frames, in the file's order, and back: classic pcap and pcapng, gzipped or not.

Sources: draft-ietf-opsawg-pcap (24-byte file header, 16-byte record headers; magic 0xA1B2C3D4 microseconds, 0xA1B23C4D
nanoseconds, either byte order) and draft-ietf-opsawg-pcapng (blocks; section header, interface description with if_tsresol and
if_tsoffset, enhanced, simple and obsolete packet blocks). Times stay whole nanoseconds, which a float cannot hold, and every
pcapng packet is read with the link type and clock of its own interface.
"""

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BufferedIOBase, BufferedReader, FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from pipeline.errors import PipelineError

LINK_ETHERNET = 1
_MOST_FRAME_BYTES = 1 << 20  # libpcap allows 256 KiB; from a mebibyte on the length itself is damaged
_PCAP_MAGICS = {  # first four bytes -> (byte order, nanoseconds a tick)
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_BLOCK_BYTES = 4 << 20
_SHORTEST_RUN = 8
_PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_TS_RESOLUTION, _TS_OFFSET = 9, 14


class Frame(NamedTuple):
    """One captured frame: Unix time in ns (0 where the file has none), link type, the bytes kept, the bytes it had."""

    time_ns: int
    link_type: int
    data: bytes
    length: int


class FrameRun(NamedTuple):
    """Whole frames of one length that follow one another in the file, as a card's do: read at once because that is fast."""

    times_ns: Int64[np.ndarray, " frame"]
    link_type: int
    data: UInt8[np.ndarray, "frame byte"]

    def frames(self) -> Iterator[Frame]:
        """The same frames, one by one."""
        for time_ns, data in zip(self.times_ns.tolist(), self.data, strict=True):
            yield Frame(time_ns, self.link_type, data.tobytes(), len(data))


def is_capture_file(path: Path) -> bool:
    """Whether `path` begins as a pcap or pcapng file does, gzipped or not."""
    try:
        with _open(path) as file:
            return _known(file.read(4))
    except (OSError, EOFError, zlib.error):
        return False


class CaptureFile:
    """Frames of a capture file, read in a stream: `for frame in CaptureFile(path)`, as often as wanted.

    After the last frame `cut_bytes` tells how many bytes of an incomplete record stood at the end, as a capture program that
    was killed leaves them. Raises PipelineError when the file cannot be read, is empty, is no capture, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut_bytes = 0

    def __iter__(self) -> Iterator[Frame]:
        for piece in self.pieces():
            if isinstance(piece, Frame):
                yield piece
            else:
                yield from piece.frames()

    def pieces(self) -> Iterator[Frame | FrameRun]:
        """The same frames in the same order, those of one length together where many of them follow one another."""
        self.cut_bytes, name = 0, self.path.name
        try:
            with _open(self.path) as file:
                magic = file.read(4)
                if not magic:
                    raise PipelineError(f"{name} is empty; capture again while the card is streaming.")
                if not _known(magic):
                    raise PipelineError(
                        f"{name} is no packet capture: it begins with {magic.hex(' ')}, not as pcap or pcapng files do."
                    )
                if magic in _PCAP_MAGICS:
                    yield from self._pcap(magic, file)
                else:
                    file.seek(0)
                    yield from self._pcapng(file)
        except OSError as error:
            raise PipelineError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        except (EOFError, zlib.error) as error:
            raise PipelineError(f"{name} is a damaged gzip file ({error}); copy it again.") from None

    def _damaged(self, at: int, what: str) -> PipelineError:
        return PipelineError(
            f"{self.path.name} is damaged at byte {self._place + at}: {what}; copy it again, or capture again."
        )

    def _records(
        self, file: BufferedIOBase, take: Callable[[bytes, int], tuple[int, Frame | FrameRun | None]]
    ) -> Iterator[Frame | FrameRun]:
        """Frames of a file whose records follow one another, read in blocks.

        `take(buffer, at)` gives the bytes of the record at `at` (0: it is not whole yet) and what it holds.
        """
        buffer = b""
        while block := file.read(_BLOCK_BYTES):
            buffer, at = buffer + block, 0
            while True:
                size, piece = take(buffer, at)
                if size == 0:
                    break
                at += size
                if piece is not None:
                    yield piece
            self._place += at
            buffer = buffer[at:]
        self.cut_bytes = len(buffer)

    def _pcap(self, magic: bytes, file: BufferedIOBase) -> Iterator[Frame | FrameRun]:
        order, tick_ns = _PCAP_MAGICS[magic]
        rest = file.read(20)
        if len(rest) < 20:
            raise PipelineError(f"{self.path.name} ends inside its file header; capture again.")
        self._place = 24
        link_type = struct.unpack_from(order + "I", rest, 16)[0] & 0x0FFFFFFF  # the top bits tell of a frame check sum
        record = struct.Struct(order + "IIII")

        def take(buffer: bytes, at: int) -> tuple[int, Frame | FrameRun | None]:
            if at + 16 > len(buffer):
                return 0, None
            seconds, ticks, kept, length = record.unpack_from(buffer, at)
            if kept > _MOST_FRAME_BYTES:
                raise self._damaged(at, f"a frame of {kept} bytes cannot be")
            end = at + 16 + kept
            if end > len(buffer):
                return 0, None
            rows = _run(buffer, at, 16 + kept, slice(8, 16)) if kept == length else None
            if rows is None:
                time_ns = seconds * 1_000_000_000 + ticks * tick_ns
                return 16 + kept, Frame(time_ns, link_type, buffer[at + 16 : end], max(length, kept))
            clock = np.ascontiguousarray(rows[:, :8]).view(order + "u4").astype(np.int64)
            return rows.size, FrameRun(clock[:, 0] * 1_000_000_000 + clock[:, 1] * tick_ns, link_type, rows[:, 16:])

        return self._records(file, take)

    def _pcapng(self, file: BufferedIOBase) -> Iterator[Frame | FrameRun]:
        order, interfaces = "<", list[_Interface]()
        self._place = 0

        def take(buffer: bytes, at: int) -> tuple[int, Frame | FrameRun | None]:
            nonlocal order
            if at + 12 > len(buffer):
                return 0, None
            if buffer[at : at + 4] == _PCAPNG_MAGIC:
                order = self._section_order(buffer, at)
                interfaces.clear()
            kind, size = struct.unpack_from(order + "II", buffer, at)
            if size < 12 or size % 4 or size > _MOST_FRAME_BYTES + 65536:
                raise self._damaged(at, f"a block of {size} bytes cannot be")
            if at + size > len(buffer):
                return 0, None
            body = buffer[at + 8 : at + size - 4]
            if kind == _INTERFACE:
                interfaces.append(_interface(body, order))
            if kind not in (_PACKET, _OLD_PACKET, _SIMPLE_PACKET):
                return size, None
            frame, interface = self._packet(kind, at, body, order, interfaces)
            exact = interface.ticks_per_second <= 1_000_000_000  # what 64 bits can convert
            alike = exact and kind == _PACKET and len(frame.data) == frame.length
            rows = _run(buffer, at, size, slice(0, 12), slice(20, 28)) if alike else None
            if rows is None:
                return size, frame
            ticks = np.ascontiguousarray(rows[:, 12:20]).view(order + "u4").astype(np.int64)
            times_ns = interface.time_ns(ticks[:, 0] << 32 | ticks[:, 1])
            return rows.size, FrameRun(times_ns, frame.link_type, rows[:, 28 : 28 + frame.length])

        return self._records(file, take)

    def _section_order(self, buffer: bytes, at: int) -> str:
        mark = buffer[at + 8 : at + 12]
        if mark not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
            raise self._damaged(at, "a section without a byte-order mark")
        return "<" if mark[0] == 0x4D else ">"

    def _packet(
        self, kind: int, at: int, body: bytes, order: str, interfaces: list["_Interface"]
    ) -> tuple[Frame, "_Interface"]:
        number, ticks, begin = 0, 0, 4
        try:
            if kind == _SIMPLE_PACKET:
                length = kept = struct.unpack_from(order + "I", body)[0]
            else:
                shape = "IIIII" if kind == _PACKET else "HHIIII"
                number, *rest = struct.unpack_from(order + shape, body)
                high, low, kept, length = rest[-4:]
                ticks, begin = high << 32 | low, 20
            interface = interfaces[number]
        except (struct.error, IndexError):
            raise self._damaged(at, "a packet of an interface that is not described") from None
        if kind == _SIMPLE_PACKET:
            kept = min(kept, interface.snap_length or kept, len(body) - begin)
        if kept > len(body) - begin:
            raise self._damaged(at, f"a packet of {kept} bytes in a block of {len(body)}")
        time_ns = 0 if kind == _SIMPLE_PACKET else interface.time_ns(ticks)
        return Frame(time_ns, interface.link_type, body[begin : begin + kept], max(length, kept)), interface


def _run(buffer: bytes, at: int, size: int, *same: slice) -> UInt8[np.ndarray, "record byte"] | None:
    """The records of `size` bytes that follow the one at `at` and equal it in the bytes `same`; None where they are few."""
    most = (len(buffer) - at) // size
    if most < _SHORTEST_RUN:
        return None
    for count in (_SHORTEST_RUN, most):  # a short look first: most runs that are none end at once
        rows = np.frombuffer(buffer, np.uint8, count * size, at).reshape(count, size)
        alike = np.logical_and.reduce([(rows[:, part] == rows[0, part]).all(axis=1) for part in same])
        if not alike[:_SHORTEST_RUN].all():
            return None
    return rows[: count if alike.all() else int(alike.argmin())]


class _Interface(NamedTuple):
    link_type: int
    snap_length: int
    ticks_per_second: int
    offset_s: int

    def time_ns(self, ticks: Any) -> Any:
        """Unix time in ns of a tick count, or of an array of them; exact."""
        seconds, rest = ticks // self.ticks_per_second, ticks % self.ticks_per_second
        return (seconds + self.offset_s) * 1_000_000_000 + rest * 1_000_000_000 // self.ticks_per_second


def _interface(body: bytes, order: str) -> _Interface:
    if len(body) < 8:
        return _Interface(LINK_ETHERNET, 0, 1_000_000, 0)
    link_type, _, snap_length = struct.unpack_from(order + "HHI", body)
    ticks, offset_s, place = 1_000_000, 0, 8
    while place + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, place)
        value = body[place + 4 : place + 4 + length]
        if code == _TS_RESOLUTION and length == 1:
            ticks = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == _TS_OFFSET and length == 8:
            offset_s = struct.unpack(order + "q", value)[0] if len(value) == 8 else 0
        elif code == 0:
            break
        place += 4 + (length + 3) // 4 * 4
    return _Interface(link_type, snap_length, ticks, offset_s)


def _known(magic: bytes) -> bool:
    return magic in _PCAP_MAGICS or magic == _PCAPNG_MAGIC


def _open(path: Path) -> BufferedIOBase:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.GzipFile(path) if zipped else BufferedReader(FileIO(path), 1 << 20)


class PcapWriter:
    """A classic pcap file with nanosecond times and Ethernet frames; use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=1 << 20)
        self._file.write(struct.pack("<IHHIIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, LINK_ETHERNET))

    def write(self, time_ns: int, frame: bytes) -> None:
        """Append one whole frame captured at Unix time `time_ns`."""
        seconds, rest = divmod(time_ns, 1_000_000_000)
        self._file.write(struct.pack("<IIII", seconds, rest, len(frame), len(frame)))
        self._file.write(frame)

    def __enter__(self) -> "PcapWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
