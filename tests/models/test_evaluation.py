"""Stored predictions to measures: hand-worked numbers, seeds inside folds, bins, and predictions that do not fit."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_study import made_study, made_truth, small_config

from models.evaluation import Evaluation, evaluate, folds_by_method, require_measure, summary
from models.study_store import predictions_path, read_making, read_results, read_truth, write_predictions, write_truth
from models.study_units import units
from models.truth_frames import TruthFrames, truth_frames
from models.unit_measures import UnitRows, bins_of, measure
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS

WRIST = JOINTS.index("left_wrist")
TARGETS = (3, 7, 11, 15, 19)


def _truth(people: tuple[str, ...] = ("a", "b"), frames: int = 6, **changes: object) -> TruthFrames:
    rows, recordings = made_truth("move", people, frames, seed=0)
    rows["confidence"] = 1.0
    made = truth_frames(rows, pd.DataFrame([one.model_dump() for one in recordings]).set_index("recording"))
    return replace(made, **changes)  # type: ignore[arg-type]


def _rows(truth: TruthFrames, person: str, off: np.ndarray) -> pd.DataFrame:
    """Predictions that are `off` (frame or 1, joint or 1, 2) from the truth."""
    at = np.flatnonzero(truth.person == person)
    places = truth.uv[at] + off
    return pd.DataFrame(
        {
            "recording": np.repeat(truth.frames.get_level_values(0)[at], len(JOINTS)),
            "frame": np.repeat(truth.frames.get_level_values(1)[at], len(JOINTS)),
            "joint": np.tile(np.arange(len(JOINTS)), len(at)),
            "u": places[..., 0].ravel(),
            "v": places[..., 1].ravel(),
        }
    )


def _unit(truth: TruthFrames, off: np.ndarray, person: str = "a", seed: int = 1, method: str = "one") -> UnitRows:
    return UnitRows("person", "move", "move", ("dual",), method, person, seed, _rows(truth, person, off))


def _value(table: pd.DataFrame, metric: str, **where: object) -> float:
    chosen = table[table["metric"].eq(metric)]
    for column, value in where.items():
        chosen = chosen[chosen[column].eq(value)]
    assert len(chosen) == 1
    return float(chosen["value"].iloc[0])


def test_measures_of_a_constant_error_by_hand():
    """.06 of 640 and .08 of 480 pixels are 38.4 each; at 2 m and a focal length of 600 pixels .128 m each."""
    truth = _truth(("a",))
    truth.xyz_m[..., 2] = 2.0
    measured = measure([_unit(truth, np.array([[[0.06, 0.08]]]))], {"move": truth}, TARGETS)
    found = {row.metric: row.value for row in measured.values.itertuples()}
    assert found["mpjpe_norm"] == pytest.approx(0.1)
    assert found["pck_norm@0.05"] == 0
    assert found["root_centred_norm"] == pytest.approx(0, abs=1e-12)
    assert found["explained_motion"] == pytest.approx(1)
    assert found["mpjpe_px"] == pytest.approx(38.4 * np.sqrt(2))
    assert found["mpjpe_plane_m"] == pytest.approx(0.128 * np.sqrt(2))
    assert found["pck_plane@0.05m"] == 0
    assert measured.scale_source == {"move": "simulator"}


def test_masked_joints_count_nowhere():
    truth = _truth(("a",))
    truth.confidence[:, WRIST] = 0
    off = np.zeros((1, len(JOINTS), 2))
    off[0, WRIST] = 0.5
    measured = measure([_unit(truth, off)], {"move": truth}, TARGETS)
    assert _value(measured.values, "mpjpe_norm") == pytest.approx(0, abs=1e-12)
    assert np.isnan(_value(measured.by_joint, "mpjpe_norm", joint="left_wrist"))


def test_errors_land_at_their_joint_and_action():
    truth = _truth(("a",))
    off = np.zeros((len(truth.person), len(JOINTS), 2))
    off[truth.action == "stepping", WRIST, 0] = 0.13
    measured = measure([_unit(truth, off)], {"move": truth}, TARGETS)
    assert _value(measured.by_action, "mpjpe_norm", action="stepping") == pytest.approx(0.01)
    assert _value(measured.by_action, "mpjpe_norm", action="march") == pytest.approx(0, abs=1e-12)
    assert _value(measured.by_joint, "mpjpe_norm", joint="left_wrist") == pytest.approx(0.13 / 4)
    assert _value(measured.by_joint, "mpjpe_norm", joint="nose") == pytest.approx(0, abs=1e-12)


def test_bins_hold_equally_many_frames_and_their_own_errors():
    truth = _truth(("a",), frames=10, range_m=np.linspace(1, 3, 40))
    off = np.zeros((40, 1, 2))
    off[32:, 0, 0] = 0.2  # the farthest fifth
    measured = measure([_unit(truth, off)], {"move": truth}, TARGETS)
    bins = measured.by_bin[measured.by_bin["quantity"].eq("range")].sort_values("middle")
    assert bins["frames"].tolist() == [8] * 5
    assert bins["value"].tolist() == pytest.approx([0, 0, 0, 0, 0.2], abs=1e-12)
    assert bins["unit"].unique().tolist() == ["m"]
    assert (bins["low"].iloc[1:].to_numpy() > bins["high"].iloc[:-1].to_numpy()).all()


def test_errors_land_at_their_frame_of_the_clip():
    """Two clips of five targets a recording, and an eleventh label that no whole clip has; one frame's labels are all masked."""
    truth = _truth(("a",), frames=11)
    frame = truth.frames.get_level_values(1).to_numpy()
    off = np.zeros((len(frame), 1, 2))
    off[frame == 27, 0, 0] = 0.1  # 7 of the second clip
    off[frame == 43, 0, 0] = 0.5
    truth.confidence[0] = 0
    unit = _unit(truth, off)
    found = measure([replace(unit, rows=unit.rows.iloc[len(JOINTS) :])], {"move": truth}, TARGETS).by_target
    assert found["target"].unique().tolist() == list(TARGETS)
    errors = found[found["metric"].eq("mpjpe_norm")]["value"].tolist()
    assert errors == pytest.approx([0, 0.05, 0, 0, 0], abs=1e-12)


def test_a_clip_begins_where_the_first_of_its_targets_is():
    """Clips at 2 and, after a break of 3 frames, at 25; then what a clip of another grid has left over."""
    frames = [5, 9, 13, 17, 21, 28, 32, 36, 40, 44, 50, 54]
    truth = _truth(("a",), frames=3)
    keys = pd.MultiIndex.from_product([["one"], frames], names=truth.frames.names)
    found = replace(truth, frames=keys).clips(TARGETS)
    assert found[:, 0].tolist() == [0] * 5 + [1] * 5 + [-1] * 2
    assert found[:, 1].tolist() == [0, 1, 2, 3, 4] * 2 + [-1] * 2


def test_clips_of_a_last_fifth_have_no_place_among_the_others(evaluation: Evaluation):
    assert set(evaluation.by_target["split"]) == {"person"}
    assert set(evaluation.by_target["target"]) == set(TARGETS)


def test_values_that_repeat_make_fewer_bins_and_unknown_ones_none():
    assert bins_of("range", "m", np.repeat([1.0, 2.0], 10)).table["middle"].tolist() == [1.0, 2.0]
    assert bins_of("range", "m", np.array([np.nan, 1.0, 2.0])).at.tolist()[0] == -1
    assert bins_of("range", "m", np.full(3, np.nan)).table.empty


def test_speeds_by_hand():
    """Everything moves .3 m in the four frames of .1 s between two labels, but the nose .43 m."""
    truth = _truth(("a",), frames=2)
    truth.xyz_m[:] = 0
    second = truth.frames.get_level_values(1).to_numpy() == truth.frames.get_level_values(1).max()
    truth.xyz_m[second, :, 0] = 0.3
    truth.xyz_m[second, JOINTS.index("nose"), 0] = 0.43
    speeds = truth.speeds()
    assert speeds.loc[~second].isna().all(axis=None)
    assert speeds.loc[second, "root_speed"].to_numpy() == pytest.approx(0.75)
    assert speeds.loc[second, "joint_speed"].to_numpy() == pytest.approx((12 * 0.3 + 0.43) / 13 / 0.4)


def test_speeds_without_metres_are_shares_of_the_picture():
    truth = _truth(("a",))
    assert truth.in_metres
    truth.xyz_m[:] = np.nan
    measured = measure(
        [_unit(truth, np.zeros((1, 1, 2)))], {"move": replace(truth, scale_source=np.array(["none"] * 24))}, TARGETS
    )
    assert set(measured.by_bin.loc[measured.by_bin["quantity"].ne("range"), "unit"]) == {"picture/s"}
    assert "mpjpe_plane_m" not in set(measured.values["metric"])
    assert measured.scale_source == {"move": "none"}


def test_seeds_are_averaged_inside_a_fold_and_their_spread_stands_apart():
    """Folds .2 and .5 of seeds (.1, .3) and (.4, .6): mean .35, sd .2121; the seeds' means are .25 and .45, sd .1414."""
    truth = _truth()
    off = {("a", 1): 0.1, ("a", 2): 0.3, ("b", 1): 0.4, ("b", 2): 0.6}
    made = [_unit(truth, np.array([[[value, 0]]]), person, seed) for (person, seed), value in off.items()]
    row = summary(measure(made, {"move": truth}, TARGETS).values).set_index("metric").loc["mpjpe_norm"]
    assert (row["folds"], row["seeds"]) == (2, 2)
    assert row[["mean", "sd", "seed_sd"]].to_numpy(float) == pytest.approx([0.35, 0.3 / np.sqrt(2), 0.2 / np.sqrt(2)])


def test_methods_of_a_fold_are_judged_on_the_same_frames():
    truth = _truth()
    whole, part = _unit(truth, np.zeros((1, 1, 2))), _unit(truth, np.zeros((1, 1, 2)), method="other")
    with pytest.raises(PipelineError, match=r"other .* and one .* predict different frames of move"):
        measure([whole, replace(part, rows=part.rows.iloc[13:])], {"move": truth}, TARGETS)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda rows: rows.iloc[1:], "lacks joints of some frames"),
        (lambda rows: rows.assign(u=np.nan), "lacks joints of some frames"),
        (lambda rows: rows.assign(frame=rows["frame"] + 1), "which has no label in the study"),
        (lambda rows: rows.assign(recording="strange"), "of strange, which has no label in the study"),
    ],
)
def test_predictions_that_do_not_fit_the_truth(damage, sentence):
    truth = _truth()
    unit = _unit(truth, np.zeros((1, 1, 2)))
    with pytest.raises(PipelineError, match=sentence):
        measure([replace(unit, rows=damage(unit.rows))], {"move": truth}, TARGETS)


def test_a_fold_without_labels_is_named():
    truth = _truth()
    truth.confidence[truth.person == "a"] = 0
    with pytest.raises(PipelineError, match="fold of a has no labels on move"):
        measure([_unit(truth, np.zeros((1, 1, 2)))], {"move": truth}, TARGETS)
    with pytest.raises(PipelineError, match="no predictions yet"):
        measure([], {"move": truth}, TARGETS)


def test_a_study_has_one_value_a_fold_seed_and_measure(evaluation: Evaluation):
    keys = ["split", "trained_on", "test_set", "modality", "method", "held_out", "seed", "metric"]
    assert not evaluation.values.duplicated(keys).any()
    ours = evaluation.values[evaluation.values["method"].eq("MAEPose") & evaluation.values["metric"].eq("mpjpe_norm")]
    counts = ours.groupby(["split", "test_set"]).size().to_dict()
    assert counts == {("inside", "move"): 6, ("person", "bystander"): 6, ("person", "move"): 6}


def test_rows_say_what_they_are(evaluation: Evaluation):
    assert evaluation.ours == "MAEPose"
    assert evaluation.methods["kind"].to_dict() == {
        "MAEPose": "ours", "CubeLearn": "baseline", "MAEPose, random": "ours", "MAEPose, MLP": "ours", "mean-pose": "floor",
        "ridge": "floor", "neighbours": "floor", "own-mean-pose": "oracle", "nearest-pose": "oracle",
    }  # fmt: skip
    basis = evaluation.methods["basis"]
    assert basis["MAEPose"] == basis["MAEPose, random"] == basis["MAEPose, MLP"] != basis["CubeLearn"]


def test_floors_that_read_no_radar_stand_under_every_modality(tmp_path: Path):
    config = small_config(
        2, modalities=("rd", "dual"), inside_split=False, seeds=(1,), zero_shot=(), methods=small_config().methods[:2]
    )
    config = config.model_copy(update={"data_sets": {"move": config.data_sets["move"]}})
    values = evaluate(read_results(made_study(tmp_path, config, frames=3))).values
    mean_pose = values[values["method"].eq("mean-pose") & values["metric"].eq("mpjpe_norm")]
    by_modality = mean_pose.pivot(index="held_out", columns="modality", values="value")
    assert by_modality["rd"].tolist() == by_modality["dual"].tolist()
    assert len(by_modality) == 2


def test_missing_predictions_are_counted_and_named(folder: Path, tmp_path: Path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    lost = units(small_config())[-1]
    predictions_path(copy, lost).unlink()
    with pytest.raises(PipelineError, match=rf"1 of the study's .* \(first {lost.name}"):
        evaluate(read_results(copy))


def test_a_person_in_training_and_test_is_refused(folder: Path, tmp_path: Path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    unit = next(unit for unit in units(small_config()) if unit.held_out == "p2" and unit.row == "MAEPose")
    making = read_making(copy, unit)
    assert making is not None
    rows = read_results(copy).predictions(unit)
    write_predictions(copy, making.model_copy(update={"train": ("move-p1-0", "bystander-p2-0")}), rows)
    with pytest.raises(
        PipelineError, match=r"p2 is held out of .* but bystander-p2-0, which shows them, was trained on"
    ):
        evaluate(read_results(copy))
    # so is one whose encoder saw them, and one that saw them walk past
    write_predictions(copy, making.model_copy(update={"pretrained_on": ("move-p1-0", "move-p2-1")}), rows)
    with pytest.raises(PipelineError, match=r"p2 is held out of .* but move-p2-1, which shows them"):
        evaluate(read_results(copy))
    truth, described = read_truth(copy, "bystander")
    seen = [
        one.model_copy(update={"others": ("p2",)}) if one.recording == "bystander-p1-3" else one for one in described
    ]
    write_truth(copy, "bystander", truth, seen)
    write_predictions(copy, making.model_copy(update={"train": ("move-p1-0", "bystander-p1-3")}), rows)
    with pytest.raises(PipelineError, match=r"p2 is held out of .* but bystander-p1-3, which shows them"):
        evaluate(read_results(copy))


def test_predictions_of_others_than_the_held_out_person_are_refused(folder: Path, tmp_path: Path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    one, other = (unit for unit in units(small_config()) if unit.row == "ridge" and unit.held_out in ("p1", "p2"))
    making = read_making(copy, one)
    assert making is not None
    write_predictions(copy, making, read_results(copy).predictions(other))
    with pytest.raises(PipelineError, match="holds predictions of others than p1"):
        evaluate(read_results(copy))


def test_metres_need_a_scale_in_every_fold(evaluation: Evaluation):
    require_measure(evaluation, "mpjpe_plane_m", "move")
    unscaled = replace(evaluation, scale_source={"move": "none"})
    with pytest.raises(PipelineError, match="No scale was recorded for every fold of move"):
        folds_by_method(unscaled, "mpjpe_plane_m", "move", "dual", ["MAEPose"])
    with pytest.raises(PipelineError, match="no measure 'mpjpe'"):
        require_measure(evaluation, "mpjpe", "move")
    with pytest.raises(PipelineError, match="no predictions of HuPR on move"):
        folds_by_method(evaluation, "mpjpe_norm", "move", "dual", ["HuPR"])
