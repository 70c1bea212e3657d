"""A small made-up study, written and evaluated once a worker; and recordings of noise for studies that are run."""

import shutil
from pathlib import Path

import pytest
import torch
from made_study import made_study, small_config
from small_study import record

from models.evaluation import Evaluation, evaluate
from models.study_store import StudyResults, read_results


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's folder; tests that damage it copy it first."""
    return made_study(tmp_path_factory.mktemp("study"), small_config(), frames=6)


@pytest.fixture(scope="session")
def results(folder: Path) -> StudyResults:
    """The study, read."""
    return read_results(folder)


@pytest.fixture(scope="session")
def evaluation(results: StudyResults) -> Evaluation:
    """The study, evaluated."""
    return evaluate(results)


@pytest.fixture(scope="session")
def walk_and_crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of the same people; in `crowd` p02 is also a bystander of p01's."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("recordings")
    record(root)
    record(root, "crowd", ("p01",), others=("p02",))
    record(root, "crowd", ("p02", "p03", "q9"))
    return root


@pytest.fixture
def root(walk_and_crowd: Path, tmp_path: Path) -> Path:
    """The same recordings, whose labels may be changed and beside which a study may lie."""
    for name in ("recordings", "cubes"):
        (tmp_path / name).symlink_to(walk_and_crowd / name)
    shutil.copytree(walk_and_crowd / "labels", tmp_path / "labels")
    return tmp_path
