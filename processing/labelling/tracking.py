"""The person a session is about, in every frame: followed through bystanders and occlusion, chosen once for the session.

Not whoever a labeller is surest of in a frame. First everybody is followed (`tracking_pieces`, `tracking_links`); then one
person is chosen by this rule, each part 0 to 1:

    3 x share of the frames in which they are seen
    2 x share of the first two seconds in which they are seen
    2 x nearness of their usual place to the spot where the person is asked to stand (LabelConfig.spot)
    1 x steadiness: how little they move about (size and place)

A bystander is seen briefly, later, at the side, or walks about; a participant is what is left. Where somebody else comes
near in that sum, or was there from the start as well, a person should look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from processing.labelling.config import LabelConfig
from processing.labelling.findings import Finding
from processing.labelling.people import Person
from processing.labelling.tracking_links import link_pieces
from processing.labelling.tracking_pieces import pieces_of
from processing.labelling.tracking_sightings import Sighting, sightings_of

_START_S = 2.0
_WEIGHTS = (3.0, 2.0, 2.0, 1.0)  # seen, from the start, near the spot, steady
_NEAR_THE_SPOT = 0.25  # of the picture's width: at so much the nearness is 0.6
_STEADY = 0.5  # of stature and of log size: at so much wandering the steadiness is 0.6
_CLOSE_SECOND = 0.15  # of the sum's range
_HERE_TOO = 0.5  # share of the first seconds, and of the session, from which somebody counts as there from the start
_BRIEF = 0.03  # share of the frames under which somebody is not worth a sentence
_LONG_ABSENCE_S = 3.0
_OTHER_SIZE = 0.15  # log of the size's ratio: two people rather than one


@dataclass(frozen=True)
class Gap:
    """A time without the person: from when, how long, and whether anything but their size says that it is the same person."""

    start_s: float
    seconds: float


@dataclass(frozen=True)
class Tracking:
    """Who is who. `chosen[frame]` is the place among the frame's people of the one the session is about, -1 where not seen.

    `person_of[frame][number]` is who each detection is: 0 the chosen one, 1, 2, ... others in order of appearance, -1 left
    out. `exchanges_s` are moments at which the chosen one may have been taken for somebody else.
    """

    chosen: Int64[np.ndarray, " frame"]
    person_of: tuple[Int64[np.ndarray, " _"], ...]
    people: int
    gaps: tuple[Gap, ...]
    exchanges_s: tuple[float, ...]
    findings: tuple[Finding, ...]


def track_people(
    times_s: Float64[np.ndarray, " frame"],
    people: Sequence[Sequence[Person]],
    depth_m: Sequence[Float64[np.ndarray, " _"]] | None,
    size_px: tuple[int, int],
    config: LabelConfig,
) -> Tracking:
    """Follow everybody through a session and choose who it is about.

    `times_s` ascend; `depth_m` is each detection's median depth, NaN where unknown (None: no depth); `size_px` the picture's
    width and height.
    """
    unknown = [np.full(len(seen), np.nan) for seen in people]
    frames = [
        sightings_of(number, float(times_s[number]), seen, depth, config.min_score)
        for number, (seen, depth) in enumerate(zip(people, depth_m or unknown, strict=True))
    ]
    pieces = pieces_of(frames)
    links = link_pieces(pieces)
    everybody: dict[int, list[Sighting]] = {}
    for piece, who in zip(pieces, links.person_of, strict=True):
        if who >= 0:
            everybody.setdefault(int(who), []).extend(piece.sightings)
    for sightings in everybody.values():
        sightings.sort(key=lambda one: one.frame)
    if not everybody:
        nobody = Finding("fail", f"Nobody is in view in any of the {len(people)} frames looked at.")
        none = tuple(np.full(len(seen), -1, np.int64) for seen in people)
        return Tracking(np.full(len(people), -1, np.int64), none, 0, (), (), (nobody,))

    parts = {who: _parts(sightings, times_s, size_px, config) for who, sightings in everybody.items()}
    ranked = sorted(parts, key=lambda who: -_total(parts[who]))
    about = everybody[ranked[0]]
    chosen = np.full(len(people), -1, np.int64)
    chosen[[one.frame for one in about]] = [one.person for one in about]
    gaps = _gaps(about, times_s)
    exchanges_s = tuple(
        sorted({when for when, first, second in links.doubtful if ranked[0] in (first, second)} | set(_jumps(about)))
    )
    findings = [
        *_choice(ranked, parts, everybody, size_px),
        *_absences(gaps),
        *_exchanges(exchanges_s),
    ]
    rank = {who: place for place, who in enumerate([ranked[0], *sorted(set(ranked) - {ranked[0]})])}
    person_of = tuple(np.full(len(seen), -1, np.int64) for seen in people)
    for who, sightings in everybody.items():
        for one in sightings:
            person_of[one.frame][one.person] = rank[who]
    return Tracking(chosen, person_of, len(everybody), gaps, exchanges_s, tuple(findings))


Parts = tuple[float, float, float, float]


def _parts(
    sightings: Sequence[Sighting], times_s: Float64[np.ndarray, " frame"], size_px: tuple[int, int], config: LabelConfig
) -> Parts:
    """Seen, from the start, near the spot, steady: the four parts of the rule."""
    starting = int(np.count_nonzero(times_s - times_s[0] <= _START_S))
    places = np.array([one.place_px for one in sightings])
    sizes = np.log([one.stature_px for one in sightings])
    usual = np.median(places, axis=0)
    # Away from the spot counts sideways only: how high in the picture somebody stands depends on the camera's height.
    away = abs(usual[0] / size_px[0] - config.spot[0]) / _NEAR_THE_SPOT
    wandering = np.median(np.abs(places[:, 0] - usual[0])) / np.median([one.stature_px for one in sightings])
    wandering += np.median(np.abs(sizes - np.median(sizes)))
    return (
        len(sightings) / len(times_s),
        sum(one.frame < starting for one in sightings) / max(starting, 1),
        float(np.exp(-0.5 * away**2)),
        float(np.exp(-0.5 * (wandering / _STEADY) ** 2)),
    )


def _total(parts: Parts) -> float:
    return sum(weight * part for weight, part in zip(_WEIGHTS, parts, strict=True))


def _choice(
    ranked: Sequence[int], parts: dict[int, Parts], everybody: dict[int, list[Sighting]], size_px: tuple[int, int]
) -> list[Finding]:
    """Who was chosen, where anybody else could have been."""
    seen, start = parts[ranked[0]][:2]
    side = _side(everybody[ranked[0]], size_px)
    of_chosen = f"seen in {seen:.0%} of the frames and {start:.0%} of the first {_START_S:g} s, {side}"
    others = [who for who in ranked[1:] if parts[who][0] > _BRIEF]
    here_too = [who for who in others if min(parts[who][0], parts[who][1]) > _HERE_TOO]
    if here_too:
        other = here_too[0]
        return [
            Finding(
                "look",
                f"{_count(1 + len(here_too))} people are in view from the start; labelled is the one {of_chosen}; "
                f"the other is seen in {parts[other][0]:.0%}, {_side(everybody[other], size_px)}.",
            )
        ]
    if others and _total(parts[ranked[0]]) - _total(parts[others[0]]) < _CLOSE_SECOND * sum(_WEIGHTS):
        other = others[0]
        return [
            Finding(
                "look",
                f"Who the session is about is not certain; labelled is the one {of_chosen}; another is seen in "
                f"{parts[other][0]:.0%} of the frames and {parts[other][1]:.0%} of the first {_START_S:g} s.",
            )
        ]
    if others:
        who_else = "Somebody else comes" if len(others) == 1 else f"{_count(len(others))} other people come"
        return [Finding("pass", f"{who_else} into view; labelled is the one {of_chosen}.")]
    return []


def _side(sightings: Sequence[Sighting], size_px: tuple[int, int]) -> str:
    share = float(np.median([one.place_px[0] for one in sightings])) / size_px[0]
    if abs(share - 0.5) < 0.1:
        return "usually in the middle of the picture"
    return f"usually {share:.0%} of the way from the picture's left edge"


def _count(people: int) -> str:
    return {2: "Two", 3: "Three", 4: "Four"}.get(people, str(people))


def _gaps(about: Sequence[Sighting], times_s: Float64[np.ndarray, " frame"]) -> tuple[Gap, ...]:
    """Times of at least half a second in which pictures do not show the person, between two in which they do."""
    found = []
    for before, after in pairwise(about):
        seconds = float(times_s[after.frame] - times_s[before.frame])
        if after.frame - before.frame > 1 and seconds >= 0.5:
            found.append(Gap(float(times_s[before.frame]), seconds))
    return tuple(found)


def _absences(gaps: Sequence[Gap]) -> list[Finding]:
    long = [gap for gap in gaps if gap.seconds >= _LONG_ABSENCE_S]
    out = []
    short = [gap.seconds for gap in gaps if gap.seconds < _LONG_ABSENCE_S]
    if short:
        times = "once" if len(short) == 1 else f"{len(short)} times"
        out.append(Finding("pass", f"The person is hidden {times}, {sum(short):.1f} s in all, and found again."))
    if long:
        first = long[0]
        out.append(
            Finding(
                "look",
                f"The person is out of sight for {first.seconds:.1f} s from {first.start_s:.1f} s on"
                f"{f' (and {len(long) - 1} more times)' if len(long) > 1 else ''}; "
                "that whoever is seen afterwards is the same person is judged by size and place alone.",
            )
        )
    return out


def _jumps(about: Sequence[Sighting]) -> list[float]:
    """Moments from which on, for a second or more, the chosen one is of another size: somebody else, most likely.

    Sizes are compared at known depth only; a picture cannot tell a taller person from a nearer one.
    """
    known = [one for one in about if np.isfinite(one.depth_m)]
    if len(known) < 20:
        return []
    times_s, sizes = np.array([one.time_s for one in known]), np.log([one.size for one in known])
    usual = np.quantile(sizes, 0.75)
    found = []
    for second in np.arange(times_s[0], times_s[-1], 1.0):
        inside = (times_s >= second) & (times_s < second + 1.0)
        if inside.sum() >= 5 and abs(np.quantile(sizes[inside], 0.75) - usual) > _OTHER_SIZE:
            found.append(float(second))
    return found[:1]


def _exchanges(exchanges_s: Sequence[float]) -> list[Finding]:
    if not exchanges_s:
        return []
    when = ", ".join(f"{moment:.1f} s" for moment in exchanges_s[:4])
    more = f" and {len(exchanges_s) - 4} more times" if len(exchanges_s) > 4 else ""
    return [Finding("look", f"The person may have been taken for somebody else at {when}{more}: look at those frames.")]
