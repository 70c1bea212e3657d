"""How the command line speaks: results on standard output (text, or one JSON object), everything else on standard error."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipeline.settings import data_root

RootOption = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Data root. Default: $MAEPOSE_ROOT, else ./data.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output instead of text.")]


LINE_EVERY_S = 30.0
"""Of progress, where nobody watches a bar."""


class Answer:
    """A verb's answer: text lines for a person, or one object for a program."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def give(self, value: Mapping[str, Any], lines: Sequence[str | Table] | None = None) -> None:
        """Write the answer: `value` as one JSON object, or `lines` (by default `value`, a name and a value a line)."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False) + "\n")
            return
        for line in lines if lines is not None else _lines(value):
            if isinstance(line, Table):
                # a pipe is no terminal: there a table must not be cut to 80 columns
                width = None if sys.stdout.isatty() else 240
                Console(file=sys.stdout, width=width, highlight=False).print(line)
            else:
                sys.stdout.write(line + "\n")


def resolved_root(root: Path | None) -> Path:
    """The data root a verb works on."""
    return data_root(root)


def tell(text: str) -> None:
    """A word to the person watching."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A plain table; None shows as a dash."""
    drawn = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        drawn.add_row(*("-" if cell is None else str(cell) for cell in row))
    return drawn


class Bar(Protocol):
    """Moves a progress bar: how much is done, of how much, and a word beside it."""

    def __call__(self, done: float, total: float, text: str = "") -> None: ...


@contextmanager
def progress_bar(title: str) -> Iterator[Bar]:
    """A bar on standard error while the block lasts; where that is no terminal (a log, a pipe), a line now and then."""
    if not sys.stderr.isatty():
        yield _occasional_lines(title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        row: TaskID = drawn.add_task(title, total=None, text="")

        def move(done: float, total: float, text: str = "") -> None:
            drawn.update(row, completed=done, total=total or None, text=text)

        yield move


def _occasional_lines(title: str) -> Bar:
    said_s = time.monotonic()

    def say(done: float, total: float, text: str = "") -> None:
        nonlocal said_s
        if time.monotonic() - said_s >= LINE_EVERY_S:
            said_s = time.monotonic()
            tell(f"{title}: {Text.from_markup(text).plain or f'{done:g} of {total:g}'}")

    return say


def _lines(value: Mapping[str, Any]) -> list[str]:
    width = max((len(name) for name in value), default=0)
    return [f"{name:<{width}}  {'-' if item is None else item}" for name, item in value.items()]


def _plain(value: Any) -> Any:
    """What JSON has no word for: paths, times, numpy's numbers."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()
    return str(value)
