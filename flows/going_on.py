"""Runs that crashed are gone on with, by a new run of the same deployment with the same parameters.

A run crashes where its process died (kill -9, no memory left, a machine that lost power), not where it failed with a sentence.
Every flow here finishes what a killed run began and does nothing twice, so asking again is all that is needed; a capture is the
exception, and its new run watches and closes the recording that the old one began.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException

from flows.sessions import session_of_run

CAPTURE = "capture-session"
FINISHABLE = (
    CAPTURE, "process-recording", "label-recording", "upload-recording", "reprocess-recordings", "prune", "pretrain",
    "finetune", "study", "evaluate-fold", "evaluate",
)  # fmt: skip
"""Not `import-recording`: where it gives the recording its name, a second run would bring it in twice."""

AT_MOST = 3
"""Runs that go on for one another: what crashes every time is not asked for for ever."""
NOT_AFTER = timedelta(days=14)
_FROM, _TURN = "goes on from ", "turn "


def go_on(client: SyncPrefectClient, root: Path, tell: Callable[[str], None]) -> list[FlowRun]:
    """Ask for one new run for each that crashed lately, and return them; asked twice, there is still one.

    Those that cannot be asked for (their deployment takes other parameters now) are told of, and the others are none the worse.
    """
    asked = []
    for run in _crashed(client, root):
        assert run.deployment_id is not None
        tags = [tag for tag in run.tags if not tag.startswith((_FROM, _TURN))]
        try:
            asked.append(
                client.create_flow_run_from_deployment(
                    run.deployment_id,
                    parameters=run.parameters,
                    tags=[*tags, f"{_FROM}{run.id}", f"{_TURN}{_turn(run.tags) + 1}"],
                    idempotency_key=f"goes-on-from-{run.id}",
                )
            )
        except (HTTPError, PrefectException) as error:
            said = " ".join(str(error).split())
            tell(
                f"{run.name} crashed and cannot be gone on with ({said}); start it again by hand where it is still wanted."
            )
    return [run for run in asked if run.state is not None and not run.state.is_final()]


def goes_on_from(tags: Sequence[str]) -> str | None:
    """The run that a run with these tags goes on for, if it does."""
    return next((tag.removeprefix(_FROM) for tag in tags if tag.startswith(_FROM)), None)


def _turn(tags: Sequence[str]) -> int:
    found = [match[1] for tag in tags if (match := re.fullmatch(rf"{_TURN}(\d+)", tag))]
    return int(found[0]) if found else 1


def _crashed(client: SyncPrefectClient, root: Path) -> Iterator[FlowRun]:
    """Runs that crashed lately and of which nobody has asked for another since."""
    oldest = datetime.now(UTC) - NOT_AFTER
    for name in FINISHABLE:
        flow = FlowFilter(name=FlowFilterName(any_=[name]))
        crashed = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])))
        newest = FlowRunSort.EXPECTED_START_TIME_DESC
        runs = client.read_flow_runs(flow_filter=flow, flow_run_filter=crashed, sort=newest, limit=200)
        since = client.read_flow_runs(flow_filter=flow, sort=newest, limit=200) if runs and name != CAPTURE else []
        for run in runs:
            too_old = run.state is None or run.state.timestamp < oldest
            if run.deployment_id is None or too_old or _turn(run.tags) >= AT_MOST:
                continue
            if name == CAPTURE and session_of_run(root, run.id) is None:
                continue  # nothing was recorded, and nobody stands before the radar any more
            if not any(_asks_again(other, run) for other in since):
                yield run


def _asks_again(other: FlowRun, run: FlowRun) -> bool:
    """Whether `other` asks for the same as `run` did, later; what a schedule plans for another day does not count."""
    planned = other.auto_scheduled and other.state is not None and other.state.is_scheduled()
    if other.id == run.id or other.created is None or run.created is None or planned:
        return False
    same = other.deployment_id == run.deployment_id and other.parameters == run.parameters
    return same and other.created > run.created
