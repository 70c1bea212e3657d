"""What a study leaves on disk, `experiments/<study>/`: enough to make every table again without recordings, cubes or weights.

study.yaml                     the study, with everybody named (`models.study_folds.resolve`)
keys.json                      unit -> the key its predictions need, by the data as they were when the study was last opened: with
                               another they are stale. A study that was kept does without
predictions/<unit>.parquet     test_set, recording, frame, joint, u, v of every labelled target frame of the tested recordings;
                               how it was made (`UnitMaking`) in the metadata under `making`
truth/<data set>.parquet       labels of the same frames, by recording, frame and joint; what is known of each recording
                               (`TestedRecording`) in the metadata under `recordings`
runs/                          folders of the training runs behind the predictions (`models.runs`); no table needs them

u, v are shares of the undistorted picture, rounded to 2^-17 (8e-6), metres to 2^-13 (.1 mm): decimals would take twice the room.
Target frames are the paper's, every fourth; clips lie end to end, so every frame is predicted at most once.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from models.config import Frozen
from models.study import StudyConfig, read_study
from models.study_units import Unit, asked, units
from pipeline.errors import PipelineError
from pipeline.files import write_atomic, write_changed

PLACE_STEP, METRE_STEP = 2.0**-17, 2.0**-13

PREDICTED: dict[str, Any] = {
    "test_set": "category",
    "recording": "category",
    "frame": "int32",
    "joint": "int8",
    "u": "float32",
    "v": "float32",
}
TRUE: dict[str, Any] = {
    "data_set": "category",
    "recording": "category",
    "person": "category",
    "action": "category",
    "frame": "int32",
    "joint": "int8",
    "u": "float32",
    "v": "float32",
    "confidence": "float32",
    "x_m": "float32",
    "y_m": "float32",
    "z_m": "float32",
    "range_m": "float32",
    "scale_source": "category",
}
"""`range_m`: of the person from the camera, which stands at the radar; one number a frame, NaN without metres. A masked joint has
confidence 0. `scale_source` is `none` where there are no metres (pipeline.labels)."""


class TestedRecording(Frozen):
    """What tables and figures need of a recording besides its labels."""

    __test__ = False  # no test, whatever pytest thinks of its name

    recording: str
    person: str
    others: tuple[str, ...] = ()
    simulated: bool
    waveform: str = Field("", description="its name; empty: not known")
    frames: int
    period_s: float = Field(gt=0, description="from frame to frame")
    width_px: int | None = Field(None, description="of the picture that u and v are shares of")
    height_px: int | None = None
    fx_px: float | None = Field(None, description="focal lengths; None: unknown, so there are no metres in a plane")
    fy_px: float | None = None


class Judged(Frozen):
    """A moment of a training run: loss on training clips, and on validation what the run is judged by."""

    step: int
    loss: float
    validation: float | None = None


class UnitMaking(Frozen):
    """How a unit's predictions were made: same `key`, same rows."""

    schema_version: Literal[1] = 1
    unit: Unit
    key: str = Field(description="SHA-256 of what was asked, the cubes and labels it read, and the algorithm's version")
    asked: str = Field(description="SHA-256 of what the study's file asks of the unit (`models.study_units.asked`)")
    simulated: bool
    parameters: int = Field(0, description="weights of the network; 0: a floor")
    seconds: float = Field(0.0, description="of the process that fitted and predicted; pre-training counts apart")
    pretraining_seconds: float = Field(0.0, description="shared by every unit that begins from the same encoder")
    train: tuple[str, ...] = Field((), description="recordings fitted to")
    validation: tuple[str, ...] = ()
    pretrained_on: tuple[str, ...] = Field((), description="recordings that its encoder was fitted to and chosen by")
    card: dict[str, Any] = Field(default_factory=dict, description="the model's card without its recordings")
    run: str | None = Field(None, description="folder of the training run, under runs/")
    pretraining_run: str | None = None
    history: tuple[Judged, ...] = Field((), description="of the training run; validation: mpjpe_norm")
    pretraining_history: tuple[Judged, ...] = Field((), description="validation: error on hidden tokens")


@dataclass(frozen=True)
class StudyResults:
    """A study's folder, read: what was asked, which of its units have predictions, and the truth."""

    folder: Path
    config: StudyConfig
    makings: dict[str, UnitMaking]
    """By the unit's name, in the study's order."""
    missing: tuple[Unit, ...]
    """Units without predictions, or with those of a study that was asked otherwise or over other data."""
    truth: pd.DataFrame
    """Columns `TRUE`."""
    recordings: pd.DataFrame
    """One row a tested recording: data_set, and the fields of `TestedRecording`."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """Units that have predictions."""
        return tuple(making.unit for making in self.makings.values())

    def predictions(self, unit: Unit | str) -> pd.DataFrame:
        """A unit's rows, columns `PREDICTED`."""
        return read_predictions(self.folder, unit)[0]


def predictions_path(folder: Path, unit: Unit | str) -> Path:
    """Where a unit's predictions lie."""
    return folder / "predictions" / f"{unit if isinstance(unit, str) else unit.name}.parquet"


def truth_path(folder: Path, data_set: str) -> Path:
    """Where a data set's labels lie."""
    return folder / "truth" / f"{data_set}.parquet"


def write_keys(folder: Path, keys: dict[str, str]) -> None:
    """Write which key each unit's predictions need, by its name; as `pipeline.files.write_changed`."""
    write_changed(folder / "keys.json", json.dumps(keys, indent=0))


def read_keys(folder: Path) -> dict[str, str] | None:
    """Which key each unit's predictions need; None for a study that was kept without. PipelineError for a damaged file."""
    path = folder / "keys.json"
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise PipelineError(f"{path} is damaged ({error}); run the study again, which writes it.") from None


def write_predictions(folder: Path, making: UnitMaking, rows: pd.DataFrame) -> Path:
    """Write a unit's rows in one atomic step; PipelineError when the disk does not take it."""
    path = predictions_path(folder, making.unit)
    table = rows[list(PREDICTED)].sort_values(["test_set", "recording", "frame", "joint"], ignore_index=True)
    _write(path, _rounded(table).astype(PREDICTED), {"making": making.model_dump_json()})
    return path


def write_truth(
    folder: Path, data_set: str, rows: pd.DataFrame, recordings: Iterable[TestedRecording], key: str = ""
) -> Path:
    """Write a data set's labels (columns `TRUE` but `data_set`) in one atomic step; PipelineError as `write_predictions`.

    Same `key`, same table.
    """
    path = truth_path(folder, data_set)
    table = rows.assign(data_set=data_set)[list(TRUE)].sort_values(["recording", "frame", "joint"], ignore_index=True)
    said = json.dumps([one.model_dump(mode="json") for one in recordings])
    _write(path, _rounded(table).astype(TRUE), {"recordings": said, "key": key})
    return path


def read_truth_key(folder: Path, data_set: str) -> str | None:
    """What a data set's labels were written from; None where they are not there."""
    try:
        return (pq.read_schema(truth_path(folder, data_set)).metadata or {}).get(b"key", b"").decode()
    except (OSError, pa.ArrowException):
        return None


def read_making(folder: Path, unit: Unit | str) -> UnitMaking | None:
    """How a unit's predictions were made; None where there are none, or none that this version reads."""
    try:
        said = (pq.read_schema(predictions_path(folder, unit)).metadata or {}).get(b"making", b"")
        return UnitMaking.model_validate_json(said)
    except (OSError, pa.ArrowException, ValidationError):
        return None


def read_predictions(folder: Path, unit: Unit | str) -> tuple[pd.DataFrame, UnitMaking]:
    """A unit's rows (columns `PREDICTED`), and how they were made; PipelineError where they are not there or damaged."""
    path, making = predictions_path(folder, unit), read_making(folder, unit)
    if making is None:
        raise PipelineError(
            f"{path} is not there or holds no predictions of a study; run the study again to make them."
        )
    try:
        return pq.read_table(path).to_pandas()[list(PREDICTED)].astype(PREDICTED), making
    except (OSError, pa.ArrowException, KeyError) as error:
        raise PipelineError(f"{path} is damaged ({error}); remove it and run the study again.") from None


def read_results(folder: Path) -> StudyResults:
    """Everything a study's folder holds.

    Raises PipelineError where it holds no resolved study, or no truth of a data set that is tested. Units whose predictions are
    not there, or stale, are `missing`, and no error.
    """
    path = folder / "study.yaml"
    if not path.exists():
        raise PipelineError(f"{folder} holds no study (study.yaml is not there); `maepose study` makes one.")
    config, keys = read_study(path), read_keys(folder)
    makings, missing = {}, []
    for unit in units(config):
        making = read_making(folder, unit)
        stale = making is not None and keys is not None and keys.get(unit.name) != making.key
        if making is None or stale or making.asked != asked(config, unit):
            missing.append(unit)
        else:
            makings[unit.name] = making
    tables, recordings = [], []
    for data_set in config.data_sets:
        table, described = read_truth(folder, data_set)
        tables.append(table)
        recordings += [{"data_set": data_set, **one.model_dump()} for one in described]
    truth = pd.concat(tables, ignore_index=True).astype(TRUE)
    return StudyResults(folder, config, makings, tuple(missing), truth, pd.DataFrame(recordings))


def read_truth(folder: Path, data_set: str) -> tuple[pd.DataFrame, tuple[TestedRecording, ...]]:
    """A data set's labels (columns `TRUE`) and its recordings; PipelineError where they are not there or damaged."""
    path = truth_path(folder, data_set)
    if not path.exists():
        raise PipelineError(f"{path} is not there; `maepose study` writes the labels of {data_set} before it trains.")
    try:
        table = pq.read_table(path)
        said = json.loads((table.schema.metadata or {})[b"recordings"])
        recordings = tuple(TestedRecording.model_validate(one) for one in said)
        return table.to_pandas()[list(TRUE)].astype(TRUE), recordings
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise PipelineError(f"{path} is no table of labels ({error}); run the study again.") from None


def _rounded(rows: pd.DataFrame) -> pd.DataFrame:
    """Places and metres on a binary grid, whose empty last bits a file need not hold."""
    steps = {"u": PLACE_STEP, "v": PLACE_STEP} | dict.fromkeys(("x_m", "y_m", "z_m", "range_m"), METRE_STEP)
    return rows.assign(**{name: (rows[name] / step).round() * step for name, step in steps.items() if name in rows})


def _write(path: Path, rows: pd.DataFrame, said: dict[str, str]) -> None:
    """A table with words in its metadata, small: one byte of a float lies beside the same byte of the next."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    kept = (table.schema.metadata or {}) | {name.encode(): text.encode() for name, text in said.items()}
    floats = [name for name, kind in rows.dtypes.items() if kind == "float32"]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(kept), sink, compression="zstd", compression_level=9, use_byte_stream_split=floats,
        use_dictionary=[name for name in rows.columns if name not in floats],
    )  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, sink.getvalue().to_pybytes())
    except OSError as error:
        raise PipelineError(
            f"{path} cannot be written ({error.strerror}); make room or choose another root."
        ) from error
