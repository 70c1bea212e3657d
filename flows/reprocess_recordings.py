"""`reprocess-recordings`: every night, make the cubes that are missing, stale or damaged; nothing twice.

Then, where the data root has an object store, copy into it what it lacks of sealed recordings.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from prefect import flow, get_client, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

import processing.cubes
from flows.address import worker_root
from flows.artifacts import ProgressBar, show_markdown
from flows.dask_cluster import dask_cluster, dask_root, on_dask
from flows.events import emit_recording_processed
from flows.going_on import go_on
from flows.night_summary import reason_of, summary
from flows.night_uploads import send_what_lacks
from flows.nights import NightRow, in_turn, make_again, night, work
from flows.process_recording import show_products
from flows.products import Products
from flows.upload_recording import worker_store
from pipeline.errors import PipelineError
from pipeline.labels import labels_path
from pipeline.locks import open_lock, take_lock
from pipeline.settings import read_store

LOCK_OUTLIVES_S = 150.0
"""A network file system keeps the locks of a machine that died for a lease, 90 s by default; its recording waits for that."""


@task(name="process", task_run_name="process-{recording_id}", cache_policy=NO_CACHE)
def process(root: Path, recording_id: str, preset: str | None, why: str) -> None:
    """Make one recording's products, and have it labelled where nobody has."""
    _finish(root, make_again(root, recording_id, preset, why))


@task(name="process", task_run_name="process-{recording_id}", cache_policy=NO_CACHE)
def process_on_dask(
    root: Path, recording_id: str, preset: str | None, why: str, night_token: str, version: str
) -> None:
    """The same in a Dask worker, where one thread transforms: as many as Dask runs tasks. Raises PipelineError as `dask_root`."""
    here = dask_root(root, night_token, version)
    _finish(here, make_again(here, recording_id, preset, why, threads=1, lock_wait_s=LOCK_OUTLIVES_S))


def _finish(root: Path, products: Products) -> None:
    """Show what was made, and have it labelled where nobody has."""
    show_products(products)
    if products.can_be_labelled and not labels_path(root, products.recording.id).exists():
        emit_recording_processed(products.recording)


@flow(name="reprocess-recordings")
def reprocess_recordings(
    preset: Literal["default", "paper"] | None = None,
    where: Literal["here", "dask"] = "here",
    pruned: bool = False,
) -> dict[str, str]:
    """Make every cube that is missing, stale or damaged; returns what was done to each recording that needed work.

    One recording's failure does not keep the others waiting: the run goes on, and fails at its end naming them. A cube that is
    there stays until the new one is verified. A night cut short goes on the next night, because what is done is current, and its
    part of the summary is told then. While one run is at it another one does nothing. At its end it copies into the object
    store, if there is one, what that lacks of sealed recordings.

    Args:
        preset: Make all cubes this way; empty for each the way it was made before, new ones the default way.
        where: One recording after the other in this run, or on the Dask cluster that the worker's MAEPOSE_DASK names.
        pruned: Make again what retention removed, too.
    """
    logger = get_run_logger()
    root = worker_root()
    _go_on_with_crashed_runs(root)
    with night(root) as going_on, ExitStack() as stack:
        if going_on is None:
            logger.warning("Another run is reprocessing this data root, so there is nothing left to do here.")
            return {}
        carry_out = in_turn(lambda recording_id, why: process(root, recording_id, preset, why))
        if where == "dask":
            carry_out = on_dask(
                stack.enter_context(dask_cluster()),
                process_on_dask,
                {
                    "root": root,
                    "preset": preset,
                    "night_token": going_on.token,
                    "version": processing.cubes.ALGORITHM_VERSION,
                },
            )
        bar = ProgressBar("reprocess-progress", "Recordings", logger.warning)
        work(
            root,
            preset,
            going_on,
            carry_out,
            pruned=pruned,
            on_progress=lambda done, of: bar.show(100 * done / max(of, 1)),
            on_error=lambda recording_id, error: logger.error("%s: %s", recording_id, error),
        )
        bar.show(100)
        rows = going_on.told_rows()
        done = list(going_on.rows.values())
        _show(rows, len(rows) - len(done))
        going_on.told()
    problems = []
    if failed := [row.recording for row in done if row.failed]:
        problems.append(
            f"{len(failed)} of {len(done)} recordings could not be processed: {', '.join(failed)}; the table says why."
        )
    problems += _upload(root)  # outside the night's lock: it may take longer than until the next one
    if problems:
        raise PipelineError(" ".join(problems))
    return {row.recording: row.done for row in done}


def _upload(root: Path) -> list[str]:
    """Send what the object store lacks, if there is one; what could not be sent, in a sentence."""
    logger = get_run_logger()
    failed = []
    try:
        if read_store(root) is None:
            return []
        store = worker_store(root)
        with open_lock(root / "nights" / ".uploads.lock") as lock:
            if not take_lock(lock):
                logger.info("An earlier night still copies recordings into the object store.")
                return []
            for name, done in send_what_lacks(root, store):
                if isinstance(done, PipelineError):
                    logger.error("%s: %s", name, done)
                    failed.append(f"{name}: {done}")
                else:
                    logger.info("%s: %d bytes sent to %s.", name, done.sent_bytes, store.address)
    except PipelineError as error:
        failed.append(str(error))
    return [f"Not everything could be copied into the object store. {' '.join(failed)}"] if failed else []


def _go_on_with_crashed_runs(root: Path) -> None:
    """A night is when somebody looks after runs whose process died; trouble with that keeps no cube from being made."""
    logger = get_run_logger()
    try:
        with get_client(sync_client=True) as client:
            for run in go_on(client, root, logger.warning):
                logger.info("%s goes on for a run that crashed", run.name)
    except Exception as error:
        logger.warning("Runs that crashed could not be gone on with (%s); `maepose up` does the same.", error)


def _show(rows: list[NightRow], earlier: int) -> None:
    """Store the summary as artifacts of the run: a table for a quick look, and what changed."""
    table = [
        {"recording": row.recording, "simulated": row.simulated, "why": reason_of(row), "done": row.done}
        for row in rows
    ]
    create_table_artifact(
        key="reprocess-recordings",
        table=table or [{"recording": "-", "simulated": "-", "why": "every cube is current", "done": "nothing"}],
        description="What the night did",
    )
    show_markdown(
        "reprocess-summary",
        "What the night did",
        *summary(rows, earlier),
        simulated=bool(rows) and all(row.simulated for row in rows),
        description="Why cubes were rebuilt, and what changed in them",
    )
