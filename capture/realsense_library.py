"""Loads pyrealsense2 where the system has no libusb.

pyrealsense2's wheel links libusb-1.0 and does not bring it; the `libusb-package` wheel does. Loading that one first, with its
names made global, satisfies the link. Where neither is there, the Debian package `libusb-1.0-0` serves as well.
"""

import ctypes
import importlib
import importlib.util
from types import ModuleType

from pipeline.errors import PipelineError


def import_realsense() -> ModuleType:
    """The pyrealsense2 module; PipelineError says what to install when it or its libusb is missing."""
    if importlib.util.find_spec("pyrealsense2") is None:
        raise PipelineError("pyrealsense2 is not installed; install it with `pip install 'maepose[camera]'`.")
    if importlib.util.find_spec("libusb_package") is not None:
        path = importlib.import_module("libusb_package").get_library_path()
        if path is not None:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    try:
        return importlib.import_module("pyrealsense2")
    except ImportError as error:
        raise PipelineError(
            f"pyrealsense2 does not load ({error}); install its libusb with `pip install libusb-package` or the system's "
            "libusb-1.0-0 package."
        ) from error
