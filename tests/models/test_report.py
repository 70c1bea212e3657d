"""The report: it says what must be said, loads nothing, and opens from disk in a real browser with all it holds."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Page, browser_page, needs_browser
from PIL import Image

from models.evaluation import Evaluation
from models.radar_charts import draw_actions
from models.report import report_html, write_report
from models.report_parts import caveats, compute_table, data_cards, findings
from models.study_curves import draw_seeds
from models.study_store import StudyResults
from models.tables import Table, study_tables
from pipeline.errors import PipelineError


@pytest.fixture(scope="module")
def tables(evaluation: Evaluation) -> tuple[Table, ...]:
    return study_tables(evaluation)


@pytest.fixture(scope="module")
def figures(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two of the figures: all of them take seconds, and are drawn in `test_study_figures`."""
    folder = tmp_path_factory.mktemp("figures")
    drawn = {
        "Error by action": draw_actions(folder / "a.png", evaluation),
        "Folds & seeds": draw_seeds(folder / "s.png", evaluation),
    }
    return {title: path for title, path in drawn.items() if path is not None}


@pytest.fixture(scope="module")
def titled(results: StudyResults) -> StudyResults:
    return replace(results, config=results.config.model_copy(update={"title": "Odd <names> & signs"}))


@pytest.fixture(scope="module")
def report(titled: StudyResults, evaluation: Evaluation, tables: tuple[Table, ...], figures: dict[str, Path]) -> Path:
    return write_report(titled, evaluation, tables, figures)


def test_it_holds_every_part_and_loads_nothing(
    report: Path, results: StudyResults, tables: tuple[Table, ...], figures: dict[str, Path]
):
    text = report.read_text()
    assert report == results.folder / "report.html"
    assert "Odd &lt;names&gt; &amp; signs" in text
    assert "Simulated: no physical radar was involved in sim-move, sim-bystander." in text
    for table in tables:
        assert table.title in text
        assert table.to_html() in text
    assert text.count("data:image/png;base64,") == len(figures) == 2
    assert "schema_version" not in text.split("<pre>")[0]
    assert "pose.head: mlp" in text  # what was asked, as it was asked
    assert "maepose study study.yaml\nmaepose evaluate --study made</pre>" in text
    addresses = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]{1,30})|url\(([^)]{1,30})|@import""", text)
    assert {one[:5] for pair in addresses for one in pair if one} == {
        "data:",
        *(f"#{a}" for a in ("foun", "cave", "tabl", "stat", "figu", "data", "comp", "aske", "agai")),
    }
    assert "<script" not in text


def test_the_same_study_makes_the_same_report(
    report: Path, titled: StudyResults, evaluation: Evaluation, tables: tuple[Table, ...], figures: dict[str, Path]
):
    assert report_html(titled, evaluation, tables, figures) == report.read_text()


def test_findings_are_computed(evaluation: Evaluation):
    values = evaluation.values.copy()
    error = values["metric"].eq("mpjpe_norm") & values["test_set"].eq("move") & values["split"].eq("person")
    values.loc[error & values["method"].eq("MAEPose"), "value"] = 0.03
    values.loc[error & values["method"].eq("CubeLearn"), "value"] = 0.024
    values.loc[error & values["method"].eq("CubeLearn") & values["held_out"].eq("p1"), "value"] = 0.027
    said = findings(replace(evaluation, values=values))
    assert said[0] == (
        "sim-move, Dual: MAEPose has an MPJPE of 0.0300, 20.0 % higher than the best baseline, CubeLearn (0.0250); "
        "it is ahead in 0 of 3 folds."
    )
    assert said[1].startswith("sim-move → sim-bystander, Dual: MAEPose has an MPJPE of ")
    alone = replace(evaluation, methods=evaluation.methods.drop(index="CubeLearn"))
    assert findings(alone)[0].endswith("the study has no baseline there.")


def test_caveats_say_what_is_so(results: StudyResults, evaluation: Evaluation):
    said = " ".join(caveats(results, evaluation))
    assert "sim-move, sim-bystander: seen by a simulated radar alone." in said
    assert "real person" not in said
    assert "3 folds: no signed-rank test can find anything under 6" in said
    assert "No floor has a lower error than a network on any data set and modality." in said
    assert "One seed" not in said
    values = evaluation.values.copy()
    values.loc[values["method"].eq("ridge") & values["metric"].eq("mpjpe_norm"), "value"] = 0.001
    changed = replace(
        evaluation, values=values, simulated=dict.fromkeys(evaluation.simulated, False),
        scale_source={"move": "depth", "bystander": "none"},
    )  # fmt: skip
    other = " ".join(caveats(results, changed))
    assert "imulated" not in other
    assert "ridge, which is no network, has a lower MPJPE" in other
    assert "sim-bystander: no scale was recorded for every fold" in other


def test_data_and_compute_are_summed(results: StudyResults, evaluation: Evaluation):
    card = dict(re.findall(r'<th scope="row">([^<]+)</th><td>([^<]+)</td>', data_cards(results, evaluation)))
    assert (card["people"], card["recordings"], card["actions"]) == ("3", "12", "4")
    assert card["radar frames"] == f"{12 * 34}"
    assert card["data"] == "simulated"
    assert card["waveform"] == "unknown"
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th>(.+?)</tr>', compute_table(results)))
    assert re.findall(r"<td>([^<]*)</td>", rows["MAEPose, dual"]) == ["8", "1,200,000", "720", "480", "60.0"]
    assert re.findall(r"<td>([^<]*)</td>", rows["mean-pose, no radar"]) == ["4", "–", "0", "8", "2.0"]


def test_a_figure_that_is_gone_is_named(
    results: StudyResults, evaluation: Evaluation, tables: tuple[Table, ...], tmp_path: Path
):
    with pytest.raises(PipelineError, match=r"lost\.png cannot be read"):
        report_html(results, evaluation, tables, {"Lost": tmp_path / "lost.png"})


@pytest.fixture(scope="module")
def page(report: Path) -> Iterator[Page]:
    with browser_page() as opened:
        opened.size(1280, 1000)
        opened.open(report.as_uri())
        yield opened


@needs_browser
def test_it_opens_from_disk_without_a_word_and_asks_the_network_for_nothing(page: Page, report: Path):
    assert page.said == []
    assert page.asked[0] == report.as_uri()
    assert len(page.asked) == 3
    assert all(address.startswith("data:image/png;base64,") for address in page.asked[1:])


@needs_browser
def test_every_picture_and_table_is_there_to_see(page: Page, tables: tuple[Table, ...], figures: dict[str, Path]):
    pictures = page.value(
        "[...document.images].map(one => [one.alt, one.naturalWidth, one.getBoundingClientRect().width])"
    )
    assert [name for name, _, _ in pictures] == list(figures)
    assert all(natural > 300 and 300 < shown <= 1280 for _, natural, shown in pictures)
    shown = page.value(
        "[...document.querySelectorAll('table')].map(one => [one.rows.length, one.getBoundingClientRect().height])"
    )
    assert len(shown) == len(tables) + 3  # tests, data, compute
    assert all(rows > 3 and height > 15 * rows for rows, height in shown)


@needs_browser
@pytest.mark.parametrize("width", [420, 1280])
def test_the_page_itself_never_scrolls_sideways(page: Page, width: int):
    page.size(width, 900)
    assert page.value("document.documentElement.scrollWidth") <= width


@needs_browser
def test_dark_and_light_are_told_apart(page: Page, tmp_path: Path):
    """Seen in a picture of the window: the ground is dark in one, white in the other, and the words are not its colour."""
    brightness = {}
    for dark in (False, True):
        page.size(1280, 800, dark=dark)
        page.screenshot(tmp_path / "seen.png")
        with Image.open(tmp_path / "seen.png") as image:
            brightness[dark] = np.asarray(image.convert("L")).astype(float)
    assert np.median(brightness[False]) > 240
    assert np.median(brightness[True]) < 40
    assert min(np.ptp(one) for one in brightness.values()) > 150


@needs_browser
def test_it_prints_on_paper(page: Page):
    page.size(1280, 1000)
    printed = page.pdf()
    assert printed.startswith(b"%PDF")
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 40
