"""The moments of a recording and their radar frames: rows of `sync.parquet` before pictures are added to them."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from capture.clock_fit import fit_clock, running_median
from capture.frame_starts import FrameStarts
from capture.matching import MatchResult, match_events
from capture.pulse_trains import Board, Train, extended, fired_pulses
from capture.sync_verdict import Facts
from pipeline.sync import ClockFit

_RADAR_LATENCY_S = 0.02  # from pulse to first packet, the trigger's delay aside; half a period where that is more
_LONGEST_RADAR_STEP_S = 0.05  # a free-running radar this far off its own rhythm has begun anew


@dataclass
class Moments:
    """Rows, in parts: run, pulse, moment, radar frame, its offset, and whether anything of it is in doubt."""

    mode: Literal["board", "host"]
    run: list[Int64[np.ndarray, " row"]] = field(default_factory=list)
    pulse: list[Int64[np.ndarray, " row"]] = field(default_factory=list)
    time_s: list[Float64[np.ndarray, " row"]] = field(default_factory=list)
    frame: list[Int64[np.ndarray, " row"]] = field(default_factory=list)
    offset_s: list[Float64[np.ndarray, " row"]] = field(default_factory=list)
    doubt: list[Bool[np.ndarray, " row"]] = field(default_factory=list)
    radar_clock: ClockFit | None = None

    def add(
        self,
        time_s: Float64[np.ndarray, " row"],
        *,
        run: int = -1,
        pulse: Int64[np.ndarray, " row"] | None = None,
        frame: Int64[np.ndarray, " row"] | None = None,
        offset_s: Float64[np.ndarray, " row"] | None = None,
        doubt: Bool[np.ndarray, " row"] | None = None,
    ) -> None:
        """Append rows; what is not given is "none"."""
        rows = len(time_s)
        self.time_s.append(time_s)
        self.run.append(np.full(rows, run, np.int64))
        self.pulse.append(np.full(rows, -1, np.int64) if pulse is None else pulse)
        self.frame.append(np.full(rows, -1, np.int64) if frame is None else frame)
        self.offset_s.append(np.full(rows, np.nan) if offset_s is None else offset_s)
        self.doubt.append(np.zeros(rows, bool) if doubt is None else doubt)


# --- mode board ------------------------------------------------------------------------------------------------------
def by_pulses(board: Board, starts: FrameStarts, delay_s: float, facts: Facts) -> Moments | None:
    """Rows by pulses; None where the radar does not keep to them."""
    moments = Moments("board")
    frames = len(starts.start_s)
    bounds = _run_bounds(board.trains, starts)
    worst_s = max(train.period_s for train in board.trains)
    for number, train in enumerate(board.trains):
        first, last = bounds[number], bounds[number + 1]
        mine = slice(first, last)
        times_s = starts.start_s[mine]
        known = times_s[np.isfinite(times_s)]
        long = train
        if len(known):
            until_s = float(known.max()) + train.period_s * (len(times_s) - np.flatnonzero(np.isfinite(times_s))[-1])
            if number + 1 < len(board.trains):
                until_s = min(until_s, float(board.trains[number + 1].pulse_s[0]) - train.period_s)
            long = extended(train, until_s, facts.asked_pulses)
        fired = _fired(long, facts)
        reach_s = delay_s + max(_RADAR_LATENCY_S / facts.speed, train.period_s / 2)
        low_s = -board.late_s - board.unsure_s
        match = match_events(
            long.pulse_s,
            fired,
            times_s,
            train.period_s,
            (low_s, reach_s + board.unsure_s),
            starts.steady[mine],
            complete=len(long.pulse_s) == facts.asked_pulses,
        )
        if len(known) > 20 and not match.follows:
            facts.free_running = True
            return None
        facts.note_match(match, len(known), train, frames=last - first, first_frame=first)
        _pulse_rows(moments, long, fired, match, first, times_s, whole_doubt=bool(match.rivals))
    if bounds[0] > 0:  # frames before the first pulse of all
        _lone_rows(moments, np.arange(bounds[0]), starts.start_s[: bounds[0]], worst_s)
    assert sum(int((frame >= 0).sum()) for frame in moments.frame) == frames
    return moments


def _run_bounds(trains: tuple[Train, ...], starts: FrameStarts) -> list[int]:
    """The first radar frame of each run, and the number of frames: frames after a run's first pulse and before the next's."""
    frames = len(starts.start_s)
    bounds = []
    timed = np.flatnonzero(np.isfinite(starts.start_s))
    for number, train in enumerate(trains):
        if number == 0:
            before = timed[starts.start_s[timed] < train.pulse_s[0] - 5 * train.period_s]
            bounds.append(int(before[-1]) + 1 if len(before) else 0)
            continue
        after = timed[starts.start_s[timed] >= train.pulse_s[0] - train.period_s / 2]
        bounds.append(max(int(after[0]) if len(after) else frames, bounds[-1]))
    return [*bounds, frames]


def _fired(train: Train, facts: Facts) -> Bool[np.ndarray, " pulse"]:
    """False for pulses that the signature left out; where nobody says whether it was on, their lines tell."""
    every = np.ones(len(train.heard), bool)
    fired = fired_pulses(train, facts.asked_hz)
    out = int((~fired).sum())
    # Left-out pulses are far fewer than pulses: many of their lines heard means that they were not left out.
    ruled = int((~fired_pulses(train._replace(heard=~every), facts.asked_hz)).sum())
    if facts.asked_signature is False or out < 0.8 * ruled:
        return every
    facts.signature_on = True
    return fired


def _pulse_rows(
    moments: Moments,
    train: Train,
    fired: Bool[np.ndarray, " pulse"],
    match: MatchResult,
    first: int,
    times_s: Float64[np.ndarray, " frame"],
    *,
    whole_doubt: bool,
) -> None:
    """A row for every fired pulse up to the last that is heard or has a frame, and for every frame that has none."""
    count = len(train.pulse_s)
    frame_of = np.full(count, -1, np.int64)
    placed = np.flatnonzero(match.pulse >= 0)
    frame_of[match.pulse[placed]] = placed
    doubt = np.zeros(count, bool)
    for event in np.flatnonzero(match.open):
        if match.earliest[event] >= 0:
            doubt[match.earliest[event] : match.latest[event] + 1] = True
    doubt &= frame_of < 0
    known = np.flatnonzero(train.heard | (frame_of >= 0) | doubt)
    stop = int(known[-1]) + 1 if len(known) else 0
    rows = np.flatnonzero(fired[:stop])
    frame = frame_of[rows]
    has = frame >= 0
    offset_s = np.full(len(rows), np.nan)
    offset_s[has] = (times_s - match.latency_s)[frame[has]] - train.pulse_s[rows[has]]
    moments.add(
        train.pulse_s[rows],
        run=train.run,
        pulse=rows.astype(np.int64),
        frame=np.where(has, frame + first, -1),
        offset_s=offset_s,
        doubt=doubt[rows] | whole_doubt,
    )
    lone = np.flatnonzero(match.open)
    if len(lone):
        _lone_rows(moments, lone + first, (times_s - match.latency_s)[lone], train.period_s, times_s - match.latency_s)


def _lone_rows(
    moments: Moments,
    frames: Int64[np.ndarray, " frame"],
    times_s: Float64[np.ndarray, " frame"],
    period_s: float,
    around_s: Float64[np.ndarray, " all"] | None = None,
) -> None:
    """Rows of radar frames that belong to no pulse for certain; one without a time is put between its neighbours."""
    around_s = times_s if around_s is None else around_s
    known = np.flatnonzero(np.isfinite(around_s))
    guess = np.zeros(len(frames))
    if len(known):
        at = frames - frames[0] + (0 if len(around_s) == len(frames) else int(frames[0]))
        guess = np.interp(at, known, around_s[known])
    time_s = np.where(np.isfinite(times_s), times_s, guess)
    moments.add(time_s, frame=frames.astype(np.int64), doubt=np.ones(len(frames), bool))


# --- mode host -------------------------------------------------------------------------------------------------------
def by_host_time(starts: FrameStarts, facts: Facts) -> Moments:
    """A row for every radar frame, timed by the line of the radar's own clock through the frames' arrivals.

    The line is begun anew where frames were left out or the radar was restarted; frame numbers go on.
    """
    moments = Moments("host")
    frames = len(starts.start_s)
    known = np.flatnonzero(np.isfinite(starts.start_s))
    if not len(known):
        return moments
    sure = np.flatnonzero(starts.steady)
    sure = sure if len(sure) > 1 else known
    period_s = facts.frame_period_s
    if len(sure) > 1:
        period_s = float(np.median(np.diff(starts.start_s[sure]) / np.diff(sure)))
    level_s = running_median(starts.start_s[sure] - sure * period_s)  # one late frame is no new beginning
    cuts = sure[np.flatnonzero(np.abs(np.diff(level_s)) > min(_LONGEST_RADAR_STEP_S, period_s / 2)) + 1]
    facts.radar_steps = len(cuts)
    longest = 0
    for begin, end in zip([0, *cuts.tolist()], [*cuts.tolist(), frames], strict=True):
        index = np.arange(begin, end)
        times_s = starts.start_s[begin:end]
        timed = np.isfinite(times_s)
        steady = timed & starts.steady[begin:end]
        used = steady if steady.sum() > 1 else timed
        if used.sum() > 2:
            line = fit_clock(index[used] * facts.frame_period_s, times_s[used])
            fitted_s = np.asarray(line.host_s(index * facts.frame_period_s), np.float64)
            if used.sum() > longest:
                longest, moments.radar_clock = int(used.sum()), line.report()
        elif timed.any():
            at = np.flatnonzero(timed)
            fitted_s = times_s[at[0]] + (index - index[at[0]]) * period_s
        else:
            fitted_s = np.full(len(index), starts.start_s[known[0]])
        moments.add(
            fitted_s,
            frame=index.astype(np.int64),
            offset_s=times_s - fitted_s,
            doubt=np.full(len(index), not timed.any()),
        )
    return moments
