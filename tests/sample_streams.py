"""A small FMCW generator for tests: echoes as tones, in any of the sample layouts, as int16 words in wire order."""

import numpy as np

LAYOUTS = ("i-first", "q-first", "interleaved", "interleaved-q-first")
ROOM = ((2.3, 900.0, 0.0), (11.4, 400.0, 0.0), (23.7, 250.0, 0.11), (40.2, 150.0, -0.2))


def echoes(shape, targets=ROOM, noise=20.0, seed=0):
    """Complex samples of `shape` = (..., samples); a target is (range bin, amplitude, cycles of Doppler a chirp)."""
    generator = np.random.default_rng(seed)
    *chirps, samples = shape
    number = np.arange(int(np.prod(chirps))).reshape(*chirps, 1)
    at = np.arange(samples)
    signal = noise / np.sqrt(2) * (generator.standard_normal(shape) + 1j * generator.standard_normal(shape))
    for bin_, amplitude, doppler in targets:
        phase = bin_ * at / samples + doppler * number + generator.random()
        signal += amplitude * np.exp(2j * np.pi * phase)
    return signal


def as_words(signal, layout):
    """The samples as int16 words of `layout`, one after another."""
    i, q = (np.clip(np.rint(part), -32768, 32767).astype("<i2").reshape(-1, 2) for part in (signal.real, signal.imag))
    first, second = (q, i) if layout.endswith("q-first") else (i, q)
    if layout.startswith("interleaved"):
        return np.stack([first, second], axis=2).reshape(-1)
    return np.concatenate([first, second], axis=1).reshape(-1)
