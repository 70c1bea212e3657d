"""The simulated echoes: fast path against the plain sum, and the plain sum against physics."""

import numpy as np
import pytest

from capture.simulator.clock import DeviceClock
from capture.simulator.echoes import EchoSynthesiser, direct_sum, frame_start_s, simulate_frames
from capture.simulator.impairments import Impairments
from capture.simulator.scene import PointScene, Scatterer, along, circle, default_scene, line, oscillation
from pipeline.antennas import azimuth_row
from pipeline.errors import PipelineError
from pipeline.waveform import PRESETS, Waveform

BASE = PRESETS["light"].model_copy(update={"name": "test", "loops": 32, "samples": 64, "period_ms": 20.0})

ORDER_OF_WORDS = {"i-first": (0, 1, 2, 3), "q-first": (2, 3, 0, 1), "interleaved": (0, 2, 1, 3)}


def waveform(**changes: object) -> Waveform:
    return Waveform.model_validate({**BASE.model_dump(), **changes})


def samples(words: np.ndarray, w: Waveform) -> np.ndarray:
    """Complex samples of one frame's words, by the layouts of hardware.md written out: (loop, tx, rx, sample)."""
    i0, i1, q0, q1 = ORDER_OF_WORDS[w.sample_order]
    groups = words.reshape(-1, 4).astype(np.float64)
    pairs = np.stack([groups[:, i0] + 1j * groups[:, q0], groups[:, i1] + 1j * groups[:, q1]], axis=1)
    return pairs.reshape(w.frame_shape)


def decibels(signal: np.ndarray, reference: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.abs(signal) ** 2) / np.mean(np.abs(reference) ** 2))


LIVELY = PointScene(
    moving=(
        Scatterer(line((0.4, 2.0, 0.1), (0.5, 4.0, -0.3)), 1.0),
        Scatterer(line((-0.8, 3.0, 0.2), (0.2, -3.0, 0.0)), 0.8),
        Scatterer(oscillation((0.1, 1.2, -0.4), (0.05, 0.3, 0.1), 2.0, 0.1), 0.3),
        Scatterer(circle((1.0, 2.5, 0.0), 0.2, 3.0), 0.5),
        Scatterer(along(line((0, 2.4, 0), (0, 1, 0)), oscillation((0, 0, 0.3), (0, 0.2, 0), 1.5)), 0.5),
    ),
    fixed=(((0.3, 4.0, 0.1), 2.0), ((-2.0, 2.0, 0.0), 1.0)),
)


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_order": "q-first"},
        {"sample_order": "i-first", "tx_order": (1, 3, 2)},
        {"sample_order": "interleaved", "tx_order": (2,), "rx_channels": (2, 4), "samples": 50},
        {"tx_order": (3, 1), "loops": 1, "samples": 2},
        {"start_frequency_ghz": 60.25, "slope_mhz_per_us": 40.0, "samples": 130, "loops": 7},
    ],
)
def test_the_fast_path_is_the_plain_sum_below_minus_60_db(changes):
    w = waveform(**changes)
    echoes = EchoSynthesiser(LIVELY, w, gain=25_000.0, impairments=Impairments(noise_lsb=0.0))
    fast = samples(echoes.frame(0, 0.3), w)
    exact = direct_sum(LIVELY, w, 0.3, gain=25_000.0)
    assert 5_000 < np.abs(exact).max() < 32_000
    assert decibels(fast - exact, exact) < -60


def test_threads_change_nothing():
    w = waveform(samples=40)
    one, three = (EchoSynthesiser(LIVELY, w, 5, threads=threads).frame(2, 0.1) for threads in (1, 3))
    np.testing.assert_array_equal(one, three)


def test_a_scene_without_movers_or_without_a_room_is_one_too():
    w = waveform(loops=2)
    room = PointScene(fixed=(((0.0, 2.0, 0.0), 1.0),))
    exact = direct_sum(room, w)
    fast = samples(EchoSynthesiser(room, w, impairments=Impairments(noise_lsb=0.0)).frame(0, 0.0), w)
    assert decibels(fast - exact, exact) < -50  # 375 counts, rounded
    assert not np.any(EchoSynthesiser(PointScene(), w, impairments=Impairments(noise_lsb=0.0)).frame(0, 0.0))


# --- physics ---------------------------------------------------------------------------------------------------------


def peak(w: Waveform, scene: PointScene, compensate: bool = True) -> tuple[float, float, float]:
    """Range (m), velocity (m/s, receding positive) and azimuth (degrees, right positive) of the brightest cell, by plain
    FFTs over samples, loops and antenna columns.
    """
    data = samples(simulate_frames(scene, w, 1)[0], w)
    data = data - data.mean(axis=0, keepdims=True)
    data = data * np.hanning(w.samples) * np.hanning(w.loops + 2)[1:-1, None, None, None]
    ranges = 4 * w.samples
    cube = np.fft.fft(np.fft.fft(data, ranges, axis=3), axis=0)
    bins = np.fft.fftfreq(w.loops, 1 / w.loops)
    if compensate:
        turn = np.exp(-2j * np.pi * bins[:, None] * np.arange(w.tx_slots) / (w.loops * w.tx_slots))
        cube = cube * turn[:, :, None, None]
    row = azimuth_row(w)
    columns = np.zeros((w.loops, 256, ranges), complex)
    flat = cube.reshape(w.loops, -1, ranges)
    for element, column in zip(row.elements, row.columns, strict=True):
        columns[:, column] = flat[:, element]
    power = np.abs(np.fft.fftshift(np.fft.fft(columns, axis=1), axes=1)) ** 2
    doppler, azimuth, distance = np.unravel_index(np.argmax(power), power.shape)
    return (
        float(w.range_axis_m(ranges)[distance]),
        float(bins[doppler] * w.velocity_resolution_mps),
        float(w.azimuth_axis_deg(256)[azimuth]),
    )


@pytest.mark.parametrize("tx_order", [(1,), (3,), (2,), (1, 3), (3, 1), (1, 3, 2), (1, 2, 3)])
@pytest.mark.parametrize(("azimuth_deg", "speed_mps"), [(20.0, 1.1), (-35.0, -0.9), (5.0, -2.0)])
def test_a_mover_lands_in_its_range_velocity_and_azimuth(tx_order, azimuth_deg, speed_mps):
    w = waveform(tx_order=tx_order, loops=64)
    speed_mps *= w.velocity_max_mps / 2.2  # stays unambiguous for every order
    towards = np.array([np.sin(np.radians(azimuth_deg)), np.cos(np.radians(azimuth_deg)), 0.0])
    middle_s = w.loop_period_s * w.loops / 2
    start = towards * (1.5 - speed_mps * middle_s)
    scene = PointScene(moving=(Scatterer(line(tuple(start), tuple(speed_mps * towards)), 0.5),))
    range_m, velocity_mps, found_deg = peak(w, scene)
    assert range_m == pytest.approx(1.5, abs=w.range_resolution_m / 2)
    assert velocity_mps == pytest.approx(speed_mps, abs=0.6 * w.velocity_resolution_mps)
    assert found_deg == pytest.approx(azimuth_deg, abs=4.0 if len(azimuth_row(w).elements) == 8 else 8.0)


def test_without_compensation_a_fast_mover_is_seen_in_a_wrong_direction():
    w = waveform(loops=64)
    scene = PointScene(moving=(Scatterer(line((0.0, 1.5, 0.0), (0.0, 0.8 * w.velocity_max_mps, 0.0)), 0.5),))
    assert abs(peak(w, scene)[2]) < 1
    assert peak(w, scene, compensate=False)[2] > 3.5


def test_echo_power_falls_with_the_fourth_power_of_range():
    w = waveform(loops=1)
    near, far = (direct_sum(PointScene(fixed=(((0.0, y, 0.0), 1.0),)), w) for y in (1.0, 3.0))
    assert decibels(near, far) == pytest.approx(40 * np.log10(3), abs=0.05)


def test_an_element_above_sees_the_phase_of_height_only():
    w = waveform(tx_order=(1, 2), loops=1)
    level, raised = (
        direct_sum(PointScene(fixed=(((0.0, 3 * np.cos(e), 3 * np.sin(e)), 1.0),)), w)[0, :, 2, 32] for e in (0.0, 0.3)
    )
    # TX2 sits two columns along and half a wavelength above TX1: straight ahead only height turns the phase.
    assert np.angle(level[1] / level[0]) == pytest.approx(0, abs=0.05)
    assert np.angle(raised[1] / raised[0]) == pytest.approx(-np.pi * np.sin(0.3), abs=0.05)


def test_noise_has_its_level_in_every_frame_and_repeats_with_the_seed():
    w = waveform()
    frames = simulate_frames(PointScene(), w, 3, seed=1)
    assert frames.astype(float).std(axis=1) == pytest.approx(6.0, rel=0.02)
    assert abs(np.corrcoef(frames[0], frames[1])[0, 1]) < 0.02
    np.testing.assert_array_equal(frames, simulate_frames(PointScene(), w, 3, seed=1))
    assert np.any(frames != simulate_frames(PointScene(), w, 3, seed=2))


def test_strong_echoes_saturate():
    w = waveform(loops=2)
    words = EchoSynthesiser(PointScene(fixed=(((0.0, 1.0, 0.0), 1.0),)), w, gain=1e6).frame(0, 0.0)
    assert (words.min(), words.max()) == (-32768, 32767)
    assert np.mean(np.abs(words.astype(int)) >= 32767) > 0.9


def test_an_odd_number_of_samples_has_no_layout():
    with pytest.raises(PipelineError, match="33 samples per chirp is odd"):
        EchoSynthesiser(PointScene(), waveform(samples=33))


def test_the_default_scene_has_a_walker_and_walls_and_does_not_saturate():
    w = waveform(samples=256, loops=64)
    frames = simulate_frames(default_scene(3), w, 2, seed=3)
    assert 300 < np.abs(frames.astype(int)).max() < 32767
    data = np.stack([samples(frame, w) for frame in frames])
    data = data * np.hanning(w.samples) * np.hanning(w.loops)[:, None, None, None]
    power = np.abs(np.fft.fft(np.fft.fft(data, axis=4), axis=1)) ** 2
    rd = power.mean(axis=(0, 2, 3))  # (doppler, range)
    floor = np.median(rd)
    near_walls = slice(int(5.4 / w.range_resolution_m), int(6.6 / w.range_resolution_m))
    assert rd[0, near_walls].max() > 1000 * floor
    walker = slice(int(1.7 / w.range_resolution_m), int(3.9 / w.range_resolution_m))
    assert rd[3:-2, walker].max() > 30 * floor
    assert np.any(default_scene(3).room()[0] != default_scene(4).room()[0])


def test_scenes_move_as_they_say():
    times = np.array([0.0, 0.25, 0.5])
    np.testing.assert_allclose(line((1, 2, 3), (0, 2, 0))(times)[:, 1], [2, 2.5, 3])
    np.testing.assert_allclose(circle((0, 2, 0), 0.5, 1.0)(times)[:, :2], [[0.5, 2], [0, 2.5], [-0.5, 2]], atol=1e-12)
    np.testing.assert_allclose(oscillation((0, 2, 0), (0, 0.1, 0), 1.0)(times)[:, 1], [2, 2.1, 2], atol=1e-12)


def test_a_drifting_clock_moves_frames_and_nothing_else():
    fast = DeviceClock(offset_s=3.0, drift_ppm=200.0)
    assert frame_start_s(BASE, 1000, fast) == pytest.approx(1000 * BASE.frame_period_s / 1.0002, rel=1e-12)
    assert fast.true_s(fast.reading_s(12.5)) == pytest.approx(12.5)
    scene = PointScene(moving=(Scatterer(line((0, 2, 0), (0, 1, 0)), 1.0),))
    plain, drifted = (simulate_frames(scene, BASE, 2, clock=clock) for clock in (None, fast))
    np.testing.assert_array_equal(plain[0], drifted[0])
    assert np.any(plain[1] != drifted[1])
