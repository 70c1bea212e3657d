"""Tables of a study: gains, bests and tests by hand, sentences where there is nothing to test, and four languages."""

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_study import ERRORS, made_study, small_config

from models.contests import JUDGED_ON, Contest, head_contests, judge, main_contest, start_contests, verdict
from models.evaluation import METRES, Evaluation, evaluate, fold_values, folds_by_method
from models.report_parts import findings, statistics_table
from models.statistics import compare
from models.study import StudyMethod
from models.study_store import read_results
from models.table_grid import Block, Cell, Grid, Line, html, latex, markdown, tex
from models.table_rows import with_gains
from models.table_words import floor_warnings
from models.tables import Table, inside_table, main_table, study_tables, write_tables
from pipeline.errors import PipelineError


@pytest.fixture(scope="module")
def tables(evaluation: Evaluation) -> dict[str, Table]:
    return {table.name: table for table in study_tables(evaluation)}


PAPERS = {"pose.decode": "argmax"}
ASKED: dict[str, tuple[str, str, dict[str, object]]] = {
    "plus": ("maepose-plus", "pretrained", {}),
    "MAEPose": ("maepose", "pretrained", PAPERS),
    "MAEPose MLP": ("maepose", "pretrained", PAPERS | {"pose.head": "mlp"}),
    "MAEPose random GCN": ("maepose", "random", PAPERS | {"pose.head": "gcn"}),
    "MAEPose between cells": ("maepose", "pretrained", {}),
    "Half": ("maepose", "pretrained", PAPERS | {"masked.mask_ratio": 0.5}),
    "Half random": ("maepose", "random", PAPERS | {"masked.mask_ratio": 0.5}),
    "Passersby": ("maepose", "pretrained", PAPERS | {"finetuning.augment.passersby": 0.5}),
    "Passersby random": ("maepose", "random", PAPERS | {"finetuning.augment.passersby": 0.5}),
    "CubeLearn": ("cubelearn", "random", {}),
}
IN_BOTH = ("MAEPose", "CubeLearn", "Half random")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Rows that differ in all the ways there are: ours reads Dual alone, one random row reads more than its pre-trained one."""
    methods = tuple(
        StudyMethod(
            name=name, method=method, start=start, set=changes, modalities=("rd", "dual") if name in IN_BOTH else ("dual",)
        )
        for name, (method, start, changes) in ASKED.items()
    )  # fmt: skip
    config = small_config(
        methods=methods, modalities=("rd", "dual"), ours="plus", seeds=(1,), zero_shot=(), inside_split=False
    )
    config = config.model_copy(update={"data_sets": {"move": config.data_sets["move"]}})
    errors = ERRORS | {name: 0.03 + 0.002 * number for number, name in enumerate(ASKED)}
    return evaluate(read_results(made_study(tmp_path_factory.mktemp("mixed"), config, frames=4, errors=errors)))


def _row(table: Table, method: str, **where: str) -> pd.Series:
    rows = table.rows[table.rows["method"].eq(method)]
    for column, value in where.items():
        rows = rows[rows[column].eq(value)]
    assert len(rows) == 1
    return rows.iloc[0]


def _only(evaluation: Evaluation, people: int) -> Evaluation:
    """The same with fewer folds."""
    kept = [f"p{number}" for number in range(1, people + 1)]
    return replace(evaluation, values=evaluation.values[evaluation.values["held_out"].isin(kept)])


def test_gains_of_the_papers_table_2(evaluation: Evaluation):
    """mmTryOn, RD: MPJPE .0344, .0344, .0365 against .0268 is 22.1 %; PCK 82.0, 83.3, 79.9 against 91.1 is 9.4 %."""
    names = ["CubeLearn", "MAEPose, random", "MAEPose, MLP", "MAEPose"]
    rows = pd.DataFrame(
        {"method": names, "mpjpe_norm": [0.0344, 0.0344, 0.0365, 0.0268], "pck_norm@0.05": [0.82, 0.833, 0.799, 0.911]}
    )
    contest = Contest("", "MAEPose", ("CubeLearn", "MAEPose, random", "MAEPose, MLP"))
    found = with_gains(rows, contest, evaluation, ["mpjpe_norm", "pck_norm@0.05"]).set_index("method")
    assert round(found.at["MAEPose", "mpjpe_norm_gain_percent"], 1) == 22.1
    assert round(found.at["MAEPose", "pck_norm@0.05_gain_percent"], 1) == 9.4
    assert found["mpjpe_norm_gain_percent"].notna().sum() == 1
    assert found.index[found["mpjpe_norm_best"]].tolist() == ["MAEPose"]


def test_the_best_may_be_a_floor_but_no_oracle(evaluation: Evaluation):
    rows = pd.DataFrame({"method": ["MAEPose", "ridge", "nearest-pose"], "mpjpe_norm": [0.03, 0.02, 0.01]})
    found = with_gains(rows, Contest("", "MAEPose", ()), evaluation, ["mpjpe_norm"]).set_index("method")
    assert found["mpjpe_norm_best"].to_dict() == {"MAEPose": False, "ridge": True, "nearest-pose": False}


def test_means_and_gains_are_of_folds(evaluation: Evaluation, tables: dict[str, Table]):
    names = ["CubeLearn", "MAEPose"]
    folds = folds_by_method(evaluation, JUDGED_ON, "move", "dual", names)
    ours = _row(tables["table2"], "MAEPose")
    assert ours["mpjpe_norm"] == pytest.approx(folds["MAEPose"].mean())
    assert ours["mpjpe_norm_sd"] == pytest.approx(folds["MAEPose"].std(ddof=1))
    assert ours["mpjpe_norm_gain_percent"] == pytest.approx(
        100 * (1 - folds["MAEPose"].mean() / folds["CubeLearn"].mean())
    )
    assert (ours["folds"], ours["seeds"]) == (3, 2)


def test_every_table_has_floors_and_oracles_and_says_simulated(evaluation: Evaluation, tables: dict[str, Table]):
    assert list(tables) == ["table2", "table2-measures", "table3", "table4", "table5", "inside-split"]
    for table in tables.values():
        assert {"mean-pose", "ridge", "neighbours", "own-mean-pose", "nearest-pose"} <= set(table.rows["method"])
        assert re.search(
            r"^Simulated data \(sim-.+\): no physical radar was involved\.$", "\n".join(table.says), re.MULTILINE
        )
    real = replace(evaluation, simulated=dict.fromkeys(evaluation.simulated, False))
    assert not any("imulated" in sentence for table in study_tables(real) for sentence in table.says)


def test_who_meets_whom(evaluation: Evaluation):
    assert main_contest(evaluation) == Contest("", "MAEPose", ("CubeLearn",))
    assert start_contests(evaluation) == [Contest("MAEPose: maepose, head simcc", "MAEPose", ("MAEPose, random",))]
    assert head_contests(evaluation) == [Contest("MAEPose: maepose, pretrained", "MAEPose", ("MAEPose, MLP",))]
    other = replace(evaluation, ours="MAEPose, MLP")
    assert head_contests(other) == [Contest("MAEPose, MLP: maepose, pretrained", "MAEPose, MLP", ("MAEPose",))]


def test_no_row_is_in_no_table_and_rows_of_another_table_are_not_in_the_first(mixed: Evaluation):
    """Half random reads RD too, where no pre-trained row meets it."""
    others = ("MAEPose", "MAEPose random GCN", "MAEPose between cells", "Half", "Half random", "Passersby")
    assert main_contest(mixed) == Contest("", "plus", ("CubeLearn",), others)
    shown = {table.name: set(table.rows["method"]) & set(ASKED) for table in study_tables(mixed)}
    assert set.union(*shown.values()) == set(ASKED)
    assert shown["table4"] == {"Half", "Half random", "Passersby", "Passersby random"}
    assert shown["table5"] == {"MAEPose", "MAEPose MLP"}


def test_a_row_that_reads_its_lines_otherwise_is_not_called_the_same_but_for_its_start(mixed: Evaluation):
    """The random row reads between the cells, so pre-training alone would not explain a difference."""
    methods = mixed.methods.copy()
    methods.at["MAEPose between cells", "start"] = "random"
    assert [contest.ours for contest in start_contests(replace(mixed, methods=methods))] == ["Half", "Passersby"]


def test_two_pairs_of_one_network_are_two_blocks(mixed: Evaluation):
    table = {table.name: table for table in study_tables(mixed)}["table4"]
    titles = ["sim-move · Dual · Half: maepose, head simcc", "sim-move · Dual · Passersby: maepose, head simcc"]
    assert [block.title for block in table.grid.blocks] == titles
    assert [line.name for line in table.grid.blocks[1].lines][:2] == ["Passersby random", "Passersby"]
    assert any(said.startswith("p: the row that its block is named after against the row, of ") for said in table.says)
    for title in titles:
        assert f">{title}</th>" in statistics_table((table,), mixed)


def test_ours_may_be_another_row_than_the_one_whose_start_and_head_are_looked_at(mixed: Evaluation):
    """Ours is tested where it was run; where it was not, the first other row of ours is. The table says which."""
    table = main_table(mixed)
    assert table is not None
    ours = table.rows.groupby("modality")["ours"].unique().map(list).to_dict()
    assert ours == {"dual": ["plus"], "rd": ["MAEPose"]}
    expected = {}
    for others in (["Half random", "CubeLearn"], mixed.of_kind("floor")):
        found = compare(folds_by_method(mixed, JUDGED_ON, "move", "rd", ["MAEPose", *others]), "MAEPose")
        expected |= {pair.other: pair.p_bonferroni for pair in found.pairs}
    rd = table.rows[table.rows["modality"].eq("rd") & table.rows["p"].notna()].set_index("method")["p_bonferroni"]
    assert expected
    assert rd.to_dict() == pytest.approx(expected)
    assert any(said.startswith("p: MAEPose (RD) / plus (Dual) against the row, ") for said in table.says)
    assert [said.split(" has ")[0] for said in findings(mixed)] == ["sim-move, RD: MAEPose", "sim-move, Dual: plus"]


def test_the_table_says_how_many_of_how_many_people_were_held_out(evaluation: Evaluation, tables: dict[str, Table]):
    assert tables["table2"].title == "Methods on each data set and modality, each of 3 people held out once"
    more = main_table(replace(evaluation, people=("p1", "p2", "p3", "p4", "p5")))
    assert more is not None
    assert more.title == "Methods on each data set and modality, each of 3 (of 5) people held out once"


def test_p_says_whose_row_it_is_of(tables: dict[str, Table]):
    for name in ("table2", "table3", "table4", "table5"):
        assert any(said.startswith("p: MAEPose against the row, of mpjpe_norm") for said in tables[name].says)


def test_p_is_that_of_the_statistics(evaluation: Evaluation, tables: dict[str, Table]):
    names = ["MAEPose", "mean-pose", "ridge", "neighbours"]
    folds = folds_by_method(evaluation, JUDGED_ON, "bystander", "dual", names, "move")
    found = verdict(evaluation, main_contest(evaluation), "bystander", "dual", "move")
    expected = {pair.other: pair for pair in compare(folds, "MAEPose").pairs}
    floors = found.pairs[found.pairs["family"].eq("floors")].set_index("other")
    assert list(floors.index) == list(expected)
    for name, pair in expected.items():
        row = _row(tables["table3"], name)
        assert (row["p_bonferroni"], row["p_exact"], row["low"]) == (pair.p_bonferroni, pair.p_exact, pair.low)
    assert "cannot fall under 0.250" in " ".join(tables["table3"].says)  # three folds: 2 / 2^3


def test_fewer_folds_than_a_test_needs_are_a_sentence_in_the_table_and_an_error_when_asked(evaluation: Evaluation):
    few = _only(evaluation, 2)
    table = main_table(few)
    assert table is not None
    assert any("not tested. 2 folds are too few to test on" in sentence for sentence in table.says)
    assert table.rows["p"].isna().all()
    with pytest.raises(PipelineError, match="2 folds are too few to test on"):
        judge(few, main_contest(few), "move", "dual")


def test_a_fold_that_lacks_a_method_is_not_tested(evaluation: Evaluation):
    values = evaluation.values
    holed = replace(evaluation, values=values[~(values["method"].eq("CubeLearn") & values["held_out"].eq("p1"))])
    with pytest.raises(PipelineError, match="CubeLearn has no value in some fold"):
        judge(holed, main_contest(holed), "move", "dual")


def test_metres_stand_only_where_a_scale_was_recorded(evaluation: Evaluation, tables: dict[str, Table]):
    assert "mpjpe_plane_m" in tables["table2-measures"].rows
    assert "Metres lie in the plane of the person's depth; scale_source: simulator." in " ".join(
        tables["table2-measures"].says
    )
    unscaled = replace(evaluation, scale_source={"move": "none", "bystander": "none"})
    without = {table.name: table for table in study_tables(unscaled)}["table2-measures"]
    assert "mpjpe_px" in without.rows
    assert "mpjpe_plane_m" not in without.rows
    assert "No scale was recorded for every fold, so nothing is given in metres." in without.says
    with pytest.raises(PipelineError, match=r"No scale was recorded .* cannot be given in metres"):
        main_table(unscaled, METRES)


def test_zero_shot_says_how_much_the_error_rises(evaluation: Evaluation, tables: dict[str, Table]):
    clean = folds_by_method(evaluation, JUDGED_ON, "move", "dual", ["MAEPose"])["MAEPose"].mean()
    worse = folds_by_method(evaluation, JUDGED_ON, "bystander", "dual", ["MAEPose"], "move")["MAEPose"].mean()
    assert _row(tables["table3"], "MAEPose")["rise_percent"] == pytest.approx(100 * (worse / clean - 1))
    assert worse > clean


def test_a_rise_is_of_the_people_who_are_in_both_data_sets(evaluation: Evaluation):
    values = evaluation.values
    gone = values["test_set"].eq("bystander") & values["held_out"].eq("p3")
    table = {table.name: table for table in study_tables(replace(evaluation, values=values[~gone]))}["table3"]
    clean = folds_by_method(evaluation, JUDGED_ON, "move", "dual", ["MAEPose"])["MAEPose"]
    worse = folds_by_method(evaluation, JUDGED_ON, "bystander", "dual", ["MAEPose"], "move")["MAEPose"]
    both = ["p1", "p2"]
    assert clean[both].mean() != pytest.approx(clean.mean(), rel=1e-3)
    assert _row(table, "MAEPose")["rise_percent"] == pytest.approx(100 * (worse[both].mean() / clean[both].mean() - 1))


def test_a_split_inside_recordings_is_shown_as_a_warning(evaluation: Evaluation, tables: dict[str, Table]):
    table = tables["inside-split"]
    person, inside = (_row(table, "MAEPose", split=split)["mpjpe_norm"] for split in ("person", "inside"))
    assert inside < person
    claimed = f"it would have claimed {inside:.4f} for MAEPose"
    sentence = f"{claimed}, a person never seen costs {person:.4f} ({person / inside:.2f} times that)."
    assert any(sentence in said for said in table.says)
    assert any("not of the same frames" in said for said in table.says)
    assert "p" not in table.rows
    assert inside_table(replace(evaluation, values=evaluation.values[evaluation.values["split"].eq("person")])) is None


def test_a_split_inside_recordings_is_of_the_people_who_were_held_out(evaluation: Evaluation):
    values = evaluation.values
    never = values["split"].eq("person") & values["held_out"].eq("p3")
    table = inside_table(replace(evaluation, values=values[~never]))
    assert table is not None
    folds = fold_values(values[values["split"].eq("inside") & values["metric"].eq(JUDGED_ON)])
    ours = folds[folds["method"].eq("MAEPose") & folds["held_out"].isin(["p1", "p2"])]["value"]
    assert len(ours) == 2
    assert _row(table, "MAEPose", split="inside")["mpjpe_norm"] == pytest.approx(ours.mean())
    assert set(table.rows["folds"]) == {2}


def test_floors_that_beat_networks_are_pointed_out(evaluation: Evaluation, tmp_path: Path):
    assert floor_warnings(evaluation) == ()
    values = evaluation.values.copy()
    best = values["method"].eq("ridge") & values["metric"].eq("mpjpe_norm") & values["test_set"].eq("move")
    values.loc[best, "value"] = 0.001
    said = floor_warnings(replace(evaluation, values=values))
    assert len(said) == 1
    assert said[0].startswith("sim-move, Dual: ridge, which is no network, has a lower MPJPE (0.0010) than MAEPose (")
    assert all(name in said[0] for name in ("CubeLearn", "MAEPose, random", "MAEPose, MLP"))


def test_the_same_study_writes_the_same_bytes(evaluation: Evaluation, tables: dict[str, Table], tmp_path: Path):
    first = write_tables(tmp_path / "a", tables.values(), evaluation)
    second = write_tables(tmp_path / "b", study_tables(evaluation), evaluation)
    assert len(first) == 3 * len(tables) + 3
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_table_that_the_study_has_no_rows_for_any_more_goes(
    evaluation: Evaluation, tables: dict[str, Table], tmp_path: Path
):
    write_tables(tmp_path, tables.values(), evaluation)
    (tmp_path / "mine.md").write_text("stays")
    kept = [table for name, table in tables.items() if name not in ("table5", "inside-split")]
    written = write_tables(tmp_path, kept, evaluation)
    assert sorted(tmp_path.iterdir()) == sorted([*written, tmp_path / "mine.md"])


def test_csv_gives_the_numbers_back(tables: dict[str, Table]):
    for table in tables.values():
        again = pd.read_csv(io.StringIO(table.to_csv()), keep_default_na=False, na_values=[""])
        assert again["mpjpe_px" if "measures" in table.name else "mpjpe_norm"].to_numpy() == pytest.approx(
            table.rows["mpjpe_px" if "measures" in table.name else "mpjpe_norm"].to_numpy(), rel=1e-5
        )
    assert "\r" not in tables["table2"].to_csv()
    assert len(next(csv.reader(io.StringIO(tables["table2"].to_csv())))) == len(tables["table2"].rows.columns)


def test_markdown_has_as_many_cells_in_every_line(tables: dict[str, Table]):
    for table in tables.values():
        lines = [line for line in table.to_markdown().splitlines() if line.startswith("|")]
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert counts == {len(table.grid.columns) + 2}
        assert len(lines) > 8
    ours = next(line for line in tables["table2"].to_markdown().splitlines() if line.startswith("| MAEPose (ours)"))
    assert re.search(r"\*\*0\.0\d{3} ± 0\.\d{4}\*\* \(↓\d+\.\d %\)", ours)


STRANGE = "50 % & a_b #1 {x} ~y^2 $z$ \\w <0.1> | χ² ±"


def test_every_language_prints_text_as_it_is():
    grid = Grid("m", (("", 1),), (STRANGE,), (Block(STRANGE, (Line(STRANGE, (Cell(STRANGE, "↓1 %", best=True),)),)),))
    assert tex("50 % & a_b") == r"50 \% \& a\_b"
    assert html(grid).count("50 % &amp; a_b #1 {x} ~y^2 $z$ \\w &lt;0.1&gt; | χ² ±") == 4
    assert r"a\_b \#1" in markdown(grid, "t", ())
    body = latex(grid, "t", (STRANGE,), "x")
    assert body.count(r"\textbackslash{}w") == 5
    assert not re.search(r"(?<!\\)#", body)


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="NO LATEX: that tables compile with booktabs is untested here"
)
def test_latex_compiles(tables: dict[str, Table], tmp_path: Path):
    strange = Grid(
        "m", ((STRANGE, 1),), (STRANGE,), (Block(STRANGE, (Line(STRANGE, (Cell(STRANGE, "↓1 %", best=True),)),)),)
    )
    texts = [table.to_latex() for table in tables.values()] + [latex(strange, STRANGE, (STRANGE,), "strange")]
    head = (
        r"\documentclass[twocolumn]{article}\usepackage[utf8]{inputenc}\usepackage{booktabs,graphicx}\begin{document}"
    )
    (tmp_path / "all.tex").write_text("\n".join([head, *texts, r"\end{document}"]))
    made = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout[-800:].decode(errors="replace")
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


def test_a_study_of_ours_alone_gives_no_improvement(evaluation: Evaluation):
    methods = evaluation.methods.drop(index="CubeLearn")
    alone = replace(evaluation, methods=methods, values=evaluation.values[evaluation.values["method"].ne("CubeLearn")])
    table = main_table(alone)
    assert table is not None
    assert table.rows["mpjpe_norm_gain_percent"].isna().all()
    assert "The study has no baseline, so no improvement is given." in table.says


def test_made_errors_come_out_in_their_order(tables: dict[str, Table]):
    """The made-up rows are wrong by known amounts; the table ranks them so."""
    rows = tables["table5"].rows.set_index("method")["mpjpe_norm"]
    names = ["nearest-pose", "MAEPose", "MAEPose, MLP", "ridge", "neighbours"]
    assert list(rows[names].sort_values().index) == names == sorted(names, key=ERRORS.__getitem__)
    assert np.isfinite(rows).all()
