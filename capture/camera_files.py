"""A camera's way to disk: `color.mkv`, `depth.bin`, and the records that vouch for their frames in `camera.bin`.

Colour is H.264 by x264 (`ultrafast`, CRF 18, a key frame every half second, no B-frames): 3 to 4 ms for a 640 x 480 frame on
one core and 0.3 MB/s, at 39 dB to the simulated camera's noisy pictures (the noise and the halved colour resolution are what
is missing; `veryfast` costs twice that and gains nothing, MJPEG at a similar size reaches 35 dB). Key frames every half second
let a labeller jump to any frame in 15 decodings. Matroska, because what a killed writer leaves of it plays: every frame is a
cluster of its own and goes to the file when the next one comes, so at most the last frame is missing.

A frame's bytes are written before its record, and both are forced to the disk every second.
"""

import errno
import fcntl
import os
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from capture.camera import CameraFrame
from pipeline.camera_frames import CAMERA_RECORD, FLAG_FROZEN, STREAM_COLOR, STREAM_DEPTH
from pipeline.depth_codec import encode_depth
from pipeline.errors import PipelineError

_CODEC, _CODEC_OPTIONS = "libx264", {"preset": "ultrafast", "crf": "18", "tune": "zerolatency"}
_KEY_FRAME_S = 0.5
_FILES = ("color.mkv", "depth.bin", "camera.bin")


@dataclass
class StreamCount:
    """What one stream came to."""

    stored: int = 0
    frozen: int = 0
    frozen_in_a_row: int = 0


class CameraFiles:
    """The camera files of a recording being made. Used by one thread, but for `sync`, which may run beside it.

    `reserve_bytes` stay free on the disk. Raises PipelineError where the files exist or the disk refuses.
    """

    def __init__(self, folder: Path, rate_hz: float, reserve_bytes: int = 0) -> None:
        self.folder = folder
        self._rate_hz, self._reserve_bytes = rate_hz, reserve_bytes
        for name in _FILES:
            if (folder / name).exists():
                raise PipelineError(
                    f"{folder / name} exists: a recording is never written over; choose another recording id."
                )
        self.counts = {STREAM_COLOR: StreamCount(), STREAM_DEPTH: StreamCount()}
        self._latest: dict[int, np.ndarray] = {}
        self._container: Any = None
        self._stream: Any = None
        self._first_ns = self._latest_pts_ms = 0
        self._depth_bytes = 0
        self._depth: int | None = None
        self._color: int | None = None  # for fsync; PyAV writes through a descriptor of its own
        self._records = _create(folder / "camera.bin")
        fcntl.flock(self._records, fcntl.LOCK_EX)  # closed last, or by the process's end: until then nothing is sealed

    def write(self, frame: CameraFrame, flags: int = 0) -> None:
        """Append a frame and its record; marks it where its picture is bit for bit the one before.

        Colour of another size than the first frame's is refused. PipelineError where the disk is full or fails.
        """
        count = self.counts[frame.stream]
        before = self._latest.get(frame.stream)
        if before is not None and before.shape == frame.picture.shape and np.array_equal(before, frame.picture):
            flags |= FLAG_FROZEN
            count.frozen += 1
            count.frozen_in_a_row += 1
        else:
            count.frozen_in_a_row = 0
        self._latest[frame.stream] = frame.picture
        offset, length = -1, 0
        try:
            if frame.stream == STREAM_COLOR:
                length = self._write_color(frame.picture, frame.received_ns)
            else:
                data = encode_depth(frame.picture)
                offset, length = self._depth_bytes, len(data)
                self._write_depth(data)
            record = np.zeros(1, CAMERA_RECORD)
            record["stream"], record["domain"], record["flags"] = frame.stream, frame.domain, flags
            record["index"], record["frame_number"] = count.stored, frame.frame_number
            record["timestamp_ms"], record["received_ns"] = frame.timestamp_ms, frame.received_ns
            record["frame_timestamp_us"], record["sensor_timestamp_us"] = (
                frame.frame_timestamp_us,
                frame.sensor_timestamp_us,
            )
            record["backend_timestamp_ms"] = frame.backend_timestamp_ms
            record["time_of_arrival_ms"] = frame.time_of_arrival_ms
            record["byte_offset"], record["byte_length"] = offset, length
            record["exposure_us"] = frame.exposure_us
            _write(self._records, record.tobytes())
        except OSError as error:
            raise _disk_error(self.folder, error) from error
        count.stored += 1

    def sync(self) -> None:
        """Force what is written onto the disk; PipelineError where only the reserve is left on it."""
        try:
            for handle in (self._color, self._depth, self._records):
                if handle is not None:
                    os.fdatasync(handle)
            disk = os.fstatvfs(self._records)
        except OSError as error:
            raise _disk_error(self.folder, error) from error
        if disk.f_bavail * disk.f_frsize < self._reserve_bytes:
            raise _disk_error(self.folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def close(self) -> None:
        """Finish the video and close all files."""
        import av

        container, self._container = self._container, None
        try:
            if container is not None:
                try:
                    for packet in self._stream.encode():
                        container.mux(packet)
                finally:
                    container.close()
            self.sync()
        except (av.FFmpegError, OSError) as error:
            raise _disk_error(self.folder, error) from error
        finally:
            for handle in (self._color, self._depth, self._records):
                if handle is not None:
                    os.close(handle)
            self._color = self._depth = None

    def _write_color(self, picture: UInt8[np.ndarray, "row column 3"], received_ns: int) -> int:
        """Encode a frame; bytes it took. Its place in the video's time is when it came, so that a player shows gaps."""
        import av

        if self._container is None:
            self._open_video(picture.shape[1], picture.shape[0])
            self._first_ns, self._latest_pts_ms = received_ns, -1
        if picture.shape[:2] != (self._stream.height, self._stream.width):
            raise PipelineError(
                f"The camera changed its picture to {picture.shape[1]} x {picture.shape[0]} pixels while recording; record again."
            )
        image = av.VideoFrame.from_ndarray(picture, format="rgb24")
        self._latest_pts_ms = max(self._latest_pts_ms + 1, (received_ns - self._first_ns) // 1_000_000)
        image.pts, image.time_base = self._latest_pts_ms, Fraction(1, 1000)
        length = 0
        for packet in self._stream.encode(image):
            length += packet.size
            self._container.mux(packet)
        return length

    def _open_video(self, width: int, height: int) -> None:
        import av

        path = self.folder / "color.mkv"
        try:
            self._container = av.open(
                str(path), "w", format="matroska", options={"cluster_time_limit": "1", "flush_packets": "1"}
            )
            self._stream = self._container.add_stream(_CODEC, rate=round(self._rate_hz))
        except ValueError as error:
            raise PipelineError(
                f"This PyAV has no {_CODEC} ({error}): install the one from PyPI, `pip install av`."
            ) from None
        stream = self._stream
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"  # halved colour needs even sizes
        key_frames = max(1, round(self._rate_hz * _KEY_FRAME_S))
        stream.options = {**_CODEC_OPTIONS, "g": str(key_frames), "keyint_min": str(key_frames)}
        stream.codec_context.thread_count = 1  # more would keep frames back and take the radar's core
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        self._container.start_encoding()  # makes the file
        self._color = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def _write_depth(self, data: bytes) -> None:
        if self._depth is None:
            self._depth = _create(self.folder / "depth.bin")
        _write(self._depth, data)
        self._depth_bytes += len(data)


def warm_up() -> None:
    """Load encoder and compressor, which takes most of a second, before a camera is started whose frames would wait for it."""
    with tempfile.TemporaryDirectory() as folder:
        files = CameraFiles(Path(folder), 30.0)
        try:
            for picture in (np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint16)):
                stream = STREAM_COLOR if picture.ndim == 3 else STREAM_DEPTH
                files.write(CameraFrame(stream, picture, received_ns=0, timestamp_ms=0.0))
        finally:
            files.close()


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise PipelineError(f"{path} cannot be made ({error.strerror}): check that the folder is writable.") from error


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _disk_error(folder: Path, error: Exception) -> PipelineError:
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return PipelineError(
            f"The disk of {folder} is full: the camera's recording ends there; free space and record again."
        )
    return PipelineError(f"The camera's files in {folder} cannot be written ({error}): check the disk.")
