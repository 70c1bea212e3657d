"""Who is trained on and who is tested: recordings split by person, and never by overlapping windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import PipelineError
from pipeline.recording import open_recording, recording_ids

COLUMNS = ("id", "participant", "others", "mixed_from")


@dataclass(frozen=True)
class Split:
    """Ids of recordings. Nobody in `test` appears in `training` or `validation`, not even as a bystander."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def people(root: Path, recordings: Sequence[str] | None = None) -> pd.DataFrame:
    """Who is in each recording, by the manifests: columns `id`, `participant`, `others`, `mixed_from`, one row a recording.

    `recordings` None: every sealed one under `root`. `others` are further people in view, `mixed_from` the recordings that a
    derived one was summed from; both are tuples. Raises PipelineError for a recording that is not there.
    """
    names = recordings
    if names is None:
        names = recording_ids(root)
    opened = [open_recording(root, name) for name in names]
    rows = [
        (one.id, one.manifest.participant, one.manifest.others, one.manifest.mixed_from)
        for one in opened
        if recordings is not None or one.sealed
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def leave_one_out(table: pd.DataFrame, held_out: str, seed: int = 42, validation: float = 0.15) -> Split:
    """`held_out` is tested; the other people's recordings are divided at random into training and `validation` (a share).

    `table` is what `people` gives. The person is held out of every data set that `table` lists, as participant and as
    bystander (paper.md, "Protocol"). Recordings that were mixed from others only ever serve training, and not where one of
    their sources is in validation or test. Recordings that do not say who is in them serve nothing.
    Raises PipelineError when nobody is called `held_out`, and when training or validation would be empty.
    """
    known = table[table["participant"].notna()].sort_values("id")
    names = sorted(set(known["participant"]))
    if held_out not in names:
        there = f"the people recorded are {', '.join(names)}" if names else "no recording says who was recorded"
        raise PipelineError(f"There is no recording of {held_out!r} to hold out; {there}.")
    theirs = known["participant"] == held_out
    in_view = theirs | known["others"].map(lambda others: held_out in others)
    test = known.loc[theirs & ~known["mixed_from"].map(bool), "id"]
    return _divided(known[~in_view], tuple(test), seed, validation, f"Without {held_out} there")


def leave_none_out(table: pd.DataFrame, seed: int = 42, validation: float = 0.15) -> Split:
    """Everybody's recordings, divided into training and validation as `leave_one_out` does it; nobody is tested.

    Raises PipelineError when training or validation would be empty.
    """
    known = table[table["participant"].notna()].sort_values("id")
    return _divided(known, (), seed, validation, "There")


def _divided(known: pd.DataFrame, test: tuple[str, ...], seed: int, validation: float, begin: str) -> Split:
    """The recordings of `known` at random into training and validation; mixed ones as `leave_one_out` says."""
    if not 0 < validation < 1:
        raise PipelineError(f"The share of recordings for validation lies between 0 and 1, not at {validation:g}.")
    mixed = known["mixed_from"].map(bool)
    ids = known.loc[~mixed, "id"].to_numpy()
    if len(ids) < 2:
        raise PipelineError(
            f"{begin} are {len(ids)} recordings of known people to train on, too few to train and validate; "
            "record or simulate more."
        )
    shuffled = np.random.default_rng(seed).permutation(ids)
    count = min(max(1, round(validation * len(ids))), len(ids) - 1)
    judged = {*shuffled[:count], *test}
    derived = known.loc[mixed]
    free = derived.loc[derived["mixed_from"].map(lambda sources: judged.isdisjoint(sources)), "id"]
    return Split(tuple(sorted([*shuffled[count:], *free])), tuple(sorted(shuffled[:count])), test)
