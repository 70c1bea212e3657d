"""What the camera sees of an empty room: light and depth of every pixel, computed once for a camera that does not move.

Light is linear red, green and blue, 1 being a white wall fully lit; `linear_light` says what an 8-bit colour becomes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from capture.simulator.backdrop_kernels import FLOOR, corner_shade, room_faces
from capture.simulator.camera import Camera
from capture.simulator.person import RGB
from capture.simulator.room import Box, Room
from capture.simulator.scene import Vector
from pipeline.errors import PipelineError

_BLOCK = 16384  # pixels at a time, so that numpy's temporaries stay in the cache
_SUBPIXELS = ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))

Light = Float64[np.ndarray, "3 point"]
Along = Float64[np.ndarray, " point"]


@dataclass(frozen=True)
class Lamps:
    """One soft lamp under the ceiling and what walls and ceiling give back.

    A surface of albedo a and unit normal n sends a * (ambient * (1 + 0.35 n_z) + key * max(0, n . towards)).
    """

    towards: tuple[float, float, float]
    key: tuple[float, float, float]
    ambient: tuple[float, float, float]


def lamps(seed: int) -> Lamps:
    """A lamp above and on the radar's side of the person, warm or cold, drawn from `seed`."""
    rng = np.random.default_rng([0x1A3B, seed])
    towards = np.array([rng.uniform(-0.55, 0.55), rng.uniform(-0.75, -0.2), 1.0])
    towards /= np.linalg.norm(towards)
    warmth = rng.uniform(-0.08, 0.08)
    tint = np.array([1.0 + warmth, 1.0, 1.0 - warmth])
    key = rng.uniform(0.45, 0.7) * tint
    ambient = rng.uniform(0.3, 0.45) * (1.0 - 0.3 * (tint - 1.0))
    return Lamps(_triple(towards), _triple(key), _triple(ambient))


def _triple(values: Float64[np.ndarray, "3"]) -> tuple[float, float, float]:
    first, second, third = values.tolist()
    return first, second, third


def linear_light(colour: RGB) -> Float64[np.ndarray, "3"]:
    """8-bit sRGB as linear light (IEC 61966-2-1)."""
    share = np.array(colour, np.float64) / 255.0
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


@dataclass(frozen=True)
class Backdrop:
    """The empty room in a camera's picture: linear light, depth in metres along the view, and where the floor is."""

    light: Float32[np.ndarray, "row column 3"]
    depth_m: Float32[np.ndarray, "row column"]
    floor: Bool[np.ndarray, "row column"]


def backdrop(camera: Camera, room: Room, lamp: Lamps) -> Backdrop:
    """Look at the empty room; four rays a pixel for light, one through its centre for depth.

    Raises PipelineError when the camera is not inside the room.
    """
    low, high = _corners(room)
    if not np.all((low < camera.position_m) & (camera.position_m < high)):
        raise PipelineError(
            f"the camera at {camera.position_m} m is outside the room, which spans {low.tolist()} to {high.tolist()} m"
        )
    inner = camera.intrinsics
    rays = camera.rays().reshape(-1, 2).T
    out = Backdrop(
        np.zeros((inner.height, inner.width, 3), np.float32),
        np.zeros((inner.height, inner.width), np.float32),
        np.zeros((inner.height, inner.width), np.bool_),
    )
    flat_light, flat_depth, flat_floor = out.light.reshape(-1, 3), out.depth_m.reshape(-1), out.floor.reshape(-1)
    for start in range(0, rays.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        for across, down in _SUBPIXELS:
            beside = rays[:, block] + np.array([[across / inner.fx], [down / inner.fy]])
            flat_light[block] += _look(camera, room, lamp, beside)[1].T / len(_SUBPIXELS)
        flat_depth[block], _, flat_floor[block] = _look(camera, room, lamp, rays[:, block])
    return out


def _corners(room: Room) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    low = np.array([room.left_m, room.front_m, -room.radar_height_m], np.float64)
    return low, np.array([room.right_m, room.back_m, room.ceiling_m], np.float64)


def _look(
    camera: Camera, room: Room, lamp: Lamps, rays: Float64[np.ndarray, "2 point"]
) -> tuple[Along, Light, Bool[np.ndarray, " point"]]:
    """Depth, light and whether it is floor, along each ray."""
    eye, (low, high) = np.array(camera.position_m, np.float64), _corners(room)
    way = camera.axes.T @ np.concatenate([rays, np.ones((1, rays.shape[1]))])
    way[np.abs(way) < 1e-12] = 1e-12
    boxes = np.array([(box.low_m, box.high_m) for box in room.boxes], np.float64).reshape(-1, 2, 3)
    depth, face = np.empty(rays.shape[1]), np.empty(rays.shape[1], np.int64)
    room_faces(eye, way, low, high, boxes, depth, face)
    points = eye[:, None] + depth * way
    shade = np.empty(rays.shape[1])
    corner_shade(points, face, low, high, boxes, shade)
    albedo, normals = np.empty_like(points), np.zeros_like(points)
    for code in np.flatnonzero(np.bincount(face)).tolist():
        here = np.flatnonzero(face == code)
        number, side, back = code // 6 - 1, code // 2 % 3, code % 2
        normals[side, here] = -1.0 if back else 1.0
        if number >= 0:
            albedo[:, here] = _furniture(room.boxes[number], side, points[:, here], room.seed + 977 * number)
        elif side < 2:
            albedo[:, here] = _wall(room, side, points[:, here])
        elif back:
            albedo[:, here] = _ceiling(room, points[:, here])
        else:
            albedo[:, here] = _floor(room, points[:, here])
    facing = np.maximum(0.0, np.array(lamp.towards) @ normals)
    light = _column(lamp.ambient) * (1.0 + 0.35 * normals[2]) + _column(lamp.key) * facing
    # The lamp hangs over the middle of the room: away from it everything is a little darker.
    middle = (points[0] / 4.5) ** 2 + ((points[1] - 2.5) / 6.0) ** 2
    return depth, albedo * light * (shade / (1.0 + 0.35 * middle)), face == FLOOR


def _column(values: Vector) -> Float64[np.ndarray, "3 1"]:
    return np.array(values, np.float64)[:, None]


# --- textures --------------------------------------------------------------------------------------------------------


def _hash(column: Int64[np.ndarray, " point"], row: Int64[np.ndarray, " point"], seed: int) -> Along:
    """A number in [0, 1) that looks random for every whole (column, row)."""
    mixed = (column * 73856093) ^ (row * 19349663) ^ (seed * 83492791 + 12345)
    mixed = (mixed ^ (mixed >> 13)) * 1274126177 & 0x7FFFFFFF
    mixed = (mixed ^ (mixed >> 15)) * 668265263 & 0x7FFFFFFF
    return (mixed ^ (mixed >> 16)) % 65536 / 65536.0


def _whole(x: Along) -> Int64[np.ndarray, " point"]:
    return np.floor(x).astype(np.int64)


def _grain(x: Along, y: Along, seed: int) -> Along:
    """Smooth noise in [-1, 1] with details of size 1."""
    i, j = _whole(x), _whole(y)
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    top = (1 - u) * _hash(i, j, seed) + u * _hash(i + 1, j, seed)
    bottom = (1 - u) * _hash(i, j + 1, seed) + u * _hash(i + 1, j + 1, seed)
    return 2 * ((1 - v) * top + v * bottom) - 1


def _floor(room: Room, points: Light) -> Light:
    base = linear_light(room.floor_colour)
    x, y, _ = points
    if room.floor == "planks":
        plank = _whole(x / 0.14)
        along = y / 1.6 + _hash(plank, plank, room.seed)
        tone = 0.8 + 0.4 * _hash(plank, _whole(along), room.seed) + 0.08 * _grain(x / 0.012, y / 0.5, room.seed)
        seam = (np.abs(x / 0.14 - plank - 0.5) > 0.48) | (np.abs(along - _whole(along) - 0.5) > 0.497)
        tone = np.where(seam, 0.55 * tone, tone)
    elif room.floor == "tiles":
        i, j = _whole(x / 0.45), _whole(y / 0.45)
        seam = (np.abs(x / 0.45 - i - 0.5) > 0.49) | (np.abs(y / 0.45 - j - 0.5) > 0.49)
        tone = 0.93 + 0.12 * _hash(i, j, room.seed) + 0.05 * _grain(x / 0.06, y / 0.06, room.seed)
        tone = np.where(seam, 0.7 * tone, tone)
    else:
        tone = 0.95 + 0.18 * _grain(x / 0.025, y / 0.025, room.seed) + 0.08 * _grain(x / 0.3, y / 0.3, room.seed + 1)
    return base[:, None] * tone


def _wall(room: Room, side: int, points: Light) -> Light:
    along, up = points[1 - side], points[2]
    tone = (
        0.96
        + 0.03 * _grain(along / 0.8, up / 0.8, room.seed + side)
        + 0.012 * _grain(along / 0.03, up / 0.03, room.seed)
    )
    tone *= 0.9 + 0.1 * (up + room.radar_height_m) / (room.ceiling_m + room.radar_height_m)
    colour = linear_light(room.wall)[:, None] * tone
    skirting = up < 0.09 - room.radar_height_m
    return np.where(skirting, 0.55 * colour, colour)


def _ceiling(room: Room, points: Light) -> Light:
    """White panels of which some shine."""
    i, j = _whole(points[0] / 0.6), _whole(points[1] / 0.6)
    u, v = points[0] / 0.6 - i, points[1] / 0.6 - j
    panel = (np.abs(u - 0.5) < 0.46) & (np.abs(v - 0.5) < 0.46)
    shining = panel & (i % 4 == room.seed % 4) & (j % 4 < 2)
    tone = np.where(shining, 2.2, np.where(panel, 0.9, 0.8))
    return tone + np.zeros((3, 1))


def _furniture(box: Box, side: int, points: Light, seed: int) -> Light:
    """A box's colour with what its surface shows on the upright sides; `side` is the axis of the face."""
    share = (points - _column(box.low_m)) / (_column(box.high_m) - _column(box.low_m))
    across, up = (share[1 - side] if side < 2 else share[0]), share[2]
    tone = 0.95 + 0.06 * _grain(points[0] / 0.04 + points[1] / 0.07, points[2] / 0.3, seed)
    plain = linear_light(box.colour)[:, None]
    colour: Light = plain * tone
    if side == 2 or box.surface == "plain":
        return colour
    if box.surface == "books":
        shelf, place = _whole(up * 5), _whole(across * 22)
        height = up * 5 - shelf
        tall = 0.55 + 0.3 * _hash(place, shelf, seed)
        spines = 0.05 + 0.5 * _hues(place, shelf, seed) ** 2
        return np.where(height <= 0.08, plain, np.where(height > tall, 0.12 * colour, spines))
    if box.surface == "poster":
        inside = (np.abs(across - 0.5) < 0.45) & (np.abs(up - 0.5) < 0.46)
        print_ = 0.5 * colour + 0.4 * _hues(_whole(across * 3.999), _whole(up * 4.999), seed) ** 1.5
        return np.where(inside, print_, 0.75)
    if box.surface == "window":
        pane = (np.abs(np.abs(across - 0.5) - 0.245) < 0.225) & (np.abs(np.abs(up - 0.5) - 0.245) < 0.225)
        sky = np.stack([0.94 + 0.0 * up, 1.06 + 0.12 * up, 1.19 + 0.31 * up])
        return np.where(pane, sky, colour)
    seam = (np.abs(np.abs(across - 0.5) - 0.24) > 0.232) | (np.abs(up - 0.5) > 0.485)
    knob = (np.abs(np.abs(across - 0.5) - 0.05) < 0.015) & (np.abs(up - 0.52) < 0.05)
    return np.where(knob, 0.25, np.where(seam, 0.7 * colour, colour))


def _hues(column: Int64[np.ndarray, " point"], row: Int64[np.ndarray, " point"], seed: int) -> Light:
    return np.stack([_hash(column, row + 11 * k, seed + k) for k in (1, 2, 3)])
