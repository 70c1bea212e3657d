"""`capture-session`: record one session with the rig of the data root.

The recorder is a process of its own. This flow starts it, shows how far it is, and tells everybody when the recording is
closed. Cancelling the run stops and seals the recording; killing the worker does not: then the recorder goes on to its end.
"""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import flow, get_run_logger
from prefect.logging.loggers import flow_run_logger
from prefect.runtime import flow_run as current_run
from pydantic import Field

from capture.recovering import recorder_died, recover_recording
from capture.script import parse_script
from capture.session import CaptureRequest, RecorderHandle, RecorderProgress, launch
from flows.address import worker_root
from flows.artifacts import ProgressBar, markdown_table, recording_rows, show_markdown, show_table
from flows.asked_paths import name_or_path_inside
from flows.events import emit_recording_closed
from flows.going_on import goes_on_from
from flows.sessions import remember_session, session_of_run
from pipeline.errors import PipelineError
from pipeline.recording import Recording, open_recording
from pipeline.settings import read_rig

POLL_S = 1.0
SEALED_WITHIN_S = 20.0  # Prefect gives a cancelled run 30 s

# Empty text means "not said": in the form that is easier on a person than choosing null.
Name = Annotated[str, Field(pattern=r"^[\w .,()+-]{0,80}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


def run_name() -> str:
    """`capture-p01`, as the run is called in the UI."""
    return f"capture-{current_run.parameters.get('participant') or 'session'}"


def stop_recording(flow: Any, flow_run: Any, state: Any) -> None:
    """Cancellation hook: stop the run's recorder and let it seal what it has.

    Prefect calls it once the run's own process is dead, in a process of its own, so nothing but the disk tells which recording.
    """
    root = worker_root()
    handle = session_of_run(root, flow_run.id)
    if handle is None:
        return
    handle.request_stop()
    try:
        handle.wait(SEALED_WITHIN_S)
    except PipelineError as error:  # a long recording takes longer to seal
        flow_run_logger(flow_run, flow).warning(
            "%s The next night makes the recording's cube, and copies it into the object store where there is one.",
            error,
        )
        return
    _close(root, handle)


@flow(name="capture-session", flow_run_name=run_name, on_cancellation=[stop_recording])
def capture_session(
    rig: Literal["configured", "simulated"] = "configured",
    participant: Name = "",
    action: Name = "",
    seconds: Seconds | None = None,
    profile: str = "",
    script: str = "",
    privacy: Literal["", "keep", "faces-blurred", "skeleton-only"] = "",
) -> str:
    """Record one session; returns the recording's id. With nothing filled in, the configured rig for its default time.

    Args:
        rig: The rig that rig.toml of the data root describes, or the simulated one whatever rig.toml says.
        participant: Who is recorded, for example p01.
        action: What the person does, for example arm-raise.
        seconds: How long to record; empty for the rig's default.
        profile: Waveform preset (paper, light) or a .cfg file in the data root; empty for the rig's own.
        script: Actions one after the other instead of action and seconds, for example `arm-raise 10, stepping 10`.
        privacy: What becomes of the pictures; empty for what rig.toml says.
    """
    logger = get_run_logger()
    root = worker_root()
    handle = _begun_before(root)
    if handle is None:
        settings = read_rig(root)
        if rig == "simulated":
            settings = settings.model_copy(update={"kind": "simulated"})
        request = CaptureRequest(
            participant=participant or None,
            action=action or None,
            seconds=seconds,
            waveform=name_or_path_inside(profile, root) if profile else None,
            script=parse_script(script) if script else (),
            privacy=privacy or None,
        )
        handle = launch(root, request, settings)
    remember_session(root, current_run.id, handle)
    logger.info("Recording %s into %s", handle.recording_id, handle.folder)

    progress = _watch(handle)
    recording = _close(root, handle)
    if recording is not None and recording.manifest.status == "recovered":
        raise PipelineError(
            f"The recorder of {recording.id} died; what had reached the disk is kept: {recording.manifest.reason}"
        )
    if progress.state == "failed" or recording is None:
        raise PipelineError(progress.message)
    if recording.manifest.status != "success":
        raise PipelineError(f"{recording.id} ended early ({recording.manifest.status}): {recording.manifest.reason}")
    return recording.id


def _begun_before(root: Path) -> RecorderHandle | None:
    """The session that this run is to watch to its end; None for one that it is to begin.

    A run that goes on for another one which crashed records nothing of its own, and one that starts again watches its recorder,
    if that is still at work.
    """
    crashed = goes_on_from(current_run.tags or ())
    if crashed is None:
        handle = session_of_run(root, current_run.id)
        return handle if handle is not None and not handle.progress().ended else None
    handle = session_of_run(root, crashed)
    if handle is None:
        raise PipelineError(f"The run {crashed} began no recording, so there is none to go on with; record again.")
    return handle


def _watch(handle: RecorderHandle) -> RecorderProgress:
    """Show how far the recorder is, each second, until it has ended."""
    logger = get_run_logger()
    progress = handle.progress()
    bar = ProgressBar("capture-progress", f"Recording {handle.recording_id}", logger.warning)
    said: set[str] = set()
    while not progress.ended:
        bar.show(100 * progress.seconds / progress.seconds_asked if progress.seconds_asked else 0.0)
        for sentence in (progress.message, progress.cue.split(":")[0], *progress.warnings):
            if sentence and sentence not in said:
                logger.info(sentence)
                said.add(sentence)
        time.sleep(POLL_S)
        progress = handle.progress()
    bar.show(100.0 if progress.state == "done" else 0.0)
    logger.info(
        "%s: %s frames, %s packets, %s bytes lost, %s pulses, %s colour and %s depth pictures",
        progress.state,
        progress.frames,
        progress.packets,
        progress.missing_bytes,
        progress.pulses,
        progress.color_frames,
        progress.depth_frames,
    )
    return progress


def _close(root: Path, handle: RecorderHandle) -> Recording | None:
    """Show and announce what the recorder left, sealed here where it died before; None when there is no recording."""
    try:
        recording = open_recording(root, handle.recording_id)
        if recorder_died(root, recording):
            recording = recover_recording(root, recording.id)
    except PipelineError:
        return None
    if not recording.sealed:
        return None
    rows = recording_rows(recording)
    show_table("recording", rows, description=recording.id)
    show_markdown(
        "capture-session",
        f"Recording {recording.id}",
        markdown_table(rows),
        simulated=recording.manifest.simulated,
        description=f"What {recording.id} holds",
    )
    if recording.frame_count:
        emit_recording_closed(recording)
    return recording
