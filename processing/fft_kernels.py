"""In-place FFTs of sixteen streams at once: every butterfly is written once, for whole rows.

A buffer is float32, one row for each sample: sixteen real parts, then sixteen imaginary parts (`lanes_kernels.ROW`). The numpy
twin is `np.fft.fft(rows, axis=0)[bins] == buffer[plan.row_of_bin[bins]]`. Nothing is put in order afterwards: whoever reads
the result copies it elsewhere anyway and takes each row from where it lies.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from processing.lanes_kernels import LANES, ROW, fill, load, store


class FftPlan(NamedTuple):
    """A mixed-radix FFT of any length, made by `processing.fft_plan.fft_plan`."""

    length: int
    stages: np.ndarray  # int64 [stage, 4]: radix, rows between inputs, places in `numbers` of twiddles and roots
    numbers: np.ndarray  # float32: (cos, sin) pairs
    row_of_bin: np.ndarray  # int64 [length]: the row in which the transform leaves each bin
    scratch_rows: int  # rows of working memory that `fft_rows` needs


@njit(nogil=True, error_model="numpy")
def fft_rows(rows, plan, scratch):
    """Transform the first `plan.length` rows of `rows`; `scratch` has room for `plan.scratch_rows` rows."""
    length, numbers = plan.length, plan.numbers
    for stage in range(plan.stages.shape[0]):
        radix, distance, twiddles, roots = plan.stages[stage]
        if radix == 4 and distance == 1:
            _last_fours(rows, length)
        elif radix == 4:
            _fours(rows, length, distance, numbers, twiddles)
        elif radix == 2:
            _twos(rows, length, distance, numbers, twiddles)
        else:
            _odds(rows, length, radix, distance, numbers, twiddles, roots, scratch)


@njit(nogil=True, error_model="numpy")
def _fours(rows, length, distance, numbers, twiddles):
    step = ROW * distance
    for block in range(0, length * ROW, 4 * step):
        t = twiddles
        for i in range(block, block + step, ROW):
            ar, ai = load(rows, i), load(rows, i + LANES)
            br, bi = load(rows, i + step), load(rows, i + step + LANES)
            cr, ci = load(rows, i + 2 * step), load(rows, i + 2 * step + LANES)
            dr, di = load(rows, i + 3 * step), load(rows, i + 3 * step + LANES)
            er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
            gr, gi, hr, hi = br + dr, bi + di, br - dr, bi - di
            store(rows, i, er + gr)
            store(rows, i + LANES, ei + gi)
            _store_turned(rows, i + step, fr + hi, fi - hr, numbers, t)
            _store_turned(rows, i + 2 * step, er - gr, ei - gi, numbers, t + 2)
            _store_turned(rows, i + 3 * step, fr - hi, fi + hr, numbers, t + 4)
            t += 6


@njit(nogil=True, error_model="numpy")
def _last_fours(rows, length):
    """Radix 4 over neighbouring rows: no twiddles."""
    for i in range(0, length * ROW, 4 * ROW):
        ar, ai = load(rows, i), load(rows, i + LANES)
        br, bi = load(rows, i + ROW), load(rows, i + ROW + LANES)
        cr, ci = load(rows, i + 2 * ROW), load(rows, i + 2 * ROW + LANES)
        dr, di = load(rows, i + 3 * ROW), load(rows, i + 3 * ROW + LANES)
        er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
        gr, gi, hr, hi = br + dr, bi + di, br - dr, bi - di
        store(rows, i, er + gr)
        store(rows, i + LANES, ei + gi)
        store(rows, i + ROW, fr + hi)
        store(rows, i + ROW + LANES, fi - hr)
        store(rows, i + 2 * ROW, er - gr)
        store(rows, i + 2 * ROW + LANES, ei - gi)
        store(rows, i + 3 * ROW, fr - hi)
        store(rows, i + 3 * ROW + LANES, fi + hr)


@njit(nogil=True, error_model="numpy")
def _twos(rows, length, distance, numbers, twiddles):
    step = ROW * distance
    for block in range(0, length * ROW, 2 * step):
        t = twiddles
        for i in range(block, block + step, ROW):
            ar, ai = load(rows, i), load(rows, i + LANES)
            br, bi = load(rows, i + step), load(rows, i + step + LANES)
            store(rows, i, ar + br)
            store(rows, i + LANES, ai + bi)
            _store_turned(rows, i + step, ar - br, ai - bi, numbers, t)
            t += 2


@njit(nogil=True, error_model="numpy")
def _odds(rows, length, radix, distance, numbers, twiddles, roots, scratch):
    """Any odd radix, directly. Outputs k and radix - k share their products: with p = x[q] + x[-q] and m = x[q] - x[-q],
    X[k] = x[0] + sum p cos - j sum m sin, and X[-k] the same with + j. A large prime costs its square, and still goes through.
    """
    step = ROW * distance
    half = radix // 2
    for block in range(0, length * ROW, radix * step):
        t = twiddles
        for i in range(block, block + step, ROW):
            first_r, first_i = load(rows, i), load(rows, i + LANES)
            sum_r, sum_i = first_r, first_i
            for q in range(1, half + 1):
                a, b = i + q * step, i + (radix - q) * step
                ar, ai, br, bi = load(rows, a), load(rows, a + LANES), load(rows, b), load(rows, b + LANES)
                plus_r, plus_i = ar + br, ai + bi
                sum_r += plus_r
                sum_i += plus_i
                store(scratch, 2 * ROW * q, plus_r)
                store(scratch, 2 * ROW * q + LANES, plus_i)
                store(scratch, 2 * ROW * q + ROW, ar - br)
                store(scratch, 2 * ROW * q + ROW + LANES, ai - bi)
            store(rows, i, sum_r)
            store(rows, i + LANES, sum_i)
            for k in range(1, half + 1):
                even_r, even_i = first_r, first_i
                odd_r, odd_i = fill(numbers[0]), fill(numbers[0])  # numbers[0] is 0
                turn = 0
                for q in range(1, half + 1):
                    turn += k
                    if turn >= radix:
                        turn -= radix
                    cos, sin = numbers[roots + 2 * turn], numbers[roots + 2 * turn + 1]
                    even_r += load(scratch, 2 * ROW * q) * cos
                    even_i += load(scratch, 2 * ROW * q + LANES) * cos
                    odd_r += load(scratch, 2 * ROW * q + ROW) * sin
                    odd_i += load(scratch, 2 * ROW * q + ROW + LANES) * sin
                _store_turned(rows, i + k * step, even_r - odd_i, even_i + odd_r, numbers, t + 2 * (k - 1))
                _store_turned(
                    rows, i + (radix - k) * step, even_r + odd_i, even_i - odd_r, numbers, t + 2 * (radix - k - 1)
                )
            t += 2 * (radix - 1)


@njit(nogil=True, error_model="numpy", inline="always")
def _store_turned(rows, i, real, imag, numbers, t):
    """Row i = (real + j imag) times the twiddle at `numbers[t]`."""
    cos, sin = numbers[t], numbers[t + 1]
    store(rows, i, real * cos - imag * sin)
    store(rows, i + LANES, real * sin + imag * cos)
