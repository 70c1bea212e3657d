"""What a study is: methods x modalities x data sets x people held out, in one typed file.

A file holds the fields of `StudyConfig` (docs/studies.md has one to copy). `resolve` fills in who is there; from then on the file
says alone which units there are (`models.study_units`).
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from models.config import Frozen, Method, Modality
from models.presets import Preset, preset
from pipeline.errors import PipelineError
from pipeline.files import write_changed
from pipeline.manifest import ID_PATTERN

StudyModality = Literal["rd", "ra", "dual"]
READS: dict[StudyModality, tuple[Modality, ...]] = {"rd": ("rd",), "ra": ("ra",), "dual": ("rd", "ra")}
Start = Literal["pretrained", "random"]
SetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
RowName = Annotated[str, Field(pattern=r"^\w[\w .,()+-]{0,59}$")]
Switches = dict[str, Any]
"""Fields of `models.presets.Preset` by their path, `finetuning.steps`, and what they become."""

SAID_ELSEWHERE = {
    "clip.modalities": "modalities",
    "clip.part": "inside_split",
    "pose.method": "the row's method",
    "pretraining.seed": "seeds",
    "finetuning.seed": "seeds",
}
OF_ALL_ROWS = ("clip.frames", "clip.targets", "clip.cube")
"""Fields that decide which frames are predicted, and from which cubes: rows that differ in them could not be compared."""


class DataSetRule(Frozen):
    """Which recordings a data set holds: those that every field given here is true of."""

    title: str = Field("", description="as tables call it; empty: its name")
    origin: str | None = Field(None, description="the manifest's `origin`, word for word: `simulate: sim-move`")
    prefix: str | None = Field(None, description="how their ids begin")
    recordings: tuple[str, ...] = Field((), description="their ids")
    people: tuple[str, ...] = Field((), description="only these participants; empty: all, filled in by `resolve`")

    @model_validator(mode="after")
    def _says_something(self) -> "DataSetRule":
        if self.origin is None and self.prefix is None and not self.recordings:
            raise ValueError("say which recordings it holds: origin, prefix or recordings")
        return self


class StudyMethod(Frozen):
    """A row of the tables: a network, what it begins from, and where it departs from the preset."""

    name: RowName
    method: Method = "maepose"
    start: Start = Field("random", description="pretrained: the encoder is pre-trained on the fold's training people")
    modalities: tuple[StudyModality, ...] = Field((), description="empty: those of the study")
    switches: Switches = Field(
        default_factory=dict, alias="set", description="changes to the preset: `set: {pose.head: gcn}`"
    )


class ZeroShot(Frozen):
    """Models trained on one data set, tested on another; nothing of the other is trained on, nor has it folds of its own."""

    trained_on: SetName
    tested_on: SetName


class StudyConfig(Frozen):
    """A study. The same file over the same data makes the same predictions."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=ID_PATTERN, description="of its folder in experiments/")
    title: str = ""
    preset: str = Field("tiny", description="where every row begins (models.presets)")
    switches: Switches = Field(default_factory=dict, alias="set", description="changes to the preset for all rows")
    data_sets: dict[SetName, DataSetRule] = Field(min_length=1)
    methods: tuple[StudyMethod, ...] = Field(min_length=1, description="rows, in the order of the tables")
    ours: str = Field("", description="the row that others are compared with; empty: the first")
    modalities: tuple[StudyModality, ...] = Field(("dual",), min_length=1)
    seeds: tuple[int, ...] = Field((42,), min_length=1, description="of first weights, order and masks")
    split_seed: int = Field(42, description="of the division into training and validation recordings")
    people: tuple[str, ...] = Field((), description="whom to hold out; empty: everybody, filled in by `resolve`")
    pretrain_on: Literal["own", "all"] = Field("own", description="the unit's data set, or all that are trained on")
    zero_shot: tuple[ZeroShot, ...] = ()
    inside_split: bool = Field(
        False, description="show also, as a warning, what a split inside recordings would have claimed"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "StudyConfig":
        _unique("methods", [method.name for method in self.methods])
        for field in ("modalities", "seeds", "people"):
            _unique(field, list(getattr(self, field)))
        for number, pair in enumerate(self.zero_shot):
            for name in (pair.trained_on, pair.tested_on):
                if name not in self.data_sets:
                    raise ValueError(f"zero_shot.{number}: there is no data set {name!r}; name one of data_sets")
        if both := sorted({pair.trained_on for pair in self.zero_shot} & self.test_only):
            raise ValueError(f"zero_shot: {both[0]} is trained on and only tested on; list it twice in data_sets")
        if self.ours and self.ours not in [method.name for method in self.methods]:
            raise ValueError(f"ours: no row is called {self.ours!r}; name one of methods")
        for method in self.methods:
            for modality in self.modalities_of(method):
                self.preset_of(method, modality)
        return self

    @property
    def our_row(self) -> str:
        """Name of the row that others are compared with."""
        return self.ours or self.methods[0].name

    @property
    def test_only(self) -> set[str]:
        """Data sets that models of others are tested on."""
        return {pair.tested_on for pair in self.zero_shot}

    @property
    def trained_sets(self) -> tuple[str, ...]:
        """Data sets with folds of their own."""
        return tuple(name for name in self.data_sets if name not in self.test_only)

    @property
    def everybody(self) -> tuple[str, ...]:
        """People of the data sets with folds, of a resolved study, held out or not."""
        return tuple(sorted({person for name in self.trained_sets for person in self.data_sets[name].people}))

    def tested_sets(self, trained_on: str) -> tuple[str, ...]:
        """Where a model trained on that data set is tested: there first."""
        return (trained_on, *(pair.tested_on for pair in self.zero_shot if pair.trained_on == trained_on))

    def folds(self, data_set: str) -> tuple[str, ...]:
        """People to hold out of a data set, of a resolved study."""
        return tuple(name for name in self.people if name in self.data_sets[data_set].people)

    def modalities_of(self, method: StudyMethod) -> tuple[StudyModality, ...]:
        """What a row reads."""
        return method.modalities or self.modalities

    def base_preset(self, modality: StudyModality) -> Preset:
        """The preset with the study's own changes; ValueError where they do not fit."""
        try:
            begun = preset(self.preset)
        except PipelineError as error:
            raise ValueError(f"preset: {error}") from None
        return _switched(begun.on(READS[modality]), self.switches, "set")

    def preset_of(self, method: StudyMethod, modality: StudyModality, seed: int | None = None) -> Preset:
        """What a row trains with; `seed` None leaves the preset's own. ValueError where its changes do not fit."""
        where = f"methods.{method.name}"
        if apart := [path for path in method.switches if path in OF_ALL_ROWS]:
            raise ValueError(
                f"{where}.set.{apart[0]}: rows are tested on the same clips; change it in the study's own set"
            )
        begun = self.base_preset(modality).by(method.method)
        chosen = _switched(begun, method.switches, f"{where}.set")
        if seed is not None:
            chosen = _changed(chosen, {"pretraining.seed": seed, "finetuning.seed": seed}, where)
        if method.start == "pretrained":
            if not method.method.startswith("maepose"):
                raise ValueError(f"{where}.start: {method.method} has no encoder to pre-train; begin it at random")
            if chosen.masked.encoder != chosen.pose.encoder:
                raise ValueError(f"{where}.set: change masked.encoder and pose.encoder alike, or begin it at random")
        return chosen


def read_study(path: Path) -> StudyConfig:
    """The study that `path` describes. Raises PipelineError naming file and field where it does not fit."""
    try:
        said = yaml.load(path.read_text(), _Once)
    except FileNotFoundError:
        raise PipelineError(f"There is no study file {path}; docs/studies.md has one to copy.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PipelineError(f"{path} is not a YAML file that can be read: {_yaml_problem(error)}.") from None
    if not isinstance(said, dict):
        raise PipelineError(f"{path} holds no study: it must name fields (name, data_sets, methods, ...).")
    try:
        return StudyConfig.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise PipelineError(f"{path}: {f'{where}: ' if where else ''}{what}.") from None


def _yaml_problem(error: Exception) -> str:
    """What is wrong and in which line, without the line: whoever reads this need not be allowed to read the file."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem}, line {error.problem_mark.line + 1}"
    return " ".join(str(error).split())


class _Once(yaml.SafeLoader):
    """YAML in which a field stands once: PyYAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        fields = [key.value for key, _ in node.value]
        if twice := [name for name in fields if fields.count(name) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def write_study(path: Path, config: StudyConfig) -> None:
    """Write a study as `read_study` reads it; as `pipeline.files.write_changed`."""
    said = config.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=120)
    write_changed(path, text)


def _switched(begun: Preset, switches: Switches, where: str) -> Preset:
    for path in switches:
        if path in SAID_ELSEWHERE:
            raise ValueError(f"{where}.{path}: say it as {SAID_ELSEWHERE[path]}")
    return _changed(begun, switches, where)


def _changed(begun: Preset, changes: Switches, where: str) -> Preset:
    """`begun` with fields changed by their path; ValueError naming a path that is none, or a value that does not fit."""
    wanted = begun.model_dump()
    for path, value in changes.items():
        *parents, last = path.split(".")
        part: Any = wanted
        for parent in parents:
            part = part.get(parent) if isinstance(part, dict) else None
        if not isinstance(part, dict) or last not in part:
            raise ValueError(f"{where}.{path}: a preset has no such field; look into models/config.py")
        part[last] = value
    try:
        return Preset.model_validate(wanted)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{where}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _unique(field: str, values: list[Any]) -> None:
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{field}: {twice[0]} is there twice; name each once")
