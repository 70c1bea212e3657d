"""The plain definition of a cube: scipy.fft in double precision, one step a line, any geometry.

`processing.transform` must equal this; read this to learn what the numbers mean.

    samples (loop, tx, rx, sample) -> window, range FFT -> lost loops to zero -> minus the mean over the other loops
    -> window, Doppler FFT, zero Doppler to the middle -> TDM compensation -> antenna row by column, gaps zero
    -> window, azimuth FFT, boresight to the middle -> normalised so that a full-scale tone has power 1

Maps are sums of power over every bin of the missing axis, before any crop. Receding is positive Doppler, right of boresight
positive azimuth (docs/decisions/0002-axes.md).
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Bool, Complex128, Float64, Int16, Shaped

from pipeline.cube_config import CubeConfig, SampleOrder
from pipeline.waveform import Waveform
from processing.adc import decode
from processing.grid import CubeGrid, cube_grid


@dataclass(frozen=True)
class ReferenceFrame:
    """What the twin makes of a frame: everything, whatever products the configuration asks for.

    `amplitude` and `power` are the cropped cube, linear, relative to full scale; `rad` is `power` as stored; `rd` and `ra`
    are linear, or scaled to [0, 1] with `frame_minmax`.
    """

    amplitude: Complex128[np.ndarray, "range azimuth doppler"]
    power: Float64[np.ndarray, "range azimuth doppler"]
    rad: Shaped[np.ndarray, "range azimuth doppler"]
    rd: Float64[np.ndarray, "range doppler"]
    ra: Float64[np.ndarray, "range azimuth"]


def reference_frame(
    words: Int16[np.ndarray, " word"],
    waveform: Waveform,
    config: CubeConfig,
    sample_order: SampleOrder | None = None,
    loop_valid: Bool[np.ndarray, " loop"] | None = None,
) -> ReferenceFrame:
    """The cube and maps of one frame's words. Raises PipelineError where configuration, waveform and words do not fit."""
    grid = cube_grid(waveform, config)
    valid = np.ones(waveform.loops, bool) if loop_valid is None else loop_valid
    samples = decode(words, waveform, sample_order).astype(np.complex128)

    profiles = scipy.fft.fft(samples * grid.range_window, grid.range_bins)
    profiles = profiles * valid[:, None, None, None]
    if config.clutter_removal and valid.any():
        profiles = (profiles - profiles[valid].mean(axis=0)) * valid[:, None, None, None]

    doppler = scipy.fft.fft(profiles * grid.doppler_window[:, None, None, None], grid.doppler_bins, axis=0)
    doppler = scipy.fft.fftshift(doppler, axes=0)
    if config.tdm_compensation:
        doppler = doppler * _slot_turns(grid.doppler_bins, waveform.tx_slots)[:, :, None, None]

    antennas = doppler.reshape(grid.doppler_bins, -1, grid.range_bins)[:, list(grid.row.elements)]
    columns = np.zeros((grid.range_bins, max(grid.row.aperture, grid.azimuth_bins), grid.doppler_bins), np.complex128)
    columns[:, list(grid.row.columns)] = antennas.transpose(2, 1, 0) * grid.azimuth_window[:, None]
    azimuth = scipy.fft.fftshift(scipy.fft.fft(_folded(columns, grid.azimuth_bins), axis=1), axes=1)

    amplitude = azimuth * grid.amplitude_scale
    power = np.abs(amplitude) ** 2
    rd, ra = power.sum(axis=1), power.sum(axis=2)
    amplitude, power, rd, ra = _cropped(grid, amplitude, power, rd, ra)
    if config.frame_minmax:
        rd, ra = scaled_to_extremes(rd), scaled_to_extremes(ra)
    return ReferenceFrame(amplitude, power, encode(amplitude, config), rd, ra)


def encode(
    amplitude: Complex128[np.ndarray, "range azimuth doppler"], config: CubeConfig
) -> Shaped[np.ndarray, "range azimuth doppler"]:
    """The stored type: uint8 steps of `db_step` above `db_floor`, float16 dB (at least `db_floor`), float32 power, complex64."""
    if config.dtype == "complex64":
        return amplitude.astype(np.complex64)
    power = np.abs(amplitude) ** 2
    if config.dtype == "float32":
        return power.astype(np.float32)
    db = 10 * np.log10(np.maximum(power, 10 ** (config.db_floor / 10)))
    if config.dtype == "float16":
        return db.astype(np.float16)
    return np.clip(np.round((db - config.db_floor) / config.db_step), 0, 255).astype(np.uint8)


def scaled_to_extremes(power: Float64[np.ndarray, "range bin"]) -> Float64[np.ndarray, "range bin"]:
    """log10 of a map, scaled to [0, 1] by its own extremes; cells of zero power count as the least positive one."""
    if not power.any():
        return np.zeros_like(power)
    log = np.log10(np.maximum(power, power[power > 0].min()))
    return (log - log.min()) / (np.ptp(log) or 1)


def _slot_turns(doppler_bins: int, slots: int) -> Complex128[np.ndarray, "doppler slot"]:
    """exp(-j 2 pi k m / (n slots)): undo what a mover in signed bin k gains until slot m fires."""
    k = np.arange(doppler_bins) - doppler_bins // 2
    return np.exp(-2j * np.pi * k[:, None] * np.arange(slots) / (doppler_bins * slots))


def _folded(
    columns: Complex128[np.ndarray, "range column doppler"], bins: int
) -> Complex128[np.ndarray, "range bin doppler"]:
    """Columns as inputs of a `bins`-point FFT. A longer row is added up modulo `bins`: its spectrum at fewer angles."""
    short = -columns.shape[1] % bins
    padded = np.pad(columns, ((0, 0), (0, short), (0, 0)))
    return padded.reshape(len(columns), -1, bins, columns.shape[2]).sum(axis=1)


def _cropped(grid: CubeGrid, *arrays: Shaped[np.ndarray, "..."]) -> list[Shaped[np.ndarray, "..."]]:
    ranges = slice(*grid.range_kept)
    amplitude, power, rd, ra = (array[ranges] for array in arrays)
    dopplers = slice(*grid.doppler_kept)
    cropped = [amplitude[..., dopplers], power[..., dopplers], rd[:, dopplers], ra]
    return [array[::-1] if grid.flip_range else array for array in cropped]
