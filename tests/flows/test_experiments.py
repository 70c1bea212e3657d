"""Experiments by name: who is trained on, what a request means, and one whole life at the command line on noise."""

import fcntl
import json

import numpy as np
import pytest

from flows.cli import main
from flows.experiments import (
    ExperimentRequest,
    experiment_split,
    finetune,
    model_file,
    pretrain,
    resolved_preset,
)
from pipeline.cube_config import CubeConfig
from pipeline.errors import PipelineError
from pipeline.labels import Labels, keypoint_table, write_labels
from pipeline.manifest import RecordingManifest
from pipeline.predictions import read_predictions
from pipeline.recording import create_recording
from pipeline.sealing import seal
from pipeline.waveform import PRESETS
from processing.cubes import process_recording

COARSE = PRESETS["light"].model_copy(update={"name": "coarse", "samples": 64, "loops": 16})
FRAMES = 22


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two recordings of noise of each of three people, with cubes and labels."""
    root, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for person in ("p01", "p02", "p03"):
        for take in ("a", "b"):
            manifest = RecordingManifest(id=f"{person}-{take}", simulated=True, waveform=COARSE, participant=person)
            folder = create_recording(root, manifest)
            (folder / "adc.bin").write_bytes(
                rng.normal(0, 50, FRAMES * COARSE.frame_bytes // 2).astype("<i2").tobytes()
            )
            process_recording(seal(folder), root, CubeConfig(products=("rd", "ra")), threads=1)
            uv = rng.random((FRAMES, 13, 2))
            write_labels(root, manifest.id, Labels(keypoint_table(uv, np.ones((FRAMES, 13)), None, "none"), "test"))
    return root


def test_a_held_out_person_is_nowhere_in_training(root):
    split = experiment_split(root, ExperimentRequest(hold_out="p02"))
    assert split.test == ("p02-a", "p02-b")
    assert {*split.train, *split.validation} == {"p01-a", "p01-b", "p03-a", "p03-b"}
    assert split.validation
    few = experiment_split(root, ExperimentRequest(hold_out="p02", people=("p01",)))
    assert {*few.train, *few.validation} == {"p01-a", "p01-b"}
    assert few.test == split.test


def test_without_a_held_out_person_everybody_is_trained_on_and_nobody_tested(root):
    split = experiment_split(root, ExperimentRequest())
    assert split.test == ()
    assert len({*split.train, *split.validation}) == 6
    assert set(split.train).isdisjoint(split.validation)


def test_a_request_changes_its_preset_and_nothing_else():
    chosen = resolved_preset(ExperimentRequest(modality="ra", method="hupr", head="gcn", steps=7, seed=3))
    plain = resolved_preset(ExperimentRequest())
    assert plain.clip.modalities == ("rd", "ra")
    assert chosen.clip == plain.clip.model_copy(update={"modalities": ("ra",)})
    assert chosen.pose == plain.pose.model_copy(update={"method": "hupr", "head": "gcn"})
    assert chosen.finetuning == plain.finetuning.model_copy(update={"steps": 7, "seed": 3})
    assert chosen.pretraining == plain.pretraining.model_copy(update={"steps": 7, "seed": 3})


def test_names_say_the_choices():
    assert ExperimentRequest(hold_out="p 01").named("pretrain") == "pretrain-tiny-dual-without-p-01"
    request = ExperimentRequest(modality="rd", method="maepose", head="simcc", encoder="x")
    assert request.named("finetune") == "finetune-tiny-maepose-simcc-rd-pretrained-everybody"
    assert ExperimentRequest(name="mine").named("finetune") == "mine"


def test_a_model_is_a_file_or_an_experiment(tmp_path):
    folder = tmp_path / "experiments" / "one"
    folder.mkdir(parents=True)
    with pytest.raises(PipelineError, match="has not come far enough"):
        model_file(tmp_path, "one")
    (folder / "model.safetensors").write_bytes(b"")
    assert model_file(tmp_path, "one") == folder / "model.safetensors"
    assert model_file(tmp_path, str(folder)) == folder / "model.safetensors"
    assert model_file(tmp_path, str(folder / "model.safetensors")) == folder / "model.safetensors"
    with pytest.raises(PipelineError, match="There is no model 'two'"):
        model_file(tmp_path, "two")


def test_two_do_not_train_in_one_folder(root):
    folder = root / "experiments" / "busy"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for verb in (pretrain, finetune):
            with pytest.raises(PipelineError, match="Another process is training busy just now"):
                verb(root, ExperimentRequest(name="busy", modality="rd", steps=1))
    assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.slow  # Lightning and four networks: a minute on a busy core
def test_pretrained_finetuned_and_predicted_at_the_command_line(root, capsys):
    def verb(*words: object) -> dict:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words), "--root", str(root), "--json"])
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        return json.loads(said.out)

    first = verb("pretrain", "--hold-out", "p02", "--steps", 2, "--name", "masked")
    assert (first["experiment"], first["held_out"], first["steps"], first["simulated"]) == ("masked", "p02", 2, True)
    second = verb("finetune", "--hold-out", "p02", "--steps", 2, "--encoder", "masked", "--name", "pose")
    assert (second["test_recordings"], second["modality"]) == (2, "dual")
    assert second["mpjpe_norm"] > 0
    record = json.loads((root / "experiments" / "pose" / "experiment.json").read_bytes())
    assert record["test"] == ["p02-a", "p02-b"]
    predicted = verb("predict", "p02-a", "--model", "pose")
    assert predicted["frames_predicted"] == FRAMES - 19
    assert read_predictions(root, "p02-a", "pose").making.card["held_out"] == "p02"
    # the same again is done already, another one under its name is refused
    assert verb("pretrain", "--hold-out", "p02", "--steps", 2, "--name", "masked") == first
    with pytest.raises(SystemExit):
        main(["pretrain", "--hold-out", "p03", "--steps", "2", "--name", "masked", "--root", str(root)])
    assert "holds a run of something else" in capsys.readouterr().err
    # an encoder that has seen whom this one is tested on
    with pytest.raises(SystemExit):
        main(["finetune", "--hold-out", "p03", "--steps", "2", "--encoder", "masked", "--root", str(root)])
    assert "pre-trained on p03-" in capsys.readouterr().err
