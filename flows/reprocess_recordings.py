"""`reprocess-recordings`: every night, make the cubes that are missing, stale or damaged; nothing twice."""

from pathlib import Path
from typing import Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact

from flows.address import worker_root
from flows.artifacts import ProgressBar
from flows.process_recording import show_products
from flows.products import config_for, make_products, needs_work
from pipeline.errors import PipelineError
from pipeline.recording import read_recording, recordings_folder


@task(name="process", task_run_name="process-{recording_id}")
def process(root: Path, recording_id: str, preset: str | None) -> int:
    """Make one recording's products; returns the number of frames made."""
    products = make_products(root, recording_id, config_for(root, recording_id, preset))
    show_products(products)
    return products.cube.frames_made


@flow(name="reprocess-recordings")
def reprocess_recordings(preset: Literal["default", "paper"] | None = None) -> dict[str, str]:
    """Make every cube that is missing, stale or damaged; returns what was done to each recording that needed work.

    One recording's failure does not keep the others waiting: the run goes on, and fails at its end naming them. A night cut
    short goes on the next night, because what is done is current.

    Args:
        preset: Make all cubes this way; empty for each the way it was made before, new ones the default way.
    """
    logger = get_run_logger()
    root = worker_root()
    bar = ProgressBar("reprocess-progress", "Recordings", logger.warning)
    rows: list[dict[str, str]] = []
    waiting = _recordings_in_need(root, preset, rows)
    for number, (recording_id, reason) in enumerate(waiting):
        bar.show(100 * number / len(waiting))
        try:
            made = process(root, recording_id, preset)
            rows.append({"recording": recording_id, "why": reason, "done": f"{made} frames made"})
        except Exception as error:
            logger.error("%s: %s", recording_id, error)
            rows.append({"recording": recording_id, "why": reason, "done": f"failed: {error}"})
    bar.show(100)
    create_table_artifact(
        key="reprocess-recordings",
        table=rows or [{"recording": "-", "why": "every cube is current", "done": "nothing"}],
        description="What the night did",
    )
    failed = [row["recording"] for row in rows if row["done"].startswith("failed")]
    if failed:
        raise PipelineError(
            f"{len(failed)} of {len(rows)} recordings could not be processed: {', '.join(failed)}; the table says why."
        )
    return {row["recording"]: row["done"] for row in rows}


def _recordings_in_need(root: Path, preset: str | None, rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Sealed recordings with frames whose cube is not current, oldest first, with the reason; unreadable ones go to `rows`."""
    need = []
    folder = recordings_folder(root)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not path.is_dir() or path.name.startswith("."):
            continue
        try:
            recording = read_recording(path)
            if not recording.sealed or recording.frame_count == 0:
                continue
            reason = needs_work(root, recording.id, preset)
        except Exception as error:
            rows.append({"recording": path.name, "why": "cannot be read", "done": f"failed: {error}"})
            continue
        if reason:
            need.append((recording.id, reason))
    return need
