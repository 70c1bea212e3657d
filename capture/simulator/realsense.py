"""The simulated camera: a librealsense software device that shows the scene the radar sees, with a clock of its own.

It is a device as librealsense hands out any other, so the driver that opens it is the driver of a real camera. Depth and
colour are exposed at the same instants of a free-running grid; frame n of the grid is exposed around

    t_n = (phase + n / rate) camera seconds, in true time

and reaches the host some 10 ms later. Every frame's `sensor_timestamp` is the camera clock's reading at t_n, so
`DeviceClock.true_s(sensor_timestamp)` is the truth about when a stored frame was taken.

The scene begins when the radar's first frame does, which the camera hears over the sync cable (`sync_cable.CableEnd`); until
then people stand as they will begin. Without a cable the scene begins at true time 0.

What is not simulated: colour's own phase (a real camera's colour is not in step with its depth), slave and genlock modes
(they are accepted, and depth goes on freely), exposure control, the wrap of the 32-bit microsecond counter after 71 minutes.
"""

import contextlib
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, Field

from capture.simulator.camera import D455_640X480, Camera, Intrinsics, scaled
from capture.simulator.clock import DeviceClock
from capture.simulator.faults import FaultPlan, fault_plan
from capture.simulator.motion import Motion
from capture.simulator.render import Picture, Renderer, posed
from capture.simulator.shown import SceneOrder, shown
from pipeline.errors import PipelineError
from pipeline.settings import SimulatedClock
from pipeline.skeleton import JOINTS

EXPOSURE_S = 0.008
READOUT_S = 0.002  # from the end of an exposure until the frame starts to leave the camera: `frame_timestamp`
DELIVERY_S = 0.010  # from the middle of an exposure until the host has the frame, give or take the jitter
JITTER_S = 0.002
DEPTH_UNIT_M = 0.001


class SimulatedCameraOrder(BaseModel):
    """What the simulated camera shows, on which clocks, and what goes wrong with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scene: SceneOrder = Field(default_factory=SceneOrder, description="the radar's")
    rig_origin_monotonic_s: float = Field(0.0, description="time.monotonic() at the rig's true time 0")
    speed: float = Field(1.0, gt=0, description="simulated seconds a second")
    clock: SimulatedClock = Field(default_factory=SimulatedClock)
    phase_s: float = Field(0.0, ge=0, description="camera time of the grid's exposure 0")
    faults: dict[str, Any] = Field(
        default_factory=dict, description="fields of faults.FaultPlan; those of the camera count"
    )
    sync_cable: tuple[str, int] | None = Field(
        None, description="UDP address of the rig's `CableEnd`: gets the true time, s, of each depth exposure's start"
    )
    pictures: int = Field(
        0, ge=0, description="0: one for every exposure; else so many, made beforehand and shown over and over"
    )


@dataclass
class CameraTruth:
    """What the simulated camera did since it was first opened."""

    exposures: int = 0
    color_sent: int = 0
    depth_sent: int = 0
    color_dropped: int = 0
    depth_dropped: int = 0
    behind: int = 0  # left out because this machine could not draw them in time; the cable tells of them


def simulated_intrinsics(width: int, height: int) -> Intrinsics:
    """The D455's at 640 x 480, scaled."""
    if (width, height) == (D455_640X480.width, D455_640X480.height):
        return D455_640X480
    inner = scaled(D455_640X480, width / D455_640X480.width)
    if (inner.width, inner.height) != (width, height):
        raise PipelineError(f"The simulated camera has pictures of 4 to 3, such as 640 x 480, not {width} x {height}.")
    return inner


def true_joints(
    motion: Motion, scene_s: Float64[np.ndarray, " time"], camera: Camera | None = None
) -> tuple[Float64[np.ndarray, "time joint 3"], Float64[np.ndarray, "time joint 2"]]:
    """The 13 joints of somebody (`shown(order)[0][0]`) at seconds of the scene: in camera coordinates, metres, and as pixels.

    Pixels are of the picture as taken (this camera's lens is straight unless `camera` says otherwise).
    """
    camera = camera or Camera()
    joints_m = motion.joints_at(np.maximum(scene_s, 0.0))[:, : len(JOINTS)]
    u, v, _ = camera.project(joints_m)
    return camera.to_camera(joints_m), np.stack([u, v], axis=-1)


class SimulatedRealSense:
    """A camera on a cable: `find` gives its librealsense device, or fails as it does when nothing is attached."""

    def __init__(self, order: SimulatedCameraOrder, width: int = 640, height: int = 480, rate_hz: int = 30) -> None:
        self.order, self.rate_hz = order, rate_hz
        self.faults: FaultPlan = fault_plan(order.faults)
        self.clock = DeviceClock(order.clock.offset_s, order.clock.drift_ppm)
        self.truth = CameraTruth()
        self.motions, room = shown(order.scene)
        self.scene_zero_s: float | None = None if order.sync_cable else 0.0
        self.camera = Camera(simulated_intrinsics(width, height))
        self._renderer = Renderer(self.camera, room, seed=order.scene.seed)
        self._render(0.0)  # the drawing compiles now, not when the first frame is due
        self._loop = [self._render(n / rate_hz) for n in range(order.pictures)]
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._frozen: Picture | None = None
        self._drawings_s = deque([0.0], maxlen=3)  # true time that the latest pictures took
        self._unsaid_s: list[float] = []  # true time of exposures' starts that the cable has not carried yet
        self._gone_s: float | None = None  # true time at which the cable is pulled, fixed by the first frame
        self._restarted = False
        self._late_until_s: float | None = (
            None  # true time, fixed when it is first opened: opening it anew takes no longer
        )

    def now_s(self) -> float:
        """True time."""
        return (time.monotonic() - self.order.rig_origin_monotonic_s) * self.order.speed

    def find(self, rs: ModuleType) -> Any:
        """The device, for `realsense_camera.RealSenseCamera`; PipelineError while nothing is attached."""
        self.close()
        if self.faults.camera_absent or self._unplugged(self.now_s()):
            raise PipelineError("No RealSense camera is attached: plug it into a USB 3 port (this one is simulated).")
        if self._gone_s is not None and not self._restarted:
            self._restarted = True
            self.clock = DeviceClock(-self.now_s() * self.clock.rate, self.clock.drift_ppm)  # it lost its power
        device = _Device(rs, self.camera.intrinsics, self.rate_hz, self.faults)
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(device,), name="simulated camera", daemon=True)
        self._thread.start()
        return device.device

    def close(self) -> None:
        """Pull the cable."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _unplugged(self, true_s: float) -> bool:
        if self._gone_s is None or true_s < self._gone_s:
            return False
        return self.faults.camera_replug_s is None or true_s < self._gone_s + self.faults.camera_replug_s

    def _render(self, true_s: float) -> Picture:
        scene_s = 0.0 if self.scene_zero_s is None else max(0.0, true_s - self.scene_zero_s)
        return self._renderer.render([posed(motion, scene_s) for motion in self.motions], true_s)

    def _wait_until(self, true_s: float) -> bool:
        """False when the cable was pulled meanwhile."""
        return not self._stop.wait(max(0.0, (true_s - self.now_s()) / self.order.speed))

    def _exposure_s(self, grid: int) -> float:
        """True time of the middle of exposure `grid`."""
        return self.clock.true_duration_s(self.order.phase_s + grid / self.rate_hz)

    def _run(self, device: "_Device") -> None:
        """Expose, deliver, until the cable is pulled."""
        with contextlib.ExitStack() as stack:
            cable = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            cable.setblocking(False)
            self._unsaid_s.clear()  # the cable was pulled before those
            if self._late_until_s is None:
                self._late_until_s = self.now_s() + self.faults.camera_late_s
            start_s = max(self.now_s(), self._late_until_s)
            grid = first = (
                int(np.ceil((start_s - self._exposure_s(0)) / self.clock.true_duration_s(1 / self.rate_hz))) + 1
            )
            if self._gone_s is None and self.faults.camera_unplug_s is not None:
                self._gone_s = self._exposure_s(first) + self.faults.camera_unplug_s
            while True:
                exposed_s = self._exposure_s(grid)
                if self._unplugged(exposed_s):
                    return
                self._expose(device, grid, grid - first + 1, exposed_s, cable)
                if self._stop.is_set():
                    return
                self._listen(cable)
                grid += 1 + self._left_out(grid + 1)

    def _left_out(self, grid: int) -> int:
        """How many exposures from `grid` on this machine is too slow to draw; theirs is the fate of frames nobody fetches.

        Late frames would not do: what is more than a period late looks like the next one, and a camera sends none so late.
        """
        ready_s, count = self.now_s() + min(self._drawings_s), 0
        if ready_s < self._exposure_s(grid + 1) + DELIVERY_S:
            return 0
        while self._exposure_s(grid + count) + DELIVERY_S < ready_s:
            self._unsaid_s.append(self._exposure_s(grid + count) - EXPOSURE_S / 2)
            count += 1
        self.truth.behind += count
        return count

    def _expose(self, device: "_Device", grid: int, number: int, exposed_s: float, cable: socket.socket) -> None:
        faults, truth = self.faults, self.truth
        chance = np.random.default_rng([faults.seed, 0xCA3, number])
        lose_color, lose_depth = (bool(chance.random() < faults.camera_drop) for _ in range(2))
        jitter = float(chance.uniform(-1.0, 1.0)) * JITTER_S
        if faults.camera_no_depth:
            lose_depth = True
        elif lose_depth:
            truth.depth_dropped += 1
        truth.color_dropped += lose_color
        began_s = self.now_s()
        picture = None if lose_color and lose_depth else self._picture(number, exposed_s)
        if picture is not None:
            self._drawings_s.append(self.now_s() - began_s)
        truth.exposures += 1
        self._unsaid_s.append(exposed_s - EXPOSURE_S / 2)
        if self.order.sync_cable and not faults.camera_no_depth:
            if not self._wait_until(self._unsaid_s[-1]):
                return
            for start_s in self._unsaid_s:
                with contextlib.suppress(OSError):  # nobody listens yet, or any more
                    cable.sendto(f"{start_s:.9f}".encode(), self.order.sync_cable)
        self._unsaid_s.clear()
        if not self._wait_until(exposed_s + DELIVERY_S + jitter) or picture is None:
            return
        sensor_us = round(self.clock.reading_s(exposed_s) * 1e6)
        frame_us = sensor_us + round((EXPOSURE_S / 2 + READOUT_S) * 1e6)
        if not lose_depth:
            truth.depth_sent += 1
            device.send_depth(picture.depth_mm, number, sensor_us, frame_us)
        if not lose_color:
            truth.color_sent += 1
            device.send_color(picture.colour, number, sensor_us, frame_us)

    def _listen(self, cable: socket.socket) -> None:
        """When the scene began, from what the cable's other end answered."""
        with contextlib.suppress(OSError, ValueError):  # nothing yet; `none`
            while True:
                word, value = cable.recv(64).split()
                if word == b"zero" and value != b"none":
                    self.scene_zero_s = float(value)

    def _picture(self, number: int, exposed_s: float) -> Picture:
        if self._loop:
            return self._loop[number % len(self._loop)]
        freeze_s = self.faults.camera_freeze_s
        if freeze_s is not None and number > freeze_s * self.rate_hz:
            if self._frozen is None:
                self._frozen = self._render(exposed_s)
            return self._frozen
        return self._render(exposed_s)


class _Device:
    """The software device with its two sensors, and how a frame goes into them."""

    def __init__(self, rs: ModuleType, inner: Intrinsics, rate_hz: int, faults: FaultPlan) -> None:
        self._rs, self._faults = rs, faults
        self.device = rs.software_device()
        for name, value in (
            (rs.camera_info.name, "Simulated RealSense D455"),
            (rs.camera_info.serial_number, "simulated"),
            (rs.camera_info.firmware_version, "simulated"),
            (rs.camera_info.usb_type_descriptor, "2.1" if faults.camera_usb2 else "3.2"),
        ):
            self.device.register_info(name, value)
        self._depth = self.device.add_sensor("Stereo Module")
        self._color = self.device.add_sensor("RGB Camera")
        self._depth_profile = self._depth.add_video_stream(
            _stream(rs, rs.stream.depth, rs.format.z16, 2, inner, rate_hz)
        )
        self._color_profile = self._color.add_video_stream(
            _stream(rs, rs.stream.color, rs.format.rgb8, 3, inner, rate_hz)
        )
        same_place = rs.extrinsics()
        same_place.rotation, same_place.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 0, 0]
        self._depth_profile.register_extrinsics_to(self._color_profile, same_place)
        self._depth.add_read_only_option(rs.option.depth_units, DEPTH_UNIT_M)
        modes = rs.option_range()
        modes.min, modes.max, modes.step, modes.default = 0, 258, 1, 0
        self._depth.add_option(rs.option.inter_cam_sync_mode, modes, True)
        self._delivered = {"color": 0, "depth": 0}

    def send_color(self, picture: np.ndarray, number: int, sensor_us: int, frame_us: int) -> None:
        self._send("color", self._color, self._color_profile, picture, number, sensor_us, frame_us)

    def send_depth(self, picture: np.ndarray, number: int, sensor_us: int, frame_us: int) -> None:
        self._send("depth", self._depth, self._depth_profile, picture, number, sensor_us, frame_us)

    def _send(
        self, name: str, sensor: Any, profile: Any, picture: np.ndarray, number: int, sensor_us: int, frame_us: int
    ) -> None:
        rs = self._rs
        wall_ms = time.time_ns() // 1_000_000
        self._delivered[name] += 1
        frame = rs.software_video_frame()
        frame.bpp = picture.dtype.itemsize * (picture.shape[2] if picture.ndim == 3 else 1)
        frame.stride = frame.bpp * picture.shape[1]
        frame.profile = profile.as_video_stream_profile()
        frame.pixels = np.ascontiguousarray(picture)
        if name == "depth":
            frame.depth_units = DEPTH_UNIT_M
        named = rs.frame_metadata_value
        host = [(named.backend_timestamp, wall_ms - 1), (named.time_of_arrival, wall_ms)]
        if self._faults.camera_no_metadata:  # librealsense then takes the host's time and counts for itself
            frame.timestamp, frame.domain = float(wall_ms), rs.timestamp_domain.system_time
            frame.frame_number = self._delivered[name]
        else:
            frame.timestamp, frame.domain = frame_us / 1000, rs.timestamp_domain.hardware_clock
            frame.frame_number = number
            host += [
                (named.frame_timestamp, frame_us),
                (named.sensor_timestamp, sensor_us),
                (named.frame_counter, number),
                (named.actual_exposure, round(EXPOSURE_S * 1e6)),
            ]
        for key, value in host:
            sensor.set_metadata(key, value)
        sensor.on_video_frame(frame)


def _stream(rs: ModuleType, kind: Any, form: Any, bytes_a_pixel: int, inner: Intrinsics, rate_hz: int) -> Any:
    geometry = rs.intrinsics()
    geometry.width, geometry.height = inner.width, inner.height
    geometry.fx, geometry.fy, geometry.ppx, geometry.ppy = inner.fx, inner.fy, inner.cx, inner.cy
    geometry.model = rs.distortion.inverse_brown_conrady  # what a D400 camera's colour says of itself
    geometry.coeffs = list(inner.distortion)
    stream = rs.video_stream()
    stream.type, stream.fmt, stream.index, stream.uid = kind, form, 0, int(bytes_a_pixel)
    stream.width, stream.height, stream.fps, stream.bpp = inner.width, inner.height, rate_hz, bytes_a_pixel
    stream.intrinsics = geometry
    return stream
