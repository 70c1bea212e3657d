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
from made_study import ERRORS

from models.contests import JUDGED_ON, Contest, head_contests, judge, main_contest, start_contests, verdict
from models.evaluation import METRES, Evaluation, folds_by_method
from models.statistics import compare
from models.table_grid import Block, Cell, Grid, Line, html, latex, markdown, tex
from models.table_rows import with_gains
from models.table_words import floor_warnings
from models.tables import Table, inside_table, main_table, study_tables, write_tables
from pipeline.errors import PipelineError


@pytest.fixture(scope="module")
def tables(evaluation: Evaluation) -> dict[str, Table]:
    return {table.name: table for table in study_tables(evaluation)}


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
        assert any(sentence.startswith("Simulated data (sim-") for sentence in table.says)
    real = replace(evaluation, simulated=dict.fromkeys(evaluation.simulated, False))
    assert not any("imulated" in sentence for table in study_tables(real) for sentence in table.says)


def test_who_meets_whom(evaluation: Evaluation):
    assert main_contest(evaluation) == Contest("", "MAEPose", ("CubeLearn",))
    assert start_contests(evaluation) == [Contest("maepose, head simcc", "MAEPose", ("MAEPose, random",))]
    assert head_contests(evaluation) == [Contest("maepose, pretrained", "MAEPose", ("MAEPose, MLP",))]


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


def test_a_split_inside_recordings_is_shown_as_a_warning(evaluation: Evaluation, tables: dict[str, Table]):
    table = tables["inside-split"]
    person, inside = (_row(table, "MAEPose", split=split)["mpjpe_norm"] for split in ("person", "inside"))
    assert inside < person
    claimed = f"it would have claimed {inside:.4f} for MAEPose"
    sentence = f"{claimed}, a person never seen costs {person:.4f} ({person / inside:.1f} times that)."
    assert any(sentence in said for said in table.says)
    assert "p" not in table.rows
    assert inside_table(replace(evaluation, values=evaluation.values[evaluation.values["split"].eq("person")])) is None


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
    assert len(first) == 3 * len(tables) + 2
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


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
