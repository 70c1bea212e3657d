"""Waiting for what another process does."""

import time
from collections.abc import Callable
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
