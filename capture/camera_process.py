"""The camera's recorder as a process of its own, so that neither encoding nor the interpreter lock touches the radar.

    python -m capture.camera_process < order.json

reads one `CameraOrder` (a line of JSON), records until standard input closes or SIGTERM comes, and says how it goes as lines of
JSON on standard output. `CameraProcess` is the recorder's end of it. Nothing of a camera's troubles is raised into a session that
runs: they are sentences in `progress` and in the result.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from capture.camera_recording import CameraProgress, CameraRecording, CameraResult
from capture.camera_sources import open_camera
from pipeline.camera_frames import CameraDescription
from pipeline.errors import PipelineError
from pipeline.settings import CameraSettings

STOP_TIMEOUT_S = 30.0


class CameraOrder(BaseModel):
    """What the process is told: where to record what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(description="the recording's; camera files must not be in it yet")
    root: Path = Field(description="data root, which the settings' `path` is taken from")
    settings: CameraSettings
    reserve_bytes: int = Field(0, ge=0, description="disk space left free")
    simulated: dict[str, Any] | None = Field(None, description="fields of simulator.realsense.SimulatedCameraOrder")


class CameraProcess:
    """A camera recorded by a process of its own, into `folder`.

    with CameraProcess(folder, settings) as camera:
        description = camera.start()
        ...  # camera.progress() now and then
        result = camera.stop()

    Leaving the context stops it. `root` defaults to the data root that `folder` lies in.
    """

    def __init__(
        self,
        folder: Path,
        settings: CameraSettings,
        simulated: dict[str, Any] | None = None,
        *,
        root: Path | None = None,
        reserve_bytes: int = 0,
    ) -> None:
        self._order = CameraOrder(
            folder=folder.absolute(),
            root=(root or folder.parent.parent).absolute(),
            settings=settings,
            reserve_bytes=reserve_bytes,
            simulated=simulated,
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None
        self._changed = threading.Condition()
        self._progress = CameraProgress(alive=False)
        self._failure: str | None = None
        self._result: CameraResult | None = None
        self._ended = False

    def __enter__(self) -> "CameraProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Of the process; None before `start`."""
        return self._process.pid if self._process else None

    def start(self, timeout_s: float = 60.0) -> CameraDescription:
        """Start the process and its camera; returns once frames may come. PipelineError says what is wrong with the camera."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "capture.camera_process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._listener = threading.Thread(target=self._listen, name="camera progress", daemon=True)
        self._listener.start()
        with contextlib.suppress(OSError):  # it died at once: said below
            assert self._process.stdin is not None
            self._process.stdin.write(self._order.model_dump_json().encode() + b"\n")
            self._process.stdin.flush()
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._failure or self._progress.description, timeout_s)
            description, failure = self._progress.description, self._failure
        if description is not None:
            return description
        late = f"The camera did not start within {timeout_s:g} s: plug it in anew, or close other programs that use it."
        sentence = failure or ("The camera's process did not start; its words stand above." if self._ended else late)
        self.stop()
        raise PipelineError(sentence)

    def progress(self) -> CameraProgress:
        """The process's newest word. A process that died says so."""
        with self._changed:
            if not self._ended or self._result is not None or self._process is None:
                return self._progress
            died = f"The camera's process died{self._exit_words()}; what it had recorded stays readable, the session goes on."
            return self._progress.model_copy(update={"alive": False, "problem": died})

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> CameraResult:
        """End the recording; its result. Never raises; may be called again, and when nothing was started."""
        process = self._process
        if process is None:
            return CameraResult(ok=False, sentence="The camera was not started.")
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        for end in (process.terminate, process.kill):
            try:
                process.wait(timeout_s)
                break
            except subprocess.TimeoutExpired:
                end()
        process.wait()
        if self._listener is not None:
            self._listener.join(timeout_s)
        if self._result is not None:
            return self._result
        sofar = self._progress
        return CameraResult(
            ok=False,
            sentence=self._failure
            or f"The camera's process died{self._exit_words()}; what it had recorded stays readable.",
            counters={"camera_color_frames": sofar.color_frames, "camera_depth_frames": sofar.depth_frames},
            notes=("The camera's counts are those of its last word, a moment before its process died.",),
            description=sofar.description,
        )

    def _exit_words(self) -> str:
        code = self._process.poll() if self._process else None
        return "" if code is None else f" (exit code {code})"

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    said = json.loads(line)
                    with self._changed:
                        if said["event"] == "failed":
                            self._failure = said["sentence"]
                        elif said["event"] == "progress":
                            self._progress = CameraProgress.model_validate(said["progress"])
                        else:
                            self._result = CameraResult.model_validate(said["result"])
                            self._progress = self._progress.model_copy(update={"alive": False})
                        self._changed.notify_all()
                except (ValueError, KeyError):
                    continue  # a line that a library printed
        self._process.wait()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def main() -> int:
    """Record as ordered on standard input; exit code 0 done, 1 the camera could not be had."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with contextlib.suppress(OSError):  # where that is permitted: frames do not wait for a cube job
        os.nice(-5)
    order = CameraOrder.model_validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_watch_parent, args=(stopping,), name="parent", daemon=True).start()
    try:
        source = open_camera(order.settings, order.root, order.simulated)
        recording = CameraRecording(source, order.folder, order.settings, order.reserve_bytes)
        recording.open()
    except PipelineError as error:
        _say({"event": "failed", "sentence": str(error)})
        return 1
    _tell(recording.progress)
    result = recording.run(stopping.is_set, _tell)
    _say({"event": "result", "result": result.model_dump(mode="json")})
    return 0


def _watch_parent(stopping: threading.Event) -> None:
    """Standard input closes when the recorder says so, and when it dies."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stopping.set()


def _tell(progress: CameraProgress) -> None:
    _say({"event": "progress", "progress": progress.model_dump(mode="json")})


def _say(words: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: the files count
        sys.stdout.write(json.dumps(words) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # librealsense's threads may still run, and must not crash a recording that is closed
