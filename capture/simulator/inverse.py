"""Which joint angles bring a hand or a foot to a given place: two bones and the side their middle joint points to."""

import numpy as np
from jaxtyping import Float64

from capture.simulator.body import (
    ARM_ACROSS,
    ARM_CENTRE,
    ARM_UP,
    Angles,
    BoneLengths,
    Matrices,
    Vectors,
    about_x,
    arm_directions,
)


def arm_reaching(
    bones: BoneLengths, wrist_m: Vectors, elbow_towards: Vectors, wrist_rad: float = 0.15
) -> Float64[np.ndarray, "time 5"]:
    """Angles of a left arm whose wrist is at `wrist_m` from its shoulder, in the frame of the thorax.

    A place out of reach is reached towards. `elbow_towards` is a direction that the elbow sticks out to.
    """
    upper, lower = bones.upper_arm, bones.forearm
    ways, distance = _unit(wrist_m)
    distance = np.clip(distance, 1.001 * abs(upper - lower) + 0.02, 0.999 * (upper + lower))
    side, _ = _unit(elbow_towards - _along(elbow_towards, ways)[:, None] * ways)
    shoulder_angle = _angle_opposite(lower, upper, distance)
    upper_way = np.cos(shoulder_angle)[:, None] * ways + np.sin(shoulder_angle)[:, None] * side
    lower_way = (distance[:, None] * ways - upper * upper_way) / lower
    elbow = np.pi - _angle_opposite(distance, upper, np.full_like(distance, lower))
    up, across = swing_to(upper_way).T
    # The forearm's way seen along the upper arm, against where rotations 0 and 90 degrees would send it.
    none = np.zeros_like(up)
    level = arm_directions(np.stack([up, across, none, none + np.pi / 2, none], axis=1))[1]
    raised = arm_directions(np.stack([up, across, none + np.pi / 2, none + np.pi / 2, none], axis=1))[1]
    rotation = np.arctan2(_along(lower_way, raised), _along(lower_way, level))
    return np.stack([up, across, rotation, elbow, none + wrist_rad], axis=1)


def swing_to(upper_arm: Vectors) -> Float64[np.ndarray, "time 2"]:
    """(raise, across) that points a left upper arm along a unit vector of the thorax's frame."""
    cos = np.clip(upper_arm @ ARM_CENTRE, -1.0, 1.0)
    up, across = upper_arm @ ARM_UP, upper_arm @ ARM_ACROSS
    sin = np.hypot(up, across)
    scale = np.arctan2(sin, cos) / np.maximum(sin, 1e-12)
    return np.stack([up * scale, across * scale], axis=1)


def leg_reaching(
    bones: BoneLengths,
    pelvis: Matrices,
    hip_m: Vectors,
    ankle_m: Vectors,
    foot: Matrices,
    knee_towards: Vectors,
    sign: float,
) -> Float64[np.ndarray, "time 7"]:
    """Angles of a leg between a hip and an ankle of the room whose foot is turned by `foot`; `sign` as in `leg_turns`.

    `knee_towards` is a direction of the room that the knee points to. An ankle out of reach is reached towards.
    """
    ways, distance = _unit(ankle_m - hip_m)
    distance = np.clip(distance, abs(bones.thigh - bones.shank) + 0.02, (1 - 1e-9) * bones.leg)
    hinge, _ = _unit(np.cross(knee_towards, ways))
    forwards = np.cross(ways, hinge)
    hip_angle = _angle_opposite(bones.shank, bones.thigh, distance)
    knee = np.pi - _angle_opposite(distance, bones.thigh, np.full_like(distance, bones.shank))
    thigh_way = np.cos(hip_angle)[:, None] * ways + np.sin(hip_angle)[:, None] * forwards
    thigh = np.stack([hinge, np.cross(-thigh_way, hinge), -thigh_way], axis=2)
    local = pelvis.transpose(0, 2, 1) @ thigh
    flexion, abduction, outward = _turns_xyz(local)
    shank = thigh @ about_x(knee)
    dorsiflexion, inversion, foot_outward = _turns_xyz(shank.transpose(0, 2, 1) @ foot)
    return np.stack(
        [
            -flexion,
            -sign * abduction,
            sign * outward,
            knee,
            -dorsiflexion,
            sign * inversion,
            sign * foot_outward,
        ],
        axis=1,
    )


def _unit(vectors: Vectors) -> tuple[Vectors, Angles]:
    length = np.linalg.norm(vectors, axis=1)
    return vectors / np.maximum(length, 1e-12)[:, None], length


def _along(vectors: Vectors, ways: Vectors) -> Angles:
    product: Angles = np.einsum("ti,ti->t", vectors, ways)
    return product


def _angle_opposite(far: float | Angles, near: float, other: Angles) -> Angles:
    """The angle of a triangle between sides `near` and `other`, opposite to side `far`."""
    return np.arccos(np.clip((near**2 + other**2 - far**2) / (2 * near * other), -1.0, 1.0))


def _turns_xyz(turn: Matrices) -> tuple[Angles, Angles, Angles]:
    """Angles a, b, c with turn = about_x(a) about_y(b) about_z(c)."""
    return (
        np.arctan2(-turn[:, 1, 2], turn[:, 2, 2]),
        np.arcsin(np.clip(turn[:, 0, 2], -1.0, 1.0)),
        np.arctan2(-turn[:, 0, 1], turn[:, 0, 0]),
    )
