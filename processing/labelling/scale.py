"""Metres of the 13 joints by the definition of paper.md, "Protocol": X = (u - cx) Z / fx, Y = (v - cy) Z / fy.

u and v are pixels of the undistorted picture; Z is one number a frame, the median depth at the visible shoulders and hips
over a window of frames around it. Depth is that of the skin, some 0.1 m in front of a joint, so metres come out about 4 % small
at 2.5 m; the same for prediction and truth, which is what the definition is for.

Without depth a stated body height may give the scale. Without either there are no metres.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

from pipeline.camera_frames import StreamIntrinsics
from pipeline.camera_geometry import pixel_to_metres
from processing.labelling.thirteen import TRUNK

ScaleSource = Literal["depth", "height", "none"]

NEAREST_M, FARTHEST_M = 0.3, 10.0  # what a D455 measures at all lies between (datasheet 337029: 0.4 m on; 6 m and more)
_VALID_SHARE = 0.25  # of a patch: less is the rim of a hole
_SAME_BODY_M = 0.6  # a trunk's own joints lie within: half a shoulder's width turned, plus a step within the window
_IN_FRONT_M = 1.0  # nobody's own arm reaches so far towards the camera
_NOSE_TO_ANKLE = 0.87  # of stature: .91 - .039 (Drillis and Contini 1964, in Winter, Biomechanics, 2009, figure 4.1)
_UPRIGHT_QUANTILE = 0.9  # people bend and crouch, but never grow


def depth_at(
    depth: UInt16[np.ndarray, "row column"], places_px: Float64[np.ndarray, "joint 2"], unit_m: float, patch_px: int
) -> Float64[np.ndarray, " joint"]:
    """Median depth in a square around each place (pixels as taken), metres; NaN where there is too little.

    0 is a hole and does not count.
    """
    out = np.full(len(places_px), np.nan)
    half, (rows, columns) = patch_px // 2, depth.shape
    for joint, (u, v) in enumerate(places_px):
        if not (np.isfinite(u) and np.isfinite(v)):
            continue
        column, row = round(float(u)), round(float(v))
        if not (0 <= column < columns and 0 <= row < rows):
            continue
        patch = depth[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
        metres = patch[patch > 0] * unit_m
        metres = metres[(metres >= NEAREST_M) & (metres <= FARTHEST_M)]
        if len(metres) >= max(1.0, _VALID_SHARE * patch.size):
            out[joint] = float(np.median(metres))
    return out


def plane_depth(
    frames: Int64[np.ndarray, " frame"], depth_m: Float64[np.ndarray, "frame joint"], window_frames: int
) -> Float64[np.ndarray, " frame"]:
    """Z of each frame: the median depth of shoulders and hips over the frames within half a window of it; NaN without any.

    `frames` are radar frames, ascending, so that a window is one of time; `depth_m` holds the 13 joints, NaN where masked.
    What lies far from the median (a bystander in front, the wall behind) is left out and the median taken again.
    """
    trunk = depth_m[:, list(TRUNK)]
    first = np.searchsorted(frames, frames - window_frames // 2, "left")
    stop = np.searchsorted(frames, frames + (window_frames + 1) // 2, "left")
    out = np.full(len(frames), np.nan)
    for frame, (begin, end) in enumerate(zip(first, stop, strict=True)):
        values = trunk[begin:end].ravel()
        values = values[np.isfinite(values)]
        if len(values):
            out[frame] = np.median(values[np.abs(values - np.median(values)) <= _SAME_BODY_M])
    return out


def hidden_in_front(
    depth_m: Float64[np.ndarray, "frame joint"], plane_m: Float64[np.ndarray, " frame"]
) -> Bool[np.ndarray, "frame joint"]:
    """Joints where the camera sees something far in front of the person: what was found there is somebody else's."""
    with np.errstate(invalid="ignore"):
        return np.asarray(depth_m < plane_m[:, None] - _IN_FRONT_M)


def metres_by_depth(
    places_px: Float64[np.ndarray, "frame joint 2"],
    plane_m: Float64[np.ndarray, " frame"],
    intrinsics: StreamIntrinsics,
) -> Float64[np.ndarray, "frame joint 3"]:
    """x, y, z in the camera's coordinates of joints in pixels of the undistorted picture; NaN where either is unknown."""
    depth = np.broadcast_to(plane_m[:, None], places_px.shape[:2])
    return masked_metres(pixel_to_metres(places_px, depth, intrinsics))


def metres_by_height(
    places_px: Float64[np.ndarray, "frame joint 2"],
    body_height_m: float,
    intrinsics: StreamIntrinsics | None,
    size_px: tuple[int, int],
) -> Float64[np.ndarray, "frame joint 3"] | None:
    """x, y, z of joints by the person's stated height: one scale for the session, from nose to ankles where most upright.

    Good to some 5 % for who stands on one spot. Without intrinsics the picture's middle is the axis and z stays NaN.
    None where nose and ankles are never seen together.
    """
    ankles = np.nanmax(np.where(np.isfinite(places_px[:, 11:13, 1]), places_px[:, 11:13, 1], -np.inf), axis=1)
    tall_px = ankles - places_px[:, 0, 1]
    tall_px = tall_px[np.isfinite(tall_px) & (tall_px > 0)]
    if not len(tall_px):
        return None
    metres_a_pixel = _NOSE_TO_ANKLE * body_height_m / float(np.quantile(tall_px, _UPRIGHT_QUANTILE))
    if intrinsics is None:
        middle = (np.array(size_px) - 1) / 2
        across = (places_px - middle) * metres_a_pixel
        return np.concatenate([across, np.full((*across.shape[:2], 1), np.nan)], axis=-1)
    return metres_by_depth(places_px, np.full(len(places_px), metres_a_pixel * intrinsics.fy), intrinsics)


def masked_metres(xyz_m: Float64[np.ndarray, "frame joint 3"]) -> Float64[np.ndarray, "frame joint 3"]:
    """NaN in all three wherever x or y is: a joint that was not found has no depth either."""
    known = np.isfinite(xyz_m[..., :2]).all(axis=-1, keepdims=True)
    return np.where(known, xyz_m, np.nan)
