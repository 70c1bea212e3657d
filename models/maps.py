"""Radar maps as networks see them: cut out of a cube, scaled to 0..1, padded; how training recordings decide cut and scale."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64

from models.config import ClipConfig, Modality
from pipeline.cube import Cube, open_cube
from pipeline.cube_config import PRESETS
from pipeline.errors import PipelineError

Maps = Float32[np.ndarray, "frame row column"]

_NO_EFFECT_ON_MAPS = {"products", "dtype", "db_step", "db_floor"}
_STEP_TOLERANCE = 1e-3
FITTED_FRAMES = 2000
"""About so many, of all training recordings together, decide scaling and cut."""
BLOCK_FRAMES = 16
"""Frames that lie together in a cube, so that reading one reads them all."""
WINDOW_PERCENTILES = (20.0, 99.9)
"""Power that becomes 0 and 1 (paper.md, "What a prototype measured")."""


class MapReader:
    """Maps of one recording, read from its cube frame by frame; opened on the first read, so that workers open their own.

    Rows and columns run as the cube's axes do. Columns are the middle ones: zero Doppler, or boresight, lies in column
    n // 2 of n, before and after padding and resampling.
    """

    def __init__(self, root: Path, recording_id: str, clip: ClipConfig) -> None:
        self.root, self.recording_id, self.clip = root, recording_id, clip

    @property
    def frames(self) -> int:
        """Frames of the recording, lossy ones included."""
        return self.cube.frames

    @cached_property
    def valid(self) -> Bool[np.ndarray, " frame"]:
        """False for each frame that lost bytes."""
        return self.cube.valid

    @cached_property
    def cube(self) -> Cube:
        """The recording's cube. Raises PipelineError where there is none, or one that is not what the clip is made for."""
        cube = self.opened()
        wanted = PRESETS[self.clip.cube].model_dump(exclude=_NO_EFFECT_ON_MAPS)
        made = cube.config.model_dump(exclude=_NO_EFFECT_ON_MAPS)
        other = [name for name, value in wanted.items() if made[name] != value]
        again = f"make it anew with `maepose process {self.recording_id} --preset {self.clip.cube}`."
        if other:
            raise PipelineError(
                f"The cube of {self.recording_id} was not made with preset {self.clip.cube!r} ({', '.join(other)} differ); "
                f"{again}"
            )
        absent = [name for name in self.clip.modalities if name not in cube.config.products]
        if absent:
            raise PipelineError(f"The cube of {self.recording_id} holds no {' and no '.join(absent)}; {again}")
        for what, unit, step, axis in (
            ("range", "m", self.clip.range_step_m, cube.axes.range_m),
            ("velocity", "m/s", self.clip.velocity_step_mps, cube.axes.velocity_mps),
        ):
            found = _step(axis)
            if step is not None and abs(found - step) > _STEP_TOLERANCE * step:
                raise PipelineError(
                    f"{what.capitalize()} bins of {self.recording_id} are {found:.4g} {unit} apart where {step:.4g} {unit} are "
                    "wanted: it was recorded with another waveform; use recordings of one waveform."
                )
        return cube

    @cached_property
    def rows(self) -> slice:
        """Range bins of the cube that become rows."""
        first_range_m = self.clip.first_range_m
        if first_range_m == "auto":
            raise PipelineError(
                "Where the rows begin is still to be found: call fit_clip_config on training recordings."
            )
        range_m = self.cube.axes.range_m
        first = 0 if first_range_m is None else int(np.argmin(np.abs(range_m - first_range_m)))
        return slice(first, min(first + self.clip.range_bins, len(range_m)))

    def opened(self) -> Cube:
        """Where maps come from: the recording's cube store. (`models.live` reads frames that are in no store yet.)"""
        return open_cube(self.root, self.recording_id)

    def of(self, clip: ClipConfig) -> "MapReader":
        """A reader of the same cube, which it need not open and look at again, for clips that differ in scale or cut alone."""
        other = MapReader(self.root, self.recording_id, clip)
        other.cube = self.cube
        return other

    def columns(self, modality: Modality) -> slice:
        """Doppler or azimuth bins of the cube that become columns: the middle ones, zero in the middle."""
        axes = self.cube.axes
        there = len(axes.velocity_mps if modality == "rd" else axes.azimuth_deg)
        return _middle(there, self.clip.columns(modality))

    def db(self, modality: Modality, start: int, stop: int) -> Maps:
        """Frames `start` up to and without `stop` in dBFS, cut to the clip's rows and columns, not padded.

        Raises PipelineError for frames that are not there and for cubes whose maps were scaled frame by frame (preset paper).
        """
        self._check_frames(start, stop)
        return self._cut(modality, self.cube.decibels(modality, slice(start, stop)))

    def scaled(self, modality: Modality, start: int, stop: int) -> Maps:
        """Frames `start` up to and without `stop`, scaled to 0..1 and padded with 0 to `clip.map_shape(modality)`.

        Raises PipelineError as `db`, and where the dB window has not been fitted yet.
        """
        if self.clip.scaling == "window":
            low, high = self._window(modality)
            values = np.clip((self.db(modality, start, stop) - low) / (high - low), 0, 1)
        else:
            values = _frame_minmax(self._values(modality, start, stop))
        return self._resampled(self._padded(modality, values.astype(np.float32, copy=False)))

    def _values(self, modality: Modality, start: int, stop: int) -> Maps:
        """Of each frame's own scale: what the cube holds if that was scaled already, else dB."""
        if not self.cube.config.frame_minmax:
            return self.db(modality, start, stop)
        self._check_frames(start, stop)
        read = self.cube.rd if modality == "rd" else self.cube.ra
        return self._cut(modality, read(slice(start, stop)))

    def _window(self, modality: Modality) -> tuple[float, float]:
        try:
            return self.clip.window_db[modality]
        except KeyError:
            raise PipelineError(
                f"The dB window of {modality} is not known yet: call fit_clip_config on training recordings."
            ) from None

    def _check_frames(self, start: int, stop: int) -> None:
        if not 0 <= start < stop <= self.frames:
            raise PipelineError(
                f"{self.recording_id} has frames 0 to {self.frames - 1}, not {start} to {stop - 1}; ask for fewer."
            )

    def _cut(self, modality: Modality, values: Float32[np.ndarray, "frame range bin"]) -> Maps:
        return values[:, self.rows, self.columns(modality)]

    def _padded(self, modality: Modality, values: Float32[np.ndarray, "frame range bin"]) -> Maps:
        """Missing columns are added so that the zero bin comes to the middle, missing rows at the end."""
        frames, rows, columns = values.shape
        wanted_rows, wanted_columns = self.clip.range_bins, self.clip.columns(modality)
        if (rows, columns) == (wanted_rows, wanted_columns):
            return values
        left = wanted_columns // 2 - columns // 2
        whole = np.zeros((frames, wanted_rows, wanted_columns), np.float32)
        whole[:, :rows, left : left + columns] = values
        return whole

    def _resampled(self, values: Float32[np.ndarray, "frame range bin"]) -> Maps:
        if self.clip.resize_px is None:
            return values
        rows, columns = (_resampling(there, self.clip.resize_px) for there in values.shape[1:])
        return rows @ values @ columns.T


def fit_clip_config(root: Path, recordings: Sequence[str], clip: ClipConfig) -> ClipConfig:
    """`clip` with everything filled in that training `recordings` decide: where rows begin, dB window, levels, bin spacing.

    Rows begin so that the range about which the recordings' moving power lies (clutter is removed) comes to the middle; the
    window goes from the 20th to the 99.9th percentile of what is left after cutting, in whole dB. Raises PipelineError without
    recordings, and as `MapReader` for one whose cube does not fit the others.
    """
    if not recordings:
        raise PipelineError("There is no training recording to fit clips to; the split is empty.")
    cube = MapReader(root, recordings[0], clip).cube
    steps = {"range_step_m": _step(cube.axes.range_m), "velocity_step_mps": _step(cube.axes.velocity_mps)}
    clip = clip.model_copy(update={name: getattr(clip, name) or round(step, 9) for name, step in steps.items()})
    readers = [MapReader(root, name, clip) for name in recordings]
    frames = max(1, FITTED_FRAMES // len(readers))
    if clip.first_range_m == "auto":
        clip = clip.model_copy(update={"first_range_m": _first_range_m(readers, frames)})
        readers = [reader.of(clip) for reader in readers]
    for reader in readers:
        _ = reader.cube  # every one is looked at, whether or not its maps are
    if clip.scaling == "window":
        windows = {name: clip.window_db.get(name) or _window_db(readers, name, frames) for name in clip.modalities}
        clip = clip.model_copy(update={"window_db": windows})
        readers = [reader.of(clip) for reader in readers]
    levels = {name: clip.levels.get(name) or _levels(readers, name, frames) for name in clip.modalities}
    return clip.model_copy(update={"levels": levels})


def mean_maps(
    root: Path, recordings: Sequence[str], clip: ClipConfig
) -> dict[Modality, Float32[np.ndarray, "row column"]]:
    """The mean scaled map of each modality over training `recordings`, all of one weight; `clip` as `fit_clip_config` gives it.

    Raises PipelineError as `fit_clip_config`.
    """
    readers = [MapReader(root, name, clip) for name in recordings]
    frames = max(1, FITTED_FRAMES // len(readers))
    return {
        name: np.mean(
            [
                _cells([reader], MapReader.scaled, name, frames).reshape(-1, *clip.map_shape(name)).mean(axis=0)
                for reader in readers
            ],
            axis=0,
        )
        for name in clip.modalities
    }


def _first_range_m(readers: Sequence[MapReader], frames: int) -> float:
    """Range of the first row: the median range of the power above noise, every recording of one weight, comes to the middle."""
    clip, range_m = readers[0].clip, readers[0].cube.axes.range_m
    profile = np.zeros(len(range_m))
    for reader in readers:
        power = np.zeros(len(range_m))
        for start, stop in _blocks(reader, frames):
            maps = reader.cube.decibels(clip.modalities[0], slice(start, stop))[reader.valid[start:stop]]
            power += (10 ** (maps.astype(np.float64) / 10)).sum(axis=(0, 2))
        above = np.maximum(power - np.median(power), 0)  # most bins hold nothing but noise
        profile += above / max(above.sum(), np.finfo(float).tiny)
    centre = int(np.searchsorted(np.cumsum(profile), 0.5 * profile.sum()))
    first = int(np.clip(centre - clip.range_bins // 2, 0, max(len(range_m) - clip.range_bins, 0)))
    return round(float(range_m[first]), 6)


def _window_db(readers: Sequence[MapReader], modality: Modality, frames: int) -> tuple[float, float]:
    """dBFS at WINDOW_PERCENTILES of all recordings' cut maps, whole decibels."""
    low, high = np.percentile(_cells(readers, MapReader.db, modality, frames), WINDOW_PERCENTILES)
    return float(np.floor(low)), float(max(np.ceil(high), np.floor(low) + 1))


def _levels(readers: Sequence[MapReader], modality: Modality, frames: int) -> tuple[float, float]:
    """Mean and standard deviation of all recordings' scaled maps, padding included, three figures."""
    cells = _cells(readers, MapReader.scaled, modality, frames)
    return float(f"{cells.mean():.3g}"), max(float(f"{cells.std():.3g}"), 1e-3)


def _cells(
    readers: Sequence[MapReader],
    read: Callable[[MapReader, Modality, int, int], Maps],
    modality: Modality,
    frames: int,
) -> Float32[np.ndarray, " cell"]:
    """Every cell of the whole frames in `_blocks` of each reader, as the method `read` gives them."""
    values = [
        read(reader, modality, start, stop)[reader.valid[start:stop]].ravel()
        for reader in readers
        for start, stop in _blocks(reader, frames)
    ]
    return np.concatenate(values)


def _blocks(reader: MapReader, frames: int) -> list[tuple[int, int]]:
    """Evenly spread blocks of frames, about `frames` in all, with one whole frame at least in each.

    Raises PipelineError where every frame lost bytes.
    """
    count = min(max(frames // BLOCK_FRAMES, 1), max(reader.frames // BLOCK_FRAMES, 1))
    first = np.linspace(0, max(reader.frames - BLOCK_FRAMES, 0), count).round().astype(int)
    blocks = [(int(start), min(int(start) + BLOCK_FRAMES, reader.frames)) for start in first]
    whole = [(start, stop) for start, stop in blocks if reader.valid[start:stop].any()]
    if not whole and reader.valid.any():
        start = int(np.flatnonzero(reader.valid)[0])
        whole = [(start, start + 1)]
    if not whole:
        raise PipelineError(
            f"Every frame of {reader.recording_id} lost bytes, so nothing can be fitted to it; leave it out."
        )
    return whole


def _step(axis: Float64[np.ndarray, " bin"]) -> float:
    return float(abs(axis[1] - axis[0]))


def _middle(there: int, wanted: int) -> slice:
    """The middle `wanted` of `there` bins: bin n // 2 comes to n // 2. All of them where fewer are there."""
    first = max(there // 2 - wanted // 2, 0)
    return slice(first, min(first + wanted, there))


def _frame_minmax(values: Maps) -> Maps:
    """Every map by its own minimum and maximum to 0..1; a map of one value is 0."""
    low, high = values.min(axis=(1, 2), keepdims=True), values.max(axis=(1, 2), keepdims=True)
    return (values - low) / np.where(high > low, high - low, 1)


def _resampling(there: int, wanted: int) -> Float32[np.ndarray, "wanted there"]:
    """Linear interpolation as a matrix; bin there // 2 comes to wanted // 2, so that mirrored maps stay mirrored."""
    at = np.clip(there // 2 + (np.arange(wanted) - wanted // 2) * there / wanted, 0, there - 1)
    weights = 1 - np.abs(at[:, None] - np.arange(there))
    return np.maximum(weights, 0).astype(np.float32)
