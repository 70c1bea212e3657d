"""Whether a method is better than others over folds: the paper's tests (paper.md, "Statistics"), and what they leave unsaid.

Friedman's test over all methods, if there are three or more. Where its p is below .05, every other method is compared with ours:
where Shapiro-Wilk finds every method's values normal by the paired t-test with Cohen's d_z (mean difference over the standard
deviation of the differences), else by Wilcoxon's signed-rank test, two-sided, asymptotic, zero differences dropped, without
continuity correction, with r = |z| / sqrt(folds). p is multiplied by the number of comparisons and clipped to 1 (Bonferroni).

The asymptotic p is not the exact one at eight folds, and r cannot pass .89 there, so beside them stand the exact p of the
signed-rank test, the rank-biserial correlation, and a bootstrap interval of the median difference. Differences are ours less the
other's: with an error, below 0 is better.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from pipeline.errors import PipelineError

ALPHA = 0.05
FEWEST_FOLDS = 3
"""Shapiro-Wilk is not defined below. Under six folds no signed-rank test can find anything: its exact p is above .05."""
RESAMPLES = 10_000
COVERAGE = 0.95

Test = Literal["paired t", "wilcoxon"]
Size = Literal["negligible", "small", "medium", "large"]
CONVENTION: dict[Test, tuple[float, float, float]] = {"paired t": (0.2, 0.5, 0.8), "wilcoxon": (0.1, 0.3, 0.5)}
"""Where small, medium and large effects begin: |d_z| and r (Cohen 1988)."""


@dataclass(frozen=True)
class Comparison:
    """Ours against one other method, fold by fold."""

    ours: str
    other: str
    folds: int
    test: Test
    statistic: float
    """t, or W, the smaller sum of ranks."""
    p: float
    p_bonferroni: float
    effect: float
    effect_name: Literal["d_z", "r"]
    effect_size: Size
    p_exact: float
    """Of the signed-rank test, whichever test was chosen; not corrected."""
    rank_biserial: float
    """Sum of the ranks of positive differences less that of negative ones, over both: -1 where ours is lower in every fold."""
    median_difference: float
    low: float
    high: float
    """Bounds of the bootstrap interval of the median difference."""


@dataclass(frozen=True)
class Comparisons:
    """What the tests say; `pairs` is empty where Friedman's test finds no difference among the methods."""

    friedman: float | None
    friedman_p: float | None
    """None with two methods, where there is no such test."""
    shapiro_p: dict[str, float]
    pairs: tuple[Comparison, ...]

    def table(self) -> pd.DataFrame:
        """One row a pair, columns as `Comparison`."""
        columns = list(Comparison.__dataclass_fields__)
        return pd.DataFrame([asdict(pair) for pair in self.pairs], columns=columns)


def compare(values: pd.DataFrame, ours: str, *, seed: int = 42) -> Comparisons:
    """Compare method `ours` with every other. `values`: one row a fold, one column a method, one metric.

    Raises PipelineError for a method that is not there, fewer than two methods, fewer than three folds, and folds that some
    method has no value for.
    """
    _check(values, ours)
    columns = {str(name): values[name].to_numpy(np.float64) for name in values.columns}
    others = [name for name in columns if name != ours]
    friedman, friedman_p = _friedman(list(columns.values())) if len(columns) > 2 else (None, None)
    shapiro_p = {name: _shapiro_p(column) for name, column in columns.items()}
    test: Test = "paired t" if all(p > ALPHA for p in shapiro_p.values()) else "wilcoxon"
    named = others if friedman_p is None or friedman_p < ALPHA else []
    pairs = tuple(compare_pair(columns[ours], columns[name], ours, name, test, len(others), seed) for name in named)
    return Comparisons(friedman, friedman_p, shapiro_p, pairs)


def compare_pair(
    ours: Float64[np.ndarray, " fold"],
    other: Float64[np.ndarray, " fold"],
    our_name: str,
    other_name: str,
    test: Test,
    comparisons: int,
    seed: int = 42,
) -> Comparison:
    """One pair by `test`, its p corrected for so many `comparisons`. Methods that never differ have p 1 and no effect."""
    difference = ours - other
    statistic, p, effect = _paired_t(difference) if test == "paired t" else _wilcoxon(difference)
    low, high = bootstrap_interval(difference, seed)
    return Comparison(
        our_name,
        other_name,
        len(difference),
        test,
        statistic,
        p,
        min(p * comparisons, 1.0),
        effect,
        "d_z" if test == "paired t" else "r",
        _size(abs(effect), test),
        exact_p(difference),
        rank_biserial(difference),
        float(np.median(difference)),
        low,
        high,
    )


def exact_p(difference: Float64[np.ndarray, " fold"]) -> float:
    """Two-sided p of the signed-rank test over all 2^n signs that the differences might have had; ties keep their mean rank.

    Counted by convolution of doubled ranks, which are whole numbers: exact for any number of folds.
    """
    ranks, signs = _signed_ranks(difference)
    doubled = np.rint(2 * ranks).astype(int)
    ways = np.ones(1)
    for rank in doubled:
        longer = np.zeros(len(ways) + rank)
        longer[: len(ways)] += ways / 2
        longer[rank:] += ways / 2
        ways = longer
    smaller = min(doubled[signs > 0].sum(), doubled[signs < 0].sum())
    return float(min(2 * ways[: smaller + 1].sum(), 1.0))


def rank_biserial(difference: Float64[np.ndarray, " fold"]) -> float:
    """Matched-pairs rank-biserial correlation (Kerby 2014), -1 to 1; 0 where nothing differs."""
    ranks, signs = _signed_ranks(difference)
    return float((ranks * signs).sum() / ranks.sum()) if len(ranks) else 0.0


def bootstrap_interval(difference: Float64[np.ndarray, " fold"], seed: int = 42) -> tuple[float, float]:
    """Percentile interval of the median difference over folds drawn with replacement."""
    drawn = np.random.default_rng(seed).integers(len(difference), size=(RESAMPLES, len(difference)))
    medians = np.median(difference[drawn], axis=1)
    low, high = np.quantile(medians, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def _friedman(columns: Sequence[Float64[np.ndarray, " fold"]]) -> tuple[float, float]:
    if all(np.array_equal(column, columns[0]) for column in columns):
        return 0.0, 1.0
    result = stats.friedmanchisquare(*columns)
    return float(result.statistic), float(result.pvalue)


def _shapiro_p(column: Float64[np.ndarray, " fold"]) -> float:
    """0 for values that are all the same, which no normal distribution gives."""
    return float(stats.shapiro(column).pvalue) if np.ptp(column) > 0 else 0.0


def _paired_t(difference: Float64[np.ndarray, " fold"]) -> tuple[float, float, float]:
    """t, two-sided p, d_z."""
    spread = difference.std(ddof=1)
    if spread == 0:
        if difference[0] == 0:
            return 0.0, 1.0, 0.0
        raise PipelineError(
            "Two methods differ by exactly the same amount in every fold, which measured errors never do; "
            "check that their predictions are of different models."
        )
    result = stats.ttest_1samp(difference, 0.0)
    return float(result.statistic), float(result.pvalue), float(difference.mean() / spread)


def _wilcoxon(difference: Float64[np.ndarray, " fold"]) -> tuple[float, float, float]:
    """W, two-sided asymptotic p, r."""
    if not difference.any():
        return 0.0, 1.0, 0.0
    result = stats.wilcoxon(difference, zero_method="wilcox", correction=False, method="asymptotic")
    return float(result.statistic), float(result.pvalue), float(abs(result.zstatistic) / np.sqrt(len(difference)))


def _signed_ranks(
    difference: Float64[np.ndarray, " fold"],
) -> tuple[Float64[np.ndarray, " moved"], Float64[np.ndarray, " moved"]]:
    """Ranks of the differences that are not zero by their size, ties with their mean rank; and their signs."""
    moved = difference[difference != 0]
    return stats.rankdata(np.abs(moved)), np.sign(moved)


def _size(effect: float, test: Test) -> Size:
    small, medium, large = CONVENTION[test]
    if effect >= large:
        return "large"
    if effect >= medium:
        return "medium"
    return "small" if effect >= small else "negligible"


def _check(values: pd.DataFrame, ours: str) -> None:
    if ours not in values.columns:
        raise PipelineError(f"There are no results of {ours!r}; the methods are {', '.join(map(str, values.columns))}.")
    if len(values.columns) < 2:
        raise PipelineError(f"There is nothing to compare {ours} with; add results of another method.")
    if len(values) < FEWEST_FOLDS:
        raise PipelineError(
            f"{len(values)} folds are too few to test on (Shapiro-Wilk needs {FEWEST_FOLDS}, and under 6 a signed-rank test "
            "can find nothing); hold out more people."
        )
    holes = values.columns[~np.isfinite(values.to_numpy(np.float64)).all(axis=0)]
    if len(holes):
        raise PipelineError(
            f"{', '.join(map(str, holes))} has no value in some fold, and the tests pair folds; run what is missing."
        )
