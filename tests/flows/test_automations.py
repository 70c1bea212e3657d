"""What the server does by itself: zombie runs are ended, and what goes wrong is told in one sentence."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import yaml
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.system import Secret
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import Event
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.server.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed, Running, Scheduled

from flows.address import server_home
from flows.automations import FILE, NOTICE_BLOCK, read_automations, update_automations
from flows.local_server import PROJECT
from flows.missed_runs import keep_last_missed_run
from flows.notices import LogNotice
from pipeline.errors import PipelineError


def test_every_automation_is_one_that_a_server_takes():
    blocks = [uuid4(), uuid4()]
    asked = read_automations(blocks)
    assert len({automation.name for automation in asked}) == len(asked) == 3
    for automation in asked:
        # the server's own model, which also compiles the templates of notices
        AutomationCore.model_validate(automation.model_dump(mode="json"))
        assert automation.description
        notices = [action for action in automation.actions if action.type == "send-notification"]
        assert [action.block_document_id for action in notices] in ([], blocks)


def test_they_concern_the_flows_of_this_project_and_no_others():
    entrypoints = [
        deployment["entrypoint"] for deployment in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    ]
    ours = [entrypoint.rsplit(".", 1)[1].replace("_", "-") for entrypoint in entrypoints]
    assert yaml.safe_load(FILE.read_text())["flows"] == ours
    for automation in read_automations([uuid4()]):
        assert isinstance(automation.trigger, EventTrigger)
        assert set(automation.trigger.match_related["prefect.resource.name"]) == set(ours)


def test_a_run_is_a_zombie_only_after_several_heartbeats_did_not_come():
    (zombies,) = [one for one in read_automations([]) if one.trigger.posture == Posture.Proactive]
    assert zombies.trigger.within.total_seconds() >= 4 * 60  # the plugin has workers send one a minute
    assert zombies.trigger.after == {"prefect.flow-run.heartbeat"}
    assert {"prefect.flow-run.Completed", "prefect.flow-run.heartbeat"} <= zombies.trigger.expect
    assert [action.type for action in zombies.actions] == ["change-flow-run-state"]


def test_a_notice_is_one_line(capsys):
    asyncio.run(LogNotice().notify("It\nbroke.", "study failed: x"))
    assert capsys.readouterr().err.endswith("maepose notice: study failed: x. It broke.\n")


@pytest.fixture
def run_id(client) -> Iterator[UUID]:
    """A run that no worker takes up for days."""
    deployment = client.read_deployment_by_name("evaluate/default")
    run = client.create_flow_run_from_deployment(
        deployment.id, parameters={"study": "x"}, state=Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=9))
    )
    yield run.id
    client.delete_flow_run(run.id)


def in_the_log(server, words: str) -> bool:
    return words in (server_home(server.root) / "logs" / "server.log").read_text(errors="replace")


def test_the_server_has_each_once_and_what_was_switched_off_stays_off(server, client):
    found = {one.name: one for one in client.read_automations() if one.name.startswith("maepose: ")}
    assert set(found) == {one.name for one in read_automations([])}
    late = found["maepose: tell of late runs"]
    client.pause_automation(late.id)
    update_automations(client)
    again = {one.name: one for one in client.read_automations() if one.name.startswith("maepose: ")}
    assert {name: one.id for name, one in again.items()} == {name: one.id for name, one in found.items()}
    assert [name for name, one in again.items() if not one.enabled] == [late.name]
    client.resume_automation(late.id)


def test_crashed_and_late_runs_are_told_in_the_servers_log(server, client, run_id, wait_for):
    name = client.read_flow_run(run_id).name
    client.set_flow_run_state(run_id, State(type=StateType.SCHEDULED, name="Late"), force=True)
    wait_for(lambda: in_the_log(server, f"maepose notice: evaluate late: {name}."), 60, "a notice of a late run")
    client.set_flow_run_state(run_id, Crashed(message="Somebody pulled the plug."), force=True)
    sentence = f"maepose notice: evaluate crashed: {name}. Somebody pulled the plug. {server.ui_url}"
    wait_for(lambda: in_the_log(server, sentence), 60, "a notice of a crashed run")


def test_a_run_of_which_nothing_is_heard_is_ended(server, client, run_id, wait_for):
    """As the real one, but that it waits for ten seconds instead of minutes."""
    (zombies,) = [one for one in read_automations([]) if one.trigger.posture == Posture.Proactive]
    trigger = zombies.trigger.model_copy(update={"within": timedelta(seconds=10)})
    hasty = client.create_automation(zombies.model_copy(update={"name": "hasty", "trigger": trigger}))
    try:
        client.set_flow_run_state(run_id, Running(), force=True)
        flow = {"prefect.resource.id": f"prefect.flow.{uuid4()}", "prefect.resource.role": "flow"}
        heartbeat = Event(
            event="prefect.flow-run.heartbeat",
            resource={"prefect.resource.id": f"prefect.flow-run.{run_id}"},
            related=[flow | {"prefect.resource.name": "evaluate"}],
        )
        client.request("POST", "/events", json=[heartbeat.model_dump(mode="json")]).raise_for_status()
        state = wait_for(
            lambda: (state := client.read_flow_run(run_id).state) and state.is_crashed() and state,
            120,
            "the end of a zombie run",
        )
        assert state.message.startswith("Nothing was heard of it for five minutes")
    finally:
        client.delete_automation(hasty)


def test_a_block_for_notices_that_cannot_tell_is_said(server, client):
    settings = {PREFECT_API_URL: server.api_url}
    with temporary_settings(settings):
        wrong = Secret(value="x").save(NOTICE_BLOCK)
    try:
        with pytest.raises(PipelineError, match="sends no notices"):
            update_automations(client)
    finally:
        client.delete_block_document(wrong)
    with temporary_settings(settings):
        right = SlackWebhook(url="https://127.0.0.1/nothing").save(NOTICE_BLOCK)
    try:
        update_automations(client)
        (late,) = client.read_automations_by_name("maepose: tell of late runs")
        assert right in {action.block_document_id for action in late.actions}
        assert len(late.actions) == 2
    finally:
        client.delete_block_document(right)
        update_automations(client)


@pytest.fixture
def pool(client) -> Iterator[str]:
    """A work pool that no worker serves."""
    name = f"nobody-{uuid4()}"
    client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    yield name
    client.delete_work_pool(name)


@pytest.mark.slow  # the server plans runs once in a while
def test_of_runs_that_were_missed_the_last_is_kept(server, client, pool):
    there = client.read_deployment_by_name("reprocess-recordings/default")
    schedule = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 2 * * *", timezone="UTC"), active=True)
    deployment = client.create_deployment(
        there.flow_id, "missed", schedules=[schedule], work_pool_name=pool, entrypoint=there.entrypoint
    )
    try:
        now = datetime.now(UTC)
        body = {
            "start_time": (now - timedelta(days=5)).isoformat(),
            "end_time": now.isoformat(),
            "min_runs": 5,
            "max_runs": 5,
        }
        client.request("POST", f"/deployments/{deployment}/schedule", json=body).raise_for_status()
        missed = [
            run for run in client.read_flow_runs(limit=200)
            if run.deployment_id == deployment and run.expected_start_time < now - timedelta(minutes=1)
        ]  # fmt: skip
        assert len(missed) in (4, 5)
        (kept,) = [run for run in keep_last_missed_run(client) if run.deployment_id == deployment]
        assert kept.expected_start_time == max(run.expected_start_time for run in missed)
        states = {run.id: client.read_flow_run(run.id).state for run in missed}
        assert [run for run, state in states.items() if not state.is_cancelled()] == [kept.id]
        assert "makes up for it" in next(state.message for state in states.values() if state.is_cancelled())
        assert [run.id for run in keep_last_missed_run(client) if run.deployment_id == deployment] == [kept.id]
    finally:
        client.delete_deployment(deployment)


def test_a_run_in_a_pool_without_workers_is_told_so(server, client, pool, prefect):
    there = client.read_deployment_by_name("evaluate/default")
    deployment = client.create_deployment(
        there.flow_id,
        "nowhere",
        work_pool_name=pool,
        entrypoint=there.entrypoint,
        parameter_openapi_schema=there.parameter_openapi_schema,
    )
    try:
        done = prefect("deployment", "run", "evaluate/nowhere", "-p", "study=x")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"No worker runs for the work pool {pool!r}" in done.stderr
    finally:
        client.delete_deployment(deployment)
