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

Lateness is the enemy: an event late by a whole period behind which the next pulse was missed looks on time. How many are late by
*nearly* a period tells how likely that is: if some are, anchors behind missed pulses are not believed; if many are, none is.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int64

from capture.matching_latency import (
    BUSY_TOLERANCE,
    TIED,
    densest,
    least_late,
    places,
    regular,
    scatter,
    window_drift,
    wrapped,
)
from capture.matching_order import assign

_ON_UNFIRED = 7.0  # cost: about -ln of how often an event comes without its pulse
_MISSED = 2.5  # cost: about -ln of how often a pulse is missed
_IMPLAUSIBLE = 25.0  # cost: latency outside of what the clocks allow: several gaps of the signature must speak for it
_MARGIN = 6.0  # a rival is within this of the best
_MANY = 0.6  # of the events are on time where it is plain what on time is
_RARE = 0.02  # of the events are late by nearly a period: then hardly one is late by more
_OFTEN = 0.15  # of them are: then being on time means nothing
_EARLY = 0.05  # of a period: so much before the least latency an event may seem to come, by jitter


@dataclass(frozen=True)
class MatchResult:
    """`pulse` is the index into the pulses given, -1 where none; `open` events may belong to `earliest`..`latest`."""

    pulse: Int64[np.ndarray, " event"]
    open: Bool[np.ndarray, " event"]
    earliest: Int64[np.ndarray, " event"]
    latest: Int64[np.ndarray, " event"]
    latency_s: Float64[np.ndarray, " event"]  # event minus its pulse, as the window around it has it
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
        return MatchResult(nothing, np.ones(events, bool), nothing, nothing, np.full(events, np.nan), follows=False)
    place = places(event_s, pulse_s, period_s)
    phase = densest(place[trusted])
    drift, off_window, unstable_s = window_drift(event_s, place - phase, trusted, period_s)
    beside = wrapped((place - phase - drift)[trusted])
    tolerance = float(np.clip(6 * scatter(beside), 0.01, 0.25))
    focused = tolerance < 0.25 and float((np.abs(beside) <= tolerance).mean()) > _MANY
    busy = not focused and not regular(event_s[timed], np.flatnonzero(timed), period_s)
    if busy:
        drift, off_window, unstable_s = np.zeros(events), np.zeros(events, bool), ()
        trusted, tolerance = timed, BUSY_TOLERANCE
        phase, sure = least_late(place[timed], latency_range_s, period_s)
        off_window |= not sure
    ahead = np.where(timed, place - phase - drift, np.nan)
    slot = np.round(np.where(timed, ahead, -1)).astype(np.int64)
    on_time = trusted & (np.abs(np.where(timed, ahead - slot, 1)) <= tolerance)
    shift, rivals, signature = (
        (0, (), False) if busy else _offset(slot[on_time], fired, phase, latency_range_s, period_s)
    )
    # An event may come before what is usual, but not before what the clocks allow.
    low, high = (edge / period_s for edge in latency_range_s)
    usual = phase + shift - low
    early = min(max(usual + _EARLY, tolerance), 0.25) if high - low < TIED and usual > -tolerance else tolerance
    off = np.where(timed, ahead - slot, 1)
    on_time = trusted & (off >= -early) & (off <= tolerance)
    # Lateness of nearly a period tells of events late by more, which may look on time a pulse too far.
    very_late = (ahead - np.floor(ahead + early) > 0.6)[trusted]
    wary = bool(very_late.mean() > _RARE)
    hopeless = bool(very_late.mean() > _OFTEN)
    claim = np.where(on_time & ~off_window & (not hopeless), slot - shift, -1)
    pulse, earliest, latest = assign(claim, ahead - shift, fired, early, complete, wary)
    return MatchResult(
        pulse=pulse,
        open=pulse < 0,
        earliest=earliest,
        latest=latest,
        latency_s=(phase + drift + shift) * period_s,
        follows=focused or busy,
        busy=busy or hopeless,
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
    outside = np.searchsorted(np.sort(slot), shifts)  # events that would come before pulse 0
    conflicts = hit.sum(1) + outside
    missed = len(taken) - inside.sum(1) - (taken.sum() - hit.sum(1))
    implausible = (shifts < low) | (shifts > high)
    cost = _ON_UNFIRED * conflicts + _MISSED * missed + _IMPLAUSIBLE * implausible
    best = int(np.argmin(cost + 1e-9 * np.abs(shifts - (low + high) / 2)))
    close = (cost < cost[best] + _MARGIN) & (np.arange(len(shifts)) != best)
    beside = np.abs(shifts - shifts[best])
    neighbours = (beside > 0) & (beside <= 3)
    signature = bool(inside[best].any() and not hit[best].any() and hit[neighbours].any(1).all())
    return int(shifts[best]), tuple(int(shift) for shift in shifts[close] - shifts[best]), signature
