"""Recording a camera: frames to disk, gaps counted, a camera that is lost looked for, and what a person should know of it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from capture.camera import CameraFrame, CameraSource
from capture.camera_faces import FaceBlur, FaceDetector, face_model
from capture.camera_files import CameraFiles, warm_up
from pipeline.camera_frames import (
    DOMAIN_HARDWARE_CLOCK,
    FLAG_REOPENED,
    STREAM_COLOR,
    STREAM_DEPTH,
    CameraDescription,
)
from pipeline.errors import PipelineError
from pipeline.settings import CameraSettings

SILENCE_S = 2.0
"""Live colour that is silent for so long is lost."""
FIRST_FRAME_S = 10.0
DEPTH_SILENCE_S = 3.0
FROZEN_S = 1.0
REOPEN_EVERY_S, REOPEN_TRIES = 2.0, 30
_TELL_EVERY_S, _SYNC_EVERY_S = 0.25, 1.0
_NAMES = {STREAM_COLOR: "color", STREAM_DEPTH: "depth"}
_WORDS = {STREAM_COLOR: "colour", STREAM_DEPTH: "depth"}


class CameraProgress(BaseModel):
    """How far a camera's recording is. `problem` is one sentence, empty while all is well."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alive: bool = True
    color_frames: int = 0
    depth_frames: int = 0
    color_gaps: int = Field(0, description="frames that the camera counted and that never came")
    depth_gaps: int = 0
    frozen: int = Field(0, description="frames whose picture is bit for bit the one before")
    reopened: int = 0
    message: str = ""
    problem: str = ""
    description: CameraDescription | None = None


class CameraResult(BaseModel):
    """How a camera's recording ended. Its files are whole and readable, whatever `ok` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: bool
    sentence: str
    counters: dict[str, int] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    description: CameraDescription | None = None


@dataclass
class _Stream:
    """What is known of one stream while it comes."""

    gaps: int = 0
    lost_frames: int = 0  # while the camera was away, by time
    last_number: int = -1
    last_s: float | None = None  # CLOCK_MONOTONIC
    first: CameraFrame | None = None  # since it was opened
    last: CameraFrame | None = None
    slowest_hz: float | None = None
    reopened: bool = False

    def take(self, frame: CameraFrame, rate_hz: float) -> int:
        """Account for a frame; its flags."""
        flags = 0
        if self.reopened:
            flags, self.reopened = FLAG_REOPENED, False
            if self.last_s is not None:
                self.lost_frames += max(0, round((frame.received_ns / 1e9 - self.last_s) * rate_hz) - 1)
            self.first = frame
        elif frame.frame_number > self.last_number >= 0:
            self.gaps += frame.frame_number - self.last_number - 1
        self.first = self.first or frame
        self.last, self.last_number, self.last_s = frame, frame.frame_number, frame.received_ns / 1e9
        return flags

    def lost(self) -> None:
        """The camera went away."""
        self._keep_rate()
        self.reopened, self.last_number = True, -1

    def rate_hz(self) -> float | None:
        """The camera's own slowest rate over some seconds at least; None where it cannot be told."""
        self._keep_rate()
        return self.slowest_hz

    def _keep_rate(self) -> None:
        first, last = self.first, self.last
        if first is None or last is None or last.domain != DOMAIN_HARDWARE_CLOCK:
            return
        seconds = (last.timestamp_ms - first.timestamp_ms) / 1000
        if seconds > 2.0 and last.frame_number > first.frame_number:
            rate = (last.frame_number - first.frame_number) / seconds
            self.slowest_hz = min(rate, self.slowest_hz or rate)


@dataclass
class CameraRecording:
    """One camera recorded into one folder: `open`, then `run` until it is told to stop, in one thread."""

    source: CameraSource
    folder: Path
    settings: CameraSettings
    reserve_bytes: int = 0
    progress: CameraProgress = field(default_factory=CameraProgress, init=False)

    def open(self) -> CameraDescription:
        """Start the camera; PipelineError when it cannot be had or its privacy cannot be kept."""
        self._blur: FaceBlur[tuple[CameraFrame, int]] | None = None
        if self.settings.privacy == "faces-blurred":
            self._blur = FaceBlur(FaceDetector(face_model()))
        warm_up()
        description = self.source.open()
        self._files = CameraFiles(self.folder, description.rate_hz, self.reserve_bytes)
        self._streams = {STREAM_COLOR: _Stream(), STREAM_DEPTH: _Stream()}
        self._opened_s = time.monotonic()
        self._begin_s = self._opened_s
        self._notes: dict[str, None] = {}
        self._reopened = self._tries = 0
        self._next_try_s: float | None = None  # None: the camera is there
        self._gone_for_good = False
        self._sync_error: PipelineError | None = None
        self.progress = self.progress.model_copy(update={"description": description})
        return description

    def run(self, stop: Callable[[], bool], tell: Callable[[CameraProgress], None]) -> CameraResult:
        """Record until `stop`, the end of a file, or a disk that takes no more; closes everything."""
        failure: PipelineError | None = None
        next_tell_s = next_sync_s = time.monotonic()
        syncing: threading.Thread | None = None
        try:
            while not stop() and not self.source.ended:
                self._step()
                now = time.monotonic()
                if now >= next_sync_s and (syncing is None or not syncing.is_alive()):
                    if self._sync_error is not None:
                        raise self._sync_error
                    next_sync_s = now + _SYNC_EVERY_S
                    syncing = threading.Thread(target=self._sync, name="camera sync")  # a slow disk holds up no frame
                    syncing.start()
                if now >= next_tell_s:
                    next_tell_s = now + _TELL_EVERY_S
                    self._look(now)
                    tell(self.progress)
        except PipelineError as error:
            failure = error
        if syncing is not None:
            syncing.join()
        return self._end(failure)

    def _sync(self) -> None:
        try:
            self._files.sync()
        except PipelineError as error:
            self._sync_error = error

    def _step(self) -> None:
        """Wait for a frame and store it, or look for a camera that is lost."""
        if self._next_try_s is not None:
            self._try_again()
            return
        try:
            frame = self.source.read(0.1)
        except PipelineError as error:
            self._lose(str(error))
            return
        if frame is not None:
            self._store(frame)
        elif self.source.live:
            last_s = self._streams[STREAM_COLOR].last_s
            since_s = max(last_s or 0.0, self._opened_s)
            silent_s = time.monotonic() - since_s
            if silent_s > (SILENCE_S if last_s is not None and last_s > self._opened_s else FIRST_FRAME_S):
                self._lose(f"The camera sent nothing for {silent_s:.0f} s")

    def _store(self, frame: CameraFrame) -> None:
        flags = self._streams[frame.stream].take(frame, self.source.description.rate_hz)
        if self._blur is None or frame.stream == STREAM_DEPTH:
            self._files.write(frame, flags)
            return
        for picture, (owner, its_flags) in self._blur.push(frame.picture, (frame, flags)):
            self._files.write(replace(owner, picture=picture), its_flags)

    # --- a camera that is lost ---

    def _lose(self, why: str) -> None:
        """Close the camera and begin to look for it."""
        self._note(f"{why.rstrip('.')} from second {time.monotonic() - self._begin_s:.1f} of its recording on.")
        for stream in self._streams.values():
            stream.lost()
        self.source.close()
        self._tries, self._next_try_s = 0, time.monotonic()

    def _try_again(self) -> None:
        now = time.monotonic()
        if self._gone_for_good or now < (self._next_try_s or 0.0):
            time.sleep(0.05)
            return
        self._tries += 1
        self._next_try_s = now + REOPEN_EVERY_S
        try:
            description = self.source.open()
        except PipelineError as error:
            self._set(problem=f"The camera is gone, try {self._tries} of {REOPEN_TRIES} to find it: {error}")
            if self._tries >= REOPEN_TRIES:
                self._gone_for_good = True
                self._note(f"The camera did not come back in {REOPEN_TRIES} tries: the session went on without it.")
            return
        self._reopened += 1
        self._opened_s, self._next_try_s = time.monotonic(), None
        self._note(f"The camera was opened anew at second {self._opened_s - self._begin_s:.1f} of its recording.")
        self._set(problem="", description=description)

    # --- what a person should know ---

    def _note(self, sentence: str) -> None:
        self._notes[sentence] = None

    def _set(self, **changes: object) -> None:
        self.progress = self.progress.model_copy(update=changes)

    def _look(self, now: float) -> None:
        """Bring the progress up to date, and say what is wrong."""
        color, depth = self._streams[STREAM_COLOR], self._streams[STREAM_DEPTH]
        counts = self._files.counts
        self._set(
            color_frames=counts[STREAM_COLOR].stored,
            depth_frames=counts[STREAM_DEPTH].stored,
            color_gaps=color.gaps + color.lost_frames,
            depth_gaps=depth.gaps + depth.lost_frames,
            frozen=counts[STREAM_COLOR].frozen + counts[STREAM_DEPTH].frozen,
            reopened=self._reopened,
        )
        if self._next_try_s is not None:
            return
        description = self.source.description
        self._set(
            problem=" ".join(self._problems(now, description)),
            message=f"{self.progress.color_frames} colour and {self.progress.depth_frames} depth frames.",
            description=description,
        )

    def _problems(self, now: float, description: CameraDescription) -> list[str]:
        """What is wrong just now with a camera that is there."""
        color, depth = self._streams[STREAM_COLOR], self._streams[STREAM_DEPTH]
        said = []
        if self.source.live and color.last_s is None and now - self._opened_s > DEPTH_SILENCE_S:
            said.append("The camera is open and sends no picture yet.")
        still_s = max(count.frozen_in_a_row for count in self._files.counts.values()) / description.rate_hz
        if still_s > FROZEN_S:
            said.append(
                f"The camera's picture has not changed for {still_s:.0f} s: it is frozen; plug the camera in anew."
            )
        waited_s = now - max(depth.last_s or 0.0, self._opened_s)
        if description.depth_unit_m is not None and color.last_s and self.source.live and waited_s > DEPTH_SILENCE_S:
            said.append(
                "Colour comes and depth does not: labels get no metric scale from depth; plug the camera in anew."
            )
        return said

    def _end(self, failure: PipelineError | None) -> CameraResult:
        """Close everything; what it came to."""
        self._look(time.monotonic())
        try:
            if self._blur is not None and failure is None:
                for picture, (owner, flags) in self._blur.flush():
                    self._files.write(replace(owner, picture=picture), flags)
        except PipelineError as error:
            failure = error
        description, overruns = self.source.description, self.source.overruns
        self.source.close()
        try:
            self._files.close()
        except PipelineError as error:
            failure = failure or error
        counters: dict[str, int] = {}
        for number, name in _NAMES.items():
            stream, count = self._streams[number], self._files.counts[number]
            counters[f"camera_{name}_frames"] = count.stored
            counters[f"camera_{name}_gaps"] = stream.gaps
            counters[f"camera_{name}_lost_away"] = stream.lost_frames
            counters[f"camera_{name}_frozen"] = count.frozen
        counters |= {"camera_overruns": overruns, "camera_reopened": self._reopened}
        if self._blur is not None:
            counters["camera_pictures_with_faces"] = self._blur.faces
        for sentence in self._findings(description, counters):
            self._note(sentence)
        stored = counters["camera_color_frames"]
        if failure is not None:
            sentence = str(failure)
        elif not stored:
            sentence = (
                "The camera sent no picture; its files are empty. Check its cable and that no other program uses it."
            )
        else:
            sentence = f"{stored} colour and {counters['camera_depth_frames']} depth frames were recorded."
        return CameraResult(
            ok=failure is None and stored > 0,
            sentence=sentence,
            counters=counters,
            notes=tuple(self._notes),
            description=description,
        )

    def _findings(self, description: CameraDescription, counters: dict[str, int]) -> list[str]:
        """Sentences about what the whole recording shows."""
        found = []
        for number, name in _NAMES.items():
            words, stream = _WORDS[number], self._streams[number]
            if gaps := counters[f"camera_{name}_gaps"]:
                found.append(f"{gaps} {words} frames that the camera counted never came.")
            if frozen := counters[f"camera_{name}_frozen"]:
                found.append(f"{frozen} {words} frames are bit for bit the one before (frozen).")
            rate = stream.rate_hz()
            if rate is not None and rate < 0.9 * self.settings.rate_hz:
                found.append(
                    f"The camera took {rate:.1f} {words} frames a second, not {self.settings.rate_hz}: too little light, or a "
                    "slow USB link."
                )
        if counters["camera_overruns"]:
            found.append(
                f"{counters['camera_overruns']} frames were thrown away because this machine was too slow for them."
            )
        if self.settings.depth and description.depth_unit_m is not None and not counters["camera_depth_frames"]:
            found.append("The camera sent no depth, though it has it: there is no metric scale from depth.")
        return found
