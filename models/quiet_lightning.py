"""Lightning as this package uses it: imported beside a CPU-only torch, silent, and writing only where it is told to."""

import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pipeline.errors import PipelineError
from pipeline.torchvision_cpu import import_torchvision

if importlib.util.find_spec("torchvision") is not None:
    import_torchvision()  # torchmetrics, which Lightning imports, imports it

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger

Tracking = Literal["tensorboard", "mlflow"]

__all__ = ["Logger", "Tracking", "pl", "quiet", "run_logger"]


@contextmanager
def quiet() -> Iterator[None]:
    """No hints, no advice on workers, no lists of devices: what a person should read comes through `on_progress`."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning_utilities")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", module="torch.utils.tensorboard")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def run_logger(folder: Path, tracking: Tracking) -> Logger:
    """Where the curves of a run go: `folder`/tensorboard, or the SQLite database `folder`/mlflow.db.

    Raises PipelineError when MLflow is asked for and not installed.
    """
    if tracking == "tensorboard":
        return TensorBoardLogger(folder, name="tensorboard", version="")
    if importlib.util.find_spec("mlflow") is None:
        raise PipelineError(
            "MLflow is not installed; install it with `pip install 'maepose[tracking]'`, or use TensorBoard."
        )
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MLFlowLogger(
        experiment_name=folder.name,
        tracking_uri=f"sqlite:///{folder.resolve() / 'mlflow.db'}",
        artifact_location=str(folder.resolve() / "mlflow-artifacts"),
    )
