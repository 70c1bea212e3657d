"""A trained network in one file: safetensors weights, and in their metadata the card that says how to build it again.

Any tool that reads safetensors reads the weights; the key `card` of the file's metadata is a `ModelCard` in JSON.
"""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from models.config import ClipConfig, Frozen, MaskedConfig, PoseConfig, TrainConfig
from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from pipeline.provenance import versions

Kind = Literal["masked", "pose"]


class ModelCard(Frozen):
    """Everything a network's weights need beside them to be used, and to be made again. Holds no time: same run, same bytes."""

    schema_version: Literal[1] = 1
    preset: str = Field("", description="name of the preset that the run began from")
    clip: ClipConfig = Field(description="clips it reads; window and first range are those fitted on its training data")
    network: MaskedConfig | PoseConfig
    training: TrainConfig
    recordings: tuple[str, ...] = Field((), description="recordings it was fitted on")
    validation: tuple[str, ...] = Field((), description="recordings that chose its weights")
    held_out: str | None = Field(None, description="person it never saw, neither in pre-training nor in fine-tuning")
    encoder_sha256: str | None = Field(None, description="digest of the pre-trained file its encoder began from")
    steps: int = Field(0, ge=0, description="optimiser steps behind these weights")
    metrics: dict[str, float] = Field(default_factory=dict, description="of the validation that chose these weights")
    versions: dict[str, str] = Field(default_factory=dict, description="of Python and the packages that fitted it")

    @property
    def kind(self) -> Kind:
        """`masked`: an autoencoder to begin from; `pose`: a network that predicts poses."""
        return "masked" if isinstance(self.network, MaskedConfig) else "pose"


def training_versions() -> dict[str, str]:
    """Versions that a network's numbers depend on."""
    return versions() | {name: metadata.version(name) for name in ("torch", "lightning", "safetensors")}


def build_network(card: ModelCard) -> nn.Module:
    """The untrained network that `card` describes."""
    if isinstance(card.network, MaskedConfig):
        from models.masked import MaskedAutoencoder

        return MaskedAutoencoder(card.clip, card.network)
    from models.pose import build_pose_network

    return build_pose_network(card.clip, card.network)


def save_model(path: Path, network: nn.Module, card: ModelCard, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write the weights of `network`, or `weights` in their stead (an average of them), with their card, in one atomic step.

    Raises PipelineError when the disk does not take it.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in (weights or network.state_dict()).items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, save(tensors, {"card": card.model_dump_json()}))
    except OSError as error:
        raise PipelineError(
            f"The model {path} cannot be written ({error.strerror}); make room or choose another folder."
        ) from error


def read_card(path: Path, kind: Kind | None = None) -> ModelCard:
    """The card of a model file, without its weights; PipelineError when it is no such file, or not of that `kind`."""
    return _of_kind(path, kind, _read(path)[0])


def load_model(path: Path, kind: Kind | None = None) -> tuple[nn.Module, ModelCard]:
    """The network in `path`, on the CPU and ready to predict (`eval`), and its card.

    Raises PipelineError when there is no such file, when it was not written by `save_model`, when it holds another `kind` than
    asked for, or when its weights are not those of the network its card describes.
    """
    card, weights = _read(path, with_weights=True)
    _of_kind(path, kind, card)
    network = build_network(card)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise PipelineError(f"The weights in {path} are not those its card describes: {reason}") from error
    return network.eval(), card


def _of_kind(path: Path, kind: Kind | None, card: ModelCard) -> ModelCard:
    if kind is not None and card.kind != kind:
        holds = {
            "masked": "a masked autoencoder, which predicts no poses",
            "pose": "a pose network, no masked autoencoder",
        }
        verb = {"masked": "pretrain", "pose": "finetune"}[kind]
        raise PipelineError(f"{path} holds {holds[card.kind]}; name a file that `maepose {verb}` wrote.")
    return card


def _read(path: Path, with_weights: bool = False) -> tuple[ModelCard, dict[str, Tensor]]:
    if not path.is_file():
        raise PipelineError(f"There is no model file {path}; `maepose finetune` and `maepose pretrain` write them.")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("card")
            weights: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()} if with_weights else {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise PipelineError(f"{path} is not a model file or is damaged ({error}); train it again.") from error
    if text is None:
        raise PipelineError(
            f"{path} holds weights but no model card, so it was not written here; train it with `maepose finetune`."
        )
    try:
        return ModelCard.model_validate_json(text), weights
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the card"
        raise PipelineError(
            f"The model card in {path} is not one this version reads: {where}: {first['msg']}."
        ) from error
