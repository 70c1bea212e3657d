"""From `pulses.bin` to pulses on the host's clock: one train a run, with the pulses whose lines were lost put back.

A pulse's number times the period is exact on the board's own clock, so a lost line loses no time: its neighbours tell it. The
board's clock is tied to the host's by PINGs; where there are none, by when the lines arrived, which may be late by
`ONE_WAY_S`. A board that restarted begins a clock of its own (an *epoch*).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from capture.board_clock import fit_board_clock
from capture.clock_fit import ClockLine, fit_clock, fit_latency_floor, running_median
from capture.firmware.schedule import left_out
from pipeline.pulses import KIND_BOOT, KIND_EDGE, KIND_PING, KIND_PULSE
from pipeline.sync import ClockFit

ONE_WAY_S = 0.02  # a line over USB that nothing delays arrives within this
_STEP_BACK_S = 1.0
_GARBAGE_S = 3600.0
_LARGEST_NUMBER = 10**8


class Train(NamedTuple):
    """Pulses 0 to n-1 of one run, on the host's CLOCK_MONOTONIC; `heard` is False where the line was lost."""

    run: int
    pulse_s: Float64[np.ndarray, " pulse"]
    heard: Bool[np.ndarray, " pulse"]
    period_s: float
    board_period_s: float  # by the board's own clock


class Edges(NamedTuple):
    """Camera edges `first`, `first`+1, ... of one epoch on the host's clock; `heard` is False where the line was lost."""

    edge_s: Float64[np.ndarray, " edge"]
    heard: Bool[np.ndarray, " edge"]
    period_s: float


@dataclass(frozen=True)
class Board:
    """All that pulses.bin says. `clock` is that of the longest epoch; `late_s` and `unsure_s` bound its error in the offset."""

    trains: tuple[Train, ...]
    edges: tuple[Edges, ...]
    clock: ClockFit | None
    late_s: float
    unsure_s: float
    restarts: int
    rejected: int  # records that are no sense, or said twice


def read_board(records: Shaped[np.ndarray, " record"]) -> Board:
    """Trains and edges of `PULSE_RECORD`s in order of arrival; nonsense is left out and counted."""
    known = np.isin(records["kind"], (KIND_PULSE, KIND_EDGE, KIND_PING, KIND_BOOT)) & (records["received_ns"] > 0)
    known &= (np.abs(records["board_us"]) < 1e15) & (np.abs(records["received_ns"]) < 10**18)
    rejected = int((~known).sum())
    records = records[known]
    boot = np.flatnonzero(records["kind"] == KIND_BOOT)
    ids = records["run"][boot]
    restarts = boot[1:][ids[1:] != ids[:-1]]  # the same id again is the same start, connected anew
    trains: list[Train] = []
    edges: list[Edges] = []
    clocks: list[tuple[int, ClockFit, float, float]] = []
    for start in np.split(records, restarts):
        for epoch, strays in _epochs(start[start["kind"] != KIND_BOOT]):
            rejected += strays
            tied = _tie(epoch)
            if tied is None:
                continue
            line, late_s, unsure_s = tied
            report = line.report().model_copy(update={"late_ms": late_s * 1e3})
            clocks.append((len(epoch), report, late_s, unsure_s))
            pulses = epoch[epoch["kind"] == KIND_PULSE]
            for run in dict.fromkeys(pulses["run"].tolist()):
                train, extra = _train(int(run), pulses[pulses["run"] == run], line)
                trains += [train] if train is not None else []
                rejected += extra
            found, extra = _edges(epoch[epoch["kind"] == KIND_EDGE], line)
            edges += [found] if found is not None else []
            rejected += extra
    trains.sort(key=lambda train: float(train.pulse_s[0]))
    longest = max(clocks, key=lambda clock: clock[0], default=None)
    return Board(
        tuple(trains),
        tuple(edges),
        longest[1] if longest else None,
        max((clock[2] for clock in clocks), default=0.0),
        max((clock[3] for clock in clocks), default=0.0),
        len(restarts),
        rejected,
    )


def fired_pulses(train: Train, asked_hz: float | None) -> Bool[np.ndarray, " pulse"]:
    """False for the pulses of a train that the gap signature left out.

    The signature counts seconds at the rate the board was asked for; the rate it shows is tried as well, and the one whose
    left-out pulses are really silent is taken. A pulse whose line came was fired, whatever the rule says.
    """
    shown_hz = round(1 / train.board_period_s, 3)
    silent = []
    for hz in dict.fromkeys((asked_hz or shown_hz, shown_hz)):
        rate_mhz = max(round(hz * 1000), 1)
        silent.append(np.array([left_out(number, rate_mhz) for number in range(len(train.heard))], bool))
    out = min(silent, key=lambda rule: float(train.heard[rule].sum()))
    return ~out | train.heard


def extended(train: Train, until_s: float, most: int | None = None) -> Train:
    """The train with pulses whose lines may all have been lost at its end, up to `until_s` and number `most` - 1."""
    extra = max(int(np.ceil((until_s - train.pulse_s[-1]) / train.period_s)), 0)
    if most is not None:
        extra = min(extra, max(most - len(train.pulse_s), 0))
    if not extra:
        return train
    ahead = train.pulse_s[-1] + train.period_s * np.arange(1, extra + 1)
    return train._replace(
        pulse_s=np.concatenate([train.pulse_s, ahead]), heard=np.concatenate([train.heard, np.zeros(extra, bool)])
    )


def _epochs(records: Shaped[np.ndarray, " record"]) -> list[tuple[Shaped[np.ndarray, " kept"], int]]:
    """Records cut where the board's clock fell back, each part with how many records in it were far off and left out."""
    if not len(records):
        return []
    board_s = records["board_us"] * 1e-6
    smooth = running_median(board_s)
    cuts = np.flatnonzero(np.diff(smooth) < -_STEP_BACK_S) + 1
    parts = []
    for part, middle in zip(np.split(records, cuts), np.split(smooth, cuts), strict=True):
        stray = np.abs(part["board_us"] * 1e-6 - middle) > _GARBAGE_S
        parts.append((part[~stray], int(stray.sum())))
    return parts


def _tie(epoch: Shaped[np.ndarray, " record"]) -> tuple[ClockLine, float, float] | None:
    """Board seconds to host seconds, by how much that may be late, and how far it may be off either way."""
    board_s, received_s = epoch["board_us"] * 1e-6, epoch["received_ns"] * 1e-9
    ping = (epoch["kind"] == KIND_PING) & (epoch["sent_ns"] > 0) & (epoch["received_ns"] >= epoch["sent_ns"])
    told = epoch["kind"] != KIND_PING
    one_way = fit_latency_floor(board_s[told], received_s[told]) if _moves(board_s[told], received_s[told]) else None
    if not ping.any():
        return (one_way, ONE_WAY_S, 1e-3) if one_way is not None else None
    trip_s = (epoch["received_ns"] - epoch["sent_ns"])[ping] * 1e-9
    middle_s = received_s[ping] - trip_s / 2
    unsure_s = float(trip_s.min()) / 2 + 1e-3
    if _moves(board_s[ping], middle_s) and (one_way is None or np.ptp(board_s[ping]) > 0.5 * np.ptp(board_s)):
        line = fit_board_clock(epoch[ping]).lines[0]
        assert line is not None
        return line, 0.0, unsure_s + line.residual_s
    if one_way is None:
        return None
    # PINGs of one moment only: they say where the line lies, the lines' arrivals how steep it is.
    best = int(np.argmin(trip_s))
    shift_s = float(middle_s[best] - one_way.host_s(float(board_s[ping][best])))
    moved = ClockLine(
        one_way.scale,
        one_way.offset_s + shift_s,
        one_way.residual_s,
        one_way.worst_s,
        one_way.readings,
        one_way.middle_s,
    )
    return moved, 0.0, unsure_s + one_way.residual_s


def _moves(device_s: Float64[np.ndarray, " reading"], host_s: Float64[np.ndarray, " reading"]) -> bool:
    return bool(len(device_s) >= 2 and np.ptp(device_s) > 0 and np.ptp(host_s) > 0)


def _numbered(
    records: Shaped[np.ndarray, " record"],
) -> tuple[Int64[np.ndarray, " told"], Float64[np.ndarray, " told"], float, int]:
    """Numbers and board seconds, one record a number and all on one even scale, the period, and how many were left out."""
    number, board_s = records["number"].astype(np.int64), records["board_us"] * 1e-6
    sane = (number >= 0) & (number < _LARGEST_NUMBER)
    number, board_s = number[sane], board_s[sane]
    number, first = np.unique(number, return_index=True)
    board_s = board_s[first]
    if len(number) < 2 or np.ptp(board_s) == 0:
        return number, board_s, np.nan, len(records) - len(number)
    rough_s = float(np.median(np.diff(board_s) / np.diff(number)))
    beside_s = board_s - number * rough_s
    even = np.abs(beside_s - running_median(beside_s)) < 0.25 * abs(rough_s)
    number, board_s = number[even], board_s[even]
    left_over = len(records) - len(number)
    if len(number) < 2 or np.ptp(board_s) == 0 or number[-1] - number[0] > 100 * len(number):
        return number[:0], board_s[:0], np.nan, len(records)
    return number, board_s, float(fit_clock(number.astype(np.float64), board_s).scale), left_over


def _train(run: int, records: Shaped[np.ndarray, " record"], line: ClockLine) -> tuple[Train | None, int]:
    number, board_s, period_s, extra = _numbered(records)
    if len(number) < 2 or not period_s > 0:
        return None, extra
    every = np.arange(int(number[-1]) + 1)
    told_s = _filled(every, number, board_s, period_s)
    host_s = np.asarray(line.host_s(told_s), np.float64)
    return Train(run, host_s, np.isin(every, number), period_s * line.scale, period_s), extra


def _edges(records: Shaped[np.ndarray, " record"], line: ClockLine) -> tuple[Edges | None, int]:
    number, board_s, period_s, extra = _numbered(records)
    if len(number) < 10 or not period_s > 0:
        return None, extra
    every = np.arange(int(number[0]), int(number[-1]) + 1)
    told_s = _filled(every, number, board_s, period_s)
    host_s = np.asarray(line.host_s(told_s), np.float64)
    return Edges(host_s, np.isin(every, number), period_s * line.scale), extra


def _filled(
    every: Int64[np.ndarray, " number"],
    number: Int64[np.ndarray, " record"],
    board_s: Float64[np.ndarray, " record"],
    period_s: float,
) -> Float64[np.ndarray, " number"]:
    """Board seconds of every number: as told, between two told ones evenly, before the first by the period."""
    filled = np.interp(every, number, board_s)
    return filled + np.minimum(every - number[0], 0) * period_s
