"""An order-keeping assignment of events to pulses that says where it does not know: the last step of `capture.matching`."""

import bisect

import numpy as np
from jaxtyping import Bool, Float64, Int64

_DOUBT_ANCHORS = 8  # how far back events that are too many for their pulses may cast doubt
_FAR = 2**40


def assign(
    claim: Int64[np.ndarray, " event"],
    ahead: Float64[np.ndarray, " event"],
    fired: Bool[np.ndarray, " pulse"],
    early: float,
    complete: bool,
    wary: bool,
) -> tuple[Int64[np.ndarray, " event"], Int64[np.ndarray, " event"], Int64[np.ndarray, " event"]]:
    """Pulse of each event or -1, and the first and last pulse each could belong to (-1, -1: to none).

    `claim`: the pulse at which an event is on time, else -1; `ahead`: its time in pulses with the latency taken off, NaN
    where unknown; an event may seem to come `early` before its pulse. Pulses are counted here by the fired ones alone (their
    *rank*), so that consecutive events differ by one.
    """
    events, pulses = len(claim), len(fired)
    rank_of = np.cumsum(fired) - 1  # of a pulse; of one left out, the rank before it
    pulse_of = np.flatnonzero(fired)
    claim = np.where((claim >= 0) & (claim < pulses) & fired[np.clip(claim, 0, pulses - 1)], claim, -1)
    claim = _in_order(claim)
    anchors = np.flatnonzero(claim >= 0)
    rank = rank_of[claim[anchors]]
    surplus = np.diff(rank) - np.diff(anchors)  # pulses missed between two anchors; negative: too many events
    if wary:  # behind missed pulses, an event late by as many looks on time: the next anchor decides
        claim[anchors[1:][surplus > 0]] = -1
        claim[anchors[:1][rank[:1] > anchors[:1]]] = -1
        anchors = np.flatnonzero(claim >= 0)
        rank = rank_of[claim[anchors]]
        surplus = np.diff(rank) - np.diff(anchors)
    placeable, doubtful = np.ones(events, bool), np.zeros(events, bool)
    for stretch in np.flatnonzero(surplus < 0):
        # Events late enough to pass for the next ones push these out; how far back that goes, a missed pulse ends.
        back = int(stretch)
        while back > max(int(stretch) - _DOUBT_ANCHORS, 0) and surplus[back - 1] <= 0:
            back -= 1
        placeable[anchors[stretch] + 1 : anchors[stretch + 1]] = False
        doubtful[anchors[back] : anchors[stretch + 1]] = True
    limit = len(pulse_of) - 1
    timed = np.isfinite(ahead)
    latest = np.floor(np.where(timed, ahead, 0) + early).astype(np.int64)
    reach = np.where(latest < 0, -1, rank_of[np.clip(latest, 0, pulses - 1)])
    reach = np.where(timed, reach, limit if complete else _FAR)
    lowest, highest = np.zeros(events, np.int64), reach.copy()
    lowest[anchors] = highest[anchors] = rank
    kept = np.flatnonzero(placeable)
    order = np.arange(len(kept))
    lowest[kept] = np.maximum.accumulate(lowest[kept] - order) + order
    highest[kept] = np.minimum.accumulate((highest[kept] - order)[::-1])[::-1] + order
    placed = placeable & (lowest == highest) & ~doubtful
    broken = placeable & (lowest > highest)
    if broken.any():  # an event that fits nowhere leaves its whole stretch open
        stretch_of = np.searchsorted(anchors, np.arange(events), "right")
        placed &= ~(np.isin(stretch_of, stretch_of[broken]) & (claim < 0))
    pulse = np.where(placed, pulse_of[np.clip(lowest, 0, limit)], -1)
    # What is left open lies between what is placed, and not before its pulse.
    below = np.maximum.accumulate(np.where(placed, lowest, -1)) + 1
    above = np.minimum(np.minimum.accumulate(np.where(placed, highest, _FAR)[::-1])[::-1] - 1, np.minimum(reach, limit))
    first = np.where(placed, pulse, np.where(below <= above, pulse_of[np.clip(below, 0, limit)], -1))
    last = np.where(placed, pulse, np.where(below <= above, pulse_of[np.clip(above, 0, limit)], -1))
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
