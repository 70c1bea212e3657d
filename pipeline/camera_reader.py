"""Pictures of a recording: colour frames out of `color.mkv`, depth out of `depth.bin`.

    with ColorReader(folder) as color:
        for index, picture in color.frames([0, 3, 4]):
            ...
    depth = read_depth(folder, record)

A recorder that was killed leaves a video without an index and perhaps a record more than there are frames: what counts is
what is really there.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16

from pipeline.camera_frames import CAMERA_RECORD, STREAM_COLOR, STREAM_DEPTH, read_camera_records
from pipeline.depth_codec import decode_depth
from pipeline.errors import PipelineError
from pipeline.manifest import RecordingManifest

_LEAST_BYTES = 512  # less is a part of the video's header
_STEP_ON_FRAMES = 60  # decoding so many frames takes less time than a seek


class ColorReader:
    """Colour frames of a recording folder by their index, first 0: RGB, `uint8[row column 3]`, row 0 at the top.

    `len` counts the frames that are whole *and* have a record (all that are whole, where there is no camera.bin). Asking
    for indices that rise is fast; one that is behind or far ahead costs a seek to the key frame before it.

    Raises PipelineError when the file is absent, was removed for privacy, or is no video.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = _present(folder, "color.mkv")
        self._pts, self._keys = self._index()
        records = read_camera_records(folder)
        known = len(self._pts) if records is None else int(np.count_nonzero(records["stream"] == STREAM_COLOR))
        self._count = min(len(self._pts), known)
        self._container: Any = None
        self._decoded: Iterator[Any] = iter(())
        self._next = 0  # index of the frame that the decoder gives next

    def __enter__(self) -> "ColorReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "row column 3"]]:
        for _, picture in self.frames():
            yield picture

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "row column 3"]:
        if not 0 <= index < self._count:
            raise PipelineError(f"{self.folder.name} has colour frames 0 to {self._count - 1}, not {index}.")
        return self._to(index).to_ndarray(format="rgb24")

    def frames(self, indices: Iterable[int] | None = None) -> Iterator[tuple[int, UInt8[np.ndarray, "row column 3"]]]:
        """The frames of `indices` (None: all) with their index, in the order asked."""
        for index in range(self._count) if indices is None else indices:
            yield int(index), self[int(index)]

    def close(self) -> None:
        """Close the video."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self) -> Any:
        import av

        try:
            container = av.open(str(self._path))
        except (av.FFmpegError, OSError) as error:
            raise PipelineError(f"{self._path} cannot be read as a video: {error}.") from None
        if not container.streams.video:
            container.close()
            raise PipelineError(f"{self._path} holds no video.")
        container.streams.video[0].codec_context.thread_count = 1
        return container

    def _index(self) -> tuple[list[int], list[int]]:
        """Time stamps of all whole frames, and the indices of those that stand alone: read, not decoded."""
        import av

        stamps: list[int] = []
        keys: list[int] = []
        if self._path.stat().st_size < _LEAST_BYTES:
            return stamps, keys  # the recorder was cut off before its first frame was out
        container = self._open()
        try:
            for packet in container.demux(video=0):
                if packet.pts is None or packet.is_corrupt:
                    continue
                if packet.is_keyframe:
                    keys.append(len(stamps))
                stamps.append(packet.pts)
        except av.FFmpegError:
            pass  # the end of a file that was cut off
        finally:
            container.close()
        return stamps, keys

    def _to(self, index: int) -> Any:
        """The decoded frame `index`."""
        import av

        if self._container is None or not self._next <= index < self._next + _STEP_ON_FRAMES:
            self._seek(index)
        frame: Any = None
        try:
            while self._next <= index:
                frame = next(self._decoded)
                self._next += 1
        except (av.FFmpegError, StopIteration):
            self.close()
            raise PipelineError(f"{self._path}: frame {index} of {self._count} does not decode.") from None
        if frame.pts != self._pts[index]:
            self.close()
            raise PipelineError(f"{self._path}: its frames are not in the order of their time stamps at {index}.")
        return frame

    def _seek(self, index: int) -> None:
        """Stand before the last key frame at or before `index`."""
        key = max((one for one in self._keys if one <= index), default=0)
        if self._container is None:
            self._container = self._open()
        self._container.seek(self._pts[key], stream=self._container.streams.video[0])
        self._decoded = self._container.decode(video=0)
        first = next(self._decoded, None)
        if first is None or first.pts not in self._pts[: key + 1]:
            self.close()  # a file without an index may not be sought in: read it from its beginning
            self._container = self._open()
            self._decoded, self._next = self._container.decode(video=0), 0
            return
        at = self._pts.index(first.pts)

        def rest(decoded: Iterator[Any] = self._decoded) -> Iterator[Any]:
            yield first
            yield from decoded

        self._decoded, self._next = rest(), at


def read_depth(folder: Path, record: Shaped[np.void, ""] | Shaped[np.ndarray, ""]) -> UInt16[np.ndarray, "row column"]:
    """The depth picture of a depth record, counts of the manifest's `camera.depth_unit_m`, 0 where unknown.

    It is aligned to colour: a pixel shows what the colour pixel of the same place shows (of the picture as taken, not of the
    undistorted one). Raises PipelineError when the file is absent or was removed, and when the frame is not whole.
    """
    if int(record["stream"]) != STREAM_DEPTH:
        raise PipelineError("This record is of a colour frame; depth lies with depth records.")
    path = _present(folder, "depth.bin")
    length = int(record["byte_length"])
    with path.open("rb") as file:
        data = os.pread(file.fileno(), length, int(record["byte_offset"]))
    if len(data) < length:
        raise PipelineError(f"{path} ends before depth frame {int(record['index'])}: the recorder was cut off there.")
    return decode_depth(data)


def depth_records(folder: Path) -> Shaped[np.ndarray, " record"]:
    """Records of the depth frames that are whole in depth.bin, in order; none where no depth was recorded."""
    records = read_camera_records(folder)
    path = folder / "depth.bin"
    if records is None or not path.exists():
        return np.zeros(0, CAMERA_RECORD)
    depth = records[records["stream"] == STREAM_DEPTH]
    whole: Shaped[np.ndarray, " record"] = depth[depth["byte_offset"] + depth["byte_length"] <= path.stat().st_size]
    return whole


def _present(folder: Path, name: str) -> Path:
    """The file `name` of a recording folder; PipelineError says whether it never was or was removed on purpose."""
    path = folder / name
    if path.exists():
        return path
    manifest = folder / "recording.json"
    if manifest.exists():
        try:
            removed = name in RecordingManifest.model_validate_json(manifest.read_bytes()).removed
        except ValueError:
            removed = False
        if removed:
            raise PipelineError(
                f"{folder.name} has no {name} any more: its pictures were deleted on purpose once its labels had passed "
                "(privacy: skeleton-only), so they can be neither shown nor labelled again."
            )
    raise PipelineError(f"{folder.name} has no {name}: it was recorded without it.")
