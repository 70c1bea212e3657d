"""One action after the other: the motions of a session's script, joined while the person stands."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from capture.simulator.body import BONES, INDEX
from capture.simulator.motion import Joints, Motion, Times
from capture.simulator.person import Person

_JOIN_S = 0.8  # in which somebody goes from the stance one action ends in to the one the next begins with


@dataclass(frozen=True)
class Scripted:
    """A `Motion`: `parts` are (when it begins in seconds, the motion), ascending, all of one person.

    Between two actions the person stands as the first ended, and shifts to the next one's stance just before it begins:
    joints go straight from one to the other, and bones are then given their length again from the pelvis outwards.
    """

    parts: tuple[tuple[float, Motion], ...]

    @property
    def person(self) -> Person:
        return self.parts[0][1].person

    @property
    def duration_s(self) -> float:
        begin_s, last = self.parts[-1]
        return begin_s + last.duration_s

    def joints_at(self, times_s: Times) -> Joints:
        """See `Motion`."""
        begin_s, first = self.parts[0]
        joints = first.joints_at(times_s - begin_s)
        for begin_s, motion in self.parts[1:]:
            share = _share(times_s, begin_s)
            late = share > 0
            if late.any():
                joints = joints.copy()
                joints[late] = _between(joints[late], motion.joints_at(times_s[late] - begin_s), share[late])
        return joints

    def chest_rise_at(self, times_s: Times) -> Times:
        """See `Motion`."""
        begin_s, first = self.parts[0]
        rise = first.chest_rise_at(times_s - begin_s)
        for begin_s, motion in self.parts[1:]:
            share = _share(times_s, begin_s)
            rise = (1 - share) * rise + share * motion.chest_rise_at(times_s - begin_s)
        return rise


def _share(times_s: Times, begin_s: float) -> Times:
    """How far the join that ends at `begin_s` is: 0 to 1, twice differentiable."""
    linear = np.clip((times_s - begin_s) / _JOIN_S + 1.0, 0.0, 1.0)
    share: Times = linear**3 * (10 + linear * (6 * linear - 15))
    return share


def _between(one: Joints, other: Joints, share: Float64[np.ndarray, " time"]) -> Joints:
    """`share` of the way from one posture to another of the same bones."""
    straight = one + share[:, None, None] * (other - one)
    joints = straight.copy()
    for parent, child in BONES:
        way = straight[:, INDEX[child]] - straight[:, INDEX[parent]]
        length_m = np.linalg.norm(one[:, INDEX[child]] - one[:, INDEX[parent]], axis=1)
        scale = length_m / np.maximum(np.linalg.norm(way, axis=1), 1e-9)
        joints[:, INDEX[child]] = joints[:, INDEX[parent]] + way * scale[:, None]
    return joints
