"""What a transform of one length needs beside the samples: its factors, its twiddles, and where each bin ends up."""

import numpy as np
from jaxtyping import Float, Float64

from processing.fft_kernels import FftPlan


def fft_plan(length: int) -> FftPlan:
    """Plan of a `length`-point transform: factors 4 first, then 2, 3, 5, ...; decimation in frequency."""
    stages, tables, place = [], [np.zeros(2)], 2
    row_of_bin, quotient = np.zeros(length, np.int64), np.arange(length)
    remaining = length
    for radix in _factors(length):
        distance = remaining // radix
        twiddles = _turns(np.arange(distance)[:, None] * np.arange(1, radix) / remaining)
        roots = _turns(np.arange(radix) / radix)
        stages.append((radix, distance, place, place + len(twiddles)))
        tables += [twiddles, roots]
        place += len(twiddles) + len(roots)
        row_of_bin += quotient % radix * distance
        quotient = quotient // radix
        remaining = distance
    return FftPlan(
        length=length,
        stages=np.array(stages, np.int64).reshape(-1, 4),
        numbers=np.concatenate(tables).astype(np.float32),
        row_of_bin=row_of_bin,
        scratch_rows=max((radix for radix, *_ in stages), default=0) + 1,
    )


def _factors(length: int) -> list[int]:
    factors = []
    while length % 4 == 0:
        factors.append(4)
        length //= 4
    divisor = 2
    while divisor * divisor <= length:
        while length % divisor == 0:
            factors.append(divisor)
            length //= divisor
        divisor += 1
    return [*factors, length] if length > 1 else factors


def _turns(turns: Float[np.ndarray, "..."]) -> Float64[np.ndarray, " number"]:
    """Clockwise unit phasors as flat (cos, sin) pairs."""
    phasor = np.exp(-2j * np.pi * turns).reshape(-1)
    return np.stack([phasor.real, phasor.imag], axis=-1).reshape(-1)
