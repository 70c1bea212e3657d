"""What each picture of a folder was drawn from, by digest, in `made_from.json` beside it.

Times of files cannot say that: on a machine whose clock was set back an old picture is newer than what it no longer shows.
"""

import json
from pathlib import Path

from pipeline.files import write_atomic

NAME = "made_from.json"


def is_made_from(path: Path, digest: str) -> bool:
    """Whether `path` is there and was last drawn from what has this digest."""
    return path.exists() and _noted(path.parent).get(path.name) == digest


def note_made_from(path: Path, digest: str) -> None:
    """Note, durably and after it was drawn, what `path` was drawn from. OSError where the disk does not take it."""
    noted = _noted(path.parent) | {path.name: digest}
    write_atomic(path.parent / NAME, json.dumps(noted, indent=1, sort_keys=True) + "\n")


def _noted(folder: Path) -> dict[str, str]:
    try:
        noted = json.loads((folder / NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}
