"""Labels of a recording and the picture of one instant, from whatever labeller suits it. No Prefect in here."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.camera_reader import ColorReader
from pipeline.cube import open_cube
from pipeline.errors import PipelineError
from pipeline.labels import read_labels
from pipeline.recording import Recording, open_recording

if TYPE_CHECKING:
    from processing.labelling.config import LabelConfig
    from processing.labelling.people import Labeller
    from processing.labelling.session import LabelResult

LabellerChoice = Literal["auto", "vitpose", "yolo", "simulated"]


def choose_labeller(
    root: Path,
    recording: Recording,
    choice: LabellerChoice,
    *,
    weights: str | None = None,
    labels: Path | None = None,
    device: str = "cpu",
    download: bool = False,
) -> "Labeller":
    """The labeller of that name, or the one that hands out the labels in the file `labels`."""
    if labels is None:
        from processing.labelling.choosing import labeller_for

        simulated = recording.manifest.camera.simulated if recording.manifest.camera else recording.manifest.simulated
        return labeller_for(choice, root, simulated=simulated, weights=weights, device=device, download=download)
    from processing.labelling.imported import imported_labeller

    with ColorReader(recording.folder) as color:
        return imported_labeller(labels, len(color))


def label_session(
    root: Path,
    recording_id: str,
    choice: LabellerChoice = "auto",
    config: "LabelConfig | None" = None,
    *,
    weights: str | None = None,
    labels: Path | None = None,
    device: str = "cpu",
    download: bool = False,
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> "tuple[LabelResult, tuple[Path, ...]]":
    """Label one recording; returns what came of it and the pictures drawn of it."""
    from processing.labelling.session import label_recording

    recording = open_recording(root, recording_id)
    if recording.manifest.camera is None:
        raise PipelineError(f"{recording.id} was recorded without a camera, so there is nothing to label.")
    labeller = choose_labeller(
        root, recording, choice, weights=weights, labels=labels, device=device, download=download
    )
    result = label_recording(recording, root, labeller, config, force=force, on_progress=on_progress)
    instant = draw_instant_of(root, result)
    return result, tuple(path for path in (instant, result.contact_sheet) if path is not None and path.exists())


def draw_instant_of(root: Path, result: "LabelResult") -> Path | None:
    """`pictures/<id>/instant.png`: colour with skeleton beside both maps; None while there is no cube, or nobody to draw."""
    from processing.instant_picture import draw_instant

    recording = result.recording
    own = result.path.name != f"{recording.id}.parquet"
    labels = read_labels(root, recording.id, result.quality.labeller if own else None)
    path = root / "pictures" / recording.id / "instant.png"
    try:
        cube = open_cube(root, recording.id)
        return draw_instant(recording, cube, labels, path)
    except PipelineError:
        return None
