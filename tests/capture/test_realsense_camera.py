import socket
import threading
import time

import numpy as np
import pytest

from capture.camera import Pace
from capture.camera_sources import open_camera
from capture.camera_sync_modes import sync_mode_words
from capture.realsense_camera import RealSenseCamera
from capture.realsense_library import import_realsense
from capture.realsense_profiles import attached_device, choose_profiles, played_device, stream_intrinsics
from capture.simulator.camera import Camera
from capture.simulator.realsense import DELIVERY_S, EXPOSURE_S, SimulatedCameraOrder, SimulatedRealSense, true_joints
from capture.simulator.shown import Act, SceneOrder, shown
from capture.simulator.sync_cable import CableEnd
from pipeline.camera_frames import DOMAIN_HARDWARE_CLOCK, DOMAIN_SYSTEM_TIME, STREAM_COLOR, STREAM_DEPTH
from pipeline.camera_geometry import distort_px, pixel_to_metres
from pipeline.errors import PipelineError
from pipeline.settings import CameraSettings, SimulatedClock

SMALL = CameraSettings(width=160, height=120)
SCENE = SceneOrder(seed=3, acts=(Act(action="sleeve-adjust", start_s=0.0, stop_s=10.0),))


def simulated(settings=SMALL, **order):
    """A simulated camera and the driver on it."""
    given = {"scene": SCENE, "rig_origin_monotonic_s": time.monotonic(), **order}
    camera = SimulatedRealSense(SimulatedCameraOrder(**given), settings.width, settings.height, settings.rate_hz)
    return camera, RealSenseCamera(camera.find, settings, simulated=True, release=camera.close)


def read_frames(source, count, timeout_s=30.0):
    """So many frames, or those that came in time."""
    frames, deadline = [], time.monotonic() + timeout_s
    while len(frames) < count and time.monotonic() < deadline and not source.ended:
        frame = source.read(0.2)
        if frame is not None:
            frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def watched():
    """Some frames of a camera whose clock is half a minute off and 150 ppm fast, with frames lost on the way."""
    faults = {"camera_drop": 0.15, "seed": 5}
    camera, source = simulated(clock=SimulatedClock(offset_s=30.0, drift_ppm=150.0), faults=faults)
    description = source.open()
    frames = read_frames(source, 50)
    source.close()
    return camera, description, frames


def test_the_description_says_which_camera_and_its_geometry(watched):
    camera, description, _ = watched
    inner = camera.camera.intrinsics
    assert (description.source, description.simulated, description.usb) == ("realsense", True, "3.2")
    assert (description.color.width, description.color.height) == (160, 120)
    assert description.color.fx == pytest.approx(inner.fx)
    assert description.color.cx == pytest.approx(inner.cx)
    assert description.depth_unit_m == 0.001
    assert description.inter_cam_sync_mode == 0
    assert description.degraded == ()


def test_a_frame_shows_the_scene_at_the_time_its_stamp_says(watched):
    """The device clock undone, the stamp is the true time: the same picture, pixel for pixel, is drawn for it again."""
    camera, _, frames = watched
    for stream in (STREAM_COLOR, STREAM_DEPTH):
        frame = [one for one in frames if one.stream == stream][4]
        exposure = round(
            (frame.sensor_timestamp_us * 1e-6 - camera.clock.offset_s) * camera.rate_hz
        )  # which of the grid's
        picture = camera._render(camera._exposure_s(exposure))
        assert camera._exposure_s(exposure) == pytest.approx(
            camera.clock.true_s(frame.sensor_timestamp_us * 1e-6), abs=2e-6
        )
        if stream == STREAM_COLOR:
            np.testing.assert_array_equal(frame.picture, picture.colour)
        else:
            assert (frame.picture == picture.depth_mm).mean() > 0.95  # rs.align leaves some edges out


def test_every_stamp_is_kept_and_means_what_it_says(watched):
    camera, _, frames = watched
    period_us = 1e6 / 30
    for stream in (STREAM_COLOR, STREAM_DEPTH):
        own = [frame for frame in frames if frame.stream == stream]
        numbers = np.array([frame.frame_number for frame in own])
        stamps = np.array([frame.sensor_timestamp_us for frame in own])
        assert (np.diff(numbers) > 0).all()
        assert (np.diff(numbers) > 1).any()  # lost frames leave their numbers out
        np.testing.assert_allclose(np.diff(stamps), np.diff(numbers) * period_us, atol=2)
        for frame in own:
            assert frame.domain == DOMAIN_HARDWARE_CLOCK
            assert frame.timestamp_ms == pytest.approx(frame.frame_timestamp_us / 1000)
            assert 0 < frame.frame_timestamp_us - frame.sensor_timestamp_us < 20_000
            assert frame.exposure_us == round(EXPOSURE_S * 1e6)
            assert abs(frame.time_of_arrival_ms / 1000 - time.time()) < 120
            true_s = frame.received_ns / 1e9 - camera.order.rig_origin_monotonic_s
            assert true_s > camera.clock.true_s(frame.sensor_timestamp_us * 1e-6)  # never before it was taken
    assert camera.truth.color_dropped + camera.truth.depth_dropped > 0


def test_the_truth_puts_the_joints_on_the_body(watched):
    """A joint's true pixel, at the frame's true time, shows depth that is the joint's, less the flesh in front of it."""
    camera, description, frames = watched
    frame = [one for one in frames if one.stream == STREAM_DEPTH][10]
    motions, _ = shown(SCENE)
    when = np.array([camera.clock.true_s(frame.sensor_timestamp_us * 1e-6)])
    xyz_m, uv_px = true_joints(motions[0], when, Camera(camera.camera.intrinsics))
    inside = np.all((uv_px[0] > 1) & (uv_px[0] < [158, 118]), axis=-1)
    assert inside.sum() >= 8
    column, row = np.round(uv_px[0, inside]).astype(int).T
    depth_m = frame.picture[row, column] * description.depth_unit_m
    near = np.abs(xyz_m[0, inside, 2] - depth_m) < 0.35
    assert near.mean() > 0.7  # an arm may hide a joint
    back = pixel_to_metres(uv_px[0], xyz_m[0, :, 2], description.color)
    np.testing.assert_allclose(back, xyz_m[0], atol=1e-4)


def test_degraded_states_are_named_and_depth_may_be_missing():
    plan = {"camera_usb2": True, "camera_no_metadata": True, "camera_no_depth": True}
    camera, source = simulated(faults=plan, pictures=3)
    source.open()
    frames = read_frames(source, 10)
    words = " ".join(source.description.degraded)
    source.close()
    assert "USB 2.1 link" in words
    assert "colour frames carry no metadata" in words
    assert {frame.stream for frame in frames} == {STREAM_COLOR}
    assert {frame.domain for frame in frames} == {DOMAIN_SYSTEM_TIME}
    assert {frame.sensor_timestamp_us for frame in frames} == {-1}
    assert camera.truth.depth_sent == 0


def test_a_cable_carries_each_depth_exposure_and_says_when_the_scene_began():
    edges: list[float] = []
    zero_s: list[float | None] = [None]
    with CableEnd(edges.append, lambda: zero_s[0]) as cable:
        camera, source = simulated(sync_cable=("127.0.0.1", cable.port), pictures=0)
        source.open()
        read_frames(source, 6)
        assert camera.scene_zero_s is None
        zero_s[0] = camera.now_s()
        frames = read_frames(source, 20)
        assert camera.scene_zero_s == zero_s[0]
        source.close()
    starts = [camera.clock.true_s(frame.sensor_timestamp_us * 1e-6) - EXPOSURE_S / 2 for frame in frames]
    assert starts
    assert all(min(abs(edge - start) for edge in edges) < 1e-5 for start in starts)
    assert len(edges) >= len({frame.frame_number for frame in frames})


def test_what_a_machine_is_too_slow_to_draw_is_left_out_rather_than_late_and_the_cable_tells_of_it():
    edges: list[float] = []
    with CableEnd(edges.append, lambda: 0.0) as cable:
        # At this speed drawing takes longer than a period.
        camera, source = simulated(sync_cable=("127.0.0.1", cable.port), speed=8.0)
        source.open()
        frames = read_frames(source, 60)
        source.close()
        assert camera.truth.behind > 0
        taken_s = np.array([camera.clock.true_s(frame.sensor_timestamp_us * 1e-6) for frame in frames])
        deadline = time.monotonic() + 30
        while edges[-1] < taken_s[-1] - EXPOSURE_S and time.monotonic() < deadline:
            time.sleep(0.01)
    np.testing.assert_allclose(np.diff(edges), 1 / 30, atol=1e-6)  # every exposure, drawn or not, in order
    assert (np.diff([frame.frame_number for frame in frames if frame.stream == STREAM_DEPTH]) > 1).any()
    arrived_s = np.array([frame.received_ns / 1e9 - camera.order.rig_origin_monotonic_s for frame in frames])
    assert (arrived_s * camera.order.speed - taken_s).min() < DELIVERY_S + 1 / 30


def test_a_recording_of_librealsense_plays_through_the_driver(tmp_path):
    """`.db3` as rs.recorder writes it: every frame, its pictures and its stamps, however slowly it is read."""
    rs = import_realsense()
    camera, _ = simulated(pictures=4)
    device = camera.find(rs)
    path = tmp_path / "session.db3"
    recorder = rs.recorder(str(path), device)
    written: dict[int, list[tuple[int, bytes]]] = {STREAM_COLOR: [], STREAM_DEPTH: []}
    both = threading.Event()

    def keep(frame):
        stream = STREAM_DEPTH if frame.get_profile().stream_type() == rs.stream.depth else STREAM_COLOR
        written[stream].append((frame.get_frame_number(), np.asanyarray(frame.get_data()).tobytes()))
        if min(map(len, written.values())) >= 12:
            both.set()

    sensors = recorder.query_sensors()
    for sensor in sensors:
        sensor.open(sensor.get_stream_profiles())
        sensor.start(keep)
    assert both.wait(30)
    for sensor in sensors:
        sensor.stop()
        sensor.close()
    camera.close()
    del recorder, sensors, device

    settings = CameraSettings(source="playback", path="session.db3")
    source = RealSenseCamera(lambda module: played_device(module, path), settings, source="playback", pace=Pace(None))
    description = source.open()
    assert (description.source, description.name) == ("playback", "Simulated RealSense D455")
    assert description.color.fx == pytest.approx(camera.camera.intrinsics.fx)
    assert description.depth_unit_m == 0.001
    played: dict[int, list] = {STREAM_COLOR: [], STREAM_DEPTH: []}
    deadline = time.monotonic() + 60
    while not source.ended and time.monotonic() < deadline:
        frame = source.read(0.2)
        if frame is not None:
            played[frame.stream].append(frame)
            time.sleep(0.02)
    assert source.ended
    source.close()
    for stream, frames in played.items():
        theirs = dict(written[stream])
        assert [frame.frame_number for frame in frames] == list(theirs)
        assert all(frame.sensor_timestamp_us > 0 for frame in frames)
        assert all(frame.domain == DOMAIN_HARDWARE_CLOCK for frame in frames)
        if stream == STREAM_COLOR:
            assert all(frame.picture.tobytes() == theirs[frame.frame_number] for frame in frames)


def test_a_real_camera_is_looked_for_and_files_are_refused_in_plain_words(tmp_path):
    rs = import_realsense()
    if len(rs.context().query_devices()) == 0:
        with pytest.raises(PipelineError, match="No RealSense camera is attached"):
            attached_device(rs, None)
    with pytest.raises(PipelineError, match=r"no recording .* to play back"):
        played_device(rs, tmp_path / "none.db3")
    (tmp_path / "text.db3").write_text("no recording")
    with pytest.raises(PipelineError, match="no recording that librealsense plays back"):
        played_device(rs, tmp_path / "text.db3")
    with pytest.raises(PipelineError, match="no `path`"):
        open_camera(CameraSettings(source="video"), tmp_path)
    with pytest.raises(PipelineError, match=r"source in rig.toml is none"):
        open_camera(CameraSettings(source="none"), tmp_path)


def _device(rs, streams):
    """A software device that offers (stream, format, width, height, rate)."""
    device = rs.software_device()
    for number, (kind, form, width, height, rate) in enumerate(streams):
        stream = rs.video_stream()
        stream.type, stream.fmt, stream.index, stream.uid, stream.bpp = kind, form, 0, number + 1, 2
        stream.width, stream.height, stream.fps = width, height, rate
        inner = rs.intrinsics()
        inner.width, inner.height, inner.fx, inner.fy = width, height, 300.0, 300.0
        stream.intrinsics = inner
        device.add_sensor(f"sensor {number}").add_video_stream(stream)
    return device


def test_streams_are_chosen_by_size_and_then_rate():
    rs = import_realsense()
    color, z16 = (rs.stream.color, rs.format.rgb8), (rs.stream.depth, rs.format.z16)
    usb2 = _device(rs, [(*color, 640, 480, 15), (*color, 640, 480, 60), (*z16, 480, 270, 30), (*z16, 848, 480, 30)])
    chosen, depth, words = choose_profiles(rs, usb2, CameraSettings(), exact=True)
    assert (chosen.profile.fps(), depth.profile.width()) == (15, 848)
    assert words == [
        "The camera offers colour of this size at 15 frames a second, not 30; a USB 2 link often is the reason."
    ]
    with pytest.raises(PipelineError, match="no colour of 1280 x 720 pixels; it offers 640 x 480"):
        choose_profiles(rs, usb2, CameraSettings(width=1280, height=720), exact=True)
    with pytest.raises(PipelineError, match="no RGB8 colour stream"):
        choose_profiles(rs, _device(rs, [(*z16, 640, 480, 30)]), CameraSettings(), exact=True)


def test_our_lens_is_librealsenses_lens():
    """A D400's colour says inverse_brown_conrady; stored coefficients must mean what librealsense does with them."""
    rs = import_realsense()
    inner = rs.intrinsics()
    inner.width, inner.height, inner.fx, inner.fy, inner.ppx, inner.ppy = 640, 480, 384.0, 384.0, 319.5, 239.5
    inner.model, inner.coeffs = rs.distortion.inverse_brown_conrady, [-0.056, 0.066, 0.0006, -0.0003, -0.02]

    class Profile:
        def get_intrinsics(self):
            return inner

    ours = stream_intrinsics(rs, Profile())
    points = np.random.default_rng(1).uniform([-0.8, -0.6, 1.0], [0.8, 0.6, 1.0], (60, 3))
    straight = points[:, :2] * 384 + [319.5, 239.5]
    theirs = np.array([rs.rs2_project_point_to_pixel(inner, list(point)) for point in points])
    np.testing.assert_allclose(distort_px(straight, ours), theirs, atol=0.02)
    inner.model = rs.distortion.ftheta
    assert stream_intrinsics(rs, Profile()) is None


def test_modes_never_promise_triggered_colour():
    for mode in (0, 1, 2, 3, 4, 5, 258):
        assert "Colour runs freely in every mode" in sync_mode_words(mode)
    assert "no longer supports" in sync_mode_words(4)
    assert "255 depth frames a pulse" in sync_mode_words(258)
    camera, source = simulated(CameraSettings(width=160, height=120, inter_cam_sync_mode=1), pictures=2)
    assert source.open().inter_cam_sync_mode == 1
    source.close()
    assert camera.truth.color_dropped == 0


def test_a_cable_to_nobody_hinders_nothing():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    _, source = simulated(sync_cable=("127.0.0.1", port), pictures=2)
    source.open()
    assert len(read_frames(source, 8)) == 8
    source.close()


def test_a_late_camera_that_is_opened_anew_is_not_late_again():
    camera, source = simulated(faults={"camera_late_s": 3.0})
    source.open()
    time.sleep(1.5)
    source.close()
    again_s = camera.now_s()
    source.open()
    frames = read_frames(source, 1)
    source.close()
    assert camera.clock.true_s(frames[0].sensor_timestamp_us / 1e6) < again_s + 3.0
