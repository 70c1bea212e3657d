"""`study`: every unit of a study that has no predictions yet, networks each as a run of `evaluate-fold`, and then its tables."""

from typing import Literal
from uuid import UUID

from prefect import flow, get_client, get_run_logger
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.states import Cancelled

from flows.address import worker_root
from flows.artifacts import ProgressBar, show_table
from flows.evaluate import evaluate
from flows.evaluate_fold import evaluate_fold
from flows.experiments import needs_training_extra
from flows.studies import asked_study
from models.study_opening import is_claimed, open_study
from models.study_running import Device, Outcome, run_unit, work
from models.study_units import Unit


@flow(name="study", flow_run_name="study-{study}")
def study(study: str, where: Literal["here", "workers"] = "here", device: Device = "auto") -> str:
    """Run what is missing of a study, then evaluate it; returns its folder. Broken off anywhere, it goes on when run again.

    Args:
        study: YAML file of the study in the data root or docs/studies, or the name of one that was begun.
        where: One fold after the other in this run, or also on every worker of the pool that is free.
        device: Where networks train; auto takes a GPU where there is one.
    """
    needs_training_extra()
    from models.study_reconstruction import draw_study_reconstruction

    root, logger = worker_root(), get_run_logger()
    opened = open_study(root, asked_study(root, study))
    there = opened.folder.relative_to(root)  # another worker may see the data root at another place
    path = str(there / "study.yaml")
    bar = ProgressBar("study-progress", opened.config.name, logger.warning)
    missing = [unit for unit in opened.units if not opened.is_current(unit)]
    logger.info("%d of %d units are to be made", len(missing), len(opened.units))
    sent = _fan_out(path, missing, device) if where == "workers" else []

    def run(unit: Unit) -> Outcome:
        if opened.is_current(unit):
            return "current"
        if unit.kind == "floor":  # takes less time than a run's start
            return run_unit(opened, unit, wait=False)
        if is_claimed(opened, unit):
            return "busy"
        return evaluate_fold(path, unit.name, device)

    try:
        made = work(opened, run, on_unit=lambda done, total, _: bar.show(100 * done / total))
    finally:
        _take_back(sent)
    draw_study_reconstruction(opened)
    folder = str(evaluate(str(there)))
    rows = {"study": opened.config.name, "units": len(opened.units), "made here": made, "folder": folder}
    show_table("study", rows, description=path)
    return folder


def _fan_out(path: str, missing: list[Unit], device: Device) -> list[UUID]:
    """Ask for a run of every network, the last first: this run begins with the first."""
    sent = []
    for unit in reversed(missing):
        if unit.kind == "network":
            asked = {"study": path, "unit": unit.name, "device": device}
            run = run_deployment("evaluate-fold/default", parameters=asked, timeout=0)
            assert isinstance(run, FlowRun)  # in a flow that is not async
            sent.append(run.id)
    return sent


def _take_back(sent: list[UUID]) -> None:
    """Cancel runs that no worker has taken up: what they were to do is done, or will be when the study is run again."""
    if not sent:
        return
    with get_client(sync_client=True) as client:
        for run_id in sent:
            state = client.read_flow_run(run_id).state
            if state is not None and state.is_scheduled():
                client.set_flow_run_state(run_id, Cancelled(message="The study is over."))
