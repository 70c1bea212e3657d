"""One look a method in all figures of a study: colours that the colour-blind tell apart, a marker each, floors in greys."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from models.contests import MODALITY_TITLES, main_contest
from models.evaluation import Evaluation, summary
from models.table_layout import line_title

_COLOURS = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c00", "#4b0092", "#882255", "#999933")
"""Of Okabe and Ito's palette, and four more; blue is ours."""
_OURS = "#0072b2"
_MARKERS = ("s", "^", "D", "v", "P", "X", "h", "p", "*")
_FLOOR_GREYS = {
    "mean-pose": "#a0a4ab",
    "ridge": "#5f646d",
    "neighbours": "#80858e",
    "own-mean-pose": "#b5b9c0",
    "nearest-pose": "#b5b9c0",
}


@dataclass(frozen=True)
class Look:
    """How a method is drawn, and what the legend calls it."""

    title: str
    colour: str
    marker: str
    dashes: Literal["-", "--", ":"]
    width: float


@dataclass(frozen=True)
class Panel:
    """What one panel is about: where a method was trained and tested, and what it read."""

    trained_on: str
    test_set: str
    modality: str
    title: str

    def of(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table of an `Evaluation` that belong here."""
        here = table["trained_on"].eq(self.trained_on) & table["test_set"].eq(self.test_set)
        return table[here & table["modality"].eq(self.modality)]


def looks(evaluation: Evaluation) -> dict[str, Look]:
    """Of every row of a study."""
    found = {}
    contest = main_contest(evaluation)  # those that meet in most figures come first, should the colours not do for all
    networks = [*contest.rivals, *contest.others, *evaluation.of_kind("ours", "baseline")]
    others = [name for name in dict.fromkeys(networks) if name != evaluation.ours]
    for name in evaluation.methods.index:
        title = line_title(evaluation, name)
        if name == evaluation.ours:
            found[name] = Look(title, _OURS, "o", "-", 2.2)
        elif name in others:
            at = others.index(name)
            found[name] = Look(title, _COLOURS[at % len(_COLOURS)], _MARKERS[at % len(_MARKERS)], "-", 1.4)
        else:
            oracle = evaluation.methods.at[name, "kind"] == "oracle"
            found[name] = Look(title, _FLOOR_GREYS[name], "", ":" if oracle else "--", 1.4)
    return found


def compared(evaluation: Evaluation) -> list[str]:
    """Rows that figures compare: ours and the baselines, and the floor with the least error over the study."""
    means = summary(evaluation.values)
    own = means["split"].eq("person") & means["metric"].eq("mpjpe_norm") & means["trained_on"].eq(means["test_set"])
    floors = means[own & means["method"].isin(evaluation.of_kind("floor"))]
    best = [str(floors.groupby("method")["mean"].mean().idxmin())] if len(floors) else []
    contest = main_contest(evaluation)
    return [contest.ours, *contest.rivals, *contest.others, *best]


def panels(evaluation: Evaluation) -> list[Panel]:
    """Every pair of data sets and modality that was tested with the person held out, own data sets first."""
    values = evaluation.values
    there = values.loc[values["split"].eq("person"), ["trained_on", "test_set", "modality"]].drop_duplicates()
    order = list(evaluation.titles)
    found = [
        Panel(one, other, modality, f"{evaluation.place(one, other)}, {MODALITY_TITLES[modality]}")
        for one, other, modality in there.itertuples(index=False)
    ]
    modalities = list(MODALITY_TITLES)
    return sorted(
        found,
        key=lambda p: (
            p.trained_on != p.test_set,
            order.index(p.trained_on),
            order.index(p.test_set),
            modalities.index(p.modality),
        ),
    )
