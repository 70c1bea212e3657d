"""A real browser for tests: headless Chromium, spoken to over its DevTools protocol.

python tests/browser.py REPORT.html PICTURE.png     # what a reader sees of a report first, as in docs/pictures/report.png
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
STARTED_WITHIN_S = 60.0


def browser_path() -> str | None:
    """A Chromium on the path, or the one that `MAEPOSE_BROWSER` names."""
    return os.environ.get("MAEPOSE_BROWSER") or next((found for name in NAMES if (found := shutil.which(name))), None)


needs_browser = pytest.mark.skipif(
    browser_path() is None,
    reason="NO BROWSER: this is untested here; `make test` installs Debian's chromium-headless-shell where it is run as root",
)


@dataclass
class Page:
    """One tab. `said` are console messages and exceptions, `asked` the addresses it requested, in order."""

    socket: ClientConnection
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    _count: int = 0
    _loaded: bool = False

    def open(self, address: str) -> None:
        """Go there and wait until everything has loaded."""
        self._loaded = False
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._hear(json.loads(self.socket.recv(timeout=STARTED_WITHIN_S)))

    def value(self, expression: str) -> Any:
        """What JavaScript makes of it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def size(self, width: int, height: int, *, dark: bool = False, medium: str = "screen") -> None:
        """Of the window in CSS pixels; colour scheme, and screen or print."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media=medium, features=scheme)

    def screenshot(self, path: Path) -> None:
        """PNG of the window."""
        path.write_bytes(b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def pdf(self) -> bytes:
        """As printed on A4."""
        return b64decode(self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True)["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its answer; what happens meanwhile is noted."""
        self._count += 1
        self.socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            heard = json.loads(self.socket.recv(timeout=STARTED_WITHIN_S))
            if heard.get("id") == self._count:
                assert "error" not in heard, heard
                return heard["result"]
            self._hear(heard)

    def _hear(self, heard: dict[str, Any]) -> None:
        method, about = heard.get("method"), heard.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.asked.append(about["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.said.append(str(about["args"]))
        elif method in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.said.append(str(about))


@contextmanager
def browser_page() -> Iterator[Page]:
    """A fresh browser with an empty profile and one tab; it is ended on leaving."""
    program = browser_path()
    assert program is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
        ]  # fmt: skip
        with (Path(profile) / "said").open("wb") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        try:
            # No pings: while a test waits for something else nobody reads, and answers are stuck behind the page's events.
            with connect(_tab(process, Path(profile)), max_size=None, proxy=None, ping_interval=None) as socket:
                page = Page(socket)
                for domain in ("Page", "Runtime", "Log", "Network"):
                    page.call(f"{domain}.enable")
                yield page
                page.call("Browser.close")
                process.wait(timeout=20)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _tab(process: subprocess.Popen[bytes], profile: Path) -> str:
    """The address of the browser's first tab."""
    port, until = profile / "DevToolsActivePort", time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"the browser ended at once: {(profile / 'said').read_text()[-500:]}")
        lines = port.read_text().split() if port.exists() else []
        if lines:
            with urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=10) as answer:
                tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
            if tabs:
                return str(tabs[0]["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise AssertionError("the browser opened no tab")


def picture(page_file: Path, path: Path) -> None:
    """PNG of the top of a file, as a window of 1280 x 1600 shows it."""
    with browser_page() as page:
        page.size(1280, 1600)
        page.open(page_file.absolute().as_uri())
        page.screenshot(path)


if __name__ == "__main__":
    picture(Path(sys.argv[1]), Path(sys.argv[2]))
