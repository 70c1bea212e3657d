"""Verbs about skeleton labels: label, train-labeller."""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.console import Answer, JsonOption, RootOption, progress_bar, resolved_root
from flows.verbs.recordings import IdArgument


def label(
    recording_id: IdArgument,
    labeller: Annotated[
        Literal["auto", "vitpose", "yolo", "simulated"],
        typer.Option(help="auto: ViTPose for real pictures, for simulated ones the network trained on such."),
    ] = "auto",
    weights: Annotated[str | None, typer.Option(help="Name or path of other weights than the usual ones.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Labels that are there already: COCO keypoints (.json) or a table (.csv)."),
    ] = None,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Take jitter out with a One-Euro filter; stored with the labels.")
    ] = False,
    body_height_m: Annotated[
        float | None, typer.Option(help="How tall the person is: gives metres where there is no depth.")
    ] = None,
    include_ambiguous: Annotated[
        bool,
        typer.Option("--include-ambiguous", help="Label moments whose radar and picture may not belong together too."),
    ] = False,
    device: Annotated[str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1.")] = "cpu",
    download: Annotated[
        bool, typer.Option("--download", help="Fetch weights that this machine does not have.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Label anew even where the labels are current.")] = False,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Label a recording's pictures with skeletons, judge the labels, draw the doubtful ones."""
    from pydantic import ValidationError

    from flows.labelling import label_session
    from processing.labelling.config import LabelConfig, OneEuro

    try:
        config = LabelConfig(
            smoothing=OneEuro() if smooth else None,
            body_height_m=body_height_m,
            ambiguous="include" if include_ambiguous else "leave-out",
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    with progress_bar(recording_id) as bar:
        result, pictures = label_session(
            resolved_root(root),
            recording_id,
            labeller,
            config,
            weights=weights,
            labels=labels,
            device=device,
            download=download,
            force=force,
            on_progress=lambda done, total: bar(done, total, f"{done} of {total} pictures"),
        )
    rows = result.rows()
    answer = rows | {
        "reasons": result.quality.reasons,
        "key": result.key,
        "rebuilt": result.rebuilt,
        "picture_files": list(map(str, pictures)),
    }
    lines = [f"{name:<14}{value}" for name, value in rows.items()]
    lines += [f"{'':<14}{sentence}" for sentence in result.quality.reasons]
    lines += [f"{'picture':<14}{path}" for path in pictures]
    Answer(as_json).give(answer, lines)


TRAINING_SEEDS, HELD_OUT_SEEDS = 100_000, 200_000
"""First seeds of the people and rooms that are trained on and measured with; no data set uses either."""


def train_labeller(
    pictures: Annotated[int, typer.Option(min=8, help="Rendered pictures to train on.")] = 3000,
    held_out: Annotated[int, typer.Option(min=1, help="Pictures of other people and rooms to measure with.")] = 300,
    steps: Annotated[int, typer.Option(min=1, help="Batches of 16 windows of those pictures.")] = 4000,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Default: weights/simulated-people.safetensors in the data root."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the network's start and the order of pictures.")] = 0,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the simulated rig's labeller from nothing on rendered people, and measure it on people it never saw.

    Weights in the data root take the place of those that come with the project. Plan and scores are written beside them.
    """
    from capture.simulator.datasets import SIMULATOR_VERSION
    from capture.simulator.picture_set import write_picture_set
    from pipeline.files import write_atomic
    from processing.labelling.held_out import measure
    from processing.labelling.simulated import simulated_labeller
    from processing.labelling.training import Plan, train
    from processing.labelling.weight_files import SIMULATED_PEOPLE

    target = (out or resolved_root(root) / "weights" / SIMULATED_PEOPLE).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name, progress_bar("train-labeller") as bar:
        folder, total = Path(name), pictures + held_out
        write_picture_set(
            folder, "train", pictures, TRAINING_SEEDS, divided_by=2,
            on_progress=lambda done, _: bar(done, total, f"{done} of {total} pictures"),
        )  # fmt: skip
        write_picture_set(
            folder, "held-out", held_out, HELD_OUT_SEEDS,
            on_progress=lambda done, _: bar(pictures + done, total, f"{pictures + done} of {total} pictures"),
        )  # fmt: skip
        card = train(
            folder, "train", target, Plan(steps=steps, seed=seed),
            on_progress=lambda done, all_steps, loss: bar(done, all_steps, f"step {done} of {all_steps}, loss {loss:.2f}"),
        )  # fmt: skip
        minutes = round((time.monotonic() - started) / 60, 1)
        scores = measure(simulated_labeller(target, root=target.parent), folder, "held-out").card()
    options = f"--pictures {pictures} --held-out {held_out} --steps {steps} --seed {seed}"
    card |= {
        "command": f"maepose train-labeller {options}",
        "minutes": minutes,
        "simulator_version": SIMULATOR_VERSION,
        "first_seed": {"training": TRAINING_SEEDS, "held_out": HELD_OUT_SEEDS},
        "held_out": scores,
    }
    write_atomic(target.with_suffix(".json"), json.dumps(card, indent=2) + "\n")
    Answer(as_json).give(
        {
            "weights": str(target),
            "bytes": card["bytes"],
            "minutes": minutes,
            "pck_torso_0_2": scores["all"]["pck_torso_0_2"],
            "pck_height_0_05": scores["all"]["pck_height_0_05"],
            "with_bystander": scores["with_bystander"]["pck_torso_0_2"],
            "mean_px": scores["all"]["mean_px"],
        }
    )
