"""What other programs load says what the model says: ONNX in onnxruntime, torch.export read back."""

import io
import json

import numpy as np
import pytest
import torch
from test_predicting import CLIP, POSE, write_model
from torch import nn

from models.batch import PoseOutput
from models.checkpoints import ModelCard, load_model
from models.exporting import TOLERANCE, Deployed, _decided, _difference, export_model
from pipeline.errors import PipelineError

FITTED = CLIP.model_copy(update={"window_db": {"rd": (-100.0, -50.0), "ra": (-100.0, -50.0)}, "first_range_m": 1.0})


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    model = write_model(folder / "model.safetensors", FITTED)
    return model, export_model(model, folder / "out")


@pytest.mark.slow  # tracing and writing take half a minute on a busy core
def test_both_exports_agree_with_the_model_on_any_number_of_clips(exported):
    import onnxruntime

    model, files = exported
    network, card = load_model(model, "pose")
    deployed = Deployed(network, card.clip)
    session = onnxruntime.InferenceSession(files.onnx.read_bytes(), providers=["CPUExecutionProvider"])
    program = torch.export.load(io.BytesIO(files.program.read_bytes())).module()
    for clips in (1, 5):
        maps = [torch.rand(clips, 1, 4, *card.clip.map_shape(name)) for name in card.clip.modalities]
        with torch.inference_mode():
            uv, score = deployed(*maps)
            program_uv, program_score = program(*maps)
        onnx_uv, onnx_score = session.run(
            ["uv", "score"], dict(zip(("rd", "ra"), [m.numpy() for m in maps], strict=True))
        )
        assert uv.shape == (clips, 2, 13, 2)
        assert np.asarray(onnx_uv) == pytest.approx(uv.numpy(), abs=1e-4)
        assert np.asarray(onnx_score) == pytest.approx(score.numpy(), abs=1e-4)
        assert program_uv.numpy() == pytest.approx(uv.numpy(), abs=1e-5)
        assert program_score.numpy() == pytest.approx(score.numpy(), abs=1e-5)
    assert max(files.onnx_difference, files.program_difference) < 1e-4


@pytest.mark.slow
def test_the_card_travels_along(exported):
    import onnx

    _, files = exported
    said = {entry.key: entry.value for entry in onnx.load(files.onnx).metadata_props}
    assert ModelCard.model_validate_json(said["card"]).network == POSE
    extra = {"card.json": ""}
    torch.export.load(io.BytesIO(files.program.read_bytes()), extra_files=extra)
    assert json.loads(extra["card.json"])["clip"]["frames"] == 4
    assert files.rows()["onnx"].endswith("model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"method": "cubelearn"}, {"method": "poseformer"}, {"method": "hupr"}, {"head": "simcc"}, {"head": "gcn"}],
)
def test_every_method_and_head_is_exported(tmp_path, changes):
    model = write_model(tmp_path / "model.safetensors", FITTED, POSE.model_copy(update=changes))
    files = export_model(model, tmp_path / "out")
    assert files.onnx.stat().st_size > 1000
    assert max(files.onnx_difference, files.program_difference) < 1e-4


def test_an_export_that_differs_is_refused():
    expected = [np.zeros((2, 5, 13, 2), np.float32), np.zeros((2, 5, 13), np.float32)]
    decided = np.ones((2, 5, 13), bool)
    near = [expected[0] + np.float32(TOLERANCE / 2), expected[1]]
    assert _difference("ONNX", near, expected, decided) == pytest.approx(TOLERANCE / 2)
    off = [expected[0].copy(), expected[1]]
    off[0][1, 2, 3, 0] = 2 * TOLERANCE
    with pytest.raises(PipelineError, match=r"ONNX export differs from the model by 0\.002"):
        _difference("ONNX", off, expected, decided)
    with pytest.raises(PipelineError, match="differs from the model by nan"):
        _difference("ONNX", [expected[0] * np.float32("nan"), expected[1]], expected, decided)
    with pytest.raises(PipelineError, match="other shapes"):
        _difference("ONNX", [expected[0][:1], expected[1]], expected, decided)
    # a joint that rounding moves counts by its score alone
    decided[1, 2, 3] = False
    assert _difference("ONNX", off, expected, decided) == 0
    off[1] = expected[1] + np.float32(2 * TOLERANCE)
    with pytest.raises(PipelineError, match="differs"):
        _difference("ONNX", off, expected, decided)


class Steep(nn.Module):
    """Joint 0 lies left or right as one cell says, joint 1 where the maps' mean lies: rounding moves the first."""

    def forward(self, maps):
        side = (maps["rd"][:, 0, 0, 0, 0] > 0.5).float()
        mean = maps["rd"].mean(dim=(1, 2, 3, 4))
        return PoseOutput(torch.stack([side, mean], dim=-1)[:, None, :, None].expand(-1, 1, -1, 2))


def test_joints_that_rounding_moves_are_told_from_the_others():
    clip = CLIP.model_copy(update={"modalities": ("rd",)})
    maps = torch.full((2, 1, 4, 32, 16), 0.5)
    maps[1, 0, 0, 0, 0] = 0.6
    deployed = Deployed(Steep(), clip)
    decided = _decided(deployed, (maps,), deployed(maps)[0].numpy())
    assert decided[:, 0].tolist() == [[False, True], [True, True]]
