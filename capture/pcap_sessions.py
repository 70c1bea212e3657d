"""Where one recording ends and the next begins in a sender's packets, and their counters unwrapped."""

import numpy as np

from capture.dca1000_wire import BYTE_COUNT_SPAN, DATA_HEADER_BYTES, SEQUENCE_SPAN, decode_data_header
from capture.udp_frames import Datagram, DatagramRun

LATE_PACKETS = 4096  # a sequence further back than this is a new recording, not a late packet
_LATE_NS = 1_000_000_000
_MOST_PACKET_BYTES = 9000  # jumbo frame: a gap holds no more bytes a packet than this


class SessionSplitter:
    """Tells one sender's recordings apart and unwraps their counters; fed with every packet in order.

    A new recording begins when the card answered RECORD_START, when the stream's first packet comes again with other samples
    or much later, or when the sequence falls back further than any late packet does.
    """

    def __init__(self) -> None:
        self.number = 0
        self.told = False  # by the card's answer to RECORD_START, of the present recording
        self._started, self._told_next = True, False
        self._highest = self._end = self._latest_ns = 0  # sequence and byte count of the furthest packet, unwrapped
        self._first: bytes | None = None  # payload of the recording's packet 1

    def record_started(self) -> None:
        """The card began a recording: the next packet belongs to it."""
        self._started = self._told_next = True

    def place(self, datagram: Datagram) -> tuple[int, int] | None:
        """(sequence, byte count before the payload), both unwrapped; None for what is no data packet."""
        payload = datagram.payload
        if len(payload) <= DATA_HEADER_BYTES:
            return None
        raw_sequence, raw_count = decode_data_header(payload)
        sequence = self._highest + _signed(raw_sequence - self._highest, SEQUENCE_SPAN)
        count = self._end + _signed(raw_count - self._end, BYTE_COUNT_SPAN)
        ahead = sequence - self._highest
        if self._started and self.number and ahead == 1 and count == self._end:
            self._started = self._told_next = False  # RECORD_START was said again while it was recording
        if not self._started:
            if self._restarts(datagram, raw_sequence, raw_count, ahead):
                self._started = True
            elif not self._plausible(ahead, count, len(payload) - DATA_HEADER_BYTES):
                return None
        if self._started:
            self.told, self._told_next, self._started = self._told_next, False, False
            self.number += 1
            sequence, count = raw_sequence, raw_count
            self._highest, self._end, self._first = sequence, count, None
        if raw_sequence == 1 and raw_count == 0 and self._first is None:
            self._first = payload
        if sequence >= self._highest:
            self._highest, self._end = sequence, count + len(payload) - DATA_HEADER_BYTES + datagram.cut
        self._latest_ns = datagram.time_ns
        return sequence, count

    def place_rest(self, run: DatagramRun) -> bool:
        """Take all of a run but its first packet, which was placed just now, at once; False where they must be one by one.

        Only packets that carry on from the furthest one, without a gap, can be taken at once.
        """
        sequence, count = decode_data_header(run.first.payload)
        length = run.payloads.shape[1] - DATA_HEADER_BYTES
        carries_on = (self._highest - sequence) % SEQUENCE_SPAN == 0 and (
            self._end - count - length
        ) % BYTE_COUNT_SPAN == 0
        if not carries_on or not is_consecutive(run):
            return False
        packets = len(run.payloads) - 1
        self._highest += packets
        self._end += packets * length
        self._latest_ns = int(run.times_ns[-1])
        return True

    def _restarts(self, datagram: Datagram, raw_sequence: int, raw_count: int, ahead: int) -> bool:
        if ahead > 0:
            return False
        if ahead <= -LATE_PACKETS:
            return True
        if raw_sequence != 1 or raw_count != 0:
            return False
        other_samples = self._first is not None and self._first != datagram.payload
        return other_samples or datagram.time_ns - self._latest_ns > _LATE_NS

    def _plausible(self, ahead: int, count: int, length: int) -> bool:
        """Whether the byte count fits the sequence number: a packet carries something, and no more than a jumbo frame."""
        if ahead > 0:
            return 0 <= count - self._end <= (ahead - 1) * _MOST_PACKET_BYTES
        return count + length <= self._end and self._end - count <= (1 - ahead) * _MOST_PACKET_BYTES


def is_consecutive(run: DatagramRun) -> bool:
    """Whether each packet of a run has the next sequence number and the byte count after the last one's payload."""
    length = run.payloads.shape[1] - DATA_HEADER_BYTES
    if length <= 0:
        return False
    words = np.ascontiguousarray(run.payloads[:, :DATA_HEADER_BYTES]).view("<u2").astype(np.int64)
    sequences = words[:, 0] | words[:, 1] << 16
    counts = words[:, 2] | words[:, 3] << 16 | words[:, 4] << 32
    return bool((np.diff(sequences) == 1).all() and (np.diff(counts) == length).all())


def _signed(difference: int, span: int) -> int:
    """`difference` modulo `span`, in [-span / 2, span / 2)."""
    return (difference + span // 2) % span - span // 2
