"""One instant of a labelled session: the picture with its skeleton, and what the radar saw just then."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64, UInt8
from matplotlib.axes import Axes

from pipeline.camera_frames import StreamIntrinsics
from pipeline.camera_geometry import distort_px, shares_px
from pipeline.camera_reader import ColorReader
from pipeline.cube import Cube
from pipeline.errors import PipelineError
from pipeline.labels import Labels
from pipeline.picture_style import QUIET, headline, sheet
from pipeline.recording import Recording
from pipeline.skeleton import JOINTS
from pipeline.sync import read_sync
from processing.labelling.contact_sheet import draw_skeleton
from processing.pictures import maps_of, range_azimuth_panel, range_doppler_panel


def draw_instant(recording: Recording, cube: Cube, labels: Labels, path: Path, frame: int | None = None) -> Path:
    """PNG of a radar frame that has a picture and labels (None: the liveliest): colour with skeleton, both maps.

    Where privacy is `skeleton-only` the skeleton stands on grey. Returns `path`. PipelineError where no frame has labels.
    """
    rows, report = read_sync(recording.folder)
    good = rows[(rows["status"] == "ok") & rows["radar_frame"].isin(labels.table["frame"])]
    if frame is None:
        frame = _liveliest(labels, good, cube.frames)
    row = good[good["radar_frame"] == frame]
    if row.empty:
        raise PipelineError(f"Radar frame {frame} of {recording.id} has no picture with labels.")
    color_frame, offset_s = int(row["color_frame"].iloc[0]), float(row["color_offset_s"].iloc[0])
    maps = maps_of(cube, frame)
    if maps.rd is None or maps.ra is None:
        raise PipelineError(
            f"The cube of {recording.id} lacks range-Doppler or range-azimuth maps; process it with the preset default."
        )
    with sheet(path, 15.0, 4.9) as figure:
        title = f"{recording.id}, frame {frame} at {cube.time_s[frame]:.2f} s"
        off = f"colour frame {color_frame}, {1000 * offset_s:+.1f} ms from the middle of the radar frame"
        doubt = "" if report.verdict == "aligned" else f"alignment: {report.verdict}"
        headline(figure, cube.simulated, title, f"{off} \u00b7 labels by {labels.labeller}", doubt)
        picture, rd, ra = figure.subplots(1, 3, width_ratios=[1.35, 1.0, 1.0])
        _picture_panel(picture, recording, color_frame, _joints(labels, frame))
        range_doppler_panel(rd, cube, maps.rd)
        range_azimuth_panel(ra, cube, maps.ra)
    return path


def _liveliest(labels: Labels, good: pd.DataFrame, frames: int) -> int:
    """The frame whose joints move most among those that are labelled well."""
    table = labels.table[labels.table["frame"].isin(good["radar_frame"])]
    points = table.pivot_table(index="frame", columns="joint", values=["u", "v"])
    if points.empty:
        raise PipelineError("No radar frame has a picture with labels, so there is no instant to draw.")
    confidence = table.groupby("frame")["confidence"].mean()
    moved = points.diff().abs().sum(axis=1).where(points.index.to_series().diff() == 1, 0.0) * confidence
    inside = moved.loc[points.index[points.index < frames]]  # frames in which nobody was found have no points
    return int(inside.index[int(np.argmax(inside.to_numpy()))]) if len(inside) else int(table["frame"].min())


def _joints(labels: Labels, frame: int) -> Float64[np.ndarray, "joint 3"]:
    """Shares of width and height, and confidence, of the person the session is about."""
    table = labels.table[(labels.table["frame"] == frame) & (labels.table["track"] == 0)]
    joints = np.full((len(JOINTS), 3), np.nan)
    joints[table["joint"].to_numpy(int)] = table[["u", "v", "confidence"]].to_numpy(float)
    return joints


def _picture_panel(panel: Axes, recording: Recording, color_frame: int, joints: Float64[np.ndarray, "joint 3"]) -> None:
    description = recording.manifest.camera
    removed = "color.mkv" in recording.manifest.removed or (description and description.privacy == "skeleton-only")
    colour: UInt8[np.ndarray, "row column 3"]
    if removed:
        inner = description.color if description else None
        width, height = (inner.width, inner.height) if inner else (640, 480)
        colour = np.full((height, width, 3), 0x3A, np.uint8)
    else:
        with ColorReader(recording.folder) as color:
            colour = color[color_frame]
    height, width = colour.shape[:2]
    intrinsics = description.color if description and description.color else _plain(width, height)
    points = distort_px(shares_px(joints[:, :2], intrinsics), intrinsics)
    panel.imshow(colour)
    draw_skeleton(panel, np.where(joints[:, 2:] > 0, points, np.nan))
    panel.set_title("Skeleton (no picture, for privacy)" if removed else "Colour with skeleton")
    panel.set_xlim(-0.5, width - 0.5)
    panel.set_ylim(height - 0.5, -0.5)
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_color(QUIET)


def _plain(width: int, height: int) -> StreamIntrinsics:
    """A camera that does not know its geometry: shares only need width and height."""
    return StreamIntrinsics(width=width, height=height, fx=width, fy=width, cx=(width - 1) / 2, cy=(height - 1) / 2)
