"""What people do: every action holds its body together, is done by each in their own way, and can be told by its look."""

from functools import cache

import numpy as np
import pytest
from scipy.signal import find_peaks

from capture.simulator.actions import ACTIONS, MOVE, TRYON_MOVE, YOGA, perform
from capture.simulator.body import BODY_JOINTS, BONES, INDEX, SIDES, forward
from capture.simulator.bystander import Area, Obstacle, bystander
from capture.simulator.flesh import limbs_of
from capture.simulator.gait import walk
from capture.simulator.joint_limits import beyond_limits
from capture.simulator.motion import Motion, PlacedMotion, placed
from capture.simulator.performance import Performance
from capture.simulator.person import person
from capture.simulator.radar_body import RadarBody
from pipeline.errors import PipelineError

DURATION_S = 14.0
STEP_S = 0.02
TIMES = np.arange(-0.5, DURATION_S + 2.0, STEP_S)
PEOPLE = (1, 2, 5)


@cache
def performance(action: str, seed: int, take: int = 0) -> Performance:
    motion = ACTIONS[action](person(seed), take, DURATION_S)
    assert isinstance(motion, Performance)
    return motion


@cache
def joints_of(action: str, seed: int, take: int = 0) -> np.ndarray:
    motion = performance(action, seed, take)
    return forward(motion.person.bones, motion.pose_at(TIMES))


def planted_drift_m(joints: np.ndarray, somebody, floor_m: float = 0.0) -> float:
    """How far, at most, a heel or toe moves over the floor between touching it and leaving it."""
    worst = 0.0
    for side in SIDES:
        for part, rest in (("toe", somebody.bones.toe_height), ("heel", somebody.bones.heel_height)):
            path = joints[:, INDEX[f"{side}_{part}"]]
            down = np.concatenate([[0], path[:, 2] < floor_m + rest + 0.002, [0]]).astype(int)
            for start, stop in zip(np.flatnonzero(np.diff(down) > 0), np.flatnonzero(np.diff(down) < 0), strict=True):
                level = path[start:stop, :2]
                worst = max(worst, float(np.linalg.norm(level - np.median(level, axis=0), axis=1).max()))
    return worst


def speeds_mps(joints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(joints, axis=0), axis=2) / STEP_S


# --- the body holds together -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_is_something_a_body_can_do(action):
    for seed in PEOPLE:
        motion, joints = performance(action, seed), joints_of(action, seed)
        somebody = motion.person
        for parent, child in BONES:
            length = np.linalg.norm(joints[:, INDEX[child]] - joints[:, INDEX[parent]], axis=1)
            assert np.ptp(length) < 1e-6 * length.mean()
        assert joints[:, :, 2].min() > 0.9 * somebody.bones.toe_height
        assert planted_drift_m(joints, somebody) < 0.002
        assert beyond_limits(motion.pose_at(TIMES)) == {}
        speed = speeds_mps(joints)
        assert speed[:, [INDEX["left_wrist"], INDEX["right_wrist"]]].max() < 6.0
        assert speed.max() < 8.0
        acceleration = np.linalg.norm(np.diff(joints, 2, axis=0), axis=2) / STEP_S**2
        assert acceleration.max() < 150.0  # a knee that straightens in a step; hands stay under 80
        # A foot is on the floor at all times.
        soles = [joints[:, INDEX[f"{side}_{part}"], 2] for side in SIDES for part in ("heel", "toe")]
        assert np.min(soles, axis=0).max() < somebody.bones.heel_height + 0.01


@pytest.mark.parametrize("action", ["arm-flap", "stepping", "revolved-crescent-lunge"])
def test_motion_has_no_corner_anywhere(action):
    motion = performance(action, 2)
    step = 2e-4
    for start in (-0.1, 3.0, 6.5, 10.0):
        joints = motion.joints_at(start + np.arange(0, 1.5, step))
        acceleration = np.diff(joints, 2, axis=0) / step**2
        assert np.abs(np.diff(acceleration, axis=0)).max() < 3.0  # over 0.2 ms, of accelerations up to 100


def test_hands_stay_outside_the_trunk():
    trunk = ("chest", "abdomen", "hips", "left_chest", "right_chest", "skull")
    for action in ACTIONS:
        for seed in (2, 7):  # heavy people
            joints, limbs = joints_of(action, seed), limbs_of(person(seed))
            ends = RadarBody(person(seed)).ends(joints)
            for side in SIDES:
                hand = joints[:, INDEX[f"{side}_wrist"]]
                for number, limb in ((n, limb) for n, limb in enumerate(limbs) if limb.name in trunk):
                    a, b = ends.a_m[:, number], ends.b_m[:, number]
                    share = np.einsum("ti,ti->t", hand - a, b - a) / np.einsum("ti,ti->t", b - a, b - a)
                    share = np.clip(share, 0, 1)[:, None]
                    radius = limb.radius_a_m + share[:, 0] * (limb.radius_b_m - limb.radius_a_m)
                    assert (radius - np.linalg.norm(hand - a - share * (b - a), axis=1)).max() < 0.03


# --- each in their own way -------------------------------------------------------------------------------------------


def test_the_papers_actions_are_all_there():
    assert len(TRYON_MOVE) == 11
    assert len(YOGA) == 9
    assert len(ACTIONS) == 20
    assert TRYON_MOVE[:10] == MOVE
    assert "forearm-lift" not in MOVE


@pytest.mark.parametrize("action", ACTIONS)
def test_people_differ_more_than_repetitions_do(action):
    times = np.arange(1.0, 13.0, 0.1)

    def features(seed, take):
        joints = ACTIONS[action](person(seed), take, DURATION_S).joints_at(times)
        return np.concatenate([joints.mean(axis=0).ravel(), joints.std(axis=0).ravel()])

    taken = np.array([[features(seed, take) for take in range(2)] for seed in range(5)])
    within = [np.linalg.norm(one - other) for one, other in taken]
    between = [np.linalg.norm(taken[a, 0] - taken[b, 0]) for a in range(5) for b in range(a)]
    assert min(within) > 0.02  # no take repeats another
    assert np.median(between) > 1.5 * np.median(within)


def test_a_take_is_the_same_for_the_same_seeds_only():
    times = np.linspace(0, 10, 50)
    one, same = (perform("skaters-balance-flow", person(4), 9, 10.0).joints_at(times) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - perform("skaters-balance-flow", person(4), 10, 10.0).joints_at(times)).max() > 0.1
    some = perform("arm-raise", person(3), 1, 10.0)
    np.testing.assert_allclose(some.joints_at(times)[10:20], some.joints_at(times[10:20]), atol=1e-12)


def test_people_are_still_before_and_after_but_for_breath_and_sway():
    for action in ("arm-swing", "stepping", "reverse-warrior-reach"):
        motion = perform(action, person(6), 0, 5.0)
        for times in (np.arange(-3.0, 0.0, STEP_S), np.arange(40.0, 43.0, STEP_S)):
            joints = motion.joints_at(times)
            assert 1e-4 < speeds_mps(joints).max() < 0.12
            assert np.ptp(joints, axis=0).max() < 0.06


def test_chests_rise_and_fall_as_often_as_the_person_breathes():
    motion = perform("head-turn", person(8), 0, 60.0)
    times = np.arange(0, 120, 0.05)
    rise = motion.chest_rise_at(times)
    manner = motion.person.manner
    assert np.ptp(rise) == pytest.approx(manner.breathing_m, rel=0.25)
    breaths = len(find_peaks(rise)[0])
    assert breaths / 120 == pytest.approx(manner.breathing_hz, rel=0.15)


def test_unknown_actions_and_empty_durations_are_named():
    with pytest.raises(PipelineError, match=r"no action 'moonwalk'; the actions are shoulder-roll, .*reverse-warrior"):
        perform("moonwalk", person(0), 0, 5.0)
    with pytest.raises(PipelineError, match="positive duration"):
        perform("arm-raise", person(0), 0, 0.0)
    with pytest.raises(PipelineError, match="repetition's seed is a whole number from 0 on, not -1"):
        perform("arm-raise", person(0), -1, 5.0)
    with pytest.raises(PipelineError, match="person's seed is a whole number from 0 on, not -3"):
        person(-3)


# --- and can be told by its look -------------------------------------------------------------------------------------


class Look:
    """Numbers of a take by joint name; heights as shares of the person's own."""

    def __init__(self, action: str, seed: int) -> None:
        self.joints, self.person = joints_of(action, seed), person(seed)
        self.pose = performance(action, seed).pose_at(TIMES)

    def at(self, name: str) -> np.ndarray:
        return self.joints[:, INDEX[name]]

    def height(self, name: str) -> np.ndarray:
        return self.at(name)[:, 2] / self.person.height_m

    def moved(self, name: str) -> float:
        """The diagonal of the box in which a joint stays, metres."""
        return float(np.linalg.norm(np.ptp(self.at(name), axis=0)))

    def both(self, measure, part: str) -> list:
        return [measure(f"{side}_{part}") for side in SIDES]

    def bend_deg(self) -> np.ndarray:
        """How far the trunk leans to its left."""
        way = self.at("neck") - self.at("pelvis")
        return np.degrees(np.arctan2(way[:, 0], way[:, 2]))

    def apart(self) -> np.ndarray:
        return np.linalg.norm(self.at("left_wrist") - self.at("right_wrist"), axis=1)

    def turned_deg(self, left: str, right: str) -> np.ndarray:
        across = self.at(left) - self.at(right)
        return np.degrees(np.arctan2(across[:, 1], across[:, 0]))


def still_feet(look: Look) -> bool:
    return max(look.both(look.moved, "toe")) < 0.005


def highest(look: Look, part: str) -> float:
    return float(np.maximum(*look.both(look.height, part)).max())


LOOKS = {
    "shoulder-roll": lambda x: (
        min(x.both(x.moved, "shoulder")) > 0.08
        and np.ptp(x.height("neck")) < 0.01
        and np.ptp(x.pose.arm[:, :, 0], axis=0).max() < 0.6
    ),
    "sleeve-adjust": lambda x: x.apart().min() < 0.2 and highest(x, "wrist") < 0.8 and still_feet(x),
    "stepping": lambda x: (
        min(x.both(x.moved, "ankle")) > 0.2 and x.moved("pelvis") > 0.15 and highest(x, "wrist") < 0.65
    ),
    "arm-raise": lambda x: highest(x, "wrist") > 0.98 and still_feet(x),
    "torso-twist": lambda x: np.ptp(x.turned_deg("left_shoulder", "right_shoulder")) > 60 and still_feet(x),
    "chest-expand": lambda x: (
        x.apart().max() > 1.4 * x.person.bones.arm and x.apart().min() < 0.55 and highest(x, "wrist") < 0.95
    ),
    "arm-flap": lambda x: x.apart().max() > 1.1 and len(find_peaks(x.height("left_wrist"), prominence=0.1)[0]) > 6,
    "head-turn": lambda x: np.ptp(x.pose.neck[:, 2]) > 1.2 and max(x.both(x.moved, "wrist")) < 0.25,
    "hand-slide": lambda x: (
        np.ptp(x.height("right_wrist")) > 0.15 and x.at("right_wrist")[:, 1].mean() < x.at("neck")[:, 1].mean()
    ),
    "arm-swing": lambda x: np.ptp((x.at("left_wrist") - x.at("left_shoulder"))[:, 1]) > 0.45 and still_feet(x),
    "forearm-lift": lambda x: np.ptp(x.height("right_wrist")) > 0.12 and max(x.both(x.moved, "elbow")) < 0.25,
    "crescent-side-stretch": lambda x: (
        np.ptp(x.bend_deg()) > 40 and x.height("left_wrist")[200:500].min() > 0.75 and still_feet(x)
    ),
    "standing-heart-opener": lambda x: (
        (x.at("left_wrist") - x.at("spine"))[:, 1].max() > 0.15
        and x.pose.neck[:, 0].min() < -0.25
        and x.apart().min() < 0.15
    ),
    "gate-pose-reach": lambda x: (
        min(x.height(f"{side}_knee").max() for side in SIDES) < 0.06
        and np.abs(x.bend_deg()).max() > 18
        and x.moved("pelvis") < 0.08
    ),
    "dynamic-knee-march": lambda x: (
        min(x.height(f"{side}_knee").max() for side in SIDES) > 0.42 and np.ptp(x.height("pelvis")) < 0.1
    ),
    "shoulder-opening-flow": lambda x: (
        x.height("left_wrist").max() > 1.1 and (x.at("left_wrist") - x.at("neck"))[:, 0].min() < -0.02
    ),
    "revolved-crescent-lunge": lambda x: (
        np.ptp(x.turned_deg("left_shoulder", "right_shoulder")) > 40
        and max(x.both(x.moved, "ankle")) > 0.85 * x.person.bones.leg
        and np.ptp(x.height("pelvis")) > 0.09
    ),
    "skaters-balance-flow": lambda x: np.ptp(x.at("pelvis")[:, 0]) > 0.3 and min(x.both(x.moved, "ankle")) > 0.4,
    "warrior-chest-opener": lambda x: (
        max(x.both(x.moved, "ankle")) > 0.8 * x.person.bones.leg and x.apart().max() > 1.0 and x.apart().min() < 0.5
    ),
    "reverse-warrior-reach": lambda x: (
        np.linalg.norm(x.at("left_ankle") - x.at("right_ankle"), axis=1).max() > 0.85 * x.person.bones.leg
        and np.abs(x.bend_deg()).max() > 17
        and highest(x, "wrist") > 0.9
    ),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_looks_like_its_name(action):
    for seed in PEOPLE:
        assert LOOKS[action](Look(action, seed)), f"person {seed}"


# --- walking, and people put somewhere -------------------------------------------------------------------------------


def test_a_walker_walks_as_people_do():
    for seed in (1, 3, 5):
        somebody = person(seed)
        motion = walk(somebody, ((0.3, 6.0), (0.3, 0.0)), seed)
        times = np.arange(0, motion.duration_s + 0.5, STEP_S)
        joints = motion.joints_at(times)
        np.testing.assert_allclose(joints[-1, INDEX["pelvis"], :2], [0.3, 0.0], atol=0.05)
        steady = slice(100, int((motion.duration_s - 2.7) / STEP_S))
        speed = speeds_mps(joints)[steady]
        pace = speed[:, INDEX["pelvis"]].mean()
        assert 0.9 < pace < 1.7
        assert 3.0 < speed[:, INDEX["left_ankle"]].max() / pace < 3.7
        cadence = len(find_peaks(-joints[steady, INDEX["pelvis"], 2], prominence=0.01)[0]) / (len(speed) * STEP_S)
        assert 1.4 < cadence < 2.4  # the pelvis dips once a step
        assert 0.02 < np.ptp(joints[steady, INDEX["pelvis"], 2]) < 0.07
        assert planted_drift_m(joints, somebody) < 0.002
        assert beyond_limits(motion.pose_at(times)) == {}
        left, right = (joints[steady, INDEX[f"{side}_wrist"], 1] - joints[steady, INDEX["pelvis"], 1] for side in SIDES)
        assert np.corrcoef(left, right)[0, 1] < -0.7  # arms swing against each other
        np.testing.assert_allclose(
            walk(somebody, ((0, 3), (0, 0)), 1, speed_mps=0.8).duration_s, 3 / 0.8 + 2.0, atol=1.2
        )


def test_impossible_walks_are_named():
    with pytest.raises(PipelineError, match="at least two points"):
        walk(person(0), ((0, 0),))
    with pytest.raises(PipelineError, match=r"Nobody walks at 9"):
        walk(person(0), ((0, 0), (0, 2)), speed_mps=9.0)


def test_a_bystander_goes_about_the_area_and_keeps_off_the_participant():
    area, table = Area(-1.8, 1.8, 1.0, 4.0), Obstacle(0.0, 2.6, 0.4)
    seen = []
    for seed in (60, 61, 62):
        motion = bystander(person(seed), area, 3, 40.0, obstacles=(table,), radar_height_m=1.1)
        times = np.arange(0, 42, STEP_S)
        joints = motion.joints_at(times)
        pelvis = joints[:, INDEX["pelvis"]]
        assert pelvis[:, 0].min() > area.left_m
        assert pelvis[:, 0].max() < area.right_m
        assert pelvis[:, 1].min() > area.near_m
        assert pelvis[:, 1].max() < area.far_m
        assert np.hypot(pelvis[:, 0] - table.x_m, pelvis[:, 1] - table.y_m).min() > 0.45
        assert planted_drift_m(joints, motion.person, -1.1) < 0.003
        assert joints[:, :, 2].min() > -1.1 + 0.01
        assert isinstance(motion.motion, Performance)
        assert beyond_limits(motion.motion.pose_at(times)) == {}
        assert speeds_mps(joints).max() < 8.0
        assert np.abs(np.diff(pelvis[:, :2], axis=0)).sum() > 5.0  # has been about
        seen.append(joints)
    assert np.abs(seen[0] - seen[1]).max() > 0.5
    near = bystander(person(63), Area(-0.8, 0.8, 0.8, 1.8), 0, 20.0)  # between the participant at 2.5 m and the radar
    assert near.joints_at(np.arange(0, 20, 0.1))[:, INDEX["pelvis"], 1].max() < 1.8


def test_impossible_areas_are_named():
    with pytest.raises(PipelineError, match="left must be less than right"):
        bystander(person(0), Area(1.0, -1.0, 1.0, 3.0), 0, 5.0)
    with pytest.raises(PipelineError, match=r"obstacles .* cover it"):
        bystander(person(0), Area(-1.0, 1.0, 1.0, 3.0), 0, 5.0, obstacles=(Obstacle(0, 2, 5.0),))


def test_placed_people_stand_where_they_are_put_and_face_the_radar():
    motion = perform("head-turn", person(1), 0, 5.0)
    times = np.array([0.0])
    for bearing in (-0.6, 0.0, 0.5):
        there = placed(motion, 3.0, bearing, radar_height_m=0.9)
        joints = there.joints_at(times)[0]
        pelvis = joints[INDEX["pelvis"]]
        assert np.hypot(*pelvis[:2]) == pytest.approx(3.0, abs=0.06)
        assert np.arctan2(pelvis[0], pelvis[1]) == pytest.approx(bearing, abs=0.03)
        assert joints[:, 2].min() == pytest.approx(-0.9, abs=0.05)
        across = joints[INDEX["left_shoulder"]] - joints[INDEX["right_shoulder"]]
        assert abs(across @ pelvis) / np.linalg.norm(across) / 3.0 < 0.12  # square to the line of sight
        assert across[0] > 0  # their left is on the right of who looks out from the radar
        assert isinstance(there, Motion)
    turned = PlacedMotion(motion, (0.0, 2.0, -1.0), np.pi / 2).joints_at(times)[0]
    assert turned[INDEX["nose"], 0] > turned[INDEX["head"], 0] + 0.05
    assert turned[INDEX["right_shoulder"], 1] < turned[INDEX["left_shoulder"], 1]
    assert there.chest_rise_at(times) == motion.chest_rise_at(times)
    assert len(BODY_JOINTS) == turned.shape[0]
