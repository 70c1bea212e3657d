"""Studies by file, folder or name: running what is missing, and making tables of what is there. No Prefect in here."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.address import PROJECT
from flows.asked_paths import path_inside
from models.evaluation import Evaluation, evaluate
from models.metrics import pose_errors
from models.report import write_report
from models.study import StudyConfig, read_study
from models.study_figures import draw_figures
from models.study_store import StudyResults, read_predictions, read_results, read_truth
from models.study_units import Unit, study_folder
from models.tables import Table, study_tables, write_tables
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS


def study_path(root: Path, study: str) -> Path:
    """The file that `study` means: a path (from here, from the data root, from the project), or the name of one that was begun.

    A folder means the study.yaml in it. Raises PipelineError where there is none.
    """
    begun = root / "experiments" / study
    for path in (Path(study).expanduser(), root / study, PROJECT / study, begun):
        found = path / "study.yaml" if path.is_dir() else path
        if found.is_file():
            return found.absolute()
    raise PipelineError(
        f"There is no study {study!r}: name a YAML file, or one that was begun under {root / 'experiments'}."
    )


def asked_study(root: Path, study: str) -> Path:
    """`study_path` of what a flow run was asked for; PipelineError for what lies outside data root and project."""
    path_inside(study, root, PROJECT)
    return study_path(root, study)


def results_folder(root: Path, study: str) -> Path:
    """Where a study's predictions lie: beside its file, or else under `root`."""
    path = study_path(root, study)
    if (path.parent / "predictions").is_dir():
        return path.parent
    return study_folder(root, read_study(path))


def finished_results(root: Path, study: str) -> StudyResults:
    """A study's results; PipelineError naming the units that are missing, and the command that makes them."""
    folder = results_folder(root, study)
    if not (folder / "study.yaml").exists():
        raise PipelineError(
            f"Nothing of the study {study} has been run under {root}; run `maepose study {study}` first."
        )
    results = read_results(folder)
    if results.missing:
        names = ", ".join(unit.name for unit in results.missing[:3]) + (", ..." if len(results.missing) > 3 else "")
        raise PipelineError(
            f"{len(results.missing)} of {len(results.missing) + len(results.makings)} units of {results.config.name} have no "
            f"predictions yet ({names}); make them with `maepose study {study}`, which runs only what is missing."
        )
    return results


@dataclass(frozen=True)
class Evaluated:
    """Tables, figures and report of a study, made from its stored predictions, and where they lie."""

    config: StudyConfig
    folder: Path
    evaluation: Evaluation
    tables: tuple[Table, ...]
    figures: dict[str, Path]
    """By title."""
    report: Path
    units: int
    seconds: float

    @property
    def simulated(self) -> bool:
        """Whether any recording that was tested is."""
        return any(self.evaluation.simulated.values())

    def rows(self) -> dict[str, Any]:
        """What a person wants to know first."""
        return {
            "study": self.config.name,
            "simulated": self.simulated,
            "units": self.units,
            "tables": ", ".join(table.name for table in self.tables),
            "figures": ", ".join(path.name for path in self.figures.values()),
            "report": str(self.report),
            "folder": str(self.folder),
            "seconds": round(self.seconds, 1),
        }


def evaluate_study(root: Path, study: str) -> Evaluated:
    """Write tables, figures and report of a finished study beside its predictions; the same predictions give the same tables.

    Raises PipelineError where predictions are missing (naming the command that makes them) or do not fit.
    """
    began = time.perf_counter()
    results = finished_results(root, study)
    evaluation = evaluate(results)
    tables = study_tables(evaluation)
    write_tables(results.folder / "tables", tables, evaluation)
    figures = draw_figures(results, evaluation)
    report = write_report(results, evaluation, tables, figures)
    seconds = time.perf_counter() - began
    return Evaluated(results.config, results.folder, evaluation, tables, figures, report, len(results.makings), seconds)


def unit_rows(folder: Path, unit: Unit) -> dict[str, Any]:
    """How one unit's predictions were made, and how far off they are on each data set it is tested on."""
    predicted, making = read_predictions(folder, unit)
    rows: dict[str, Any] = {
        "unit": unit.name,
        "simulated": making.simulated,
        "held out": unit.held_out or "nobody: split inside recordings, a warning and no result",
        "weights": making.parameters,
        "seconds": making.seconds,
        "recordings": len(making.train),
    }
    for test_set, part in predicted.groupby("test_set", observed=True):
        truth = read_truth(folder, str(test_set))[0]
        both = part.merge(truth, on=["recording", "frame", "joint"], suffixes=("", "_true"), sort=True)
        uv, true = (
            both[list(names)].to_numpy().reshape(-1, 1, len(JOINTS), 2) for names in (("u", "v"), ("u_true", "v_true"))
        )
        errors = pose_errors(uv, true, both["confidence"].to_numpy().reshape(uv.shape[:3]))
        rows |= {f"{name} on {test_set}": round(errors[name], 4) for name in ("mpjpe_norm", "explained_motion")}  # type: ignore[literal-required]
    return rows
