"""`sync.parquet`: which pulse, radar frame, colour frame and depth frame belong together, and how sure that is.

One row a moment, ascending in time. With a trigger board every pulse that the board fired has a row, also one whose line was
lost (its time is known from its neighbours), and so has every radar frame that belongs to none; pulses left out on purpose
have none. Without a board (mode `host`) every radar frame has a row.

| column         | holds                                                                                       |
|----------------|---------------------------------------------------------------------------------------------|
| run            | the board's run number, which changes when it was restarted; -1 where there is no pulse         |
| pulse          | the board's pulse number k, never renumbered; -1 where there is none                          |
| time_ns        | host CLOCK_MONOTONIC of the moment: of the pulse, else of the radar frame's start             |
| radar_frame    | index in adc.bin; -1 where the radar has none                                                 |
| missing_bytes  | bytes lost of that frame; 0 where there is no frame                                           |
| color_frame    | index in color.mkv, the nearest to the frame's middle; -1 where none is near enough           |
| depth_frame    | index among the depth records; -1 as above                                                    |
| radar_offset_s | radar frame's start minus the moment, both on the host's clock, latency taken out; NaN        |
| color_offset_s | colour frame's time minus the radar frame's *middle*; NaN where there is none                 |
| depth_offset_s | the same for depth                                                                            |
| status         | ok, no-radar, no-camera (radar without a picture), ambiguous (not for training)               |

A radar frame looks at a person for as long as its chirps last (40.8 ms in the paper's profile), so what is seen in it is the mean
about its middle: the moment plus half of that time, `middle_offset_s` of the report. Labels and pictures belong there. A frame
of the camera is timed by the middle of its exposure where the camera says it (`sensor_timestamp`), else as it stamps frames.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import PipelineError
from pipeline.parquet import write_parquet

COLUMNS = {
    "run": "int64",
    "pulse": "int64",
    "time_ns": "int64",
    "radar_frame": "int64",
    "missing_bytes": "int64",
    "color_frame": "int64",
    "depth_frame": "int64",
    "radar_offset_s": "float64",
    "color_offset_s": "float64",
    "depth_offset_s": "float64",
    "status": "string",
}


class ClockFit(BaseModel):
    """A device's clock against the host's: host = scale * device + offset, and how far the readings lie from that line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drift_ppm: float = Field(description="how much too fast the device's clock runs against the host's")
    offset_s: float = Field(description="device reading minus host time at the middle of the recording")
    residual_ms: float = Field(description="root mean square distance of the readings used from the line")
    worst_ms: float
    readings: int
    late_ms: float = Field(
        0.0,
        description="times by this line may be so much too late at most: what nobody can see of the shortest latency",
    )


class SyncReport(BaseModel):
    """What the alignment of one session came to; lies in sync.parquet's metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["board", "host"] = Field(description="board: matched by trigger pulses; host: by host time alone")
    verdict: Literal["aligned", "look", "ambiguous", "failed"]
    reasons: tuple[str, ...] = Field((), description="one sentence each: what was found, what is doubtful")
    algorithm_version: str
    radar_pulse_offset: int | None = Field(
        None, description="radar frame 0 belongs to pulse number this; None in mode host"
    )
    other_offsets: tuple[int, ...] = Field(
        (), description="pulse offsets that fit nearly as well, against the one chosen: why a session is ambiguous"
    )
    gap_signature: bool = Field(
        False, description="the gaps the board leaves on purpose were found in the radar's times"
    )
    radar_latency_ms: float | None = Field(
        None, description="from a pulse to its radar frame's start as the host sees both; taken out of radar_offset_s"
    )
    middle_offset_s: float = Field(0.0, description="from a moment to the middle of its radar frame's chirps")
    camera_edges: bool = Field(
        False, description="the board timed the camera's exposures, so camera times have no unknown latency"
    )
    clocks: dict[str, ClockFit] = Field(default_factory=dict, description="by device: board, radar, color, depth")
    counts: dict[str, int] = Field(
        default_factory=dict, description="pulses, radar_frames, ok, ... (docs/alignment.md)"
    )


def write_sync(folder: Path, table: pd.DataFrame, report: SyncReport) -> Path:
    """Write `sync.parquet` into a recording folder in one atomic step."""
    arrow = pa.Table.from_pandas(table.loc[:, list(COLUMNS)].astype(COLUMNS), preserve_index=False)
    arrow = arrow.replace_schema_metadata({b"alignment": report.model_dump_json().encode()})
    path = folder / "sync.parquet"
    write_parquet(path, arrow)
    return path


def read_sync(folder: Path) -> tuple[pd.DataFrame, SyncReport]:
    """The table and report of a recording folder; PipelineError when there is none or it cannot be read."""
    path = folder / "sync.parquet"
    if not path.exists():
        raise PipelineError(
            f"{folder.name} has no sync.parquet: it was recorded without a camera, so nothing is matched."
        )
    try:
        arrow = pq.read_table(path)
        report = SyncReport.model_validate_json((arrow.schema.metadata or {})[b"alignment"])
        return arrow.select(list(COLUMNS)).to_pandas().astype(COLUMNS), report
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise PipelineError(f"{path} is not an alignment table: {error}.") from None


def color_frame_of(table: pd.DataFrame, radar_frames: int) -> np.ndarray:
    """Colour frame of each radar frame of 0..radar_frames-1 by the rows whose status is ok; -1 where there is none."""
    found = np.full(radar_frames, -1, np.int64)
    good = table[(table["status"] == "ok") & table["radar_frame"].between(0, radar_frames - 1)]
    found[good["radar_frame"].to_numpy()] = good["color_frame"].to_numpy()
    return found
