"""The worst frames of a session on one sheet: the picture (grey where pictures are not to be kept), the skeleton over it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from pipeline.picture_style import ALARM, LEFT_INK, QUIET, RIGHT_INK, headline, sheet
from pipeline.skeleton import JOINTS, LIMBS
from processing.labelling.quality import LabelQuality
from processing.labelling.quality_defects import Defects
from processing.labelling.tracking_sightings import BONES

MIDDLE_INK = "#f5f5f5"
_COLUMNS, _TILES, _APART = 4, 12, 4  # tiles on a sheet; frames between two, or one mishap fills the sheet
_NO_PICTURE = 96  # grey


@dataclass(frozen=True)
class Suspect:
    """A frame worth a look: its place among the frames looked at, how bad it is, and why in a few words."""

    place: int
    score: float
    why: str


@dataclass(frozen=True)
class Tile:
    """What is drawn of a suspect. Pixels are those of the picture as taken; `picture` None draws on grey."""

    frame: int
    why: str
    picture: UInt8[np.ndarray, "row column 3"] | None
    joints_px: Float64[np.ndarray, "13 2"]
    others_px: tuple[Float64[np.ndarray, "4"], ...]


def suspects(
    defects: Defects, confidence: Float64[np.ndarray, "frame joint"], exchanged: Sequence[int], count: int = _TILES
) -> list[Suspect]:
    """The worst frames, worst first and some frames apart; where nothing is wrong the least confident ones.

    `exchanged` are places of frames from which on the person may be somebody else.
    """
    found = confidence > 0
    score = (
        2.0 * defects.jumped.sum(axis=1)
        + 2.0 * defects.stretched.sum(axis=1)
        + 6.0 * defects.swapped.sum(axis=1)
        + 0.5 * (~found).sum(axis=1)
        + (found * (1 - confidence)).sum(axis=1) / np.maximum(found.sum(axis=1), 1)
    )
    score[list(exchanged)] += 10.0
    chosen: list[Suspect] = []
    for place in np.argsort(-score, kind="stable").tolist():
        if len(chosen) == count:
            break
        if all(abs(place - other.place) >= _APART for other in chosen):
            why = _why(defects, confidence, place, place in exchanged)
            chosen.append(Suspect(place, float(score[place]), why))
    return chosen


def draw_contact_sheet(
    path: Path, quality: LabelQuality, size_px: tuple[int, int], tiles: Sequence[Tile], period_s: float
) -> Path:
    """PNG of the tiles. Returns `path`."""
    columns = min(max(len(tiles), 3), _COLUMNS)  # fewer than three are too narrow for the headline
    rows = max(1, -(-len(tiles) // columns))
    width, height = size_px
    tile_inches = 2.8
    with sheet(path, columns * tile_inches, 0.7 + rows * (tile_inches * height / width + 0.3)) as figure:
        quiet = (
            f"{quality.labeller} · labelled {quality.labelled_frames} of {quality.pictures.looked_at} pictures · "
            "worst frames first · the person's left orange, right blue"
        )
        alarm = "" if quality.verdict == "pass" else quality.verdict.upper()
        headline(figure, quality.simulated, f"Labels of {quality.recording}", quiet, alarm)
        grid = figure.add_gridspec(rows, columns)
        for number, tile in enumerate(tiles):
            axes = figure.add_subplot(grid[divmod(number, columns)])
            _draw(axes, tile, size_px)
            axes.set_title(f"{tile.frame} · {tile.frame * period_s:.1f} s · {tile.why}", fontsize=7.5)
    return path


def draw_skeleton(axes: Axes, joints_px: Float64[np.ndarray, "13 2"], width: float = 2.0) -> None:
    """The 13 joints over a picture whose pixels are the axes' units; what is NaN is left out."""
    for first, second in LIMBS:
        ink = _ink(first) if _ink(first) == _ink(second) else MIDDLE_INK
        line = joints_px[[first, second]]
        axes.plot(*line.T, color="black", linewidth=width + 1.2, alpha=0.5, solid_capstyle="round")
        axes.plot(*line.T, color=ink, linewidth=width, solid_capstyle="round")
    for joint, place in enumerate(joints_px):
        axes.plot(*place, "o", color=_ink(joint), markeredgecolor="black", markeredgewidth=0.6, markersize=width + 1.5)


def _draw(axes: Axes, tile: Tile, size_px: tuple[int, int]) -> None:
    width, height = size_px
    grey = np.full((height, width, 3), _NO_PICTURE, np.uint8)
    axes.imshow(grey if tile.picture is None else tile.picture, interpolation="bilinear")
    for left, top, right, bottom in tile.others_px:
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=QUIET, linewidth=1.2))
    draw_skeleton(axes, tile.joints_px)
    if not np.isfinite(tile.joints_px).any():
        axes.text(0.5, 0.5, "not found", transform=axes.transAxes, ha="center", color=ALARM, fontweight="bold")
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.axis("off")


def _ink(joint: int) -> str:
    name = JOINTS[joint]
    return LEFT_INK if name.startswith("left") else RIGHT_INK if name.startswith("right") else MIDDLE_INK


def _why(defects: Defects, confidence: Float64[np.ndarray, "frame joint"], place: int, exchanged: bool) -> str:
    found = confidence[place] > 0
    if not found.any():
        return "nobody found"
    said = ["somebody else?"] if exchanged else []
    said += [f"{part} exchanged" for part, on in zip(("arms", "legs"), defects.swapped[place], strict=True) if on]
    jumped = [JOINTS[joint] for joint in np.flatnonzero(defects.jumped[place]).tolist()]
    said += [f"{_few(jumped)} jumped"] if jumped else []
    bones = list(BONES)
    long = [JOINTS[bones[bone][1]] for bone in np.flatnonzero(defects.stretched[place]).tolist()]
    said += [f"bone to {_few(long)} too long"] if long else []
    if not found.all():
        said.append(f"{int((~found).sum())} masked")
    return ", ".join(said) or f"confidence {confidence[place][found].mean():.2f}"


def _few(names: Sequence[str]) -> str:
    first = names[0].replace("_", " ")
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"
