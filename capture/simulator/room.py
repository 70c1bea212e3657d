"""A furnished room: the walls and boxes that stand behind and around people, metres, in the radar's coordinates."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from capture.simulator.person import RGB
from capture.simulator.scene import Vector
from pipeline.errors import PipelineError

Floor = Literal["planks", "tiles", "carpet"]
Surface = Literal["plain", "books", "poster", "window", "doors"]


@dataclass(frozen=True)
class Box:
    """A piece of furniture, its sides along the axes, between the corners `low_m` and `high_m`."""

    low_m: Vector
    high_m: Vector
    colour: RGB
    surface: Surface = "plain"


@dataclass(frozen=True)
class Room:
    """Four walls, floor and ceiling; the radar looks at the back wall. `seed` picks the textures' small print."""

    left_m: float
    right_m: float
    front_m: float  # y of the wall behind the radar
    back_m: float
    ceiling_m: float
    radar_height_m: float
    wall: RGB
    floor_colour: RGB
    floor: Floor
    boxes: tuple[Box, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.left_m < 0 < self.right_m and self.front_m < 0 < self.back_m):
            raise PipelineError(
                f"the room spans x {self.left_m:g} to {self.right_m:g} m and y {self.front_m:g} to {self.back_m:g} m: "
                "the radar at (0, 0) has to stand inside it"
            )
        if not (self.radar_height_m > 0 and self.ceiling_m > 0):
            raise PipelineError(
                f"the radar is {self.radar_height_m:g} m above the floor and {self.ceiling_m:g} m below the ceiling: "
                "both have to be above 0"
            )
        for box in self.boxes:
            if not all(low < high for low, high in zip(box.low_m, box.high_m, strict=True)):
                raise PipelineError(f"a box of the room has no volume: its corners are {box.low_m} and {box.high_m}")


def lab_room(seed: int = 0, radar_height_m: float = 1.0) -> Room:
    """A laboratory or office, about 5.2 m wide, its back wall 5.8 m away; what stands where depends on `seed`."""
    rng = np.random.default_rng([0x100A, seed])
    return _furnished(
        rng,
        seed,
        radar_height_m,
        half_width_m=rng.uniform(2.4, 2.9),
        back_m=rng.uniform(5.5, 6.1),
        pieces=("desk", "shelf", "cabinet", "desk", "bin", "poster", "poster", "window", "door"),
        floors=("tiles", "carpet", "planks"),
    )


def studio_room(seed: int = 0, radar_height_m: float = 1.0) -> Room:
    """A dance or yoga studio: wider, deeper, emptier, with a wooden floor."""
    rng = np.random.default_rng([0x57D0, seed])
    return _furnished(
        rng,
        seed,
        radar_height_m,
        half_width_m=rng.uniform(3.0, 3.8),
        back_m=rng.uniform(6.2, 7.4),
        pieces=("bench", "poster", "window", "window", "door", "bin", "speaker"),
        floors=("planks",),
    )


_WALLS: tuple[RGB, ...] = (
    (226, 222, 212),
    (214, 220, 222),
    (232, 228, 222),
    (196, 206, 200),
    (218, 204, 186),
    (178, 190, 204),
)
_FLOORS: dict[Floor, tuple[RGB, ...]] = {
    "planks": ((168, 124, 82), (196, 154, 108), (122, 88, 62), (206, 180, 146)),
    "tiles": ((188, 186, 180), (150, 152, 154), (206, 200, 188)),
    "carpet": ((94, 100, 112), (118, 108, 98), (74, 86, 84), (128, 84, 78)),
}
_WOODS: tuple[RGB, ...] = ((172, 132, 92), (214, 196, 168), (98, 70, 50), (206, 206, 204), (64, 66, 70))
_BRIGHT: tuple[RGB, ...] = (
    (44, 92, 142),
    (176, 58, 48),
    (232, 178, 62),
    (62, 118, 82),
    (120, 82, 128),
    (222, 222, 216),
    (50, 52, 56),
)


def _furnished(
    rng: np.random.Generator,
    seed: int,
    radar_height_m: float,
    *,
    half_width_m: float,
    back_m: float,
    pieces: tuple[str, ...],
    floors: tuple[Floor, ...],
) -> Room:
    ground, ceiling = -radar_height_m, 2.7 - radar_height_m + rng.uniform(-0.1, 0.4)
    floor = floors[int(rng.integers(len(floors)))]
    left, right = -half_width_m + rng.uniform(-0.2, 0.2), half_width_m + rng.uniform(-0.2, 0.2)
    boxes: list[Box] = []
    # Places along the left, the back and the right wall; each piece takes the next one, so that none overlap.
    places = [("left", y) for y in np.arange(1.9, back_m - 1.2, 1.45).tolist()]
    places += [("back", x) for x in np.arange(left + 0.9, right - 0.6, 1.4).tolist()]
    places += [("right", y) for y in np.arange(1.9, back_m - 1.2, 1.45).tolist()]
    order = rng.permutation(len(places))
    for piece, number in zip(pieces, order, strict=False):
        wall, along = places[int(number)]
        for low, high, colour, surface in _piece(piece, rng):
            # A piece is drawn against a back wall: x along it, y out of it towards the middle, z up.
            corners = []
            for x, out, z in (low, high):
                spot = along + x
                if wall == "back":
                    corners.append((spot, back_m - out, ground + z))
                else:
                    corners.append((left + out if wall == "left" else right - out, spot, ground + z))
            (x0, y0, z0), (x1, y1, z1) = corners
            boxes.append(Box((min(x0, x1), min(y0, y1), z0), (max(x0, x1), max(y0, y1), z1), colour, surface))
    return Room(
        left, right, -0.8, back_m, ceiling, radar_height_m, _pick(_WALLS, rng), _pick(_FLOORS[floor], rng), floor,
        tuple(boxes), seed,
    )  # fmt: skip


def _pick(palette: tuple[RGB, ...], rng: np.random.Generator) -> RGB:
    red, green, blue = palette[int(rng.integers(len(palette)))]
    return red, green, blue


def _piece(name: str, rng: np.random.Generator) -> list[tuple[Vector, Vector, RGB, Surface]]:
    """The boxes of one piece of furniture: (along the wall, out of the wall, up from the floor)."""
    wood, bright = _pick(_WOODS, rng), _pick(_BRIGHT, rng)
    dark: RGB = (46, 46, 50)
    size = float(rng.uniform(0.9, 1.1))
    if name == "desk":
        half, deep, high = 0.62 * size, 0.65, 0.74
        legs: list[tuple[Vector, Vector, RGB, Surface]] = [
            ((x, out, 0.0), (x + 0.05, out + 0.05, high - 0.03), dark, "plain")
            for x in (-half, half - 0.05)
            for out in (0.05, deep - 0.06)
        ]
        screen: tuple[Vector, Vector, RGB, Surface] = (
            (-0.27, 0.22, high + 0.1),
            (0.27, 0.26, high + 0.44),
            dark,
            "plain",
        )
        foot: tuple[Vector, Vector, RGB, Surface] = ((-0.04, 0.18, high), (0.04, 0.22, high + 0.2), dark, "plain")
        top: tuple[Vector, Vector, RGB, Surface] = ((-half, 0.02, high - 0.03), (half, deep, high), wood, "plain")
        return [*legs, top, screen, foot]
    if name == "shelf":
        return [((-0.45 * size, 0.0, 0.0), (0.45 * size, 0.32, 1.85 * size), wood, "books")]
    if name == "cabinet":
        return [((-0.5 * size, 0.0, 0.0), (0.5 * size, 0.45, 1.1 * size), wood, "doors")]
    if name == "bench":
        return [
            ((-0.62, 0.05, 0.36), (0.62, 0.42, 0.44), wood, "plain"),
            ((-0.55, 0.1, 0.0), (0.55, 0.37, 0.36), dark, "plain"),
        ]
    if name == "speaker":
        return [((-0.16, 0.1, 0.0), (0.16, 0.4, 0.95 * size), dark, "doors")]
    if name == "bin":
        return [((-0.14, 0.05, 0.0), (0.14, 0.33, 0.34), bright, "plain")]
    if name == "poster":
        low = float(rng.uniform(0.9, 1.2))
        return [((-0.35 * size, 0.0, low), (0.35 * size, 0.02, low + 0.9 * size), bright, "poster")]
    if name == "window":
        return [((-0.6 * size, 0.0, 1.0), (0.6 * size, 0.03, 2.2), (236, 240, 244), "window")]
    return [((-0.45, 0.0, 0.0), (0.45, 0.04, 2.05), wood, "doors")]
