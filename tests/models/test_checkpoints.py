"""Model files: what is written comes back, other tools read it, and what is no model file is said."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small_networks import SMALL, TRAINING

from models.checkpoints import ModelCard, build_network, load_model, read_card, save_model, training_versions
from models.config import Method
from pipeline.errors import PipelineError

METHODS: tuple[Method, ...] = ("maepose", "maepose-plus", "cubelearn", "poseformer", "hupr")
DUAL = SMALL.clip.model_copy(
    update={"modalities": ("rd", "ra"), "window_db": {"rd": (-90.0, -30.0), "ra": (-80.0, -20.0)}}
)


def _card(method: str) -> ModelCard:
    network = SMALL.masked if method == "masked" else SMALL.pose.model_copy(update={"method": method})
    return ModelCard(
        preset="small",
        clip=DUAL,
        network=network,
        training=TRAINING,
        recordings=("a", "b"),
        validation=("c",),
        held_out="p01",
        steps=7,
        metrics={"mpjpe_norm": 0.1},
        versions=training_versions(),
    )


@pytest.mark.parametrize("method", ["masked", *METHODS])
def test_a_network_comes_back_with_its_card_and_its_output(tmp_path, method):
    torch.manual_seed(3)
    card = _card(method)
    network = build_network(card).eval()
    path = tmp_path / "new" / "model.safetensors"
    save_model(path, network, card)
    again, found = load_model(path)
    assert found == card == read_card(path)
    assert not again.training
    assert again.state_dict().keys() == network.state_dict().keys()
    maps = {name: torch.rand(2, 1, 4, 16, 16) for name in DUAL.modalities}
    with torch.no_grad():
        if method == "masked":
            one, other = (each(maps, torch.Generator().manual_seed(1)).loss for each in (network, again))
        else:
            one, other = (each(maps).uv for each in (network, again))
    assert torch.equal(one, other)
    assert [child.name for child in path.parent.iterdir()] == ["model.safetensors"]


def test_the_same_network_is_the_same_bytes_and_others_read_it(tmp_path):
    card = _card("maepose")
    network = build_network(card)
    for name in ("one", "two"):
        save_model(tmp_path / name, network, card)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with safe_open(tmp_path / "one", framework="numpy") as file:
        assert json.loads(file.metadata()["card"])["network"]["method"] == "maepose"
        assert set(file.keys()) == set(network.state_dict())


def test_files_that_are_no_models(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(PipelineError, match="There is no model file"):
        load_model(path)
    path.write_bytes(b"not this")
    with pytest.raises(PipelineError, match="is not a model file or is damaged"):
        load_model(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(PipelineError, match="no model card"):
        load_model(path)
    save_file(
        {"weight": torch.zeros(2)},
        path,
        {"card": _card("maepose").model_dump_json().replace('"steps":7', '"steps":-7')},
    )
    with pytest.raises(PipelineError, match="is not one this version reads: steps: Input should be"):
        read_card(path)
    card = _card("maepose")
    save_model(path, build_network(card), card)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PipelineError, match="damaged"):
        load_model(path)


def test_weights_of_another_network_and_models_of_another_kind(tmp_path):
    path = tmp_path / "model.safetensors"
    card = _card("maepose")
    wider = card.model_copy(update={"network": SMALL.pose.model_copy(update={"width": 16, "head": "heatmap"})})
    save_model(path, build_network(wider), card)
    with pytest.raises(PipelineError, match="are not those its card describes"):
        load_model(path)
    save_model(path, build_network(_card("masked")), _card("masked"))
    with pytest.raises(
        PipelineError, match="masked autoencoder, which predicts no poses; name a file that `maepose finetune`"
    ):
        load_model(path, "pose")
    save_model(path, build_network(card), card)
    with pytest.raises(
        PipelineError, match="holds a pose network, no masked autoencoder; name a file that `maepose pretrain`"
    ):
        load_model(path, "masked")


def test_a_disk_that_refuses(tmp_path: Path):
    card = _card("maepose")
    (tmp_path / "folder").write_text("a file where a folder should be")
    with pytest.raises(PipelineError, match="cannot be written"):
        save_model(tmp_path / "folder" / "model.safetensors", build_network(card), card)
