"""Which recorder belongs to which flow run: noted on disk, because the run's own process may be dead when it is asked."""

from pathlib import Path
from uuid import UUID

from capture.session import RecorderHandle, attach, session_known
from flows.address import server_home
from pipeline.files import write_atomic


def remember_session(root: Path, run_id: UUID | str, handle: RecorderHandle) -> None:
    """Note that flow run `run_id` started this recorder."""
    path = _note(root, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, handle.recording_id)


def session_of_run(root: Path, run_id: UUID | str | None) -> RecorderHandle | None:
    """The recorder that flow run `run_id` started; None where it started none, and where that session is not there any more."""
    if run_id is None or not _note(root, run_id).is_file():
        return None
    recording_id = _note(root, run_id).read_text(errors="replace")
    return attach(root, recording_id) if recording_id and session_known(root, recording_id) else None


def _note(root: Path, run_id: UUID | str) -> Path:
    return server_home(root) / "captures" / str(run_id)
