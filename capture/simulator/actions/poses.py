"""Yoga actions held in one place: side stretch, heart opener, gate pose."""

import numpy as np

from capture.simulator.body import SIDES
from capture.simulator.flesh import knee_radius_m, trunk_radius_m
from capture.simulator.performance import Kneeling
from capture.simulator.stage import Stage

BOTH = (0, 1)


def overhead(stage: Stage, *, apart_m: float = 0.03, up: float = 0.94, front_m: float = 0.02) -> dict[str, float]:
    """Both hands over the head, `apart_m` from the middle, `up` of the way to where the arms would be straight."""
    bones = stage.person.bones
    high = up * np.sqrt(bones.arm**2 - (bones.shoulder_half_width - apart_m) ** 2)
    both: dict[str, float] = {}
    for side in BOTH:
        both |= stage.hand(side, apart_m, front_m, high, elbow_out=(1.0, -0.25, 0.0))
    return both


def by_the_side(stage: Stage, plane: float = 12.0) -> dict[str, float]:
    """Both upper arms level: the way from hanging to overhead."""
    return stage.arm(0, 92.0, plane) | stage.arm(1, 92.0, plane)


def crescent_side_stretch(stage: Stage) -> None:
    """Feet together, palms joined overhead; the whole body bows to one side and to the other."""
    half_m = 0.5 * stage.vary("stance", 0.055, person=0.01, least=0.04) * stage.person.height_m
    middle = 0.5 * (stage.rest["left_foot_x"] + stage.rest["right_foot_x"])
    turned = {f"{name}_foot_yaw": 0.4 * stage.rest[f"{name}_foot_yaw"] for name in SIDES}
    stage.set_out({"left_foot_x": middle + half_m, "right_foot_x": middle - half_m, **turned})
    up = overhead(stage, up=stage.vary("up", 0.94, person=0.02, most=0.985))
    lifted = {"thoracic_flexion": stage.rest["thoracic_flexion"] - 8.0, "neck_flexion": 0.0}
    stage.move_through(stage.seconds("raise", 1.9), by_the_side(stage), up | lifted)
    side = stage.first_side()
    while stage.on:
        stage.hesitate()
        left = 1.0 - 2.0 * side
        bow = left * stage.reach("bow", 1.0, side=side)
        target = {
            "x": stage.rest["x"] - 0.045 * bow,
            "pelvis_bend": 5.0 * bow,
            "lumbar_bend": 19.0 * bow,
            "thoracic_bend": 21.0 * bow,
            "neck_bend": 9.0 * bow,
            "thoracic_twist": stage.vary("open", 0.0, person=4.0, cycle=1.0) * left,
            "thoracic_flexion": stage.vary("flat", -2.0, person=3.0, cycle=1.0),
        }
        stage.move(stage.seconds("bow", 2.0), target)
        stage.hold("stretch", 1.1)
        stage.move(
            stage.seconds("rise", 1.7), {name: 0.0 for name in target if "bend" in name} | {"x": stage.rest["x"]}
        )
        stage.hold("middle", 0.3)
        side = 1 - side
    stage.move_through(2.0, by_the_side(stage), stage.rest)


def standing_heart_opener(stage: Stage) -> None:
    """Hands clasped behind the back, the chest lifts and opens, the head tips back, the arms draw away from the body."""
    size = stage.person.height_m / 1.72
    behind = trunk_radius_m(stage.person) + 0.07 * size
    clasp: dict[str, float] = {}
    lift: dict[str, float] = {}
    for side in BOTH:
        low = size * stage.vary("low", -0.44, person=0.015, take=0.005)
        clasp |= stage.hand(side, 0.04 * size, -behind, low, elbow_out=(0.8, 0.6, 0.0))
        back, high = behind + size * stage.vary("away", 0.11, person=0.025, cycle=0.008), low + size * 0.04
        lift |= stage.hand(side, 0.035 * size, -back, high, elbow_out=(0.8, 0.6, 0.0))
        clasp[f"{SIDES[side]}_protract"], lift[f"{SIDES[side]}_protract"] = -12.0, -24.0
    stage.move(stage.seconds("clasp", 1.4), clasp)
    while stage.on:
        stage.hesitate()
        chest = stage.reach("chest", 1.0)
        opened = {
            **lift,
            "thoracic_flexion": -18.0 * chest,
            "lumbar_flexion": -11.0 * chest,
            "pelvis_tilt": -4.0 * chest,
            "neck_flexion": -stage.reach("gaze", 28.0),
            "y": stage.rest["y"] - 0.045 * chest,
        }
        stage.move(stage.seconds("open", 2.1), opened)
        stage.hold("opened", 1.3)
        upright = {name: stage.rest[name] for name in opened if name in stage.rest and not name.startswith(SIDES)}
        stage.move(stage.seconds("close", 1.9), clasp | upright)
        stage.hold("closed", 0.4)
    stage.move(1.3, stage.rest)


def gate_pose_reach(stage: Stage) -> None:
    """On one knee, the other leg straight out to the side: lean over that leg, its hand down it, the other arm overhead."""
    stretched = stage.first_side()
    kneel(stage, 1 - stretched)
    stage.set_out(stage.arm(stretched, 34.0, 12.0))
    left = 1.0 - 2.0 * stretched
    low, high = SIDES[stretched], SIDES[1 - stretched]
    spread = by_the_side(stage, 5.0)
    while stage.on:
        stage.hesitate()
        stage.move(stage.seconds("spread", 1.5), spread | {f"{name}_elbow": 10.0 for name in SIDES})
        lean = left * stage.reach("lean", 1.0)
        target = {
            "x": stage.rest["x"] + 0.01 * lean,
            "lumbar_bend": 25.0 * lean,
            "thoracic_bend": 26.0 * lean,
            "neck_bend": 6.0 * lean,
            "neck_twist": -left * stage.reach("gaze", 25.0),
        }
        target |= stage.arm(
            stretched, stage.vary("slide", 43.0, person=3.0, cycle=2.0), 28.0, rotation=20.0, elbow=18.0
        )
        target |= stage.arm(
            1 - stretched,
            stage.vary("over", 170.0, person=4.0, take=1.0, cycle=1.0, most=176.0),
            25.0,
            rotation=20.0,
            elbow=14.0,
        )
        stage.move(stage.seconds("lean", 2.2), target)
        stage.hold("reach", 1.2)
        upright = dict.fromkeys(("lumbar_bend", "thoracic_bend", "neck_bend", "neck_twist"), 0.0)
        stage.move(
            stage.seconds("rise", 2.0),
            spread | upright | {"x": stage.rest["x"], f"{low}_elbow": 10.0, f"{high}_elbow": 10.0},
        )
        stage.hold("middle", 0.3)
        if stage.one_of("drop", 3) == 0:
            stage.move(stage.seconds("drop", 1.2), stage.arms_at_rest(0, 1))
    stage.move(1.3, stage.rest)


def kneel(stage: Stage, side: int) -> None:
    """Begin on the knee of `side`, shank and instep on the floor behind it, the other foot out to its side and a little
    ahead."""
    bones, person = stage.person.bones, stage.person
    size = person.height_m / 1.72
    sign = 1.0 - 2.0 * side
    x, y = stage.rest["x"], stage.rest["y"]
    knee = np.array([x + sign * 1.05 * bones.hip_half_width, y, knee_radius_m(person)])
    ankle_m = 0.078 * size
    ankle_y = knee[1] + np.sqrt(bones.shank**2 - (ankle_m - knee[2]) ** 2)
    # The foot turns over its toe until the ankle lies that low, with the instep down.
    long, high = bones.toe_forward, bones.ankle_height - bones.toe_height
    heel = np.pi - np.arcsin((ankle_m - bones.toe_height) / np.hypot(long, high)) - np.arctan2(high, long)
    toe_y = ankle_y - (long * np.cos(heel) - high * np.sin(heel))
    hip_z = knee[2] + bones.thigh
    out = stage.vary("stretched", 0.981, person=0.002, most=0.984) * bones.leg
    ahead = stage.vary("ahead", 0.48, person=0.02) * bones.leg
    beside = np.sqrt(out**2 - (hip_z - bones.ankle_height) ** 2 - ahead**2)
    down, free = SIDES[side], SIDES[1 - side]
    stage.kneeling = Kneeling(side, (float(knee[0]), float(knee[1]), float(knee[2])))
    stage.set_out(
        {
            "crouch": 0.0,
            "pelvis_twist": -sign * stage.vary("turn", 15.0, person=3.0, take=1.0),
            "lumbar_twist": sign * 5.0,
            "thoracic_twist": sign * 7.0,
            f"{down}_foot_x": float(knee[0]),
            f"{down}_foot_y": float(toe_y + long),
            f"{down}_foot_yaw": 0.0,
            f"{down}_heel": float(np.degrees(heel)),
            f"{free}_foot_x": float(x - sign * (bones.hip_half_width + beside)),
            f"{free}_foot_y": float(y - ahead),
            f"{free}_foot_yaw": -sign * stage.vary("toes", 50.0, person=5.0, take=2.0),
            f"{free}_toe": stage.vary("toes up", 22.0, person=5.0, take=2.0),
        }
    )
