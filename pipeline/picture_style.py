"""How our pictures look: dark on white, one colour scale for power, red only for what is wrong."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Float64
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.errors import PipelineError

VELOCITY = "radial velocity (m/s)\n\u2190 approaching        receding \u2192"
AZIMUTH = "azimuth (degrees)\n\u2190 left        right \u2192"
RANGE = "range (m)"
MAP_COLOURS = "viridis"
INK, QUIET, ALARM = "#222222", "#8a8f98", "#c62828"
_GOOD, _DOUBTFUL = "#2e7d32", "#b26a00"
VERDICT_INK = {
    **dict.fromkeys(("good", "aligned", "pass"), _GOOD),
    "look": _DOUBTFUL,
    **dict.fromkeys(("bad", "ambiguous", "failed", "fail"), ALARM),
}
LEFT_INK, RIGHT_INK = "#ff8c1a", "#2bb3ff"  # of a skeleton: the person's own left and right, on dark and light
RECEIVER_INKS = ("#1f4e79", "#2e8b57", "#b8860b", "#7b3f98")
_DOTS_PER_INCH = 110
_STYLE: Any = {  # matplotlib's own type lists every parameter there is
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
}


@contextmanager
def sheet(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of `width` x `height` inches in our style, saved as PNG at `path` on leaving.

    Raises PipelineError when the file cannot be written.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        yield figure
        temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            said = {"Title": str(figure.get_gid() or ""), "Software": "maepose"}
            FigureCanvasAgg(figure).print_png(temporary, metadata=said, pil_kwargs={"optimize": True})
            temporary.replace(path)
        except OSError as error:
            raise PipelineError(
                f"The picture {path} cannot be written ({os.strerror(error.errno or 0)}); "
                "make room or name a writable place."
            ) from error
        finally:
            if temporary.parent.is_dir():
                temporary.unlink(missing_ok=True)


def headline(figure: Figure, simulated: bool, title: str, quiet: str = "", alarm: str = "") -> None:
    """Two lines over a sheet: what it shows, said to be simulated where it is; then facts, then what is wrong."""
    figure.set_dpi(_DOTS_PER_INCH)
    top = figure.get_figheight()
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, 1 - 0.55 / top), w_pad=0.08, h_pad=0.06)  # type: ignore[call-arg]
    left, first, second = 0.012, 1 - 0.1 / top, 1 - 0.34 / top
    shown = f"SIMULATED \u00b7 {title}" if simulated else title
    figure.text(left, first, shown, va="top", ha="left", fontsize=12, fontweight="bold")
    figure.set_gid("; ".join(part for part in (shown, alarm) if part))  # `sheet` writes it into the PNG as its title
    figure.text(left, second, quiet, va="top", ha="left", fontsize=8.5, color=QUIET)
    figure.text(1 - left, first, alarm, va="top", ha="right", fontsize=9.5, color=ALARM, fontweight="bold")


def verdict_panel(axes: Axes, verdict: str, lines: Sequence[str], indent: float) -> None:
    """A report's verdict as a coloured word, and its reasons beside it, `indent` of the width to the right."""
    axes.axis("off")
    ink = VERDICT_INK[verdict]
    axes.text(
        0.0, 1, verdict.upper(), transform=axes.transAxes, va="top", fontsize=13, fontweight="bold", color="white",
        bbox={"boxstyle": "round,pad=0.35", "facecolor": ink, "edgecolor": ink},
    )  # fmt: skip
    axes.text(indent, 1, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=9.5, linespacing=1.35)


def label(axes: Axes, title: str, across: str, up: str) -> None:
    """Panel title and axis names."""
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(up)


def edges(centres: Sequence[float] | Float[np.ndarray, " bin"]) -> Float64[np.ndarray, " edge"]:
    """Borders of bins around `centres`, ascending or descending, evenly spaced or not."""
    values = np.asarray(centres, np.float64)
    if len(values) == 1:
        return np.array([values[0] - 0.5, values[0] + 0.5])
    between = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - between[0]], between, [2 * values[-1] - between[-1]]])


def azimuth_cells(
    azimuth_deg: Float[np.ndarray, " azimuth"], values: Float[np.ndarray, "range azimuth"]
) -> tuple[Float64[np.ndarray, " edge"], Float[np.ndarray, "range cell"]]:
    """Borders in degrees and values of azimuth cells. Bins are even in sine; one at -90 degrees is also the one at +90."""
    borders = edges(np.sin(np.radians(azimuth_deg)))
    if borders[0] < -1 and borders[-1] < 1:
        borders, values = np.append(borders, 1.0), np.concatenate([values, values[:, :1]], axis=1)
    return np.degrees(np.arcsin(np.clip(borders, -1, 1))), values


def decibels(power: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """10 log10, with a floor far under anything measured."""
    return 10 * np.log10(np.maximum(power, 1e-20))
