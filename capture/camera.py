"""What every source of camera frames is: opened, read frame by frame, closed.

Members: `realsense_camera.RealSenseCamera` (attached, played back from a .bag or .db3, or simulated) and
`video_camera.VideoFile` and `video_camera.Webcam`. `camera_sources.open_camera` makes the one that settings name.
"""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8, UInt16

from pipeline.camera_frames import DOMAIN_NONE, CameraDescription


@dataclass(frozen=True)
class CameraFrame:
    """One frame of one stream, with every time stamp its source gives; -1 stands for one that it does not give.

    Colour is red, green, blue; depth is in counts of the description's `depth_unit_m`, 0 where unknown, aligned to colour.
    """

    stream: int  # pipeline.camera_frames.STREAM_COLOR or STREAM_DEPTH
    picture: UInt8[np.ndarray, "row column 3"] | UInt16[np.ndarray, "row column"]
    received_ns: int  # CLOCK_MONOTONIC when it came
    timestamp_ms: float
    domain: int = DOMAIN_NONE
    frame_number: int = -1
    frame_timestamp_us: int = -1
    sensor_timestamp_us: int = -1
    backend_timestamp_ms: int = -1
    time_of_arrival_ms: int = -1
    exposure_us: int = -1


class CameraSource(ABC):
    """A camera or what stands in for one. Used by one thread."""

    live: bool
    """True where frames come when they like, and where silence therefore means that something is wrong."""

    @abstractmethod
    def open(self) -> CameraDescription:
        """Start the streams. PipelineError says what is missing and what to do; a source may be opened again after `close`."""

    @abstractmethod
    def read(self, timeout_s: float) -> CameraFrame | None:
        """The next frame of either stream, or None when none came in time. PipelineError when the source broke."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """True once a file has been read to its end."""

    @property
    @abstractmethod
    def description(self) -> CameraDescription:
        """What `open` returned, and what the frames since then have shown to be degraded."""

    @property
    @abstractmethod
    def overruns(self) -> int:
        """Frames thrown away because the reader was too slow."""

    @abstractmethod
    def close(self) -> None:
        """Stop the streams; harmless when closed."""


class Pace:
    """Hands out a file's frames when a camera would: `speed` times as fast as they were taken, or at once with None."""

    _LEAP_S = 5.0  # a longer silence, or a step back, is a clock that was set anew: no one waits for that

    def __init__(self, speed: float | None = 1.0) -> None:
        self.speed = speed
        self._anchor: tuple[float, float] | None = None  # seconds: of the file, of CLOCK_MONOTONIC
        self._latest_s = 0.0

    def due(self, taken_s: float, timeout_s: float) -> bool:
        """Wait for the frame taken at `taken_s` of the file's clock; False when it is due later than `timeout_s` from now."""
        if self.speed is None:
            return True
        if self._anchor is None or not -1.0 < taken_s - self._latest_s < self._LEAP_S:
            self._anchor = taken_s, time.monotonic()
        self._latest_s = taken_s
        wait_s = self._anchor[1] + (taken_s - self._anchor[0]) / self.speed - time.monotonic()
        time.sleep(min(max(wait_s, 0.0), timeout_s))
        return wait_s <= timeout_s
