"""This project's events: a recording is closed, its cube is made; so that whatever waits for them can start."""

from prefect.events import emit_event

from pipeline.errors import PipelineError
from pipeline.recording import Recording
from pipeline.settings import read_store

RECORDING_CLOSED, RECORDING_PROCESSED = "recording.closed", "recording.processed"
PICTURES_REMOVED = "recording.pictures-removed"


def emit_recording_closed(recording: Recording) -> None:
    """Tell the Prefect server that a sealed recording lies on disk; `prefect.yaml` makes that start `process-recording`.

    And `upload-recording`, where the data root has an object store.
    """
    _emit(RECORDING_CLOSED, recording)


def emit_recording_processed(recording: Recording) -> None:
    """Tell it that a recording with pictures has its cube; `prefect.yaml` makes that start `label-recording`."""
    _emit(RECORDING_PROCESSED, recording)


def emit_pictures_removed(recording: Recording) -> None:
    """Tell it that the pictures of a recording that keeps none are gone; where there is a store, `upload-recording` starts."""
    _emit(PICTURES_REMOVED, recording)


def resource_of(recording: Recording) -> dict[str, str]:
    """What an event says of a recording, for triggers to match; `maepose.store` says whether there is an object store."""
    return {
        "prefect.resource.id": f"maepose.recording.{recording.id}",
        "prefect.resource.name": recording.id,
        "maepose.simulated": str(recording.manifest.simulated).lower(),
        "maepose.status": recording.manifest.status,
        "maepose.store": "yes" if _has_store(recording) else "no",
    }


def _emit(event: str, recording: Recording) -> None:
    payload = {"recording_id": recording.id, "frames": recording.frame_count}
    emit_event(event=event, resource=resource_of(recording), payload=payload)


def _has_store(recording: Recording) -> bool:
    """A store that is named wrongly must not end the capture that just succeeded: the upload's own run says what is wrong."""
    try:
        return read_store(recording.folder.parent.parent) is not None
    except PipelineError:
        return True
