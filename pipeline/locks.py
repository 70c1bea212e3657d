"""Locks of the operating system (`flock`): they go with the process that holds them, however it ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LOOK_S = 0.2


@contextmanager
def open_lock(path: Path) -> Iterator[int]:
    """A lock's file, made where there is none, that every account of the machine may lock too; OSError as of opening."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        os.fchmod(handle, 0o644)  # whatever the umask is: others must be able to open it
    except FileExistsError:
        try:
            handle = os.open(path, os.O_RDWR)  # a network file system locks for one alone only what may be written
        except PermissionError:
            handle = os.open(path, os.O_RDONLY)  # another account's: the lock needs no more
    try:
        yield handle
    finally:
        os.close(handle)


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


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file, which is only read for that; False where there is no such file."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who ask at once do not take each other for it
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
