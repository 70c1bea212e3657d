"""Where this machine's data root is, and which local Prefect server works on it.

`flows.local_server` writes the address down, and the plugin reads it in every `prefect` command: so keep this module light.
"""

import ipaddress
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import PipelineError
from pipeline.settings import data_root

ROOT_VARIABLE = "MAEPOSE_ROOT"
TRAINING_POOL_VARIABLE = "MAEPOSE_TRAINING_POOL"
"""Names the work pool that prefect.yaml deploys training to."""
TRAINING_POOL = "cpu"
"""Where nothing names another, and this machine has no GPU."""
PROJECT = Path(__file__).resolve().parent.parent


def worker_root() -> Path:
    """The data root of a flow run.

    A run started by a worker works in a temporary directory, which is deleted afterwards: ./data would be lost with it. There the
    root must come from the worker's environment, where the plugin puts it for every worker started in the project.
    """
    if "PREFECT__FLOW_RUN_ID" in os.environ and ROOT_VARIABLE not in os.environ:
        raise PipelineError(
            f"This worker does not know where recordings go; start it in the project directory, or with {ROOT_VARIABLE} set."
        )
    return data_root()


class LocalServer(BaseModel):
    """A Prefect server with its workers, started on one machine for one data root."""

    model_config = ConfigDict(frozen=True)

    root: Path
    port: int
    processes: dict[str, int]  # name -> process id, which is also its process group; the server first
    host: str = ""  # the machine's name; files of earlier versions have none

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def elsewhere(self) -> bool:
        """Whether another machine that sees the same data root started it: its processes and its port are not this machine's."""
        return self.host not in ("", socket.gethostname())


def server_home(root: Path) -> Path:
    """The folder of the local server: its database, its logs and its address."""
    return root / "prefect"


def server_file(root: Path) -> Path:
    """The file that names the running local server of a data root."""
    return server_home(root) / "server.json"


def read_server(root: Path) -> LocalServer | None:
    """What `server_file` says, whether or not that server still runs; None when there is no such file."""
    try:
        return LocalServer.model_validate_json(server_file(root).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        raise PipelineError(f"{server_file(root)} does not name a server; remove it and start again.") from error


def answers(api_url: str) -> bool:
    """True when something listens where `api_url` points."""
    host, port, patience_s = asked_at(api_url)
    try:
        socket.create_connection((host, port), timeout=patience_s).close()
    except OSError:
        return False
    return True


def asked_at(api_url: str) -> tuple[str, int, float]:
    """Host and port of a server, and how long it may take to answer: on loopback it does at once or not at all."""
    address = urlsplit(api_url)
    host = address.hostname or "127.0.0.1"
    try:
        near = ipaddress.ip_address(host).is_loopback
    except ValueError:
        near = host == "localhost"
    return host, address.port or (443 if address.scheme == "https" else 80), 0.5 if near else 5.0


def running_server(root: Path) -> LocalServer | None:
    """The local server of `root`, when it runs on this machine."""
    server = read_server(root)
    if server is None:
        return None
    # where it died, what answers at its address now is another's
    return server if is_alive(server, "server") and answers(server.api_url) else None


def is_alive(server: LocalServer, name: str) -> bool:
    """True while the process `name` of a local server runs here, and its number is no other program's."""
    if server.elsewhere:
        return False
    try:
        return b"prefect" in Path(f"/proc/{server.processes[name]}/cmdline").read_bytes().split(b"\0")
    except (KeyError, OSError):
        return False


def gpu_names(devices: Path = Path("/dev")) -> list[str]:
    """NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them, without asking their driver."""
    there = [str(number) for number in range(len(list(devices.glob("nvidia[0-9]*"))))]
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return there
    return [name.strip() for name in allowed.split(",") if name.strip() not in ("", "-1")][: len(there)]


def local_training_pool() -> str:
    """Whose workers train on this machine's own server: those of `gpu` where it has a GPU."""
    return "gpu" if gpu_names() else TRAINING_POOL
