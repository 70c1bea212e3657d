"""A person: how tall and heavy, how proportioned, and how they move, all drawn from one seed.

Segment lengths are shares of body height after Drillis and Contini (1966), as printed in Winter, Biomechanics and Motor
Control of Human Movement, figure 4.1; joint centres of shoulder and hip lie inside the breadths given there. Each
person departs from those means by a few per cent, as people do, and the lengths are then scaled to the height.
"""

from dataclasses import dataclass, replace

import numpy as np

from capture.simulator.body import BoneLengths
from pipeline.errors import PipelineError

HEIGHT_RANGE_M = (1.55, 1.90)
"""Heights of the paper's participants."""

RGB = tuple[int, int, int]

_STREAM = 0x9E3  # keeps a person's own draws apart from those of their motions
_SHARES = BoneLengths(
    thigh=0.245,
    shank=0.246,
    ankle_height=0.039,
    heel_back=0.029,
    heel_height=0.019,
    toe_forward=0.091,
    toe_height=0.0125,
    hip_half_width=0.051,
    lumbar=0.115,
    thoracic=0.195,
    shoulder_half_width=0.108,
    shoulder_drop=0.022,
    upper_arm=0.186,
    forearm=0.146,
    hand=0.066,
    neck=0.089,
    crown=0.071,
    nose_forward=0.064,
    nose_drop=0.012,
)


@dataclass(frozen=True)
class Clothing:
    """Colours as 8-bit red, green, blue, and how far sleeves and trousers reach."""

    skin: RGB
    hair: RGB
    top: RGB
    trousers: RGB
    shoes: RGB
    long_sleeves: bool
    long_trousers: bool


@dataclass(frozen=True)
class Manner:
    """How somebody moves, whatever they do. 1 is average where no unit is named."""

    left_handed: bool
    tempo: float  # actions a second
    amplitude: float  # of every movement
    smooth: float  # over 1: dwells at the ends of a movement
    sway_m: float  # standard deviation of the hips' wandering while standing
    sway_hz: float
    breathing_hz: float
    breathing_m: float  # from exhaled to inhaled, of the chest wall
    hesitation: float  # share of movements that start late or pause
    fatigue: float  # share by which amplitude and tempo have sunk after a minute
    asymmetry: float  # share by which the weaker side moves less
    stance_m: float  # between the ankles of somebody who just stands
    toe_out: float  # radians
    slouch: float  # radians of forward bend of the upper back
    arm_carry: float  # radians of elbow bend of a hanging arm


@dataclass(frozen=True)
class Person:
    """One person. `seed` picks everything of theirs, motions included; two seeds share no random stream."""

    seed: int
    height_m: float
    mass_kg: float
    bones: BoneLengths
    manner: Manner
    clothing: Clothing

    @property
    def build(self) -> float:
        """Breadth of the flesh relative to somebody of the same height with a body-mass index of 22."""
        return float(np.sqrt(self.mass_kg / (22.0 * self.height_m**2)))


def person(seed: int, height_m: float | None = None) -> Person:
    """Draw a person from `seed`, of `height_m` where one is asked for. Raises PipelineError for a negative seed."""
    if seed < 0:
        raise PipelineError(f"A person's seed is a whole number from 0 on, not {seed}.")
    rng = np.random.default_rng([_STREAM, seed])
    drawn_m = float(rng.uniform(*HEIGHT_RANGE_M))
    height = drawn_m if height_m is None else float(height_m)
    # Body-mass index of adults is skewed: most between 19 and 27, a tail above.
    bmi = float(np.clip(18.0 + 5.5 * rng.gamma(4.0, 0.25), 18.0, 33.0))
    bones = _bones(height, rng)
    manner = _manner(height, rng)
    return Person(seed, height, bmi * height**2, bones, manner, _clothing(rng))


def with_bones(template: Person, bones: BoneLengths) -> Person:
    """The same person with measured bones, and as heavy for their height as before."""
    height = bones.height
    return replace(template, bones=bones, height_m=height, mass_kg=template.mass_kg * (height / template.height_m) ** 2)


def bones_of_height(height_m: float) -> BoneLengths:
    """The table's mean body of that height."""
    shares = {name: value * height_m / _SHARES.height for name, value in vars(_SHARES).items()}
    return BoneLengths(**shares)


def _bones(height_m: float, rng: np.random.Generator) -> BoneLengths:
    """Mean shares, each person's own ratios, and all of it scaled to the height."""

    def ratio(spread: float) -> float:
        return float(np.exp(spread * np.clip(rng.standard_normal(), -2.2, 2.2)))

    leg, thigh, arm, upper = ratio(0.025), ratio(0.015), ratio(0.03), ratio(0.02)
    shoulders, hips, foot, head, trunk = ratio(0.06), ratio(0.06), ratio(0.04), ratio(0.025), ratio(0.02)
    s = _SHARES
    raw = replace(
        s,
        thigh=s.thigh * leg * thigh,
        shank=s.shank * leg / thigh,
        heel_back=s.heel_back * foot,
        toe_forward=s.toe_forward * foot,
        hip_half_width=s.hip_half_width * hips,
        lumbar=s.lumbar * trunk,
        thoracic=s.thoracic / trunk,
        shoulder_half_width=s.shoulder_half_width * shoulders,
        upper_arm=s.upper_arm * arm * upper,
        forearm=s.forearm * arm / upper,
        hand=s.hand * arm,
        neck=s.neck * head,
        crown=s.crown * head,
        nose_forward=s.nose_forward * head,
    )
    scale = height_m / raw.height
    return BoneLengths(**{name: value * scale for name, value in vars(raw).items()})


def _manner(height_m: float, rng: np.random.Generator) -> Manner:
    def spread(mean: float, share: float) -> float:
        return float(mean * np.exp(share * np.clip(rng.standard_normal(), -2.0, 2.0)))

    return Manner(
        left_handed=bool(rng.random() < 0.1),
        tempo=spread(1.0, 0.16),
        amplitude=float(np.clip(1.0 + 0.11 * rng.standard_normal(), 0.78, 1.15)),
        smooth=spread(1.0, 0.2),
        sway_m=spread(0.006, 0.35),
        sway_hz=spread(0.3, 0.2),
        breathing_hz=spread(0.25, 0.15),  # 15 a minute
        breathing_m=spread(0.007, 0.3),
        hesitation=float(rng.uniform(0.0, 0.25)),
        fatigue=float(rng.uniform(0.0, 0.2)),
        asymmetry=float(rng.uniform(0.0, 0.15)),
        stance_m=spread(0.115 * height_m, 0.15),
        toe_out=float(np.radians(rng.uniform(3.0, 15.0))),
        slouch=float(np.radians(rng.uniform(0.0, 14.0))),
        arm_carry=float(np.radians(rng.uniform(8.0, 28.0))),
    )


_SKIN: tuple[RGB, ...] = (
    (244, 214, 190),
    (228, 185, 150),
    (201, 152, 112),
    (161, 110, 75),
    (112, 74, 50),
    (78, 52, 38),
)
_HAIR: tuple[RGB, ...] = ((28, 24, 22), (59, 42, 30), (99, 70, 44), (160, 124, 76), (128, 124, 120))
_CLOTH: tuple[RGB, ...] = (
    (225, 224, 220), (40, 42, 46), (122, 126, 132), (43, 62, 104), (146, 38, 44), (58, 96, 70), (206, 168, 78), (96, 64, 110),
    (70, 132, 156), (214, 132, 118),
)  # fmt: skip


def _clothing(rng: np.random.Generator) -> Clothing:
    def shade(palette: tuple[RGB, ...]) -> RGB:
        base = np.array(palette[int(rng.integers(len(palette)))], np.float64)
        red, green, blue = np.clip(base * rng.uniform(0.85, 1.12) + rng.normal(0, 5, 3), 12, 250).astype(int).tolist()
        return red, green, blue

    return Clothing(
        skin=shade(_SKIN),
        hair=shade(_HAIR),
        top=shade(_CLOTH),
        trousers=shade(_CLOTH),
        shoes=shade(_CLOTH),
        long_sleeves=bool(rng.random() < 0.5),
        long_trousers=bool(rng.random() < 0.75),
    )
