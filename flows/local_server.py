"""A Prefect server with its workers on this machine: started on a free loopback port, deployed to, and stopped without a trace.

The server keeps its own PREFECT_HOME (SQLite database, logs, address) in `<root>/prefect`. Every process starts in a session of
its own, so that Ctrl-C reaches only the program that started them, which then stops them in order.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import State, StateType
from prefect.states import Crashed

from flows.address import (
    PROJECT,
    ROOT_VARIABLE,
    TRAINING_POOL_VARIABLE,
    LocalServer,
    answers,
    is_alive,
    local_training_pool,
    read_server,
    running_server,
    server_file,
    server_home,
)
from flows.automations import update_automations
from flows.deploying import POOLS, create_pools, last_line, pools, run_prefect, workers
from flows.going_on import go_on
from flows.missed_runs import keep_last_missed_run
from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from pipeline.locks import open_lock, take_lock

PREFERRED_PORT = 4200  # Prefect's own; taken by `maepose up` when it is free
HEALTHY_WITHIN_S = 120.0
STOPPED_WITHIN_S = 40.0  # a worker gives its flow runs 30 s to end

PREFECT_PROCESS = b"\0-m\0prefect"  # in the command lines of the server, its workers ...
FLOW_RUN_PROCESS = b"\0-m\0prefect."  # ... and the runs they start, which are modules of Prefect's

CRASHED: State[Any] = Crashed(message="Its worker was stopped while it was going on.")


def start(
    root: Path,
    *,
    port: int | None = None,
    training_pool: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> LocalServer:
    """Start server, work pools, workers and deployments for `root`; when they run already, say so and return them.

    `port` None takes 4200 where it is free, else any free port; `training_pool` None takes `gpu` where there is a GPU. Raises
    PipelineError, with nothing left running, when a part does not start, and the sentence names the log; and where another
    machine's server works on `root`.
    """
    root = root.absolute()
    if training_pool is not None and training_pool not in pools():
        raise PipelineError(
            f"This machine has no work pool {training_pool!r} to train in; name one of {', '.join(pools())} with --training-pool "
            f"or {TRAINING_POOL_VARIABLE}, or leave it out."
        )
    _make_home(root)
    with (server_home(root) / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _refuse_elsewhere(root, read_server(root))
        running = running_server(root)
        if running is not None:
            tell(
                f"The Prefect server of {root} runs already at {running.ui_url}; checking its deployments and workers ..."
            )
            return _complete(running, training_pool, tell)
        stop(root)  # what a server that died left behind
        try:
            with _claimed_port(port) as number:
                server = LocalServer(root=root, port=number, processes={}, host=socket.gethostname())
                tell(f"Starting a Prefect server at {server.ui_url} ...")
                server = _spawn(server, "server", ["server", "start", "--host", "127.0.0.1", "--port", str(number)])
                _wait_until_healthy(server)
            tell("Creating work pools and deployments, starting workers ...")
            return _complete(server, training_pool, tell)
        except BaseException:
            stop(root)
            raise


def stop(root: Path) -> bool:
    """Stop the local server of `root` and its workers, workers first; False when there was none.

    Raises PipelineError where another machine started it.
    """
    server = read_server(root)
    if server is None:
        return False
    _refuse_elsewhere(root, server)
    _stop_processes([pid for name, pid in server.processes.items() if name != "server"])
    _stop_processes(list(flow_run_processes(root)))  # runs that outlived a worker which was killed
    _stop_processes([pid for name, pid in server.processes.items() if name == "server"])
    server_file(root).unlink(missing_ok=True)
    return True


def _refuse_elsewhere(root: Path, server: LocalServer | None) -> None:
    """PipelineError where another machine started `server`: two servers on one database would do everything twice."""
    if server is not None and server.elsewhere:
        raise PipelineError(
            f"The Prefect server of {root} was started on {server.host}; use `maepose up` and `maepose down` there. If it does "
            f"not run any more, or {server.host} is this machine's former name, remove {server_file(root)}."
        )


def environment(server: LocalServer) -> dict[str, str]:
    """The environment in which a Prefect command talks to `server`: nothing of another server's settings remains."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    # Two networks that train at once, each on every core, take ten times as long: a run has its share of them.
    kept.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // POOLS["cpu"])))
    return kept | {
        ROOT_VARIABLE: str(server.root),
        TRAINING_POOL_VARIABLE: local_training_pool(),
        "PREFECT_HOME": str(server_home(server.root)),
        "PREFECT_API_URL": server.api_url,
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(server.port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "30",  # SQLite: wait for a lock rather than answer 500
        # Late is what waits for longer than its turn in a busy pool, and worth a notice (flows/automations.yaml).
        "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "600",
        "PREFECT_WORKER_QUERY_SECONDS": "2",  # a run typed by hand starts within seconds, not ten
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
        "PYTHONUNBUFFERED": "1",
    }


def _make_home(root: Path) -> None:
    try:
        (server_home(root) / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PipelineError(
            f"The data root {root} cannot be written ({error.strerror}); name a writable one with --root or {ROOT_VARIABLE}."
        ) from error


@contextlib.contextmanager
def _claimed_port(port: int | None) -> Iterator[int]:
    """`port`, which must be free; without one 4200 where it is free, else one the system chooses.

    A server listens seconds after it was started. Until then the port's lock keeps it from others who start one: they would
    take the server that answers there for their own.
    """
    with contextlib.ExitStack() as claim:
        for wanted in [port] if port is not None else [PREFERRED_PORT, *[0] * 10]:
            number = _free(wanted)
            if number is None:
                continue
            lock = Path(tempfile.gettempdir()) / f"maepose-port-{number}.lock"
            try:
                taken = not take_lock(claim.enter_context(open_lock(lock)))
            except OSError:
                continue
            # still free: who had the lock before may have let it go because it listens
            if not taken and _free(number) is not None:
                break
        else:
            raise PipelineError(
                f"Port {port} is taken on this machine; choose another, or leave it out to get a free one."
            )
        yield number


def _free(port: int) -> int | None:
    """`port`, or any for 0, where nobody listens on it; None where somebody does."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return None
        return int(probe.getsockname()[1])


def _complete(server: LocalServer, training_pool: str | None, tell: Callable[[str], None]) -> LocalServer:
    """Bring pools, deployments and automations up to date, and start the workers that are not there."""
    trains = {TRAINING_POOL_VARIABLE: training_pool} if training_pool else {}
    with SyncPrefectClient(server.api_url) as client:
        create_pools(client, pools())
        run_prefect(["deploy", "--all"], environment(server) | trains)
        try:
            update_automations(client)
        except PipelineError as error:  # no reason to leave the lab without a server
            tell(str(error))
        absent = {name: worker for name, worker in workers().items() if not is_alive(server, name)}
        if "worker-cpu" in absent:
            for run in keep_last_missed_run(client):
                tell(f"{run.name} was due at {run.expected_start_time:%Y-%m-%d %H:%M %Z}; it starts now.")
        served = {pool for name, (pool, _) in workers().items() if name not in absent}
        for pool in {pool for pool, _ in absent.values()} - served:
            _close_abandoned_runs(client, server.root, pool)
        for name, (pool, own) in absent.items():
            arguments = ["worker", "start", "--pool", pool, "--type", "process"]
            arguments += ["--name", name.replace("worker", "local", 1), *(["--limit", "1"] if pool == "gpu" else [])]
            server = _spawn(server, name, arguments, own)
        for run in go_on(client, server.root, tell):
            tell(f"{run.name} goes on for a run that crashed.")
    return server


def _close_abandoned_runs(client: SyncPrefectClient, root: Path, pool: str) -> None:
    """Mark runs as crashed whose worker and process are both dead: they would hold the rig's one slot for ever."""
    living = set(flow_run_processes(root).values())
    active = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=active)),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
    )
    for run in runs:
        if str(run.id) not in living:
            client.set_flow_run_state(run.id, CRASHED, force=True)


def _log(server: LocalServer, name: str) -> Path:
    return server_home(server.root) / "logs" / f"{name}.log"


def _spawn(server: LocalServer, name: str, arguments: Sequence[str], own: Mapping[str, str] = {}) -> LocalServer:
    """Start one Prefect process in its own session, and write its id down before anything else can go wrong."""
    with _log(server, name).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *arguments],
            cwd=PROJECT,
            env={**environment(server), **own},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = server.model_copy(update={"processes": {**server.processes, name: process.pid}})
    write_atomic(server_file(server.root), server.model_dump_json(indent=2) + "\n")
    return server


def _wait_until_healthy(server: LocalServer) -> None:
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    while time.monotonic() < deadline:
        if not _alive(server.processes["server"]):
            break
        if answers(server.api_url):
            try:
                with urlopen(f"{server.api_url}/health", timeout=5) as reply:
                    if reply.status == 200:
                        return
            except (URLError, OSError):
                pass
        time.sleep(0.2)
    log = _log(server, "server")
    raise PipelineError(
        f"The Prefect server did not start; {log} ends with: {last_line(log.read_text(errors='replace'))}"
    )


def _alive(pid: int) -> bool:
    """True while `pid` runs and is one of ours; a child that ended is reaped on the way."""
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    except ChildProcessError:
        pass  # started by another process: only look
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return PREFECT_PROCESS in command  # else the number went to another program, or it is a zombie


def flow_run_processes(root: Path) -> dict[int, str]:
    """Process ids and flow run ids of what runs for the local server of `root`; recorders are none, and go on."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            lines = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile, or another user's
        variables = dict(os.fsdecode(line).partition("=")[::2] for line in lines)
        if FLOW_RUN_PROCESS in command and variables.get("PREFECT_HOME") == str(server_home(root)):
            found[int(process.name)] = variables.get("PREFECT__FLOW_RUN_ID", "")
    return found


def _stop_processes(pids: Sequence[int]) -> None:
    """Ask each process to end, wait, then end its group by force."""
    mine = [pid for pid in pids if _alive(pid)]
    for pid in mine:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOPPED_WITHIN_S
    while any(_alive(pid) for pid in mine) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in mine:
        try:
            os.killpg(pid, signal.SIGKILL)  # what it left in its group, and itself if it did not hear
        except ProcessLookupError:
            continue
        _alive(pid)
