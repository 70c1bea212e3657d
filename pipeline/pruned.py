"""Cubes that retention removed: a note `cubes/<id>.pruned.json` stands in a cube's place and says what it was.

A night makes what is missing, but not what was removed on purpose: it looks for this note. Whoever makes the cube again finds the
configuration in it, and takes the note away.
"""

from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.cube_commit import cubes_folder
from pipeline.cube_config import CubeConfig
from pipeline.files import write_report


class PrunedCube(BaseModel):
    """What a cube was that retention removed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recording: str
    key: str = Field(description="made again by the same version, the cube has it again")
    config: CubeConfig
    bytes: int = Field(ge=0)
    pruned_utc: datetime = Field(default_factory=lambda: datetime.now(UTC))


def pruned_path(root: Path, recording_id: str) -> Path:
    """Where the note lies."""
    return cubes_folder(root) / f"{recording_id}.pruned.json"


def read_pruned(root: Path, recording_id: str) -> PrunedCube | None:
    """The note in place of a cube; None where there is none, or none that this version reads."""
    try:
        return PrunedCube.model_validate_json(pruned_path(root, recording_id).read_bytes())
    except (OSError, ValidationError):
        return None


def note_pruned(root: Path, cube: PrunedCube) -> None:
    """Write the note, durably; PipelineError where the disk does not take it."""
    write_report(pruned_path(root, cube.recording), cube)


def forget_pruned(root: Path, recording_id: str) -> None:
    """The cube is there again."""
    pruned_path(root, recording_id).unlink(missing_ok=True)
