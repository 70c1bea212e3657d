"""Error by joint, on a body: one figure of a person for each method, a circle a joint."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from models.evaluation import Evaluation, summary
from models.figure_grid import NARROWEST_INCHES
from models.method_style import compared, looks, panels
from pipeline.picture_style import INK, QUIET, headline, sheet
from pipeline.skeleton import JOINTS, LIMBS

_STANDING = np.array(
    [
        [0.0, 0.10], [0.17, 0.26], [0.29, 0.43], [0.36, 0.60], [-0.17, 0.26], [-0.29, 0.43], [-0.36, 0.60],
        [0.11, 0.57], [-0.11, 0.57], [0.13, 0.77], [-0.13, 0.77], [0.14, 0.97], [-0.14, 0.97],
    ]
)  # fmt: skip
"""A person who faces us, their left on our right; joints as `JOINTS`."""
_COLOURS = "YlOrRd"


def draw_joints(path: Path, evaluation: Evaluation) -> Path:
    """PNG of mean MPJPE over folds of each joint: a row a data set and modality, a column a method; one scale."""
    means = summary(evaluation.by_joint, "joint")
    means = means[means["metric"].eq("mpjpe_norm") & means["split"].eq("person")]
    methods, rows = compared(evaluation), panels(evaluation)
    shown = means[means["method"].isin(methods)]
    scale = Normalize(0, float(shown["mean"].max()))
    with sheet(path, max(2.0 * len(methods) + 2.2, NARROWEST_INCHES), 2.05 * len(rows) + 1.1) as figure:
        headline(
            figure, any(evaluation.simulated.values()), "Error by joint",
            "MPJPE in thousandths of the picture, mean over the people held out; they face you: their left is on the right",
        )  # fmt: skip
        axes = figure.subplots(len(rows), len(methods), squeeze=False)
        for line, panel in zip(axes, rows, strict=True):
            there = panel.of(shown)
            for one, method in zip(line, methods, strict=True):
                _body(one, there[there["method"].eq(method)].set_index("joint")["mean"], scale)
            line[0].set_ylabel(
                panel.title.replace(", ", "\n").replace(" → ", " →\n"), rotation=0, ha="right", va="center", labelpad=12
            )
        for one, method in zip(axes[0], methods, strict=True):
            one.set_title(looks(evaluation)[method].title.replace(" (", "\n("), loc="center", fontsize=9)
        bar = figure.colorbar(ScalarMappable(scale, _COLOURS), ax=axes, shrink=0.6, aspect=30, pad=0.02)
        bar.set_label("MPJPE")
        bar.outline.set_visible(False)
    return path


def _body(axes: Axes, error: "pd.Series[float]", scale: Normalize) -> None:
    axes.set_xlim(-0.55, 0.55)
    axes.set_ylim(1.07, -0.02)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if error.empty:
        axes.text(0, 0.5, "not run", ha="center", color=QUIET, fontsize=8)
        return
    for first, second in LIMBS:
        axes.plot(*_STANDING[[first, second]].T, color="#c9cdd3", linewidth=2.5, zorder=1, solid_capstyle="round")
    values = error.reindex(list(JOINTS)).to_numpy(np.float64)
    known = np.isfinite(values)
    across, down = _STANDING[known].T
    axes.scatter(
        across,
        down,
        s=260,
        c=values[known],
        cmap=_COLOURS,
        norm=scale,
        zorder=2,
        edgecolors="#8a8f98",
        linewidths=0.6,
    )
    for x, y, value in zip(across, down, values[known], strict=True):
        ink = "white" if scale(value) > 0.65 else INK
        axes.text(x, y, f"{1000 * value:.0f}", ha="center", va="center_baseline", fontsize=7.5, color=ink, zorder=3)
