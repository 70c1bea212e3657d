"""The trigger board's clock against the host's, by the PINGs of a recording; one line for each start of the board."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Shaped

from capture.clock_fit import ClockLine, fit_clock
from pipeline.pulses import KIND_BOOT, KIND_PING

_ALWAYS = 1 / 8  # of the shortest round trip: even the quickest PING's middle is uncertain by so much


@dataclass(frozen=True)
class BoardClock:
    """`start[i]` tells in which of the board's starts (0, 1, ...) record i was written; `lines` has one line for each.

    A start without an answered PING has None: its times cannot be told.
    """

    start: Int[np.ndarray, " record"]
    lines: tuple[ClockLine | None, ...]

    def host_s(self, records: Shaped[np.ndarray, " record"]) -> Float64[np.ndarray, " record"]:
        """Host CLOCK_MONOTONIC, in seconds, of each record's board time; NaN for BOOT records and starts without a line."""
        host_s = np.full(records.size, np.nan)
        for number, line in enumerate(self.lines):
            here = (self.start == number) & (records["kind"] != KIND_BOOT)
            if line is not None:
                host_s[here] = line.host_s(records["board_us"][here] / 1e6)
        return host_s


def fit_board_clock(records: Shaped[np.ndarray, " record"]) -> BoardClock:
    """The lines of a recording's `PULSE_RECORD`s, in their order of arrival.

    The host's time of a PONG lies between sending and receiving; its middle is used, and a PING counts the less the longer it
    took beyond the quickest of its start. Another boot id begins a new start: the board's clock is back at 0 then, while a
    reconnection to the same start goes on.
    """
    boots = np.flatnonzero(records["kind"] == KIND_BOOT)
    ids = records["run"][boots]
    restarts = boots[1:][ids[1:] != ids[:-1]]
    start = np.searchsorted(restarts, np.arange(records.size), side="right")
    lines = []
    for number in range(restarts.size + 1):
        pings = records[(start == number) & (records["kind"] == KIND_PING)]
        lines.append(_line(pings) if pings.size else None)
    return BoardClock(start, tuple(lines))


def _line(pings: Shaped[np.ndarray, " ping"]) -> ClockLine:
    trip_s = (pings["received_ns"] - pings["sent_ns"]) / 1e9
    host_s = pings["sent_ns"] / 1e9 + trip_s / 2
    shortest_s = float(trip_s.min())
    return fit_clock(pings["board_us"] / 1e6, host_s, (trip_s - shortest_s) / 2 + shortest_s * _ALWAYS)
