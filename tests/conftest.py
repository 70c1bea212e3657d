"""Fixtures for every test, and the switch that checks jaxtyping shapes while tests run."""

import os
import signal
import threading
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# A shell that starts the tests in the background has them ignore Ctrl-C, and every program they start inherits that.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from jaxtyping import install_import_hook

PACKAGES = ("pipeline", "capture", "processing", "models")
PROJECT = Path(__file__).resolve().parent.parent
ON_ONE_SERVER = {
    f"tests/flows/test_{name}.py"
    for name in ("automations", "capture_session", "local_server", "plugin", "products", "studies", "ui")
}


def _hooked_modules() -> list[str]:
    """Every module of the packages but the numba kernels, which a Python wrapper would stop from compiling."""
    modules = []
    for package in PACKAGES:
        for path in sorted((PROJECT / package).rglob("*.py")):
            name = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
            if not name.endswith(("_kernels", "__init__", "__main__")):
                modules.append(name)
    return modules


install_import_hook(_hooked_modules(), "shape_check.checked")


def _group(nodeid: str) -> str:
    """What stays on one worker where tests run side by side: a file, and the files that share one Prefect server."""
    file = nodeid.split("::", 1)[0]
    return "the Prefect server" if file in ON_ONE_SERVER else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no worker is left with it alone at the end."""
    items.sort(key=lambda item: _group(item.nodeid) not in ("the Prefect server", "tests/capture/test_session.py"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Of `--dist loadfile`. (`loadgroup` does nothing: pytest-xdist 3.8 marks groups in a place that pytest 9 reads no more.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Grouped(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings and configurations kept beside the project; a test that needs them skips where they are absent."""
    path = PROJECT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"REAL DATA ABSENT: {path} is not there, so this check on real recordings did not run")
    return path
