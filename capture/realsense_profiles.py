"""Which librealsense device, which of its streams, and what a stream's geometry is in the project's terms."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.camera_frames import StreamIntrinsics
from pipeline.errors import PipelineError
from pipeline.settings import CameraSettings


@dataclass(frozen=True)
class Chosen:
    """A stream profile and the sensor that offers it."""

    sensor: Any
    profile: Any


def attached_device(rs: ModuleType, serial: str | None) -> Any:
    """The attached RealSense with that serial number, or the first; PipelineError when there is none."""
    devices = list(rs.context().query_devices())
    names = []
    for device in devices:
        found = device.get_info(rs.camera_info.serial_number) if device.supports(rs.camera_info.serial_number) else ""
        if serial in (None, found):
            return device
        names.append(found)
    if names:
        raise PipelineError(
            f"There is no RealSense with serial number {serial}; attached: {', '.join(names)}. Correct `serial` in rig.toml."
        )
    raise PipelineError(
        "No RealSense camera is attached: plug it into a USB 3 port (and install librealsense's udev rules), or set the camera's "
        'source in rig.toml to "webcam", "video" or "none".'
    )


def played_device(rs: ModuleType, path: Path) -> Any:
    """A .bag or .db3 recorded by librealsense as a device that waits for its reader; PipelineError when it is none."""
    if not path.is_file():
        raise PipelineError(f"There is no recording {path} to play back; correct the camera's `path`.")
    try:
        device = rs.context().load_device(str(path))
        device.as_playback().set_real_time(False)
    except RuntimeError as error:
        raise PipelineError(f"{path} is no recording that librealsense plays back: {error}.") from None
    return device


def choose_profiles(
    rs: ModuleType, device: Any, settings: CameraSettings, *, exact: bool
) -> tuple[Chosen, Chosen | None, list[str]]:
    """Colour (RGB8) and depth (Z16) streams for what is asked, and sentences about what differs from it.

    `exact` False (a file): the streams that are there are taken. Otherwise the size must be offered; of its rates the
    one asked, else the next lower one. Depth is aligned to colour, so any size of it will do: colour's, else the largest.
    """
    colors = _profiles(rs, device, rs.stream.color, rs.format.rgb8)
    depths = _profiles(rs, device, rs.stream.depth, rs.format.z16) if settings.depth else []
    if not colors:
        raise PipelineError(
            "The RealSense camera has no RGB8 colour stream; a camera with colour is needed for labels."
        )
    if not exact:
        return colors[0], (depths[0] if depths else None), []
    size = settings.width, settings.height
    fitting = [one for one in colors if _size(one) == size]
    if not fitting:
        offered = sorted({f"{width} x {height}" for width, height in map(_size, colors)})
        raise PipelineError(
            f"The camera has no colour of {size[0]} x {size[1]} pixels; it offers {', '.join(offered)}."
        )
    words: list[str] = []
    color = _at_rate(fitting, settings.rate_hz, "colour", words)
    depth = None
    if depths:
        same = [one for one in depths if _size(one) == size]
        best = max(map(_size, depths))
        depth = _at_rate(same or [one for one in depths if _size(one) == best], settings.rate_hz, "depth", words)
    return color, depth, words


def _profiles(rs: ModuleType, device: Any, stream: Any, form: Any) -> list[Chosen]:
    return [
        Chosen(sensor, profile.as_video_stream_profile())
        for sensor in device.query_sensors()
        for profile in sensor.get_stream_profiles()
        if profile.stream_type() == stream and profile.format() == form
    ]


def _size(chosen: Chosen) -> tuple[int, int]:
    return chosen.profile.width(), chosen.profile.height()


def _at_rate(offered: list[Chosen], rate_hz: int, name: str, words: list[str]) -> Chosen:
    """The profile of the rate asked, or of the next lower one, else the lowest, with a sentence about it."""
    lower = [one for one in offered if one.profile.fps() <= rate_hz]
    chosen = max(lower, key=lambda one: one.profile.fps()) if lower else min(offered, key=lambda one: one.profile.fps())
    if chosen.profile.fps() != rate_hz:
        words.append(
            f"The camera offers {name} of this size at {chosen.profile.fps()} frames a second, not {rate_hz}; a USB 2 link "
            "often is the reason."
        )
    return chosen


def stream_intrinsics(rs: ModuleType, profile: Any) -> StreamIntrinsics | None:
    """A stream's geometry; None where its lens model is another than Brown-Conrady.

    librealsense's three models of that name differ in the second order of the distortion only; which of them a D400
    camera's colour has (`inverse_brown_conrady`) is projected by rs2_project_point_to_pixel just as the others are.
    """
    inner = profile.get_intrinsics()
    straight = all(value == 0 for value in inner.coeffs)
    models = (rs.distortion.brown_conrady, rs.distortion.modified_brown_conrady, rs.distortion.inverse_brown_conrady)
    if not straight and inner.model not in models:
        return None
    k1, k2, p1, p2, k3 = (float(value) for value in inner.coeffs[:5])
    return StreamIntrinsics(
        width=inner.width,
        height=inner.height,
        fx=inner.fx,
        fy=inner.fy,
        cx=inner.ppx,
        cy=inner.ppy,
        distortion=(k1, k2, p1, p2, k3),
    )
