"""A quality report on one sheet: verdict and reasons, range profile, receivers, and the figures in a table."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from pipeline.picture_style import ALARM, INK, QUIET, RANGE, RECEIVER_INKS, headline, label, sheet, verdict_panel
from processing.quality_report import QualityReport

_LINE_INCHES = 0.19


def draw_quality(report: QualityReport, path: Path) -> Path:
    """PNG of a quality report. Returns `path`."""
    lines = [line for reason in report.reasons for line in textwrap.wrap(reason, 150, subsequent_indent="  ")]
    reasons_inches = 0.1 + _LINE_INCHES * len(lines)
    with sheet(path, 11.5, 5.0 + reasons_inches) as figure:
        looked = f"samples of {report.frames_looked_at} of {report.frames} frames, losses and times of all"
        headline(figure, report.simulated, f"Quality of {report.recording}", looked)
        grid = figure.add_gridspec(2, 3, height_ratios=[reasons_inches, 4.3], width_ratios=[1.6, 1.1, 1.5])
        verdict_panel(figure.add_subplot(grid[0, :]), report.verdict, lines, 0.085)
        _profile(figure.add_subplot(grid[1, 0]), report)
        _receivers(figure.add_subplot(grid[1, 1]), report)
        _table(figure.add_subplot(grid[1, 2]), _rows(report))
    return path


def _profile(axes: Axes, report: QualityReport) -> None:
    reach = np.array(report.range_m)
    axes.plot(reach, report.range_profile_dbfs, color=RECEIVER_INKS[0], linewidth=1.2)
    label(axes, "Range profile (mean of all chirps and receivers)", RANGE, "power (dBFS)")
    axes.set_xlim(0, reach[-1])
    axes.grid(color=QUIET, alpha=0.25, linewidth=0.6)
    if report.noise_floor_dbfs is not None:
        axes.axhline(report.noise_floor_dbfs, color=QUIET, linewidth=0.9, linestyle="--")
        axes.annotate(
            f"noise of one chirp {report.noise_floor_dbfs:.0f} dBFS", (1, report.noise_floor_dbfs), (-4, -3),
            xycoords=("axes fraction", "data"), textcoords="offset points", ha="right", va="top", color=QUIET,
        )  # fmt: skip
        low = min(report.noise_floor_dbfs, min(report.range_profile_dbfs))
        axes.set_ylim(bottom=low - 8)


def _receivers(axes: Axes, report: QualityReport) -> None:
    names = [f"RX{receiver.rx}" for receiver in report.receivers]
    levels = [receiver.rms_dbfs for receiver in report.receivers]
    bottom = 10 * np.floor(min(levels) / 10) - 10
    bars = axes.bar(names, np.array(levels) - bottom, bottom=bottom, width=0.55, color=RECEIVER_INKS[: len(names)])
    for bar, receiver in zip(bars, report.receivers, strict=True):
        notes = [f"{receiver.rms_dbfs:.1f}", f"{receiver.imbalance_db:+.1f} dB"]
        if receiver.saturated_share:
            notes.append(f"{receiver.saturated_share:.2%} clipped")
        axes.annotate(
            "\n".join(notes), (bar.get_x() + bar.get_width() / 2, receiver.rms_dbfs), (0, 3),
            textcoords="offset points", ha="center", fontsize=8, color=ALARM if receiver.saturated_share else INK,
        )  # fmt: skip
    label(axes, "Receivers (level, against median)", "", "RMS (dBFS)")
    axes.set_ylim(bottom, max(max(levels) + 14, bottom + 20))


def _rows(report: QualityReport) -> list[tuple[str, str, bool]]:
    """(what, figure, is it alarming)."""
    loss, timing, order = report.loss, report.timing, report.order
    rows = [
        (
            "bytes lost",
            f"{loss.missing_bytes} ({100 * loss.share:.2g} %)" if loss.known else "unknown: no packets kept",
            loss.missing_bytes > 0,
        ),
        ("frames with loss", f"{loss.frames} of {report.frames}" if loss.known else "unknown", loss.frames > 0),
        ("longest hole", f"{loss.longest_hole_bytes} bytes" if loss.known else "unknown", False),
        (
            "sample order",
            f"{order.found or 'cannot be told'}"
            + ("" if order.found == order.expected else f", read as {order.expected}"),
            order.found not in (None, order.expected),
        ),
        ("byte alignment", f"off by {order.byte_shift} bytes" if order.byte_shift else "right", order.byte_shift > 0),
        (
            "static skirt",
            "no static echo"
            if report.static_skirt_ratio is None
            else f"{report.static_skirt_ratio:.5f}  (good 0.0002, bad 0.002)",
            (report.static_skirt_ratio or 0) >= 0.002,
        ),
        (
            "interfered chirps",
            f"{report.interference.chirps} ({report.interference.share:.2%})",
            report.interference.share > 1e-3,
        ),
        ("largest DC", f"{max(max(abs(r.dc_i), abs(r.dc_q)) for r in report.receivers):.0f} counts", False),
    ]
    if timing.period_ms is None or timing.jitter_ms is None:
        return [*rows, ("frame period", f"unknown (configured {timing.configured_period_ms:g} ms)", False)]
    return [
        *rows,
        ("frame period", f"{timing.period_ms:.3f} ms (configured {timing.configured_period_ms:g})", False),
        ("frame jitter", f"{timing.jitter_ms:.3f} ms", timing.jitter_ms > 0.1 * timing.configured_period_ms),
        ("gaps", f"{timing.gaps}, {timing.missed_frames} frames missed", timing.gaps > 0),
    ]


def _table(axes: Axes, rows: Sequence[tuple[str, str, bool]]) -> None:
    axes.axis("off")
    axes.set_title("Figures")
    for number, (what, figure, alarming) in enumerate(rows):
        height = 0.96 - number * 0.082
        axes.text(0.0, height, what, transform=axes.transAxes, va="top", color=QUIET)
        axes.text(0.44, height, figure, transform=axes.transAxes, va="top", color=ALARM if alarming else INK)
