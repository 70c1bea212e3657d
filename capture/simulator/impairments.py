"""What a real board does to its echoes, as numbers one can set, and one board's share of each, drawn from its seed.

In the order of the signal: every echo passes the antenna pattern twice; each channel has its own gain and phase; gain and
phase of all drift slowly; the synthesiser's phase noise turns whole chirps; transmitter leak comes in without it (on so
short a way it cancels); receivers add an offset and thermal noise; and the converter rounds to 16 bits and saturates
(`echoes_kernels`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Complex64, Complex128, Float64
from pydantic import BaseModel, ConfigDict, Field

from capture.simulator.antenna_pattern import AntennaKind
from pipeline.waveform import SPEED_OF_LIGHT_MPS, Waveform

NOISE_LSB = 6.0
"""Standard deviation of thermal noise in I and in Q, ADC counts: 15 dB noise figure at the gain of `echoes.GAIN_LSB_M`."""

BoardName = Literal["ideal", "good-board", "noisy-board"]

_BOARD, _PHASE_NOISE = 0xB0A2D, 0x9A5E  # streams of random numbers
_SKIRT_BINS = 4  # Doppler bins on each side in which a board's skirt is measured (hardware.md, section 6)
_LEAK_PATH_M = 0.09  # from transmitter to receiver and through their feeds: a beat in the first range bins
_DRIFT_PERIODS_S = (5.3, 13.1, 41.0)


class Impairments(BaseModel):
    """How a board departs from the ideal one. "Spread" is a standard deviation over boards; the board's seed draws its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    antenna: AntennaKind = "isotropic"
    noise_lsb: float = Field(NOISE_LSB, ge=0, description="thermal noise, standard deviation in I and in Q, ADC counts")
    skirt_ratio: float = Field(
        0.0, ge=0, lt=0.1, description="phase noise: energy in 4 Doppler bins either side of zero over that at zero"
    )
    channel_gain_db: float = Field(0.0, ge=0, description="spread of gain over transmitters and over receivers")
    channel_phase_deg: float = Field(0.0, ge=0, description="spread of phase over transmitters and over receivers")
    drift_db: float = Field(0.0, ge=0, description="slow wander of the gain, standard deviation")
    drift_deg: float = Field(0.0, ge=0, description="slow wander of the phase: warming up, a mount that gives")
    dc_lsb: float = Field(0.0, ge=0, description="spread of the receivers' offsets, ADC counts")
    leak_lsb: float = Field(0.0, ge=0, description="amplitude of the transmitter's leak into the receivers, ADC counts")
    board_seed: int = Field(0, description="which board it is: one seed, the same errors in every recording")


IDEAL = Impairments()
"""Isotropic antennas, thermal noise, 16 bits: nothing else between an echo and its equation."""
GOOD_BOARD = Impairments(
    antenna="awr1843boost",
    skirt_ratio=0.0002,
    channel_gain_db=0.5,
    channel_phase_deg=8.0,
    drift_db=0.02,
    drift_deg=0.8,
    dc_lsb=8.0,
    leak_lsb=60.0,
)
NOISY_BOARD = GOOD_BOARD.model_copy(
    update={
        "noise_lsb": 10.0,
        "skirt_ratio": 0.002,
        "channel_gain_db": 1.0,
        "channel_phase_deg": 15.0,
        "leak_lsb": 200.0,
    }
)
PRESETS: dict[BoardName, Impairments] = {"ideal": IDEAL, "good-board": GOOD_BOARD, "noisy-board": NOISY_BOARD}


@dataclass(frozen=True)
class Board:
    """One board set to one waveform: what `impairments` came out as. Build it with `board`.

    `channel` is the gain and phase of every channel, `added` leak and offset in ADC counts, the same in every loop.
    """

    impairments: Impairments
    waveform: Waveform
    channel: Complex128[np.ndarray, "tx_slot rx"]
    added: Complex128[np.ndarray, "tx_slot rx sample"]
    drift_phase: Float64[np.ndarray, "gain_and_phase period"]
    noise_seed: int

    def factors(self, index: int, start_s: float) -> Complex64[np.ndarray, "chirp rx"]:
        """What frame `index`, begun at `start_s`, multiplies echoes and leak of every chirp and receiver by."""
        w, wanted = self.waveform, self.impairments
        times_s = start_s + np.arange(w.chirps_per_frame) * w.chirp_period_s
        turns = 2 * np.pi * times_s[:, None] / np.array(_DRIFT_PERIODS_S)
        scale = np.sqrt(2 / len(_DRIFT_PERIODS_S))
        gain, phase = (scale * np.sin(turns + start).sum(axis=1) for start in self.drift_phase)
        decibels = wanted.drift_db * gain
        radians = np.radians(wanted.drift_deg) * phase + self._phase_noise(index)
        common = 10 ** (decibels / 20) * np.exp(1j * radians)
        return (np.tile(self.channel, (w.loops, 1)) * common[:, None]).astype(np.complex64)

    def _phase_noise(self, index: int) -> Float64[np.ndarray, " chirp"]:
        """Radians a chirp: flat up to the edge of the measured skirt, falling with the square of frequency beyond it.

        Periodic over the frame, so that every chirp bin has exactly its share and none leaks into the next.
        """
        w, ratio = self.waveform, self.impairments.skirt_ratio
        chirps = w.chirps_per_frame
        if ratio == 0 or chirps < 2:
            return np.zeros(chirps)
        bins = np.arange(chirps // 2 + 1)
        power = 1.0 / (1.0 + (bins / _SKIRT_BINS) ** 2)
        power[0] = 0.0
        power *= ratio / (2 * power[1 : _SKIRT_BINS + 1].sum())
        rng = np.random.default_rng([self.noise_seed, index, _PHASE_NOISE])
        tones = rng.standard_normal((2, len(bins))) * np.sqrt(power / 2)
        return np.fft.irfft(tones[0] + 1j * tones[1], chirps, norm="forward")


def board(impairments: Impairments, waveform: Waveform, seed: int = 0) -> Board:
    """Draw a board: its errors from `impairments.board_seed`, its drift and phase noise from the recording's `seed`."""
    wanted, w = impairments, waveform
    rng = np.random.default_rng([_BOARD, wanted.board_seed])
    # Drawn for all the board's antennas, so that another waveform finds the same ones.
    errors = [
        10 ** (wanted.channel_gain_db * rng.standard_normal(count) / 20)
        * np.exp(1j * np.radians(wanted.channel_phase_deg) * rng.standard_normal(count))
        for count in (3, 4)
    ]
    offset = wanted.dc_lsb * (rng.standard_normal(4) + 1j * rng.standard_normal(4)) / np.sqrt(2)
    leak_error = np.exp(0.2 * rng.standard_normal((3, 4)) + 2j * np.pi * rng.random((3, 4)))
    tx, rx = np.array(w.tx_order) - 1, np.array(w.rx_channels) - 1
    beat_hz = w.slope_hz_per_s * _LEAK_PATH_M / SPEED_OF_LIGHT_MPS
    tone = np.exp(2j * np.pi * beat_hz * np.arange(w.samples) / w.sample_rate_hz)
    return Board(
        impairments=wanted,
        waveform=w,
        channel=errors[0][tx][:, None] * errors[1][rx],
        added=wanted.leak_lsb * leak_error[np.ix_(tx, rx)][:, :, None] * tone + offset[rx, None],
        drift_phase=np.random.default_rng([_BOARD, wanted.board_seed, seed]).uniform(
            0, 2 * np.pi, (2, len(_DRIFT_PERIODS_S))
        ),
        noise_seed=seed,
    )
