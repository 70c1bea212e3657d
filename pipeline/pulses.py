"""`pulses.bin`: one fixed-size record for everything the trigger board said that has a time, in order of arrival.

Board time is the board's own 64-bit microsecond clock; host times are CLOCK_MONOTONIC of the machine that recorded.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

PULSE_RECORD = np.dtype(
    [
        ("kind", "u1"),  # one of the KIND_ numbers below
        ("flags", "u1"),
        ("reserved", "<u2"),
        ("run", "<u4"),  # the run number the board was started with; the boot id for KIND_BOOT
        ("number", "<i8"),  # pulse k, camera edge j, or a PING's nonce
        ("board_us", "<i8"),  # the board's clock at the pulse or edge, or when it answered the PING; 0 for KIND_BOOT
        ("sent_ns", "<i8"),  # when the host sent the PING; 0 for the other kinds
        ("received_ns", "<i8"),  # when the line had arrived at the host
    ]
)
KIND_PULSE, KIND_EDGE, KIND_PING, KIND_BOOT = 0, 1, 2, 3
assert PULSE_RECORD.itemsize == 40


def read_pulses(folder: Path) -> Shaped[np.ndarray, " record"] | None:
    """Whole `PULSE_RECORD`s of a recording folder's pulses.bin, in order of arrival; None where no board was recorded."""
    path = folder / "pulses.bin"
    if not path.exists():
        return None
    return np.fromfile(path, PULSE_RECORD, count=path.stat().st_size // PULSE_RECORD.itemsize)
