"""A Dask cluster whose workers have addresses of their own: real `dask scheduler` and `dask worker` programs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dask
import waiting
from hosts import WITHIN_S, clean_environment, program

# beside trainings on every core a greeting takes its time
PATIENT = {"distributed.comm.timeouts.connect": "300s", "distributed.comm.timeouts.tcp": "300s"}
DASK = str(Path(sys.executable).with_name("dask"))


@contextmanager
def dask_hosts(folder: Path, hosts: tuple[str, ...]) -> Iterator[tuple[str, dict[str, subprocess.Popen[bytes]]]]:
    """A scheduler, and a worker of one thread listening at each of `hosts`; its address, and the workers' processes by host."""
    described = folder / "scheduler.json"
    # Prefect's plugins cannot be set up in a program that has an event loop already
    own = {"PREFECT_PLUGINS_ENABLED": "false"}
    own |= {f"DASK_{name.upper().replace('.', '__')}": value for name, value in PATIENT.items()}
    with ExitStack() as running, dask.config.set(PATIENT):

        def start(name: str, *words: str) -> subprocess.Popen[bytes]:
            return running.enter_context(program([DASK, *words], folder / f"{name}.log", clean_environment(**own)))

        words = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(described))
        scheduler = start("scheduler", "scheduler", *words)

        def address() -> str | None:
            assert scheduler.poll() is None, (folder / "scheduler.log").read_text()
            try:
                return str(json.loads(described.read_text())["address"])
            except (OSError, ValueError):
                return None

        found = waiting.wait_for(address, WITHIN_S, "a Dask scheduler")
        common = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0", "--death-timeout", "1000")
        workers = {
            host: start(host, "worker", found, *common, "--host", host, "--local-directory", str(folder / host))
            for host in hosts
        }

        def joined(host: str) -> bool:
            said = (folder / f"{host}.log").read_text()
            assert workers[host].poll() is None, said
            return "Registered to:" in said

        for host in hosts:
            waiting.wait_for(lambda: joined(host), WITHIN_S, f"the worker at {host}")  # noqa: B023  called at once
        yield found, workers
