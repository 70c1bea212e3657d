"""What `maepose live` shows: the newest maps and the skeleton beside them, as a picture, a video, or coloured text."""

import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from models.config import Modality
from models.predicting import Pose
from pipeline.errors import PipelineError
from pipeline.picture_style import MAP_COLOURS
from pipeline.skeleton import LIMBS

Picture = UInt8[np.ndarray, "row column 3"]

PANEL_PX, HEAD_PX, GAP_PX = 288, 32, 8
_TITLES = {"rd": "range over velocity", "ra": "range over azimuth"}
_INK, _QUIET, _PAPER, _LIMB = (34, 34, 34), (138, 143, 152), (255, 255, 255), (31, 78, 121)
_TERMINAL_COLUMNS = 110


def live_picture(
    maps: Mapping[Modality, Float32[np.ndarray, "row column"]], pose: Pose | None, head: str, *, far_first: bool
) -> Picture:
    """Maps (0 to 1) with the far end up, then the skeleton in the picture's shares (4 to 3), under a line of text.

    `far_first` says that row 0 is the far end already. Sides are even, as video wants.
    """
    skeleton_px = PANEL_PX * 4 // 3
    width = len(maps) * (PANEL_PX + GAP_PX) + skeleton_px
    sheet = Image.new("RGB", (width + width % 2, PANEL_PX + HEAD_PX), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    draw.text((4, 2), head, _INK, font)
    left = 0
    for name, values in maps.items():
        sheet.paste(_coloured(values if far_first else values[::-1]), (left, HEAD_PX))
        draw.text((left + 4, HEAD_PX + 2), _TITLES[name], _PAPER, ImageFont.load_default(11))
        left += PANEL_PX + GAP_PX
    draw.rectangle((left, HEAD_PX, left + skeleton_px - 1, HEAD_PX + PANEL_PX - 1), outline=_QUIET)
    if pose is None:
        draw.text((left + 8, HEAD_PX + 8), "waiting for a whole clip", _QUIET, font)
    else:
        places = pose.uv * (skeleton_px, PANEL_PX) + (left, HEAD_PX)
        for one, other in LIMBS:
            draw.line([tuple(places[one]), tuple(places[other])], _LIMB, 4)
        for x, y in places:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), _INK)
    return np.asarray(sheet)


def save_picture(picture: Picture, path: Path) -> None:
    """Write a PNG; PipelineError when the disk does not take it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    except OSError as error:
        raise PipelineError(f"The picture {path} cannot be written ({error.strerror or error}).") from error


class Terminal:
    """Pictures as rows of half blocks, two pixels a character, in place. Leaves the screen as it found it."""

    def __init__(self) -> None:
        sys.stderr.write("\x1b[?1049h\x1b[?25l")

    def show(self, picture: Picture, head: str) -> None:
        """Draw over what was there."""
        rows = 2 * round(picture.shape[0] * _TERMINAL_COLUMNS / picture.shape[1] / 2)
        small = np.asarray(Image.fromarray(picture[HEAD_PX:]).resize((_TERMINAL_COLUMNS, rows), Image.Resampling.BOX))
        lines = [head + "\x1b[K"]
        for above, below in zip(small[::2].tolist(), small[1::2].tolist(), strict=True):
            cells = (
                f"\x1b[38;2;{a};{b};{c};48;2;{d};{e};{f}m▀" for (a, b, c), (d, e, f) in zip(above, below, strict=True)
            )
            lines.append("".join(cells) + "\x1b[0m")
        sys.stderr.write("\x1b[H" + "\n".join(lines))
        sys.stderr.flush()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stderr.write("\x1b[?25h\x1b[?1049l")
        sys.stderr.flush()


class Video:
    """Pictures as an H.264 file, each at the time it is shown. PipelineError without PyAV, or where it cannot be written."""

    def __init__(self, path: Path) -> None:
        try:
            import av
        except ImportError:
            raise PipelineError("A video needs PyAV; install it with `pip install 'maepose[camera]'`.") from None
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container: Any = av.open(str(path), "w")
        except (OSError, ValueError) as error:
            raise PipelineError(f"The video {path} cannot be written ({error}); name a .mp4 or .mkv file.") from None
        self._stream: Any = None
        self._latest_ms = -1

    def show(self, picture: Picture, at_s: float) -> None:
        """Encode a picture that is seen from `at_s` seconds on."""
        import av

        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=30)
            self._stream.height, self._stream.width = picture.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"preset": "ultrafast", "crf": "20"}
            self._stream.codec_context.thread_count = 1
            self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, 1000)
        image = av.VideoFrame.from_ndarray(picture, format="rgb24")
        self._latest_ms = max(self._latest_ms + 1, round(at_s * 1000))
        image.pts, image.time_base = self._latest_ms, Fraction(1, 1000)
        self._container.mux(self._stream.encode(image))

    def __enter__(self) -> "Video":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()


def _coloured(values: Float32[np.ndarray, "row column"]) -> Image.Image:
    colours = (mpl.colormaps[MAP_COLOURS](np.arange(256))[:, :3] * 255).astype(np.uint8)
    levels = (np.clip(values, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(colours[levels]).resize((PANEL_PX, PANEL_PX), Image.Resampling.NEAREST)
