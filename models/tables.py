"""A study's tables in the paper's form: methods, zero-shot, pre-training, heads; and beside them what the paper leaves out.

| name                | rows against columns                                             | tested against                  |
|---------------------|------------------------------------------------------------------|---------------------------------|
| table2              | methods by modality, against data sets                            | ours against all others         |
| table2-measures     | the same in pixels, torsos and (where a scale was recorded) metres | the same                        |
| table3              | the same where training saw another data set (zero-shot)          | ours against all others         |
| table4              | pre-trained against random weights, by data set and modality      | pre-trained against random      |
| table5              | heads, by data set and modality                                   | the first head against others   |
| inside-split        | the same people never seen and split inside recordings: a warning  | nothing                         |

Every table has floors and oracles (`models.floors`). Values are means +- sd (ddof 1) over folds, the held-out people, of values
averaged over seeds. Bold is the best of a column in its block, oracles left out, floors not: where a floor is bold no network is
worth its weights. Improvements are over the best rival of that data set and modality, in percent of the rival's value. p is that
of the paper's tests (`models.statistics`), times the number of comparisons; floors are tested as a family of their own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from models.contests import (
    MODALITY_TITLES,
    PAIR_COLUMNS,
    Contest,
    head_contests,
    main_contest,
    start_contests,
    verdict,
)
from models.evaluation import METRES, Evaluation, require_measure, summary
from models.table_grid import Grid, html, latex, markdown
from models.table_layout import lay_out
from models.table_rows import means_of, with_gains, with_rise
from models.table_words import under_table
from pipeline.errors import PipelineError
from pipeline.files import write_atomic

SHOWN = ("mpjpe_norm", "pck_norm@0.05", "root_centred_norm", "explained_motion")
FURTHER = ("mpjpe_px", "pck_torso@0.2")
NAMES = ("table2", "table2-measures", "table3", "table4", "table5", "inside-split")
KINDS = ("md", "tex", "csv")


@dataclass(frozen=True)
class Table:
    """A table as numbers (`rows`, pandas) and as it is read (`grid`, with what is to be said under it)."""

    name: str
    title: str
    rows: pd.DataFrame
    grid: Grid
    says: tuple[str, ...]

    def to_markdown(self) -> str:
        return markdown(self.grid, self.title, self.says)

    def to_latex(self) -> str:
        return latex(self.grid, self.title, self.says, self.name)

    def to_csv(self) -> str:
        return csv(self.rows)

    def to_html(self) -> str:
        return html(self.grid)


def csv(rows: pd.DataFrame) -> str:
    """Six digits of every number, the same on every machine."""
    return rows.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def study_tables(evaluation: Evaluation) -> tuple[Table, ...]:
    """Every table that the study has rows for, in the order of the module's list."""
    found = [
        main_table(evaluation),
        main_table(evaluation, further_measures(evaluation), "table2-measures"),
        zero_shot_table(evaluation),
        start_table(evaluation),
        head_table(evaluation),
        inside_table(evaluation),
    ]
    return tuple(table for table in found if table is not None)


def write_tables(folder: Path, tables: Iterable[Table], evaluation: Evaluation) -> list[Path]:
    """Each table as .md, .tex and .csv; `folds.csv`, and by action and target, are what they were made of. Returns the files.

    The same evaluation writes the same bytes. Tables of before that the study has no rows for now are removed. Raises
    PipelineError when the disk does not take them.
    """
    texts = {
        f"{table.name}.{kind}": text
        for table in tables
        for kind, text in zip(KINDS, (table.to_markdown(), table.to_latex(), table.to_csv()), strict=True)
    }
    texts["folds.csv"] = csv(evaluation.values)
    texts["folds-by-action.csv"] = csv(evaluation.by_action)
    texts["folds-by-target.csv"] = csv(evaluation.by_target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (f"{name}.{kind}" for name in NAMES for kind in KINDS):
            if name not in texts:
                (folder / name).unlink(missing_ok=True)
        for name, text in texts.items():
            write_atomic(folder / name, text)
    except OSError as error:
        raise PipelineError(
            f"Tables cannot be written to {folder} ({error.strerror}); make room or choose another root."
        ) from error
    return [folder / name for name in texts]


def further_measures(evaluation: Evaluation) -> tuple[str, ...]:
    """Pixels and torsos; metres too if every fold of every data set that has a table of its own has a scale."""
    own = _own_sets(evaluation)
    known = set(evaluation.values["metric"])
    scaled = all(evaluation.scale_source.get(name, "none") != "none" for name in own)
    return tuple(name for name in (*FURTHER, *(METRES if scaled else ())) if name in known)


def main_table(evaluation: Evaluation, measures: Sequence[str] = SHOWN, name: str = "table2") -> Table | None:
    """Methods by modality against data sets, in any `measures`; None where there are no measures to give.

    Raises PipelineError for a measure that is none, and for metres of a data set without scale.
    """
    own = _own_sets(evaluation)
    for measure in measures:
        for test_set in own:
            require_measure(evaluation, measure, test_set)
    if not measures:
        return None
    title = f"Methods on each data set and modality, {_held_out_once(evaluation, own)}"
    title += " (further measures)" if name != "table2" else ""
    return _table(
        evaluation, name, title, [main_contest(evaluation)], [(one, one) for one in own], measures, across="test_set"
    )


def zero_shot_table(evaluation: Evaluation) -> Table | None:
    """Methods where training saw another data set, and by how much the error rises over the one trained on."""
    values = evaluation.values
    pairs = values.loc[values["trained_on"] != values["test_set"], ["trained_on", "test_set"]].drop_duplicates()
    if pairs.empty:
        return None
    cells = [(str(one), str(other)) for one, other in pairs.itertuples(index=False)]
    title = "Zero-shot: trained on one data set, tested on another, the same people held out"
    return _table(evaluation, "table3", title, [main_contest(evaluation)], cells, SHOWN, across="test_set")


def start_table(evaluation: Evaluation) -> Table | None:
    """Pre-trained against random weights."""
    cells = [(one, one) for one in _own_sets(evaluation)]
    title = "Pre-training: the same network from pre-trained and from random weights"
    return _table(evaluation, "table4", title, start_contests(evaluation), cells, SHOWN, fewest=2)


def head_table(evaluation: Evaluation) -> Table | None:
    """Heads of the same encoder."""
    cells = [(one, one) for one in _own_sets(evaluation)]
    return _table(evaluation, "table5", "Heads on the same encoder", head_contests(evaluation), cells, SHOWN, fewest=2)


def inside_table(evaluation: Evaluation) -> Table | None:
    """What a split inside recordings would have claimed, beside people never seen. No test: it is no result."""
    inside = evaluation.values["split"].eq("inside")
    if not inside.any():
        return None
    own = list(dict.fromkeys(evaluation.values.loc[inside, "test_set"]))
    contest = main_contest(evaluation)
    cells = [(one, one) for one in own]
    return _table(
        evaluation, "inside-split", "A warning: what a split inside recordings would have claimed", [contest], cells,
        SHOWN, across="split", splits=("person", "inside"),
    )  # fmt: skip


def _held_out_once(evaluation: Evaluation, own: Sequence[str]) -> str:
    values = evaluation.values
    held_out = values.loc[values["split"].eq("person") & values["test_set"].isin(own), "held_out"].nunique()
    of = f" (of {len(evaluation.people)})" if held_out < len(evaluation.people) else ""
    return f"each of {held_out}{of} people held out once"


def _own_sets(evaluation: Evaluation) -> list[str]:
    """Data sets with folds of their own, in the study's order."""
    values = evaluation.values
    own = set(values.loc[values["trained_on"] == values["test_set"], "test_set"])
    return [name for name in evaluation.titles if name in own]


def _table(
    evaluation: Evaluation, name: str, title: str, contests: list[Contest], cells: list[tuple[str, str]],
    measures: Sequence[str], across: str | None = None, splits: tuple[str, ...] = ("person",), fewest: int = 1,
) -> Table | None:  # fmt: skip
    """Contests of at least `fewest` networks on cells (trained on, tested on). None where there is nothing to show."""
    means = summary(_of_held_out(evaluation.values[evaluation.values["split"].isin(splits)]))
    parts: list[pd.DataFrame] = []
    says: list[str] = []
    for contest in contests:
        for trained_on, test_set in cells:
            here = means[means["trained_on"].eq(trained_on) & means["test_set"].eq(test_set)]
            for modality in [one for one in MODALITY_TITLES if one in set(here["modality"])]:
                shown = [*contest.networks, *evaluation.of_kind("floor", "oracle")]
                cell = here[here["modality"].eq(modality) & here["method"].isin(shown)]
                if len(set(cell["method"]) & set(contest.networks)) < fewest:
                    continue
                met = contest.among(set(cell["method"]))
                rows = pd.concat(
                    with_gains(means_of(part, measures), met, evaluation, measures)
                    for split in splits
                    if len(part := cell[cell["split"].eq(split)])
                ).assign(contest=contest.title, ours=met.ours)
                if splits == ("person",):
                    tested = verdict(evaluation, met, test_set, modality, trained_on)
                    says += tested.says
                    tests = tested.pairs.reindex(columns=["other", *PAIR_COLUMNS]).rename(columns={"other": "method"})
                    rows = rows.merge(tests, how="left", on="method")
                parts.append(rows)
    if not parts:
        return None
    rows = pd.concat(parts, ignore_index=True)
    if any(trained_on != test_set for trained_on, test_set in cells):
        rows = with_rise(rows, evaluation)
    return Table(
        name,
        title,
        rows,
        lay_out(evaluation, rows, measures, across),
        under_table(evaluation, rows, contests, measures, says),
    )


def _of_held_out(values: pd.DataFrame) -> pd.DataFrame:
    """Without people split inside recordings who were never held out: two columns of a table are of the same people."""
    whole = values[values["split"].eq("person")]
    pairs = pd.MultiIndex.from_frame(values[["test_set", "held_out"]])
    return values[pairs.isin(pd.MultiIndex.from_frame(whole[["test_set", "held_out"]].drop_duplicates()))]
