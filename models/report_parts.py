"""What a study's report says besides its tables: findings and caveats in words, data cards, compute, tests."""

import re

import numpy as np
import pandas as pd

from models.contests import MODALITY_TITLES, main_contest, p_text
from models.evaluation import METRES, Evaluation, folds_by_method
from models.method_style import panels
from models.study import StudyConfig
from models.study_store import StudyResults
from models.table_grid import Block, Cell, Grid, Line, html
from models.table_layout import line_title
from models.table_words import floor_warnings
from models.tables import Table


def asked_in_words(config: StudyConfig) -> str:
    """One sentence."""
    rows, people = len(config.methods), len(config.people)
    sets = ", ".join(rule.title or name for name, rule in config.data_sets.items())
    return (
        f"{rows} methods on {sets}, reading {', '.join(config.modalities)}; {people} people, each held out of everything once; "
        f"seeds {', '.join(map(str, config.seeds))}; preset {config.preset}."
    )


def findings(evaluation: Evaluation) -> list[str]:
    """One sentence a data set and modality: ours against the best baseline; then the floors that beat networks."""
    said = []
    whole = main_contest(evaluation)
    for panel in panels(evaluation):
        there = panel.of(evaluation.values)
        known = set(there.loc[there["split"].eq("person"), "method"])
        contest = whole.among(known)
        ours, baselines = contest.ours, [name for name in contest.rivals if name in known]
        if ours not in known:
            continue
        names = [ours, *baselines]
        folds = folds_by_method(evaluation, "mpjpe_norm", panel.test_set, panel.modality, names, panel.trained_on)
        mean = folds.mean()
        if not baselines:
            said.append(f"{panel.title}: {ours} has an MPJPE of {mean[ours]:.4f}; the study has no baseline there.")
            continue
        best = str(mean[baselines].idxmin())
        gain = 100 * (1 - mean[ours] / mean[best])
        wins = int((folds[ours] < folds[best]).sum())
        word = "lower" if gain > 0 else "higher"
        said.append(
            f"{panel.title}: {ours} has an MPJPE of {mean[ours]:.4f}, {abs(gain):.1f} % {word} than the best baseline, "
            f"{best} ({mean[best]:.4f}); it is ahead in {wins} of {len(folds)} folds."
        )
    return said


def caveats(results: StudyResults, evaluation: Evaluation) -> list[str]:
    """What a reader must know, computed from the study."""
    said = []
    simulated = [evaluation.titles[name] for name, is_so in evaluation.simulated.items() if is_so]
    if simulated:
        said.append(
            f"{', '.join(simulated)}: seen by a simulated radar alone. What holds here may not hold on real recordings."
        )
    said.append(
        "MPJPE, PCK@.05 and root-centred error are in shares of the picture's width and height, not in metres; "
        "so, very probably, are the paper's."
    )
    unscaled = [evaluation.titles[name] for name, source in evaluation.scale_source.items() if source == "none"]
    if unscaled:
        said.append(f"{', '.join(unscaled)}: no scale was recorded for every fold, so nothing is given in metres.")
    elif set(METRES) & set(evaluation.values["metric"]):
        said.append(
            "Metres lie in the plane of the person's depth (shoulders and hips of each frame); they are not distances in space."
        )
    said += floor_warnings(evaluation) or ["No floor has a lower error than a network on any data set and modality."]
    people = len(results.config.people)
    if people < 6:
        said.append(f"{people} folds: no signed-rank test can find anything under 6, whatever the methods do.")
    if len(results.config.seeds) == 1:
        said.append(
            "One seed: what chance makes between two runs of the same method cannot be told from a difference of methods."
        )
    oracles = evaluation.of_kind("oracle")
    said.append(
        f"{' and '.join(name.replace('-', ' ') for name in oracles)} read the labels they are tested on: bounds, not methods."
    )
    said.append(
        "CubeLearn, PoseFormer and HuPR are written from their descriptions on our stem; none is the original authors' code."
    )
    if evaluation.values["split"].eq("inside").any():
        said.append("The table of splits inside recordings is a warning, not a result.")
    return said


def statistics_table(tables: tuple[Table, ...], evaluation: Evaluation) -> str:
    """Every tested pair of every table once, as HTML; empty where none was."""
    parts = [table.rows[table.rows["p"].notna()] for table in tables if "p" in table.rows]
    columns = ["trained_on", "test_set", "modality", "contest", "ours", "method"]
    pairs = pd.concat(parts).drop_duplicates(columns) if parts else pd.DataFrame()
    if pairs.empty:
        return ""
    keys = ["contest", "ours", "trained_on", "test_set", "modality"]
    blocks = []
    for (contest, ours, trained_on, test_set, modality), rows in pairs.groupby(keys, sort=False):
        where = evaluation.place(str(trained_on), str(test_set))
        title = " · ".join((where, MODALITY_TITLES[str(modality)], str(contest) or str(ours)))
        blocks.append(Block(title, tuple(_tested(evaluation, row) for _, row in rows.iterrows())))
    heads = (
        "test",
        "statistic",
        "p",
        "corrected p",
        "exact p",
        "effect",
        "rank-biserial",
        "median difference",
        "95 % interval",
    )
    return html(Grid("ours against", (("", len(heads)),), heads, tuple(blocks)))


def data_cards(results: StudyResults, evaluation: Evaluation) -> str:
    """A data set that is tested a column, as HTML."""
    cards = {evaluation.titles[name]: _card(results, evaluation, name) for name in evaluation.simulated}
    heads = tuple(cards)
    lines = [Line(key, tuple(Cell(card[key]) for card in cards.values())) for key in next(iter(cards.values()))]
    return html(Grid("", (("", len(heads)),), heads, (Block("", tuple(lines)),)))


def compute_table(results: StudyResults) -> str:
    """A row a method and modality: units, weights, and seconds, as HTML."""
    rows, seen = [], set()
    for making in results.makings.values():
        unit, before = making.unit, 0.0
        run = making.pretraining_run or making.unit.name
        if run not in seen:
            seen.add(run)
            before = making.pretraining_seconds
        rows.append((unit.row, unit.modality, making.parameters, making.seconds, before))
    table = pd.DataFrame(rows, columns=["row", "modality", "weights", "seconds", "pretraining"])
    grouped = table.groupby(["row", "modality"], sort=False).agg(
        units=("weights", "size"),
        weights=("weights", "max"),
        seconds=("seconds", "sum"),
        pretraining=("pretraining", "sum"),
    )
    lines = []
    for key, one in grouped.iterrows():
        name, modality = map(str, key)  # type: ignore[call-overload]
        units, weights = int(one["units"]), int(one["weights"])
        numbers = (f"{one['pretraining']:,.0f}", f"{one['seconds']:,.0f}", f"{one['seconds'] / units:,.1f}")
        cells = (str(units), f"{weights:,}" if weights else "–", *numbers)
        lines.append(Line(f"{name}, {'no radar' if modality == 'none' else modality}", tuple(map(Cell, cells))))
    total = table[["seconds", "pretraining"]].sum()
    sums = (str(len(table)), "", f"{total['pretraining']:,.0f}", f"{total['seconds']:,.0f}", "")
    lines.append(Line("all", tuple(map(Cell, sums)), "ours"))
    heads = ("units", "weights", "pre-training (s)", "fitting and predicting (s)", "per unit (s)")
    return html(Grid("method, modality", (("", len(heads)),), heads, (Block("", tuple(lines)),)))


def _tested(evaluation: Evaluation, row: pd.Series) -> Line:
    cells = (
        str(row["test"]), f"{row['statistic']:.2f}", p_text(row["p"]), p_text(row["p_bonferroni"]), p_text(row["p_exact"]),
        f"{row['effect_name']} = {row['effect']:.2f}, {row['effect_size']}", f"{row['rank_biserial']:.2f}",
        f"{row['median_difference']:.4f}", f"{row['low']:.4f} to {row['high']:.4f}",
    )  # fmt: skip
    return Line(line_title(evaluation, row["method"]), tuple(Cell(_minus(text)) for text in cells), row["kind"])


def _minus(text: str) -> str:
    return re.sub(r"-(?=\d)", "−", text)


def _card(results: StudyResults, evaluation: Evaluation, data_set: str) -> dict[str, str]:
    recordings = results.recordings[results.recordings["data_set"].eq(data_set)]
    truth = results.truth[results.truth["data_set"].eq(data_set)]
    labelled = truth[["recording", "frame"]].drop_duplicates()
    seconds = float((recordings["frames"] * recordings["period_s"]).sum())
    near, far = truth["range_m"].quantile([0.05, 0.95])
    waveforms = sorted(set(recordings["waveform"]) - {""})
    trained = data_set in results.config.trained_sets
    return {
        "data": "simulated" if evaluation.simulated[data_set] else "recorded",
        "used for": "training and testing" if trained else "testing alone (zero-shot)",
        "people": str(recordings["person"].nunique()),
        "actions": str(truth["action"].nunique()),
        "recordings": str(len(recordings)),
        "of these with others in view": str(int(recordings["others"].map(len).gt(0).sum())),
        "radar frames": f"{int(recordings['frames'].sum()):,}",
        "minutes": f"{seconds / 60:.1f}",
        "frames tested (the targets of clips that lie end to end)": f"{len(labelled):,}",
        "joints labelled in those": f"{100 * float((truth['confidence'] > 0).mean()):.1f} %",
        "scale of metres": evaluation.scale_source.get(data_set, "none"),
        "distance of people (5 to 95 %)": f"{near:.1f} to {far:.1f} m" if np.isfinite(near) else "unknown",
        "waveform": ", ".join(waveforms) or "unknown",
    }
