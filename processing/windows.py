"""The window functions of a cube, one definition for the kernels and for the plain twin that defines them."""

import numpy as np
from jaxtyping import Float64

from pipeline.cube_config import Window

# Cosine series a0 - a1 cos(2 pi t) + a2 cos(4 pi t) (Harris 1978, "On the use of windows", table 1).
_COSINES: dict[Window, tuple[float, ...]] = {
    "none": (1.0,),
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
}


def window(name: Window, length: int) -> Float64[np.ndarray, " sample"]:
    """The window `name` of `length` samples, symmetric, peak close to 1.

    Taken at the middle of each sample, t = (n + 1/2) / length. That has the spectrum of the usual periodic form but no
    sample of zero weight, so that even a row of two antennas keeps both.
    """
    t = (np.arange(length) + 0.5) / length
    return sum(
        (-1) ** order * weight * np.cos(2 * np.pi * order * t) for order, weight in enumerate(_COSINES[name])
    ) + np.zeros(length)
