"""A study's figures, from its stored predictions: error by action, joint, distance and speed, curves, seeds, and poses."""

from pathlib import Path

import numpy as np
import pandas as pd

from models.body_figure import draw_joints
from models.contests import MODALITY_TITLES
from models.evaluation import Evaluation, folds_by_method
from models.figures import PoseStrip, draw_poses
from models.method_style import compared
from models.radar_charts import draw_actions
from models.study_curves import draw_bins, draw_learning, draw_seeds
from models.study_store import StudyResults
from models.table_layout import line_title
from models.truth_frames import truth_frames
from pipeline.errors import PipelineError

MOMENTS = 6
RECONSTRUCTION = "reconstruction.png"
"""A picture of that name in the study's `figures/` is shown in the report; `models.figures.draw_reconstruction` makes one."""


def draw_figures(results: StudyResults, evaluation: Evaluation) -> dict[str, Path]:
    """Every figure the study has something for, as PNG in its `figures/`; by title, in the order of the report."""
    folder = results.folder / "figures"
    drawn = {
        "Error by action": draw_actions(folder / "actions.png", evaluation),
        "Error by joint": draw_joints(folder / "joints.png", evaluation),
        "Error over distance and speed": draw_bins(folder / "distance-speed.png", evaluation),
        "Folds and seeds": draw_seeds(folder / "seeds.png", evaluation),
        "Learning curves": draw_learning(folder / "learning.png", results, evaluation),
        "Poses": draw_study_poses(folder / "poses.png", results, evaluation),
    }
    reconstruction = folder / RECONSTRUCTION
    found = {title: path for title, path in drawn.items() if path is not None}
    return found | ({"Mask reconstruction": reconstruction} if reconstruction.is_file() else {})


def draw_study_poses(path: Path, results: StudyResults, evaluation: Evaluation) -> Path:
    """PNG of six moments of one recording, each compared row over the grey truth.

    The recording is chosen by rule, not by eye: of the person whose fold is the median of ours on the first data set, the one in
    which the pose varies most.
    """
    units = [unit for unit in results.units if unit.split == "person"]
    data_set = units[0].data_set
    modality = [
        one for one in MODALITY_TITLES if one in {unit.modality for unit in units if unit.row == evaluation.ours}
    ][-1]
    errors = folds_by_method(evaluation, "mpjpe_norm", data_set, modality, [evaluation.ours])[
        evaluation.ours
    ].sort_values()
    person = str(errors.index[(len(errors) - 1) // 2])
    truth = truth_frames(
        results.truth[results.truth["data_set"].eq(data_set)],
        results.recordings[results.recordings["data_set"].eq(data_set)].set_index("recording"),
    )
    shown = np.where(truth.confidence[..., None] > 0, truth.uv, np.nan)
    names = truth.frames.get_level_values(0).to_numpy()
    theirs = pd.unique(names[truth.person == person])
    recording = max(theirs, key=lambda name: float(np.nanmean(np.nanvar(shown[names == name], axis=0))))
    methods: dict[str, np.ndarray] = {}
    frames: np.ndarray | None = None
    for name in compared(evaluation):
        unit = next(
            (
                unit
                for unit in units
                if (unit.row, unit.data_set, unit.held_out) == (name, data_set, person)
                and unit.modality in (modality, "none")
            ),
            None,
        )
        if unit is None:
            continue
        rows = results.predictions(unit)
        at, places = truth.at(rows[rows["test_set"].eq(data_set) & rows["recording"].eq(recording)], unit.name)
        chosen = np.unique(np.linspace(0, len(at) - 1, MOMENTS).round().astype(int))
        frames = at[chosen]
        methods[line_title(evaluation, name).replace(" (", "\n(")] = places[chosen]
    if frames is None:
        raise PipelineError(
            f"No row of the study predicts {recording}, so there are no poses to draw; run the study again."
        )
    size = truth.size_px[frames[0]]
    strip = PoseStrip(
        time_s=truth.frames.get_level_values(1).to_numpy()[frames] * truth.period_s[frames],
        maps={},
        truth=shown[frames],
        methods=methods,
        heatmaps={},
        size_px=(int(size[0]), int(size[1])) if np.isfinite(size).all() else (640, 480),
    )
    title = f"Poses of {person}, who was held out: {truth.action[frames[0]]}"
    where = f"{evaluation.titles[data_set]}, {MODALITY_TITLES[modality]}"
    quiet = f"{where}; grey: the labels; of the median fold the liveliest recording ({recording})"
    return draw_poses(path, strip, title, quiet, simulated=evaluation.simulated[data_set])
