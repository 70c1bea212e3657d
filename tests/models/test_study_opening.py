"""A study opened over its data: what is refused before anything is trained, what a correction makes stale, and what stays."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_study import FRAMES, PEOPLE, study_file

from models.evaluation import evaluate
from models.report import write_report
from models.study_opening import Study, open_study
from models.study_running import run_study, run_unit
from models.study_store import read_predictions, read_results, read_truth
from models.tables import study_tables
from pipeline.errors import PipelineError
from pipeline.labels import Labels, keypoint_table, write_labels
from pipeline.manifest import Segment
from pipeline.recording import open_recording, write_manifest

SETS = {"walk": {"prefix": "walk-"}, "crowd": {"prefix": "crowd-"}}
ZERO_SHOT = {"data_sets": SETS, "zero_shot": [{"trained_on": "walk", "tested_on": "crowd"}]}


def opened(root: Path, **changes: object) -> Study:
    return open_study(root, study_file(root, **changes))


def blinded(root: Path, *names: str) -> None:
    """Recordings in which no joint is seen any more."""
    for name in names:
        blind = keypoint_table(np.full((FRAMES, 13, 2), 0.5), np.zeros((FRAMES, 13)), None, "none")
        write_labels(root, name, Labels(blind, "test"))


def corrected(root: Path, name: str, **changes: object) -> None:
    """A manifest corrected by hand."""
    folder = recording_folder(root, name)
    write_manifest(folder, open_recording(root, name).manifest.model_copy(update=changes))


def recording_folder(root: Path, name: str) -> Path:
    """A recording's folder that may be written to: of its own, where it was one that tests share."""
    shared = root / "recordings"
    if shared.is_symlink():
        source = shared.resolve()
        shared.unlink()
        shutil.copytree(source, shared)
    return shared / name


def resegmented(root: Path, longest: dict[str, int]) -> Path:
    """Recordings cut into actions of so many frames."""
    for name, frames in longest.items():
        cut = range(0, FRAMES, frames)
        segments = tuple(Segment(action=f"action {at}", start_frame=at, stop_frame=at + frames) for at in cut)
        corrected(root, name, segments=segments)
    return root


def test_a_fold_without_labels_is_refused(root):
    blinded(root, "walk-p02-0", "walk-p02-1")
    with pytest.raises(PipelineError, match="The fold of p02 in data set walk has no labels"):
        opened(root)
    (root / "labels" / "walk-p03-1.parquet").unlink()
    with pytest.raises(PipelineError, match="walk-p03-1 of data set walk has no labels"):
        opened(root)


def test_somebody_without_labels_where_others_models_are_tested_is_refused(root):
    blinded(root, "crowd-p02-0", "crowd-p02-1")
    with pytest.raises(
        PipelineError,
        match=r"The fold of p02 in data set crowd has no labels: .* leave them out of data_sets\.crowd\.people",
    ):
        opened(root, **ZERO_SHOT)
    # nobody is asked for who is held out of nothing, or not tested there
    rules = SETS | {"crowd": {"prefix": "crowd-", "people": ["p01", "p03", "q9"]}}
    opened(root, **ZERO_SHOT | {"data_sets": rules})
    blinded(root, "crowd-q9-0", "crowd-q9-1")
    opened(root, **ZERO_SHOT, people=["p01", "p03"])


def test_somebody_whose_recordings_hold_no_clip_where_others_models_are_tested_is_refused(root):
    with pytest.raises(PipelineError, match=r"The fold of p02 in data set crowd has no labels.* record longer ones"):
        opened(resegmented(root, {"crowd-p02-0": 3, "crowd-p02-1": 3}), **ZERO_SHOT)


def test_a_zero_shot_test_of_nobody_is_refused_by_its_name(root):
    sets = SETS | {"crowd": {"recordings": ["crowd-q9-0", "crowd-q9-1"]}}
    with pytest.raises(PipelineError, match=r"zero_shot: nobody who is held out .* has a recording in data set crowd"):
        opened(root, **ZERO_SHOT | {"data_sets": sets})


def test_a_data_set_that_nobody_is_held_out_of_serves_training_alone(root):
    sets = {"walk": {"prefix": "walk-"}, "more": {"recordings": ["crowd-q9-0", "crowd-q9-1"]}}
    row = [{"name": "MAEPose", "start": "pretrained"}]
    study = opened(root, data_sets=sets, pretrain_on="all", people=["p01"], methods=row)
    assert {unit.data_set for unit in study.units} == {"walk"}
    run_study(study, device="cpu")
    results = read_results(study.folder)
    assert set(results.truth["data_set"]) == set(results.recordings["data_set"]) == {"walk"}
    (network,) = (unit for unit in study.units if unit.kind == "network")
    making = results.makings[network.name]
    assert {"crowd-q9-0", "crowd-q9-1"} <= {*making.pretrained_on}
    assert {*making.pretrained_on} >= {*making.train, *making.validation}
    evaluation = evaluate(results)
    assert evaluation.simulated == {"walk": True}
    assert "p01" in set(evaluation.values["held_out"])
    tables = study_tables(evaluation)
    assert write_report(results, evaluation, tables, {}).exists()


def test_a_manifest_that_was_corrected_makes_stale_what_it_concerns(root):
    """Everybody is held out, so the same recordings are tested before and after."""
    camera = {"width": 640, "height": 480, "fx": 384.0, "fy": 384.0, "cx": 319.5, "cy": 239.5}

    def run_again() -> tuple[set[str], pd.DataFrame]:
        """Whose floors are made anew, and the truth."""
        study = opened(root)
        floors = [unit for unit in study.units if unit.modality == "none"]
        anew = {str(unit.held_out) for unit in floors if run_unit(study, unit) == "made"}
        truth, described = read_truth(study.folder, "walk")
        predicted = [read_predictions(study.folder, unit)[0]["recording"] for unit in floors if unit.held_out == "p03"]
        theirs = {one.recording for one in described if one.person == "p03"}
        assert all(set(names) == theirs for names in predicted)
        return anew, truth

    assert run_again()[0] == {*PEOPLE}
    assert run_again()[0] == set()
    corrected(root, "walk-p02-1", rig={"camera": camera})  # poses do not depend on it, what they are held against does
    assert run_again()[0] == set()
    described = read_truth(root / "experiments" / "small", "walk")[1]
    assert {one.recording: one.fx_px for one in described}["walk-p02-1"] == 384
    corrected(root, "walk-p02-1", participant="p03")
    anew, truth = run_again()
    assert anew == {*PEOPLE}
    assert set(truth.loc[truth["recording"] == "walk-p02-1", "person"]) == {"p03"}
    resegmented(root, {"walk-p01-0": 12})
    anew, truth = run_again()
    assert anew == {*PEOPLE}
    assert set(truth.loc[truth["recording"] == "walk-p01-0", "action"]) == {"action 0", "action 12"}


def test_what_a_run_that_was_broken_off_left_stale_is_missing(root):
    study = opened(root)
    floors = [unit for unit in study.units if unit.modality == "none"]
    for unit in floors:
        run_unit(study, unit)
    others = set(study.units) - set(floors)
    assert set(read_results(study.folder).missing) == others
    # labelled anew, opened, and killed before anything was made
    labels = keypoint_table(np.full((FRAMES, 13, 2), 0.4), np.ones((FRAMES, 13)), None, "none")
    write_labels(root, "walk-p03-0", Labels(labels, "test"))
    again = opened(root)
    assert set(read_results(again.folder).missing) == set(again.units)
    assert run_unit(again, floors[0]) == "made"
    assert set(read_results(again.folder).missing) == set(again.units) - {floors[0]}
    (again.folder / "keys.json").unlink()  # as a study that is kept
    assert set(read_results(again.folder).missing) == others


def test_training_runs_are_those_of_the_actions_they_were_fitted_to(root):
    rows = [{"name": "MAEPose", "start": "pretrained"}]
    first = opened(root, methods=rows, people=["p01"])
    run_study(first, device="cpu")
    before = {path.name for path in (first.folder / "runs").iterdir()}
    second = opened(resegmented(root, {"walk-p02-0": 12, "walk-p02-1": 12}), methods=rows, people=["p01"])
    run_study(second, device="cpu")
    after = {path.name for path in (second.folder / "runs").iterdir()}
    assert (len(before), len(after - before)) == (2, 2)
