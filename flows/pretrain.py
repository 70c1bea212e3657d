"""`pretrain`: a masked autoencoder on the cubes there are; goes on where a killed run stopped."""

from typing import Annotated

from prefect import flow, get_run_logger
from pydantic import Field

from flows.address import worker_root
from flows.artifacts import ProgressBar, markdown_table, show_markdown, show_table
from flows.experiments import (
    Experiment,
    ExperimentRequest,
    ModalityChoice,
    PresetChoice,
    Progress,
    needs_training_extra,
    summary,
)
from flows.experiments import pretrain as run_pretraining
from pipeline.manifest import ID_PATTERN

Name = Annotated[str, Field(pattern=ID_PATTERN)]
Steps = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


@flow(name="pretrain", flow_run_name="pretrain-{preset}-{modality}")
def pretrain(
    preset: PresetChoice = "tiny",
    modality: ModalityChoice = "dual",
    hold_out: str | None = None,
    people: tuple[str, ...] = (),
    steps: Steps | None = None,
    seed: Seed = 42,
    name: Name | None = None,
    force: bool = False,
) -> str:
    """Pre-train on every recording of the people there are; returns the path of the weights.

    Args:
        preset: paper, paper-cheap, paper224, small or tiny.
        modality: Range-Doppler (rd), range-azimuth (ra), or both (dual).
        hold_out: A person who is in no training recording; empty for nobody.
        people: Only recordings of these people; empty for everybody.
        steps: Stop after so many optimiser steps; empty for as many as the preset says.
        seed: Of split, start and order of clips.
        name: Of the folder in experiments/; empty for one made of these choices.
        force: Begin anew what is there already under that name.
    """
    needs_training_extra()
    request = ExperimentRequest(
        preset=preset, modality=modality, hold_out=hold_out, people=people, steps=steps, seed=seed, name=name
    )
    root = worker_root()
    path, experiment = run_pretraining(root, request, training_progress("pretrain"), force=force)
    show_training("pretrain", summary(root, path, experiment), experiment)
    return str(path)


def training_progress(verb: str) -> Progress:
    """Moves a progress artifact of the current run."""
    bar = ProgressBar(f"{verb}-progress", verb, get_run_logger().warning)
    return lambda done, total, _: bar.show(100 * done / max(total, 1))


def show_training(verb: str, rows: dict[str, object], experiment: Experiment) -> None:
    """Store what a training came to as artifacts of the current run."""
    show_table(f"{verb}-result", rows, description=str(rows["experiment"]))
    show_markdown(
        verb,
        f"Experiment {rows['experiment']}",
        markdown_table(rows),
        f"Tested on: {', '.join(experiment.test) or 'nobody was held out'}",
        simulated=bool(rows["simulated"]),
        description=f"What `{verb}` made of {len(experiment.train)} recordings",
    )
    get_run_logger().info("%s", rows["model"])
