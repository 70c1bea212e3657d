"""Where the camera stands and how it maps the room to pixels: a pinhole with Brown-Conrady distortion.

Camera axes as RealSense's: x right, y down, z along the view; depth is z, not distance. A pixel's centre has whole
coordinates: u counts columns from 0 at the left, v rows from 0 at the top.

Focal lengths: the D455's colour sensor has 1280 x 800 pixels and sees 90 degrees across (datasheet 337029, "RGB
sensor": 90 x 65 degrees), so f = 640 / tan(45 deg) = 640 pixels. Its 1280 x 720 stream leaves out 40 rows above and
below; its 640 x 480 stream is the middle 1067 x 800 at six tenths, so f = 384 and the view is 79.6 x 64 degrees.
Depth (datasheet: 87 x 58 degrees at 16:9) is delivered aligned to colour.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from capture.simulator.scene import Vector
from pipeline.camera_geometry import distorted, undistorted
from pipeline.errors import PipelineError

_SENSOR_FOCAL_PX = 640.0


@dataclass(frozen=True)
class Intrinsics:
    """What one stream of the camera is like inside; `distortion` is (k1, k2, p1, p2, k3), as OpenCV and librealsense."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)


D455_640X480 = Intrinsics(640, 480, 0.6 * _SENSOR_FOCAL_PX, 0.6 * _SENSOR_FOCAL_PX, 319.5, 239.5)
D455_1280X720 = Intrinsics(1280, 720, _SENSOR_FOCAL_PX, _SENSOR_FOCAL_PX, 639.5, 359.5)


def scaled(intrinsics: Intrinsics, share: float) -> Intrinsics:
    """The same view with `share` as many rows and columns."""
    width, height = round(intrinsics.width * share), round(intrinsics.height * share)
    across, down = width / intrinsics.width, height / intrinsics.height
    return replace(
        intrinsics,
        width=width,
        height=height,
        fx=intrinsics.fx * across,
        fy=intrinsics.fy * down,
        cx=(intrinsics.cx + 0.5) * across - 0.5,
        cy=(intrinsics.cy + 0.5) * down - 0.5,
    )


@dataclass(frozen=True)
class Camera:
    """A camera in the radar's coordinates, metres; it looks along +y, `pitch_rad` upwards, and is never rolled."""

    intrinsics: Intrinsics = D455_640X480
    position_m: Vector = (0.0, 0.0, 0.08)
    pitch_rad: float = 0.0

    def __post_init__(self) -> None:
        inner = self.intrinsics
        if min(inner.width, inner.height) < 1 or min(inner.fx, inner.fy) <= 0:
            raise PipelineError(
                f"the camera's picture is {inner.width} x {inner.height} pixels with focal lengths {inner.fx:g} and "
                f"{inner.fy:g}: all four have to be above 0"
            )
        if not abs(self.pitch_rad) < np.pi / 2:
            raise PipelineError(
                f"the camera's pitch is {np.degrees(self.pitch_rad):.0f} degrees: it has to lie within +-90"
            )

    @property
    def axes(self) -> Float64[np.ndarray, "3 3"]:
        """Rows: the camera's x, y and z in the radar's coordinates; a rotation."""
        cos, sin = np.cos(self.pitch_rad), np.sin(self.pitch_rad)
        return np.array([[1.0, 0.0, 0.0], [0.0, sin, -cos], [0.0, cos, sin]])

    def to_camera(self, points_m: Float64[np.ndarray, "*more point 3"]) -> Float64[np.ndarray, "*more point 3"]:
        """Points of the room in the camera's coordinates, metres."""
        moved: Float64[np.ndarray, "*more point 3"] = (points_m - np.array(self.position_m)) @ self.axes.T
        return moved

    def to_room(self, points_m: Float64[np.ndarray, "*more point 3"]) -> Float64[np.ndarray, "*more point 3"]:
        """Points in the camera's coordinates back in the room's, metres."""
        moved: Float64[np.ndarray, "*more point 3"] = points_m @ self.axes + np.array(self.position_m)
        return moved

    def project(
        self, points_m: Float64[np.ndarray, "*more point 3"]
    ) -> tuple[
        Float64[np.ndarray, "*more point"], Float64[np.ndarray, "*more point"], Float64[np.ndarray, "*more point"]
    ]:
        """Column, row and depth in metres of points of the room; column and row are NaN behind the camera."""
        x, y, depth = np.moveaxis(self.to_camera(points_m), -1, 0)
        ahead = np.where(depth > 0, depth, np.nan)
        inner = self.intrinsics
        bent_x, bent_y = distorted(x / ahead, y / ahead, inner.distortion)
        return bent_x * inner.fx + inner.cx, bent_y * inner.fy + inner.cy, depth

    def rays(self) -> Float64[np.ndarray, "row column 2"]:
        """Camera x and y, at depth 1, of what each pixel's centre sees: the distortion undone."""
        inner = self.intrinsics
        rows, columns = np.mgrid[: inner.height, : inner.width].astype(np.float64)
        x, y = undistorted((columns - inner.cx) / inner.fx, (rows - inner.cy) / inner.fy, inner.distortion)
        return np.stack([x, y], axis=-1)
