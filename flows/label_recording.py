"""`label-recording`: skeleton labels of one recording, their quality and what they look like; does nothing twice."""

from prefect import flow, get_run_logger

from flows.address import worker_root
from flows.artifacts import ProgressBar, markdown_table, picture, show_markdown, show_table
from flows.asked_paths import name_or_path_inside
from flows.events import emit_pictures_removed
from flows.labelling import LabellerChoice, label_session
from flows.process_recording import RecordingId


@flow(name="label-recording", flow_run_name="label-{recording_id}")
def label_recording(
    recording_id: RecordingId, labeller: LabellerChoice = "auto", weights: str = "", force: bool = False
) -> str:
    """Label a recording's pictures; returns the verdict on the labels: pass, look or fail.

    Args:
        recording_id: The recording; it must be sealed and have a camera.
        labeller: auto takes ViTPose for real pictures, and for simulated ones the network that was trained on such.
        weights: Other weights than the labeller's usual ones, by name or by path in the data root; empty for those.
        force: Label anew even where the labels are current.
    """
    logger = get_run_logger()
    root = worker_root()
    chosen = name_or_path_inside(weights, root) if weights else None
    bar = ProgressBar("label-progress", f"Labelling {recording_id}", logger.warning)

    def on_progress(done: int, pictures: int) -> None:
        if done == pictures or done % max(1, pictures // 50) == 0:
            bar.show(100 * done / pictures)

    result, pictures = label_session(root, recording_id, labeller, weights=chosen, force=force, on_progress=on_progress)
    bar.show(100)
    if result.pictures_removed:
        emit_pictures_removed(result.recording)
    rows = result.rows()
    show_table("labels", rows | {"pictures": "\n".join(map(str, pictures))}, description=recording_id)
    show_markdown(
        "label-recording",
        f"Labels of {recording_id}",
        markdown_table(rows),
        f"## Verdict: {result.quality.verdict}",
        "\n".join(f"- {sentence}" for sentence in result.quality.reasons),
        *(picture(path, path.stem) for path in pictures),
        simulated=result.recording.manifest.simulated,
        description=f"Labels of {recording_id}, their quality and pictures",
    )
    logger.info("%s: %s", result.quality.verdict, " ".join(result.quality.reasons))
    return result.quality.verdict
