"""How far predicted poses are from the labels, under the names of paper.md, "Protocol".

| name             | meaning                                                                                         | better |
|------------------|-------------------------------------------------------------------------------------------------|--------|
| mpjpe_norm       | mean distance of joints, shares of the picture's width and height                                 | low    |
| pck_norm@0.05    | share of joints within 0.05 in that measure                                                      | high   |
| root_centred_norm| mpjpe_norm after prediction and label have each been moved so that their hips' middle is at zero   | low    |
| explained_motion | 1 - variance of the error / variance of the pose, about each person's own means; 0: nothing learned| high   |
| mpjpe_px         | mean distance in pixels of the undistorted picture                                               | low    |
| pck_torso@0.2    | share of joints within 0.2 of the label's own torso, shoulders' middle to hips' middle, in pixels | high   |
| mpjpe_plane_m    | mean distance in the plane of the person's depth, metres                                         | low    |
| pck_plane@0.05m  | share of joints within 0.05 m there                                                              | high   |
| scale_source     | where that depth comes from (pipeline.labels); metres are never given without                     |        |

Masked joints (confidence 0) count nowhere. Picture and metre measures are there only when a `View` is given. A measure that the
labels leave undefined (no pose with both hips, nobody moved) is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS

Places = Float[np.ndarray, "clip target joint 2"]
Shares = Float[np.ndarray, "clip target joint"]
Seen = Bool[np.ndarray, "clip target joint"]

SHOULDERS = [JOINTS.index("left_shoulder"), JOINTS.index("right_shoulder")]
HIPS = [JOINTS.index("left_hip"), JOINTS.index("right_hip")]
NEAR_NORM = 0.05
NEAR_TORSO = 0.2
NEAR_M = 0.05
STILL = 1e-9
"""Squares that rounding alone makes: labels that vary no more than this do not move."""

PoseErrors = TypedDict(
    "PoseErrors",
    {
        "mpjpe_norm": float,
        "pck_norm@0.05": float,
        "root_centred_norm": float,
        "explained_motion": float,
        "mpjpe_px": NotRequired[float],
        "pck_torso@0.2": NotRequired[float],
        "mpjpe_plane_m": NotRequired[float],
        "pck_plane@0.05m": NotRequired[float],
        "scale_source": NotRequired[str],
    },
)


@dataclass(frozen=True)
class View:
    """What turns shares of a picture into pixels, and pixels into metres; one row a clip.

    `focal_px` and `depth_m` (`plane_depth_m`) may be absent, and a clip without scale has depth NaN and scale_source `none`.
    """

    size_px: Float[np.ndarray, "clip 2"]
    focal_px: Float[np.ndarray, "clip 2"] | None = None
    depth_m: Float[np.ndarray, " clip"] | None = None
    scale_source: Sequence[str] = ()


def pose_errors(
    predicted: Places, true: Places, confidence: Shares, view: View | None = None, people: Sequence[str] | None = None
) -> PoseErrors:
    """Every measure of the module's table, over all clips, target frames and joints that the labels show.

    `people`: who is in each clip, for `explained_motion`; None: all clips show one person.
    Raises PipelineError when every joint is masked, and when a prediction of a joint that is not masked is no number.
    """
    seen = _seen(predicted, true, confidence)
    off = joint_distances(predicted, true, confidence)
    centred = joint_distances(_about_root(predicted, seen), _about_root(true, seen), confidence)
    errors: PoseErrors = {
        "mpjpe_norm": float(off[seen].mean()),
        "pck_norm@0.05": float((off[seen] <= NEAR_NORM).mean()),
        "root_centred_norm": _mean(centred[np.isfinite(centred)]),
        "explained_motion": _explained_motion(predicted, true, seen, people),
    }
    if view is not None:
        errors["mpjpe_px"], errors["pck_torso@0.2"] = _in_pixels(predicted, true, confidence, view)
        off_m, source = _in_metres(predicted, true, confidence, view)
        if len(off_m):
            errors["mpjpe_plane_m"], errors["pck_plane@0.05m"] = float(off_m.mean()), float((off_m <= NEAR_M).mean())
            errors["scale_source"] = source
    return errors


def joint_distances(predicted: Places, true: Places, confidence: Shares) -> Shares:
    """Distance of every joint from its label, in the places' own unit; NaN where the joint is masked."""
    return np.where(confidence > 0, np.linalg.norm(predicted - true, axis=-1), np.nan)


def errors_by(
    keys: Sequence[str],
    predicted: Places,
    true: Places,
    confidence: Shares,
    view: View | None = None,
    people: Sequence[str] | None = None,
) -> pd.DataFrame:
    """`pose_errors` of the clips of each key apart (an action, a person, a recording): one row a key, in the keys' order.

    A key all of whose joints are masked has no row. Raises PipelineError when that is so of every key.
    """
    _seen(predicted, true, confidence)
    groups = pd.Series(range(len(keys))).groupby(pd.Index(keys), sort=True).indices
    rows: dict[str, PoseErrors] = {}
    for key, at in groups.items():
        if (confidence[at] > 0).any():
            persons = None if people is None else [people[clip] for clip in at]
            part = None if view is None else _part(view, np.asarray(at))
            rows[str(key)] = pose_errors(predicted[at], true[at], confidence[at], part, persons)
    return pd.DataFrame.from_dict(rows, orient="index")


def errors_by_joint(predicted: Places, true: Places, confidence: Shares) -> pd.DataFrame:
    """mpjpe_norm and pck_norm@0.05 of each joint, indexed by `pipeline.skeleton.JOINTS`; NaN for one that is always masked."""
    seen = _seen(predicted, true, confidence)
    off = joint_distances(predicted, true, confidence)
    parts = [off[:, :, joint][seen[:, :, joint]] for joint in range(len(JOINTS))]
    near = [_mean((part <= NEAR_NORM).astype(float)) for part in parts]
    return pd.DataFrame({"mpjpe_norm": [_mean(part) for part in parts], "pck_norm@0.05": near}, index=list(JOINTS))


def errors_by_target(predicted: Places, true: Places, confidence: Shares) -> pd.DataFrame:
    """As `errors_by_joint`, of each target frame of a clip, first to last."""
    seen = _seen(predicted, true, confidence)
    off = joint_distances(predicted, true, confidence)
    parts = [off[:, target][seen[:, target]] for target in range(off.shape[1])]
    near = [_mean((part <= NEAR_NORM).astype(float)) for part in parts]
    return pd.DataFrame({"mpjpe_norm": [_mean(part) for part in parts], "pck_norm@0.05": near})


def plane_depth_m(z_m: Shares, confidence: Shares) -> Float[np.ndarray, " clip"]:
    """Depth of each clip's plane: the median over its target frames of the depth at shoulders and hips that were seen.

    paper.md, "Protocol": one depth a window, the same for prediction and label. NaN where none has a depth.
    """
    trunk = [*SHOULDERS, *HIPS]
    depth = np.where(confidence > 0, z_m, np.nan)[:, :, trunk].reshape(len(z_m), -1)
    known = np.isfinite(depth).any(axis=1)
    plane = np.full(len(z_m), np.nan)
    plane[known] = np.nanmedian(depth[known], axis=1)
    return plane


def _in_pixels(predicted: Places, true: Places, confidence: Shares, view: View) -> tuple[float, float]:
    """mpjpe_px, and pck_torso@0.2 over the poses whose shoulders and hips are all seen."""
    size = view.size_px[:, None, None]
    off_px = joint_distances(predicted * size, true * size, confidence)
    trunk = true[:, :, SHOULDERS].mean(axis=2) - true[:, :, HIPS].mean(axis=2)
    torso_px = np.linalg.norm(trunk * view.size_px[:, None], axis=-1)
    trunk_seen = np.all(confidence[:, :, [*SHOULDERS, *HIPS]] > 0, axis=2, keepdims=True)
    judged = (confidence > 0) & trunk_seen
    near = off_px <= NEAR_TORSO * torso_px[..., None]
    return float(off_px[confidence > 0].mean()), _mean(near[judged].astype(float))


def _in_metres(
    predicted: Places, true: Places, confidence: Shares, view: View
) -> tuple[Float[np.ndarray, " seen"], str]:
    """Distances of the seen joints of clips with a scale, and where that comes from.

    X = (u - cx) Z / fx, with the same Z for prediction and label, so that a distance does not need cx.
    """
    if view.focal_px is None or view.depth_m is None:
        return np.empty(0), "none"
    per_share = view.size_px * view.depth_m[:, None] / view.focal_px
    scaled = np.isfinite(per_share).all(axis=1)
    sources = {source for source, known in zip(view.scale_source, scaled, strict=True) if known}
    if sources & {"none", ""}:
        raise PipelineError(
            "These labels have a depth but not where it comes from (scale_source), so their metres mean nothing; label anew."
        )
    factor = per_share[:, None, None]
    off_m = joint_distances(predicted * factor, true * factor, confidence)
    return off_m[(confidence > 0) & scaled[:, None, None]], "+".join(sorted(sources))


def _explained_motion(predicted: Places, true: Places, seen: Seen, people: Sequence[str] | None) -> float:
    """Squares about the mean of each person, joint and coordinate, so that a wrong place or build does not count."""
    persons = np.zeros(len(true), int) if people is None else pd.factorize(pd.Index(people))[0]
    error, motion = 0.0, 0.0
    for person in np.unique(persons):
        at = persons == person
        error += _squares_about_mean((predicted - true)[at], seen[at])
        motion += _squares_about_mean(true[at], seen[at])
    return 1 - error / motion if motion > STILL else np.nan


def _squares_about_mean(values: Places, seen: Seen) -> float:
    """Sum of squares of the seen joints about their mean over clips and targets."""
    weight = seen[..., None]
    count = np.maximum(weight.sum(axis=(0, 1)), 1)
    values = np.where(weight, values, 0).astype(np.float64)
    mean = values.sum(axis=(0, 1)) / count
    return float((np.where(weight, values - mean, 0) ** 2).sum())


def _about_root(places: Places, seen: Seen) -> Places:
    """Places less the middle of the hips; NaN in a pose whose labels do not show both hips."""
    root = places[:, :, HIPS].mean(axis=2, keepdims=True)
    both = np.all(seen[:, :, HIPS], axis=2, keepdims=True)
    return np.where(np.expand_dims(both, -1), places - root, np.nan)


def _seen(predicted: Places, true: Places, confidence: Shares) -> Seen:
    seen = confidence > 0
    if not seen.any():
        raise PipelineError(
            "Every joint of these labels is masked, so nothing can be measured; label the recordings anew."
        )
    if not np.isfinite(predicted[seen]).all():
        raise PipelineError(
            "A prediction is not a number (NaN or infinite) where the labels show a joint; predict anew."
        )
    if not np.isfinite(true[seen]).all():
        raise PipelineError("A label has confidence above 0 but no place; mask it (confidence 0) or label anew.")
    return seen


def _part(view: View, at: Int[np.ndarray, " part"]) -> View:
    """The view of some clips."""
    return View(
        view.size_px[at],
        None if view.focal_px is None else view.focal_px[at],
        None if view.depth_m is None else view.depth_m[at],
        [view.scale_source[clip] for clip in at] if view.scale_source else (),
    )


def _mean(values: Float[np.ndarray, " value"]) -> float:
    return float(values.mean()) if len(values) else np.nan
