"""A table as it is read: cells of text in blocks of lines, and the same grid as Markdown, LaTeX and HTML.

Text is Unicode throughout; each writer says what its language makes of `±`, `↓` and the rest.
"""

import re
from dataclasses import dataclass
from html import escape
from typing import Literal

LineKind = Literal["ours", "baseline", "floor", "oracle", ""]

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": r"\textbar{}", "±": r"$\pm$",
    "↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\rightarrow$", "−": "$-$", "–": "--", "—": "---", "×": r"$\times$",
    "χ": r"$\chi$", "²": r"$^2$", "·": r"$\cdot$", "≤": r"$\le$", "≥": r"$\ge$", "'": "'", '"': "''",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One value as text; `gain` is what follows it smaller: how much better it is than the best rival."""

    text: str
    gain: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A row and its cells; `kind` sets floors and oracles apart from networks."""

    name: str
    cells: tuple[Cell, ...]
    kind: LineKind = ""


@dataclass(frozen=True)
class Block:
    """Lines under one heading; an empty one is not printed."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Grid:
    """`groups`: heading over so many columns each; `columns`: every column's own heading, the first one's left out."""

    corner: str
    groups: tuple[tuple[str, int], ...]
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]


def markdown(grid: Grid, title: str, says: tuple[str, ...]) -> str:
    """A heading, the table, and what is to be said under it, one item a sentence."""
    over = [name for name, count in grid.groups for _ in range(count)]
    heads = [f"{group}: {column}" if group else column for group, column in zip(over, grid.columns, strict=True)]
    lines = [_pipes([grid.corner, *heads]), _pipes(["---", *["---:"] * len(heads)])]
    for block in grid.blocks:
        if block.title:
            lines.append(_pipes([f"**{_marked(block.title)}**", *[""] * len(heads)]))
        lines += [_pipes([_marked(line.name), *(_markdown_cell(cell) for cell in line.cells)]) for line in block.lines]
    return "\n".join([f"## {title}", "", *lines, "", *(f"- {_marked(one)}" for one in says)]) + "\n"


def latex(grid: Grid, title: str, says: tuple[str, ...], label: str) -> str:
    """A floating table over both columns, as wide as the text. Needs the packages booktabs and graphicx."""
    over = [name for name, _ in grid.groups if name]
    heads = [
        " & ".join(["", *(rf"\multicolumn{{{count}}}{{c}}{{{tex(name)}}}" for name, count in grid.groups)]) + r" \\",
        " ".join(_rules(grid)),
    ]
    body: list[str] = []
    for number, block in enumerate(grid.blocks):
        body += [r"\midrule"] if number else []
        if block.title:
            body.append(rf"\multicolumn{{{len(grid.columns) + 1}}}{{l}}{{\emph{{{tex(block.title)}}}}} \\")
        body += [
            " & ".join([tex(line.name), *(_latex_cell(cell) for cell in line.cells)]) + r" \\" for line in block.lines
        ]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs,graphicx}",
            r"\begin{table*}[t]",
            r"\centering",
            rf"\caption{{{tex(title)}}}",
            rf"\label{{tab:{label}}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * len(grid.columns)}}}",
            r"\toprule",
            *(heads if over else []),
            " & ".join([tex(grid.corner), *map(tex, grid.columns)]) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            *(rf"\par\smallskip{{\footnotesize\raggedright {tex(one)}\par}}" for one in says),
            r"\end{table*}",
        ]
    ) + "\n"  # fmt: skip


def html(grid: Grid) -> str:
    """The bare `<table>`; blocks are its bodies, kinds of lines its classes."""
    rows = []
    if any(name for name, _ in grid.groups):
        spans = "".join(f'<th colspan="{count}" scope="colgroup">{escape(name)}</th>' for name, count in grid.groups)
        rows.append(f"<tr><td></td>{spans}</tr>")
    rows.append(
        "<tr>" + "".join(f'<th scope="col">{escape(name)}</th>' for name in (grid.corner, *grid.columns)) + "</tr>"
    )
    bodies = []
    for block in grid.blocks:
        lines = []
        if block.title:
            lines.append(
                f'<tr class="block"><th colspan="{len(grid.columns) + 1}" scope="rowgroup">{escape(block.title)}</th></tr>'
            )
        for line in block.lines:
            cells = "".join(f"<td>{_html_cell(cell)}</td>" for cell in line.cells)
            lines.append(f'<tr class="{line.kind}"><th scope="row">{escape(line.name)}</th>{cells}</tr>')
        bodies.append("<tbody>" + "\n".join(lines) + "</tbody>")
    return "<table>\n<thead>" + "\n".join(rows) + "</thead>\n" + "\n".join(bodies) + "\n</table>"


def tex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_LATEX.get(character, character) for character in text)


def _rules(grid: Grid) -> list[str]:
    found, first = [], 2
    for name, count in grid.groups:
        if name:
            found.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    return found


def _pipes(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _marked(text: str) -> str:
    """Text that Markdown prints as it is."""
    return re.sub(r"([\\`*_|<>\[\]#])", r"\\\1", text)


def _markdown_cell(cell: Cell) -> str:
    text = f"**{_marked(cell.text)}**" if cell.best and cell.text else _marked(cell.text)
    return f"{text} ({_marked(cell.gain)})" if cell.gain else text


def _latex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{tex(cell.text)}}}" if cell.best else tex(cell.text)
    return rf"{text} {{\scriptsize {tex(cell.gain)}}}" if cell.gain else text


def _html_cell(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.best else escape(cell.text)
    return f"{text} <small>{escape(cell.gain)}</small>" if cell.gain else text
