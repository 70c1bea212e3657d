"""Where an action is acted out: a clock, a score being written, and this person's and this take's own way of doing it.

Every number an action uses comes from `vary`: a mean, plus what is this person's own in this action, plus what differs
between takes, plus what differs between one cycle and the next. The person's share is the largest.
"""

import zlib
from collections.abc import Mapping

import numpy as np

from capture.simulator.body import SIDES, arm_directions
from capture.simulator.flesh import hips_half_breadth_m
from capture.simulator.inverse import arm_reaching, swing_to
from capture.simulator.keyframes import Score
from capture.simulator.performance import (
    ARM_CHANNELS,
    CHANNELS,
    FOOT_CHANNELS,
    GIRDLE_CHANNELS,
    Breath,
    Kneeling,
    Performance,
    Wander,
)
from capture.simulator.person import Person

_TAKE, _CYCLE, _UNREST = 1, 2, 3  # streams of random numbers


class Stage:
    """One take of `action` by `person`. `now` is the time in seconds up to which the score has been written."""

    def __init__(self, person: Person, action: str, repetition_seed: int, duration_s: float) -> None:
        self.person, self.duration_s = person, duration_s
        self._key = [person.seed, zlib.crc32(action.encode()), repetition_seed]
        self._cycle = np.random.default_rng([*self._key, _CYCLE])
        self.kneeling: Kneeling | None = None
        self.rest = self._standing()
        self.score = Score(self.rest)
        self.now = self.vary("lead", 0.35, person=0.1, take=0.15, least=0.1)

    # --- a person's own way ------------------------------------------------------------------------------------------
    def vary(
        self,
        name: str,
        mean: float,
        *,
        person: float = 0.0,
        take: float = 0.0,
        cycle: float = 0.0,
        least: float = -np.inf,
        most: float = np.inf,
    ) -> float:
        """`mean` with normal spreads; one `name` stands for one habit of the person and one mood of the take."""
        own = _normal(self._key[0], self._key[1], zlib.crc32(name.encode()))
        today = _normal(*self._key, _TAKE, zlib.crc32(name.encode()))
        now = float(np.clip(self._cycle.standard_normal(), -2, 2))
        return float(np.clip(mean + person * own + take * today + cycle * now, least, most))

    def one_of(self, name: str, count: int) -> int:
        """A choice that is a habit of this person: a number below `count`."""
        return int(np.random.default_rng([*self._key[:2], zlib.crc32(name.encode())]).integers(count))

    def first_side(self) -> int:
        """The side this take begins with: 0 left, 1 right; more often the handed one."""
        handed = 0 if self.person.manner.left_handed else 1
        return handed if self._cycle.random() < 0.88 else 1 - handed

    @property
    def tiredness(self) -> float:
        """1 when fresh, less by the person's fatigue after every minute of it."""
        return float(1.0 - self.person.manner.fatigue * (1.0 - np.exp(-self.now / 60.0)))

    def reach(self, name: str, size: float, *, side: int | None = None, spread: float = 0.12) -> float:
        """How far a movement of mean `size` goes this time: this person's amplitude, their tiredness, their weaker side."""
        manner = self.person.manner
        weak = side is not None and side == (1 if manner.left_handed else 0)
        share = manner.amplitude * self.tiredness * (1.0 - manner.asymmetry * weak)
        own = self.vary(name, 1.0, person=spread, take=0.35 * spread, cycle=0.3 * spread, least=0.5, most=1.4)
        return size * share * own

    def seconds(self, name: str, mean: float) -> float:
        """How long a movement of mean duration takes this time."""
        tempo = self.person.manner.tempo * (0.5 + 0.5 * self.tiredness)
        return mean / tempo * float(np.exp(self.vary(name, 0.0, person=0.12, take=0.05, cycle=0.05)))

    def set_out(self, changes: Mapping[str, float]) -> None:
        """Begin, and rest, in another posture than standing; before anything else is written."""
        self.rest |= changes
        self.score = Score(self.rest)

    # --- writing the score -------------------------------------------------------------------------------------------
    @property
    def on(self) -> bool:
        """Whether there is time for another cycle."""
        return self.now < self.duration_s

    def move(self, seconds: float, targets: Mapping[str, float], *, wait: bool = True, delay: float = 0.0) -> None:
        """Go to `targets` within `seconds` from now (and `delay`); `wait` moves `now` on."""
        self.score.move(self.now + delay, self.now + delay + seconds, targets)
        if wait:
            self.now += delay + seconds

    def move_through(self, seconds: float, middle: Mapping[str, float], targets: Mapping[str, float]) -> None:
        """Go to `targets` within `seconds`, those channels that `middle` names by way of it."""
        self.move(seconds, {name: value for name, value in targets.items() if name not in middle}, wait=False)
        self.move(0.5 * seconds, middle)
        self.move(0.5 * seconds, {name: value for name, value in targets.items() if name in middle})

    def hold(self, name: str, mean_s: float) -> None:
        """Stay; longer for those who dwell."""
        self.now += max(0.0, self.seconds(name, mean_s) * self.person.manner.smooth)

    def hesitate(self) -> None:
        """Sometimes start late."""
        if self._cycle.random() < self.person.manner.hesitation:
            self.now += float(self._cycle.uniform(0.15, 0.7))

    def step(
        self, side: int, x: float, y: float, *, yaw: float | None = None, seconds: float = 0.7, lift_m: float = 0.08,
        lean: float = 0.6, heel_first: bool = True, to: tuple[float, float] | None = None, heel: float = 0.0,
    ) -> None:  # fmt: skip
        """Lift a foot and put it down at x, y; the pelvis goes over the other foot by `lean`, then to `to` (else between).

        The foot leaves the floor before it travels and has stopped travelling when it lands.
        """
        name, other = SIDES[side], SIDES[1 - side]
        start, air = self.now, 0.62 * seconds
        off = start + 0.3 * seconds
        old_x, old_y = self.score.value(f"{name}_foot_x"), self.score.value(f"{name}_foot_y")
        support = self.score.value(f"{other}_foot_x"), self.score.value(f"{other}_foot_y")
        travel_y = y - old_y
        far = float(np.hypot(x - old_x, travel_y))
        forwards = heel_first and far > 0.2 and travel_y < -0.6 * far
        peel = min(40.0, 14.0 + 40.0 * abs(travel_y)) if travel_y < 0.2 else 8.0
        self.score.move(start + 0.08 * seconds, off, {f"{name}_heel": peel})
        self.score.move(off + 0.02 * air, off + 0.45 * air, {f"{name}_foot_z": lift_m})
        self.score.move(off + 0.45 * air, off + air, {f"{name}_foot_z": 0.0})
        foot = {f"{name}_foot_x": x, f"{name}_foot_y": y}
        if yaw is not None:
            foot[f"{name}_foot_yaw"] = yaw
        self.score.move(off + 0.06 * air, off + 0.94 * air, foot)
        self.score.move(off + 0.2 * air, off + air, {f"{name}_heel": heel})
        if forwards:
            self.score.move(off + 0.35 * air, off + 0.8 * air, {f"{name}_toe": 14.0})
            self.score.move(off + 0.95 * air, off + 1.25 * air, {f"{name}_toe": 0.0})
        pelvis = self.score.value("x"), self.score.value("y")
        lean_y = lean if travel_y > 0 else 0.5 * lean  # who steps forward falls into it, who steps back shifts first
        over = {
            "x": pelvis[0] + lean * (support[0] - pelvis[0]),
            "y": pelvis[1] + lean_y * (support[1] - pelvis[1]),
        }
        self.score.move(start, off + 0.15 * air, over)
        crouch = self.score.value("crouch")
        self.score.move(start, start + 0.42 * seconds, {"crouch": crouch + 0.018 + 0.03 * far})
        self.score.move(start + 0.85 * seconds, start + 1.4 * seconds, {"crouch": crouch})
        end = to if to is not None else (0.5 * (x + support[0]), 0.5 * (y + support[1]))
        self.score.move(off + 0.15 * air, start + 1.1 * seconds, {"x": end[0], "y": end[1]})
        self.now = start + seconds

    def performance(self) -> Performance:
        """The finished motion."""
        rng = np.random.default_rng([*self._key, _UNREST])
        return Performance(
            self.person, self.duration_s, self.score.curves(), Wander(self.person, rng), Breath(self.person, rng),
            self.kneeling,
        )  # fmt: skip

    # --- postures ----------------------------------------------------------------------------------------------------
    def arm(
        self, side: int, elevation: float, plane: float, *, rotation: float | None = None, elbow: float | None = None
    ) -> dict[str, float]:
        """An arm lifted by `elevation` degrees from hanging, towards `plane`: 0 sideways, 90 forward, negative backward."""
        lift, way = np.radians(elevation), np.radians(plane)
        upper = np.array([[np.sin(lift) * np.cos(way), -np.sin(lift) * np.sin(way), -np.cos(lift)]])
        up, across = np.degrees(swing_to(upper)[0]).tolist()
        name = SIDES[side]
        out = {f"{name}_raise": up, f"{name}_across": across}
        if rotation is not None:
            out[f"{name}_rotation"] = rotation
        if elbow is not None:
            out[f"{name}_elbow"] = elbow
        return out

    def hand(
        self,
        side: int,
        right: float,
        front: float,
        up: float,
        *,
        elbow_out: tuple[float, float, float] = (0.8, 0.3, -0.7),
    ) -> dict[str, float]:
        """A wrist put somewhere: metres from the middle between the shoulders, outward, to the front and up.

        `right` counts towards the side of the arm itself; `elbow_out` is (outward, backward, up), where the elbow points.
        """
        bones = self.person.bones
        wrist = np.array([[right - bones.shoulder_half_width, -front, up]])
        angles = np.degrees(arm_reaching(bones, wrist, np.array([elbow_out]))[0]).tolist()
        return {
            f"{SIDES[side]}_{name}": angle
            for name, angle in zip(("raise", "across", "rotation", "elbow"), angles, strict=False)
        }

    def elbow_and_wrist(self, side: int, arm: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Where an arm posture puts elbow and wrist, in the coordinates of `hand`: (outward, front, up)."""
        bones, name = self.person.bones, SIDES[side]
        angles = [arm.get(f"{name}_{part}", self.score.value(f"{name}_{part}")) for part in ARM_CHANNELS]
        upper, lower, _ = arm_directions(np.radians(np.array([angles])))
        flip = np.array([1.0, -1.0, 1.0])
        elbow = np.array([bones.shoulder_half_width, 0.0, 0.0]) + bones.upper_arm * upper[0] * flip
        return elbow, elbow + bones.forearm * lower[0] * flip

    def back_to_rest(self, *channels: str) -> dict[str, float]:
        """The resting values of some channels."""
        return {channel: self.rest[channel] for channel in channels}

    def upright(self) -> dict[str, float]:
        """All of the resting posture but where the feet are."""
        return {name: value for name, value in self.rest.items() if not name.endswith(FOOT_CHANNELS)}

    def arms_at_rest(self, *sides: int) -> dict[str, float]:
        """Arms, with their shoulder girdle, as they hang; the trunk and the feet stay as they are."""
        return self.back_to_rest(
            *(f"{SIDES[side]}_{part}" for side in sides for part in (*GIRDLE_CHANNELS, *ARM_CHANNELS))
        )

    def _standing(self) -> dict[str, float]:
        manner = self.person.manner
        rest = dict.fromkeys(CHANNELS, 0.0) | {"ceiling": 3.0}
        slouch = np.degrees(manner.slouch)
        rest |= {
            "thoracic_flexion": 0.7 * slouch,
            "lumbar_flexion": -0.2 * slouch,
            "neck_flexion": -0.35 * slouch + 4.0,
        }
        rest["crouch"] = self.vary("crouch", 0.0, person=0.001, least=0.0)
        here_x, here_y = (self.vary(f"spot {axis}", 0.0, take=0.015) for axis in "xy")
        facing = self.vary("facing", 0.0, person=1.5, take=2.0)
        half_stance = 0.5 * manner.stance_m
        rest |= {"x": here_x, "y": here_y - 0.02 * self.person.bones.leg, "pelvis_twist": facing}
        for side, name in enumerate(SIDES):
            sign = 1.0 - 2.0 * side
            rest |= self._hanging(side, np.radians(rest["lumbar_flexion"] + rest["thoracic_flexion"]))
            rest[f"{name}_wrist"] = self.vary(f"{name} wrist", 6.0, person=4.0, take=2.0)
            cos, sin = np.cos(np.radians(facing)), np.sin(np.radians(facing))
            rest[f"{name}_foot_x"] = here_x + sign * half_stance * cos
            rest[f"{name}_foot_y"] = here_y + sign * half_stance * sin
            out = np.degrees(manner.toe_out) + self.vary(f"{name} toe out", 0.0, person=2.0, take=1.5)
            rest[f"{name}_foot_yaw"] = facing + sign * out
        return rest

    def _hanging(self, side: int, bow_rad: float) -> dict[str, float]:
        """An arm that hangs down beside the hip, clear of it, from a trunk bowed by `bow_rad`; a little bent, as carried."""
        person, bones, name = self.person, self.person.bones, SIDES[side]
        bend = person.manner.arm_carry + np.radians(self.vary(f"{name} carry", 0.0, person=3.0, take=2.0))
        reach = np.sqrt(bones.upper_arm**2 + bones.forearm**2 + 2 * bones.upper_arm * bones.forearm * np.cos(bend))
        hips_m = hips_half_breadth_m(person) + 0.045
        out = max(hips_m, bones.shoulder_half_width + 0.01) + self.vary(
            f"{name} hang", 0.02, person=0.012, take=0.004, least=0.0
        )
        front = self.vary(f"{name} hang front", 0.03, person=0.025, take=0.008) + reach * np.sin(bow_rad)
        down = np.sqrt(reach**2 - front**2 - (out - bones.shoulder_half_width) ** 2)
        return self.hand(side, float(out), float(front), -float(down), elbow_out=(0.45, 1.0, 0.0))


def _normal(*key: int) -> float:
    """A standard normal number within 2.2 that belongs to `key`."""
    return float(np.clip(np.random.default_rng(list(key)).standard_normal(), -2.2, 2.2))
