"""One frame's int16 words -> its cube and maps: the fast path, held by test to `processing.reference`.

Speed comes from three decisions. Sixteen streams are transformed side by side in vector registers (`lanes_kernels`). The
complex cube never exists: power is stored straight from the antennas' Doppler lines. And what a product does not need is not
computed: RD needs no azimuth FFT, RA only fifteen sums a range bin, bins outside a crop no more than the other maps need.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Int16, Shaped

from pipeline.cube_config import CubeConfig, SampleOrder
from pipeline.cube_layout import CubeAxes
from pipeline.errors import PipelineError
from pipeline.waveform import Waveform
from processing.adc import check_sample_count
from processing.cube_kernels import CubePlan, cube_of_profiles, profiles_of_words
from processing.grid import cube_grid
from processing.lanes_kernels import LANES, ROW
from processing.plans import cube_plan, lanes_per_antenna_group, range_plan
from processing.range_kernels import TILE

ALGORITHM_VERSION = "1"  # part of every cube's key: raise it when the same samples and configuration give other numbers
PIECES_PER_THREAD = 4


@dataclass(frozen=True)
class Frame:
    """Products of one frame, None where not asked for.

    `rad` (range, azimuth, Doppler) as `CubeConfig.dtype` says: uint8 steps of `db_step` above `db_floor`, float16 dB, float32
    linear power, complex64 amplitude, all relative to full scale. `rd` and `ra` are linear power summed over every azimuth
    or Doppler bin, or with `frame_minmax` log power scaled to [0, 1].
    """

    rad: Shaped[np.ndarray, "range azimuth doppler"] | None = None
    rd: Float32[np.ndarray, "range doppler"] | None = None
    ra: Float32[np.ndarray, "range azimuth"] | None = None


class FrameTransform:
    """Turns frames of one waveform into the products of one configuration.

    `sample_order` None takes the waveform's; `threads` None uses every processor this process may run on. Buffers are kept
    between calls, so calls on one object take turns; for frames side by side make one with `threads=1` for each thread.
    The threads are this object's own, not Numba's: no OpenMP to break in a forked child or under a second caller.
    Raises PipelineError where configuration and waveform do not fit.
    """

    def __init__(
        self,
        waveform: Waveform,
        config: CubeConfig,
        sample_order: SampleOrder | None = None,
        threads: int | None = None,
    ) -> None:
        order = sample_order or waveform.sample_order
        check_sample_count(waveform, order)
        self.waveform, self.config = waveform, config
        self.grid = cube_grid(waveform, config)
        self._range, self.plan = range_plan(waveform, self.grid, order), cube_plan(waveform, config, self.grid)
        ranges, azimuths, dopplers = self.grid.shape
        products = {
            "rad": ((ranges, azimuths, dopplers), np.dtype(config.dtype)),
            "rd": ((ranges, dopplers), np.dtype(np.float32)),
            "ra": ((ranges, azimuths), np.dtype(np.float32)),
        }
        self._products = {name: products[name] for name in config.products}
        together = LANES // lanes_per_antenna_group(self.grid)
        self._blocks = -(-waveform.loops // together)
        self._groups = -(-self.grid.shape[0] // together)
        self.threads = max(1, min(threads or _processors(), self._groups))
        self._profiles = _aligned_zeros(self._groups * self._range.group_stride)
        range_floats = (self._range.fft.length + self._range.fft.scratch_rows) * ROW + TILE
        self._range_work = [_aligned_zeros(range_floats) for _ in range(self.threads)]
        self._cube_work = [_aligned_zeros(self.plan.work_floats) for _ in range(self.threads)]
        self._weights = (self.grid.doppler_window * self.grid.amplitude_scale).astype(np.float32)
        self._all_valid = np.ones(waveform.loops, bool)
        self._pool = ThreadPoolExecutor(self.threads - 1, "cube") if self.threads > 1 else None
        self._turn = threading.Lock()

    def axes(self) -> CubeAxes:
        """Bin centres of the products as stored, after crops and flip."""
        return self.grid.axes(self.waveform)

    def empty_frame(self) -> Frame:
        """Arrays of the right shapes and types, contents undefined, to be handed in as `out`."""
        return Frame(**{name: np.empty(shape, dtype) for name, (shape, dtype) in self._products.items()})

    def __call__(
        self,
        words: Int16[np.ndarray, " word"],
        loop_valid: Bool[np.ndarray, " loop"] | None = None,
        out: Frame | None = None,
    ) -> Frame:
        """Products of the frame `words` (`waveform.frame_bytes // 2` of them, wire order).

        `loop_valid` False marks loops that lost bytes: they count as zeros and are left out of the clutter mean. `out`
        takes the results where given (`empty_frame`); it is returned. Raises PipelineError on a frame of another size.
        """
        words, valid = self._checked(words, loop_valid)
        frame = out or self.empty_frame()
        self._check_out(frame)
        with self._turn:
            self.profile_pass(words, valid)
            self.cube_pass(self.plan, valid, frame)
        if self.config.frame_minmax:
            for power in (frame.rd, frame.ra):
                if power is not None:
                    _scale_to_extremes(power)
        return frame

    def profile_pass(self, words: Int16[np.ndarray, " word"], valid: Bool[np.ndarray, " loop"]) -> None:
        """First pass, apart so that it can be timed: read-only words -> this object's range profiles."""

        def work(part: int, first: int, stop: int) -> None:
            profiles_of_words(words, valid, self._range, first, stop, self._range_work[part], self._profiles)

        self._share(work, self._blocks)

    def cube_pass(self, plan: CubePlan, valid: Bool[np.ndarray, " loop"], frame: Frame) -> None:
        """Second pass: range profiles -> the products that `plan` names, written to `frame`."""
        weights = self._weights if valid is self._all_valid else self._weights * valid
        rad, rd, ra = _flat(frame.rad, np.uint8), _flat(frame.rd, np.float32), _flat(frame.ra, np.float32)
        count = int(np.count_nonzero(valid))

        def work(part: int, first: int, stop: int) -> None:
            cube_of_profiles(self._profiles, weights, count, plan, first, stop, self._cube_work[part], rad, rd, ra)

        self._share(work, self._groups)

    def _share(self, work: Callable[[int, int, int], None], count: int) -> None:
        """Run `work(part, first, stop)` over `range(count)` in pieces that the threads take as they come.

        A thread that other programs keep from running delays a frame by the piece it holds, not by its whole share.
        """
        pieces = min(count, PIECES_PER_THREAD * self.threads if self.threads > 1 else 1)
        borders = [piece * count // pieces for piece in range(pieces + 1)]
        waiting = deque(pairwise(borders))

        def run(part: int) -> None:
            while True:
                try:
                    first, stop = waiting.popleft()
                except IndexError:
                    return
                work(part, first, stop)

        others = [self._pool.submit(run, part) for part in range(1, self.threads)] if self._pool else []
        run(0)
        for other in others:
            if not other.cancel():  # one that has not begun by now has nothing left to do
                other.result()

    def _checked(
        self, words: Int16[np.ndarray, " word"], loop_valid: Bool[np.ndarray, " loop"] | None
    ) -> tuple[Int16[np.ndarray, " word"], Bool[np.ndarray, " loop"]]:
        expected = self.waveform.frame_bytes // 2
        if len(words) != expected:
            raise PipelineError(
                f"{self.waveform.name}: a frame has {expected} words of 16 bits, but {len(words)} were given; "
                "cut the stream at whole frames, or check that this waveform recorded it."
            )
        if loop_valid is not None and len(loop_valid) != self.waveform.loops:
            raise PipelineError(
                f"{self.waveform.name}: a frame has {self.waveform.loops} loops, but {len(loop_valid)} flags were given for them."
            )
        # A plain, read-only view: one array type for Numba, whether the words lie in memory or in a mapped file.
        plain = np.require(words, np.int16, ["C", "A", "E"]).view()
        plain.flags.writeable = False
        if loop_valid is None or loop_valid.all():
            return plain, self._all_valid
        return plain, np.ascontiguousarray(loop_valid, bool)

    def _check_out(self, frame: Frame) -> None:
        for name, (shape, dtype) in self._products.items():
            array = getattr(frame, name)
            if array is None or array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
                raise PipelineError(
                    f"out.{name} must be a contiguous {dtype} array of shape {shape}; make it with empty_frame()."
                )


def _processors() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _flat(array: Shaped[np.ndarray, "..."] | None, dtype: type) -> Shaped[np.ndarray, " number"]:
    return np.empty(0, dtype) if array is None else array.reshape(-1).view(dtype)


def _aligned_zeros(count: int) -> Float32[np.ndarray, " number"]:
    """Zeros that begin on a cache line: sixteen lanes are one, and a vector across two costs half the speed."""
    spare = np.zeros(count + LANES, np.float32)
    start = -(spare.ctypes.data // 4) % LANES
    return spare[start : start + count]


def _scale_to_extremes(power: Float32[np.ndarray, "range bin"]) -> None:
    """Log power scaled in place to [0, 1]; cells of zero power count as the least positive one, a flat map as 0."""
    positive = power[power > 0]
    if not len(positive):
        power[:] = 0
        return
    np.log10(np.maximum(power, positive.min()), out=power)
    low, high = power.min(), power.max()
    np.subtract(power, low, out=power)
    np.divide(power, high - low if high > low else 1, out=power)
