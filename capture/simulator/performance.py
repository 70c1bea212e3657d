"""A motion made of channels: a score of what is done on purpose, and the sway and breath that nobody can stop.

The legs are solved for: feet are where the score puts them, the pelvis is as high as the straighter leg lets it be less
the score's crouch, and knees and ankles follow. So a foot that the score leaves alone does not slide, whatever the
trunk does.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from capture.simulator.body import (
    SIDES,
    Angles,
    BoneLengths,
    Matrices,
    Pose,
    Vectors,
    about_x,
    about_z,
    arm_directions,
    forward,
    trunk_turn,
)
from capture.simulator.inverse import leg_reaching
from capture.simulator.joint_limits import LIMITS_DEG, softly_limited
from capture.simulator.keyframes import Curves
from capture.simulator.motion import Joints, Times
from capture.simulator.person import Person

_PELVIS = ("x", "y", "crouch", "ceiling", "pelvis_tilt", "pelvis_bend", "pelvis_twist")
_TRUNK = tuple(f"{segment}_{way}" for segment in ("lumbar", "thoracic", "neck") for way in ("flexion", "bend", "twist"))
GIRDLE_CHANNELS = ("shrug", "protract")
ARM_CHANNELS = ("raise", "across", "rotation", "elbow", "wrist")
FOOT_CHANNELS = ("foot_x", "foot_y", "foot_z", "foot_yaw", "heel", "toe", "knee_out")
CHANNELS: tuple[str, ...] = (
    *_PELVIS,
    *_TRUNK,
    *(f"{side}_{name}" for names in (GIRDLE_CHANNELS, ARM_CHANNELS, FOOT_CHANNELS) for side in SIDES for name in names),
)
"""Everything a score says. x, y, crouch, ceiling, foot_x, foot_y, foot_z are metres, the others degrees. The pelvis is not
to rise above `ceiling`, and is lower by `crouch` than the legs allow. A foot's x, y is the floor under its ankle while it
lies flat; `heel` lifts the heel about the toe, `toe` the toe about the heel; `knee_out` turns the knee outward of where the
foot points. Angles are those of `body.Pose`."""

_METRES = {"x", "y", "crouch", "ceiling", "foot_x", "foot_y", "foot_z"}
_TO_SI = np.array(
    [1.0 if name.removeprefix("left_").removeprefix("right_") in _METRES else np.pi / 180 for name in CHANNELS]
)
_STRAIGHT_LEG = 0.9992  # share of its length that a leg is straightened to: a knee of 5 degrees
_SOFT_M = 0.002  # over which the legs hand the pelvis's height to one another
_SOFT_PER_CROUCH = 0.9  # bent knees do so more softly
_SOFT_CEILING_M = 0.004
_STIFF_ANKLE_RAD, _STRETCHED_ANKLE_RAD = np.radians(33.0), np.radians(46.0)
_RHYTHM_RAD = np.radians(16.0)  # by which the shoulder girdle rises under an arm held overhead

_WANDER_DEG = {
    "pelvis_tilt": 0.35, "pelvis_bend": 0.3, "pelvis_twist": 0.6, "lumbar_flexion": 0.5, "lumbar_bend": 0.4,
    "lumbar_twist": 0.4, "thoracic_flexion": 0.5, "thoracic_bend": 0.4, "thoracic_twist": 0.6, "neck_flexion": 1.0,
    "neck_bend": 0.7, "neck_twist": 1.4, "shrug": 0.4, "protract": 0.4, "raise": 0.9, "across": 0.9, "rotation": 1.6,
    "elbow": 1.1, "wrist": 1.5,
}  # fmt: skip
"""How far an angle wanders of itself while held, standard deviation at average sway."""


class Wander:
    """Slow unrest of every channel: sums of sines, louder the slower, never repeating within a recording."""

    _TONES = 7

    def __init__(self, person: Person, rng: np.random.Generator) -> None:
        manner = person.manner
        spread = np.array([self._spread(name, manner.sway_m) for name in CHANNELS])
        octaves = np.sort(rng.uniform(-1.6, 1.8, self._TONES))
        self._turns_per_s = manner.sway_hz * 2.0**octaves
        weight = 1.0 / self._turns_per_s
        weight /= np.sqrt(0.5 * np.sum(weight**2))
        each = np.exp(0.4 * rng.standard_normal((self._TONES, len(CHANNELS))))
        self._size = weight[:, None] * each * spread
        self._phase = rng.uniform(0, 2 * np.pi, (self._TONES, len(CHANNELS)))

    @staticmethod
    def _spread(name: str, sway_m: float) -> float:
        if name in ("x", "y"):
            return sway_m * (0.7 if name == "x" else 1.0)  # people sway more to and fro than sideways
        bare = name.removeprefix("left_").removeprefix("right_")
        return float(np.radians(_WANDER_DEG.get(bare, 0.0))) * sway_m / 0.006

    def __call__(self, times_s: Times) -> Float64[np.ndarray, "time channel"]:
        out = np.zeros((len(times_s), len(CHANNELS)))
        for rate, size, phase in zip(self._turns_per_s, self._size, self._phase, strict=True):
            out += size * np.sin((2 * np.pi * rate) * times_s[:, None] + phase)
        return out


class Breath:
    """Breathing that is never quite even: shorter in than out, its depth and rate wandering."""

    def __init__(self, person: Person, rng: np.random.Generator) -> None:
        self._manner = person.manner
        self._phase, self._slow_phase, self._depth_phase = rng.uniform(0, 2 * np.pi, 3)
        self._slow_hz, self._depth_hz = rng.uniform(0.02, 0.05), rng.uniform(0.03, 0.07)

    def __call__(self, times_s: Times) -> Times:
        """From -0.5 (out) to 0.5 (in) in an average breath."""
        turn = 2 * np.pi * times_s
        phase = turn * self._manner.breathing_hz + self._phase + 0.5 * np.sin(turn * self._slow_hz + self._slow_phase)
        depth = 1.0 + 0.15 * np.sin(turn * self._depth_hz + self._depth_phase)
        return -0.5 * depth * np.cos(phase + 0.35 * np.sin(phase))


@dataclass(frozen=True)
class Kneeling:
    """A leg that carries the body on its knee: `side` of the leg, and the knee joint's place."""

    side: int
    knee_m: tuple[float, float, float]


@dataclass(frozen=True)
class Performance:
    """A `Motion` in the body frame: `curves` over `CHANNELS`, with this person's unrest and breath laid over it.

    What is under way at `duration_s` is finished, then the person stands still.
    """

    person: Person
    duration_s: float
    curves: Curves
    wander: Wander
    breath: Breath
    kneeling: Kneeling | None = None

    def joints_at(self, times_s: Times) -> Joints:
        """See `motion.Motion`."""
        return forward(self.person.bones, self.pose_at(times_s))

    def chest_rise_at(self, times_s: Times) -> Times:
        """See `motion.Motion`."""
        return self.person.manner.breathing_m * self.breath(times_s)

    def pose_at(self, times_s: Times) -> Pose:
        """The joint angles behind `joints_at`."""
        unrest = self.wander(times_s)
        if self.kneeling is not None:
            unrest[:, :2] *= 0.25  # a knee is a broader base than two ankles, and the straight leg has no slack
        values = dict(zip(CHANNELS, (self.curves(times_s) * _TO_SI + unrest).T, strict=True))
        breath = self.breath(times_s) * self.person.manner.breathing_m / 0.007
        values["thoracic_flexion"] = values["thoracic_flexion"] - np.radians(0.6) * breath
        arm = _sides(values, ARM_CHANNELS)
        limits = [LIMITS_DEG[name] for name in ("arm rotation", "elbow", "wrist")]
        arm[:, :, 2:] = _limited(arm[:, :, 2:], limits)
        girdle = _sides(values, GIRDLE_CHANNELS)
        for side in (0, 1):
            up = arm_directions(arm[:, side])[0][:, 2]
            girdle[:, side, 0] += np.radians(0.8) * breath + _RHYTHM_RAD * _smoothstep((up + 0.5) / 1.5)
        girdle = _limited(girdle, [LIMITS_DEG["clavicle raised"], LIMITS_DEG["clavicle forward"]])
        trunk = {}
        for segment in ("lumbar", "thoracic", "neck"):
            ways = ("flexion", "bend", "twist")
            angles = np.stack([values[f"{segment}_{way}"] for way in ways], axis=1)
            trunk[segment] = _limited(angles, [LIMITS_DEG[f"{segment} {way}"] for way in ways])
        pelvis_rad = np.stack([values["pelvis_tilt"], values["pelvis_bend"], values["pelvis_twist"]], axis=1)
        pelvis = trunk_turn(pelvis_rad)
        feet = [
            foot_on_floor(self.person.bones, *(values[f"{side}_{name}"] for name in FOOT_CHANNELS[:-1]))
            for side in SIDES
        ]
        level = np.stack([values["x"], values["y"]], axis=1)
        pelvis_m = self._pelvis(level, values["crouch"], values["ceiling"], pelvis, feet)
        legs = []
        for side in (0, 1):
            sign = 1.0 - 2.0 * side
            hip = pelvis_m + pelvis @ np.array([sign * self.person.bones.hip_half_width, 0.0, 0.0])
            out = values[f"{SIDES[side]}_foot_yaw"] + sign * values[f"{SIDES[side]}_knee_out"]
            towards = np.stack([np.sin(out), -np.cos(out), np.zeros_like(out)], axis=1)
            if self.kneeling is not None and self.kneeling.side == side:
                towards = np.array(self.kneeling.knee_m) - hip
            leg = leg_reaching(self.person.bones, pelvis, hip, *feet[side], towards, sign)
            # Where an ankle can bend no further the heel comes up; where it can stretch no further the toe does.
            name, kneels = SIDES[side], self.kneeling is not None and self.kneeling.side == side
            heel = values[f"{name}_heel"] + _softly_positive(1.15 * (leg[:, 4] - _STIFF_ANKLE_RAD))
            toe = values[f"{name}_toe"] + _softly_positive(1.15 * (-leg[:, 4] - _STRETCHED_ANKLE_RAD)) * (not kneels)
            foot = self._foot(values, side, heel, toe)
            legs.append(leg_reaching(self.person.bones, pelvis, hip, *foot, towards, sign))
        return Pose(
            pelvis_m=pelvis_m, pelvis_rad=pelvis_rad, clavicle=girdle, arm=arm, leg=np.stack(legs, axis=1), **trunk
        )  # fmt: skip

    def _foot(self, values: dict[str, Times], side: int, heel: Times, toe: Times) -> tuple[Vectors, Matrices]:
        x, y, z, yaw = (values[f"{SIDES[side]}_{name}"] for name in ("foot_x", "foot_y", "foot_z", "foot_yaw"))
        return foot_on_floor(self.person.bones, x, y, z, yaw, heel, toe)

    def _pelvis(
        self,
        level_m: Float64[np.ndarray, "time 2"],
        crouch_m: Times,
        ceiling_m: Times,
        pelvis: Matrices,
        feet: list[tuple[Vectors, Matrices]],
    ) -> Vectors:
        """The pelvis over `level_m`, as high as its supports allow."""
        bones = self.person.bones
        allowed = []
        for side, (ankle, _) in enumerate(feet):
            base, reach = ankle, _STRAIGHT_LEG * bones.leg
            if self.kneeling is not None:
                if self.kneeling.side != side:
                    continue
                base, reach = np.array(self.kneeling.knee_m)[None], bones.thigh
            offset = pelvis @ np.array([(1 - 2 * side) * bones.hip_half_width, 0.0, 0.0])
            beside = level_m + offset[:, :2] - base[:, :2]
            rise = np.sqrt(np.maximum(reach**2 - np.sum(beside**2, axis=1), (0.1 * reach) ** 2))
            allowed.append(base[:, 2] + rise - offset[:, 2])
        if len(allowed) == 1:
            height = allowed[0]
        else:
            height = _softly_lower(allowed[0], allowed[1], _SOFT_M + _SOFT_PER_CROUCH * crouch_m) - crouch_m
            height = _softly_lower(height, ceiling_m, _SOFT_CEILING_M)
        return np.concatenate([level_m, height[:, None]], axis=1)


def foot_on_floor(
    bones: BoneLengths, x: Angles, y: Angles, z: Angles, yaw: Angles, heel: Angles, toe: Angles
) -> tuple[Vectors, Matrices]:
    """Where the ankle of a foot is, and how the foot is turned; see `CHANNELS`."""
    ankle = np.array([0.0, 0.0, bones.ankle_height])
    back = np.array([0.0, bones.heel_back, bones.heel_height])
    front = np.array([0.0, -bones.toe_forward, bones.toe_height])
    toe_up, heel_up = about_x(-toe), about_x(heel)
    ankle_now, front_now = back + toe_up @ (ankle - back), back + toe_up @ (front - back)
    ankle_now = front_now + np.einsum("tij,tj->ti", heel_up, ankle_now - front_now)
    turn = about_z(yaw)
    place = np.einsum("tij,tj->ti", turn, ankle_now) + np.stack([x, y, z], axis=1)
    return place, turn @ heel_up @ toe_up


def _sides(values: dict[str, Times], names: tuple[str, ...]) -> Float64[np.ndarray, "time side angle"]:
    return np.stack([np.stack([values[f"{side}_{name}"] for name in names], axis=1) for side in SIDES], axis=1)


def _limited(
    angles: Float64[np.ndarray, "*shape"], limits: list, margin_deg: float = 3.0
) -> Float64[np.ndarray, "*shape"]:
    low, high = np.radians([[limit.low for limit in limits], [limit.high for limit in limits]])
    return softly_limited(angles, low, high, float(np.radians(margin_deg)))


def _smoothstep(share: Times) -> Times:
    clipped = np.clip(share, 0.0, 1.0)
    rising: Times = clipped**3 * (10 - 15 * clipped + 6 * clipped**2)
    return rising


def _softly_lower(first: Times, second: Times, softness_m: float | Times) -> Times:
    lower, other = np.minimum(first, second), np.maximum(first, second)
    softly: Times = lower - softness_m * np.log1p(np.exp((lower - other) / softness_m))
    return softly


def _softly_positive(angle: Angles) -> Angles:
    """0 below, `angle` above, rounded over some degrees."""
    width = np.radians(2.0)
    positive: Angles = width * np.logaddexp(0.0, angle / width)
    return positive
