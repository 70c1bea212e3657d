"""How far joints go: clinical ranges of motion, and the angles of a pose measured as a clinician would.

Sources: [A] American Academy of Orthopaedic Surgeons, Joint Motion (1965) and its later normal values; [K] Kapandji,
Physiology of the Joints; [W] White and Panjabi, Clinical Biomechanics of the Spine (sums over the segments that one
joint stands for here); [B] Bennell et al. 1998, ankle dorsiflexion under body weight. Yoga takes joints to these ends,
and no further.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from capture.simulator.body import Pose, arm_directions


class Range(NamedTuple):
    """Degrees, and where they come from."""

    low: float
    high: float
    source: str


LIMITS_DEG: dict[str, Range] = {
    "lumbar flexion": Range(-30, 60, "K: 35 extension, 60 flexion"),
    "lumbar bend": Range(-30, 30, "W: T10 to L5"),
    "lumbar twist": Range(-15, 15, "W: T10 to L5"),
    "thoracic flexion": Range(-25, 35, "W: T1 to T10; K: 25 extension, 45 flexion"),
    "thoracic bend": Range(-30, 30, "W: T1 to T10"),
    "thoracic twist": Range(-35, 35, "K: 35"),
    "neck flexion": Range(-60, 50, "A: 45 either way; measured up to 60 extension"),
    "neck bend": Range(-45, 45, "A"),
    "neck twist": Range(-80, 80, "A: 60 to 80"),
    "clavicle raised": Range(-10, 45, "K"),
    "clavicle forward": Range(-30, 30, "K"),
    "arm backward": Range(-90, 60, "A: extension 60"),
    "arm across": Range(-90, 50, "A: level, 130 to 135 from the side"),
    "arm rotation": Range(-90, 90, "A: 70 inward, 90 outward; inward 90 when the hand goes behind the back"),
    "elbow": Range(0, 150, "A"),
    "wrist": Range(-70, 80, "A"),
    "hip flexion": Range(-30, 125, "A: 120 to 125 with the knee bent, 30 extension"),
    "hip abduction": Range(-30, 50, "A: 30 adduction, 45 to 50 abduction"),
    "hip rotation": Range(-45, 50, "A: 45"),
    "knee": Range(0, 150, "A: 135 to 150"),
    "ankle dorsiflexion": Range(-55, 45, "A: 50 down; B: 45 up under body weight"),
    "ankle inversion": Range(-25, 35, "A: eversion 15 to 25, inversion 35"),
    "foot rotation": Range(-35, 35, "K: 35 to 45 of toe-in and toe-out with the knee bent"),
}
"""Every angle's range. The spine is two segments; a real trunk spreads the same sums over seventeen."""


def clinical_angles_deg(pose: Pose) -> dict[str, Float64[np.ndarray, "time part"]]:
    """The angles that `LIMITS_DEG` bounds, degrees; `part` has one entry for the trunk and two for a limb's sides."""
    angles: dict[str, Float64[np.ndarray, "time part"]] = {}
    for segment in ("lumbar", "thoracic", "neck"):
        flexion, bend, twist = getattr(pose, segment).T
        angles |= {f"{segment} flexion": flexion[:, None], f"{segment} bend": bend[:, None]}
        angles[f"{segment} twist"] = twist[:, None]
    angles["clavicle raised"], angles["clavicle forward"] = np.moveaxis(pose.clavicle, 2, 0)
    upper = np.stack([arm_directions(pose.arm[:, side])[0] for side in (0, 1)], axis=1)
    angles["arm backward"] = np.arcsin(upper[:, :, 1])
    angles["arm across"] = np.arcsin(-upper[:, :, 0])
    angles["arm rotation"], angles["elbow"], angles["wrist"] = np.moveaxis(pose.arm[:, :, 2:], 2, 0)
    names = ("hip flexion", "hip abduction", "hip rotation", "knee", "ankle dorsiflexion", "ankle inversion")
    for number, name in enumerate((*names, "foot rotation")):
        angles[name] = pose.leg[:, :, number]
    return {name: np.degrees(value) for name, value in angles.items()}


def softly_limited(
    values: Float64[np.ndarray, "*shape"],
    low: Float64[np.ndarray, "*limit"],
    high: Float64[np.ndarray, "*limit"],
    margin: float,
) -> Float64[np.ndarray, "*shape"]:
    """`values` unchanged up to `margin` from either limit, then ever slower towards it; twice differentiable."""
    over, under = high - margin, low + margin
    limited = np.where(values > over, over + margin * np.tanh((values - over) / margin), values)
    return np.where(values < under, under - margin * np.tanh((under - values) / margin), limited)


def beyond_limits(pose: Pose) -> dict[str, float]:
    """By how many degrees a pose exceeds each range that it exceeds at all."""
    excess = {}
    for name, angles in clinical_angles_deg(pose).items():
        low, high, _ = LIMITS_DEG[name]
        worst = max(float(angles.max()) - high, low - float(angles.min()))
        if worst > 0:
            excess[name] = worst
    return excess
