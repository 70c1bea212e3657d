"""What the numbers of a cube mean, checked on the plain twin by echoes whose place is known from physics."""

import numpy as np
import pytest
from scatterers import Scatterer, echo_words, waveform

from pipeline.antennas import azimuth_row
from pipeline.cube_config import CubeConfig, preset
from pipeline.errors import PipelineError
from processing.grid import cube_grid
from processing.reference import reference_frame
from processing.windows import window


@pytest.mark.parametrize("order", [(1, 3), (3, 1)])
@pytest.mark.parametrize("windows", ["none", "hann", "hamming", "blackman"])
def test_a_full_scale_tone_is_zero_dbfs_whatever_the_windows(order, windows):
    config = CubeConfig(
        range_window=windows, doppler_window=windows, azimuth_window=windows, clutter_removal=False, dtype="complex64"
    )
    chirp = waveform(tx_order=order, samples=32, loops=12)
    tone = 32767 * np.exp(2j * np.pi * 5 * np.arange(32) / 32) * np.ones(chirp.frame_shape)
    words = np.stack([np.round(tone.real), np.round(tone.imag)], axis=-1).astype(np.int16).ravel()
    power = reference_frame(words, chirp, config, "interleaved").power
    assert np.unravel_index(power.argmax(), power.shape) == (5, 32, 8)
    assert 10 * np.log10(power.max()) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("order", [(1,), (3,), (1, 3), (3, 1), (1, 2, 3), (1, 3, 2), (2, 3, 1)])
@pytest.mark.parametrize(("fraction", "sine"), [(0.0, 0.0), (0.94, 0.5), (-0.94, -0.25), (0.5, -0.625)])
def test_a_scatterer_lands_in_its_bins_with_the_right_signs(order, fraction, sine):
    chirp = waveform(tx_order=order, samples=64, loops=32)
    grid_bins = 32
    speed = round(fraction * 16) / 16 * chirp.velocity_max_mps  # on a Doppler bin
    target = Scatterer(range_m=20 * chirp.range_resolution_m, velocity_mps=speed, sine=sine, amplitude=8000)
    config = CubeConfig(azimuth_bins=grid_bins, clutter_removal=False, dtype="float32")
    frame = reference_frame(echo_words(chirp, [target]), chirp, config)
    axes = cube_grid(chirp, config).axes(chirp)
    k, z, d = np.unravel_index(frame.power.argmax(), frame.power.shape)
    assert abs(axes.range_m[k] - target.range_m) < 0.6 * chirp.range_resolution_m
    assert axes.velocity_mps[d] == pytest.approx(speed, abs=0.01 * chirp.velocity_resolution_mps)
    assert np.sin(np.radians(axes.azimuth_deg[z])) == pytest.approx(sine, abs=1e-9)


@pytest.mark.parametrize("order", [(1, 3), (3, 1), (1, 3, 2), (1, 2, 3)])
@pytest.mark.parametrize("direction", [1, -1])
def test_only_compensation_puts_a_fast_mover_at_its_azimuth(order, direction):
    chirp = waveform(tx_order=order, samples=64, loops=32)
    target = Scatterer(range_m=0.8, velocity_mps=direction * 15 / 16 * chirp.velocity_max_mps, sine=0.25)
    words = echo_words(chirp, [target])

    def sine(compensated: bool) -> float:
        config = CubeConfig(azimuth_bins=128, tdm_compensation=compensated, dtype="float32")
        power = reference_frame(words, chirp, config).power
        return (np.unravel_index(power.argmax(), power.shape)[1] - 64) / 64

    assert sine(True) == pytest.approx(0.25, abs=0.01)
    assert abs(sine(False) - 0.25) > 0.05


@pytest.mark.parametrize("sine", [0.125, 0.5, 0.875])
def test_the_mirrored_target_is_at_the_mirrored_azimuth(sine):
    chirp = waveform(tx_order=(1, 3), samples=32, loops=16)
    config = CubeConfig(azimuth_bins=64, clutter_removal=False)
    places = []
    for side in (1, -1):
        power = reference_frame(echo_words(chirp, [Scatterer(0.5, 0.4, side * sine)]), chirp, config).power
        places.append(np.unravel_index(power.argmax(), power.shape)[1])
    assert places[0] - 32 == 32 - places[1] == sine * 32


def test_maps_are_sums_over_every_bin_before_any_crop():
    chirp = waveform(tx_order=(1, 3, 2), rx_channels=(1, 2, 4), samples=16, loops=9)
    words = np.random.default_rng(0).integers(-3000, 3000, chirp.frame_bytes // 2).astype(np.int16)
    whole = reference_frame(words, chirp, CubeConfig(azimuth_bins=20))
    np.testing.assert_allclose(whole.rd, whole.power.sum(axis=1))
    np.testing.assert_allclose(whole.ra, whole.power.sum(axis=2))
    crop = CubeConfig(azimuth_bins=20, range_crop=(3, 11), doppler_crop=(2, 7), flip_range=True)
    cropped = reference_frame(words, chirp, crop)
    np.testing.assert_array_equal(cropped.power, whole.power[3:11, :, 2:7][::-1])
    np.testing.assert_array_equal(cropped.rd, whole.rd[3:11, 2:7][::-1])
    np.testing.assert_array_equal(cropped.ra, whole.ra[3:11][::-1])


def test_range_doppler_power_is_the_antennas_power():
    chirp = waveform(tx_order=(1, 2), rx_channels=(1, 3, 4), samples=16, loops=8)
    words = np.random.default_rng(0).integers(-3000, 3000, chirp.frame_bytes // 2).astype(np.int16)
    frame = reference_frame(words, chirp, CubeConfig(azimuth_bins=8, azimuth_window="none"))
    per_antenna = [
        reference_frame(words, chirp, CubeConfig(azimuth_bins=bins, azimuth_window="none")).rd / bins
        for bins in (4, 50)
    ]
    np.testing.assert_allclose(per_antenna[0], frame.rd / 8)
    np.testing.assert_allclose(per_antenna[1], frame.rd / 8)


def test_a_short_azimuth_fft_samples_the_long_ones_spectrum():
    chirp = waveform(tx_order=(1, 3), samples=8, loops=4)
    words = np.random.default_rng(0).integers(-3000, 3000, chirp.frame_bytes // 2).astype(np.int16)
    long = reference_frame(words, chirp, CubeConfig(azimuth_bins=12)).amplitude
    short = reference_frame(words, chirp, CubeConfig(azimuth_bins=4)).amplitude
    np.testing.assert_allclose(short, long[:, ::3], atol=1e-12)


def test_lost_loops_count_as_silence_and_leave_the_clutter_mean():
    chirp = waveform(tx_order=(1, 3), samples=16, loops=8)
    static = Scatterer(0.3, 0.0, 0.0, amplitude=5000)
    words = echo_words(chirp, [static]).reshape(8, -1)
    valid = np.array([1, 1, 0, 1, 1, 1, 0, 1], bool)
    damaged = np.where(valid[:, None], words, 12345).astype(np.int16)
    frame = reference_frame(damaged.ravel(), chirp, CubeConfig(), loop_valid=valid)
    assert 10 * np.log10(frame.power.max()) < -80  # rounding to int16 only: the static echo is gone, the damage too
    kept = reference_frame(damaged.ravel(), chirp, CubeConfig(clutter_removal=False), loop_valid=valid)
    silent = reference_frame(
        np.where(valid[:, None], words, 0).astype(np.int16).ravel(), chirp, CubeConfig(clutter_removal=False)
    )
    np.testing.assert_allclose(kept.power, silent.power)
    assert not reference_frame(words.ravel(), chirp, CubeConfig(), loop_valid=np.zeros(8, bool)).power.any()


def test_the_paper_preset_is_the_published_recipe():
    """paper.md, "Spectrogram video": no window, no clutter removal, no compensation, range flipped, own extremes."""
    chirp = waveform(tx_order=(1, 3), samples=32, loops=15)
    words = echo_words(chirp, [Scatterer(0.5, 1.0, 0.3, 3000), Scatterer(0.9, 0.0, -0.5, 6000)], noise=20)
    frame = reference_frame(words, chirp, preset("paper"), "i-first")
    i, q = words.reshape(-1, 2, 2).transpose(1, 0, 2).reshape(2, *chirp.frame_shape)
    samples = i + 1j * q
    spectrum = np.fft.fftshift(np.fft.fft(np.fft.fft(samples, axis=3), axis=0), axes=0).reshape(15, 8, 32)
    power = np.abs(np.fft.fftshift(np.fft.fft(spectrum, 256, axis=1), axes=1)) ** 2
    for ours, theirs in ((frame.rd, power.sum(axis=1).T), (frame.ra, power.sum(axis=0).T)):
        log = np.log10(theirs)[::-1]
        np.testing.assert_allclose(ours, (log - log.min()) / (log.max() - log.min()), atol=1e-9)
    assert frame.rd.shape == (32, 15)
    assert frame.ra.shape == (32, 256)


def test_an_empty_frame_is_silent_everywhere():
    chirp = waveform(tx_order=(1, 3), samples=8, loops=4)
    words = np.zeros(chirp.frame_bytes // 2, np.int16)
    frame = reference_frame(words, chirp, preset("paper"))
    assert not frame.rd.any()
    assert not frame.ra.any()
    assert not reference_frame(words, chirp, CubeConfig()).rad.any()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"range_bins": 8}, "range_bins is 8, fewer than the waveform's 16 samples.*at least 16"),
        ({"doppler_bins": 4}, "doppler_bins is 4, fewer than the waveform's 6 loops.*at least 6"),
        ({"range_crop": (4, 17)}, r"range_crop \(4, 17\).*the 16 there are"),
        ({"range_crop": (5, 5)}, r"range_crop \(5, 5\) keeps no bins"),
        ({"doppler_crop": (-1, 4)}, r"doppler_crop \(-1, 4\)"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(changes, sentence):
    with pytest.raises(PipelineError, match=sentence):
        cube_grid(waveform(samples=16, loops=6), CubeConfig(**changes))


def test_axes_follow_crops_and_flip():
    chirp = waveform(tx_order=(1, 3), samples=16, loops=6)
    axes = cube_grid(chirp, CubeConfig(range_crop=(2, 5), doppler_crop=(1, 7), azimuth_bins=4)).axes(chirp)
    np.testing.assert_allclose(axes.range_m, chirp.range_resolution_m * np.array([2, 3, 4]))
    np.testing.assert_allclose(axes.azimuth_deg, [-90, -30, 0, 30])
    np.testing.assert_allclose(axes.velocity_mps, chirp.velocity_max_mps * np.arange(-3, 3) / 4)
    flipped = cube_grid(chirp, CubeConfig(range_crop=(2, 5), flip_range=True)).axes(chirp)
    np.testing.assert_allclose(flipped.range_m, axes.range_m[::-1])


@pytest.mark.parametrize("name", ["none", "hann", "hamming", "blackman"])
@pytest.mark.parametrize("length", [1, 2, 3, 8, 255])
def test_windows_are_symmetric_and_drop_no_sample(name, length):
    values = window(name, length)
    assert values.shape == (length,)
    np.testing.assert_allclose(values, values[::-1], atol=1e-15)
    assert values.min() > 0
    assert values.max() <= 1 + 1e-12


def test_windows_suppress_as_their_names_promise():
    """Highest side lobe, dB: Harris 1978, table 1."""
    for name, lobe in {"none": -13, "hann": -32, "hamming": -43, "blackman": -58}.items():
        spectrum = np.abs(np.fft.rfft(window(name, 64), 64 * 64))
        db = 20 * np.log10(np.maximum(spectrum / spectrum[0], 1e-9))
        first_null = np.flatnonzero(np.diff(db) > 0)[0]
        assert db[first_null:].max() == pytest.approx(lobe, abs=1)


def test_rows_used_here_have_the_gaps_they_claim():
    assert azimuth_row(waveform(tx_order=(1, 3), rx_channels=(1, 2, 4))).columns == (0, 1, 3, 4, 5, 7)
