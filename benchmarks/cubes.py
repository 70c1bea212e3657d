"""How fast cubes are made: ours beside plain numpy and scipy.fft, and beside what this machine's memory allows.

    python -m benchmarks.cubes                 # the paper's frame: 256 samples x 255 loops x 2 TX x 4 RX, about a minute
    python -m benchmarks.cubes --seconds 20    # a quick look
    python -m benchmarks.cubes --preset light  # another waveform

Every contender takes the same int16 words to the same products: cube (256 range x 64 azimuth x 256 Doppler), range-Doppler and
range-azimuth map, with windows, clutter removal and TDM compensation. The peers stop at float32 power; ours also writes uint8
dB steps. Contenders take turns within every round, so that a busy neighbour slows all of them; quote ratios, not milliseconds.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import scipy.fft

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from numba import njit

from pipeline.cube_config import CubeConfig
from pipeline.waveform import PRESETS, Waveform
from processing.adc import decode
from processing.grid import cube_grid
from processing.lanes_kernels import LANES, fill, load, store
from processing.store_kernels import NONE
from processing.transform import Frame, FrameTransform

TRIAD_FLOATS = 2**24  # 64 MiB an array: no cache holds three


def scene_words(chirp: Waveform, seed: int = 0) -> np.ndarray:
    """Forty echoes, half of them moving, in noise: one frame's words."""
    rng = np.random.default_rng(seed)
    loops, slots, receivers, samples = chirp.frame_shape
    slow = np.arange(loops * slots).reshape(loops, slots, 1, 1) / (loops * slots)
    column = (4 * np.arange(slots)[:, None] + np.arange(receivers))[None, :, :, None]
    total = rng.normal(0, 20, (*chirp.frame_shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
    for number in range(40):
        doppler = rng.uniform(-20, 20) if number % 2 else 0.0
        line = np.exp(2j * np.pi * rng.uniform(5, samples / 2) * np.arange(samples) / samples).astype(np.complex64)
        phase = 2 * np.pi * doppler * slow + np.pi * rng.uniform(-0.8, 0.8) * column
        total += (rng.uniform(30, 400) * np.exp(1j * phase)).astype(np.complex64) * line
    parts = np.stack([total.real.reshape(-1, 2), total.imag.reshape(-1, 2)], axis=1)
    i_first = np.clip(np.round(parts), -32768, 32767).astype(np.int16)
    return (i_first[:, ::-1] if chirp.sample_order == "q-first" else i_first).ravel()


# --- peers -------------------------------------------------------------------------------------------------------------
class PlainPipeline:
    """The textbook chain in complex64, written as well as arrays allow: scratch reused, in place where the library can."""

    def __init__(self, chirp: Waveform, config: CubeConfig, fft: Callable[..., np.ndarray]) -> None:
        self.chirp, self.fft, self.grid = chirp, fft, cube_grid(chirp, config)
        grid = self.grid
        self.range_window = grid.range_window.astype(np.float32)
        self.doppler_window = (grid.doppler_window * grid.amplitude_scale).astype(np.float32)[:, None, None]
        k = np.arange(grid.doppler_bins) - grid.doppler_bins // 2
        slots = np.arange(chirp.tx_slots)
        turns = np.exp(-2j * np.pi * k[:, None] * slots / (grid.doppler_bins * chirp.tx_slots))
        self.turns = np.repeat(turns, chirp.rx_count, axis=1).astype(np.complex64)[:, :, None]

    def __call__(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        grid = self.grid
        samples = decode(words, self.chirp)
        samples *= self.range_window
        profiles = self.fft(samples, grid.range_bins, -1).reshape(self.chirp.loops, -1, grid.range_bins)
        profiles -= profiles.mean(axis=0)
        profiles *= self.doppler_window
        doppler = np.fft.fftshift(self.fft(profiles, grid.doppler_bins, 0), axes=0)
        doppler *= self.turns
        antennas = doppler[:, list(grid.row.elements)].transpose(2, 1, 0)
        azimuth = np.fft.fftshift(self.fft(antennas, grid.azimuth_bins, 1), axes=1)
        power = azimuth.real**2
        power += azimuth.imag**2
        return power, power.sum(axis=1), power.sum(axis=2)


def numpy_fft(array: np.ndarray, length: int, axis: int) -> np.ndarray:
    """As `pip install numpy` gives it."""
    return np.fft.fft(array, length, axis)


def scipy_fft(array: np.ndarray, length: int, axis: int) -> np.ndarray:
    """With the two things it offers for speed."""
    return scipy.fft.fft(array, length, axis, overwrite_x=True, workers=2)


# --- the machine -------------------------------------------------------------------------------------------------------
@njit(nogil=True)
def _triad(a, b, c):
    for i in range(0, a.shape[0], LANES):
        store(a, i, load(c, i) * np.float32(3) + load(b, i))


@njit(nogil=True)
def _stores(a, b, c):
    value = fill(np.float32(1))
    for i in range(0, a.shape[0], LANES):
        store(a, i, value)


def bandwidths(threads: int) -> tuple[Callable[[], float], Callable[[], float]]:
    """Functions that measure GB/s of triad (two reads and a write an element) and of plain stores, all threads at once."""
    arrays = [np.ones(TRIAD_FLOATS, np.float32) for _ in range(3)]

    def measure(kernel: Callable, bytes_moved: int) -> float:
        borders = np.linspace(0, TRIAD_FLOATS // LANES, threads + 1).astype(int) * LANES
        parts = [[array[a:b] for array in arrays] for a, b in pairwise(borders)]
        workers = [threading.Thread(target=kernel, args=part) for part in parts]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return bytes_moved / (time.perf_counter() - started) / 1e9

    size = 4 * TRIAD_FLOATS
    return lambda: measure(_triad, 3 * size), lambda: measure(_stores, size)


def matrix_gflops() -> float:
    """Single-precision matrix product of the BLAS at hand, GFLOP/s."""
    a = np.ones((1024, 1024), np.float32)
    started = time.perf_counter()
    a @ a
    return 2 * 1024**3 / (time.perf_counter() - started) / 1e9


# --- measuring ---------------------------------------------------------------------------------------------------------
def stages(transform: FrameTransform, words: np.ndarray) -> dict[str, Callable[[], None]]:
    """The two passes of one cube, and the second without its products: Doppler with clutter removal and compensation."""
    words = words.view()
    words.flags.writeable = False
    valid = np.ones(transform.waveform.loops, bool)
    bare = transform.plan._replace(store=transform.plan.store._replace(dtype=NONE), rd=False, ra=False)
    return {
        "decode, window, range FFT": lambda: transform.profile_pass(words, valid),
        "clutter, Doppler FFT, compensation": lambda: transform.cube_pass(bare, valid, Frame()),
    }


def take_turns(contenders: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds a call of each contender, round after round until the time is up; quick ones are called more often a round."""
    cost = {}
    for name, call in contenders.items():
        call()
        started = time.perf_counter()
        call()
        cost[name] = time.perf_counter() - started
    calls = {name: int(np.clip(0.02 / cost[name], 1, 20)) for name in contenders}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        for name, call in contenders.items():
            for _ in range(calls[name]):
                before = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - before)
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="measuring time in all")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="paper", help="waveform")
    options = parser.parse_args()
    chirp, threads = PRESETS[options.preset], len(os.sched_getaffinity(0))
    words = scene_words(chirp)
    float32 = CubeConfig(dtype="float32")

    started = time.perf_counter()
    ours = {
        "ours, uint8 cube": FrameTransform(chirp, CubeConfig()),
        "ours, float32 cube": FrameTransform(chirp, float32),
        "ours, maps alone": FrameTransform(chirp, CubeConfig(products=("rd", "ra"))),
        "ours, uint8 cube, one thread": FrameTransform(chirp, CubeConfig(), threads=1),
    }
    outs = {name: transform.empty_frame() for name, transform in ours.items()}
    first = ours["ours, uint8 cube"]
    first(words)
    ready_s = time.perf_counter() - started

    def call(name: str) -> Callable[[], object]:
        return lambda: ours[name](words, out=outs[name])

    plain = PlainPipeline(chirp, float32, numpy_fft)
    _check(plain(words), ours["ours, float32 cube"], words)
    by_scipy = PlainPipeline(chirp, float32, scipy_fft)
    triad, stores = bandwidths(threads)
    passes = stages(first, words)
    triad()
    stores()
    rates: dict[str, list[float]] = {"triad": [], "stores": [], "matrix": []}
    contenders: dict[str, Callable[[], object]] = {
        "numpy complex64": lambda: plain(words),
        "scipy.fft, 2 workers": lambda: by_scipy(words),
        **{name: call(name) for name in ours},
        **passes,
        "machine": lambda: (
            rates["triad"].append(triad()),
            rates["stores"].append(stores()),
            rates["matrix"].append(matrix_gflops()),
        ),
    }
    times = take_turns(contenders, options.seconds)
    report(chirp, first, ours, outs, words, times, rates, passes, ready_s)


def _check(expected: tuple[np.ndarray, ...], transform: FrameTransform, words: np.ndarray) -> None:
    """The peers' products are ours: otherwise the comparison means nothing."""
    frame = transform(words)
    for have, want in zip((frame.rad, frame.rd, frame.ra), expected, strict=True):
        assert np.abs(have - want).max() < 1e-4 * want.max()


def report(chirp, first, ours, outs, words, times, rates, passes, ready_s) -> None:
    """Markdown tables of everything measured."""
    median = {name: float(np.median(values)) * 1e3 for name, values in times.items()}
    least = {name: min(values) * 1e3 for name, values in times.items()}
    triad, stores, matrix = (float(np.median(rates[name])) for name in ("triad", "stores", "matrix"))
    ranges, azimuths, dopplers = first.grid.shape
    print(
        f"## Cubes: {chirp.samples} samples x {chirp.loops} loops x {chirp.tx_slots} TX x {chirp.rx_count} RX -> "
        f"{ranges} range x {azimuths} azimuth x {dopplers} Doppler\n\n"
        f"{len(os.sched_getaffinity(0))} processors; medians of {min(map(len, times.values()))} or more calls in turns; "
        f"first cube after {ready_s:.1f} s (compiled, or loaded from Numba's cache).\n"
    )
    print("| this machine, in the same run | |\n|---|---|")
    print(f"| memory, triad | {triad:.1f} GB/s |\n| memory, plain stores | {stores:.1f} GB/s |")
    print(f"| matrix product, float32 | {matrix:.0f} GFLOP/s |\n")
    print(
        "| pipeline | ms | least ms | frames/s | x numpy | x scipy.fft | must move MB | bandwidth limit ms | x limit |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    must_move = {
        name: words.nbytes + sum(a.nbytes for a in vars(outs[name]).values() if a is not None) for name in ours
    }
    for name in ("numpy complex64", "scipy.fft, 2 workers"):
        must_move[name] = must_move["ours, float32 cube"]
    for name in ("numpy complex64", "scipy.fft, 2 workers", *ours):
        limit = must_move[name] / triad / 1e6
        cells = [f"{median[name]:.2f}", f"{least[name]:.2f}", f"{1e3 / median[name]:.0f}"]
        cells += [f"{median[peer] / median[name]:.1f}" for peer in ("numpy complex64", "scipy.fft, 2 workers")]
        cells += [f"{must_move[name] / 1e6:.1f}", f"{limit:.2f}", f"{median[name] / limit:.1f}"]
        print(f"| {name} | {' | '.join(cells)} |")
    whole = median["ours, uint8 cube"]
    shares = {name: median[name] for name in passes}
    shares["azimuth, maps, dB steps"] = max(whole - sum(shares.values()), 1e-6)
    print("\n| stage of the uint8 cube | ms | frames/s | share |\n|---|---|---|---|")
    for name, value in shares.items():
        print(f"| {name} | {value:.2f} | {1e3 / value:.0f} | {value / whole:.0%} |")


if __name__ == "__main__":
    main()
