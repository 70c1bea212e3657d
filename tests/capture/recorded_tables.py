"""Bodies of the simulator written down as a Kinect would have recorded them, for tests of what reads such tables."""

from pathlib import Path

import numpy as np

from capture.simulator.actions import perform
from capture.simulator.body import INDEX
from capture.simulator.kinect_csv import KINECT_JOINTS
from capture.simulator.person import person

KINECT_FROM_BODY = {
    "SpineBase": "pelvis", "SpineMid": "spine", "Neck": "neck", "Head": "head", "SpineShoulder": "neck",
    **{
        f"{part}{side}": f"{side.lower()}_{joint}"
        for side in ("Left", "Right")
        for part, joint in (
            ("Shoulder", "shoulder"), ("Elbow", "elbow"), ("Wrist", "wrist"), ("Hand", "hand"), ("HandTip", "hand"),
            ("Thumb", "hand"), ("Hip", "hip"), ("Knee", "knee"), ("Ankle", "ankle"), ("Foot", "toe"),
        )
    },
}  # fmt: skip


def kinect_table(joints: np.ndarray, axes: str = "mars") -> np.ndarray:
    """Body joints as 75 columns; `axes` mars: lateral, depth, height. kinect: the sensor's own x (left), y up, z depth."""
    points = joints[:, [INDEX[KINECT_FROM_BODY[name]] for name in KINECT_JOINTS]]
    if axes == "kinect":
        points = np.stack([-points[:, :, 0], points[:, :, 2], points[:, :, 1]], axis=2)
    return points.transpose(0, 2, 1).reshape(len(points), 75)


def csv_text(table: np.ndarray, header: bool = True) -> str:
    names = ",".join(f"{joint}_{axis}" for axis in "XYZ" for joint in KINECT_JOINTS)
    return "\n".join(([names] if header else []) + [",".join(f"{value:.5f}" for value in row) for row in table]) + "\n"


def recording(action: str = "arm-raise", seconds: float = 12.0, seed: int = 3) -> np.ndarray:
    joints = perform(action, person(seed), 1, seconds).joints_at(np.arange(0, seconds, 0.1))
    return joints + np.array([0.2, 2.0, -1.0])


def write_table(path: Path, action: str = "arm-raise", seconds: float = 12.0, seed: int = 3) -> Path:
    """A file of `recording`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(csv_text(kinect_table(recording(action, seconds, seed))))
    return path
