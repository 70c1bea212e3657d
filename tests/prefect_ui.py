"""The Prefect UI as a person uses it: things are found by their role and name, clicked with a mouse and typed into."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browser import Page

SEEN_WITHIN_S = 300.0  # of a busy machine: the UI is megabytes of JavaScript, and a flow run is a process that starts
LOOK_EVERY_S = 0.2
WIDTH_PX, HEIGHT_PX = 1280, 800
SHORT_ID = re.compile(r"^[0-9a-f]{8}$")  # how an artifact is called in the list of those of one key
CONTROL = 2  # of the modifier keys


@dataclass
class PrefectUi:
    """One browser tab on the UI of one server."""

    page: Page
    address: str
    """Of the server, as `maepose up` prints it."""
    pictures: Path | None = None
    """Where `picture` writes, if anywhere."""

    def open(self, path: str = "/") -> None:
        """Type an address: `path` on the server."""
        self.page.size(WIDTH_PX, HEIGHT_PX)
        self.page.open(self.address + path)

    def text(self) -> str:
        """What can be read on the page, without empty lines; of a table its cells, one below the other."""
        lines = str(self.page.value("document.body ? document.body.innerText : ''")).splitlines()
        return "\n".join(line.strip() for line in lines if line.strip())

    def where(self) -> str:
        """The path in the address bar."""
        return str(self.page.value("location.pathname"))

    def wait(self, find: Callable[[], Any], what: str, within_s: float = SEEN_WITHIN_S) -> Any:
        """What `find` returns once it returns something; else a sentence that says what the page showed instead."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            found = find()
            if found:
                return found
            time.sleep(LOOK_EVERY_S)
        shown = " | ".join(self.text().splitlines())[-1500:]
        raise AssertionError(
            f"After {within_s:g} s {what} was not on {self.where()}, which showed: {shown or 'nothing'}"
        )

    def see(self, *texts: str, within_s: float = SEEN_WITHIN_S) -> str:
        """Wait until all of these can be read; the page's text."""

        def find() -> str:
            text = self.text()
            return text if all(one in text for one in texts) else ""

        return str(self.wait(find, " and ".join(map(repr, texts)), within_s))

    def gone(self, text: str) -> None:
        """Wait until this can be read no more."""
        self.wait(lambda: text not in self.text(), f"a page without {text!r}")

    def find(self, role: str, name: str | re.Pattern[str]) -> None:
        """Wait for a thing of this role (button, link, tab, textbox, option ...) and name."""
        self.wait(lambda: self._nodes(role, name), _words(role, name))

    def count(self, role: str, name: str | re.Pattern[str]) -> int:
        """How many there are now."""
        return len(self._nodes(role, name))

    def names(self, role: str) -> list[str]:
        """Of everything of this role."""
        return [node["name"]["value"] for node in self._all(role)]

    def click(self, role: str, name: str | re.Pattern[str], which: int = 0) -> None:
        """Click on the middle of the first one (or of another), once it is there and stands still."""
        before: list[tuple[float, float]] = []

        def still() -> bool:
            middle = self._middle(role, name, which)
            if middle is None or [middle] != before:
                before[:] = [middle] if middle else []
                return False
            return True

        self.wait(still, f"{_words(role, name)} that can be clicked")
        x, y = before[0]
        self.page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def fill(self, role: str, name: str | re.Pattern[str], value: str) -> None:
        """Type `value` into a field in place of what it holds."""
        self.click(role, name)
        for kind in ("keyDown", "keyUp"):
            commands = ["selectAll"] if kind == "keyDown" else []
            self.page.call(
                "Input.dispatchKeyEvent", type=kind, key="a", code="KeyA", modifiers=CONTROL, commands=commands
            )
        self.page.call("Input.insertText", text=value)

    def holds(self, role: str, name: str) -> str:
        """What stands in the first field of this name."""
        fields = [node for node in self._all(role) if node["name"]["value"] == name]
        return str(fields[0].get("value", {}).get("value", "")) if fields else ""

    def pictures_shown(self) -> list[str]:
        """The text of each picture of the page's content that has really been drawn."""
        return list(
            self.page.value(
                "[...document.images].filter(i => i.alt && i.complete && i.naturalWidth > 0 && i.clientWidth > 0).map(i => i.alt)"
            )
        )

    def picture(self, name: str, top: str = "") -> None:
        """Keep what the window shows as NAME.png, where pictures are asked for; `top` is a text to scroll to."""
        if self.pictures is None:
            return
        if top:
            self.page.value(
                "[...document.querySelectorAll('h1,h2,h3,h4,p,label,span')]"
                f".find(e => e.innerText && e.innerText.includes({top!r})).scrollIntoView({{block: 'start'}})"
            )
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(self.pictures / f"{name}.png")

    def _all(self, role: str) -> list[dict[str, Any]]:
        root = self.page.call("DOM.getDocument", depth=0)["root"]["backendNodeId"]
        nodes = self.page.call("Accessibility.queryAXTree", backendNodeId=root, role=role)["nodes"]
        return [node for node in nodes if not node["ignored"] and "backendDOMNodeId" in node]

    def _nodes(self, role: str, name: str | re.Pattern[str]) -> list[int]:
        found = [(node["backendDOMNodeId"], str(node.get("name", {}).get("value", ""))) for node in self._all(role)]
        return [node for node, said in found if (said == name if isinstance(name, str) else name.search(said))]

    def _middle(self, role: str, name: str | re.Pattern[str], which: int) -> tuple[float, float] | None:
        """Where it is once it has been scrolled to; None where it is not, or not drawn."""
        for node in self._nodes(role, name)[which:]:
            try:
                self.page.call("DOM.scrollIntoViewIfNeeded", backendNodeId=node)
                quads = self.page.call("DOM.getContentQuads", backendNodeId=node)["quads"]
            except AssertionError:
                continue  # the page was drawn anew meanwhile
            if quads:
                return sum(quads[0][0::2]) / 4, sum(quads[0][1::2]) / 4
        return None


def _words(role: str, name: str | re.Pattern[str]) -> str:
    return f"a {role} {(name if isinstance(name, str) else name.pattern)!r}"
