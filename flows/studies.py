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

KEPT = PROJECT / "docs" / "studies"
"""Studies that the project keeps: all of it that a flow run reads."""


def study_path(root: Path, study: str) -> Path:
    """The file that `study` means: a path (from here, from the data root, from the project), or the name of one that was begun.

    A folder means the study.yaml in it. Raises PipelineError where there is none.
    """
    begun = root / "experiments" / study
    return _first_there(root, study, (Path(study).expanduser(), root / study, PROJECT / study, begun))


def asked_study(root: Path, study: str) -> Path:
    """The file that a flow run was asked for: in the data root, or one of the project's kept studies; else PipelineError.

    Not looked for where the run works, and judged where it was found: the project holds the passwords of servers.
    """
    path_inside(study, root, KEPT)
    places = (root / study, PROJECT / study, root / "experiments" / study)
    return _first_there(root, study, tuple(one for one in places if {root, KEPT} & {one, *one.parents}))


def _first_there(root: Path, study: str, places: tuple[Path, ...]) -> Path:
    for path in places:
        found = path / "study.yaml" if path.is_dir() else path
        if found.is_file():
            return found.absolute()
    raise PipelineError(
        f"There is no study {study!r}: name a YAML file, or one that was begun under {root / 'experiments'}."
    )


def results_folder(root: Path, study: str) -> Path:
    """Where a study's predictions lie: beside its own study.yaml, or else under `root`, whose `predictions` are no study's."""
    path = study_path(root, study)
    own = path.name == "study.yaml" and path.parent.resolve() != root.resolve()
    if own and (path.parent / "predictions").is_dir():
        return path.parent
    return study_folder(root, read_study(path))


def finished_results(root: Path, study: str) -> StudyResults:
    """A study's results.

    Raises PipelineError for a file that asks for something else than was run, and for units that are missing, with the command
    that makes them.
    """
    folder = results_folder(root, study)
    if not (folder / "study.yaml").exists():
        raise PipelineError(
            f"Nothing of the study {study} has been run under {root}; run `maepose study {study}` first."
        )
    results = read_results(folder)
    _refuse_other(study_path(root, study), results)
    if results.missing:
        names = ", ".join(unit.name for unit in results.missing[:3]) + (", ..." if len(results.missing) > 3 else "")
        raise PipelineError(
            f"{len(results.missing)} of {len(results.missing) + len(results.makings)} units of {results.config.name} have no "
            f"predictions yet ({names}); make them with `maepose study {study}`, which runs only what is missing."
        )
    return results


def asked_results(root: Path, study: str) -> StudyResults:
    """`finished_results` of what a flow run was asked for; PipelineError for those outside `root`, where a run writes nothing."""
    file = str(asked_study(root, study))
    folder = results_folder(root, file)
    if not folder.is_relative_to(root):
        raise PipelineError(
            f"The results of {study} lie in {folder}, outside the data root {root}, and a flow run writes nothing there; "
            f"copy that folder into {root / 'experiments'}, or type `maepose evaluate --study {folder}`."
        )
    return finished_results(root, file)


def _refuse_other(path: Path, results: StudyResults) -> None:
    """Raises PipelineError where a file asks for something else than was run; people it does not name are those of the run."""
    if path.samefile(results.folder / "study.yaml"):
        return
    asked, ran = read_study(path), results.config
    rules = {
        name: rule.model_copy(update={"people": rule.people or ran.data_sets[name].people})
        if name in ran.data_sets
        else rule
        for name, rule in asked.data_sets.items()
    }
    filled = asked.model_copy(update={"data_sets": rules})
    filled = filled.model_copy(update={"people": asked.people or filled.everybody})
    fields = StudyConfig.model_fields.items()
    apart = [field.alias or name for name, field in fields if getattr(filled, name) != getattr(ran, name)]
    if apart:
        raise PipelineError(
            f"{path} differs from what was run in {results.folder} ({', '.join(apart)}); run `maepose study {path}`, or evaluate "
            f"what was run: `maepose evaluate --study {ran.name}`."
        )


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


def evaluate_study(results: StudyResults) -> Evaluated:
    """Write tables, figures and report of a finished study beside its predictions; the same predictions give the same tables.

    Raises PipelineError where predictions do not fit.
    """
    began = time.perf_counter()
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
