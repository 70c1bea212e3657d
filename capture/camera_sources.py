"""The camera that settings name: the one place that knows every kind, the simulated one among them."""

from pathlib import Path
from typing import Any

from capture.camera import CameraSource, Pace
from capture.realsense_camera import RealSenseCamera
from capture.realsense_profiles import attached_device, played_device
from capture.video_camera import VideoFile, Webcam
from pipeline.errors import PipelineError
from pipeline.settings import CameraSettings


def open_camera(settings: CameraSettings, root: Path, simulated: dict[str, Any] | None = None) -> CameraSource:
    """The source of `settings`, not opened yet. A `path` is taken from the data root `root` on.

    `simulated`, fields of `capture.simulator.realsense.SimulatedCameraOrder`, puts the simulated camera behind the driver of
    source `realsense`. Files are handed out as fast as they were taken. PipelineError where no camera is meant or the path is
    missing.
    """
    if settings.source == "realsense":
        if simulated is None:
            return RealSenseCamera(lambda rs: attached_device(rs, settings.serial), settings)
        from capture.simulator.realsense import SimulatedCameraOrder, SimulatedRealSense

        camera = SimulatedRealSense(
            SimulatedCameraOrder.model_validate(simulated), settings.width, settings.height, settings.rate_hz
        )
        return RealSenseCamera(camera.find, settings, simulated=True, release=camera.close)
    if settings.source == "webcam":
        return Webcam(settings.path or "/dev/video0", settings)
    if settings.source == "none":
        raise PipelineError("The rig has no camera: its source in rig.toml is none.")
    if settings.path is None:
        raise PipelineError(
            f'The camera\'s source is "{settings.source}", and no `path` says which file; set it in rig.toml.'
        )
    path = root / settings.path
    if settings.source == "playback":
        return RealSenseCamera(lambda rs: played_device(rs, path), settings, source="playback", pace=Pace())
    return VideoFile(path, settings, pace=Pace())
