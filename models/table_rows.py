"""The numbers of a table: means over folds, whose is the best, and how much of the best rival's error ours saves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from models.contests import Contest
from models.evaluation import HIGH_IS_GOOD, Evaluation, fold_values

CELL = ["split", "trained_on", "test_set", "modality"]
KINDS_FIRST = ("baseline", "ours", "floor", "oracle")


def means_of(means: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """One row a method: folds, seeds, and of each measure its mean, sd and seed_sd."""
    chosen = means[means["metric"].isin(measures)]
    rows = (
        chosen.groupby([*CELL, "method"], sort=False).agg(folds=("folds", "min"), seeds=("seeds", "max")).reset_index()
    )
    for measure in measures:
        part = chosen[chosen["metric"].eq(measure)].set_index("method")
        for column, suffix in (("mean", ""), ("sd", "_sd"), ("seed_sd", "_seed_sd")):
            rows[f"{measure}{suffix}"] = rows["method"].map(part[column])
    return rows


def with_gains(rows: pd.DataFrame, contest: Contest, evaluation: Evaluation, measures: Sequence[str]) -> pd.DataFrame:
    """Kinds; of each measure whether it is the best, oracles left out, and our gain over the best rival in percent."""
    kinds = rows["method"].map(evaluation.methods["kind"])
    kinds = kinds.mask(rows["method"].isin(contest.rivals), "baseline")
    rows = rows.assign(kind=kinds)
    rows = rows.iloc[np.argsort(kinds.map(KINDS_FIRST.index).to_numpy(), kind="stable")]
    rows = in_order(rows, [*contest.networks, *evaluation.methods.index])
    judged, rivals = rows["kind"] != "oracle", rows["method"].isin(contest.rivals)
    gaining = rows["method"].isin((contest.ours, *contest.others))
    for measure in measures:
        high = measure in HIGH_IS_GOOD
        values = rows[measure]
        best = values[judged].max() if high else values[judged].min()
        rows[f"{measure}_best"] = judged & (values == best)
        rival = values[rivals].max() if high else values[rivals].min()
        gain = (values / rival - 1) if high else (1 - values / rival)
        rows[f"{measure}_gain_percent"] = (100 * gain).where(gaining & (measure != "explained_motion"))
    return rows


def in_order(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Baselines, ours, floors, oracles; among each as in `names`."""
    at = {name: number for number, name in reversed(list(enumerate(names)))}
    kinds = rows["kind"].map(KINDS_FIRST.index)
    return (
        rows.assign(_kind=kinds, _at=rows["method"].map(at))
        .sort_values(["_kind", "_at"])
        .drop(columns=["_kind", "_at"])
    )


def with_rise(rows: pd.DataFrame, evaluation: Evaluation) -> pd.DataFrame:
    """How much higher MPJPE is than on the data set trained on, percent, over the people tested on both."""
    folds = fold_values(evaluation.values)
    folds = folds[folds["metric"].eq("mpjpe_norm") & folds["split"].eq("person")]
    own = folds["trained_on"].eq(folds["test_set"])
    keys = ["trained_on", "modality", "method"]
    both = folds[~own].merge(folds[own], on=[*keys, "held_out"], suffixes=("", "_own"))
    mean = both.groupby(["test_set", *keys])[["value", "value_own"]].mean()
    rise = 100 * (mean["value"] / mean["value_own"] - 1)
    return rows.assign(rise_percent=rise.reindex(pd.MultiIndex.from_frame(rows[["test_set", *keys]])).to_numpy())
