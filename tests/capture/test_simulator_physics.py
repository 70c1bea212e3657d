"""Proof that the simulated echoes are physical: theory, symmetry, and real recordings.

What a single point does (its bins, TDM, R^-4, height) is in test_simulator_echoes.py.
"""

from functools import lru_cache

import numpy as np
import pytest
from scipy.special import j0

from capture.simulator.actions import perform
from capture.simulator.body import INDEX
from capture.simulator.echoes import EchoSynthesiser, element_positions, frame_start_s, window_start_s
from capture.simulator.gait import walk
from capture.simulator.impairments import GOOD_BOARD, IDEAL, Impairments
from capture.simulator.motion import PlacedMotion, placed
from capture.simulator.people_scene import people_scene
from capture.simulator.person import person
from capture.simulator.room import lab_room
from capture.simulator.scene import PointScene, Scatterer, line, oscillation
from pipeline.cube_config import CubeConfig
from pipeline.waveform import PRESETS, Waveform
from processing.adc import decode
from processing.transform import FrameTransform

W = PRESETS["light"].model_copy(update={"name": "test", "samples": 128})
GAPLESS = W.model_copy(update={"tx_order": (1,), "rx_channels": (1, 2), "loops": 250, "period_ms": 250 * 120e-3})
QUIET = Impairments(noise_lsb=0.0)
MAPS = CubeConfig(products=("rd", "ra"), azimuth_bins=64, clutter_removal=False)


@lru_cache
def transform_of(w: Waveform, config: CubeConfig) -> FrameTransform:
    return FrameTransform(w, config, threads=1)


def maps_of(scene, start_s: float, w: Waveform = W, config: CubeConfig = MAPS, gain: float = 20_000.0):
    words = EchoSynthesiser(scene, w, impairments=QUIET, gain=gain).frame(0, start_s)
    assert np.abs(words.astype(int)).max() < 32767
    frame = transform_of(w, config)(words)
    return frame.rd.copy(), frame.ra.copy()


def slow_time(scene, seconds: float, gain: float = 20_000.0, first_s: float = 0.0) -> np.ndarray:
    """Range spectra [loop, rx, range] without gaps in time."""
    echoes = EchoSynthesiser(scene, GAPLESS, impairments=QUIET, gain=gain)
    window = np.hanning(GAPLESS.samples)
    return np.concatenate(
        [
            np.fft.fft(decode(echoes.frame(n, first_s + frame_start_s(GAPLESS, n)), GAPLESS)[:, 0] * window, axis=-1)
            for n in range(int(seconds / GAPLESS.frame_period_s))
        ]
    )


def spectrogram(series: np.ndarray, length: int, hop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power [time, velocity], summed over receivers and range, with its axes."""
    starts = np.arange(0, len(series) - length, hop)
    window = np.hanning(length)[:, None, None]
    power = np.stack(
        [
            np.sum(
                np.abs(np.fft.fftshift(np.fft.fft(series[at : at + length] * window, axis=0), axes=0)) ** 2, axis=(1, 2)
            )
            for at in starts
        ]
    )
    return power, (starts + length / 2) * GAPLESS.loop_period_s, GAPLESS.velocity_axis_mps(length)


# --- motion ----------------------------------------------------------------------------------------------------------


def test_a_pendulums_micro_doppler_is_its_velocity():
    swing_m, cycles_per_s = 0.25, 0.8
    scene = PointScene(moving=(Scatterer(oscillation((0.0, 3.0, 0.0), (0.0, swing_m, 0.0), cycles_per_s), 0.5),))
    power, times, velocities = spectrogram(slow_time(scene, 1.5, gain=100_000.0), 256, 64)
    seen = velocities[np.argmax(power, axis=1)]
    omega = 2 * np.pi * cycles_per_s
    np.testing.assert_allclose(seen, swing_m * omega * np.cos(omega * times), atol=0.06)
    assert seen.max() == pytest.approx(swing_m * omega, abs=0.05)


@pytest.mark.parametrize(("seed", "speed_mps"), [(3, 1.2), (4, 0.9)])
def test_a_walkers_torso_moves_at_walking_speed_and_the_feet_three_times_as_fast(seed, speed_mps):
    motion = PlacedMotion(walk(person(seed), ((0.0, 6.0), (0.0, 1.0)), 1, speed_mps=speed_mps), (0.0, 0.0, -1.0))
    power, times, velocities = spectrogram(slow_time(people_scene([motion]), 2.6, first_s=1.1), 128, 32)
    mean = power.mean(axis=0)
    assert velocities[np.argmax(mean)] == pytest.approx(-speed_mps, abs=0.2)
    # The envelope: the fastest approach that stands out of the side lobes of the torso.
    bright = power > 2e-4 * np.median(power.max(axis=1))
    fastest = -np.array([velocities[row][0] if row.any() else 0.0 for row in bright])
    joints = motion.joints_at(1.1 + times)
    feet = [
        -np.gradient(joints[:, INDEX[f"{side}_{part}"], 1], times)
        for side in ("left", "right")
        for part in ("heel", "toe")
    ]
    truth = np.max(feet, axis=0)
    assert np.percentile(fastest, 95) == pytest.approx(np.percentile(truth, 95), rel=0.15)
    assert 2.5 < np.percentile(fastest, 95) / speed_mps < 4.2
    # Cadence: how often the envelope comes and goes, against the steps that the feet really take.
    assert rhythm(fastest, times) == pytest.approx(rhythm(truth, times), rel=0.12)


def rhythm(series: np.ndarray, times: np.ndarray) -> float:
    """The strongest rate between 0.8 and 4 a second."""
    rate = np.fft.rfftfreq(8 * len(series), times[1] - times[0])
    spectrum = np.abs(np.fft.rfft((series - series.mean()) * np.hanning(len(series)), 8 * len(series)))
    between = (rate > 0.8) & (rate < 4)
    return float(rate[between][np.argmax(spectrum[between])])


class OnlyBreathing:
    """A motion whose joints stand still."""

    def __init__(self, motion: PlacedMotion, swing_m: float, rate_hz: float) -> None:
        self.person, self.duration_s, self._motion = motion.person, motion.duration_s, motion
        self._swing_m, self._rate_hz = swing_m, rate_hz

    def joints_at(self, times_s):
        return np.repeat(self._motion.joints_at(np.zeros(1)), len(times_s), axis=0)

    def chest_rise_at(self, times_s):
        return 0.5 * self._swing_m * np.sin(2 * np.pi * self._rate_hz * times_s)


@pytest.mark.parametrize("swing_m", [0.004, 0.008, 0.012])
def test_breathing_turns_the_phase_by_the_chests_way(swing_m):
    motion = OnlyBreathing(placed(perform("head-turn", person(2), 1, 5.0), 2.0), swing_m, 0.25)
    w = W.model_copy(update={"loops": 8, "period_ms": 100.0})
    scene = people_scene([motion])
    echoes = EchoSynthesiser(scene, w, impairments=IDEAL, gain=20_000.0)
    cells = []
    for index in range(80):
        samples = decode(echoes.frame(index, frame_start_s(w, index)), w)
        cells.append(np.fft.fft(samples.mean(axis=0) * np.hanning(w.samples), axis=-1))
    cells = np.array(cells).reshape(80, -1)
    cells = cells - cells.mean(axis=0)
    times = np.arange(80) * 0.1
    rise = motion.chest_rise_at(times)
    # Undo the phase that a wall moving by `share` of the rise would have: what moves so adds up, nothing else does.
    shares = np.linspace(-1.5, 1.5, 241)
    undone = np.exp(4j * np.pi / w.wavelength_m * shares[:, None] * rise)  # nearer is less phase
    power = np.sum(np.abs(undone @ cells) ** 2, axis=1) / len(rise) / np.sum(np.abs(cells) ** 2)
    # The share by which the skin really comes nearer, weighted with the power that moves: in a phase of beta sin(), a
    # Bessel function J0 of the zeroth order stays, the rest moves.
    positions, amplitude = scene.scatterers_at(times)
    nearer = -np.polyfit(rise, np.linalg.norm(positions, axis=2), 1)[0]
    beta = 4 * np.pi / w.wavelength_m * 0.5 * swing_m
    moving = (amplitude**2).mean(axis=0) * (1 - j0(beta * nearer) ** 2)
    true_share = np.average(nearer, weights=moving)
    assert 0.6 < true_share < 0.9  # skin that rises along the chest's front, met at an angle
    # What is undone by a share that is wrong by e keeps J0(beta e)^2 of its power: half of it at beta e = 1.13.
    assert shares[np.argmax(power)] == pytest.approx(true_share, abs=1.13 / beta)
    assert power.max() > 0.5
    assert power.max() > 4 * power[shares < -0.5].max()  # a chest that rises comes nearer
    assert power.max() > 4 * power[shares > 1.0 + 2.4 / beta].max()  # and no skin by more than the chest: J0(2.4) = 0


# --- power and place -------------------------------------------------------------------------------------------------


def test_a_persons_echo_falls_with_the_fourth_power_of_range():
    powers = []
    for distance_m in (1.8, 3.6):
        motion = placed(perform("torso-twist", person(5), 1, 5.0), distance_m)
        frames = [
            maps_of(people_scene([motion]), t, W.model_copy(update={"loops": 16}))[0].sum()
            for t in np.arange(0, 4, 0.25)
        ]
        powers.append(np.mean(frames))
    assert 10 * np.log10(powers[0] / powers[1]) == pytest.approx(40 * np.log10(2), abs=2.0)


@pytest.mark.parametrize("azimuth_deg", [-30.0, -12.0, 20.0])
def test_a_person_to_the_right_is_on_the_right(azimuth_deg):
    motion = placed(perform("torso-twist", person(6), 1, 5.0), 2.4, np.radians(azimuth_deg))
    ra = np.mean([maps_of(people_scene([motion]), t)[1] for t in (0.5, 1.5, 2.5, 3.5)], axis=0)
    axes = FrameTransform(W, MAPS, threads=1).axes()
    row, column = np.unravel_index(np.argmax(ra), ra.shape)
    assert axes.azimuth_deg[column] == pytest.approx(azimuth_deg, abs=4)
    assert axes.range_m[row] == pytest.approx(2.3, abs=0.2)


# --- symmetries, per map ---------------------------------------------------------------------------------------------


class Mirrored:
    """A scene's mirror image, left for right, about the middle of the virtual array."""

    def __init__(self, scene, w: Waveform) -> None:
        tx, rx = element_positions(w)
        self._scene, self._middle_m = scene, float((tx[:, 0].mean() + rx[:, 0].mean()) / 2)

    def scatterers_at(self, times_s):
        positions, amplitude = self._scene.scatterers_at(times_s)
        mirrored = positions.copy()
        mirrored[:, :, 0] = 2 * self._middle_m - positions[:, :, 0]
        return mirrored, amplitude

    def room(self):
        return np.zeros((0, 3)), np.zeros(0)


class Backwards:
    """A scene that runs backwards about `middle_s`."""

    def __init__(self, scene, middle_s: float) -> None:
        self._scene, self._middle_s = scene, middle_s

    def scatterers_at(self, times_s):
        return self._scene.scatterers_at(2 * self._middle_s - times_s)

    def room(self):
        return np.zeros((0, 3)), np.zeros(0)


def flipped(array: np.ndarray) -> np.ndarray:
    """The last axis about its zero, which lies in bin n // 2; an even count's lowest bin has no partner and stays."""
    return np.roll(array[:, ::-1], 1, axis=1) if array.shape[1] % 2 == 0 else array[:, ::-1]


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two maps in dB over the cells that lie within 35 dB of the peak in either."""
    bright = np.maximum(first, second) > 10**-3.5 * max(first.max(), second.max())
    floor = 10**-4.5 * max(first.max(), second.max())
    one, other = (np.log(np.maximum(each[bright], floor)) for each in (first, second))
    return float(np.corrcoef(one, other)[0, 1])


LIVELY = [("arm-swing", 1.1), ("torso-twist", 1.7), ("arm-raise", 2.3)]


def lively(action: str):
    return people_scene([placed(perform(action, person(7), 1, 5.0), 2.3, 0.15)])


@pytest.mark.parametrize(("action", "start_s"), LIVELY)
def test_a_mirrored_person_has_nearly_the_same_rd_and_a_mirrored_ra(action, start_s):
    scene = lively(action)
    rd, ra = maps_of(scene, start_s)
    mirrored_rd, mirrored_ra = maps_of(Mirrored(scene, W), start_s)
    # Mirrored positions are exact; TDM compensation, which takes each Doppler bin's middle, is not, and not the same for both.
    assert likeness(rd, mirrored_rd) > 0.9995
    assert likeness(flipped(ra), mirrored_ra) > 0.999
    assert likeness(ra, mirrored_ra) < 0.9


@pytest.mark.parametrize(("action", "start_s"), LIVELY)
def test_time_reversed_flips_doppler_on_rd_and_leaves_ra(action, start_s):
    scene = lively(action)
    first_s, last_s = window_start_s(W).ravel()[[0, -1]] + 0.5 * W.samples / W.sample_rate_hz
    middle_s = start_s + 0.5 * (first_s + last_s)
    rd, ra = maps_of(scene, start_s)
    back_rd, back_ra = maps_of(Backwards(scene, middle_s), start_s)
    # What is left of the difference: a beat is S tau + f_d, so reversal moves an echo by 2 v f_c / S in range, 5 mm or a
    # seventeenth of a bin at 2 m/s; and transmitters that take turns see each place half a loop earlier or later.
    assert likeness(flipped(rd), back_rd) > 0.9995
    assert likeness(rd, back_rd) < 0.95
    assert likeness(ra, back_ra) > 0.999
    assert likeness(flipped(ra), back_ra) < 0.95


def test_sign_conventions_hold_for_a_walker_to_the_right():
    """Receding is positive Doppler and right is positive azimuth, on one moving person at once."""
    w = W.model_copy(update={"loops": 64})
    person_right = Scatterer(line((1.2, 2.2, 0.0), (0.5, 1.0, 0.0)), 0.5)
    rd, ra = maps_of(PointScene(moving=(person_right,)), 0.0, w)
    axes = FrameTransform(w, MAPS, threads=1).axes()
    assert axes.velocity_mps[np.argmax(rd.max(axis=0))] == pytest.approx(
        (1.2 * 0.5 + 2.2) / np.hypot(1.2, 2.2), abs=0.15
    )
    assert axes.azimuth_deg[np.argmax(ra.max(axis=0))] == pytest.approx(28.6, abs=2.5)


# --- real recordings -------------------------------------------------------------------------------------------------

OPENRADAR = Waveform(
    name="openradar", start_frequency_ghz=77.4201, idle_time_us=30, adc_start_time_us=6, ramp_end_time_us=62,
    slope_mhz_per_us=60, samples=128, sample_rate_ksps=2500, tx_order=(1, 3), loops=128, period_ms=50.0,
)  # fmt: skip


def portrait(samples: np.ndarray, w: Waveform) -> dict[str, float]:
    """What a frame [loop, channel, sample] looks like: dB over its noise, and how far its movers spread."""
    windowed = samples * np.hanning(w.samples) * np.hanning(w.loops)[:, None, None]
    spectrum = np.fft.fftshift(np.fft.fft(np.fft.fft(windowed, axis=2), axis=0), axes=0)
    rd = (np.abs(spectrum) ** 2).mean(axis=1).T
    floor = np.median(rd)
    metres, middle = w.range_axis_m(), w.loops // 2
    within = (metres > 1.3) & (metres < 5.5)
    still = rd[within, middle]
    moving = np.delete(rd, np.s_[middle - 2 : middle + 3], axis=1)[within]
    noise = np.delete(rd, np.s_[middle - 40 : middle + 41], axis=1)[within]
    bright = moving > 0.01 * moving.max()
    per_sample = np.sum(np.hanning(w.samples) ** 2) * np.sum(np.hanning(w.loops) ** 2)
    return {
        "noise_lsb": float(np.sqrt(floor / np.log(2) / per_sample / 2)),
        "noise_spread_db": float(10 * np.log10(np.percentile(noise, 95) / np.percentile(noise, 5))),
        "clutter_db": float(10 * np.log10(np.median(still) / floor)),
        "clutter_spread_db": float(np.std(10 * np.log10(still))),
        "mover_db": float(10 * np.log10(moving.max() / floor)),
        "mover_range_m": float(bright.any(axis=1).sum() * w.range_resolution_m),
        "mover_doppler_mps": float(bright.any(axis=0).sum() * w.velocity_resolution_mps),
    }


def test_a_simulated_frame_has_noise_clutter_and_spread_like_a_real_one(shared_data):
    stored = np.load(shared_data / "openradar_8virt_frame" / "doppler_example_1.npy")
    parts = [
        part.astype(np.int64).astype(np.uint16).view(np.int16).astype(float) for part in (stored.real, stored.imag)
    ]
    real = portrait(parts[0] + 1j * parts[1], OPENRADAR)
    w = OPENRADAR
    found = []
    for seed in range(3):
        scene = people_scene([placed(perform("arm-swing", person(seed), 1, 6.0), 2.95)], lab_room(seed))
        echoes = EchoSynthesiser(scene, w, seed, impairments=GOOD_BOARD)
        found += [
            portrait(decode(echoes.frame(n, 1.0 + n * 0.7), w).reshape(w.loops, -1, w.samples), w) for n in range(4)
        ]
    simulated = {name: float(np.median([each[name] for each in found])) for name in real}
    assert real["noise_lsb"] / 3 < simulated["noise_lsb"] < 3 * real["noise_lsb"]
    assert simulated["noise_spread_db"] == pytest.approx(real["noise_spread_db"], abs=3)
    assert simulated["clutter_db"] == pytest.approx(real["clutter_db"], abs=10)
    assert simulated["clutter_spread_db"] == pytest.approx(real["clutter_spread_db"], abs=5)
    assert simulated["mover_db"] == pytest.approx(real["mover_db"], abs=12)
    assert real["mover_range_m"] / 3 < simulated["mover_range_m"] < 3 * real["mover_range_m"]
    assert real["mover_doppler_mps"] / 3 < simulated["mover_doppler_mps"] < 3 * real["mover_doppler_mps"]
