"""Paths in the parameters of flow runs: whoever may start a run may name what lies in the data root, and nothing else.

At the command line a verb has the rights of the person who types it. A flow run has the worker's, and is asked for by whoever
reaches the server; so a path must lie in the data root as it is written. A link that somebody laid in the data root is followed:
parameters make no links.
"""

from pathlib import Path

from pipeline.errors import PipelineError


def path_inside(text: str, root: Path, *others: Path) -> Path:
    """The path `text` in `root`, where a relative one begins; PipelineError where it lies outside `root` and `others`."""
    path = Path(text)
    whole = root / path
    climbs = ".." in path.parts or text.startswith("~") or "\0" in text
    if climbs or not any(whole.is_relative_to(folder) for folder in (root, *others)):
        raise PipelineError(
            f"{text!r} lies outside the data root {root}, and a flow run reads nothing there; copy it into the data root, or "
            "link it there."
        )
    return whole


def name_or_path_inside(text: str, root: Path) -> str:
    """`text` where it is a name and not a file; PipelineError for a path that lies outside `root`."""
    path = path_inside(text, root)
    return str(path) if path.exists() else text
