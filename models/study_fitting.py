"""A unit's predictions: a network pre-trained, fitted and asked, or a floor fitted and asked, on the same clips."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from models.checkpoints import load_model
from models.clips import clip_table, target_labels
from models.config import ClipConfig, TrainConfig
from models.finetuning import finetune
from models.floors import Examples, fit_floor, floor_examples
from models.loader import ClipLoader, ClipSet, loader
from models.maps import fit_clip_config
from models.presets import Preset
from models.pretraining import pretrain
from models.runs import RunFolder
from models.study_folds import INSIDE_TEST, INSIDE_TRAIN
from models.study_opening import Study, claimed
from models.study_store import Judged, UnitMaking
from models.study_units import READING_FLOORS, STUDY_VERSION, Unit, asked, row_of, slug
from models.training import Machine, Progress
from pipeline.files import write_atomic
from pipeline.provenance import sha256_json
from pipeline.recording import open_recording
from pipeline.skeleton import JOINTS
from pipeline.splits import Split

Places = Float[np.ndarray, "clip target joint 2"]
OnProgress = Callable[[int, int, str], None]
"""Steps done, of how many, a word beside them."""


def fit_network(
    study: Study, unit: Unit, machine: Machine, on_progress: OnProgress | None, *, wait: bool
) -> tuple[pd.DataFrame, UnitMaking] | None:
    """Pre-train where the row says so, fine-tune, and predict every tested recording; goes on where it was cut short.

    Returns rows for `models.study_store.write_predictions`, and how they were made; None where another process pre-trains the
    encoder and `wait` is not set. Raises PipelineError as `models.finetuning.finetune`.
    """
    root = study.data.root
    row, split = row_of(study.config, unit), study.data.split(unit)
    unseen = split if unit.split == "person" else Split(split.train, split.validation, ())  # inside: all have been seen
    preset = _of_part(study.config.preset_of(row, unit.reads, unit.seed), unit)
    encoder, pretraining, begun = None, None, Split((), (), ())
    if row.start == "pretrained":
        pretraining = _pretraining_run(study, unit, preset)
        with claimed(study, pretraining.path.name, wait=wait) as mine:
            if not mine:
                return None
            begun = study.data.pretraining_split(unit)
            encoder = _timed(
                pretraining.path,
                lambda: pretrain(
                    root, begun, preset, pretraining.path, name=study.config.preset, held_out=unit.held_out,
                    on_progress=_told(on_progress, "pre-training"), machine=machine,
                ),
            )  # fmt: skip
    fitting = _run(study, unit.name, _fitting_key(study, unit, preset, split, pretraining))
    model = _timed(
        fitting.path,
        lambda: finetune(
            root, unseen, preset, fitting.path, encoder=encoder, name=study.config.preset, held_out=unit.held_out,
            on_progress=_told(on_progress, "fine-tuning"), machine=machine,
        ),
    )  # fmt: skip
    began = time.perf_counter()
    network, card = load_model(model, "pose")
    device = "cuda" if machine.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    network.to(device)

    def poses(table: pd.DataFrame, clip: ClipConfig) -> Places:
        with torch.inference_mode():
            said = [
                network({name: maps.to(device) for name, maps in batch.maps.items()}).uv.float().cpu().numpy()
                for batch in _clips(root, table, clip, card.training)
            ]
        return np.concatenate(said)

    rows = _predicted(study, unit, card.clip, poses)
    making = UnitMaking(
        unit=unit,
        key=study.key(unit),
        asked=asked(study.config, unit),
        simulated=_simulated(root, split),
        parameters=sum(weights.numel() for weights in network.parameters()),
        seconds=round(_seconds(fitting.path) + time.perf_counter() - began, 1),
        pretraining_seconds=_seconds(pretraining.path) if pretraining else 0.0,
        train=split.train,
        validation=split.validation,
        pretrained_on=(*begun.train, *begun.validation),
        card=card.model_dump(mode="json", exclude={"recordings", "validation"}),
        run=fitting.path.name,
        pretraining_run=pretraining.path.name if pretraining else None,
        history=_history(fitting, "mpjpe_norm"),
        pretraining_history=_history(pretraining, "loss") if pretraining else (),
    )
    return rows, making


def fit_reference(study: Study, unit: Unit) -> tuple[pd.DataFrame, UnitMaking]:
    """Fit a floor, or an oracle, and predict every tested recording; person by person, since some read the person's labels."""
    began, root, split = time.perf_counter(), study.data.root, study.data.split(unit)
    base = _of_part(study.config.base_preset(unit.reads), unit)
    reads = unit.row in READING_FLOORS
    clip = fit_clip_config(root, split.train, base.clip) if reads else base.clip

    def examples(table: pd.DataFrame, clip: ClipConfig) -> Examples:
        if reads:
            return floor_examples(_clips(root, table, clip, base.finetuning, labelled=True))
        uv, confidence = target_labels(root, table, clip)
        return Examples(np.zeros((len(table), 0), np.float32), uv, confidence)

    train, validation = (
        examples(clip_table(root, names, clip, stride=base.finetuning.stride, labelled=True), clip)
        for names in (split.train, split.validation)
    )
    predictor = fit_floor(unit.row, train, validation)
    rows = _predicted(study, unit, clip, lambda table, clip: predictor(examples(table, clip)))
    making = UnitMaking(
        unit=unit,
        key=study.key(unit),
        asked=asked(study.config, unit),
        simulated=_simulated(root, split),
        seconds=round(time.perf_counter() - began, 1),
        train=split.train,
        validation=split.validation,
    )
    return rows, making


def _predicted(
    study: Study, unit: Unit, clip: ClipConfig, poses: Callable[[pd.DataFrame, ClipConfig], Places]
) -> pd.DataFrame:
    """Rows of every tested recording, clips laid end to end, one participant at a time."""
    clip = clip.model_copy(update={"part": INSIDE_TEST}) if unit.split == "inside" else clip
    participants, parts = study.data.participants(), []
    for test_set, names in study.data.tested(unit).items():
        table = clip_table(study.data.root, names, clip, stride=clip.frames, labelled=True)
        for _, of_one in table.groupby(table["recording"].map(participants), sort=True):
            of_one = of_one.reset_index(drop=True)
            parts.append(_rows(test_set, of_one, clip, poses(of_one, clip)))
    return pd.concat(parts, ignore_index=True)


def _rows(test_set: str, table: pd.DataFrame, clip: ClipConfig, uv: Places) -> pd.DataFrame:
    """One row a joint of every target frame of the clips in `table`."""
    frames = table["start"].to_numpy()[:, None] + np.array(clip.targets)
    each = len(clip.targets) * len(JOINTS)
    return pd.DataFrame(
        {
            "test_set": test_set,
            "recording": np.repeat(table["recording"].to_numpy(), each),
            "frame": np.repeat(frames.ravel(), len(JOINTS)),
            "joint": np.tile(np.arange(len(JOINTS)), frames.size),
            "u": uv[..., 0].ravel(),
            "v": uv[..., 1].ravel(),
        }
    )


def _clips(
    root: Path, table: pd.DataFrame, clip: ClipConfig, training: TrainConfig, labelled: bool = False
) -> ClipLoader:
    """The clips of `table` in order, as they are."""
    return loader(ClipSet(root, table, clip, labelled=labelled), training.batch, shuffle=False, seed=0)


def _of_part(preset: Preset, unit: Unit) -> Preset:
    """The preset on the part of each recording that a unit trains on."""
    if unit.split == "person":
        return preset
    return preset.model_copy(update={"clip": preset.clip.model_copy(update={"part": INSIDE_TRAIN})})


def _pretraining_run(study: Study, unit: Unit, preset: Preset) -> RunFolder:
    """Its name says what it depends on, so that units of other rows and data sets which ask for the same share it."""
    split = study.data.pretraining_split(unit)
    settings = [part.model_dump(mode="json") for part in (preset.clip, preset.masked, preset.pretraining)]
    clips = [study.clips(split.train), study.clips(split.validation)]
    who = slug(unit.held_out) if unit.held_out is not None else "inside-recordings"
    key = sha256_json([STUDY_VERSION, settings, unit.held_out, clips, split.train, split.validation])
    return _run(study, f"pretrain.{unit.modality}.{who}.s{unit.seed}", key)


def _fitting_key(study: Study, unit: Unit, preset: Preset, split: Split, pretraining: RunFolder | None) -> str:
    settings = [part.model_dump(mode="json") for part in (preset.clip, preset.pose, preset.finetuning)]
    data = [[names, study.read_of(names)] for names in (split.train, split.validation)]
    return sha256_json([STUDY_VERSION, settings, data, pretraining.path.name if pretraining else None])


def _run(study: Study, name: str, key: str) -> RunFolder:
    return RunFolder(study.folder / "runs" / f"{name}-{key[:8]}")


def _timed(folder: Path, run: Callable[[], Path]) -> Path:
    """Carry out a training run and note beside it how long that took, once."""
    began = time.perf_counter()
    model = run()
    if not (folder / "seconds.json").exists():
        write_atomic(folder / "seconds.json", json.dumps(round(time.perf_counter() - began, 1)))
    return model


def _seconds(folder: Path) -> float:
    return float(json.loads((folder / "seconds.json").read_bytes()))


def _history(run: RunFolder, metric: str) -> tuple[Judged, ...]:
    return tuple(
        Judged(step=one.step, loss=float(f"{one.loss:.5g}"), validation=_short(one.metrics.get(metric)))
        for one in run.read_history()
    )


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _told(on_progress: OnProgress | None, word: str) -> Callable[[Progress], None] | None:
    if on_progress is None:
        return None
    return lambda at: on_progress(at.step, at.steps, f"{word}, step {at.step} of {at.steps}")


def _simulated(root: Path, split: Split) -> bool:
    names = {*split.train, *split.validation, *split.test}
    return any(open_recording(root, name).manifest.simulated for name in names)
