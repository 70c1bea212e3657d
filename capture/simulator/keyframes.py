"""Smooth curves through keyframes: a score holds what each channel does when, `Curves` evaluates all channels at once.

Between two keys a channel follows a polynomial of fifth degree. Its speed at a key is that of a monotone interpolant
(Fritsch and Butland 1984: zero where the channel turns or rests), its acceleration there zero. So curves are twice
continuously differentiable, hardly overshoot, stay exactly still where two keys agree, and a move from rest to rest is
the minimum-jerk one that people make (Flash and Hogan 1985).
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

_SHORTEST_S = 0.02  # between two keys


class Score:
    """Keyframes of named channels, written down in the order of time. Channels start at `initial` and stay until moved."""

    def __init__(self, initial: Mapping[str, float]) -> None:
        self.channels = tuple(initial)
        self._times: dict[str, list[float]] = {name: [0.0] for name in initial}
        self._values: dict[str, list[float]] = {name: [float(value)] for name, value in initial.items()}

    def move(self, start_s: float, stop_s: float, targets: Mapping[str, float]) -> None:
        """Let channels go from where they are at `start_s` to `targets` at `stop_s`.

        A channel that is still on its way then leaves for the new target from where it has got to.
        """
        for name, target in targets.items():
            times, values = self._times[name], self._values[name]
            if start_s > times[-1] + _SHORTEST_S:
                times.append(start_s)
                values.append(values[-1])
            elif start_s < times[-1] - _SHORTEST_S:
                self._leave_at(name, start_s)
            times.append(max(stop_s, times[-1] + _SHORTEST_S))
            values.append(float(target))

    def _leave_at(self, name: str, start_s: float) -> None:
        """Forget what a channel was to do after `start_s`."""
        times, values = self._times[name], self._values[name]
        now = float(Curves([times], [values])(np.array([start_s]))[0, 0])
        while len(times) > 1 and times[-1] > start_s - _SHORTEST_S:
            times.pop()
            values.pop()
        if start_s > times[-1] + _SHORTEST_S:
            times.append(start_s)
            values.append(now)

    def value(self, name: str) -> float:
        """Where a channel's last move ends."""
        return self._values[name][-1]

    @property
    def end_s(self) -> float:
        """When the last move ends."""
        return max(times[-1] for times in self._times.values())

    def curves(self) -> "Curves":
        """The score as polynomials."""
        return Curves([self._times[name] for name in self.channels], [self._values[name] for name in self.channels])


class Curves:
    """All channels as one piecewise polynomial; before the first key and after the last a channel rests."""

    def __init__(self, times: list[list[float]], values: list[list[float]]) -> None:
        knots = np.unique(np.concatenate([np.array(t, np.float64) for t in times]))
        if len(knots) == 1:
            knots = np.array([knots[0], knots[0] + 1.0])
        coefficients = np.zeros((6, len(knots) - 1, len(times)))
        for channel, (t, v) in enumerate(zip(times, values, strict=True)):
            coefficients[:, :, channel] = _on_knots(np.array(t, np.float64), np.array(v, np.float64), knots)
        self._knots, self._coefficients = knots, coefficients

    def __call__(self, times_s: Float64[np.ndarray, " time"]) -> Float64[np.ndarray, "time channel"]:
        clipped_s = np.clip(times_s, self._knots[0], self._knots[-1])
        piece = np.searchsorted(self._knots[1:-1], clipped_s, side="right")
        since_s = (clipped_s - self._knots[piece])[:, None]
        values: Float64[np.ndarray, "time channel"] = self._coefficients[0, piece]
        for coefficients in self._coefficients[1:]:
            values = values * since_s + coefficients[piece]
        return values


def _on_knots(
    times: Float64[np.ndarray, " key"], values: Float64[np.ndarray, " key"], knots: Float64[np.ndarray, " knot"]
) -> Float64[np.ndarray, "6 piece"]:
    """Coefficients, highest power first, of one channel's curve over every piece between `knots`."""
    if len(times) == 1:
        times, values = np.array([times[0], times[0] + 1.0]), np.repeat(values, 2)
    step, speeds = np.diff(times), _speeds(times, values)
    rise = np.diff(values)
    first, last = speeds[:-1] * step, speeds[1:] * step
    own = np.zeros((6, len(times) + 1))  # a resting piece before the first key and after the last
    own[:, 1:-1] = [
        (6 * rise - 3 * (first + last)) / step**5,
        (-15 * rise + 8 * first + 7 * last) / step**4,
        (10 * rise - 6 * first - 4 * last) / step**3,
        np.zeros_like(rise),
        speeds[:-1],
        values[:-1],
    ]
    own[5, 0], own[5, -1] = values[0], values[-1]
    middle = 0.5 * (knots[1:] + knots[:-1])
    piece = np.searchsorted(times, middle)
    offset = knots[:-1] - np.concatenate([times[:1], times])[piece]
    # Taylor's expansion of each piece about the knot where the common piece starts.
    out = own[:, piece]
    for order in range(5):
        for power in range(1, 6 - order):
            out[power] += out[power - 1] * offset
    return out


def _speeds(times: Float64[np.ndarray, " key"], values: Float64[np.ndarray, " key"]) -> Float64[np.ndarray, " key"]:
    """Speeds at the keys: a weighted harmonic mean of the slopes on both sides, zero at turns, rests and ends."""
    step = np.diff(times)
    slope = np.diff(values) / step
    speeds = np.zeros_like(values)
    before, after = slope[:-1], slope[1:]
    through = before * after > 0
    weight_before, weight_after = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (weight_before + weight_after) / (weight_before / before + weight_after / after)
    speeds[1:-1] = np.where(through, mean, 0.0)
    return speeds
