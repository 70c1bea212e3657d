"""The folder of a training run: what was asked, how far it is, what came of it.

model.safetensors   the weights kept so far (`models.checkpoints`)
run.json            what was asked, and whether it is done
history.json        training loss and validation at each judgement
state.ckpt          everything needed to go on after the last judgement; removed when the run is done
tensorboard/        curves, or mlflow.db where that was asked for
bad_batch.safetensors   the batch at which a run that diverged stopped
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from safetensors.torch import save

from models.batch import ClipBatch
from models.checkpoints import ModelCard
from pipeline.errors import PipelineError
from pipeline.files import write_atomic, write_report

RESULTS = {"steps", "metrics", "versions"}
"""Fields of a card that a run finds out; the others say what was asked."""


class RunRecord(BaseModel):
    """run.json: the card without results, and whether the run came to its end."""

    asked: ModelCard
    finished: bool = False


class Judgement(BaseModel):
    """One line of a run's history: the mean loss since the line before, and the validation (empty without one)."""

    step: int
    epoch: float
    loss: float
    metrics: dict[str, float]


class History(BaseModel):
    """history.json"""

    judgements: list[Judgement]


@dataclass(frozen=True)
class RunFolder:
    """Names inside a run's folder."""

    path: Path

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def state(self) -> Path:
        return self.path / "state.ckpt"

    @property
    def bad_batch(self) -> Path:
        return self.path / "bad_batch.safetensors"

    @property
    def record(self) -> Path:
        return self.path / "run.json"

    @property
    def history(self) -> Path:
        return self.path / "history.json"

    def begin(self, asked: ModelCard, *, resume: bool) -> bool:
        """Make the folder, or take up the run in it; True when that run is finished already.

        `resume` False removes what an earlier run left. Raises PipelineError when the folder holds a run of something else, or
        cannot be written.
        """
        asked = _without_results(asked)
        try:
            if not resume:
                self._clear()
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PipelineError(
                f"The folder {self.path} cannot be written ({error.strerror}); choose another."
            ) from error
        if not self.record.exists():
            write_report(self.record, RunRecord(asked=asked))
            return False
        try:
            record = RunRecord.model_validate_json(self.record.read_bytes())
        except ValidationError as error:
            raise PipelineError(
                f"{self.record} is not one this version reads; remove the folder or train into another."
            ) from error
        other = differences(record.asked.model_dump(mode="json"), asked.model_dump(mode="json"))
        if other:
            raise PipelineError(
                f"{self.path} holds a run of something else ({'; '.join(other[:3])}); "
                "train into another folder, or begin anew without resuming."
            )
        return record.finished and self.model.exists()

    def finish(self, asked: ModelCard) -> None:
        """Say that the run came to its end; its state is of no more use."""
        write_report(self.record, RunRecord(asked=_without_results(asked), finished=True))
        self.state.unlink(missing_ok=True)

    def save_bad_batch(self, batch: ClipBatch) -> None:
        """Keep the batch that a run diverged at: tensors `map.<modality>`, `uv`, `confidence`, `clip`."""
        tensors = {f"map.{name}": values for name, values in batch.maps.items()}
        tensors |= {"uv": batch.uv, "confidence": batch.confidence, "clip": batch.clip}
        write_atomic(
            self.bad_batch, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        )

    def write_history(self, judgements: Sequence[Judgement]) -> None:
        """Replace history.json."""
        write_report(self.history, History(judgements=list(judgements)))

    def read_history(self) -> list[Judgement]:
        """The judgements of the run so far; none where nothing was judged yet."""
        return History.model_validate_json(self.history.read_bytes()).judgements if self.history.exists() else []

    def _clear(self) -> None:
        for path in (self.model, self.state, self.record, self.history, self.bad_batch, self.path / "mlflow.db"):
            path.unlink(missing_ok=True)
        for path in (self.path / "tensorboard", self.path / "mlflow-artifacts"):
            if path.exists():
                shutil.rmtree(path)


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Where two JSON values differ: `clip.frames 20, now 10`."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in one | other if one.get(key) != other.get(key)]
        return [text for key in keys for text in differences(one.get(key), other.get(key), f"{name}.{key}".lstrip("."))]
    return [] if one == other else [f"{name} {_short(one)}, now {_short(other)}"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _without_results(card: ModelCard) -> ModelCard:
    return card.model_copy(update={"steps": 0, "metrics": {}, "versions": {}})
