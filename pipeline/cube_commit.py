"""What makes a cube store whole: where it lies, the key it is addressed by, its commit marker, and checking it against that.

`commit.json` is written when everything else has been verified. It names the store's key and, for every other file, size
and CRC-32C. A store without its marker, or that is not what the marker says, does not open.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.cube_config import CubeConfig
from pipeline.cube_layout import SCHEMA_VERSION
from pipeline.cube_shards import FileSum, file_sum
from pipeline.errors import PipelineError
from pipeline.provenance import sha256_json

MARKER = "commit.json"
CubeStatus = Literal["missing", "stale", "current", "damaged"]


def cubes_folder(root: Path) -> Path:
    """Where cubes lie under a data root."""
    return root / "cubes"


def cube_path(root: Path, recording_id: str) -> Path:
    """Where the cube of a recording lies."""
    return cubes_folder(root) / f"{recording_id}.zarr"


def temporary_path(root: Path, recording_id: str, key: str) -> Path:
    """Where the cube of a recording grows until it is whole."""
    return cubes_folder(root) / f"{recording_id}.zarr.tmp-{key[:16]}"


def cube_key(raw_digest: str, config: CubeConfig, algorithm_version: str) -> str:
    """What a cube is addressed by: hex SHA-256 of raw digest (samples and waveform), configuration, algorithm and schema."""
    return sha256_json(
        {
            "raw": raw_digest,
            "config": config.model_dump(mode="json"),
            "algorithm": algorithm_version,
            "schema": SCHEMA_VERSION,
        }
    )


class CommitMarker(BaseModel):
    """`commit.json`: the store is whole, and this is what it holds. `files` maps a path to [bytes, CRC-32C]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    recording: str
    key: str
    frames: int
    committed_utc: str
    files: dict[str, tuple[int, int]]


def read_marker(store: Path) -> CommitMarker:
    """The commit marker of the store at `store`; PipelineError where there is none that this version reads."""
    recording_id = store.name.split(".zarr")[0]
    rebuild = f"rebuild it with `maepose process {recording_id} --force`."
    if not store.is_dir():
        raise PipelineError(f"There is no cube of {recording_id}; make it with `maepose process {recording_id}`.")
    try:
        marker = CommitMarker.model_validate_json((store / MARKER).read_bytes())
    except FileNotFoundError:
        raise PipelineError(
            f"The cube of {recording_id} has no commit marker: it is half written or was never verified; {rebuild}"
        ) from None
    except OSError as error:
        raise PipelineError(f"{store / MARKER} cannot be read: {error.strerror}.") from error
    except ValidationError:
        raise PipelineError(f"The commit marker of the cube of {recording_id} cannot be read; {rebuild}") from None
    if marker.schema_version != SCHEMA_VERSION:
        raise PipelineError(
            f"The cube of {recording_id} has layout version {marker.schema_version}, "
            f"this program reads {SCHEMA_VERSION}; {rebuild}"
        )
    return marker


def store_problems(store: Path, marker: CommitMarker, *, deep: bool = False) -> Iterator[str]:
    """What differs from the commit marker, one sentence each.

    Shallow: every file is there with its size, and the metadata is unchanged (milliseconds). Deep: every byte is re-read.
    """
    for name, (size, crc32c) in marker.files.items():
        try:
            found = (store / name).stat().st_size
            if found != size:
                yield f"{name} has {found} bytes where {size} were committed"
            elif (deep or name.endswith("zarr.json")) and file_sum(store / name) != FileSum(size, crc32c):
                yield f"{name} is not what was committed: its checksum differs"
        except FileNotFoundError:
            yield f"{name} is gone"
        except OSError as error:
            yield f"{name} cannot be read ({error.strerror})"


def store_status(root: Path, recording_id: str, key: str) -> CubeStatus:
    """How the cube of a recording stands to the `key` it should have. `damaged` outranks `stale`."""
    store = cube_path(root, recording_id)
    if not store.is_dir():
        return "missing"
    try:
        marker = read_marker(store)
    except PipelineError:
        return "damaged"
    if next(store_problems(store, marker), None) is not None:
        return "damaged"
    return "current" if marker.key == key else "stale"
