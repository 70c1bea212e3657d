"""A room as the radar meets it: walls, floor, ceiling and furniture as fixed scatterers, and what in it never rests.

Rough surfaces are sown with scatterers, each standing for its share of the area, its cross-section falling with the cosine
squared of incidence and differing from the next as speckle does (exponential law). On top come what is bright indoors: the
spot where a wall is met squarely, the corners where walls meet, edges of metal, and table legs. A fan turns and a curtain
stirs, so that no background subtraction comes out clean.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from capture.simulator.room import Box, Room

Points = Float64[np.ndarray, "scatterer 3"]
Amplitudes = Float64[np.ndarray, " scatterer"]

_WALL_M2, _FLOOR_M2, _FURNITURE_M2 = 0.03, 0.1, 0.15  # cross-section of a square metre met squarely
_MIRROR = 0.12  # field reflected by a plastered wall where it is met squarely, roughness and studs included
_CORNER_M2 = 0.6
_METAL_EDGE_M2 = 0.1
_SPECK_M2 = 0.15  # area a scatterer stands for on walls and floor, square metres
_MOST_PER_FACE = 16


@dataclass(frozen=True)
class Restless:
    """What moves by itself in a room: three fan blades, two points each, and a curtain."""

    fan_m: tuple[float, float, float]
    fan_turns_per_s: float
    fan_start: float
    curtain_m: Float64[np.ndarray, "point 3"]
    curtain_swing_m: Float64[np.ndarray, "point 3"]
    curtain_hz: Float64[np.ndarray, " point"]
    amplitude_m: Amplitudes

    def positions_at(self, times_s: Float64[np.ndarray, " time"]) -> Float64[np.ndarray, "time scatterer 3"]:
        """Blades first, then the curtain's points."""
        angle = 2 * np.pi * (self.fan_turns_per_s * times_s[:, None] + self.fan_start + np.arange(6) // 2 / 3)
        radius = np.where(np.arange(6) % 2, 0.09, 0.16)
        # The fan looks towards the middle of the room, half turned away from the radar: its blades come and go.
        blades = np.stack([0.6 * radius * np.cos(angle), 0.8 * radius * np.cos(angle), radius * np.sin(angle)], axis=2)
        phase = 2 * np.pi * times_s[:, None] * self.curtain_hz + np.arange(len(self.curtain_m))
        stir = np.sin(phase) + 0.4 * np.sin(2.3 * phase)
        cloth = self.curtain_m + stir[:, :, None] * self.curtain_swing_m
        return np.concatenate([blades + np.array(self.fan_m), cloth], axis=1)


def restless(room: Room) -> Restless:
    """The fan and the curtain of a room, drawn from its seed."""
    rng = np.random.default_rng([0xFA2, room.seed])
    side = rng.choice([-1.0, 1.0])
    wall = room.right_m if side > 0 else -room.left_m
    fan = (float(side * (wall - 0.4)), float(room.back_m - rng.uniform(0.5, 1.5)), float(rng.uniform(-0.2, 0.4)))
    points = 5
    curtain = np.stack(
        [
            np.full(points, -side * (0.97 * (room.left_m if side > 0 else -room.right_m) * -1.0)),
            rng.uniform(2.5, room.back_m - 0.4, points),
            rng.uniform(-0.6, room.ceiling_m - 0.5, points),
        ],
        axis=1,
    )
    swing = np.stack([rng.uniform(0.001, 0.005, points), rng.uniform(0.0, 0.002, points), np.zeros(points)], axis=1)
    amplitude = np.sqrt(np.concatenate([np.full(6, 0.002), np.full(points, 0.02)]) * rng.gamma(2.0, 0.5, 6 + points))
    return Restless(
        fan,
        float(rng.uniform(1.2, 2.6)),
        float(rng.random()),
        curtain,
        swing,
        rng.uniform(0.12, 0.45, points),
        amplitude,
    )


def still_scatterers(room: Room) -> tuple[Points, Amplitudes]:
    """Everything in a room that does not move: positions in metres, amplitudes as square roots of square metres."""
    rng = np.random.default_rng([0x2003, room.seed])
    floor, back = -room.radar_height_m, room.back_m
    left, right, top = room.left_m, room.right_m, room.ceiling_m
    near = 0.3  # nothing is heard of what lies beside and behind the board
    parts = [
        _rough((left, back, floor), (right, back, top), 1, _WALL_M2, rng),
        _rough((left, near, floor), (left, back, top), 0, _WALL_M2, rng),
        _rough((right, near, floor), (right, back, top), 0, _WALL_M2, rng),
        _rough((left, near, floor), (right, back, floor), 2, _FLOOR_M2, rng),
        _rough((left, near, top), (right, back, top), 2, _FLOOR_M2, rng),
    ]
    # A mirror returns Gamma / (2 R) of the field, a scatterer sqrt(sigma / pi) / (2 R^2): sqrt(sigma) = sqrt(pi) Gamma R.
    feet = np.array(
        [
            (0.0, back, 0.0),
            (left, 0.01, 0.0),
            (right, 0.01, 0.0),
            (0.0, 0.01, floor),
            (0.0, 0.01, top),
        ]
    )
    mirror = _MIRROR * rng.uniform(0.5, 1.5, len(feet))
    parts.append((feet, np.sqrt(np.pi) * mirror * np.linalg.norm(feet, axis=1)))
    corners = np.array([(x, back, z) for x in (left, right) for z in (floor, top)])
    seams = np.array([(x, back, rng.uniform(floor + 0.3, top - 0.3)) for x in (left, right) for _ in range(3)])
    parts.append((corners, np.sqrt(_CORNER_M2 * rng.exponential(1.0, len(corners)))))
    parts.append((seams, np.sqrt(0.3 * _CORNER_M2 * rng.exponential(1.0, len(seams)))))
    parts += [_box(box, rng) for box in room.boxes]
    return np.concatenate([points for points, _ in parts]), np.concatenate([amplitude for _, amplitude in parts])


def _rough(
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    across: int,
    per_m2: float,
    rng: np.random.Generator,
) -> tuple[Points, Amplitudes]:
    """Scatterers over an upright or level rectangle, `across` being the axis of its normal."""
    size = np.subtract(high, low)
    area = float(np.prod(np.delete(size, across)))
    count = max(1, round(area / _SPECK_M2))
    points = np.array(low) + size * rng.random((count, 3))
    cosine = np.abs(points[:, across]) / np.linalg.norm(points, axis=1)
    return points, np.sqrt(per_m2 * area / count * cosine**2 * rng.exponential(1.0, count))


def _box(box: Box, rng: np.random.Generator) -> tuple[Points, Amplitudes]:
    """A piece of furniture: its faces towards the radar, rough, and its bright edges."""
    low, high = np.array(box.low_m), np.array(box.high_m)
    size = high - low
    faces = []
    for across in range(3):
        for at in (low[across], high[across]):
            outside = (at - 0.5 * (low[across] + high[across])) * at
            if outside >= 0:  # turned away from the radar
                continue
            area = float(np.prod(np.delete(size, across)))
            count = int(np.clip(round(area / 0.1), 1, _MOST_PER_FACE))
            points = low + size * rng.random((count, 3))
            points[:, across] = at
            cosine = np.abs(at) / np.linalg.norm(points, axis=1)
            faces.append((points, np.sqrt(_FURNITURE_M2 * area / count * cosine * rng.exponential(1.0, count))))
    metal = max(box.colour) < 90  # legs, screens, loudspeakers
    corner = low + size * rng.random(3)
    longest = float(size.max())
    bright = np.sqrt((_METAL_EDGE_M2 if metal else 0.2 * _METAL_EDGE_M2) * min(longest, 1.0) * rng.exponential(1.0))
    faces.append((corner[None], np.array([bright])))
    return np.concatenate([points for points, _ in faces]), np.concatenate([amplitude for _, amplitude in faces])
