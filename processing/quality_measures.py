"""What can be measured on one frame's samples, as plain functions of arrays. Judged and stored by `quality.py`.

Samples are complex int16 counts `[loop, tx_slot, rx, sample]`; `usable` marks the loops whose bytes all arrived. Power is in
dBFS: relative to a full-scale tone, amplitude 32768, that fills one range bin.
"""

import numpy as np
import scipy.fft
from jaxtyping import Bool, Complex64, Float64, Int16, Int64

FULL_SCALE = 32768.0
INTERFERENCE_FACTOR = 4.0  # residual power over the frame's median chirp: 6 dB, far outside what noise does to a median
_SKIRT_BINS = 4  # Doppler bins on each side of zero that count as beside it
_STRONG = 1e4  # static range bins used for the skirt stand at least 40 dB over the noise of a Doppler cell


def saturated_words(words: Int16[np.ndarray, "loop tx rx word"]) -> Int64[np.ndarray, " rx"]:
    """How many I or Q values of each receiver lie at either end of int16. `words` are a chirp's, two a sample, any order."""
    return ((words == 32767) | (words == -32768)).sum(axis=(0, 1, 3))


def zero_chirps(words: Int16[np.ndarray, "loop tx rx word"]) -> int:
    """Chirps of which every word of every receiver is zero: lost, or never filled in."""
    return int((~words.any(axis=(2, 3))).sum())


def mean_and_power(
    samples: Complex64[np.ndarray, "loop tx rx sample"],
) -> tuple[Float64[np.ndarray, "rx 2"], Float64[np.ndarray, " rx"]]:
    """Each receiver's mean I and Q in counts, and its mean |s|^2 with that mean taken out."""
    mean = samples.mean(axis=(0, 1, 3), dtype=np.complex128)
    power = (samples.real.astype(np.float64) ** 2 + samples.imag.astype(np.float64) ** 2).mean(axis=(0, 1, 3))
    return np.stack([mean.real, mean.imag], axis=1), power - np.abs(mean) ** 2


def range_spectra(samples: Complex64[np.ndarray, "loop tx rx sample"]) -> Complex64[np.ndarray, "loop tx rx range"]:
    """Range FFT under a Hann window, scaled so that a full-scale tone on a bin has power 1."""
    count = samples.shape[-1]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(count) / count)
    scaled = (window / (window.sum() * FULL_SCALE)).astype(np.float32)
    return scipy.fft.fft(samples * scaled, axis=-1)


def range_power(spectra: Complex64[np.ndarray, "loop tx rx range"]) -> Float64[np.ndarray, " range"]:
    """Mean power of each range bin over chirps and receivers."""
    return _power(spectra).mean(axis=(0, 1, 2), dtype=np.float64)


def noise_power(spectra: Complex64[np.ndarray, "loop tx rx range"]) -> float | None:
    """Noise power of one range bin of one chirp: half the power of the change from loop to loop, median over range.

    Static echoes cancel in the change and movers touch few bins. None with fewer than two loops.
    """
    if len(spectra) < 2:
        return None
    change = _power(spectra[1:] - spectra[:-1]).mean(axis=(0, 1, 2), dtype=np.float64) / 2
    return float(np.median(change))


def interfered_chirps(spectra: Complex64[np.ndarray, "loop tx rx range"]) -> Bool[np.ndarray, "loop tx"]:
    """Chirps whose energy jumps across the whole range axis, as another radar's sweep through the band makes it.

    A chirp is compared with its two neighbours in time of the same transmitter, and the smaller difference counts, so that
    one hit does not mark its neighbours; the median over range ignores movers. With fewer than three loops nothing shows.
    """
    loops = len(spectra)
    if loops < 3:
        return np.zeros(spectra.shape[:2], bool)
    to_next = _broadband(spectra[1:] - spectra[:-1])
    at_ends = _broadband(spectra[[0, -1]] - spectra[[2, -3]])  # the first and last have one neighbour: take the second
    broadband = np.minimum(np.concatenate([at_ends[:1], to_next]), np.concatenate([to_next, at_ends[1:]]))
    level = np.median(broadband, axis=0)
    return broadband > INTERFERENCE_FACTOR * np.maximum(level, np.finfo(np.float32).tiny)


def skirt_ratio(spectra: Complex64[np.ndarray, "loop tx rx range"]) -> float | None:
    """Energy beside zero Doppler over energy at zero Doppler, of the frame's strong static echoes.

    No Doppler window: what stands still then lies in bin 0 alone, and energy in the 4 bins on each side is phase noise (or
    motion). Noise, measured at the far Doppler bins, is taken out. Median over the strong range bins, so that a person
    in some of them does not decide. None where no echo is strong enough or the loops are too few.
    """
    loops = len(spectra)
    if loops < 8 * _SKIRT_BINS:
        return None
    power = _power(scipy.fft.fft(spectra, axis=0)).mean(axis=(1, 2), dtype=np.float64)
    far = power[loops // 4 : -(loops // 4)].mean(axis=0)
    centre = power[0] - far
    beside = power[1 : _SKIRT_BINS + 1].sum(axis=0) + power[-_SKIRT_BINS:].sum(axis=0) - 2 * _SKIRT_BINS * far
    strong = centre > _STRONG * np.median(far)
    if not strong.any():
        return None
    return float(max(np.median(beside[strong] / centre[strong]), 0.0))


def _power(values: np.ndarray) -> np.ndarray:
    return values.real**2 + values.imag**2


def _broadband(change: np.ndarray) -> np.ndarray:
    """Power of a change that is there all along the range axis: median over range, mean over receivers `[loop tx]`."""
    return np.median(_power(change), axis=-1).mean(axis=-1)
