"""`recording.json`: who, what, when, with which rig and settings, and how it ended."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.camera_frames import CameraDescription
from pipeline.waveform import Waveform

Status = Literal["recording", "success", "abort", "recovered"]
NAME_PATTERN = r"^[\w .,()+-]{1,80}$"
"""Of people, actions and rooms as they are recorded or imported; manifests of earlier versions may hold others."""
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class Segment(BaseModel):
    """One action, from `start_frame` up to and without `stop_frame` (None: to the end)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: str
    start_frame: int = Field(0, ge=0)
    stop_frame: int | None = Field(None, ge=0)


class FileDigest(BaseModel):
    """A sealed file's size and SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int


class RecordingManifest(BaseModel):
    """Everything `recording.json` holds. `clocks` maps a clock's name to what is known of it, in nanoseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    id: str = Field(pattern=ID_PATTERN)
    created_utc: datetime = Field(default_factory=lambda: datetime.now(UTC))
    status: Status = "recording"
    reason: str = Field("", description="why it ended as it did, one sentence")
    origin: str = Field("capture", description="capture, or what it was imported from")
    simulated: bool = Field(description="True when no physical radar was involved")
    participant: str | None = None
    others: tuple[str, ...] = Field((), description="further people in view, bystanders")
    mixed_from: tuple[str, ...] = Field(
        (), description="recordings whose samples were summed: participant's, bystander's"
    )
    room: str | None = None
    segments: tuple[Segment, ...] = ()
    waveform: Waveform
    pulse_rate_hz: float | None = Field(None, gt=0, description="of the trigger board; None: the radar's own clock")
    camera: CameraDescription | None = Field(None, description="None: recorded without a camera")
    rig: dict[str, Any] = Field(default_factory=dict)
    clocks: dict[str, Any] = Field(default_factory=dict)
    counters: dict[str, int | float] = Field(default_factory=dict, description="the receiver's counts at the end")
    digests: dict[str, FileDigest] = Field(default_factory=dict, description="every file but this one, once sealed")
    removed: dict[str, FileDigest] = Field(
        default_factory=dict, description="files that were sealed and then deleted on purpose; the notes say why"
    )
    sources: tuple[str, ...] = Field((), description="original files kept under source/")
    notes: tuple[str, ...] = Field((), description="what a reader must know, one sentence each")
