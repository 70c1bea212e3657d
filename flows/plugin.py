"""Prefect's own plugin hook: makes `prefect deployment run capture-session`, typed exactly so in the project, work.

In the project directory (where pyproject.toml switches plugins on) every Prefect command and worker then knows

- the data root: MAEPOSE_ROOT, by default the project's ./data, as an absolute path for flow runs to inherit;
- the server: the one that `maepose up` started for that data root, unless PREFECT_API_URL or a profile names another;
- short names: a deployment name without a slash means the flow's `default` deployment, or its only one.

A server also learns to write notices into its log, and a run asked for in a pool without workers is told so.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import wraps
from logging import Logger
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import Worker, WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.plugins import HookContext, SetupResult, register_hook

from flows.address import (
    ROOT_VARIABLE,
    TRAINING_POOL,
    TRAINING_POOL_VARIABLE,
    LocalServer,
    is_alive,
    local_training_pool,
    read_server,
    running_server,
)
from pipeline.errors import PipelineError
from pipeline.settings import data_root


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult:
    """Tell Prefect where the data root and its server are, and teach its clients short deployment names.

    `prefect deployment run` with no server anywhere starts the local one first: Prefect's own answer would be a server that ends
    with the command, so that no worker ever sees the run.
    """
    logger = ctx.logger_factory("maepose")
    _teach_short_names(logger)
    root = data_root()
    environment = {
        ROOT_VARIABLE: str(root),
        TRAINING_POOL_VARIABLE: os.environ.get(TRAINING_POOL_VARIABLE, TRAINING_POOL),
    }
    if ctx.api_url is None:
        try:
            server = running_server(root)
            if server is None and sys.argv[1:3] == ["deployment", "run"]:
                server = _start_server(root)
        except PipelineError as error:
            logger.warning(str(error))
            server = None
        if server is not None:
            environment["PREFECT_API_URL"] = server.api_url
            environment[TRAINING_POOL_VARIABLE] = os.environ.get(TRAINING_POOL_VARIABLE, local_training_pool())
    if sys.argv[1:2] == ["worker"]:
        # Its flow runs inherit all of this, and Prefect's own helpers of a run trip over plugins.
        environment["PREFECT_PLUGINS_ENABLED"] = "false"
        # What tells a run that goes on from one whose process died (flows/automations.yaml); Prefect's own is three minutes.
        environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = os.environ.get("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "60")
    if sys.argv[1:3] == ["server", "start"]:
        import flows.notices  # noqa: F401  its block, which this server is to load
    return SetupResult(env=environment, note=f"data root {root}")


def _start_server(root: Path) -> LocalServer | None:
    """Type `maepose up` for the person who has not; ends the command where that fails, with its sentence."""
    sys.stderr.write(f"No Prefect server runs for {root}; `maepose up` starts one, `maepose down` stops it again.\n")
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "up", "--root", str(root)], stdout=sys.stderr, check=False
    )
    if done.returncode != 0:
        sys.exit(done.returncode)
    return running_server(root)


def full_name(flow: str, deployments: Sequence[str]) -> str:
    """`flow/deployment` of the one deployment that the bare `flow` means; ObjectNotFound with a sentence when none does."""
    if "default" in deployments:
        return f"{flow}/default"
    if len(deployments) == 1:
        return f"{flow}/{deployments[0]}"
    if deployments:
        sentence = f"{flow!r} has several deployments and none is `default`; name one: " + ", ".join(
            f"{flow}/{name}" for name in sorted(deployments)
        )
    else:
        sentence = (
            f"No flow {flow!r} is deployed on this server; `prefect deployment ls` lists what is, and `maepose up` starts "
            "a local server with all of them."
        )
    raise ObjectNotFound(http_exc=LookupError(sentence), help_message=sentence)


def _teach_short_names(logger: Logger) -> None:
    """Wrap `read_deployment_by_name` of Prefect's two clients, once a process."""
    if getattr(PrefectClient.read_deployment_by_name, "takes_short_names", False):
        return
    read_async = PrefectClient.read_deployment_by_name
    read_sync = SyncPrefectClient.read_deployment_by_name

    def choose(name: str, deployments: list[DeploymentResponse]) -> str:
        try:
            return full_name(name, [deployment.name for deployment in deployments])
        except ObjectNotFound as error:
            logger.warning(str(error))  # the command line swallows the error's own words
            raise

    @wraps(read_async)
    async def by_name(self: PrefectClient, name: str) -> DeploymentResponse:
        if "/" not in name:
            name = choose(name, await self.read_deployments(flow_filter=_flow_named(name)))
        deployment = await read_async(self, name)
        if sys.argv[1:3] == ["deployment", "run"] and _may_lack_workers(self, deployment):
            _warn_without_workers(
                logger, deployment, await self.read_workers_for_work_pool(str(deployment.work_pool_name))
            )
        return deployment

    @wraps(read_sync)
    def by_name_sync(self: SyncPrefectClient, name: str) -> DeploymentResponse:
        if "/" not in name:
            name = choose(name, self.read_deployments(flow_filter=_flow_named(name)))
        return read_sync(self, name)

    replacements: tuple[tuple[type, Any], ...] = ((PrefectClient, by_name), (SyncPrefectClient, by_name_sync))
    for client, replacement in replacements:
        replacement.takes_short_names = True
        client.read_deployment_by_name = replacement  # type: ignore[attr-defined]


def _may_lack_workers(client: Any, deployment: DeploymentResponse) -> bool:
    """False for deployments without a pool, and where this machine's own worker was started for it, be it a moment ago."""
    if deployment.work_pool_name is None:
        return False
    server = read_server(data_root())
    if server is None or str(client.api_url).rstrip("/") != server.api_url:
        return True
    return not is_alive(server, f"worker-{deployment.work_pool_name}")


def _warn_without_workers(logger: Logger, deployment: DeploymentResponse, workers: Sequence[Worker]) -> None:
    if not any(worker.status == WorkerStatus.ONLINE for worker in workers):
        pool = deployment.work_pool_name
        logger.warning(
            f"No worker runs for the work pool {pool!r}, so the run waits until one does: `maepose up` starts those of this "
            f"machine, `prefect worker start --pool {pool}` one of a server of your own."
        )


def _flow_named(name: str) -> FlowFilter:
    return FlowFilter(name=FlowFilterName(any_=[name]))
