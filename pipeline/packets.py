"""`packets.bin`: one fixed-size record for every data packet whose bytes were stored, in order of arrival."""

import numpy as np
from jaxtyping import Int64, Shaped

PACKET_RECORD = np.dtype(
    [
        ("byte_offset", "<u8"),  # place of the first payload byte in adc.bin (the card's byte count, unwrapped)
        ("kernel_time_ns", "<i8"),  # CLOCK_REALTIME when the kernel received it; 0 where the source has no clock
        ("monotonic_ns", "<i8"),  # the same instant on CLOCK_MONOTONIC, immune to wall-clock steps
        ("sequence", "<u4"),  # the card's packet number, from 1, wrapping at 2**32
        ("length", "<u2"),  # payload bytes
        ("flags", "<u2"),
    ]
)
FLAG_LATE = 1  # arrived after a later packet and filled the hole it had left
assert PACKET_RECORD.itemsize == 32


def missing_ranges(packets: Shaped[np.ndarray, " packets"], total_bytes: int) -> Int64[np.ndarray, "ranges 2"]:
    """Exact byte ranges of `adc.bin` that no stored packet covers, as half-open `[start, stop)` rows in ascending order.

    `packets` holds `PACKET_RECORD`s in any order; overlapping ones count once; `total_bytes` is the stream's length.
    """
    if total_bytes <= 0:
        return np.zeros((0, 2), np.int64)
    starts = packets["byte_offset"].astype(np.int64)
    stops = starts + packets["length"].astype(np.int64)
    order = np.argsort(starts, kind="stable")
    starts, stops = starts[order], np.maximum.accumulate(stops[order]) if len(order) else stops
    gap_start = np.concatenate([[0], stops]).astype(np.int64)
    gap_stop = np.concatenate([starts, [total_bytes]]).astype(np.int64)
    gap_start, gap_stop = np.minimum(gap_start, total_bytes), np.minimum(gap_stop, total_bytes)
    hole = gap_stop > gap_start
    return np.stack([gap_start[hole], gap_stop[hole]], axis=1)
