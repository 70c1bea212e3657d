"""Where weights lie: a name or a path in, a file or folder on this machine out, with the digest that names it in labels.

Looked for in this order: the path itself; `weights/<name>` in the data root; for a Hugging Face name (`owner/model`) the local
cache; and, only where a download is allowed, the Hugging Face hub. The simulated rig's weights come with the project.
"""

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PipelineError

BUNDLED = Path(__file__).parent / "weights"
"""The folder of the weights that come with the project."""

SIMULATED_PEOPLE = "simulated-people.safetensors"
"""Weights of the simulated rig's labeller; `weights/README.md` says how they were made."""

_TENSORS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
_HUB_FILES = ["*.json", "*.safetensors"]
_HUB_TIMEOUT_S = 10


@dataclass(frozen=True)
class Weights:
    """Weights on this machine: a file, or a folder as transformers' `save_pretrained` writes it."""

    name: str  # as asked for, less folders and suffix
    path: Path
    digest: str  # first 12 hexadecimal digits of the SHA-256 of the tensors' file

    @property
    def label(self) -> str:
        """How labels name them."""
        return f"{self.name}@{self.digest}"


def yolo_weights(name: str, root: Path) -> Weights:
    """An Ultralytics `.pt` file by path or name; PipelineError says where to put it when it is nowhere."""
    file = name if name.endswith(".pt") else f"{name}.pt"
    for path in (Path(name).expanduser(), Path(file).expanduser(), root / "weights" / file):
        if path.is_file():
            return Weights(path.stem, path, _digest(path))
    raise PipelineError(
        f"The YOLO pose weights {name!r} are not on this machine; put {Path(file).name} into {root / 'weights'}, or give its "
        f"path. (Ultralytics publishes yolo11n-pose.pt and others with its releases, under AGPL-3.0.)"
    )


def simulated_weights(path: Path | None, root: Path) -> Weights:
    """The weights of the simulated rig's labeller: `path`, else those retrained in the data root, else the project's own."""
    own = (root / "weights" / SIMULATED_PEOPLE, BUNDLED / SIMULATED_PEOPLE)
    for candidate in (path,) if path is not None else own:
        if candidate.is_file():
            return Weights(candidate.stem, candidate, _digest(candidate))
    raise PipelineError(f"There are no weights {path or own[1]}; make them with `maepose train-labeller`.")


def transformers_weights(name: str, root: Path, *, download: bool = False) -> Weights:
    """A transformers model's folder by path or Hugging Face name.

    The network is asked only with `download`, and not when `HF_HUB_OFFLINE` is set; then for some seconds at most before it
    answers. PipelineError says which files to put where when the model is nowhere.
    """
    for path in (Path(name).expanduser(), root / "weights" / name, root / "weights" / Path(name).name):
        if path.is_dir():
            return Weights(path.name, path, _digest(_tensors_of(path)))
    found = _from_hub(name, download) if _is_hub_name(name) else None
    if found is not None:
        return Weights(Path(name).name, found, _digest(_tensors_of(found)))
    offline = "" if download and not _offline() else ", and downloading is not allowed here"
    raise PipelineError(
        f"The weights {name!r} are not on this machine{offline}; put config.json, preprocessor_config.json and "
        f"model.safetensors from https://huggingface.co/{name} into {root / 'weights' / name}, or give a folder's path."
    )


def _from_hub(name: str, download: bool) -> Path | None:
    """The snapshot in the local cache, or a fresh one; None when neither can be had."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import snapshot_download

    for local_only in (True, False):
        if not local_only and (not download or _offline()):
            return None
        try:
            path = Path(
                snapshot_download(
                    name, local_files_only=local_only, allow_patterns=_HUB_FILES, etag_timeout=_HUB_TIMEOUT_S
                )
            )
        except Exception:  # the hub's library raises of many kinds: not cached, no network, no such model, not allowed
            continue
        if any((path / file).exists() for file in _TENSORS):
            return path
    return None


def _tensors_of(folder: Path) -> Path:
    for file in _TENSORS:
        if (folder / file).is_file():
            return folder / file
    raise PipelineError(f"{folder} holds no weights: there is no {_TENSORS[0]} in it.")


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
