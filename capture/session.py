"""A capture session as others see it: what was asked for, how far it is, and how to stop it.

The recorder is a process of its own (`python -m capture.recorder`), so a session outlives whatever started it. Its folder,
`<root>/sessions/<id>/`, holds `request.json`, `progress.json` (replaced whole, several times a second), `recorder.log`,
`lock` (held by the living recorder), `pid` and, once somebody asks for it, `stop`.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from capture.script import Act, ScriptStep, acts_of
from pipeline.camera_frames import Privacy
from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from pipeline.locks import is_locked
from pipeline.manifest import NAME_PATTERN
from pipeline.recording import new_recording_id
from pipeline.settings import RigSettings, read_rig

AFTER_LAST_ACT_S = 0.5

State = Literal["starting", "arming", "recording", "sealing", "done", "failed"]


class CaptureRequest(BaseModel):
    """What to record. What is left out comes from the rig's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    participant: str | None = Field(None, pattern=NAME_PATTERN, description="who is recorded")
    action: str | None = Field(None, pattern=NAME_PATTERN, description="what the person does")
    seconds: float | None = Field(None, gt=0, le=86_400, description="length; None: the rig's default")
    waveform: str | None = Field(None, description="waveform preset or .cfg in the data root; None: the rig's")
    room: str | None = Field(None, pattern=NAME_PATTERN)
    script: tuple[ScriptStep, ...] = Field((), description="actions one after the other; instead of action and seconds")
    privacy: Privacy | None = Field(None, description="what becomes of the pictures; None: as the rig's settings say")

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "CaptureRequest":
        if self.script and (self.action is not None or self.seconds is not None):
            raise ValueError("a script says which actions and how long; leave action and seconds out")
        return self


class SessionOrder(BaseModel):
    """`request.json`: the request with the rig it was made for, fixed at launch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recording_id: str
    request: CaptureRequest
    rig: RigSettings

    @property
    def settings(self) -> RigSettings:
        """The rig's settings with what the request says otherwise."""
        privacy = self.request.privacy
        if privacy is None:
            return self.rig
        return self.rig.model_copy(update={"camera": self.rig.camera.model_copy(update={"privacy": privacy})})

    @property
    def acts(self) -> tuple[Act, ...]:
        """The script's actions with their times; none without a script."""
        return acts_of(self.request.script)

    @property
    def seconds(self) -> float:
        """How long to record."""
        if self.acts:
            return self.acts[-1].stop_s + AFTER_LAST_ACT_S
        return self.request.seconds or self.rig.seconds


class RecorderProgress(BaseModel):
    """How far a recorder is. `message` is one sentence; on state `failed` it says what went wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recording_id: str
    state: State = "starting"
    message: str = ""
    simulated: bool = False
    seconds: float = 0.0
    seconds_asked: float = 0.0
    frames: int = 0
    frames_asked: int = 0
    packets: int = 0
    stream_bytes: int = 0
    missing_bytes: int = 0
    kernel_drops: int = 0
    pulses: int = 0
    color_frames: int = 0
    depth_frames: int = 0
    cue: str = Field("", description="what the person in front of the radar is told just now")
    warnings: tuple[str, ...] = Field(
        (), description="what is wrong with camera or trigger board, while the radar goes on"
    )
    status: str = Field("", description="the sealed recording's exit status: success | abort")

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed")


def session_folder(root: Path, recording_id: str) -> Path:
    """Where a session's own files lie."""
    return root / "sessions" / recording_id


def recorder_alive(root: Path, recording_id: str) -> bool:
    """Whether a recorder holds the session's lock; a killed one no longer does."""
    return is_locked(session_folder(root, recording_id) / "lock")


@dataclass(frozen=True)
class RecorderHandle:
    """A session that was launched, here or elsewhere."""

    root: Path
    recording_id: str

    @property
    def folder(self) -> Path:
        """The recording's folder."""
        return self.root / "recordings" / self.recording_id

    def progress(self) -> RecorderProgress:
        """The recorder's newest word, `starting` before its first, `failed` when it died without one."""
        path = session_folder(self.root, self.recording_id) / "progress.json"
        alive = recorder_alive(self.root, self.recording_id)  # asked first: a recorder that ends in between has said so
        try:
            progress = RecorderProgress.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):  # the latter: a power cut emptied it, or another version wrote it
            progress = RecorderProgress(recording_id=self.recording_id)
        if progress.ended or alive:
            return progress
        message = (
            f"The recorder of {self.recording_id} died; run `maepose recover {self.recording_id}` to keep what it had."
        )
        return progress.model_copy(update={"state": "failed", "message": message})

    def order(self) -> SessionOrder:
        """What was asked for, and of which rig; PipelineError where that cannot be read (any more)."""
        path = session_folder(self.root, self.recording_id) / "request.json"
        try:
            return SessionOrder.model_validate_json(path.read_bytes())
        except OSError as error:
            raise PipelineError(f"{path} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise PipelineError(f"{path} is not an order this version reads: {where}: {first['msg']}.") from error

    def request_stop(self) -> None:
        """Ask the recorder to stop and seal what it has; returns at once."""
        (session_folder(self.root, self.recording_id) / "stop").touch()

    def wait(self, timeout_s: float | None = None) -> RecorderProgress:
        """The last progress, once the recorder has ended; PipelineError when it still runs after `timeout_s`."""
        begin = time.monotonic()
        while not (progress := self.progress()).ended:
            if timeout_s is not None and time.monotonic() - begin > timeout_s:
                raise PipelineError(
                    f"The recorder of {self.recording_id} has not ended after {timeout_s:g} s; it goes on."
                )
            time.sleep(0.1)
        return progress


def session_known(root: Path, recording_id: str) -> bool:
    """Whether a session of that id was launched here."""
    return (session_folder(root, recording_id) / "request.json").is_file()


def attach(root: Path, recording_id: str) -> RecorderHandle:
    """A handle on a session that was launched before; PipelineError when there is none of that id."""
    if not session_known(root, recording_id):
        raise PipelineError(f"There is no session {recording_id!r} under {root}.")
    return RecorderHandle(root, recording_id)


def launch(root: Path, request: CaptureRequest, rig: RigSettings | None = None) -> RecorderHandle:
    """Start a recorder process, detached from this one, for the rig of `root` (or `rig`); returns once it holds its lock."""
    rig = rig or read_rig(root)
    label = "-".join(part for part in (request.participant, request.action) if part)
    order = SessionOrder(recording_id=new_recording_id(label), request=request, rig=rig)
    folder = session_folder(root, order.recording_id)
    try:
        folder.mkdir(parents=True)
        write_atomic(folder / "request.json", order.model_dump_json(indent=2) + "\n")
        log: IO[bytes] = (folder / "recorder.log").open("wb")
    except OSError as error:
        raise PipelineError(
            f"The data root {root} cannot be written ({error.strerror}); name a writable one with --root or MAEPOSE_ROOT."
        ) from error
    command = [sys.executable, "-m", "capture.recorder", str(root), order.recording_id]
    with log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=os.getcwd()
        )
    handle = RecorderHandle(root, order.recording_id)
    while not recorder_alive(root, order.recording_id) and not (folder / "progress.json").exists():
        if process.poll() is not None:
            last = (folder / "recorder.log").read_text(errors="replace").strip().splitlines()
            raise PipelineError(f"The recorder did not start: {last[-1] if last else 'it said nothing'}.")
        time.sleep(0.02)
    return handle
