"""Recorded motion drives the same bodies: bones get the recorded lengths, and the recorded ways in which they point.

Only directions are taken over, so bones keep their lengths whatever the recording's do. Jitter is taken out first by a
zero-phase low-pass (Winter, Biomechanics, section 2.2.4; second order both ways, its cutoff corrected for that):
at f = 6 Hz, or 0.3 of the recording's rate where that is less. White jitter of s metres then leaves a speed, along any
line, of 2 pi s f sqrt(2 f / 3 rate): 17 mm/s for 2 mm at 10 Hz, a third of the paper's Doppler bin. Cubic splines through
the filtered samples make it twice differentiable; at both ends it starts and stops gently.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

from capture.simulator.asf_amc import AMC_RATE_HZ, read_amc
from capture.simulator.body import SIDES, Vectors
from capture.simulator.bvh import read_bvh
from capture.simulator.kinect_csv import KINECT_RATE_HZ, read_kinect_csv
from capture.simulator.motion import Joints, Times
from capture.simulator.performance import Breath
from capture.simulator.person import Person, bones_of_height, person, with_bones
from capture.simulator.retarget import above_floor, middle, posed, put_on_floor
from capture.simulator.tracks import POINT, Positions, Track, facing_rad, leg_and_trunk_m
from pipeline.errors import PipelineError

CUTOFF_HZ = 6.0
CUTOFF_OF_RATE = 0.3
GENTLE_S = 0.6  # over which a recorded motion gets going and comes to rest
_SOFT_FLOOR_M = 0.003


def read_motion(path: Path, *, skeleton: Path | None = None, rate_hz: float | None = None) -> tuple[Track, ...]:
    """The takes of a .bvh, .amc (with its .asf) or Kinect .csv file, any of them gzipped.

    `rate_hz` is needed only where an AMC or CSV file has another rate than the data sets it comes from. Raises
    PipelineError for another kind of file and whatever the reader of its kind raises.
    """
    kind = path.name.lower().removesuffix(".gz").rsplit(".", 1)[-1]
    if rate_hz is not None and not 2.0 <= rate_hz <= 2000.0:
        raise PipelineError(f"{path}: a rate of {rate_hz} frames a second is not one of motion capture (2 to 2000).")
    if kind == "bvh":
        return read_bvh(path)
    if kind == "amc":
        return read_amc(path, skeleton, rate_hz or AMC_RATE_HZ)
    if kind == "csv":
        return read_kinect_csv(path, rate_hz or KINECT_RATE_HZ)
    raise PipelineError(f"{path} is no motion file this reads: BVH, AMC with its ASF, or a Kinect CSV.")


def recorded_person(tracks: Sequence[Track], seed: int) -> Person:
    """Somebody with the bones that the tracks were recorded of; what a skeleton does not tell comes from `seed`.

    Lengths of limbs, trunk and girdles are medians over all frames and both sides; feet, hands and head are those of the
    mean body of that size. Raises PipelineError without tracks.
    """
    if not tracks:
        raise PipelineError("A recorded person needs at least one take.")
    points = np.concatenate([track.positions_m for track in tracks])
    hips = middle(points, "hip")
    table = bones_of_height(leg_and_trunk_m(points) / _share_of_leg_and_trunk())
    spine, neck = points[:, POINT["spine"]], points[:, POINT["neck"]]
    trunk_way = neck - spine
    trunk_way /= np.linalg.norm(trunk_way, axis=1, keepdims=True)
    girdle = _length(points, "neck", "shoulder")
    drops = [np.einsum("fi,fi->f", neck - points[:, POINT[f"{side}_shoulder"]], trunk_way) for side in SIDES]
    drop = float(np.clip(np.median(drops), 0.0, 0.6 * girdle))
    bones = replace(
        table,
        thigh=_length(points, "hip", "knee"),
        shank=_length(points, "knee", "ankle"),
        hip_half_width=0.5 * _median_length(points[:, POINT["left_hip"]] - points[:, POINT["right_hip"]]),
        lumbar=_median_length(spine - hips),
        thoracic=_median_length(neck - spine),
        shoulder_half_width=float(np.sqrt(girdle**2 - drop**2)),
        shoulder_drop=drop,
        upper_arm=_length(points, "shoulder", "elbow"),
        forearm=_length(points, "elbow", "wrist"),
    )
    return with_bones(person(seed), bones)


@dataclass(frozen=True)
class RecordedMotion:
    """A `Motion`: `track` acted by `actor`, about x = y = 0 and facing -y on average, soles on z = 0.

    Joints bend as far as the recording says, not as far as `joint_limits` allows.

    `recorded_at_m` and `recorded_turn_rad` say where it took place and which way it faced in the recording's own axes.
    """

    actor: Person
    track: Track
    recorded_at_m: tuple[float, float] = field(init=False)
    recorded_turn_rad: float = field(init=False)
    _spline: CubicSpline = field(init=False, repr=False)
    _breath: Breath = field(init=False, repr=False)

    def __post_init__(self) -> None:
        points = smoothed(self.track)
        hips = middle(points, "hip")
        here, turn = np.median(hips[:, :2], axis=0), facing_rad(points)
        cos, sin = np.cos(-turn), np.sin(-turn)
        home = (points - np.array([*here, 0.0])) @ np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]).T
        times_s = np.arange(len(home)) / self.track.rate_hz
        put_on_floor(self.actor.bones, home, self.track.rate_hz)
        rng = np.random.default_rng([self.actor.seed, len(home), 0xB2E])
        assign = object.__setattr__
        assign(self, "recorded_at_m", (float(here[0]), float(here[1])))
        assign(self, "recorded_turn_rad", turn)
        assign(self, "_spline", CubicSpline(times_s, home))
        assign(self, "_breath", Breath(self.actor, rng))

    @property
    def person(self) -> Person:
        return self.actor

    @property
    def duration_s(self) -> float:
        return self.track.duration_s + GENTLE_S

    def joints_at(self, times_s: Times) -> Joints:
        """See `motion.Motion`."""
        joints = posed(self.actor.bones, self._spline(_gently(times_s, self.track.duration_s)))
        # A foot that the recording puts below the floor lifts the body by as much.
        depth = -above_floor(self.actor.bones, joints)
        lift = _SOFT_FLOOR_M * np.logaddexp.reduce(
            np.concatenate([0 * depth[:, :1], depth], axis=1) / _SOFT_FLOOR_M, axis=1
        )
        joints[:, :, 2] += (lift - _SOFT_FLOOR_M * np.log(1 + depth.shape[1]))[:, None]
        return joints

    def chest_rise_at(self, times_s: Times) -> Times:
        """See `motion.Motion`."""
        return self.actor.manner.breathing_m * self._breath(times_s)


def smoothed(track: Track) -> Positions:
    """The track's positions without jitter, see above."""
    from scipy.signal import butter, sosfiltfilt  # takes a second to import, and only recorded motion needs it

    cutoff = min(CUTOFF_HZ, CUTOFF_OF_RATE * track.rate_hz)
    single = cutoff / (np.sqrt(2.0) - 1.0) ** 0.25  # two passes of second order are down 3 dB at `cutoff`
    sections = butter(2, min(single, 0.49 * track.rate_hz), fs=track.rate_hz, output="sos")
    filtered: Positions = sosfiltfilt(sections, track.positions_m, axis=0)
    return filtered


def _gently(times_s: Times, length_s: float) -> Times:
    """Times of the recording for times of the motion: it gets up to speed and down again over `GENTLE_S`, then rests."""
    half = 0.5 * GENTLE_S
    clipped = np.clip(times_s, 0.0, length_s + GENTLE_S)
    start, stop = np.minimum(clipped, GENTLE_S), np.maximum(clipped - length_s, 0.0)
    at_speed = clipped - half
    # The integral of a smooth step in speed: x^6 - 3 x^5 + 2.5 x^4 of the rise's duration.
    rising = GENTLE_S * _ramp(start / GENTLE_S)
    falling = length_s - GENTLE_S * _ramp(1.0 - stop / GENTLE_S)
    return np.where(clipped < GENTLE_S, rising, np.where(clipped > length_s, falling, at_speed))


def _ramp(share: Times) -> Times:
    ramp: Times = share**4 * (2.5 + share * (share - 3.0))
    return ramp


def _share_of_leg_and_trunk() -> float:
    unit = bones_of_height(1.0)
    return unit.leg + unit.lumbar + unit.thoracic


def _length(points: Positions, near: str, far: str) -> float:
    """Median length of a bone over both sides."""
    ways = [
        points[:, POINT[f"{side}_{far}"]] - points[:, POINT[near if near in POINT else f"{side}_{near}"]]
        for side in SIDES
    ]
    return 0.5 * sum(_median_length(way) for way in ways)


def _median_length(ways: Vectors) -> float:
    return float(np.median(np.linalg.norm(ways, axis=1)))
