"""The renderer's and the sensor's kernels over again, in a few plain lines each: what they compute, slowly."""

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8, UInt16

Image = Float64[np.ndarray, "row column"]
Colours = Float64[np.ndarray, "row column 3"]


def nearest_limb(
    rays: Float64[np.ndarray, "row column 2"],
    first_m: Float64[np.ndarray, "limb 3"],
    second_m: Float64[np.ndarray, "limb 3"],
    radii_m: Float64[np.ndarray, "limb 2"],
    balls: int = 300,
) -> tuple[Image, Int64[np.ndarray, "row column"]]:
    """Depth and number of the limb each ray meets first (infinity, -1): a limb is so many balls in a row."""
    depth, seen = np.full(rays.shape[:2], np.inf), np.full(rays.shape[:2], -1)
    way = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], axis=-1)
    squared = (way**2).sum(axis=-1)
    for limb, (start, stop, (thick, thin)) in enumerate(zip(first_m, second_m, radii_m, strict=True)):
        for share in np.linspace(0.0, 1.0, balls):
            centre, radius = start + share * (stop - start), thick + share * (thin - thick)
            along = way @ centre
            discriminant = along**2 - squared * (centre @ centre - radius**2)
            entry = (along - np.sqrt(np.maximum(discriminant, 0.0))) / squared
            nearer = (discriminant >= 0) & (entry > 0) & (entry < depth)
            depth[nearer], seen[nearer] = entry[nearer], limb
    return depth, seen


def lit(
    albedo: Float64[np.ndarray, "3"], normal: Float64[np.ndarray, "*n 3"], lamp: Float64[np.ndarray, "4 3"]
) -> Float64[np.ndarray, "*n 3"]:
    """Light from a surface; lamp: unit vector towards it, its colour, the ambient colour, unit vector upwards."""
    wrapped = np.maximum(0.0, (normal @ lamp[0] + 0.2) / 1.2)
    light: Float64[np.ndarray, "*n 3"] = albedo * (
        lamp[2] * (1.0 + 0.35 * normal @ lamp[3])[..., None] + lamp[1] * wrapped[..., None]
    )
    return light


def exposed(
    light: Colours,
    gains: Float64[np.ndarray, "3"],
    blur: float,
    vignette: float,
    shot: float,
    read: float,
    noise: Colours,
    curve: UInt8[np.ndarray, " step"],
) -> UInt8[np.ndarray, "row column 3"]:
    """`sensor_kernels.expose`, with one number of noise a value."""
    for axis in (0, 1):
        padded = np.pad(light, [(1, 1) if axis == n else (0, 0) for n in range(3)], mode="edge")
        before, after = np.split(padded, [-2], axis=axis)[0], np.split(padded, [2], axis=axis)[1]
        light = (1 - 2 * blur) * light + blur * (before + after)
    rows, columns = light.shape[:2]
    down = (np.arange(rows) - (rows - 1) / 2) / (rows / 2)
    across = (np.arange(columns) - (columns - 1) / 2) / (columns / 2)
    signal = light * gains * (1 - 0.5 * vignette * (down[:, None, None] ** 2 + across[None, :, None] ** 2))
    signal = np.clip(signal + np.sqrt(shot * signal + read**2) * noise, 0, 1)
    return curve[np.floor(signal * (len(curve) - 1) + 0.5).astype(int)]


def measured(
    depth_m: Image, stereo_px: float, error_px: Image, steps: float, range_m: tuple[float, float]
) -> UInt16[np.ndarray, "row column"]:
    """`sensor_kernels.measure_depth` where nothing is lost at edges: disparity, its error and its steps, millimetres."""
    disparity = np.floor((stereo_px / depth_m + error_px) * steps + 0.5) / steps
    seen = stereo_px / disparity
    return np.where((seen >= range_m[0]) & (seen <= range_m[1]), np.floor(1000 * seen + 0.5), 0).astype(np.uint16)


def stereo_shadow(depth_m: Image, stereo_px: float) -> Bool[np.ndarray, "row column"]:
    """Which places the right-hand imager cannot see: something further right in the left image lies over them."""
    columns = np.arange(depth_m.shape[1])
    there = columns - stereo_px / depth_m
    later = columns[None, :] > columns[:, None]
    return (np.where(later, there[:, None, :], np.inf).min(axis=-1) + 1.0) < there
