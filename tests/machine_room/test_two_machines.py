"""A pool served by workers on two machines, each with name, address, card and mount of its own: a study fans out to both."""

import os
import re
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest
import waiting
from hosts import PROJECT, WITHIN_S, Machine, clean_environment, machines, prefect_server, program
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))

from small_study import PEOPLE, record, study_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * WITHIN_S)]
MODALITIES = ("rd", "ra", "dual")
NETWORKS = 2 * len(MODALITIES) * len(PEOPLE)
"""Of `small_study`: two methods."""


def environ(process: int) -> dict[str, str]:
    """The environment a process was started with; nothing of one that ended."""
    try:
        lines = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(os.fsdecode(line).partition("=")[::2] for line in lines)


def network(process: int) -> str:
    """The network namespace a process lives in."""
    try:
        return os.readlink(f"/proc/{process}/ns/net")
    except OSError:
        return ""


def local_addresses(process: int) -> set[str]:
    """Addresses that TCP connections have on the machine of a process."""
    lines = Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]
    words = [line.split()[1].split(":")[0] for line in lines]
    return {".".join(str(byte) for byte in reversed(bytes.fromhex(word))) for word in words}


def runs_here() -> dict[str, int]:
    """Flow runs that have a process on this computer, in whichever namespace."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        run = environ(int(folder.name)).get("PREFECT__FLOW_RUN_ID")
        if run:
            found[run.replace("-", "")] = int(folder.name)
    return found


def typed(program_name: str, *words: str, environment: dict[str, str]) -> str:
    """What a person types in the project, and what it says."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name(program_name)), *words],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def units_made(client: SyncPrefectClient) -> list[tuple[str, str]]:
    """Run and unit, of every line in which a run of `evaluate-fold` says that it made one."""
    found, read = [], 0
    while True:
        page = client.read_logs(limit=200, offset=read)
        for log in page:
            said = re.match(r"made: \{'unit': '([^']+)'", log.message)
            if said:
                found.append((str(log.flow_run_id).replace("-", ""), said[1]))
        read += len(page)
        if len(page) < 200:
            return found


def test_folds_of_a_study_are_shared_by_two_machines_and_each_is_made_once(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    record(root)
    study_file(root, modalities=list(MODALITIES))
    with machines("lab-a", "lab-b") as both, prefect_server(tmp_path, both[0].gateway) as api_url, ExitStack() as stack:
        client = stack.enter_context(SyncPrefectClient(api_url))
        own = {"PREFECT_API_URL": api_url, "PREFECT_WORKER_QUERY_SECONDS": "1"}
        asking = clean_environment(**own, MAEPOSE_ROOT=str(root), PREFECT_HOME=str(tmp_path / "client"))
        typed("maepose", "deploy", "--training-pool", "gpu", environment=asking)
        workers: dict[str, tuple[Machine, int]] = {}
        for card, machine in enumerate(both):
            mounted = tmp_path / f"mounted-on-{machine.name}"
            mounted.symlink_to(root)
            words = ["-m", "prefect", "worker", "start", "--pool", "gpu", "--limit", "1", "--name", machine.name]
            there = clean_environment(
                **own,
                MAEPOSE_ROOT=str(mounted),
                PREFECT_HOME=str(tmp_path / machine.name),
                CUDA_VISIBLE_DEVICES=str(card),
                PYTHONUNBUFFERED="1",
            )
            command = machine.command(sys.executable, *words)
            process = stack.enter_context(program(command, tmp_path / f"{machine.name}.log", there))
            workers[machine.name] = machine, process.pid  # `ip`, `unshare` and `sh` become the worker

        def both_wait() -> bool:
            for name, (_, pid) in workers.items():
                assert environ(pid), (tmp_path / f"{name}.log").read_text(errors="replace")[-3000:]
            return {worker.name for worker in client.read_workers_for_work_pool("gpu")} == set(workers)

        waiting.wait_for(both_wait, WITHIN_S, "two workers in one pool")
        names = {network(pid): name for name, (_, pid) in workers.items()}
        assert len(names) == 2
        assert network(os.getpid()) not in names
        for machine, pid in workers.values():
            waiting.wait_for(lambda: machine.address in local_addresses(pid), WITHIN_S, f"{machine.name} at the server")  # noqa: B023

        asked = typed(
            "prefect", "deployment", "run", "study", "-p", "study=study.yaml", "-p", "where=workers", "-p", "device=cpu",
            environment=asking,
        )  # fmt: skip
        study_run = UUID(re.search(r"UUID: (\S+)", asked)[1])
        seen: dict[str, tuple[str, str]] = {}
        """Run: where it was, and the card it saw."""

        def ended() -> FlowRun | None:
            for run, pid in runs_here().items():
                place, card = names.get(network(pid)), environ(pid).get("CUDA_VISIBLE_DEVICES")
                if place is not None and card is not None:
                    seen[run] = place, card
            found = client.read_flow_run(study_run)
            return found if found.state is not None and found.state.is_final() else None

        done = waiting.wait_for(ended, 3 * WITHIN_S, "the end of the study")
        assert done.state.is_completed(), done.state.message
        assert set(seen.values()) == {("lab-a", "0"), ("lab-b", "1")}

        home = seen[str(study_run).replace("-", "")][0]
        # logs come a moment later than the runs' ends
        made = waiting.wait_for(
            lambda: found if len(found := units_made(client)) >= NETWORKS else None, WITHIN_S, "every network's log"
        )
        assert Counter(unit for _, unit in made).most_common(1)[0][1] == 1
        assert len(made) == NETWORKS
        # runs without a process of their own are folds that the study's run did along
        assert {seen[run][0] if run in seen else home for run, _ in made} == {"lab-a", "lab-b"}
    folder = root / "experiments" / "small"
    assert len(list((folder / "predictions").glob("maepose.*.parquet"))) == NETWORKS // 2
    assert (folder / "report.html").exists()
