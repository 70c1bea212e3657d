"""A lab's Dask cluster, for what one machine takes too long for: one task a recording, done again elsewhere where a worker dies.

A run does not name the cluster, the machine that runs it does (`MAEPOSE_DASK`): Dask's programs run what is sent to them, both
ways, so whoever may start runs must not choose whom this machine trusts.
"""

import importlib.util
import os
import queue
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import processing.cubes
from flows.address import ROOT_VARIABLE
from flows.nights import Asked, CarryOut, same_night
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from prefect import Task
    from prefect_dask import DaskTaskRunner

DASK_VARIABLE = "MAEPOSE_DASK"
"""Names the scheduler, tcp://HOST:PORT, or tls://HOST:PORT where Dask's own configuration has the certificates."""
CONNECTED_WITHIN_S = 15.0
WORKERS_WITHIN_S = 60.0
"""A cluster without any worker for so long is given up, at the beginning as later."""
LOOK_EVERY_S = 10.0


@contextmanager
def dask_cluster() -> Iterator["DaskTaskRunner"]:
    """The cluster that `MAEPOSE_DASK` names, with a worker or more; PipelineError within a minute or so where there is none."""
    address = _address()
    from prefect_dask import DaskTaskRunner

    with DaskTaskRunner(address=address, client_kwargs={"timeout": CONNECTED_WITHIN_S}) as runner:
        try:
            runner.client  # noqa: B018  connects
        except (OSError, TimeoutError) as error:
            raise PipelineError(
                f"No Dask scheduler answers at {address} within {CONNECTED_WITHIN_S:g} s; start `dask scheduler` there, or "
                f"correct {DASK_VARIABLE}."
            ) from error
        _wait_for_workers(runner)
        yield runner


def _address() -> str:
    """What `MAEPOSE_DASK` says."""
    if importlib.util.find_spec("prefect_dask") is None:
        raise PipelineError("Dask is not installed here; install it with `pip install 'maepose[dask]'`.")
    address = os.environ.get(DASK_VARIABLE, "")
    if not address:
        raise PipelineError(
            f"This worker knows no Dask cluster; start it with {DASK_VARIABLE}=tcp://HOST:8786, the address of its scheduler."
        )
    if not re.fullmatch(r"(tcp|tls)://[^/\s]+:\d+", address):
        raise PipelineError(f"{DASK_VARIABLE} is {address!r}, which is no scheduler's address; write tcp://HOST:PORT.")
    return address


def on_dask(runner: "DaskTaskRunner", make: "Task[..., Any]", parameters: Mapping[str, Any]) -> CarryOut:
    """Send every recording to the cluster as one run of `make(recording_id, why, **parameters)`.

    A worker that dies has its recordings done by others (each up to three times: Dask's `allowed-failures`). Raises PipelineError
    where the scheduler goes away, or no worker is left and none comes.
    """

    def carry_out(waiting: Sequence[Asked]) -> Iterator[tuple[str, Exception | None]]:
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        sent = {}
        for recording_id, why in waiting:
            one = {"recording_id": recording_id, "why": why}
            future = runner.submit(make, parameters={**parameters, **one})
            sent[future.wrapped_future.key] = recording_id, future
            future.wrapped_future.add_done_callback(done.put)
        while sent:
            try:
                key = done.get(timeout=LOOK_EVERY_S).key
            except queue.Empty:
                _wait_for_workers(runner)
                continue
            recording_id, future = sent.pop(key)
            if future.wrapped_future.cancelled():
                raise _lost(runner)
            try:
                future.result()
            except Exception as error:
                yield recording_id, error
            else:
                yield recording_id, None

    return carry_out


def dask_root(run_root: Path, night_token: str, version: str) -> Path:
    """The data root of the run, as this Dask worker sees it: its own MAEPOSE_ROOT, or else the path that the run has.

    Raises PipelineError where that is another data root than the one whose night goes on (`night_token`), and where this worker
    makes cubes by another `version` of the algorithm.
    """
    here, host = Path(os.environ.get(ROOT_VARIABLE) or run_root), socket.gethostname()
    if not same_night(here, night_token):
        raise PipelineError(
            f"The Dask worker on {host} does not see the data root of this run at {here}; mount it there, or start the worker "
            f"with {ROOT_VARIABLE} set to where it lies."
        )
    if version != processing.cubes.ALGORITHM_VERSION:
        raise PipelineError(
            f"The Dask worker on {host} makes cubes by version {processing.cubes.ALGORITHM_VERSION} of the algorithm, this run "
            f"by {version}; bring both to the same version of the project and start the worker again."
        )
    return here


def _wait_for_workers(runner: "DaskTaskRunner") -> None:
    if runner.client.status != "running":
        raise _lost(runner)
    try:
        runner.client.wait_for_workers(1, timeout=WORKERS_WITHIN_S)
    except TimeoutError:
        raise PipelineError(
            f"The Dask cluster at {runner.address} has had no worker for {WORKERS_WITHIN_S:g} s; start `dask worker "
            f"{runner.address} --nthreads 1` on machines that see the data root, and run this again: what is done stays done."
        ) from None
    except OSError:
        raise _lost(runner) from None


def _lost(runner: "DaskTaskRunner") -> PipelineError:
    return PipelineError(
        f"The Dask scheduler at {runner.address} went away; start it and its workers, and run this again: what is done stays "
        "done."
    )
