"""A recording's camera files: `color.mkv`, `depth.bin`, and `camera.bin` with one fixed-size record a frame of either.

    color.mkv    the colour frames that were stored, in order; frame `index` of it belongs to the colour record `index`
    depth.bin    losslessly compressed depth frames end to end; a depth record says where its frame lies
    camera.bin   one `CAMERA_RECORD` a frame, in order of arrival

A frame is whole when its record is: the record is written after the frame's own bytes are. `CameraDescription`, in the
manifest, says which camera it was and how it maps the room to pixels.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped
from pydantic import BaseModel, ConfigDict, Field

CAMERA_RECORD = np.dtype(
    [
        ("stream", "u1"),  # STREAM_COLOR or STREAM_DEPTH
        ("domain", "u1"),  # of timestamp_ms: one of the DOMAIN_ numbers, librealsense's rs2_timestamp_domain
        ("flags", "<u2"),
        ("index", "<u4"),  # place among the stored frames of this stream
        ("frame_number", "<i8"),  # the camera's own count, with its gaps; -1 where the source has none
        ("timestamp_ms", "<f8"),  # frame.get_timestamp()
        ("frame_timestamp_us", "<i8"),  # metadata; -1 where absent, as for the three that follow
        ("sensor_timestamp_us", "<i8"),
        ("backend_timestamp_ms", "<i8"),
        ("time_of_arrival_ms", "<i8"),
        ("received_ns", "<i8"),  # CLOCK_MONOTONIC when the driver handed the frame over
        ("byte_offset", "<i8"),  # in depth.bin; -1 for colour
        ("byte_length", "<i4"),
        ("exposure_us", "<i4"),  # -1 where unknown
    ]
)
STREAM_COLOR, STREAM_DEPTH = 0, 1
DOMAIN_HARDWARE_CLOCK, DOMAIN_SYSTEM_TIME, DOMAIN_GLOBAL_TIME, DOMAIN_NONE = 0, 1, 2, 255
FLAG_FROZEN = 1  # the picture is bit for bit the one before
FLAG_REOPENED = 2  # first frame after the camera was lost and opened anew: its clock and its count may have begun again
assert CAMERA_RECORD.itemsize == 80

Privacy = Literal["keep", "faces-blurred", "skeleton-only"]


class StreamIntrinsics(BaseModel):
    """How a stream maps the room to pixels: a pinhole with Brown-Conrady distortion (k1, k2, p1, p2, k3), as librealsense.

    A pixel's centre has whole coordinates, column u from the left and row v from the top.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    fx: float = Field(gt=0)
    fy: float = Field(gt=0)
    cx: float
    cy: float
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)


class CameraDescription(BaseModel):
    """Which camera recorded, in which state, and its geometry. Depth is aligned to colour before it is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="as the device calls itself, or the file or webcam it was read from")
    serial: str = ""
    firmware: str = ""
    usb: str = Field("", description="the link, for example 3.2; empty where there is none")
    source: Literal["realsense", "playback", "video", "webcam"]
    simulated: bool = False
    rate_hz: float = Field(gt=0, description="nominal frames a second")
    color: StreamIntrinsics | None = Field(None, description="None where the source does not know its geometry")
    depth_unit_m: float | None = Field(None, gt=0, description="metres a depth count; None: no depth")
    inter_cam_sync_mode: int | None = None
    degraded: tuple[str, ...] = Field((), description="what is less than it should be, one sentence each")
    privacy: Privacy = "keep"


def read_camera_records(folder: Path) -> Shaped[np.ndarray, " record"] | None:
    """Whole `CAMERA_RECORD`s of a recording folder's camera.bin, in order of arrival; None where no camera was recorded."""
    path = folder / "camera.bin"
    if not path.exists():
        return None
    return np.fromfile(path, CAMERA_RECORD, count=path.stat().st_size // CAMERA_RECORD.itemsize)
