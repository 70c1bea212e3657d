"""The local server: healthy on the pinned versions, started once, repaired, and stopped without a trace."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import flows.address
import flows.deploying
from flows.address import LocalServer, answers, asked_at, gpu_names, read_server, running_server, server_file
from flows.cli import main
from flows.deploying import pools, workers
from flows.local_server import _claimed_port, environment, start, stop
from pipeline.errors import PipelineError


def prefect_processes(root: Path) -> list[str]:
    """Command lines of every living process that works for the local server of `root`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"PREFECT_HOME={root / 'prefect'}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_the_server_starts_on_the_pinned_versions_and_knows_every_deployment(server, client):
    names = {
        f"{client.read_flow(deployment.flow_id).name}/{deployment.name}" for deployment in client.read_deployments()
    }
    assert names == {
        "capture-session/default",
        "process-recording/default",
        "label-recording/default",
        "import-recording/default",
        "upload-recording/default",
        "reprocess-recordings/default",
        "prune/default",
        "pretrain/default",
        "finetune/default",
        "study/default",
        "evaluate-fold/default",
        "evaluate/default",
    }


def test_pools_bound_how_much_runs_at_once(server, client):
    assert client.read_work_pool("rig").concurrency_limit == 1
    assert client.read_work_pool("cpu").concurrency_limit == 2


def test_gpus_are_found_without_asking_their_driver(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_names(tmp_path) == []
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpu_names(tmp_path) == ["0", "1"]
    for visible, names in (("", []), ("-1", []), ("1", ["1"]), ("1, 0", ["1", "0"]), ("GPU-8a", ["GPU-8a"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert gpu_names(tmp_path) == names


def test_where_there_are_gpus_training_has_a_pool_and_each_gpu_a_worker_of_its_own(tmp_path, monkeypatch):
    others = {"worker-rig": ("rig", {}), "worker-cpu": ("cpu", {})}
    for cards, trains in (([], "cpu"), (["0"], "gpu"), (["2", "GPU-8a"], "gpu")):
        monkeypatch.setattr(flows.address, "gpu_names", lambda cards=cards: cards)
        monkeypatch.setattr(flows.deploying, "gpu_names", lambda cards=cards: cards)
        assert pools() == {"rig": 1, "cpu": 2} | ({"gpu": len(cards)} if cards else {})
        names = ["worker-gpu", "worker-gpu-1"][: len(cards)]
        seen = {name: ("gpu", {"CUDA_VISIBLE_DEVICES": card}) for name, card in zip(names, cards, strict=True)}
        assert workers() == others | seen
        variables = environment(LocalServer(root=tmp_path, port=9, processes={}))
        assert variables["MAEPOSE_TRAINING_POOL"] == trains


def test_a_pool_that_this_machine_does_not_have_is_said_before_anything_starts(tmp_path):
    with pytest.raises(PipelineError, match="no work pool 'tpu' to train in; name one of rig, cpu"):
        start(tmp_path / "data", training_pool="tpu")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("root", "words"),
    [
        (flows.address.PROJECT / "data", "Record with:  prefect deployment run capture-session "),
        (Path("/mnt/lab data"), "Record with:  MAEPOSE_ROOT='/mnt/lab data' prefect deployment run capture-session "),
    ],
)
def test_up_says_how_to_record_into_its_data_root_and_trains_where_the_environment_says(
    root, words, monkeypatch, capsys
):
    asked = {}

    def started(root: Path, **options: object) -> LocalServer:
        asked.update(options)
        return LocalServer(root=root, port=4200, processes={})

    monkeypatch.setattr("flows.local_server.start", started)
    monkeypatch.setenv("MAEPOSE_TRAINING_POOL", "cpu")
    monkeypatch.setenv("MAEPOSE_ROOT", "/somewhere/else")
    main_of_up(root)
    assert words in capsys.readouterr().out
    assert asked["training_pool"] == "cpu"
    monkeypatch.setenv("MAEPOSE_TRAINING_POOL", "")
    main_of_up(root)
    assert asked["training_pool"] is None


def main_of_up(root: Path) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    with pytest.raises(SystemExit) as ended:
        main(["up", "--root", str(root)])
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert not ended.value.code


@pytest.mark.slow
def test_up_deploys_training_to_the_pool_that_the_environment_names(server, client, maepose):
    def trains_in() -> str:
        return client.read_deployment_by_name("pretrain/default").work_pool_name

    before = trains_in()
    try:
        done = maepose("up", "--root", str(server.root), MAEPOSE_TRAINING_POOL="rig")
        assert done.returncode == 0, done.stderr
        assert f"MAEPOSE_ROOT={server.root} prefect deployment run capture-session" in done.stdout
        assert trains_in() == "rig" != before
    finally:
        start(server.root)
    assert trains_in() == before


def test_reprocessing_is_scheduled_every_night(server, client):
    deployment = client.read_deployment_by_name("reprocess-recordings/default")
    (schedule,) = deployment.schedules
    assert (schedule.slug, schedule.active) == ("nightly", True)
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 2 * * *", "UTC")


def test_the_schedule_makes_runs(server, client, wait_for):
    """SQLAlchemy 2.1 would leave this empty for ever, without a word."""
    deployment = client.read_deployment_by_name("reprocess-recordings/default")
    runs = wait_for(
        lambda: [run for run in client.read_flow_runs() if run.deployment_id == deployment.id and run.auto_scheduled],
        within_s=60,
        what="a scheduled run",
    )
    assert {run.state.type.value for run in runs} == {"SCHEDULED"}


def test_the_server_listens_on_loopback_only(server):
    addresses = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = [line.split()[1] for line in addresses if line.split()[3] == "0A"]
    ours = [address for address in listening if address.endswith(f":{server.port:04X}")]
    assert ours == [f"0100007F:{server.port:04X}"]


def test_nothing_of_another_server_reaches_its_commands(server, monkeypatch):
    monkeypatch.setenv("PREFECT_API_KEY", "of-another-server")
    variables = environment(server)
    assert "PREFECT_API_KEY" not in variables
    assert variables["PREFECT_API_URL"] == server.api_url
    assert (variables["DO_NOT_TRACK"], variables["PREFECT_SERVER_ANALYTICS_ENABLED"]) == ("1", "false")


def test_interrupted_while_starting_it_leaves_nothing(tmp_path):
    root = tmp_path / "data"
    command = [str(Path(sys.executable).with_name("maepose")), "up", "--root", str(root)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not server_file(root).exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        assert prefect_processes(root)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) != 0
    finally:
        process.kill()
    assert prefect_processes(root) == []
    assert read_server(root) is None


def test_a_taken_port_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PipelineError, match=f"Port {port} is taken"):
            start(tmp_path, port=port)
    assert read_server(tmp_path) is None


def test_who_starts_while_another_server_starts_takes_another_port():
    with _claimed_port(None) as first, _claimed_port(None) as second:
        assert first != second
        with pytest.raises(PipelineError, match=f"Port {first} is taken"), _claimed_port(first):
            pass
    with _claimed_port(first) as again:
        assert again == first


def test_another_server_at_the_address_of_one_that_died_is_not_used(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server_file(tmp_path).parent.mkdir()
        processes = '{"server": 1}'
        server_file(tmp_path).write_text(
            f'{{"root": "{tmp_path}", "port": {other.getsockname()[1]}, "processes": {processes}}}'
        )
        assert running_server(tmp_path) is None


def test_a_server_that_another_machine_started_is_neither_started_again_nor_stopped(tmp_path):
    server_file(tmp_path).parent.mkdir()
    text = f'{{"root": "/mnt/lab", "port": 4200, "processes": {{"server": 1}}, "host": "{socket.gethostname()}-2"}}'
    server_file(tmp_path).write_text(text)
    assert running_server(tmp_path) is None
    for refused in (start, stop):
        with pytest.raises(PipelineError, match=f"was started on {socket.gethostname()}-2; use `maepose up`"):
            refused(tmp_path)
    assert server_file(tmp_path).read_text() == text


def test_the_server_says_on_which_machine_it_runs(server):
    assert read_server(server.root).host == socket.gethostname()


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("http://127.0.0.1:4200/api", ("127.0.0.1", 4200, 0.5)),
        ("http://[::1]:4200/api", ("::1", 4200, 0.5)),
        ("http://localhost/api", ("localhost", 80, 0.5)),
        ("http://192.168.1.10:4200/api", ("192.168.1.10", 4200, 5.0)),
        ("https://lab-server.example/api", ("lab-server.example", 443, 5.0)),
        ("https://lab-server.example:8443/api", ("lab-server.example", 8443, 5.0)),
    ],
)
def test_a_server_is_looked_for_at_its_port_with_patience_where_it_is_far(url, where):
    assert asked_at(url) == where


def test_who_listens_answers():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert answers(f"http://127.0.0.1:{port}/api")
    assert not answers(f"http://127.0.0.1:{port}/api")


def test_a_data_root_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match="cannot be written"):
        start(tmp_path / "file" / "data")


def test_stopping_what_does_not_run_says_so(tmp_path):
    assert stop(tmp_path) is False


def test_an_address_of_a_dead_server_is_not_used(tmp_path):
    server_file(tmp_path).parent.mkdir()
    server_file(tmp_path).write_text('{"root": "/x", "port": 9, "processes": {"server": 1}}')
    assert read_server(tmp_path) is not None
    assert running_server(tmp_path) is None


def test_a_broken_address_is_said(tmp_path):
    server_file(tmp_path).parent.mkdir()
    server_file(tmp_path).write_text("{")
    with pytest.raises(PipelineError, match="does not name a server"):
        read_server(tmp_path)
