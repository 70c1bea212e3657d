"""Which event belongs to which pulse: the integer offset between two streams, then an assignment that never renumbers.

`hardware.md` section 5. Events (radar frames, camera exposures) follow pulses one to one, except that a pulse may be missed
and that an event may be late, never early. In three steps:

1. **Latency** modulo the period: where events lie densest between two pulses. Checked again in windows.
2. **Offset**: the latency plus any whole number of periods would fit as well. Each candidate is charged for events on pulses
   that were never fired (the gap signature), for fired pulses without an event, and for a latency that is implausible.
   A second candidate that is hardly dearer is a *rival*: nothing that follows can be trusted.
3. **Assignment**: an event right on time is an anchor. Between anchors, events are bounded from both sides: each takes a pulse
   of its own, in order, and none comes before its pulse. Where the bounds meet the event is placed, late or lost as its time
   may be; elsewhere it is left open.
"""

import bisect
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int64

COST_ON_UNFIRED = 7.0  # about -ln of how often an event comes without its pulse
COST_MISSED = 2.5  # about -ln of how often a pulse is missed
COST_IMPLAUSIBLE = 25.0  # latency outside of what the clocks allow: several gaps of the signature must speak for it
MARGIN = 6.0  # a rival is within this of the best
WINDOW_S = 10.0
_DOUBT_ANCHORS = 8  # how far back events that are too many for their pulses may cast doubt
_MOST = 0.8  # of the events that are on time in a session that is in order
_BUSY_TOLERANCE = 0.03  # of a period
_BUSY_BAND = 0.15  # of a period that the shortest latency may be above the least possible
_FAR = 2**40


@dataclass(frozen=True)
class MatchResult:
    """`pulse` is the index into the pulses given, -1 where none; `open` events may belong to `earliest`..`latest`."""

    pulse: Int64[np.ndarray, " event"]
    open: Bool[np.ndarray, " event"]
    earliest: Int64[np.ndarray, " event"]
    latest: Int64[np.ndarray, " event"]
    latency_s: Float64[np.ndarray, " event"]  # event minus its pulse, as the window around it has it
    tolerance_s: float  # an event within this of its latency is on time
    follows: bool  # False: events keep a rhythm of their own, so that nothing here means anything
    busy: bool = False  # so many events came late that only the clocks could say what on time is
    rivals: tuple[int, ...] = ()  # other offsets that fit nearly as well, in periods against the one chosen
    signature: bool = False  # the gaps left on purpose were seen, and fit no neighbouring offset
    unstable_s: tuple[float, ...] = field(default=())  # beginnings of windows whose latency differs from the rest


def match_events(
    pulse_s: Float64[np.ndarray, " pulse"],
    fired: Bool[np.ndarray, " pulse"],
    event_s: Float64[np.ndarray, " event"],
    period_s: float,
    latency_range_s: tuple[float, float],
    trusted: Bool[np.ndarray, " event"] | None = None,
    *,
    complete: bool = False,
) -> MatchResult:
    """Match events to pulses.

    `pulse_s`: time of every pulse from number 0 on, on the clock of the events, evenly `period_s` apart but for jitter, and at
    least as far as the events go; `complete` says that none came after them. `fired` is False for those left out on purpose.
    `event_s`: times of the events in their own order, NaN where unknown; `trusted` is False for events that may be late by
    their own account. `latency_range_s`: what event minus pulse may be; where that is wider than a period because the
    clocks are not tied, only the signature can decide.
    """
    events, timed = len(event_s), np.isfinite(event_s)
    trusted = timed if trusted is None else trusted & timed
    if trusted.sum() < max(0.5 * timed.sum(), 2):  # where most seem late, seeming late says nothing
        trusted = timed
    nothing = np.full(events, -1, np.int64)
    if not trusted.any() or len(pulse_s) < 2:
        return MatchResult(
            nothing, np.ones(events, bool), nothing, nothing, np.full(events, np.nan), 0.0, follows=False
        )
    place = _place(event_s, pulse_s, period_s)
    phase, spread = _phase(place[trusted])
    drift, off_window, unstable_s = _windows(event_s, place - phase, trusted, period_s)
    beside = _wrapped((place - phase - drift)[trusted])
    near = beside[np.abs(beside) < 0.25]
    spread = 1.4826 * float(np.median(np.abs(near))) if len(near) else spread
    tolerance = float(np.clip(6 * spread, 0.005, 0.25))
    focused = spread < 0.05 and float((np.abs(beside) <= tolerance).mean()) > 0.6
    busy = not focused and not _regular(event_s[timed], np.flatnonzero(timed), period_s)
    if busy:
        phase, tolerance, trusted = _edge_of_the_late(place[timed], latency_range_s, period_s), _BUSY_TOLERANCE, timed
        drift, off_window, unstable_s = np.zeros(events), np.zeros(events, bool), ()
    ahead = np.where(timed, place - phase - drift, np.nan)
    slot = np.round(np.where(timed, ahead, -1)).astype(np.int64)
    on_time = trusted & (np.abs(np.where(timed, ahead - slot, 1)) <= tolerance)
    # Few events on time: one that is late by whole periods may pass for one of them.
    wary = bool(on_time.sum() < _MOST * timed.sum())
    shift, rivals, signature = (
        (0, (), False) if busy else _offset(slot[on_time], fired, phase, latency_range_s, period_s)
    )
    claim = np.where(on_time & ~off_window, slot - shift, -1)
    pulse, earliest, latest = _assign(claim, ahead - shift, fired, tolerance, complete, wary)
    return MatchResult(
        pulse=pulse,
        open=pulse < 0,
        earliest=earliest,
        latest=latest,
        latency_s=(phase + drift + shift) * period_s,
        tolerance_s=tolerance * period_s,
        follows=focused or busy,
        busy=busy,
        rivals=rivals,
        signature=signature,
        unstable_s=unstable_s,
    )


def nearest(
    moment_s: Float64[np.ndarray, " moment"], event_s: Float64[np.ndarray, " event"], gate_s: float
) -> Int64[np.ndarray, " moment"]:
    """The event nearest in time to each moment, -1 where none is within `gate_s`; NaN times match nothing."""
    known = np.flatnonzero(np.isfinite(event_s))
    found = np.full(len(moment_s), -1, np.int64)
    if not len(known):
        return found
    order = known[np.argsort(event_s[known], kind="stable")]
    times = event_s[order]
    after = np.clip(np.searchsorted(times, moment_s), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    closer = np.where(np.abs(times[before] - moment_s) <= np.abs(times[after] - moment_s), before, after)
    near = np.abs(times[closer] - moment_s) <= gate_s  # False for NaN moments
    found[near] = order[closer[near]]
    return found


# --- 1. latency ------------------------------------------------------------------------------------------------------
def _place(
    event_s: Float64[np.ndarray, " event"], pulse_s: Float64[np.ndarray, " pulse"], period_s: float
) -> Float64[np.ndarray, " event"]:
    """Each event's time counted in pulses; beyond the first and last pulse by the period."""
    last = len(pulse_s) - 1
    inside = np.interp(event_s, pulse_s, np.arange(len(pulse_s), dtype=np.float64))
    before = np.minimum(event_s - pulse_s[0], 0) / period_s
    behind = np.maximum(event_s - pulse_s[last], 0) / period_s
    return inside + before + behind


def _wrapped(periods: Float64[np.ndarray, " event"]) -> Float64[np.ndarray, " event"]:
    return periods - np.round(periods)


def _phase(place: Float64[np.ndarray, " event"]) -> tuple[float, float]:
    """Where events lie densest between two pulses, in periods within [0, 1), and their spread about it."""
    within = np.sort(place % 1.0)
    doubled = np.concatenate([within, within + 1])
    width = 1 / 32
    members = np.searchsorted(doubled, within + width, "right") - np.arange(len(within))
    begin = int(np.argmax(members))
    phase = float(np.median(doubled[begin : begin + int(members[begin])]))
    spread = 0.0
    for _ in range(2):
        beside = _wrapped(place - phase)
        beside = beside[np.abs(beside) < 0.25]
        middle = float(np.median(beside))
        phase, spread = phase + middle, 1.4826 * float(np.median(np.abs(beside - middle)))
    return phase % 1.0, spread


def _regular(event_s: Float64[np.ndarray, " event"], index: Int64[np.ndarray, " event"], period_s: float) -> bool:
    """Whether events keep some rhythm, be it not that of the pulses."""
    steps = np.diff(event_s) / np.diff(index)
    return len(steps) < 5 or float(np.median(np.abs(steps - np.median(steps)))) < 0.02 * period_s


def _edge_of_the_late(
    place: Float64[np.ndarray, " event"], latency_range_s: tuple[float, float], period_s: float
) -> float:
    """The latency, in periods, of the least late among events most of which are late: densest near what the clocks allow."""
    low = latency_range_s[0] / period_s
    within = np.sort((place - low) % 1.0)
    members = np.searchsorted(within, within + 1 / 32, "right") - np.arange(len(within))
    members[within > _BUSY_BAND] = 0
    begin = int(np.argmax(members))
    return low + float(np.median(within[begin : begin + max(int(members[begin]), 1)]))


def _windows(
    event_s: Float64[np.ndarray, " event"],
    beside: Float64[np.ndarray, " event"],
    trusted: Bool[np.ndarray, " event"],
    period_s: float,
) -> tuple[Float64[np.ndarray, " event"], Bool[np.ndarray, " event"], tuple[float, ...]]:
    """The latency again in windows of `WINDOW_S`: its slow drift at each event, events of windows that disagree, their times.

    A window disagrees when its latency is an eighth of a period from the whole's: there nearest is not safe.
    """
    known = np.isfinite(event_s)
    begin_s = float(np.min(event_s[known]))
    length_s = max(WINDOW_S, 20 * period_s)
    window = np.where(known, (event_s - begin_s) // length_s, -1).astype(np.int64)
    residual = _wrapped(np.where(known, beside, 0))
    centres, middles, wrong = [], [], []
    for number in np.unique(window[trusted]):
        mine = residual[trusted & (window == number)]
        close = mine[np.abs(mine) < 0.25]
        if len(mine) >= 5 and len(close) < 0.5 * len(mine):
            wrong.append(int(number))
        elif len(close) >= 5:
            middle = float(np.median(close))
            if abs(middle) > 0.125:
                wrong.append(int(number))
            else:
                centres.append(begin_s + (number + 0.5) * length_s)
                middles.append(middle)
    drift = np.interp(event_s, centres, middles) if centres else np.zeros(len(event_s))
    drift = np.where(known, drift, middles[0] if middles else 0.0)
    return drift, np.isin(window, wrong), tuple(begin_s + number * length_s for number in wrong)


# --- 2. offset -------------------------------------------------------------------------------------------------------
def _offset(
    slot: Int64[np.ndarray, " event"],
    fired: Bool[np.ndarray, " pulse"],
    phase: float,
    latency_range_s: tuple[float, float],
    period_s: float,
) -> tuple[int, tuple[int, ...], bool]:
    """Periods to take off every slot, other numbers that fit nearly as well, and whether the signature shows."""
    if not len(slot):
        return 0, (), False
    low, high = (edge / period_s - phase for edge in latency_range_s)
    first, last = int(np.floor(low)) - 3, int(np.ceil(high)) + 3
    shifts = np.arange(first, last + 1)
    unfired = np.flatnonzero(~fired)
    left, right = int(slot.min()), int(slot.max())
    taken = np.zeros(right - left + 1, bool)
    taken[slot - left] = True
    at = unfired[None, :] + shifts[:, None] - left  # where unfired pulses would lie among the slots
    inside = (at >= 0) & (at < len(taken))
    hit = inside & taken[np.clip(at, 0, len(taken) - 1)]
    outside = (slot[None, :] < shifts[:, None]).sum(1) if first + 0 > left else _below(slot, shifts)
    conflicts = hit.sum(1) + outside
    missed = len(taken) - inside.sum(1) - (taken.sum() - hit.sum(1))
    implausible = (shifts < low) | (shifts > high)
    cost = COST_ON_UNFIRED * conflicts + COST_MISSED * missed + COST_IMPLAUSIBLE * implausible
    best = int(np.argmin(cost + 1e-9 * np.abs(shifts - (low + high) / 2)))
    close = (cost < cost[best] + MARGIN) & (np.arange(len(shifts)) != best)
    beside = np.abs(shifts - shifts[best])
    neighbours = (beside > 0) & (beside <= 3)
    signature = bool(inside[best].any() and not hit[best].any() and hit[neighbours].any(1).all())
    return int(shifts[best]), tuple(int(shift) for shift in shifts[close] - shifts[best]), signature


def _below(slot: Int64[np.ndarray, " event"], shifts: Int64[np.ndarray, " shift"]) -> Int64[np.ndarray, " shift"]:
    """How many events would come before pulse 0 at each shift."""
    return np.searchsorted(np.sort(slot), shifts).astype(np.int64)


# --- 3. assignment ---------------------------------------------------------------------------------------------------
def _assign(
    claim: Int64[np.ndarray, " event"],
    ahead: Float64[np.ndarray, " event"],
    fired: Bool[np.ndarray, " pulse"],
    tolerance: float,
    complete: bool,
    wary: bool,
) -> tuple[Int64[np.ndarray, " event"], Int64[np.ndarray, " event"], Int64[np.ndarray, " event"]]:
    """Pulse of each event or -1, and the first and last pulse each could belong to (-1, -1: to none).

    `claim`: the pulse at which an event is on time, else -1; `ahead`: its time in pulses with the latency taken off, NaN
    where unknown. Pulses are counted here by the fired ones alone (their *rank*), so that consecutive events differ by one.
    """
    events, pulses = len(claim), len(fired)
    rank_of = np.cumsum(fired) - 1  # of a pulse; of one left out, the rank before it
    pulse_of = np.flatnonzero(fired)
    claim = np.where((claim >= 0) & (claim < pulses) & fired[np.clip(claim, 0, pulses - 1)], claim, -1)
    claim = _in_order(claim)
    anchors = np.flatnonzero(claim >= 0)
    rank = rank_of[claim[anchors]]
    placeable = np.ones(events, bool)
    doubtful = np.zeros(events, bool)
    surplus = np.diff(rank) - np.diff(anchors)  # pulses missed between two anchors; negative: too many events
    if wary:  # behind missed pulses, an event late by as many looks on time: the next anchor decides
        suspect = np.flatnonzero(surplus > 0) + 1
        claim[anchors[suspect]] = -1
        anchors = np.flatnonzero(claim >= 0)
        rank = rank_of[claim[anchors]]
        surplus = np.diff(rank) - np.diff(anchors)
    for stretch in np.flatnonzero(surplus < 0):
        placeable[anchors[stretch] + 1 : anchors[stretch + 1]] = False
        doubtful[anchors[stretch]] = True
        for back in range(int(stretch) - 1, max(int(stretch) - _DOUBT_ANCHORS, -1), -1):
            if surplus[back] > 0:
                break
            doubtful[anchors[back]] = True
    limit = len(pulse_of) - 1
    lowest, highest = np.zeros(events, np.int64), np.full(events, limit if complete else _FAR)
    timed = np.isfinite(ahead)
    latest = np.floor(np.where(timed, ahead, 0) + tolerance).astype(np.int64)
    reach = np.where(latest < 0, -1, rank_of[np.clip(latest, 0, pulses - 1)])
    highest[timed] = reach[timed]
    lowest[anchors] = highest[anchors] = rank
    kept = np.flatnonzero(placeable)
    order = np.arange(len(kept))
    lowest[kept] = np.maximum.accumulate(lowest[kept] - order) + order
    highest[kept] = np.minimum.accumulate((highest[kept] - order)[::-1])[::-1] + order
    possible = placeable & (lowest <= highest)
    placed = possible & (lowest == highest) & ~doubtful
    broken = placeable & (lowest > highest)
    if broken.any():  # an event that fits nowhere leaves its whole stretch open
        stretch_of = np.searchsorted(anchors, np.arange(events), "right")
        open_stretch = np.isin(stretch_of, stretch_of[broken]) & (claim < 0)
        placed &= ~open_stretch
    pulse = np.where(placed, pulse_of[np.clip(lowest, 0, limit)], -1)
    bounded = possible & (lowest <= limit)
    first = np.where(bounded, pulse_of[np.clip(lowest, 0, limit)], -1)
    last = np.where(bounded, pulse_of[np.clip(highest, 0, limit)], -1)
    return pulse, first, last


def _in_order(claim: Int64[np.ndarray, " event"]) -> Int64[np.ndarray, " event"]:
    """Claims that can all be true: one event a pulse, ascending. Of two that exclude each other neither stays, unless one
    of them excludes many more.
    """
    claim = claim.copy()
    claimed, counts = np.unique(claim[claim >= 0], return_counts=True)
    claim[np.isin(claim, claimed[counts > 1])] = -1
    held = np.flatnonzero(claim >= 0)
    value = claim[held]
    if len(held) < 2 or (np.diff(value) > 0).all():
        return claim
    chain = np.zeros(len(held), bool)
    chain[_longest_ascent(value.tolist())] = True
    stray, chained = np.flatnonzero(~chain), np.flatnonzero(chain)
    excludes = ((stray[:, None] < chained[None, :]) & (value[stray][:, None] > value[chained][None, :])) | (
        (stray[:, None] > chained[None, :]) & (value[stray][:, None] < value[chained][None, :])
    )
    weight_stray, weight_chain = excludes.sum(1), excludes.sum(0)
    equal = (excludes & (weight_stray[:, None] <= weight_chain[None, :] + 1)).any(0)
    claim[held[stray]] = -1
    claim[held[chained[equal]]] = -1
    return claim


def _longest_ascent(values: list[int]) -> list[int]:
    """Indices of a longest strictly ascending subsequence."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for index, value in enumerate(values):
        at = bisect.bisect_left(tails, value)
        before.append(ends[at - 1] if at else -1)
        if at == len(tails):
            tails.append(value)
            ends.append(index)
        else:
            tails[at], ends[at] = value, index
    path: list[int] = []
    index = ends[-1] if ends else -1
    while index >= 0:
        path.append(index)
        index = before[index]
    return path[::-1]
