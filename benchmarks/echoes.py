"""How fast echoes are made: ours beside the plain sum, compiled as well as it can be, on the same scatterers in the same run.

    python -m benchmarks.echoes              # the paper's frame (256 samples x 255 loops x 2 TX x 4 RX), under a minute
    python -m benchmarks.echoes --seconds 10 # a quick look

Ours includes noise, clutter, the board's errors and 16-bit words; the plain sum takes two sines a scatterer, sample, chirp
and receiver, in float64, and stops at complex numbers. Both take the same moments of motion; contenders take turns, so that
a busy neighbour slows all of them; quote ratios, not milliseconds.

The limit: with sines for one block of 16 samples and for the turn to each other block, what cannot be left out is the product
of (16 blocks x 100 scatterers) and (100 scatterers x 16 lanes), complex, for each of 2,040 chirps and receivers: 0.42 GFLOP.
The last row takes numpy's matrix product for it, on one thread, and does nothing else.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from numba import njit, prange, set_num_threads

from capture.simulator.echoes import EchoSynthesiser, element_positions, window_start_s
from capture.simulator.impairments import GOOD_BOARD
from capture.simulator.radar_room import still_scatterers
from capture.simulator.room import lab_room
from capture.simulator.shown import Act, SceneOrder, shown_scene
from pipeline.waveform import PRESETS, SPEED_OF_LIGHT_MPS, Waveform


class Cloud:
    """`count` points about a person's place that all move and all reflect, in a furnished room."""

    def __init__(self, count: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._at = rng.uniform((-0.5, 2.0, -0.9), (0.5, 3.0, 0.8), (count, 3))
        self._swing = rng.normal(0, 0.1, (count, 3))
        self._rate = rng.uniform(2, 9, (count, 1))
        self._amplitude = rng.uniform(0.02, 0.08, count)
        self._still = still_scatterers(lab_room(seed))

    def scatterers_at(self, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `scene.Scene`."""
        angle = times_s[:, None, None] * self._rate
        wave = 1.0 + 0.1 * np.sin(angle[:, :, 0])
        return self._at + self._swing * np.sin(angle), self._amplitude * wave

    def room(self) -> tuple[np.ndarray, np.ndarray]:
        """See `scene.Scene`."""
        return self._still


@njit(parallel=True, fastmath=True, nogil=True, error_model="numpy")
def plain_sum(positions, amplitude, tx, rx, ramp_hz, slope, out):
    """`echoes.direct_sum` for positions (chirp, scatterer, 3), compiled: out (chirp, rx, sample) complex128.

    It is even helped a little: each scatterer keeps its place while a chirp lasts.
    """
    for chirp in prange(positions.shape[0]):
        slot = chirp % tx.shape[0]
        for r in range(rx.shape[0]):
            for s in range(positions.shape[1]):
                x, y, z = positions[chirp, s, 0], positions[chirp, s, 1], positions[chirp, s, 2]
                there = math.sqrt((x - tx[slot, 0]) ** 2 + (y - tx[slot, 1]) ** 2 + (z - tx[slot, 2]) ** 2)
                back = math.sqrt((x - rx[r, 0]) ** 2 + (y - rx[r, 1]) ** 2 + (z - rx[r, 2]) ** 2)
                delay = (there + back) / SPEED_OF_LIGHT_MPS
                level = amplitude[chirp, s] / (there * back)
                for n in range(ramp_hz.shape[0]):
                    phase = 2 * math.pi * (ramp_hz[n] * delay - 0.5 * slope * delay * delay)
                    out[chirp, r, n] += level * complex(math.cos(phase), math.sin(phase))


def plain_frame(scene: Cloud, w: Waveform, start_s: float) -> np.ndarray:
    """One frame by `plain_sum`."""
    tx, rx = element_positions(w)
    positions, amplitude = scene.scatterers_at(start_s + window_start_s(w).ravel())
    ramp_hz = w.start_frequency_hz + w.slope_hz_per_s * (w.adc_start_time_s + np.arange(w.samples) / w.sample_rate_hz)
    out = np.zeros((w.chirps_per_frame, w.rx_count, w.samples), np.complex128)
    plain_sum(positions, amplitude, tx, rx, ramp_hz, w.slope_hz_per_s, out)
    return out


class Limit:
    """The sum that is left, as real matrix products [real imaginary; -imaginary real] of numpy, one after the other."""

    def __init__(self, w: Waveform, count: int) -> None:
        rng = np.random.default_rng(0)
        blocks = w.samples // 16
        self._turns = rng.standard_normal((blocks, 2 * count), np.float32)
        self._lanes = rng.standard_normal((2 * count, 32), np.float32)
        self._out = np.empty((blocks, 32), np.float32)
        self._products = w.chirps_per_frame * w.rx_count

    def __call__(self) -> None:
        for _ in range(self._products):
            np.matmul(self._turns, self._lanes, out=self._out)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="time to measure for")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    set_num_threads(options.threads)
    w = PRESETS["paper"]
    cloud = Cloud(100)

    def ours(scene: object, threads: int) -> EchoSynthesiser:
        return EchoSynthesiser(scene, w, 1, impairments=GOOD_BOARD, threads=threads)  # type: ignore[arg-type]

    fast, single, person = (
        ours(cloud, options.threads),
        ours(cloud, 1),
        ours(shown_scene(SceneOrder(seed=1, acts=(Act(action="arm-swing", start_s=0, stop_s=600),))), options.threads),
    )
    contenders = {
        f"plain sum, compiled, 100 scatterers, {options.threads} threads": lambda k: plain_frame(cloud, w, 0.1 * k),
        f"ours, 100 scatterers, {options.threads} threads": lambda k: fast.frame(k, 0.1 * k),
        "ours, 100 scatterers, 1 thread": lambda k: single.frame(k, 0.1 * k),
        f"ours, a person in a room with mirrors, {options.threads} threads": lambda k: person.frame(k, 0.1 * k),
    }
    limit = Limit(w, 100)
    contenders["(the limit: its matrix products alone, numpy, 1 thread)"] = lambda k: limit()
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for make in contenders.values():
        make(0)
    end = time.monotonic() + options.seconds
    round_number = 0
    while time.monotonic() < end or round_number < 3:
        for name, make in contenders.items():
            for _ in range(1 if "plain" in name else 5):
                start = time.perf_counter()
                make(round_number)
                spent[name].append(time.perf_counter() - start)
        round_number += 1
    medians = {name: float(np.median(times)) * 1e3 for name, times in spent.items()}
    slowest = next(iter(medians.values()))
    print("| echoes of one frame of the paper's profile | ms (median) | ms (best) | x plain sum |\n|---|---|---|---|")
    for name, ms in medians.items():
        print(f"| {name} | {ms:.1f} | {min(spent[name]) * 1e3:.1f} | {slowest / ms:.1f} |")


if __name__ == "__main__":
    main()
