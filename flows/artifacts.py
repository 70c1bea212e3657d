"""What a flow run shows in the Prefect UI: pictures inline, tables, and the word "simulated" wherever it is true."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from pipeline.recording import Recording
from pipeline.sync import read_sync

SIMULATED_NOTE = "**Simulated**: no physical radar was involved."


class ProgressBar:
    """A progress artifact. Showing progress must never end a capture, so trouble with the server is said once and let pass."""

    def __init__(self, key: str, description: str, warn: Any) -> None:
        self._warn = warn
        self._shown = -1.0
        self._id: UUID | None = None
        try:
            self._id = create_progress_artifact(progress=0.0, key=key, description=description)  # type: ignore[assignment]
        except Exception as error:
            self._give_up(error)

    def show(self, percent: float) -> None:
        """Move the bar to `percent`, 0 to 100."""
        percent = round(min(max(percent, 0.0), 100.0), 1)
        if self._id is None or percent == self._shown:
            return
        try:
            update_progress_artifact(artifact_id=self._id, progress=percent)
            self._shown = percent
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._id = None
        self._warn(f"Progress is no longer shown: the Prefect server does not take it ({error}).")


def picture(path: Path, title: str) -> str:
    """Markdown that shows a PNG file; it travels inside the artifact, because a browser cannot reach the file."""
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"![{title}](data:image/png;base64,{encoded})"


def markdown_table(rows: Mapping[str, Any]) -> str:
    """A two-column markdown table."""
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def recording_rows(recording: Recording) -> dict[str, Any]:
    """What a person wants to know of a recording first."""
    manifest, waveform = recording.manifest, recording.waveform
    holes = recording.missing_ranges()
    return {
        "recording": recording.id,
        "simulated": manifest.simulated,
        "status": manifest.status + (f": {manifest.reason}" if manifest.reason else ""),
        "participant": manifest.participant or "",
        "action": ", ".join(segment.action for segment in manifest.segments),
        "waveform": waveform.name,
        "frames": recording.frame_count,
        "seconds": round(recording.frame_count * recording.frame_period_s, 2),
        "packets": "unknown" if recording.packets is None else len(recording.packets),
        "lost bytes": "unknown" if recording.packets is None else int((holes[:, 1] - holes[:, 0]).sum()),
        **_companions(recording),
        "folder": str(recording.folder),
    }


def _companions(recording: Recording) -> dict[str, Any]:
    """Pulses, pictures and how well they were matched, of a recording that has them."""
    count = recording.manifest.counters
    rows: dict[str, Any] = {}
    if "trigger_pulses" in count:
        rows["pulses"] = f"{count['trigger_pulses']}, lines lost {count['trigger_pulses_missing']}"
    for name in ("color", "depth"):
        if f"camera_{name}_frames" in count:
            rows[f"{name} pictures"] = f"{count[f'camera_{name}_frames']}, never came {count[f'camera_{name}_gaps']}"
    if (recording.folder / "sync.parquet").exists():
        report = read_sync(recording.folder)[1]
        rows["alignment"] = " ".join([f"{report.verdict}, by {report.mode}.", *report.reasons])
    return rows


def show_table(key: str, rows: Mapping[str, Any], description: str) -> None:
    """Store one name-value table of the current run."""
    plain = (bool, int, float, str)
    table = [{"what": name, "value": value if isinstance(value, plain) else str(value)} for name, value in rows.items()]
    create_table_artifact(key=key, table=table, description=description)


def show_markdown(key: str, title: str, *parts: str, simulated: bool, description: str) -> None:
    """Store one markdown artifact of the current run."""
    body = [f"# {title}", *([SIMULATED_NOTE] if simulated else []), *parts]
    create_markdown_artifact(key=key, markdown="\n\n".join(body) + "\n", description=description)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
