"""Derived numbers against values worked by hand (c = 299792458 m/s), and the device's quantisation."""

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.antennas import azimuth_row
from pipeline.cfg_text import parse_cfg, read_cfg, write_cfg
from pipeline.studio_json import read_mmwave_json, read_setup_json
from pipeline.waveform import PRESETS, Waveform

# By hand for each file: quantised slope = trunc(slope / 48.27976...) codes, chirp period, then the textbook formulas.
BY_HAND = {
    "mmwave-capture-std_xwr18xx_2tx.cfg": {
        "tx_order": (1, 3),
        "frame_shape": (16, 2, 4, 256),
        "frame_bytes": 131_072,  # 16 * 2 * 4 * 256 * 4
        "slope_codes": 1449,  # 70 / 0.04827976
        "chirp_period_us": 486.14,
        "range_resolution_m": 0.043599,  # c / (2 * 69.95738e12 * 256 / 5.209e6)
        "duty_cycle": 0.15556,  # 32 * 486.14e-6 / 0.1
        "centre_ghz": 79.20876,  # 77 + 69.95738e-3 * (7 + 24.5729)
    },
    "pyRadar_xWR1843_profile_3D_3tx.cfg": {
        "tx_order": (1, 3, 2),
        "frame_shape": (32, 3, 4, 64),
        "frame_bytes": 98_304,
        "slope_codes": 2071,
        "chirp_period_us": 1014.0,
        "range_resolution_m": 0.046848,
        "duty_cycle": 0.48672,
        "centre_ghz": 79.29972,
    },
    "xwr_raw_ros_1843_doppler_v0_2tx.cfg": {
        "tx_order": (1, 3),
        "frame_shape": (20, 2, 4, 128),
        "frame_bytes": 81_920,
        "slope_codes": 2071,
        "chirp_period_us": 400.0,
        "range_resolution_m": 0.046848,
        "duty_cycle": 0.48485,
        "centre_ghz": 79.29972,
    },
    "xwr_raw_ros_1843_range_v0_3tx.cfg": {
        "tx_order": (1, 3, 2),
        "frame_shape": (20, 3, 4, 112),
        "frame_bytes": 107_520,
        "slope_codes": 1346,
        "chirp_period_us": 121.54,
        "range_resolution_m": 0.043064,
        "duty_cycle": 0.22098,
        "centre_ghz": 79.19530,  # 77 + 64.98456e-3 * (7 + 26.7814)
    },
}


@pytest.mark.parametrize("name", BY_HAND)
def test_real_cfg_files(shared_data, name):
    config = read_cfg(shared_data / "cfg" / name)
    w, hand = config.waveform, BY_HAND[name]
    assert w.tx_order == hand["tx_order"]
    assert w.frame_shape == hand["frame_shape"]
    assert w.frame_bytes == hand["frame_bytes"]
    assert w.slope_hz_per_s == pytest.approx(hand["slope_codes"] * 3.6e9 * 900 / 2**26 * 1e6, rel=1e-12)
    assert w.chirp_period_s * 1e6 == pytest.approx(hand["chirp_period_us"], abs=1e-6)
    assert w.range_resolution_m == pytest.approx(hand["range_resolution_m"], abs=5e-7)
    assert w.duty_cycle == pytest.approx(hand["duty_cycle"], abs=1e-5)
    assert w.centre_frequency_hz / 1e9 == pytest.approx(hand["centre_ghz"], abs=5e-5)
    assert w.trigger == "software"
    assert w.sample_order == "q-first"
    assert config.adc_streamed
    assert config.where["profileCfg"] == f"{name} line 29"
    # lambda / (2 N T): what one Doppler bin is worth
    loop_s = hand["chirp_period_us"] * 1e-6 * len(hand["tx_order"])
    wavelength_m = 299_792_458 / (hand["centre_ghz"] * 1e9)
    assert w.velocity_resolution_mps == pytest.approx(wavelength_m / (2 * w.loops * loop_s), rel=1e-6)
    assert w.velocity_max_mps == pytest.approx(wavelength_m / (4 * loop_s), rel=1e-6)


def test_real_studio_json(shared_data):
    folder = shared_data / "iwr6843isk_mmwave_studio"
    w = read_mmwave_json(folder / "mmwaveDevice.mmwave.json").waveform
    assert w.frame_shape == (85, 3, 4, 512)
    assert w.frame_bytes == 2_088_960  # what NOTE.md gives for the recording
    assert w.tx_order == (1, 2, 3)
    assert w.sample_order == "i-first"  # iqSwapSel 0
    assert w.rx_gain_db == 30
    # Studio already wrote the device's own values: quantising them must not move them.
    assert w.start_frequency_hz == pytest.approx(60.0000000044704e9, abs=1)
    assert w.slope_hz_per_s == pytest.approx(824 * 2.7e9 * 900 / 2**26 * 1e6, rel=1e-12)
    assert w.range_resolution_m == pytest.approx(0.0392489, abs=1e-6)  # c / (2 * 29.83689e12 * 128e-6)
    assert w.loop_period_s == pytest.approx(3 * 414e-6)
    setup = read_setup_json(folder / "CaptureSetup.setup.json")
    assert setup.processed_files == ("adc_data.bin",)
    assert setup.raw_files == ("adc_data_Raw_0.bin",)
    assert (setup.packet_delay_us, setup.zero_filled_bytes, setup.device) == (25, 0, "iwr6843")


def test_the_papers_profile():
    w = PRESETS["paper"]
    assert w.frame_bytes == 2_088_960
    assert w.data_rate_bps == pytest.approx(167.1e6, rel=1e-3)
    assert w.range_resolution_m == pytest.approx(0.0426, abs=5e-5)
    assert w.range_max_m == pytest.approx(10.9, abs=0.05)
    assert w.duty_cycle == pytest.approx(0.408)
    # The paper quotes .0477 m/s: lambda at the 77 GHz start. A mover's phase turns with the middle of the sampled ramp.
    assert w.velocity_resolution_mps == pytest.approx(0.0477 * 77 / 79.154, abs=5e-5)
    assert w.start_frequency_hz <= 77e9 < w.start_frequency_hz + 3.6e9 / 2**26


def test_axes_ascend_with_zero_in_the_middle():
    w = PRESETS["light"]
    for bins in (63, 64):
        for axis in (w.velocity_axis_mps(bins), w.azimuth_axis_deg(bins)):
            assert np.all(np.diff(axis) > 0)
            assert axis[bins // 2] == 0
    assert w.azimuth_axis_deg(64)[48] == pytest.approx(30)  # half way to the edge in sine
    assert w.azimuth_axis_deg(64)[0] == pytest.approx(-90)
    assert np.allclose(np.diff(w.range_axis_m(512)), w.range_resolution_m / 2)
    assert w.velocity_axis_mps(w.loops)[-1] == pytest.approx(w.velocity_max_mps - w.velocity_resolution_mps)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("detection", [True, False])
def test_a_written_cfg_reads_back_the_same(preset, detection):
    w = PRESETS[preset]
    assert parse_cfg(write_cfg(w, detection=detection), preset).waveform == w


def test_written_numbers_have_no_exponent_and_every_digit():
    w = PRESETS["light"].model_copy(
        update={"start_frequency_ghz": 77.12345678901, "tx_start_time_us": 0.00001, "trigger": "hardware", "name": "x"}
    )
    text = write_cfg(w)
    assert "e-" not in text.split("profileCfg")[1].split("\n")[0]
    assert parse_cfg(text, "x").waveform == w


@pytest.mark.parametrize(
    ("tx_order", "rx_channels", "elements", "columns"),
    [
        ((1, 3), (1, 2, 3, 4), (0, 1, 2, 3, 4, 5, 6, 7), (0, 1, 2, 3, 4, 5, 6, 7)),
        ((3, 1), (1, 2, 3, 4), (4, 5, 6, 7, 0, 1, 2, 3), (0, 1, 2, 3, 4, 5, 6, 7)),
        ((1, 3, 2), (1, 2, 3, 4), (0, 1, 2, 3, 4, 5, 6, 7), (0, 1, 2, 3, 4, 5, 6, 7)),
        ((1, 2, 3), (1, 2, 3, 4), (0, 1, 2, 3, 8, 9, 10, 11), (0, 1, 2, 3, 4, 5, 6, 7)),
        ((2,), (1, 2, 3, 4), (0, 1, 2, 3), (0, 1, 2, 3)),
        ((1, 2), (1, 2, 3, 4), (0, 1, 2, 3), (0, 1, 2, 3)),
        ((1, 3), (1, 2, 4), (0, 1, 2, 3, 4, 5), (0, 1, 3, 4, 5, 7)),  # RX3 is off: its columns stay empty
        ((1, 3), (3,), (0, 1), (0, 4)),
        ((2,), (4,), (0,), (0,)),
    ],
)
def test_azimuth_row(tx_order, rx_channels, elements, columns):
    w = PRESETS["light"].model_copy(update={"tx_order": tx_order, "rx_channels": rx_channels})
    row = azimuth_row(w)
    assert (row.elements, row.columns) == (elements, columns)
    assert row.slots == tuple(e // len(rx_channels) for e in elements)
    assert row.aperture == columns[-1] + 1


@pytest.mark.parametrize("update", [{"tx_order": ()}, {"tx_order": (4,)}, {"tx_order": (1, 1)}, {"rx_channels": (5,)}])
def test_antennas_that_do_not_exist_are_refused(update):
    with pytest.raises(ValidationError):
        Waveform(**{**PRESETS["light"].model_dump(), **update})
