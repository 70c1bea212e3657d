"""Tables of predictions: what is written comes back, with what it was made of; other files get their sentence."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import PipelineError
from pipeline.predictions import (
    PredictionMaking,
    Predictions,
    prediction_arrays,
    prediction_table,
    predictions_path,
    read_predictions,
    write_predictions,
)

MAKING = PredictionMaking(
    key="k",
    algorithm_version="1",
    model_sha256="m",
    card={"clip": {"frames": 20}},
    cube_key="c",
    lag_frames=0,
    simulated=True,
)


def _table(frames, seed=0):
    draw = np.random.default_rng(seed)
    xyz_m = draw.normal(size=(len(frames), 13, 3))
    xyz_m[0] = np.nan
    return prediction_table(frames, draw.random((len(frames), 13, 2)), draw.random((len(frames), 13)), xyz_m, "depth")


def test_a_table_comes_back_with_its_making(tmp_path):
    frames = np.array([19, 20, 40])
    table = _table(frames)
    path = write_predictions(tmp_path, "walk.1", Predictions(table, "tiny dual/without p01", MAKING))
    assert path == tmp_path / "predictions" / "walk.1.tiny-dual-without-p01.parquet"
    back = read_predictions(tmp_path, "walk.1", "tiny dual/without p01")
    assert (back.model, back.making) == ("tiny dual/without p01", MAKING)
    assert back.table.equals(table)


def test_arrays_are_dense_over_frames_and_masked_where_nothing_was_predicted():
    frames = np.array([2, 3])
    table = _table(frames)
    arrays = prediction_arrays(table, 4)
    assert np.isnan(arrays.uv[:2]).all()
    assert arrays.uv[2:].ravel() == pytest.approx(table[["u", "v"]].to_numpy().ravel())
    assert arrays.score[3] == pytest.approx(table["score"].to_numpy()[13:])
    assert list(table["scale_source"].unique()) == ["none", "depth"]
    assert prediction_arrays(table, 3).uv.shape == (3, 13, 2)


def test_what_is_no_table_of_predictions_gets_its_sentence(tmp_path):
    with pytest.raises(PipelineError, match="has no predictions of tiny"):
        read_predictions(tmp_path, "walk", "tiny")
    path = predictions_path(tmp_path, "walk", "tiny")
    path.parent.mkdir()
    path.write_bytes(b"not parquet")
    with pytest.raises(PipelineError, match="is not a table of predictions"):
        read_predictions(tmp_path, "walk", "tiny")
    pq.write_table(pa.table({"frame": [1]}), path)
    with pytest.raises(PipelineError, match="it has no joint"):
        read_predictions(tmp_path, "walk", "tiny")
    pq.write_table(pa.Table.from_pandas(_table(np.array([0])), preserve_index=False), path)
    with pytest.raises(PipelineError, match="this version reads"):
        read_predictions(tmp_path, "walk", "tiny")
    with pytest.raises(PipelineError, match="names no model"):
        predictions_path(tmp_path, "walk", "//")
    with pytest.raises(PipelineError, match="13 joints, not 4"):
        prediction_table(np.array([0]), np.zeros((1, 4, 2)))
