"""Error over distance and speed, over training steps, and from seed to seed."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from models.contests import MODALITY_TITLES
from models.evaluation import Evaluation, fold_values, summary
from models.figure_grid import NARROWEST_INCHES, legend_below, side_by_side
from models.method_style import Look, compared, looks, panels
from models.study_store import Judged, StudyResults
from pipeline.picture_style import QUIET, headline, sheet

QUANTITIES = {
    "range": "distance from the radar",
    "root_speed": "speed of the hips",
    "joint_speed": "mean speed of the joints",
}
ERROR = "MPJPE (shares of the picture)"


def draw_bins(path: Path, evaluation: Evaluation) -> Path | None:
    """PNG of MPJPE over distance and speed, in bins of equally many frames, ours with one sd; None without bins."""
    means = summary(evaluation.by_bin, "quantity", "unit", "bin", "middle")
    methods, rows = compared(evaluation), panels(evaluation)
    means = means[means["split"].eq("person") & means["method"].isin(methods)]
    quantities = [name for name in QUANTITIES if name in set(means["quantity"])]
    if not quantities:
        return None
    with sheet(path, max(4.0 * len(quantities) + 0.6, NARROWEST_INCHES), 2.5 * len(rows) + 1.4) as figure:
        headline(
            figure, any(evaluation.simulated.values()), "Error over distance and speed",
            "each point a fifth of the frames, at the middle one; mean over the people held out; band: one sd over them, of ours",
        )  # fmt: skip
        axes = figure.subplots(len(rows), len(quantities), squeeze=False, sharey="row")
        for line, panel in zip(axes, rows, strict=True):
            for one, quantity in zip(line, quantities, strict=True):
                there = panel.of(means)
                there = there[there["quantity"].eq(quantity)]
                _trend(one, there, methods, looks(evaluation))
                if len(there):  # a set with metres and one without are in one figure
                    one.set_xlabel(f"{QUANTITIES[quantity]} ({there['unit'].iloc[0]})")
            line[0].set_title(panel.title)
            line[0].set_ylabel("MPJPE")
            line[0].set_ylim(bottom=0)
        legend_below(figure, evaluation, methods)
    return path


def draw_learning(path: Path, results: StudyResults, evaluation: Evaluation) -> Path | None:
    """PNG of validation over steps: pre-training above where there was some, fine-tuning below; a thin line a fold and seed,
    a thick one their mean. None where no curve was stored.
    """
    curves = _curves(results)
    if curves.empty:
        return None
    stages = [stage for stage in ("pre-training", "fine-tuning") if stage in set(curves["stage"])]
    cells = curves[["data_set", "modality"]].drop_duplicates().to_numpy().tolist()
    with sheet(path, max(4.0 * len(cells) + 0.6, NARROWEST_INCHES), 2.9 * len(stages) + 1.3) as figure:
        headline(
            figure, any(evaluation.simulated.values()), "Learning curves",
            "validation on recordings of training people; thin: each fold and seed, thick: their mean",
        )  # fmt: skip
        axes = figure.subplots(len(stages), len(cells), squeeze=False, sharey="row", sharex="row")
        for line, stage in zip(axes, stages, strict=True):
            for one, (data_set, modality) in zip(line, cells, strict=True):
                there = curves[
                    curves["stage"].eq(stage) & curves["data_set"].eq(data_set) & curves["modality"].eq(modality)
                ]
                _learning(one, there, looks(evaluation))
                one.set_title(f"{evaluation.titles[data_set]}, {MODALITY_TITLES[modality]}: {stage}")
                one.set_xlabel("step")
            line[0].set_ylabel("MPJPE" if stage == "fine-tuning" else "squared error,\nhidden patches")
            line[0].set_ylim(bottom=0)
        legend_below(figure, evaluation, set(curves["row"]))
    return path


def draw_seeds(path: Path, evaluation: Evaluation) -> Path | None:
    """PNG of the mean over folds for each seed (marks) over the folds themselves (dots); None where there is one seed."""
    values = evaluation.values[evaluation.values["metric"].eq("mpjpe_norm") & evaluation.values["split"].eq("person")]
    if values["seed"].nunique() < 2:
        return None
    shown = panels(evaluation)
    networks = evaluation.of_kind("ours", "baseline")
    columns, rows_down = side_by_side(len(shown))
    with sheet(
        path, max(4.4 * columns + 0.4, NARROWEST_INCHES), (0.3 * len(networks) + 1.1) * rows_down + 0.9
    ) as figure:
        headline(
            figure, any(evaluation.simulated.values()), "Folds and seeds",
            f"{ERROR}; small grey: each person held out, seeds averaged; marks: each seed, mean over the people",
        )  # fmt: skip
        axes = figure.subplots(rows_down, columns, squeeze=False, sharex=True).ravel()
        for one, panel in zip(axes, shown, strict=False):
            _seeds(one, panel.of(values), networks, looks(evaluation))
            one.set_title(panel.title)
        axes[0].set_xlim(left=0)
        for one in axes[len(shown) :]:
            one.set_visible(False)
        for one in axes[max(len(shown) - columns, 0) : len(shown)]:
            one.set_xlabel("MPJPE")
            one.tick_params(labelbottom=True)
    return path


def _trend(axes: Axes, rows: pd.DataFrame, methods: list[str], look: dict[str, Look]) -> None:
    for name in reversed(methods):
        one = rows[rows["method"].eq(name)].sort_values("middle")
        if one.empty:
            continue
        style = look[name]
        axes.plot(
            one["middle"], one["mean"], style.dashes, color=style.colour, linewidth=style.width, marker=style.marker or None,
            markersize=4.5,
        )  # fmt: skip
        if name == methods[0]:
            low, high = one["mean"] - one["sd"], one["mean"] + one["sd"]
            axes.fill_between(one["middle"], low, high, color=style.colour, alpha=0.13, linewidth=0)
    axes.grid(axis="y", color="#eceef1", linewidth=0.8)


def _curves(results: StudyResults) -> pd.DataFrame:
    """One row a judgement that has a validation: run, stage, row, data_set, modality, step, value; a shared pre-training once."""
    rows, seen = [], set()
    for name, making in results.makings.items():
        unit = making.unit
        histories: list[tuple[str, str, tuple[Judged, ...]]] = [("fine-tuning", name, making.history)]
        before = making.pretraining_run or f"{name} pre-training"
        if before not in seen:
            seen.add(before)
            histories.append(("pre-training", before, making.pretraining_history))
        for stage, run, history in histories if unit.split == "person" else ():
            rows += [
                (run, stage, unit.row, unit.data_set, unit.modality, one.step, one.validation)
                for one in history
                if one.validation is not None
            ]
    return pd.DataFrame(rows, columns=["run", "stage", "row", "data_set", "modality", "step", "value"])


def _learning(axes: Axes, rows: pd.DataFrame, look: dict[str, Look]) -> None:
    for name in reversed(list(look)):
        one = rows[rows["row"].eq(name)]
        for _, run in one.groupby("run"):
            axes.plot(run["step"], run["value"], color=look[name].colour, linewidth=0.5, alpha=0.25)
        if len(one):
            mean = (
                one.pivot_table(index="step", columns="run", values="value")
                .interpolate(limit_area="inside")
                .mean(axis=1)
            )
            axes.plot(mean.index, mean, color=look[name].colour, linewidth=look[name].width)
    axes.grid(axis="y", color="#eceef1", linewidth=0.8)


def _seeds(axes: Axes, values: pd.DataFrame, networks: list[str], look: dict[str, Look]) -> None:
    there = [name for name in networks if name in set(values["method"])]
    for at, name in enumerate(there):
        one = values[values["method"].eq(name)]
        folds = fold_values(one)["value"]
        seeds = one.groupby("seed")["value"].mean()
        axes.scatter(folds, np.full(len(folds), at), s=14, color=QUIET, alpha=0.6, linewidths=0)
        axes.scatter(
            seeds, np.full(len(seeds), at), s=52, color=look[name].colour, marker=look[name].marker or "|", edgecolors="white",
            linewidths=0.7, zorder=3,
        )  # fmt: skip
    axes.set_yticks(range(len(there)), [look[name].title for name in there])
    axes.set_ylim(len(there) - 0.5, -0.5)
    axes.grid(axis="x", color="#eceef1", linewidth=0.8)
