"""How a person looks: which capsules are drawn, and what is painted on them.

The capsules are those of `flesh.limbs_of`, but that the head is drawn from smaller ones (skull, jaw, nose, ears, hair) so
that a picture tells front from back and left from right; a test holds the two heads together.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from capture.simulator.backdrop import linear_light
from capture.simulator.body import INDEX
from capture.simulator.flesh import HEAD as HEAD_LIMBS
from capture.simulator.flesh import Limb, colour_of, limbs_of
from capture.simulator.person import Person
from capture.simulator.render_kernels import (
    BELOW,
    CLOTH,
    DUTY,
    EDGE,
    FIRST,
    HEAD,
    HEM,
    KIND,
    LENGTH,
    PAINT_COLUMNS,
    PATTERN,
    PERIOD,
    SECOND,
    SKIN,
    THIRD,
    TORSO,
)
from capture.simulator.scene import Vector

Frame = Literal["torso", "head", "limb"]

_STREAM = 0xC10
_TORSO = (
    "chest",
    "abdomen",
    "hips",
    "left_chest",
    "right_chest",
    "left_flank",
    "right_flank",
    "left_girdle",
    "right_girdle",
)
_CROWN_M = 0.122  # from the skull's centre to its top in the head that the tables below describe


@dataclass(frozen=True)
class Look:
    """What is drawn of one person, limb by limb.

    An end lies at a joint, moved by `offsets_m` (left, forward, up). `frames` says along which axes these and the paint
    are laid out: 0 torso, 1 head, 2 the limb's own (for which there are no offsets). `paint` is explained in `render_kernels`.
    """

    names: tuple[str, ...]
    ends: Int64[np.ndarray, "limb 2"]
    offsets_m: Float64[np.ndarray, "limb 2 3"]
    radii_m: Float64[np.ndarray, "limb 2"]
    frames: Int64[np.ndarray, " limb"]
    paint: Float64[np.ndarray, "limb column"]


@lru_cache(maxsize=256)
def look_of(person: Person) -> Look:
    """The person's own clothes and hair; the same at every call."""
    rng = np.random.default_rng([_STREAM, person.seed])
    style = _style(person, rng)
    limbs = [limb for limb in limbs_of(person) if limb.name not in HEAD_LIMBS]
    head = _head(person, style)
    names = tuple(limb.name for limb in limbs) + tuple(name for name, *_ in head)
    ends = [(INDEX[limb.joint_a], INDEX[limb.joint_b]) for limb in limbs] + [(INDEX["head"], INDEX["head"])] * len(head)
    offsets = np.zeros((len(names), 2, 3))
    offsets[len(limbs) :] = [(first, second) for _, first, second, *_ in head]
    offsets[: len(limbs)] = [(limb.shift_a_m, limb.shift_b_m) for limb in limbs]
    radii = [(limb.radius_a_m, limb.radius_b_m) for limb in limbs]
    radii += [(thick, thin) for _, _, _, thick, thin in head]
    frames = [0 if limb.name in _TORSO else 2 for limb in limbs] + [1] * len(head)
    paint = [_limb_paint(person, limb, style) for limb in limbs] + [
        _head_paint(person, name, style) for name, *_ in head
    ]
    return Look(names, np.array(ends), offsets, np.array(radii), np.array(frames), np.array(paint))


@dataclass(frozen=True)
class _Style:
    top_pattern: int
    top_period_m: float
    top_second: Float64[np.ndarray, "3"]
    print_colour: Float64[np.ndarray, "3"]
    trouser_pattern: int
    trouser_second: Float64[np.ndarray, "3"]
    sleeve_end: float  # share of the upper arm or thigh that short clothes cover
    trouser_end: float
    waist_m: float  # of trousers above the pelvis
    hair: Literal["short", "long", "bun", "tail"]


_ACCENTS = ((240, 240, 236), (30, 32, 36), (196, 48, 48), (44, 84, 150), (236, 190, 60), (60, 130, 90), (230, 150, 120))


def _style(person: Person, rng: np.random.Generator) -> _Style:
    """Patterns of `render_kernels`: 0 plain, 1 hoops, 2 stripes along, 3 checks, 4 lower half in the second colour."""
    second, third = rng.permutation(len(_ACCENTS))[:2].tolist()
    blend = rng.uniform(0.35, 1.0)
    trousers = linear_light(person.clothing.trousers)
    hairs: tuple[Literal["short", "long", "bun", "tail"], ...] = ("short", "short", "long", "bun", "tail")
    return _Style(
        top_pattern=int(rng.choice([0, 0, 0, 1, 1, 2, 3, 4])),
        top_period_m=float(rng.uniform(0.035, 0.11)),
        top_second=blend * linear_light(_ACCENTS[second]) + (1 - blend) * linear_light(person.clothing.top),
        print_colour=linear_light(_ACCENTS[third] if rng.random() < 0.5 else person.clothing.top),
        trouser_pattern=int(rng.choice([0, 0, 0, 5])),
        trouser_second=linear_light(_ACCENTS[second]) if rng.random() < 0.5 else 0.5 * trousers,
        sleeve_end=float(rng.uniform(0.45, 0.85)),
        trouser_end=float(rng.uniform(0.6, 0.9)),
        waist_m=float(rng.uniform(0.05, 0.1)),
        hair=hairs[int(rng.integers(len(hairs)))],
    )


def _limb_paint(person: Person, limb: Limb, style: _Style) -> Float64[np.ndarray, " column"]:
    paint = np.zeros(PAINT_COLUMNS)
    clothing, skin = person.clothing, linear_light(person.clothing.skin)
    paint[FIRST : FIRST + 3] = paint[SECOND : SECOND + 3] = linear_light(colour_of(person, limb.colour))
    paint[SKIN : SKIN + 3] = skin
    paint[PERIOD], paint[DUTY], paint[HEM], paint[KIND] = 1.0, 0.5, 2.0, CLOTH
    trunk = limb.name in _TORSO
    if trunk or limb.colour == "top" or (limb.colour == "sleeve" and clothing.long_sleeves):
        paint[FIRST : FIRST + 3] = linear_light(clothing.top)
        paint[SECOND : SECOND + 3] = style.top_second
        paint[PATTERN], paint[PERIOD] = style.top_pattern, style.top_period_m
        if style.top_pattern == 4:
            paint[PATTERN], paint[PERIOD] = (4, 0.6) if trunk else (0, 1.0)
        if trunk:
            paint[KIND], paint[LENGTH] = TORSO, person.bones.lumbar + person.bones.thoracic
            paint[THIRD : THIRD + 3] = style.print_colour
            paint[BELOW : BELOW + 3] = linear_light(clothing.trousers)
            paint[EDGE] = style.waist_m
        if limb.name.endswith("upper_arm") and not clothing.long_sleeves:
            paint[HEM] = style.sleeve_end
    elif limb.colour in ("trousers", "trouser_leg"):
        paint[SECOND : SECOND + 3] = style.trouser_second
        paint[PATTERN] = style.trouser_pattern if limb.colour == "trousers" or clothing.long_trousers else 0
        if limb.name.endswith("thigh") and not clothing.long_trousers:
            paint[HEM] = style.trouser_end
    return paint


def _head_paint(person: Person, name: str, style: _Style) -> Float64[np.ndarray, " column"]:
    paint = np.zeros(PAINT_COLUMNS)
    skin, hair = linear_light(person.clothing.skin), linear_light(person.clothing.hair)
    paint[FIRST : FIRST + 3] = hair if name == "hair" else skin
    paint[SECOND : SECOND + 3] = hair
    paint[KIND] = HEAD if name in ("cranium", "jaw") else CLOTH
    paint[PERIOD], paint[HEM] = 1.0, 2.0
    paint[LENGTH] = person.bones.crown / _CROWN_M
    paint[EDGE] = -0.035 if style.hair == "short" else -0.08
    return paint


def _head(person: Person, style: _Style) -> list[tuple[str, Vector, Vector, float, float]]:
    """(name, end, end, radius, radius); ends are (left, forward, up) of the skull's centre, all scaled to the crown."""
    size = person.bones.crown / _CROWN_M
    nose_forward, nose_drop = person.bones.nose_forward / size, person.bones.nose_drop / size
    pieces: list[tuple[str, Vector, Vector, float, float]] = [
        ("cranium", (0.0, -0.028, 0.030), (0.0, 0.012, 0.037), 0.084, 0.084),
        ("jaw", (0.0, 0.022, 0.008), (0.0, 0.034, -0.064), 0.073, 0.045),
        ("nose", (0.0, 0.082, 0.022), (0.0, nose_forward - 0.012, -nose_drop), 0.011, 0.015),
        ("ear", (0.079, -0.006, 0.018), (0.078, -0.002, -0.022), 0.017, 0.012),
        ("ear", (-0.079, -0.006, 0.018), (-0.078, -0.002, -0.022), 0.017, 0.012),
    ]
    if style.hair == "long":
        pieces.append(("hair", (0.0, -0.045, 0.005), (0.0, -0.062, -0.15), 0.078, 0.062))
    elif style.hair == "bun":
        pieces.append(("hair", (0.0, -0.105, 0.075), (0.0, -0.112, 0.07), 0.045, 0.045))
    elif style.hair == "tail":
        pieces.append(("hair", (0.0, -0.108, 0.06), (0.0, -0.13, -0.12), 0.034, 0.02))
    return [
        (name, _times(first, size), _times(second, size), size * thick, size * thin)
        for name, first, second, thick, thin in pieces
    ]


def _times(vector: Vector, size: float) -> Vector:
    return size * vector[0], size * vector[1], size * vector[2]
