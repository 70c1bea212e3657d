"""Sealed recordings with a camera: stick people drawn by hand, depth of the same scene, an alignment, and labels to import."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from echoes import SMALL
from stick_people import CENTRE, FOCAL, SIZE, Scene

from capture.camera import CameraFrame
from capture.camera_files import CameraFiles
from pipeline.camera_frames import STREAM_COLOR, STREAM_DEPTH, CameraDescription, StreamIntrinsics
from pipeline.camera_geometry import distort_px
from pipeline.manifest import RecordingManifest
from pipeline.recording import Recording, create_recording
from pipeline.sealing import seal
from pipeline.sync import SyncReport, write_sync
from processing.labelling.imported import ImportedLabeller, imported_labeller

LENS = StreamIntrinsics(
    width=SIZE[0], height=SIZE[1], fx=FOCAL, fy=FOCAL, cx=CENTRE[0], cy=CENTRE[1], distortion=(-0.05, 0.06, 0.001, 0, 0)
)
WALL_M = 4.5
PERIOD_NS = 100_000_000


def session(
    root: Path,
    scene: Scene,
    recording_id: str = "s1",
    *,
    depth: bool = True,
    color: StreamIntrinsics | None = LENS,
    privacy: str = "keep",
    status: dict[int, str] | None = None,
    frozen: range = range(0),
    cut_video: float = 1.0,
    sealed: bool = True,
    camera: bool = True,
    verdict: str = "aligned",
) -> Recording:
    """A recording of `scene`, one radar frame and two colour frames a moment: colour frame 2 k + 1 belongs to radar frame k."""
    frames = len(scene.times_s)
    manifest = RecordingManifest(
        id=recording_id,
        simulated=True,
        waveform=SMALL,
        camera=CameraDescription(
            name="drawn", source="video", simulated=True, rate_hz=20, color=color, privacy=privacy,
            depth_unit_m=0.001 if depth else None,
        ) if camera else None,
    )  # fmt: skip
    folder = create_recording(root, manifest)
    with (folder / "adc.bin").open("wb") as file:
        file.truncate(frames * SMALL.frame_bytes)
    if camera:
        _write_camera(folder, scene, depth, frozen)
        if cut_video < 1:
            video = folder / "color.mkv"
            video.write_bytes(video.read_bytes()[: int(cut_video * video.stat().st_size)])
        write_sync(folder, _sync(frames, depth, status or {}), _report(verdict))
    if not sealed:
        from pipeline.recording import read_recording

        return read_recording(folder)
    return seal(folder)


def imported(path: Path, scene: Scene, confidence: float = 0.9) -> ImportedLabeller:
    """The scene's people as a file of COCO results, in pixels of the picture as taken, read by the member that imports."""
    results = [
        {
            "image_id": 2 * frame + 1,
            "score": person.score,
            "keypoints": np.concatenate(
                [distort_px(person.keypoints_px, LENS), person.confidence[:, None] * confidence / 0.9], axis=1
            )
            .ravel()
            .tolist(),
        }
        for frame, people in enumerate(scene.people)
        for person in people
    ]
    path.write_text(json.dumps(results))
    return imported_labeller(path, 2 * len(scene.times_s))


def _write_camera(folder: Path, scene: Scene, depth: bool, frozen: range) -> None:
    files = CameraFiles(folder, 20.0)
    columns = np.tile(np.arange(SIZE[0]), (SIZE[1], 1))
    picture = wall = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    wall = np.repeat((columns // 8 + 60).astype(np.uint8)[..., None], 3, axis=2)
    for index in range(2 * len(scene.times_s)):
        moment = index // 2
        if moment not in frozen:
            picture = wall.copy()
            picture[:8, : 8 + 2 * index] = 255  # says which picture it is
            for person in scene.people[moment]:
                for place in distort_px(person.keypoints_px, LENS):
                    column, row = np.round(place).astype(int)
                    picture[max(0, row - 6) : row + 7, max(0, column - 6) : column + 7] = (200, 60, 60)
        received_ns = 10**12 + index * PERIOD_NS // 2
        files.write(CameraFrame(STREAM_COLOR, picture, received_ns, index * 50.0, frame_number=index))
        if depth and index % 2:
            files.write(CameraFrame(STREAM_DEPTH, _depth(scene, moment), received_ns, index * 50.0, frame_number=index))
    files.close()


def _depth(scene: Scene, moment: int) -> np.ndarray:
    picture = np.full((SIZE[1], SIZE[0]), round(WALL_M * 1000), np.uint16)
    order = np.argsort(-scene.depth_m[moment])
    for number in order:  # far to near, as a camera sees it
        left, top, right, bottom = np.clip(scene.people[moment][number].box_px, 0, 10_000).astype(int)
        picture[top:bottom, left:right] = round(float(scene.depth_m[moment][number]) * 1000)
    picture[::7, ::5] = 0
    return picture


def _sync(frames: int, depth: bool, status: dict[int, str]) -> pd.DataFrame:
    number = np.arange(frames)
    state = np.array([status.get(frame, "ok") for frame in range(frames)], object)
    without = state == "no-camera"
    return pd.DataFrame(
        {
            "run": 7,
            "pulse": number,
            "time_ns": 10**12 + number * PERIOD_NS,
            "radar_frame": number,
            "missing_bytes": 0,
            "color_frame": np.where(without, -1, 2 * number + 1),
            "depth_frame": np.where(without | (not depth), -1, number),
            "radar_offset_s": 0.0,
            "color_offset_s": 0.0,
            "depth_offset_s": 0.0,
            "status": state,
        }
    )


def _report(verdict: str) -> SyncReport:
    reasons = () if verdict == "aligned" else ("Two offsets fit equally well.",)
    return SyncReport(mode="board", verdict=verdict, reasons=reasons, algorithm_version="test")
