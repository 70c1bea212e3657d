"""Beat signals of many point scatterers, straight into the int16 words of the wire. Numba; numpy twin in `echoes.py`.

Why it is fast: sine and cosine (a short polynomial) are taken for the first block of 16 samples, vectorised over its
lanes, and for the turn from there to each other block, vectorised over scatterers: 32 of them instead of 256. What is left
is a complex product of two thin matrices (blocks x scatterers x lanes), which runs as fast as a BLAS does it. Delays come
from a cubic through exact distances 2.5 ms apart. Static echoes and noise are added from tables. Everything after the
delays is float32.
"""

import math

import numpy as np
from numba import njit

LANES = 16
GROUP = 4
I_FIRST, Q_FIRST, INTERLEAVED = 0, 1, 2

# Odd minimax polynomial for sin(2 pi x), |x| <= 1/4; largest error 6e-7.
_S1, _S3, _S5, _S7 = (
    np.float32(c) for c in (6.283164044251582, -41.33714236456999, 81.34076867837602, -70.99343135660617)
)
_HALF, _QUARTER = np.float32(0.5), np.float32(0.25)


@njit(inline="always", fastmath=True, error_model="numpy")
def _sine(x):
    """sin(2 pi x) for x in [-1/2, 1/2]."""
    folded = _HALF - abs(x)
    y = math.copysign(min(abs(x), folded), x)
    z = y * y
    return y * (_S1 + z * (_S3 + z * (_S5 + z * _S7)))


@njit(inline="always", fastmath=True, error_model="numpy")
def _cosine(x):
    """cos(2 pi x) for x in [-1/2, 1/2]."""
    y = _QUARTER - abs(x)
    z = y * y
    return y * (_S1 + z * (_S3 + z * (_S5 + z * _S7)))


@njit(inline="always", fastmath=True, error_model="numpy")
def _fraction(x):
    """`x` turns less the nearest whole number of turns."""
    return x - math.floor(x + 0.5)


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def knot_distances(positions, elements, out):
    """Distance in metres from every element (element, 3) to every position (knot, scatterer, 3) -> (element, knot, scatterer)."""
    for e in range(elements.shape[0]):
        for k in range(positions.shape[0]):
            for s in range(positions.shape[1]):
                x = positions[k, s, 0] - elements[e, 0]
                y = positions[k, s, 1] - elements[e, 1]
                z = positions[k, s, 2] - elements[e, 2]
                out[e, k, s] = math.sqrt(x * x + y * y + z * z)


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def add_echoes(
    tx_m, rx_m, level, clutter, factors, added, noise, noise_start, chirp_time, knot_step, beat, samples, order, first,
    last, out,
):  # fmt: skip
    """Words of chirps [first, last) of a frame.

    `tx_m` (slot, knot, scatterer) and `rx_m` (rx, knot, scatterer) are distances in metres at the knots, `knot_step`
    seconds apart, `level` (knot, scatterer) the float32 amplitudes at 1 m there;
    `chirp_time` (chirp) is each chirp's mid-window time after the first knot; `beat` holds
    [1/c, centre frequency Hz, slope Hz/s, sample interval s]; `clutter` is float32 (slot, rx, block, real lanes then imaginary);
    `factors` float32 (chirp, rx, 4) what the board multiplies echoes and clutter by: magnitude, turns, real, imaginary;
    `added`, laid out like `clutter`, what the board itself adds;
    `noise_start` (chirp, rx) where in the float32 bank `noise` the words' noise begins; `out` int32, one dimension: a
    pair of int16 words each. Scatterers come in whole groups of GROUP, the last filled up with amplitude 0.
    """
    slots, _, scatterers = tx_m.shape
    receivers = rx_m.shape[0]
    blocks = clutter.shape[2]
    weight, slope_of = np.empty(4), np.empty(4)
    tx_at, tx_rate = np.empty(scatterers), np.empty(scatterers)
    rx_at, rx_rate = np.empty(scatterers), np.empty(scatterers)
    scratch = np.empty((5, scatterers), np.float32)
    amplitude = np.empty(scatterers, np.float32)
    sums = np.empty((blocks, 2 * LANES), np.float32)
    words = np.empty((2, blocks * LANES), np.int16)
    lanes = np.empty((scatterers // GROUP, GROUP, 2 * LANES), np.float32)
    turn_r, turn_i = np.empty((blocks, scatterers), np.float32), np.empty((blocks, scatterers), np.float32)
    for chirp in range(first, last):
        slot = chirp % slots
        knot = _cubic(chirp_time[chirp] / knot_step, tx_m.shape[1], 1 / knot_step, weight, slope_of)
        _between_knots(tx_m[slot, knot : knot + 4], weight, slope_of, tx_at, tx_rate)
        _between_levels(chirp_time[chirp] / knot_step, level, amplitude)
        for rx in range(receivers):
            _between_knots(rx_m[rx, knot : knot + 4], weight, slope_of, rx_at, rx_rate)
            factor = factors[chirp, rx]
            _phasors(tx_at, tx_rate, rx_at, rx_rate, amplitude, factor, beat, samples, scratch, lanes, turn_r, turn_i)
            _turn_clutter(clutter[slot, rx], factor, added[slot, rx], sums)
            _sum_scatterers(lanes, turn_r, turn_i, sums)
            _write_words(
                sums, noise, noise_start[chirp, rx], samples, order, words, (chirp * receivers + rx) * samples, out
            )


@njit(inline="always", fastmath=True, error_model="numpy")
def _cubic(x, knots, per_s, weight, slope_of):
    """First of the four knots about `x`, and the weights that make value and derivative there of theirs (Lagrange)."""
    knot = min(max(int(x) - 1, 0), knots - 4)
    u = x - knot
    a, b, c = u - 1, u - 2, u - 3
    weight[0], weight[1], weight[2], weight[3] = -a * b * c / 6, u * b * c / 2, -u * a * c / 2, u * a * b / 6
    slope_of[0] = -(b * c + a * c + a * b) / 6 * per_s
    slope_of[1] = (b * c + u * c + u * b) / 2 * per_s
    slope_of[2] = -(a * c + u * c + u * a) / 2 * per_s
    slope_of[3] = (a * b + u * b + u * a) / 6 * per_s
    return knot


@njit(nogil=True, fastmath=True, error_model="numpy")
def _between_knots(distance, w, d, at, rate):
    """Distances of all scatterers, and their rates, from those at four knots (knot, scatterer)."""
    p0, p1, p2, p3 = distance[0], distance[1], distance[2], distance[3]
    w0, w1, w2, w3, d0, d1, d2, d3 = w[0], w[1], w[2], w[3], d[0], d[1], d[2], d[3]
    for s in range(len(at)):
        at[s] = w0 * p0[s] + w1 * p1[s] + w2 * p2[s] + w3 * p3[s]
        rate[s] = d0 * p0[s] + d1 * p1[s] + d2 * p2[s] + d3 * p3[s]


@njit(nogil=True, fastmath=True, error_model="numpy")
def _between_levels(x, level, amplitude):
    """Amplitudes of all scatterers `x` knots after the first, on straight lines between the knots."""
    knot = min(max(int(x), 0), level.shape[0] - 2)
    u = np.float32(x - knot)
    before, after = level[knot], level[knot + 1]
    for s in range(len(amplitude)):
        amplitude[s] = before[s] + u * (after[s] - before[s])


@njit(nogil=True, fastmath=True, error_model="numpy")
def _turn_clutter(clutter, factor, added, sums):
    """sums = clutter * factor + added."""
    r, i = factor[2], factor[3]
    for block in range(sums.shape[0]):
        c, more, total = clutter[block], added[block], sums[block]
        for j in range(LANES):
            total[j] = c[j] * r - c[16 + j] * i + more[j]
            total[16 + j] = c[j] * i + c[16 + j] * r + more[16 + j]


@njit(nogil=True, fastmath=True, error_model="numpy")
def _phasors(tx_at, tx_rate, rx_at, rx_rate, amplitude, factor, beat, samples, scratch, lanes, turn_r, turn_i):
    """Every scatterer's first block (lane) and the phasor that carries it to each block (turn).

    The phase, in turns `u` samples from mid-chirp, is at_middle + per_sample u + curve u u: the curve is Doppler while the
    chirp lasts. Within a block it is taken as straight (under 4e-4 rad at 5 m/s).
    """
    per_c, centre_hz, slope, interval = beat[0], beat[1], beat[2], beat[3]
    u0 = 0.5 * (LANES - 1) - 0.5 * samples  # middle of the first block
    gain, board_turns = factor[0], factor[1]
    blocks, scatterers = turn_r.shape
    start, turn, level, step, bend = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    for s in range(scatterers):
        delay = (tx_at[s] + rx_at[s]) * per_c
        rate = (tx_rate[s] + rx_rate[s]) * per_c
        at_middle = centre_hz * delay - 0.5 * slope * delay * delay + board_turns
        per_sample = (slope * delay * (1 - rate) + centre_hz * rate) * interval
        curve = slope * rate * (1 - 0.5 * rate) * interval * interval
        start[s] = np.float32(_fraction(at_middle + per_sample * u0 + curve * u0 * u0))
        turn[s] = np.float32(per_sample)  # whole turns count: lanes lie half samples from the block's middle
        level[s] = gain * amplitude[s] / np.float32(tx_at[s] * rx_at[s])
        step[s] = np.float32(_fraction(LANES * (per_sample + curve * (2 * u0 + LANES))))
        bend[s] = np.float32(curve * (2 * LANES * LANES))
    for s in range(scatterers):
        lane = lanes[s // GROUP, s % GROUP]
        for j in range(LANES):
            phase = start[s] + turn[s] * np.float32(j - 0.5 * (LANES - 1))
            phase -= np.float32(math.floor(phase + _HALF))
            lane[j] = level[s] * _cosine(phase)
            lane[LANES + j] = level[s] * _sine(phase)
    for block in range(blocks):  # not by recurrence: its six arrays are too many for the compiler to vectorise
        real, imag = turn_r[block], turn_i[block]
        steps, bends = np.float32(block), np.float32(block * (block - 1) // 2)
        for s in range(scatterers):
            phase = steps * step[s] + bends * bend[s]
            phase -= np.float32(math.floor(phase + _HALF))
            real[s], imag[s] = _cosine(phase), _sine(phase)


@njit(nogil=True, fastmath=True, error_model="numpy")
def _sum_scatterers(lanes, turn_r, turn_i, sums):
    """sums += lane * turn, four scatterers at a time to load and store each sum once for four.

    Two arrays and literal offsets: with more the compiler checks at every block whether any two overlap.
    """
    groups, blocks = lanes.shape[0], sums.shape[0]
    for group in range(groups):
        lane = lanes[group].reshape(GROUP * 2 * LANES)
        for block in range(blocks):
            s = group * GROUP
            a, b = turn_r[block, s : s + GROUP], turn_i[block, s : s + GROUP]
            a0, a1, a2, a3, b0, b1, b2, b3 = a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]
            total = sums[block]
            for j in range(LANES):
                r0, i0, r1, i1 = lane[j], lane[16 + j], lane[32 + j], lane[48 + j]
                r2, i2, r3, i3 = lane[64 + j], lane[80 + j], lane[96 + j], lane[112 + j]
                total[j] += r0 * a0 - i0 * b0 + r1 * a1 - i1 * b1 + r2 * a2 - i2 * b2 + r3 * a3 - i3 * b3
                total[16 + j] += r0 * b0 + i0 * a0 + r1 * b1 + i1 * a1 + r2 * b2 + i2 * a2 + r3 * b3 + i3 * a3


@njit(nogil=True, fastmath=True, error_model="numpy")
def _write_words(sums, noise, n0, samples, order, words, w0, out):
    """One receiver's samples of one chirp with noise, rounded, saturated and in the wire's order, as pairs of words."""
    for block in range(sums.shape[0]):
        total, n = sums[block], n0 + block * 2 * LANES
        add = noise[n : n + 2 * LANES]
        real, imag = words[0, block * LANES :], words[1, block * LANES :]
        for j in range(LANES):
            real[j] = _saturated(total[j] + add[j])
            imag[j] = _saturated(total[16 + j] + add[16 + j])
    if order == INTERLEAVED:
        for n in range(samples):
            out[w0 + n] = (np.int32(words[0, n]) & 0xFFFF) | (np.int32(words[1, n]) << 16)
    else:
        pairs = words.view(np.int32)
        i_at, q_at = (0, 1) if order == I_FIRST else (1, 0)
        for pair in range(samples // 2):
            out[w0 + 2 * pair + i_at] = pairs[0, pair]
            out[w0 + 2 * pair + q_at] = pairs[1, pair]


@njit(inline="always", fastmath=True, error_model="numpy")
def _saturated(value):
    """Rounded to the nearest whole number and held inside int16."""
    return np.int16(math.floor(min(max(value, np.float32(-32768.0)), np.float32(32767.0)) + _HALF))
