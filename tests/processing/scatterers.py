"""Point scatterers by the FMCW equation itself: exact two-way delay of every sample of every chirp and antenna."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.waveform import SPEED_OF_LIGHT_MPS, Waveform

TX_COLUMN = {1: 0, 2: 2, 3: 4}


def waveform(**changes) -> Waveform:
    """The paper's chirp (77 GHz, 66 MHz/us) with fewer samples and loops, I first."""
    settings = {
        "name": "test",
        "start_frequency_ghz": 77.0,
        "idle_time_us": 20.0,
        "adc_start_time_us": 6.0,
        "ramp_end_time_us": 60.0,
        "slope_mhz_per_us": 65.998,
        "samples": 32,
        "sample_rate_ksps": 4800,
        "tx_order": (1, 3),
        "loops": 16,
        "period_ms": 100.0,
        "sample_order": "i-first",
    }
    return Waveform(**{**settings, **changes})


@dataclass(frozen=True)
class Scatterer:
    """Range and receding velocity at the middle of the frame, sine of azimuth to the right, amplitude in counts."""

    range_m: float
    velocity_mps: float = 0.0
    sine: float = 0.0
    amplitude: float = 8000.0


def echo_samples(chirp: Waveform, scatterers: Iterable[Scatterer]) -> np.ndarray:
    """Beat signal exp(j 2 pi (f0 tau + slope tau t - slope tau**2 / 2)), complex (loop, slot, rx, sample)."""
    loops, slots, _, samples = chirp.frame_shape
    fast_s = chirp.adc_start_time_s + np.arange(samples) / chirp.sample_rate_hz
    start_s = np.arange(loops * slots).reshape(loops, slots) * chirp.chirp_period_s
    time_s = start_s[:, :, None, None] + fast_s
    middle_s = chirp.chirps_per_frame * chirp.chirp_period_s / 2
    columns = np.array([[TX_COLUMN[tx] + rx - 1 for rx in chirp.rx_channels] for tx in chirp.tx_order])
    total = np.zeros(chirp.frame_shape, complex)
    for scatterer in scatterers:
        distance_m = scatterer.range_m + scatterer.velocity_mps * (time_s - middle_s)
        # Half a wavelength between columns; to the right the path is longer by its projection (hardware.md, directions).
        extra_m = columns[:, :, None] * chirp.wavelength_m / 2 * scatterer.sine
        delay_s = (2 * distance_m + extra_m) / SPEED_OF_LIGHT_MPS
        beat = chirp.start_frequency_hz * delay_s + chirp.slope_hz_per_s * (delay_s * fast_s - delay_s**2 / 2)
        total += scatterer.amplitude * np.exp(2j * np.pi * beat)
    return total


def echo_words(chirp: Waveform, scatterers: Iterable[Scatterer], *, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """The int16 words of one frame, I first."""
    samples = echo_samples(chirp, scatterers)
    rng = np.random.default_rng(seed)
    samples = samples + noise * (rng.normal(size=samples.shape) + 1j * rng.normal(size=samples.shape))
    parts = np.stack([samples.real.reshape(-1, 2), samples.imag.reshape(-1, 2)], axis=1)
    return np.clip(np.round(parts), -32768, 32767).astype(np.int16).ravel()
