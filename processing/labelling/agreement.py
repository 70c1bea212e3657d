"""How far two keypoint tables of one recording lie apart: a labeller against the simulator's truth, or two labellers.

Compared are the joints that both have (confidence above 0), of the person the session is about. Names and units are those of
paper.md, "Protocol": `mpjpe_norm` and `pck_norm@0.05` in shares of the picture, metres only where there is a scale.
"""

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, Field

from pipeline.camera_frames import StreamIntrinsics
from pipeline.errors import PipelineError
from pipeline.labels import Labels, label_arrays
from pipeline.skeleton import JOINTS
from processing.labelling.thirteen import trunk_length


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JointError(_Part):
    """One joint; None where no frame has it in both tables."""

    joint: str
    compared: int
    mean_share: float | None
    mean_px: float | None
    median_px: float | None
    pck_torso_02: float | None


class LabelsError(_Part):
    """All joints together. `found_share`: of the joints the second table has, those that the first has too."""

    labeller: str
    against: str
    frames: int = Field(description="in which both have a joint")
    compared: int = Field(description="joints, over all frames")
    found_share: float
    mpjpe_norm: float | None
    pck_norm_005: float | None
    mean_px: float | None
    median_px: float | None
    worst_5_percent_px: float | None = Field(description="95 % quantile")
    pck_torso_02: float | None = Field(description="share within 0.2 trunk lengths (shoulders' middle to hips' middle)")
    mpjpe_plane_m: float | None = Field(description="both on the plane of the first table's depth; needs intrinsics")
    pck_plane_005_m: float | None
    xy_m: float | None = Field(description="mean distance in x and y between the metres the tables hold themselves")
    joints: tuple[JointError, ...]


def labels_error(
    labels: Labels,
    truth: Labels,
    *,
    picture_px: tuple[int, int] | None = None,
    intrinsics: StreamIntrinsics | None = None,
) -> LabelsError:
    """Compare `labels` with `truth`; `picture_px` (width, height) is what either table says where it is not given.

    Raises PipelineError when nobody knows how large the picture was.
    """
    size = picture_px or _size(intrinsics) or _said(labels) or _said(truth)
    if size is None:
        raise PipelineError(
            f"Neither the labels by {labels.labeller} nor those by {truth.labeller} say how large their picture was; "
            "pixels need its width and height."
        )
    frames = int(max(labels.table["frame"].max(), truth.table["frame"].max(), -1)) + 1 if len(labels.table) else 0
    ours, theirs = label_arrays(labels.table, frames), label_arrays(truth.table, frames)
    known = np.isfinite(theirs.uv).all(axis=-1) & (theirs.confidence > 0)
    both = known & np.isfinite(ours.uv).all(axis=-1) & (ours.confidence > 0)
    shares = np.linalg.norm(ours.uv - theirs.uv, axis=-1)
    pixels = np.linalg.norm((ours.uv - theirs.uv) * np.array(size), axis=-1)
    torso = trunk_length(theirs.uv * np.array(size))[:, None]
    # Somebody seen from the side or bent over has a short trunk in the picture, but no smaller joints.
    torso = np.maximum(torso, 0.5 * np.nanmedian(torso) if np.isfinite(torso).any() else np.nan)
    near = pixels <= 0.2 * torso
    plane = _plane_m(ours.uv - theirs.uv, ours.xyz_m[..., 2], size, intrinsics)
    metres = np.linalg.norm(ours.xyz_m[..., :2] - theirs.xyz_m[..., :2], axis=-1)
    scored = both & np.isfinite(torso)
    return LabelsError(
        labeller=labels.labeller,
        against=truth.labeller,
        frames=int(both.any(axis=1).sum()),
        compared=int(both.sum()),
        found_share=float(both.sum() / max(int(known.sum()), 1)),
        mpjpe_norm=_mean(shares[both]),
        pck_norm_005=_mean((shares <= 0.05)[both].astype(float)),
        mean_px=_mean(pixels[both]),
        median_px=_quantile(pixels[both], 0.5),
        worst_5_percent_px=_quantile(pixels[both], 0.95),
        pck_torso_02=_mean(near[scored].astype(float)),
        mpjpe_plane_m=_mean(plane[both & np.isfinite(plane)]),
        pck_plane_005_m=_mean((plane <= 0.05)[both & np.isfinite(plane)].astype(float)),
        xy_m=_mean(metres[both & np.isfinite(metres)]),
        joints=tuple(
            JointError(
                joint=name,
                compared=int(both[:, joint].sum()),
                mean_share=_mean(shares[both[:, joint], joint]),
                mean_px=_mean(pixels[both[:, joint], joint]),
                median_px=_quantile(pixels[both[:, joint], joint], 0.5),
                pck_torso_02=_mean(near[scored[:, joint], joint].astype(float)),
            )
            for joint, name in enumerate(JOINTS)
        ),
    )


def _plane_m(
    apart: Float64[np.ndarray, "frame joint 2"],
    z_m: Float64[np.ndarray, "frame joint"],
    size: tuple[int, int],
    intrinsics: StreamIntrinsics | None,
) -> Float64[np.ndarray, "frame joint"]:
    """Distance in metres of shares of the picture on the plane at depth `z_m`; NaN without intrinsics."""
    if intrinsics is None:
        return np.full(z_m.shape, np.nan)
    focal = np.array([intrinsics.fx, intrinsics.fy])
    return np.linalg.norm(apart * np.array(size) / focal, axis=-1) * z_m


def _said(labels: Labels) -> tuple[int, int] | None:
    return labels.making.picture_px if labels.making else None


def _size(intrinsics: StreamIntrinsics | None) -> tuple[int, int] | None:
    return (intrinsics.width, intrinsics.height) if intrinsics else None


def _mean(values: Float64[np.ndarray, " some"]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _quantile(values: Float64[np.ndarray, " some"], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None
