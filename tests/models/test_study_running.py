"""A study on disk: who is held out of what, what is current, what several processes do, and what a kill leaves."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from radar_sessions import noise_words, session
from small_study import FRAMES, PEOPLE, SMALL, study_config, study_file

from models.checkpoints import read_card
from models.clips import recording_labels
from models.evaluation import evaluate
from models.study_folds import resolve
from models.study_opening import Study, claimed, is_claimed, open_study
from models.study_running import run_study, run_unit
from models.study_store import predictions_path, read_making, read_predictions, read_results, read_truth
from models.study_units import Unit
from models.tables import study_tables
from pipeline.errors import PipelineError
from pipeline.labels import Labels, keypoint_table, write_labels

SETS = {"walk": {"prefix": "walk-"}, "crowd": {"prefix": "crowd-"}}
ZERO_SHOT = {"data_sets": SETS, "zero_shot": [{"trained_on": "walk", "tested_on": "crowd"}]}


def opened(root: Path, **changes: object) -> Study:
    return open_study(root, study_file(root, **changes))


def networks(study: Study) -> list[Unit]:
    return [unit for unit in study.units if unit.kind == "network"]


def test_who_is_there_is_filled_in(root):
    data = resolve(root, study_config(**ZERO_SHOT))
    assert data.config.people == PEOPLE  # q9 is only ever tested on
    assert data.config.data_sets["crowd"].people == (*PEOPLE, "q9")
    assert data.config.folds("walk") == PEOPLE
    assert resolve(root, data.config).config == data.config


def test_the_person_held_out_is_trained_on_nowhere(root):
    data = resolve(root, study_config(data_sets=SETS, pretrain_on="all"))
    unit = Unit(row="MAEPose", kind="network", modality="rd", data_set="walk", split="person", held_out="p02", seed=42)
    own, begun = data.split(unit), data.pretraining_split(unit)
    assert own.test == ("walk-p02-0", "walk-p02-1")
    assert {*own.train, *own.validation} == {f"walk-{who}-{take}" for who in ("p01", "p03") for take in (0, 1)}
    # of the other set neither their own recordings nor those in which they are a bystander
    others = {"crowd-p03-0", "crowd-p03-1", "crowd-q9-0", "crowd-q9-1"}
    assert {*begun.train, *begun.validation} == {*own.train, *own.validation} | others
    assert set(own.validation) <= set(begun.validation)
    assert set(begun.train).isdisjoint(begun.validation)
    # somebody who is in the other set only as a bystander is kept out of it all the same
    data = resolve(
        root,
        study_config(
            data_sets=SETS | {"crowd": {"prefix": "crowd-", "people": ["p01", "p03", "q9"]}}, pretrain_on="all"
        ),
    )
    assert {*data.pretraining_split(unit).train, *data.pretraining_split(unit).validation} & others == others
    assert not any("p01" in name for name in {*data.pretraining_split(unit).train} if name.startswith("crowd"))


def test_a_zero_shot_test_shows_the_person_held_out_to_a_model_that_never_saw_the_set(root):
    data = resolve(root, study_config(**ZERO_SHOT, pretrain_on="all"))
    unit = Unit(row="MAEPose", kind="network", modality="rd", data_set="walk", split="person", held_out="p01", seed=42)
    assert data.tested(unit) == {"walk": ("walk-p01-0", "walk-p01-1"), "crowd": ("crowd-p01-0", "crowd-p01-1")}
    begun = data.pretraining_split(unit)
    assert not [name for name in (*begun.train, *begun.validation) if name.startswith("crowd")]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"people": ["p01", "p07"]}, "people: p07 is in no data set that is trained on; there are p01, p02, p03"),
        (
            {"data_sets": {"walk": {"prefix": "walk-", "people": ["p07"]}}},
            "data_sets.walk.people: there is no recording of p07",
        ),
        ({"data_sets": {"walk": {"prefix": "run-"}}}, "data_sets.walk: no recording under .* has prefix 'run-'"),
        ({"data_sets": {"walk": {"origin": "capture: x"}}}, "data_sets.walk: no recording under .* has origin"),
        ({"data_sets": {"walk": {"recordings": ["walk-p01-7"]}}}, "walk-p01-7"),
        (
            {"data_sets": {"walk": {"prefix": "walk-"}, "some": {"prefix": "walk-p01"}}},
            "walk-p01-0 is in the data sets walk and some",
        ),
        (
            {"data_sets": {"walk": {"prefix": "crowd-", "people": ["p01", "p02"]}}, "people": ["p02"]},
            "p02 cannot be held out of data set walk: Without p02 there are 0 recordings",
        ),
    ],
)
def test_a_study_that_cannot_be_run_is_refused_before_anything_is_trained(root, changes, said):
    with pytest.raises(PipelineError, match=said):
        opened(root, **changes)
    assert not (root / "experiments" / "small" / "runs").exists()


def test_a_whole_study_and_nothing_of_it_twice(root):
    changes = ZERO_SHOT | {"inside_split": True, "people": ["p01", "p03"]}
    study = opened(root, **changes)
    seen: list[tuple[int, int]] = []
    assert run_study(study, device="cpu", on_unit=lambda done, of, _: seen.append((done, of))) == len(study.units)
    assert seen[-1] == (len(study.units), len(study.units))
    results = read_results(study.folder)
    assert (results.missing, results.units) == ((), study.units)
    # predictions are of labelled target frames of the person held out, each once, in both data sets
    unit = networks(study)[0]
    rows, making = read_predictions(study.folder, unit)
    assert sorted(rows["recording"].unique()) == sorted(f"{s}-p01-{take}" for s in ("walk", "crowd") for take in (0, 1))
    assert rows["frame"].unique().tolist() == [4 * clip + target for clip in range(FRAMES // 4) for target in (1, 3)]
    assert not rows.duplicated(["recording", "frame", "joint"]).any()
    assert making.simulated
    assert making.pretraining_run is not None
    assert making.pretrained_on == (*making.train, *making.validation)
    assert making.history[-1].step == SMALL["finetuning.steps"]
    # and the model behind them knows nobody of the test
    card = read_card(study.folder / "runs" / str(making.run) / "model.safetensors")
    assert card.held_out == "p01"
    assert not [name for name in (*card.recordings, *card.validation) if "p01" in name]
    # truth is the labels at the same frames
    truth, described = read_truth(study.folder, "walk")
    uv, _ = recording_labels(root, "walk-p01-0", FRAMES)
    one = truth[(truth["recording"] == "walk-p01-0") & (truth["frame"] == 7)]
    np.testing.assert_allclose(one[["u", "v"]].to_numpy(), uv[7], atol=1e-5)
    assert (one["person"].unique().tolist(), one["action"].unique().tolist()) == (["p01"], ["action 0"])
    assert {recording.recording for recording in described} == {
        f"walk-{who}-{take}" for who in PEOPLE for take in (0, 1)
    }
    # inside recordings: everybody's last fifth, frames that the network was not fitted to
    inside = next(unit for unit in networks(study) if unit.split == "inside")
    rows, making = read_predictions(study.folder, inside)
    assert set(rows["recording"]) == set(making.train)
    assert rows["frame"].min() >= 0.8 * FRAMES
    assert making.card["clip"]["part"] == [0.0, 0.8]
    # again: nothing; after a change: what it concerns
    assert run_study(open_study(root, study.folder / "study.yaml"), device="cpu") == 0
    labels = keypoint_table(np.full((FRAMES, 13, 2), 0.4), np.ones((FRAMES, 13)), None, "none")
    write_labels(root, "crowd-p03-0", Labels(labels, "test"))
    changed = opened(root, **changes)
    assert {unit.held_out for unit in changed.units if not changed.is_current(unit)} == {"p03"}
    assert read_truth(changed.folder, "crowd")[0].query("recording == 'crowd-p03-0'")["u"].iloc[0] == pytest.approx(
        0.4, abs=1e-5
    )


def test_rows_that_ask_for_the_same_encoder_share_it(root):
    rows = [{"name": f"MAEPose {head}", "start": "pretrained", "set": {"pose.head": head}} for head in ("mlp", "gcn")]
    study = opened(root, methods=rows, people=["p01"])
    run_study(study, device="cpu")
    runs = {making.pretraining_run for unit in networks(study) if (making := read_making(study.folder, unit))}
    assert len(runs) == 1
    assert len(list((study.folder / "runs").glob("pretrain.*"))) == 1


def test_a_claimed_unit_is_left_alone_and_taken_over_once_its_holder_is_dead(root):
    study = opened(root, people=["p01"])
    unit = study.units[0]
    context = multiprocessing.get_context("fork")
    holding = context.Event()

    def hold() -> None:
        with claimed(study, unit.name, wait=True):
            holding.set()
            time.sleep(60)

    holder = context.Process(target=hold)
    holder.start()
    assert holding.wait(10)
    assert is_claimed(study, unit)
    assert run_unit(study, unit, wait=False) == "busy"
    assert not predictions_path(study.folder, unit).exists()
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert run_unit(study, unit, wait=False) == "made"
    assert run_unit(study, unit, wait=False) == "current"


def test_a_unit_that_fails_does_not_keep_the_others_from_running(root):
    rows = [{"name": "Odd", "method": "cubelearn", "set": {"pose.encoder.patch": [4, 8, 8]}}, {"name": "MAEPose"}]
    study = opened(root, methods=rows, people=["p01"])
    with pytest.raises(
        PipelineError, match=r"1 of 7 units failed, the others are done; odd\.rd\.walk\.p01\.s42: 2 target frames"
    ):
        run_study(study, device="cpu")
    assert [unit.row for unit in read_results(study.folder).missing] == ["Odd"]


def test_a_unit_that_is_none_is_refused(root):
    with pytest.raises(PipelineError, match="has no unit 'x'; there are mean-pose"):
        opened(root).unit("x")


def _work(root: Path) -> None:
    torch.set_num_threads(1)
    run_study(open_study(root, root / "study.yaml"), device="cpu")


def test_a_study_killed_half_way_is_finished_with_the_same_predictions(root, tmp_path_factory):
    """Killed in mid-training, then again; two processes finish it together; against the same study left in peace."""
    changes = {"set": SMALL | {"pretraining.steps": 30, "finetuning.steps": 30}, "people": ["p01", "p02"]}
    other = tmp_path_factory.mktemp("peace")
    for name in ("recordings", "cubes", "labels"):
        (other / name).symlink_to(root / name)
    peace = opened(other, **changes)
    assert run_study(peace, device="cpu") == len(peace.units)

    study = opened(root, **changes)
    # Not forked from here: a fork of a process that runs tests inherits what those left, threads and all.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["models.study_running", "models.study_fitting"])
    stops = [study.folder / "runs" / kind for kind in ("pretrain.*/state.ckpt", "cubelearn.*/state.ckpt")]
    for stop in stops:
        process = context.Process(target=_work, args=(root,))
        process.start()
        while not list(stop.parent.parent.glob(f"{stop.parent.name}/{stop.name}")):
            assert process.is_alive()
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    done = sum(map(study.is_current, study.units))
    assert 0 < done < len(study.units)
    assert list((study.folder / "runs").glob("cubelearn.*/state.ckpt"))  # in the middle of it

    both = [context.Process(target=_work, args=(root,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    for unit in study.units:
        mine, theirs = (read_predictions(one.folder, unit) for one in (study, peace))
        pd.testing.assert_frame_equal(mine[0], theirs[0])
        assert mine[1].key == theirs[1].key
    assert not list(study.folder.rglob(".*tmp*"))
    mine, theirs = (study_tables(evaluate(read_results(one.folder))) for one in (study, peace))
    assert [table.to_markdown() for table in mine] == [table.to_markdown() for table in theirs]
    assert len(mine) > 0


def test_metres_and_the_camera_come_with_the_truth(tmp_path):
    depth = np.broadcast_to([0.3, -0.4, 1.2], (FRAMES, 13, 3))
    camera = {"width": 640, "height": 480, "fx": 384.0, "fy": 384.0, "cx": 319.5, "cy": 239.5}
    for person in ("p01", "p02", "p03"):
        session(tmp_path, f"walk-{person}", noise_words(FRAMES), participant=person, rig={"camera": camera})
        uv = np.full((FRAMES, 13, 2), 0.5)
        write_labels(
            tmp_path, f"walk-{person}", Labels(keypoint_table(uv, np.ones((FRAMES, 13)), depth, "simulator"), "test")
        )
    study = opened(tmp_path)
    truth, (described, *_) = read_truth(study.folder, "walk")
    np.testing.assert_allclose(truth["range_m"], 1.3, atol=1e-4)
    assert set(truth["scale_source"]) == {"simulator"}
    assert (described.width_px, described.height_px, described.fx_px) == (640, 480, 384.0)
