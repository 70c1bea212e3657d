"""Pictures of a cube for a person to judge: one frame's maps, and the whole recording on one sheet."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.ticker import MultipleLocator

from pipeline.cube import Cube
from pipeline.picture_style import (
    ALARM,
    AZIMUTH,
    MAP_COLOURS,
    RANGE,
    VELOCITY,
    azimuth_cells,
    decibels,
    edges,
    headline,
    label,
    sheet,
)

_SPAN_DB = 55.0  # a map's colours reach this far under its peak, unless the noise is nearer
_AZIMUTH_SPAN_DB = 25.0  # an eight-antenna row's side lobes lie 13 dB under the peak: deeper colours show only those
_THUMBNAILS = 4
_BLOCK_FRAMES = 16  # read at a time: whole chunks, a few megabytes
_COLUMNS = 600  # more moments than this are averaged: the sheet has no more pixels


class Maps(NamedTuple):
    """One frame's maps."""

    rd: Float[np.ndarray, "range doppler"] | None
    ra: Float[np.ndarray, "range azimuth"] | None


def maps_of(cube: Cube, frame: int) -> Maps:
    """Maps of one frame in dB (or [0, 1]), summed from rad where they were not stored; None where the cube has neither."""
    products = cube.config.products
    if _scaled(cube):
        return Maps(cube.rd(frame) if "rd" in products else None, cube.ra(frame) if "ra" in products else None)
    rd = cube.decibels("rd", frame) if "rd" in products else None
    ra = cube.decibels("ra", frame) if "ra" in products else None
    if "rad" in products and (rd is None or ra is None):
        power = 10 ** (cube.decibels("rad", frame) / 10)
        rd = decibels(power.sum(axis=1)) if rd is None else rd
        ra = decibels(power.sum(axis=2)) if ra is None else ra
    return Maps(rd, ra)


def _scaled(cube: Cube) -> bool:
    """Whether the maps were scaled to [0, 1] frame by frame; rad never is."""
    return cube.config.frame_minmax and cube.config.products != ("rad",)


def draw_frame(cube: Cube, frame: int, path: Path) -> Path:
    """PNG of one frame: range-Doppler, range-azimuth, and range-azimuth as seen from above. Returns `path`."""
    maps = maps_of(cube, frame)
    panels = [name for name, values in (("rd", maps.rd), ("ra", maps.ra), ("above", maps.ra)) if values is not None]
    widths = [1.0 if name != "above" else 1.45 for name in panels]
    with sheet(path, 4.2 * sum(widths), 4.7) as figure:
        title = f"{cube.recording}, frame {frame} at {cube.time_s[frame]:.2f} s"
        headline(figure, cube.simulated, title, _facts(cube), _loss(cube, frame))
        panel_of = dict(zip(panels, np.atleast_1d(figure.subplots(1, len(panels), width_ratios=widths)), strict=True))
        meshes: list[tuple[QuadMesh, Axes]] = []
        if maps.rd is not None:
            meshes.append((range_doppler_panel(panel_of["rd"], cube, maps.rd), panel_of["rd"]))
        if maps.ra is not None:
            meshes.append((range_azimuth_panel(panel_of["ra"], cube, maps.ra), panel_of["ra"]))
            colours = _colours(cube, maps.ra, _AZIMUTH_SPAN_DB)
            meshes.append((_from_above(panel_of["above"], cube, maps.ra, colours), panel_of["above"]))
        for mesh, panel in meshes[:1] + meshes[2:]:  # the two range-azimuth panels share one scale
            figure.colorbar(mesh, ax=panel, label=_scale(cube), fraction=0.05, pad=0.02)
    return path


def range_doppler_panel(panel: Axes, cube: Cube, rd: Float[np.ndarray, "range doppler"]) -> QuadMesh:
    """One frame's range-Doppler map, dB, with its peak in the title."""
    axes = cube.axes
    mesh = panel.pcolormesh(edges(axes.velocity_mps), edges(axes.range_m), rd, **_colours(cube, rd))
    label(panel, f"Range-Doppler  {_peak(cube, rd, axes.velocity_mps, '{:+.2f} m/s')}", VELOCITY, RANGE)
    panel.set_ylim(0, axes.range_m.max())
    return mesh


def range_azimuth_panel(panel: Axes, cube: Cube, ra: Float[np.ndarray, "range azimuth"]) -> QuadMesh:
    """One frame's range-azimuth map, dB, with its peak in the title."""
    axes = cube.axes
    borders, cells = azimuth_cells(axes.azimuth_deg, ra)
    mesh = panel.pcolormesh(borders, edges(axes.range_m), cells, **_colours(cube, ra, _AZIMUTH_SPAN_DB))
    label(panel, f"Range-azimuth  {_peak(cube, ra, axes.azimuth_deg, '{:+.0f}°')}", AZIMUTH, RANGE)
    panel.set_xticks([-90, -60, -30, 0, 30, 60, 90])
    panel.set_ylim(0, axes.range_m.max())
    return mesh


def draw_overview(cube: Cube, path: Path) -> Path:
    """PNG of a whole recording: Doppler over time, range over time, and frames chosen evenly. Returns `path`.

    Azimuth takes Doppler's place where the cube has none. Frames that lost bytes are marked in red under the time axes.
    Maps scaled to [0, 1] frame by frame are drawn as they are.
    """
    across_time, reach_time, time_s = _over_time(cube)
    chosen = np.unique(np.linspace(0, cube.frames - 1, _THUMBNAILS + 2).round().astype(int)[1:-1]).tolist()
    axes, maps = cube.axes, [maps_of(cube, frame) for frame in chosen]
    lost, has_doppler = np.flatnonzero(~cube.valid), maps[0].rd is not None
    with sheet(path, 12.4, 8.4) as figure:
        span = f"{cube.frames} frames in {cube.time_s[-1] - cube.time_s[0]:.1f} s"
        alarm = f"frames that lost bytes: {len(lost)}" if len(lost) else ""
        headline(figure, cube.simulated, f"{cube.recording}, {span}", _facts(cube), alarm)
        grid = figure.add_gridspec(3, len(chosen), height_ratios=[1.0, 1.0, 1.15])
        moments = edges(time_s)
        upper = figure.add_subplot(grid[0, :])
        middle = figure.add_subplot(grid[1, :], sharex=upper)
        across_bins = axes.velocity_mps if has_doppler else axes.azimuth_deg
        rows = ((upper, across_time, across_bins), (middle, reach_time, axes.range_m))
        for panel, values, centres in rows:
            mesh = panel.pcolormesh(moments, edges(centres), values.T, **_colours(cube, values))
            figure.colorbar(mesh, ax=panel, label=_scale(cube), fraction=0.03, pad=0.01)
            _mark_losses(panel, cube.time_s[lost])
        if has_doppler:
            up = "radial velocity (m/s)\napproaching \u2193  receding \u2191"
            label(upper, "Doppler over time (mean over range)", "", up)
            label(middle, "Range over time (mean over Doppler)", "time (s)", RANGE)
        else:
            label(upper, "Azimuth over time (mean over range)", "", "azimuth (degrees)\nleft \u2193  right \u2191")
            label(middle, "Range over time (mean over azimuth)", "time (s)", RANGE)
        upper.tick_params(labelbottom=False)
        for place, (frame, shown) in enumerate(zip(chosen, maps, strict=True)):
            panel = figure.add_subplot(grid[2, place])
            if shown.rd is not None:
                values, borders, across = shown.rd, edges(axes.velocity_mps), VELOCITY
            else:
                assert shown.ra is not None
                (borders, values), across = azimuth_cells(axes.azimuth_deg, shown.ra), AZIMUTH
            panel.pcolormesh(borders, edges(axes.range_m), values, **_colours(cube, values))
            label(panel, f"frame {frame}, {cube.time_s[frame]:.1f} s", across, RANGE if place == 0 else "")
            for over_time in (upper, middle):
                over_time.axvline(
                    float(cube.time_s[frame]), color="white", linewidth=0.7, alpha=0.8, linestyle=(0, (4, 3))
                )
    return path


def liveliest_frame(cube: Cube) -> int:
    """The frame with the most power among those that lost nothing: the one worth a first look."""
    totals = np.concatenate([values.sum(axis=(1, 2)) for values in _map_blocks(cube)])
    return int(np.where(cube.valid | ~cube.valid.any(), totals, -np.inf).argmax())


def _map_blocks(cube: Cube) -> Iterator[Float[np.ndarray, "frame range bin"]]:
    """Linear power of range-Doppler maps (range-azimuth where there is no Doppler), a block of frames at a time."""
    for start in range(0, cube.frames, _BLOCK_FRAMES):
        frames = slice(start, min(start + _BLOCK_FRAMES, cube.frames))
        if "rd" in cube.config.products:
            yield cube.rd(frames)
        elif "rad" in cube.config.products and not _scaled(cube):
            decibel_cubes = (cube.decibels("rad", frame) for frame in range(frames.start, frames.stop))
            yield np.stack([(10 ** (values / 10)).sum(axis=1) for values in decibel_cubes])
        else:
            yield cube.ra(frames)


def _over_time(cube: Cube) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(moment, Doppler) and (moment, range) means of the maps' power in dB, and the time of each moment."""
    means = [(values.mean(axis=1), values.mean(axis=2)) for values in _map_blocks(cube)]
    first = np.arange(0, cube.frames, -(-cube.frames // _COLUMNS))
    counts = np.diff(np.append(first, cube.frames))[:, None]
    across, reach = (np.add.reduceat(np.concatenate(parts), first) / counts for parts in zip(*means, strict=True))
    if _scaled(cube):
        return across, reach, cube.time_s[first]
    return decibels(across), decibels(reach), cube.time_s[first]


def _from_above(panel: Axes, cube: Cube, ra: np.ndarray, colours: dict[str, Any]) -> QuadMesh:
    """Range-azimuth in metres, the radar at the origin looking up the page."""
    borders_deg, values = azimuth_cells(cube.axes.azimuth_deg, ra)
    borders, reach = np.radians(borders_deg), np.clip(edges(cube.axes.range_m), 0, None)
    across, ahead = np.outer(reach, np.sin(borders)), np.outer(reach, np.cos(borders))
    mesh = panel.pcolormesh(across, ahead, values, **colours)
    far = float(reach.max())
    step = next(metres for metres in (0.5, 1, 2, 5, 10, 20, 50, 100, 200) if far / metres <= 6 or metres == 200)
    angle = np.linspace(-np.pi / 2, np.pi / 2, 91)
    for ring in np.arange(step, far, step):
        panel.plot(ring * np.sin(angle), ring * np.cos(angle), color="white", linewidth=0.4, alpha=0.5)
    panel.plot(0, 0, marker="^", color=ALARM, markersize=6, clip_on=False, zorder=5)
    panel.set_aspect("equal")
    panel.set_xlim(-far, far)
    panel.set_ylim(0, far)
    panel.xaxis.set_major_locator(MultipleLocator(step))
    panel.yaxis.set_major_locator(MultipleLocator(step))
    label(panel, "Seen from above", "across (m)\n\u2190 left        right \u2192", "ahead (m)")
    return mesh


def _colours(cube: Cube, values: np.ndarray, span_db: float = _SPAN_DB) -> dict[str, Any]:
    """Colour limits: from the noise (or `span_db` under the peak) to the peak."""
    if _scaled(cube):
        return {"vmin": 0.0, "vmax": 1.0, "cmap": MAP_COLOURS}
    top = float(np.nanmax(values))
    bottom = max(float(np.nanmedian(values)) - 1, top - span_db)
    return {"vmin": min(bottom, top - 6), "vmax": top, "cmap": MAP_COLOURS}


def _peak(cube: Cube, values: np.ndarray, across: np.ndarray, form: str) -> str:
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return f"peak {cube.axes.range_m[row]:.2f} m, {form.format(across[column])}"


def _scale(cube: Cube) -> str:
    return "log power, each frame scaled to [0, 1]" if _scaled(cube) else "power (dBFS)"


def _facts(cube: Cube) -> str:
    waveform, config = cube.waveform, cube.config
    done = [name for name, on in (("static clutter removed", config.clutter_removal),) if on]
    return " \u00b7 ".join(
        [
            f"{waveform.tx_slots} TX x {waveform.rx_count} RX",
            f"{waveform.loops} loops x {waveform.samples} samples",
            f"range resolution {waveform.range_resolution_m * 100:.1f} cm",
            f"velocity resolution {waveform.velocity_resolution_mps:.3f} m/s",
            *done,
        ]
    )


def _loss(cube: Cube, frame: int) -> str:
    if cube.valid[frame]:
        return ""
    hit = int((~cube.loop_valid[frame]).sum())
    return f"lost {cube.missing_bytes[frame]} bytes in {hit} of {cube.waveform.loops} loops"


def _mark_losses(panel: Axes, times_s: Sequence[float] | np.ndarray) -> None:
    if len(times_s):
        panel.plot(
            times_s,
            np.zeros(len(times_s)),
            "|",
            color=ALARM,
            markersize=7,
            transform=panel.get_xaxis_transform(),
            clip_on=False,
        )
