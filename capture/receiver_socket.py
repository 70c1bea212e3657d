"""The data socket's kernel side: receive buffer, timestamps, drop counter (Linux socket(7), `linux/sock_diag.h`)."""

import contextlib
import socket
import struct
from pathlib import Path

from capture.dca1000 import bind_udp

_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")  # SK_MEMINFO_RMEM_ALLOC ... SK_MEMINFO_DROPS
_DROPS = 8
_RMEM_MAX = Path("/proc/sys/net/core/rmem_max")

LINE_RATE_PACKETS_PER_S = 81_600  # 1456-byte payloads filling 1 Gbit/s
_PACKET_MEMORY_BYTES = 2304  # what the kernel charges the buffer for one of them


def open_data_socket(host_ip: str, port: int, buffer_bytes: int) -> socket.socket:
    """A bound UDP socket that stamps packets on arrival, its buffer as near to `buffer_bytes` as permitted."""
    data = bind_udp(host_ip, port, "the card's data")
    data.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    try:
        data.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
    except OSError:
        data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)  # silently cut to net.core.rmem_max
    return data


def buffer_bytes(data: socket.socket) -> int:
    """The receive buffer the kernel really gave (it counts its own overhead: twice what was asked)."""
    return data.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def buffer_seconds(data: socket.socket) -> float:
    """How long the buffer holds a full 1 Gbit/s link while nobody reads."""
    return buffer_bytes(data) / _PACKET_MEMORY_BYTES / LINE_RATE_PACKETS_PER_S


def rmem_max() -> int:
    """net.core.rmem_max: the largest buffer an unprivileged program may ask for."""
    return int(_RMEM_MAX.read_text())


def describe_buffer(data: socket.socket, asked_bytes: int) -> str:
    """What was given, in a sentence, with the remedy where it is less than was asked."""
    given = buffer_bytes(data)
    said = f"The socket buffer is {given} bytes: {1e3 * buffer_seconds(data):.0f} ms of a full 1 Gbit/s link"
    if given >= 2 * asked_bytes:
        return said + "."
    return (
        f"{said}, less than the {2 * asked_bytes} asked for because net.core.rmem_max is {rmem_max()}: raise it with "
        f"`sysctl -w net.core.rmem_max={asked_bytes}`, or packets may be lost when the machine is busy."
    )


def kernel_drops(data: socket.socket) -> int:
    """Packets the kernel threw away because the buffer was full, since the socket was opened."""
    return _MEMINFO.unpack(data.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[_DROPS]


def drain(data: socket.socket) -> int:
    """Throw away what lies in the buffer; how many packets that were."""
    waiting = buffer_bytes(data) // 256  # no datagram is charged less: a bound where they keep coming
    dropped = 0
    scratch = bytearray(16)
    with contextlib.suppress(BlockingIOError):
        while dropped < waiting:
            data.recv_into(scratch, 0, socket.MSG_DONTWAIT)
            dropped += 1
    return dropped
