"""Loads ultralytics (AGPL-3.0, an optional extra) so that it works beside a CPU-only torch and never reaches for the network.

Left alone, its first use asks the network for updates, installs packages, downloads a font and sends statistics. It keeps its
settings in a folder; here that is one of our own, so that somebody's settings of their own projects stay as they are.
"""

import importlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

from pipeline.errors import PipelineError
from pipeline.torchvision_cpu import import_torchvision


def import_ultralytics() -> ModuleType:
    """The ultralytics module; PipelineError says what to install when it or torch is missing."""
    if importlib.util.find_spec("ultralytics") is None:
        raise PipelineError(
            "ultralytics is not installed; install it with `pip install 'maepose[labels,training]'` (its licence is AGPL-3.0)."
        )
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="0", YOLO_VERBOSE="False")  # it logs to standard output
    folder = Path(os.environ.setdefault("YOLO_CONFIG_DIR", str(_settings_folder()))) / "Ultralytics"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "Arial.ttf").exists():
        import matplotlib

        # Ultralytics asks for this font by name before it trains; any TrueType font will do.
        shutil.copy(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", folder / "Arial.ttf")
    import_torchvision()
    ultralytics = importlib.import_module("ultralytics")
    if ultralytics.settings["sync"]:
        ultralytics.settings.update({"sync": False})
    return ultralytics


def _settings_folder() -> Path:
    """A folder of this user's that can be written to."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maepose"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / f"maepose-{os.getuid()}"
    return cache
