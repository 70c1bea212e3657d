"""The demonstration's study: two networks on range-Doppler, three people, each held out once, in a minute or two of training."""

from pathlib import Path

import pandas as pd

from models.study import StudyConfig, write_study

STUDY = StudyConfig.model_validate(
    {
        "name": "demo",
        "title": "Demonstration: simulated people, each held out once",
        "data_sets": {"move": {"prefix": "sim-move-", "title": "Movement"}},
        "methods": [{"name": "MAEPose"}, {"name": "CubeLearn", "method": "cubelearn"}],
        "modalities": ["rd"],
        "set": {"finetuning.steps": 120},
    }
)


def write_demo_study(root: Path) -> Path:
    """Write the study's file into a data root; returns it."""
    path = root / "demo-study.yaml"
    write_study(path, STUDY)
    return path


def mean_errors(folder: Path) -> str:
    """Mean error of every row and floor over the folds of an evaluated study, in words."""
    folds = pd.read_csv(folder / "tables" / "folds.csv").query("metric == 'mpjpe_norm'")
    means = folds.groupby("method", sort=False)["value"].mean()
    return ", ".join(f"{method} {error:.3f}" for method, error in means.items())
