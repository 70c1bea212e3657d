"""Building a recording that is not captured live: under a hidden name, until it is whole."""

import errno
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.recording import recordings_folder

UNTOUCHED_DAYS = 7
"""Of what another machine builds nobody here knows whether it is alive; once nothing was written this long, it is removed."""


@contextmanager
def building_folder(root: Path, recording_id: str) -> Iterator[Path]:
    """A hidden folder to build a recording in; it becomes `recordings/<id>` at the end, or is removed.

    So what fails or is killed half-way leaves nothing that looks like a recording. Raises PipelineError when the id is taken,
    the disk is full or the data root cannot be written.
    """
    final = recordings_folder(root) / recording_id
    own = f".building-{recording_id}-{socket.gethostname()}-"
    building = final.with_name(f"{own}{os.getpid()}")
    taken = PipelineError(
        f"There is already a recording {recording_id!r} under {root}; choose another id, recordings are never overwritten."
    )
    if final.exists():
        raise taken
    try:
        for left in final.parent.glob(f".building-{recording_id}-*"):
            process = left.name.removeprefix(own)
            killed = not _is_running(int(process)) if process.isdigit() else _days_untouched(left) > UNTOUCHED_DAYS
            if killed:
                _remove(left)
        building.mkdir(parents=True)
    except OSError as error:
        raise PipelineError(
            f"The data root {root} cannot be written ({error.strerror}); name a writable one with --root or MAEPOSE_ROOT."
        ) from error
    try:
        yield building
        try:
            building.rename(final)
        except OSError as error:
            if final.exists():
                raise taken from None
            raise PipelineError(f"{final} cannot be made: {error.strerror}.") from error
    except OSError as error:
        full = error.errno == errno.ENOSPC
        raise PipelineError(
            f"The disk of {root} is full; free some space and start again."
            if full
            else f"{error.filename or root} failed: {error.strerror or error}."
        ) from error
    finally:
        if building.exists():
            _remove(building)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _days_untouched(folder: Path) -> float:
    """Since anything in a folder was last written."""
    try:
        newest_s = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:  # just now: it became a recording, or is being written
        return 0.0
    return (time.time() - newest_s) / 86_400


def _remove(folder: Path) -> None:
    folder.chmod(0o755)  # sealing may have taken the right away
    shutil.rmtree(folder, ignore_errors=True)
