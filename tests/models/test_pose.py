"""Every method, head and modality forward, backward and by layers; losses; pre-trained weights."""

import pytest
import torch
from torch import Tensor

from models.batch import ClipBatch, PoseOutput
from models.config import ClipConfig, EncoderConfig, MaskedConfig, PoseConfig
from models.heatmaps import heatmap_targets
from models.masked import MaskedAutoencoder
from models.pose import PoseNetwork, bone_loss, build_pose_network, heatmap_loss, velocity_loss
from pipeline.errors import PipelineError

torch.set_num_threads(1)
RD = ClipConfig(range_bins=16, doppler_bins=16, azimuth_bins=24)
CLIPS = {
    "rd": RD,
    "ra": RD.model_copy(update={"modalities": ("ra",)}),
    "dual": RD.model_copy(update={"modalities": ("rd", "ra")}),
}
MINUTE = PoseConfig(encoder=EncoderConfig(patch=(4, 8, 8), dim=16, depth=2, heads=2), heatmap_cells=16, width=16)


def _config(**changes: object) -> PoseConfig:
    return PoseConfig.model_validate(MINUTE.model_dump() | changes)


def _batch(clip: ClipConfig, batch: int = 2) -> ClipBatch:
    generator = torch.Generator().manual_seed(0)
    maps = {name: torch.rand(batch, 1, 20, *clip.map_shape(name), generator=generator) for name in clip.modalities}
    uv = torch.rand(batch, 5, 13, 2, generator=generator)
    return ClipBatch(maps, uv, torch.rand(batch, 5, 13, generator=generator), torch.arange(batch))


def _built(clip: ClipConfig = RD, **changes: object) -> PoseNetwork:
    torch.manual_seed(1)
    return build_pose_network(clip, _config(**changes))


CASES = [
    *(("maepose", head, decode) for head in ("heatmap", "mlp", "gcn", "simcc") for decode in ("argmax", "subpixel")),
    *(("maepose-plus", head, "subpixel") for head in ("heatmap", "simcc")),
    *((method, "mlp", "argmax") for method in ("cubelearn", "poseformer", "hupr")),
]


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
@pytest.mark.parametrize(("method", "head", "decode"), CASES)
def test_every_network_learns_in_all_its_layers(clip: ClipConfig, method: str, head: str, decode: str) -> None:
    network, batch = _built(clip, method=method, head=head, decode=decode), _batch(clip)
    output = network(batch.maps)
    assert output.uv.shape == (2, 5, 13, 2)
    if method.startswith("maepose"):
        assert (output.heatmaps is not None) == (head == "heatmap")
        assert (output.lines is not None) == (head == "simcc")
    losses = network.loss(output, batch)
    losses["loss"].backward()
    torch.testing.assert_close(losses["loss"], sum(part for name, part in losses.items() if name != "loss"))
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    layers = network.layers()
    numbers = [number for number, _, _ in layers]
    held = [parameter for _, _, parameters in layers for parameter in parameters]
    assert numbers == sorted(numbers)
    assert len(held) == len(set(held))
    assert set(held) == set(network.parameters())


def test_layers_of_maepose_are_stem_blocks_and_head() -> None:
    network = _built(CLIPS["dual"])
    names = {parameter: name for name, parameter in network.named_parameters()}
    layers = {
        name: {names[one].removeprefix("encoder.").split(".")[0] for one in parameters}
        for _, name, parameters in network.layers()
    }
    assert layers == {"stem": {"stem"}, "block 1": {"blocks"}, "block 2": {"blocks", "norm"}, "head": {"head"}}
    assert [number for number, _, _ in network.layers()] == [0, 1, 2, 3]


@pytest.mark.parametrize("head", ["heatmap", "mlp", "gcn", "simcc"])
def test_masked_joints_never_enter_a_loss(head: str) -> None:
    network, batch = (
        _built(head=head, decode="subpixel", velocity_weight=1.0, bone_weight=1.0, drop_path=0.0, dropout=0.0),
        _batch(RD),
    )
    batch.confidence[:, 1] = 0
    batch.confidence[:, :, 5] = 0
    elsewhere = batch.uv.clone()
    elsewhere[:, 1] = 0
    elsewhere[:, :, 5] = float("nan")
    output = network(batch.maps)
    before = network.loss(output, batch)
    after = network.loss(output, batch._replace(uv=elsewhere))
    for name in before:
        assert before[name].item() == pytest.approx(after[name].item(), rel=1e-5), name
    nothing = network.loss(output, batch._replace(confidence=torch.zeros(2, 5, 13)))
    assert nothing["loss"].item() == 0


def test_heatmap_loss_by_hand() -> None:
    batch = ClipBatch({}, torch.full((1, 1, 13, 2), 0.5), torch.zeros(1, 1, 13), torch.zeros(1, dtype=torch.int64))
    batch.confidence[0, 0, 0], batch.confidence[0, 0, 1] = 1.0, 0.5
    target = heatmap_targets(batch.uv, 16, 2.0)
    wrong = target.clone()
    wrong[0, 0, 0] += 0.1  # of 1.5 confidence, 1.0 is wrong by .1 everywhere
    expected = 0.01 * float((1 + 9 * target[0, 0, 0]).mean()) / 1.5
    assert heatmap_loss(wrong, batch, MINUTE).item() == pytest.approx(expected, rel=1e-5)


def test_motion_and_bones_by_hand() -> None:
    uv = torch.zeros(1, 2, 13, 2)
    uv[0, :, 2, 1] = 0.2  # left elbow, 0.2 below the shoulder
    batch = ClipBatch({}, uv, torch.ones(1, 2, 13), torch.zeros(1, dtype=torch.int64))
    said = uv.clone()
    said[0, :, 2, 1] = 0.3
    assert velocity_loss(said, batch).item() == pytest.approx(0)
    # Two of twelve limbs end in that elbow, and each is 0.1 longer than it should be.
    assert bone_loss(said, batch).item() == pytest.approx(0.1 * 2 / 12, rel=1e-3)
    said[0, 1] += 0.05
    assert velocity_loss(said, batch).item() == pytest.approx(0.1)


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_a_pre_trained_encoder_is_taken_over_whole(clip: ClipConfig) -> None:
    torch.manual_seed(2)
    masked = MaskedAutoencoder(
        clip, MaskedConfig(encoder=MINUTE.encoder, mask_ratio=0.5, decoder_dim=16, decoder_depth=1, decoder_heads=2)
    )
    network, maps = _built(clip), _batch(clip).maps
    assert not torch.equal(network.encoder(maps), masked.encoder(maps))
    network.load_encoder(masked)
    network.eval()
    assert torch.equal(network.encoder(maps), masked.encoder(maps))
    with pytest.raises(PipelineError, match="cubelearn has no encoder"):
        _built(clip, method="cubelearn").load_encoder(masked)
    with pytest.raises(PipelineError, match="pre-trained encoder is another"):
        _built(clip, encoder=MINUTE.encoder.model_copy(update={"depth": 1})).load_encoder(masked)
    other = next(one for one in CLIPS.values() if one.modalities != clip.modalities)
    with pytest.raises(PipelineError, match="pre-trained modalities is another"):
        _built(other).load_encoder(masked)


def test_streams_of_two_modalities_hear_each_other() -> None:
    """Before any block: tokens of rd depend on ra, and the other way round."""
    network = _built(CLIPS["dual"])
    maps = dict(_batch(CLIPS["dual"]).maps)
    before = network.encoder.stem.split(network.encoder.stem(maps))
    maps["ra"] = maps["ra"].flip(-1)
    after = network.encoder.stem.split(network.encoder.stem(maps))
    assert not torch.allclose(before["rd"], after["rd"])


def test_drop_path_is_for_training_only_and_keeps_the_mean() -> None:
    network, maps = _built(drop_path=0.5), _batch(RD).maps
    network.eval()
    assert torch.equal(network(maps).uv, network(maps).uv)
    network.train()
    drop = network.encoder.blocks[1].drop_path
    torch.manual_seed(3)
    assert drop.rate == 0.5
    assert float(drop(torch.ones(4000, 1, 4)).mean()) == pytest.approx(1, abs=0.06)


def test_what_does_not_fit_is_said_in_a_sentence() -> None:
    with pytest.raises(PipelineError, match="2 target frames do not share the 5 time steps"):
        _built(RD.model_copy(update={"targets": (9, 19)}))
    with pytest.raises(PipelineError, match="set `decode` to subpixel"):
        _built(velocity_weight=1.0)
    with pytest.raises(PipelineError, match="this one is 20x16x24"):
        _built()({"rd": _batch(CLIPS["ra"]).maps["ra"]})


def test_bone_loss_reaches_the_weights_through_a_refined_peak() -> None:
    network, batch = _built(decode="subpixel", bone_weight=1.0), _batch(RD)
    output: PoseOutput = network(batch.maps)
    gradient: Tensor = torch.autograd.grad(network.loss(output, batch)["bone"], network.head.maps.weight)[0]
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
