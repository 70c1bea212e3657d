"""The image's health check: which program it asks, and what it says of one that is not there."""

import socket
import subprocess
import sys

from flows.health import complaint, health_address


def test_server_and_worker_are_asked_where_they_listen():
    assert health_address("docker-init -- prefect server start --host 0.0.0.0", {}) == "http://127.0.0.1:4200/api/ready"
    worker = "/opt/venv/bin/python /opt/venv/bin/prefect worker start --pool rig"
    assert health_address(worker, {"PREFECT_WORKER_WEBSERVER_PORT": "4280"}) == "http://127.0.0.1:4280/health"


def test_a_verb_is_well_while_it_runs():
    address = health_address("maepose study s.yaml", {})
    assert address is None
    assert complaint(address) == ""


def test_what_does_not_answer_is_said():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}/health"
        assert "does not answer" in complaint(address)


def test_it_loads_nothing_heavy():
    """Twice a minute on every container: the libraries of the pipeline would cost more than some of its work."""
    program = "import flows.health, sys; print(len({name.split('.')[0] for name in sys.modules} & {'prefect', 'numpy', 'typer'}))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "0\n"
