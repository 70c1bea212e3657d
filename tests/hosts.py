"""Machines with addresses and names of their own, on this one; and a Prefect server that they reach."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import waiting

PROJECT = Path(__file__).resolve().parent.parent
WITHIN_S = 1500.0  # beside trainings on every core; what dies meanwhile is noticed at once


@dataclass(frozen=True)
class Machine:
    """A network namespace with one wire to this machine, and a host name."""

    name: str
    address: str
    gateway: str
    """This machine's end of the wire."""
    namespace: str

    def command(self, *words: str) -> list[str]:
        """What starts a program there."""
        named = 'hostname "$0" && exec "$@"'
        return ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "sh", "-c", named, self.name, *words]


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=False)


@contextmanager
def machines(*names: str) -> Iterator[list[Machine]]:
    """Machines of these names. Skips, loudly, where network namespaces cannot be made."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "hostname"))):
        pytest.skip("NO NETWORK NAMESPACES: machines with their own addresses need root, and Debian's `iproute2`")
    number = os.getpid() % 250
    made = []
    with ExitStack() as stack:
        for index, name in enumerate(names):
            space, wire, base = f"maepose-{os.getpid()}-{index}", f"mp{os.getpid()}-{index}", f"198.18.{number}."
            machine = Machine(name, f"{base}{4 * index + 2}", f"{base}{4 * index + 1}", space)
            said = _ip("netns", "add", space)
            if said.returncode != 0:
                pytest.skip(f"NO NETWORK NAMESPACES: `ip netns add` is refused here: {said.stderr.strip()}")
            stack.callback(_ip, "netns", "delete", space)
            for words in (
                ("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", space),
                ("addr", "add", f"{machine.gateway}/30", "dev", wire),
                ("link", "set", wire, "up"),
                ("-n", space, "link", "set", "lo", "up"),
                ("-n", space, "addr", "add", f"{machine.address}/30", "dev", "eth0"),
                ("-n", space, "link", "set", "eth0", "up"),
                ("-n", space, "route", "add", "default", "via", machine.gateway),
            ):
                said = _ip(*words)
                if said.returncode != 0:
                    pytest.skip(f"NO NETWORK NAMESPACES: `ip {' '.join(words)}` is refused here: {said.stderr.strip()}")
            made.append(machine)
        yield made


def clean_environment(**changes: str) -> dict[str, str]:
    """This process's environment without what Prefect or this project's programs put into it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MAEPOSE_"))}
    return kept | {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"} | changes


@contextmanager
def program(words: Sequence[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program that goes on until the block ends; then it and what it started are ended."""
    with log.open("ab") as said:
        process = subprocess.Popen(
            list(words),
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def prefect_server(folder: Path, address: str = "127.0.0.1") -> Iterator[str]:
    """A Prefect server on SQLite that listens at `address` alone; yields the API's address."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    log, url = folder / "server.log", f"http://{address}:{port}/api"
    words = [sys.executable, "-m", "prefect", "server", "start", "--host", address, "--port", str(port)]
    own = {"PREFECT_HOME": str(folder / "server"), "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60"}
    own |= {"PREFECT_SERVER_API_HOST": address, "PREFECT_SERVER_API_PORT": str(port)}
    with program(words, log, clean_environment(**own)) as process:

        def answers() -> bool:
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            try:
                with urlopen(f"{url}/health", timeout=10) as reply:
                    return bool(reply.status == 200)
            except (URLError, OSError):
                return False

        waiting.wait_for(answers, WITHIN_S, "a Prefect server")
        yield url
