"""Work pools and deployments of this project, brought up to date on a Prefect server: the local one, or a lab's own."""

import os
import subprocess
import sys
from collections.abc import Mapping

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError
from prefect.settings import get_current_settings

from flows.address import PROJECT, TRAINING_POOL_VARIABLE, answers, gpu_names
from flows.automations import update_automations
from pipeline.errors import PipelineError

LAB_POOLS: dict[str, int | None] = {"rig": 1, "cpu": None, "gpu": None}
"""Of a server with workers on several machines: one radar at a time; what else runs at once is each worker's own `--limit`."""

# One radar at a time; two processing runs, so that a night's reprocessing does not keep a fresh recording waiting.
POOLS: dict[str, int] = {"rig": 1, "cpu": 2}


def pools() -> dict[str, int]:
    """Work pools of this machine with their limits: one network a GPU, where there are any."""
    cards = len(gpu_names())
    return POOLS | {"gpu": cards} if cards else POOLS


def workers() -> dict[str, tuple[str, dict[str, str]]]:
    """Workers of this machine: the pool of each, and what its runs find in their environment. One a GPU, which sees no other."""
    found: dict[str, tuple[str, dict[str, str]]] = {f"worker-{pool}": (pool, {}) for pool in POOLS}
    for number, card in enumerate(gpu_names()):
        name = f"worker-gpu-{number}" if number else "worker-gpu"
        found[name] = "gpu", {"CUDA_VISIBLE_DEVICES": card}
    return found


def create_pools(client: SyncPrefectClient, pools: Mapping[str, int | None]) -> None:
    """Make each work pool with its concurrency limit, or give the limit to the one that is there."""
    for name, limit in pools.items():
        try:
            client.create_work_pool(WorkPoolCreate(name=name, type="process", concurrency_limit=limit))
        except ObjectAlreadyExists:
            client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))


def run_prefect(arguments: list[str], environment: Mapping[str, str]) -> None:
    """Run one Prefect command in the project to its end; PipelineError with its last words when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PipelineError(f"`prefect {' '.join(arguments)}` failed: {last_line(done.stdout)}")


def last_line(text: str) -> str:
    """The last words of a log."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "(nothing)"


def deploy(training_pool: str) -> str:
    """Make the lab's pools, all deployments and automations on the server that Prefect's settings name; returns its address.

    Networks are trained by the workers of `training_pool`. PipelineError where no server is named, or it does not let us.
    """
    settings = get_current_settings()
    api_url = settings.api.url
    if not api_url:
        raise PipelineError(
            "No Prefect server is named; set PREFECT_API_URL to one, or let `maepose up` start one on this machine."
        )
    if training_pool not in LAB_POOLS:
        raise PipelineError(f"There is no work pool {training_pool!r} to train in; name one of {', '.join(LAB_POOLS)}.")
    if not answers(api_url):
        raise PipelineError(f"Nothing answers at {api_url}; start that server first, or correct PREFECT_API_URL.")
    secret = settings.api.auth_string.get_secret_value() if settings.api.auth_string else None
    try:
        with SyncPrefectClient(api_url, auth_string=secret) as client:
            create_pools(client, LAB_POOLS)
    except PrefectHTTPStatusError as error:
        if error.response.status_code != 401:
            raise
        raise PipelineError(f"{api_url} wants a password; set PREFECT_API_AUTH_STRING to NAME:PASSWORD.") from None
    run_prefect(["--no-prompt", "deploy", "--all"], os.environ | {TRAINING_POOL_VARIABLE: training_pool})
    with SyncPrefectClient(api_url, auth_string=secret) as client:
        update_automations(client)
    return api_url
