"""Whether a radar, a card and a trigger can do what a configuration asks.

| check              | rule                                                                     | source                         |
| ------------------ | ------------------------------------------------------------------------ | ------------------------------ |
| duty cycle         | chirping at most 50 % of the frame period                                | SDK user's guide, frameCfg     |
| band               | the whole ramp inside 76-81 GHz (60-64 GHz parts: 57-64 GHz)             | AWR1843 / IWR6843 data sheets  |
| ADC window         | ADC start + samples / rate ends before the ramp does                     | SDK user's guide, profileCfg   |
| sample rate        | at most 12.5 Msps complex                                                | AWR1843 data sheet             |
| samples            | samples x receivers x 4 bytes within the 16 KiB ADC buffer; even         | SDK, ADCBUF driver             |
| loops              | 1-255, at most 512 chirps                                                | SDK user's guide, frameCfg     |
| LVDS               | raw data switched on in lvdsStreamCfg                                    | SDK user's guide               |
| lane rate          | a chirp's bytes leave over two 600 Mbit/s lanes before the next chirp    | DCA1000EVM user's guide        |
| link rate          | mean rate below what the card sends at its packet delay                  | `card_config.THROUGHPUT_MBPS`  |
| demo firmware      | range bins x Doppler bins x 2 bytes within 32 KiB; stock mmwDemo only    | peers' logs; 256x64 limit      |
| hardware trigger   | pulse period longer than the programmed frame period                     | SDK user's guide, frameCfg     |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.card_config import throughput_mbps
from pipeline.cfg_text import RadarConfig
from pipeline.errors import PipelineError

Firmware = Literal["mmwDemo", "studio-cli", "unknown"]


@dataclass(frozen=True)
class Check:
    """One rule: its name, whether it holds (None: does not apply), what was computed, and the line that sets it."""

    name: str
    passed: bool | None
    detail: str
    where: str = ""


def check_config(
    config: RadarConfig,
    *,
    firmware: Firmware = "unknown",
    packet_delay_us: float = 25,
    trigger_period_ms: float | None = None,
) -> list[Check]:
    """Every rule of the table above for `config`, in its order."""
    w = config.waveform

    def rule(name: str, passed: bool | None, detail: str, key: str) -> Check:
        return Check(name, passed, detail, config.where.get(key, w.name))

    low_ghz, high_ghz = (76.0, 81.0) if w.start_frequency_ghz > 70 else (57.0, 64.0)
    end_ghz = (w.start_frequency_hz + w.slope_hz_per_s * w.ramp_end_time_s) / 1e9
    start_ghz = w.start_frequency_hz / 1e9
    window_us = (w.adc_start_time_s + w.samples / w.sample_rate_hz) * 1e6
    buffer_bytes = w.samples * w.rx_count * 4
    lane_us = buffer_bytes * 8 / 1200
    rate_mbps, limit_mbps = w.data_rate_bps / 1e6, throughput_mbps(packet_delay_us)
    range_bins, doppler_bins = _power_of_two(w.samples), _power_of_two(w.loops)
    matrix_bytes = range_bins * doppler_bins * 2
    checks = [
        rule("duty cycle", w.duty_cycle <= 0.5, f"{w.duty_cycle:.1%} of the frame period, at most 50 %", "frameCfg"),
        rule(
            "band",
            low_ghz <= start_ghz and end_ghz <= high_ghz,
            f"ramp from {start_ghz:.3f} to {end_ghz:.3f} GHz, allowed {low_ghz:g} to {high_ghz:g} GHz",
            "profileCfg",
        ),
        rule(
            "ADC window",
            window_us <= w.ramp_end_time_s * 1e6 + 1e-9,
            f"sampling ends at {window_us:.2f} us, the ramp at {w.ramp_end_time_s * 1e6:.2f} us",
            "profileCfg",
        ),
        rule("sample rate", w.sample_rate_ksps <= 12500, f"{w.sample_rate_ksps} ksps, at most 12500", "profileCfg"),
        rule(
            "samples",
            buffer_bytes <= 16384 and w.samples % 2 == 0,
            f"{w.samples} samples x {w.rx_count} receivers = {buffer_bytes} bytes, at most 16384, samples even",
            "profileCfg",
        ),
        rule(
            "loops",
            w.loops <= 255 and w.chirps_per_frame <= 255 * 512,
            f"{w.loops} loops, at most 255",
            "frameCfg",
        ),
        rule(
            "LVDS",
            config.adc_streamed,
            "raw samples are streamed"
            if config.adc_streamed
            else "no raw samples are sent: use `lvdsStreamCfg -1 0 1 0`",
            "lvdsStreamCfg",
        ),
        rule(
            "lane rate",
            lane_us <= w.chirp_period_s * 1e6,
            f"a chirp's {buffer_bytes} bytes need {lane_us:.1f} us of its {w.chirp_period_s * 1e6:.1f} us on two LVDS lanes",
            "profileCfg",
        ),
        rule(
            "link rate",
            rate_mbps <= limit_mbps,
            f"{rate_mbps:.0f} Mbit/s, the card sends {limit_mbps:.0f} Mbit/s at a packet delay of {packet_delay_us:g} us",
            "frameCfg",
        ),
        rule(
            "demo firmware",
            matrix_bytes <= 32768 if firmware == "mmwDemo" else None,
            f"{range_bins} x {doppler_bins} bins; the stock demo firmware holds 256 x 64 on chip and hangs beyond: flash TI's"
            " mmWave Studio CLI image for more",
            "frameCfg",
        ),
    ]
    if w.trigger == "hardware":
        passed = None if trigger_period_ms is None else trigger_period_ms > w.period_ms
        pulses = "unknown" if trigger_period_ms is None else f"every {trigger_period_ms:g} ms"
        detail = f"pulses {pulses}, programmed frame period {w.period_ms:g} ms, which must be shorter"
    else:
        passed, detail = None, "software trigger"
    checks.append(rule("hardware trigger", passed, detail, "frameCfg"))
    return checks


def require(checks: Sequence[Check]) -> None:
    """Raise PipelineError with every broken rule and its line, if any."""
    broken = [check for check in checks if check.passed is False]
    if broken:
        raise PipelineError("; ".join(f"{check.where}: {check.name}: {check.detail}" for check in broken) + ".")


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
