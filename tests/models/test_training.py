"""The loop: the same numbers for a seed, after a kill too; what it says, keeps, writes, and refuses to go on with."""

import importlib.util
import json
import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from radar_sessions import noise_words, session
from safetensors.torch import load_file
from small_networks import SMALL, TRAINING

from models.checkpoints import load_model, read_card
from models.optimising import one_layer
from models.presets import Preset
from models.pretraining import clip_loader, judge_masked, masked_loss, pretrain, seeded_network
from models.runs import RunFolder
from models.training import Machine, Task, fit
from pipeline.errors import PipelineError
from pipeline.splits import Split

CPU = Machine(accelerator="cpu")
SPLIT = Split(("r0", "r1"), ("r2",), ())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("data")
    for number in range(3):
        session(root, f"r{number}", noise_words(24, seed=number), participant=f"p{number}")
    return root


def _preset(**changes: object) -> Preset:
    training = TRAINING.model_validate(TRAINING.model_dump() | changes)
    return SMALL.model_copy(update={"pretraining": training, "finetuning": training})


def _killed(run: Callable[..., Path], after: int) -> None:
    """Run in a process of its own that is killed, as by `kill -9`, once step `after` is done."""

    def kill(progress) -> None:
        if progress.step == after:
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=lambda: run(on_progress=kill))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


MANY = _preset(epochs=5, ema=0.9)
"""Epochs of three steps, judged and saved (`judged_twice`) after the second and the third."""


@pytest.fixture(scope="module")
def judged_twice() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.training.JUDGEMENTS", 7)
        yield


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory, judged_twice) -> RunFolder:
    folder = tmp_path_factory.mktemp("whole")
    path = pretrain(root, SPLIT, MANY, folder, machine=CPU)
    assert read_card(path).steps == 15
    assert [line.step for line in RunFolder(folder).read_history()][:5] == [2, 3, 5, 6, 8]
    return RunFolder(folder)


@pytest.mark.parametrize(("killed_after", "goes_on_with"), [(1, 1), (7, 7), (8, 9)])
def test_a_killed_run_ends_with_the_bits_it_would_have_had(root, tmp_path, whole, killed_after, goes_on_with):
    def run(**options) -> Path:
        return pretrain(root, SPLIT, MANY, tmp_path, machine=CPU, **options)

    _killed(run, killed_after)
    left = RunFolder(tmp_path)
    assert left.state.exists() == (killed_after > 1)
    assert json.loads(left.record.read_text())["finished"] is False
    seen = []
    again = run(on_progress=lambda progress: seen.append(progress.step))
    assert seen == list(range(goes_on_with, 16))
    assert again.read_bytes() == whole.model.read_bytes()
    assert left.history.read_bytes() == whole.history.read_bytes()
    assert not left.state.exists()


def test_the_seed_decides_and_a_finished_run_is_not_repeated(root, tmp_path):
    one = pretrain(root, SPLIT, _preset(steps=2), tmp_path / "one", machine=CPU)
    with pytest.raises(PipelineError, match=r"holds a run of something else \(training\.seed 42, now 7\)"):
        pretrain(root, SPLIT, _preset(steps=2, seed=7), tmp_path / "one", machine=CPU)
    other = pretrain(root, SPLIT, _preset(steps=2, seed=7), tmp_path / "other", machine=CPU)
    assert not torch.equal(load_file(one)["narrow.weight"], load_file(other)["narrow.weight"])
    before, steps = one.stat(), []
    assert pretrain(root, SPLIT, _preset(steps=2), tmp_path / "one", on_progress=steps.append, machine=CPU) == one
    assert (steps, one.stat().st_mtime_ns) == ([], before.st_mtime_ns)
    kept = one.read_bytes()
    pretrain(root, SPLIT, _preset(steps=2), tmp_path / "one", on_progress=steps.append, resume=False, machine=CPU)
    assert [progress.step for progress in steps] == [1, 2]
    assert one.read_bytes() == kept


def test_it_says_nothing_and_writes_nowhere_else(root, tmp_path, monkeypatch, capfd):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    steps = []
    path = pretrain(root, SPLIT, SMALL, tmp_path / "run", on_progress=steps.append, machine=CPU)
    assert list(elsewhere.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert sorted(child.name for child in path.parent.iterdir()) == [
        "history.json",
        "model.safetensors",
        "run.json",
        "tensorboard",
    ]
    assert capfd.readouterr() == ("", "")
    assert [(progress.step, progress.steps) for progress in steps] == [(step, 9) for step in range(1, 10)]
    assert all(math.isfinite(progress.loss) for progress in steps)
    assert steps[-1].epoch == 3.0


def test_curves_for_tensorboard(root, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = pretrain(root, SPLIT, _preset(steps=4), tmp_path / "run", machine=CPU)
    events = EventAccumulator(str(path.parent / "tensorboard")).Reload()
    assert {"train/loss", "train/rate", "validation/loss"} <= set(events.Tags()["scalars"])
    judged = {event.step: event.value for event in events.Scalars("validation/loss")}
    history = {line.step: line.metrics["loss"] for line in RunFolder(path.parent).read_history()}
    assert judged == pytest.approx(history, rel=1e-6)


def test_curves_for_mlflow(root, tmp_path):
    if importlib.util.find_spec("mlflow") is None:
        with pytest.raises(
            PipelineError, match=r"MLflow is not installed; install it with `pip install 'maepose\[tracking\]'`"
        ):
            pretrain(root, SPLIT, _preset(steps=1), tmp_path / "run", tracking="mlflow", machine=CPU)
        pytest.skip("MLFLOW ABSENT: that runs are written to it was not checked; install the extra `tracking`")
    import mlflow

    path = pretrain(root, SPLIT, _preset(steps=4), tmp_path / "run", tracking="mlflow", machine=CPU)
    client = mlflow.MlflowClient(f"sqlite:///{path.parent / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("run").experiment_id])
    assert run.data.metrics["validation/loss"] == pytest.approx(read_card(path).metrics["loss"])


def test_a_run_that_diverges_stops_and_keeps_its_batch(root, tmp_path):
    settings = _preset(rate=1e30, clip_norm=None, warmup=0.0)
    with pytest.raises(
        PipelineError, match=r"stopped being a finite number at step \d of 9; the batch is kept in"
    ) as stopped:
        pretrain(root, SPLIT.train, settings, tmp_path / "run", machine=CPU)
    kept = load_file(tmp_path / "run" / "bad_batch.safetensors")
    assert str(tmp_path / "run" / "bad_batch.safetensors") in str(stopped.value)
    assert kept["map.rd"].shape == (4, 1, 4, 16, 16)
    assert set(kept) == {"map.rd", "uv", "confidence", "clip"}


def _fit(root: Path, folder: Path, task: Task, **changes: object) -> Path:
    card = read_card(pretrain(root, SPLIT, _preset(steps=1), folder / "card", machine=CPU))
    card = card.model_copy(update={"training": _preset(**changes).pretraining})
    network = seeded_network(card)
    train = clip_loader(root, SPLIT.train, card, CPU, labelled=False)
    validation = clip_loader(root, SPLIT.validation, card, CPU, labelled=False, judged=True)
    return fit(network, one_layer(network), task, train, validation, card, folder / "run", machine=CPU)


def test_patience_runs_out_and_the_best_weights_are_kept(root, tmp_path):
    weights, values = [], iter([0.5, 0.3, *(0.4 + number for number in range(50))])

    def judge(network, batches) -> dict[str, float]:
        assert not network.training
        assert sum(len(batch.clip) for batch in batches) == 6
        weights.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return {"error": next(values)}

    path = _fit(root, tmp_path, Task(masked_loss, judge, "error", "best"), epochs=20, patience=2)
    history = RunFolder(path.parent).read_history()
    assert [line.step for line in history] == [3, 6, 9, 12]
    kept, card = load_model(path, "masked")
    assert (card.steps, card.metrics) == (6, {"error": 0.3})
    for name, tensor in kept.state_dict().items():
        assert torch.equal(tensor, weights[1][name]), name


def test_a_short_run_is_judged_within_its_epoch(root, tmp_path):
    path = _fit(root, tmp_path, Task(masked_loss, judge_masked, "loss", "last"), steps=2)
    assert [line.step for line in RunFolder(path.parent).read_history()] == [1, 2]


def test_validation_that_is_no_number_stops_the_run(root, tmp_path):
    task = Task(masked_loss, lambda network, batches: {"error": math.nan}, "error", "best")
    with pytest.raises(PipelineError, match="validation's error is no finite number after step 1"):
        _fit(root, tmp_path, task, steps=2)


def test_bf16(root, tmp_path):
    path = pretrain(root, SPLIT, _preset(steps=2, precision="bf16"), tmp_path / "run", machine=CPU)
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float32}
    assert math.isfinite(read_card(path).metrics["loss"])


def test_pretraining_learns_what_noise_has_in_common(root, tmp_path):
    path = pretrain(root, SPLIT, _preset(steps=24, rate=2e-2), tmp_path / "run", machine=CPU)
    history = RunFolder(path.parent).read_history()
    assert history[-1].metrics["loss"] < 0.9 * history[0].metrics["loss"]
