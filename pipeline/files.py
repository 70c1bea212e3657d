"""Writing small files so that a reader sees the old one or the new one, never half of either."""

import os
import secrets
import shutil
from pathlib import Path

from pydantic import BaseModel

from pipeline.errors import PipelineError


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace `path` by `data` in one step that survives a power cut: temporary file, fsync, rename, fsync of the folder."""
    # by chance: machines that share a disk share process ids
    temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(8)}")
    try:
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_changed(path: Path, text: str) -> None:
    """Write `text` in one atomic step, with its folder; a file that says so already is left alone. PipelineError as it fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != text.encode():
            write_atomic(path, text)
    except OSError as error:
        raise PipelineError(
            f"{path} cannot be written ({error.strerror}); make room or choose another root."
        ) from error


def write_report(path: Path, report: BaseModel) -> None:
    """Write a model as JSON in one atomic step, with its folder; PipelineError when the disk does not take it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, report.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise PipelineError(
            f"The report {path} cannot be written ({os.strerror(error.errno or 0)}); "
            "make room or name a writable data root with --root."
        ) from error


def free_bytes(path: Path) -> int:
    """Free space where `path` lies, or will lie once its folders are made."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(there).free


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
