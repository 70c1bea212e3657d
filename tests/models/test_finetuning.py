"""Fine-tuning: every method trains and goes on after a kill; what it begins from is held to the data and the configuration."""

import math
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from radar_sessions import noise_words, session
from safetensors.torch import load_file
from small_networks import SMALL

from models.checkpoints import load_model, read_card
from models.config import TrainConfig
from models.finetuning import finetune, judge_poses, pose_loss
from models.metrics import pose_errors
from models.optimising import optimiser
from models.presets import Preset
from models.pretraining import clip_loader, pretrain, seeded_network
from models.runs import RunFolder
from models.training import Machine
from pipeline.errors import PipelineError
from pipeline.provenance import sha256_file
from pipeline.splits import Split

CPU = Machine(accelerator="cpu")
SPLIT = Split(("r0", "r1"), ("r2",), ("r3",))
METHODS = ("maepose", "maepose-plus", "cubelearn", "poseformer", "hupr")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("data")
    for number in range(4):
        session(root, f"r{number}", noise_words(24, seed=number), participant=f"p{number}")
    blind = np.zeros((24, 13))
    session(root, "unseen", noise_words(24, seed=9), participant="p9", confidence=blind)
    return root


@pytest.fixture(scope="module")
def encoder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(root, SPLIT, _preset(steps=2), tmp_path_factory.mktemp("encoder"), held_out="p3", machine=CPU)


def _preset(method: str = "maepose", **changes: object) -> Preset:
    training = SMALL.finetuning.model_validate(SMALL.finetuning.model_dump() | changes)
    pose = SMALL.pose.model_copy(update={"method": method})
    return SMALL.model_copy(update={"pretraining": training, "finetuning": training, "pose": pose})


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_is_killed_and_goes_on_to_the_same_bits(root, tmp_path, method):
    settings = _preset(method, steps=3)

    def run(name: str, on_progress=None) -> Path:
        return finetune(root, SPLIT, settings, tmp_path / name, on_progress=on_progress, machine=CPU)

    def kill(progress) -> None:
        if progress.step == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    whole = run("whole")
    process = multiprocessing.get_context("fork").Process(target=run, args=("killed", kill))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    seen = []
    assert run("killed", lambda progress: seen.append(progress.step)).read_bytes() == whole.read_bytes()
    assert seen == [3]
    network, card = load_model(whole, "pose")
    assert card.network == settings.pose
    assert set(card.metrics) == {"mpjpe_norm", "pck_norm@0.05", "root_centred_norm", "explained_motion"}
    batches = clip_loader(root, SPLIT.validation, card, CPU, labelled=True, judged=True)
    with torch.no_grad():
        assert judge_poses(network, batches) == card.metrics


def test_it_learns_where_the_joints_are(root, tmp_path):
    path = finetune(root, SPLIT, _preset(steps=60, rate=1e-2), tmp_path / "run", machine=CPU)
    history = RunFolder(path.parent).read_history()
    best = min(line.metrics["mpjpe_norm"] for line in history)
    assert best < 0.5 * history[0].metrics["mpjpe_norm"]
    assert read_card(path).metrics["mpjpe_norm"] == best


def test_it_begins_from_the_encoder_and_its_scaling(root, tmp_path, encoder):
    path = finetune(
        root, SPLIT, _preset(steps=1, rate=1e-12), tmp_path / "run", encoder=encoder, held_out="p3", machine=CPU
    )
    masked, begun = load_file(encoder), load_file(path)
    shared = [name for name in masked if name.startswith("encoder.")]
    assert shared
    for name in shared:
        torch.testing.assert_close(begun[name], masked[name], rtol=0, atol=1e-9)
    card = read_card(path)
    assert card.encoder_sha256 == sha256_file(encoder)
    assert card.clip == read_card(encoder).clip
    assert (card.held_out, card.recordings, card.validation) == ("p3", SPLIT.train, SPLIT.validation)
    alone = load_file(finetune(root, SPLIT, _preset(steps=1, rate=1e-12), tmp_path / "alone", machine=CPU))
    assert not torch.equal(alone[shared[0]], begun[shared[0]])
    decays = [read_card(tmp_path / name / "model.safetensors").training.layer_decay for name in ("run", "alone")]
    assert decays == [0.75, 1.0]  # random weights have nothing that lower rates would protect


def test_rates_of_the_real_network_fall_by_layers(root, encoder):
    card = read_card(encoder).model_copy(update={"network": SMALL.pose})
    network = seeded_network(card)
    layers = [(number, parameters) for number, _, parameters in network.layers()]
    training = TrainConfig(rate=1e-2, layer_decay=0.6)
    adamw, _ = optimiser(network, layers, training, steps=10)
    height = {name: group["initial_lr"] for group in adamw.param_groups for name in group["names"]}
    assert set(height) == {name for name, _ in network.named_parameters()}
    rate, decay = training.rate, training.layer_decay
    for name, value in height.items():
        # stem, two blocks, head: layers 0 to 3
        expected = {"encoder.stem": 3, "encoder.blocks.0": 2, "encoder.blocks.1": 1, "encoder.norm": 1, "head": 0}
        below = next(count for start, count in expected.items() if name.startswith(start))
        assert value == pytest.approx(rate * decay**below), name


def test_what_an_encoder_may_not_be(root, tmp_path, encoder):
    def begin(settings: Preset, split: Split = SPLIT, path: Path = encoder) -> None:
        finetune(root, split, settings, tmp_path / "run", encoder=path, machine=CPU)

    small = _preset(steps=1)
    shorter = small.model_copy(update={"clip": small.clip.model_copy(update={"frames": 6})})
    with pytest.raises(PipelineError, match=r"another configuration \(clip\.frames 4, now 6\)"):
        begin(shorter)
    both = small.model_copy(update={"clip": small.clip.model_copy(update={"modalities": ("rd", "ra")})})
    with pytest.raises(PipelineError, match=r"clip\.modalities \['rd'\], now \['rd', 'ra'\]"):
        begin(both)
    deep = small.pose.encoder.model_copy(update={"depth": 3})
    with pytest.raises(PipelineError, match=r"encoder\.depth 2, now 3"):
        begin(small.model_copy(update={"pose": small.pose.model_copy(update={"encoder": deep})}))
    with pytest.raises(PipelineError, match=r"was pre-trained on r1, which is to be tested; pre-train without"):
        begin(small, Split(("r0",), ("r2",), ("r1",)))
    with pytest.raises(PipelineError, match="cubelearn has no encoder to begin from"):
        begin(_preset("cubelearn", steps=1))
    with pytest.raises(PipelineError, match="There is no model file"):
        begin(small, path=tmp_path / "none.safetensors")
    pose = finetune(root, SPLIT, small, tmp_path / "pose", machine=CPU)
    with pytest.raises(PipelineError, match="holds a pose network, no masked autoencoder"):
        begin(small, path=pose)
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_trained_on(root, tmp_path):
    for split, sentence in (
        (Split((), ("r2",), ()), "no training recording"),
        (Split(("r0",), (), ()), "no recording to validate on"),
        (Split(("unseen",), ("r2",), ()), "labels of unseen are masked"),
        (Split(("r0",), ("unseen",), ()), "labels of unseen are masked"),
        (Split(("nobody",), ("r2",), ()), "nobody"),
    ):
        with pytest.raises(PipelineError, match=sentence):
            finetune(root, split, _preset(steps=1), tmp_path / "run", machine=CPU)
    assert not (tmp_path / "run").exists()


def test_masked_joints_change_neither_loss_nor_judgement(root, encoder):
    card = read_card(encoder).model_copy(update={"network": SMALL.pose})
    network = seeded_network(card).eval()
    (batch,) = list(clip_loader(root, ("r3",), card, CPU, labelled=True, judged=True))[:1]
    confidence = batch.confidence.clone()
    confidence[:, :, 5] = 0
    astray = batch.uv.clone()
    astray[:, :, 5] = 0.9
    one, other = batch._replace(confidence=confidence), batch._replace(confidence=confidence, uv=astray)
    generator = torch.Generator()
    with torch.no_grad():
        assert pose_loss(network, one, generator)["loss"] == pose_loss(network, other, generator)["loss"]
        assert judge_poses(network, [one]) == judge_poses(network, [other])
        assert judge_poses(network, [one]) != judge_poses(network, [batch])


def test_judging_is_the_same_in_whatever_batches(root, encoder):
    card = read_card(encoder).model_copy(update={"network": SMALL.pose})
    network = seeded_network(card).eval()
    with torch.no_grad():
        judged = []
        for size in (1, 4, 32):
            sized = card.model_copy(update={"training": card.training.model_copy(update={"batch": size})})
            judged.append(judge_poses(network, clip_loader(root, ("r3",), sized, CPU, labelled=True, judged=True)))
        whole = next(iter(clip_loader(root, ("r3",), sized, CPU, labelled=True, judged=True)))
        predicted = network(whole.maps).uv.numpy()
    by_hand = np.linalg.norm(predicted - whole.uv.numpy(), axis=-1).mean()
    for one in judged:
        assert one["mpjpe_norm"] == pytest.approx(float(by_hand), rel=1e-5)
    assert math.isfinite(pose_errors(predicted, whole.uv.numpy(), whole.confidence.numpy())["mpjpe_norm"])
