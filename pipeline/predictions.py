"""Predicted poses: one row a frame and joint, in `predictions/<id>.<model>.parquet`, beside the labels they answer to.

| column       | meaning                                                                                           |
|--------------|---------------------------------------------------------------------------------------------------|
| frame        | radar frame; one that no whole clip ends at (the first ones, those after lost bytes) has no rows   |
| joint        | index into `pipeline.skeleton.JOINTS`                                                             |
| u, v         | image coordinates as in `pipeline.labels`: shares of the undistorted picture's width and height    |
| score        | height of the network's peak where its head makes one, else empty; not a probability              |
| x_m, y_m, z_m| camera coordinates in the plane of the labels' depth (paper.md, "Protocol"); empty without a scale |
| scale_source | where that depth comes from: simulator, depth, height, none                                       |

How they were made (`PredictionMaking`) lies in the file's metadata under `making`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Float64, Int64
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import PipelineError
from pipeline.labels import dense, joint_rows
from pipeline.parquet import write_parquet
from pipeline.skeleton import JOINTS

COLUMNS = {
    "frame": "int32",
    "joint": "int8",
    "u": "float32",
    "v": "float32",
    "score": "float32",
    "x_m": "float32",
    "y_m": "float32",
    "z_m": "float32",
    "scale_source": "string",
}


class PredictionMaking(BaseModel):
    """What predictions were made with: same `key`, same rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(description="hex SHA-256 of the model, the cube and the algorithm's version")
    algorithm_version: str
    model_sha256: str
    card: dict[str, Any] = Field(description="the model's card: clip, network, training, who was held out")
    cube_key: str = Field(description="of the cube that was read")
    lag_frames: int = Field(ge=0, description="frames that a prediction looks beyond its own; 0: usable live")
    simulated: bool = Field(description="True when no physical radar was involved")


@dataclass(frozen=True)
class Predictions:
    """A table of predictions, the name of the model that made it, and how."""

    table: pd.DataFrame
    model: str
    making: PredictionMaking


@dataclass(frozen=True)
class PredictionArrays:
    """Predictions dense over radar frames; NaN where there are no rows."""

    uv: Float64[np.ndarray, "frame joint 2"]
    score: Float64[np.ndarray, "frame joint"]
    xyz_m: Float64[np.ndarray, "frame joint 3"]


def predictions_path(root: Path, recording_id: str, model: str) -> Path:
    """Where the predictions of the model named `model` lie; its name in letters that a file may have."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", model).strip("-")
    if not name:
        raise PipelineError(f"{model!r} names no model; use letters, digits, '_' and '-'.")
    return root / "predictions" / f"{recording_id}.{name}.parquet"


def prediction_table(
    frames: Int64[np.ndarray, " frame"],
    uv: Float[np.ndarray, "frame joint 2"],
    score: Float[np.ndarray, "frame joint"] | None = None,
    xyz_m: Float64[np.ndarray, "frame joint 3"] | None = None,
    scale_source: str = "none",
) -> pd.DataFrame:
    """The rows of radar frames `frames`, in order. A frame without any metres has scale_source `none`."""
    count, joints = uv.shape[:2]
    if joints != len(JOINTS):
        raise PipelineError(f"Predictions have {len(JOINTS)} joints, not {joints}.")
    scores = np.full(count * joints, np.nan) if score is None else score.ravel()
    rows = joint_rows(frames, uv, xyz_m, scale_source) | {"score": scores}
    return pd.DataFrame(rows)[list(COLUMNS)].astype(COLUMNS)


def prediction_arrays(table: pd.DataFrame, frames: int) -> PredictionArrays:
    """The rows as arrays over radar frames 0 to `frames` - 1; rows beyond are left out."""
    rows = table[table["frame"].between(0, frames - 1)]
    score = dense(rows, frames, ["score"])[..., 0]
    return PredictionArrays(dense(rows, frames, ["u", "v"]), score, dense(rows, frames, ["x_m", "y_m", "z_m"]))


def write_predictions(root: Path, recording_id: str, predictions: Predictions) -> Path:
    """Write a table in one atomic step; returns the file. PipelineError when the disk does not take it."""
    path = predictions_path(root, recording_id, predictions.model)
    table = pa.Table.from_pandas(predictions.table.astype(COLUMNS), preserve_index=False)
    said = {b"model": predictions.model.encode(), b"making": predictions.making.model_dump_json().encode()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(path, table.replace_schema_metadata((table.schema.metadata or {}) | said))
    except OSError as error:
        raise PipelineError(
            f"{path} cannot be written ({error.strerror}); make room or name a writable data root with --root."
        ) from error
    return path


def read_predictions(root: Path, recording_id: str, model: str) -> Predictions:
    """What a model predicted of a recording; PipelineError when it did not, or the file is no such table."""
    path = predictions_path(root, recording_id, model)
    if not path.exists():
        raise PipelineError(
            f"{recording_id} has no predictions of {model} ({path.name} is not there); run `maepose predict` first."
        )
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise PipelineError(f"{path} is not a table of predictions: {error}; predict it again.") from None
    missing = [column for column in COLUMNS if column not in table.column_names]
    if missing:
        raise PipelineError(f"{path} is not a table of predictions: it has no {', '.join(missing)}.")
    said = table.schema.metadata or {}
    try:
        making = PredictionMaking.model_validate_json(said.get(b"making", b""))
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise PipelineError(f"{path} is not a table of predictions this version reads: {first}.") from None
    frame = table.select(list(COLUMNS)).to_pandas().astype(COLUMNS)
    return Predictions(frame, said.get(b"model", model.encode()).decode(), making)


def predictions_of_other_cubes(root: Path, recording_id: str, cube_key: str) -> tuple[str, ...]:
    """Models whose predictions of a recording were not made from the cube with this key, or do not read."""
    folder = root / "predictions"
    paths = sorted(folder.glob(f"{recording_id}.*.parquet")) if folder.is_dir() else []
    models = [path.stem[len(recording_id) + 1 :] for path in paths]
    return tuple(
        model for model in models if "." not in model and _cube_key(root, recording_id, model) != cube_key
    )  # a dot: predictions of a recording whose id goes on


def read_making(path: Path) -> PredictionMaking | None:
    """How the predictions in a file were made; None where it holds none that this version reads."""
    try:
        said = pq.read_schema(path).metadata or {}
        return PredictionMaking.model_validate_json(said.get(b"making", b""))
    except (OSError, pa.ArrowException, ValidationError):
        return None


def _cube_key(root: Path, recording_id: str, model: str) -> str:
    making = read_making(predictions_path(root, recording_id, model))
    return making.cube_key if making is not None else ""
