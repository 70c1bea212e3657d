"""Keypoint tables: one row a frame and joint, in `labels/<id>.parquet`.

| column       | meaning                                                                                      |
|--------------|----------------------------------------------------------------------------------------------|
| frame        | radar frame                                                                                    |
| joint        | index into `pipeline.skeleton.JOINTS`                                                          |
| u, v         | image coordinates of the undistorted colour picture as shares of its width and height, 0 to 1 |
| confidence   | 0 to 1; 0 where the joint was not found                                                       |
| x_m, y_m, z_m| camera coordinates, metres: right, down, away from the camera; empty without a scale          |
| scale_source | where the metres come from: simulator, depth, height, none                                    |
| track        | which person, 0 for the one the session is about                                              |

Who labelled lies in the file's metadata (`labeller`). `labels/<id>.parquet` is what training reads; another labeller's table of
the same recording is `labels/<id>.<labeller>.parquet`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64

from pipeline.errors import PipelineError
from pipeline.files import write_atomic
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


@dataclass(frozen=True)
class Labels:
    """A keypoint table and who made it."""

    table: pd.DataFrame
    labeller: str


def labels_path(root: Path, recording_id: str, labeller: str | None = None) -> Path:
    """Where the labels of a recording lie: those that training reads, or a named labeller's own."""
    suffix = f".{labeller}" if labeller else ""
    return root / "labels" / f"{recording_id}{suffix}.parquet"


def keypoint_table(
    uv: Float64[np.ndarray, "frame joint 2"],
    confidence: Float64[np.ndarray, "frame joint"],
    xyz_m: Float64[np.ndarray, "frame joint 3"] | None,
    scale_source: str,
    track: int = 0,
) -> pd.DataFrame:
    """The rows of one person in every frame; `uv` are shares of the picture's width and height."""
    frames, joints = confidence.shape
    if joints != len(JOINTS):
        raise PipelineError(f"Labels have {len(JOINTS)} joints, not {joints}.")
    places = np.full((frames, joints, 3), np.nan) if xyz_m is None else xyz_m
    return pd.DataFrame(
        {
            "frame": np.repeat(np.arange(frames), joints),
            "joint": np.tile(np.arange(joints), frames),
            "u": uv[..., 0].ravel(),
            "v": uv[..., 1].ravel(),
            "confidence": confidence.ravel(),
            "x_m": places[..., 0].ravel(),
            "y_m": places[..., 1].ravel(),
            "z_m": places[..., 2].ravel(),
            "scale_source": "none" if xyz_m is None else scale_source,
            "track": track,
        }
    ).astype(COLUMNS)


def write_labels(root: Path, recording_id: str, labels: Labels, *, own: bool = False) -> Path:
    """Write a table in one atomic step; `own` keeps it beside the one that training reads. Returns the file."""
    path = labels_path(root, recording_id, labels.labeller if own else None)
    table = pa.Table.from_pandas(labels.table.astype(COLUMNS), preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"labeller": labels.labeller.encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, sink.getvalue().to_pybytes())
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
    who = (table.schema.metadata or {}).get(b"labeller", b"unknown").decode()
    return Labels(table.select(list(COLUMNS)).to_pandas().astype(COLUMNS), who)
