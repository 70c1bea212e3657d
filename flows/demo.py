"""`maepose demo`: the whole pipeline, small, on the simulated rig, through a real Prefect server.

A list of steps, each of which does one thing and notes what it found; later parts of the pipeline add theirs.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient

from flows.address import LocalServer, running_server
from flows.console import Answer, table, tell
from flows.demo_runs import finished, numbers_of, ran, run_of, started, typed
from flows.demo_study import mean_errors, write_demo_study
from flows.local_server import start, stop
from flows.sessions import session_of_run
from pipeline.cube_config import preset
from pipeline.recording import open_recording
from pipeline.settings import read_rig
from processing.cubes import process_recording

CAPTURED_WITHIN_S = 180.0
PROCESSED_WITHIN_S = 300.0
LABELLED_WITHIN_S = 300.0
TRAINED_WITHIN_S = 900.0
DEMO_SCRIPT = "arm-raise 5, stepping 5"
DEMO_PERSON = "p01"
OTHER_PEOPLE = ("m01", "m02", "m03")  # of sim-move: whom networks learn from, so that they meet p01 as a stranger
OTHERS_FRAMES = 1200
PRETRAINING_STEPS, FINETUNING_STEPS = 400, 400


@dataclass
class Demo:
    """What the steps share: where they work, and what they found."""

    root: Path
    server: LocalServer
    client: SyncPrefectClient
    capture_run: UUID | None = None
    recording_id: str = ""
    models: dict[str, Path] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)


def run_demo(root: Path, answer: Answer, *, keep: bool) -> None:
    """Run every step; the server is stopped at the end unless `keep`, or unless it ran before."""
    began = time.monotonic()
    ours = running_server(root) is None
    server = start(root, tell=tell)
    try:
        with SyncPrefectClient(server.api_url) as client:
            demo = Demo(root, server, client)
            try:
                for number, (title, step) in enumerate(STEPS, 1):
                    tell(f"[{number}/{len(STEPS)}] {title}")
                    step(demo)
            except BaseException:
                _stop_recorder(demo)
                raise
    except BaseException:
        if ours:
            stop(root)
        raise
    if ours and not keep:
        tell("Stopping the server ...")
        stop(root)
    demo.found["minutes"] = round((time.monotonic() - began) / 60, 1)
    _report(demo, answer, kept=keep or not ours)


def _capture(demo: Demo) -> None:
    """Type the command a person types, and wait for the run it makes."""
    parameters = [f"participant={DEMO_PERSON}", f"script={DEMO_SCRIPT}"]
    if not read_rig(demo.root).simulated:
        parameters.append("rig=simulated")  # this data root has a real rig, which a demonstration leaves alone
    run_id = demo.capture_run = started(demo, "capture-session", parameters)
    run = finished(demo, lambda: demo.client.read_flow_run(run_id), CAPTURED_WITHIN_S)
    numbers = numbers_of(demo, run, "recording")
    demo.recording_id = str(numbers["recording"])
    wanted = (
        *("recording", "simulated", "action", "frames", "seconds", "packets", "lost bytes"),
        *("pulses", "color pictures", "depth pictures", "alignment"),
    )
    demo.found |= {name: numbers[name] for name in wanted if name in numbers}


def _process(demo: Demo) -> None:
    """Wait for the run that the closed recording started by itself."""
    run = finished(demo, lambda: run_of(demo, "process-recording", demo.recording_id), PROCESSED_WITHIN_S)
    numbers = numbers_of(demo, run, "products")
    demo.found |= {"cube": numbers["cube"], "cube frames/s": numbers["frames_per_s"], "quality": numbers["quality"]}
    demo.pictures += numbers["pictures"].split("\n") if numbers["pictures"] else []


def _label(demo: Demo) -> None:
    """Wait for the run that the finished cube started by itself."""
    run = finished(demo, lambda: run_of(demo, "label-recording", demo.recording_id), LABELLED_WITHIN_S)
    numbers = numbers_of(demo, run, "labels")
    labelled = f"{numbers['labelled']} of {numbers['frames']} frames by {numbers['labeller']}"
    demo.found |= {"labels": labelled, "labels' verdict": numbers["verdict"], "metres by": numbers["scale_source"]}
    demo.pictures += numbers["pictures"].split("\n") if numbers["pictures"] else []


def _simulate(demo: Demo) -> None:
    """Make labelled recordings of other people, and their cubes: one session of one person is nothing to learn from.

    The cubes alone, in this process: runs would judge and draw each of these recordings too, two seconds of a core apiece.
    """
    waveform = open_recording(demo.root, demo.recording_id).waveform.name
    command = ["simulate", "sim-move", "--people", str(len(OTHER_PEOPLE)), "--frames", str(OTHERS_FRAMES)]
    done = typed(demo, "flows.cli", "maepose", [*command, "--waveform", waveform, "--json"])
    recordings = json.loads(done)["recordings"]
    tell(f"      making the cubes of these {len(recordings)} recordings, without runs of their own")
    for recording_id in recordings:
        process_recording(open_recording(demo.root, recording_id), demo.root, preset("default"))
    demo.found["learnt from"] = f"{len(recordings)} simulated recordings of {', '.join(OTHER_PEOPLE)}"


def _pretrain(demo: Demo) -> None:
    """Fill in hidden patches of their radar maps; then of the session, which the network has not seen."""
    from models.figures import draw_reconstruction
    from models.shown import masked_clips

    model = _train(demo, "pretrain", PRETRAINING_STEPS)
    clips = masked_clips(demo.root, demo.recording_id, model)
    errors = [f"{clip.modality} {clip.error:.4f} (one value everywhere: {clip.flat_error:.4f})" for clip in clips]
    demo.found["squared error on hidden cells"] = ", ".join(errors)
    path = demo.root / "pictures" / demo.recording_id / "reconstruction.png"
    title = f"{demo.recording_id}: what an autoencoder makes of hidden patches"
    quiet = f"tiny, {PRETRAINING_STEPS} steps on other people's recordings · power scaled to 0..1 · visible patches as they were"
    demo.pictures.append(str(draw_reconstruction(path, clips, title, quiet, simulated=True)))


def _finetune(demo: Demo) -> None:
    """Fit a pose network that begins with the pre-trained encoder."""
    _train(demo, "finetune", FINETUNING_STEPS, f"encoder={demo.models['pretrain']}")


def _predict(demo: Demo) -> None:
    """Predict the session as `maepose predict` does, and draw it beside the pose that needs no radar."""
    from models.checkpoints import read_card
    from models.figures import draw_poses
    from models.predicting import predict
    from models.shown import mean_pose, pose_strip, side_by_side

    model = demo.models["finetune"]
    name = "maepose"
    result = predict(demo.root, demo.recording_id, model, name=name)
    still = {"mean training pose": mean_pose(demo.root, read_card(model).recordings)}
    poses = side_by_side(demo.root, demo.recording_id, (name,), still)
    demo.found["poses"] = f"{result.frames_predicted} of {result.frames} frames, {result.clips_per_s:.0f} a second"
    said = ", ".join(f"{method} {error:.3f}" for method, error in poses.errors().items())
    demo.found["mean error"] = f"{said} of the picture; one session of one person, no evaluation"
    strip = pose_strip(demo.root, demo.recording_id, {name: model}, poses)
    path = demo.root / "pictures" / demo.recording_id / "poses.png"
    title = f"{demo.recording_id}: poses over the labels (grey)"
    quiet = (
        f"tiny, {FINETUNING_STEPS} steps on {len(OTHER_PEOPLE)} other people · the person's left orange, right blue · "
        "errors in shares of the picture"
    )
    demo.pictures.append(str(draw_poses(path, strip, title, quiet, simulated=True)))


def _study(demo: Demo) -> None:
    """Hold each of the other people out once: two networks beside floors and oracles, and a report."""
    run = ran(demo, "study", [f"study={write_demo_study(demo.root)}"], TRAINED_WITHIN_S)
    folder = Path(str(numbers_of(demo, run, "study")["folder"]))
    demo.found["study"] = f"mean error over {len(OTHER_PEOPLE)} people, each held out once: {mean_errors(folder)}"
    demo.found["report"] = str(folder / "report.html")


STEPS: list[tuple[str, Callable[[Demo], None]]] = [
    ("Recording one session with the simulated rig", _capture),
    ("The closed recording starts its own processing", _process),
    ("The finished cube starts the labelling", _label),
    ("Simulating other people to learn from", _simulate),
    ("Pre-training a masked autoencoder on them", _pretrain),
    ("Fine-tuning it to poses", _finetune),
    ("Predicting the session, of a person the networks never saw", _predict),
    ("A study: each of the other people held out once, in a table", _study),
]


def _train(demo: Demo, flow: str, steps: int, *more: str) -> Path:
    """Run a training flow on the other people with the session's person held out; returns the weights."""
    parameters = [
        f"people={json.dumps(OTHER_PEOPLE)}",
        f"hold_out={DEMO_PERSON}",
        f"steps={steps}",
        f"name={flow}-{demo.recording_id}",
        *more,
    ]
    run = ran(demo, flow, parameters, TRAINED_WITHIN_S)
    demo.models[flow] = Path(str(numbers_of(demo, run, f"{flow}-result")["model"]))
    return demo.models[flow]


def _stop_recorder(demo: Demo) -> None:
    """Leave no recorder behind when the demonstration is broken off."""
    handle = session_of_run(demo.root, demo.capture_run) if demo.capture_run is not None else None
    if handle is not None and not handle.progress().ended:
        handle.request_stop()
        handle.wait(30.0)


def _report(demo: Demo, answer: Answer, *, kept: bool) -> None:
    lines: list[Any] = ["", table(("", ""), list(demo.found.items())), ""]
    lines += [f"picture: {path}" for path in demo.pictures]
    lines += ["", f"The report of the study is {demo.found['report']}"]
    if kept:
        lines += [f"The Prefect UI is at {demo.server.ui_url}", f"Stop it with: maepose down --root {demo.root}"]
    else:
        lines += [
            f"The Prefect UI was at {demo.server.ui_url}; `maepose up --root {demo.root}` brings it and its runs back."
        ]
    value = {**demo.found, "pictures": demo.pictures, "ui": demo.server.ui_url if kept else None}
    answer.give(value, lines)
