"""Pre-training: a masked autoencoder over recordings, labelled or not."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.batch import ClipBatch
from models.checkpoints import ModelCard, build_network
from models.clips import clip_table
from models.loader import ClipLoader, ClipSet, loader
from models.maps import fit_clip_config, mean_maps
from models.optimising import one_layer
from models.presets import Preset, preset
from models.quiet_lightning import Tracking
from models.training import Machine, OnProgress, Task, fit, gathered
from pipeline.splits import Split

JUDGING_SEED = 7
"""Of the masks that validation clips get, so that every judgement hides the same tokens."""


def pretrain(
    root: Path,
    recordings: Split | Sequence[str],
    settings: str | Preset,
    folder: Path,
    *,
    name: str = "",
    held_out: str | None = None,
    on_progress: OnProgress | None = None,
    resume: bool = True,
    tracking: Tracking = "tensorboard",
    machine: Machine | None = None,
) -> Path:
    """Fit the masked autoencoder of preset `settings` and return its file, `folder`/model.safetensors.

    `recordings`: a split, whose test recordings are not touched; or ids, all for training and none for validation. `name` is the
    preset's for the card where `settings` is one in itself. The weights kept are the last ones.
    Raises PipelineError as `models.training.fit`, and for recordings whose cubes do not fit the clips.
    """
    name, chosen = (settings, preset(settings)) if isinstance(settings, str) else (name, settings)
    training, validation = (
        (recordings.train, recordings.validation) if isinstance(recordings, Split) else (tuple(recordings), ())
    )
    card = ModelCard(
        preset=name,
        clip=fit_clip_config(root, training, chosen.clip),
        network=chosen.masked,
        training=chosen.pretraining,
        recordings=training,
        validation=validation,
        held_out=held_out,
    )
    machine = machine or Machine()
    network: Any = seeded_network(card)
    if chosen.masked.around_mean:
        network.set_mean({name: torch.from_numpy(mean) for name, mean in mean_maps(root, training, card.clip).items()})
    return fit(
        network,
        one_layer(network),
        Task(masked_loss, judge_masked, "loss", "last"),
        clip_loader(root, training, card, machine, labelled=False),
        clip_loader(root, validation, card, machine, labelled=False, judged=True) if validation else None,
        card,
        folder,
        on_progress=on_progress,
        resume=resume,
        tracking=tracking,
        machine=machine,
    )


def masked_loss(network: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
    """Error on the tokens that `generator` hides."""
    return {"loss": network(batch.maps, generator).loss}


def judge_masked(network: nn.Module, batches: Iterable[ClipBatch]) -> dict[str, float]:
    """`loss`: the mean over clips of the error on hidden tokens; the same ones whenever it is asked."""
    total, count = 0.0, 0
    for number, batch in enumerate(batches):
        device = batch.clip.device
        generator = torch.Generator(device).manual_seed(JUDGING_SEED + number)
        total += float(network(batch.maps, generator).loss) * len(batch.clip)
        count += len(batch.clip)
    sums = np.sum(gathered((total, count)), axis=0)
    return {"loss": float(sums[0] / sums[1])}


def seeded_network(card: ModelCard) -> nn.Module:
    """The network of `card` with random weights that its training's seed decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(card.training.seed)
        return build_network(card)


def clip_loader(
    root: Path, recordings: Sequence[str], card: ModelCard, machine: Machine, *, labelled: bool, judged: bool = False
) -> ClipLoader:
    """Batches as `card` says: shuffled and augmented to train on; or in order and as they are, to be `judged` by."""
    config = card.training
    table = clip_table(root, recordings, card.clip, stride=config.stride, labelled=labelled)
    augment = None if judged else config.augment
    clips = ClipSet(root, table, card.clip, labelled=labelled, augment=augment, seed=config.seed)
    workers = 0 if clips.in_memory else machine.workers
    return loader(clips, config.batch, shuffle=not judged, seed=config.seed, workers=workers)
