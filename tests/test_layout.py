"""The layout explains itself: imports point one way, and every name the mission lists is there."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "pipeline": set(),
    "capture": {"pipeline"},
    "processing": {"pipeline"},
    "models": {"pipeline"},
    "flows": {"pipeline", "capture", "processing", "models"},
}
MAY_IMPORT_SIMULATOR = (
    "capture/rig.py",
    "capture/camera_sources.py",
    "flows/verbs/simulation.py",
    "flows/verbs/labels.py",
)


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        else:
            assert not (isinstance(node, ast.ImportFrom) and node.level), (
                f"{path}: write imports from the package's root"
            )
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package):
    files = sorted((PROJECT / package).rglob("*.py"))
    assert files
    for path in files:
        used = {name.split(".")[0] for name in _imports(path)} & set(MAY_IMPORT)
        assert used <= MAY_IMPORT[package] | {package}, f"{path.relative_to(PROJECT)} imports {used}"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_only_the_factory_and_the_command_line_know_the_simulator(package):
    for path in sorted((PROJECT / package).rglob("*.py")):
        place = path.relative_to(PROJECT).as_posix()
        if place.startswith(("capture/simulator/", *MAY_IMPORT_SIMULATOR)):
            continue
        assert not any(name.startswith("capture.simulator") for name in _imports(path)), (
            f"{place} imports the simulator"
        )


def test_what_processing_and_models_call_knows_nothing_of_prefect():
    for package in ("pipeline", "capture", "processing", "models"):
        for path in sorted((PROJECT / package).rglob("*.py")):
            assert not any(name.split(".")[0] == "prefect" for name in _imports(path)), path


@pytest.mark.parametrize(
    "name", ["pyproject.toml", "pipeline", "capture", "processing", "models", "flows", "tests", "Dockerfile"]
)
def test_the_top_level_the_mission_names(name):
    assert (PROJECT / name).exists()
