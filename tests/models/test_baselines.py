"""Every baseline on every input: forward, backward, saved and loaded; and each learns where a moving blob is."""

import pytest
import torch

from models.baselines import BASELINES
from models.batch import ClipBatch
from models.checkpoints import ModelCard, load_model, save_model
from models.config import ClipConfig, EncoderConfig, MaskedConfig, PoseConfig, TrainConfig
from models.masked import MaskedAutoencoder
from models.pose import PoseNetwork, build_pose_network
from pipeline.errors import PipelineError

ENCODER = EncoderConfig(patch=(4, 8, 8), dim=32, depth=2, heads=4)
INPUTS = {"RD": ("rd",), "RA": ("ra",), "Dual": ("rd", "ra")}


def _clip(modalities=("rd",), **changes) -> ClipConfig:
    return ClipConfig(modalities=modalities, range_bins=16, doppler_bins=32, azimuth_bins=24, **changes)


def _network(method: str, clip: ClipConfig, **changes) -> PoseNetwork:
    torch.manual_seed(0)
    return build_pose_network(clip, PoseConfig(method=method, encoder=ENCODER, width=32, **changes))


def _batch(clip: ClipConfig, count: int = 3, seed: int = 0) -> ClipBatch:
    """A blob that wanders over each map; the joints follow it."""
    chance = torch.Generator().manual_seed(seed)
    begin, way = torch.rand(count, 2, generator=chance) * 0.6 + 0.2, torch.rand(count, 2, generator=chance) * 0.4 - 0.2
    at = begin[:, None] + way[:, None] * torch.linspace(0, 1, clip.frames)[:, None]
    maps = {}
    for name in clip.modalities:
        rows, columns = clip.map_shape(name)
        down = (torch.linspace(0, 1, rows) - at[..., 1:]).square()[..., :, None]
        across = (torch.linspace(0, 1, columns) - at[..., :1]).square()[..., None, :]
        maps[name] = torch.exp(-(down + across) / 0.01)[:, None]
    uv = at[:, list(clip.targets), None] * torch.linspace(0.5, 1, 13)[:, None]
    return ClipBatch(maps, uv, torch.ones(uv.shape[:3]), torch.arange(count))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("modalities", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("method", BASELINES)
def test_forward_backward_save_and_load(method, modalities, tmp_path):
    clip = _clip(modalities)
    network, batch = _network(method, clip), _batch(clip)
    output = network(batch.maps)
    assert output.uv.shape == (3, 5, 13, 2)
    assert output.heatmaps is None
    losses = network.loss(output, batch)
    losses["loss"].backward()
    still = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not [name for name in still if "bias" not in name]  # attention's keys have a bias that no softmax hears
    layers = network.layers()
    assert {id(weight) for *_, weights in layers for weight in weights} == {id(one) for one in network.parameters()}
    card = ModelCard(clip=clip, network=network.config, training=TrainConfig())
    path = tmp_path / "model.safetensors"
    save_model(path, network, card)
    again, _ = load_model(path)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(batch.maps).uv, network.eval()(batch.maps).uv, rtol=0, atol=0)


@pytest.mark.parametrize("method", BASELINES)
def test_learns_where_a_blob_is(method):
    clip = _clip()
    network, batch = _network(method, clip, dropout=0.0, drop_path=0.0), _batch(clip, 24)
    fitted = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(60):
        loss = network.loss(network(batch.maps), batch)["loss"]
        fitted.zero_grad()
        loss.backward()
        fitted.step()
    unseen = _batch(clip, 32, seed=1)
    with torch.no_grad():
        error = (network.eval()(unseen.maps).uv - unseen.uv).norm(dim=-1).mean()
    guess = (batch.uv.mean(dim=(0, 1)) - unseen.uv).norm(dim=-1).mean()
    assert error < 0.7 * guess


@pytest.mark.parametrize("method", BASELINES)
def test_a_masked_joint_is_in_no_loss(method):
    clip = _clip()
    network, batch = _network(method, clip).eval(), _batch(clip)
    hidden = batch.confidence.clone()
    hidden[:, :, 3] = 0
    nonsense = batch.uv.clone()
    nonsense[:, :, 3] = 1e6
    output = network(batch.maps)
    masked = network.loss(output, batch._replace(uv=nonsense, confidence=hidden))["loss"]
    assert masked == network.loss(output, batch._replace(confidence=hidden))["loss"]


def test_wrong_sizes_and_a_pre_trained_start_are_refused():
    clip = _clip()
    masked = MaskedAutoencoder(clip, MaskedConfig(encoder=ENCODER, decoder_dim=32, decoder_depth=1, decoder_heads=4))
    for method in BASELINES:
        with pytest.raises(PipelineError, match="no encoder to pre-train"):
            _network(method, clip).load_encoder(masked)
        with pytest.raises(PipelineError, match="evenly"):
            _network(method, _clip(targets=(3, 19)))
        with pytest.raises(PipelineError, match="This network reads rd maps"):
            _network(method, clip)(_batch(_clip(("ra",))).maps)
