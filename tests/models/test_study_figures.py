"""A study's figures: what each says it shows, one look a method everywhere, and none where there is nothing to show."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from models.body_figure import draw_joints
from models.evaluation import Evaluation
from models.figures import PoseStrip
from models.method_style import compared, looks, panels
from models.radar_charts import draw_actions
from models.study_curves import draw_bins, draw_learning, draw_seeds
from models.study_figures import draw_figures, draw_study_poses
from models.study_store import StudyResults
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS

BLUE = (0, 114, 178)


def _title(path: Path) -> str:
    with Image.open(path) as image:
        return str(image.info["Title"])


def _pixels(path: Path, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels of one colour."""
    with Image.open(path) as image:
        values = np.asarray(image.convert("RGB")).astype(int)
    return np.argwhere((abs(values - colour) < 8).all(axis=2))


def _without(evaluation: Evaluation, name: str, **where: object) -> Evaluation:
    table = getattr(evaluation, name)
    for column, value in where.items():
        table = table[table[column].ne(value)]
    return replace(evaluation, **{name: table})


def test_every_figure_is_drawn_and_says_that_data_are_simulated(results: StudyResults, evaluation: Evaluation):
    drawn = draw_figures(results, evaluation)
    assert list(drawn) == [
        "Error by action", "Error by joint", "Error over distance and speed", "Folds and seeds", "Learning curves", "Poses",
    ]  # fmt: skip
    for title, path in drawn.items():
        assert _title(path).startswith(f"SIMULATED · {title}")
        assert path.stat().st_size < 600_000
    assert len(_pixels(drawn["Error by action"], BLUE)) > 200


def test_figures_of_before_are_not_shown_as_if_they_were_of_now(
    results: StudyResults, evaluation: Evaluation, tmp_path: Path
):
    """Of one seed there is no figure of seeds; where nothing is pre-trained nothing was reconstructed."""
    figures = tmp_path / "figures"
    figures.mkdir()
    (tmp_path / "predictions").symlink_to(results.folder / "predictions")
    for name in ("seeds.png", "reconstruction.png"):
        (figures / name).write_bytes(b"of before")
    here, one_seed = replace(results, folder=tmp_path), _without(evaluation, "values", seed=2)
    assert not {"Folds and seeds", "Mask reconstruction"} & set(draw_figures(here, one_seed))
    assert not (figures / "seeds.png").exists()
    name, making = next(iter(here.makings.items()))
    pretrained = {name: making.model_copy(update={"pretraining_run": "pretrain.dual.p1.s1"})}
    drawn = draw_figures(replace(here, makings=here.makings | pretrained), one_seed)
    assert drawn["Mask reconstruction"] == figures / "reconstruction.png"


def test_real_data_are_not_called_simulated(evaluation: Evaluation, tmp_path: Path):
    real = replace(evaluation, simulated=dict.fromkeys(evaluation.simulated, False))
    assert _title(draw_joints(tmp_path / "joints.png", real)) == "Error by joint"


def test_one_look_a_method_and_ours_is_blue(evaluation: Evaluation):
    look = looks(evaluation)
    networks = [look[name] for name in evaluation.of_kind("ours", "baseline")]
    assert look["MAEPose"].colour == "#0072b2"
    assert len({one.colour for one in networks}) == len({one.marker for one in networks}) == len(networks) == 4
    assert {look[name].dashes for name in evaluation.of_kind("floor")} == {"--"}
    assert {look[name].dashes for name in evaluation.of_kind("oracle")} == {":"}


def test_figures_compare_ours_the_baselines_and_the_best_floor(evaluation: Evaluation):
    assert compared(evaluation) == ["MAEPose", "CubeLearn", "ridge"]
    values = evaluation.values.copy()
    values.loc[values["method"].eq("mean-pose") & values["metric"].eq("mpjpe_norm"), "value"] = 0.001
    assert compared(replace(evaluation, values=values))[-1] == "mean-pose"
    assert [panel.title for panel in panels(evaluation)] == ["sim-move, Dual", "sim-move → sim-bystander, Dual"]


def test_an_action_that_is_harder_lies_further_out(evaluation: Evaluation, tmp_path: Path):
    """The first action lies at the top of a chart: with its error doubled our line's highest point is higher."""
    table = evaluation.by_action.copy()
    ours = table["method"].eq("MAEPose") & table["action"].eq("arm raise") & table["test_set"].eq("move")
    table.loc[ours & table["metric"].eq("mpjpe_norm"), "value"] *= 1.6
    one = _without(evaluation, "values", test_set="bystander")
    plain = draw_actions(tmp_path / "a.png", one)
    harder = draw_actions(tmp_path / "b.png", replace(one, by_action=table))
    assert plain is not None
    assert harder is not None
    assert _pixels(harder, BLUE)[:, 0].min() < _pixels(plain, BLUE)[:, 0].min() - 15


def test_two_actions_make_no_radar_chart(evaluation: Evaluation, tmp_path: Path):
    few = evaluation.by_action[evaluation.by_action["action"].isin(["march", "stepping"])]
    assert draw_actions(tmp_path / "a.png", replace(evaluation, by_action=few)) is None


def test_the_worst_joint_is_the_darkest(evaluation: Evaluation, tmp_path: Path):
    """With one joint far worse than all others, the darkest colour of the scale is drawn there and hardly anywhere else."""
    table = evaluation.by_joint.copy()
    table["value"] = np.where(table["joint"].eq(JOINTS[3]) & table["method"].eq("MAEPose"), 0.2, 0.02)
    path = draw_joints(tmp_path / "joints.png", replace(evaluation, by_joint=table))
    darkest = _pixels(path, (128, 0, 38))
    with Image.open(path) as image:
        width = image.size[0]
    bodies = darkest[darkest[:, 1] < 0.85 * width]  # the scale itself lies to the right
    assert len(bodies) > 300
    assert bodies[:, 1].max() < 0.5 * width


def test_speed_has_the_unit_of_its_own_data_set(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One set has metres, the other has none."""
    table = evaluation.by_bin.copy()
    table.loc[table["test_set"].eq("bystander") & table["quantity"].ne("range"), "unit"] = "picture/s"
    said, write = [], Axes.set_xlabel
    monkeypatch.setattr(Axes, "set_xlabel", lambda axes, text: said.append(text) or write(axes, text))
    draw_bins(tmp_path / "bins.png", replace(evaluation, by_bin=table))
    assert said[1::3] == ["speed of the hips (m/s)", "speed of the hips (picture/s)"]
    assert len(said) == 6


def test_no_bins_seeds_or_curves_no_figure(results: StudyResults, evaluation: Evaluation, tmp_path: Path):
    assert draw_bins(tmp_path / "a.png", replace(evaluation, by_bin=evaluation.by_bin.iloc[:0])) is None
    assert draw_seeds(tmp_path / "b.png", _without(evaluation, "values", seed=2)) is None
    none: dict[str, object] = {"history": (), "pretraining_history": ()}
    silent = {name: making.model_copy(update=none) for name, making in results.makings.items()}
    assert draw_learning(tmp_path / "c.png", replace(results, makings=silent), evaluation) is None
    assert list(tmp_path.iterdir()) == []


def test_poses_are_of_the_median_fold_and_the_liveliest_recording(
    results: StudyResults, evaluation: Evaluation, tmp_path: Path
):
    """Of the made-up actions the last moves most."""
    values = evaluation.values.copy()
    ours = values["method"].eq("MAEPose") & values["metric"].eq("mpjpe_norm")
    values.loc[ours, "value"] = values.loc[ours, "held_out"].map({"p1": 0.3, "p2": 0.1, "p3": 0.2})
    path = draw_study_poses(tmp_path / "poses.png", results, replace(evaluation, values=values))
    assert _title(path) == "SIMULATED · Poses of p3, who was held out: march"


def test_a_recording_whose_labels_are_all_masked_is_not_the_liveliest(
    results: StudyResults, evaluation: Evaluation, tmp_path: Path
):
    truth = results.truth.copy()
    truth.loc[truth["recording"].astype(str).str.endswith(("-0", "-3")), "confidence"] = 0.0
    truth.loc[truth["joint"].eq(0), "confidence"] = 0.0  # a joint that is never seen varies by nothing
    path = draw_study_poses(tmp_path / "poses.png", replace(results, truth=truth), evaluation)
    assert _title(path).endswith(": torso twist")


def test_every_network_and_the_best_floor_has_poses(
    results: StudyResults, evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shown: list[PoseStrip] = []
    monkeypatch.setattr("models.study_figures.draw_poses", lambda path, strip, *_, **__: shown.append(strip) or path)
    draw_study_poses(tmp_path / "poses.png", results, evaluation)
    assert list(shown[0].methods) == [
        "MAEPose (ours)", "CubeLearn", "MAEPose, random", "MAEPose, MLP", "ridge (floor)",
    ]  # fmt: skip


def test_poses_that_nobody_predicts_are_an_error(results: StudyResults, evaluation: Evaluation, tmp_path: Path):
    nobody = {name: making for name, making in results.makings.items() if making.unit.row == "own-mean-pose"}
    with pytest.raises(PipelineError, match="there are no poses to draw"):
        draw_study_poses(tmp_path / "poses.png", replace(results, makings=nobody), evaluation)
