"""A small made-up study, written and evaluated once a worker."""

from pathlib import Path

import pytest
from made_study import made_study, small_config

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
