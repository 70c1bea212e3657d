"""The person chosen in every frame as joints: masked, undistorted, smoothed if asked for, in metres where there is a scale."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from pipeline.camera_geometry import undistort_px
from pipeline.recording import Recording
from processing.labelling.config import LabelConfig
from processing.labelling.scale import ScaleSource, hidden_in_front, metres_by_depth, metres_by_height, plane_depth
from processing.labelling.seeing import Looked
from processing.labelling.smoothing import one_euro
from processing.labelling.thirteen import masked, thirteen_joints


@dataclass(frozen=True, eq=False)
class PersonJoints:
    """The person's joints in every frame looked at: `taken_px` in the picture as taken, `uv` shares of the undistorted one."""

    frames: Int64[np.ndarray, " frame"]
    taken_px: Float64[np.ndarray, "frame joint 2"]
    uv: Float64[np.ndarray, "frame joint 2"]
    confidence: Float64[np.ndarray, "frame joint"]
    xyz_m: Float64[np.ndarray, "frame joint 3"] | None
    scale: ScaleSource


def person_joints(
    recording: Recording, looked: Looked, which: Int64[np.ndarray, " frame"], config: LabelConfig
) -> PersonJoints:
    """Joints of the person whose place among each frame's people is `which`, -1 where they are not seen."""
    size, seen, chosen = looked.size_px, looked.seen, which.tolist()
    frames = np.array([one.radar_frame for one in seen], np.int64)
    about = [one.people[number] if number >= 0 else None for one, number in zip(seen, chosen, strict=True)]
    unknown = np.full(13, np.nan)
    depth_m = np.array([one.joints_m[at] if at >= 0 else unknown for one, at in zip(seen, chosen, strict=True)])
    taken_px, confidence = thirteen_joints(about, config.min_confidence, size)
    depth_m = np.where(confidence > 0, depth_m, np.nan)
    plane_m = plane_depth(frames, depth_m, config.scale_window_frames)
    confidence = np.where(hidden_in_front(depth_m, plane_m), 0.0, confidence)
    camera = recording.manifest.camera
    intrinsics = camera.color if camera is not None else None
    taken_px, confidence = masked(taken_px, confidence)
    straight_px = undistort_px(taken_px, intrinsics) if intrinsics is not None else taken_px
    uv = (straight_px + 0.5) / np.array(size, np.float64)
    inside = np.all((uv >= 0) & (uv <= 1), axis=-1)
    uv, confidence = masked(uv, np.where(inside, confidence, 0.0))
    period_s = recording.frame_period_s
    if config.smoothing is not None:
        uv = one_euro(uv, frames * period_s, config.smoothing, 1.5 * period_s)
    straight_px = uv * np.array(size) - 0.5
    xyz_m: Float64[np.ndarray, "frame joint 3"] | None = None
    scale: ScaleSource = "none"
    if intrinsics is not None and np.isfinite(plane_m).any():
        xyz_m, scale = metres_by_depth(straight_px, plane_m, intrinsics), "depth"
    elif config.body_height_m is not None:
        xyz_m = metres_by_height(straight_px, config.body_height_m, intrinsics, size)
        scale = "none" if xyz_m is None else "height"
    return PersonJoints(frames, taken_px, uv, confidence, xyz_m, scale)
