"""Short deployment names, and how a plain `prefect` command finds root and server."""

import asyncio
import logging
import os
import re
import subprocess
import sys
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import Worker
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from flows.local_server import PROJECT
from flows.plugin import _warn_without_workers, full_name


@pytest.mark.parametrize(
    ("deployments", "meant"),
    [(["default"], "capture/default"), (["lab"], "capture/lab"), (["lab", "default", "b"], "capture/default")],
)
def test_a_bare_name_means_the_default_or_the_only_deployment(deployments, meant):
    assert full_name("capture", deployments) == meant


def test_a_bare_name_with_several_deployments_names_them():
    with pytest.raises(ObjectNotFound, match="capture/a, capture/b"):
        full_name("capture", ["b", "a"])


def test_a_bare_name_without_deployment_says_what_to_do():
    with pytest.raises(ObjectNotFound, match="No flow 'captur' is deployed"):
        full_name("captur", [])


@pytest.mark.parametrize(
    ("statuses", "said"), [((), True), (("OFFLINE", "OFFLINE"), True), (("OFFLINE", "ONLINE"), False)], ids=str
)
def test_a_pool_whose_workers_are_gone_is_said(caplog, statuses, said):
    deployment = DeploymentResponse(id=uuid4(), name="default", flow_id=uuid4(), work_pool_name="gpu")
    workers = [Worker(name="w", work_pool_id=uuid4(), status=status) for status in statuses]
    _warn_without_workers(logging.getLogger("pools"), deployment, workers)
    assert ("No worker runs for the work pool 'gpu'" in caplog.text) == said


def test_the_full_name_works_as_ever(prefect, client):
    done = prefect("deployment", "run", "capture-session/default", "--start-in", "10 days")
    assert done.returncode == 0, done.stdout + done.stderr
    run = client.read_flow_run(UUID(re.search(r"UUID: (\S+)", done.stdout)[1]))
    assert client.read_deployment(run.deployment_id).name == "default"
    client.delete_flow_run(run.id)


def test_clients_in_programs_take_short_names_too(server, client):
    short = client.read_deployment_by_name("capture-session")
    assert short.id == client.read_deployment_by_name("capture-session/default").id

    async def read() -> UUID:
        async with PrefectClient(server.api_url) as asynchronous:
            return (await asynchronous.read_deployment_by_name("capture-session")).id

    assert asyncio.run(read()) == short.id


def test_an_unknown_name_fails_with_a_sentence_and_no_traceback(prefect):
    done = prefect("deployment", "run", "no-such-flow")
    assert done.returncode == 1
    assert "Deployment 'no-such-flow' not found!" in done.stdout
    assert "No flow 'no-such-flow' is deployed" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_wrong_form_is_refused_before_there_is_a_run(prefect, client):
    deployment = client.read_deployment_by_name("capture-session")

    def captures() -> set[UUID]:
        return {run.id for run in client.read_flow_runs() if run.deployment_id == deployment.id}

    before = captures()
    done = prefect("deployment", "run", "capture-session", "-p", "seconds=-3")
    assert done.returncode == 1
    assert "Validation failed for field 'seconds'" in done.stdout
    for wrong in ({"participant": "a/b"}, {"rig": "broken"}, {"seconds": "long"}):
        with pytest.raises(PrefectHTTPStatusError, match="Validation failed"):
            client.create_flow_run_from_deployment(deployment.id, parameters=wrong)
    assert captures() == before


def test_a_command_other_than_a_run_starts_no_server(tmp_path):
    """And `maepose`, like every program that imports Prefect, must not either."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    program = "import sys; sys.argv = ['prefect', 'version']; import prefect, os; print(os.environ['MAEPOSE_ROOT'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env=environment | {"MAEPOSE_ROOT": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "data")
    assert not (tmp_path / "data").exists()
