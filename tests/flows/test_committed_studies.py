"""Studies that are kept in docs/studies: their tables come from their stored predictions, today and on any machine."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from flows.local_server import PROJECT
from flows.studies import finished_results
from models.evaluation import evaluate
from models.tables import study_tables, write_tables

STUDIES = sorted(path.parent for path in (PROJECT / "docs" / "studies").glob("*/study.yaml"))
MOST_BYTES = 30_000_000


@pytest.mark.parametrize("kept", STUDIES, ids=lambda path: path.name)
def test_a_committed_table_is_what_its_predictions_make(kept: Path, tmp_path):
    folder = tmp_path / kept.name
    folder.mkdir()
    shutil.copy(kept / "study.yaml", folder)
    for part in ("predictions", "truth"):
        shutil.copytree(kept / part, folder / part)
    results = finished_results(tmp_path, str(folder))
    evaluation = evaluate(results)
    write_tables(folder / "tables", study_tables(evaluation), evaluation)
    made = {path.name: path for path in (folder / "tables").iterdir()}
    assert sorted(made) == sorted(path.name for path in (kept / "tables").iterdir())
    for name, path in made.items():
        before = kept / "tables" / name
        if path.suffix == ".csv":  # every digit of a mean is more than two machines need agree on
            pd.testing.assert_frame_equal(pd.read_csv(path), pd.read_csv(before), rtol=1e-6)
        else:
            assert path.read_text() == before.read_text(), f"{kept.name}: {name} is not what its predictions make"
    assert all(evaluation.simulated.values())  # what is measured on people gets a place of its own


def test_the_committed_studies_are_small():
    size = sum(path.stat().st_size for folder in STUDIES for path in folder.rglob("*") if path.is_file())
    assert size < MOST_BYTES
