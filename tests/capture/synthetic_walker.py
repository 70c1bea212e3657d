"""A walker made of a few formulas, whose speeds are known beforehand, on a body of the simulator."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from capture.simulator.actions import perform
from capture.simulator.body import BODY_JOINTS, INDEX
from capture.simulator.person import Person


@cache
def at_rest(who: Person) -> np.ndarray:
    """Somebody who stands: (joint, 3)."""
    return perform("head-turn", who, 0, 1.0).joints_at(np.zeros(1))[0]


LEG = ("knee", "ankle", "heel", "toe")


@dataclass(frozen=True)
class Walker:
    """Walks along -y at `speed_mps` from `start_m` with `steps_per_s`; each foot stands half the time.

    While it travels its speed is a half sine, whose peak is pi times the walking speed.
    """

    person: Person
    speed_mps: float = 1.2
    steps_per_s: float = 1.8
    start_m: tuple[float, float, float] = (0.0, 5.0, -1.0)
    duration_s: float = 5.0

    def chest_rise_at(self, times_s):
        return np.zeros(len(times_s))

    def joints_at(self, times_s):
        out = np.tile(at_rest(self.person), (len(times_s), 1, 1))
        stride_s = 2 / self.steps_per_s
        stride_m = self.speed_mps * stride_s
        travelled = self.speed_mps * times_s
        out[:, :, 1] -= travelled[:, None]
        for side, phase in (("left", 0.0), ("right", 0.5)):
            cycles, share = np.divmod(times_s / stride_s + phase, 1.0)
            swing = np.clip(2 * share - 1, 0, 1)
            foot = stride_m * (cycles - phase + 0.5 * (1 - np.cos(np.pi * swing))) - travelled + 0.25 * stride_m
            lift = 0.06 * np.sin(np.pi * swing) ** 2
            for joint, part in zip(LEG, (0.5, 1.0, 1.0, 1.0), strict=True):
                out[:, INDEX[f"{side}_{joint}"], 1] -= part * foot
                out[:, INDEX[f"{side}_{joint}"], 2] += part * lift
            arm = -0.5 * foot
            for joint, part in (("elbow", 0.5), ("wrist", 0.9), ("hand", 1.0)):
                out[:, INDEX[f"{side}_{joint}"], 1] -= part * arm
        assert out.shape[1] == len(BODY_JOINTS)
        return out + np.array(self.start_m)
