"""Fixtures for every test, and the switch that checks jaxtyping shapes while tests run."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from jaxtyping import install_import_hook

PACKAGES = ("pipeline", "capture", "processing", "models")
PROJECT = Path(__file__).resolve().parent.parent


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


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where files run side by side, a file's tests stay together, and so do those that share the one Prefect server."""
    for item in items:
        file = item.path.relative_to(PROJECT / "tests").as_posix()
        group = "prefect server" if "lab" in getattr(item, "fixturenames", ()) else file
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings and configurations kept beside the project; a test that needs them skips where they are absent."""
    path = PROJECT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"REAL DATA ABSENT: {path} is not there, so this check on real recordings did not run")
    return path
