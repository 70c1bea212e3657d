"""Who is compared with whom in a study's tables, and what `models.statistics` says of it.

The rows of a study make three kinds of contest: ours against the baselines, pre-trained against random weights, one head against
the others. A row that neither of the last two shows stands in the first, so that each is in some table. In every one the paper's
tests are run once among the networks, and once of ours against the floors (which the paper has none of), each family with its own
Bonferroni correction. Oracles read the labels, so no test compares them.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from models.evaluation import Evaluation, folds_by_method
from models.statistics import Comparisons, compare
from pipeline.errors import PipelineError

PAIR_COLUMNS = (
    "p", "p_bonferroni", "p_exact", "test", "statistic", "effect_name", "effect", "effect_size", "rank_biserial",
    "median_difference", "low", "high",
)  # fmt: skip
"""Of `models.statistics.Comparison`, as they stand beside a row of a table."""
JUDGED_ON = "mpjpe_norm"
MODALITY_TITLES = {"rd": "RD", "ra": "RA", "dual": "Dual"}
FEWEST_FOR_RANKS = 6
"""Folds under which no signed-rank test can find anything, its exact p being above .05."""


@dataclass(frozen=True)
class Contest:
    """Rows of one table, by name: `ours` is tested against all others, its gain counted over the best of `rivals`."""

    title: str
    ours: str
    rivals: tuple[str, ...]
    others: tuple[str, ...] = ()
    """Further rows of our own."""

    @property
    def networks(self) -> tuple[str, ...]:
        """Rivals first, as the paper prints them."""
        return (*self.rivals, *self.others, self.ours)

    def among(self, there: Collection[str]) -> "Contest":
        """The same where only these rows were run: the first of the others that was stands for ours if ours was not."""
        others = [name for name in self.others if name in there]
        return self if self.ours in there or not others else replace(self, ours=others[0], others=tuple(others[1:]))


@dataclass(frozen=True)
class Verdict:
    """The tests of one contest on one test set and modality: one row a pair, and what is to be said beside them."""

    pairs: pd.DataFrame
    """`family` (networks, floors) and the columns of `models.statistics.Comparison`."""
    says: tuple[str, ...]


def main_contest(evaluation: Evaluation) -> Contest:
    """The study's row against the baselines, with every other row of ours that no start or head contest shows."""
    elsewhere = _shown_elsewhere(evaluation)
    others = [name for name in evaluation.of_kind("ours") if name != evaluation.ours and name not in elsewhere]
    return Contest("", evaluation.ours, tuple(evaluation.of_kind("baseline")), tuple(others))


def start_contests(evaluation: Evaluation) -> list[Contest]:
    """Pre-trained against random weights, wherever the study has both of a network and nothing else differs."""
    found = []
    for _, rows in _ours_by(evaluation, ["basis", "reading"]):
        pretrained, random = (list(rows.index[rows["start"] == start]) for start in ("pretrained", "random"))
        if pretrained and random:
            title = f"{pretrained[0]}: {rows['method'].iloc[0]}, head {rows['head'].iloc[0]}"
            found.append(Contest(title, pretrained[0], (random[0],)))
    return found


def head_contests(evaluation: Evaluation) -> list[Contest]:
    """Heads of one network and start where the study has several; ours is the study's row, or else the one it names first."""
    found = []
    for (_, start), rows in _ours_by(evaluation, ["basis", "start"]):
        names = list(rows.index[~rows.duplicated("head")])
        if len(names) > 1:
            found.append(Contest(f"{names[0]}: {rows['method'].iloc[0]}, {start}", names[0], tuple(names[1:])))
    return found


def _ours_by(evaluation: Evaluation, keys: list[str]) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """Our rows by what they have in common; the study's own first."""
    names = sorted(evaluation.of_kind("ours"), key=lambda name: name != evaluation.ours)
    grouped = evaluation.methods.loc[names].groupby(keys, sort=False)
    return (((str(key[0]), str(key[1])), rows) for key, rows in grouped)


def _shown_elsewhere(evaluation: Evaluation) -> set[str]:
    """Rows that a start or head contest sets against its own, in every modality that they read."""
    values = evaluation.values
    own = values.loc[values["split"].eq("person"), ["method", "modality"]].drop_duplicates()
    read = {str(name): set(modalities) for name, modalities in own.groupby("method")["modality"]}
    contests = [*start_contests(evaluation), *head_contests(evaluation)]
    return {
        name
        for contest in contests
        for name in contest.rivals
        if read.get(name, set()) <= read.get(contest.ours, set())
    }


def judge(
    evaluation: Evaluation,
    contest: Contest,
    test_set: str,
    modality: str,
    trained_on: str | None = None,
    metric: str = JUDGED_ON,
) -> Comparisons:
    """The paper's tests among the contest's networks. Raises PipelineError as `folds_by_method`, `models.statistics.compare`."""
    there = _there(evaluation, contest.networks, test_set, modality, trained_on)
    folds = folds_by_method(evaluation, metric, test_set, modality, there, trained_on)
    return compare(folds, contest.ours)


def verdict(
    evaluation: Evaluation, contest: Contest, test_set: str, modality: str, trained_on: str | None = None
) -> Verdict:
    """Both families of tests; what cannot be tested becomes a sentence of `says`."""
    where = f"{evaluation.place(trained_on or test_set, test_set)}, {MODALITY_TITLES[modality]}"
    pairs, says = [], []
    floors = tuple(evaluation.of_kind("floor"))
    for family, members in (("networks", contest), ("floors", Contest("", contest.ours, floors))):
        there = _there(evaluation, members.networks, test_set, modality, trained_on)
        if contest.ours not in there or len(there) < 2:
            continue
        try:
            found = judge(evaluation, members, test_set, modality, trained_on)
        except PipelineError as error:
            says.append(f"{where}, {family}: not tested. {error}")
            continue
        pairs.append(found.table().assign(family=family))
        says.append(f"{where}, {family}: {_in_words(found)}")
    folds = folds_by_method(evaluation, JUDGED_ON, test_set, modality, [contest.ours], trained_on) if pairs else ()
    if 0 < len(folds) < FEWEST_FOR_RANKS:
        least = 2 / 2 ** len(folds)
        says.append(
            f"{where}: with {len(folds)} folds the exact p of a signed-rank test cannot fall under {least:.3f}, and Shapiro-Wilk "
            "hardly ever finds values that are not normal: a small p of a t-test rests on what was not checked."
        )
    table = pd.concat(pairs, ignore_index=True) if pairs else pd.DataFrame({"family": [], "other": []})
    return Verdict(table, tuple(dict.fromkeys(says)))


def _in_words(found: Comparisons) -> str:
    said = []
    if found.friedman is not None:
        said.append(f"Friedman χ² = {found.friedman:.2f}, {_p(found.friedman_p)}")
    if found.pairs:
        test = "paired t-tests" if found.pairs[0].test == "paired t" else "Wilcoxon signed-rank tests"
        said.append(f"{test} (least Shapiro-Wilk {_p(min(found.shapiro_p.values()))}), p × {_count(found)}")
    else:
        said.append("so no pair is tested")
    return "; ".join(said) + "."


def _count(found: Comparisons) -> int:
    return len(found.shapiro_p) - 1


def p_text(p: float | None) -> str:
    """Four decimals, or that it is less."""
    if p is None or not np.isfinite(p):
        return "–"
    return "<0.0001" if p < 0.00005 else f"{p:.4f}"


def _p(p: float | None) -> str:
    text = p_text(p)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def _there(
    evaluation: Evaluation, methods: tuple[str, ...], test_set: str, modality: str, trained_on: str | None
) -> list[str]:
    values = evaluation.values
    chosen = values["test_set"].eq(test_set) & values["modality"].eq(modality) & values["split"].eq("person")
    known = set(values.loc[chosen & values["trained_on"].eq(trained_on or test_set), "method"])
    return [name for name in methods if name in known]
