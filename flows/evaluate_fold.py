"""`evaluate-fold`: one unit of a study, fitted and tested on one fold; goes on where a killed run stopped."""

from prefect import flow, get_run_logger

from flows.address import worker_root
from flows.artifacts import ProgressBar, show_table
from flows.experiments import needs_training_extra
from flows.studies import asked_study, unit_rows
from models.study_opening import open_study
from models.study_running import Device, Outcome, run_unit


def run_name() -> str:
    """`fold-<unit>`, as the run is called in the UI."""
    from prefect.runtime import flow_run

    return f"fold-{flow_run.parameters['unit']}"


@flow(name="evaluate-fold", flow_run_name=run_name)
def evaluate_fold(study: str, unit: str, device: Device = "auto") -> Outcome:
    """Make one unit's predictions unless they are current; returns `made` or `current`.

    Args:
        study: File of the study in the data root or docs/studies, or the name of one that was begun.
        unit: Name of the unit, as in the study's predictions folder: maepose.dual.move.m01.s42.
        device: Where the network trains; auto takes a GPU where there is one.
    """
    needs_training_extra()
    root = worker_root()
    opened = open_study(root, asked_study(root, study))
    wanted = opened.unit(unit)
    bar = ProgressBar("evaluate-fold-progress", unit, get_run_logger().warning)
    outcome = run_unit(
        opened, wanted, device=device,
        on_progress=lambda done, total, _: bar.show(100 * done / max(total, 1)),
    )  # fmt: skip
    bar.show(100)
    rows = unit_rows(opened.folder, wanted)
    show_table("evaluate-fold", rows, description=unit)
    get_run_logger().info("%s: %s", outcome, rows)
    return outcome
