"""A study opened over its data: what each unit's predictions depend on, which are current, and who is at one."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from models.study import StudyConfig, read_study, write_study
from models.study_folds import StudyData, resolve, who_does_what
from models.study_store import read_making, read_truth, write_keys
from models.study_truth import write_truths
from models.study_units import STUDY_VERSION, Unit, asked, settings, study_folder, units
from pipeline.cube import open_cube
from pipeline.errors import PipelineError
from pipeline.labels import labels_path
from pipeline.locks import is_locked, open_lock, take_lock
from pipeline.provenance import sha256_file, sha256_json


@dataclass(frozen=True)
class Study:
    """A resolved study over its data, and the folder it fills."""

    data: StudyData
    folder: Path

    @property
    def config(self) -> StudyConfig:
        return self.data.config

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """Every unit, in order."""
        return units(self.config)

    @cached_property
    def _digests(self) -> dict[str, tuple[str, str, str]]:
        """Cube key, digest of the labels, and of who does what when, of each recording."""
        root, names = self.data.root, self.data.table["id"]
        return {
            name: (
                open_cube(root, name).key,
                sha256_file(labels_path(root, name)),
                sha256_json(who_does_what(root, name)),
            )
            for name in names
        }

    def unit(self, name: str) -> Unit:
        """The unit called `name`; PipelineError naming some that there are."""
        found = next((unit for unit in self.units if unit.name == name), None)
        if found is None:
            some = ", ".join(unit.name for unit in self.units[:3])
            raise PipelineError(f"The study {self.config.name} has no unit {name!r}; there are {some}, ...")
        return found

    @cached_property
    def keys(self) -> dict[str, str]:
        """What each unit's predictions depend on, by its name."""
        return {unit.name: self._key(unit) for unit in self.units}

    def key(self, unit: Unit) -> str:
        """What a unit's predictions depend on."""
        return self.keys[unit.name]

    def _key(self, unit: Unit) -> str:
        tested = [(name, self.read_of(names)) for name, names in self.data.tested(unit).items()]
        split = self.data.split(unit)
        begun = self.data.pretraining_split(unit)
        encoder = [self.clips(begun.train), self.clips(begun.validation)] if unit.kind == "network" else []
        said = [asked(self.config, unit), settings(self.config, unit)]
        return sha256_json(
            [STUDY_VERSION, said, tested, self.read_of(split.train), self.read_of(split.validation), encoder]
        )

    def clips(self, recordings: tuple[str, ...]) -> list[tuple[str, str]]:
        """What their clips depend on: keys of their cubes, and digests of who does what when."""
        return [(self._digests[name][0], self._digests[name][2]) for name in recordings]

    def read_of(self, recordings: tuple[str, ...]) -> list[tuple[str, str, str]]:
        """What their labelled clips depend on: as `clips`, and digests of their labels."""
        return [self._digests[name] for name in recordings]

    def is_current(self, unit: Unit) -> bool:
        """Whether a unit's predictions are there and are those of this study over this data."""
        making = read_making(self.folder, unit)
        return making is not None and making.key == self.key(unit)


def open_study(root: Path, path: Path) -> Study:
    """The study in the file `path` over the recordings under `root`; its folder then holds the resolved study and the truth.

    Raises PipelineError for everything that can be found wrong before anything is trained: a file that does not fit, recordings
    without cubes or labels, people that cannot be held out.
    """
    data = resolve(root, read_study(path))
    study = Study(data, study_folder(root, data.config))
    data.check()
    write_keys(study.folder, study.keys)  # before the truth changes: from here on what is stale counts as missing
    write_truths(data, study.folder)
    _check_labelled(study)
    write_study(study.folder / "study.yaml", data.config)
    return study


def _check_labelled(study: Study) -> None:
    """Raises PipelineError for somebody of whom not one joint of one clip is labelled in a data set they are tested in."""
    for data_set in study.config.data_sets:
        truth, _ = read_truth(study.folder, data_set)
        labelled = set(truth.loc[truth["confidence"] > 0, "person"])
        blind = [person for person in study.data.tested_people(data_set) if person not in labelled]
        if blind:
            where = f"data_sets.{data_set}.people" if data_set in study.config.test_only else "`people`"
            raise PipelineError(
                f"The fold of {blind[0]} in data set {data_set} has no labels: no clip shows a joint at a target frame; "
                f"label their recordings anew, record longer ones, or leave them out of {where}."
            )


@contextmanager
def claimed(study: Study, name: str, *, wait: bool) -> Iterator[bool]:
    """Hold the lock `name` of a study while the block lasts; False where another process holds it and `wait` is not set."""
    path = _lock_path(study, name)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = stack.enter_context(open_lock(path))
        except OSError as error:
            raise PipelineError(
                f"{path} cannot be written ({error.strerror}); make room or choose another root."
            ) from error
        yield take_lock(handle, math.inf if wait else 0.0)


def is_claimed(study: Study, unit: Unit) -> bool:
    """Whether another process is at a unit right now."""
    return is_locked(_lock_path(study, unit.name))


def _lock_path(study: Study, name: str) -> Path:
    return study.folder / "locks" / name
