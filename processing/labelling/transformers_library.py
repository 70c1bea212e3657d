"""Loads transformers beside a CPU-only torch, and models from folders on this machine only."""

import importlib
import importlib.util
from types import ModuleType
from typing import Any

from pipeline.errors import PipelineError
from pipeline.torchvision_cpu import import_torchvision
from processing.labelling.weight_files import Weights


def import_transformers() -> ModuleType:
    """The transformers module; PipelineError says what to install when it or torch is missing."""
    if importlib.util.find_spec("transformers") is None:
        raise PipelineError("transformers is not installed; install it with `pip install 'maepose[labels,training]'`.")
    import_torchvision()
    transformers = importlib.import_module("transformers")
    transformers.utils.logging.disable_progress_bar()  # loading takes a second, and standard error is the verb's
    return transformers


def loaded(kind: Any, weights: Weights) -> Any:
    """`kind.from_pretrained` of a folder, without asking any network; PipelineError when the folder holds something else."""
    try:
        return kind.from_pretrained(str(weights.path), local_files_only=True)
    except Exception as error:  # a wrong or half-copied folder makes transformers raise anything
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PipelineError(
            f"{weights.path} does not load as a {kind.__name__} ({first}); it needs config.json, preprocessor_config.json "
            "and model.safetensors of such a model."
        ) from error
