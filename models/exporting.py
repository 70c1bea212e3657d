"""A pose model for programs without this one: ONNX and a `torch.export` program, each held against the model it came from.

Both take the scaled maps of a clip a modality, `rd` and `ra` (clip, 1, frame, row, column; any number of clips), and give `uv`
(clip, target, joint, 2), shares of the picture, and `score` (clip, target, joint) where the network's head makes one. The
model's card travels in both: `card` in the ONNX file's metadata, `card.json` in the program's extra files.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor, nn

from models.batch import PoseOutput
from models.checkpoints import ModelCard, load_model
from models.config import ClipConfig
from models.predicting import peaks
from pipeline.errors import PipelineError
from pipeline.files import write_atomic

TOLERANCE = 1e-3
"""Largest difference to the model itself, in shares of the picture: under a tenth of a heatmap's cell."""
_CLIPS_COMPARED = 3
_ROUNDING = 1e-5
"""Noise on the maps, whole scale 1, that is surely more than two programs' rounding differs by."""

Arrays = list[Float32[np.ndarray, "..."]]
Joints = Bool[np.ndarray, "clip target joint"]


@dataclass(frozen=True)
class ExportedModel:
    """Where the two files lie, and the largest difference of each to the model itself (shares of the picture, or score).

    `compared` is the share of joints whose places were compared: those that rounding alone does not move, as it does where
    two cells of a heatmap are as good as equal. Scores were compared of all.
    """

    onnx: Path
    program: Path
    onnx_difference: float
    program_difference: float
    compared: float

    def rows(self) -> dict[str, Any]:
        """What to tell."""
        return {
            "onnx": str(self.onnx),
            "onnx_difference": float(f"{self.onnx_difference:.1e}"),
            "program": str(self.program),
            "program_difference": float(f"{self.program_difference:.1e}"),
            "joints_compared": round(self.compared, 3),
        }


class Deployed(nn.Module):
    """A pose network with plain tensors in and out: maps in the order of the clip's modalities, `uv` and `score`."""

    def __init__(self, network: nn.Module, clip: ClipConfig) -> None:
        super().__init__()
        self.network, self.modalities = network, clip.modalities

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        output: PoseOutput = self.network(dict(zip(self.modalities, maps, strict=True)))
        score = peaks(output)
        return (output.uv,) if score is None else (output.uv, score)


def export_model(model: Path, folder: Path) -> ExportedModel:
    """Write `<model>.onnx` and `<model>.pt2` into `folder`, once each agrees with the model on clips it has not seen.

    Raises PipelineError when the file is no pose model, when ONNX is not installed, and when an export differs by more than
    TOLERANCE from the model; then nothing is written.
    """
    network, card = load_model(model, "pose")
    deployed = Deployed(network, card.clip).eval()
    example, unseen = _clips(card.clip, 2, seed=0), _clips(card.clip, _CLIPS_COMPARED, seed=1)
    expected = _arrays(_eager(deployed, unseen))
    decided = _decided(deployed, unseen, expected[0])
    program = _traced(deployed, example)
    program_bytes, program_difference = _program(program, card, unseen, expected, decided)
    onnx_bytes, onnx_difference = _onnx(program, card, unseen, expected, decided)
    files = {".onnx": onnx_bytes, ".pt2": program_bytes}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, data in files.items():
            write_atomic(folder / f"{model.stem}{suffix}", data)
    except OSError as error:
        raise PipelineError(
            f"The exports cannot be written to {folder} ({error.strerror}); name another --out."
        ) from error
    paths = [folder / f"{model.stem}{suffix}" for suffix in files]
    return ExportedModel(paths[0], paths[1], onnx_difference, program_difference, float(decided.mean()))


def _traced(deployed: Deployed, example: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    clips = torch.export.Dim("clip", min=1, max=4096)
    with _quiet():
        return torch.export.export(deployed, example, dynamic_shapes={"maps": tuple({0: clips} for _ in example)})


def _program(
    program: torch.export.ExportedProgram,
    card: ModelCard,
    unseen: tuple[Tensor, ...],
    expected: Arrays,
    decided: Joints,
) -> tuple[bytes, float]:
    """The saved program and its difference, after reading it back."""
    sink = io.BytesIO()
    with _quiet():
        torch.export.save(program, sink, extra_files={"card.json": card.model_dump_json()})
        sink.seek(0)
        again = torch.export.load(sink).module()
        with torch.inference_mode():
            found = _arrays(again(*unseen))
    return sink.getvalue(), _difference("torch.export", found, expected, decided)


def _onnx(
    program: torch.export.ExportedProgram,
    card: ModelCard,
    unseen: tuple[Tensor, ...],
    expected: Arrays,
    decided: Joints,
) -> tuple[bytes, float]:
    """The ONNX file and its difference, run by onnxruntime on the processor."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise PipelineError(f"ONNX needs {error.name}; install it with `pip install 'maepose[training]'`.") from None
    names = list(card.clip.modalities)
    with _quiet():
        written = torch.onnx.export(
            program, (), dynamo=True, input_names=names, output_names=["uv", "score"][: len(expected)], verbose=False
        )
    assert written is not None, "torch.onnx.export with dynamo returns the program"
    proto = written.model_proto
    onnx.helper.set_model_props(proto, {"card": card.model_dump_json()})
    onnx.checker.check_model(proto)
    data = proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: values.numpy() for name, values in zip(names, unseen, strict=True)})
    return data, _difference("ONNX", [np.asarray(values) for values in found], expected, decided)


def _clips(clip: ClipConfig, count: int, seed: int) -> tuple[Tensor, ...]:
    """Clips of noise, 0 to 1, one tensor a modality."""
    noise = torch.Generator().manual_seed(seed)
    return tuple(
        torch.rand((count, 1, clip.frames, *clip.map_shape(name)), generator=noise) for name in clip.modalities
    )


def _eager(deployed: Callable[..., tuple[Tensor, ...]], clips: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        return deployed(*clips)


def _arrays(tensors: tuple[Tensor, ...]) -> Arrays:
    return [tensor.float().numpy() for tensor in tensors]


def _decided(deployed: Deployed, clips: tuple[Tensor, ...], uv: Float32[np.ndarray, "clip target joint 2"]) -> Joints:
    """Joints that stay where they are when the maps change by what rounding may change."""
    decided = np.ones(uv.shape[:3], bool)
    for seed, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        noise = torch.Generator().manual_seed(seed)
        moved = tuple(maps + sign * _ROUNDING * torch.randn(maps.shape, generator=noise) for maps in clips)
        decided &= (np.abs(_eager(deployed, moved)[0].numpy() - uv) <= TOLERANCE).all(axis=-1)
    return decided


def _difference(what: str, found: Arrays, expected: Arrays, decided: Joints) -> float:
    """Largest difference of places that are decided and of any score; PipelineError above TOLERANCE."""
    if [values.shape for values in found] != [values.shape for values in expected]:
        raise PipelineError(f"The {what} export gives arrays of other shapes than the model; nothing was written.")
    apart = [np.abs(one - other) for one, other in zip(found, expected, strict=True)]
    apart[0] = np.where(decided[..., None], apart[0], 0)
    largest = max(float(values.max()) for values in apart)
    if not largest <= TOLERANCE:
        raise PipelineError(
            f"The {what} export differs from the model by {largest:.2g} of the picture, more than {TOLERANCE:g}; "
            "nothing was written."
        )
    return largest


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' running commentary."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
