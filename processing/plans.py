"""Grid -> tables of the kernels: which lane holds what, where each transform leaves its bins, angles and turns."""

import numpy as np
from jaxtyping import Float32, Int64

from pipeline.cube_config import CubeConfig, SampleOrder
from pipeline.waveform import Waveform
from processing.azimuth_kernels import ANGLE, BINS_TOGETHER, LAGS
from processing.cube_kernels import CubePlan
from processing.doppler_kernels import COLUMNS, PLANE, DopplerPlan
from processing.fft_plan import fft_plan
from processing.grid import CubeGrid
from processing.lanes_kernels import LANES, ROW
from processing.range_kernels import ORDERS, RangePlan
from processing.store_kernels import DTYPES, LOG2_OF_MANTISSA, StorePlan


def lanes_per_antenna_group(grid: CubeGrid) -> int:
    """Lanes that one loop's antennas take: 2, 4 or 8, so that whole loops (and whole range bins) fill sixteen."""
    return max(2, 1 << (len(grid.row.elements) - 1).bit_length())


def group_stride(waveform: Waveform) -> int:
    """Floats of one group of a profile buffer: an odd number of cache lines, so that groups do not share cache sets."""
    return waveform.loops * ROW + LANES


def range_plan(waveform: Waveform, grid: CubeGrid, order: SampleOrder) -> RangePlan:
    """Tables of `processing.range_kernels.range_profiles`."""
    elements = np.resize(grid.row.elements, lanes_per_antenna_group(grid)).astype(np.int64)
    return RangePlan(
        order=ORDERS.index(order),
        samples=waveform.samples,
        loop_words=waveform.tx_slots * waveform.rx_count * waveform.samples * 2,
        elements=elements,
        window=grid.range_window.astype(np.float32),
        fft=fft_plan(grid.range_bins),
        start=grid.range_kept[0],
        stop=grid.range_kept[1],
        group_stride=group_stride(waveform),
    )


def cube_plan(waveform: Waveform, config: CubeConfig, grid: CubeGrid) -> CubePlan:
    """Tables of `processing.cube_kernels.cube_of_profiles`."""
    angles, bins = _angles(grid.azimuth_bins)
    return CubePlan(
        doppler=_doppler_plan(waveform, config, grid),
        store=_store_plan(config),
        group_stride=group_stride(waveform),
        together=LANES // lanes_per_antenna_group(grid),
        range_bins=grid.shape[0],
        flip_range=grid.flip_range,
        doppler_start=grid.doppler_kept[0],
        doppler_stop=grid.doppler_kept[1],
        azimuth_bins=grid.azimuth_bins,
        angles=angles,
        bins=bins,
        lag_turns=_lag_turns(grid.azimuth_bins),
        rd="rd" in config.products,
        ra="ra" in config.products,
    )


def _doppler_plan(waveform: Waveform, config: CubeConfig, grid: CubeGrid) -> DopplerPlan:
    width, length = lanes_per_antenna_group(grid), grid.doppler_bins
    together, vectors = LANES // width, -(-length // LANES)
    stride = (vectors + 1 | 1) * LANES  # odd in cache lines; one vector to spare, because a crop may begin anywhere
    fft = fft_plan(length)
    bin_of_place = (np.arange(length) - length // 2) % length
    gains = np.zeros((together, width))
    gains[:, : len(grid.row.elements)] = grid.azimuth_window
    # Lane (range bin, antenna) -> where its line goes; padding lanes go to a row that nobody reads.
    targets = np.full((2, together, width), together * PLANE * stride)
    turned = []
    for member in range(together):
        for lane, (column, slot) in enumerate(zip(grid.row.columns, grid.row.slots, strict=True)):
            start = (member * PLANE + column) * stride
            targets[:, member, lane] = start, start + COLUMNS * stride
            if slot and config.tdm_compensation:
                turned.append((start, slot * 2 * stride))
    return DopplerPlan(
        loops=waveform.loops,
        fft=fft,
        clutter=config.clutter_removal,
        gains=gains.reshape(LANES).astype(np.float32),
        sources=np.concatenate([fft.row_of_bin[bin_of_place], np.full(vectors * LANES - length, length)]) * ROW,
        targets=targets.reshape(-1).astype(np.int64),
        stride=stride,
        turned_rows=np.array(turned, np.int64).reshape(-1, 2),
        turns=_turns(waveform.tx_slots, length, stride),
        fold=min(grid.azimuth_bins, COLUMNS),
    )


def _turns(slots: int, length: int, stride: int) -> Float32[np.ndarray, " number"]:
    """exp(-j 2 pi k m / (n slots)) of slot m and signed Doppler bin k (hardware.md, "TDM compensation"): cos row, sin row."""
    k = np.zeros(stride)
    k[:length] = np.arange(length) - length // 2
    phase = -2 * np.pi * k * np.arange(slots)[:, None] / (length * slots)
    return np.stack([np.cos(phase), np.sin(phase)], axis=1).reshape(-1).astype(np.float32)


def _angles(bins: int) -> tuple[Float32[np.ndarray, " number"], Int64[np.ndarray, "fours 4"]]:
    """For each k that four bins share: the angles of the columns, and the shifted bins, each bin named once."""
    half = bins // 2
    k = np.arange(bins // 4 + 1 if bins % 2 == 0 else half + 1)
    angle = 2 * np.pi * k[:, None] * np.arange(COLUMNS) / bins
    table = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    assert table.shape[1] == ANGLE
    fours = np.full((len(k), BINS_TOGETHER), -1)
    seen: set[int] = set()
    for row, value in enumerate(k):
        members = (value, -value, value + half, half - value) if bins % 2 == 0 else (value, -value)
        for place, member in enumerate(members):
            shifted = int((member + half) % bins)
            if shifted not in seen:
                seen.add(shifted)
                fours[row, place] = shifted
    return table.reshape(-1).astype(np.float32), fours.astype(np.int64)


def _lag_turns(bins: int) -> np.ndarray:
    phase = 2 * np.pi * (np.arange(bins) - bins // 2) / bins
    lags = [(2 * np.cos(lag * phase), 2 * np.sin(lag * phase)) for lag in range(1, COLUMNS)]
    table = np.concatenate([np.ones((1, bins)), np.stack(lags).reshape(-1, bins)])
    assert len(table) == LAGS
    return table.reshape(-1)


def _store_plan(config: CubeConfig) -> StorePlan:
    """uint8: (dB - floor) / step; float16: dB. Both are `scale` log2(power) + `offset`, and log2 is bits / 2**23 - 127 but for
    the mantissa's curve log2(m) - (m - 1).
    """
    dtype = config.dtype if "rad" in config.products else "none"
    step, floor = (config.db_step, config.db_floor) if dtype == "uint8" else (1.0, 0.0)
    scale = 10 * np.log10(2) / step
    curve = scale * (np.array(LOG2_OF_MANTISSA) - [-1, 1, 0, 0, 0, 0])
    curve[0] -= 127 * scale + floor / step
    return StorePlan(
        dtype=DTYPES.index(dtype),
        # A hair above the floor, more than the logarithm's error, so that a code is never below 0.
        floor_power=np.float32(max(10 ** (config.db_floor / 10) * 1.00005, float(np.finfo(np.float32).tiny))),
        slope=np.float32(scale / 2**23),
        curve=tuple(np.float32(number) for number in curve),
    )
