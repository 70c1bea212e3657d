"""Pictures of simulated people: the camera's geometry, what hides what, sensors, and the kernels against their twins."""

from dataclasses import replace

import numpy as np
import pytest

from capture.simulator.actions import perform
from capture.simulator.appearance import look_of
from capture.simulator.backdrop import backdrop, lamps
from capture.simulator.body import INDEX
from capture.simulator.camera import D455_640X480, D455_1280X720, Camera, Intrinsics, scaled
from capture.simulator.motion import PlacedMotion, placed
from capture.simulator.person import person
from capture.simulator.radar_body import RadarBody
from capture.simulator.render import (
    HIDDEN,
    OUT_OF_PICTURE,
    VISIBLE,
    Picture,
    PosedBody,
    Renderer,
    posed,
    posed_capsules,
)
from capture.simulator.render_kernels import LIMB_COLUMNS, draw_limbs, paint_limbs, prepare_limbs
from capture.simulator.render_reference import exposed, lit, measured, nearest_limb, stereo_shadow
from capture.simulator.room import Box, Room, lab_room, studio_room
from capture.simulator.sensor import BASELINE_M, IDEAL, Sensor, SensorModel, tone_curve
from capture.simulator.sensor_kernels import expose, measure_depth
from pipeline.camera_geometry import distorted, undistorted
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS

SMALL = scaled(D455_640X480, 0.5)
# What librealsense reports for one D455's colour stream.
REAL_LENS = (-0.0565, 0.0682, 0.00037, 0.00069, -0.0218)


def standing(seed: int, at: tuple[float, float] = (0.0, 2.5), turn_rad: float = 0.0) -> PosedBody:
    """Somebody who stands, arms hanging, before an arm raise begins."""
    motion = perform("arm-raise", person(seed), 0, 4.0)
    return posed(PlacedMotion(motion, (*at, -1.0), turn_rad), 0.0)


@pytest.fixture(scope="module")
def plain() -> Renderer:
    return Renderer(Camera(SMALL), lab_room(0), 0, IDEAL)


def pixel(camera: Camera, point_m: np.ndarray | tuple[float, float, float]) -> tuple[int, int]:
    """Row and column of the pixel that a point of the room falls on."""
    u, v, _ = camera.project(np.array([point_m], np.float64))
    return round(float(v[0])), round(float(u[0]))


# --- camera ----------------------------------------------------------------------------------------------------------


def test_projection_by_hand() -> None:
    camera = Camera(D455_640X480, (0.0, 0.0, 0.08))
    points = np.array([[0.0, 2.0, 0.08], [0.5, 2.0, 0.08], [0.0, 4.0, 1.08], [0.0, -1.0, 0.0]])
    u, v, depth = camera.project(points)
    np.testing.assert_allclose(u[:3], [319.5, 319.5 + 384 * 0.25, 319.5])
    np.testing.assert_allclose(v[:3], [239.5, 239.5, 239.5 - 384 / 4])
    np.testing.assert_allclose(depth, [2.0, 2.0, 4.0, -1.0])
    assert np.isnan([u[3], v[3]]).all()


def test_pitch_up_moves_the_picture_down_and_its_axes_stay_a_rotation() -> None:
    level, up = Camera(), Camera(pitch_rad=0.1)
    ahead = np.array([[0.0, 3.0, 0.08]])
    assert up.project(ahead)[1][0] == pytest.approx(239.5 + 384 * np.tan(0.1))
    assert level.project(ahead)[1][0] == pytest.approx(239.5)
    np.testing.assert_allclose(up.axes @ up.axes.T, np.eye(3), atol=1e-15)
    assert np.linalg.det(up.axes) == pytest.approx(1.0)
    np.testing.assert_allclose(up.to_room(up.to_camera(ahead)), ahead, atol=1e-15)


def test_fields_of_view_are_the_d455s() -> None:
    wide = np.degrees(2 * np.arctan(D455_1280X720.width / 2 / D455_1280X720.fx))
    tall = np.degrees(2 * np.arctan(800 / 2 / D455_1280X720.fy))  # of the sensor's 800 rows
    assert wide == pytest.approx(90.0)
    assert tall == pytest.approx(65.0, abs=1.5)
    # One sensor behind both streams: 640 x 480 is six tenths of its middle.
    assert D455_640X480.fx / D455_1280X720.fx == pytest.approx(480 / 800)


def test_rays_undo_projection_even_through_a_real_lens() -> None:
    for lens in ((0.0,) * 5, REAL_LENS):
        camera = Camera(replace(SMALL, distortion=lens), (0.1, 0.2, 0.3), -0.2)
        rays = camera.rays()
        points = camera.to_room(np.concatenate([rays, np.ones((*rays.shape[:2], 1))], axis=-1) * 3.0)
        u, v, depth = camera.project(points)
        rows, columns = np.mgrid[: SMALL.height, : SMALL.width]
        np.testing.assert_allclose(u, columns, atol=1e-5)
        np.testing.assert_allclose(v, rows, atol=1e-5)
        np.testing.assert_allclose(depth, 3.0)


def test_distortion_by_hand() -> None:
    x, y = distorted(np.array([0.5]), np.array([-0.2]), (0.1, 0.0, 0.01, 0.0, 0.0))
    assert x[0] == pytest.approx(0.5 * 1.029 + 2 * 0.01 * 0.5 * -0.2)
    assert y[0] == pytest.approx(-0.2 * 1.029 + 0.01 * (0.29 + 2 * 0.04))


def test_impossible_cameras_and_rooms_are_named() -> None:
    with pytest.raises(PipelineError, match="folds the picture"):
        undistorted(np.array([0.9]), np.array([0.9]), (-2.0, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(PipelineError, match="above 0"):
        Camera(Intrinsics(640, 0, 384.0, 384.0, 320.0, 240.0))
    with pytest.raises(PipelineError, match="pitch"):
        Camera(pitch_rad=2.0)
    with pytest.raises(PipelineError, match="outside the room"):
        Renderer(Camera(SMALL, (0.0, 0.0, 9.0)), lab_room(0))
    with pytest.raises(PipelineError, match="no volume"):
        replace(lab_room(0), boxes=(Box((0, 1, 0), (0, 2, 1), (0, 0, 0)),))
    with pytest.raises(PipelineError, match="stand inside"):
        replace(lab_room(0), back_m=-1.0)
    with pytest.raises(PipelineError, match="above the floor"):
        replace(lab_room(0), radar_height_m=-1.0)


# --- the room --------------------------------------------------------------------------------------------------------


def test_empty_room_by_hand() -> None:
    camera = Camera(SMALL, (0.0, 0.0, 0.1))
    room = Room(
        -2.0,
        2.0,
        -1.0,
        5.0,
        1.5,
        1.0,
        (200, 200, 200),
        (90, 90, 90),
        "tiles",
        (Box((0.5, 3, -1), (1, 3.5, 0.4), (9, 9, 9)),),
    )
    empty = backdrop(camera, room, lamps(0))
    for place, depth, floor in (
        ((0.0, 5.0, 0.2), 5.0, False),  # back wall
        ((0.75, 3.0, 0.1), 3.0, False),  # the box's front
        ((-2.0, 4.0, 0.3), 4.0, False),  # left wall
        ((-0.4, 2.5, -1.0), 2.5, True),  # floor
        ((0.3, 3.5, 1.5), 3.5, False),  # ceiling
        ((-2.0, 4.5, -0.2), 4.5, False),
    ):
        row, column = pixel(camera, place)
        assert empty.depth_m[row, column] == pytest.approx(depth, rel=0.01), place
        assert empty.floor[row, column] == floor, place
    assert empty.light.min() > 0


def test_rooms_differ_by_seed_and_keep_furniture_inside_and_off_the_spot() -> None:
    for make in (lab_room, studio_room):
        assert make(1) == make(1)
        assert make(1) != make(2)
        for seed in range(20):
            room = make(seed)
            assert len(room.boxes) >= 5
            for box in room.boxes:
                assert room.left_m <= box.low_m[0] < box.high_m[0] <= room.right_m
                assert room.front_m <= box.low_m[1] < box.high_m[1] <= room.back_m
                assert not (box.low_m[0] < 1.0 and box.high_m[0] > -1.0 and box.low_m[1] < 4.0)


# --- people ----------------------------------------------------------------------------------------------------------


def drawn(renderer: Renderer, bodies: list[PosedBody]) -> Picture:
    return renderer.render(bodies, 0.0)


def test_keypoints_are_the_projected_joints_and_lie_on_the_body(plain: Renderer) -> None:
    body = standing(3)
    picture = drawn(plain, [body])
    u, v, depth = plain.camera.project(body.joints_m[:13])
    np.testing.assert_allclose(picture.keypoints_px[0], np.stack([u, v], axis=1))
    np.testing.assert_allclose(picture.keypoints_m[0, :, 2], depth)
    assert (picture.visibility[0] == VISIBLE).all()
    rows, columns = np.round(v).astype(int), np.round(u).astype(int)
    assert (picture.body[rows, columns] == 0).all()
    # The surface lies in front of the joint by no more than flesh is thick.
    surface = picture.depth_mm[rows, columns] / 1000
    assert ((depth - surface > -0.03) & (depth - surface < 0.17)).all()
    first, last, top, bottom = picture.boxes_px[0]
    shown = np.argwhere(picture.body == 0)
    assert [first, last, top, bottom] == [
        *(shown[:, 1].min(), shown[:, 1].max()),
        *(shown[:, 0].min(), shown[:, 0].max()),
    ]


def test_left_hand_of_somebody_who_faces_the_camera_is_on_the_right(plain: Renderer) -> None:
    left, right = JOINTS.index("left_wrist"), JOINTS.index("right_wrist")
    towards = drawn(plain, [standing(3)]).keypoints_px[0]
    away = drawn(plain, [standing(3, turn_rad=np.pi)]).keypoints_px[0]
    assert towards[left, 0] > towards[right, 0] + 20
    assert away[left, 0] < away[right, 0] - 20


def test_a_face_shows_skin_and_the_back_of_a_head_hair() -> None:
    close = Renderer(Camera(SMALL, (0.0, 0.0, 0.55)), lab_room(0), 0, IDEAL)
    someone = person(3, height_m=1.7)
    someone = replace(someone, clothing=replace(someone.clothing, skin=(240, 200, 180), hair=(20, 16, 14)))
    shades = {}
    for name, turn in (("front", 0.0), ("back", np.pi), ("left", np.pi / 2)):
        body = replace(standing(3, (0.0, 1.5), turn), person=someone)
        row, column = pixel(close.camera, body.joints_m[INDEX["head"]])
        shades[name] = drawn(close, [body]).colour[row - 6 : row + 6, column - 6 : column + 6].mean()
    assert shades["front"] > 2 * shades["back"]
    assert shades["front"] > shades["left"] > shades["back"]


def test_depth_at_a_pixel_is_the_limbs_surface(plain: Renderer) -> None:
    body = standing(4)
    picture = drawn(plain, [body])
    look = look_of(body.person)
    # Half way down the shank the nearest drawn surface is that shank: a cone seen nearly square on.
    number = look.names.index("left_shank")
    knee, ankle = body.joints_m[INDEX["left_knee"]], body.joints_m[INDEX["left_ankle"]]
    middle, radius = (knee + ankle) / 2, look.radii_m[number].mean()
    row, column = pixel(plain.camera, middle)
    ray = plain.camera.to_room(np.array([[*plain.camera.rays()[row, column], 1.0]]))[0] - np.array(
        plain.camera.position_m
    )
    ray /= np.linalg.norm(ray)
    axis = (ankle - knee) / np.linalg.norm(ankle - knee)
    slant = np.sqrt(1 - (ray @ axis) ** 2)  # the ray leaves through the cone at this angle to its axis
    expected = np.linalg.norm(middle - np.array(plain.camera.position_m)) - radius / slant
    forward = plain.camera.axes[2] @ ray
    assert picture.depth_mm[row, column] == pytest.approx(1000 * expected * forward, abs=8)


@pytest.mark.parametrize("seed", range(3))
def test_the_radar_meets_the_surface_that_the_camera_sees(seed: int) -> None:
    """But for hair, ears and the shape of a face, which radar waves do not care about."""
    camera = Camera(position_m=(0.0, 0.0, 0.0))
    rays = camera.rays()[::8, 200:440:4]
    for turn in (0.0, 1.2, np.pi):
        motion = placed(perform("head-turn", person(seed), 1, 5.0), 2.2, 0.0, turn)
        body = replace(posed(motion, 0.5), chest_rise_m=0.0)
        drawn_m, _ = nearest_limb(rays, *posed_capsules(body, camera), 120)
        ends = RadarBody(body.person).ends(body.joints_m[None])
        radii = np.stack([ends.radius_a_m, ends.radius_b_m], axis=1)
        met_m, _ = nearest_limb(rays, camera.to_camera(ends.a_m[0]), camera.to_camera(ends.b_m[0]), radii, 120)
        both = np.isfinite(drawn_m) & np.isfinite(met_m)
        assert both.sum() > 250
        assert (np.isfinite(drawn_m) != np.isfinite(met_m)).sum() < 0.05 * both.sum()
        apart = np.abs(drawn_m[both] - met_m[both])
        assert np.median(apart) < 1e-6  # one source of radii
        assert np.percentile(apart, 95) < 0.025


def test_a_bystander_hides_the_person_and_the_order_given_does_not_matter(plain: Renderer) -> None:
    person_behind, bystander = standing(5, (0.0, 3.2)), standing(6, (0.25, 2.0), 0.7)
    alone = drawn(plain, [person_behind])
    both, swapped = drawn(plain, [person_behind, bystander]), drawn(plain, [bystander, person_behind])
    np.testing.assert_array_equal(both.depth_mm, swapped.depth_mm)
    np.testing.assert_array_equal(both.body == 0, swapped.body == 1)
    covered = (alone.body == 0) & (both.body == 1)
    assert covered.sum() > 150
    assert (both.depth_mm[covered] < alone.depth_mm[covered] - 500).all()
    np.testing.assert_array_equal(both.body == 0, (alone.body == 0) & ~covered)
    assert (alone.visibility[0] == VISIBLE).all()
    left, right = JOINTS.index("left_shoulder"), JOINTS.index("right_wrist")
    assert both.visibility[0, left] == HIDDEN
    assert both.visibility[0, right] == VISIBLE
    np.testing.assert_allclose(alone.keypoints_px[0], both.keypoints_px[0])
    assert both.boxes_px[0, 1] < alone.boxes_px[0, 1]  # the box is that of what shows


def test_far_arm_is_hidden_from_the_side_and_a_nose_from_behind(plain: Renderer) -> None:
    side = drawn(plain, [standing(7, turn_rad=np.pi / 2)]).visibility[0]  # the right side is towards the camera
    assert side[JOINTS.index("right_elbow")] == VISIBLE
    assert side[JOINTS.index("left_elbow")] == HIDDEN
    behind = drawn(plain, [standing(7, turn_rad=np.pi)]).visibility[0]
    assert behind[JOINTS.index("nose")] == HIDDEN
    assert behind[JOINTS.index("left_shoulder")] == VISIBLE


def test_joints_out_of_the_picture_or_behind_the_camera(plain: Renderer) -> None:
    close = drawn(plain, [standing(8, (0.0, 1.0))])
    assert close.visibility[0, JOINTS.index("left_ankle")] == OUT_OF_PICTURE
    assert close.visibility[0, JOINTS.index("left_hip")] == VISIBLE
    gone = drawn(plain, [standing(8, (0.0, -0.5))])
    assert (gone.visibility == OUT_OF_PICTURE).all()
    assert (gone.body == -1).all()
    assert np.isnan(gone.boxes_px).all()
    assert np.isnan(gone.keypoints_px).all()


def test_furniture_in_front_hides_legs(plain: Renderer) -> None:
    low_wall = Box((-1.0, 1.6, -1.0), (1.0, 1.7, -0.2), (120, 90, 60))
    renderer = Renderer(plain.camera, replace(plain.room, boxes=(low_wall,)), 0, IDEAL)
    seen = drawn(renderer, [standing(9, (0.0, 2.5))]).visibility[0]
    assert seen[JOINTS.index("left_ankle")] == seen[JOINTS.index("right_knee")] == HIDDEN
    assert seen[JOINTS.index("left_shoulder")] == VISIBLE


def test_the_lamp_throws_a_shadow_on_the_floor_only(plain: Renderer) -> None:
    empty, there = drawn(plain, []), drawn(plain, [standing(9, (0.0, 2.2))])
    changed = (there.colour.astype(int) - empty.colour).min(axis=2)
    shadow = (there.body < 0) & (changed < -3)
    floor = backdrop(plain.camera, plain.room, lamps(0)).floor
    assert shadow.sum() > 200
    assert floor[shadow].all()
    assert not ((there.body < 0) & ((there.colour.astype(int) - empty.colour).max(axis=2) > 0)).any()


def test_breath_moves_the_chest(plain: Renderer) -> None:
    body = standing(10, (0.0, 2.0))
    still, inhaled = drawn(plain, [body]), drawn(plain, [replace(body, chest_rise_m=0.012)])
    row, column = pixel(plain.camera, body.joints_m[INDEX["spine"]])
    moved = still.depth_mm[row - 20 : row - 4, column].astype(int) - inhaled.depth_mm[row - 20 : row - 4, column]
    assert 4 <= moved.mean() <= 13


def test_a_lens_bends_the_picture_and_the_keypoints_alike() -> None:
    bent = Renderer(Camera(replace(SMALL, distortion=REAL_LENS)), lab_room(0), 0, IDEAL)
    body = standing(3, (-1.2, 2.2))
    picture = drawn(bent, [body])
    straight = Camera(SMALL).project(body.joints_m[:13])[0]
    assert np.abs(picture.keypoints_px[0, :, 0] - straight).max() > 1
    rows, columns = (
        np.round(picture.keypoints_px[0, :, 1]).astype(int),
        np.round(picture.keypoints_px[0, :, 0]).astype(int),
    )
    assert (picture.body[rows, columns] == 0).all()
    # Nothing is cut off at the limbs' boxes: drawn without boxes, the same pixels show.
    limbs = bent._pose([body])
    geometry = np.empty((len(limbs.radii_m), LIMB_COLUMNS))
    prepare_limbs(limbs.first_m, limbs.second_m, limbs.radii_m, geometry)
    depth, seen = bent._empty.depth_m.copy(), np.full(picture.body.shape, -1, np.int16)
    everywhere = np.tile([0, SMALL.width, 0, SMALL.height], (len(geometry), 1))
    draw_limbs(bent._rays, everywhere, geometry, depth, seen)
    np.testing.assert_array_equal(seen >= 0, picture.body == 0)


def test_joints_that_are_missing_or_not_finite_are_named(plain: Renderer) -> None:
    body = standing(3)
    broken = body.joints_m.copy()
    broken[4, 1] = np.nan
    for joints in (broken, body.joints_m[:13]):
        with pytest.raises(PipelineError, match="body 1 has joints"):
            drawn(plain, [body, replace(body, joints_m=joints)])


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_pictures_depend_on_seed_and_time_only() -> None:
    room, body = lab_room(2), standing(11)
    first, again, other = (Renderer(Camera(SMALL), room, seed) for seed in (7, 7, 8))
    first.render([], 0.3)  # what came before does not matter
    a, b = first.render([body], 1.25), again.render([body], 1.25)
    np.testing.assert_array_equal(a.colour, b.colour)
    np.testing.assert_array_equal(a.depth_mm, b.depth_mm)
    assert (a.colour != other.render([body], 1.25).colour).mean() > 0.3
    later = again.render([body], 1.3)
    assert (a.depth_mm != later.depth_mm).mean() > 0.3
    np.testing.assert_array_equal(a.body, later.body)


def test_people_differ_and_one_person_stays_the_same() -> None:
    assert look_of(person(1)) is look_of(person(1))
    colours = {tuple(look_of(person(seed)).paint[0].round(6)) for seed in range(12)}
    assert len(colours) == 12


# --- sensors ---------------------------------------------------------------------------------------------------------


def test_depth_noise_grows_with_the_square_of_distance() -> None:
    model = SensorModel(disparity_steps=0.0, edge_loss=0.0)
    sensor = Sensor(model, SMALL, 0.3, 0)
    light = np.full((SMALL.height, SMALL.width, 3), 0.2, np.float32)
    for z in (1.0, 2.0, 4.0):
        depth = np.full((SMALL.height, SMALL.width), z, np.float32)
        errors = [sensor.picture(light, depth, 0.1 * n)[1].astype(float) - 1000 * z for n in range(5)]
        expected = 1000 * model.disparity_noise_px * z**2 / (SMALL.fx * BASELINE_M)
        assert np.std(errors) == pytest.approx(expected, rel=0.05)
        assert abs(np.mean(errors)) < 0.1 * expected + 0.1
    # Neighbours err together, as patches are matched; far ones and other frames do not.
    error = errors[0]
    assert np.corrcoef(error[:, :-1].ravel(), error[:, 1:].ravel())[0, 1] > 0.7
    assert abs(np.corrcoef(error[:, :-40].ravel(), error[:, 40:].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(error.ravel(), errors[1].ravel())[0, 1]) < 0.1


def test_shot_noise_grows_with_light_and_read_noise_stays() -> None:
    model = SensorModel(exposure_wander=0.0, blur=0.0, vignette=0.0)
    depth = np.full((SMALL.height, SMALL.width), 2.0, np.float32)
    for level in (0.0, 0.05, 0.2, 0.5):
        sensor = Sensor(model, SMALL, 0.25, 1)
        gain = float(sensor._gains[1])
        light = np.full((SMALL.height, SMALL.width, 3), level / gain, np.float32)
        values = sensor.picture(light, depth, 0.0)[0][..., 1] / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        variance = model.shot * level + model.read_noise**2
        if level == 0.0:
            assert (values > 0).any()  # the dark half is cut off at black
        else:
            step = 1 / 255 * (2.4 / 1.055) * ((values.mean() + 0.055) / 1.055) ** 1.4  # of 8 bits, in linear light
            assert linear.std() == pytest.approx(np.sqrt(variance + step**2 / 12), rel=0.05)
            assert linear.mean() == pytest.approx(level, rel=0.01)


def test_exposure_wanders_slowly_about_one() -> None:
    sensor = Sensor(SensorModel(), SMALL, 0.3, 5)
    exposure = np.array([sensor.exposure_at(t) for t in np.arange(0, 600, 0.1)])
    assert exposure.mean() == pytest.approx(1.0, abs=0.005)
    assert exposure.std() == pytest.approx(0.03, rel=0.2)
    assert np.abs(np.diff(exposure)).max() < 0.02


def test_depth_is_lost_left_of_what_stands_in_front_and_out_of_range() -> None:
    depth = np.full((SMALL.height, SMALL.width), 4.0, np.float32)
    depth[60:180, 150:200] = 1.5
    depth[:20] = 0.2
    depth[220:] = 30.0
    sensor = Sensor(SensorModel(disparity_noise_px=0.0, disparity_steps=0.0, edge_loss=0.3), SMALL, 0.3, 0)
    out = sensor.picture(np.ones((SMALL.height, SMALL.width, 3), np.float32), depth, 0.0)[1]
    stereo = SMALL.fx * BASELINE_M
    shadow = stereo / 1.5 - stereo / 4.0  # so many pixels wide
    lost = np.flatnonzero(out[120] == 0)
    assert lost.min() == pytest.approx(150 - shadow, abs=2)
    assert set(range(int(152 - shadow), 149)) <= set(lost.tolist())
    assert (out[120, 205:] == 4000).all()
    assert (out[:18] == 0).all()
    assert (out[221:] == 0).all()
    at_edge = (out[62:178, 199] == 0).mean()
    assert 0.15 < at_edge < 0.45


# --- kernels and their twins -----------------------------------------------------------------------------------------


def tiny_scene() -> tuple[Camera, np.ndarray, np.ndarray, np.ndarray]:
    """Random capsules of every taper, one ball inside another, one reaching behind the camera."""
    rng = np.random.default_rng(4)
    camera = Camera(Intrinsics(53, 37, 30.0, 31.0, 26.0, 18.0, REAL_LENS))
    first = rng.uniform([-1.2, -0.8, 1.0], [1.2, 0.8, 3.0], (24, 3))
    second = first + rng.uniform(-0.5, 0.5, (24, 3))
    radii = rng.uniform(0.01, 0.25, (24, 2))
    second[3] = first[3] + 0.01
    radii[3] = 0.3, 0.1
    second[4] = first[4]
    second[5, 2] = -0.5
    radii[5] = 0.04, 0.1
    return camera, first, second, radii


def test_capsules_are_balls_in_a_row() -> None:
    camera, first, second, radii = tiny_scene()
    rays = camera.rays()
    expected, limb = nearest_limb(rays, first, second, radii)
    geometry = np.empty((len(radii), LIMB_COLUMNS))
    prepare_limbs(first, second, radii, geometry)
    depth, seen = np.full(rays.shape[:2], np.inf, np.float32), np.full(rays.shape[:2], -1, np.int16)
    draw_limbs(rays.astype(np.float32), np.tile([0, 53, 0, 37], (len(radii), 1)), geometry, depth, seen)
    both = (seen >= 0) & (limb >= 0)
    assert both.mean() > 0.3
    assert ((seen >= 0) != (limb >= 0)).sum() <= 3  # grazing rays
    close = np.abs(depth[both] - expected[both]) < 1e-3
    assert close.mean() > 0.99
    assert (seen == limb)[both].mean() > 0.99
    assert (depth[both] <= expected[both] + 1e-5).all()  # between two balls of the row there is more capsule


def test_light_on_a_limb_follows_lambert() -> None:
    camera, first, second, radii = tiny_scene()
    rays = camera.rays()
    first, second, radii = np.array([[0.1, 0.0, 2.0]]), np.array([[0.1, 0.0, 2.0]]), np.array([[0.6, 0.6]])
    geometry = np.empty((1, LIMB_COLUMNS))
    prepare_limbs(first, second, radii, geometry)
    shape = rays.shape[:2]
    depth, seen = np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int16)
    draw_limbs(rays.astype(np.float32), np.array([[0, 53, 0, 37]]), geometry, depth, seen)
    towards = np.array([0.3, -0.8, -0.5])
    lamp = np.array([towards / np.linalg.norm(towards), [0.6, 0.5, 0.4], [0.3, 0.35, 0.4], [0.0, -1.0, 0.0]])
    look = look_of(person(1))
    paint = look.paint[[look.names.index("neck")]].copy()  # plain skin
    light, body = np.zeros((*shape, 3), np.float32), np.full(shape, -1, np.int8)
    frames = np.stack([first, *np.zeros((3, 1, 3))], axis=1)
    extent = np.array([[np.inf, -np.inf, np.inf, -np.inf]])
    paint_limbs(
        rays.astype(np.float32),
        np.array([0, 53, 0, 37]),
        geometry,
        frames,
        paint,
        np.array([0]),
        lamp,
        depth,
        seen,
        light,
        body,
        extent,
    )
    shown = seen == 0
    points = np.concatenate([rays, np.ones((*shape, 1))], axis=-1)[shown] * depth[shown][:, None]
    expected = lit(paint[0, :3], (points - first[0]) / 0.6, lamp)
    assert shown.sum() > 100
    np.testing.assert_allclose(light[shown], expected, rtol=1e-3)
    assert (light[~shown] == 0).all()


def test_exposure_kernel_is_its_twin() -> None:
    rng = np.random.default_rng(0)
    light = rng.uniform(0, 1.2, (23, 17, 3)).astype(np.float32)
    gains, curve = np.array([0.7, 0.8, 0.9], np.float32), tone_curve()
    table, starts = rng.standard_normal(5000).astype(np.float32), rng.integers(0, 4900, 23)
    noise = np.stack([table[start : start + 51] for start in starts]).reshape(23, 17, 3).astype(np.float64)
    for blur, vignette, shot, read in ((0.16, 0.3, 1 / 600, 0.01), (0.0, 0.0, 0.0, 0.0)):
        out = np.empty((23, 51), np.uint8)
        softness, corners, grain, floor = (np.float32(x) for x in (blur, vignette, shot, read))
        expose(light.reshape(23, -1), gains, softness, corners, grain, floor, table, starts, curve, out)
        expected = exposed(light.astype(np.float64), gains.astype(np.float64), blur, vignette, shot, read, noise, curve)
        assert np.abs(out.reshape(23, 17, 3).astype(int) - expected).max() <= 1
        assert (out.reshape(23, 17, 3) == expected).mean() > 0.99


def test_depth_kernel_is_its_twin() -> None:
    rng = np.random.default_rng(0)
    depth = np.repeat(rng.uniform(1.0, 6.0, (31, 9)), 5, axis=1).astype(np.float32)
    field, chance = rng.standard_normal((8, 90)).astype(np.float32), np.ones(64, np.float32)
    out = np.empty(depth.shape, np.uint16)

    def measure(jitter: float, steps: float, edge: float) -> np.ndarray:
        measure_depth(depth, 36.5, jitter, field, 11, 3, steps, chance, np.zeros(31, np.int64), edge, 0.4, 5.5, out)
        return out.copy()

    error = 0.08 * np.stack([field[(row + 3) % 8, 11:56] for row in range(31)]).astype(np.float64)
    expected = measured(depth.astype(np.float64), 36.5, error, 32.0, (0.4, 5.5))
    assert np.abs(measure(0.08, 32.0, 0.0).astype(int) - expected).max() <= 1
    assert (expected == 0).any()
    lost = stereo_shadow(depth.astype(np.float64), 36.5)
    assert lost.any()
    # Chance 1 is never below the edge probability, so that only the stereo shadow is lost.
    in_range = measured(depth.astype(np.float64), 36.5, 0 * error, 1e9, (0.4, 5.5)) > 0
    np.testing.assert_array_equal(measure(0.0, 0.0, 0.5) == 0, lost | ~in_range)


def test_many_bodies_from_any_motion_are_drawn() -> None:
    renderer = Renderer(Camera(SMALL), studio_room(1), 1)
    bodies = [
        posed(placed(perform(action, person(30 + n), n, 3.0), 2.0 + 0.6 * n, 0.25 * (n - 1), 0.5 * n), 1.5)
        for n, action in enumerate(("stepping", "gate-pose-reach", "arm-flap"))
    ]
    picture = renderer.render(bodies, 1.5)
    assert picture.keypoints_px.shape == (3, 13, 2)
    assert set(np.unique(picture.body)) == {-1, 0, 1, 2}
    assert (picture.boxes_px[:, 0] < picture.boxes_px[:, 1]).all()
