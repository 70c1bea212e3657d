"""Verbs about studies: study, evaluate, report."""

from typing import Annotated, Literal

import typer

from flows.console import Answer, JsonOption, RootOption, progress_bar, resolved_root, tell

StudyOption = Annotated[
    str,
    typer.Option("--study", metavar="PATH", help="A study's YAML file or folder, or the name of one that was begun."),
]


def study(
    study: Annotated[str, typer.Argument(metavar="STUDY.yaml", help="What to run: docs/studies.md has one to copy.")],
    jobs: Annotated[int, typer.Option(min=1, help="Units at a time on this machine.")] = 1,
    device: Annotated[
        Literal["auto", "cpu", "gpu"], typer.Option(help="Where networks train; auto: a GPU where there is one.")
    ] = "auto",
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run what is missing of a study: every row, modality, data set and person held out. Broken off, it goes on when run again.

    Run it in several terminals, or on machines that share the data root, and they share the work.
    """
    from flows.experiments import needs_training_extra
    from flows.studies import study_path

    needs_training_extra()
    from models.study_opening import open_study
    from models.study_reconstruction import draw_study_reconstruction
    from models.study_running import run_study

    where = resolved_root(root)
    opened = open_study(where, study_path(where, study))
    total, current = len(opened.units), sum(map(opened.is_current, opened.units))
    tell(f"{opened.config.name}: {current} of {total} units are done.")
    with progress_bar(opened.config.name) as bar:
        made = run_study(
            opened,
            device=device,
            jobs=jobs,
            on_unit=lambda done, of, unit: bar(done, of, f"{done} of {of} units, {unit.name}"),
        )
    draw_study_reconstruction(opened)
    Answer(as_json).give(
        {
            "study": opened.config.name,
            "units": total,
            "made": made,
            "folder": opened.folder,
            "next": f"maepose evaluate --study {opened.folder}",
        }
    )


def evaluate(study: StudyOption, root: RootOption = None, as_json: JsonOption = False) -> None:
    """Tables, figures and report of a finished study, from its stored predictions alone: seconds, nothing is trained."""
    from flows.studies import evaluate_study, finished_results

    made = evaluate_study(finished_results(resolved_root(root), study))
    lines = [*(table.to_markdown() for table in made.tables[:1]), f"Tables, figures and report: {made.folder}"]
    Answer(as_json).give(made.rows(), lines)


def report(study: StudyOption, root: RootOption = None, as_json: JsonOption = False) -> None:
    """The report of a finished study: one HTML file that opens from disk. Prints where it lies."""
    from flows.studies import evaluate_study, finished_results

    made = evaluate_study(finished_results(resolved_root(root), study))
    Answer(as_json).give({"study": made.config.name, "report": str(made.report)}, [str(made.report)])
