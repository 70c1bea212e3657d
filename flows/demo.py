"""`maepose demo`: the whole pipeline, small, on the simulated rig, through a real Prefect server.

A list of steps, each of which does one thing and notes what it found; later parts of the pipeline add theirs.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
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

from flows.address import LocalServer, running_server
from flows.console import Answer, table, tell
from flows.local_server import PROJECT, environment, start, stop
from flows.sessions import session_of_run
from pipeline.errors import PipelineError
from pipeline.settings import read_rig

CAPTURED_WITHIN_S = 180.0
PROCESSED_WITHIN_S = 300.0
LABELLED_WITHIN_S = 300.0
DEMO_SCRIPT = "arm-raise 5, stepping 5"


@dataclass
class Demo:
    """What the steps share: where they work, and what they found."""

    root: Path
    server: LocalServer
    client: SyncPrefectClient
    capture_run: UUID | None = None
    recording_id: str = ""
    found: dict[str, Any] = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)


def run_demo(root: Path, answer: Answer, *, keep: bool) -> None:
    """Run every step; the server is stopped at the end unless `keep`, or unless it ran before."""
    began = time.monotonic()
    ours = running_server(root) is None
    server = start(root, tell=tell)
    try:
        with SyncPrefectClient(server.api_url) as client:
            demo = Demo(root, server, client)
            try:
                for number, (title, step) in enumerate(STEPS, 1):
                    tell(f"[{number}/{len(STEPS)}] {title}")
                    step(demo)
            except BaseException:
                _stop_recorder(demo)
                raise
    except BaseException:
        if ours:
            stop(root)
        raise
    if ours and not keep:
        tell("Stopping the server ...")
        stop(root)
    demo.found["minutes"] = round((time.monotonic() - began) / 60, 1)
    _report(demo, answer, kept=keep or not ours)


def _capture(demo: Demo) -> None:
    """Type the command a person types, and wait for the run it makes."""
    command = [
        "prefect",
        "deployment",
        "run",
        "capture-session",
        "-p",
        "participant=p01",
        "-p",
        f"script={DEMO_SCRIPT}",
    ]
    if not read_rig(demo.root).simulated:
        command += ["-p", "rig=simulated"]  # this data root has a real rig, which a demonstration leaves alone
    tell(f"      $ {' '.join(command)}")
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=PROJECT,
        env=environment(demo.server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    uuid = re.search(r"UUID: ([0-9a-f-]{36})", done.stdout)
    if done.returncode != 0 or uuid is None:
        raise PipelineError(f"`{' '.join(command)}` failed: {(done.stdout + done.stderr).strip()}")
    demo.capture_run = UUID(uuid[1])
    run = _finished(demo, lambda: demo.client.read_flow_run(UUID(uuid[1])), CAPTURED_WITHIN_S)
    numbers = _table(demo, run, "recording")
    demo.recording_id = str(numbers["recording"])
    wanted = (
        *("recording", "simulated", "action", "frames", "seconds", "packets", "lost bytes"),
        *("pulses", "color pictures", "depth pictures", "alignment"),
    )
    demo.found |= {name: numbers[name] for name in wanted if name in numbers}


def _process(demo: Demo) -> None:
    """Wait for the run that the closed recording started by itself."""
    run = _finished(demo, lambda: _run_of(demo, "process-recording"), PROCESSED_WITHIN_S)
    numbers = _table(demo, run, "products")
    demo.found |= {"cube": numbers["cube"], "cube frames/s": numbers["frames_per_s"], "quality": numbers["quality"]}
    demo.pictures += numbers["pictures"].split("\n") if numbers["pictures"] else []


def _label(demo: Demo) -> None:
    """Wait for the run that the finished cube started by itself."""
    run = _finished(demo, lambda: _run_of(demo, "label-recording"), LABELLED_WITHIN_S)
    numbers = _table(demo, run, "labels")
    labelled = f"{numbers['labelled']} of {numbers['frames']} frames by {numbers['labeller']}"
    demo.found |= {"labels": labelled, "labels' verdict": numbers["verdict"], "metres by": numbers["scale_source"]}
    demo.pictures += numbers["pictures"].split("\n") if numbers["pictures"] else []


STEPS: list[tuple[str, Callable[[Demo], None]]] = [
    ("Recording one session with the simulated rig", _capture),
    ("The closed recording starts its own processing", _process),
    ("The finished cube starts the labelling", _label),
]


def _run_of(demo: Demo, flow: str) -> FlowRun | None:
    """The run of `flow` for the demonstration's recording, once there is one."""
    runs = demo.client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
        sort=FlowRunSort.START_TIME_DESC,
        limit=50,
    )
    return next((run for run in runs if run.parameters.get("recording_id") == demo.recording_id), None)


def _finished(demo: Demo, find: Callable[[], FlowRun | None], within_s: float) -> FlowRun:
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
    raise PipelineError(f"The run has not finished after {within_s:g} s; look at {demo.server.ui_url}/runs.")


def _table(demo: Demo, run: FlowRun, key: str) -> dict[str, Any]:
    """The name-value table that `run` stored under `key`."""
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    for artifact in demo.client.read_artifacts(artifact_filter=wanted):
        if artifact.key == key and artifact.data is not None:
            rows: Any = json.loads(artifact.data) if isinstance(artifact.data, str) else artifact.data
            return {row["what"]: row["value"] for row in rows}
    raise PipelineError(
        f"The run {run.name} left no table {key!r}; look at {demo.server.ui_url}/runs/flow-run/{run.id}."
    )


def _stop_recorder(demo: Demo) -> None:
    """Leave no recorder behind when the demonstration is broken off."""
    handle = session_of_run(demo.root, demo.capture_run) if demo.capture_run is not None else None
    if handle is not None and not handle.progress().ended:
        handle.request_stop()
        handle.wait(30.0)


def _report(demo: Demo, answer: Answer, *, kept: bool) -> None:
    lines: list[Any] = ["", table(("", ""), list(demo.found.items())), ""]
    lines += [f"picture: {path}" for path in demo.pictures]
    if kept:
        lines += [
            "",
            f"The Prefect UI is at {demo.server.ui_url}",
            f"Stop the server with: maepose down --root {demo.root}",
        ]
    value = {**demo.found, "pictures": demo.pictures, "ui": demo.server.ui_url if kept else None}
    answer.give(value, lines)
