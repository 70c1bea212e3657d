"""Verbs about networks: pretrain, finetune, predict, live, export-model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flows.console import Answer, JsonOption, RootOption, progress_bar, resolved_root, tell
from flows.experiments import Experiment, ExperimentRequest, HeadChoice, MethodChoice, ModalityChoice, Progress
from flows.verbs.recordings import IdArgument

PresetOption = Annotated[str, typer.Option("--preset", help="paper, paper-cheap, paper224, small or tiny.")]
ModalityOption = Annotated[ModalityChoice, typer.Option(help="Range-Doppler, range-azimuth, or both.")]
HoldOutOption = Annotated[
    str | None, typer.Option("--hold-out", metavar="PERSON", help="Who is in no training recording, in any data set.")
]
PeopleOption = Annotated[
    str | None, typer.Option(metavar="P01,P02", help="Only recordings of these people; default: of everybody.")
]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Optimiser steps; default: as the preset says.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of split, start and order of clips.")]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Of the folder in experiments/; default: made of the choices.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Begin anew what is there already under that name.")]
ModelOption = Annotated[
    str, typer.Option("--model", metavar="NAME", help="An experiment under experiments/, or a .safetensors file.")
]
DeviceOption = Annotated[str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1.")]


def pretrain(
    preset: PresetOption = "tiny",
    modality: ModalityOption = "dual",
    hold_out: HoldOutOption = None,
    people: PeopleOption = None,
    steps: StepsOption = None,
    seed: SeedOption = 42,
    name: NameOption = None,
    force: ForceOption = False,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pre-train a masked autoencoder on the cubes there are, labelled or not. Run again, it goes on where it was cut short."""
    from flows.experiments import pretrain as run

    request = _request(
        preset=preset, modality=modality, hold_out=hold_out, people=people, steps=steps, seed=seed, name=name
    )
    _train(partial(run, force=force), request, "pretrain", root, as_json)


def finetune(
    preset: PresetOption = "tiny",
    modality: ModalityOption = "dual",
    method: Annotated[MethodChoice | None, typer.Option(help="Network; default: the preset's, maepose.")] = None,
    head: Annotated[HeadChoice | None, typer.Option(help="Of maepose; default: the preset's.")] = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="A pre-trained experiment or file; default: random weights.")
    ] = None,
    hold_out: HoldOutOption = None,
    people: PeopleOption = None,
    steps: StepsOption = None,
    seed: SeedOption = 42,
    name: NameOption = None,
    force: ForceOption = False,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a pose network on labelled recordings. Run again, it goes on where it was cut short."""
    from flows.experiments import finetune as run

    request = _request(
        preset=preset, modality=modality, method=method, head=head, encoder=encoder, hold_out=hold_out, people=people,
        steps=steps, seed=seed, name=name,
    )  # fmt: skip
    _train(partial(run, force=force), request, "finetune", root, as_json)


def predict(
    recording_id: IdArgument,
    model: ModelOption,
    name: Annotated[str | None, typer.Option("--name", help="Of the predictions; default: the experiment's.")] = None,
    device: DeviceOption = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Predict anew even where that is current.")] = False,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the poses of a processed recording, one a frame, into a table beside its labels."""
    from flows.experiments import model_file, needs_training_extra

    needs_training_extra()
    from models.predicting import predict as run

    where = resolved_root(root)
    with progress_bar(recording_id) as bar:
        result = run(
            where, recording_id, model_file(where, model), name=name, device=device, force=force,
            on_progress=lambda done, total: bar(done, total, f"{done} of {total} frames"),
        )  # fmt: skip
    Answer(as_json).give(
        {
            "recording": result.recording,
            "simulated": result.simulated,
            "model": result.model,
            "predictions": str(result.path),
            "frames": result.frames,
            "frames_predicted": result.frames_predicted,
            "scale_source": result.scale_source,
            "rebuilt": result.rebuilt,
            "seconds": round(result.seconds, 3),
            "clips_per_s": round(result.clips_per_s, 1),
        }
    )


def live(
    model: ModelOption,
    recording_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The capture to follow; default: the one that is running.")
    ] = None,
    replay: Annotated[
        str | None, typer.Option("--replay", metavar="ID", help="A recording that is done, at its own pace.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long; default: at its end.")] = None,
    video: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what is shown as .mp4 or .mkv.")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the last one shown as a PNG.")] = None,
    device: DeviceOption = "cpu",
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show radar maps and skeleton of a running capture, frame by frame, and say how late they are. Ctrl-C ends the showing.

    In a terminal it draws in colour; elsewhere name --video or --picture.
    """
    import sys

    from flows.experiments import model_file, needs_training_extra

    if recording_id is not None and replay is not None:
        raise typer.BadParameter("name a capture to follow or a recording to replay, not both")
    needs_training_extra()
    from flows.live import live as run

    where = resolved_root(root)
    times = run(
        where,
        model_file(where, model),
        replay if replay is not None else recording_id,
        replay=replay is not None,
        seconds=seconds,
        terminal=sys.stderr.isatty() and not as_json,
        video=video,
        picture=picture,
        device=device,
        on_start=lambda name: tell(f"Showing {name}; Ctrl-C ends the showing, not the capture."),
    )
    files = {"video": video, "picture": picture}
    Answer(as_json).give(times.rows() | {kind: str(path) for kind, path in files.items() if path is not None})


def export_model(
    model: ModelOption,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to; default: beside the model's weights.")
    ] = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a pose model as ONNX and as a torch.export program, and hold both against the model itself."""
    from flows.experiments import model_file, needs_training_extra

    needs_training_extra()
    from models.exporting import export_model as run

    source = model_file(resolved_root(root), model)
    exported = run(source, out or source.parent)
    Answer(as_json).give(exported.rows())


def _request(people: str | None, **choices: object) -> ExperimentRequest:
    """The request, or wrong usage in a sentence."""
    from pydantic import ValidationError

    names = tuple(name.strip() for name in (people or "").split(",") if name.strip())
    try:
        return ExperimentRequest.model_validate(choices | {"people": names})
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _train(
    run: Callable[[Path, ExperimentRequest, Progress], tuple[Path, Experiment]],
    request: ExperimentRequest,
    verb: str,
    root: Path | None,
    as_json: bool,
) -> None:
    from flows.experiments import needs_training_extra, summary

    needs_training_extra()
    where = resolved_root(root)
    with progress_bar(verb) as bar:
        path, experiment = run(where, request, lambda done, total, text: bar(done, total, text))
    Answer(as_json).give(summary(where, path, experiment))
