"""What is said under a table: that data are simulated, what was averaged, what was tested, and what a floor does better."""

from collections.abc import Sequence

import pandas as pd

from models.contests import MODALITY_TITLES, Contest
from models.evaluation import METRES, Evaluation, summary
from models.method_style import panels


def under_table(
    evaluation: Evaluation, rows: pd.DataFrame, contests: list[Contest], measures: Sequence[str], tested: list[str]
) -> tuple[str, ...]:
    """Sentences in order; `tested` are those of the tests."""
    simulated = [name for name in dict.fromkeys(rows["test_set"]) if evaluation.simulated.get(name)]
    said = []
    if simulated:
        named = ", ".join(evaluation.titles[name] for name in simulated)
        said.append(f"Simulated data ({named}): no physical radar was involved.")
    folds = "–".join(str(count) for count in sorted({int(rows["folds"].min()), int(rows["folds"].max())}))
    folds += " fold" if folds == "1" else " folds"
    seeds = int(rows.loc[rows["kind"].isin(("ours", "baseline")), "seeds"].max())
    said.append(
        f"Mean ± sd (ddof 1) over {folds}, each one person held out, of values averaged over {seeds} "
        f"seed{'s' if seeds != 1 else ''}; bold: best of its column and block, oracles left out."
    )
    if set(measures) & {"mpjpe_norm"}:
        said.append(
            "MPJPE, PCK@.05 and root-centred are shares of the picture's width and height, not metres; EV is explained motion."
        )
    if set(measures) & set(METRES):
        sources = {evaluation.scale_source[name] for name in rows["test_set"]}
        said.append(f"Metres lie in the plane of the person's depth; scale_source: {', '.join(sorted(sources))}.")
    elif "mpjpe_px" in measures:
        said.append("No scale was recorded for every fold, so nothing is given in metres.")
    if any(contest.rivals for contest in contests):
        rivals = "; ".join(dict.fromkeys(" / ".join(contest.rivals) for contest in contests if contest.rivals))
        said.append(f"Arrows: percent over the best of {rivals}, of that data set and modality.")
    else:
        said.append("The study has no baseline, so no improvement is given.")
    if rows["split"].eq("inside").any():
        return (*said, *_inside_claims(evaluation, rows))
    spread = _seed_spread(evaluation, rows)
    p = (
        f"p: {_whom(rows)} against the row, of mpjpe_norm, times the number of comparisons (Bonferroni); exact p, effects and "
        "intervals are in the CSV."
    )
    return (*said, *([spread] if spread else []), p, *dict.fromkeys(tested))


def _whom(rows: pd.DataFrame) -> str:
    """Whose row the others are tested against."""
    blocks = rows[["contest", "ours", "modality"]].drop_duplicates()
    if blocks["ours"].nunique() == 1:
        return str(blocks["ours"].iloc[0])
    if blocks["contest"].all():
        return "the row that its block is named after"
    of_each = blocks.groupby("ours", sort=False)["modality"].agg(list)
    return " / ".join(
        f"{name} ({', '.join(map(MODALITY_TITLES.__getitem__, there))})" for name, there in of_each.items()
    )


def _seed_spread(evaluation: Evaluation, rows: pd.DataFrame) -> str:
    if "mpjpe_norm_seed_sd" not in rows:
        return ""
    spread = rows[rows["seeds"] > 1].groupby("method", sort=False)["mpjpe_norm_seed_sd"].max().dropna()
    if spread.empty:
        return ""
    named = " / ".join(f"{method} {value:.4f}" for method, value in spread.items())
    return f"From seed to seed the mean MPJPE over folds varies by (sd, ddof 1, the largest of the table): {named}."


def _inside_claims(evaluation: Evaluation, rows: pd.DataFrame) -> tuple[str, ...]:
    said = [
        "Split inside recordings, a network is tested on people and moments like those it was trained on; that is no result.",
        "Both columns are of the same people, but not of the same frames: whole recordings, and the last fifth of each.",
    ]
    ours = rows[rows["method"].eq(rows["ours"])]
    for (test_set, modality), cell in ours.groupby(["test_set", "modality"], sort=False):
        error = cell.set_index("split")["mpjpe_norm"]
        if {"person", "inside"} <= set(error.index):
            person, inside = error["person"], error["inside"]
            where = f"{evaluation.titles[str(test_set)]}, {MODALITY_TITLES[str(modality)]}"
            said.append(
                f"{where}: it would have claimed {inside:.4f} for {cell['method'].iloc[0]}, a person never seen costs "
                f"{person:.4f} ({person / inside:.2f} times that)."
            )
    return tuple(said)


def floor_warnings(evaluation: Evaluation) -> tuple[str, ...]:
    """One sentence for each data set and modality where a floor's error is below that of a network."""
    means = summary(evaluation.values)
    means = means[means["metric"].eq("mpjpe_norm") & means["split"].eq("person")]
    floors, networks = evaluation.of_kind("floor"), evaluation.of_kind("ours", "baseline")
    said = []
    for panel in panels(evaluation):
        error = panel.of(means).set_index("method")["mean"]
        there = error[[name for name in floors if name in error.index]]
        if there.empty:
            continue
        best = str(there.idxmin())
        beaten = [name for name in networks if name in error.index and error[name] > there[best]]
        if beaten:
            them = " / ".join(f"{name} ({error[name]:.4f})" for name in beaten)
            said.append(
                f"{panel.title}: {best.replace('-', ' ')}, which is no network, has a lower MPJPE ({there[best]:.4f}) "
                f"than {them}."
            )
    return tuple(said)
