"""Labels of whole simulated sessions against the simulator's truth.

    python -m benchmarks.labels [--people 3] [--seconds 8] [--bystander] [--speed 0.5]

Records sessions of named people on the simulated rig (radar, trigger board, camera), labels them, and compares every labelled
frame with where the joints truly were when its picture was taken. Nobody in them was seen in training. The rig runs at half
speed, so that a machine with other work loses none of its pictures.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64

from capture.rig import SIMULATED_CLOCKS
from capture.session import CaptureRequest, launch
from capture.simulator.clock import DeviceClock
from capture.simulator.realsense import true_joints
from capture.simulator.shown import Act, SceneOrder, shown
from flows.labelling import label_session
from pipeline.camera_frames import STREAM_COLOR, read_camera_records
from pipeline.camera_geometry import uv_shares
from pipeline.errors import PipelineError
from pipeline.labels import label_arrays, read_labels
from pipeline.pulses import KIND_PULSE, read_pulses
from pipeline.recording import Recording, open_recording
from pipeline.settings import RigSettings
from pipeline.sync import read_sync

ACTIONS = ("arm-raise", "stepping", "torso-twist", "sleeve-adjust", "arm-swing", "dynamic-knee-march")


@dataclass(frozen=True)
class Score:
    """How one session's labels compare with the truth of all its pictures."""

    verdict: str
    alignment: str
    frames: int
    labelled: int
    pck_torso: float  # of all true joints in the picture, masked ones counted as misses
    pck_picture: float  # within 0.05 of the picture's height
    mean_px: float
    xy_m: float  # median distance across the view, metres


def score_session(root: Path, recording: Recording, order: SceneOrder) -> Score:
    """Label a recording of `order`'s scene and compare it with where the joints were when each picture was taken."""
    result, _ = label_session(root, recording.id)
    table, report = read_sync(recording.folder)
    rows = table[(table["radar_frame"] >= 0) & (table["color_frame"] >= 0) & (table["status"] == "ok")]
    records = read_camera_records(recording.folder)
    camera = recording.manifest.camera
    if records is None or camera is None or camera.color is None:
        raise PipelineError(f"{recording.id} has no camera, so there is nothing to compare.")
    color = records[records["stream"] == STREAM_COLOR]
    clock = DeviceClock(**SIMULATED_CLOCKS["camera"].model_dump())
    stamps_s = color["sensor_timestamp_us"][rows["color_frame"].to_numpy(int)] / 1e6
    taken_s = np.array([clock.true_s(float(stamp)) for stamp in stamps_s])
    joints_m, px = true_joints(shown(order)[0][0], taken_s - _scene_zero_s(recording))
    size = np.array([camera.color.width, camera.color.height])
    px = (px + 0.5) * (size / np.array([640.0, 480.0])) - 0.5
    truth = uv_shares(px, camera.color)
    inside: Bool[np.ndarray, "frame joint"] = ((truth > 0) & (truth < 1)).all(-1)
    found = label_arrays(read_labels(root, recording.id).table, recording.frame_count)
    frames = rows["radar_frame"].to_numpy(int)
    uv, confidence = found.uv[frames], found.confidence[frames]
    off_px: Float64[np.ndarray, "frame joint"] = np.linalg.norm((uv - truth) * size, axis=-1)
    off_px[~(confidence > 0)] = np.inf
    torso_px = np.linalg.norm((truth[:, [1, 4]].mean(1) - truth[:, [7, 8]].mean(1)) * size, axis=-1)
    metres = np.full(1, np.nan)
    if found.xyz_m is not None:
        metres = np.linalg.norm(found.xyz_m[frames][..., :2] - joints_m[..., :2], axis=-1)
    return Score(
        verdict=result.quality.verdict,
        alignment=report.verdict,
        frames=len(rows),
        labelled=int((confidence > 0).any(1).sum()),
        pck_torso=float((off_px <= 0.2 * torso_px[:, None])[inside].mean()),
        pck_picture=float((off_px <= 0.05 * size[1])[inside].mean()),
        mean_px=float(off_px[np.isfinite(off_px) & inside].mean()),
        xy_m=float(np.nanmedian(metres)),
    )


def _scene_zero_s(recording: Recording) -> float:
    """True time of the scene's beginning: of the pulse that started the radar's first frame."""
    table, _ = read_sync(recording.folder)
    first = table.loc[table["radar_frame"] == 0, "pulse"]
    lines = read_pulses(recording.folder)
    if first.empty or lines is None:
        raise PipelineError(f"{recording.id}: nothing says which pulse started the first radar frame.")
    line = lines[lines["kind"] == KIND_PULSE][
        0
    ]  # that very pulse's line may be lost; pulses are even by the board's clock
    ahead = (float(line["number"]) - float(first.iloc[0])) / recording.manifest.rig["trigger"]["hz"]  # type: ignore[index]
    return DeviceClock(**SIMULATED_CLOCKS["board"].model_dump()).true_s(float(line["board_us"]) / 1e6 - ahead)


def record(
    root: Path, participant: str, action: str, seconds: float, people: int, seed: int, speed: float = 1.0
) -> Recording:
    """One session of somebody at one action; `speed` is the simulated rig's."""
    simulator = {"seed": seed, "people": people, "speed": speed}
    rig = RigSettings.model_validate({"reserve_bytes": 0, "simulator": simulator})
    handle = launch(root, CaptureRequest(participant=participant, action=action, seconds=seconds), rig)
    end = handle.wait(seconds / speed + 180)
    if end.status != "success":
        raise PipelineError(f"The session failed: {end.message}")
    return open_recording(root, handle.recording_id)


def main() -> None:
    """Record, label, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--bystander", action="store_true", help="somebody else walks about, also in front")
    parser.add_argument("--speed", type=float, default=0.5, help="simulated seconds a second")
    options = parser.parse_args()
    print("Simulated sessions, labelled by the simulated rig's labeller, against the simulator's truth\n")
    print(
        "| person | action | frames | labelled | PCK@0.2 torso | PCK@0.05 picture | mean px | median m | labels | alignment |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    people = 2 if options.bystander else 1
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(options.people):
            participant, action = f"p{number + 1:02d}", ACTIONS[number % len(ACTIONS)]
            recording = record(root, participant, action, options.seconds, people, number, options.speed)
            acts = (Act(action=action, start_s=0.0, stop_s=options.seconds),)
            score = score_session(
                root, recording, SceneOrder(seed=number, participant=participant, acts=acts, people=people)
            )
            figures = f"{score.pck_torso:.3f} | {score.pck_picture:.3f} | {score.mean_px:.1f} | {score.xy_m:.3f}"
            counts = f"{participant} | {action} | {score.frames} | {score.labelled}"
            print(f"| {counts} | {figures} | {score.verdict} | {score.alignment} |", flush=True)


if __name__ == "__main__":
    main()
