"""Array snapshots -> power of every azimuth bin, and the two maps that need no azimuth FFT.

The azimuth transform has at most eight inputs and any number of outputs, so it is a direct sum, arranged so that four bins
share it: k and -k have the same products, and k + n/2 only turns the sign of the odd columns. That is 14 multiply-adds a bin
where a padded FFT needs about as many - and it takes any length and any gaps in the row.
Numpy twins: `abs(fft(columns, bins))**2`, its sum over azimuth, and its sum over Doppler.
"""

import numpy as np
from numba import njit

from processing.lanes_kernels import F64, LANES, add_products, fill, lane_sum, load, store

BINS_TOGETHER = 4  # bins k, -k, k + n/2 and n/2 - k (k up to n/4) for even n; only the first two for odd n
ANGLE = 16  # numbers of one k: cos, then sin, of 2 pi k column / n
LAGS = 15  # numbers of an autocorrelation over eight columns: lag 0, then real and imaginary part of lags 1 to 7
_WIDE = F64.count


@njit(nogil=True, error_model="numpy", inline="always")
def _four_bins(snapshots, i, stride, angles, a):
    """Sums over even and over odd columns, for k and for -k: (even_r, even_i, odd_r, odd_i) twice.

    With column values u + jv and angles x, a bin is sum (u cos x + v sin x) + j sum (v cos x - u sin x); -k turns the sines.
    """
    zero = fill(np.float32(0))
    j = i + 8 * stride
    even_uc, even_vc, even_us, even_vs = load(snapshots, i), load(snapshots, j), zero, zero
    for n in range(2, 8, 2):  # unrolled by the compiler: all sums stay in registers
        u, v, cos, sin = (
            load(snapshots, i + n * stride),
            load(snapshots, j + n * stride),
            angles[a + n],
            angles[a + 8 + n],
        )
        even_uc += u * cos
        even_vc += v * cos
        even_us += u * sin
        even_vs += v * sin
    odd_uc, odd_vc, odd_us, odd_vs = zero, zero, zero, zero
    for n in range(1, 8, 2):
        u, v, cos, sin = (
            load(snapshots, i + n * stride),
            load(snapshots, j + n * stride),
            angles[a + n],
            angles[a + 8 + n],
        )
        odd_uc += u * cos
        odd_vc += v * cos
        odd_us += u * sin
        odd_vs += v * sin
    return (
        (even_uc + even_vs, even_vc - even_us, odd_uc + odd_vs, odd_vc - odd_us),
        (even_uc - even_vs, even_vc + even_us, odd_uc - odd_vs, odd_vc + odd_us),
    )


@njit(nogil=True, error_model="numpy")
def power_of_four_bins(snapshots, start, stride, angles, a, width, lines):
    """Power of four azimuth bins over `width` Doppler bins from `snapshots[start]` on, to four lines `width` apart."""
    for d in range(0, width, LANES):
        k, minus_k = _four_bins(snapshots, start + d, stride, angles, a)
        _store_power(lines, d, 2 * width, k)
        _store_power(lines, width + d, 2 * width, minus_k)


@njit(nogil=True, error_model="numpy", inline="always")
def _store_power(lines, at, apart, sums):
    """Power of a bin, and `apart` behind it that of the one half a turn away, where odd columns count negative."""
    even_r, even_i, odd_r, odd_i = sums
    re, im = even_r + odd_r, even_i + odd_i
    store(lines, at, re * re + im * im)
    re, im = even_r - odd_r, even_i - odd_i
    store(lines, at + apart, re * re + im * im)


@njit(nogil=True, error_model="numpy")
def amplitude_of_four_bins(snapshots, start, stride, angles, a, width, lines):
    """The same, complex: four real lines, then four imaginary ones."""
    for d in range(0, width, LANES):
        k, minus_k = _four_bins(snapshots, start + d, stride, angles, a)
        _store_amplitude(lines, d, 2 * width, 4 * width, k)
        _store_amplitude(lines, width + d, 2 * width, 4 * width, minus_k)


@njit(nogil=True, error_model="numpy", inline="always")
def _store_amplitude(lines, at, apart, imag, sums):
    even_r, even_i, odd_r, odd_i = sums
    store(lines, at, even_r + odd_r)
    store(lines, imag + at, even_i + odd_i)
    store(lines, at + apart, even_r - odd_r)
    store(lines, imag + at + apart, even_i - odd_i)


@njit(nogil=True, error_model="numpy")
def power_over_azimuth(snapshots, start, stride, width, bins, line):
    """Sum of the power of all `bins` azimuth bins, by Parseval from the antennas: `bins` times the sum of |x|**2."""
    for d in range(0, width, LANES):
        x = load(snapshots, start + d)
        total = x * x
        for row in range(1, 16):
            x = load(snapshots, start + row * stride + d)
            total += x * x
        store(line, d, total * np.float32(bins))


@njit(nogil=True, error_model="numpy")
def correlate_columns(snapshots, start, stride, sums, lags):
    """Autocorrelation of the columns summed over Doppler, r[l] = sum of x[n + l] conj(x[n]), to the `LAGS` numbers of `lags`.

    In float64, because the power in a null of the pattern is a small difference of these sums. `sums` float64 [LAGS * 8] is
    this thread's own.
    """
    for lag in range(LAGS):
        store(sums, lag * _WIDE, fill(0.0))
    for at in range(start, start + stride, _WIDE):
        add_products(snapshots, at, stride, sums)
    for lag in range(LAGS):
        lags[lag] = lane_sum(load(sums, lag * _WIDE))


@njit(nogil=True, error_model="numpy")
def power_over_doppler(lags, lag_turns, bins, totals, line, at):
    """Power of every azimuth bin summed over Doppler, r[0] + 2 Re sum r[l] exp(-j l phi), to `line[at : at + bins]`.

    `lag_turns` float64 [LAGS * bins] has 1, then 2 cos(l phi) and 2 sin(l phi), for every bin; `totals` float64 [bins] is this
    thread's own.
    """
    for z in range(bins):
        totals[z] = lags[0]
    for lag in range(1, LAGS):
        value, turns = lags[lag], lag * bins
        for z in range(bins):
            totals[z] += value * lag_turns[turns + z]
    for z in range(bins):
        line[at + z] = max(totals[z], 0.0)  # rounding may leave a null just below zero
