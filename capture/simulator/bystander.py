"""Somebody who is not the participant: walks about a part of the room, stops, gestures, turns, walks on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from capture.simulator.body import SIDES
from capture.simulator.gait import Point, Walker, gait_of
from capture.simulator.motion import PlacedMotion
from capture.simulator.person import Person
from capture.simulator.stage import Stage
from pipeline.errors import PipelineError

_SMALLEST_M = 0.4
_CLEARANCE_M = 0.3  # that a walker's elbows need beside the line they walk on
_TRIES = 200


@dataclass(frozen=True)
class Area:
    """A rectangle of the floor, metres, radar coordinates: x to the right, y away from the radar."""

    left_m: float
    right_m: float
    near_m: float
    far_m: float


@dataclass(frozen=True)
class Obstacle:
    """A round spot of the floor to keep off: where the participant stands, a table."""

    x_m: float
    y_m: float
    radius_m: float


def bystander(
    person: Person,
    area: Area,
    repetition_seed: int,
    duration_s: float,
    *,
    obstacles: tuple[Obstacle, ...] = (),
    radar_height_m: float = 1.0,
) -> PlacedMotion:
    """`person` at large in `area`, in radar coordinates; the area may lie between participant and radar.

    Raises PipelineError for an area too small to stand in, or wholly covered by obstacles, or a duration not positive.
    """
    if area.right_m - area.left_m < _SMALLEST_M or area.far_m - area.near_m < _SMALLEST_M:
        raise PipelineError(
            f"A bystander cannot move in {area}: left must be less than right and near less than far, by {_SMALLEST_M} m."
        )
    if not duration_s > 0:
        raise PipelineError(f"A bystander's motion of {duration_s} s cannot be made; ask for a positive duration.")
    stage = Stage(person, "bystander", repetition_seed, duration_s)
    rng = np.random.default_rng([person.seed, repetition_seed, 0xB57])
    places = _Places(area, obstacles, rng)
    here = places.anywhere()
    walker = Walker(stage, here, float(rng.uniform(-np.pi, np.pi)), gait_of(stage))
    while stage.on:
        there = places.reachable_from((walker.x_m, walker.y_m))
        if there is not None and rng.random() < 0.85:
            carried = _carry(stage, walker, rng)
            walker.walk_to(there)
            for side in carried:
                walker.keep_arm(side, True)
                stage.move(0.9, stage.arms_at_rest(side))
        elif rng.random() < 0.5:
            walker.face(walker.heading_rad + float(rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 2.0)))
        if stage.on and rng.random() < 0.8:
            gesture = _GESTURES[int(rng.integers(len(_GESTURES)))]
            gesture(stage, int(rng.integers(2)), rng)
        stage.now += float(rng.uniform(0.1, 1.2))
    return PlacedMotion(stage.performance(), (0.0, 0.0, -radar_height_m))


class _Places:
    """Where there is room to walk."""

    def __init__(self, area: Area, obstacles: tuple[Obstacle, ...], rng: np.random.Generator) -> None:
        self._area, self._obstacles, self._rng = area, obstacles, rng

    def anywhere(self) -> Point:
        for _ in range(_TRIES):
            point = self._drawn()
            if self._clear(point, point):
                return point
        raise PipelineError(f"Nobody can stand in {self._area}: the obstacles {self._obstacles} cover it.")

    def reachable_from(self, here: Point) -> Point | None:
        """Somewhere else that a straight line leads to; None where there is no such place."""
        span = np.hypot(self._area.right_m - self._area.left_m, self._area.far_m - self._area.near_m)
        for _ in range(_TRIES):
            point = self._drawn()
            if np.hypot(point[0] - here[0], point[1] - here[1]) > min(1.0, 0.4 * span) and self._clear(here, point):
                return point
        return None

    def _drawn(self) -> Point:
        inside = self._area
        margin_x = min(_CLEARANCE_M, 0.45 * (inside.right_m - inside.left_m))
        margin_y = min(_CLEARANCE_M, 0.45 * (inside.far_m - inside.near_m))
        return (
            float(self._rng.uniform(inside.left_m + margin_x, inside.right_m - margin_x)),
            float(self._rng.uniform(inside.near_m + margin_y, inside.far_m - margin_y)),
        )

    def _clear(self, here: Point, there: Point) -> bool:
        """Whether the line between two points keeps off every obstacle."""
        start, way = np.array(here), np.array(there) - np.array(here)
        length_squared = float(way @ way)
        for obstacle in self._obstacles:
            centre = np.array([obstacle.x_m, obstacle.y_m])
            share = np.clip((centre - start) @ way / length_squared, 0.0, 1.0) if length_squared else 0.0
            if np.linalg.norm(start + share * way - centre) < obstacle.radius_m + _CLEARANCE_M:
                return False
        return True


# --- what arms and head do -------------------------------------------------------------------------------------------


def _carry(stage: Stage, walker: Walker, rng: np.random.Generator) -> tuple[int, ...]:
    """Sometimes an arm does not swing along: a telephone at the ear, or something held in front."""
    choice = rng.random()
    if choice > 0.35:
        return ()
    side = int(rng.integers(2))
    walker.keep_arm(side, False)
    stage.move(
        0.9, _at_the_ear(stage, side) if choice < 0.18 else stage.arm(side, 22.0, 50.0, rotation=0.0, elbow=85.0)
    )
    return (side,)


def _at_the_ear(stage: Stage, side: int) -> dict[str, float]:
    size = stage.person.height_m / 1.72
    return stage.hand(side, 0.13 * size, 0.1 * size, 0.1 * size, elbow_out=(0.6, -0.5, -1.0))


def _wave(stage: Stage, side: int, rng: np.random.Generator) -> None:
    name = SIDES[side]
    stage.move(stage.seconds("wave up", 0.8), stage.arm(side, 85.0, 25.0, rotation=70.0, elbow=85.0))
    for _ in range(int(rng.integers(2, 5))):
        stage.move(
            stage.seconds("wave", 0.32),
            {f"{name}_across": stage.score.value(f"{name}_across") - 14.0, f"{name}_elbow": 70.0},
        )
        stage.move(
            stage.seconds("wave", 0.32),
            {f"{name}_across": stage.score.value(f"{name}_across") + 14.0, f"{name}_elbow": 95.0},
        )
    stage.move(stage.seconds("wave down", 0.9), stage.arms_at_rest(side))


def _telephone(stage: Stage, side: int, rng: np.random.Generator) -> None:
    stage.move(1.0, {**_at_the_ear(stage, side), "neck_bend": (1.0 - 2.0 * side) * 8.0})
    stage.now += float(rng.uniform(0.8, 3.0))
    stage.move(1.0, stage.arms_at_rest(side) | stage.back_to_rest("neck_bend", "neck_twist"))


def _talk_with_hands(stage: Stage, side: int, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(2, 5))):
        posture: dict[str, float] = {}
        for arm in (0, 1):
            posture |= stage.arm(
                arm, float(rng.uniform(15, 45)), float(rng.uniform(30, 80)),
                rotation=float(rng.uniform(-5, 25)), elbow=float(rng.uniform(55, 100)),
            )  # fmt: skip
        stage.move(stage.seconds("talk", float(rng.uniform(0.5, 0.9))), posture)
    stage.move(1.0, stage.arms_at_rest(0, 1))


def _point(stage: Stage, side: int, rng: np.random.Generator) -> None:
    plane = float(rng.uniform(10, 85))
    look = {"neck_twist": (1.0 - 2.0 * side) * (90.0 - plane) * 0.5}
    stage.move(stage.seconds("point", 0.8), {**stage.arm(side, float(rng.uniform(70, 100)), plane, elbow=12.0), **look})
    stage.now += float(rng.uniform(0.4, 1.2))
    stage.move(0.9, stage.arms_at_rest(side) | stage.back_to_rest("neck_bend", "neck_twist"))


def _look_around(stage: Stage, side: int, rng: np.random.Generator) -> None:
    for sign in (1.0, -1.0):
        turn = sign * (1.0 - 2.0 * side) * float(rng.uniform(25, 60))
        stage.move(stage.seconds("look", 0.8), {"neck_twist": turn, "thoracic_twist": 0.15 * turn})
        stage.now += float(rng.uniform(0.2, 0.9))
    stage.move(0.8, stage.back_to_rest("neck_twist", "thoracic_twist"))


_GESTURES: tuple[Callable[[Stage, int, np.random.Generator], None], ...] = (
    _wave,
    _telephone,
    _talk_with_hands,
    _point,
    _look_around,
)
