"""How strongly the board's antennas send and hear in a direction.

A smooth model through four figures as TI states them of its etched 77 GHz antennas: 3 dB down at 28 degrees and 6 dB down at
50 degrees to either side, 3 dB down at 14 degrees and 6 dB down at 20 degrees up and down. They are an estimate here: written
from memory of the board guides' wording (the AWR1843BOOST's is SPRUIM4), with no copy at hand to hold them against, and no
board was measured. Beyond those the azimuth's loss goes on growing and elevation's levels off at 14 dB, where a patch column's
side lobes are taken to lie; their ripple is left out. Transmitters and receivers are alike, so an echo suffers the loss twice.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float64

AntennaKind = Literal["isotropic", "awr1843boost"]

_AZIMUTH_KNEE_DEG = 7.4  # loss = slope (sqrt(1 + (azimuth / knee)^2) - 1): 3 dB at 28 degrees and 6 dB at 50
_AZIMUTH_SLOPE_DB = 3.0 / (math.sqrt(1.0 + (28.0 / _AZIMUTH_KNEE_DEG) ** 2) - 1.0)
_ELEVATION_3DB_DEG = 14.0
_SIDE_LOBES_DB = 14.0


def one_way_loss_db(
    azimuth_deg: Float64[np.ndarray, "*shape"], elevation_deg: Float64[np.ndarray, "*shape"]
) -> Float64[np.ndarray, "*shape"]:
    """Power lost by one antenna off boresight, dB, 0 straight ahead."""
    azimuth_db = _AZIMUTH_SLOPE_DB * (np.sqrt(1.0 + (azimuth_deg / _AZIMUTH_KNEE_DEG) ** 2) - 1.0)
    lobe, side = 10.0 ** (-0.3 * (elevation_deg / _ELEVATION_3DB_DEG) ** 2), 10.0 ** (-_SIDE_LOBES_DB / 10.0)
    return azimuth_db - 10.0 * np.log10(side + (1.0 - side) * lobe)


def field_factor(positions_m: Float64[np.ndarray, "*shape 3"], antenna: AntennaKind) -> Float64[np.ndarray, "*shape"]:
    """What one antenna makes of a wave to or from `positions_m`: the factor on its amplitude, 1 straight ahead."""
    if antenna == "isotropic":
        return np.ones(positions_m.shape[:-1])
    x, y, z = positions_m[..., 0], positions_m[..., 1], positions_m[..., 2]
    azimuth_deg, elevation_deg = np.degrees(np.arctan2(x, y)), np.degrees(np.arctan2(z, np.hypot(x, y)))
    return 10.0 ** (-one_way_loss_db(azimuth_deg, elevation_deg) / 20.0)
