"""The masked autoencoder beside transformers' VideoMAE, and what it hides."""

import pytest
import torch
from torch import Tensor, nn

from models.config import ClipConfig, EncoderConfig, MaskedConfig
from models.layers import cut_patches, join_patches
from models.masked import MaskedAutoencoder
from models.presets import PRESETS
from pipeline.errors import PipelineError
from pipeline.torchvision_cpu import import_torchvision

torch.set_num_threads(1)
CLIP = ClipConfig(range_bins=32, doppler_bins=32, azimuth_bins=48)
BOTH = CLIP.model_copy(update={"modalities": ("rd", "ra")})
SMALL = MaskedConfig(
    encoder=EncoderConfig(patch=(2, 8, 8), dim=32, depth=2, heads=4), decoder_dim=24, decoder_depth=2, decoder_heads=3
)


def _maps(clip: ClipConfig, batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(batch, 1, clip.frames, *clip.map_shape(name), generator=generator) for name in clip.modalities
    }


def _network(clip: ClipConfig = CLIP, **changes: object) -> MaskedAutoencoder:
    torch.manual_seed(1)
    return MaskedAutoencoder(clip, MaskedConfig.model_validate(SMALL.model_dump() | changes))


def _as_videomae(ours: MaskedAutoencoder) -> tuple[nn.Module, dict[str, tuple[str, slice]]]:
    """transformers' network with our weights, and for each of its parameters our name and the rows that it is."""
    import_torchvision()
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    config, encoder = ours.config, ours.config.encoder
    theirs = VideoMAEForPreTraining(
        VideoMAEConfig(
            image_size=32,
            patch_size=encoder.patch[1],
            num_channels=1,
            num_frames=20,
            tubelet_size=encoder.patch[0],
            hidden_size=encoder.dim,
            num_hidden_layers=encoder.depth,
            num_attention_heads=encoder.heads,
            intermediate_size=int(encoder.dim * encoder.mlp_ratio),
            decoder_hidden_size=config.decoder_dim,
            decoder_num_hidden_layers=config.decoder_depth,
            decoder_num_attention_heads=config.decoder_heads,
            decoder_intermediate_size=4 * config.decoder_dim,
            layer_norm_eps=1e-6,
            use_mean_pooling=False,
            norm_pix_loss=True,  # without, it takes colour pictures only
        )
    )
    theirs.double().decoder.norm.eps = 1e-6
    theirs.videomae.embeddings.position_embeddings = ours.encoder.stem.positions_rd[None]
    theirs.position_embeddings = ours.positions_rd[None]
    everything, names = slice(None), {}
    for kind in ("weight", "bias"):
        names[f"videomae.embeddings.patch_embeddings.projection.{kind}"] = (f"encoder.stem.stems.rd.{kind}", everything)
        names[f"videomae.layernorm.{kind}"] = (f"encoder.norm.{kind}", everything)
        names[f"decoder.norm.{kind}"] = (f"decoder_norm.{kind}", everything)
        names[f"decoder.head.{kind}"] = (f"predictions.rd.{kind}", everything)
        for their, our, depth, dim in (
            ("videomae.encoder.layer", "encoder.blocks", encoder.depth, encoder.dim),
            ("decoder.decoder_layers", "decoder", config.decoder_depth, config.decoder_dim),
        ):
            for layer in range(depth):
                for there, here in (
                    ("layernorm_before", "norm_attention"),
                    ("layernorm_after", "norm_mlp"),
                    ("attention.output.dense", "attention.out"),
                    ("intermediate.dense", "mlp.0"),
                    ("output.dense", "mlp.2"),
                ):
                    names[f"{their}.{layer}.{there}.{kind}"] = (f"{our}.{layer}.{here}.{kind}", everything)
                for at, role in enumerate(("query", "key", "value")):
                    if (kind, role) != ("bias", "key"):  # theirs has none; ours changes nothing that a softmax sees
                        rows = slice(at * dim, (at + 1) * dim)
                        their_name = f"{their}.{layer}.attention.attention.{role}.{kind}"
                        names[their_name] = (f"{our}.{layer}.attention.qkv.{kind}", rows)
    names["encoder_to_decoder.weight"] = ("narrow.weight", everything)  # theirs has no bias; ours starts at 0
    names["mask_token"] = ("mask_tokens.rd", everything)
    weights, own = ours.state_dict(), dict(theirs.named_parameters())
    assert set(own) == set(names)
    with torch.no_grad():
        for name, (our_name, rows) in names.items():
            own[name].copy_(weights[our_name][rows].reshape(own[name].shape))
    return theirs, names


@pytest.mark.parametrize("normalise", [False, True])
def test_loss_and_gradients_are_those_of_videomae(normalise: bool) -> None:
    ours = _network(normalise_patches=normalise, variance_floor=1e-12).double()
    with torch.no_grad():  # biases and norms too must land in the right place, not only where all are alike
        for name, parameter in ours.named_parameters():
            if name != "narrow.bias":
                parameter.add_(0.1 * torch.randn_like(parameter))
    theirs, names = _as_videomae(ours)
    maps = {name: values.double() for name, values in _maps(CLIP, batch=3).items()}
    output = ours(maps, torch.Generator().manual_seed(2))
    output.loss.backward()
    answer = theirs(maps["rd"].transpose(1, 2), bool_masked_pos=output.mask["rd"])
    loss = answer.loss
    if not normalise:
        cut = maps["rd"][:, 0].unfold(1, 2, 2).unfold(2, 8, 8).unfold(3, 8, 8)  # batch, t, h, w, 2, 8, 8
        hidden = cut.reshape(3, 160, 128)[output.mask["rd"]].reshape(answer.logits.shape)
        loss = nn.functional.mse_loss(answer.logits, hidden)
    loss.backward()

    assert output.mask["rd"].shape == (3, 160)
    assert output.loss.item() == pytest.approx(loss.item(), rel=1e-5 if normalise else 1e-9)
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    for name, parameter in theirs.named_parameters():
        our_name, rows = names[name]
        assert parameter.grad.abs().max() > 0, name
        torch.testing.assert_close(
            gradients[our_name][rows].reshape(parameter.shape),
            parameter.grad,
            rtol=1e-4,
            atol=1e-7 if normalise else 1e-11,
        )


def test_the_papers_sizes() -> None:
    chosen = PRESETS["paper"]
    with torch.device("meta"):
        network = MaskedAutoencoder(chosen.clip, chosen.masked)
    encoder = sum(parameter.numel() for parameter in network.encoder.parameters())
    everything = sum(parameter.numel() for parameter in network.parameters())
    assert network.encoder.token_count == 2560
    assert f"{encoder / 1e6:.1f} {(everything - encoder) / 1e6:.1f}" == "21.5 13.1"


@pytest.mark.parametrize("clip", [CLIP, BOTH], ids=["rd", "dual"])
@pytest.mark.parametrize("masking", ["random", "tube"])
@pytest.mark.parametrize("energy", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_every_kind_of_masking_and_target_runs_forward_and_backward(
    clip: ClipConfig, masking: str, energy: bool, normalise: bool
) -> None:
    network = _network(clip, masking=masking, energy_weighted=energy, normalise_patches=normalise)
    output = network(_maps(clip), torch.Generator().manual_seed(3))
    output.loss.backward()
    assert torch.isfinite(output.loss)
    for name, mask in output.mask.items():
        t, h, w = network.encoder.grids[name]
        visible = 10 * round(0.1 * h * w) if masking == "tube" else round(0.1 * t * h * w)
        assert ((~mask).sum(dim=1) == visible).all()
        assert output.reconstruction[name].shape == (2, t * h * w - visible, 128)
        laid = mask.reshape(2, t, h * w)
        assert bool((laid == laid[:, :1]).all()) == (masking == "tube")
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert not without


def test_a_seed_decides_the_mask_and_a_mask_the_loss() -> None:
    network, maps = _network(BOTH), _maps(BOTH)
    first, again = (network(maps, torch.Generator().manual_seed(4)) for _ in range(2))
    other = network(maps, torch.Generator().manual_seed(5))
    assert torch.equal(first.mask["ra"], again.mask["ra"])
    assert not torch.equal(first.mask["ra"], other.mask["ra"])
    assert network(maps, mask=first.mask).loss.item() == pytest.approx(first.loss.item(), rel=1e-5)


def test_hidden_patches_are_not_seen_by_the_encoder() -> None:
    """Whatever lies in hidden patches, the prediction stays the same."""
    network, maps = _network(BOTH).eval(), _maps(BOTH)
    output = network(maps, torch.Generator().manual_seed(6))
    changed = {}
    for name, values in maps.items():
        patches = cut_patches(values, SMALL.encoder.patch)
        patches = torch.where(output.mask[name].unsqueeze(-1), 7.0, patches)
        changed[name] = join_patches(patches, network.encoder.grids[name], SMALL.encoder.patch)
    after = network(changed, mask=output.mask)
    for name in maps:
        shown = [
            join_patches(
                torch.zeros_like(cut_patches(maps[name], SMALL.encoder.patch)).scatter(
                    1, one.hidden[name].unsqueeze(-1).expand(-1, -1, 128), one.reconstruction[name]
                ),
                network.encoder.grids[name],
                SMALL.encoder.patch,
            )
            for one in (output, after)
        ]
        torch.testing.assert_close(*shown)


@pytest.mark.parametrize("normalise", [False, True])
def test_reconstructions_keep_what_was_visible_and_put_predictions_where_they_belong(normalise: bool) -> None:
    network, maps = _network(BOTH, normalise_patches=normalise).eval(), _maps(BOTH)
    output = network(maps, torch.Generator().manual_seed(7))
    videos = network.reconstruct(maps, output.mask)
    squares, cells = 0.0, 0
    for name, video in videos.items():
        hidden = output.mask[name]
        before, after = (cut_patches(values, SMALL.encoder.patch) for values in (maps[name], video))
        assert torch.equal(before[~hidden], after[~hidden])
        if normalise:  # the loss is in normalised units: bring both to them
            mean, scale = before.mean(-1, keepdim=True), (before.var(-1, keepdim=True) + 1e-3).sqrt()
            before, after = (before - mean) / scale, (after - mean) / scale
        squares += float((before - after)[hidden].square().sum())
        cells += before[hidden].numel()
    assert squares / cells == pytest.approx(output.loss.item(), rel=1e-4)


def test_patches_are_what_a_conv3d_sees() -> None:
    convolution = nn.Conv3d(1, 6, (2, 4, 8), stride=(2, 4, 8))
    video = torch.rand(2, 1, 6, 12, 16)
    expected = convolution(video).flatten(2).transpose(1, 2)
    patches = cut_patches(video, (2, 4, 8))
    torch.testing.assert_close(patches @ convolution.weight.flatten(1).T + convolution.bias, expected)
    assert torch.equal(join_patches(patches, (3, 3, 2), (2, 4, 8)), video)


def test_energy_weighing_leans_on_loud_patches() -> None:
    """An error in a loud patch costs more than the same error in a silent one; plain loss sees no difference."""
    clip = ClipConfig(frames=4, targets=(3,), range_bins=8, doppler_bins=32)
    quiet = torch.zeros(1, 1, 4, 8, 32)
    quiet[..., :16] = 1.0  # patches 0 and 1 of each row of four are loud
    losses = {}
    for energy in (False, True):
        network = _network(clip, energy_weighted=energy, mask_ratio=0.5)
        patches = network.encoder.stem.cut({"rd": quiet})
        hidden = {"rd": torch.tensor([[0, 2]])}
        target = patches["rd"][:, [0, 2]]
        for at in (0, 1):
            wrong = target.clone()
            wrong[:, at] += 0.5
            losses[energy, at] = float(network._loss(patches, {"rd": wrong}, hidden))
    assert losses[False, 0] == pytest.approx(losses[False, 1])
    assert losses[True, 0] == pytest.approx(3 * losses[True, 1])  # 1 + 1 / 0.5 against 1 + 0


def test_around_the_mean_an_untrained_decoder_says_the_mean_patch_of_the_place() -> None:
    network, maps = _network(BOTH, around_mean=True), _maps(BOTH)
    means = {name: torch.rand(BOTH.map_shape(name)) for name in BOTH.modalities}
    network.set_mean(means)
    output = network(maps, torch.Generator().manual_seed(7))
    shown = network.reconstruct(maps, output.mask)
    usual = {name: mean.expand_as(maps[name]) for name, mean in means.items()}
    squares, cells = 0.0, 0
    for name, video in shown.items():
        hidden = output.mask[name]
        said, mean, true = (cut_patches(values, SMALL.encoder.patch) for values in (video, usual[name], maps[name]))
        assert torch.equal(said[hidden], mean[hidden])
        squares += float((mean - true)[hidden].square().sum())
        cells += true[hidden].numel()
    assert squares / cells == pytest.approx(output.loss.item(), rel=1e-4)
    output.loss.backward()
    assert all(float(layer.weight.grad.abs().max()) > 0 for layer in network.predictions.values())
    again = _network(BOTH, around_mean=True)
    again.load_state_dict(network.state_dict())
    assert again(maps, mask=output.mask).loss.item() == pytest.approx(output.loss.item(), rel=1e-6)


def test_what_cannot_be_built_or_read_is_said_in_a_sentence() -> None:
    with pytest.raises(PipelineError, match="Patches of 2x8x8 do not tile rd clips of 20x30x32"):
        _network(CLIP.model_copy(update={"range_bins": 30}))
    with pytest.raises(PipelineError, match="leaves 0 visible"):
        _network(CLIP, mask_ratio=0.999)
    with pytest.raises(PipelineError, match="width of 32 cannot be shared among 5"):
        _network(CLIP, encoder={"patch": (2, 8, 8), "dim": 32, "depth": 1, "heads": 5})
    with pytest.raises(PipelineError, match="reads ra maps, and the clip has rd"):
        _network(BOTH)(_maps(CLIP))
    with pytest.raises(PipelineError, match="this one is 20x32x48"):
        _network(CLIP)({"rd": _maps(BOTH)["ra"]})
    uneven = torch.zeros(2, 160, dtype=torch.bool)
    uneven[0, :5] = True
    with pytest.raises(PipelineError, match="unequally many"):
        _network(CLIP)(_maps(CLIP), mask={"rd": uneven})
