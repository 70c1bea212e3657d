"""`finetune`: a pose network on labelled recordings; goes on where a killed run stopped."""

from prefect import flow

from flows.address import worker_root
from flows.asked_paths import name_or_path_inside
from flows.experiments import (
    ExperimentRequest,
    HeadChoice,
    MethodChoice,
    ModalityChoice,
    PresetChoice,
    needs_training_extra,
    summary,
)
from flows.experiments import finetune as run_finetuning
from flows.pretrain import Name, Seed, Steps, show_training, training_progress


@flow(name="finetune", flow_run_name="finetune-{preset}-{modality}")
def finetune(
    preset: PresetChoice = "tiny",
    modality: ModalityChoice = "dual",
    method: MethodChoice | None = None,
    head: HeadChoice | None = None,
    encoder: str | None = None,
    hold_out: str | None = None,
    people: tuple[str, ...] = (),
    steps: Steps | None = None,
    seed: Seed = 42,
    name: Name | None = None,
    force: bool = False,
) -> str:
    """Fit a pose network; returns the path of its weights.

    Args:
        preset: paper, paper-cheap, paper224, small or tiny.
        modality: Range-Doppler (rd), range-azimuth (ra), or both (dual).
        method: maepose, maepose-plus, cubelearn, poseformer or hupr; empty for the preset's.
        head: heatmap, mlp, gcn or simcc; empty for the preset's.
        encoder: Name of a pre-trained experiment, or a file in the data root; empty for random weights.
        hold_out: A person who is in no training recording; empty for nobody.
        people: Only recordings of these people; empty for everybody.
        steps: Stop after so many optimiser steps; empty for as many as the preset says.
        seed: Of split, start and order of clips.
        name: Of the folder in experiments/; empty for one made of these choices.
        force: Begin anew what is there already under that name.
    """
    needs_training_extra()
    root = worker_root()
    encoder = name_or_path_inside(encoder, root) if encoder is not None else None
    request = ExperimentRequest(
        preset=preset, modality=modality, method=method, head=head, encoder=encoder, hold_out=hold_out, people=people,
        steps=steps, seed=seed, name=name,
    )  # fmt: skip
    path, experiment = run_finetuning(root, request, training_progress("finetune"), force=force)
    show_training("finetune", summary(root, path, experiment), experiment)
    return str(path)
