"""Which crashed runs are gone on with, against the real server; runs are asked for in a pool that no worker serves."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Crashed

from capture.session import CaptureRequest, RecorderHandle, SessionOrder, session_folder
from flows.going_on import AT_MOST, go_on, goes_on_from
from flows.sessions import remember_session, session_of_run
from pipeline.settings import RigSettings


@pytest.fixture
def crashed(client) -> Iterator[Callable[..., UUID]]:
    """Make a run of a flow that has crashed, with parameters and tags."""
    pool, made = f"nobody-{uuid4()}", set[UUID]()
    client.create_work_pool(WorkPoolCreate(name=pool, type="process"))

    def make(flow: str, tags: tuple[str, ...] = (), state: object = None, **parameters: object) -> UUID:
        there = client.read_deployment_by_name(f"{flow}/default")
        deployment = client.create_deployment(
            there.flow_id, "crashing", work_pool_name=pool, entrypoint=there.entrypoint
        )
        made.add(deployment)  # one a flow
        run = client.create_flow_run_from_deployment(deployment, parameters=parameters, tags=tags)
        client.set_flow_run_state(run.id, state or Crashed(message="kill -9"), force=True)
        return run.id

    yield make
    for deployment in made:
        for run in client.read_flow_runs(limit=200):
            if run.deployment_id == deployment:
                client.delete_flow_run(run.id)
        client.delete_deployment(deployment)
    client.delete_work_pool(pool)


@pytest.fixture
def gone_on(client, server) -> Callable[[UUID], list[FlowRun]]:
    """The runs asked for on behalf of a crashed one."""
    return lambda run_id: [
        run for run in go_on(client, server.root, pytest.fail) if goes_on_from(run.tags) == str(run_id)
    ]


def test_a_crashed_run_is_asked_for_once_with_what_it_was_asked(client, crashed, gone_on):
    run_id = crashed("process-recording", ("mine",), recording_id="x", preset="paper", force=False)
    (again,) = gone_on(run_id)
    assert again.parameters == {"recording_id": "x", "preset": "paper", "force": False}
    assert set(again.tags) >= {"mine", f"goes on from {run_id}", "turn 2"}
    assert gone_on(run_id) == []
    assert client.read_flow_run(run_id).state.is_crashed()


def test_what_crashes_every_time_is_not_asked_for_for_ever(crashed, gone_on):
    assert gone_on(crashed("evaluate", (f"turn {AT_MOST}",), study="x")) == []
    (last,) = gone_on(crashed("evaluate", (f"turn {AT_MOST - 1}", "goes on from y"), study="y"))
    assert f"turn {AT_MOST}" in last.tags
    assert "goes on from y" not in last.tags


def test_what_somebody_asked_for_again_is_left_to_that_run(client, crashed, gone_on):
    first = crashed("pretrain", name="a")
    deployment = client.read_flow_run(first).deployment_id
    later = client.create_flow_run_from_deployment(deployment, parameters={"name": "a"})
    client.set_flow_run_state(later.id, Completed(), force=True)
    client.create_flow_run_from_deployment(deployment, parameters={"name": "b"})
    assert gone_on(first) == []


def test_failed_and_cancelled_runs_and_imports_are_let_be(crashed, gone_on):
    from prefect.states import Cancelled, Failed

    assert gone_on(crashed("evaluate", state=Failed(), study="x")) == []
    assert gone_on(crashed("evaluate", state=Cancelled(), study="x")) == []
    assert gone_on(crashed("import-recording", source="x")) == []


def test_an_upload_is_gone_on_with(crashed, gone_on):
    (again,) = gone_on(crashed("upload-recording", recording_id="x"))
    assert again.parameters == {"recording_id": "x"}


def test_one_that_cannot_be_asked_for_again_is_told_of_and_keeps_no_other_waiting(client, server, crashed):
    """Its deployment takes other parameters than it did when the run was asked for."""
    newer, other = crashed("prune", days="seven"), crashed("evaluate", study="z")
    deployment = client.read_deployment(client.read_flow_run(newer).deployment_id)
    client.create_deployment(
        deployment.flow_id,
        deployment.name,
        work_pool_name=deployment.work_pool_name,
        entrypoint=deployment.entrypoint,
        parameter_openapi_schema={"type": "object", "properties": {"days": {"type": "integer"}}},
        enforce_parameter_schema=True,
    )
    told: list[str] = []
    asked = [goes_on_from(run.tags) for run in go_on(client, server.root, told.append)]
    assert str(other) in asked
    assert str(newer) not in asked
    (sentence,) = told
    assert sentence.startswith(f"{client.read_flow_run(newer).name} crashed and cannot be gone on with (")
    assert "seven" in sentence


def test_a_capture_is_gone_on_with_only_where_it_began_a_recording(server, crashed, gone_on):
    nothing = crashed("capture-session", seconds=1)
    assert gone_on(nothing) == []
    begun = crashed("capture-session", seconds=1)
    order = SessionOrder(recording_id=f"gone-{datetime.now(UTC):%H%M%S}", request=CaptureRequest(), rig=RigSettings())
    folder = session_folder(server.root, order.recording_id)
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(order.model_dump_json())
    remember_session(server.root, begun, RecorderHandle(server.root, order.recording_id))
    (again,) = gone_on(begun)
    assert again.parameters == {"seconds": 1}


def test_a_capture_whose_session_is_lost_is_let_be(server, crashed, gone_on):
    """A power cut emptied the note of its session, or somebody deleted the session's folder."""
    begun = crashed("capture-session", seconds=1)
    for left in ("", "deleted", "\0" * 20):
        remember_session(server.root, begun, RecorderHandle(server.root, left))
        assert session_of_run(server.root, begun) is None
        assert gone_on(begun) == []
