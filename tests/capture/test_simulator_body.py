"""People and their bodies: proportions, angles to positions and back, keyframes, flesh."""

from itertools import pairwise

import numpy as np
import pytest

from capture.simulator.body import (
    ARM_ACROSS,
    BODY_JOINTS,
    BONES,
    INDEX,
    Pose,
    arm_directions,
    forward,
    leg_turns,
    trunk_turn,
)
from capture.simulator.flesh import colour_of, limbs_of
from capture.simulator.inverse import arm_reaching, leg_reaching, swing_to
from capture.simulator.joint_limits import LIMITS_DEG, beyond_limits, clinical_angles_deg, softly_limited
from capture.simulator.keyframes import Score
from capture.simulator.person import HEIGHT_RANGE_M, bones_of_height, person
from capture.simulator.radar_body import RadarBody
from pipeline.skeleton import JOINTS, MIRROR_PAIRS

BONES_OF_A_MEAN_BODY = bones_of_height(1.75)
HANGING = (-np.pi / 2, 0.0, 0.0, 0.0, 0.0)


def pose(**angles) -> Pose:
    """One upright pose with hanging arms, some of its angles changed."""
    upright = {name: np.zeros((1, 3)) for name in ("pelvis_rad", "lumbar", "thoracic", "neck")}
    upright |= {"clavicle": np.zeros((1, 2, 2)), "arm": np.tile(HANGING, (1, 2, 1)), "leg": np.zeros((1, 2, 7))}
    b = BONES_OF_A_MEAN_BODY
    upright["pelvis_m"] = np.array([[0.0, 0.0, b.ankle_height + b.leg]])
    return Pose(**(upright | {name: np.array(value, np.float64) for name, value in angles.items()}))


def random_pose(rng: np.random.Generator, times: int = 40) -> Pose:
    return Pose(
        pelvis_m=rng.normal(0, 1, (times, 3)), pelvis_rad=rng.uniform(-1, 1, (times, 3)),
        lumbar=rng.uniform(-0.4, 0.4, (times, 3)), thoracic=rng.uniform(-0.5, 0.5, (times, 3)),
        neck=rng.uniform(-0.7, 0.7, (times, 3)), clavicle=rng.uniform(-0.4, 0.4, (times, 2, 2)),
        arm=rng.uniform([-1.6, -1.0, -1.5, 0.05, -0.5], [1.5, 1.2, 1.5, 2.4, 0.5], (times, 2, 5)),
        leg=rng.uniform([-0.5, -0.4, -0.6, 0.05, -0.7, -0.3, -0.3], [1.9, 0.7, 0.6, 2.3, 0.6, 0.3, 0.3], (times, 2, 7)),
    )  # fmt: skip


# --- people ----------------------------------------------------------------------------------------------------------


def test_the_papers_joints_come_first():
    assert BODY_JOINTS[:13] == JOINTS
    assert len(set(BODY_JOINTS)) == len(BODY_JOINTS) == 24
    assert {child for _, child in BONES} == set(BODY_JOINTS) - {"pelvis"}


def test_people_are_drawn_from_their_seed_and_differ():
    people = [person(seed) for seed in range(60)]
    assert people[7] == person(7)
    assert len({p.bones for p in people}) == len({p.manner for p in people}) == len({p.clothing for p in people}) == 60
    heights = np.array([p.height_m for p in people])
    assert heights.min() >= HEIGHT_RANGE_M[0]
    assert heights.max() <= HEIGHT_RANGE_M[1]
    assert np.ptp(heights) > 0.25
    assert all(p.bones.height == pytest.approx(p.height_m) for p in people)
    assert all(17.9 < p.mass_kg / p.height_m**2 < 33.1 for p in people)
    leg_shares = np.array([p.bones.leg / p.height_m for p in people])
    assert 0.475 < leg_shares.mean() < 0.505  # 0.491 in the table
    assert 0.005 < leg_shares.std() < 0.02
    assert person(3, height_m=1.62).bones.height == pytest.approx(1.62)
    assert 1 <= sum(p.manner.left_handed for p in people) <= 15


def test_flesh_weighs_what_the_person_weighs():
    rng = np.random.default_rng(0)
    for seed in (0, 2, 5, 8):
        somebody = person(seed)
        standing = forward(somebody.bones, pose(arm=[[(-1.2, 0, 0, 0.1, 0), (-1.2, 0, 0, 0.1, 0)]]))
        joints, ends = standing[0], RadarBody(somebody).ends(standing)
        low, high = joints.min(axis=0) - 0.2, joints.max(axis=0) + 0.2
        points = rng.uniform(low, high, (60_000, 3))
        inside = np.zeros(len(points), bool)
        for number, limb in enumerate(limbs_of(somebody)):
            a, b = ends.a_m[0, number], ends.b_m[0, number]
            share = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
            radius = limb.radius_a_m + share * (limb.radius_b_m - limb.radius_a_m)
            inside |= np.linalg.norm(points - a - share[:, None] * (b - a), axis=1) < radius
        mass_kg = inside.mean() * np.prod(high - low) * 1010  # kg/m^3 of a body
        assert mass_kg == pytest.approx(somebody.mass_kg, rel=0.13)


def test_flesh_reaches_from_the_floor_to_the_crown():
    somebody = person(4)
    limbs = {limb.name: limb for limb in limbs_of(somebody)}
    assert limbs["left_sole"].radius_a_m == somebody.bones.heel_height
    assert limbs["left_sole"].radius_b_m == somebody.bones.toe_height
    assert {limb.joint_a for limb in limbs.values()} | {limb.joint_b for limb in limbs.values()} <= set(BODY_JOINTS)
    assert all(limb.radius_a_m > 0.01 and limb.radius_b_m > 0.01 for limb in limbs.values())
    for limb in limbs.values():
        assert len(colour_of(somebody, limb.colour)) == 3
    bare = next(p for p in map(person, range(50)) if not p.clothing.long_sleeves)
    assert colour_of(bare, "sleeve") == bare.clothing.skin


# --- angles to positions ---------------------------------------------------------------------------------------------


def test_somebody_upright_faces_the_radar_with_their_left_at_positive_x():
    joints = forward(BONES_OF_A_MEAN_BODY, pose())[0]
    at = {name: joints[number] for name, number in INDEX.items()}
    assert at["head_top"][2] == pytest.approx(1.75)
    assert at["nose"][1] < at["head"][1] - 0.08
    assert at["left_wrist"][0] > 0.15
    assert at["left_toe"][1] < at["left_ankle"][1] < at["left_heel"][1]
    assert at["left_toe"][2] == pytest.approx(BONES_OF_A_MEAN_BODY.toe_height)
    assert at["left_heel"][2] == pytest.approx(BONES_OF_A_MEAN_BODY.heel_height)
    for one, other in MIRROR_PAIRS:
        np.testing.assert_allclose(joints[one] * [-1, 1, 1], joints[other], atol=1e-12)


@pytest.mark.parametrize(
    ("angles", "joint", "onto", "way"),
    [
        ({"lumbar": [[0.5, 0, 0]]}, "head", "pelvis", (0, -1, 0)),  # flexion: forward, towards the radar
        ({"thoracic": [[0, 0.5, 0]]}, "head", "spine", (1, 0, 0)),  # a bend to the left
        ({"neck": [[0, 0, 0.8]]}, "nose", "head", (1, 0, 0)),  # looking to the left
        ({"pelvis_rad": [[0, 0, 0.8]]}, "left_toe", "left_ankle", (1, 0, 0)),
        ({"leg": [[(1, 0, 0, 0, 0, 0, 0), (0,) * 7]]}, "left_knee", "left_hip", (0, -1, 0)),  # flexion of the hip
        ({"leg": [[(0, 0.5, 0, 0, 0, 0, 0), (0,) * 7]]}, "left_knee", "left_hip", (1, 0, 0)),
        ({"leg": [[(0,) * 7, (0, 0.5, 0, 0, 0, 0, 0)]]}, "right_knee", "right_hip", (-1, 0, 0)),
        ({"leg": [[(0,) * 7, (0, 0, 0.5, 0, 0, 0, 0)]]}, "right_toe", "right_ankle", (-1, 0, 0)),  # turned outward
        ({"leg": [[(0, 0, 0, 1, 0, 0, 0), (0,) * 7]]}, "left_ankle", "left_knee", (0, 1, 0)),  # knees bend backward
        ({"leg": [[(0, 0, 0, 0, 0.5, 0, 0), (0,) * 7]]}, "left_toe", "left_heel", (0, 0, 1)),  # toes up
        ({"clavicle": [[(0.5, 0), (0, 0)]]}, "left_shoulder", "neck", (0, 0, 1)),
        ({"clavicle": [[(0, 0), (0, 0.5)]]}, "right_shoulder", "neck", (0, -1, 0)),
    ],
)
def test_every_angle_turns_its_way(angles, joint, onto, way):
    def reach(some_pose):
        joints = forward(BONES_OF_A_MEAN_BODY, some_pose)[0]
        return (joints[INDEX[joint]] - joints[INDEX[onto]]) @ np.array(way, np.float64)

    assert reach(pose(**angles)) > reach(pose()) + 0.02


def test_arms_go_where_their_angles_say():
    down, side, up = (np.array([[raised, 0.0, 0.0, np.pi / 2, 0.0]]) for raised in (-np.pi / 2, 0.0, np.pi / 2))
    np.testing.assert_allclose(arm_directions(down)[0][0], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(arm_directions(up)[0][0], [0, 0, 1], atol=1e-12)
    assert arm_directions(side)[0][0][0] > 0.8
    for arm in (down, side, up):
        np.testing.assert_allclose(arm_directions(arm)[1][0], ARM_ACROSS, atol=1e-12)  # a bent elbow points ahead
    turned_out = np.array([[0.0, 0.0, np.pi / 2, np.pi / 2, 0.0]])
    np.testing.assert_allclose(arm_directions(turned_out)[1][0], [0, 0, 1], atol=1e-12)


def test_bones_keep_their_lengths_and_a_mirrored_pose_is_a_mirrored_body():
    rng = np.random.default_rng(5)
    original = random_pose(rng)
    joints = forward(BONES_OF_A_MEAN_BODY, original)
    for parent, child in BONES:
        lengths = np.linalg.norm(joints[:, INDEX[child]] - joints[:, INDEX[parent]], axis=1)
        assert np.ptp(lengths) < 1e-9 * lengths.mean()
    flip = np.array([1.0, -1.0, -1.0])
    mirrored = Pose(
        original.pelvis_m * [-1, 1, 1], original.pelvis_rad * flip, original.lumbar * flip, original.thoracic * flip,
        original.neck * flip, original.clavicle[:, ::-1], original.arm[:, ::-1], original.leg[:, ::-1],
    )  # fmt: skip
    other = forward(BONES_OF_A_MEAN_BODY, mirrored)
    for name in BODY_JOINTS:
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        np.testing.assert_allclose(other[:, INDEX[name]], joints[:, INDEX[swapped]] * [-1, 1, 1], atol=1e-9)


# --- and back --------------------------------------------------------------------------------------------------------


def test_an_arm_reaches_what_it_can_reach():
    bones, rng = BONES_OF_A_MEAN_BODY, np.random.default_rng(4)
    way, elbow = rng.normal(size=(2, 500, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    way = way[way[:, 0] > -0.9]  # nobody reaches straight through their own chest
    elbow = elbow[: len(way)]
    wrist = rng.uniform(0.25, 0.995, (len(way), 1)) * bones.arm * way
    upper, lower, _ = arm_directions(arm_reaching(bones, wrist, elbow))
    np.testing.assert_allclose(bones.upper_arm * upper + bones.forearm * lower, wrist, atol=1e-6)
    aside = upper - np.einsum("ti,ti->t", upper, way)[:, None] * way
    assert np.einsum("ti,ti->t", aside, elbow).min() > 0
    far = arm_directions(arm_reaching(bones, 3.0 * way, elbow))  # out of reach: as far as it goes, that way
    assert np.einsum("ti,ti->t", bones.upper_arm * far[0] + bones.forearm * far[1], way).min() > 0.995 * bones.arm


def test_swings_come_back():
    rng = np.random.default_rng(2)
    arm = rng.uniform([-1.7, -1.2, 0, 0, 0], [1.7, 1.5, 0, 0, 0], (200, 5))
    np.testing.assert_allclose(swing_to(arm_directions(arm)[0]), arm[:, :2], atol=1e-9)


def test_legs_come_back():
    bones, rng = BONES_OF_A_MEAN_BODY, np.random.default_rng(3)
    original = random_pose(rng)
    joints = forward(bones, original)
    for side, (name, sign) in enumerate((("left", 1.0), ("right", -1.0))):
        pelvis = trunk_turn(original.pelvis_rad)
        _, _, foot = leg_turns(pelvis, original.leg[:, side], sign)
        hip, knee, ankle = (joints[:, INDEX[f"{name}_{part}"]] for part in ("hip", "knee", "ankle"))
        angles = leg_reaching(bones, pelvis, hip, ankle, foot, knee - hip, sign)
        np.testing.assert_allclose(angles, original.leg[:, side], atol=1e-6)


def test_limits_are_measured_as_a_clinician_would():
    some = pose(arm=[[(0.0, np.radians(100.0), 0.3, np.radians(40), 0), HANGING]])
    angles = clinical_angles_deg(some)
    assert set(angles) == set(LIMITS_DEG)
    assert angles["elbow"][0].tolist() == pytest.approx([40, 0])
    assert angles["arm across"][0, 0] == pytest.approx(40)  # 100 degrees inward of a plane 30 degrees ahead of the side
    assert beyond_limits(some) == {}
    assert beyond_limits(pose(leg=[[(0, 0, 0, np.radians(-10), 0, 0, 0), (0,) * 7]])) == pytest.approx({"knee": 10.0})


def test_soft_limits_hold_and_leave_the_middle_alone():
    values = np.linspace(-4, 4, 801)
    low, high = np.full(801, -1.0), np.full(801, 2.0)
    limited = softly_limited(values, low, high, 0.3)
    assert limited.min() > -1.0
    assert limited.max() < 2.0
    middle = (values > -0.7) & (values < 1.7)
    np.testing.assert_array_equal(limited[middle], values[middle])
    assert np.abs(np.diff(limited, 3)).max() < 1e-4


# --- keyframes -------------------------------------------------------------------------------------------------------


def test_a_move_from_rest_to_rest_is_minimum_jerk():
    score = Score({"a": 1.0, "b": 7.0})
    score.move(0.5, 1.5, {"a": 3.0})
    times = np.linspace(0.5, 1.5, 11)
    share = times - 0.5
    curve = score.curves()(times)
    np.testing.assert_allclose(curve[:, 0], 1 + 2 * share**3 * (10 - 15 * share + 6 * share**2), atol=1e-12)
    np.testing.assert_array_equal(curve[:, 1], 7.0)
    np.testing.assert_array_equal(score.curves()(np.array([-3.0, 0.4, 1.6, 9.0]))[:, 0], [1, 1, 3, 3])


def test_curves_are_smooth_and_pass_through_their_keys():
    rng = np.random.default_rng(1)
    score = Score({"a": 0.0, "b": 0.0})
    keys = np.cumsum(rng.uniform(0.1, 0.8, 12))
    for start, stop in pairwise(keys):
        score.move(float(start), float(stop), {"a": float(rng.normal()), "b": float(rng.normal())})
        np.testing.assert_allclose(score.curves()(np.array([stop]))[0], [score.value("a"), score.value("b")], atol=1e-9)
    curves = score.curves()
    step = 1e-4
    times = np.arange(-0.5, keys[-1] + 0.5, step)
    acceleration = np.diff(curves(times), 2, axis=0) / step**2
    assert np.abs(np.diff(acceleration, axis=0)).max() < 0.02 * np.abs(acceleration).max()  # no jump anywhere


def test_a_later_move_takes_over_from_where_the_channel_has_got_to():
    score = Score({"a": 0.0})
    score.move(0.0, 1.0, {"a": 1.0})
    score.move(0.5, 1.0, {"a": -1.0})
    values = score.curves()(np.array([0.5, 1.0, 2.0]))[:, 0]
    np.testing.assert_allclose(values, [0.5, -1.0, -1.0], atol=1e-9)
