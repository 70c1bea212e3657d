"""Fine-tuning: a network from clips to poses, from random weights or from a pre-trained encoder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.batch import ClipBatch
from models.checkpoints import ModelCard, load_model
from models.config import ClipConfig, MaskedConfig
from models.maps import fit_clip_config
from models.metrics import pose_errors
from models.presets import Preset, preset
from models.pretraining import clip_loader, seeded_network
from models.quiet_lightning import Tracking
from models.runs import differences
from models.training import Machine, OnProgress, Task, fit, gathered
from pipeline.errors import PipelineError
from pipeline.provenance import sha256_file
from pipeline.splits import Split

FITTED = {"window_db", "levels", "first_range_m", "range_step_m", "velocity_step_mps"}
"""What a clip configuration takes from training recordings, where it does not say."""


def finetune(
    root: Path,
    split: Split,
    settings: str | Preset,
    folder: Path,
    *,
    encoder: Path | None = None,
    name: str = "",
    held_out: str | None = None,
    on_progress: OnProgress | None = None,
    resume: bool = True,
    tracking: Tracking = "tensorboard",
    machine: Machine | None = None,
) -> Path:
    """Fit the pose network of preset `settings` and return its file, `folder`/model.safetensors.

    `encoder`: file of a masked autoencoder to begin from, whose scaling and cut the clips then take; None: random weights.
    From random weights all layers learn at one rate, whatever `layer_decay` says.
    The weights kept are those with the least `mpjpe_norm` on `split.validation`. `name` as in `models.pretraining.pretrain`.
    Raises PipelineError as `models.training.fit`; when `encoder` was pre-trained with other clips or another size, or has seen
    a recording of `split.test`; and when there is nothing to train or to validate on.
    """
    name, chosen = (settings, preset(settings)) if isinstance(settings, str) else (name, settings)
    if not split.validation:
        raise PipelineError("There is no recording to validate on, so no weights can be chosen; the split is empty.")
    begun: nn.Module | None = None
    clip = chosen.clip
    if encoder is not None:
        begun, clip = _begin_from(encoder, chosen, split)
    # lower rates protect what pre-training has learnt, and random weights have nothing to protect
    training = chosen.finetuning if begun is not None else chosen.finetuning.model_copy(update={"layer_decay": 1.0})
    card = ModelCard(
        preset=name,
        clip=fit_clip_config(root, split.train, clip),
        network=chosen.pose,
        training=training,
        recordings=split.train,
        validation=split.validation,
        held_out=held_out,
        encoder_sha256=None if encoder is None else sha256_file(encoder),
    )
    machine = machine or Machine()
    network: Any = seeded_network(card)
    if begun is not None:
        network.load_encoder(begun)
    layers = [(number, list(parameters)) for number, _, parameters in network.layers()]
    return fit(
        network,
        layers,
        Task(pose_loss, judge_poses, "mpjpe_norm", "best"),
        clip_loader(root, split.train, card, machine, labelled=True),
        clip_loader(root, split.validation, card, machine, labelled=True, judged=True),
        card,
        folder,
        on_progress=on_progress,
        resume=resume,
        tracking=tracking,
        machine=machine,
    )


def pose_loss(network: Any, batch: ClipBatch, _: torch.Generator) -> dict[str, Tensor]:
    """The network's own loss, with its parts."""
    losses: dict[str, Tensor] = network.loss(network(batch.maps), batch)
    return losses


def judge_poses(network: nn.Module, batches: Iterable[ClipBatch]) -> dict[str, float]:
    """The measures of `models.metrics` that need no view, over all clips together (`explained_motion`: as if of one person)."""
    said = []
    for batch in batches:
        uv = network(batch.maps).uv.float()
        said.append([tensor.cpu().numpy() for tensor in (uv, batch.uv, batch.confidence)])
    everyone = [one for process in gathered(said) for one in process]
    predicted, true, confidence = (np.concatenate(arrays) for arrays in zip(*everyone, strict=True))
    if not np.isfinite(predicted).all():
        return {"mpjpe_norm": float("nan")}
    errors = pose_errors(predicted, true, confidence)
    return {key: float(value) for key, value in errors.items() if isinstance(value, float)}


def _begin_from(path: Path, chosen: Preset, split: Split) -> tuple[nn.Module, ClipConfig]:
    """The autoencoder in `path`, and the preset's clips scaled and cut as it learnt them."""
    network, card = load_model(path, "masked")
    assert isinstance(card.network, MaskedConfig)
    if not chosen.pose.method.startswith("maepose"):
        raise PipelineError(f"Method {chosen.pose.method} has no encoder to begin from {path}; leave the encoder out.")
    open_fields = {field for field in FITTED if getattr(chosen.clip, field) in (None, "auto", {})}
    ignored = open_fields | {"targets"}  # the autoencoder has no targets
    other = differences(
        card.clip.model_dump(mode="json", exclude=ignored), chosen.clip.model_dump(mode="json", exclude=ignored), "clip"
    )
    other += differences(
        card.network.encoder.model_dump(mode="json"), chosen.pose.encoder.model_dump(mode="json"), "encoder"
    )
    if other:
        raise PipelineError(
            f"{path} was pre-trained with another configuration ({'; '.join(other[:3])}); "
            "fine-tune with the preset and modalities it was pre-trained with, or pre-train anew."
        )
    seen = sorted({*card.recordings, *card.validation} & {*split.test})
    if seen:
        raise PipelineError(
            f"{path} was pre-trained on {seen[0]}, which is to be tested"
            f"{f' (and {len(seen) - 1} more)' if len(seen) > 1 else ''}; pre-train without the person held out."
        )
    return network, chosen.clip.model_copy(update={field: getattr(card.clip, field) for field in open_fields})
