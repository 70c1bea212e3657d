"""A machine room on this machine: Postgres, Prefect's server, worker and proxy, each started as compose.yaml says."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import waiting
from machine_room.files import PROJECT, compose, example_variables, filled_in

WITHIN_S = 1500.0  # beside trainings on every core; what dies meanwhile is noticed at once
DATABASE_PASSWORD = "between-server-and-database-1734"
AUTH = "lab:of-nobody-else-9261"
SERVICES: dict[str, Any] = compose(
    **(example_variables() | {"POSTGRES_PASSWORD": DATABASE_PASSWORD, "MAEPOSE_AUTH": AUTH})
)["services"]


@dataclass
class MachineRoom:
    """What runs, where it writes, and how a client reaches it."""

    folder: Path
    server_url: str
    """Of the server itself, without `/api`."""
    url: str
    """That clients are told: the proxy's where there is one, without `/api`."""
    certificate: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    health: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    """Of server and worker: command and environment, as the container's health check finds them."""

    @property
    def root(self) -> Path:
        """The data root of its worker."""
        return self.folder / "data"

    def client(self, **changes: str) -> dict[str, str]:
        """The environment of a program on another machine."""
        return clean_environment() | {
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_API_AUTH_STRING": AUTH,
            "PREFECT_API_SSL_CERT_FILE": str(self.certificate),
            "PREFECT_HOME": str(self.folder / "client"),
            "MAEPOSE_ROOT": str(self.root),
        } | changes  # fmt: skip

    def typed(self, program: str, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """What a person types in the project on such a machine."""
        return subprocess.run(
            [str(Path(sys.executable).with_name(program)), *words],
            cwd=PROJECT, env=self.client(**changes), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=WITHIN_S, check=False,
        )  # fmt: skip

    def start(self, name: str, command: Sequence[str], environment: dict[str, str], **how: Any) -> None:
        """Start a program that goes on; what it says goes to a log of its name."""
        log: IO[bytes]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, **how,
            )  # fmt: skip

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        """End one program, and what it left in its group."""
        process = self.processes.pop(name)
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def said(self, name: str) -> str:
        """The end of a program's log."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]


def clean_environment() -> dict[str, str]:
    """This process's environment without what Prefect or this project's programs put into it, and its programs first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MAEPOSE_"))}
    return kept | {"DO_NOT_TRACK": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(find: Callable[[], Any], what: str, within_s: float = WITHIN_S) -> Any:
    """What `find` returns, once it returns something; with the patience of this machine room."""
    return waiting.wait_for(find, within_s, what)


def answers(address: str) -> bool:
    """Whether an address answers 200."""
    try:
        with urlopen(address, timeout=10):
            return True
    except (URLError, OSError):
        return False


def postgres_programs() -> Path | None:
    """The folder of `initdb` and `postgres`; Debian keeps them off the path."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in found if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


@contextmanager
def postgres(room: MachineRoom) -> Iterator[int]:
    """A database as compose.yaml's service makes it; yields its port. It refuses to be root, so there it is somebody else."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("NO POSTGRES: the server of compose.yaml was not started here; install Debian's `postgresql`")
    service, port = SERVICES["postgres"]["environment"], free_port()
    how: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="maepose-postgres-"))
    (folder / "password").write_text(service["POSTGRES_PASSWORD"])
    if os.geteuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
        how = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        for path in (folder, folder / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)
    try:
        subprocess.run(
            [programs / "initdb", "--pgdata", folder / "data", "--username", service["POSTGRES_USER"],
             "--pwfile", folder / "password", "--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8"],
            cwd=folder, env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, check=True, capture_output=True, **how,
        )  # fmt: skip
        # the service's database is named as its user, and made by the image; a plain `initdb` makes `postgres` alone
        single = [programs / "postgres", "--single", "-D", folder / "data", "postgres"]
        making = f"CREATE DATABASE {service['POSTGRES_DB']};\n".encode()
        subprocess.run(single, input=making, cwd=folder, env={}, check=True, capture_output=True, **how)
        command = [programs / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder, "-F", "-h", "127.0.0.1"]
        room.start("postgres", [str(word) for word in command], {}, cwd=folder, **how)
        yield port
    finally:
        if "postgres" in room.processes:
            room.stop("postgres", signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def server(room: MachineRoom, database_port: int) -> Iterator[None]:
    """Prefect's server on that database."""
    service, port = SERVICES["server"], room.server_url.rsplit(":", 1)[1]
    there = {"PREFECT_SERVER_DATABASE_HOST": "127.0.0.1", "PREFECT_SERVER_DATABASE_PORT": str(database_port)}
    environment = clean_environment() | service["environment"] | there | {"PREFECT_HOME": str(room.folder / "server")}
    command = [{"0.0.0.0": "127.0.0.1", "4200": port}.get(word, word) for word in service["entrypoint"]]
    room.health["server"] = (" ".join(command), {"PREFECT_SERVER_API_PORT": port})
    room.start("server", command, environment, cwd=PROJECT)
    try:
        wait_for(
            lambda: answers(f"{room.server_url}/api/ready") or room.processes["server"].poll() is not None, "a server"
        )
        assert room.processes["server"].poll() is None, room.said("server")
        yield
    finally:
        if "server" in room.processes:
            room.stop("server")


@contextmanager
def worker(room: MachineRoom) -> Iterator[None]:
    """A worker of the pool `cpu` that reaches the server as one on another machine does."""
    service, port = SERVICES["worker"], str(free_port())
    own = {
        "PREFECT_WORKER_WEBSERVER_PORT": port,
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_HOME": str(room.folder / "worker"),
    }
    environment = service["environment"] | room.client() | own
    room.health["worker"] = (" ".join(service["entrypoint"]), {"PREFECT_WORKER_WEBSERVER_PORT": port})
    room.start("worker", service["entrypoint"], environment, cwd=PROJECT)
    try:
        yield
    finally:
        if "worker" in room.processes:
            room.stop("worker")


NGINX = """daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx-errors.log; {user}
events {{}}
http {{ access_log {folder}/nginx-access.log; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxied;
fastcgi_temp_path {folder}/a; uwsgi_temp_path {folder}/b; scgi_temp_path {folder}/c; include {folder}/maepose.conf; }}
"""


@contextmanager
def proxy(room: MachineRoom) -> Iterator[None]:
    """nginx with the project's own configuration, on another port."""
    port = room.url.rsplit(":", 1)[1]
    values = {
        "MAEPOSE_UPSTREAM": room.server_url.removeprefix("http://"),
        "MAEPOSE_TLS": str(room.certificate.parent),
        "NGINX_LOCAL_RESOLVERS": "127.0.0.1",
    }
    template = (PROJECT / "deploy/nginx/maepose.conf.template").read_text()
    assert template.count("listen 8443 ssl") == 1
    (room.folder / "maepose.conf").write_text(
        filled_in(template, values).replace("listen 8443", f"listen 127.0.0.1:{port}")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (room.folder / "nginx.conf").write_text(NGINX.format(folder=room.folder, user=user))
    room.start("proxy", [nginx() or "nginx", "-c", str(room.folder / "nginx.conf")], clean_environment())
    try:
        yield
    finally:
        room.stop("proxy")


def nginx() -> str | None:
    """nginx, which Debian keeps off the path of people who are not root."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")


def certificate(folder: Path) -> Path:
    """The certificate that deploy/make-secrets.sh makes."""
    lab = folder / "secrets"
    (lab / "deploy").mkdir(parents=True)
    for file in (".env.example", "deploy/make-secrets.sh"):
        shutil.copy(PROJECT / file, lab / file)
    subprocess.run(["sh", "deploy/make-secrets.sh"], cwd=lab, check=True, capture_output=True)
    return lab / "deploy/tls/server.crt"
