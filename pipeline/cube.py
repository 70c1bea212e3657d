"""A committed cube store, `<root>/cubes/<id>.zarr`, opened and read. `cube_writer.py` writes it."""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import zarr
from jaxtyping import Bool, Float, Float32, Float64, Int64, Num
from pydantic import ValidationError

from pipeline.cube_commit import (
    MARKER,
    CommitMarker,
    CubeStatus,
    cube_key,
    cube_path,
    cubes_folder,
    read_marker,
    store_problems,
    store_status,
)
from pipeline.cube_config import CubeConfig
from pipeline.cube_layout import CubeAxes, Product
from pipeline.errors import PipelineError
from pipeline.pruned import read_pruned
from pipeline.waveform import Waveform

if TYPE_CHECKING:
    import xarray

__all__ = [
    "MARKER",
    "Cube",
    "CubeAxes",
    "CubeStatus",
    "cube_key",
    "cube_path",
    "cubes_folder",
    "open_cube",
    "open_store",
    "store_status",
    "stored_config",
]


def open_cube(root: Path, recording_id: str) -> "Cube":
    """The committed cube of a recording.

    Raises PipelineError where there is none, where it is half written, and where its files are not those of its marker.
    """
    return open_store(cube_path(root, recording_id))


def open_store(store: Path) -> "Cube":
    """The committed cube at `store`, whatever its name; PipelineError as `open_cube`."""
    marker = read_marker(store)
    problem = next(store_problems(store, marker), None)
    if problem is not None:
        recording_id = marker.recording
        raise PipelineError(
            f"The cube of {recording_id} is damaged: {problem}; rebuild it with `maepose process {recording_id} --force`."
        )
    return Cube(store, marker)


def stored_config(root: Path, recording_id: str) -> CubeConfig | None:
    """What the cube of a recording says it was made with, even where its arrays are damaged; None where nothing says it.

    Of a cube that retention removed the note says it. Raises PipelineError where it says what this version does not know: then
    no one can make it the same way again.
    """
    try:
        said = json.loads((cube_path(root, recording_id) / "zarr.json").read_bytes())
        config = said["attributes"]["provenance"]["config"]
    except (OSError, ValueError, KeyError, TypeError):
        pruned = None if cube_path(root, recording_id).exists() else read_pruned(root, recording_id)
        return pruned.config if pruned is not None else None
    return _config_of(recording_id, config)


def _config_of(recording_id: str, config: Any) -> CubeConfig:
    try:
        return CubeConfig.model_validate(config)
    except ValidationError as error:
        first = error.errors()[0]
        raise PipelineError(
            f"The cube of {recording_id} was made with a configuration this version does not know "
            f"({'.'.join(map(str, first['loc']))}: {first['msg']}); choose one it knows with "
            f"`maepose process {recording_id} --preset default`."
        ) from None


@dataclass(frozen=True)
class Cube:
    """A committed cube store, read frame by frame.

    Axes ascend (range may descend: preset `paper`) as `axes` says; receding is positive velocity, right is positive azimuth.
    Cheap to make: the Zarr group is opened on the first read, so data-loader workers can each open their own.
    """

    path: Path
    marker: CommitMarker

    @property
    def recording(self) -> str:
        """Id of the recording it was made from."""
        return self.marker.recording

    @property
    def key(self) -> str:
        """What it was made from and with, as `cube_key` digests it."""
        return self.marker.key

    @property
    def frames(self) -> int:
        """Frames, lossy ones included."""
        return self.marker.frames

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Group attributes: waveform, radar_cfg, antenna_layout, calibration, axis_directions, provenance, simulated, ..."""
        return dict(self._group.attrs)

    @property
    def simulated(self) -> bool:
        """True when no physical radar was involved."""
        return bool(self.attributes["simulated"])

    @cached_property
    def waveform(self) -> Waveform:
        """Chirp and frame configuration of the recording."""
        return Waveform.model_validate(self.attributes["waveform"])

    @cached_property
    def config(self) -> CubeConfig:
        """What the cube was made with."""
        return _config_of(self.recording, self.attributes["provenance"]["config"])

    @cached_property
    def axes(self) -> CubeAxes:
        """Bin centres: metres, degrees, m/s."""
        return CubeAxes(self._whole("range"), self._whole("azimuth"), self._whole("velocity"))

    @cached_property
    def time_s(self) -> Float64[np.ndarray, " frame"]:
        """Time of each frame since the first."""
        return self._whole("time")

    @cached_property
    def valid(self) -> Bool[np.ndarray, " frame"]:
        """False for each frame that lost bytes."""
        return self._whole("valid")

    @cached_property
    def missing_bytes(self) -> Int64[np.ndarray, " frame"]:
        """Bytes lost in each frame."""
        return self._whole("missing_bytes")

    @cached_property
    def loop_valid(self) -> Bool[np.ndarray, "frame loop"]:
        """False for each loop that lost bytes."""
        return self._whole("loop_valid")

    def rad(self, frames: int | slice) -> Num[np.ndarray, "*frame range azimuth doppler"]:
        """One frame or a slice of frames: dB from uint8 or float16, linear power from float32, amplitude from complex64."""
        return self._decoded("rad", frames)

    def rd(self, frames: int | slice) -> Float32[np.ndarray, "*frame range doppler"]:
        """Range-Doppler map of one frame or a slice: linear power summed over azimuth (or [0, 1]: `config.frame_minmax`)."""
        return self._decoded("rd", frames)

    def ra(self, frames: int | slice) -> Float32[np.ndarray, "*frame range azimuth"]:
        """Range-azimuth map of one frame or a slice: linear power summed over Doppler (or [0, 1]: `config.frame_minmax`)."""
        return self._decoded("ra", frames)

    def decibels(self, name: Product, frames: int | slice) -> Float[np.ndarray, "..."]:
        """Any product in dBFS, at least `config.db_floor`, however it was stored. A map scaled frame by frame has no dB."""
        if name != "rad" and self.config.frame_minmax:
            raise PipelineError(
                f"{name} of {self.recording} is scaled to [0, 1] frame by frame, which has no dB; "
                "process it without frame_minmax."
            )
        values = self._decoded(name, frames)
        if name == "rad" and self.config.dtype in ("uint8", "float16"):
            return values
        power = values.real**2 + values.imag**2 if np.iscomplexobj(values) else values
        return 10 * np.log10(np.maximum(power, np.float32(10 ** (self.config.db_floor / 10))))

    def stored(self, name: Product, frames: int | slice) -> Num[np.ndarray, "..."]:
        """Values as they lie on disk: uint8 steps, say. Raises PipelineError naming array and file where bytes have rotted."""
        if name not in self.config.products:
            raise PipelineError(
                f"The cube of {self.recording} holds {', '.join(self.config.products)}, not {name}; "
                f"process it with a configuration whose products include {name}."
            )
        rows = range(self.frames)[frames] if isinstance(frames, slice) else [frames]
        if not isinstance(frames, slice) and not 0 <= frames < self.frames:
            raise PipelineError(f"The cube of {self.recording} has frames 0 to {self.frames - 1}, not {frames}.")
        if isinstance(frames, slice) and (frames.step or 1) < 0:
            raise PipelineError(f"Frames of {self.recording} are read in ascending order, not with step {frames.step}.")
        array = self._array(name)
        assert array.shards is not None
        for shard in sorted({row // array.shards[0] for row in rows}):
            self._still_there("/".join([name, "c", str(shard), *("0" * (array.ndim - 1))]))
        with self._readable(f"array {name}, frame {frames}"):
            return cast("np.ndarray", array[frames])

    def shape(self, name: Product) -> tuple[int, ...]:
        """Bins of a product's axes, frames first."""
        with self._readable(f"array {name}"):
            return tuple(self._array(name).shape)

    def verify(self, *, deep: bool = False) -> tuple[str, ...]:
        """What is wrong with the store, one sentence each; `deep` re-reads every byte."""
        return tuple(store_problems(self.path, self.marker, deep=deep))

    def to_xarray(self) -> "xarray.Dataset":
        """The whole store, lazily, with axes and units; `rad` decodes to dB; `.sel` works on `velocity` as on `doppler`."""
        import xarray

        dataset = xarray.open_zarr(self.path, consolidated=True, chunks=None)
        return dataset.set_xindex("velocity")

    @cached_property
    def _group(self) -> zarr.Group:
        with self._readable("its metadata"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            return zarr.open_group(str(self.path), mode="r", use_consolidated=True)

    def _array(self, name: str) -> zarr.Array:
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return array

    def _whole(self, name: str) -> np.ndarray:
        with self._readable(f"array {name}"):
            return cast("np.ndarray", self._array(name)[...])

    def _decoded(self, name: Product, frames: int | slice) -> np.ndarray:
        values = self.stored(name, frames)
        attributes = self._array(name).attrs
        if "scale_factor" not in attributes:
            return values
        scale, offset = cast("float", attributes["scale_factor"]), cast("float", attributes["add_offset"])
        return (np.arange(256) * scale + offset).astype(np.float32)[values]  # a table: half the time of the arithmetic

    def _still_there(self, name: str) -> None:
        """Zarr reads a shard that is gone as zeros: look before reading, and at the marker, lest the store was replaced."""
        try:
            committed = json.loads((self.path / MARKER).read_bytes())["key"]
            same = committed == self.key and os.stat(self.path / name).st_size == self.marker.files[name][0]
        except (OSError, ValueError, KeyError):
            same = False
        if not same:
            raise PipelineError(
                f"The cube of {self.recording} changed since it was opened ({name}); open it again, and if that fails "
                f"rebuild it with `maepose process {self.recording} --force`."
            )

    @contextmanager
    def _readable(self, what: str) -> Iterator[None]:
        """Turn what Zarr and the codecs raise on bad bytes into the sentence a person can act on."""
        try:
            yield
        except PipelineError:
            raise
        except (ValueError, RuntimeError, KeyError, OSError, IndexError) as error:
            raise PipelineError(
                f"The cube of {self.recording} is damaged on disk: {what} does not read ({error}); "
                f"rebuild it with `maepose process {self.recording} --force`."
            ) from error
