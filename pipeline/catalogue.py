"""`catalogue.parquet`: one row a recording, always rebuildable from the folders."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from pipeline.recording import read_recording, recordings_folder

COLUMNS: dict[str, str] = {
    "id": "string",
    "created_utc": "datetime64[us, UTC]",
    "status": "string",
    "simulated": "boolean",
    "origin": "string",
    "participant": "string",
    "room": "string",
    "actions": "string",
    "waveform": "string",
    "frames": "Int64",
    "seconds": "Float64",
    "bytes": "Int64",
    "missing_bytes": "Int64",
    "problem": "string",
}


def build_catalogue(root: Path) -> pd.DataFrame:
    """Read every recording folder under `root`: one row each, oldest first, with the columns of `COLUMNS`.

    A folder that cannot be read has a row whose `problem` says why, so that nothing on disk goes unlisted.
    """
    folder = recordings_folder(root)
    rows = []
    if folder.is_dir():
        names = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        rows = [_row(path) for path in names]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    return table.sort_values(["created_utc", "id"], ignore_index=True)


def update_catalogue(root: Path) -> pd.DataFrame:
    """Rebuild the catalogue and write it to `<root>/catalogue.parquet` in one atomic step."""
    table = build_catalogue(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        write_atomic(root / "catalogue.parquet", table.to_parquet(index=False))
    except OSError as error:
        raise PipelineError(f"{root / 'catalogue.parquet'} cannot be written: {error.strerror}.") from error
    return table


def _row(folder: Path) -> dict[str, Any]:
    try:
        recording = read_recording(folder)
    except PipelineError as error:
        return {"id": folder.name, "problem": str(error)}
    manifest = recording.manifest
    holes = recording.missing_ranges()
    return {
        "id": manifest.id,
        "created_utc": manifest.created_utc,
        "status": manifest.status,
        "simulated": manifest.simulated,
        "origin": manifest.origin,
        "participant": manifest.participant,
        "room": manifest.room,
        "actions": ", ".join(segment.action for segment in manifest.segments),
        "waveform": manifest.waveform.name,
        "frames": recording.frame_count,
        "seconds": round(recording.frame_count * recording.frame_period_s, 3),
        "bytes": recording.stream_bytes,
        "missing_bytes": None if recording.packets is None else int((holes[:, 1] - holes[:, 0]).sum()),
        "problem": None,
    }
