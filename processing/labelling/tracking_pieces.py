"""Sightings -> pieces of track that surely are one person each: ended wherever two people could have been taken for one another.

From frame to frame everybody is carried on at their own pace and matched with who is seen there (Hungarian method over box
overlap and keypoint similarity). Where another matching would have been almost as good - people cross, one hides the other -
the pieces end and new ones begin; `tracking_links` decides over the whole session which belong together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float64
from scipy.optimize import linear_sum_assignment

from processing.labelling.tracking_sightings import Sighting, likeness

_CARRIED_ON_S = 0.5  # so long a pace holds; afterwards a person is expected to have stopped
_GIVEN_UP_S = 0.7  # not seen for so long: the piece has ended
_REACH, _REACH_A_SECOND = 0.15, 1.2  # of stature: how far off the expected place somebody may be seen
_SIZE_STEP = 0.35  # |log| of the statures' ratio from one frame to the next
_UNLIKE = 0.92  # 1 - likeness from which two sightings do not go together
_NO_MATCH = 1e3
_TOO_CLOSE = 0.2  # a matching that is better than another by less than this decides nothing
_PACE_SIGHTINGS = 6


@dataclass(eq=False)
class Piece:
    """A run of sightings of one person."""

    sightings: list[Sighting] = field(default_factory=list)

    @property
    def first(self) -> Sighting:
        return self.sightings[0]

    @property
    def last(self) -> Sighting:
        return self.sightings[-1]

    @cached_property
    def statures_px(self) -> Float64[np.ndarray, " sighting"]:
        return np.array([one.stature_px for one in self.sightings])

    @cached_property
    def depths_m(self) -> Float64[np.ndarray, " sighting"]:
        return np.array([one.depth_m for one in self.sightings])

    def pace_px_s(self, at_end: bool) -> Float64[np.ndarray, "2"]:
        """Mean velocity over the few sightings at one end; 0 where there is but one."""
        some = self.sightings[-_PACE_SIGHTINGS:] if at_end else self.sightings[:_PACE_SIGHTINGS]
        passed_s = some[-1].time_s - some[0].time_s
        return (some[-1].place_px - some[0].place_px) / passed_s if passed_s > 0 else np.zeros(2)


def pieces_of(frames: Sequence[Sequence[Sighting]]) -> list[Piece]:
    """All pieces of a session in order of their beginning; every sighting is in exactly one."""
    done: list[Piece] = []
    live: list[Piece] = []
    for seen in frames:
        if not seen:
            continue
        now_s = seen[0].time_s
        done += [piece for piece in live if now_s - piece.last.time_s > _GIVEN_UP_S]
        live = [piece for piece in live if now_s - piece.last.time_s <= _GIVEN_UP_S]
        costs = np.array([[_cost(piece, one) for one in seen] for piece in live]).reshape(len(live), len(seen))
        matched = _matched(costs)
        doubtful = _doubtful(costs, matched)
        taken = set()
        for row, column in matched.items():
            if row not in doubtful:
                live[row].sightings.append(seen[column])
                taken.add(column)
        done += [piece for row, piece in enumerate(live) if row in doubtful]
        live = [piece for row, piece in enumerate(live) if row not in doubtful]
        live += [Piece([one]) for column, one in enumerate(seen) if column not in taken]
    return sorted(done + live, key=lambda piece: (piece.first.frame, piece.first.person))


def expected_shift_px(piece: Piece, until_s: float) -> Float64[np.ndarray, "2"]:
    """How far the person of a piece has probably gone since they were last seen."""
    return piece.pace_px_s(at_end=True) * min(until_s - piece.last.time_s, _CARRIED_ON_S)


def _cost(piece: Piece, one: Sighting) -> float:
    """1 - likeness, or `_NO_MATCH` where nobody could have moved or grown so."""
    last = piece.last
    shift = expected_shift_px(piece, one.time_s)
    stature = max(last.stature_px, one.stature_px)
    reach = (_REACH + _REACH_A_SECOND * (one.time_s - last.time_s)) * stature
    if np.linalg.norm(last.place_px + shift - one.place_px) > reach:
        return _NO_MATCH
    if abs(np.log(one.stature_px / last.stature_px)) > _SIZE_STEP:
        return _NO_MATCH
    cost = 1.0 - likeness(last, one, shift)
    return cost if cost < _UNLIKE else _NO_MATCH


def _matched(costs: Float64[np.ndarray, "piece sighting"]) -> dict[int, int]:
    """The matching of the smallest sum: the sighting of each piece that goes on."""
    pairs = zip(*linear_sum_assignment(costs), strict=True)
    return {int(row): int(column) for row, column in pairs if costs[row, column] < _NO_MATCH}


def _doubtful(costs: Float64[np.ndarray, "piece sighting"], matched: dict[int, int]) -> set[int]:
    """Pieces that could as well have gone on otherwise: two that could change places, or two that one sighting fits."""
    found: set[int] = set()
    possible = costs < _NO_MATCH
    for row, column in matched.items():
        for other in range(len(costs)):
            if other == row or not possible[other, column]:
                continue
            theirs = matched.get(other)
            if theirs is None:  # the other one is out of sight here: was it they who were seen?
                if costs[other, column] - costs[row, column] < _TOO_CLOSE:
                    found |= {row, other}
            elif possible[row, theirs]:
                swapped = costs[row, theirs] + costs[other, column]
                if swapped - costs[row, column] - costs[other, theirs] < _TOO_CLOSE:
                    found |= {row, other}
    return found
