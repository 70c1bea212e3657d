"""Scheduled runs whose time passed while no server or worker ran.

Prefect's scheduler makes a few scheduled runs ahead (of a daily one the next three). Those whose time passed wait as Late, and a
worker that comes back starts all of them at once. For reprocessing one is enough: it makes up for every night that was missed.
"""

from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled

LATE_AFTER = timedelta(minutes=1)


def keep_last_missed_run(client: SyncPrefectClient) -> list[FlowRun]:
    """Cancel what a schedule missed, but for the last run of each deployment; returns those kept, which start with a worker."""
    missed = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC) - LATE_AFTER),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
    )
    kept: dict[object, FlowRun] = {}
    for run in missed:
        if not run.auto_scheduled or run.deployment_id is None:
            continue
        if run.deployment_id not in kept:
            kept[run.deployment_id] = run
            continue
        client.set_flow_run_state(
            run.id, Cancelled(message="Its time passed with no worker there; the last missed run makes up for it.")
        )
    return list(kept.values())
