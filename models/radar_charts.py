"""Error by action as radar charts, one a data set and modality, all on one radial scale (the paper's figure 4)."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from models.evaluation import Evaluation, summary
from models.figure_grid import NARROWEST_INCHES, legend_below, side_by_side
from models.method_style import compared, looks, panels
from pipeline.picture_style import INK, headline, sheet


def draw_actions(path: Path, evaluation: Evaluation) -> Path | None:
    """PNG of mean MPJPE over folds by action, a line a method; None where no data set has three actions to go round."""
    means = summary(evaluation.by_action, "action")
    means = means[
        means["metric"].eq("mpjpe_norm") & means["split"].eq("person") & means["method"].isin(compared(evaluation))
    ]
    charts = []
    for panel in panels(evaluation):
        rows = panel.of(means)
        wide = rows.pivot(index="action", columns="method", values="mean").dropna(axis=1)
        if len(wide) >= 3 and len(wide.columns):
            charts.append((panel.title, wide))
    if not charts:
        return None
    outer = max(float(wide.to_numpy().max()) for _, wide in charts) * 1.05
    columns, rows_down = side_by_side(len(charts))
    with sheet(path, max(4.6 * columns, NARROWEST_INCHES), 4.1 * rows_down + 1.1) as figure:
        headline(
            figure, any(evaluation.simulated.values()), "Error by action",
            "MPJPE in shares of the picture, mean over the people held out; nearer the middle is better; one scale",
        )  # fmt: skip
        axes = figure.subplots(rows_down, columns, squeeze=False, subplot_kw={"projection": "polar"}).ravel()
        for one, (title, wide) in zip(axes, charts, strict=False):
            _chart(one, title, wide, evaluation, outer)
        for one in axes[len(charts) :]:
            one.set_visible(False)
        legend_below(figure, evaluation, compared(evaluation))
    return path


def _chart(axes: Axes, title: str, wide: pd.DataFrame, evaluation: Evaluation, outer: float) -> None:
    angles = 2 * np.pi * np.arange(len(wide)) / len(wide)
    look = looks(evaluation)
    for name in reversed([name for name in compared(evaluation) if name in wide]):
        style, values = look[name], wide[name].to_numpy()
        axes.plot(
            np.append(angles, angles[0]), np.append(values, values[0]), style.dashes, color=style.colour, linewidth=style.width,
            marker=style.marker or None, markersize=4,
        )  # fmt: skip
    axes.set_theta_zero_location("N")  # type: ignore[attr-defined]
    axes.set_theta_direction(-1)  # type: ignore[attr-defined]
    axes.set_ylim(0, outer)
    axes.set_xticks(angles, [name.replace(" ", "\n", 1) for name in wide.index], fontsize=8)
    for angle, text in zip(angles, axes.get_xticklabels(), strict=True):
        text.set_horizontalalignment("center" if abs(np.sin(angle)) < 0.1 else "left" if np.sin(angle) > 0 else "right")
    ticks = [value for value in MaxNLocator(6).tick_values(0, outer) if 0 < value < outer]
    axes.set_yticks(ticks, [])
    for value in ticks[1::2]:  # matplotlib's own labels lie under the lines
        axes.text(
            np.pi / len(wide), value, f"{value:.2f}", ha="center", va="center", fontsize=7, color=INK, zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
        )  # fmt: skip
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.spines["polar"].set_color("#c9cdd3")
    axes.set_title(title, pad=14)
