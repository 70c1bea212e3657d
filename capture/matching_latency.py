"""Where events lie between the pulses they follow: their usual latency, its scatter, and its drift through a session.

Everything is counted in pulses: the whole part of an event's *place* is a pulse, its fraction a latency modulo the period.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64

WINDOW_S = 10.0
TIED = 0.9
"""Of a period: a narrower range of possible latencies says which pulse an event belongs to."""
BUSY_TOLERANCE = 0.02
"""Of a period: of being on time, among events most of which are late."""
_DENSE = 1 / 32  # of a period: as wide as one looks for the densest place
_BUSY_BAND = 0.15  # of a period that the shortest latency may be above the least possible
_CONTRAST = 4.0  # times as dense as anywhere


def places(
    event_s: Float64[np.ndarray, " event"], pulse_s: Float64[np.ndarray, " pulse"], period_s: float
) -> Float64[np.ndarray, " event"]:
    """Each event's time counted in pulses; beyond the first and last pulse by the period."""
    last = len(pulse_s) - 1
    inside = np.interp(event_s, pulse_s, np.arange(len(pulse_s), dtype=np.float64))
    before = np.minimum(event_s - pulse_s[0], 0) / period_s
    behind = np.maximum(event_s - pulse_s[last], 0) / period_s
    return inside + before + behind


def wrapped(periods: Float64[np.ndarray, " event"]) -> Float64[np.ndarray, " event"]:
    """The distance to the nearest whole number, in -0.5 to 0.5."""
    return periods - np.round(periods)


def densest(place: Float64[np.ndarray, " event"]) -> float:
    """Where events lie densest between two pulses, in periods within [0, 1)."""
    within = np.sort(place % 1.0)
    doubled = np.concatenate([within, within + 1])
    members = np.searchsorted(doubled, within + _DENSE, "right") - np.arange(len(within))
    begin = int(np.argmax(members))
    return float(np.median(doubled[begin : begin + int(members[begin])])) % 1.0


def scatter(beside: Float64[np.ndarray, " event"]) -> float:
    """How far events scatter to the early side of where they should be. The late side tells of more than jitter."""
    early = -beside[(beside <= 0) & (beside > -0.25)]
    return 1.4826 * float(np.median(early)) if len(early) else 0.25


def regular(event_s: Float64[np.ndarray, " event"], index: Int64[np.ndarray, " event"], period_s: float) -> bool:
    """Whether events keep some rhythm, be it not that of the pulses. Events sent off a queue all at once keep none."""
    steps = np.diff(event_s) / np.diff(index)
    if len(steps) < 5:
        return True
    step = float(np.median(steps))
    return step > 0.5 * period_s and float(np.median(np.abs(steps - step))) < 0.02 * step


def least_late(
    place: Float64[np.ndarray, " event"], latency_range_s: tuple[float, float], period_s: float
) -> tuple[float, bool]:
    """The latency, in periods, of the least late among events most of which are late, and whether it stands out.

    They lie densest there, near the least that the clocks allow. Where they are no denser than anywhere, being on time means
    nothing; nor does it where the clocks are not tied.
    """
    low, high = (edge / period_s for edge in latency_range_s)
    within = np.sort((place - low) % 1.0)
    members = np.searchsorted(within, within + 2 * BUSY_TOLERANCE, "right") - np.arange(len(within))
    members[within > _BUSY_BAND] = 0
    begin = int(np.argmax(members))
    count = max(int(members[begin]), 1)
    stands_out = count >= _CONTRAST * 2 * BUSY_TOLERANCE * len(within) and count >= 5
    return low + float(np.median(within[begin : begin + count])), bool(stands_out and high - low < TIED)


def window_drift(
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
    residual = wrapped(np.where(known, beside, 0))
    centres, middles, wrong = [], [], []
    for number in np.unique(window[trusted]):
        mine = residual[trusted & (window == number)]
        if len(mine) < 5:
            continue
        middle = float(wrapped(np.array([densest(mine)]))[0])
        if abs(middle) > 0.125:
            wrong.append(int(number))
        else:
            centres.append(begin_s + (number + 0.5) * length_s)
            middles.append(middle)
    drift = np.interp(event_s, centres, middles) if centres else np.zeros(len(event_s))
    drift = np.where(known, drift, middles[0] if middles else 0.0)
    return drift, np.isin(window, wrong), tuple(begin_s + number * length_s for number in wrong)
