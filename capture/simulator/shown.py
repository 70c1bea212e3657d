"""What a simulated rig shows, as an order that its radar and its camera are both given, each in its own process."""

import zlib

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from capture.simulator.actions import ACTIONS, MOVE, perform
from capture.simulator.bystander import Area, Obstacle, bystander
from capture.simulator.motion import Motion, placed
from capture.simulator.people_scene import PeopleScene, people_scene
from capture.simulator.person import Person, person
from capture.simulator.room import Room, lab_room
from capture.simulator.scripted import Scripted

_SECONDS = 600.0  # how long people go on when nobody says
_NAMED_PEOPLE = 10_000_000  # seeds of people known by name: far from those of data sets
_STRANGER = 9500
_AT_LARGE = Area(-1.3, 1.3, 0.9, 4.0)


class Act(BaseModel):
    """One action of a session, in the scene's seconds, which count from the radar's first frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: str
    start_s: float = Field(ge=0)
    stop_s: float = Field(gt=0)


class SceneOrder(BaseModel):
    """Who does what in which room. The same order is the same scene, in whatever process it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, description="of the room, the place and, where nobody is named, of person and action")
    participant: str | None = Field(None, description="the same name is the same body")
    acts: tuple[Act, ...] = Field((), description="none: one action all the time")
    people: int = Field(1, ge=0, le=2, description="0: an empty room; 2: somebody else walks about")


def shown_person(order: SceneOrder) -> Person:
    """The body the session is about."""
    if order.participant is None:
        return person(order.seed)
    return person(_NAMED_PEOPLE + zlib.crc32(order.participant.encode()) % 1_000_000)


def shown(order: SceneOrder) -> tuple[tuple[Motion, ...], Room]:
    """Everybody in the scene, who the session is about first, and the room they are in.

    An action the simulator does not know is replaced by one that `order.seed` picks.
    """
    room = lab_room(order.seed)
    if order.people == 0:
        return (), room
    rng = np.random.default_rng([0xDE30, order.seed])
    somebody, default = shown_person(order), MOVE[int(rng.integers(len(MOVE)))]
    acts = order.acts or (Act(action=default, start_s=0.0, stop_s=_SECONDS),)
    parts = tuple(
        (
            act.start_s,
            perform(
                act.action if act.action in ACTIONS else default,
                somebody,
                order.seed + number,
                act.stop_s - act.start_s,
            ),
        )
        for number, act in enumerate(acts)
    )
    motion = parts[0][1] if len(parts) == 1 and parts[0][0] == 0 else Scripted(parts)
    where = placed(
        motion, float(rng.uniform(2.2, 2.8)), float(rng.uniform(-0.1, 0.1)), radar_height_m=room.radar_height_m
    )
    if order.people == 1:
        return (where,), room
    x_m, y_m, _ = where.position_m
    stranger = bystander(
        person(_STRANGER + order.seed % 400), _AT_LARGE, order.seed, _SECONDS,
        obstacles=(Obstacle(x_m, y_m, 0.6),), radar_height_m=room.radar_height_m,
    )  # fmt: skip
    return (where, stranger), room


def shown_scene(order: SceneOrder) -> PeopleScene:
    """The order as the radar sees it."""
    return people_scene(*shown(order))
