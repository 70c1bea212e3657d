"""Which recordings are in a study's data sets, who is in them, and who is trained on and tested in each of its units."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from models.study import DataSetRule, StudyConfig
from models.study_units import Unit
from pipeline.errors import PipelineError
from pipeline.labels import labels_path
from pipeline.recording import open_recording, recording_ids
from pipeline.splits import Split, leave_none_out, leave_one_out, people

INSIDE_TRAIN, INSIDE_TEST = (0.0, 0.8), (0.8, 1.0)
"""Parts of a recording that a split inside recordings trains on and tests."""


@dataclass(frozen=True)
class StudyData:
    """A resolved study and its recordings: columns of `pipeline.splits.people` and `data_set`, one row a recording."""

    root: Path
    config: StudyConfig
    table: pd.DataFrame

    @cached_property
    def mixed(self) -> set[str]:
        """Recordings that were summed from others: they serve training only."""
        return set(self.table.loc[self.table["mixed_from"].map(bool), "id"])

    def of_set(self, data_set: str) -> pd.DataFrame:
        """The recordings of one data set."""
        return self.table[self.table["data_set"] == data_set]

    def split(self, unit: Unit) -> Split:
        """Recordings that a unit is fitted to, chosen by and tested on, all of its own data set.

        Split `inside` tests the recordings it trains on: another part of them (`INSIDE_TEST`).
        """
        split = self._without(unit.data_set, unit.held_out)
        if unit.split == "inside":
            return Split(split.train, split.validation, tuple(name for name in split.train if name not in self.mixed))
        return split

    def pretraining_split(self, unit: Unit) -> Split:
        """Recordings that a unit's encoder is pre-trained on: of its own data set, or of all, without the person held out.

        What chooses the unit's weights serves validation here too.
        """
        own = self.split(unit)
        if self.config.pretrain_on == "own":
            return own
        splits = [self._without(data_set, unit.held_out) for data_set in self.config.trained_sets]
        train, validation = ([name for split in splits for name in part(split)] for part in (_train, _validation))
        return Split(tuple(sorted(train)), tuple(sorted(validation)), own.test)

    def tested(self, unit: Unit) -> dict[str, tuple[str, ...]]:
        """Recordings that a unit's model predicts, by data set: its own, and those of its zero-shot tests."""
        found = {unit.data_set: self.split(unit).test}
        if unit.held_out is not None:
            for data_set in self.config.tested_sets(unit.data_set)[1:]:
                found[data_set] = self.recordings_of(data_set, unit.held_out)
        return {data_set: names for data_set, names in found.items() if names}

    def recordings_of(self, data_set: str, person: str | None = None) -> tuple[str, ...]:
        """Recordings of a data set that can be tested; of one participant, or of everybody."""
        rows = self.of_set(data_set)
        rows = rows if person is None else rows[rows["participant"] == person]
        return tuple(sorted(set(rows["id"]) - self.mixed))

    def tested_people(self, data_set: str) -> tuple[str, ...]:
        """Whom some unit is held out of and tested on in a data set."""
        trained_on = [name for name in self.config.trained_sets if data_set in self.config.tested_sets(name)]
        held_out = {person for name in trained_on for person in self.config.folds(name)}
        return tuple(
            person for person in self.config.people if person in held_out and self.recordings_of(data_set, person)
        )

    def participants(self) -> dict[str, str]:
        """Who each recording is about."""
        return dict(zip(self.table["id"], self.table["participant"], strict=True))

    def check(self) -> None:
        """Raises PipelineError for a fold whose person cannot be separated from the others or that has no labels, and for a
        zero-shot test of nobody.
        """
        for data_set in self.config.data_sets:
            for name in self.of_set(data_set)["id"]:
                if not labels_path(self.root, name).exists():
                    raise PipelineError(
                        f"{name} of data set {data_set} has no labels, so it can neither be learnt from nor tested; "
                        f"label it with `maepose label {name}`, or leave it out of the study."
                    )
        for data_set in self.config.trained_sets:
            for person in self.config.folds(data_set):
                try:
                    split = self._without(data_set, person)
                except PipelineError as error:
                    raise PipelineError(f"{person} cannot be held out of data set {data_set}: {error}") from None
                if not split.test:
                    raise PipelineError(
                        f"Every recording of {person} in data set {data_set} was mixed from others, so none can be tested; "
                        "record or simulate one, or leave the person out of `people`."
                    )

        for data_set in sorted(self.config.test_only):
            if not self.tested_people(data_set):
                raise PipelineError(
                    f"zero_shot: nobody who is held out of the data set trained on has a recording in data set {data_set} that "
                    "could be tested; name somebody of it in `people`, or leave the test out."
                )

    @cached_property
    def _divided(self) -> dict[tuple[str, str | None], Split]:
        """Those of `_without` that were asked for: hundreds of units share a few."""
        return {}

    def _without(self, data_set: str, person: str | None) -> Split:
        """A data set's recordings divided, with none that shows `person` but in the test."""
        if (data_set, person) not in self._divided:
            self._divided[data_set, person] = self._divide(data_set, person)
        return self._divided[data_set, person]

    def _divide(self, data_set: str, person: str | None) -> Split:
        rows, seed = self.of_set(data_set), self.config.split_seed
        if person is None:
            return leave_none_out(rows, seed)
        if person in set(rows["participant"]):
            split = leave_one_out(rows, person, seed)
        else:
            split = leave_none_out(rows[~rows["others"].map(lambda others: person in others)], seed)
        self._check_apart(split, person)
        return split

    def _check_apart(self, split: Split, person: str) -> None:
        """The last look before anything is trained: nobody is in training and test."""
        learnt = self.table[self.table["id"].isin([*split.train, *split.validation])]
        shown = learnt[(learnt["participant"] == person) | learnt["others"].map(lambda others: person in others)]
        both = sorted({*split.train, *split.validation} & {*split.test})
        if len(shown) or both:
            raise PipelineError(
                f"{person} would be in training and in test ({[*shown['id'], *both][0]}); "
                "correct who is in that recording, or leave it out of the study."
            )


def resolve(root: Path, config: StudyConfig) -> StudyData:
    """The study with everybody in its data sets named, and its recordings.

    Raises PipelineError for a data set without recordings, a recording in two data sets or without participant, and somebody to
    hold out who is in no data set.
    """
    tables, rules = [], {}
    for name, rule in config.data_sets.items():
        table = people(root, _matching(root, name, rule))
        nameless = table.loc[table["participant"].isna(), "id"]
        if len(nameless):
            raise PipelineError(
                f"{nameless.iloc[0]} of data set {name} does not say who was recorded, so nobody can be held out of it; "
                "leave it out of the study."
            )
        there = sorted(set(table["participant"]))
        if strangers := [person for person in rule.people if person not in there]:
            raise PipelineError(
                f"data_sets.{name}.people: there is no recording of {strangers[0]}; there are {', '.join(there)}."
            )
        wanted = rule.people or tuple(there)
        tables.append(table[table["participant"].isin(wanted)].assign(data_set=name))
        rules[name] = rule.model_copy(update={"people": wanted})
    whole = pd.concat(tables, ignore_index=True)
    twice = whole[whole["id"].duplicated(keep=False)]
    if len(twice):
        one = twice["id"].iloc[0]
        both = " and ".join(twice.loc[twice["id"] == one, "data_set"])
        raise PipelineError(f"The recording {one} is in the data sets {both}; tell them apart by a longer prefix.")
    filled = config.model_copy(update={"data_sets": rules})
    everybody = filled.everybody
    if strangers := [person for person in config.people if person not in everybody]:
        raise PipelineError(
            f"people: {strangers[0]} is in no data set that is trained on; there are {', '.join(everybody)}."
        )
    return StudyData(root, filled.model_copy(update={"people": config.people or everybody}), whole)


def who_does_what(root: Path, recording_id: str) -> list[object]:
    """What a manifest says, and may be corrected in, of people and actions: it decides who is tested and where clips end."""
    manifest = open_recording(root, recording_id).manifest
    return [manifest.participant, manifest.others, [segment.model_dump(mode="json") for segment in manifest.segments]]


def _matching(root: Path, name: str, rule: DataSetRule) -> tuple[str, ...]:
    """Ids of the sealed recordings that a rule means; PipelineError where there are none."""
    listed = rule.recordings or recording_ids(root)
    ids = [one for one in listed if one.startswith(rule.prefix or "")]
    opened = [open_recording(root, one) for one in ids]
    found = [one.id for one in opened if one.sealed and rule.origin in (None, one.manifest.origin)]
    if not found:
        said = rule.model_dump(exclude_defaults=True, exclude={"title", "people"})
        raise PipelineError(
            f"data_sets.{name}: no recording under {root} has {', '.join(f'{key} {value!r}' for key, value in said.items())}; "
            "`maepose list` names those there are."
        )
    return tuple(found)


def _train(split: Split) -> tuple[str, ...]:
    return split.train


def _validation(split: Split) -> tuple[str, ...]:
    return split.validation
