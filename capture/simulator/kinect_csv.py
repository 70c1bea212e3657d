"""Tables of Kinect v2 skeletons: 25 joints, one row a frame, 75 columns (as in the MARS data set)."""

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from capture.simulator.tracks import POINT, POINTS, Positions, Track, in_metres, numbers, read_text, takes, upright
from pipeline.errors import PipelineError

KINECT_RATE_HZ = 10.0
"""Rows a second of MARS; the tables themselves do not say."""

KINECT_JOINTS: tuple[str, ...] = (
    "SpineBase", "SpineMid", "Neck", "Head", "ShoulderLeft", "ElbowLeft", "WristLeft", "HandLeft", "ShoulderRight",
    "ElbowRight", "WristRight", "HandRight", "HipLeft", "KneeLeft", "AnkleLeft", "FootLeft", "HipRight", "KneeRight",
    "AnkleRight", "FootRight", "SpineShoulder", "HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight",
)  # fmt: skip
"""Kinect v2's order (JointType of the Kinect for Windows SDK 2.0)."""

_POINT_OF = {"SpineMid": "spine", "SpineShoulder": "neck", "Head": "head"} | {
    f"{part}{side}": f"{side.lower()}_{point}"
    for side in ("Left", "Right")
    for part, point in (
        ("Shoulder", "shoulder"),
        ("Elbow", "elbow"),
        ("Wrist", "wrist"),
        ("Hand", "hand"),
        ("Hip", "hip"),
        ("Knee", "knee"),
        ("Ankle", "ankle"),
        ("Foot", "toe"),
    )
}
_BONES = tuple(
    (POINT[f"{side}_{near}"], POINT[f"{side}_{far}"])
    for side in ("left", "right")
    for near, far in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
)
_STRETCH = 0.4  # a bone this share off its own median length has a badly tracked end


def read_kinect_csv(path: Path, rate_hz: float = KINECT_RATE_HZ) -> tuple[Track, ...]:
    """The takes of a table, gzipped or not, cut where its rows jump.

    Columns are found by their headings (joint_axis); without headings they are 25 X, 25 Y, 25 Z in `KINECT_JOINTS` order.
    Joints that the sensor lost for a moment (a bone suddenly 40 % off its length) are bridged. Raises PipelineError for
    another number of columns, a heading that is missing, or a value that is no number.
    """
    rows = [row for row in csv.reader(read_text(path).splitlines()) if row]
    if not rows:
        raise PipelineError(f"{path} is empty.")
    wanted = [f"{joint}_{axis}" for axis in "XYZ" for joint in KINECT_JOINTS]
    headings = [word.strip() for word in rows[0]]
    first = 0
    if any(word[:1].isalpha() and word.lower() != "nan" for word in headings):
        first = 1
        missing = [name for name in wanted if name not in headings]
        if missing:
            raise PipelineError(
                f"{path}: the columns {', '.join(missing[:4])} are missing; 25 joints by X, Y, Z are needed."
            )
        order = [headings.index(name) for name in wanted]
    else:
        order = list(range(len(wanted)))
    width = max(len(headings), len(wanted)) if first else len(wanted)
    values = np.empty((len(rows) - first, len(wanted)))
    for number, row in enumerate(rows[first:]):
        if len(row) != width:
            raise PipelineError(f"{path}, row {number + first + 1}: {len(row)} columns where {width} are needed.")
        values[number] = numbers([row[column] for column in order], f"{path}, row {number + first + 1}")
    if len(values) < 2:
        raise PipelineError(f"{path} holds no motion: {len(values)} rows.")
    joints = values.reshape(len(values), 3, len(KINECT_JOINTS)).transpose(0, 2, 1)
    chosen = {point: joints[:, KINECT_JOINTS.index(name)] for name, point in _POINT_OF.items()}
    points = np.stack([chosen[name] for name in POINTS], axis=1)
    points = upright(in_metres(points, str(path)), str(path))
    if np.median(points[:, POINT["neck"], 1]) < 0:  # people are in front of the sensor: away from it is +y
        points[:, :, :2] *= -1.0
    return tuple(
        Track(take.source, take.rate_hz, _bridged(take.positions_m))
        for take in takes(Track(path.name, rate_hz, points))
    )


def _bridged(positions_m: Positions) -> Positions:
    """Far ends of bones of impossible length, replaced by what lies between the frames before and after."""
    out = positions_m.copy()
    frames = np.arange(len(out))
    for near, far in _BONES:
        length: Float64[np.ndarray, " frame"] = np.linalg.norm(positions_m[:, far] - positions_m[:, near], axis=1)
        good = np.abs(length / np.median(length) - 1.0) < _STRETCH
        if good.all() or good.sum() < 2:
            continue
        for axis in range(3):
            out[:, far, axis] = np.interp(frames, frames[good], positions_m[good, far, axis])
    return out
