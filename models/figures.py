"""Two figures of the paper: what a masked autoencoder makes of hidden patches, and poses of every method over the truth.

They draw arrays; `models.shown` takes such arrays out of recordings and model files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure

from models.config import Modality
from pipeline.picture_style import AZIMUTH, INK, LEFT_INK, MAP_COLOURS, RIGHT_INK, VELOCITY, headline, sheet
from pipeline.skeleton import JOINTS, LIMBS

MODALITY_NAMES: dict[Modality, str] = {"rd": "range-Doppler", "ra": "range-azimuth"}
_ACROSS: dict[Modality, str] = {"rd": VELOCITY, "ra": AZIMUTH}
_COLUMNS = 6
_HIDDEN_INK, _TRUTH_INK, _MIDDLE_INK = "#dcdfe3", "#b9bec6", INK
_TICKS_DEG = (-60, -30, 0, 30, 60)
_MARGIN = 0.05  # about the skeletons, share of the picture
_LEFT_INCHES, _HEAD_INCHES = 1.35, 0.85


@dataclass(frozen=True)
class MapExtent:
    """Outer borders of a map: metres of its first and last row, m/s (rd) or sine of azimuth (ra) of its columns."""

    near_m: float
    far_m: float
    left: float
    right: float


@dataclass(frozen=True)
class MaskedClip:
    """One modality of a clip, 0..1: as it was, which cells were hidden, and what the autoencoder put there."""

    modality: Modality
    extent: MapExtent
    time_s: Float64[np.ndarray, " frame"]
    maps: Float[np.ndarray, "frame row column"]
    hidden: Bool[np.ndarray, "frame row column"]
    reconstructed: Float[np.ndarray, "frame row column"]

    @property
    def error(self) -> float:
        """Mean squared error on hidden cells."""
        return float(np.mean((self.reconstructed - self.maps)[self.hidden] ** 2))

    @property
    def flat_error(self) -> float:
        """The same of one value everywhere, the mean of what was visible: what costs no network."""
        return float(np.mean((self.maps[~self.hidden].mean() - self.maps[self.hidden]) ** 2))


@dataclass(frozen=True)
class PoseStrip:
    """Moments of a recording: its maps, the true pose, and what each method says. A method's joint that is NaN is not drawn."""

    time_s: Float64[np.ndarray, " moment"]
    maps: dict[Modality, tuple[MapExtent, Float[np.ndarray, "moment row column"]]]
    truth: Float[np.ndarray, "moment joint 2"]
    """Shares of the picture's width and height; NaN where a joint is masked."""
    methods: Mapping[str, Float[np.ndarray, "moment joint 2"]]
    heatmaps: Mapping[str, Float[np.ndarray, "moment joint down across"]]
    """Of the methods that make such, over the whole picture; values under 0 count as 0."""
    size_px: tuple[int, int] = (640, 480)


def draw_reconstruction(path: Path, clips: Sequence[MaskedClip], title: str, quiet: str, *, simulated: bool) -> Path:
    """PNG of a clip's frames, evenly chosen, a block of three rows a modality: input, masked, reconstructed. Returns `path`.

    Visible cells are drawn as they were in the third row too, so that all there is to judge is what was hidden.
    """
    columns = _evenly(len(clips[0].time_s), _COLUMNS)
    with sheet(path, _LEFT_INCHES + 1.62 * len(columns), _HEAD_INCHES + 4.3 * len(clips)) as figure:
        _headline(figure, simulated, title, quiet)
        blocks = figure.subfigures(len(clips), 1, squeeze=False)[:, 0]
        for block, clip in zip(blocks, clips, strict=True):
            _reconstruction_block(block, clip, columns)
    return path


def draw_poses(path: Path, strip: PoseStrip, title: str, quiet: str, *, simulated: bool) -> Path:
    """PNG of one column a moment: maps, heatmaps, and each method's skeleton over the grey truth. Returns `path`."""
    moments = len(strip.time_s)
    left, right, top, bottom = _view(strip)
    tall = 1.5 * (bottom - top) * strip.size_px[1] / ((right - left) * strip.size_px[0])  # inches of a skeleton's panel
    heights = [1.25] * len(strip.maps) + [tall] * (len(strip.heatmaps) + len(strip.methods))
    with sheet(path, _LEFT_INCHES + 1.62 * moments, _HEAD_INCHES + 0.55 + sum(heights) + 0.12 * len(heights)) as figure:
        _headline(figure, simulated, title, quiet)
        panels = figure.subplots(len(heights), moments, height_ratios=heights, squeeze=False)
        rows = iter(panels)
        for modality, (extent, values) in strip.maps.items():
            _map_row(next(rows), modality, extent, values)
        for method, heatmaps in strip.heatmaps.items():
            row = next(rows)
            _name(row[0], f"{method}\nheatmaps")
            brightest = max(float(np.nanmax(heatmaps)), 1e-6)
            for panel, values, truth in zip(row, heatmaps, strip.truth, strict=True):
                shown = np.clip(values, 0, None).max(axis=0)
                panel.imshow(shown, extent=(0, 1, 1, 0), cmap="magma", vmin=0, vmax=brightest, interpolation="bilinear")
                _skeleton(panel, truth, 0.9, "white", alpha=0.55)
        for method, poses in strip.methods.items():
            row = next(rows)
            _name(row[0], f"{method}\n{_error(poses, strip.truth)}")
            for panel, pose, truth in zip(row, poses, strip.truth, strict=True):
                _skeleton(panel, truth, 4.0, _TRUTH_INK)
                _skeleton(panel, pose, 1.6, None)
        for panel in panels[len(strip.maps) :].flat:
            panel.set_xlim(left, right)
            panel.set_ylim(bottom, top)
            panel.set_aspect(strip.size_px[1] / strip.size_px[0])
            _bare(panel)
        for panel, time_s in zip(panels[0], strip.time_s, strict=True):
            panel.set_title(f"{time_s:.1f} s", fontsize=8.5)
    return path


def mean_error(poses: Float[np.ndarray, "moment joint 2"], truth: Float[np.ndarray, "moment joint 2"]) -> float:
    """Mean distance in shares of the picture over the joints that both have; NaN where there is none (`mpjpe_norm`)."""
    apart = np.linalg.norm(poses - truth, axis=-1)
    return float(np.nanmean(apart)) if np.isfinite(apart).any() else float("nan")


def _reconstruction_block(block: SubFigure, clip: MaskedClip, columns: Sequence[int]) -> None:
    panels = block.subplots(3, len(columns), sharex=True, sharey=True, squeeze=False)
    filled = np.where(clip.hidden, clip.reconstructed, clip.maps)
    names = (
        f"{MODALITY_NAMES[clip.modality]}\ninput\n\nrange (m)",
        f"masked\n{100 * clip.hidden.mean():.0f} % hidden",
        f"reconstructed\n\nsquared error\non hidden cells\n{clip.error:.4f}\n(one value {clip.flat_error:.4f})",
    )
    for row, name, values in zip(panels, names, (clip.maps, clip.maps, filled), strict=True):
        _name(row[0], name)
        for panel, frame in zip(row, columns, strict=True):
            _map(panel, clip.modality, clip.extent, values[frame])
    for panel, frame in zip(panels[1], columns, strict=True):
        cover = np.where(clip.hidden[frame], 1.0, np.nan)
        _image(panel, clip.extent, cover, cmap=ListedColormap([_HIDDEN_INK]))
    for panel, frame in zip(panels[0], columns, strict=True):
        panel.set_title(f"{clip.time_s[frame]:.1f} s", fontsize=8.5)
    for panel in panels[:2].flat:
        panel.tick_params(labelbottom=False)
    for panel in panels[:, 1:].flat:
        panel.tick_params(labelleft=False)
    block.supxlabel(_ACROSS[clip.modality].replace("\n", "   "), fontsize=8.5)


def _headline(figure: Figure, simulated: bool, title: str, quiet: str) -> None:
    headline(figure, simulated, title, quiet)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.03, h_pad=0.04)  # type: ignore[call-arg]


def _map_row(
    row: np.ndarray, modality: Modality, extent: MapExtent, values: Float[np.ndarray, "moment row column"]
) -> None:
    _name(row[0], f"{MODALITY_NAMES[modality]}\nrange (m)")
    for panel, moment in zip(row, values, strict=True):
        _map(panel, modality, extent, moment)
        panel.set_xlabel(_ACROSS[modality].split("\n")[0], fontsize=7)
    for panel in row[1:]:
        panel.tick_params(labelleft=False)


def _map(panel: Axes, modality: Modality, extent: MapExtent, values: Float[np.ndarray, "row column"]) -> None:
    """One map, near range at the bottom, with ticks in metres and in m/s or degrees."""
    _image(panel, extent, values, cmap=MAP_COLOURS, vmin=0, vmax=1)
    panel.tick_params(labelsize=6.5, length=2, pad=1.5)
    if modality == "ra":
        at = np.sin(np.radians(_TICKS_DEG))
        inside = (at > extent.left) & (at < extent.right)
        panel.set_xticks(at[inside], [f"{degrees}°" for degrees, on in zip(_TICKS_DEG, inside, strict=True) if on])


def _image(panel: Axes, extent: MapExtent, values: Float[np.ndarray, "row column"], **colours: object) -> None:
    borders = (extent.left, extent.right, extent.near_m, extent.far_m)
    panel.imshow(values, extent=borders, origin="lower", aspect="auto", interpolation="nearest", **colours)  # type: ignore[arg-type]
    panel.set_ylim(min(extent.near_m, extent.far_m), max(extent.near_m, extent.far_m))


def _skeleton(
    panel: Axes, joints: Float[np.ndarray, "joint 2"], width: float, ink: str | None, alpha: float = 1.0
) -> None:
    """Limbs between joints, in `ink` or each side in its own; what is NaN is left out."""
    for first, second in LIMBS:
        sides = {_side_ink(first), _side_ink(second)}
        colour = ink or (sides.pop() if len(sides) == 1 else _MIDDLE_INK)
        panel.plot(*joints[[first, second]].T, color=colour, linewidth=width, alpha=alpha, solid_capstyle="round")
    nose = joints[JOINTS.index("nose")]
    panel.plot(*nose, "o", color=ink or _MIDDLE_INK, markersize=1.6 * width + 1.5, markeredgewidth=0, alpha=alpha)


def _side_ink(joint: int) -> str:
    name = JOINTS[joint]
    return LEFT_INK if name.startswith("left") else RIGHT_INK if name.startswith("right") else _MIDDLE_INK


def _view(strip: PoseStrip) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of what all skeletons need, within a little of the picture."""
    points = np.concatenate([strip.truth, *strip.methods.values()]).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return 0.0, 1.0, 0.0, 1.0
    (left, top), (right, bottom) = points.min(axis=0) - _MARGIN, points.max(axis=0) + _MARGIN
    short = 0.3 - min(right - left, 0.3)  # a person who stands still is narrow: no panel narrower than this
    return max(left - short / 2, -0.1), min(right + short / 2, 1.1), max(top, -0.1), min(bottom, 1.1)


def _error(poses: Float[np.ndarray, "moment joint 2"], truth: Float[np.ndarray, "moment joint 2"]) -> str:
    error = mean_error(poses, truth)
    return "no truth to compare" if np.isnan(error) else f"mean error {error:.3f}"


def _name(panel: Axes, name: str) -> None:
    """What a row shows, to its left."""
    panel.annotate(
        name, (0, 0.5), (-_LEFT_INCHES * 72 + 10, 0), xycoords="axes fraction", textcoords="offset points",
        va="center", ha="left", fontsize=8, linespacing=1.3,
    )  # fmt: skip


def _bare(panel: Axes) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(True)
        spine.set_color("#e3e5e8")


def _evenly(there: int, wanted: int) -> list[int]:
    return np.unique(np.linspace(0, there - 1, min(there, wanted)).round().astype(int)).tolist()
