"""Floors against what they are by definition: ridge of seen labels, neighbours by hand, oracles that know."""

import numpy as np
import pytest
import torch

from models.batch import ClipBatch
from models.floors import FLOORS, Examples, fit_floor, floor_examples, mean_pose
from models.metrics import pose_errors
from pipeline.errors import PipelineError


def _linear(clips: int, features: int, seed: int, noise: float = 0.01) -> Examples:
    """Labels that are linear in the features, the same for every seed, and noise that is not."""
    weights = np.random.default_rng(99).normal(0, 0.1, (features, 130)) / np.sqrt(features)
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (clips, features)).astype(np.float32)
    uv = (0.5 + values @ weights + rng.normal(0, noise, (clips, 130))).reshape(clips, 5, 13, 2)
    return Examples(values, uv.astype(np.float32), np.ones((clips, 5, 13), np.float32))


def _masked(examples: Examples, share: float, seed: int = 5) -> Examples:
    hidden = np.random.default_rng(seed).random(examples.confidence.shape) < share
    uv = np.where(hidden[..., None], 0, examples.uv)
    return Examples(examples.features, uv, np.where(hidden, 0, examples.confidence).astype(np.float32))


def _error(predicted: np.ndarray, examples: Examples) -> float:
    return pose_errors(predicted, examples.uv, examples.confidence)["mpjpe_norm"]


@pytest.mark.parametrize("name", FLOORS)
def test_every_floor_predicts_every_joint_and_is_no_worse_than_the_mean_pose(name):
    training, validation, test = (_masked(_linear(60, 30, seed), 0.1) for seed in range(3))
    predicted = fit_floor(name, training, validation)(test)
    assert predicted.shape == test.uv.shape
    assert predicted.dtype == np.float32
    assert np.isfinite(predicted).all()
    assert _error(predicted, test) <= _error(fit_floor("mean-pose", training, validation)(test), test) + 0.02


def test_the_mean_pose_passes_masked_joints_over():
    examples = _linear(4, 3, 0)
    examples.confidence[1:, :, 2] = 0
    examples.uv[1:, :, 2] = 0
    examples.confidence[:, :, 7] = 0
    pose = mean_pose(examples)
    np.testing.assert_allclose(pose[2], examples.uv[0, :, 2].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(pose[3], examples.uv[:, :, 3].mean(axis=(0, 1)), rtol=1e-6)
    assert np.isfinite(pose[7]).all()
    assert _error(fit_floor("mean-pose", examples, examples)(examples), examples) > 0
    test = _linear(4, 3, 1)
    own = fit_floor("own-mean-pose", examples, examples)(test)
    assert pose_errors(own, test.uv, test.confidence)["explained_motion"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("clips", "features"), [(40, 90), (90, 40)])
def test_ridge_is_the_regression_of_the_seen_labels(monkeypatch, clips, features):
    """Against the normal equations of each column's seen clips; the level is found along, as a column of ones."""
    monkeypatch.setattr("models.floors.STRENGTHS", np.array([3.0]))
    monkeypatch.setattr("models.floors.FILLINGS", 300)
    training, test = _masked(_linear(clips, features, 0), 0.1), _linear(7, features, 1)
    predicted = fit_floor("ridge", training, training)(test)
    centred = training.features.astype(np.float64) - training.features.mean(axis=0)
    spectrum = np.linalg.svd(centred, compute_uv=False)
    strength = 3.0 * np.mean(spectrum[spectrum > 1e-4 * spectrum[0]] ** 2)
    apart = test.features - training.features.mean(axis=0)
    for target, joint in ((0, 0), (2, 5), (4, 12)):
        seen = training.confidence[:, target, joint] > 0
        wide = np.column_stack([centred[seen], np.ones(seen.sum())])
        penalty = strength * np.diag([1.0] * features + [0.0])
        weights = np.linalg.solve(wide.T @ wide + penalty, wide.T @ training.uv[seen, target, joint])
        by_hand = apart @ weights[:-1] + weights[-1]
        np.testing.assert_allclose(predicted[:, target, joint], by_hand, atol=1e-3)


def test_ridge_strength_is_chosen_on_validation():
    """Few noisy clips want a strong one, many clean ones a weak one; both come near to the best there is."""
    validation, test = _linear(60, 30, 1), _linear(60, 30, 2)
    good = fit_floor("ridge", _linear(400, 30, 0), validation)(test)
    assert _error(good, test) < 0.02
    noise = _linear(40, 30, 0, noise=0.5)
    rough = fit_floor("ridge", noise, _linear(60, 30, 1))(test)
    assert _error(rough, test) < 1.6 * _error(fit_floor("mean-pose", _linear(400, 30, 0), validation)(test), test)


def test_neighbours_by_hand(monkeypatch):
    monkeypatch.setattr("models.floors.NEIGHBOURS", (2,))
    examples = _linear(4, 1, 0)
    training = Examples(np.array([[0.0], [1.0], [5.0], [9.0]], np.float32), examples.uv, examples.confidence)
    training.confidence[1, 0, 0] = 0
    query = Examples(np.array([[0.4], [7.2]], np.float32), examples.uv[:2], examples.confidence[:2])
    predicted = fit_floor("neighbours", training, training)(query)
    np.testing.assert_allclose(predicted[0, 1], training.uv[:2, 1].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(predicted[0, 0, 0], training.uv[0, 0, 0], rtol=1e-6)  # the other one is masked
    np.testing.assert_allclose(predicted[1], training.uv[2:].mean(axis=0), rtol=1e-6)


def test_the_nearest_pose_is_found_over_seen_joints_and_from_any_target():
    training, test = _linear(20, 5, 0), _linear(3, 5, 1)
    test.uv[1, 2] = training.uv[7, 4] + 1e-4
    test.uv[1, 2, 3], test.confidence[1, 2, 3] = 99.0, 0
    predicted = fit_floor("nearest-pose", training, training)(test)
    np.testing.assert_array_equal(predicted[1, 2], training.uv[7, 4])
    poses = training.uv.reshape(-1, 13, 2)
    squares = ((poses - test.uv[0, 0]) ** 2).sum(axis=(1, 2))
    np.testing.assert_array_equal(predicted[0, 0], poses[np.argmin(squares)])


def test_examples_are_averaged_maps_in_the_loaders_order():
    maps = {"rd": torch.arange(2 * 20 * 64 * 32.0).reshape(2, 1, 20, 64, 32), "ra": torch.zeros(2, 1, 20, 8, 8)}
    batch = ClipBatch(maps, torch.rand(2, 5, 13, 2), torch.ones(2, 5, 13), torch.arange(2))
    examples = floor_examples([batch, batch])
    assert examples.features.shape == (4, 5 * 8 * 8 + 5 * 32 * 32)
    np.testing.assert_allclose(examples.features[0, 5 * 64], maps["rd"][0, 0, :4, :2, 0].mean())
    np.testing.assert_array_equal(examples.uv[2:], batch.uv.numpy())


def test_what_has_no_floor_is_said():
    examples = _linear(4, 3, 0)
    nothing = Examples(examples.features, examples.uv, np.zeros_like(examples.confidence))
    with pytest.raises(PipelineError, match="mean-pose, ridge"):
        fit_floor("forest", examples, examples)
    for name in FLOORS:
        with pytest.raises(PipelineError, match="masked"):
            fit_floor(name, nothing, examples)
    with pytest.raises(PipelineError, match="masked"):
        fit_floor("ridge", examples, nothing)
    with pytest.raises(PipelineError, match="empty"):
        floor_examples([])
