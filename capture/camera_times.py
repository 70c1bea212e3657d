"""From `camera.bin` to the time of every stored frame on the host's clock.

A frame carries the camera's own clock, whose zero is anywhere and whose rate is its own, and the moment it reached the host,
which is late by a latency that varies. The line under those pairs (`clock_fit.fit_latency_floor`) ties the clocks but for the
shortest latency, which nobody can see: times come out late by that, taken to be no more than one frame period.
Where the board timed the camera's exposures (*edges*), each depth frame is matched to its edge, and nothing of that remains.

A camera that is set anew, or plugged in again, begins another clock: a *stretch* with a line of its own.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from capture.clock_fit import ClockLine, fit_clock, fit_latency_floor
from capture.matching import nearest
from capture.pulse_trains import Edges
from pipeline.camera_frames import DOMAIN_NONE, FLAG_FROZEN, FLAG_REOPENED, STREAM_COLOR, STREAM_DEPTH
from pipeline.errors import PipelineError
from pipeline.sync import ClockFit

_SHORTEST_STRETCH = 5
_JUMP_S = 0.1
_SAME_CLOCK_S = 0.1
_SANE_S = 12 * 3600.0
_CRYSTAL = 5e-4  # a camera's crystal is not further off
_OTHER_SPEED = 0.05  # and what is played back at another speed is
_FEWEST_ON_EDGES = 10
_ON_EDGE = 0.15  # of a period


@dataclass(frozen=True)
class StreamTimes:
    """One stream's stored frames in order of arrival. `host_s` is NaN where a frame cannot be timed."""

    index: Int64[np.ndarray, " frame"]
    number: Int64[np.ndarray, " frame"]
    host_s: Float64[np.ndarray, " frame"]
    received_s: Float64[np.ndarray, " frame"]
    frozen: Bool[np.ndarray, " frame"]
    period_s: float  # on the host's clock; NaN with fewer than two frames
    clock: ClockFit | None  # of the longest stretch; None where only arrival is known
    late_s: float
    stretches: int
    untimed: int
    edges: bool = False


@dataclass(frozen=True)
class _Stretch:
    frames: Int64[np.ndarray, " member"]
    line: ClockLine


def read_streams(
    records: Shaped[np.ndarray, " record"], edges: tuple[Edges, ...], rate_hz: float, speed: float = 1.0
) -> tuple[StreamTimes, StreamTimes, int]:
    """Colour and depth of a recording's `CAMERA_RECORD`s, and how many records were no sense or said twice.

    `rate_hz` is the camera's nominal one; its clock runs `speed` times as fast as the host's, crystals apart.
    """
    sane = np.isin(records["stream"], (STREAM_COLOR, STREAM_DEPTH)) & (records["received_ns"] > 0)
    sane &= records["index"] < len(records)
    if sane.any():
        middle_ns = np.median(records["received_ns"][sane])
        sane &= np.abs(records["received_ns"] - middle_ns) < _SANE_S * 1e9
    streams, lines, rejected = [], [], int((~sane).sum())
    for stream in (STREAM_COLOR, STREAM_DEPTH):
        mine = records[sane & (records["stream"] == stream)]
        kept = np.sort(np.unique(mine["index"], return_index=True)[1])
        rejected += len(mine) - len(kept)
        times, stretches = _stream(mine[kept], 1 / rate_hz / speed, speed)
        streams.append(times)
        lines.append((mine[kept], stretches))
    color, depth = streams
    (color_records, color_stretches), (depth_records, depth_stretches) = lines
    # Both streams of a RealSense show one clock: the line with the shorter latency, or the one tied to edges, serves both.
    depth, tied = _on_edges(depth, depth_records, depth_stretches, edges)
    color = _shared(color, color_records, color_stretches, tied or depth_stretches, depth.late_s, depth.edges)
    if not depth.edges:
        depth = _shared(depth, depth_records, depth_stretches, color_stretches, color.late_s, False)
    return color, depth, rejected


def device_seconds(records: Shaped[np.ndarray, " frame"]) -> Float64[np.ndarray, " frame"]:
    """When each frame was taken by the camera's clock: middle of the exposure where most frames say it, else its stamp; NaN."""
    if not len(records):
        return np.zeros(0)
    stamp_s = np.where(np.isfinite(records["timestamp_ms"]), records["timestamp_ms"], -1) * 1e-3
    sensor = records["sensor_timestamp_us"] >= 0
    if sensor.mean() > 0.5:
        return np.where(sensor, records["sensor_timestamp_us"] * 1e-6, np.nan)
    none = (records["domain"] == DOMAIN_NONE) & (stamp_s <= 0)
    if none.mean() > 0.5:
        return np.full(len(records), np.nan)
    return np.where(np.isfinite(records["timestamp_ms"]), stamp_s, np.nan)


def _readout_seconds(
    records: Shaped[np.ndarray, " frame"], device_s: Float64[np.ndarray, " frame"], period_s: float
) -> Float64[np.ndarray, " frame"]:
    """The latest moment at which the camera still had the frame, where it says one: nearer to arrival than the exposure."""
    frame_s = records["frame_timestamp_us"] * 1e-6
    after = frame_s - device_s
    usable = (records["sensor_timestamp_us"] >= 0) & (after >= 0) & (after < 2 * period_s)
    return np.where(usable, frame_s, device_s)


def _stream(
    records: Shaped[np.ndarray, " frame"], nominal_period_s: float, speed: float
) -> tuple[StreamTimes, list[_Stretch]]:
    device_s, received_s = device_seconds(records), records["received_ns"] * 1e-9
    number = records["frame_number"].astype(np.int64)
    period_s = _period(received_s, number, nominal_period_s)
    host_s = np.full(len(records), np.nan)
    stretches: list[_Stretch] = []
    if len(records) and not np.isfinite(device_s).any():  # no clock of its own: arrival is all there is
        host_s = received_s.copy()
    else:
        reopened = (records["flags"] & FLAG_REOPENED) > 0
        for frames in _stretches(device_s / speed, received_s, number, reopened, period_s):
            stamp_s = _readout_seconds(records, device_s, period_s)
            try:
                line = _floor(stamp_s[frames], received_s[frames], speed)
            except PipelineError:  # a clock that stands still
                continue
            if not 0.01 < line.scale < 100:
                continue
            host_s[frames] = line.host_s(device_s[frames])
            stretches.append(_Stretch(frames, line))
    longest = max(stretches, key=lambda stretch: len(stretch.frames), default=None)
    late_s = period_s if np.isfinite(period_s) else nominal_period_s
    timed = np.isfinite(host_s)
    return (
        StreamTimes(
            records["index"].astype(np.int64),
            number,
            host_s,
            received_s,
            (records["flags"] & FLAG_FROZEN) > 0,
            _period(host_s[timed], number[timed], nominal_period_s),
            longest.line.report().model_copy(update={"late_ms": late_s * 1e3}) if longest else None,
            late_s,
            max(len(stretches), 1),
            int((~timed).sum()),
        ),
        stretches,
    )


def _floor(
    stamp_s: Float64[np.ndarray, " frame"], received_s: Float64[np.ndarray, " frame"], speed: float
) -> ClockLine:
    """The line under arrivals; where they are too few or too late to show the rate of a crystal, at the nominal rate."""
    line = fit_latency_floor(stamp_s, received_s)
    if not _CRYSTAL < abs(line.scale * speed - 1) < _OTHER_SPEED:
        return line
    level_s = received_s - stamp_s / speed
    floor_s = float(np.quantile(level_s, 0.02))
    off_s = np.abs(level_s - floor_s)[level_s <= np.median(level_s)]
    return ClockLine(
        1 / speed, floor_s, float(np.sqrt(np.mean(off_s**2))), float(off_s.max()), len(off_s), line.middle_s
    )


def _period(
    times_s: Float64[np.ndarray, " frame"], number: Int64[np.ndarray, " frame"], nominal_period_s: float
) -> float:
    """Seconds from frame to frame, dropped ones counted where the source numbers them."""
    if len(times_s) < 2:
        return nominal_period_s
    steps = np.diff(number)
    usable = steps > 0
    numbered = usable.mean() > 0.5
    periods = np.diff(times_s)[usable] / steps[usable] if numbered else np.diff(times_s)
    periods = periods[periods > 0]
    return float(np.median(periods)) if len(periods) else nominal_period_s


def _stretches(
    device_s: Float64[np.ndarray, " frame"],
    received_s: Float64[np.ndarray, " frame"],
    number: Int64[np.ndarray, " frame"],
    reopened: Bool[np.ndarray, " frame"],
    period_s: float,
) -> list[Int64[np.ndarray, " member"]]:
    """Frames of one clock each, `device_s` in the host's seconds. A clock was set anew where it leaps and neither arrival nor
    the frame's number does.

    A host that slept makes arrival leap and not the clock, a camera that paused makes both: neither cuts.
    """
    known = np.flatnonzero(np.isfinite(device_s))
    if not len(known):
        return []
    taken, came, count = np.diff(device_s[known]), np.diff(received_s[known]), np.diff(number[known])
    numbered = (number[known][:-1] >= 0) & (number[known][1:] >= 0) & (count > 0)
    leaps = np.where(numbered, np.abs(taken - count * period_s) > _JUMP_S, np.abs(taken - came) > 5 * _JUMP_S)
    leaps &= np.abs(taken - came) > _JUMP_S
    leaps |= (taken < -period_s) | reopened[known][1:]
    parts = np.split(known, np.flatnonzero(leaps) + 1)
    long = [part for part in parts if len(part) >= min(_SHORTEST_STRETCH, len(known))]
    merged: list[Int64[np.ndarray, " member"]] = []
    for part in long:  # a single mad stamp cuts twice: its neighbours still show one clock
        level = float(np.median((received_s - device_s)[part[:15]]))
        if merged and abs(level - float(np.median((received_s - device_s)[merged[-1][-15:]]))) < _JUMP_S:
            merged[-1] = np.concatenate([merged[-1], part])
        else:
            merged.append(part)
    return merged


def _on_edges(
    depth: StreamTimes,
    records: Shaped[np.ndarray, " frame"],
    stretches: list[_Stretch],
    edges: tuple[Edges, ...],
) -> tuple[StreamTimes, list[_Stretch]]:
    """Depth timed by the board's edges instead of by arrival, where every long stretch can be matched; else as it was."""
    device_s = device_seconds(records)
    tied: list[_Stretch] = []
    for stretch in stretches:
        line = next((found for run in edges if (found := _edge_line(stretch, records, run))), None)
        if line is None:
            return depth, []
        tied.append(_Stretch(stretch.frames, line))
    if not tied:
        return depth, []
    host_s = depth.host_s.copy()
    for stretch in tied:
        host_s[stretch.frames] = stretch.line.host_s(device_s[stretch.frames])
    longest = max(tied, key=lambda stretch: len(stretch.frames))
    return replace(depth, host_s=host_s, clock=longest.line.report(), late_s=0.0, edges=True), tied


def _edge_line(stretch: _Stretch, records: Shaped[np.ndarray, " frame"], edges: Edges) -> ClockLine | None:
    """Camera seconds to host seconds through the frames' edges; None where they cannot be paired for certain.

    An edge rises as its exposure starts. By arrival a frame seems late by its shortest latency, between nothing and a period,
    so its edge is the last one before it, and the lag is the same for all whose edge is there. Then each frame takes the edge
    at its place on the camera's own clock, and an edge before or behind if the gaps of frames and edges say so.
    """
    frames = stretch.frames
    before_s = np.where(records["exposure_us"] > 0, records["exposure_us"] * 0.5e-6, 0.0)[frames]
    started_s = device_seconds(records)[frames] - before_s
    period_s, edge_s = edges.period_s, edges.edge_s[edges.heard]
    if len(frames) < _FEWEST_ON_EDGES or len(edge_s) < _FEWEST_ON_EDGES:
        return None
    seen_s = np.asarray(stretch.line.host_s(started_s), np.float64)
    slack_s = 0.03 * period_s
    last = np.searchsorted(edge_s, seen_s + slack_s, "right") - 1
    lag_s = np.where(last >= 0, seen_s - edge_s[np.maximum(last, 0)], np.inf)
    near = np.flatnonzero(lag_s < period_s + slack_s)
    if len(near) < _FEWEST_ON_EDGES:
        return None
    ranked = near[np.argsort(lag_s[near])]
    members = np.searchsorted(lag_s[ranked], lag_s[ranked] + period_s / 8, "right") - np.arange(len(ranked))
    begin = int(np.argmax(members))
    chosen = ranked[begin : begin + int(members[begin])]
    typical_s = float(np.median(lag_s[chosen]))
    if len(chosen) < max(_FEWEST_ON_EDGES, 0.5 * len(near)) or not slack_s < typical_s < period_s - slack_s:
        return None
    line = fit_clock(started_s[chosen], edge_s[last[chosen]])
    fits = [
        len(_on_edge(np.asarray(line.host_s(started_s)) - step * period_s, edge_s, period_s)[0]) for step in (-1, 0, 1)
    ]
    best = int(np.argmax(fits))
    chance = 4 * np.sqrt(len(frames) - fits[best] + 1)  # edges whose lines were lost are anywhere
    shift_s = (best - 1) * period_s if fits[best] > fits[1] + max(3, chance) else 0.0
    for _ in range(2):
        mine, edge = _on_edge(np.asarray(line.host_s(started_s)) - shift_s, edge_s, period_s)
        if len(mine) < _FEWEST_ON_EDGES:
            return None
        line, shift_s = fit_clock(started_s[mine], edge_s[edge]), 0.0
    return line if line.residual_s < 0.1 * period_s else None


def _on_edge(
    expected_s: Float64[np.ndarray, " frame"], edge_s: Float64[np.ndarray, " edge"], period_s: float
) -> tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]:
    """Frames that have an edge where it is expected, and those edges."""
    edge = nearest(expected_s, edge_s, _ON_EDGE * period_s)
    mine = np.flatnonzero(edge >= 0)
    return mine, edge[mine]


def _shared(
    times: StreamTimes,
    records: Shaped[np.ndarray, " frame"],
    own: list[_Stretch],
    others: list[_Stretch],
    late_s: float,
    edges: bool,
) -> StreamTimes:
    """The stream timed by the other's lines where they show the same clock and lie lower, or are tied to edges."""
    device_s = device_seconds(records)
    host_s, clock, used = times.host_s.copy(), times.clock, 0
    for stretch in own:
        middle_s = stretch.line.middle_s
        mine_s = float(stretch.line.host_s(middle_s))
        near = [other for other in others if abs(float(other.line.host_s(middle_s)) - mine_s) < _SAME_CLOCK_S]
        if not near:
            continue
        other = min(near, key=lambda candidate: abs(float(candidate.line.host_s(middle_s)) - mine_s))
        if edges or float(other.line.host_s(middle_s)) < mine_s:
            host_s[stretch.frames] = other.line.host_s(device_s[stretch.frames])
            clock = other.line.report().model_copy(update={"late_ms": late_s * 1e3})
            used += 1
    if not used:
        return times
    return replace(
        times,
        host_s=host_s,
        clock=clock,
        late_s=late_s if used == len(own) else times.late_s,
        edges=edges and used == len(own),
    )
