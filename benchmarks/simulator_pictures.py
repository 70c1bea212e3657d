"""The pictures of docs/simulator.md, made from nothing but seeds.

    python -m benchmarks.simulator_pictures                       # all, into docs/pictures, half a minute
    python -m benchmarks.simulator_pictures actions --out /tmp    # one of: actions walker real

`real` needs the recordings kept beside the project (../shared/data) and says so where they are absent.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capture.simulator.actions import ACTIONS, perform
from capture.simulator.body import INDEX
from capture.simulator.echoes import EchoSynthesiser, frame_start_s
from capture.simulator.gait import walk
from capture.simulator.impairments import GOOD_BOARD, IDEAL, Impairments
from capture.simulator.motion import PlacedMotion, placed
from capture.simulator.people_scene import people_scene
from capture.simulator.person import person
from capture.simulator.room import lab_room
from capture.simulator.scene import Scene
from pipeline.cube_config import CubeConfig
from pipeline.picture_style import AZIMUTH, MAP_COLOURS, RANGE, VELOCITY, sheet
from pipeline.waveform import PRESETS, Waveform
from processing.adc import decode
from processing.transform import FrameTransform

PROJECT = Path(__file__).resolve().parent.parent
SHOWN = ("arm-raise", "torso-twist", "arm-flap", "stepping", "dynamic-knee-march", "reverse-warrior-reach")
MAPS = CubeConfig(products=("rd", "ra"), azimuth_bins=128)


def decibels(power: np.ndarray) -> np.ndarray:
    """Power in dB."""
    return 10 * np.log10(np.maximum(power, 1e-20))


def one_person(action: str, seed: int = 5, **where: float) -> Scene:
    """Somebody in a laboratory at one of the actions."""
    room = lab_room(seed)
    motion = perform(action, person(seed), seed, 20.0)
    return people_scene([placed(motion, where.pop("distance_m", 2.4), **where)], room)


def liveliest(
    scene: Scene, waveform: Waveform, impairments: Impairments, frames: range
) -> tuple[np.ndarray, np.ndarray]:
    """RD and RA in dB of the frame with most power away from zero Doppler."""
    echoes, transform = (
        EchoSynthesiser(scene, waveform, 1, impairments=impairments),
        FrameTransform(waveform, MAPS, threads=1),
    )
    best, kept = -1.0, None
    for index in frames:
        maps = transform(echoes.frame(index, frame_start_s(waveform, index)))
        assert maps.rd is not None
        assert maps.ra is not None
        middle = maps.rd.shape[1] // 2
        moving = np.delete(maps.rd[30:90], np.s_[middle - 6 : middle + 7], axis=1).sum()
        if moving > best:
            best, kept = float(moving), (maps.rd.copy(), maps.ra.copy())
    assert kept is not None
    return decibels(kept[0]), decibels(kept[1])


def draw_actions(out: Path) -> None:
    """RD above, RA below, of one frame of several actions, every column the same person."""
    w = PRESETS["paper"]
    axes = FrameTransform(w, MAPS, threads=1).axes()
    shown = [action for action in SHOWN if action in ACTIONS]
    with sheet(out / "sim-actions.png", 2.6 * len(shown), 6.4) as figure:
        plots = figure.subplots(2, len(shown), squeeze=False)
        for column, action in enumerate(shown):
            try:
                rd, ra = liveliest(one_person(action), w, GOOD_BOARD, range(10, 60, 3))
            except NotImplementedError:
                continue
            top = rd[:130].max()
            plots[0, column].pcolormesh(
                axes.velocity_mps, axes.range_m[:130], rd[:130], vmin=top - 55, vmax=top, cmap=MAP_COLOURS
            )
            plots[0, column].set(xlim=(-4, 4), title=action, xlabel=VELOCITY if column == 0 else "")
            top = ra[:130].max()
            plots[1, column].pcolormesh(
                axes.azimuth_deg, axes.range_m[:130], ra[:130], vmin=top - 30, vmax=top, cmap=MAP_COLOURS
            )
            plots[1, column].set(xlim=(-60, 60), xlabel=AZIMUTH if column == 0 else "")
        plots[0, 0].set_ylabel(RANGE)
        plots[1, 0].set_ylabel(RANGE)


def continuous(waveform: Waveform) -> Waveform:
    """The same chirps without a pause between frames, so that slow time has no gaps."""
    return waveform.model_copy(update={"period_ms": waveform.loops * waveform.loop_period_s * 1e3})


def slow_time(
    scene: Scene, seconds: float, impairments: Impairments = IDEAL, first_s: float = 0.0
) -> tuple[np.ndarray, Waveform]:
    """Range spectra [loop, virtual antenna, range] of `seconds` of gapless chirps."""
    w = continuous(PRESETS["paper"])
    echoes = EchoSynthesiser(scene, w, 1, impairments=impairments)
    frames = []
    for index in range(int(np.ceil(seconds / w.frame_period_s))):
        samples = decode(echoes.frame(index, first_s + frame_start_s(w, index)), w)
        frames.append(np.fft.fft(samples * np.hanning(w.samples), axis=-1)[..., :160].reshape(w.loops, -1, 160))
    return np.concatenate(frames), w


def spectrogram(series: np.ndarray, w: Waveform) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Micro-Doppler [velocity, time] in dB of range spectra [loop, antenna, range], static echoes removed."""
    series = series - series.mean(axis=0)
    length, hop = 256, 64
    window = np.hanning(length)[:, None, None]
    columns = []
    for start in range(0, len(series) - length, hop):
        spectrum = np.fft.fftshift(np.fft.fft(series[start : start + length] * window, axis=0), axes=0)
        columns.append((np.abs(spectrum) ** 2).sum(axis=(1, 2)))
    times = (np.arange(len(columns)) * hop + length / 2) * w.loop_period_s
    return decibels(np.array(columns).T), times, w.velocity_axis_mps(length)


def draw_walker(out: Path) -> None:
    """Micro-Doppler of somebody who walks up to the radar, and how fast pelvis and feet really are."""
    motion = PlacedMotion(walk(person(4), ((0.2, 6.3), (0.0, 1.3)), 1, speed_mps=1.2), (0.0, 0.0, -1.0))
    series, w = slow_time(people_scene([motion], scatterers=500), motion.duration_s)
    power, times, velocities = spectrogram(series[:, ::4], w)
    joints = motion.joints_at(times)
    away = np.linalg.norm(joints, axis=2)
    speed = np.gradient(away, times, axis=0)
    with sheet(out / "sim-walker.png", 9, 4.2) as figure:
        plot = figure.subplots()
        top = power.max()
        plot.pcolormesh(times, velocities, power, vmin=top - 65, vmax=top, cmap=MAP_COLOURS)
        plot.plot(times, speed[:, INDEX["pelvis"]], color="white", linewidth=0.9, label="pelvis")
        for side, style in (("left", "--"), ("right", ":")):
            plot.plot(
                times, speed[:, INDEX[f"{side}_ankle"]], style, color="#ff8a80", linewidth=0.9, label=f"{side} ankle"
            )
        plot.legend(loc="upper right", labelcolor="white")
        plot.set(
            xlabel="time (s)",
            ylabel=VELOCITY,
            ylim=(-5.5, 3),
            title="Micro-Doppler of a walker (1.2 m/s), lines: truth",
        )


def repaired_openradar() -> np.ndarray | None:
    """One real frame, complex [loop, virtual, sample]; None where it is absent."""
    path = PROJECT.parent / "shared" / "data" / "openradar_8virt_frame" / "doppler_example_1.npy"
    if not path.is_file():
        return None
    stored = np.load(path)
    parts = [
        part.astype(np.int64).astype(np.uint16).view(np.int16).astype(np.float64) for part in (stored.real, stored.imag)
    ]
    return parts[0] + 1j * parts[1]


OPENRADAR = Waveform(
    name="openradar", start_frequency_ghz=77.4201, idle_time_us=30, adc_start_time_us=6, ramp_end_time_us=62,
    slope_mhz_per_us=60, samples=128, sample_rate_ksps=2500, tx_order=(1, 3), loops=128, period_ms=50.0,
)  # fmt: skip


def rd_of(samples: np.ndarray) -> np.ndarray:
    """Range-Doppler power in dB [range, doppler] of [loop, virtual, sample], windowed both ways, nothing removed."""
    loops, _, count = samples.shape
    windowed = samples * np.hanning(count) * np.hanning(loops)[:, None, None]
    spectrum = np.fft.fftshift(np.fft.fft(np.fft.fft(windowed, axis=2), axis=0), axes=0)
    return decibels((np.abs(spectrum) ** 2).mean(axis=1)).T


def draw_real(out: Path) -> None:
    """A real frame and a simulated one of the same waveform, side by side."""
    real = repaired_openradar()
    if real is None:
        print("REAL DATA ABSENT: ../shared/data is not there, so sim-real.png was not made")
        return
    w = OPENRADAR
    echoes = EchoSynthesiser(one_person("arm-swing", distance_m=2.9), w, 1, impairments=GOOD_BOARD)
    simulated = decode(echoes.frame(40, 4.0), w).reshape(w.loops, -1, w.samples)
    with sheet(out / "sim-real.png", 10, 7) as figure:
        plots = figure.subplots(2, 2)
        for column, (name, samples) in enumerate((("real (OpenRadar's frame)", real), ("simulated", simulated))):
            rd = rd_of(samples)
            floor = np.median(rd)
            velocity = w.velocity_axis_mps()
            plots[0, column].pcolormesh(velocity, w.range_axis_m(), rd - floor, vmin=0, vmax=60, cmap=MAP_COLOURS)
            plots[0, column].set(title=f"{name}: dB over its noise", xlabel=VELOCITY, ylabel=RANGE)
            middle = w.loops // 2
            moving = np.delete(rd, np.s_[middle - 2 : middle + 3], axis=1).max(axis=1)
            plots[1, column].plot(w.range_axis_m(), rd[:, middle] - floor, color="#222222", label="at zero Doppler")
            plots[1, column].plot(w.range_axis_m(), moving - floor, color="#c62828", label="strongest elsewhere")
            plots[1, column].set(xlabel=RANGE, ylabel="dB over noise", ylim=(-5, 100))
            plots[1, column].legend()


DRAWINGS = {"actions": draw_actions, "walker": draw_walker, "real": draw_real}


def main() -> None:
    """Draw what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", choices=[[], *DRAWINGS], default=[])
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "pictures")
    options = parser.parse_args()
    for name in options.which or DRAWINGS:
        DRAWINGS[name](options.out)


if __name__ == "__main__":
    main()
