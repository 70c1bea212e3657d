"""How panels of a study's figures lie on a sheet, and the legend they share."""

from collections.abc import Iterable

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from models.evaluation import Evaluation
from models.method_style import looks

NARROWEST_INCHES = 8.2
"""What the two lines over a sheet need."""


def side_by_side(count: int, most: int = 3) -> tuple[int, int]:
    """Columns and rows for so many panels: two by two rather than three and one."""
    columns = count if count <= most else 2 if count == 4 else most
    return columns, -(-count // columns)


def legend_below(figure: Figure, evaluation: Evaluation, methods: Iterable[str]) -> None:
    """One legend for all panels, under them."""
    shown = [look for name, look in looks(evaluation).items() if name in set(methods)]
    lines = [
        Line2D(
            [], [], color=one.colour, linestyle=one.dashes, linewidth=one.width, marker=one.marker or None, markersize=5
        )
        for one in shown
    ]
    columns = len(shown) if len(shown) <= 5 else -(-len(shown) // 2)
    figure.legend(lines, [one.title for one in shown], loc="outside lower center", ncols=columns, fontsize=9)
