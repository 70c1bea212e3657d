"""Pictures of people in a room: colour, depth aligned to it, and where the joints are in truth.

    renderer = Renderer(Camera(), lab_room(seed=1), seed=1)
    picture = renderer.render([posed(motion, 0.5)], time_s=0.5)

What is not modelled: motion blur, rolling shutter, shadows of people on walls and on one another, the 59 mm between the
D455's colour and depth imagers, infrared-absorbing clothes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int8, Int64, UInt8, UInt16

from capture.simulator.appearance import look_of
from capture.simulator.backdrop import backdrop, lamps
from capture.simulator.body import BODY_JOINTS, INDEX
from capture.simulator.camera import Camera
from capture.simulator.flesh import head_axes, trunk_axes
from capture.simulator.motion import Motion
from capture.simulator.person import Person
from capture.simulator.render_kernels import (
    LIMB_COLUMNS,
    darken_floor,
    draw_limbs,
    floor_shadow,
    paint_limbs,
    prepare_limbs,
)
from capture.simulator.room import Room
from capture.simulator.sensor import Sensor, SensorModel
from pipeline.camera_geometry import distorted
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS

OUT_OF_PICTURE, HIDDEN, VISIBLE = 0, 1, 2
"""A keypoint's visibility, numbered as COCO's."""

_NEAR_M = 0.05
_HIDDEN_BEHIND_M = 0.055  # a joint counts as seen when what is drawn there is at most so far in front of its own flesh
_SHADOW_STEP_M, _SHADOW_REACH_M = 0.04, 1.1
_DEFAULT_SENSOR = SensorModel()


@dataclass(frozen=True)
class PosedBody:
    """A person at one instant: positions of `body.BODY_JOINTS` in the radar's coordinates, metres."""

    person: Person
    joints_m: Float64[np.ndarray, "joint 3"]
    chest_rise_m: float = 0.0


def posed(motion: Motion, time_s: float) -> PosedBody:
    """Where `motion` has its person at `time_s`."""
    when = np.array([time_s])
    return PosedBody(motion.person, motion.joints_at(when)[0], float(motion.chest_rise_at(when)[0]))


@dataclass(frozen=True)
class Picture:
    """What the camera delivers at one instant, and the truth about it.

    Bodies are in the order they were given to `Renderer.render`; joints are `pipeline.skeleton.JOINTS`. A pixel's centre
    has whole coordinates. Joints lie inside the flesh, where a labeller would put them, not on its surface.
    """

    time_s: float
    colour: UInt8[np.ndarray, "row column 3"]  # red, green, blue
    depth_mm: UInt16[np.ndarray, "row column"]  # along the view, 0 where unknown
    body: Int8[np.ndarray, "row column"]  # which body a pixel shows, -1 for none
    keypoints_px: Float64[np.ndarray, "body joint 2"]  # (u, v), NaN behind the camera
    visibility: Int8[np.ndarray, "body joint"]  # 0 outside the picture, 1 hidden by something, 2 visible
    keypoints_m: Float64[np.ndarray, "body joint 3"]  # in the camera's coordinates: right, down, along the view
    boxes_px: Float64[np.ndarray, "body 4"]  # first and last column, first and last row that show a body; NaN if none


class Renderer:
    """Draws bodies in `room` as `camera` sees them. Construction takes about a second, a picture some ten milliseconds.

    The same seed, bodies and time give the same picture, whatever was rendered before. Raises PipelineError when the
    camera is not inside the room.
    """

    def __init__(self, camera: Camera, room: Room, seed: int = 0, sensor: SensorModel = _DEFAULT_SENSOR) -> None:
        self.camera, self.room = camera, room
        lamp = lamps(seed)
        self._empty = backdrop(camera, room, lamp)
        self._rays = camera.rays().astype(np.float32)
        self._frame = self._rays.min(axis=(0, 1)), self._rays.max(axis=(0, 1))
        axes = camera.axes
        self._towards = np.array(lamp.towards)
        self._lamp = np.stack(
            [axes @ self._towards, np.array(lamp.key), np.array(lamp.ambient), axes @ [0.0, 0.0, 1.0]]
        )
        # Share of the floor's light that comes from the lamp itself, so that a shadow takes away.
        key = float(np.mean(lamp.key)) * lamp.towards[2]
        self._shadow_share = min(1.0, 0.15 + key / (key + 1.35 * float(np.mean(lamp.ambient))))
        self._floor_pixels = np.flatnonzero(self._empty.floor)
        places = np.concatenate([self._rays.reshape(-1, 2), np.ones((self._empty.floor.size, 1))], axis=1)
        places = places[self._floor_pixels] * self._empty.depth_m.reshape(-1, 1)[self._floor_pixels]
        self._floor_places = camera.to_room(places)[:, :2].astype(np.float32)
        self._sensor = Sensor(sensor, camera.intrinsics, float(self._empty.light.mean()), seed)

    def render(self, bodies: Sequence[PosedBody], time_s: float) -> Picture:
        """Take a picture; `time_s` only picks noise and exposure. Nobody in the room is a picture of the room."""
        intrinsics = self.camera.intrinsics
        light, depth = self._empty.light.copy(), self._empty.depth_m.copy()
        shape = depth.shape
        body = np.full(shape, -1, np.int8)
        extent = np.tile(np.array([np.inf, -np.inf, np.inf, -np.inf]), (len(bodies), 1))
        if bodies:
            limbs = self._pose(bodies)
            self._cast_shadows(bodies, limbs, light)
            seen = np.full(shape, -1, np.int16)
            boxes = self._boxes(limbs)
            geometry = np.empty((len(limbs.radii_m), LIMB_COLUMNS))
            prepare_limbs(limbs.first_m, limbs.second_m, limbs.radii_m, geometry)
            draw_limbs(self._rays, boxes, geometry, depth, seen)
            whole = np.array([*boxes[:, [0, 2]].min(axis=0), *boxes[:, [1, 3]].max(axis=0)])[[0, 2, 1, 3]]
            paint_limbs(
                self._rays, whole, geometry, limbs.frames, limbs.paint, limbs.body, self._lamp, depth, seen, light, body, extent
            )  # fmt: skip
        extent[~np.isfinite(extent)] = np.nan
        joints_m = np.array([one.joints_m[: len(JOINTS)] for one in bodies]).reshape(-1, len(JOINTS), 3)
        u, v, _ = self.camera.project(joints_m)
        keypoints_m = self.camera.to_camera(joints_m)
        inside = (u > -0.5) & (u < intrinsics.width - 0.5) & (v > -0.5) & (v < intrinsics.height - 0.5)
        visibility = np.full(inside.shape, OUT_OF_PICTURE, np.int8)
        if bodies:
            rows, columns = np.round(np.where(inside, v, 0)).astype(int), np.round(np.where(inside, u, 0)).astype(int)
            thickness = np.array([_thickness(one.person) for one in bodies])
            free = depth[rows, columns] > keypoints_m[..., 2] - thickness - _HIDDEN_BEHIND_M
            visibility = np.where(inside, np.where(free, VISIBLE, HIDDEN), OUT_OF_PICTURE).astype(np.int8)
        colour, depth_mm = self._sensor.picture(light, depth, time_s)
        return Picture(time_s, colour, depth_mm, body, np.stack([u, v], axis=-1), visibility, keypoints_m, extent)

    def _pose(self, bodies: Sequence[PosedBody]) -> "_Limbs":
        parts = []
        for number, one in enumerate(bodies):
            if one.joints_m.shape != (len(BODY_JOINTS), 3) or not np.isfinite(one.joints_m).all():
                raise PipelineError(
                    f"body {number} has joints of shape {one.joints_m.shape}, or some that are not finite: "
                    f"positions of all {len(BODY_JOINTS)} body joints are needed"
                )
            parts.append(_posed_limbs(one, number, self.camera))
        return _Limbs(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in _Limbs.__dataclass_fields__)
        )

    def _boxes(self, limbs: "_Limbs") -> Int64[np.ndarray, "limb 4"]:
        """Columns and rows (first, end) that each limb can cover; empty where it is out of the picture."""
        low = np.full((len(limbs.radii_m), 2), np.inf)
        high = np.full((len(limbs.radii_m), 2), -np.inf)
        for centre, radius in ((limbs.first_m, limbs.radii_m[:, 0]), (limbs.second_m, limbs.radii_m[:, 1])):
            for axis in range(2):
                # Tangents from the eye to the ball's circle in the plane of this axis and the view.
                away = np.hypot(centre[:, axis], centre[:, 2])
                ahead = centre[:, 2] > radius + _NEAR_M
                half = np.arcsin(np.minimum(radius / np.maximum(away, 1e-9), 1.0))
                bearing = np.arctan2(centre[:, axis], centre[:, 2])
                low[:, axis] = np.minimum(low[:, axis], np.where(ahead, np.tan(bearing - half), -np.inf))
                high[:, axis] = np.maximum(high[:, axis], np.where(ahead, np.tan(bearing + half), np.inf))
        gone = (
            np.maximum(limbs.first_m[:, 2] + limbs.radii_m[:, 0], limbs.second_m[:, 2] + limbs.radii_m[:, 1]) < _NEAR_M
        )
        low, high = np.clip(low, *self._frame), np.clip(high, *self._frame)
        # The lens bends the box's straight sides: take points along them.
        inner = self.camera.intrinsics
        along = np.linspace(0.0, 1.0, 9)
        x = low[:, :1] + (high - low)[:, :1] * np.concatenate([along, along, 0 * along, 0 * along + 1])
        y = low[:, 1:] + (high - low)[:, 1:] * np.concatenate([0 * along, 0 * along + 1, along, along])
        x, y = distorted(x, y, inner.distortion)
        u, v = x * inner.fx + inner.cx, y * inner.fy + inner.cy
        boxes = np.stack([u.min(axis=1) - 1, u.max(axis=1) + 2, v.min(axis=1) - 1, v.max(axis=1) + 2], axis=1)
        limits = np.array([inner.width, inner.width, inner.height, inner.height])
        whole = np.clip(np.floor(boxes), 0, limits).astype(np.int64)
        whole[gone] = 0
        return whole

    def _cast_shadows(
        self, bodies: Sequence[PosedBody], limbs: "_Limbs", light: Float32[np.ndarray, "row column 3"]
    ) -> None:
        first, second = self.camera.to_room(limbs.first_m), self.camera.to_room(limbs.second_m)
        cells = round(2 * _SHADOW_REACH_M / _SHADOW_STEP_M)
        for number, one in enumerate(bodies):
            mine = limbs.body == number
            # The grid lies under the body, moved a little to where the lamp throws the shadow.
            low = one.joints_m[INDEX["pelvis"], :2] - self._towards[:2] / self._towards[2] * 0.5 - _SHADOW_REACH_M
            shadow = np.zeros((cells, cells), np.float32)
            ground, radii = -self.room.radar_height_m, limbs.radii_m[mine]
            floor_shadow(first[mine], second[mine], radii, self._towards, low, _SHADOW_STEP_M, ground, shadow)
            # Nothing is dark at the grid's rim, so that its border never shows.
            rim = np.minimum(1.0, 0.25 * np.minimum(np.arange(cells), np.arange(cells)[::-1])).astype(np.float32)
            shadow *= rim[:, None] * rim
            darken_floor(
                self._floor_pixels,
                self._floor_places,
                low,
                _SHADOW_STEP_M,
                shadow,
                self._shadow_share,
                light.reshape(-1, 3),
            )


@dataclass(frozen=True)
class _Limbs:
    """All bodies' limbs in the camera's coordinates, metres."""

    first_m: Float64[np.ndarray, "limb 3"]
    second_m: Float64[np.ndarray, "limb 3"]
    radii_m: Float64[np.ndarray, "limb 2"]
    frames: Float64[np.ndarray, "limb 4 3"]
    paint: Float64[np.ndarray, "limb column"]
    body: Int64[np.ndarray, " limb"]


def posed_capsules(
    body: PosedBody, camera: Camera
) -> tuple[Float64[np.ndarray, "limb 3"], Float64[np.ndarray, "limb 3"], Float64[np.ndarray, "limb 2"]]:
    """The capsules that are drawn of one body: their ends in the camera's coordinates, and the radii there, metres."""
    limbs = _posed_limbs(body, 0, camera)
    return limbs.first_m, limbs.second_m, limbs.radii_m


def _posed_limbs(one: PosedBody, number: int, camera: Camera) -> _Limbs:
    look = look_of(one.person)
    joints = camera.to_camera(one.joints_m)
    torso = np.concatenate([joints[None, INDEX["pelvis"]], trunk_axes(joints)])  # an origin, then axes
    head = np.concatenate([joints[None, INDEX["head"]], head_axes(joints)])
    first, second = joints[look.ends[:, 0]], joints[look.ends[:, 1]]
    frames = np.empty((len(first), 4, 3))
    frames[look.frames == 0], frames[look.frames == 1] = torso, head
    own = look.frames == 2
    up = _unit(first[own] - second[own])
    left = _unit(torso[1] - (up @ torso[1])[:, None] * up)
    frames[own] = np.stack([second[own], left, np.cross(left, up), up], axis=1)
    offsets = np.einsum("lek,lkx->elx", look.offsets_m, frames[:, 1:])
    radii = look.radii_m.copy()
    radii[[name.endswith("chest") for name in look.names], 0] += one.chest_rise_m
    return _Limbs(first + offsets[0], second + offsets[1], radii, frames, look.paint, np.full(len(radii), number))


def _unit(vectors: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Float64[np.ndarray, "*n 3"] = vectors / np.maximum(lengths, 1e-9)
    return unit


def _thickness(person: Person) -> Float64[np.ndarray, " joint"]:
    """How far in front of each joint its own flesh reaches: the largest radius of a limb's end there, metres."""
    look = look_of(person)
    out = np.zeros(len(BODY_JOINTS))
    drawn_at_joints = look.frames != 1
    for end in range(2):
        np.maximum.at(out, look.ends[drawn_at_joints, end], look.radii_m[drawn_at_joints, end])
    return out[: len(JOINTS)]
