"""Experiments by name, `<root>/experiments/<name>/`: what one is asked for, and the runs that carry it out. No Prefect in here.

`models.runs` says what lies in the folder: the same request under the same name goes on where it was cut short, another one is
refused. Beside that, once it is done, `experiment.json`: the request, and the recordings of training, validation and test.
"""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import PipelineError
from pipeline.files import write_report
from pipeline.locks import take_lock
from pipeline.manifest import ID_PATTERN
from pipeline.splits import Split, leave_none_out, leave_one_out, people

if TYPE_CHECKING:
    from models.config import Modality
    from models.presets import Preset
    from models.training import Progress as TrainingProgress

Verb = Literal["pretrain", "finetune"]
PresetChoice = Literal["paper", "paper-cheap", "paper224", "small", "tiny"]
ModalityChoice = Literal["rd", "ra", "dual"]
MethodChoice = Literal["maepose", "maepose-plus", "cubelearn", "poseformer", "hupr"]
HeadChoice = Literal["heatmap", "mlp", "gcn", "simcc"]
Progress = Callable[[int, int, str], None]
"""Steps done, of how many, a word beside them."""


class ExperimentRequest(BaseModel):
    """What a training verb or flow is asked for. What is left out comes from the preset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = Field("tiny", description="paper, paper-cheap, paper224, small or tiny")
    modality: ModalityChoice = Field("dual", description="range-Doppler, range-azimuth, or both")
    hold_out: str | None = Field(None, description="person who is in no training recording; None: everybody is")
    people: tuple[str, ...] = Field((), description="only recordings of these people; empty: of everybody")
    method: MethodChoice | None = Field(None, description="None: the preset's; pre-training has none")
    head: HeadChoice | None = Field(None, description="None: the preset's; pre-training has none")
    encoder: str | None = Field(None, description="pre-trained experiment or file to begin from; None: random weights")
    steps: int | None = Field(None, ge=1, description="stop after so many optimiser steps; None: as the preset says")
    seed: int = Field(42, ge=0)
    name: str | None = Field(None, pattern=ID_PATTERN, description="of the experiment; None: made of the choices above")

    def named(self, verb: Verb) -> str:
        """The name of the experiment."""
        if self.name is not None:
            return self.name
        words = [verb, self.preset, self.method, self.head, self.modality]
        if self.encoder is not None:
            words.append("pretrained")
        words.append(f"without-{self.hold_out}" if self.hold_out else "everybody")
        return "-".join("".join(c if c.isalnum() else "-" for c in word) for word in words if word)


class Experiment(BaseModel):
    """`experiment.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    verb: Verb
    request: ExperimentRequest
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.request.named(self.verb)


def needs_training_extra() -> None:
    """PipelineError where the packages that networks need are not installed."""
    missing = [name for name in ("torch", "lightning", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise PipelineError(
            f"Networks need {', '.join(missing)}; install what is missing with `pip install 'maepose[training]'`."
        )


MODEL_FILE = "model.safetensors"


def experiment_folder(root: Path, name: str) -> Path:
    """Where an experiment lies."""
    return root / "experiments" / name


def resolved_preset(request: ExperimentRequest) -> "Preset":
    """The preset of `request` with its changes; PipelineError where they do not fit."""
    from models.presets import Preset, preset

    modalities: tuple[Modality, ...] = ("rd", "ra") if request.modality == "dual" else (request.modality,)
    chosen = preset(request.preset).on(modalities)
    wanted = (chosen if request.method is None else chosen.by(request.method)).model_dump()
    if request.head is not None:
        wanted["pose"]["head"] = request.head
    for part in ("pretraining", "finetuning"):
        wanted[part]["seed"] = request.seed
        if request.steps is not None:
            wanted[part]["steps"] = request.steps
    try:
        return Preset.model_validate(wanted)
    except ValidationError as error:
        first = error.errors()[0]
        raise PipelineError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def experiment_split(root: Path, request: ExperimentRequest) -> Split:
    """Recordings to train, validate and test on, by the manifests; PipelineError where somebody is unknown or a part empty."""
    table = people(root)
    if request.people:
        known = set(table["participant"].dropna())
        strangers = [name for name in request.people if name not in known]
        if strangers:
            raise PipelineError(
                f"There is no recording of {', '.join(strangers)} under {root}; "
                f"the people recorded are {', '.join(sorted(known)) or 'none'}."
            )
        wanted = {*request.people, request.hold_out}
        table = table[table["participant"].isin(wanted)]
    if request.hold_out is None:
        return leave_none_out(table, request.seed)
    return leave_one_out(table, request.hold_out, request.seed)


def model_file(root: Path, model: str) -> Path:
    """The model file that `model` means: a path, or the weights of the experiment of that name under `root`.

    Raises PipelineError when there is neither, or not yet any weights.
    """
    path = Path(model).expanduser()
    if path.is_file():
        return path.absolute()
    folder = path.absolute() if path.is_dir() else experiment_folder(root, model)
    found = folder / MODEL_FILE
    if found.is_file():
        return found
    if folder.is_dir():
        raise PipelineError(
            f"{folder} holds no {MODEL_FILE}: its training has not come far enough; run it again to go on with it."
        )
    raise PipelineError(
        f"There is no model {model!r}: name a .safetensors file, or an experiment under {root / 'experiments'}."
    )


def pretrain(
    root: Path, request: ExperimentRequest, on_progress: Progress | None = None, *, force: bool = False
) -> tuple[Path, Experiment]:
    """Pre-train a masked autoencoder; returns its weights and what was run. `force` begins anew what is there already.

    Raises PipelineError as `models.pretraining.pretrain`.
    """
    if request.method or request.head or request.encoder:
        raise PipelineError("Pre-training has no method, head or encoder; leave them to `maepose finetune`.")
    preset, split = resolved_preset(request), experiment_split(root, request)
    folder = experiment_folder(root, request.named("pretrain"))
    from models.pretraining import pretrain as run  # Lightning takes seconds to import: what was asked is judged before

    with _one_at_a_time(folder):
        model = run(
            root, split, preset, folder, name=request.preset, held_out=request.hold_out, on_progress=_told(on_progress),
            resume=not force,
        )  # fmt: skip
        return model, _noted(folder, "pretrain", request, split)


def finetune(
    root: Path, request: ExperimentRequest, on_progress: Progress | None = None, *, force: bool = False
) -> tuple[Path, Experiment]:
    """Fit a pose network; returns its weights and what was run. `force` begins anew what is there already.

    Raises PipelineError as `models.finetuning.finetune`.
    """
    preset, split = resolved_preset(request), experiment_split(root, request)
    encoder = model_file(root, request.encoder) if request.encoder is not None else None
    folder = experiment_folder(root, request.named("finetune"))
    from models.finetuning import finetune as run

    with _one_at_a_time(folder):
        model = run(
            root, split, preset, folder, encoder=encoder, name=request.preset, held_out=request.hold_out,
            on_progress=_told(on_progress), resume=not force,
        )  # fmt: skip
        return model, _noted(folder, "finetune", request, split)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Only one process trains in an experiment's folder; the lock dies with it. PipelineError where another one does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise PipelineError(f"The folder {folder} cannot be written ({error.strerror}); choose another.") from error
    with lock:
        if not take_lock(lock):
            raise PipelineError(
                f"Another process is training {folder.name} just now; wait for it, or give this one another name."
            )
        yield


def _told(on_progress: Progress | None) -> "Callable[[TrainingProgress], None] | None":
    """A training's own progress as steps done, of how many, and a word."""
    if on_progress is None:
        return None

    def tell(at: "TrainingProgress") -> None:
        judged = ", ".join(f"{name} {value:.4f}" for name, value in list(at.metrics.items())[:1])
        on_progress(at.step, at.steps, f"step {at.step} of {at.steps}, loss {at.loss:.4f} {judged}".rstrip())

    return tell


def _noted(folder: Path, verb: Verb, request: ExperimentRequest, split: Split) -> Experiment:
    experiment = Experiment(verb=verb, request=request, train=split.train, validation=split.validation, test=split.test)
    write_report(folder / "experiment.json", experiment)
    return experiment


def summary(root: Path, model: Path, experiment: Experiment) -> dict[str, Any]:
    """What a verb or a flow says of a finished run."""
    from models.checkpoints import read_card

    card = read_card(model)
    return {
        "experiment": experiment.name,
        "model": str(model),
        "preset": experiment.request.preset,
        "modality": experiment.request.modality,
        "held_out": experiment.request.hold_out,
        "recordings": len(experiment.train),
        "validation_recordings": len(experiment.validation),
        "test_recordings": len(experiment.test),
        "steps": card.steps,
        **{name: round(value, 5) for name, value in card.metrics.items()},
        "simulated": _any_simulated(root, experiment.train),
    }


def _any_simulated(root: Path, recordings: Sequence[str]) -> bool:
    from pipeline.recording import open_recording

    return any(open_recording(root, name).manifest.simulated for name in recordings)
