"""The project's Markdown, read as a person reads it: blocks, commands a shell would run, links, headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
FOLDERS = ("pipeline", "capture", "processing", "models", "flows", "benchmarks", "docs", "tests", "deploy")
PAGES = sorted(
    page
    for folder, pattern in ((PROJECT, "*.md"), *((PROJECT / name, "**/*.md") for name in FOLDERS))
    for page in folder.glob(pattern)
    if "node_modules" not in page.parts
)
SHELL = ("", "sh", "bash")
PROGRAMS = ("maepose", "make", "python", "pytest", "prefect", "sh", "docker", "tensorboard")


@dataclass(frozen=True)
class Block:
    """A block of code: `language` and `info` are the two parts of what stands behind its fence, empty for an indented one."""

    page: Path
    line: int
    language: str
    info: str
    text: str

    @property
    def where(self) -> str:
        """Page and line."""
        return f"{self.page.relative_to(PROJECT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command: `whole` as a block gives it to be typed; otherwise named in a sentence, and perhaps not in full."""

    where: str
    words: tuple[str, ...]
    whole: bool


def blocks(page: Path) -> list[Block]:
    """Fenced blocks, also those in lists, and blocks indented by four spaces behind an empty line."""
    found, lines, at = [], page.read_text().splitlines(), 0
    while at < len(lines):
        begin, fence = at + 1, re.match(r"( *)```+(\S*) *(.*)$", lines[at])
        at += 1
        if fence:
            stop = next(n for n in range(at, len(lines)) if lines[n].strip() == "```")
            text = "\n".join(line.removeprefix(fence[1]) for line in lines[at:stop])
            found.append(Block(page, begin, fence[2], fence[3], text + "\n"))
            at = stop + 1
        elif lines[begin - 1].startswith("    ") and _may_begin(lines, begin - 1):
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                at += 1
            text = "\n".join(line.removeprefix("    ") for line in lines[begin - 1 : at])
            found.append(Block(page, begin, "", "", text.rstrip() + "\n"))
    return found


def _may_begin(lines: list[str], at: int) -> bool:
    """Whether an indented line begins a block: behind a heading or an empty line, and not as part of a list."""
    before = [line for line in lines[:at] if line.strip()]
    in_list = bool(before) and bool(re.match(r"\s*([-*]|\d+\.) ", before[-1]) or before[-1].startswith("  "))
    return not in_list and (at == 0 or not lines[at - 1].strip() or lines[at - 1].startswith("#"))


def prose(page: Path) -> str:
    """A page without its blocks, line for line."""
    lines = page.read_text().splitlines()
    for block in blocks(page):
        fenced = lines[block.line - 1].lstrip().startswith("```")
        for number in range(block.line - 1, block.line - 1 + len(block.text.splitlines()) + (2 if fenced else 0)):
            lines[number] = ""
    return "\n".join(lines)


def spans(page: Path) -> Iterator[tuple[int, str]]:
    """Line and text of what stands between single backticks."""
    for number, line in enumerate(prose(page).splitlines(), 1):
        for found in re.finditer(r"`([^`]+)`", line):
            yield number, found[1]


def shell_commands(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line (from 0) and words of every command of a shell block, without remarks; continued lines are put together."""
    rest, begin = "", 0
    for number, line in enumerate(text.splitlines()):
        begin, rest = (begin, rest + line) if rest else (number, line)
        if rest.endswith("\\"):
            rest = rest[:-1]
            continue
        lexer = shlex.shlex(rest, posix=True, punctuation_chars="&;|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("&;|"):
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    del words[0]
                if words:
                    yield begin, tuple(words)
                words = []
            else:
                words.append(word)
        rest = ""


def commands(page: Path) -> Iterator[Command]:
    """Every command of a page that names one of `PROGRAMS`, from its blocks and from its sentences."""
    for block in blocks(page):
        if block.language in SHELL and _is_shell(block):
            for line, words in shell_commands(block.text):
                if Path(words[0]).name in PROGRAMS:
                    fenced = 1 if page.read_text().splitlines()[block.line - 1].lstrip().startswith("```") else 0
                    where = f"{page.relative_to(PROJECT)}:{block.line + line + fenced}"
                    yield Command(where, (Path(words[0]).name, *words[1:]), whole=True)
    for number, text in spans(page):
        words = text.split()
        if len(words) > 1 and Path(words[0]).name in PROGRAMS:
            where = f"{page.relative_to(PROJECT)}:{number}"
            yield Command(where, (Path(words[0]).name, *words[1:]), whole=False)


def _is_shell(block: Block) -> bool:
    """A block without a language is a shell's if its first line begins with a program."""
    first = block.text.split()[:1]
    known = (*PROGRAMS, ".", "pip", "export", "sudo")
    return block.language != "" or (bool(first) and (Path(first[0]).name in known or "=" in first[0]))


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Line and target of every link and picture."""
    for number, line in enumerate(prose(page).splitlines(), 1):
        for found in re.finditer(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
            yield number, found[1]


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may name, as GitHub makes it."""
    found: set[str] = set()
    for line in prose(page).splitlines():
        if heading := re.match(r"#+ +(.*)", line):
            text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = "".join("-" if c == " " else c for c in text if c.isalnum() or c in " -_")
            found.add(next(name for n in range(99) if (name := f"{slug}-{n}" if n else slug) not in found))
    return found
