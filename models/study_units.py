"""The units of a study: what each is, who is trained on and tested, and the digest of what it is asked."""

from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

from models.config import FLOORS, Floor, Frozen
from models.study import StudyConfig, StudyMethod, StudyModality
from pipeline.errors import PipelineError
from pipeline.provenance import sha256_json

READING_FLOORS: tuple[Floor, ...] = ("ridge", "neighbours")
"""Floors that look at the radar; the others say the same whatever the modality, so they run once, as modality `none`."""

FLOORS_READ = ("clip.", "finetuning.stride")
"""Fields of a preset that floors depend on."""

STUDY_VERSION = "1"  # part of every key: raise it when the same study over the same data gives other predictions

SplitKind = Literal["person", "inside"]


class Unit(Frozen):
    """One cell of the study: a row, or a floor, of one modality, fitted and tested on one fold."""

    row: str
    kind: Literal["network", "floor"]
    modality: Literal["rd", "ra", "dual", "none"]
    data_set: str
    split: SplitKind
    """person: `held_out` is tested and trained on nowhere. inside: the last fifth of recordings whose first four fifths are
    trained on is tested, which is no result but a warning."""
    held_out: str | None
    seed: int

    @property
    def name(self) -> str:
        """Of its file."""
        who = "inside-recordings" if self.held_out is None else slug(self.held_out)
        return ".".join([slug(self.row), self.modality, self.data_set, who, f"s{self.seed}"])

    @property
    def reads(self) -> StudyModality:
        """The modality whose preset says how long clips are and where their targets lie."""
        return "rd" if self.modality == "none" else self.modality


def units(config: StudyConfig) -> tuple[Unit, ...]:
    """Every unit of a resolved study; floors first, then fold by fold, so that a study broken off has whole folds.

    Raises PipelineError where people or rows cannot be told apart by the names of their files.
    """
    if not config.people or not all(rule.people for rule in config.data_sets.values()):
        raise PipelineError(f"The study {config.name} does not say who is in its data sets; resolve it first.")
    found: list[Unit] = []
    for data_set in config.trained_sets:
        folds: list[tuple[SplitKind, str | None]] = [("person", person) for person in config.folds(data_set)]
        folds += [("inside", None)] if config.inside_split else []
        for split, held_out in folds:
            one = partial(Unit, kind="floor", data_set=data_set, split=split, held_out=held_out, seed=config.seeds[0])
            for floor in FLOORS:
                reads = modalities(config) if floor in READING_FLOORS else ("none",)
                found += [one(row=floor, modality=modality) for modality in reads]
        for seed, (split, held_out) in product(config.seeds, folds):
            one = partial(Unit, kind="network", data_set=data_set, split=split, held_out=held_out, seed=seed)
            for method in config.methods:
                found += [one(row=method.name, modality=modality) for modality in config.modalities_of(method)]
    names = [unit.name for unit in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PipelineError(
            f"Two units of {config.name} would both be called {twice[0]}; "
            "give rows and people names that differ in letters or digits."
        )
    return tuple(found)


def modalities(config: StudyConfig) -> tuple[StudyModality, ...]:
    """Every modality that some row reads, in the order of the file."""
    return tuple(dict.fromkeys(one for method in config.methods for one in config.modalities_of(method)))


def row_of(config: StudyConfig, unit: Unit) -> StudyMethod:
    """The method row of a network's unit."""
    return next(method for method in config.methods if method.name == unit.row)


def asked(config: StudyConfig, unit: Unit) -> str:
    """Digest of what the study's file asks of a unit: its row, what the row changes, the data sets and people.

    It names the preset and not what is in it, so that a study which was kept can be evaluated by later versions too.
    """
    changes = dict(config.switches)
    row: object = None
    if unit.kind == "floor":
        changes = {path: value for path, value in changes.items() if path.startswith(FLOORS_READ)}
    else:
        method = row_of(config, unit)
        row = [method.model_dump(mode="json", exclude={"modalities"}), config.pretrain_on]
    tested = config.tested_sets(unit.data_set) if unit.split == "person" else (unit.data_set,)
    used = {*tested, *(config.trained_sets if row and config.pretrain_on == "all" else ())}
    rules = {name: config.data_sets[name].model_dump(mode="json", exclude={"title"}) for name in sorted(used)}
    return sha256_json([unit.model_dump(mode="json"), config.preset, changes, row, config.split_seed, tested, rules])


def settings(config: StudyConfig, unit: Unit) -> dict[str, object]:
    """Every value that a unit is fitted with, whether the file or the preset says it."""
    if unit.kind == "floor":
        base = config.base_preset(unit.reads)
        return {"clip": base.clip.model_dump(mode="json"), "stride": base.finetuning.stride}
    return config.preset_of(row_of(config, unit), unit.reads, unit.seed).model_dump(mode="json")


def slug(text: str) -> str:
    """Letters and digits as they are, anything else a dash."""
    return "".join(c if c.isalnum() else "-" for c in text.lower())


def study_folder(root: Path, config: StudyConfig) -> Path:
    """Where a study lies."""
    return root / "experiments" / config.name
