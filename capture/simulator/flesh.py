"""The shape of a body, for radar and camera alike: tapered capsules between joints, as thick as the person's build.

Mean radii follow the girths of adults with a body-mass index of 22 (circumferences over 2 pi). Trunk and thighs take more
of a heavier build than forearms, shanks and head do, and grow with the root of the height as flesh at one index does, so
that the body weighs what the person weighs to a tenth or so (a test weighs them).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from capture.simulator.body import INDEX
from capture.simulator.person import RGB, Person
from capture.simulator.scene import Vector

_BELLY_M, _HIP_M, _KNEE_M = 0.112, 0.095, 0.057

ColourSlot = Literal["skin", "hair", "top", "trousers", "shoes", "sleeve", "trouser_leg"]
"""Where a limb takes its colour from; `sleeve` and `trouser_leg` are skin where clothes are short."""


@dataclass(frozen=True)
class Limb:
    """A capsule between two body joints whose radius changes evenly from one to the other, metres.

    An end's centre is its joint, moved by `shift_a_m` or `shift_b_m`: to the person's left, forward and up by `trunk_axes`
    or, for limbs of the head, by `head_axes`.
    """

    name: str
    joint_a: str
    joint_b: str
    radius_a_m: float
    radius_b_m: float
    colour: ColourSlot
    shift_a_m: Vector = (0.0, 0.0, 0.0)
    shift_b_m: Vector = (0.0, 0.0, 0.0)


HEAD = ("face", "skull")
"""Limbs that `head_axes` carry; `appearance` draws a head of more parts in their place, which reaches as far."""

Axes = Float64[np.ndarray, "*more 3 3"]


def trunk_axes(joints: Float64[np.ndarray, "*more joint 3"]) -> Axes:
    """Unit vectors (rows) to the body's left, forward and up, up along the whole spine."""
    return _axes(
        joints[..., INDEX["left_shoulder"], :] - joints[..., INDEX["right_shoulder"], :],
        joints[..., INDEX["neck"], :] - joints[..., INDEX["pelvis"], :],
    )


def head_axes(joints: Float64[np.ndarray, "*more joint 3"]) -> Axes:
    """Unit vectors (rows) to the head's left, forward and up."""
    up = joints[..., INDEX["head_top"], :] - joints[..., INDEX["head"], :]
    ahead = joints[..., INDEX["nose"], :] - joints[..., INDEX["head"], :]
    return _axes(np.cross(up, ahead), up)


def _axes(left: Float64[np.ndarray, "*more 3"], up: Float64[np.ndarray, "*more 3"]) -> Axes:
    """Up as given, left as nearly so as a right angle allows."""
    up = up / np.maximum(np.linalg.norm(up, axis=-1, keepdims=True), 1e-9)
    left = left - np.sum(left * up, axis=-1, keepdims=True) * up
    left = left / np.maximum(np.linalg.norm(left, axis=-1, keepdims=True), 1e-9)
    return np.stack([left, np.cross(left, up), up], axis=-2)


def trunk_radius_m(person: Person) -> float:
    """How far flesh reaches in front of the lower spine, metres: half the trunk's depth."""
    return _BELLY_M * _breadths(person)[0]


def hips_half_breadth_m(person: Person) -> float:
    """How far flesh reaches sideways of the pelvis, metres."""
    return person.bones.hip_half_width + _HIP_M * _breadths(person)[0]


def knee_radius_m(person: Person) -> float:
    """How high a knee joint is above the floor that it kneels on, metres."""
    return _KNEE_M * _breadths(person)[1]


def limbs_of(person: Person) -> tuple[Limb, ...]:
    """The capsules of a body, trunk first; each end's centre is a joint of `body.BODY_JOINTS`."""
    size = person.height_m / 1.72
    heavy, middle, light = _breadths(person)
    bones = person.bones
    skull = bones.crown / 0.122  # heads fatten hardly at all
    waist = size * person.build
    limbs = [
        Limb("chest", "spine", "neck", _BELLY_M * heavy, 0.070 * middle, "top"),
        Limb("abdomen", "pelvis", "spine", _BELLY_M * heavy, 0.108 * heavy, "top"),
        Limb("hips", "left_hip", "right_hip", _HIP_M * heavy, _HIP_M * heavy, "trousers"),
        Limb("neck", "neck", "head", 0.055 * middle, 0.055 * middle, "skin"),
        Limb("face", "head", "nose", 0.076 * skull, 0.016 * skull, "skin"),
        Limb(
            "skull",
            "head",
            "head_top",
            0.088 * skull,
            0.074 * skull,
            "hair",
            (0.0, -0.020 * skull, 0.005 * skull),
            (0.0, -0.012 * skull, -0.074 * skull),
        ),
    ]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        # A waist is wider than deep: its limbs begin beside the spine.
        chest, flank = (0.040 * sign * waist, 0.0, 0.0), (0.042 * sign * waist, 0.0, 0.0)
        limbs += [
            Limb(f"{side}_chest", "spine", f"{side}_shoulder", 0.100 * heavy, 0.055 * middle, "top", chest),
            Limb(f"{side}_flank", "spine", f"{side}_hip", 0.095 * heavy, 0.088 * heavy, "top", flank),
            Limb(f"{side}_girdle", "neck", f"{side}_shoulder", 0.050 * middle, 0.054 * middle, "top"),
            Limb(f"{side}_upper_arm", f"{side}_shoulder", f"{side}_elbow", 0.052 * middle, 0.040 * middle, "top"),
            Limb(f"{side}_forearm", f"{side}_elbow", f"{side}_wrist", 0.042 * middle, 0.027 * light, "sleeve"),
            Limb(f"{side}_hand", f"{side}_wrist", f"{side}_hand", 0.031 * light, 0.027 * light, "skin"),
            Limb(f"{side}_thigh", f"{side}_hip", f"{side}_knee", 0.088 * heavy, _KNEE_M * middle, "trousers"),
            Limb(f"{side}_shank", f"{side}_knee", f"{side}_ankle", _KNEE_M * middle, 0.036 * light, "trouser_leg"),
            Limb(f"{side}_heel", f"{side}_ankle", f"{side}_heel", 0.035 * light, bones.heel_height, "shoes"),
            Limb(f"{side}_foot", f"{side}_ankle", f"{side}_toe", 0.036 * light, bones.toe_height, "shoes"),
            Limb(f"{side}_sole", f"{side}_heel", f"{side}_toe", bones.heel_height, bones.toe_height, "shoes"),
        ]
    return tuple(limbs)


def _breadths(person: Person) -> tuple[float, float, float]:
    """Factors on mean radii of trunk and thighs, of shoulders and arms and knees, of what hardly fattens."""
    size, build = person.height_m / 1.72, person.build
    return 1.04 * size**0.55 * build**1.4, 1.04 * size**0.6 * build**0.9, size**0.75 * build**0.45


def colour_of(person: Person, slot: ColourSlot) -> RGB:
    """The colour of a limb's surface on this person."""
    clothing = person.clothing
    if slot == "sleeve":
        return clothing.top if clothing.long_sleeves else clothing.skin
    if slot == "trouser_leg":
        return clothing.trousers if clothing.long_trousers else clothing.skin
    return {
        "skin": clothing.skin,
        "hair": clothing.hair,
        "top": clothing.top,
        "trousers": clothing.trousers,
        "shoes": clothing.shoes,
    }[slot]
