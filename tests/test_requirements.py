"""requirements.lock, which sets every machine up, holds all that pyproject.toml asks for."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parent.parent


def test_the_lock_has_a_fitting_version_of_every_requirement():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(text) for text in project["dependencies"]]
    kinds = ("camera", "labels", "store", "training", "dask", "dev")
    asked += [Requirement(text) for name in kinds for text in extras[name]]
    locked = {}
    for line in (PROJECT / "requirements.lock").read_text().splitlines():
        one = Requirement(line)
        (pin,) = one.specifier
        locked[canonicalize_name(one.name)] = pin.version
    missing = [
        str(one)
        for one in asked
        if (version := locked.get(canonicalize_name(one.name))) is None or version not in one.specifier
    ]
    assert len(asked) > 40
    assert not missing
