"""One-Euro smoothing of joints over time: Casiez, Roussel and Vogel, "1 Euro filter", CHI 2012, equations 1 to 7."""

import numpy as np
from jaxtyping import Float64

from processing.labelling.config import OneEuro


def one_euro(
    places: Float64[np.ndarray, "frame joint 2"],
    times_s: Float64[np.ndarray, " frame"],
    settings: OneEuro,
    gap_s: float,
) -> Float64[np.ndarray, "frame joint 2"]:
    """Smoothed `places`; NaN stays NaN. A joint starts anew after it was masked and where `times_s` step by more than `gap_s`.

    Causal, as the paper's: a moving joint lags by about 1 / (2 pi cutoff) seconds.
    """
    out = np.full_like(places, np.nan)
    last = np.full(places.shape[1:], np.nan)
    speed = np.zeros(places.shape[1:])
    for frame, here in enumerate(places):
        step_s = times_s[frame] - times_s[frame - 1] if frame else np.inf
        new = ~np.isfinite(last).all(axis=-1, keepdims=True) | (step_s > gap_s)
        if np.isfinite(step_s):
            raw = np.where(new, 0.0, (here - last) / step_s)
            speed = np.where(new, 0.0, speed + _share(settings.speed_cutoff_hz, step_s) * (raw - speed))
            cutoff_hz = settings.min_cutoff_hz + settings.beta * np.linalg.norm(speed, axis=-1, keepdims=True)
            last = np.where(new, here, last + _share(cutoff_hz, step_s) * (here - last))
        else:
            last = here
        out[frame] = last
    return out


def _share(cutoff_hz: Float64[np.ndarray, "*any"] | float, step_s: float) -> Float64[np.ndarray, "*any"]:
    """How much of the way to the new value an exponential filter with this cutoff goes in `step_s`."""
    return np.asarray(1.0 / (1.0 + 1.0 / (2 * np.pi * np.asarray(cutoff_hz, np.float64) * step_s)))
