"""Verbs about skeleton labels: train-labeller."""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from flows.console import Answer, JsonOption, RootOption, progress_bar, resolved_root

TRAINING_SEEDS, HELD_OUT_SEEDS = 100_000, 200_000
"""First seeds of the people and rooms that are trained on and measured with; no data set uses either."""


def train_labeller(
    pictures: Annotated[int, typer.Option(min=8, help="Rendered pictures to train on.")] = 2400,
    held_out: Annotated[int, typer.Option(min=1, help="Pictures of other people and rooms to measure with.")] = 300,
    passes: Annotated[
        tuple[int, int], typer.Option(min=1, help="Passes over close-ups of everybody, then over whole pictures.")
    ] = (6, 3),
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Default: weights/simulated-people.pt in the data root."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the network's start and the order of pictures.")] = 0,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the simulated rig's labeller from nothing on rendered people, and measure it on people it never saw.

    Weights in the data root take the place of those that come with the project. Plan and scores are written beside them.
    """
    from dataclasses import replace

    from capture.simulator.datasets import SIMULATOR_VERSION
    from capture.simulator.picture_set import write_picture_set
    from pipeline.files import write_atomic
    from processing.labelling.held_out import measure
    from processing.labelling.training import Plan, train_pose
    from processing.labelling.weight_files import SIMULATED_PEOPLE
    from processing.labelling.yolo import simulated_people_labeller

    target = (out or resolved_root(root) / "weights" / SIMULATED_PEOPLE).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    plan = Plan(seed=seed)
    plan = replace(plan, phases=tuple(replace(p, passes=n) for p, n in zip(plan.phases, passes, strict=True)))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name, progress_bar("train-labeller") as bar:
        folder, total = Path(name), pictures + held_out
        write_picture_set(
            folder, "train", pictures, TRAINING_SEEDS, divided_by=2, close_ups=True,
            on_progress=lambda done, _: bar(done, total, f"{done} of {total} pictures"),
        )  # fmt: skip
        write_picture_set(
            folder, "held-out", held_out, HELD_OUT_SEEDS,
            on_progress=lambda done, _: bar(pictures + done, total, f"{pictures + done} of {total} pictures"),
        )  # fmt: skip
        card = train_pose(folder, target, plan, on_progress=lambda done, work: bar(done, work, "training"))
        minutes = round((time.monotonic() - started) / 60, 1)
        scores = measure(simulated_people_labeller(target), folder, "held-out").card()
    options = f"--pictures {pictures} --held-out {held_out} --passes {passes[0]} {passes[1]} --seed {seed}"
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
