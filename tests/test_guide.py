"""What the documents say can be typed, can be: every verb, option, target, module, flow, path and link of every page exists.

The slow test follows docs/guide.md word by word: it writes the files and runs the blocks that need no hardware, in their order.
"""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import documents
import pytest
import typer
import yaml
from documents import FOLDERS, PAGES, PROJECT, Command

from flows.cli import app
from flows.local_server import stop
from models.study import StudyConfig
from pipeline.settings import RetentionSettings, RigSettings, StoreSettings

GUIDE = PROJECT / "docs" / "guide.md"
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
USAGE_ERROR = typer.BadParameter.__base__  # of the click that typer brings along, or of click itself
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))


@cache
def _yaml(name: str) -> Any:
    return yaml.safe_load((PROJECT / name).read_text())


def _maepose(words: tuple[str, ...], whole: bool) -> str | None:
    verb = words[0]
    if verb not in VERBS:
        return f"there is no verb {verb!r}" if verb.replace("-", "").isalpha() else None
    if whole:
        try:
            VERBS[verb].make_context(verb, [word for word in words[1:] if word != "--debug"])
        except USAGE_ERROR as error:
            return str(error.format_message())
        return None
    known = {"--debug", "--help", *(name for one in VERBS[verb].params for name in one.opts)}
    unknown = [word for word in words[1:] if word.startswith("--") and word.split("=")[0] not in known]
    return f"{verb} has no {unknown[0]}" if unknown else None


def _make(words: tuple[str, ...], whole: bool) -> str | None:
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    unknown = [word for word in words if "=" not in word and word not in targets]
    return f"there is no target {unknown[0]!r}" if unknown else None


def _python(words: tuple[str, ...], whole: bool) -> str | None:
    if words[0] != "-m":
        return None if (PROJECT / words[0]).is_file() else f"there is no {words[0]}"
    module, options = words[1], words[2:]
    if module == "pytest":
        return _pytest(options, whole)
    file = PROJECT / (module.replace(".", "/") + ".py")
    if module.split(".")[0] not in FOLDERS:
        return None
    if not file.is_file():
        return f"there is no module {module}"
    constants = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
    unknown = [word for word in options if word.startswith("--") and word not in constants]
    return f"{module} has no {unknown[0]}" if unknown else None


def _pytest(words: tuple[str, ...], whole: bool) -> str | None:
    unknown = [word for word in words if word.startswith("tests/") and not (PROJECT / word).exists()]
    return f"there is no {unknown[0]}" if unknown else None


def _prefect(words: tuple[str, ...], whole: bool) -> str | None:
    if words[:2] != ("deployment", "run") or len(words) < 3:
        return None
    deployed = _yaml("prefect.yaml")["deployments"]
    flows = {one["entrypoint"].rsplit(".", 1)[1].replace("_", "-"): one["entrypoint"] for one in deployed}
    if words[2] not in flows:
        return f"there is no deployment {words[2]!r}"
    module, function = flows[words[2]].rsplit(".", 1)
    tree = ast.parse((PROJECT / (module.replace(".", "/") + ".py")).read_text())
    (defined,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    given = [words[at + 1].split("=")[0] for at, word in enumerate(words[:-1]) if word == "-p"]
    unknown = [name for name in given if name not in [arg.arg for arg in defined.args.args]]
    return f"the flow {words[2]} has no parameter {unknown[0]!r}" if unknown else None


def _sh(words: tuple[str, ...], whole: bool) -> str | None:
    return None if (PROJECT / words[0]).is_file() else f"there is no {words[0]}"


def _docker(words: tuple[str, ...], whole: bool) -> str | None:
    services = _yaml("compose.yaml")["services"]
    profiles = {profile for service in services.values() for profile in service.get("profiles", [])}
    asked = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "--profile"]
    unknown = [name for name in asked if name not in profiles]
    return f"compose.yaml has no profile {unknown[0]!r}" if unknown else None


CHECKS = {
    "maepose": _maepose,
    "make": _make,
    "python": _python,
    "pytest": _pytest,
    "prefect": _prefect,
    "sh": _sh,
    "docker": _docker,
}


def problem(command: Command) -> str | None:
    """Why a command of a page cannot be typed as it stands there; None where it can."""
    program, *words = command.words
    found = CHECKS[program](tuple(words), command.whole) if program in CHECKS else None
    return f"{command.where}: `{shlex.join(command.words)}`: {found}" if found else None


@EVERY_PAGE
def test_every_command_of_every_page_exists(page):
    assert [found for command in documents.commands(page) if (found := problem(command))] == []


def test_commands_are_found_in_blocks_and_in_sentences():
    found = [command for page in PAGES for command in documents.commands(page)]
    assert sum(command.whole for command in found) > 60
    assert sum(not command.whole for command in found) > 60
    assert {command.words[0] for command in found} >= set(CHECKS)
    in_lists = [block for block in documents.blocks(GUIDE) if block.text.startswith("sudo")]
    assert len(in_lists) == 1


@pytest.mark.parametrize(
    ("line", "whole", "words"),
    [
        ("maepose proces ID", True, "no verb 'proces'"),
        ("maepose process", True, "Missing"),
        ("maepose process ID --presett paper", True, "--presett"),
        ("maepose label ID --labeller nobody", True, "nobody"),
        ("maepose process ID --presett ...", False, "no --presett"),
        ("make tests", True, "no target 'tests'"),
        ("python -m benchmarks.cube", True, "no module benchmarks.cube"),
        ("python -m benchmarks.cubes --second 5", True, "no --second"),
        ("prefect deployment run capture", True, "no deployment 'capture'"),
        ("prefect deployment run study -p file=x", True, "no parameter 'file'"),
        ("pytest tests/test_nothing.py", True, "no tests/test_nothing.py"),
        ("docker compose --profile gpus up", True, "no profile 'gpus'"),
        ("sh deploy/secrets.sh", True, "no deploy/secrets.sh"),
    ],
)
def test_a_command_that_does_not_exist_is_found(line, whole, words):
    found = problem(Command("here", tuple(shlex.split(line)), whole))
    assert found is not None
    assert words in found


@EVERY_PAGE
def test_every_link_leads_somewhere(page):
    lost = []
    for line, target in documents.links(page):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in documents.anchors(path)):
            lost.append(f"{page.relative_to(PROJECT)}:{line}: {target}")
    assert lost == []


@EVERY_PAGE
def test_every_table_has_a_head_and_as_many_cells_in_each_row(page):
    """An empty line in the middle makes plain text of all that follows."""
    broken, lines, cells = [], documents.prose(page).splitlines(), 0
    for number, line in enumerate(lines):
        if line.startswith("|"):
            if not lines[number - 1].startswith("|"):
                cells = line.count("|")
                headed = re.fullmatch(r"\|[ :|-]+\|", lines[number + 1]) is not None
            if not headed or line.replace("\\|", "").count("|") != cells:
                broken.append(f"{page.relative_to(PROJECT)}:{number + 1}: {line[:60]}")
    assert broken == []


@EVERY_PAGE
def test_every_file_of_the_project_that_is_named_is_there(page):
    ours = documents.prose(page).partition("## Sources")[0].count("\n") + 1  # behind it stand files of other projects
    named = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*[\w/]")
    lost = [
        f"{page.relative_to(PROJECT)}:{line}: {word}"
        for line, text in documents.spans(page)
        for word in text.split()
        if line <= ours
        and named.fullmatch(word)
        and not (PROJECT / word).exists()
        and not word.startswith("deploy/tls")  # what deploy/make-secrets.sh writes
    ]
    assert lost == []


@EVERY_PAGE
def test_every_rig_store_and_study_shown_is_one(page):
    for block in documents.blocks(page):
        if block.language == "toml":
            kinds = {"keep_days": RetentionSettings, "address": StoreSettings}
            kind = next((kind for word, kind in kinds.items() if word in block.text), RigSettings)
            kind.model_validate(tomllib.loads(block.text))
        elif block.language == "yaml" and "methods:" in block.text:
            StudyConfig.model_validate(yaml.safe_load(block.text))


def _said_by_the_code() -> str:
    """All that the program can say: its string constants, with a gap where a value is filled in."""
    said = []
    for package in ("pipeline", "capture", "processing", "models", "flows"):
        for path in sorted((PROJECT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    said.append("\0".join(str(part.value) for part in node.values if isinstance(part, ast.Constant)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    said.append(node.value)
    return "\n".join(said)


def test_every_sentence_that_the_guide_explains_is_one_the_program_prints():
    rows = re.findall(r"^\| `(.+?)` \|", GUIDE.read_text().split("## 7.")[1], re.MULTILINE)
    said = _said_by_the_code()
    pieces = [piece for row in rows for piece in row.split("...") if len(piece.strip()) > 5]
    assert len(rows) > 20
    assert [piece for piece in pieces if piece.strip() not in said] == []


# --- the guide, followed ----------------------------------------------------------------------------------------------
def _steps() -> Iterator[tuple[str, str]]:
    """Files to write and commands to type, in order: (name, text) of a file, or ("", command line)."""
    for block in documents.blocks(GUIDE):
        if block.info.startswith("data/"):
            yield block.info, block.text
        elif block.info == "run":
            for line in block.text.splitlines():
                yield "", line


def test_the_guide_has_steps_of_every_chapter_that_needs_no_hardware():
    lines = [text for name, text in _steps() if not name]
    for verb in (
        "doctor",
        "capture",
        "process",
        "label",
        "simulate",
        "pretrain",
        "finetune",
        "predict",
        "study",
        "up",
        "down",
    ):
        assert any(line.startswith(f"maepose {verb}") for line in lines), verb
    assert [name for name, _ in _steps() if name] == ["data/protocol.txt", "data/first.yaml"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_guide_can_be_followed_word_by_word(tmp_path):
    """In an empty directory that stands for the project's: its `data/` is made by the guide's own commands."""
    for name in ("pyproject.toml", "prefect.yaml"):  # by these Prefect knows the project's directory
        shutil.copy(PROJECT / name, tmp_path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MAEPOSE_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    environment = kept | {"PATH": path, "PYTHONPATH": str(PROJECT), "DO_NOT_TRACK": "1", "VIRTUAL_ENV": sys.prefix}
    try:
        for name, text in _steps():
            if name:
                (tmp_path / name).write_text(text)
                continue
            captured = sorted(tmp_path.glob("data/recordings/2*/recording.json"))
            line = re.sub(r"\bID\b", captured[-1].parent.name if captured else "ID", text)
            done = subprocess.run(
                ["bash", "-c", line],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    finally:
        stop(tmp_path / "data")
    made = tmp_path / "data"
    assert (made / "experiments/first/report.html").is_file()
    assert list(made.glob("predictions/*.finetune-tiny-dual-pretrained-without-p02.parquet"))
    assert len(list(made.glob("recordings/2*/recording.json"))) == 3
