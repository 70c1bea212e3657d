"""RealSense cameras: colour and depth aligned to it, each with every time stamp that librealsense gives.

Each sensor has a queue of its own, filled by librealsense's thread for that sensor, which stamps a frame the moment it comes;
nothing waits for a partner (rs.syncer would). A depth frame is moved onto colour's pixels by librealsense's own rs.align.
That needs colour's geometry and not its picture, so whichever colour frame came last serves: a depth frame's times are its own.

The same code drives an attached camera, a recording that librealsense plays back, and a simulated one (rs.software_device):
what `find` returns is a librealsense device.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, Literal

import numpy as np

from capture.camera import CameraFrame, CameraSource, Pace
from capture.realsense_library import import_realsense
from capture.realsense_profiles import Chosen, choose_profiles, stream_intrinsics
from pipeline.camera_frames import (
    DOMAIN_GLOBAL_TIME,
    DOMAIN_HARDWARE_CLOCK,
    DOMAIN_NONE,
    DOMAIN_SYSTEM_TIME,
    STREAM_COLOR,
    STREAM_DEPTH,
    CameraDescription,
)
from pipeline.errors import PipelineError
from pipeline.settings import CameraSettings

QUEUE_FRAMES = 90
"""Frames a sensor's queue holds: three seconds at 30 a second, for a disk that pauses."""

_SETTLE_S = 2.0
_STREAM_NAMES = {STREAM_COLOR: "colour", STREAM_DEPTH: "depth"}


class RealSenseCamera(CameraSource):
    """A camera on a librealsense device.

    `find` returns the device, and raises PipelineError where there is none. A played back file (`source="playback"`) waits
    for its reader, so nothing of it is lost, and its frames are handed out at `pace`. `release` is called once it is closed.
    """

    def __init__(
        self,
        find: Callable[[ModuleType], Any],
        settings: CameraSettings,
        *,
        source: Literal["realsense", "playback"] = "realsense",
        simulated: bool = False,
        pace: Pace | None = None,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.live = source == "realsense"
        self._find, self._release, self._settings = find, release, settings
        self._source, self._simulated = source, simulated
        self._pace = pace or Pace(None)
        self._changed = threading.Condition()
        self._queues: dict[int, deque[tuple[int, Any]]] = {}
        self._early: deque[tuple[int, Any]] = deque(maxlen=QUEUE_FRAMES)  # depth that came before any colour
        self._held: CameraFrame | None = None  # read from a file and not due yet
        self._closing = False
        self._stopped, self._latest_s = False, 0.0
        self._overruns = 0
        self._device: Any = None
        self._sensors: list[Any] = []
        self._color_frame: Any = None
        self._description: CameraDescription | None = None

    def open(self) -> CameraDescription:
        """See `CameraSource.open`."""
        rs = import_realsense()
        self._rs = rs
        self._closing, self._color_frame, self._held = False, None, None
        self._early.clear()
        self._device = self._find(rs)
        try:
            color, depth, words = choose_profiles(rs, self._device, self._settings, exact=self.live)
            words = [*words, *self._configure(color, depth)]
            self._description = self._describe(color, depth, words)
            self._unseen = {STREAM_COLOR} | ({STREAM_DEPTH} if depth else set())
            self._queues = {stream: deque() for stream in self._unseen}
            self._make_aligner()
            self._stopped, self._latest_s = False, time.monotonic()
            if not self.live:
                self._device.as_playback().set_status_changed_callback(self._status_changed)
            self._start([color] + ([depth] if depth else []))
        except RuntimeError as error:  # librealsense's own
            self.close()
            raise PipelineError(
                f"The RealSense camera does not start ({error}): close other programs that use it (realsense-viewer), or plug it "
                "in anew."
            ) from error
        except PipelineError:
            self.close()
            raise
        return self._description

    def read(self, timeout_s: float) -> CameraFrame | None:
        """See `CameraSource.read`."""
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            if self._held is None:
                taken = self._take(max(left_s, 0.0))
                if taken is None:
                    return None
                self._held = self._finished(*taken)
                if self._held is None:
                    continue  # depth that has to wait for colour's geometry
            if not self._pace.due(self._held.timestamp_ms / 1000, max(left_s, 0.0)):
                return None
            frame, self._held = self._held, None
            return frame if self.live else _handed_over(frame)

    @property
    def ended(self) -> bool:
        """See `CameraSource.ended`."""
        if self.live or self._held is not None:
            return False
        with self._changed:
            settled = (
                time.monotonic() - self._latest_s > _SETTLE_S
            )  # its last frames may still be on their way to a queue
            return self._stopped and settled and not any(self._queues.values())

    @property
    def description(self) -> CameraDescription:
        """See `CameraSource.description`."""
        if self._description is None:
            raise PipelineError("The camera was not opened.")
        return self._description

    @property
    def overruns(self) -> int:
        """See `CameraSource.overruns`."""
        return self._overruns

    def close(self) -> None:
        """See `CameraSource.close`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for sensor in self._sensors:
            with contextlib.suppress(RuntimeError):  # a camera that is gone cannot be stopped
                sensor.stop()
            with contextlib.suppress(RuntimeError):
                sensor.close()
        self._sensors = []
        self._release()
        with self._changed:
            for queue in self._queues.values():
                queue.clear()
        self._early.clear()
        self._color_frame = self._held = self._device = None

    # --- opening ---

    def _configure(self, color: Chosen, depth: Chosen | None) -> list[str]:
        """Set what must be set; sentences about what could not be."""
        rs = self._rs
        words: list[str] = []
        if not self.live:
            return []
        for chosen in [color] + ([depth] if depth else []):
            if chosen.sensor.supports(rs.option.global_time_enabled):
                chosen.sensor.set_option(rs.option.global_time_enabled, 0)
        if color.sensor.supports(rs.option.auto_exposure_priority):
            color.sensor.set_option(rs.option.auto_exposure_priority, 0)  # or a dim room slows the stream
        mode = self._settings.inter_cam_sync_mode
        if depth is None:
            return words
        if not depth.sensor.supports(rs.option.inter_cam_sync_mode):
            if mode:
                words.append(f"The camera has no inter_cam_sync_mode, so mode {mode} is not set: depth runs freely.")
            return words
        try:
            depth.sensor.set_option(rs.option.inter_cam_sync_mode, mode)
        except RuntimeError as error:
            words.append(f"The camera refuses inter_cam_sync_mode {mode} ({error}): it stays as it was.")
        return words

    def _describe(self, color: Chosen, depth: Chosen | None, words: list[str]) -> CameraDescription:
        rs, device = self._rs, self._device

        def info(name: Any) -> str:
            return str(device.get_info(name)) if device.supports(name) else ""

        usb = info(rs.camera_info.usb_type_descriptor)
        if usb.startswith("2"):
            words.append(
                f"The camera is on a USB {usb} link: rates and sizes are limited and frames get lost; use a USB 3 port and cable."
            )
        intrinsics = stream_intrinsics(rs, color.profile)
        if intrinsics is None:
            words.append(
                "The colour lens has a distortion model that is not Brown-Conrady's: there is no metric scale."
            )
        unit_m, mode = None, None
        if depth is None:
            if self._settings.depth:
                words.append("The camera has no depth: there is no metric scale from depth.")
        else:
            unit_m = round(float(depth.sensor.get_option(rs.option.depth_units)), 9)
            if depth.sensor.supports(rs.option.inter_cam_sync_mode):
                mode = int(depth.sensor.get_option(rs.option.inter_cam_sync_mode))
        return CameraDescription(
            name=info(rs.camera_info.name) or "RealSense",
            serial=info(rs.camera_info.serial_number),
            firmware=info(rs.camera_info.firmware_version),
            usb=usb,
            source=self._source,
            simulated=self._simulated,
            rate_hz=color.profile.fps(),
            color=intrinsics,
            depth_unit_m=unit_m,
            inter_cam_sync_mode=mode,
            degraded=tuple(words),
            privacy=self._settings.privacy,
        )

    def _start(self, chosen: list[Chosen]) -> None:
        """Open and start each sensor once, with all of its streams."""
        by_sensor: dict[str, tuple[Any, list[Any]]] = {}
        for one in chosen:
            name = one.sensor.get_info(self._rs.camera_info.name)
            by_sensor.setdefault(name, (one.sensor, []))[1].append(one.profile)
        for sensor, profiles in by_sensor.values():
            sensor.open(profiles)
            self._sensors.append(sensor)
        playback = None if self.live else self._device.as_playback()
        if playback is not None:
            playback.pause()  # or what is played before the last sensor has started is lost
        for sensor in self._sensors:
            sensor.start(self._arrived)
        if playback is not None:
            playback.resume()

    def _make_aligner(self) -> None:
        """librealsense aligns framesets; this makes one of a depth frame and any colour frame."""
        rs = self._rs
        self._composed = rs.frame_queue(1, keep_frames=True)

        def compose(depth: Any, source: Any) -> None:
            source.frame_ready(source.allocate_composite_frame([depth, self._color_frame]))

        self._composer = rs.processing_block(compose)
        self._composer.start(self._composed)
        self._align = rs.align(rs.stream.color)

    def _status_changed(self, status: Any) -> None:
        """Called by librealsense when a played file begins and ends."""
        with self._changed:
            self._stopped, self._latest_s = status == self._rs.playback_status.stopped, time.monotonic()

    # --- frames ---

    def _arrived(self, frame: Any) -> None:
        """Called by librealsense's thread of a sensor."""
        received_ns = time.monotonic_ns()
        frame.keep()  # or librealsense's pool of frames runs dry while the queue holds them
        stream = STREAM_DEPTH if frame.get_profile().stream_type() == self._rs.stream.depth else STREAM_COLOR
        with self._changed:
            queue = self._queues.get(stream)
            if queue is None:
                return
            if not self.live:  # a file waits for its reader
                self._changed.wait_for(lambda: len(queue) < QUEUE_FRAMES or self._closing)
            if self._closing:
                return
            if len(queue) >= QUEUE_FRAMES:
                self._overruns += 1
                return
            queue.append((received_ns, frame))
            self._latest_s = received_ns / 1e9
            self._changed.notify_all()

    def _take(self, timeout_s: float) -> tuple[int, int, Any] | None:
        """Stream, time and frame of the one that came first of those that wait."""
        if self._early and self._color_frame is not None:
            return (STREAM_DEPTH, *self._early.popleft())
        with self._changed:
            if not self._changed.wait_for(lambda: any(self._queues.values()), timeout_s):
                return None
            stream = min((one for one, queue in self._queues.items() if queue), key=lambda one: self._queues[one][0][0])
            taken = self._queues[stream].popleft()
            self._changed.notify_all()
        return (stream, *taken)

    def _finished(self, stream: int, received_ns: int, frame: Any) -> CameraFrame | None:
        """The frame with picture and times; None for depth before the first colour frame, which is kept."""
        rs = self._rs
        if stream == STREAM_COLOR:
            self._color_frame = frame
            picture = np.asanyarray(frame.get_data()).copy()  # the frame's own memory goes back to librealsense
        elif self._color_frame is None:
            self._early.append((received_ns, frame))
            return None
        else:
            self._composer.invoke(frame)
            aligned = self._align.process(self._composed.wait_for_frame(5000).as_frameset()).get_depth_frame()
            picture = np.asanyarray(aligned.get_data()).copy()
        if stream in self._unseen:
            self._unseen.discard(stream)
            self._look_at_metadata(stream, frame)
        read = rs.frame_metadata_value
        return CameraFrame(
            stream=stream,
            picture=picture,
            received_ns=received_ns,
            timestamp_ms=frame.get_timestamp(),
            domain=_domain(rs, frame.get_frame_timestamp_domain()),
            frame_number=frame.get_frame_number(),
            frame_timestamp_us=_metadata(frame, read.frame_timestamp),
            sensor_timestamp_us=_metadata(frame, read.sensor_timestamp),
            backend_timestamp_ms=_metadata(frame, read.backend_timestamp),
            time_of_arrival_ms=_metadata(frame, read.time_of_arrival),
            exposure_us=_metadata(frame, read.actual_exposure),
        )

    def _look_at_metadata(self, stream: int, frame: Any) -> None:
        if frame.supports_frame_metadata(self._rs.frame_metadata_value.frame_timestamp):
            return
        sentence = (
            f"The {_STREAM_NAMES[stream]} frames carry no metadata: their times are the host's, and frames lost on the way are "
            "not seen in the frame numbers; install librealsense's kernel patch or its RSUSB build."
        )
        self._description = self.description.model_copy(update={"degraded": (*self.description.degraded, sentence)})


def _handed_over(frame: CameraFrame) -> CameraFrame:
    """A file's frame with the time it is handed out as the time it came."""
    return replace(frame, received_ns=time.monotonic_ns())


def _metadata(frame: Any, name: Any) -> int:
    return int(frame.get_frame_metadata(name)) if frame.supports_frame_metadata(name) else -1


def _domain(rs: ModuleType, domain: Any) -> int:
    return {
        rs.timestamp_domain.hardware_clock: DOMAIN_HARDWARE_CLOCK,
        rs.timestamp_domain.system_time: DOMAIN_SYSTEM_TIME,
        rs.timestamp_domain.global_time: DOMAIN_GLOBAL_TIME,
    }.get(domain, DOMAIN_NONE)
