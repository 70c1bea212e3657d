"""Fitting a network: the same loop for masked and for pose networks, which goes on to the same numbers after it was killed."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from models.batch import ClipBatch
from models.checkpoints import ModelCard, save_model, training_versions
from models.host_memory import keep_freed_memory
from models.loader import ClipLoader
from models.optimising import Layer, average, optimiser
from models.quiet_lightning import Tracking, pl, quiet, run_logger
from models.runs import Judgement, RunFolder
from pipeline.errors import PipelineError

JUDGEMENTS = 20
"""A run is judged, and can be resumed, at each epoch's end; more often where that were less than so many times in all."""

T = TypeVar("T")


class Progress(NamedTuple):
    """How far a run is. `metrics` are those of the last validation, empty before it."""

    step: int
    steps: int
    epoch: float
    loss: float
    metrics: dict[str, float]


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Task:
    """What is fitted: a network's loss (key `loss`, further keys are logged), and how weights are judged."""

    loss: Callable[[nn.Module, ClipBatch, torch.Generator], dict[str, Tensor]]
    judge: Callable[[nn.Module, Iterable[ClipBatch]], dict[str, float]]
    metric: str
    """Of those that `judge` gives; less is better."""
    keep: Literal["best", "last"]


@dataclass(frozen=True)
class Machine:
    """Where a run runs. `devices` of one kind train together (Lightning's ddp), each with a batch of its own.

    `workers` processes read ahead where memory cannot hold the maps.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    workers: int = 2


def fit(
    network: nn.Module,
    layers: Sequence[Layer],
    task: Task,
    train: ClipLoader,
    validation: ClipLoader | None,
    card: ModelCard,
    folder: Path,
    *,
    on_progress: OnProgress | None = None,
    resume: bool = True,
    tracking: Tracking = "tensorboard",
    machine: Machine | None = None,
) -> Path:
    """Fit `network` as `card.training` says and return the path of `folder`/model.safetensors (`models.runs`: the others).

    A run that was killed goes on after its last judgement, which each epoch ends with; on a CPU it ends with the bits it would
    have had. One that is finished is not repeated. With `resume` False it begins anew.
    Raises PipelineError when loss or gradient are no longer finite (the batch is kept), and when the folder holds another run.
    """
    run, config, machine = RunFolder(folder), card.training, machine or Machine()
    if _first_process() and run.begin(card, resume=resume):
        return run.model
    epoch_steps = max(len(train) // machine.devices, 1)
    keep_freed_memory()
    steps = config.steps or config.epochs * epoch_steps
    module = _Module(network, layers, task, card, steps, run)
    judge = _Judge(module, validation, epoch_steps, on_progress)
    with quiet(), torch.random.fork_rng(), torch.enable_grad():
        trainer = pl.Trainer(
            accelerator=machine.accelerator,
            devices=machine.devices,
            strategy="auto" if machine.devices == 1 else "ddp",
            precision="bf16-mixed" if config.precision == "bf16" else "32-true",
            max_steps=steps,
            max_epochs=-1,
            callbacks=[judge],
            logger=run_logger(folder, tracking),
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
        try:
            trainer.fit(module, _Batches(train, trainer, steps), ckpt_path=run.state if run.state.exists() else None)
        finally:
            for logger in trainer.loggers:
                logger.finalize("")
    if trainer.is_global_zero:
        run.finish(card)
    return run.model


class _Batches:
    """Batches from the step that the trainer has come to until `steps`, epoch after epoch.

    To Lightning a run is one epoch without a length, so that it goes on at any batch: its own count of epochs and batches, once
    restored, leaves batches out.
    """

    def __init__(self, loader: ClipLoader, trainer: Any, steps: int) -> None:
        self._loader, self._trainer, self._steps = loader, trainer, steps

    def __iter__(self) -> Iterator[ClipBatch]:
        step, epoch_steps = self._trainer.global_step, len(self._loader)
        while step < self._steps:
            self._loader.set_epoch(step // epoch_steps, step % epoch_steps)
            for batch in self._loader:
                yield batch
                step += 1


class _Module(pl.LightningModule):
    """A network as Lightning sees it. What chance decides in a step depends on the seed and the step's number alone."""

    def __init__(
        self, network: nn.Module, layers: Sequence[Layer], task: Task, card: ModelCard, steps: int, run: RunFolder
    ) -> None:
        super().__init__()
        self.network, self.task, self.card, self.steps, self.run_folder = network, task, card, steps, run
        self.average = average(network, card.training.ema) if card.training.ema else None
        self._layers = layers
        self._batch: ClipBatch | None = None
        self.loss = torch.zeros(())
        self.loss_value = math.nan

    @property
    def kept(self) -> nn.Module:
        """The network whose weights are judged and kept."""
        return self.network if self.average is None else self.average.module

    def configure_optimizers(self) -> Any:
        adamw, schedule = optimiser(self.network, self._layers, self.card.training, self.steps)
        return {"optimizer": adamw, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        sequence = np.random.SeedSequence([self.card.training.seed, self.global_step, self.global_rank])
        seed = int(sequence.generate_state(1, np.uint64)[0] >> 1)
        torch.manual_seed(seed)  # dropout
        losses = self.task.loss(self.network, batch, torch.Generator(self.device).manual_seed(seed))
        self._batch, self.loss = batch, losses["loss"].detach()
        if self.global_step % 10 == 0 and self.logger is not None:
            named = {f"train/{name}": float(value.detach()) for name, value in losses.items()}
            rate = max(group["lr"] for group in self.trainer.optimizers[0].param_groups)
            self.logger.log_metrics(named | {"train/rate": rate}, self.global_step)
        return losses["loss"]

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip, and stop a run whose numbers have gone before they reach the weights."""
        limit = self.card.training.clip_norm
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), math.inf if limit is None else limit)
        self.loss_value, norm_value = torch.stack([self.loss.float(), norm.float()]).tolist()  # one wait for the device
        if math.isfinite(self.loss_value) and math.isfinite(norm_value):
            return
        what = "loss" if not math.isfinite(self.loss_value) else "gradient"
        assert self._batch is not None
        self.run_folder.save_bad_batch(self._batch)
        raise PipelineError(
            f"The {what} stopped being a finite number at step {self.global_step + 1} of {self.steps}; the batch is kept in "
            f"{self.run_folder.bad_batch}. Look at its maps, or lower the learning rate."
        )


class _Judge(pl.callbacks.Checkpoint):
    """Judges weights, keeps them, stops a run that gets no better, and saves what is needed to go on."""

    def __init__(
        self, module: _Module, validation: ClipLoader | None, epoch_steps: int, on_progress: OnProgress | None
    ) -> None:
        self._module, self._validation, self._on_progress = module, validation, on_progress
        self._epoch_steps = epoch_steps
        wanted = max(1, min(epoch_steps, module.steps // JUDGEMENTS))
        self._every = math.ceil(epoch_steps / math.ceil(epoch_steps / wanted))  # an epoch in even parts
        self._best, self._best_step = math.inf, 0
        self._losses: list[float] = []
        self._history: list[Judgement] = []

    def state_dict(self) -> dict[str, Any]:
        history = [judgement.model_dump() for judgement in self._history]
        return {"best": self._best, "best_step": self._best_step, "losses": self._losses, "history": history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._best_step = state_dict["best"], state_dict["best_step"]
        self._losses = list(state_dict["losses"])
        self._history = [Judgement.model_validate(line) for line in state_dict["history"]]

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        trainer.should_stop = self._patience_is_out(trainer.global_step)  # killed after it was, before it was said

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        module, step = self._module, trainer.global_step
        if module.average is not None:
            module.average.update_parameters(module.network)
        self._losses.append(module.loss_value)
        in_epoch = step % self._epoch_steps
        if in_epoch % self._every == 0 or step == module.steps:
            self._judge(trainer, step)
            self._save(trainer)
        if self._on_progress is not None and trainer.is_global_zero:
            metrics = self._history[-1].metrics if self._history else {}
            self._on_progress(Progress(step, module.steps, step / self._epoch_steps, module.loss_value, metrics))

    def _save(self, trainer: Any) -> None:
        path = self._module.run_folder.state
        try:
            trainer.save_checkpoint(path)
        except OSError as error:
            raise PipelineError(f"{path} cannot be written ({error.strerror}); make room and start again.") from error

    def _judge(self, trainer: Any, step: int) -> None:
        module = self._module
        metrics = {} if self._validation is None else self._metrics(trainer, self._validation)
        value = metrics.get(module.task.metric, math.nan)
        better = value < self._best
        if better:
            self._best, self._best_step = value, step
        mean_loss = float(np.mean(self._losses))
        self._losses.clear()
        self._history.append(Judgement(step=step, epoch=step / self._epoch_steps, loss=mean_loss, metrics=metrics))
        if trainer.is_global_zero:
            if better or module.task.keep == "last" or self._validation is None:
                results = {"steps": step, "metrics": metrics, "versions": training_versions()}
                save_model(module.run_folder.model, module.kept, module.card.model_copy(update=results))
            module.run_folder.write_history(self._history)
            for logger in trainer.loggers:
                logger.log_metrics({f"validation/{name}": number for name, number in metrics.items()}, step)
        trainer.should_stop = trainer.should_stop or self._patience_is_out(step)

    def _metrics(self, trainer: Any, validation: ClipLoader) -> dict[str, float]:
        network = self._module.kept.eval()
        validation.set_epoch(0)
        try:
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                metrics = self._module.task.judge(network, map(trainer.strategy.batch_to_device, validation))
        finally:
            network.train()
        if not math.isfinite(metrics[self._module.task.metric]):
            raise PipelineError(
                f"The validation's {self._module.task.metric} is no finite number after step {trainer.global_step}; "
                "lower the learning rate."
            )
        return metrics

    def _patience_is_out(self, step: int) -> bool:
        patience = self._module.card.training.patience
        if patience is None or self._validation is None:
            return False
        return step - self._best_step >= patience * self._epoch_steps


def _first_process() -> bool:
    """False in the further processes that Lightning starts where several devices train together."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def gathered(value: T) -> list[T]:
    """`value` of each process that trains together, in their order; of this one alone where there is but one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
