"""One real Prefect server with its workers for every test of the flows, on a data root with a fast simulated rig."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
import waiting

os.environ.setdefault("DO_NOT_TRACK", "1")

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from flows.address import LocalServer, running_server
from flows.local_server import PROJECT, stop

RIG = """
kind = "simulated"
waveform = "light"
seconds = 1.0
reserve_bytes = 0
camera = {width = 320, height = 240}
"""


def clean_environment(**changes: str) -> dict[str, str]:
    """This process's environment without what Prefect, its plugin or a running server put into it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MAEPOSE_"))}
    return kept | {"DO_NOT_TRACK": "1"} | changes


Command = Callable[..., subprocess.CompletedProcess[str]]


def _run(program: str, words: Sequence[str], cwd: Path, changes: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name(program)), *words],
        cwd=cwd,
        env=clean_environment(**changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@dataclass(frozen=True)
class Lab:
    """A data root whose server was started by the first command typed, and what that command said."""

    server: LocalServer
    first_command: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """`prefect deployment run capture-session`, typed exactly so on a fresh machine: that alone starts everything."""
    root = tmp_path_factory.mktemp("lab")
    (root / "rig.toml").write_text(RIG)
    try:
        first = _run("prefect", ["deployment", "run", "capture-session"], PROJECT, {"MAEPOSE_ROOT": str(root)})
        running = running_server(root)
        assert running is not None, first.stdout + first.stderr
        yield Lab(running, first)
    finally:
        stop(root)


@pytest.fixture(scope="session")
def server(lab: Lab) -> LocalServer:
    return lab.server


@pytest.fixture(scope="session")
def prefect(server: LocalServer) -> Command:
    """Type `prefect ...` in the project directory, as a person would who has set MAEPOSE_ROOT and nothing else."""
    return lambda *words: _run("prefect", words, PROJECT, {"MAEPOSE_ROOT": str(server.root)})


@pytest.fixture
def maepose(tmp_path: Path) -> Command:
    """Type `maepose ...` in an empty directory."""
    return lambda *words, **changes: _run("maepose", words, tmp_path, changes)


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., object]:
    """What a function returns, once it returns something: `wait_for(find, within_s, what)`."""
    return waiting.wait_for


@pytest.fixture
def client(server: LocalServer) -> Iterator[SyncPrefectClient]:
    with SyncPrefectClient(server.api_url) as opened:
        yield opened


@pytest.fixture
def finished(client: SyncPrefectClient) -> Callable[[UUID], FlowRun]:
    """Wait until a flow run has ended."""

    def wait(run_id: UUID) -> FlowRun:
        def ended() -> FlowRun | None:
            run = client.read_flow_run(run_id)
            return run if run.state is not None and run.state.is_final() else None

        return waiting.wait_for(ended, what=f"the end of run {run_id}")

    return wait
