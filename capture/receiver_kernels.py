"""The receive loop: datagrams from the kernel into a ring of stream bytes, compiled, without the interpreter lock.

One call of `receive` is one recording. It takes datagrams in batches (`recvmmsg`), puts every payload into the ring at
the place its byte count says, keeps the list of holes, and moves `CLOSED`, the boundary behind which nothing changes any
more. A writer thread takes bytes below `CLOSED` from the ring and moves `TAIL`. Nothing here calls Python: a busy or
collecting interpreter cannot hold up the socket.

    0 ........ TAIL ........ CLOSED ........ HIGH ........ TAIL + ring size
       on disk      final, to       holes may     free
                    be written      still fill

Why it is fast: one system call for up to hundreds of packets, one copy from the socket and one into the ring; after a
batch that emptied the socket the loop sleeps a few milliseconds so that the next call finds many packets again.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

# Words of `state`, shared between the receive loop (R), the writer (W) and whoever asks for progress.
(
    STOP,  # W, main -> R: one of RUN, DRAIN, ABORT
    EXIT,  # R: why `receive` returned
    TAIL,  # W: bytes on disk
    RECORDS_WRITTEN,  # W: records on disk
    CLOSED,  # R: bytes that are final
    HIGH,  # R: end of the furthest packet
    RECORDS,  # R: records made
    HOLES,  # R: rows of `holes` in use
    PACKETS,  # R: packets stored
    BYTES,  # R: payload bytes stored
    MISSING,  # R: bytes closed without having been received
    DUPLICATES,
    REORDERED,  # R: stored after a later packet
    TOO_LATE,  # R: came after its place was closed
    FOREIGN,  # R: from another address than the card's
    MALFORMED,  # R: no payload, or before the stream's first byte
    IMPLAUSIBLE,  # R: further ahead than any link can have carried
    OVERRUNS,  # R: no room because the writer was behind
    BACKLOG_PEAK,  # R: most bytes ever held between TAIL and HIGH
    FIRST_NS,  # R: CLOCK_MONOTONIC of the first and of the latest packet
    LAST_NS,
    CHAIN,  # R: length of the present run of repeated packets, see `_repeats_too_much`
    CHAIN_SEQUENCE,
    CHAIN_END,
    CHAIN_FROM_START,
) = range(25)
STATE_WORDS = 32

RUN, DRAIN, ABORT = range(3)
STOPPED, COMPLETE, NO_DATA, SILENT, RESTARTED, SOCKET_FAILED = range(1, 7)
REPEATED, LOST, STORED = range(3)  # what became of a packet

# Words of `config`, constant during a recording.
(
    FD,
    CARD,  # the card's address as it lies in a socket address
    COUNT_BASE,  # the card's byte count at the stream's first byte
    FRAME_BYTES,
    WINDOW_BYTES,
    CLOSE_AFTER_NS,
    EXPECTED_BYTES,  # 0: until told to stop
    FIRST_TIMEOUT_NS,  # 0: wait for ever
    SILENCE_NS,  # 0: wait for ever
    PAUSE_NS,  # how long to let packets gather
) = range(10)
CONFIG_WORDS = 10

# One `struct mmsghdr` (recvmmsg(2)) as eight 64-bit words.
(
    MESSAGE_NAME,
    MESSAGE_NAME_BYTES,
    MESSAGE_IOV,
    MESSAGE_IOVS,
    MESSAGE_CONTROL,
    MESSAGE_CONTROL_BYTES,
    _,
    MESSAGE_LENGTH,
) = range(8)
MESSAGE_WORDS = 8
RECORD_WORDS = 4  # PACKET_RECORD of pipeline.packets
CONTROL_WORDS = 8  # room for the one control message asked for, a timestamp
NAME_WORDS = 4  # struct sockaddr_in; word 1 is the address
SLOT_BYTES = 65536 + 1536  # any datagram fits; the odd stride keeps slots off each other's cache lines

_HEADER_BYTES = 10
_COUNT_BITS = 48
_MSG_DONTWAIT = 0x40
_POLLIN = 1
_CLOCK_REALTIME = 0
_CLOCK_MONOTONIC = 1
_TIMESTAMP_TYPE = 1 | 35 << 32  # SOL_SOCKET, SO_TIMESTAMPNS (asm-generic/socket.h)
_IDLE_WAIT_MS = 50
_DRAIN_NS = 300_000_000  # longest that packets are still taken once told to stop
_GAP_WAIT_NS = 500_000_000
_STAMP_TO_QUEUE_NS = 2_000_000  # longest that a packet, once stamped, is under way to the socket
_FASTEST_BYTES_PER_NS = 1.25  # a 10 Gbit/s link: no real gap is longer than this times the time it took
_MARKS = 16
_REPEATS_MEAN_RESTART = 64
_REPEATS_FROM_START_MEAN_RESTART = 16
_REPEATS_BEFORE_NEWS_MEAN_RESTART = 3
_FAILED_CALLS_LIMIT = 100


def _libc(name: str, result: types.Type, *arguments: types.Type) -> Any:
    """A C function by name, callable from compiled code (and, unlike a ctypes pointer, kept in Numba's cache)."""
    return types.ExternalFunction(name, result(*arguments))


_recvmmsg = _libc("recvmmsg", types.int32, types.int32, types.uintp, types.uint32, types.int32, types.uintp)
_poll = _libc("poll", types.int32, types.uintp, types.uintp, types.int32)
_nanosleep = _libc("nanosleep", types.int32, types.uintp, types.uintp)
_clock_gettime = _libc("clock_gettime", types.int32, types.int32, types.uintp)
_memcpy = _libc("memcpy", types.uintp, types.uintp, types.uintp, types.uintp)
_memset = _libc("memset", types.uintp, types.uintp, types.int32, types.uintp)


def _full_fence(_context: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


_publish: Any = intrinsic(_full_fence)
"""Everything stored before this call is seen by whoever sees what is stored after it."""


@njit(nogil=True, cache=True)
def _clock(clock, scratch):
    _clock_gettime(np.int32(clock), scratch.ctypes.data)
    return scratch[0] * 1_000_000_000 + scratch[1]


@njit(nogil=True, cache=True)
def _sleep(duration_ns, scratch):
    scratch[0] = duration_ns // 1_000_000_000
    scratch[1] = duration_ns % 1_000_000_000
    _nanosleep(scratch.ctypes.data, np.uintp(0))


@njit(nogil=True, cache=True)
def _clock_offset(scratch):
    """CLOCK_REALTIME minus CLOCK_MONOTONIC, read again where something came between the two."""
    offset = np.int64(0)
    for _ in range(4):
        before = _clock(_CLOCK_MONOTONIC, scratch)
        real = _clock(_CLOCK_REALTIME, scratch)
        after = _clock(_CLOCK_MONOTONIC, scratch)
        offset = real - (before + after) // 2
        if after - before < 5_000:
            break
    return offset


@njit(nogil=True, cache=True)
def _copy_in(ring, offset, source, length):
    """`length` bytes from address `source` to the ring's place of stream byte `offset`."""
    at = offset % ring.size
    first = min(length, ring.size - at)
    _memcpy(np.uintp(ring.ctypes.data + at), np.uintp(source), np.uintp(first))
    if first < length:
        _memcpy(np.uintp(ring.ctypes.data), np.uintp(source + first), np.uintp(length - first))


@njit(nogil=True, cache=True)
def _clear(ring, start, stop):
    """Zeros for stream bytes [start, stop), at most one ring of them."""
    at = start % ring.size
    first = min(stop - start, ring.size - at)
    _memset(np.uintp(ring.ctypes.data + at), np.int32(0), np.uintp(first))
    if first < stop - start:
        _memset(np.uintp(ring.ctypes.data), np.int32(0), np.uintp(stop - start - first))


# --- holes: rows [start, stop) of stream bytes not received, ascending; what lies below CLOSED is lost for good ------


@njit(nogil=True, cache=True)
def _first_hole_after(state, holes, offset):
    """The first row whose stop lies beyond `offset`."""
    low, high = 0, state[HOLES]
    while low < high:
        middle = (low + high) // 2
        if holes[middle, 1] > offset:
            high = middle
        else:
            low = middle + 1
    return low


@njit(nogil=True, cache=True)
def _add_hole(state, holes, stop):
    """Bytes from HIGH to `stop` are missing for now; HIGH moves there."""
    count = state[HOLES]
    if count > 0 and holes[count - 1, 1] == state[HIGH]:
        holes[count - 1, 1] = stop
    else:
        holes[count, 0], holes[count, 1] = state[HIGH], stop
        state[HOLES] = count + 1
    state[HIGH] = stop


@njit(nogil=True, cache=True)
def _fill_hole(state, holes, row, start, stop):
    """Take [start, stop) out of hole `row`; the row that follows the filled bytes."""
    count = state[HOLES]
    if start > holes[row, 0] and stop < holes[row, 1]:
        for index in range(count, row, -1):
            holes[index, 0], holes[index, 1] = holes[index - 1, 0], holes[index - 1, 1]
        holes[row, 1] = start
        holes[row + 1, 0] = stop
        state[HOLES] = count + 1
        return row + 1
    if start > holes[row, 0]:
        holes[row, 1] = start
        return row + 1
    if stop < holes[row, 1]:
        holes[row, 0] = stop
        return row
    for index in range(row, count - 1):
        holes[index, 0], holes[index, 1] = holes[index + 1, 0], holes[index + 1, 1]
    state[HOLES] = count - 1
    return row


@njit(nogil=True, cache=True)
def _have_rows(state, holes):
    """Room for what one packet can add to the list; the older half of the lost holes is forgotten to make it."""
    if state[HOLES] <= holes.shape[0] - 4:
        return True
    forgotten = (_first_hole_after(state, holes, state[CLOSED]) + 1) // 2
    for index in range(forgotten, state[HOLES]):
        holes[index - forgotten, 0], holes[index - forgotten, 1] = holes[index, 0], holes[index, 1]
    state[HOLES] -= forgotten
    return state[HOLES] <= holes.shape[0] - 4


# --- closing ---------------------------------------------------------------------------------------------------------


@njit(nogil=True, cache=True)
def _close(state, ring, holes, boundary):
    """Make everything below `boundary` final, as far as the writer has made room: holes become zeros, and are lost."""
    boundary = min(boundary, state[HIGH], state[TAIL] + ring.size)
    closed = state[CLOSED]
    if boundary <= closed:
        return
    row = _first_hole_after(state, holes, closed)
    while row < state[HOLES] and holes[row, 0] < boundary:
        start, stop = max(holes[row, 0], closed), min(holes[row, 1], boundary)
        _clear(ring, start, stop)
        state[MISSING] += stop - start
        row += 1
    _publish()
    state[CLOSED] = boundary


@njit(nogil=True, cache=True)
def _window_boundary(state, config):
    """The end of the last frame that the stream left a whole window behind."""
    return (state[HIGH] - config[WINDOW_BYTES]) // config[FRAME_BYTES] * config[FRAME_BYTES]


@njit(nogil=True, cache=True)
def _close_due(state, config, ring, holes, marks, now):
    """Close all up to the first hole; with holes, frames a window behind, and what was in reach CLOSE_AFTER_NS ago.

    `marks` is a short history of (time, HIGH).
    """
    latest = np.argmax(marks[:, 0])
    if now - marks[latest, 0] >= config[CLOSE_AFTER_NS] * 2 // _MARKS:
        oldest = np.argmin(marks[:, 0])
        marks[oldest, 0], marks[oldest, 1] = now, state[HIGH]
    boundary = _window_boundary(state, config)
    hole = _first_hole_after(state, holes, state[CLOSED])
    boundary = max(boundary, holes[hole, 0] if hole < state[HOLES] else state[HIGH])
    for mark in range(_MARKS):
        if marks[mark, 0] <= now - config[CLOSE_AFTER_NS]:
            boundary = max(boundary, marks[mark, 1])
    _close(state, ring, holes, boundary)


# --- placing ---------------------------------------------------------------------------------------------------------


@njit(nogil=True, cache=True)
def _store(state, ring, records, start, stop, source, stamp, flags):
    """Bytes [start, stop) from address `source` into the ring, and their record; `stamp` is (real, monotonic, seq)."""
    _copy_in(ring, start, source, stop - start)
    row = state[RECORDS] % records.shape[0]
    records[row, 0] = start
    records[row, 1] = stamp[0]
    records[row, 2] = stamp[1]
    records[row, 3] = stamp[2] | (stop - start) << 32 | flags << 48
    _publish()
    state[RECORDS] += 1
    state[BYTES] += stop - start


@njit(nogil=True, cache=True)
def place(state, ring, records, holes, offset, length, source, stamp):
    """Store what is new of stream bytes [offset, offset + length) and count the packet; what became of it.

    Bytes that fill a hole still open are stored and flagged late (FLAG_LATE of `pipeline.packets`); bytes received
    before are left as they are; bytes whose place is closed are lost.
    """
    stop = offset + length
    if not _have_rows(state, holes):
        state[OVERRUNS] += 1
        return LOST
    if offset > state[HIGH]:
        _add_hole(state, holes, offset)
    no_room = stop > state[TAIL] + ring.size
    stored, lost = False, False
    if offset < state[HIGH] and not no_room:
        row = _first_hole_after(state, holes, offset)
        while row < state[HOLES] and holes[row, 0] < stop:
            start, end = max(holes[row, 0], offset), min(holes[row, 1], stop)
            if start < state[CLOSED]:
                lost = True
                start = state[CLOSED]
            if start >= end:
                row += 1
            elif state[RECORDS] - state[RECORDS_WRITTEN] >= records.shape[0]:
                no_room = True
                break
            else:
                _store(state, ring, records, start, end, source + (start - offset), stamp, 1)
                row = _fill_hole(state, holes, row, start, end)
                stored = True
        state[REORDERED] += stored
    no_room |= state[RECORDS] - state[RECORDS_WRITTEN] >= records.shape[0]
    if stop > state[HIGH]:
        if no_room:
            _add_hole(state, holes, stop)
        else:
            start = max(offset, state[HIGH])
            _store(state, ring, records, start, stop, source + (start - offset), stamp, 0)
            state[HIGH] = stop
            stored = True
    state[PACKETS] += stored
    if stored:
        return STORED
    if no_room:
        state[OVERRUNS] += 1
        return LOST
    if lost:
        state[TOO_LATE] += 1
        return LOST
    state[DUPLICATES] += 1
    return REPEATED


@njit(nogil=True, cache=True)
def _began_again(state, holes, sequence, offset, length):
    """True where this packet brings news while following a repetition of the stream from its very first packet.

    The bytes would fit, but they are another recording's: the card was told RECORD_START in mid-recording.
    """
    follows = sequence == (state[CHAIN_SEQUENCE] + 1) & 0xFFFFFFFF and offset == state[CHAIN_END]
    if not (follows and state[CHAIN_FROM_START] and state[CHAIN] >= _REPEATS_BEFORE_NEWS_MEAN_RESTART):
        return False
    row = _first_hole_after(state, holes, max(offset, state[CLOSED]))
    return offset + length > state[HIGH] or (row < state[HOLES] and holes[row, 0] < offset + length)


@njit(nogil=True, cache=True)
def _repeats_too_much(state, outcome, sequence, offset, length):
    """True once packets that bring nothing new, each following the last, mean that the card's counters began again.

    A network repeats a packet here and there; RECORD_START in mid-recording repeats the stream from sequence 1, byte 0.
    """
    if outcome == STORED:
        state[CHAIN] = 0
        return False
    follows = sequence == (state[CHAIN_SEQUENCE] + 1) & 0xFFFFFFFF and offset == state[CHAIN_END]
    if state[CHAIN] > 0 and follows:
        state[CHAIN] += outcome == REPEATED  # lost ones are no sign: a burst may simply come too late
    elif outcome == REPEATED:
        state[CHAIN] = 1
        state[CHAIN_FROM_START] = sequence == 1 and offset == 0
    else:
        return False
    state[CHAIN_SEQUENCE] = sequence
    state[CHAIN_END] = offset + length
    enough = _REPEATS_FROM_START_MEAN_RESTART if state[CHAIN_FROM_START] else _REPEATS_MEAN_RESTART
    return state[CHAIN] >= enough


@njit(nogil=True, cache=True)
def unwrap(count, base, near):
    """Stream offset of a 48-bit byte count: of all that it can mean the one closest to stream byte `near`."""
    ahead = (count - base - near) & ((1 << _COUNT_BITS) - 1)
    if ahead >= 1 << (_COUNT_BITS - 1):
        ahead -= 1 << _COUNT_BITS
    return near + ahead


@njit(nogil=True, cache=True)
def on_monotonic_clock(real_ns, times):
    """The kernel's CLOCK_REALTIME stamp of a packet on CLOCK_MONOTONIC.

    `times` is (now, earliest possible arrival, clock offset now, clock offset at the batch before). A step of the wall
    clock between the stamp and now puts the stamp outside of [earliest, now]; the offset before then undoes it. A stamp that
    neither offset explains says nothing: the packet came by `now`, and a time may be late, never early.
    """
    now, earliest, offset, previous_offset = times
    if earliest <= real_ns - offset <= now:
        return real_ns - offset
    return real_ns - previous_offset if earliest <= real_ns - previous_offset <= now else now


@njit(nogil=True, cache=True)
def _wait_for_room(state, config, ring, holes, marks, stop, scratch):
    """After a gap longer than the ring has room for: let the writer put it on disk before placing what follows."""
    deadline = _clock(_CLOCK_MONOTONIC, scratch) + _GAP_WAIT_NS
    now = np.int64(0)
    while stop > state[TAIL] + ring.size and state[STOP] != ABORT and now < deadline:
        now = _clock(_CLOCK_MONOTONIC, scratch)
        _close_due(state, config, ring, holes, marks, now)
        _sleep(500_000, scratch)


@njit(nogil=True, cache=True)
def _take(state, config, ring, records, holes, marks, batch, scratch, times):
    """Place the datagrams of one `recvmmsg`; True where the card began to count again.

    `batch` is (count, slots, messages, names, control); `times` as in `on_monotonic_clock`.
    """
    received, slots, messages, names, control = batch
    now, _, clock_offset, _ = times
    for index in range(received):
        datagram_bytes = messages[index, MESSAGE_LENGTH] & 0xFFFFFFFF
        real = now + clock_offset
        if messages[index, MESSAGE_CONTROL_BYTES] >= 32 and control[index, 1] == _TIMESTAMP_TYPE:
            real = control[index, 2] * 1_000_000_000 + control[index, 3]
        messages[index, MESSAGE_NAME_BYTES] = NAME_WORDS * 4
        messages[index, MESSAGE_CONTROL_BYTES] = CONTROL_WORDS * 8
        if names[index, 1] != config[CARD]:
            state[FOREIGN] += 1
            continue
        if datagram_bytes <= _HEADER_BYTES:
            state[MALFORMED] += 1
            continue
        header = slots[index]
        sequence, count = np.int64(0), np.int64(0)
        for byte in range(4):
            sequence |= np.int64(header[byte]) << (8 * byte)
        for byte in range(6):
            count |= np.int64(header[4 + byte]) << (8 * byte)
        length = datagram_bytes - _HEADER_BYTES
        offset = unwrap(count, config[COUNT_BASE], state[HIGH])
        if offset < 0:
            state[MALFORMED] += 1
            continue
        if offset - state[HIGH] > ring.size + (now - state[LAST_NS]) * _FASTEST_BYTES_PER_NS:
            state[IMPLAUSIBLE] += 1
            continue
        if _began_again(state, holes, sequence, offset, length):
            return True
        monotonic = on_monotonic_clock(real, times)
        if offset - state[HIGH] > ring.size // 4 and _have_rows(state, holes):
            _add_hole(state, holes, offset)
            _wait_for_room(state, config, ring, holes, marks, offset + length, scratch)
        if offset < state[HIGH]:  # what the packet may still fill must not depend on how packets fall into batches
            _close(state, ring, holes, _window_boundary(state, config))
        outcome = place(
            state, ring, records, holes, offset, length, header.ctypes.data + _HEADER_BYTES, (real, monotonic, sequence)
        )
        if state[FIRST_NS] == 0:
            state[FIRST_NS] = monotonic
        state[LAST_NS] = now
        if _repeats_too_much(state, outcome, sequence, offset, length):
            return True
    state[BACKLOG_PEAK] = max(state[BACKLOG_PEAK], state[HIGH] - state[TAIL])
    return False


@njit(nogil=True, cache=True)
def _ended(state, config, holes, now):
    """Why there is nothing more to wait for, or 0."""
    expected = config[EXPECTED_BYTES]
    if expected > 0 and state[HIGH] >= expected:
        row = _first_hole_after(state, holes, state[CLOSED])
        if state[CLOSED] >= expected or row == state[HOLES] or holes[row, 0] >= expected:
            return COMPLETE
    if state[PACKETS] == 0:
        if 0 < config[FIRST_TIMEOUT_NS] <= now - state[LAST_NS]:
            return NO_DATA
    elif 0 < config[SILENCE_NS] <= now - state[LAST_NS]:
        return SILENT
    return 0


@njit(nogil=True, cache=True)
def receive(state, config, ring, records, holes, slots, messages, names, control):
    """One recording, from an open socket to the last byte handed to the writer; EXIT says why it ended.

    state: int64[STATE_WORDS]; config: int64[CONFIG_WORDS]; ring: uint8[bytes]; records: int64[records, 4], rows of
    PACKET_RECORD; holes: int64[rows, 2]; slots: uint8[batch, SLOT_BYTES]; messages: int64[batch, 8], filled in by
    `capture.receiver`; names: uint32[batch, 4]; control: int64[batch, 8].
    """
    scratch = np.zeros(2, np.int64)
    waited_for = np.zeros(1, np.int64)
    waited_for[0] = config[FD] | _POLLIN << 32  # struct pollfd
    marks = np.zeros((_MARKS, 2), np.int64)
    batch_size = messages.shape[0]
    earliest = state[LAST_NS] - _STAMP_TO_QUEUE_NS
    previous_offset = _clock_offset(scratch)
    failures = 0
    stop_ns = np.int64(0)
    while state[STOP] != ABORT and state[EXIT] == 0:
        asked = _clock(_CLOCK_MONOTONIC, scratch)
        received = np.int64(
            _recvmmsg(
                np.int32(config[FD]),
                np.uintp(messages.ctypes.data),
                np.uint32(batch_size),
                np.int32(_MSG_DONTWAIT),
                np.uintp(0),
            )
        )
        clock_offset = _clock_offset(scratch)
        now = _clock(_CLOCK_MONOTONIC, scratch)
        if received > 0:
            failures = 0
            batch = (received, slots, messages, names, control)
            times = (now, earliest, clock_offset, previous_offset)
            if _take(state, config, ring, records, holes, marks, batch, scratch, times):
                state[EXIT] = RESTARTED
                break
        previous_offset = clock_offset
        _close_due(state, config, ring, holes, marks, now)
        state[EXIT] = _ended(state, config, holes, now)
        emptied = received < batch_size
        if emptied:
            earliest = asked - _STAMP_TO_QUEUE_NS
        if state[STOP] == DRAIN and state[EXIT] == 0:
            stop_ns = stop_ns or now
            if received <= 0 or now - stop_ns > _DRAIN_NS:
                state[EXIT] = STOPPED
        elif emptied and state[EXIT] == 0:
            if received <= 0:
                ready = _poll(np.uintp(waited_for.ctypes.data), np.uintp(1), np.int32(_IDLE_WAIT_MS))
                failures = failures + 1 if ready > 0 else 0
                if failures > _FAILED_CALLS_LIMIT:
                    state[EXIT] = SOCKET_FAILED
            _sleep(config[PAUSE_NS], scratch)
    while state[CLOSED] < state[HIGH] and state[STOP] != ABORT:
        _close(state, ring, holes, state[HIGH])
        _sleep(1_000_000, scratch)
