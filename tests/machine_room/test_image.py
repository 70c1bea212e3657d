"""The Dockerfile is built, and a worker from its image runs a flow: with buildah, where a Docker engine is not needed."""

from pathlib import Path

import pytest
from machine_room.image import Builder, check, missing
from machine_room.lab import free_port


@pytest.mark.slow  # it installs everything once more: some minutes, and 12 GB in between
@pytest.mark.timeout(7200)
@pytest.mark.skipif(bool(missing()), reason=f"NO BUILDER: the Dockerfile was not built here; {missing()}")
def test_the_image_is_built_and_does_its_work(tmp_path: Path):
    said = list(check(Builder(tmp_path), (free_port(), free_port())))
    assert len(said) == 5
