"""The two compiled entry points: words -> range profiles, range profiles -> cube and maps.

Numba keeps their machine code on disk, but looks only at this file to tell whether it is stale. `SOURCES`, a digest of every
kernel file, is therefore part of each entry point (a closure's contents belong to Numba's cache key).
Entry points run without the interpreter lock and share nothing but their arguments: any number of threads may call them,
each with its own `work`, on its own part of a frame.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from processing.azimuth_kernels import (
    ANGLE,
    LAGS,
    amplitude_of_four_bins,
    correlate_columns,
    power_of_four_bins,
    power_over_azimuth,
    power_over_doppler,
)
from processing.doppler_kernels import PLANE, DopplerPlan, snapshots_of_group
from processing.lanes_kernels import LANES, ROW
from processing.range_kernels import range_profiles
from processing.store_kernels import COMPLEX64, NONE, StorePlan, store_four_lines


class CubePlan(NamedTuple):
    """Everything after the range transform. The maps' sums are over all bins, whatever `doppler_start` and `_stop` keep."""

    doppler: DopplerPlan
    store: StorePlan
    group_stride: int  # floats from one group of a profile buffer to the next
    together: int  # range bins of a group
    range_bins: int  # range bins kept
    flip_range: bool
    doppler_start: int  # shifted Doppler bins kept: [start, stop)
    doppler_stop: int
    azimuth_bins: int
    angles: np.ndarray  # float32 [fours * ANGLE]: cos and sin of 2 pi k column / azimuth_bins of each k
    bins: np.ndarray  # int64 [fours, 4]: shifted azimuth bin of each of the four, -1 for one that another four has
    lag_turns: np.ndarray  # float64 [LAGS * azimuth_bins], see `power_over_doppler`
    rd: bool
    ra: bool

    @property
    def padded_width(self) -> int:
        """Doppler bins kept, rounded up to whole vectors."""
        return -(-(self.doppler_stop - self.doppler_start) // LANES) * LANES

    @property
    def work_floats(self) -> int:
        """Length of the float32 buffer that each thread of `cube_rows` needs; zeros at first, left alone afterwards."""
        fft = self.doppler.fft
        transform = (fft.length + 1 + fft.scratch_rows) * ROW
        return transform + (self.together * PLANE + 1) * self.doppler.stride + 8 * self.padded_width


def _entry_points(sources: str):
    @njit(nogil=True, cache=True, error_model="numpy")
    def profiles_of_words(words, loop_valid, plan, first_block, stop_block, work, profiles):
        """See `processing.range_kernels.range_profiles`."""
        sources  # noqa: B018
        range_profiles(words, loop_valid, plan, first_block, stop_block, work, profiles)

    @njit(nogil=True, cache=True, error_model="numpy")
    def cube_of_profiles(profiles, weights, valid_loops, plan, first_group, stop_group, work, cube, rd, ra):
        """Range groups [first_group, stop_group) of the products: `cube` as bytes, `rd` and `ra` float32, all flat.

        `weights` and `valid_loops` are explained in `processing.doppler_kernels.snapshots_of_group`; `work` is this thread's own.
        """
        sources  # noqa: B018
        stride, together, azimuth_bins = plan.doppler.stride, plan.together, plan.azimuth_bins
        angles, bins, lag_turns, dtype = plan.angles, plan.bins, plan.lag_turns, plan.store.dtype
        kept = plan.doppler_stop - plan.doppler_start
        width = (kept + LANES - 1) // LANES * LANES
        transform_stop = (plan.doppler.fft.length + 1 + plan.doppler.fft.scratch_rows) * ROW
        snapshots_stop = transform_stop + (together * PLANE + 1) * stride
        transform, snapshots = work[:transform_stop], work[transform_stop:snapshots_stop]
        lines, spare = work[snapshots_stop:], np.empty(8 * LANES, np.uint8)
        sums, lags, totals = np.empty(LAGS * LANES), np.empty(LAGS), np.empty(azimuth_bins)
        for group in range(first_group, stop_group):
            place = group * plan.group_stride
            group_profiles = profiles[place : place + plan.group_stride]
            snapshots_of_group(group_profiles, weights, valid_loops, plan.doppler, transform, snapshots)
            for member in range(min(together, plan.range_bins - group * together)):
                row = group * together + member
                if plan.flip_range:
                    row = plan.range_bins - 1 - row
                start = member * PLANE * stride
                first = start + plan.doppler_start
                if plan.rd:
                    power_over_azimuth(snapshots, first, stride, width, azimuth_bins, lines)
                    for d in range(kept):
                        rd[row * kept + d] = lines[d]
                if plan.ra:
                    correlate_columns(snapshots, start, stride, sums, lags)
                    power_over_doppler(lags, lag_turns, azimuth_bins, totals, ra, row * azimuth_bins)
                if dtype == NONE:
                    continue
                for four in range(bins.shape[0]):
                    if dtype == COMPLEX64:
                        amplitude_of_four_bins(snapshots, first, stride, angles, four * ANGLE, width, lines)
                    else:
                        power_of_four_bins(snapshots, first, stride, angles, four * ANGLE, width, lines)
                    store_four_lines(lines, width, kept, plan.store, bins, four, spare, cube, row * azimuth_bins)

    return profiles_of_words, cube_of_profiles


SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*_kernels.py")))
).hexdigest()
profiles_of_words, cube_of_profiles = _entry_points(SOURCES)
