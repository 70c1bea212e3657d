"""Keypoint tables: one row a frame and joint, in `labels/<id>.parquet`.

| column       | meaning                                                                                      |
|--------------|----------------------------------------------------------------------------------------------|
| frame        | radar frame; one that no picture was matched to has no rows                                    |
| joint        | index into `pipeline.skeleton.JOINTS`                                                          |
| u, v         | image coordinates of the undistorted colour picture as shares of its width and height, 0 to 1 |
| confidence   | 0 to 1; 0 where the joint was not found                                                       |
| x_m, y_m, z_m| camera coordinates, metres: right, down, away from the camera; empty without a scale          |
| scale_source | where the metres come from: simulator, depth, height, none                                    |
| track        | which person, 0 for the one the session is about                                              |

A joint that a labeller did not find is masked, not invented: confidence 0, coordinates NaN. (The simulator's truth knows where a
joint is that the picture does not show, so there the coordinates stay and only the confidence is 0.) With scale_source `depth`
z_m is one plane for all joints of a frame, the median depth at shoulders and hips around it, as paper.md, "Protocol",
defines metres; with `simulator` it is each joint's own depth; with `height` on a camera without intrinsics it is empty.

Who labelled lies in the file's metadata (`labeller`), and how (`making`). `labels/<id>.parquet` is what training reads; another
labeller's table of the same recording is `labels/<id>.<labeller>.parquet`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Float64, Int64
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import PipelineError
from pipeline.parquet import write_parquet
from pipeline.skeleton import JOINTS

COLUMNS = {
    "frame": "int32",
    "joint": "int8",
    "u": "float32",
    "v": "float32",
    "confidence": "float32",
    "x_m": "float32",
    "y_m": "float32",
    "z_m": "float32",
    "scale_source": "string",
    "track": "int16",
}

LabelVerdict = Literal["pass", "look", "fail"]


class LabelMaking(BaseModel):
    """How a keypoint table was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field("", description="hex SHA-256 of what the table depends on: same key, same table")
    algorithm_version: str = ""
    config: dict[str, Any] = Field(
        default_factory=dict, description="fields of processing.labelling.config.LabelConfig"
    )
    picture_px: tuple[int, int] | None = Field(
        None, description="width and height of the picture u and v are shares of"
    )
    smoothing: dict[str, Any] | None = Field(None, description="the filter and its parameters; None: as labelled")
    verdict: LabelVerdict | None = Field(None, description="of the quality check; None: not checked")
    source: str = Field("", description="the file that labels were imported from")


@dataclass(frozen=True)
class Labels:
    """A keypoint table, who made it, and how where that is known."""

    table: pd.DataFrame
    labeller: str
    making: LabelMaking | None = None


@dataclass(frozen=True)
class LabelArrays:
    """Labels of the person a session is about, dense over radar frames; NaN and confidence 0 where there are no rows."""

    uv: Float64[np.ndarray, "frame joint 2"]
    confidence: Float64[np.ndarray, "frame joint"]
    xyz_m: Float64[np.ndarray, "frame joint 3"]


def labels_path(root: Path, recording_id: str, labeller: str | None = None) -> Path:
    """Where the labels of a recording lie: those that training reads, or a named labeller's own."""
    return root / "labels" / f"{label_stem(recording_id, labeller)}.parquet"


def label_stem(recording_id: str, labeller: str | None = None) -> str:
    """What the names of a table and of all that belongs to it begin with; a labeller's name in letters a file may have."""
    return f"{recording_id}.{re.sub(r'[^A-Za-z0-9_-]+', '-', labeller).strip('-')}" if labeller else recording_id


def keypoint_table(
    uv: Float64[np.ndarray, "frame joint 2"],
    confidence: Float64[np.ndarray, "frame joint"],
    xyz_m: Float64[np.ndarray, "frame joint 3"] | None,
    scale_source: str,
    track: int = 0,
    frames: Int64[np.ndarray, " frame"] | None = None,
) -> pd.DataFrame:
    """The rows of one person; `uv` are shares of the picture's width and height, `frames` the radar frames (None: all from 0).

    A frame without any metres has scale_source `none`.
    """
    count, joints = confidence.shape
    if joints != len(JOINTS):
        raise PipelineError(f"Labels have {len(JOINTS)} joints, not {joints}.")
    numbers = np.arange(count) if frames is None else frames
    rows = joint_rows(numbers, uv, xyz_m, scale_source) | {"confidence": confidence.ravel(), "track": track}
    return pd.DataFrame(rows)[list(COLUMNS)].astype(COLUMNS)


def joint_rows(
    frames: Int64[np.ndarray, " frame"],
    uv: Float[np.ndarray, "frame joint 2"],
    xyz_m: Float64[np.ndarray, "frame joint 3"] | None,
    scale_source: str,
) -> dict[str, Any]:
    """The columns that labels and predictions have in common, one row a frame and joint."""
    count, joints = uv.shape[:2]
    places = np.full((count, joints, 3), np.nan) if xyz_m is None else xyz_m
    scaled = np.isfinite(places).any(axis=(1, 2))
    return {
        "frame": np.repeat(frames, joints),
        "joint": np.tile(np.arange(joints), count),
        "u": uv[..., 0].ravel(),
        "v": uv[..., 1].ravel(),
        "x_m": places[..., 0].ravel(),
        "y_m": places[..., 1].ravel(),
        "z_m": places[..., 2].ravel(),
        "scale_source": np.repeat(np.where(scaled, scale_source, "none"), joints),
    }


def label_arrays(table: pd.DataFrame, frames: int, track: int = 0) -> LabelArrays:
    """The rows of one person as arrays over radar frames 0 to `frames` - 1; rows beyond are left out."""
    rows = table[(table["track"] == track) & table["frame"].between(0, frames - 1)]
    confidence = dense(rows, frames, ["confidence"], missing=0.0)[..., 0]
    return LabelArrays(dense(rows, frames, ["u", "v"]), confidence, dense(rows, frames, ["x_m", "y_m", "z_m"]))


def dense(
    rows: pd.DataFrame, frames: int, columns: list[str], missing: float = np.nan
) -> Float64[np.ndarray, "frame joint column"]:
    """Columns of one person's rows, which lie in frames 0 to `frames` - 1, by frame and joint; `missing` where there is none."""
    values = np.full((frames, len(JOINTS), len(columns)), missing)
    values[rows["frame"].to_numpy(), rows["joint"].to_numpy()] = rows[columns].to_numpy(np.float64)
    return values


def write_labels(root: Path, recording_id: str, labels: Labels, *, own: bool = False) -> Path:
    """Write a table in one atomic step; `own` keeps it beside the one that training reads. Returns the file."""
    path = labels_path(root, recording_id, labels.labeller if own else None)
    table = pa.Table.from_pandas(labels.table.astype(COLUMNS), preserve_index=False)
    said = {**(table.schema.metadata or {}), b"labeller": labels.labeller.encode()}
    if labels.making is not None:
        said[b"making"] = labels.making.model_dump_json().encode()
    table = table.replace_schema_metadata(said)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(path, table)
    except OSError as error:
        raise PipelineError(f"{path} cannot be written: {error.strerror}.") from error
    return path


def read_labels(root: Path, recording_id: str, labeller: str | None = None) -> Labels:
    """The labels of a recording; PipelineError when there are none or the file is not a keypoint table."""
    path = labels_path(root, recording_id, labeller)
    if not path.exists():
        raise PipelineError(f"{recording_id} has no labels ({path.name} is not there); label it first.")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise PipelineError(f"{path} is not a keypoint table: {error}.") from None
    missing = [column for column in COLUMNS if column not in table.column_names]
    if missing:
        raise PipelineError(f"{path} is not a keypoint table: it has no {', '.join(missing)}.")
    said = table.schema.metadata or {}
    try:
        making = LabelMaking.model_validate_json(said[b"making"]) if b"making" in said else None
    except ValidationError as error:
        raise PipelineError(f"{path} is not a keypoint table this version reads: {error.errors()[0]['msg']}.") from None
    who = said.get(b"labeller", b"unknown").decode()
    return Labels(table.select(list(COLUMNS)).to_pandas().astype(COLUMNS), who, making)


def label_tables(root: Path, recording_id: str) -> tuple[Path, ...]:
    """Every keypoint table of a recording that lies on disk: the one training reads first, then labellers' own by name."""
    chief = labels_path(root, recording_id)
    others = sorted(chief.parent.glob(f"{recording_id}.*.parquet")) if chief.parent.is_dir() else []
    # An id may hold dots, so the labels of recording `a.b` look like those of `a` by a labeller `b`.
    own = [path for path in others if not (root / "recordings" / path.stem).exists()]
    return tuple(path for path in (chief, *own) if path.is_file())
