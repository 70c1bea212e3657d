"""From a device's clock to the host's: robust straight lines through pairs of readings.

Two kinds of pairs. Where the host asked and the device answered (PING), host time is known to lie between question and answer, so
`fit_clock` draws its line through the middles and trusts each as far as its uncertainty. Where the device only ever sends (camera
frames), host time is device time mapped plus a latency that is never below its floor and often above, so `fit_latency_floor`
draws its line along the lower edge of the cloud; the floor itself stays in the offset and cannot be told from it.

Crystals drift by parts in a million, but a simulated rig may run at any speed, so nothing here assumes that the slope is near 1.
"""

from dataclasses import dataclass
from typing import overload

import numpy as np
from jaxtyping import Bool, Float

from pipeline.errors import PipelineError
from pipeline.sync import ClockFit

_ROUNDS = 20
_TUKEY = 4.685  # Tukey's biweight at 95 % efficiency for normal errors
_FINEST_S = 1e-7  # below this, differences between readings are rounding
_THEIL_SEN_READINGS = 200  # 19 900 pairs; more only cost time
_FLOOR_WINDOWS = 40  # a line through so many lowest readings
_FLOOR_WINDOW_READINGS = 5  # at least so many share a window, so that its lowest is likely near the floor


@dataclass(frozen=True)
class ClockLine:
    """`host_s = scale * device_s + offset_s`, both clocks in seconds.

    `residual_s` is the root mean square distance of the `readings` used from the line, `worst_s` the largest of those
    distances; `middle_s` is the device's reading half way between the first and the last one given.
    """

    scale: float
    offset_s: float
    residual_s: float
    worst_s: float
    readings: int
    middle_s: float

    @overload
    def host_s(self, device_s: float) -> float: ...
    @overload
    def host_s(self, device_s: Float[np.ndarray, " reading"]) -> Float[np.ndarray, " reading"]: ...
    def host_s(self, device_s: Float[np.ndarray, " reading"] | float) -> Float[np.ndarray, " reading"] | float:
        """Host time at which the device's clock shows `device_s`."""
        return self.scale * device_s + self.offset_s

    @overload
    def device_s(self, host_s: float) -> float: ...
    @overload
    def device_s(self, host_s: Float[np.ndarray, " reading"]) -> Float[np.ndarray, " reading"]: ...
    def device_s(self, host_s: Float[np.ndarray, " reading"] | float) -> Float[np.ndarray, " reading"] | float:
        """What the device's clock shows at `host_s`."""
        return (host_s - self.offset_s) / self.scale

    @property
    def drift_ppm(self) -> float:
        """How much too fast the device's clock runs against the host's."""
        return (1 / self.scale - 1) * 1e6

    def report(self) -> ClockFit:
        """The line as `sync.parquet` keeps it."""
        return ClockFit(
            drift_ppm=self.drift_ppm,
            offset_s=self.middle_s - self.host_s(self.middle_s),
            residual_ms=self.residual_s * 1e3,
            worst_ms=self.worst_s * 1e3,
            readings=self.readings,
        )


def running_median(values: Float[np.ndarray, " reading"]) -> Float[np.ndarray, " reading"]:
    """The median of each value and its two neighbours on both sides; the ends are their own neighbours."""
    if not len(values):
        return values
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, 2, mode="edge"), 5)
    medians: Float[np.ndarray, " reading"] = np.median(windows, axis=1)
    return medians


def fit_clock(
    device_s: Float[np.ndarray, " reading"],
    host_s: Float[np.ndarray, " reading"],
    uncertainty_s: Float[np.ndarray, " reading"] | None = None,
) -> ClockLine:
    """The line through readings of both clocks that some of the readings may contradict.

    Starts from the median of the slopes between pairs (Theil-Sen), then least squares in which a reading counts by
    1 / `uncertainty_s`^2 and ever less the further it lies off (Tukey's biweight; one further than 4.7 times the typical
    distance not at all). A single reading gives slope 1. PipelineError when there is no reading, or when time stands still.
    """
    device_s, host_s = _pairs(device_s, host_s)
    sigma = np.ones(device_s.size) if uncertainty_s is None else np.maximum(uncertainty_s, _FINEST_S)
    sigma = sigma / sigma.min()
    # Centred, so that seconds since some boot long ago do not eat the digits of microseconds.
    x0, y0 = float(device_s[0]), float(host_s[0])
    x, y = device_s - x0, host_s - y0
    if x.size == 1:
        return ClockLine(1.0, y0 - x0, 0.0, 0.0, 1, x0)
    slope, level = _theil_sen(x, y, sigma)
    used = np.ones(x.size, bool)
    for _ in range(_ROUNDS):
        off = (y - slope * x - level) / sigma
        spread = max(1.4826 * float(np.median(np.abs(off))), _FINEST_S)
        weight = np.clip(1 - (off / (_TUKEY * spread)) ** 2, 0, None) ** 2 / sigma**2
        if np.ptp(x[weight > 0]) == 0:  # what is left does not make a line: stay with the one before
            break
        used = weight > 0
        before = slope, level
        slope, level = _least_squares(x, y, weight)
        if abs(level - before[1]) < 1e-10 and abs(slope - before[0]) * np.ptp(x) < 1e-10:
            break
    return _line(slope, level, x, y, used, x0, y0)


def fit_latency_floor(device_s: Float[np.ndarray, " reading"], host_s: Float[np.ndarray, " reading"]) -> ClockLine:
    """The line under one-way readings: `host_s` is when the host learnt what the device stamped `device_s`.

    Starts from the line under all readings with the least mean latency, which is the edge of their lower convex hull below their
    mean (Moon, Skelly and Towsley, INFOCOM 1999), then cuts the time into windows and fits a robust line through the lowest
    reading of each, so that neither a window in which everything came late nor one early reading bends it. `residual_s` and
    `worst_s` speak of those lowest readings. `device_s` need not be ascending. PipelineError as `fit_clock`.
    """
    device_s, host_s = _pairs(device_s, host_s)
    order = np.argsort(device_s, kind="stable")
    x0, y0 = float(device_s[order[0]]), float(host_s[order[0]])
    x, y = device_s[order] - x0, host_s[order] - y0
    if x.size == 1:
        return ClockLine(1.0, y0 - x0, 0.0, 0.0, 1, x0)
    slope, level = _hull_edge(x, y)
    windows = min(_FLOOR_WINDOWS, x.size // _FLOOR_WINDOW_READINGS)
    if windows < 3:
        latency = y - slope * x - level
        return _line(slope, level, x, y, latency <= latency.min() + _FINEST_S, x0, y0)
    window = np.minimum((x / x[-1] * windows).astype(np.intp), windows - 1)
    lowest = np.zeros(0, np.intp)
    for _ in range(_ROUNDS):
        latency = y - slope * x - level
        ranked = np.lexsort((latency, window))
        first = np.r_[True, np.diff(window[ranked]) > 0]
        if np.array_equal(lowest, ranked[first]):
            break
        lowest = ranked[first]
        line = fit_clock(x[lowest], y[lowest])
        slope, level = line.scale, line.offset_s
    line = fit_clock(x[lowest], y[lowest])
    return ClockLine(
        line.scale,
        y0 + line.offset_s - line.scale * x0,
        line.residual_s,
        line.worst_s,
        line.readings,
        x0 + float(x[-1]) / 2,
    )


def _pairs(
    device_s: Float[np.ndarray, " reading"], host_s: Float[np.ndarray, " reading"]
) -> tuple[Float[np.ndarray, " reading"], Float[np.ndarray, " reading"]]:
    """The readings as float64; PipelineError where they make no line."""
    if device_s.size == 0:
        raise PipelineError("There is no reading of the device's clock, so it cannot be compared with the host's.")
    if not (np.isfinite(device_s).all() and np.isfinite(host_s).all()):
        raise PipelineError("A reading of the device's clock or of the host's is not a number.")
    if device_s.size > 1 and (np.ptp(device_s) == 0 or np.ptp(host_s) == 0):
        raise PipelineError(
            f"{device_s.size} readings of the device's clock show no time passing, so its rate is unknown."
        )
    return device_s.astype(np.float64), host_s.astype(np.float64)


def _theil_sen(
    x: Float[np.ndarray, " reading"], y: Float[np.ndarray, " reading"], sigma: Float[np.ndarray, " reading"]
) -> tuple[float, float]:
    """Median slope of all pairs and the median level, of the more certain half of the readings, evenly thinned out."""
    good = np.flatnonzero(sigma <= np.median(sigma))
    if np.ptp(x[good]) == 0:
        good = np.arange(x.size)
    good = good[np.unique(np.linspace(0, good.size - 1, min(good.size, _THEIL_SEN_READINGS)).astype(np.intp))]
    first, second = np.triu_indices(good.size, 1)
    run, rise = x[good][second] - x[good][first], y[good][second] - y[good][first]
    # Pairs close together have slopes of noise: those of the wider half decide.
    wide = np.abs(run) >= max(float(np.median(np.abs(run))), 1e-12)
    slope = float(np.median(rise[wide] / run[wide])) if wide.any() else 1.0
    return slope, float(np.median(y[good] - slope * x[good]))


def _least_squares(
    x: Float[np.ndarray, " reading"], y: Float[np.ndarray, " reading"], weight: Float[np.ndarray, " reading"]
) -> tuple[float, float]:
    """Slope and level of the weighted least-squares line."""
    total = weight.sum()
    x_mean, y_mean = float((weight * x).sum() / total), float((weight * y).sum() / total)
    slope = float((weight * (x - x_mean) * (y - y_mean)).sum() / (weight * (x - x_mean) ** 2).sum())
    return slope, y_mean - slope * x_mean


def _hull_edge(x: Float[np.ndarray, " reading"], y: Float[np.ndarray, " reading"]) -> tuple[float, float]:
    """Slope and level of the lower convex hull's edge over the mean of ascending `x`."""
    hull: list[int] = []
    for new in range(x.size):
        if hull and x[new] == x[hull[-1]]:
            if y[new] >= y[hull[-1]]:
                continue
            hull.pop()
        while len(hull) > 1 and (y[new] - y[hull[-2]]) * (x[hull[-1]] - x[hull[-2]]) <= (y[hull[-1]] - y[hull[-2]]) * (
            x[new] - x[hull[-2]]
        ):
            hull.pop()
        hull.append(new)
    right = int(np.clip(np.searchsorted(x[hull], x.mean(), side="right"), 1, len(hull) - 1))
    a, b = hull[right - 1], hull[right]
    slope = float((y[b] - y[a]) / (x[b] - x[a]))
    return slope, float(y[a] - slope * x[a])


def _line(
    slope: float,
    level: float,
    x: Float[np.ndarray, " reading"],
    y: Float[np.ndarray, " reading"],
    used: Bool[np.ndarray, " reading"],
    x0: float,
    y0: float,
) -> ClockLine:
    """The line with how far the readings that were used lie off it; `x0`, `y0` are what was taken off `x` and `y`."""
    off = np.abs(y - slope * x - level)[used]
    return ClockLine(
        slope,
        y0 + level - slope * x0,
        float(np.sqrt(np.mean(off**2))),
        float(off.max()),
        int(used.sum()),
        x0 + float(x.min() + x.max()) / 2,
    )
