"""Pieces of track -> people: which pieces are one person before and after an occlusion, decided over the whole session.

How badly two pieces fit one after the other is a sum of squared departures, each in units of what is usual for one person
after so long: where they should be, how fast they move, how tall they stand (at a known depth, how tall they *are*), how
far away they are. The set of links with the smallest sum is taken (Hungarian method). A link is doubtful when two people
could change places at little cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.optimize import linear_sum_assignment

from processing.labelling.tracking_pieces import Piece, expected_shift_px

_NO_LINK = 12.0  # a sum of squares that one person hardly reaches: 1 in 60 for four terms
_NEVER = 1e6
_DOUBT = 4.0  # the swapped links fit worse by less: odds under e^2 = 7 to 1
_PLACE, _PLACE_A_SECOND, _PLACE_MOST = 0.12, 0.5, 1.5  # of stature
_PACE, _PACE_A_SECOND, _PACE_MOST = 0.35, 0.8, 2.0  # statures a second
_SIZE_PLAIN, _SIZE_PLAIN_A_SECOND, _SIZE_PLAIN_MOST = 0.08, 0.1, 0.35  # log of stature in pixels
_SIZE_TRUE = 0.05  # log of stature in metres: what pose and depth noise leave
_DEPTH_M, _DEPTH_A_SECOND, _DEPTH_MOST = 0.15, 0.6, 2.0
_SIZE_TRUE_ONE = 0.12  # more of that where there are few sightings to take it from
_END_SIGHTINGS = 5
_LONG = 4  # sightings from which a piece's pace and size mean something
_NEAR_S, _SHORT_PLACE, _SHORT_SIZE, _SHORT_FITS = 1.0, 0.15, 0.12, 9.0


@dataclass(frozen=True)
class Links:
    """`person_of[piece]`: who it is, numbered in order of appearance; -1 for a short piece that may be several people's.

    `doubtful`: when people may have been exchanged (seconds), and the two persons' numbers.
    """

    person_of: Int64[np.ndarray, " piece"]
    doubtful: tuple[tuple[float, int, int], ...]


def link_pieces(pieces: Sequence[Piece]) -> Links:
    """Who is who over a session: long pieces first, whose pace and size are known; then short ones into the gaps they fit."""
    person_of = np.full(len(pieces), -1, np.int64)
    long = [number for number, piece in enumerate(pieces) if len(piece.sightings) >= _LONG] or list(range(len(pieces)))
    if not long:
        return Links(person_of, ())
    person_of[long], doubtful = _linked([pieces[number] for number in long])
    for number, piece in enumerate(pieces):
        if person_of[number] < 0:
            person_of[number] = _whose(piece, pieces, person_of)
    return Links(person_of, doubtful)


def _linked(
    pieces: Sequence[Piece],
) -> tuple[Int64[np.ndarray, " piece"], tuple[tuple[float, int, int], ...]]:
    """Persons' numbers of pieces in order of beginning, and the doubtful moments."""
    count = len(pieces)
    costs = np.array([[_misfit(before, after) for after in pieces] for before in pieces])
    ends = np.full((count, count), _NEVER)
    np.fill_diagonal(ends, _NO_LINK)
    rows, columns = linear_sum_assignment(np.concatenate([costs, ends], axis=1))
    successor = {int(row): int(column) for row, column in zip(rows, columns, strict=True) if column < count}
    who = np.full(count, -1, np.int64)
    people = 0
    for piece in range(count):  # a predecessor begins earlier, so it has its number already
        if who[piece] < 0:
            who[piece], people = people, people + 1
        if piece in successor:
            who[successor[piece]] = who[piece]
    return who, _doubtful(pieces, costs, successor, who)


def _doubtful(
    pieces: Sequence[Piece],
    costs: Float64[np.ndarray, "piece piece"],
    successor: dict[int, int],
    who: Int64[np.ndarray, " piece"],
) -> tuple[tuple[float, int, int], ...]:
    """Moments at which two people's links could be exchanged, or somebody else have gone on instead, almost as well."""
    found = set()
    for before, after in successor.items():
        for other in range(len(pieces)):
            if who[other] == who[before]:
                continue
            theirs = successor.get(other)
            if theirs is None:  # the other one is not seen again: was it they who were?
                worse = costs[other, after] - costs[before, after]
            else:
                worse = costs[before, theirs] + costs[other, after] - costs[before, after] - costs[other, theirs]
            if worse < _DOUBT:
                first, second = sorted((int(who[before]), int(who[other])))
                found.add((float(pieces[after].first.time_s), first, second))
    return tuple(sorted(found))


def _whose(piece: Piece, pieces: Sequence[Piece], person_of: Int64[np.ndarray, " piece"]) -> int:
    """The one person who must have been where a short piece was; -1 where there is none, or more than one."""
    frames = {one.frame for one in piece.sightings}
    middle = piece.sightings[len(piece.sightings) // 2]
    fits: list[tuple[float, int]] = []
    for person in range(int(person_of.max()) + 1):
        theirs = [one for number in np.flatnonzero(person_of == person).tolist() for one in pieces[number].sightings]
        theirs.sort(key=lambda one: one.frame)
        if not theirs or frames & {one.frame for one in theirs}:
            continue
        times_s = np.array([one.time_s for one in theirs])
        if np.abs(times_s - middle.time_s).min() > _NEAR_S:
            continue
        expected = [np.interp(middle.time_s, times_s, [one.place_px[axis] for one in theirs]) for axis in (0, 1)]
        tall = float(np.interp(middle.time_s, times_s, [one.stature_px for one in theirs]))
        squares = (np.linalg.norm(middle.place_px - np.array(expected)) / tall / _SHORT_PLACE) ** 2
        squares += (np.log(middle.stature_px / tall) / _SHORT_SIZE) ** 2
        fits.append((float(squares), person))
    fits.sort()
    if not fits or fits[0][0] > _SHORT_FITS:
        return -1
    return fits[0][1] if len(fits) == 1 or fits[1][0] - fits[0][0] > _DOUBT else -1


def _misfit(before: Piece, after: Piece) -> float:
    """Sum of squared departures if `after` were the person of `before`; `_NEVER` where it cannot be."""
    gap_s = after.first.time_s - before.last.time_s
    if after.first.frame <= before.last.frame:
        return _NEVER
    height = float(np.median(before.statures_px[-_END_SIGHTINGS:]))
    height_after = float(np.median(after.statures_px[:_END_SIGHTINGS]))
    stature = max(height, height_after)
    place = before.last.place_px + expected_shift_px(before, after.first.time_s)
    squares = (
        np.linalg.norm(place - after.first.place_px) / stature
        / min(_PLACE + _PLACE_A_SECOND * gap_s, _PLACE_MOST)
    ) ** 2  # fmt: skip
    if min(len(before.sightings), len(after.sightings)) > 2:
        turn = np.linalg.norm(before.pace_px_s(at_end=True) - after.pace_px_s(at_end=False)) / stature
        squares += (turn / min(_PACE + _PACE_A_SECOND * gap_s, _PACE_MOST)) ** 2
    deep, deep_after = _middle(before.depths_m[-_END_SIGHTINGS:]), _middle(after.depths_m[:_END_SIGHTINGS])
    if np.isfinite(deep) and np.isfinite(deep_after):
        squares += ((deep - deep_after) / min(_DEPTH_M + _DEPTH_A_SECOND * gap_s, _DEPTH_MOST)) ** 2
        # Over whole pieces: bones turned away look short, so the upper range is the person's own size.
        few = min(len(before.sightings), len(after.sightings))
        spread = np.hypot(_SIZE_TRUE, _SIZE_TRUE_ONE / np.sqrt(few))
        squares += (np.log(_true_size(before) / _true_size(after)) / spread) ** 2
    else:
        spread = np.float64(min(_SIZE_PLAIN + _SIZE_PLAIN_A_SECOND * gap_s, _SIZE_PLAIN_MOST))
        squares += (np.log(height / height_after) / spread) ** 2
    return float(squares)


def _true_size(piece: Piece) -> float:
    sizes = piece.statures_px * piece.depths_m
    return float(np.quantile(sizes[np.isfinite(sizes)], 0.75))


def _middle(values: Float64[np.ndarray, " sighting"]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
