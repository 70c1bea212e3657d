"""Carrying a study out: any unit, in any order, in several processes at once, and never twice.

A unit is current when its predictions carry its key: the digest of what was asked, of the cubes and labels it reads, and of this
algorithm's version. Who runs one holds a lock that dies with the process, so a unit is never run by two at a time, and that of a
worker that was killed is taken over. Training runs are shared by key and go on after their last judgement (`models.training`).
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from models.study_opening import Study, claimed, open_study
from models.study_store import write_predictions
from models.study_units import Unit
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from models.study_fitting import OnProgress

Device = Literal["auto", "cpu", "gpu"]
Outcome = Literal["made", "current", "busy"]
OnUnit = Callable[[int, int, Unit], None]
"""Units done, of how many, the last one."""
POLL_S = 1.0


def run_unit(
    study: Study,
    unit: Unit,
    *,
    device: Device = "auto",
    on_progress: "OnProgress | None" = None,
    wait: bool = True,
) -> Outcome:
    """Make a unit's predictions unless they are current. `busy`: another process is at it, or at its encoder, and `wait` not set.

    Killed at any moment, the next call goes on after its last judgement. Raises PipelineError as `models.study_fitting`.
    """
    if study.is_current(unit):
        return "current"
    with claimed(study, unit.name, wait=wait) as mine:
        if not mine:
            return "busy"
        if study.is_current(unit):
            return "current"
        from models.study_fitting import fit_network, fit_reference  # Lightning takes seconds to import
        from models.training import Machine

        if unit.kind == "floor":
            rows, making = fit_reference(study, unit)
        else:
            fitted = fit_network(study, unit, Machine(device), on_progress, wait=wait)
            if fitted is None:
                return "busy"
            rows, making = fitted
        write_predictions(study.folder, making, rows)
        return "made"


def work(study: Study, run: Callable[[Unit], Outcome], *, first: int = 0, on_unit: OnUnit | None = None) -> int:
    """Call `run` for every unit, from number `first` on and round, until none is left; returns how many it made.

    A unit that another process is at is looked at again later. One that fails does not keep the others from running. Raises
    PipelineError at the end, where units failed.
    """
    units = study.units
    left, failed, made, done = [*units[first:], *units[:first]], dict[str, str](), 0, 0
    while left:
        waiting = []
        for unit in left:
            try:
                outcome = run(unit)
            except PipelineError as error:
                failed[unit.name] = str(error)
            else:
                if outcome == "busy":
                    waiting.append(unit)
                    continue
                made += outcome == "made"
            done += 1
            if on_unit is not None:
                on_unit(done, len(units), unit)
        if len(waiting) == len(left):
            time.sleep(POLL_S)
        left = waiting
    if failed:
        name, why = next(iter(failed.items()))
        raise PipelineError(f"{len(failed)} of {len(units)} units failed, the others are done; {name}: {why}")
    return made


def run_study(
    study: Study,
    *,
    device: Device = "auto",
    jobs: int = 1,
    on_unit: OnUnit | None = None,
    on_progress: "OnProgress | None" = None,
) -> int:
    """Run what is missing of a study, `jobs` units at a time; returns how many units this process made.

    Other processes may run the same study at the same time, on this machine or on others that share the folder. Raises
    PipelineError as `work`.
    """
    missing = sum(not study.is_current(unit) for unit in study.units)
    jobs = max(1, min(jobs, missing))
    if jobs > 1:
        import torch  # takes seconds, which a study that is done need not wait for

        threads = max(1, (os.cpu_count() or 1) // jobs)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # of helpers: here it comes too late
        torch.set_num_threads(min(threads, torch.get_num_threads()))
    context, step = multiprocessing.get_context("spawn"), len(study.units) // jobs
    with ExitStack() as helpers:
        for number in range(1, jobs):
            # spawned, not forked: threads of torch and numba do not survive a fork
            helper = context.Process(
                target=_help, args=(study.data.root, study.folder / "study.yaml", device, number * step), daemon=True
            )
            helper.start()
            helpers.callback(helper.join)
            helpers.callback(helper.terminate)  # first: nothing is left to do, or this process is to end
        return work(
            study,
            lambda unit: run_unit(study, unit, device=device, on_progress=on_progress, wait=False),
            on_unit=on_unit,
        )


def _help(root: Path, path: Path, device: Device, first: int) -> None:
    """Run units beside the process that started this one, for as long as that one lives."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it too; the other process ends this one

    def run(unit: Unit) -> Outcome:
        if os.getppid() != parent:
            raise SystemExit
        return run_unit(study, unit, device=device, wait=False)

    with suppress(PipelineError):  # the other process comes to the same unit, and says so
        study = open_study(root, path)
        work(study, run, first=first)
