"""Cameras without depth: a plain video file, and a webcam of this machine. Both through PyAV, so that a lab can start.

Neither knows its geometry, so nothing recorded with them has a metric scale from the camera.
"""

import contextlib
import queue
import threading
import time
from pathlib import Path
from typing import Any, Literal

from capture.camera import CameraFrame, CameraSource, Pace
from pipeline.camera_frames import DOMAIN_NONE, DOMAIN_SYSTEM_TIME, STREAM_COLOR, CameraDescription
from pipeline.errors import PipelineError
from pipeline.settings import CameraSettings

_QUEUE_FRAMES = 90
_NO_GEOMETRY = "It does not know its lens and has no depth: there is no metric scale from the camera."


class VideoFile(CameraSource):
    """Reads a video file, its frames handed out at `pace`, timed by the file's own stamps.

    A file without time stamps (a bare H.264 stream) is taken as evenly spaced, which its description says.
    """

    live = False

    def __init__(self, path: Path, settings: CameraSettings, pace: Pace | None = None) -> None:
        self._path, self._settings = path, settings
        self._pace = pace or Pace(None)
        self._container: Any = None
        self._frames: Any = iter(())
        self._held: tuple[Any, float] | None = None
        self._count = 0
        self._ended = False
        self._description: CameraDescription | None = None

    def open(self) -> CameraDescription:
        """See `CameraSource.open`."""
        import av

        if not self._path.is_file():
            raise PipelineError(f"There is no video {self._path}; correct the camera's `path`.")
        try:
            self._container = av.open(str(self._path))
        except (av.FFmpegError, OSError) as error:
            raise PipelineError(f"{self._path} cannot be read as a video: {error}.") from None
        if not self._container.streams.video:
            self.close()
            raise PipelineError(f"{self._path} holds no video.")
        stream = self._container.streams.video[0]
        stream.codec_context.thread_count = 1
        rate = stream.average_rate or stream.guessed_rate
        self._frames, self._count, self._ended = self._container.decode(video=0), 0, False
        self._description = CameraDescription(
            name=self._path.name,
            source="video",
            rate_hz=float(rate) if rate else float(self._settings.rate_hz),
            degraded=(_NO_GEOMETRY,),
            privacy=self._settings.privacy,
        )
        return self._description

    def read(self, timeout_s: float) -> CameraFrame | None:
        """See `CameraSource.read`."""
        if self._held is None:
            self._held = self._decode()
            if self._held is None:
                return None
        frame, taken_s = self._held
        if not self._pace.due(taken_s, timeout_s):
            return None
        received_ns = time.monotonic_ns()
        self._held = None
        return CameraFrame(
            stream=STREAM_COLOR,
            picture=frame.to_ndarray(format="rgb24"),
            received_ns=received_ns,
            timestamp_ms=taken_s * 1000,
            domain=DOMAIN_NONE,
            frame_number=self._count,
        )

    def _decode(self) -> tuple[Any, float] | None:
        """The next frame and when it was taken, seconds of the file's clock."""
        import av

        try:
            frame = next(self._frames, None)
        except (av.FFmpegError, OSError) as error:
            self._ended = True
            self._add(f"The video breaks off after {self._count} frames: {error}.")
            return None
        if frame is None:
            self._ended = True
            return None
        if self._count == 0 and frame.rotation:
            self._add(
                f"The video asks to be shown turned by {frame.rotation} degrees and is recorded as it is: turn it first."
            )
        taken_s = frame.time
        if taken_s is None:
            if self._count == 0:
                self._add(
                    f"The video has no time stamps: its frames are taken as evenly spaced, {self.description.rate_hz:g} a second."
                )
            taken_s = self._count / self.description.rate_hz
        self._count += 1
        return frame, float(taken_s)

    def _add(self, sentence: str) -> None:
        self._description = self.description.model_copy(update={"degraded": (*self.description.degraded, sentence)})

    @property
    def ended(self) -> bool:
        """See `CameraSource.ended`."""
        return self._ended

    @property
    def description(self) -> CameraDescription:
        """See `CameraSource.description`."""
        if self._description is None:
            raise PipelineError("The video was not opened.")
        return self._description

    @property
    def overruns(self) -> int:
        """See `CameraSource.overruns`."""
        return 0  # a file waits for its reader

    def close(self) -> None:
        """See `CameraSource.close`."""
        if self._container is not None:
            self._container.close()
        self._container, self._frames, self._held = None, iter(()), None


class Webcam(CameraSource):
    """A camera on a Video4Linux device: frames timed by the driver's stamps, read by a thread of its own."""

    live = True

    def __init__(self, device: str, settings: CameraSettings, form: Literal["v4l2", "lavfi"] = "v4l2") -> None:
        self._device, self._settings, self._form = device, settings, form
        self._frames: queue.Queue[CameraFrame | None] = queue.Queue(_QUEUE_FRAMES)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: str | None = None
        self._overruns = 0
        self._description: CameraDescription | None = None

    def open(self) -> CameraDescription:
        """See `CameraSource.open`."""
        import av

        asked = self._settings
        options = {"video_size": f"{asked.width}x{asked.height}", "framerate": str(asked.rate_hz)}
        if self._form == "v4l2" and not Path(self._device).exists():
            raise PipelineError(
                f"There is no webcam {self._device}; plug it in, or correct the camera's `path` in rig.toml."
            )
        try:
            container = av.open(
                self._device, format=self._form, options=options if self._form == "v4l2" else {}, timeout=5.0
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise PipelineError(
                f"The webcam {self._device} does not open ({error}): close other programs that use it, check that you may read "
                "it (group video), and that this system is Linux."
            ) from None
        stream = container.streams.video[0]
        rate = float(stream.average_rate or asked.rate_hz)
        words = [_NO_GEOMETRY]
        if (stream.width, stream.height) != (asked.width, asked.height):
            words.append(
                f"The webcam delivers {stream.width} x {stream.height} pixels, not {asked.width} x {asked.height}."
            )
        if rate < asked.rate_hz:
            words.append(f"The webcam offers {rate:g} frames a second, not {asked.rate_hz}.")
        self._description = CameraDescription(
            name=self._device, source="webcam", rate_hz=rate, degraded=tuple(words), privacy=asked.privacy
        )
        self._stopping.clear()
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(container,), name="webcam", daemon=True)
        self._thread.start()
        return self._description

    def read(self, timeout_s: float) -> CameraFrame | None:
        """See `CameraSource.read`."""
        frame = None
        with contextlib.suppress(queue.Empty):
            frame = self._frames.get(timeout=timeout_s)
        if frame is None and self._error is not None and self._frames.empty():
            raise PipelineError(f"The webcam {self._device} sends no more ({self._error}).")
        return frame

    def _run(self, container: Any) -> None:
        import av

        count = 0
        try:
            for frame in container.decode(video=0):
                received_ns = time.monotonic_ns()
                if self._stopping.is_set():
                    break
                count += 1
                taken_s = frame.time
                made = CameraFrame(
                    stream=STREAM_COLOR,
                    picture=frame.to_ndarray(format="rgb24"),
                    received_ns=received_ns,
                    timestamp_ms=received_ns / 1e6 if taken_s is None else taken_s * 1000,
                    domain=DOMAIN_SYSTEM_TIME,
                    frame_number=count,
                )
                try:
                    self._frames.put_nowait(made)
                except queue.Full:
                    self._overruns += 1
            else:
                self._error = "its stream ended"
        except (av.FFmpegError, OSError) as error:
            self._error = str(error)
        finally:
            container.close()
            with contextlib.suppress(queue.Full):  # wakes a reader that waits
                self._frames.put_nowait(None)

    @property
    def ended(self) -> bool:
        """See `CameraSource.ended`."""
        return False

    @property
    def description(self) -> CameraDescription:
        """See `CameraSource.description`."""
        if self._description is None:
            raise PipelineError("The webcam was not opened.")
        return self._description

    @property
    def overruns(self) -> int:
        """See `CameraSource.overruns`."""
        return self._overruns

    def close(self) -> None:
        """See `CameraSource.close`."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(10.0)
            self._thread = None
        with contextlib.suppress(queue.Empty):
            while True:
                self._frames.get_nowait()
