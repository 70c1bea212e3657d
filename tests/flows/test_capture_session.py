"""The life of a capture: typed as a person types it, processed by itself, cancelled, and outliving its worker."""

import fcntl
import json
import logging
import os
import re
import signal
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import Cancelling

from capture.session import CaptureRequest, RecorderHandle, SessionOrder, recorder_alive, session_folder
from flows.address import read_server
from flows.capture_session import capture_session, stop_recording
from flows.going_on import goes_on_from
from flows.local_server import flow_run_processes, start
from flows.sessions import remember_session, session_of_run
from pipeline.cube import open_cube
from pipeline.labels import read_labels
from pipeline.recording import open_recording
from pipeline.sealing import verify
from pipeline.settings import RigSettings


def run_of(command) -> UUID:
    """The run that a `prefect deployment run ...` made."""
    return UUID(re.search(r"UUID: (\S+)", command.stdout)[1])


@pytest.fixture
def capture(prefect) -> Callable[..., UUID]:
    """Type `prefect deployment run capture-session`, with parameters or without; the id of the run it makes."""

    def typed(*parameters: str) -> UUID:
        words = [word for parameter in parameters for word in ("-p", parameter)]
        done = prefect("deployment", "run", "capture-session", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return run_of(done)

    return typed


@pytest.fixture
def recording_now(server, wait_for) -> Callable[[UUID], RecorderHandle]:
    """Wait until the recorder of a run takes data in."""

    def wait(run_id: UUID) -> RecorderHandle:
        def find() -> RecorderHandle | None:
            handle = session_of_run(server.root, run_id)
            return handle if handle is not None and handle.progress().frames > 2 else None

        return wait_for(find, what=f"recording in run {run_id}")

    return wait


@pytest.fixture
def run_by_itself(client, wait_for):
    """The run called `<verb>-<recording id>` that nobody started by hand."""

    def wait(verb: str, recording_id: str):
        def find():
            return next((run for run in client.read_flow_runs() if run.name == f"{verb}-{recording_id}"), None)

        return wait_for(find, what=f"{verb} of {recording_id}")

    return wait


def artifacts(client, run_id: UUID) -> dict[str, object]:
    found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id])))
    return {artifact.key: artifact.data for artifact in found}


def test_the_bare_command_records_the_configured_rig_and_the_recording_processes_itself(
    lab, server, client, finished, run_by_itself
):
    assert lab.first_command.returncode == 0, lab.first_command.stderr
    assert "No Prefect server runs" in lab.first_command.stderr
    run = finished(run_of(lab.first_command))
    assert run.state.is_completed(), run.state.message
    assert run.name == "capture-session"
    shown = artifacts(client, run.id)
    numbers = {row["what"]: row["value"] for row in json.loads(shown["recording"])}
    recording = open_recording(server.root, numbers["recording"])
    assert recording.manifest.simulated
    assert recording.manifest.status == "success"
    assert recording.frame_count == 8  # 1.0 s of rig.toml at 10 pulses/s, less the two of the gap signature
    assert verify(recording).ok
    assert numbers["simulated"] is True
    assert "Simulated" in shown["capture-session"]
    assert float(shown["capture-progress"]) == 100

    processed = finished(run_by_itself("process", recording.id).id)
    assert processed.state.is_completed(), processed.state.message
    cube = open_cube(server.root, recording.id)
    assert (cube.frames, cube.simulated) == (recording.frame_count, True)
    page = str(artifacts(client, processed.id)["process-recording"])
    assert "Simulated" in page
    assert page.count("(data:image/png;base64,") == 4  # overview, liveliest frame, quality, alignment

    labelled = finished(run_by_itself("label", recording.id).id)
    assert labelled.state.is_completed(), labelled.state.message
    shown = artifacts(client, labelled.id)
    numbers = {row["what"]: row["value"] for row in json.loads(shown["labels"])}
    labels = read_labels(server.root, recording.id)
    assert numbers["labelled"] == labels.table.loc[labels.table["confidence"] > 0, "frame"].nunique() > 0
    assert labels.labeller == numbers["labeller"]
    assert (server.root / "pictures" / recording.id / "instant.png").exists()
    assert "Verdict" in str(shown["label-recording"])


def test_cancelling_stops_and_seals_the_recording(
    server, client, capture, finished, recording_now, run_by_itself, maepose
):
    run_id = capture("participant=p07", "action=arm wave", "seconds=600", "rig=simulated", "profile=light")
    handle = recording_now(run_id)

    second = maepose("capture", "--root", str(server.root))
    assert second.returncode == 1
    assert "Another capture is using this rig" in second.stderr

    client.set_flow_run_state(run_id, Cancelling())
    run = finished(run_id)
    assert run.state.type.value == "CANCELLED"
    assert run.name == "capture-p07"
    recording = open_recording(server.root, handle.recording_id)
    assert recording.sealed
    assert "Stopped by request" in recording.manifest.reason
    assert recording.manifest.participant == "p07"
    assert [segment.action for segment in recording.manifest.segments] == ["arm wave"]
    assert recording.frame_count > 2
    assert verify(recording).ok
    assert not recorder_alive(server.root, recording.id)
    assert run_by_itself("process", recording.id).deployment_id


def test_cancelling_a_recording_that_takes_long_to_seal_says_who_looks_after_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MAEPOSE_ROOT", str(tmp_path))
    monkeypatch.setattr("flows.capture_session.SEALED_WITHIN_S", 0.2)
    folder, run = session_folder(tmp_path, "long"), FlowRun(id=uuid4(), flow_id=uuid4(), name="capture-p01")
    folder.mkdir(parents=True)
    order = SessionOrder(recording_id="long", request=CaptureRequest(), rig=RigSettings())
    (folder / "request.json").write_text(order.model_dump_json())
    remember_session(tmp_path, run.id, RecorderHandle(tmp_path, "long"))
    logger = logging.getLogger("prefect.flow_runs")
    logger.addHandler(caplog.handler)
    try:
        with (folder / "lock").open("w") as lock, temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):
            fcntl.flock(lock, fcntl.LOCK_EX)  # as the living recorder does
            stop_recording(capture_session, run, None)
    finally:
        logger.removeHandler(caplog.handler)
    assert (folder / "stop").exists()
    assert "The recorder of long has not ended after 0.2 s; it goes on. The next night makes" in caplog.text


def test_a_recorder_outlives_its_worker_and_its_flow(server, client, capture, finished, recording_now, run_by_itself):
    run_id = capture("seconds=6")
    handle = recording_now(run_id)
    flow_process = next(pid for pid, run in flow_run_processes(server.root).items() if run == str(run_id))
    before = read_server(server.root).processes
    killed = before["worker-rig"]
    for pid in (killed, flow_process):
        os.kill(pid, signal.SIGKILL)
    assert not handle.progress().ended
    progress = handle.wait(120)
    assert (progress.state, progress.status) == ("done", "success")
    recording = open_recording(server.root, handle.recording_id)
    assert recording.frame_count == 58  # 60 pulses less the two of the gap signature
    assert verify(recording).ok

    # Its run would say "Running" for ever and hold the rig's one slot; starting again clears that and replaces the worker.
    assert client.read_flow_run(run_id).state.is_running()
    words: list[str] = []
    again = start(server.root, tell=words.append)
    assert "runs already" in words[0]
    assert again.processes["worker-rig"] != killed
    assert again.processes == before | {"worker-rig": again.processes["worker-rig"]}
    assert client.read_flow_run(run_id).state.is_crashed()

    # And a new run closes the recording, announces it and records nothing of its own.
    assert any("goes on for a run that crashed" in word for word in words)
    (again,) = [run for run in client.read_flow_runs(limit=200) if goes_on_from(run.tags) == str(run_id)]
    done = finished(again.id)
    assert done.state.is_completed(), done.state.message
    assert json.loads(artifacts(client, again.id)["recording"])[0]["value"] == recording.id
    assert run_by_itself("process", recording.id).deployment_id
