"""Locks of the operating system (`flock`): they go with the process that holds them, however it ends."""

import fcntl
import time
from typing import IO

LOOK_S = 0.2


def take_lock(file: IO[str] | IO[bytes] | int, wait_s: float = 0.0) -> bool:
    """Take the lock of an open file for this process alone; False where another one still holds it after `wait_s`."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(LOOK_S, left_s))
        else:
            return True
