"""What a network must beat: guesses without one, on the same clips and labels, and two oracles that bound guessing.

| floor           | predicts                                                                                        |
|-----------------|-------------------------------------------------------------------------------------------------|
| mean-pose       | the mean of all training poses, always                                                            |
| ridge           | linear regression on the clip's maps, its strength chosen on validation                           |
| neighbours      | the mean label of the training clips with the nearest maps, their number chosen on validation     |
| own-mean-pose   | oracle: the mean of the tested person's own labels                                                |
| nearest-pose    | oracle: of all training poses the one nearest to the label, as if the radar gave away the pose     |

The oracles read the labels they are tested on: one bounds what is gained by knowing a person's build and place, the other what
is lost by never having seen their poses (paper.md, "What a prototype measured").
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch.nn.functional import adaptive_avg_pool3d

from models.batch import ClipBatch
from models.config import FLOORS
from models.metrics import Places, pose_errors
from pipeline.errors import PipelineError

CELLS = (5, 32, 32)
"""Frames, rows and columns that maps are averaged to, at most: floors read no finer than this."""
RIDGE_CLIPS = 4000
"""Ridge is fitted to no more clips than this, evenly spread: overlapping clips add little, and its cost grows with the cube."""
STRENGTHS = 10.0 ** np.arange(-4.0, 4.5, 0.5)
"""Of ridge, over the mean of the maps' principal variances."""
NEIGHBOURS = (1, 3, 5, 10, 20, 40)
FILLINGS = 30
"""Rounds of filling in masked labels, at most."""


@dataclass(frozen=True)
class Examples:
    """Clips as floors see them: averaged maps in a row, and labels (confidence 0: masked)."""

    features: Float32[np.ndarray, "clip feature"]
    uv: Float32[np.ndarray, "clip target joint 2"]
    confidence: Float32[np.ndarray, "clip target joint"]


Predictor = Callable[[Examples], Places]


def floor_examples(batches: Iterable[ClipBatch]) -> Examples:
    """What a loader gives, all of it, in its order. Raises PipelineError when it gives nothing."""
    features, uv, confidence = [], [], []
    for batch in batches:
        pooled = [_pooled(maps) for _, maps in sorted(batch.maps.items())]
        features.append(torch.cat(pooled, dim=1).cpu().numpy())
        uv.append(batch.uv.cpu().numpy())
        confidence.append(batch.confidence.cpu().numpy())
    if not features:
        raise PipelineError("There are no clips to fit a floor to or to test it on; the split is empty.")
    return Examples(np.concatenate(features), np.concatenate(uv), np.concatenate(confidence))


def fit_floor(name: str, training: Examples, validation: Examples) -> Predictor:
    """The floor called `name`, fitted; the predictor gives float32 places of every target and joint of other examples.

    `own-mean-pose` and `nearest-pose` read the labels of the examples they predict, which are those of one person.
    Raises PipelineError for a name that is none, and when all training labels (or, where it is chosen on, validation labels)
    are masked.
    """
    if name not in FLOORS:
        raise PipelineError(f"There is no floor {name!r}; the floors are {', '.join(FLOORS)}.")
    mean = mean_pose(training)
    if name == "mean-pose":
        return lambda examples: _everywhere(mean, examples)
    if name == "own-mean-pose":
        return lambda examples: _everywhere(mean_pose(examples), examples)
    if name == "nearest-pose":
        poses = _filled(training, mean).reshape(-1, *mean.shape)
        return lambda examples: _nearest_poses(poses, examples)
    choices = _ridges(training, mean) if name == "ridge" else _neighbourhoods(training, mean)
    return _best(choices, validation)


def mean_pose(examples: Examples) -> Float64[np.ndarray, "joint 2"]:
    """Mean place of each joint over all clips and targets that show it; one that is never shown lies amid the others.

    Raises PipelineError when every joint is masked.
    """
    seen = examples.confidence > 0
    if not seen.any():
        raise PipelineError(
            "Every joint of these labels is masked, so there is no mean pose; label the recordings anew."
        )
    count = seen.sum(axis=(0, 1))[:, None]
    total = np.where(seen[..., None], examples.uv, 0).astype(np.float64).sum(axis=(0, 1))
    amid = total.sum(axis=0) / count.sum()
    return np.where(count > 0, total / np.maximum(count, 1), amid)


def _pooled(maps: Float[torch.Tensor, "clip 1 frame row column"]) -> Float[torch.Tensor, "clip feature"]:
    frames, rows, columns = (min(cells, there) for cells, there in zip(CELLS, maps.shape[2:], strict=True))
    return adaptive_avg_pool3d(maps.float(), (frames, rows, columns)).flatten(1)


def _everywhere(pose: Float64[np.ndarray, "joint 2"], examples: Examples) -> Places:
    return np.broadcast_to(pose.astype(np.float32), examples.uv.shape).copy()


def _filled(examples: Examples, pose: Float64[np.ndarray, "joint 2"]) -> Float32[np.ndarray, "clip target joint 2"]:
    """Labels with `pose` where they are masked."""
    return np.where(examples.confidence[..., None] > 0, examples.uv, pose.astype(np.float32))


def _best(choices: list[Predictor], validation: Examples) -> Predictor:
    """The choice with the least mpjpe_norm on validation."""
    errors = [pose_errors(one(validation), validation.uv, validation.confidence)["mpjpe_norm"] for one in choices]
    return choices[int(np.argmin(errors))]


def _ridges(training: Examples, mean: Float64[np.ndarray, "joint 2"]) -> list[Predictor]:
    """One predictor a strength.

    A masked label is filled with what the fit itself says there, again and again: where that comes to rest, the fit is the
    ridge regression of the seen labels alone (Healy and Westmacott, Applied Statistics 5, 1956).
    """
    few = np.unique(np.linspace(0, len(training.uv) - 1, min(len(training.uv), RIDGE_CLIPS)).round().astype(int))
    centre = training.features[few].mean(axis=0)
    left, values, right = _singular(training.features[few] - centre)
    labels = _filled(training, mean)[few].reshape(len(few), -1).astype(np.float64)
    masked = np.repeat(training.confidence[few].reshape(len(few), -1) <= 0, 2, axis=1)

    def fitted(strength: float) -> Predictor:
        shrunk = values**2 / (values**2 + strength * np.mean(values**2))
        filled = labels
        for _ in range(FILLINGS if masked.any() else 0):
            said = filled.mean(axis=0) + left @ (shrunk[:, None] * (left.T @ (filled - filled.mean(axis=0))))
            change = np.abs(said - filled)[masked].max()
            filled = np.where(masked, said, labels)
            if change < 1e-4:
                break
        level = filled.mean(axis=0)
        weights = right @ ((shrunk / values)[:, None] * (left.T @ (filled - level)))
        return lambda examples: (
            ((examples.features - centre) @ weights + level).reshape(examples.uv.shape).astype(np.float32)
        )

    return [fitted(float(strength)) for strength in STRENGTHS]


def _singular(
    matrix: Float32[np.ndarray, "clip feature"],
) -> tuple[Float64[np.ndarray, "clip rank"], Float64[np.ndarray, " rank"], Float64[np.ndarray, "feature rank"]]:
    """Singular vectors and values, from the eigenvectors of the smaller square: many times as fast as the general way."""
    matrix64 = matrix.astype(np.float64)
    wide = matrix.shape[0] <= matrix.shape[1]
    squares, vectors = np.linalg.eigh(matrix64 @ matrix64.T if wide else matrix64.T @ matrix64)
    kept = squares > 1e-10 * max(squares[-1], np.finfo(float).tiny)
    values, vectors = np.sqrt(squares[kept]), vectors[:, kept]
    other = (matrix64.T @ vectors if wide else matrix64 @ vectors) / values
    return (vectors, values, other) if wide else (other, values, vectors)


def _neighbourhoods(training: Examples, mean: Float64[np.ndarray, "joint 2"]) -> list[Predictor]:
    """One predictor a number of neighbours."""
    labels, seen = _filled(training, mean), (training.confidence > 0)[..., None]

    def near(count: int) -> Predictor:
        def predict(examples: Examples) -> Places:
            at = _nearest(training.features, examples.features, count)
            weight = seen[at]
            told = np.where(weight, labels[at], 0).sum(axis=1) / np.maximum(weight.sum(axis=1), 1)
            return np.where(weight.any(axis=1), told, mean).astype(np.float32)

        return predict

    return [near(count) for count in NEIGHBOURS if count <= len(labels)]


def _nearest(
    those: Float32[np.ndarray, "clip feature"], to: Float32[np.ndarray, "query feature"], count: int
) -> Int64[np.ndarray, "query count"]:
    """Rows of `those` with the least Euclidean distance, nearest not first."""
    squares = np.einsum("cf,cf->c", those, those)
    blocks = [squares - 2 * (to[first : first + 256] @ those.T) for first in range(0, len(to), 256)]
    return np.concatenate([np.argpartition(block, count - 1, axis=1)[:, :count] for block in blocks])


def _nearest_poses(poses: Float32[np.ndarray, "pose joint 2"], examples: Examples) -> Places:
    """For each pose of `examples` the one of `poses` with the least squares over the joints its label shows."""
    known = poses.reshape(len(poses), -1).astype(np.float64)
    wanted = np.where(examples.confidence[..., None] > 0, examples.uv, 0).reshape(-1, known.shape[1])
    weight = np.repeat((examples.confidence > 0).reshape(len(wanted), -1), 2, axis=1).astype(np.float64)
    found = []
    for first in range(0, len(wanted), 256):
        part = slice(first, first + 256)
        found.append(np.argmin(weight[part] @ (known**2).T - 2 * (wanted[part] * weight[part]) @ known.T, axis=1))
    return poses[np.concatenate(found)].reshape(examples.uv.shape)
