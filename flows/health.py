"""Whether the program that this container is for does its work: `python -m flows.health`, the image's health check.

A server must reach its database; a worker must have asked for work lately (`prefect worker start --with-healthcheck`). What runs
one verb and ends is well as long as it runs. Only the standard library is loaded: this is asked twice a minute.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

ANSWERS_WITHIN_S = 10.0


def health_address(command: str, environment: Mapping[str, str]) -> str | None:
    """Where the program started by `command` tells how it is; None for one that says nothing."""
    if "server start" in command:
        return f"http://127.0.0.1:{environment.get('PREFECT_SERVER_API_PORT', '4200')}/api/ready"
    if "worker start" in command:
        return f"http://127.0.0.1:{environment.get('PREFECT_WORKER_WEBSERVER_PORT', '8080')}/health"
    return None


def complaint(address: str | None) -> str:
    """What is wrong with the program that answers at `address`; an empty string when nothing is."""
    if address is None:
        return ""
    try:
        with urlopen(address, timeout=ANSWERS_WITHIN_S):
            return ""
    except HTTPError as error:
        return f"{address} answers {error.code}: {error.read(300).decode(errors='replace')}"
    except (URLError, OSError) as error:
        return f"{address} does not answer: {error}"


def main() -> int:
    """0 when the container's first process is well, else 1 and a sentence."""
    command = Path("/proc/1/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    said = complaint(health_address(command, os.environ))
    if said:
        sys.stderr.write(said + "\n")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
