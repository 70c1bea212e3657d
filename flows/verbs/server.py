"""Verbs around Prefect servers: demo, up, down; and deploy, for a server of one's own."""

import os
import shlex
from typing import Annotated

import typer

from flows.address import PROJECT, ROOT_VARIABLE, TRAINING_POOL, TRAINING_POOL_VARIABLE
from flows.console import Answer, JsonOption, RootOption, resolved_root, tell
from pipeline.settings import DEFAULT_ROOT

PortOption = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1; default: 4200 where it is free, else any.")
]


def up(
    root: RootOption = None,
    port: PortOption = None,
    training_pool: Annotated[
        str | None,
        typer.Option(
            "--training-pool",
            envvar=TRAINING_POOL_VARIABLE,
            help="Whose workers train: cpu or gpu; default: gpu where this machine has one.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start a Prefect server on this machine, with work pools, workers and every deployment. Running it again repairs it."""
    from flows.local_server import start

    server = start(resolved_root(root), port=port, training_pool=training_pool, tell=tell)
    where = shlex.quote(str(server.root))
    at = "" if server.root == PROJECT / DEFAULT_ROOT else f"{ROOT_VARIABLE}={where} "
    Answer(as_json).give(
        {"ui": server.ui_url, "api": server.api_url, "root": server.root, "processes": server.processes},
        [
            f"The Prefect UI is at {server.ui_url}",
            f"Record with:  {at}prefect deployment run capture-session     (in the project directory)",
            f"Stop with:    maepose down --root {where}",
        ],
    )


def down(root: RootOption = None, as_json: JsonOption = False) -> None:
    """Stop the Prefect server of this data root and its workers. A recorder that is running goes on to its end."""
    from flows.local_server import stop

    where = resolved_root(root)
    stopped = stop(where)
    Answer(as_json).give({"stopped": stopped}, ["Stopped." if stopped else f"No server was running for {where}."])


def deploy(
    training_pool: Annotated[
        str, typer.Option("--training-pool", envvar=TRAINING_POOL_VARIABLE, help="Whose workers train: cpu or gpu.")
    ] = TRAINING_POOL,
    as_json: JsonOption = False,
) -> None:
    """Make work pools and deployments on the Prefect server that PREFECT_API_URL names. Running it again updates them."""
    from flows.deploying import LAB_POOLS
    from flows.deploying import deploy as run

    api_url = run(training_pool)
    Answer(as_json).give(
        {"api": api_url, "pools": list(LAB_POOLS), "training_pool": training_pool},
        [f"Pools {', '.join(LAB_POOLS)} and every deployment are on {api_url}; networks train in {training_pool}."],
    )


def demo(
    root: RootOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running; KEEP=1 does the same.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The whole pipeline, small, on the simulated rig: server, capture, processing, pictures. Minutes, no hardware."""
    from flows.demo import run_demo

    run_demo(resolved_root(root), Answer(as_json), keep=keep or os.environ.get("KEEP", "") not in ("", "0"))
