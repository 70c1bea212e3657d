"""`reprocess-recordings`: every night, make the cubes that are missing, stale or damaged; nothing twice."""

from pathlib import Path
from typing import Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.address import worker_root
from flows.artifacts import ProgressBar, show_markdown
from flows.events import emit_recording_processed
from flows.night_summary import reason_of, summary
from flows.nights import Night, NightRow, make_again, night, work
from flows.process_recording import show_products
from pipeline.errors import PipelineError
from pipeline.labels import labels_path


@task(name="process", task_run_name="process-{recording_id}", cache_policy=NO_CACHE)
def process(root: Path, recording_id: str, preset: str | None, why: str, going_on: Night) -> None:
    """Make one recording's products, and have it labelled where nobody has."""
    products = make_again(root, recording_id, preset, why, going_on)
    show_products(products)
    if products.can_be_labelled and not labels_path(root, recording_id).exists():
        emit_recording_processed(products.recording)


@flow(name="reprocess-recordings")
def reprocess_recordings(preset: Literal["default", "paper"] | None = None) -> dict[str, str]:
    """Make every cube that is missing, stale or damaged; returns what was done to each recording that needed work.

    One recording's failure does not keep the others waiting: the run goes on, and fails at its end naming them. A cube that is
    there stays until the new one is verified. A night cut short goes on the next night, because what is done is current, and its
    part of the summary is told then. While one run is at it another one does nothing.

    Args:
        preset: Make all cubes this way; empty for each the way it was made before, new ones the default way.
    """
    logger = get_run_logger()
    root = worker_root()
    with night(root) as going_on:
        if going_on is None:
            logger.warning("Another run is reprocessing this data root, so there is nothing left to do here.")
            return {}
        bar = ProgressBar("reprocess-progress", "Recordings", logger.warning)
        work(
            root,
            preset,
            going_on,
            lambda recording_id, why: process(root, recording_id, preset, why, going_on),
            on_progress=lambda done, of: bar.show(100 * done / max(of, 1)),
            on_error=lambda recording_id, error: logger.error("%s: %s", recording_id, error),
        )
        bar.show(100)
        rows = going_on.told_rows()
        _show(rows, len(rows) - len(going_on.rows))
        going_on.told()
    done = list(going_on.rows.values())
    failed = [row.recording for row in done if row.failed]
    if failed:
        raise PipelineError(
            f"{len(failed)} of {len(done)} recordings could not be processed: {', '.join(failed)}; the table says why."
        )
    return {row.recording: row.done for row in done}


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
