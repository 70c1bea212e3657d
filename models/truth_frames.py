"""Labelled frames of a study's data set, dense, with what frames are binned by: distance from the radar, and speed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from models.metrics import HIPS, View, plane_depth_m
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS

FRAME_KEY = ["recording", "frame"]
LONGEST_STEP_FRAMES = 4
"""A speed is taken between a frame and the labelled one before it, no further back than this."""


@dataclass(frozen=True)
class TruthFrames:
    """One row a labelled frame, ordered by recording and frame."""

    frames: pd.MultiIndex
    person: np.ndarray
    action: np.ndarray
    scale_source: np.ndarray
    uv: Float64[np.ndarray, "frame joint 2"]
    confidence: Float64[np.ndarray, "frame joint"]
    xyz_m: Float64[np.ndarray, "frame joint 3"]
    range_m: Float64[np.ndarray, " frame"]
    """Of the person from the radar; NaN where that is unknown."""
    size_px: Float64[np.ndarray, "frame 2"]
    """Of the undistorted picture; NaN where that is unknown."""
    focal_px: Float64[np.ndarray, "frame 2"]
    """NaN of a camera without intrinsics."""
    period_s: Float64[np.ndarray, " frame"]
    """From radar frame to radar frame."""

    @cached_property
    def person_of(self) -> dict[str, str]:
        """Whose recording each is."""
        return dict(zip(self.frames.get_level_values(0), self.person, strict=True))

    @cached_property
    def _recordings(self) -> pd.Index:
        return pd.Index(self.frames.get_level_values(0).unique())

    @cached_property
    def _frame_keys(self) -> Int64[np.ndarray, " frame"]:
        """Ascending."""
        return _keys(
            self._recordings.get_indexer(self.frames.get_level_values(0)),
            self.frames.get_level_values(1).to_numpy(np.int64),
        )

    def at(
        self, rows: pd.DataFrame, what: str
    ) -> tuple[Int64[np.ndarray, " frame"], Float64[np.ndarray, "frame joint 2"]]:
        """Frames that `rows` (columns recording, frame, joint, u, v) predict, as positions in this truth, and their poses.

        Raises PipelineError, naming `what`, for a frame that is not labelled or not predicted in all joints.
        """
        names, which = np.unique(rows["recording"].astype(str).to_numpy(str), return_inverse=True)
        keys = _keys(self._recordings.get_indexer(pd.Index(names))[which], rows["frame"].to_numpy(np.int64))
        wanted, codes = np.unique(keys, return_inverse=True)
        at = np.minimum(np.searchsorted(self._frame_keys, wanted), len(self._frame_keys) - 1)
        strange = self._frame_keys[at] != wanted
        if strange.any():
            one = rows.iloc[int(np.argmax(strange[codes]))]
            raise PipelineError(
                f"{what} has frame {one['frame']} of {one['recording']}, which has no label in the study; run the study again."
            )
        places = np.full((len(wanted), len(JOINTS), 2), np.nan)
        places[codes, rows["joint"].to_numpy()] = rows[["u", "v"]].to_numpy(np.float64)
        if len(rows) != len(wanted) * len(JOINTS) or np.isnan(places).any():
            raise PipelineError(f"{what} lacks joints of some frames; remove its file and run the study again.")
        return at, places

    def view(self, at: Int64[np.ndarray, " frame"]) -> View | None:
        """What turns shares into pixels and metres at some frames, each a clip of one target; None where a size is unknown.

        The plane's depth is that of each frame, as predictions are one a frame.
        """
        if not np.isfinite(self.size_px[at]).all():
            return None
        depth = plane_depth_m(self.xyz_m[at, None, :, 2], self.confidence[at, None])
        return View(self.size_px[at], self.focal_px[at], depth, list(self.scale_source[at]))

    def clips(self, targets: Sequence[int]) -> Int64[np.ndarray, "frame 2"]:
        """The clip that each frame is a target of, and which of its targets; numbers from 0, and -1 of a frame that is in none.

        Clips lie end to end and all their targets are here, masked ones too: a frame that is in no clip yet begins the next one.
        """
        found = np.full((len(self.frames), 2), -1)
        at = {key: number for number, key in enumerate(self._frame_keys.tolist())}
        clip = 0
        for key, number in at.items():
            if found[number, 0] >= 0:
                continue
            its = [at.get(key + target - targets[0], -1) for target in targets]
            if min(its) >= 0 and (found[its, 0] < 0).all():
                found[its] = [(clip, target) for target in range(len(targets))]
                clip += 1
        return found

    @property
    def in_metres(self) -> bool:
        """Whether every joint that is seen has coordinates in metres."""
        return bool(np.isfinite(self.xyz_m[self.confidence > 0]).all())

    def speeds(self) -> pd.DataFrame:
        """Columns `root_speed` (middle of the hips) and `joint_speed` (mean over joints), one row a frame.

        Metres a second if `in_metres`, else shares of the picture a second; NaN in a recording's first frame and after a gap of
        labels.
        """
        places = np.where(self.confidence[..., None] > 0, self.xyz_m if self.in_metres else self.uv, np.nan)
        recording, frame = self.frames.codes[0], self.frames.get_level_values(1).to_numpy(np.int64)
        gap = np.diff(frame, prepend=frame[:1]).astype(float)
        apart = (np.diff(recording, prepend=-1) != 0) | (gap <= 0) | (gap > LONGEST_STEP_FRAMES)
        seconds = np.where(apart, np.nan, gap) * self.period_s
        moved = np.diff(places, axis=0, prepend=places[:1])
        root = np.linalg.norm(moved[:, HIPS].mean(axis=1), axis=-1) / seconds
        joints = np.linalg.norm(moved, axis=-1)
        seen = np.isfinite(joints)
        mean = np.where(seen, joints, 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        return pd.DataFrame(
            {"root_speed": root, "joint_speed": np.where(seen.any(axis=1), mean, np.nan) / seconds},
        )


def _keys(recording: Int64[np.ndarray, " row"], frame: Int64[np.ndarray, " row"]) -> Int64[np.ndarray, " row"]:
    """One number a frame of a recording, in order; negative of one that is not known."""
    return recording.astype(np.int64) * 2**40 + frame


def truth_frames(rows: pd.DataFrame, recordings: pd.DataFrame) -> TruthFrames:
    """A data set's truth (columns `models.study_store.TRUE`) by frame; `recordings`: its `TestedRecording`s, by recording."""
    names = rows["recording"].astype(str).to_numpy()
    keys = pd.MultiIndex.from_arrays([names, rows["frame"].to_numpy()], names=FRAME_KEY)
    codes, frames = pd.factorize(keys, sort=True)
    dense = np.full((len(frames), len(JOINTS), 6), np.nan)
    dense[codes, rows["joint"].to_numpy()] = rows[["u", "v", "x_m", "y_m", "z_m", "confidence"]].to_numpy(np.float64)
    first = np.zeros(len(frames), int)
    first[codes[::-1]] = np.arange(len(rows))[::-1]
    once = rows.iloc[first]
    known = recordings.loc[frames.get_level_values(0)]
    sizes, focals = (known[[f"{x}_px", f"{y}_px"]].to_numpy(np.float64) for x, y in (("width", "height"), ("fx", "fy")))
    return TruthFrames(
        frames=pd.MultiIndex.from_tuples(frames, names=FRAME_KEY),
        person=once["person"].astype(str).to_numpy(),
        action=once["action"].astype(str).to_numpy(),
        scale_source=once["scale_source"].astype(str).to_numpy(),
        uv=dense[..., :2],
        confidence=np.nan_to_num(dense[..., 5]),
        xyz_m=dense[..., 2:5],
        range_m=once["range_m"].to_numpy(np.float64),
        size_px=sizes,
        focal_px=focals,
        period_s=known["period_s"].to_numpy(np.float64),
    )
