"""How the demonstration talks to Prefect: as a person does, by typed commands, waiting for runs and reading their tables."""

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from flows.address import LocalServer
from flows.console import tell
from flows.local_server import PROJECT, environment
from pipeline.errors import PipelineError


class Asked(Protocol):
    """Whom the commands are for: a server and its client."""

    @property
    def server(self) -> LocalServer: ...
    @property
    def client(self) -> SyncPrefectClient: ...


def ran(to: Asked, flow: str, parameters: list[str], within_s: float) -> FlowRun:
    """A run of a deployed flow, started as a person starts it, once it is completed."""
    run_id = started(to, flow, parameters)
    return finished(to, lambda: to.client.read_flow_run(run_id), within_s)


def started(to: Asked, flow: str, parameters: list[str]) -> UUID:
    """Type the command that starts a deployed flow; returns the id of the run it made."""
    words = [word for parameter in parameters for word in ("-p", parameter)]
    said = typed(to, "prefect", "prefect", ["deployment", "run", flow, *words])
    uuid = re.search(r"UUID: ([0-9a-f-]{36})", said)
    if uuid is None:
        raise PipelineError(f"`prefect deployment run {flow}` named no run: {said.strip()}")
    return UUID(uuid[1])


def typed(to: Asked, module: str, name: str, arguments: list[str]) -> str:
    """Run a command as a person types it, shown; returns what it says. PipelineError with its words when it fails."""
    tell(f"      $ {name} {shlex.join(arguments)}")
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,
        env=environment(to.server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PipelineError(f"`{name} {shlex.join(arguments)}` failed: {(done.stdout + done.stderr).strip()}")
    return done.stdout


def run_of(to: Asked, flow: str, recording_id: str) -> FlowRun | None:
    """The run of `flow` for a recording, once there is one."""
    runs = to.client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
        sort=FlowRunSort.START_TIME_DESC,
        limit=50,
    )
    return next((run for run in runs if run.parameters.get("recording_id") == recording_id), None)


def finished(to: Asked, find: Callable[[], FlowRun | None], within_s: float) -> FlowRun:
    """The run that `find` finds, once it is completed; PipelineError when it failed, or is not there in time."""
    deadline = time.monotonic() + within_s
    said = ""
    while time.monotonic() < deadline:
        run = find()
        state = run.state if run is not None else None
        if run is not None and state is not None:
            if state.name != said:
                said = state.name or ""
                tell(f"      {run.name}: {said.lower()}")
            if state.is_completed():
                return run
            if state.is_final():
                raise PipelineError(f"The run {run.name} ended as {state.name}: {state.message}")
        time.sleep(0.5)
    raise PipelineError(f"The run has not finished after {within_s:g} s; look at {to.server.ui_url}/runs.")


def numbers_of(to: Asked, run: FlowRun, key: str) -> dict[str, Any]:
    """The name-value table that `run` stored under `key`."""
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    for artifact in to.client.read_artifacts(artifact_filter=wanted):
        if artifact.key == key and artifact.data is not None:
            rows: Any = json.loads(artifact.data) if isinstance(artifact.data, str) else artifact.data
            return {row["what"]: row["value"] for row in rows}
    raise PipelineError(f"The run {run.name} left no table {key!r}; look at {to.server.ui_url}/runs/flow-run/{run.id}.")
