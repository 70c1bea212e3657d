"""Waiting for what another process does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

LOOK_EVERY_S = 0.2
T = TypeVar("T")


def wait_for(find: Callable[[], T | None], within_s: float = 180.0, what: str = "it") -> T:
    """What `find` returns, once it returns something."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = find()
        if found:
            return found
        time.sleep(LOOK_EVERY_S)
    raise AssertionError(f"{what} did not happen within {within_s:g} s")


def killed_once_there(program: str, cwd: Path) -> None:
    """Run Python's `program` until it prints `there`, and kill it (-9) then."""
    child = subprocess.Popen([sys.executable, "-c", program], cwd=cwd, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "there\n"
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait(60)
        child.stdout.close()
