"""Which recorder belongs to which flow run: noted on disk, because the run's own process may be dead when it is asked."""

from pathlib import Path
from uuid import UUID

from capture.session import RecorderHandle, attach
from flows.address import server_home


def remember_session(root: Path, run_id: UUID | str, handle: RecorderHandle) -> None:
    """Note that flow run `run_id` started this recorder."""
    path = _note(root, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(handle.recording_id)


def session_of_run(root: Path, run_id: UUID | str | None) -> RecorderHandle | None:
    """The recorder that flow run `run_id` started, if it did."""
    if run_id is None or not _note(root, run_id).is_file():
        return None
    return attach(root, _note(root, run_id).read_text())


def _note(root: Path, run_id: UUID | str) -> Path:
    return server_home(root) / "captures" / str(run_id)
