"""Recorded motion on its way from a file to a body: named points over time, brought to metres, z up, and cut into takes."""

import gzip
import zlib
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from pipeline.errors import PipelineError

POINTS: tuple[str, ...] = (
    "spine",
    "neck",
    "head",
    *(
        f"{side}_{part}"
        for side in ("left", "right")
        for part in ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "toe")
    ),
)
"""What a recording must tell of a body; `head` is any point of the skull, `neck` the neck's base, `spine` a point of the
spine where the ribs end."""
POINT = {name: number for number, name in enumerate(POINTS)}

Positions = Float64[np.ndarray, "frame point 3"]

_HEIGHT_OF_LEG_AND_TRUNK = 0.80  # hip to ankle plus hips to neck, as a share of height (person.py's table)
_PLAUSIBLE_HEIGHT_M = (1.2, 2.2)
UNITS_M = {
    "metre": 1.0,
    "centimetre": 0.01,
    "millimetre": 0.001,
    "inch": 0.0254,
    "CMU unit (1/0.45 inch)": 0.0254 / 0.45,
}
_SHORTEST_TAKE_S = 1.5


@dataclass(frozen=True)
class Track:
    """One uninterrupted take: `positions_m` of `POINTS` at a steady rate; x to the left of a person who looks along -y,
    z up, the floor at any height. `source` says which rows of which file."""

    source: str
    rate_hz: float
    positions_m: Positions

    @property
    def duration_s(self) -> float:
        return (len(self.positions_m) - 1) / self.rate_hz


def read_text(path: Path) -> str:
    """The text of a file, unpacked if it is gzipped. Raises PipelineError where it cannot be read."""
    try:
        packed = path.read_bytes()
        if packed[:2] == b"\x1f\x8b":
            packed = gzip.decompress(packed)
        return packed.decode("utf-8", errors="replace")
    except (OSError, EOFError, zlib.error) as error:
        raise PipelineError(f"{path} cannot be read as a motion file: {error}.") from error


def numbers(words: list[str], where: str) -> list[float]:
    """Words as finite numbers. Raises PipelineError naming the first that is none."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        bad = next(word for word in words if not _is_number(word))
        raise PipelineError(f"{where}: {bad[:30]!r} is not a number.") from None
    if not np.all(np.isfinite(values)):
        raise PipelineError(
            f"{where}: a value is not finite (NaN or infinite); recordings with gaps must be filled first."
        )
    return values


def in_metres(positions: Positions, source: str) -> Positions:
    """Positions in metres, from whichever of `UNITS_M` makes the body a plausible height.

    Raises PipelineError if none does, or more than one.
    """
    height = np.median(_leg_m(positions) + _trunk_m(positions)) / _HEIGHT_OF_LEG_AND_TRUNK
    low, high = _PLAUSIBLE_HEIGHT_M
    fitting = [name for name, metres in UNITS_M.items() if low <= height * metres <= high]
    if len(fitting) != 1:
        raise PipelineError(
            f"{source}: a body {height:.4g} units tall is human in none of {', '.join(UNITS_M)}; rescale the file."
        )
    return positions * UNITS_M[fitting[0]]


def upright(positions: Positions, source: str) -> Positions:
    """Positions with z up and left on the left, from any axes: up is where heads are above feet, and toes point forward.

    A recording whose left and right do not fit its toes is left-handed: it is mirrored. Raises PipelineError for a body
    that is upright along no axis.
    """
    feet = 0.5 * (positions[:, POINT["left_ankle"]] + positions[:, POINT["right_ankle"]])
    up = np.median(positions[:, POINT["head"]] - feet, axis=0)
    axis = int(np.abs(up).argmax())
    if abs(up[axis]) < 0.7 * np.linalg.norm(up):
        raise PipelineError(f"{source}: no axis points up along the body (head minus feet is {up.round(3).tolist()}).")
    turn = np.zeros((3, 3))
    turn[2, axis] = np.sign(up[axis])
    first, second = [other for other in range(3) if other != axis]
    turn[0, first] = 1.0
    turn[1, second] = np.linalg.det([turn[0], np.eye(3)[second], turn[2]])
    turned = positions @ turn.T
    if np.median(np.einsum("fi,fi->f", _leftward(turned), np.cross([0.0, 0.0, 1.0], _forward(turned)))) < 0:
        turned[:, :, 0] *= -1.0
    return turned


def facing_rad(positions_m: Positions) -> float:
    """Which way the hips face on average: 0 along -y, pi/2 along x."""
    left = _leftward(positions_m)[:, :2]
    mean = (left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-9)).mean(axis=0)
    return float(np.arctan2(mean[1], mean[0]))


def takes(track: Track) -> tuple[Track, ...]:
    """The track cut where the body jumps from one frame to the next; takes too short to use are dropped.

    Recordings joined end to end may jump in one arm only. So a jump is where four points at once break from their own
    velocity, seen from before and from after, by more than 0.03 m plus what an acceleration of 14 m/s^2 explains; or
    three points by 0.05 m plus 25 m/s^2. Raises PipelineError if nothing is left.
    """
    velocity = np.diff(track.positions_m, axis=0)
    still = np.zeros_like(velocity[:1])
    before, after = np.concatenate([still, velocity[:-1]]), np.concatenate([velocity[1:], still])
    breaks = np.minimum(np.linalg.norm(velocity - before, axis=2), np.linalg.norm(velocity - after, axis=2))
    frame_s = 1.0 / track.rate_hz
    fourth, third = np.sort(breaks, axis=1)[:, [-4, -3]].T
    jumps = (fourth > 0.03 + 14.0 * frame_s**2) | (third > 0.05 + 25.0 * frame_s**2)
    cuts = [0, *(np.flatnonzero(jumps) + 1).tolist(), len(track.positions_m)]
    out = tuple(
        replace(track, source=f"{track.source} rows {start} to {stop - 1}", positions_m=track.positions_m[start:stop])
        for start, stop in pairwise(cuts)
        if (stop - start - 1) / track.rate_hz >= _SHORTEST_TAKE_S
    )
    if not out:
        raise PipelineError(f"{track.source}: no take of at least {_SHORTEST_TAKE_S} s without a jump; nothing to use.")
    return out


def leg_and_trunk_m(positions_m: Positions) -> float:
    """Hip to ankle plus hips to neck of a straightened body, metres."""
    return float(np.median(_leg_m(positions_m)) + np.median(_trunk_m(positions_m)))


def _leg_m(positions: Positions) -> Float64[np.ndarray, " frame"]:
    legs = [
        np.linalg.norm(positions[:, POINT[f"{side}_{far}"]] - positions[:, POINT[f"{side}_{near}"]], axis=1)
        for side in ("left", "right")
        for near, far in (("hip", "knee"), ("knee", "ankle"))
    ]
    return np.sum(legs, axis=0) / 2


def _trunk_m(positions: Positions) -> Float64[np.ndarray, " frame"]:
    hips = 0.5 * (positions[:, POINT["left_hip"]] + positions[:, POINT["right_hip"]])
    spine, neck = positions[:, POINT["spine"]], positions[:, POINT["neck"]]
    return np.linalg.norm(spine - hips, axis=1) + np.linalg.norm(neck - spine, axis=1)


def _leftward(positions: Positions) -> Float64[np.ndarray, "frame 3"]:
    return positions[:, POINT["left_hip"]] - positions[:, POINT["right_hip"]]


def _forward(positions: Positions) -> Float64[np.ndarray, "frame 3"]:
    toes = positions[:, POINT["left_toe"]] + positions[:, POINT["right_toe"]]
    ankles = positions[:, POINT["left_ankle"]] + positions[:, POINT["right_ankle"]]
    return toes - ankles


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
