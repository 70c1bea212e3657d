"""A recorder's own view of its session."""

import contextlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

from capture.session import RecorderProgress, SessionOrder, session_folder

log = logging.getLogger("recorder")


@dataclass
class Session:
    """Tells others how far the recorder is, and hears whether to stop."""

    root: Path
    order: SessionOrder
    progress: RecorderProgress = field(init=False)
    _stop_signalled: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.progress = RecorderProgress(recording_id=self.order.recording_id, simulated=self.order.rig.simulated)

    def tell(self, **changes: object) -> None:
        """Replace the progress file."""
        if changes.get("message") not in (None, self.progress.message):
            log.info("%s", changes["message"])
        self.progress = self.progress.model_copy(update=changes)
        path = session_folder(self.root, self.order.recording_id) / "progress.json"
        temporary = path.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # a full disk must not end a recording for want of a progress line
            temporary.write_text(self.progress.model_dump_json())
            temporary.replace(path)

    def signal_stop(self, *_: object) -> None:
        """Signal handler: end the recording early."""
        self._stop_signalled = True

    def stop_asked(self) -> bool:
        """Whether somebody wants the recording to end."""
        return self._stop_signalled or (session_folder(self.root, self.order.recording_id) / "stop").exists()
