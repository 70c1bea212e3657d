"""Measures by hand: two poses whose distances are 3-4-5 triangles, masked joints, people apart, metres only with a scale."""

import numpy as np
import pytest

from models.metrics import (
    View,
    errors_by,
    errors_by_joint,
    errors_by_target,
    joint_distances,
    plane_depth_m,
    pose_errors,
)
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS


def _moving(clips: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0.2, 0.8, (clips, 5, 13, 2)), np.ones((clips, 5, 13))


def _standing(clips: int = 1) -> np.ndarray:
    """Shoulders at v 0.3, hips at v 0.6, everything at u 0.5."""
    uv = np.full((clips, 1, 13, 2), 0.5)
    uv[:, :, [1, 4], 1], uv[:, :, [7, 8], 1] = 0.3, 0.6
    return uv


def test_distances_by_hand():
    true = _standing()
    predicted = true.copy()
    predicted[0, 0, 3] += (0.03, 0.04)  # a wrist is 0.05 off, an ankle 0.10
    predicted[0, 0, 12] += (0.06, -0.08)
    errors = pose_errors(predicted, true, np.ones((1, 1, 13)))
    assert errors["mpjpe_norm"] == pytest.approx(0.15 / 13)
    assert joint_distances(predicted, true, np.ones((1, 1, 13)))[0, 0, 12] == pytest.approx(0.1)
    predicted[0, 0, 3] = true[0, 0, 3] + (0.0299, 0.04)
    assert pose_errors(predicted, true, np.ones((1, 1, 13)))["pck_norm@0.05"] == pytest.approx(12 / 13)
    assert set(errors) == {"mpjpe_norm", "pck_norm@0.05", "root_centred_norm", "explained_motion"}


def test_a_masked_joint_counts_nowhere_not_even_where_it_is_nan():
    true, confidence = _moving()
    predicted = true + 0.01
    whole = pose_errors(predicted, true, confidence, View(np.full((4, 2), 100.0)))
    confidence[0, :, 3] = 0
    true[0, :, 3], predicted[1, :, 5], confidence[1, :, 5] = np.nan, np.nan, 0
    masked = pose_errors(predicted, true, confidence, View(np.full((4, 2), 100.0)))
    for name in ("mpjpe_norm", "pck_norm@0.05", "root_centred_norm", "explained_motion", "mpjpe_px"):
        assert masked[name] == pytest.approx(whole[name]), name


def test_root_centred_ignores_where_somebody_stands():
    true, confidence = _moving()
    predicted = true + np.array([0.2, -0.1])
    predicted[:, :, 0, 0] += 0.13
    errors = pose_errors(predicted, true, confidence)
    assert errors["root_centred_norm"] == pytest.approx(0.13 / 13)
    assert errors["mpjpe_norm"] > 0.2
    confidence[0, 0, 7] = 0  # a pose without both hips has no root: it does not count
    true[0, 0, 0] = 5.0
    assert pose_errors(predicted, true, confidence)["root_centred_norm"] == pytest.approx(
        (19 * 0.13) / (19 * 13), rel=1e-6
    )
    confidence[:, :, 7] = 0
    assert np.isnan(pose_errors(predicted, true, confidence)["root_centred_norm"])


def test_explained_motion_is_0_for_a_mean_pose_of_anybody_and_1_for_the_truth_moved():
    true, confidence = _moving()
    somebody = np.broadcast_to(np.linspace(0.1, 0.9, 26).reshape(13, 2), true.shape)
    assert pose_errors(somebody, true, confidence)["explained_motion"] == pytest.approx(0)
    assert pose_errors(true + 0.3, true, confidence)["explained_motion"] == pytest.approx(1)
    half = 0.5 * (true - true.mean((0, 1))) + 0.7  # half the motion is a quarter of the squares
    assert pose_errors(half, true, confidence)["explained_motion"] == pytest.approx(0.75)
    still = np.broadcast_to(true[:1, :1], true.shape).astype(np.float32)
    assert np.isnan(pose_errors(true, still, confidence)["explained_motion"])


def test_explained_motion_takes_people_apart():
    true, confidence = _moving()
    true[2:] += 0.5  # another person, who stands elsewhere
    predicted = true + np.array([0.1, 0.1, -0.1, -0.1])[:, None, None, None]
    apart = pose_errors(predicted, true, confidence, people=["a", "a", "b", "b"])
    assert apart["explained_motion"] == pytest.approx(1)
    assert pose_errors(predicted, true, confidence)["explained_motion"] < 0.99


def test_pixels_and_torso_know_the_picture_is_not_square():
    true = _standing()
    predicted = true.copy()
    predicted[0, 0, 3, 0] += 0.04  # 25.6 px of 640; the torso is 0.3 * 480 = 144 px, its fifth 28.8 px
    predicted[0, 0, 6, 0] += 0.05  # 32 px
    errors = pose_errors(predicted, true, np.ones((1, 1, 13)), View(np.array([[640.0, 480.0]])))
    assert errors["mpjpe_px"] == pytest.approx((25.6 + 32) / 13)
    assert errors["pck_torso@0.2"] == pytest.approx(12 / 13)
    assert "mpjpe_plane_m" not in errors
    unknown = np.ones((1, 1, 13))
    unknown[..., 8] = 0
    assert np.isnan(pose_errors(predicted, true, unknown, View(np.array([[640.0, 480.0]])))["pck_torso@0.2"])


def test_metres_in_the_plane_only_of_clips_with_a_scale():
    true = _standing(2)
    predicted = true.copy()
    predicted[0, 0, 3] += (0.05, 0.0)  # 32 px at 2.5 m and 640 px focal length: 0.125 m
    predicted[1] += 0.4
    size, focal = np.array([[640.0, 480.0]] * 2), np.array([[640.0, 600.0]] * 2)
    view = View(size, focal, np.array([2.5, np.nan]), ["depth", "none"])
    errors = pose_errors(predicted, true, np.ones((2, 1, 13)), view)
    assert errors["mpjpe_plane_m"] == pytest.approx(0.125 / 13)
    assert errors["pck_plane@0.05m"] == pytest.approx(12 / 13)
    assert errors["scale_source"] == "depth"
    without = View(size, focal, np.full(2, np.nan), ["none", "none"])
    assert "mpjpe_plane_m" not in pose_errors(predicted, true, np.ones((2, 1, 13)), without)
    with pytest.raises(PipelineError, match="scale_source"):
        pose_errors(predicted, true, np.ones((2, 1, 13)), View(size, focal, np.full(2, 2.5), ["depth", "none"]))


def test_the_plane_of_a_window_is_the_median_at_shoulders_and_hips():
    depth, confidence = np.full((2, 3, 13), 9.0), np.ones((2, 3, 13))
    depth[0][:, [1, 4, 7, 8]] = [[2.0, 2.1, 2.2, 7.0], [2.0, 2.1, 2.2, 2.3], [np.nan, np.nan, 2.2, 2.3]]
    confidence[0, 0, 8] = 0  # 7 m is masked
    confidence[1] = 0
    found = plane_depth_m(depth, confidence)
    assert found[0] == pytest.approx(2.2)
    assert np.isnan(found[1])


def test_tables_by_action_joint_and_target_agree_with_the_whole():
    true, confidence = _moving(6)
    predicted = true + np.random.default_rng(1).normal(0, 0.03, true.shape)
    whole = pose_errors(predicted, true, confidence)
    keys = ["wave", "squat", "wave", "squat", "wave", "rest"]
    confidence[5] = 0
    view = View(np.full((6, 2), 100.0), np.full((6, 2), 100.0), np.full(6, 2.0), ["depth"] * 6)
    table = errors_by(keys, predicted, true, confidence, view, ["a"] * 6)
    assert list(table.index) == ["squat", "wave"]
    at = [0, 2, 4]
    alone = pose_errors(predicted[at], true[at], confidence[at])
    assert table.loc["wave", "mpjpe_norm"] == pytest.approx(alone["mpjpe_norm"])
    assert table.loc["wave", "explained_motion"] == pytest.approx(alone["explained_motion"])
    assert table.loc["wave", "mpjpe_plane_m"] == pytest.approx(2 * alone["mpjpe_norm"])
    confidence[5] = 1
    assert errors_by_joint(predicted, true, confidence)["mpjpe_norm"].mean() == pytest.approx(whole["mpjpe_norm"])
    assert errors_by_target(predicted, true, confidence)["pck_norm@0.05"].mean() == pytest.approx(
        whole["pck_norm@0.05"]
    )
    confidence[:, :, 4] = 0
    assert np.isnan(errors_by_joint(predicted, true, confidence).loc[JOINTS[4], "mpjpe_norm"])


def test_what_cannot_be_measured_is_said():
    true, confidence = _moving()
    with pytest.raises(PipelineError, match="masked"):
        pose_errors(true, true, np.zeros_like(confidence))
    broken = true.copy()
    broken[1, 2, 3] = np.nan
    with pytest.raises(PipelineError, match="not a number"):
        pose_errors(broken, true, confidence)
    with pytest.raises(PipelineError, match="no place"):
        pose_errors(true, broken, confidence)
