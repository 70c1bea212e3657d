"""Verbs that need the rig: doctor, capture, stop, config."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.console import Answer, JsonOption, RootOption, progress_bar, resolved_root, table, tell
from pipeline.errors import PipelineError

SimulatedOption = Annotated[bool, typer.Option("--simulated", help="The simulated rig, whatever rig.toml says.")]


def doctor(root: RootOption = None, simulated: SimulatedOption = False, as_json: JsonOption = False) -> None:
    """Check the rig: waveform, disk, card, radar, trigger board, camera. Says what is wrong and what to do; records nothing."""
    from capture.preflight import examine

    where = resolved_root(root)
    checks = examine(where, _rig(where, simulated))
    bad = [check for check in checks if check.passed is False]
    rows = [(_word(check.passed), check.name, check.detail, check.where) for check in checks]
    Answer(as_json).give(
        {
            "ok": not bad,
            "checks": [
                {"name": check.name, "passed": check.passed, "detail": check.detail, "where": check.where}
                for check in checks
            ],
        },
        [table(("", "check", "found", "where"), rows)],
    )
    if bad:
        raise PipelineError(f"{len(bad)} of {len(checks)} checks failed: {', '.join(check.name for check in bad)}.")


def capture(
    participant: Annotated[str | None, typer.Option(help="Who is recorded, for example p01.")] = None,
    action: Annotated[str | None, typer.Option(help="What the person does, for example arm-raise.")] = None,
    seconds: Annotated[float | None, typer.Option(help="How long; default: the rig's.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="Waveform preset (paper, light) or a .cfg file in the data root.")
    ] = None,
    room: Annotated[str | None, typer.Option(help="Where; default: the rig's.")] = None,
    script: Annotated[
        str | None,
        typer.Option(
            metavar="STEPS",
            help="Actions one after the other, `arm-raise 10, stepping 10`, or a file with one step a line.",
        ),
    ] = None,
    privacy: Annotated[
        Literal["keep", "faces-blurred", "skeleton-only"] | None,
        typer.Option(help="What becomes of the pictures; default: as rig.toml says."),
    ] = None,
    simulated: SimulatedOption = False,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record one session with the configured rig. Ctrl-C stops it and seals what was recorded.

    With a script the screen counts down to each action, and the recording holds its segments.
    """
    from pydantic import ValidationError

    from capture.script import read_script
    from capture.session import CaptureRequest, launch
    from pipeline.recording import open_recording

    where = resolved_root(root)
    try:
        request = CaptureRequest(
            participant=participant,
            action=action,
            seconds=seconds,
            waveform=profile,
            room=room,
            script=read_script(script) if script is not None else (),
            privacy=privacy,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where_said = ".".join(map(str, first["loc"]))
        raise typer.BadParameter(f"{where_said}: {first['msg']}" if where_said else first["msg"]) from None
    handle = launch(where, request, _rig(where, simulated))
    tell(f"Recording {handle.recording_id}; Ctrl-C stops and seals it.")
    progress, interrupted = _watch(handle)
    if progress.state == "failed":
        raise PipelineError(progress.message)
    recording = open_recording(where, handle.recording_id)
    seconds_recorded = recording.frame_count * recording.frame_period_s
    Answer(as_json).give(
        {
            "recording": recording.id,
            "status": recording.manifest.status,
            "simulated": recording.manifest.simulated,
            "frames": recording.frame_count,
            "seconds": round(seconds_recorded, 3),
            "packets": progress.packets,
            "missing_bytes": progress.missing_bytes,
            "pulses": progress.pulses,
            "color_frames": progress.color_frames,
            "depth_frames": progress.depth_frames,
            "alignment": _alignment(recording.folder),
            "segments": [segment.action for segment in recording.manifest.segments],
            "folder": recording.folder,
        }
    )
    if recording.manifest.status != "success" and not interrupted:
        raise PipelineError(f"{recording.id} ended early ({recording.manifest.status}): {recording.manifest.reason}")


def stop(
    recording_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The recording; default: the one that is being recorded.")
    ] = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a recorder that goes on by itself (its worker or terminal is gone), and let it seal the recording."""
    from capture.session import attach, recorder_alive

    where = resolved_root(root)
    if recording_id is None:
        sessions = where / "sessions"
        alive = [path.name for path in sorted(sessions.glob("*")) if path.is_dir() and recorder_alive(where, path.name)]
        if len(alive) != 1:
            found = f"{len(alive)} are running: {', '.join(alive)}; name one" if alive else "none is running"
            raise PipelineError(f"There is not one recorder to stop under {where}: {found}.")
        recording_id = alive[0]
    handle = attach(where, recording_id)
    handle.request_stop()
    progress = handle.wait(60.0)
    if progress.state == "failed":
        raise PipelineError(progress.message)
    Answer(as_json).give({"recording": recording_id, "status": progress.status, "frames": progress.frames})


def config(
    cfg: Annotated[
        str | None,
        typer.Option("--cfg", metavar="NAME", help="Print this waveform as the .cfg a radar is sent, and no more."),
    ] = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what the data root is configured with: rig.toml with every default filled in, and the waveform it means."""
    from pipeline.settings import read_rig, waveform_config

    where = resolved_root(root)
    if cfg is not None:
        text = waveform_config(where, cfg).text
        Answer(as_json).give({"name": cfg, "cfg": text}, [text.rstrip("\n")])
        return
    rig = read_rig(where)
    waveform = waveform_config(where, rig.waveform).waveform
    derived = {
        "frame_bytes": waveform.frame_bytes,
        "frame_period_s": waveform.frame_period_s,
        "data_rate_mbps": round(waveform.data_rate_bps / 1e6, 3),
    }
    settings: dict[str, Any] = {"root": str(where), "rig": rig.model_dump(mode="json")}
    settings |= {"waveform": waveform.model_dump(mode="json"), "derived": derived}
    lines = [f"root = {where}"]
    for name in ("rig", "waveform", "derived"):
        lines += ["", f"[{name}]", *(f"{key} = {value}" for key, value in settings[name].items())]
    Answer(as_json).give(settings, lines)


def _rig(root: Path, simulated: bool) -> Any:
    from pipeline.settings import read_rig

    rig = read_rig(root)
    return rig.model_copy(update={"kind": "simulated"}) if simulated else rig


def _watch(handle: Any) -> tuple[Any, bool]:
    """Show how far the recorder is until it has ended; returns its last word, and whether Ctrl-C ended it.

    A second Ctrl-C leaves the recorder to itself.
    """
    import time

    asked_to_stop, warned = False, set()
    with progress_bar(handle.recording_id) as bar:
        while not (progress := handle.progress()).ended:
            words = f"{progress.frames} frames, {progress.color_frames} pictures, {progress.missing_bytes} bytes lost"
            bar(
                progress.seconds,
                progress.seconds_asked,
                f"[bold]{progress.cue}[/bold]  {words}" if progress.cue else words,
            )
            for warning in progress.warnings:
                if warning not in warned:
                    warned.add(warning)
                    tell(f"Note: {warning}")
            try:
                time.sleep(0.2)
            except KeyboardInterrupt:
                if asked_to_stop:
                    raise
                asked_to_stop = True
                handle.request_stop()
                tell("Stopping; the recording is being sealed.")
    return progress, asked_to_stop


def _alignment(folder: Path) -> str | None:
    """The alignment's verdict; None for a recording of the radar alone."""
    from pipeline.sync import read_sync

    return read_sync(folder)[1].verdict if (folder / "sync.parquet").exists() else None


def _word(passed: bool | None) -> str:
    return {True: "ok", False: "BAD", None: "-"}[passed]
