"""A notification block that needs no account anywhere: one line in the log of the Prefect server.

The plugin makes it known to a server that starts in the project, because it is the server that sends notifications.
"""

import sys
from datetime import UTC, datetime

from prefect.blocks.abstract import NotificationBlock

LOG_BLOCK = "maepose-log"


class LogNotice(NotificationBlock):
    """Writes notices into the log of the Prefect server."""

    _block_type_name = "Maepose log"
    _block_type_slug = "maepose-log"

    async def notify(self, body: str, subject: str | None = None) -> None:
        """Write one line: when, what about, and the sentence."""
        words = " ".join(f"{subject or 'notice'}. {body}".split())
        sys.stderr.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} maepose notice: {words}\n")
        sys.stderr.flush()
