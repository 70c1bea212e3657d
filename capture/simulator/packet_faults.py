"""Applies a fault plan to the card's data packets, in the order they leave, and writes down the truth."""

import math

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8, UInt64

from capture.dca1000_wire import DATA_HEADER_BYTES
from capture.simulator.datagrams import Packets
from capture.simulator.faults import FaultPlan, RecordingTruth

Departures = tuple[UInt64[np.ndarray, " departure"], Int64[np.ndarray, " departure"]]


class PacketFaults:
    """One recording's packets, block after block. What happens to a packet depends on its number, not on the blocks.

    Every packet leaves at a key: its number, plus how many packets later a fault makes it leave; packets leave in the
    order of their keys. A packet whose key lies in a later block is copied and kept until then.
    """

    def __init__(self, plan: FaultPlan, recording: int, truth: RecordingTruth) -> None:
        self._plan, self._truth = plan, truth
        self._random = np.random.default_rng([plan.seed, recording])
        self._burst_left = 0
        self._shares = np.cumsum([plan.duplicate, plan.reorder, plan.late, plan.truncate])
        self._quiet = not (plan.loss or plan.lose_packets or self._shares[-1])
        self._held: list[tuple[float, int, UInt8[np.ndarray, " byte"]]] = []  # key, number, bytes
        self._leaving: list[UInt8[np.ndarray, " byte"]] = []  # kept alive until the next call: they are being sent

    def depart(self, packets: Packets) -> Departures:
        """Addresses and lengths of the datagrams that leave now, in order; valid until the next call."""
        count = len(packets.offset)
        if self._quiet or not count:
            return packets.address, packets.length
        plan, draws = self._plan, self._random.random((count, 3))
        number = packets.first + np.arange(count)
        lost = self._lost(number, draws[:, 0])
        # One fault a packet: where the second draw falls among the stacked shares.
        fault = np.searchsorted(self._shares, draws[:, 1], side="right")
        duplicate, reorder, late, truncate = (~lost & (fault == kind) for kind in range(4))
        payload = packets.length - DATA_HEADER_BYTES
        truncate &= payload > 1
        cut = np.where(truncate, 1 + (draws[:, 2] * (payload - 1)).astype(np.int64), 0)
        self._note(packets, payload, cut, lost, duplicate, reorder, late)

        later = 1 + (draws[:, 2] * plan.reorder_by).astype(np.int64)
        key = number + np.where(reorder, later + 0.5, 0) + np.where(late, plan.late_by + 0.5, 0)
        index = np.concatenate([np.flatnonzero(~lost), np.flatnonzero(duplicate)])
        key = np.concatenate([key[~lost], (number + later + 0.25)[duplicate]])
        return self._in_order(packets, packets.length - cut, index, key, before=float(packets.first + count))

    def rest(self) -> Departures:
        """What is still held when the recording ends."""
        nothing = Packets(0, np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.int64))
        return self._in_order(nothing, nothing.length, np.zeros(0, np.int64), np.zeros(0), before=math.inf)

    def _in_order(
        self,
        packets: Packets,
        length: Int64[np.ndarray, " packet"],
        index: Int64[np.ndarray, " leaving"],
        key: Float64[np.ndarray, " leaving"],
        before: float,
    ) -> Departures:
        """What leaves before key `before`, held packets included; the rest is held from now on."""
        due = [packet for packet in self._held if packet[0] < before]
        self._held = [packet for packet in self._held if packet[0] >= before]
        for later in np.flatnonzero(key >= before):
            at = int(index[later])
            self._held.append((float(key[later]), packets.first + at, packets.copy_of(at, int(length[at]))))
        index, key = index[key < before], key[key < before]
        self._leaving = [data for _, _, data in due]
        address = np.concatenate(
            [packets.address[index], np.array([data.ctypes.data for data in self._leaving], np.uint64)]
        )
        sizes = np.concatenate([length[index], np.array([len(data) for data in self._leaving], np.int64)])
        keys = np.concatenate([key, np.array([packet[0] for packet in due], np.float64)])
        numbers = np.concatenate([packets.first + index, np.array([packet[1] for packet in due], np.int64)])
        order = np.lexsort((numbers, keys))
        return address[order], sizes[order]

    def _lost(
        self, number: Int64[np.ndarray, " packet"], draw: Float64[np.ndarray, " packet"]
    ) -> Bool[np.ndarray, " packet"]:
        lost = np.isin(number, self._plan.lose_packets)
        begins = draw < self._plan.loss / self._plan.loss_burst
        if begins.any() or self._burst_left:
            for index, begin in enumerate(begins):
                if begin and not self._burst_left:
                    self._burst_left = self._plan.loss_burst
                if self._burst_left:
                    lost[index] = True
                    self._burst_left -= 1
        return lost

    def _note(
        self,
        packets: Packets,
        payload: Int64[np.ndarray, " packet"],
        cut: Int64[np.ndarray, " packet"],
        lost: Bool[np.ndarray, " packet"],
        duplicate: Bool[np.ndarray, " packet"],
        reorder: Bool[np.ndarray, " packet"],
        late: Bool[np.ndarray, " packet"],
    ) -> None:
        stop = packets.offset + payload
        self._truth.duplicates += int(duplicate.sum())
        self._truth.reordered += int(reorder.sum())
        self._truth.lost += _ranges(packets.offset[lost], stop[lost])
        self._truth.late += _ranges(packets.offset[late], stop[late])
        self._truth.truncated += _ranges((stop - cut)[cut > 0], stop[cut > 0])


def _ranges(start: Int64[np.ndarray, " packet"], stop: Int64[np.ndarray, " packet"]) -> list[tuple[int, int]]:
    return list(zip(start.tolist(), stop.tolist(), strict=True))
