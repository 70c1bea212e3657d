"""int16 words -> range profiles: decode, window and range FFT of sixteen streams at once.

The sixteen lanes are `loops_together` loops times `width` antennas (those of the azimuth row, padded to 2, 4 or 8). A profile
buffer is cut into groups of as many range bins; a group has one complex row for each loop, its lanes being (range bin,
antenna). So the Doppler transform finds its streams side by side, and each group in one piece of memory.
Numpy twin: `np.fft.fft(decode(words) * window, fft.length)[..., start:stop]`.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from processing.fft_kernels import FftPlan, fft_rows
from processing.lanes_kernels import LANES, ROW, copy_lanes, fill, load, store, to_float, transpose_tile

ORDERS = ("i-first", "q-first", "interleaved")
TILE = LANES * LANES


class RangePlan(NamedTuple):
    """What the range transform needs to know; `order` is a place in `ORDERS`."""

    order: int
    samples: int
    loop_words: int  # int16 words of one loop, all antennas
    elements: np.ndarray  # int64 [width]: index tx_slot * rx_count + rx of each lane's antenna; padding repeats one
    window: np.ndarray  # float32 [samples]
    fft: FftPlan
    start: int  # range bins kept: [start, stop)
    stop: int
    group_stride: int  # floats from one group of a profile buffer to the next


@njit(nogil=True, error_model="numpy")
def range_profiles(words, loop_valid, plan, first_block, stop_block, work, profiles):
    """Profiles of loops [first_block, stop_block) * loops_together, written to `profiles`; loops not valid become zeros.

    `words` are one frame's int16 words; `work` holds fft.length + 8 + fft.scratch_rows rows, this thread's own.
    """
    width = plan.elements.shape[0]
    together = LANES // width
    loops = loop_valid.shape[0]
    rows, tile = work[: plan.fft.length * ROW], work[plan.fft.length * ROW : plan.fft.length * ROW + TILE]
    scratch = work[plan.fft.length * ROW + TILE :]
    streams, tile_rows = np.empty(LANES, np.int64), np.arange(LANES) * LANES
    zero = fill(np.float32(0))
    for block in range(first_block, stop_block):
        for lane in range(LANES):
            loop = min(block * together + lane // width, loops - 1)
            streams[lane] = loop * plan.loop_words + plan.elements[lane % width] * 2 * plan.samples
        if plan.samples < LANES:
            _decode_short(words, streams, plan, rows)
        else:
            _decode(words, streams, plan, tile, tile_rows, rows)
        for i in range(plan.samples * ROW, plan.fft.length * ROW, LANES):
            store(rows, i, zero)
        fft_rows(rows, plan.fft, scratch)
        members = min(together, loops - block * together)
        _keep(rows, members, plan, profiles, block * together * ROW)
        for loop in range(block * together, block * together + members):
            if not loop_valid[loop]:
                for i in range(loop * ROW, profiles.shape[0], plan.group_stride):
                    store(profiles, i, zero)
                    store(profiles, i + LANES, zero)


@njit(nogil=True, error_model="numpy")
def _decode(words, streams, plan, tile, tile_rows, rows):
    """Windowed samples of sixteen streams as complex rows. A 32-bit word holds two int16: tiles of sixteen are transposed,
    then split. The last tile may begin early and do a few samples twice.
    """
    pairs = tile.view(np.int32)
    for tile_start in range(0, plan.samples, LANES):
        first = min(tile_start, plan.samples - LANES)
        transpose_tile(words, streams, 0, 2 * first, tile, tile_rows, 0, 0)
        if plan.order == 2:  # I and Q of one sample share a word
            for n in range(LANES):
                pair, weight = load(pairs, n * LANES), plan.window[first + n]
                store(rows, (first + n) * ROW, _low(pair) * weight)
                store(rows, (first + n) * ROW + LANES, _high(pair) * weight)
        else:  # one word has two I, the other two Q
            i_word, q_word = (0, LANES) if plan.order == 0 else (LANES, 0)
            for n in range(0, LANES, 2):
                i_pair, q_pair = load(pairs, n * LANES + i_word), load(pairs, n * LANES + q_word)
                row, weight, next_weight = (first + n) * ROW, plan.window[first + n], plan.window[first + n + 1]
                store(rows, row, _low(i_pair) * weight)
                store(rows, row + LANES, _low(q_pair) * weight)
                store(rows, row + ROW, _high(i_pair) * next_weight)
                store(rows, row + ROW + LANES, _high(q_pair) * next_weight)


@njit(nogil=True, error_model="numpy")
def _decode_short(words, streams, plan, rows):
    """The same for chirps shorter than a tile, one number at a time."""
    for n in range(plan.samples):
        at, apart = (2 * n, 1) if plan.order == 2 else (n // 2 * 4 + n % 2, 2)
        i_word, q_word = (at + apart, at) if plan.order == 1 else (at, at + apart)
        for lane in range(LANES):
            rows[n * ROW + lane] = words[streams[lane] + i_word] * plan.window[n]
            rows[n * ROW + LANES + lane] = words[streams[lane] + q_word] * plan.window[n]


@njit(nogil=True, error_model="numpy", inline="always")
def _low(pair):
    return to_float((pair << np.int32(16)) >> np.int32(16))


@njit(nogil=True, error_model="numpy", inline="always")
def _high(pair):
    return to_float(pair >> np.int32(16))


@njit(nogil=True, error_model="numpy")
def _keep(rows, members, plan, profiles, place):
    """Copy every kept bin of a block's loops to the profile buffer; `place` is the first loop's row in each group."""
    width = plan.elements.shape[0]
    if width == 8:
        _copy_bins(rows, members, plan, profiles, place, 8)
    elif width == 4:
        _copy_bins(rows, members, plan, profiles, place, 4)
    else:
        _copy_bins(rows, members, plan, profiles, place, 2)


@njit(nogil=True, error_model="numpy", inline="always")
def _copy_bins(rows, members, plan, profiles, place, width):
    """`width` is inlined as a constant, so that one loop's antennas move as one vector."""
    for k in range(plan.start, plan.stop):
        group, bin_in_group = divmod(k - plan.start, LANES // width)
        source = plan.fft.row_of_bin[k] * ROW
        target = group * plan.group_stride + place + bin_in_group * width
        for member in range(members):
            copy_lanes(profiles, target + member * ROW, rows, source + member * width, width)
            copy_lanes(profiles, target + member * ROW + LANES, rows, source + member * width + LANES, width)
