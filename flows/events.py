"""This project's events: a recording is closed, its cube is made; so that whatever waits for them can start."""

from prefect.events import emit_event

from pipeline.recording import Recording

RECORDING_CLOSED, RECORDING_PROCESSED = "recording.closed", "recording.processed"


def emit_recording_closed(recording: Recording) -> None:
    """Tell the Prefect server that a sealed recording lies on disk; `prefect.yaml` makes that start `process-recording`."""
    _emit(RECORDING_CLOSED, recording)


def emit_recording_processed(recording: Recording) -> None:
    """Tell it that a recording with pictures has its cube; `prefect.yaml` makes that start `label-recording`."""
    _emit(RECORDING_PROCESSED, recording)


def _emit(event: str, recording: Recording) -> None:
    emit_event(
        event=event,
        resource={
            "prefect.resource.id": f"maepose.recording.{recording.id}",
            "prefect.resource.name": recording.id,
            "maepose.simulated": str(recording.manifest.simulated).lower(),
            "maepose.status": recording.manifest.status,
        },
        payload={"recording_id": recording.id, "frames": recording.frame_count},
    )
