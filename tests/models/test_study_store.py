"""A study's folder: what is written comes back, small; what is missing is said, what is damaged refused."""

import numpy as np
import pandas as pd
import pytest
from synthetic_study import write_synthetic_study

from models.study_store import (
    PREDICTED,
    predictions_path,
    read_making,
    read_predictions,
    read_results,
    truth_path,
    write_predictions,
)
from pipeline.errors import PipelineError


@pytest.fixture
def folder(tmp_path):
    write_synthetic_study(tmp_path, modalities=("rd",), seeds=(1,), missing=("ridge.rd.yoga.m02.s1",))
    return tmp_path


def test_results_know_what_is_there_and_what_is_missing(folder):
    results = read_results(folder)
    assert [unit.name for unit in results.missing] == ["ridge.rd.yoga.m02.s1"]
    assert len(results.units) == 2 * 4 * (5 + 4) - 1
    assert list(results.predictions(results.units[0]).columns) == list(PREDICTED)
    assert set(results.truth["data_set"]) == set(results.recordings["data_set"]) == {"move", "yoga", "crowd"}


def test_predictions_come_back_in_order_and_rounded(folder):
    making = read_making(folder, "mean-pose.none.move.m01.s1")
    rows = pd.DataFrame(
        {
            "test_set": "move",
            "recording": ["b", "a"],
            "frame": [3, 7],
            "joint": [0, 1],
            "u": [0.1234567, 0.5],
            "v": 1 / 3,
        }
    )
    write_predictions(folder, making, rows)
    table, again = read_predictions(folder, making.unit)
    assert again == making
    assert table["recording"].tolist() == ["a", "b"]
    np.testing.assert_allclose(table["u"], [0.5, 0.1234567], atol=2**-18)
    assert (table[["u", "v"]].to_numpy(np.float64) * 2**17 % 1 == 0).all()


def test_a_row_takes_few_bytes(folder):
    making, rng, frames = read_making(folder, "mean-pose.none.move.m01.s1"), np.random.default_rng(0), 2000
    columns = {"frame": np.repeat(np.arange(frames), 13), "joint": np.tile(np.arange(13), frames)}
    noise = {name: rng.random(13 * frames) for name in ("u", "v")}
    path = write_predictions(folder, making, pd.DataFrame({"test_set": "move", "recording": "a"} | columns | noise))
    assert (
        path.stat().st_size < 7 * 13 * frames
    )  # of 8 bytes that two bare numbers take, and rows that say what they are


def test_what_is_damaged_is_missing_or_refused(folder):
    unit = read_results(folder).units[0]
    path = predictions_path(folder, unit)
    path.write_bytes(path.read_bytes()[:-40])
    assert unit in read_results(folder).missing
    with pytest.raises(PipelineError, match="holds no predictions of a study; run the study again"):
        read_predictions(folder, unit)
    (folder / "keys.json").write_text("[1]")
    with pytest.raises(PipelineError, match=r"keys.json is damaged .* run the study again"):
        read_results(folder)
    (folder / "keys.json").unlink()
    truth_path(folder, "yoga").write_bytes(b"PAR1")
    with pytest.raises(PipelineError, match=r"yoga.parquet is no table of labels"):
        read_results(folder)
    truth_path(folder, "yoga").unlink()
    with pytest.raises(PipelineError, match=r"yoga.parquet is not there; `maepose study` writes the labels"):
        read_results(folder)
    (folder / "study.yaml").unlink()
    with pytest.raises(PipelineError, match="holds no study"):
        read_results(folder)
