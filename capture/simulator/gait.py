"""Walking: footfalls planned ahead, each foot planted from heel strike to toe-off, the trunk carried over them.

Times and angles follow Perry and Burnfield, Gait Analysis (2010): double support an eighth of the stride at either end
of a stance, the heel rising from midstance on, pelvis and arms turning against each other. Speed and step length scale
with the leg (Winter 1991), so the cadence of an average adult is near 110 steps a minute at 1.2 m/s.
"""

from dataclasses import dataclass

import numpy as np

from capture.simulator.body import SIDES
from capture.simulator.performance import Performance
from capture.simulator.person import Person
from capture.simulator.stage import Stage
from pipeline.errors import PipelineError

Point = tuple[float, float]

_TURN_A_STEP = np.radians(31.0)
_SHARP = np.radians(65.0)  # beyond this, turn before walking on
# Share of the way that a swinging foot has gone at shares of its time in the air: flatter than minimum jerk, as feet are.
_SWING = ((0.15, 0.07), (0.3, 0.235), (0.7, 0.775), (0.85, 0.935), (1.0, 1.0))


@dataclass(frozen=True)
class Gait:
    """How a person walks when nothing is in the way."""

    speed_mps: float
    step_m: float
    width_m: float  # between the ankles

    @property
    def step_s(self) -> float:
        """From one footfall to the next."""
        return self.step_m / self.speed_mps


def gait_of(stage: Stage, speed_mps: float | None = None) -> Gait:
    """This person's gait in this take, or theirs at a given speed."""
    person = stage.person
    leg = person.bones.leg
    own = 1.16 * np.sqrt(leg / 0.87) * person.manner.tempo**0.6 * stage.vary("pace", 1.0, person=0.05, take=0.04)
    speed = float(own) if speed_mps is None else speed_mps
    stretch = stage.vary("stride", 1.0, person=0.04, take=0.01)
    step = 0.735 * leg * np.sqrt(speed / (1.16 * np.sqrt(leg / 0.87))) * stretch
    return Gait(speed, float(step), 0.6 * person.manner.stance_m)


class Walker:
    """Walks over a stage's floor; `x_m`, `y_m` and `heading_rad` (0 faces the radar, pi/2 to the right) say where it is."""

    def __init__(self, stage: Stage, start: Point, heading_rad: float, gait: Gait) -> None:
        self.stage, self.gait = stage, gait
        self.x_m, self.y_m, self.heading_rad = start[0], start[1], heading_rad
        self._side = stage.first_side()
        self._arms_free = [True, True]
        self._middle_s = 0.0  # when the pelvis is to be over the foot that landed last
        start_at: dict[str, float] = {
            "x": start[0],
            "y": start[1],
            "pelvis_twist": np.degrees(heading_rad),
            "crouch": 0.004,
        }
        for side, name in enumerate(SIDES):
            x, y = self._beside(start, heading_rad, side)
            yaw = np.degrees(heading_rad) + self._toe_out(side)
            start_at |= {f"{name}_foot_x": x, f"{name}_foot_y": y, f"{name}_foot_yaw": yaw}
        bones = stage.person.bones
        ahead = 0.48 * gait.step_m
        self._low_m = bones.ankle_height + float(np.sqrt(bones.leg**2 - ahead**2)) - 0.03
        self._high_m = min(bones.ankle_height + 0.985 * bones.leg, self._low_m + 0.05)
        self._standing_m = bones.ankle_height + bones.leg + 0.02
        stage.set_out({**start_at, "ceiling": self._standing_m})

    def walk_to(self, target: Point, *, stop: bool = True) -> None:
        """Turn and walk to `target`; `stop` there with both feet side by side, else be ready to walk on."""
        step, first = self.gait.step_m, True
        while True:
            dx, dy = target[0] - self.x_m, target[1] - self.y_m
            left = float(np.hypot(dx, dy))
            if left < (0.12 if stop else 0.5 * step):
                break
            turn = _wrapped(float(np.arctan2(dx, -dy)) - self.heading_rad)
            self.heading_rad += float(np.clip(turn, -_TURN_A_STEP, _TURN_A_STEP))
            if abs(turn) > _SHARP:
                length = 0.06
            else:  # slow down over the last steps
                longest = 0.6 * left if stop and 0.6 * step < left < 1.6 * step else left
                length = min(longest, 0.6 * step if first else step) * np.cos(0.6 * turn)
            self._footfall(float(length), stopping=bool(stop and left - length < 0.12))
            first = abs(turn) > _SHARP
        if stop:
            self._footfall(0.0)
            self._settle()

    def face(self, heading_rad: float) -> None:
        """Turn on the spot."""
        turned = False
        while abs(turn := _wrapped(heading_rad - self.heading_rad)) > np.radians(12.0):
            self.heading_rad += float(np.clip(turn, -_TURN_A_STEP, _TURN_A_STEP))
            self._footfall(0.0)
            turned = True
        if turned:
            self._footfall(0.0)
            self._settle()

    def keep_arm(self, side: int, free: bool) -> None:
        """Whether an arm swings along while walking."""
        self._arms_free[side] = free

    # --- one footfall ------------------------------------------------------------------------------------------------
    def _footfall(self, length_m: float, *, stopping: bool = False) -> None:
        """The next foot lands `length_m` ahead along the heading; `stage.now` moves to that moment."""
        stage, side, score = self.stage, self._side, self.stage.score
        name = SIDES[side]
        sign = 1.0 - 2.0 * side
        share = min(1.0, length_m / self.gait.step_m)
        step_s = self.gait.step_s * (1.0 + 0.12 * (1.0 - share)) * float(np.exp(stage.vary("beat", 0.0, cycle=0.02)))
        last, lands = stage.now, stage.now + step_s
        off = last + 0.2 * step_s
        heading = np.degrees(self.heading_rad)
        self.x_m += length_m * np.sin(self.heading_rad)
        self.y_m -= length_m * np.cos(self.heading_rad)
        x, y = self._beside((self.x_m, self.y_m), self.heading_rad, side)
        from_x, from_y = score.value(f"{name}_foot_x"), score.value(f"{name}_foot_y")
        travel = float(np.hypot(x - from_x, y - from_y)) / (2 * self.gait.step_m)
        peel = 10.0 + 42.0 * min(1.0, travel)
        # Behind: the heel rises, the toe last; in the air: forward and level; then heel first.
        score.move(
            last - 0.32 * step_s if travel > 0.25 else last - 0.05 * step_s, off + 0.04 * step_s, {f"{name}_heel": peel}
        )
        score.move(off + 0.06 * step_s, lands - 0.12 * step_s, {f"{name}_heel": 0.0})
        begun = off
        for time_share, way_share in _SWING:
            at = off + time_share * 0.97 * (lands - off)
            score.move(
                begun,
                at,
                {
                    f"{name}_foot_x": from_x + way_share * (x - from_x),
                    f"{name}_foot_y": from_y + way_share * (y - from_y),
                },
            )
            begun = at
        score.move(off + 0.05 * step_s, lands, {f"{name}_foot_yaw": heading + self._toe_out(side)})
        lift = 0.02 + 0.022 * travel
        air = lands - off
        score.move(off - 0.06 * air, off + 0.22 * air, {f"{name}_foot_z": lift})
        score.move(off + 0.45 * air, off + 0.84 * air, {f"{name}_foot_z": 0.55 * lift})
        score.move(off + 0.84 * air, lands, {f"{name}_foot_z": 0.0})
        if share > 0.3:
            score.move(off + 0.25 * step_s, lands - 0.05 * step_s, {f"{name}_toe": 17.0 * share})
            score.move(lands, lands + 0.2 * step_s, {f"{name}_toe": 0.0})
        # The pelvis is over this foot half a step after it lands, and leans a little to its side.
        middle = lands + 0.5 * step_s
        over, behind = 0.25 * self.gait.width_m * sign, 0.25 * length_m * stopping
        target = {
            "x": self.x_m + over * np.cos(self.heading_rad) - behind * np.sin(self.heading_rad),
            "y": self.y_m + over * np.sin(self.heading_rad) + behind * np.cos(self.heading_rad),
            "pelvis_bend": -sign * 2.5,
            "lumbar_flexion": stage.rest["lumbar_flexion"] + 2.0 * share,
        }
        score.move(self._middle_s if self._middle_s > last else middle - step_s, middle, target)
        self._middle_s = middle
        turned = {
            "pelvis_twist": heading - sign * 4.0 * share,
            "thoracic_twist": sign * 5.0 * share,
            "lumbar_twist": sign * 2.0 * share,
        }
        score.move(last, lands, turned)
        # Lowest just after the foot lands, highest as the pelvis passes over it; and less so in a shuffle.
        down = self._high_m + share * (self._low_m - self._high_m)
        score.move(last + 0.6 * step_s, lands + 0.0 * step_s, {"ceiling": down, "crouch": 0.008})
        score.move(lands + 0.0 * step_s, lands + 0.6 * step_s, {"ceiling": self._high_m})
        swing = share * stage.person.manner.amplitude
        for arm, forwards in ((1 - side, 1.0), (side, -1.0)):
            if self._arms_free[arm]:
                arm_name = SIDES[arm]
                angle = (22.0 if forwards > 0 else 15.0) * swing
                moved = {
                    f"{arm_name}_across": stage.rest[f"{arm_name}_across"] + forwards * angle,
                    f"{arm_name}_raise": stage.rest[f"{arm_name}_raise"] + 0.12 * angle,
                    f"{arm_name}_elbow": stage.rest[f"{arm_name}_elbow"] + (12.0 if forwards > 0 else 2.0) * swing,
                }
                score.move(last, lands, moved)
        stage.now = lands
        self._side = 1 - side

    def _settle(self) -> None:
        """Come to rest over both feet."""
        stage = self.stage
        rest = {
            "x": self.x_m,
            "y": self.y_m,
            "pelvis_twist": np.degrees(self.heading_rad),
            "crouch": stage.rest["crouch"],
        }
        names = ["pelvis_bend", "lumbar_flexion", "lumbar_twist", "thoracic_twist"]
        for side in (0, 1):
            if self._arms_free[side]:
                names += [f"{SIDES[side]}_{part}" for part in ("raise", "across", "rotation", "elbow")]
        stage.move(0.75, rest | {name: stage.rest[name] for name in names})

    def _beside(self, centre: Point, heading_rad: float, side: int) -> Point:
        out = 0.5 * self.gait.width_m * (1.0 - 2.0 * side)
        return centre[0] + out * float(np.cos(heading_rad)), centre[1] + out * float(np.sin(heading_rad))

    def _toe_out(self, side: int) -> float:
        return float((1.0 - 2.0 * side) * np.degrees(self.stage.person.manner.toe_out) * 0.7)


def walk(
    person: Person, waypoints_m: tuple[Point, ...], repetition_seed: int = 0, *, speed_mps: float | None = None
) -> Performance:
    """`person` walks from the first point of the floor to each of the others in turn, and stops.

    Points are (x, y) as `Motion` has them. Raises PipelineError for fewer than two points or an impossible speed.
    """
    if len(waypoints_m) < 2:
        raise PipelineError("A walk needs at least two points: where it begins and where it goes.")
    if speed_mps is not None and not 0.3 <= speed_mps <= 2.2:
        raise PipelineError(f"Nobody walks at {speed_mps} m/s; choose between 0.3 and 2.2.")
    stage = Stage(person, "walk", repetition_seed, np.inf)
    (x, y), (next_x, next_y) = waypoints_m[:2]
    walker = Walker(stage, (x, y), float(np.arctan2(next_x - x, y - next_y)), gait_of(stage, speed_mps))
    for number, point in enumerate(waypoints_m[1:], start=2):
        walker.walk_to(point, stop=number == len(waypoints_m))
    stage.duration_s = stage.now
    return stage.performance()


def _wrapped(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
