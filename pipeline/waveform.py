"""The chirp and frame a radar is set to, quantised as the device does, with everything that follows from it.

Sources: TI mmWave SDK 3.x user's guide ("Configuration (.cfg) file format"), mmwavelink `rl_sensor.h` for the register
units, and `docs/decisions/0002-axes.md` for the directions.
"""

import math
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.cube_config import SampleOrder

SPEED_OF_LIGHT_MPS = 299_792_458.0
TIME_STEP_US = 0.01  # every time register counts 10 ns
_CODE_STEPS = 2**26


class Waveform(BaseModel):
    """One TDM-MIMO frame configuration. Numbers are what a person wrote; properties are what the device makes of them.

    Derived, all SI: `start_frequency_hz`, `slope_hz_per_s`, `idle_time_s`, `adc_start_time_s`, `ramp_end_time_s`,
    `chirp_period_s`, `loop_period_s`, `frame_period_s`, `centre_frequency_hz`, `wavelength_m`, `sampled_bandwidth_hz`,
    `range_resolution_m`, `range_max_m`, `velocity_resolution_mps`, `velocity_max_mps`, `duty_cycle`, `frame_bytes`,
    `data_rate_bps`; counts `tx_slots`, `rx_count`, `chirps_per_frame`, `frame_shape` = (loop, tx_slot, rx, sample).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="preset or file the waveform came from")
    start_frequency_ghz: float = Field(gt=0)
    idle_time_us: float = Field(ge=0)
    adc_start_time_us: float = Field(ge=0)
    ramp_end_time_us: float = Field(gt=0)
    slope_mhz_per_us: float
    tx_start_time_us: float = 0.0
    samples: int = Field(ge=2, description="complex samples per chirp")
    sample_rate_ksps: int = Field(gt=0)
    rx_gain_db: int = 30
    hpf_corner_1: int = 0
    hpf_corner_2: int = 0
    tx_backoff: int = 0
    tx_phase_shifter: int = 0
    tx_order: tuple[int, ...] = Field(description="transmitter (1-3) of each chirp slot of a loop, in firing order")
    rx_channels: tuple[int, ...] = (1, 2, 3, 4)
    loops: int = Field(ge=1)
    frames: int = Field(0, ge=0, description="frames to send; 0 = until stopped")
    period_ms: float = Field(gt=0)
    trigger: Literal["software", "hardware"] = "software"
    trigger_delay_ms: float = 0.0
    sample_order: SampleOrder = Field("q-first", description="how the firmware lays I and Q on the wire")

    @model_validator(mode="after")
    def _antennas_exist(self) -> "Waveform":
        if not self.tx_order or not set(self.tx_order) <= {1, 2, 3}:
            raise ValueError(f"tx_order {self.tx_order} must name transmitters 1 to 3")
        if len(set(self.tx_order)) != len(self.tx_order):
            raise ValueError(f"tx_order {self.tx_order} fires a transmitter twice in one loop")
        if not self.rx_channels or not set(self.rx_channels) <= {1, 2, 3, 4}:
            raise ValueError(f"rx_channels {self.rx_channels} must name receivers 1 to 4")
        return self

    # --- what the device makes of it -------------------------------------------------------------------------------
    @property
    def _synthesiser_ghz(self) -> float:
        """3.6 GHz clock on 76-81 GHz parts, 2.7 GHz on 60-64 GHz parts (rl_sensor.h, rlProfileCfg_t)."""
        return 3.6 if self.start_frequency_ghz > 70 else 2.7

    @cached_property
    def start_frequency_hz(self) -> float:
        step_hz = self._synthesiser_ghz * 1e9 / _CODE_STEPS
        return _whole_steps(self.start_frequency_ghz * 1e9, step_hz) * step_hz

    @cached_property
    def slope_hz_per_s(self) -> float:
        step_hz_per_us = self._synthesiser_ghz * 1e9 * 900 / _CODE_STEPS  # 48.28 or 36.21 kHz/us
        return _whole_steps(self.slope_mhz_per_us * 1e6, step_hz_per_us) * step_hz_per_us * 1e6

    @property
    def idle_time_s(self) -> float:
        return _ten_ns(self.idle_time_us)

    @property
    def adc_start_time_s(self) -> float:
        return _ten_ns(self.adc_start_time_us)

    @property
    def ramp_end_time_s(self) -> float:
        return _ten_ns(self.ramp_end_time_us)

    @property
    def sample_rate_hz(self) -> float:
        return self.sample_rate_ksps * 1e3

    # --- counts ----------------------------------------------------------------------------------------------------
    @property
    def tx_slots(self) -> int:
        return len(self.tx_order)

    @property
    def rx_count(self) -> int:
        return len(self.rx_channels)

    @property
    def chirps_per_frame(self) -> int:
        return self.loops * self.tx_slots

    @property
    def frame_shape(self) -> tuple[int, int, int, int]:
        """(loop, tx_slot, rx, sample)."""
        return (self.loops, self.tx_slots, self.rx_count, self.samples)

    @property
    def frame_bytes(self) -> int:
        """Two int16 a complex sample."""
        return self.chirps_per_frame * self.rx_count * self.samples * 4

    # --- times and rates -------------------------------------------------------------------------------------------
    @property
    def chirp_period_s(self) -> float:
        return self.idle_time_s + self.ramp_end_time_s

    @property
    def loop_period_s(self) -> float:
        return self.chirp_period_s * self.tx_slots

    @property
    def frame_period_s(self) -> float:
        return self.period_ms / 1e3

    @property
    def duty_cycle(self) -> float:
        """Share of the frame period in which chirps are sent."""
        return self.chirp_period_s * self.chirps_per_frame / self.frame_period_s

    @property
    def data_rate_bps(self) -> float:
        """Mean payload bits a second."""
        return self.frame_bytes * 8 / self.frame_period_s

    # --- resolutions and axes --------------------------------------------------------------------------------------
    @property
    def sampled_bandwidth_hz(self) -> float:
        return abs(self.slope_hz_per_s) * self.samples / self.sample_rate_hz

    @property
    def centre_frequency_hz(self) -> float:
        """Frequency in the middle of the sampled part of the ramp: the one whose phase Doppler and azimuth bins see."""
        middle_s = self.adc_start_time_s + self.samples / self.sample_rate_hz / 2
        return self.start_frequency_hz + self.slope_hz_per_s * middle_s

    @property
    def wavelength_m(self) -> float:
        return SPEED_OF_LIGHT_MPS / self.centre_frequency_hz

    @property
    def range_resolution_m(self) -> float:
        return SPEED_OF_LIGHT_MPS / (2 * self.sampled_bandwidth_hz)

    @property
    def range_max_m(self) -> float:
        return self.range_resolution_m * self.samples

    @property
    def velocity_resolution_mps(self) -> float:
        return self.wavelength_m / (2 * self.loops * self.loop_period_s)

    @property
    def velocity_max_mps(self) -> float:
        """Largest speed told apart from its alias: half of the unambiguous span."""
        return self.wavelength_m / (4 * self.loop_period_s)

    def range_axis_m(self, bins: int | None = None) -> Float64[np.ndarray, " range"]:
        """Range of every bin of a `bins`-point range FFT, metres, ascending away from the radar."""
        bins = bins or self.samples
        return np.arange(bins) * self.range_resolution_m * self.samples / bins

    def velocity_axis_mps(self, bins: int | None = None) -> Float64[np.ndarray, " doppler"]:
        """Radial velocity of every shifted Doppler bin, m/s, receding positive, zero in bin `bins // 2`."""
        bins = bins or self.loops
        return np.fft.fftshift(np.fft.fftfreq(bins, self.loop_period_s)) * self.wavelength_m / 2

    def azimuth_axis_deg(self, bins: int) -> Float64[np.ndarray, " azimuth"]:
        """Azimuth of every shifted bin, degrees, right of boresight positive, zero in bin `bins // 2`.

        Even steps in sine, half a wavelength between antenna columns. See `pipeline.antennas` for the direction.
        """
        return np.degrees(np.arcsin(np.fft.fftshift(np.fft.fftfreq(bins)) * 2))


def _whole_steps(value: float, step: float) -> int:
    """The register code the firmware computes: truncated toward zero, but a value already on a step stays there."""
    return int(value / step + math.copysign(1e-4, value))


def _ten_ns(value_us: float) -> float:
    return round(value_us / TIME_STEP_US) * TIME_STEP_US / 1e6


PRESETS: dict[str, Waveform] = {
    # The paper's: 2 transmitters, 255 loops, 10 Hz, 4.3 cm (paper.md, "Rig").
    "paper": Waveform(
        name="paper",
        start_frequency_ghz=77.0,
        idle_time_us=20.0,
        adc_start_time_us=6.0,
        ramp_end_time_us=60.0,
        slope_mhz_per_us=65.998,
        samples=256,
        sample_rate_ksps=4800,
        tx_order=(1, 3),
        loops=255,
        period_ms=100.0,
    ),
    # A quarter of the paper's bytes, same range axis, runs the stock demo firmware (its 256x64 limit).
    "light": Waveform(
        name="light",
        start_frequency_ghz=77.0,
        idle_time_us=60.0,
        adc_start_time_us=6.0,
        ramp_end_time_us=60.0,
        slope_mhz_per_us=65.998,
        samples=256,
        sample_rate_ksps=4800,
        tx_order=(1, 3),
        loops=64,
        period_ms=100.0,
    ),
}
