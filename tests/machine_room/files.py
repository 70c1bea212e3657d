"""What compose.yaml, .env.example and the Dockerfile say, read as their own programs read them."""

import re
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parent.parent.parent
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<how>[-?])(?P<word>[^}]*))?\}|\$\$")
LONE_VARIABLE = re.compile(r"^\$\{\w+(:[-?][^}]*)?\}$")


def filled_in(text: str, variables: dict[str, str]) -> str:
    """`text` with `${NAME}`, `${NAME:-default}` and `${NAME:?sentence}` filled in; KeyError with the sentence of one missing."""

    def value(found: re.Match[str]) -> str:
        if found["name"] is None:
            return "$"
        if said := variables.get(found["name"]):
            return said
        if found["how"] == "-":
            return found["word"]
        raise KeyError(found["word"] or found["name"])

    return VARIABLE.sub(value, text)


def compose(**variables: str) -> dict[str, Any]:
    """compose.yaml; with variables filled in where any are given."""
    read = yaml.safe_load((PROJECT / "compose.yaml").read_text())
    return _filled(read, variables) if variables else read


def _filled(value: Any, variables: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(part, variables) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, variables) for part in value]
    return filled_in(value, variables) if isinstance(value, str) else value


def example_variables() -> dict[str, str]:
    """.env.example: names and what stands behind them."""
    lines = (PROJECT / ".env.example").read_text().splitlines()
    return dict(line.partition("=")[::2] for line in lines if line and not line.startswith("#"))


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined."""
    text = (PROJECT / "Dockerfile").read_text()
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines()]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, by its name."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            name = rest.split(" AS ")[1]
            found[name] = []
        found[name].append((word, rest))
    return found
