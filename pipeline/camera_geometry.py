"""Pixels, shares of a picture and metres: what `StreamIntrinsics` do to the room, and the way back.

Camera axes as RealSense's: x right, y down, z along the view; depth is z, not distance. A pixel's centre has whole
coordinates: u counts columns from 0 at the left, v rows from 0 at the top.

The lens is Brown-Conrady's: at focal length 1, with r^2 = x^2 + y^2,

    x' = x (1 + k1 r^2 + k2 r^4 + k3 r^6) + 2 p1 x y + p2 (r^2 + 2 x^2)
    y' = y (1 + k1 r^2 + k2 r^4 + k3 r^6) + 2 p2 x y + p1 (r^2 + 2 y^2)

(D. C. Brown, "Close-range camera calibration", 1971; coefficients in the order of OpenCV and librealsense). A point that is
NaN stays NaN in every function here.
"""

import numpy as np
from jaxtyping import Float64

from pipeline.camera_frames import StreamIntrinsics
from pipeline.errors import PipelineError

Plane = Float64[np.ndarray, "*more point"]
Pixels = Float64[np.ndarray, "*more point 2"]
Points = Float64[np.ndarray, "*more point 3"]
Coefficients = tuple[float, float, float, float, float]


def distorted(x: Plane, y: Plane, coefficients: Coefficients) -> tuple[Plane, Plane]:
    """Brown-Conrady: where a lens puts what a pinhole would put at (x, y), both at focal length 1."""
    k1, k2, p1, p2, k3 = coefficients
    r2 = x * x + y * y
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent_y = y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y)
    return bent_x, bent_y


def undistorted(x: Plane, y: Plane, coefficients: Coefficients) -> tuple[Plane, Plane]:
    """The inverse of `distorted`, by fixed-point iteration.

    Raises PipelineError where the coefficients fold the picture over itself, so that no inverse exists.
    """
    known = np.isfinite(x) & np.isfinite(y)
    straight_x, straight_y = x, y
    with np.errstate(over="ignore", invalid="ignore"):  # where there is no inverse, the iteration runs away
        for _ in range(100):
            bent_x, bent_y = distorted(straight_x, straight_y, coefficients)
            off_x, off_y = x - bent_x, y - bent_y
            if max(np.abs(off_x[known]).max(initial=0.0), np.abs(off_y[known]).max(initial=0.0)) < 1e-9:
                return straight_x, straight_y
            straight_x, straight_y = straight_x + off_x, straight_y + off_y
    raise PipelineError(f"the lens distortion {coefficients} folds the picture over itself; use smaller coefficients")


def undistort_px(uv_px: Pixels, intrinsics: StreamIntrinsics) -> Pixels:
    """Pixels of the picture as taken -> pixels of the undistorted picture with the same fx, fy, cx and cy.

    Raises PipelineError as `undistorted`.
    """
    x, y = undistorted(*_normalised(uv_px, intrinsics), intrinsics.distortion)
    return _pixels(x, y, intrinsics)


def distort_px(uv_px: Pixels, intrinsics: StreamIntrinsics) -> Pixels:
    """Pixels of the undistorted picture -> pixels of the picture as taken: the inverse of `undistort_px`."""
    x, y = distorted(*_normalised(uv_px, intrinsics), intrinsics.distortion)
    return _pixels(x, y, intrinsics)


def pixel_to_metres(uv_px: Pixels, z_m: Plane, intrinsics: StreamIntrinsics) -> Points:
    """Where in the camera's coordinates (right, down, along the view; metres) lies what a pixel shows at depth `z_m`.

    `uv_px` are pixels of the *undistorted* picture (`undistort_px` makes them from those as taken).
    """
    x, y = _normalised(uv_px, intrinsics)
    return np.stack([x * z_m, y * z_m, np.broadcast_to(z_m, x.shape)], axis=-1)


def metres_to_pixel(xyz_m: Points, intrinsics: StreamIntrinsics) -> Pixels:
    """Pixels of the undistorted picture that show points in the camera's coordinates; NaN behind the camera."""
    ahead = np.where(xyz_m[..., 2] > 0, xyz_m[..., 2], np.nan)
    return _pixels(xyz_m[..., 0] / ahead, xyz_m[..., 1] / ahead, intrinsics)


def uv_shares(uv_px: Pixels, intrinsics: StreamIntrinsics) -> Pixels:
    """Pixels -> shares of width and height, as `pipeline.labels` has them: (u + 0.5) / width, (v + 0.5) / height."""
    return (uv_px + 0.5) / np.array([intrinsics.width, intrinsics.height], np.float64)


def shares_px(shares: Pixels, intrinsics: StreamIntrinsics) -> Pixels:
    """Shares of width and height -> pixels: the inverse of `uv_shares`."""
    return shares * np.array([intrinsics.width, intrinsics.height], np.float64) - 0.5


def _normalised(uv_px: Pixels, intrinsics: StreamIntrinsics) -> tuple[Plane, Plane]:
    """Camera x and y at depth 1 of pixels, the distortion left as it is."""
    return (uv_px[..., 0] - intrinsics.cx) / intrinsics.fx, (uv_px[..., 1] - intrinsics.cy) / intrinsics.fy


def _pixels(x: Plane, y: Plane, intrinsics: StreamIntrinsics) -> Pixels:
    return np.stack([x * intrinsics.fx + intrinsics.cx, y * intrinsics.fy + intrinsics.cy], axis=-1)
