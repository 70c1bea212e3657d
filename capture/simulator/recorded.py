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
from jaxtyping import Float64
from scipy.interpolate import CubicSpline
from scipy.signal import butter, sosfiltfilt

from capture.simulator.asf_amc import AMC_RATE_HZ, read_amc
from capture.simulator.body import BODY_JOINTS, INDEX, SIDES, BoneLengths
from capture.simulator.bvh import read_bvh
from capture.simulator.kinect_csv import KINECT_RATE_HZ, read_kinect_csv
from capture.simulator.motion import Joints, Times
from capture.simulator.performance import Breath
from capture.simulator.person import Person, bones_of_height, person, with_bones
from capture.simulator.tracks import POINT, Positions, Track, facing_rad, leg_and_trunk_m
from pipeline.errors import PipelineError

CUTOFF_HZ = 6.0
CUTOFF_OF_RATE = 0.3
_GENTLE_S = 0.6  # over which a recorded motion gets going and comes to rest
_SOFT_FLOOR_M = 0.003
_SOFT_LEG_M = 0.004
_STRAIGHT_LEG = 0.9992

Vectors = Float64[np.ndarray, "time 3"]


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
    hips = _middle(points, "hip")
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
        hips = _middle(points, "hip")
        here, turn = np.median(hips[:, :2], axis=0), facing_rad(points)
        cos, sin = np.cos(-turn), np.sin(-turn)
        home = (points - np.array([*here, 0.0])) @ np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]).T
        times_s = np.arange(len(home)) / self.track.rate_hz
        _stand(self.actor.bones, home, self.track.rate_hz)
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
        return self.track.duration_s + _GENTLE_S

    def joints_at(self, times_s: Times) -> Joints:
        """See `motion.Motion`."""
        joints = posed(self.actor.bones, self._spline(_gently(times_s, self.track.duration_s)))
        # A foot that the recording puts below the floor lifts the body by as much.
        depth = -_above_floor(self.actor.bones, joints)
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
    cutoff = min(CUTOFF_HZ, CUTOFF_OF_RATE * track.rate_hz)
    single = cutoff / (np.sqrt(2.0) - 1.0) ** 0.25  # two passes of second order are down 3 dB at `cutoff`
    sections = butter(2, min(single, 0.49 * track.rate_hz), fs=track.rate_hz, output="sos")
    filtered: Positions = sosfiltfilt(sections, track.positions_m, axis=0)
    return filtered


def posed(bones: BoneLengths, points: Float64[np.ndarray, "time point 3"]) -> Joints:
    """A body with these bones, each pointing where the recorded points say."""
    out = np.empty((len(points), len(BODY_JOINTS), 3))

    def put(name: str, parent: str, way: Vectors, length: float) -> None:
        out[:, INDEX[name]] = out[:, INDEX[parent]] + length * way

    def way(start: str, stop: str) -> Vectors:
        return _unit(points[:, POINT[stop]] - points[:, POINT[start]])

    hips = _middle(points, "hip")
    out[:, INDEX["pelvis"]] = hips
    hip_way = way("right_hip", "left_hip")
    put("left_hip", "pelvis", hip_way, bones.hip_half_width)
    put("right_hip", "pelvis", -hip_way, bones.hip_half_width)
    put("spine", "pelvis", _unit(points[:, POINT["spine"]] - hips), bones.lumbar)
    put("neck", "spine", way("spine", "neck"), bones.thoracic)
    head_way = way("neck", "head")
    put("head", "neck", head_way, bones.neck)
    put("head_top", "head", head_way, bones.crown)
    # A recording's skull is a point: it looks where the shoulders face, square to the neck.
    left = way("right_shoulder", "left_shoulder")
    ahead = _unit(np.cross(left, head_way))
    put(
        "nose",
        "head",
        _unit(bones.nose_forward * ahead - bones.nose_drop * head_way),
        np.hypot(bones.nose_forward, bones.nose_drop),
    )
    girdle = float(np.hypot(bones.shoulder_half_width, bones.shoulder_drop))
    for side in SIDES:
        put(f"{side}_shoulder", "neck", way("neck", f"{side}_shoulder"), girdle)
        put(f"{side}_elbow", f"{side}_shoulder", way(f"{side}_shoulder", f"{side}_elbow"), bones.upper_arm)
        forearm = way(f"{side}_elbow", f"{side}_wrist")
        put(f"{side}_wrist", f"{side}_elbow", forearm, bones.forearm)
        # Hands are tracked worst; no wrist bends back on itself.
        hand = points[:, POINT[f"{side}_hand"]] - points[:, POINT[f"{side}_wrist"]]
        put(f"{side}_hand", f"{side}_wrist", _unit(_leaning(hand, forearm, 0.015)), bones.hand)
        _put_leg(out, bones, side, points)
    return out


def _put_leg(out: Joints, bones: BoneLengths, side: str, points: Float64[np.ndarray, "time point 3"]) -> None:
    """A leg whose ankle is where the recorded one is, so that standing feet stay; its knee on the recorded knee's side."""
    hip = out[:, INDEX[f"{side}_hip"]]
    reach = points[:, POINT[f"{side}_ankle"]] - hip
    way, distance = _unit(reach), np.linalg.norm(reach, axis=1)
    straight = _STRAIGHT_LEG * bones.leg
    distance = straight - _SOFT_LEG_M * np.logaddexp(0.0, (straight - distance) / _SOFT_LEG_M)
    cos = np.clip((bones.thigh**2 + distance**2 - bones.shank**2) / (2 * bones.thigh * distance), -1.0, 1.0)
    # Knees bend forwards and toes point forwards, whatever the jitter of a straight leg or a badly seen foot says.
    left = points[:, POINT["left_hip"]] - points[:, POINT["right_hip"]]
    facing = _unit(np.cross(left, [0.0, 0.0, 1.0]))
    toe = points[:, POINT[f"{side}_toe"]] - points[:, POINT[f"{side}_ankle"]]
    toe = _unit(_leaning(toe, _unit(_across(facing, way)), 0.02))
    knee = _across(points[:, POINT[f"{side}_knee"]] - hip, way)
    knee = _unit(_leaning(knee, _unit(_across(_unit(facing + toe), way)), 0.02))
    thigh = cos[:, None] * way + np.sqrt(1.0 - cos**2)[:, None] * knee
    out[:, INDEX[f"{side}_knee"]] = hip + bones.thigh * thigh
    ankle = hip + distance[:, None] * way
    out[:, INDEX[f"{side}_ankle"]] = ankle
    # A rigid foot that points along `toe` and stands under the shank.
    forward = np.array([0.0, -bones.toe_forward, bones.toe_height - bones.ankle_height])
    back = np.array([0.0, bones.heel_back, bones.heel_height - bones.ankle_height])
    length = float(np.linalg.norm(forward))
    shank = _unit(ankle - out[:, INDEX[f"{side}_knee"]])
    square = np.cross(_unit(np.cross(toe, shank)), toe)  # downward, square to the toe's way
    along, down = forward / length, np.array([0.0, -forward[2], forward[1]]) / length
    out[:, INDEX[f"{side}_toe"]] = ankle + length * toe
    out[:, INDEX[f"{side}_heel"]] = ankle + (back @ along) * toe + (back @ down) * square


def _stand(bones: BoneLengths, points: Positions, rate_hz: float) -> None:
    """Put the body on the floor z = 0, in place: each foot flat on it, over the take as a whole, where it stands.

    A foot stands where its ankle is slow and low. Recordings mark toes anywhere between the nail and the sole and their
    floors may slope: so each foot is turned by one angle, and each ankle raised by one length, for all of the take.
    """
    flat = np.arctan2(bones.toe_height - bones.ankle_height, bones.toe_forward)
    heights = []
    for side in SIDES:
        ankle, toe = points[:, POINT[f"{side}_ankle"]], points[:, POINT[f"{side}_toe"]]
        speed = np.linalg.norm(np.gradient(ankle, 1 / rate_hz, axis=0), axis=1)
        stands = (speed <= np.percentile(speed, 40)) & (ankle[:, 2] <= np.median(ankle[:, 2]) + 0.02)
        way, length = _unit(toe - ankle), np.linalg.norm(toe - ankle, axis=1, keepdims=True)
        turn = flat - float(np.median(np.arcsin(np.clip(way[stands, 2], -1.0, 1.0))))
        up = np.cross(_unit(np.cross(way, [0.0, 0.0, 1.0])), way)
        toe[:] = ankle + length * (np.cos(turn) * way + np.sin(turn) * up)
        heights.append(float(np.median(ankle[stands, 2])))
    points[:, :, 2] -= np.mean(heights) - bones.ankle_height
    for side, height in zip(SIDES, heights, strict=True):
        points[:, [POINT[f"{side}_ankle"], POINT[f"{side}_toe"]], 2] -= height - np.mean(heights)


def _above_floor(bones: BoneLengths, joints: Joints) -> Float64[np.ndarray, "time sole"]:
    """How far the soles' round ends are above z = 0."""
    names = [
        (f"{side}_{part}", height)
        for side in SIDES
        for part, height in (("heel", bones.heel_height), ("toe", bones.toe_height))
    ]
    return np.stack([joints[:, INDEX[name], 2] - height for name, height in names], axis=1)


def _gently(times_s: Times, length_s: float) -> Times:
    """Times of the recording for times of the motion: it gets up to speed and down again over `_GENTLE_S`, then rests."""
    half = 0.5 * _GENTLE_S
    clipped = np.clip(times_s, 0.0, length_s + _GENTLE_S)
    start, stop = np.minimum(clipped, _GENTLE_S), np.maximum(clipped - length_s, 0.0)
    at_speed = clipped - half
    # The integral of a smooth step in speed: x^6 - 3 x^5 + 2.5 x^4 of the rise's duration.
    rising = _GENTLE_S * _ramp(start / _GENTLE_S)
    falling = length_s - _GENTLE_S * _ramp(1.0 - stop / _GENTLE_S)
    return np.where(clipped < _GENTLE_S, rising, np.where(clipped > length_s, falling, at_speed))


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


def _middle(points: Positions, part: str) -> Vectors:
    return 0.5 * (points[:, POINT[f"left_{part}"]] + points[:, POINT[f"right_{part}"]])


def _across(ways: Vectors, axis: Vectors) -> Vectors:
    """What of `ways` is square to `axis`."""
    return ways - np.einsum("ti,ti->t", ways, axis)[:, None] * axis


def _leaning(ways: Vectors, axis: Vectors, least_m: float) -> Vectors:
    """`ways` with at least about `least_m` along `axis`, smoothly."""
    along = np.einsum("ti,ti->t", ways, axis)
    softly = least_m * np.logaddexp(0.0, along / least_m) + least_m
    return ways + (softly - along)[:, None] * axis


def _unit(ways: Vectors) -> Vectors:
    return ways / np.maximum(np.linalg.norm(ways, axis=1, keepdims=True), 1e-9)
