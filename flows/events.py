"""The one event of this project: a recording is closed, so that whatever waits for it can start."""

from prefect.events import emit_event

from pipeline.recording import Recording

RECORDING_CLOSED = "recording.closed"


def emit_recording_closed(recording: Recording) -> None:
    """Tell the Prefect server that a sealed recording lies on disk; `prefect.yaml` makes that start `process-recording`."""
    emit_event(
        event=RECORDING_CLOSED,
        resource={
            "prefect.resource.id": f"maepose.recording.{recording.id}",
            "prefect.resource.name": recording.id,
            "maepose.simulated": str(recording.manifest.simulated).lower(),
            "maepose.status": recording.manifest.status,
        },
        payload={"recording_id": recording.id, "frames": recording.frame_count},
    )
