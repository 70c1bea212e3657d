"""A study's report: one HTML file with tables, tests, figures, data, compute and caveats; it loads nothing from anywhere."""

import base64
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

from models.evaluation import Evaluation
from models.report_parts import asked_in_words, caveats, compute_table, data_cards, findings, statistics_table
from models.study_store import StudyResults
from models.tables import Table
from pipeline.errors import PipelineError
from pipeline.files import write_atomic


def write_report(
    results: StudyResults, evaluation: Evaluation, tables: tuple[Table, ...], figures: Mapping[str, Path]
) -> Path:
    """Write `report.html` into the study's folder; the same results write the same bytes. Returns the file.

    Raises PipelineError when a figure cannot be read or the disk does not take the report.
    """
    path = results.folder / "report.html"
    text = report_html(results, evaluation, tables, figures)
    try:
        write_atomic(path, text)
    except OSError as error:
        raise PipelineError(
            f"{path} cannot be written ({error.strerror}); make room or choose another root."
        ) from error
    return path


def report_html(
    results: StudyResults, evaluation: Evaluation, tables: tuple[Table, ...], figures: Mapping[str, Path]
) -> str:
    """The file's text; `figures` are PNG files by title."""
    template = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True).from_string(
        (files("models") / "templates" / "report.html").read_text()
    )
    config = results.config
    simulated = [evaluation.titles[name] for name, is_so in evaluation.simulated.items() if is_so]
    return template.render(
        title=config.title or config.name,
        config=config,
        asked=asked_in_words(config),
        simulated=", ".join(simulated),
        found=findings(evaluation),
        caveats=caveats(results, evaluation),
        tables=tables,
        statistics=statistics_table(tables, evaluation),
        figures=[_inlined(title, path) for title, path in figures.items()],
        data=data_cards(results, evaluation),
        compute=compute_table(results),
        study=(results.folder / "study.yaml").read_text(),
    )


def _inlined(title: str, path: Path) -> dict[str, Any]:
    try:
        with Image.open(path) as image:
            width, height = image.size
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError as error:
        raise PipelineError(f"The figure {path} cannot be read ({error}); evaluate the study again.") from error
    return {"title": title, "data": data, "width": width, "height": height}
