"""A study's figures, from its stored predictions: error by action, joint, distance and speed, curves, seeds, and poses."""

from collections.abc import Callable
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from jaxtyping import Float64

from models.body_figure import draw_joints
from models.evaluation import Evaluation, folds_by_method
from models.figures import PoseStrip, draw_poses
from models.method_style import Panel, compared, panels
from models.radar_charts import draw_actions
from models.study_curves import draw_bins, draw_learning, draw_seeds
from models.study_store import StudyResults
from models.study_units import Unit
from models.table_layout import line_title
from models.truth_frames import TruthFrames, truth_frames
from pipeline.errors import PipelineError

MOMENTS = 6
NAME_WIDTH = 18
"""Letters of a row's name that stand beside its poses in one line."""
RECONSTRUCTION = "reconstruction.png"
"""A picture of that name in the study's `figures/` is shown in the report; `models.figures.draw_reconstruction` makes one."""


def draw_figures(results: StudyResults, evaluation: Evaluation) -> dict[str, Path]:
    """Every figure the study has something for, as PNG in its `figures/`; by title, in the order of the report.

    One of before that the study has nothing for now is removed.
    """
    folder = results.folder / "figures"
    drawn: dict[str, tuple[str, Callable[[Path], Path | None]]] = {
        "Error by action": ("actions.png", lambda path: draw_actions(path, evaluation)),
        "Error by joint": ("joints.png", lambda path: draw_joints(path, evaluation)),
        "Error over distance and speed": ("distance-speed.png", lambda path: draw_bins(path, evaluation)),
        "Folds and seeds": ("seeds.png", lambda path: draw_seeds(path, evaluation)),
        "Learning curves": ("learning.png", lambda path: draw_learning(path, results, evaluation)),
        "Poses": ("poses.png", lambda path: draw_study_poses(path, results, evaluation)),
    }
    found = {}
    for title, (name, draw) in drawn.items():
        path = draw(folder / name)
        if path is None:
            (folder / name).unlink(missing_ok=True)
        else:
            found[title] = path
    reconstruction = folder / RECONSTRUCTION
    pretrained = any(making.pretraining_run for making in results.makings.values())
    return found | ({"Mask reconstruction": reconstruction} if pretrained and reconstruction.is_file() else {})


def draw_study_poses(path: Path, results: StudyResults, evaluation: Evaluation) -> Path:
    """PNG of six moments of one recording, every network and the best floor over the grey truth.

    The recording is chosen by rule, not by eye: of the person whose fold is the median of ours on the first data set, the one in
    which the pose varies most. Stored predictions have neither maps nor heatmaps beside them, so none are drawn.
    """
    panel = _panel(evaluation)
    truth = truth_frames(
        results.truth[results.truth["data_set"].eq(panel.test_set)],
        results.recordings[results.recordings["data_set"].eq(panel.test_set)].set_index("recording"),
    )
    shown = np.where(truth.confidence[..., None] > 0, truth.uv, np.nan)
    person = _median_fold(evaluation, panel)
    recording = _liveliest(truth, shown, person)
    methods: dict[str, Float64[np.ndarray, "moment joint 2"]] = {}
    at = np.empty(0, int)
    for name in dict.fromkeys([*evaluation.of_kind("ours", "baseline"), *compared(evaluation)]):
        unit = _unit(results, panel, name, person)
        if unit is None:
            continue
        rows = results.predictions(unit)
        here = rows["test_set"].eq(panel.test_set) & rows["recording"].eq(recording)
        at, places = truth.at(rows[here], unit.name)
        chosen = np.unique(np.linspace(0, len(at) - 1, MOMENTS).round().astype(int))
        at = at[chosen]
        methods[fill(line_title(evaluation, name), NAME_WIDTH)] = places[chosen]
    if not methods:
        raise PipelineError(
            f"No row of the study predicts {recording}, so there are no poses to draw; run the study again."
        )
    size = truth.size_px[at[0]]
    strip = PoseStrip(
        time_s=truth.frames.get_level_values(1).to_numpy()[at] * truth.period_s[at],
        maps={},
        truth=shown[at],
        methods=methods,
        heatmaps={},
        size_px=(int(size[0]), int(size[1])) if np.isfinite(size).all() else (640, 480),
    )
    title = f"Poses of {person}, who was held out: {truth.action[at[0]]}"
    quiet = f"{panel.title}; grey: the labels; of the median fold the liveliest recording ({recording})"
    return draw_poses(path, strip, title, quiet, simulated=evaluation.simulated[panel.test_set])


def _panel(evaluation: Evaluation) -> Panel:
    """The first data set that ours was trained and tested on, with the most that it reads there (Dual, if there is)."""
    ours = evaluation.values[evaluation.values["method"].eq(evaluation.ours)]
    own = [panel for panel in panels(evaluation) if panel.trained_on == panel.test_set and len(panel.of(ours))]
    return [panel for panel in own if panel.test_set == own[0].test_set][-1]


def _median_fold(evaluation: Evaluation, panel: Panel) -> str:
    folds = folds_by_method(evaluation, "mpjpe_norm", panel.test_set, panel.modality, [evaluation.ours])
    errors = folds[evaluation.ours].sort_values()
    return str(errors.index[(len(errors) - 1) // 2])


def _liveliest(truth: TruthFrames, shown: Float64[np.ndarray, "frame joint 2"], person: str) -> str:
    """The person's recording in which joints vary most about their means, of those that have labels."""
    names = truth.frames.get_level_values(0).to_numpy()
    labelled = np.isfinite(shown).any(axis=(1, 2))
    variance = {}
    for name in pd.unique(names[(truth.person == person) & labelled]):
        poses = shown[(names == name) & labelled].reshape(-1, shown[0].size)
        variance[str(name)] = float(np.nanvar(poses[:, np.isfinite(poses).any(axis=0)], axis=0).mean())
    return max(variance, key=lambda name: variance[name])


def _unit(results: StudyResults, panel: Panel, row: str, person: str) -> Unit | None:
    """The first seed's unit of a row, if it was run."""
    for unit in results.units:
        fold = (unit.row, unit.data_set, unit.held_out, unit.split) == (row, panel.trained_on, person, "person")
        if fold and unit.modality in (panel.modality, "none"):
            return unit
    return None
