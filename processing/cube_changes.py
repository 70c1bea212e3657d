"""What a rebuilt cube changed: two stores side by side, a few frames in memory, whatever their length.

Maps are compared at every frame; of `rad`, which is far larger, `RAD_FRAMES` frames spread evenly, the first and the last
among them. Values are compared as a reader gets them: in dBFS, or in [0, 1] where a cube scales each frame by itself.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from pipeline.cube import Cube, open_store
from pipeline.cube_config import Product
from pipeline.errors import PipelineError

RAD_FRAMES = 64
_MAP_FRAMES = 16  # read at a time: a chunk or more of every map
_FROZEN = ConfigDict(frozen=True, extra="forbid")


class CubeMaking(BaseModel):
    """What a cube was made from and with, as its store says."""

    model_config = _FROZEN

    key: str
    raw_digest: str
    algorithm_version: str
    schema_version: int
    config: dict[str, Any]
    versions: dict[str, str]


class Values(BaseModel):
    """One product of one cube: bins of its axes, its unit, and mean and maximum of the frames compared."""

    model_config = _FROZEN

    shape: tuple[int, ...] = Field(description="frames first")
    unit: str = Field(description="dB, or 1 where each frame is scaled to [0, 1]")
    mean: float
    maximum: float


class ProductChange(BaseModel):
    """One product before and after; the differences are None where shapes or units do not allow one cell beside the other."""

    model_config = _FROZEN

    product: Product
    frames_compared: int
    before: Values | None = Field(None, description="None: the cube did not hold it")
    after: Values | None = Field(None, description="None: the cube no longer holds it")
    share_changed: float | None = Field(None, description="of cells, 0 to 1")
    mean_difference: float | None = Field(None, description="of absolute differences, in the unit of the values")
    largest_difference: float | None = None


class CubeChange(BaseModel):
    """A cube that took another's place."""

    model_config = _FROZEN

    recording: str
    simulated: bool
    before: CubeMaking | None = Field(None, description="None: the old cube no longer said it")
    after: CubeMaking
    products: tuple[ProductChange, ...] = ()
    not_compared: str = Field("", description="why values are missing: the old cube could not be read")

    def reasons(self) -> list[str]:
        """What differs in how the two were made, a few words each; empty where they were made alike."""
        if self.before is None:
            return []
        old, new = self.before, self.after
        said = []
        if old.raw_digest != new.raw_digest:
            said.append("other samples or another waveform")
        for name in ("algorithm_version", "schema_version"):
            if getattr(old, name) != getattr(new, name):
                said.append(f"{name.replace('_', ' ')} {getattr(old, name)} -> {getattr(new, name)}")
        return said + _differences(old.config, new.config) + _differences(old.versions, new.versions)


def compare_stores(old: Path, new: Path) -> CubeChange:
    """What the whole store `new` says otherwise than `old`.

    An old store that does not read is no hindrance: `not_compared` says what is wrong with it. Raises PipelineError where the new
    one does not read.
    """
    fresh = open_store(new)
    after, simulated = _making(fresh), fresh.simulated
    before = None
    try:
        stale = open_store(old)
        before = _making(stale)
        old_values = {name: _Summary(stale, name) for name in stale.config.products}
    except PipelineError as error:
        return CubeChange(
            recording=fresh.recording, simulated=simulated, before=before, after=after, not_compared=str(error)
        )
    new_values = {name: _Summary(fresh, name) for name in fresh.config.products}
    names = [name for name in get_args(Product) if name in old_values or name in new_values]
    products, trouble = [], ""
    for name in names:
        change, sentence = _compare(name, old_values.get(name), new_values.get(name))
        products.append(change)
        trouble = trouble or sentence
    return CubeChange(
        recording=fresh.recording,
        simulated=simulated,
        before=before,
        after=after,
        products=tuple(products),
        not_compared=trouble,
    )


class _Summary:
    """Running mean and maximum of one product of one cube."""

    def __init__(self, cube: Cube, name: Product) -> None:
        self.cube, self.name = cube, name
        self.scaled = name != "rad" and cube.config.frame_minmax
        self.shape = cube.shape(name)
        self._sum, self._cells, self._maximum = 0.0, 0, -np.inf

    def read(self, frames: slice) -> Float[np.ndarray, "..."]:
        """Values of some frames, counted on the way."""
        values = getattr(self.cube, self.name)(frames) if self.scaled else self.cube.decibels(self.name, frames)
        self._sum += float(values.sum(dtype=np.float64))
        self._cells += values.size
        self._maximum = max(self._maximum, float(values.max()))
        return values

    def values(self) -> Values | None:
        """None where nothing was read."""
        if not self._cells:
            return None
        unit, mean = "1" if self.scaled else "dB", self._sum / self._cells
        return Values(shape=self.shape, unit=unit, mean=mean, maximum=self._maximum)


def _compare(name: Product, old: _Summary | None, new: _Summary | None) -> tuple[ProductChange, str]:
    """Both read frame by frame; the sentence says where the old one stopped to read."""
    alike = old is not None and new is not None and (old.shape, old.scaled) == (new.shape, new.scaled)
    compared = changed = cells = 0
    total, largest, trouble = 0.0, 0.0, ""
    for frames in _frames(name, min(summary.shape[0] for summary in (old, new) if summary is not None)):
        after = new.read(frames) if new is not None else None
        try:
            before = old.read(frames) if old is not None and not trouble else None
        except PipelineError as error:
            before, trouble = None, str(error)
        compared += frames.stop - frames.start
        if alike and before is not None and after is not None:
            difference = np.abs(np.subtract(after, before, dtype=np.float32))
            changed += int(np.count_nonzero(difference))
            cells += difference.size
            total += float(difference.sum(dtype=np.float64))
            largest = max(largest, float(difference.max()))
    known = alike and not trouble and cells > 0
    return (
        ProductChange(
            product=name,
            frames_compared=compared,
            before=None if old is None or trouble else old.values(),
            after=None if new is None else new.values(),
            share_changed=changed / cells if known else None,
            mean_difference=total / cells if known else None,
            largest_difference=largest if known else None,
        ),
        trouble,
    )


def _frames(name: Product, frames: int) -> Iterator[slice]:
    """Frames to read at a time."""
    if name == "rad":
        for frame in np.unique(np.linspace(0, frames - 1, min(frames, RAD_FRAMES)).round().astype(int)):
            yield slice(int(frame), int(frame) + 1)
    else:
        for first in range(0, frames, _MAP_FRAMES):
            yield slice(first, min(first + _MAP_FRAMES, frames))


def _making(cube: Cube) -> CubeMaking:
    said = cube.attributes["provenance"]
    return CubeMaking(
        key=cube.key,
        raw_digest=said["raw_digest"],
        algorithm_version=str(said["algorithm_version"]),
        schema_version=cube.marker.schema_version,
        config=cube.config.model_dump(mode="json"),
        versions=said.get("versions", {}),
    )


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """`db_step 0.5 -> 1.0` of each value that differs."""
    names = [name for name in old | new if old.get(name) != new.get(name)]
    return [f"{name} {_word(old, name)} -> {_word(new, name)}" for name in names]


def _word(values: dict[str, Any], name: str) -> str:
    value = values.get(name, "-")
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
