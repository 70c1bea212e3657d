"""The camera's sensors: how noisy colour and depth are, and how exposure wanders. Everything is drawn from a seed.

Depth noise of a stereo camera is constant in disparity d = f b / z, so it grows with z squared: sigma_z = sigma_d z^2 /
(f b). The D455's imagers stand b = 95 mm apart, and disparity is given in 1/32 pixel (datasheet 337029).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8, UInt16

from capture.simulator.camera import Intrinsics
from capture.simulator.sensor_kernels import expose, measure_depth

BASELINE_M = 0.095
_TABLE = 1 << 18
_FIELD_ROWS = 256


@dataclass(frozen=True)
class SensorModel:
    """`shot` and `read_noise` in linear light, where 1 saturates; 1 / shot is the full well in electrons."""

    shot: float = 1 / 6000
    read_noise: float = 0.0025
    blur: float = 0.16  # share of light each neighbour pixel takes: lens and demosaicing
    vignette: float = 0.3
    exposure_wander: float = 0.03  # standard deviation of slow auto-exposure drift; a tenth of it from frame to frame
    disparity_noise_px: float = 0.08
    disparity_steps: float = 32.0  # in a pixel
    edge_loss: float = 0.45  # probability that depth is missing beside a jump; 0 also switches the stereo shadow off
    depth_range_m: tuple[float, float] = (0.4, 10.0)


IDEAL = SensorModel(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (0.0, 65.0))
"""No noise, no blur, no holes: depth is right to the millimetre."""


class Sensor:
    """Turns light and depth into what the camera delivers. `brightness` is the mean linear light of the empty room."""

    def __init__(self, model: SensorModel, intrinsics: Intrinsics, brightness: float, seed: int) -> None:
        self._model, self._width, self._height = model, intrinsics.width, intrinsics.height
        self._stereo_px = intrinsics.fx * BASELINE_M
        self._seed = seed
        rng = np.random.default_rng([0x5E50, seed])
        # Auto-exposure brings the mean to about middle grey; white balance is never quite right.
        target = rng.uniform(0.19, 0.3)
        tint = 1.0 + 0.04 * rng.uniform(-1, 1, 3) * (model.exposure_wander > 0)
        self._gains = target / max(brightness, 1e-3) * tint
        self._drift_hz, self._drift_phase = rng.uniform(0.03, 0.25, 3), rng.uniform(0, 2 * np.pi, 3)
        self._noise = rng.standard_normal(max(_TABLE, 6 * self._width), np.float32)
        self._chance = rng.random(max(_TABLE, 2 * self._width), np.float32)
        # Stereo matching compares patches, so neighbouring depths err together.
        field = _smeared(rng.standard_normal((_FIELD_ROWS, max(2048, 2 * self._width))), 1.2)
        self._field = (field / field.std()).astype(np.float32)
        self._curve = tone_curve()

    def exposure_at(self, time_s: float) -> float:
        """Slow part of the exposure's wandering, 1 on average."""
        swing = np.sin(2 * np.pi * self._drift_hz * time_s + self._drift_phase).sum() * np.sqrt(2 / 3)
        return float(1.0 + self._model.exposure_wander * swing)

    def _rng(self, time_s: float) -> np.random.Generator:
        return np.random.default_rng([0xF2A3, self._seed, round(time_s * 1e6) & 0xFFFFFFFFFFFFFFFF])

    def picture(
        self,
        light: Float32[np.ndarray, "row column 3"],
        depth_m: Float32[np.ndarray, "row column"],
        time_s: float,
    ) -> tuple[UInt8[np.ndarray, "row column 3"], UInt16[np.ndarray, "row column"]]:
        """Colour (red, green, blue) and depth in millimetres, 0 where there is none; noise differs for each `time_s`."""
        model, rng = self._model, self._rng(time_s)
        colour = np.empty((self._height, 3 * self._width), np.uint8)
        flicker = 1.0 + 0.1 * model.exposure_wander * rng.standard_normal()
        expose(
            light.reshape(self._height, -1),
            (self._gains * self.exposure_at(time_s) * flicker).astype(np.float32),
            np.float32(model.blur),
            np.float32(model.vignette),
            np.float32(model.shot),
            np.float32(model.read_noise),
            self._noise,
            rng.integers(0, len(self._noise) - 3 * self._width + 1, self._height),
            self._curve,
            colour,
        )
        depth_mm = np.empty((self._height, self._width), np.uint16)
        measure_depth(
            depth_m,
            self._stereo_px,
            model.disparity_noise_px,
            self._field,
            int(rng.integers(self._field.shape[1] - self._width + 1)),
            int(rng.integers(_FIELD_ROWS)),
            model.disparity_steps,
            self._chance,
            rng.integers(0, len(self._chance) - self._width + 1, self._height),
            model.edge_loss,
            *model.depth_range_m,
            depth_mm,
        )
        return colour.reshape(self._height, self._width, 3), depth_mm


def _smeared(field: Float64[np.ndarray, "row column"], sigma: float) -> Float64[np.ndarray, "row column"]:
    """A field that ends where it begins, in both directions, convolved with a Gaussian cut off at 4 `sigma`."""
    steps = np.arange(-round(4 * sigma), round(4 * sigma) + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    for axis in (0, 1):
        field = sum(weight * np.roll(field, step, axis) for step, weight in zip(steps, weights, strict=True))
    return field / weights.sum() ** 2


def tone_curve() -> UInt8[np.ndarray, " step"]:
    """8-bit sRGB (IEC 61966-2-1) of linear light in 4096 steps from 0 to 1."""
    linear = np.arange(4097) / 4096
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)
