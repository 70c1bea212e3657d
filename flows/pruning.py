"""Removing what `flows.retention` says may go: under the locks of those who make it, whole or not at all. No Prefect in here."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flows.retention import Derived, PrunePlan, used_since
from pipeline.cube import stored_config
from pipeline.cube_commit import cube_path, cubes_folder, read_marker
from pipeline.errors import PipelineError
from pipeline.files import sync_folder
from pipeline.locks import open_lock, take_lock
from pipeline.pruned import PrunedCube, note_pruned
from processing.cubes import cube_lock

REMOVABLE = ("cubes", "experiments", "pictures", "predictions")
"""Folders of the data root in which anything is removed."""


def remove(plan: PrunePlan) -> tuple[tuple[Derived, ...], tuple[tuple[str, str, str], ...]]:
    """Remove what is planned; returns what went, and (kind, name, why) of what somebody is at just now.

    Killed on the way it leaves nothing half removed under its own name; the next call removes the rest. Raises PipelineError
    where the disk does not let it.
    """
    gone: list[Derived] = []
    kept: list[tuple[str, str, str]] = []
    try:
        _sweep(plan.root)
        for one in plan.going:
            try:
                _remove(plan.root, one)
            except BlockingIOError:
                kept.append((one.kind, one.name, "somebody is at it just now"))
            except PipelineError as error:
                kept.append((one.kind, one.name, str(error)))
            else:
                gone.append(one)
    except OSError as error:
        raise PipelineError(
            f"{error.filename or plan.root} cannot be removed ({error.strerror}); run `maepose prune` as its owner."
        ) from error
    return tuple(gone), tuple(kept)


def _remove(root: Path, one: Derived) -> None:
    for path in one.paths:
        _check(root, path)
    if used_since(one):
        raise PipelineError("it was made or read a moment ago")
    if one.kind == "cubes":
        with cube_lock(root, one.name):
            _remove_cube(root, one)
    elif one.kind == "runs":
        (run,) = one.paths
        with _nobody_at(run.parents[1] / "locks"):
            aside = run.with_name(f".pruned-{run.name}")
            run.rename(aside)
            shutil.rmtree(aside)
    else:
        for path in one.paths:
            path.unlink(missing_ok=True)
        if one.kind == "pictures" and not any((folder := one.paths[0].parent).iterdir()):
            folder.rmdir()


def _remove_cube(root: Path, one: Derived) -> None:
    """The note first, then the name, then the files: at no moment is a half cube one."""
    store = cube_path(root, one.name)
    config = stored_config(root, one.name)
    if config is None:
        raise PipelineError("what it was made with is lost")
    try:
        key = read_marker(store).key
    except PipelineError:
        key = ""  # damaged, and the night would make it again
    note_pruned(root, PrunedCube(recording=one.name, key=key, config=config, bytes=one.bytes))
    aside = _aside(store)
    store.rename(aside)
    sync_folder(aside.parent)
    shutil.rmtree(aside)


def _aside(store: Path) -> Path:
    """A temporary name that `processing.cubes` knows as left over."""
    return store.with_name(f"{store.name}.tmp-pruned")


def _sweep(root: Path) -> None:
    """What a call that was killed had already put aside."""
    left = [*cubes_folder(root).glob("*.zarr.tmp-pruned"), *(root / "experiments").glob("*/runs/.pruned-*")]
    for path in left:
        _check(root, path)
        shutil.rmtree(path)


def _check(root: Path, path: Path) -> None:
    """Nothing is removed elsewhere, whatever a plan says: a fault of this program, not of a person."""
    inside = path.relative_to(root)
    if inside.parts[0] not in REMOVABLE or len(inside.parts) < 2 or ".." in inside.parts or path.is_symlink():
        raise AssertionError(f"{path} is nothing that retention removes")


@contextmanager
def _nobody_at(locks: Path) -> Iterator[None]:
    """Hold every lock of a study; BlockingIOError where somebody holds one."""
    with ExitStack() as stack:
        for path in sorted(locks.iterdir()) if locks.is_dir() else []:
            if not take_lock(stack.enter_context(open_lock(path))):
                raise BlockingIOError(f"{path} is held by another process")
        yield
