"""The alignment of one session on one sheet: verdict and reasons, offsets over time, what is missing when, and the figures."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64
from matplotlib.axes import Axes

from pipeline.picture_style import ALARM, INK, QUIET, headline, label, sheet, verdict_panel
from pipeline.sync import SyncReport

RADAR_INK, COLOR_INK, DEPTH_INK, AMBIGUOUS_INK = "#1f4e79", "#2e8b57", "#b8860b", "#7b3f98"
_THERE_INK = "#c9cdd3"
_LINE_INCHES = 0.19
_LANE_POINTS = 350.0
_WIDEST = 150  # characters of a reason


def draw_sync(
    table: pd.DataFrame, report: SyncReport, path: Path, *, recording: str = "", simulated: bool = False
) -> Path:
    """PNG of an alignment table and its report (`pipeline.sync`). Returns `path`."""
    reasons = report.reasons or ("Nothing is in doubt.",)
    lines = [line for reason in reasons for line in textwrap.wrap(reason, _WIDEST, subsequent_indent="  ")]
    reasons_inches = 0.12 + _LINE_INCHES * len(lines)
    begin_ns = int(table["time_ns"].iloc[0]) if len(table) else 0
    time_s = (table["time_ns"].to_numpy() - begin_ns) * 1e-9
    with sheet(path, 11.5, 6.6 + reasons_inches) as figure:
        matched = "matched by trigger pulses" if report.mode == "board" else "matched by host time"
        ok = int((table["status"] == "ok").sum())
        headline(
            figure,
            simulated,
            f"Alignment of {recording or 'a session'}",
            f"{matched}, {ok} of {len(table)} moments have a radar frame and a picture",
        )
        grid = figure.add_gridspec(4, 2, height_ratios=[reasons_inches, 1.9, 1.9, 1.5], width_ratios=[2.5, 1])
        verdict_panel(figure.add_subplot(grid[0, :]), report.verdict, lines, 0.12)
        radar = figure.add_subplot(grid[1, 0])
        _radar(radar, table, report, time_s)
        pictures = figure.add_subplot(grid[2, 0], sharex=radar)
        _pictures(pictures, table, report, time_s)
        _gaps(figure.add_subplot(grid[3, 0], sharex=radar), table, report, time_s)
        _figures(figure.add_subplot(grid[1:, 1]), report)
    return path


def _radar(axes: Axes, table: pd.DataFrame, report: SyncReport, time_s: Float64[np.ndarray, " row"]) -> None:
    offset_ms = table["radar_offset_s"].to_numpy(np.float64) * 1e3
    known = offset_ms[np.isfinite(offset_ms)]
    # A few frames that came late would flatten the rest: they stand at the edge.
    reach = max(4 * float(np.quantile(np.abs(known), 0.9)), 1.0) if len(known) else 1.0
    off = np.abs(offset_ms) > reach
    sure = (table["status"] != "ambiguous").to_numpy(bool)
    axes.plot(time_s[sure & ~off], offset_ms[sure & ~off], ".", color=RADAR_INK, markersize=2.5)
    axes.plot(time_s[~sure & ~off], offset_ms[~sure & ~off], ".", color=AMBIGUOUS_INK, markersize=4)
    for beyond, mark in ((off & (offset_ms > 0), "^"), (off & (offset_ms < 0), "v")):
        axes.plot(time_s[beyond], np.sign(offset_ms[beyond]) * 0.94 * reach, mark, color=ALARM, markersize=3.5)
    what = "its pulse" if report.mode == "board" else "its own clock's line"
    worst = f" ({int(off.sum())} beyond the scale, up to {np.abs(known).max():.0f} ms)" if off.any() else ""
    label(axes, f"Radar frame's start against {what}{worst}", "", "offset (ms)")
    _limits(axes, reach)


def _pictures(axes: Axes, table: pd.DataFrame, report: SyncReport, time_s: Float64[np.ndarray, " row"]) -> None:
    offsets_ms = []
    for name, word, ink in (("depth", "depth", DEPTH_INK), ("color", "colour", COLOR_INK)):
        offset_ms = table[f"{name}_offset_s"].to_numpy(np.float64) * 1e3
        offsets_ms.append(offset_ms)
        if np.isfinite(offset_ms).any():
            axes.plot(time_s, offset_ms, ".", color=ink, markersize=2.5, label=word)
    late_ms = max((clock.late_ms for name, clock in report.clocks.items() if name in ("color", "depth")), default=0)
    how = (
        "timed by the board"
        if report.camera_edges
        else f"all may be up to {late_ms:.0f} ms late"
        if late_ms
        else "none"
    )
    label(axes, f"Pictures against the radar frame's middle ({how})", "", "offset (ms)")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", ncols=2, markerscale=4, handletextpad=0.2, borderaxespad=0)
    known = np.concatenate(offsets_ms)
    _limits(axes, max(1.15 * float(np.abs(known[np.isfinite(known)]).max(initial=0)), 20.0))


def _limits(axes: Axes, reach_ms: float) -> None:
    axes.set_ylim(-reach_ms, reach_ms)
    axes.axhline(0, color=QUIET, linewidth=0.7)
    axes.grid(color=QUIET, alpha=0.25, linewidth=0.6)
    axes.tick_params(labelbottom=False)


def _gaps(axes: Axes, table: pd.DataFrame, report: SyncReport, time_s: Float64[np.ndarray, " row"]) -> None:
    """A lane for each stream: quiet where it is there, red where a moment lacks it, violet where nobody can tell."""
    lanes = [("radar", "radar_frame"), ("colour", "color_frame"), ("depth", "depth_frame")]
    if report.mode == "board":
        lanes.insert(0, ("pulse", "pulse"))
    doubt = (table["status"] == "ambiguous").to_numpy(bool)
    for height, (_, column) in enumerate(reversed(lanes)):
        there = (table[column] >= 0).to_numpy(bool)
        for rows, ink in ((there & ~doubt, _THERE_INK), (~there & ~doubt, ALARM), (doubt, AMBIGUOUS_INK)):
            _ticks(axes, time_s, rows, height, ink)
    axes.set_yticks(range(len(lanes)), [name for name, _ in reversed(lanes)])
    axes.set_ylim(-0.6, len(lanes) - 0.4)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    label(axes, "What is there (grey), missing (red), in doubt (violet)", "time (s)", "")


def _ticks(
    axes: Axes, time_s: Float64[np.ndarray, " row"], rows: Bool[np.ndarray, " row"], height: float, ink: str
) -> None:
    if rows.any():
        width = float(
            np.clip(_LANE_POINTS / len(time_s), 0.2, 1.6)
        )  # no wider than a moment, or losses would look like more
        axes.vlines(time_s[rows], height - 0.36, height + 0.36, colors=ink, linewidth=width)


def _figures(axes: Axes, report: SyncReport) -> None:
    axes.axis("off")
    axes.set_title("Figures")
    for number, (what, figure, alarming) in enumerate(_rows(report)):
        height = 0.975 - number * 0.047
        axes.text(0.0, height, what, transform=axes.transAxes, va="top", color=QUIET)
        axes.text(0.52, height, figure, transform=axes.transAxes, va="top", color=ALARM if alarming else INK)


def _rows(report: SyncReport) -> list[tuple[str, str, bool]]:
    """(what, figure, is it alarming)."""
    counts = report.counts
    rows = [
        ("moments", f"{counts.get('rows', 0)}", False),
        ("whole", f"{counts.get('ok', 0)}", counts.get("ok", 0) == 0),
        ("without radar frame", f"{counts.get('no_radar', 0)}", False),
        ("without picture", f"{counts.get('no_camera', 0)}", False),
        ("in doubt", f"{counts.get('ambiguous', 0)}", counts.get("ambiguous", 0) > 0),
        ("radar frames", f"{counts.get('radar_frames', 0)}", False),
    ]
    if report.mode == "board":
        offset = "unknown" if report.radar_pulse_offset is None else f"pulse {report.radar_pulse_offset}"
        rows += [
            ("radar frame 0", offset, report.radar_pulse_offset is None),
            ("radar's latency", _milliseconds(report.radar_latency_ms), False),
            ("gap signature", "found" if report.gap_signature else "not found", False),
            ("pulse lines lost", f"{counts.get('pulse_lines_lost', 0)} of {counts.get('pulses', 0)}", False),
        ]
    for name, word in (("color", "colour"), ("depth", "depth")):
        if f"{name}_frames" in counts:
            frames, dropped, frozen = (counts[f"{name}_{what}"] for what in ("frames", "dropped", "frozen"))
            rows.append((f"{word} frames", f"{frames}, {dropped} dropped", False))
            if frozen:
                rows.append((f"{word} frozen", f"{frozen}", True))
    for name, word in (("board", "board"), ("radar", "radar"), ("color", "colour"), ("depth", "depth")):
        if name in report.clocks:
            clock = report.clocks[name]
            rows.append((f"{word} clock", f"{clock.drift_ppm:+.1f} ppm, within {clock.residual_ms:.2f} ms", False))
    return rows


def _milliseconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} ms, taken off"
