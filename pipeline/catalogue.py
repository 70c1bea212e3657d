"""`catalogue.parquet`: one row a recording, always rebuildable from the folders.

Losses are counted from the packet records, of which a minute of the paper's waveform has 28 MB. So the row of a sealed recording
is taken over for as long as its manifest is the same file: nothing else in it changes. Without the file, all is read anew.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from pipeline.recording import open_folder, recordings_folder

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
    "manifest_ns": "Int64",
}


def build_catalogue(root: Path, known: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every recording folder under `root`: one row each, oldest first, with the columns of `COLUMNS`.

    Rows of an earlier table `known` are taken over for sealed recordings whose manifest was not written since. A folder that
    cannot be read has a row whose `problem` says why, so that nothing on disk goes unlisted.
    """
    folder = recordings_folder(root)
    earlier: dict[Hashable, Mapping[Hashable, Any]] = {}
    if known is not None:
        earlier = {row["id"]: row for row in known.to_dict("records")}
    rows = []
    if folder.is_dir():
        names = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        rows = [_row(path, earlier.get(path.name)) for path in names]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    return table.sort_values(["created_utc", "id"], ignore_index=True)


def update_catalogue(root: Path) -> pd.DataFrame:
    """Bring the catalogue up to date and write it to `<root>/catalogue.parquet` in one atomic step."""
    path = root / "catalogue.parquet"
    table = build_catalogue(root, _known(path))
    try:
        root.mkdir(parents=True, exist_ok=True)
        write_atomic(path, table.to_parquet(index=False))
    except OSError as error:
        raise PipelineError(f"{path} cannot be written: {error.strerror}.") from error
    return table


def _known(path: Path) -> pd.DataFrame | None:
    """The catalogue as it was, or None: there is none, or it is another version's, or no longer a table."""
    try:
        table = pd.read_parquet(path)
        return table.astype(COLUMNS) if list(table.columns) == list(COLUMNS) else None
    except (OSError, ValueError, pa.ArrowException):
        return None


def _row(folder: Path, known: Mapping[Hashable, Any] | None) -> dict[str, Any]:
    path = folder / "recording.json"
    written_ns = path.stat().st_mtime_ns if path.exists() else None
    if known is not None and known["manifest_ns"] is not pd.NA and known["manifest_ns"] == written_ns:
        return {name: known[name] for name in COLUMNS}
    try:
        recording = open_folder(folder)
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
        "manifest_ns": written_ns if recording.sealed else None,
    }
