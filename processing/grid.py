"""The grid of a cube: what a waveform and a configuration settle before any sample is seen.

FFT lengths, crops, windows and the normalisation, shared by the kernels and by the twin that defines them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from pipeline.antennas import AzimuthRow, azimuth_row
from pipeline.cube_config import CubeConfig
from pipeline.cube_layout import CubeAxes
from pipeline.errors import PipelineError
from pipeline.waveform import Waveform
from processing.windows import window

FULL_SCALE = 32768.0  # amplitude of the largest complex tone an int16 ADC can put out


@dataclass(frozen=True)
class CubeGrid:
    """Sizes and weights of one cube. Lengths are those of the FFTs; `*_kept` are half-open ranges of bins that are stored.

    The window of azimuth is taken over the whole aperture and read at the columns that exist. `amplitude_scale` turns the sum
    that a transform makes into a share of full scale: a tone of amplitude 32768 that all antennas see in phase has power 1
    (0 dBFS) in its bin of rad, whatever the windows.
    """

    row: AzimuthRow
    range_bins: int
    doppler_bins: int
    azimuth_bins: int
    range_kept: tuple[int, int]
    doppler_kept: tuple[int, int]
    flip_range: bool
    range_window: Float64[np.ndarray, " sample"]
    doppler_window: Float64[np.ndarray, " loop"]
    azimuth_window: Float64[np.ndarray, " element"]
    amplitude_scale: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """(range, azimuth, Doppler) of what is stored."""
        return (
            self.range_kept[1] - self.range_kept[0],
            self.azimuth_bins,
            self.doppler_kept[1] - self.doppler_kept[0],
        )

    def axes(self, waveform: Waveform) -> CubeAxes:
        """Bin centres as stored: range far first when flipped; velocity receding and azimuth right of boresight positive."""
        range_m = waveform.range_axis_m(self.range_bins)[slice(*self.range_kept)]
        return CubeAxes(
            range_m=range_m[::-1].copy() if self.flip_range else range_m,
            azimuth_deg=waveform.azimuth_axis_deg(self.azimuth_bins),
            velocity_mps=waveform.velocity_axis_mps(self.doppler_bins)[slice(*self.doppler_kept)],
        )


def cube_grid(waveform: Waveform, config: CubeConfig) -> CubeGrid:
    """The grid of `config` over `waveform`; raises PipelineError where the two do not fit."""
    row = azimuth_row(waveform)
    range_bins = config.range_bins or waveform.samples
    doppler_bins = _doppler_bins(config, waveform.loops)
    _check_length("range_bins", range_bins, waveform.samples, "samples", "range_crop")
    _check_length("doppler_bins", doppler_bins, waveform.loops, "loops", "doppler_crop")
    range_window = window(config.range_window, waveform.samples)
    doppler_window = window(config.doppler_window, waveform.loops)
    azimuth_window = window(config.azimuth_window, row.aperture)[list(row.columns)]
    return CubeGrid(
        row=row,
        range_bins=range_bins,
        doppler_bins=doppler_bins,
        azimuth_bins=config.azimuth_bins,
        range_kept=_crop("range_crop", config.range_crop, range_bins),
        doppler_kept=_crop("doppler_crop", config.doppler_crop, doppler_bins),
        flip_range=config.flip_range,
        range_window=range_window,
        doppler_window=doppler_window,
        azimuth_window=azimuth_window,
        amplitude_scale=1 / (FULL_SCALE * range_window.sum() * doppler_window.sum() * azimuth_window.sum()),
    )


def _doppler_bins(config: CubeConfig, loops: int) -> int:
    if config.doppler_bins == "loops":
        return loops
    if config.doppler_bins == "power-of-two":
        return 1 << (loops - 1).bit_length()
    return config.doppler_bins


def _check_length(name: str, bins: int, inputs: int, what: str, crop: str) -> None:
    if bins < inputs:
        raise PipelineError(
            f"{name} is {bins}, fewer than the waveform's {inputs} {what}, which would throw samples away; "
            f"use at least {inputs} and keep fewer bins with {crop}."
        )


def _crop(name: str, crop: tuple[int, int] | None, bins: int) -> tuple[int, int]:
    start, stop = crop or (0, bins)
    if not 0 <= start < stop <= bins:
        raise PipelineError(
            f"{name} {(start, stop)} keeps no bins or reaches past the {bins} there are; use 0 <= start < stop <= {bins}."
        )
    return start, stop
