"""Training on a processor frees and asks for the same large blocks at every step; glibc hands each back to the kernel, which
clears it anew (a third of a step's time with 64 x 64 heatmaps). Here they stay with the process."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_BYTES = 2**30


def keep_freed_memory() -> bool:
    """Blocks below 1 GiB are kept when freed, for the rest of this process. False where the C library has no such switch."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, _BYTES) and mallopt(_M_TRIM_THRESHOLD, _BYTES))
