"""The paper's p-values to four decimals, exact tests against scipy and by enumeration, and which test is chosen when."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from models.statistics import bootstrap_interval, compare, compare_pair, exact_p, rank_biserial
from pipeline.errors import PipelineError


def _folds_with(count: int, smaller: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors of two methods whose differences have ranks 1 to `count`, those of positive sign summing to `smaller`."""
    ranks = np.arange(1, count + 1)
    signs = next(
        np.array(signs) for signs in product([-1, 1], repeat=count) if ranks[np.array(signs) > 0].sum() == smaller
    )
    other = np.random.default_rng(count).uniform(0.03, 0.05, count)
    return other + signs * ranks * 1e-3, other


@pytest.mark.parametrize(
    ("count", "smaller", "printed"),
    [(8, 0, ".0352"), (9, 0, ".0231"), (9, 3, ".0626"), (9, 4, ".0852"), (8, 2, ".0752")],
)
def test_p_values_of_the_papers_table_2(count, smaller, printed):
    ours, other = _folds_with(count, smaller)
    pair = compare_pair(ours, other, "MAEPose", "CubeLearn", "wilcoxon", comparisons=3)
    assert f"{pair.p_bonferroni:.4f}".removeprefix("0") == printed
    assert pair.statistic == smaller


def test_effects_when_every_fold_wins():
    for count, saturated in ((8, ".891"), (9, ".889")):
        pair = compare_pair(*_folds_with(count, 0), "a", "b", "wilcoxon", comparisons=1)
        assert f"{pair.effect:.3f}".removeprefix("0") == saturated
        assert (pair.effect_name, pair.effect_size) == ("r", "large")
        assert pair.rank_biserial == -1
        assert pair.p_exact == pytest.approx(2 / 2**count)
        assert pair.low <= pair.median_difference <= pair.high < 0


def test_exact_p_is_scipys_without_ties_and_the_enumeration_with_them():
    rng = np.random.default_rng(3)
    for count in (5, 8, 9, 14):
        difference = rng.normal(0.3, 1, count)
        assert exact_p(difference) == pytest.approx(stats.wilcoxon(difference, method="exact").pvalue)
    tied = np.array([1.0, -1.0, 2.0, 2.0, -2.0, 3.0, 3.0, 0.0])
    ranks = stats.rankdata(np.abs(tied[:-1]))
    sums = np.array([ranks[np.array(signs) > 0].sum() for signs in product([-1, 1], repeat=7)])
    found = min(ranks[tied[:-1] > 0].sum(), ranks[tied[:-1] < 0].sum())
    assert exact_p(tied) == pytest.approx(2 * np.mean(sums <= found))
    assert exact_p(np.zeros(5)) == 1


def test_rank_biserial_by_hand():
    assert rank_biserial(np.array([1.0, -2.0, 3.0, -4.0])) == pytest.approx((4 - 6) / 10)
    assert rank_biserial(np.zeros(3)) == 0


def test_bootstrap_interval_is_reproducible_and_covers():
    truth, inside = 0.5, 0
    for seed in range(60):
        low, high = bootstrap_interval(np.random.default_rng(seed).normal(truth, 1, 25))
        inside += low <= truth <= high
    assert inside >= 52
    difference = np.random.default_rng(0).normal(0, 1, 9)
    assert bootstrap_interval(difference, 7) == bootstrap_interval(difference, 7)


def _study(skewed: bool, folds: int = 9) -> pd.DataFrame:
    """Four methods; ours is the best in each fold, a little or a lot."""
    rng = np.random.default_rng(1)
    level = stats.norm.ppf((np.arange(folds) + 0.5) / folds)
    if skewed:
        level[-1] = 40.0
    values = {name: 0.04 + 0.004 * level + rng.normal(0, 0.0005, folds) for name in ("CubeLearn", "PoseFormer", "HuPR")}
    ours = np.min(list(values.values()), axis=0) - rng.uniform(0.001, 0.005, folds)
    return pd.DataFrame(values | {"MAEPose": ours})


def test_skewed_folds_go_to_wilcoxon_as_in_the_paper():
    result = compare(_study(skewed=True), "MAEPose")
    assert result.friedman_p is not None
    assert result.friedman_p < 0.05
    assert min(result.shapiro_p.values()) < 0.05
    assert [pair.other for pair in result.pairs] == ["CubeLearn", "PoseFormer", "HuPR"]
    assert {f"{pair.p_bonferroni:.4f}" for pair in result.pairs} == {"0.0231"}
    table = result.table()
    assert list(table["test"]) == ["wilcoxon"] * 3
    assert (table["p_exact"] == 2 / 2**9).all()


def test_normal_folds_go_to_the_paired_t_test():
    values = _study(skewed=False)
    result = compare(values, "MAEPose")
    pair = result.pairs[0]
    found = stats.ttest_rel(values["MAEPose"], values["CubeLearn"])
    difference = values["MAEPose"] - values["CubeLearn"]
    assert (pair.test, pair.effect_name, pair.effect_size) == ("paired t", "d_z", "large")
    assert pair.p == pytest.approx(found.pvalue)
    assert pair.p_bonferroni == pytest.approx(3 * found.pvalue)
    assert pair.effect == pytest.approx(difference.mean() / difference.std())


def test_methods_that_are_alike_are_not_compared_in_pairs():
    values = pd.DataFrame(np.random.default_rng(4).normal(0.04, 0.01, (9, 4)), columns=list("abcd"))
    result = compare(values, "a")
    assert result.friedman_p is not None
    assert result.friedman_p > 0.05
    assert result.pairs == ()
    assert result.table().empty
    assert compare(pd.DataFrame(dict.fromkeys("abc", values["a"])), "a").friedman_p == 1


def test_two_methods_are_one_pair_without_friedman():
    result = compare(_study(skewed=True)[["MAEPose", "HuPR"]], "MAEPose")
    assert result.friedman_p is None
    assert result.pairs[0].p_bonferroni == result.pairs[0].p
    same = _study(skewed=True)[["HuPR"]].assign(copy=lambda table: table["HuPR"])
    assert (compare(same, "copy").pairs[0].p, compare(same, "copy").pairs[0].effect) == (1, 0)


def test_what_cannot_be_tested_is_said():
    values = _study(skewed=False)
    with pytest.raises(PipelineError, match="the methods are CubeLearn"):
        compare(values, "VideoMAE")
    with pytest.raises(PipelineError, match="nothing to compare"):
        compare(values[["MAEPose"]], "MAEPose")
    with pytest.raises(PipelineError, match="2 folds are too few"):
        compare(values[:2], "MAEPose")
    values.loc[3, "HuPR"] = np.nan
    with pytest.raises(PipelineError, match="HuPR has no value in some fold"):
        compare(values, "MAEPose")
