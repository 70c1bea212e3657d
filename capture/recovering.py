"""Recordings whose recorder died: found, and sealed with everything that had reached the disk."""

from pathlib import Path

from capture.finishing import finish
from capture.session import attach, recorder_alive, session_folder, session_known
from pipeline.catalogue import update_catalogue
from pipeline.errors import PipelineError
from pipeline.locks import take_lock
from pipeline.recording import Recording, amend_manifest, open_recording, read_recording
from pipeline.sealing import recover


def recorder_died(root: Path, recording: Recording) -> bool:
    """Whether a recorder of this program began a recording, and neither ended it nor is at it."""
    return not recording.sealed and session_known(root, recording.id) and not recorder_alive(root, recording.id)


def recover_recording(root: Path, recording_id: str) -> Recording:
    """Seal a recording without an end, with the alignment and segments its recorder would have added.

    Whoever recovers holds the recorder's lock meanwhile, so two never do. Where the order it was given cannot be read any more,
    segments of a script are left out, and a note says so. Raises PipelineError where the recorder is alive, and as
    `pipeline.sealing.recover`.
    """
    recording = open_recording(root, recording_id)
    if not session_known(root, recording_id):
        recovered = recover(recording.folder, finish=finish)
    else:
        with (session_folder(root, recording_id) / "lock").open("a") as lock:
            if not take_lock(lock):
                raise PipelineError(
                    f"{recording_id} is still being recorded; `maepose stop {recording_id}` ends it properly."
                )
            recovered = recover(recording.folder, finish=lambda folder: _finish_as_ordered(root, folder))
    update_catalogue(root)
    return recovered


def _finish_as_ordered(root: Path, folder: Path) -> None:
    try:
        acts = attach(root, folder.name).order().acts
    except PipelineError as error:
        finish(folder)
        note = f"What was ordered is not known, so segments of a script, if it had one, are left out: {error}"
        amend_manifest(folder, notes=(*read_recording(folder).manifest.notes, note))
    else:
        finish(folder, acts)
