"""The Dockerfile built and tried without a Docker engine: `python tests/machine_room/image.py`, as root on Debian.

buildah reads the Dockerfile itself and runs its steps one after the other in a root of their own (`--isolation chroot`). The base
image it cannot fetch without a registry of images: in its place comes a fresh Debian bookworm with its own Python 3.11, which
mmdebstrap makes. `apt-get install buildah mmdebstrap` brings both.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent.parent
STAND_IN = ("python3", "python3-venv", "python-is-python3", "ca-certificates")


def missing() -> str:
    """What keeps this machine from building, in a sentence; an empty string where nothing does."""
    if os.geteuid() != 0:
        return "root is needed"
    lacking = [program for program in ("buildah", "mmdebstrap") if shutil.which(program) is None]
    return f"install Debian's {' and '.join(lacking)}" if lacking else ""


@dataclass(frozen=True)
class Builder:
    """buildah with its images in a folder of their own."""

    folder: Path

    def __call__(
        self, verb: str, *words: str | Path, check: bool = True, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        storage = ["--root", self.folder / "images", "--runroot", self.folder / "running", "--storage-driver", "vfs"]
        environment = os.environ | {"BUILDAH_ISOLATION": "chroot"}
        done = subprocess.run(
            ["buildah", *storage, verb, *words], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, **how,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise RuntimeError(f"buildah {verb} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done

    def build(self, target: str) -> None:
        """The image of a target of the Dockerfile, as maepose:TARGET."""
        self._stand_in()
        volumes = [word for path in pip_files() for word in ("--volume", f"{path}:{path}:ro")]
        words = ["--pull-never", "--format", "docker", "--target", target, "--tag", f"maepose:{target}", *volumes]
        self("bud", *words, PROJECT)

    def _stand_in(self) -> None:
        """The image that the Dockerfile begins from, by the name it has there."""
        (name,) = set(re.findall(r"^FROM (\S+:\S+)", (PROJECT / "Dockerfile").read_text(), re.MULTILINE))
        archive = self.folder / "base.tar"
        include = f"--include={','.join(STAND_IN)}"
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", include, name.rsplit("-", 1)[1], archive],
            check=True,
        )
        container = self("from", "scratch").stdout.strip()
        self("add", container, archive, "/")
        self("commit", "--rm", container, name)
        archive.unlink()

    def settings(self, image: str) -> dict[str, Any]:
        """What a Docker engine would read from the image: user, entry point, health check."""
        return dict(json.loads(self("inspect", "--type", "image", image).stdout)["Docker"]["config"])

    @contextmanager
    def container(self, image: str, data: Path) -> Iterator["Container"]:
        """A container of the image with `data` as its data root."""
        name = self("from", "--pull-never", image).stdout.strip()
        try:
            yield Container(self, name, data)
        finally:
            self("rm", name)


@dataclass(frozen=True)
class Container:
    """Runs commands as the image's own user."""

    builder: Builder
    name: str
    data: Path

    def __call__(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        # not over /data: buildah 1.28 lays the image's own VOLUME over what is mounted there
        where = ["--volume", f"{self.data}:/lab", "--env", "MAEPOSE_ROOT=/lab"]
        return self.builder("run", *where, self.name, "--", *words, check=check)


def pip_files() -> list[Path]:
    """Where this machine's pip is told to look for packages: its configuration, and the files and folders that it names."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "debug"], capture_output=True, text=True, check=True)
    files = [Path(path) for path in re.findall(r"^\s+(/\S+), exists: True", said.stdout, re.MULTILINE)]
    named = re.findall(r"(/[\w./-]+)", " ".join(file.read_text() for file in files))
    found = [Path(path) for path in named if Path(path).is_absolute() and Path(path).exists()]
    parents = [path.parent if path.name == "simple" else path for path in found]
    return sorted({path for path in [*files, *parents] if len(path.parts) > 2})


LIFE = """
set -eu
export PREFECT_API_URL=http://127.0.0.1:{port}/api PREFECT_WORKER_QUERY_SECONDS=1 PREFECT_WORKER_WEBSERVER_PORT={health}
well() {{
    python -c "from flows.health import complaint; raise SystemExit(complaint('http://127.0.0.1:$1') or None)"
}}
prefect server start --host 127.0.0.1 --port {port} > /tmp/server.log 2>&1 &
programs=$!
trap 'kill -9 $programs' EXIT
for second in $(seq 600); do
    well {port}/api/ready 2> /dev/null && break
    sleep 1
done
python -c "import urllib.request as web; assert b'<html' in web.urlopen('http://127.0.0.1:{port}').read().lower()" || {{
    cat /tmp/server.log
    exit 1
}}
maepose deploy
prefect worker start --pool cpu --type process --with-healthcheck > /tmp/worker.log 2>&1 &
programs="$! $programs"
prefect deployment run import-recording --watch -p source=adc_data.bin -p 'configs=["radar.cfg"]' \\
    -p sample_order=q-first -p recording_id=a || {{ tail -50 /tmp/worker.log; exit 1; }}
for second in $(seq 300); do  # the recording was closed, so its cube is made by itself
    test -e "$MAEPOSE_ROOT/cubes/a.zarr" && break
    sleep 1
done
well {health}/health
"""
"""One container's life: a server, the deployments, a worker, and two flow runs through it."""


def write_recording(folder: Path) -> None:
    """What another tool recorded, small, into a data root that belongs to the image's user."""
    import numpy as np

    from pipeline.cfg_text import write_cfg
    from pipeline.waveform import PRESETS

    small = PRESETS["light"].model_copy(update={"samples": 32, "loops": 8})
    samples = np.random.default_rng(0).integers(-99, 99, 3 * small.frame_bytes // 2, np.int16)
    (folder / "adc_data.bin").write_bytes(samples.tobytes())
    (folder / "radar.cfg").write_text(write_cfg(small))
    os.chown(folder, 10001, 10001)


def check(builder: Builder, ports: tuple[int, int], target: str = "cpu") -> Iterator[str]:
    """Build an image and live in it; yields a sentence for each thing that was seen to work."""
    builder.build(target)
    settings = builder.settings(f"maepose:{target}")
    assert settings["User"] == "10001"
    assert settings["Entrypoint"] == ["maepose"]
    assert settings["Healthcheck"]["Test"] == ["CMD", "python", "-m", "flows.health"]
    yield f"maepose:{target} is built; it runs as user 10001 and has a health check"
    data = builder.folder / "data"
    data.mkdir(exist_ok=True)
    write_recording(data)
    with builder.container(f"maepose:{target}", data) as run:
        assert "Radar recordings in" in run("maepose", "--help").stdout
        assert "uid=10001" in run("id").stdout
        yield "`maepose --help` answers, as that user"
        assert run("touch", "/app/x", "/opt/venv/x", check=False).returncode != 0
        assert run("python", "-c", "import pytest", check=False).returncode != 0
        yield "it cannot change its own code, and has no developers' tools"
        libraries = (
            "import numba.np.ufunc.omppool, torch, pipeline.torchvision_cpu as vision; vision.import_torchvision()"
        )
        layer = run("python", "-c", f"{libraries}; print(torch.__version__)")
        yield f"numba's OpenMP layer, torch {layer.stdout.split()[-1]} and torchvision load"
        run("sh", "-c", LIFE.format(port=ports[0], health=ports[1]))
        assert list((data / "cubes").glob("a.zarr"))
        yield "a worker from it imported a recording and made its cube, for a server from it that shows the UI"


def main() -> None:
    """Everything, said line by line."""
    if said := missing():
        sys.exit(f"The image cannot be built here: {said}.")
    with tempfile.TemporaryDirectory(prefix="maepose-image-", dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        for sentence in check(Builder(Path(folder)), (4710, 4711)):
            print(sentence, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
