"""Pictures for the camera's tests: smooth, each different from the one before."""

from fractions import Fraction

import av
import numpy as np

from capture.camera import CameraFrame
from pipeline.camera_frames import STREAM_COLOR, STREAM_DEPTH


def colour(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A gradient that moves, with a bright block whose column says `number`."""
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([columns * 2 + number, rows * 3, (rows + columns) + 2 * number], axis=-1) % 200
    picture[:8, 4 * (number % (width // 4)) :][:, :4] = 255
    return picture.astype(np.uint8)


def depth(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A slope with noise and holes."""
    rng = np.random.default_rng(number)
    picture = (2000 + 3 * np.arange(width) + rng.integers(-9, 9, (height, width))).astype(np.uint16)
    picture[rng.random((height, width)) < 0.05] = 0
    return picture


def color_frame(number: int, **times: int) -> CameraFrame:
    return CameraFrame(
        STREAM_COLOR,
        colour(number),
        received_ns=10**12 + number * 33_333_333,
        timestamp_ms=number * 33.333,
        frame_number=number,
        **times,
    )


def depth_frame(number: int) -> CameraFrame:
    return CameraFrame(
        STREAM_DEPTH,
        depth(number),
        received_ns=10**12 + number * 33_333_333,
        timestamp_ms=number * 33.333,
        frame_number=number,
    )


def film(path, stamps_ms, form=None, codec="libx264"):
    """A video with a frame at each of `stamps_ms`."""
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"crf": "10", "bf": "0"}
        for number, at_ms in enumerate(stamps_ms):
            frame = av.VideoFrame.from_ndarray(colour(number), format="rgb24")
            frame.pts, frame.time_base = at_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
