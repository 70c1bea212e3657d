"""What retention would remove, and why the rest stays (docs/retention.md). Removing it is `flows.pruning`. No Prefect in here.

Only what is named here is ever looked at: cubes, runs of studies, pictures and predictions. Recordings, labels, models of
experiments, tables and reports are not, whatever the policy says.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.cube import stored_config
from pipeline.cube_commit import cubes_folder
from pipeline.errors import PipelineError
from pipeline.files import free_bytes
from pipeline.provenance import sha256_file
from pipeline.recording import Recording, open_recording
from pipeline.settings import DerivedKind, RetentionSettings

DAY_S = 86_400.0
PICTURES = ("overview.png", "frame.png", "quality.png", "sync.png", "made_from.json")
"""Those that `maepose process` and a night draw; `instant.png`, by `maepose label`, joins them where the pictures are there."""


@dataclass(frozen=True)
class Derived:
    """One thing that can be made again. `used_s` is the Unix time at which it was last made or read."""

    kind: DerivedKind
    name: str
    paths: tuple[Path, ...]
    bytes: int
    used_s: float

    def unused_days(self, now_s: float) -> float:
        """Days since then; none where a clock that was set back says less."""
        return max(0.0, now_s - self.used_s) / DAY_S


@dataclass(frozen=True)
class PrunePlan:
    """What a policy removes now, the longest unused first, and in words why other things of those kinds stay."""

    root: Path
    policy: RetentionSettings
    going: tuple[Derived, ...]
    kept: tuple[tuple[str, str, str], ...]
    """(kind, name, why)"""
    free_bytes: int
    now_s: float

    @property
    def bytes(self) -> int:
        """That would be free afterwards and are not now."""
        return sum(one.bytes for one in self.going)


@dataclass
class _Needs:
    """What is in use: recordings whose cubes somebody needs, and why; studies whose runs do."""

    recordings: dict[str, str] = field(default_factory=dict)
    every: str = ""
    """Why every cube stays."""
    studies: dict[str, str] = field(default_factory=dict)


def plan(root: Path, policy: RetentionSettings, now_s: float | None = None) -> PrunePlan:
    """What `policy` removes of the data under `root` at Unix time `now_s` (None: now)."""
    now_s, free = time.time() if now_s is None else now_s, free_bytes(root)
    kept: list[tuple[str, str, str]] = []
    needs = _needs(root)
    finders: dict[DerivedKind, Callable[[Path, _Needs], Iterator[Derived | tuple[str, str]]]] = {
        "cubes": _cubes, "runs": _runs, "pictures": _pictures, "predictions": _predictions,
    }  # fmt: skip
    found: list[Derived] = []
    for kind in policy.kinds if policy.active else ():
        for one in finders[kind](root, needs):
            if isinstance(one, Derived):
                found.append(one)
            else:
                kept.append((kind, *one))
    going: list[Derived] = []
    wanted = policy.free_gb * 1e9 if policy.free_gb is not None else None
    for one in sorted(found, key=lambda one: (one.used_s, one.kind, one.name)):
        if policy.keep_days is not None and one.unused_days(now_s) < policy.keep_days:
            kept.append((one.kind, one.name, f"used within {policy.keep_days:g} days"))
        elif wanted is not None and free + sum(other.bytes for other in going) >= wanted:
            kept.append((one.kind, one.name, f"{policy.free_gb:g} GB are free without it"))
        else:
            going.append(one)
    return PrunePlan(root, policy, tuple(going), tuple(kept), free, now_s)


def _needs(root: Path) -> _Needs:
    """Trainings that are not finished keep the cubes they read; a study that is not finished keeps its runs too."""
    needs = _Needs()
    folder = root / "experiments"
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if (path / "study.yaml").is_file():
            _study_needs(root, path, needs)
        elif (path / "run.json").is_file():
            try:
                run = json.loads((path / "run.json").read_bytes())
                asked, finished = run["asked"], bool(run["finished"])
                names = [*asked["recordings"], *asked["validation"]]
            except (OSError, ValueError, KeyError, TypeError):
                needs.every = needs.every or f"what {path.name} was trained on cannot be read"
                continue
            if not finished:
                needs.recordings |= dict.fromkeys(names, f"the training {path.name} is not finished")
    return needs


def _study_needs(root: Path, path: Path, needs: _Needs) -> None:
    from models.study import read_study
    from models.study_folds import resolve
    from models.study_store import read_results

    try:
        under_way = bool(read_results(path).missing)
    except PipelineError:
        under_way = True  # begun, and not as far as its truth
    if not under_way:
        return
    why = f"the study {path.name} is not finished"
    needs.studies[path.name] = why
    try:
        names = resolve(root, read_study(path / "study.yaml")).table["id"]
        needs.recordings |= dict.fromkeys(map(str, names), why)
    except PipelineError as error:
        needs.every = needs.every or f"{why}, and its recordings are not known ({error})"


def _cubes(root: Path, needs: _Needs) -> Iterator[Derived | tuple[str, str]]:
    folder = cubes_folder(root)
    for path in sorted(folder.glob("*.zarr")) if folder.is_dir() else []:
        name = path.name.removesuffix(".zarr")
        why = needs.every or needs.recordings.get(name) or ("a link" if path.is_symlink() else "")
        why = why or _cannot_be_made_again(root, name)
        if why:
            yield name, why
            continue
        files = [file for file in path.rglob("*") if file.is_file()]
        yield Derived("cubes", name, (path,), _size(files), _cube_used_s(path))


def _cannot_be_made_again(root: Path, recording_id: str) -> str:
    """Why a cube could not be made again from what is under `root`; empty where it could."""
    recording = _raw(root, recording_id)
    if isinstance(recording, str):
        return recording
    try:
        known = stored_config(root, recording_id)
    except PipelineError as error:
        return str(error)
    return "" if known is not None else "what it was made with is lost"


def _raw(root: Path, recording_id: str) -> Recording | str:
    """The recording that something was made from, whole by its sizes; else why that cannot be."""
    try:
        recording = open_recording(root, recording_id)
    except PipelineError as error:
        return f"its recording is gone or cannot be read ({error})"
    sealed = recording.manifest.digests.get("adc.bin")
    if not recording.sealed or sealed is None or sealed.bytes != recording.stream_bytes:
        return "its recording is not the one that was sealed"
    return recording


def _runs(root: Path, needs: _Needs) -> Iterator[Derived | tuple[str, str]]:
    """Weights and curves behind the predictions of finished studies: no table needs them."""
    for path in sorted((root / "experiments").glob("*/runs/*")):
        study = path.parents[1]
        if path.name.startswith(".") or not path.is_dir() or not (study / "study.yaml").is_file():
            continue
        name = f"{study.name}/{path.name}"
        links = any(one.is_symlink() for one in (study, path.parent, path))
        why = needs.studies.get(study.name) or ("a link" if links else "")
        if why:
            yield name, why
            continue
        files = [file for file in path.rglob("*") if file.is_file()]
        yield Derived("runs", name, (path,), _size(files), max(map(_used_s, files or [path])))


def _pictures(root: Path, _: _Needs) -> Iterator[Derived | tuple[str, str]]:
    for path in sorted((root / "pictures").glob("*")):
        if path.is_symlink() or not path.is_dir():
            continue
        recording = _raw(root, path.name)
        if isinstance(recording, str):
            yield path.name, recording
            continue
        names = PICTURES if recording.manifest.removed else (*PICTURES, "instant.png")
        files = tuple(path / name for name in names if (path / name).is_file())
        if files:
            yield Derived("pictures", path.name, files, _size(files), max(map(_used_s, files)))


def _predictions(root: Path, _: _Needs) -> Iterator[Derived | tuple[str, str]]:
    """Predictions whose model is still there."""
    from pipeline.predictions import read_making

    models = {sha256_file(path) for path in (root / "experiments").glob("*/model.safetensors")}
    for path in sorted((root / "predictions").glob("*.parquet")):
        making = None if path.is_symlink() else read_making(path)
        if making is None or making.model_sha256 not in models:
            yield path.stem, "the model that made it is not among the experiments any more"
        else:
            yield Derived("predictions", path.stem, (path,), _size([path]), _used_s(path))


def used_since(one: Derived) -> bool:
    """Whether somebody has made or read it anew since it was planned to go."""
    if one.kind == "cubes":
        return _cube_used_s(one.paths[0]) > one.used_s
    return (
        max(_used_s(file) for path in one.paths for file in (path.rglob("*") if path.is_dir() else [path])) > one.used_s
    )


def _cube_used_s(store: Path) -> float:
    """By its shards alone: every night looks at the small files."""
    files = [file for file in store.rglob("*") if file.is_file()]
    shards = [file for file in files if "c" in file.relative_to(store).parts[:-1]]
    return max(map(_used_s, shards or files or [store]))


def _size(files: "list[Path] | tuple[Path, ...]") -> int:
    return sum(file.lstat().st_size for file in files)


def _used_s(path: Path) -> float:
    """When a file was last written or, where the file system notes that, read."""
    stat = path.lstat()
    return max(stat.st_mtime, stat.st_atime)
