"""What moves a body: a protocol, and a motion put somewhere in the room."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from capture.simulator.person import Person

Times = Float64[np.ndarray, " time"]
Joints = Float64[np.ndarray, "time joint 3"]


@runtime_checkable
class Motion(Protocol):
    """A person in motion. Everything is twice continuously differentiable in time and the same for the same seeds.

    Any time may be asked for: before 0 the person is still in their first posture; at `duration_s` they finish what is
    under way, then are still. Still is but for breath and sway.
    Unplaced, the floor is z = 0, the person stands about x = y = 0 and looks along -y, towards the radar.
    """

    @property
    def person(self) -> Person: ...

    @property
    def duration_s(self) -> float: ...

    def joints_at(self, times_s: Times) -> Joints:
        """Positions in metres of `body.BODY_JOINTS`."""
        ...

    def chest_rise_at(self, times_s: Times) -> Times:
        """How far breath has pushed the chest's front out of its mean place, metres; the flesh moves, the bones hardly."""
        ...


@dataclass(frozen=True)
class PlacedMotion:
    """`motion` carried to `position_m` (of the floor point under the person) and turned by `turn_rad`.

    Turning is counter-clockwise seen from above: 0 faces the radar's x axis squarely, pi/2 shows it the right side.
    """

    motion: Motion
    position_m: tuple[float, float, float]
    turn_rad: float = 0.0

    @property
    def person(self) -> Person:
        return self.motion.person

    @property
    def duration_s(self) -> float:
        return self.motion.duration_s

    def joints_at(self, times_s: Times) -> Joints:
        """See `Motion`."""
        cos, sin = np.cos(self.turn_rad), np.sin(self.turn_rad)
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        placed: Joints = self.motion.joints_at(times_s) @ turn.T + np.array(self.position_m)
        return placed

    def chest_rise_at(self, times_s: Times) -> Times:
        """See `Motion`."""
        return self.motion.chest_rise_at(times_s)


def placed(
    motion: Motion, distance_m: float, bearing_rad: float = 0.0, turn_rad: float = 0.0, *, radar_height_m: float = 1.0
) -> PlacedMotion:
    """Put a person `distance_m` over the floor from the radar, `bearing_rad` to its right, facing it but for `turn_rad`."""
    position = (distance_m * np.sin(bearing_rad), distance_m * np.cos(bearing_rad), -radar_height_m)
    return PlacedMotion(motion, position, turn_rad - bearing_rad)
