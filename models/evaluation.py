"""What a study's stored predictions are worth: every measure of every fold, whole, by action, joint, target, distance and speed.

No recording, cube or weight is read: predictions and truth lie in the study's folder (`models.study_store`). A fold is one person
held out. Measures are those of `models.metrics`, one value a fold and seed; `fold_values` averages seeds inside a fold, so that
statistics count people, and `summary` gives mean and standard deviation over folds (ddof 1).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from models.config import FLOORS, ORACLES
from models.study import StudyConfig, StudyMethod
from models.study_store import StudyResults
from models.study_units import Unit, modalities
from models.truth_frames import TruthFrames, truth_frames
from models.unit_measures import KEYS, UnitRows, measure
from pipeline.errors import PipelineError
from pipeline.provenance import sha256_json

Kind = Literal["ours", "baseline", "floor", "oracle"]
METRES = ("mpjpe_plane_m", "pck_plane@0.05m")
MEASURES = (
    "mpjpe_norm", "pck_norm@0.05", "root_centred_norm", "explained_motion", "mpjpe_px", "pck_torso@0.2", *METRES,
)  # fmt: skip
HIGH_IS_GOOD = frozenset({"pck_norm@0.05", "explained_motion", "pck_torso@0.2", "pck_plane@0.05m"})
HEAD_FIELDS = {"head", "decode", "heatmap_cells", "sigma_cells", "peak_weight"}
"""Of `models.config.PoseConfig`: what belongs to a head."""


@dataclass(frozen=True)
class Evaluation:
    """Long tables; each begins with `KEYS`, has `metric` and `value`, and the columns said here.

    split: `person`, or `inside` where clips of the tested recordings were trained on (the warning; held_out is then whose
    recordings were tested). trained_on differs from test_set in a zero-shot test. Floors without radar stand in every modality.
    """

    values: pd.DataFrame
    """Nothing more: one row a unit and measure."""
    by_action: pd.DataFrame
    """action"""
    by_joint: pd.DataFrame
    """joint"""
    by_target: pd.DataFrame
    """target: which frame of its clip it is; without the frames whose place in a clip is not known"""
    by_bin: pd.DataFrame
    """quantity (range, root_speed, joint_speed), unit, bin, low, middle, high, frames: mpjpe_norm of the frames in a bin"""
    methods: pd.DataFrame
    """Index: rows of the tables, by name, in the study's order and then floors; kind, method, start, head, basis, reading. Rows
    of one basis differ in start or head alone, those of one reading too in start alone."""
    ours: str
    """The row that others are compared with."""
    people: tuple[str, ...]
    """Everybody in the data sets with folds, held out or not."""
    titles: dict[str, str]
    """Of the data sets, in the study's order."""
    simulated: dict[str, bool]
    """By data set that is tested."""
    scale_source: dict[str, str]
    """By data set; `none` where some fold has no scale."""

    def place(self, trained_on: str, test_set: str) -> str:
        """A data set's title, or from which to which."""
        own = self.titles[test_set]
        return own if trained_on == test_set else f"{self.titles[trained_on]} → {own}"

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Names of the rows of these kinds, in order."""
        return list(self.methods.index[self.methods["kind"].isin(kinds)])


def evaluate(results: StudyResults) -> Evaluation:
    """Every measure of a finished study.

    Raises PipelineError where predictions are missing or do not fit the truth, where a fold has no labels, and where a held-out
    person was trained on.
    """
    if results.missing:
        first = results.missing[0].name
        raise PipelineError(
            f"{len(results.missing)} of the study's {len(results.missing) + len(results.makings)} units have no predictions "
            f"(first {first}); run `maepose study` again, which makes only what is missing."
        )
    _refuse_trained_on(results)
    described = results.recordings.set_index(["data_set", "recording"])
    truth = {
        str(name): truth_frames(rows, described.loc[[str(name)]].droplevel(0))
        for name, rows in results.truth.groupby("data_set", sort=False, observed=True)
    }
    targets = results.config.base_preset("rd").clip.targets  # of every modality: `models.study.OF_ALL_ROWS`
    measured = measure(_unit_rows(results, truth), truth, targets)
    simulated = results.recordings.groupby("data_set")["simulated"].any()
    return Evaluation(
        values=measured.values,
        by_action=measured.by_action,
        by_joint=measured.by_joint,
        by_target=measured.by_target,
        by_bin=measured.by_bin,
        methods=method_table(results.config),
        ours=results.config.our_row,
        people=results.config.everybody,
        titles={name: rule.title or name for name, rule in results.config.data_sets.items()},
        simulated={name: bool(simulated[name]) for name in results.config.data_sets if name in simulated.index},
        scale_source=measured.scale_source,
    )


def method_table(config: StudyConfig) -> pd.DataFrame:
    """`Evaluation.methods` of a study."""
    rows = {method.name: _method_row(config, method) for method in config.methods}
    for floor in FLOORS:
        kind = "oracle" if floor in ORACLES else "floor"
        rows[floor] = {"kind": kind, "method": floor, "start": "", "head": "", "basis": floor, "reading": floor}
    return pd.DataFrame.from_dict(rows, orient="index")


def fold_values(table: pd.DataFrame, *extra: str) -> pd.DataFrame:
    """A table of an `Evaluation` with seeds averaged inside each fold: `KEYS` but seed, `extra`, metric, value, seeds."""
    keys = [key for key in KEYS if key != "seed"] + [*extra, "metric"]
    grouped = table.groupby(keys, sort=False, observed=True)
    return grouped.agg(value=("value", "mean"), seeds=("seed", "nunique")).reset_index()


def summary(table: pd.DataFrame, *extra: str) -> pd.DataFrame:
    """Over folds: mean, sd (ddof 1; NaN of one fold), folds. And seeds, seed_sd: how the mean over folds spreads over seeds (ddof
    1; NaN of one seed). `KEYS` but held_out and seed, `extra` and metric come first.
    """
    keys = [key for key in KEYS if key not in ("seed", "held_out")] + [*extra, "metric"]
    folds = fold_values(table, *extra).groupby(keys, sort=False, observed=True)["value"]
    over_folds = folds.agg(mean="mean", sd="std", folds="count")
    by_seed = table.groupby([*keys, "seed"], sort=False, observed=True)["value"].mean()
    over_seeds = by_seed.groupby(level=list(range(len(keys))), sort=False, observed=True).agg(
        seeds="count", seed_sd="std"
    )
    return over_folds.join(over_seeds).reset_index()


def folds_by_method(
    evaluation: Evaluation,
    metric: str,
    test_set: str,
    modality: str,
    methods: Sequence[str],
    trained_on: str | None = None,
) -> pd.DataFrame:
    """One row a held-out person, one column a method: what `models.statistics.compare` takes; NaN where a fold lacks a method.

    `trained_on` None: the test set itself. Raises PipelineError for a measure that there is not (metres without scale, a name
    that is none), and for methods that were never run there.
    """
    require_measure(evaluation, metric, test_set)
    folds = fold_values(evaluation.values)
    chosen = folds[
        (folds["metric"] == metric)
        & (folds["test_set"] == test_set)
        & (folds["trained_on"] == (trained_on or test_set))
        & (folds["modality"] == modality)
        & (folds["split"] == "person")
    ]
    missing = [name for name in methods if name not in set(chosen["method"])]
    if missing:
        raise PipelineError(
            f"The study has no predictions of {', '.join(missing)} on {test_set} ({modality}); add them to it and run it again."
        )
    return chosen.pivot(index="held_out", columns="method", values="value")[list(methods)].sort_index()


def require_measure(evaluation: Evaluation, metric: str, test_set: str) -> None:
    """Raises PipelineError where `metric` is no measure, and where it is in metres and some fold has no scale."""
    if metric not in MEASURES:
        raise PipelineError(f"There is no measure {metric!r}; the measures are {', '.join(MEASURES)}.")
    if metric in METRES and evaluation.scale_source.get(test_set, "none") == "none":
        raise PipelineError(
            f"No scale was recorded for every fold of {test_set}, so {metric} cannot be given in metres; "
            "use mpjpe_norm, or label with depth or a known height."
        )


def _method_row(config: StudyConfig, method: StudyMethod) -> dict[str, str]:
    """kind, method, start, head, and digests: of what belongs to the head, and of all else."""
    used = config.preset_of(method, "dual")  # one for all, so that rows which read different maps compare
    preset = used.model_dump(mode="json", exclude={"clip": {"modalities"}, "pose": HEAD_FIELDS})
    ours = method.name == config.our_row or method.method.startswith("maepose")
    return {
        "kind": "ours" if ours else "baseline",
        "method": method.method,
        "start": method.start,
        "head": used.pose.head,
        "basis": sha256_json(preset)[:12],
        "reading": sha256_json(used.pose.model_dump(mode="json", include=HEAD_FIELDS))[:12],
    }


def _unit_rows(results: StudyResults, truth: dict[str, TruthFrames]) -> Iterator[UnitRows]:
    """A unit that reads no radar stands under every modality; one split inside recordings is tested person by person."""
    for unit in results.units:
        under = modalities(results.config) if unit.modality == "none" else (unit.modality,)
        for test_set, rows in results.predictions(unit).groupby("test_set", sort=False, observed=True):
            for person, part in _by_person(rows, truth[str(test_set)], unit):
                yield UnitRows(unit.split, unit.data_set, str(test_set), under, unit.row, person, unit.seed, part)


def _by_person(rows: pd.DataFrame, truth: TruthFrames, unit: Unit) -> list[tuple[str, pd.DataFrame]]:
    people = rows["recording"].astype(str).map(truth.person_of)
    if unit.split == "person":
        if not people.eq(str(unit.held_out)).all():
            raise PipelineError(
                f"{unit.name} holds predictions of others than {unit.held_out}; remove it and run the study again."
            )
        return [(str(unit.held_out), rows)]
    return [(str(person), part) for person, part in rows.groupby(people, sort=True)]


def _refuse_trained_on(results: StudyResults) -> None:
    """Raises PipelineError where a recording that shows a held-out person, as participant or bystander, was trained on."""
    shown: dict[str, set[str]] = {}
    for recording, person, others in results.recordings[["recording", "person", "others"]].itertuples(index=False):
        for one in (person, *others):
            shown.setdefault(one, set()).add(recording)
    for making in results.makings.values():
        person = making.unit.held_out
        learnt = {*making.train, *making.validation, *making.pretrained_on}
        both = sorted(shown.get(person, set()) & learnt) if person else []
        if both:
            raise PipelineError(
                f"{person} is held out of {making.unit.name} but {both[0]}, which shows them, was trained on; "
                "remove its predictions and run the study again."
            )
