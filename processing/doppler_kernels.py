"""Range profiles -> array snapshots: clutter removal, Doppler window and FFT, TDM compensation.

A snapshot buffer belongs to one group of `LANES // width` range bins. For each it has eight rows of real and eight of
imaginary parts, one for each antenna column of the azimuth row (absent columns stay zero), along shifted Doppler bins.
Numpy twin, for one range bin: `fftshift(fft((x - x[valid].mean()) * weights, fft.length)) * compensation`.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from processing.fft_kernels import FftPlan, fft_rows
from processing.lanes_kernels import LANES, ROW, fill, load, store, transpose_tile

COLUMNS = 8  # no xWR1843 row has more: three transmitters two columns apart, four receivers
PLANE = 2 * COLUMNS  # rows of one range bin


class DopplerPlan(NamedTuple):
    """What the Doppler transform needs to know of the frame's shape."""

    loops: int
    fft: FftPlan
    clutter: bool
    gains: np.ndarray  # float32 [16]: azimuth window of each lane's antenna, 0 for padding
    sources: np.ndarray  # int64 [doppler, padded to 16]: where the FFT leaves each shifted bin; padding points at zeros
    targets: np.ndarray  # int64 [32]: row start in a snapshot buffer of each lane's real, then imaginary part
    stride: int  # floats from one snapshot row to the next
    turned_rows: np.ndarray  # int64 [turned, 2]: start of each real row that TDM compensation turns, place of its turns
    turns: np.ndarray  # float32: for each transmitter slot a row of cos and one of sin, along shifted Doppler bins
    fold: int  # length of the azimuth FFT where it is shorter than the row (columns are added up modulo it), else `COLUMNS`


@njit(nogil=True, error_model="numpy")
def snapshots_of_group(profiles, weights, valid_loops, plan, work, snapshots):
    """Fill `snapshots` from the group `profiles` (one complex row a loop).

    `weights` float32 [loop]: Doppler window times the normalisation, 0 for lost loops; `valid_loops` how many were not lost.
    `work` holds (fft.length + 1 + fft.scratch_rows) rows, this thread's own.
    """
    length = plan.fft.length
    rows, scratch = work[: (length + 1) * ROW], work[(length + 1) * ROW :]
    zero = fill(np.float32(0))
    mean_r, mean_i = zero, zero
    if plan.clutter and valid_loops:
        mean_r, mean_i = _mean(profiles, plan.loops, valid_loops)
    gains = load(plan.gains, 0)
    for loop in range(plan.loops):
        weight = gains * weights[loop]
        store(rows, loop * ROW, (load(profiles, loop * ROW) - mean_r) * weight)
        store(rows, loop * ROW + LANES, (load(profiles, loop * ROW + LANES) - mean_i) * weight)
    for i in range(plan.loops * ROW, (length + 1) * ROW, LANES):  # the row after the last one is `sources`' zeros
        store(rows, i, zero)
    fft_rows(rows, plan.fft, scratch)
    if plan.fold < COLUMNS:  # what was folded into absent columns last time
        for i in range(snapshots.shape[0]):
            snapshots[i] = 0
    for d in range(0, plan.sources.shape[0], LANES):
        transpose_tile(rows, plan.sources, d, 0, snapshots, plan.targets, 0, d)
        transpose_tile(rows, plan.sources, d, LANES, snapshots, plan.targets, LANES, d)
    for t in range(plan.turned_rows.shape[0]):
        _turn(snapshots, plan.turned_rows[t, 0], plan.stride, plan.turns, plan.turned_rows[t, 1])
    if plan.fold < COLUMNS:
        _fold(snapshots, plan.fold, plan.stride)


@njit(nogil=True, error_model="numpy")
def _mean(profiles, loops, valid_loops):
    """Mean row over the loops that were not lost (lost ones are zeros). Four sums keep the adders busy."""
    zero = fill(np.float32(0))
    ar, ai, br, bi, cr, ci, dr, di = zero, zero, zero, zero, zero, zero, zero, zero
    fours = loops // 4 * 4
    for i in range(0, fours * ROW, 4 * ROW):
        ar += load(profiles, i)
        ai += load(profiles, i + LANES)
        br += load(profiles, i + ROW)
        bi += load(profiles, i + ROW + LANES)
        cr += load(profiles, i + 2 * ROW)
        ci += load(profiles, i + 2 * ROW + LANES)
        dr += load(profiles, i + 3 * ROW)
        di += load(profiles, i + 3 * ROW + LANES)
    for i in range(fours * ROW, loops * ROW, ROW):
        ar += load(profiles, i)
        ai += load(profiles, i + LANES)
    share = np.float32(1 / valid_loops)
    return ((ar + br) + (cr + dr)) * share, ((ai + bi) + (ci + di)) * share


@njit(nogil=True, error_model="numpy")
def _turn(snapshots, row, stride, turns, t):
    """Multiply one antenna's Doppler line by the phasors at `turns[t]`."""
    imag = row + COLUMNS * stride
    for d in range(0, stride, LANES):
        re, im = load(snapshots, row + d), load(snapshots, imag + d)
        cos, sin = load(turns, t + d), load(turns, t + stride + d)
        store(snapshots, row + d, re * cos - im * sin)
        store(snapshots, imag + d, re * sin + im * cos)


@njit(nogil=True, error_model="numpy")
def _fold(snapshots, fold, stride):
    """An azimuth FFT shorter than the row samples its spectrum: the same as adding up columns `fold` apart."""
    for plane in range(0, snapshots.shape[0] - COLUMNS * stride + 1, COLUMNS * stride):
        for column in range(fold, COLUMNS):
            source, target = plane + column * stride, plane + column % fold * stride
            for d in range(stride):
                snapshots[target + d] += snapshots[source + d]
                snapshots[source + d] = 0
