"""`process-recording`: cube, quality report and pictures of one recording; does nothing twice."""

from typing import Annotated, Literal

from prefect import flow, get_run_logger
from pydantic import Field

from flows.address import worker_root
from flows.artifacts import ProgressBar, markdown_table, picture, show_markdown, show_table
from flows.events import emit_recording_processed
from flows.products import Products, config_for, make_products
from pipeline.manifest import ID_PATTERN

RecordingId = Annotated[str, Field(pattern=ID_PATTERN)]


@flow(name="process-recording", flow_run_name="process-{recording_id}")
def process_recording(
    recording_id: RecordingId, preset: Literal["default", "paper"] | None = None, force: bool = False
) -> str:
    """Make what is missing or stale of a recording's products; returns the path of its cube.

    Args:
        recording_id: The recording; it must be sealed.
        preset: How to make the cube; empty for the way it was made before, or else the default.
        force: Make everything anew even where it is current.
    """
    logger = get_run_logger()
    root = worker_root()
    bar = ProgressBar("process-progress", f"Processing {recording_id}", logger.warning)

    def on_progress(done: int, frames: int) -> None:
        if done == frames or done % max(1, frames // 50) == 0:
            bar.show(100 * done / frames)

    products = make_products(
        root, recording_id, config_for(root, recording_id, preset), force=force, on_progress=on_progress
    )
    bar.show(100)
    show_products(products)
    if products.can_be_labelled:
        emit_recording_processed(products.recording)
    logger.info("%s", products.rows()["made"])
    return str(products.cube.path)


def show_products(products: Products) -> None:
    """Store what was made as an artifact of the run: numbers, the verdict in sentences, the pictures."""
    pictures = "\n".join(str(path) for path in products.pictures)
    show_table("products", products.rows() | {"pictures": pictures}, description=products.recording.id)
    reasons = [f"- {sentence}" for sentence in products.quality.reasons]
    show_markdown(
        "process-recording",
        f"Recording {products.recording.id}",
        markdown_table(products.rows()),
        f"## Quality: {products.quality.verdict}",
        "\n".join(reasons),
        *(picture(path, path.stem) for path in products.pictures),
        simulated=products.recording.manifest.simulated,
        description=f"Cube, quality and pictures of {products.recording.id}",
    )
