"""Yoga actions that never rest: knee march, shoulder flow, skater's flow."""

import numpy as np

from capture.simulator.actions.poses import overhead
from capture.simulator.body import SIDES
from capture.simulator.stage import Stage

BOTH = (0, 1)


def dynamic_knee_march(stage: Stage) -> None:
    """March on the spot: a knee comes up to the level of the hip while the opposite arm swings up, elbows bent."""
    bones = stage.person.bones
    side = stage.first_side()
    bend = {f"{name}_elbow": stage.vary("bend", 82.0, person=8.0, take=2.0) for name in SIDES}
    stage.move(stage.seconds("ready", 0.7), bend)
    while stage.on:
        if stage.one_of("steady", 2) == 0:
            stage.hesitate()
        name, other = SIDES[side], SIDES[1 - side]
        seconds = stage.seconds("march", 1.12)
        flexion = np.radians(min(104.0, stage.reach("knee", 88.0, side=side, spread=0.1)))
        back = np.radians(stage.vary("tuck", 12.0, person=8.0, cycle=2.0))
        ahead = bones.thigh * np.sin(flexion) - bones.shank * np.sin(back)
        high = bones.thigh * (1 - np.cos(flexion)) + bones.shank * (1 - np.cos(back))
        rest_x, rest_y = stage.rest[f"{name}_foot_x"], stage.rest[f"{name}_foot_y"]
        sign = 1.0 - 2.0 * side
        inwards = 0.25 * (stage.rest["x"] - rest_x)
        start = stage.now
        up, down = 0.5 * seconds, 0.44 * seconds
        score = stage.score
        score.move(start, start + 0.3 * up, {f"{name}_heel": 22.0})
        score.move(start, start + 0.4 * up, {"crouch": stage.rest["crouch"] + 0.022})
        score.move(start + 0.5 * up, start + up, {"crouch": stage.rest["crouch"]})
        score.move(start + up, start + up + 0.7 * down, {"crouch": stage.rest["crouch"] + 0.025})
        score.move(start + 0.18 * up, start + up, {f"{name}_foot_z": high})
        score.move(start + 0.3 * up, start + up, {f"{name}_foot_y": rest_y - ahead, f"{name}_foot_x": rest_x + inwards})
        support = stage.rest[f"{other}_foot_x"]
        lean = {"x": stage.rest["x"] + 0.55 * (support - stage.rest["x"]), "pelvis_bend": 2.0 * sign}
        arms = stage.arm(1 - side, min(80.0, stage.reach("arm", 52.0, side=1 - side)), 68.0, rotation=14.0)
        arms |= stage.arm(side, min(42.0, stage.reach("back", 28.0, side=side)), -50.0, rotation=12.0)
        trunk = {
            "thoracic_twist": sign * -7.0,
            "pelvis_twist": stage.rest["pelvis_twist"] + sign * -3.0,
            "pelvis_tilt": -4.0,
        }
        score.move(start, start + 0.8 * up, lean)
        score.move(start, start + up, arms | trunk)
        score.move(start + up, start + up + 0.9 * down, {f"{name}_foot_y": rest_y, f"{name}_foot_x": rest_x})
        score.move(start + up, start + up + down, {f"{name}_foot_z": 0.0, f"{name}_heel": 0.0, "pelvis_tilt": 0.0})
        score.move(start + up + 0.3 * down, start + up + down, {"x": stage.rest["x"], "pelvis_bend": 0.0})
        stage.now = start + up + down + 0.06 * seconds
        side = 1 - side
    stage.move(0.9, stage.rest)


def shoulder_opening_flow(stage: Stage) -> None:
    """Arms reach overhead, open as a cactus, wrap round the body in front, and reach up again."""
    top = overhead(
        stage, apart_m=stage.vary("apart", 0.14, person=0.04), up=stage.vary("up", 0.95, person=0.015, most=0.98)
    )
    over = stage.one_of("over", 2)
    cactus: dict[str, float] = {}
    wrap: dict[str, float] = {}
    forwards: dict[str, float] = {}
    for side in BOTH:
        name = SIDES[side]
        crossing = 8.0 if side == over else -6.0
        cactus |= stage.arm(
            side, stage.vary("cactus", 88.0, person=5.0, take=2.0), stage.vary("open", -16.0, person=6.0),
            rotation=stage.vary("outward", 80.0, person=5.0), elbow=stage.vary("square", 92.0, person=7.0),
        )  # fmt: skip
        cactus |= {f"{name}_protract": -18.0, f"{name}_shrug": -2.0}
        wrap |= stage.arm(
            side, 74.0 + crossing, 112.0, rotation=8.0, elbow=stage.vary("wrap", 88.0, person=6.0) + crossing
        )
        wrap |= {f"{name}_protract": 20.0, f"{name}_shrug": 0.0}
        forwards |= stage.arm(side, 118.0, 82.0)
        top |= {f"{name}_protract": 0.0, f"{name}_shrug": 0.0}
    first = True
    while stage.on:
        stage.hesitate()
        chest = stage.reach("chest", 1.0)
        lifted = {"thoracic_flexion": -6.0 * chest, "neck_flexion": -8.0 * chest, "lumbar_flexion": -3.0}
        level = stage.arm(0, 95.0, 40.0) | stage.arm(1, 95.0, 40.0)
        stage.move_through(stage.seconds("up", 1.7), level if first else forwards, top | lifted)
        stage.hold("top", 0.35)
        stage.move(
            stage.seconds("cactus", 1.5), cactus | {"thoracic_flexion": -13.0 * chest, "neck_flexion": -12.0 * chest}
        )
        stage.hold("open", 0.6)
        round_back = {"thoracic_flexion": 14.0 * chest, "neck_flexion": 14.0 * chest, "lumbar_flexion": 5.0 * chest}
        stage.move(stage.seconds("wrap", 1.6), wrap | round_back)
        stage.hold("wrapped", 0.6)
        first = False
    stage.move(1.4, stage.rest)


def skaters_balance_flow(stage: Stage) -> None:
    """Glide from leg to leg: one leg stands bent, the other crosses behind in the air, the trunk bows, the arms sweep."""
    bones = stage.person.bones
    side = stage.first_side()
    wide = stage.vary("wide", 0.24, person=0.03, take=0.01) * bones.leg
    middle, level = stage.rest["x"], 0.5 * (stage.rest["left_foot_y"] + stage.rest["right_foot_y"])
    started = False
    while stage.on:
        name, other = SIDES[side], SIDES[1 - side]  # the leg that will stand, the one that will cross behind
        sign = 1.0 - 2.0 * side
        seconds = stage.seconds("glide", 1.75)
        start, score = stage.now, stage.score
        land, away = start + 0.46 * seconds, start + 0.5 * seconds
        plant_x = middle + sign * wide * stage.vary("width", 1.0, person=0.05, cycle=0.04)
        if not started:
            score.move(start, start + 0.16 * seconds, {f"{name}_heel": 12.0})
        score.move(start + 0.1 * seconds, start + 0.28 * seconds, {f"{name}_foot_z": 0.11})
        score.move(start + 0.28 * seconds, land, {f"{name}_foot_z": 0.0, f"{name}_heel": 0.0})
        to = {f"{name}_foot_x": plant_x, f"{name}_foot_y": level, f"{name}_foot_yaw": sign * 10.0}
        score.move(start + 0.13 * seconds, land - 0.02 * seconds, to)
        deep = stage.reach("deep", 0.09 * bones.leg, side=side)
        hinge = stage.reach("hinge", 1.0, side=side)
        score.move(start, start + 0.3 * seconds, {"crouch": 0.4 * deep, "pelvis_tilt": 10.0, "lumbar_flexion": 6.0})
        score.move(start, start + 0.6 * seconds, {"x": plant_x - 0.012 * sign, "y": level + 0.03 * bones.leg})
        end = start + 0.92 * seconds
        bowed = {
            "crouch": deep,
            "pelvis_tilt": 24.0 * hinge,
            "lumbar_flexion": 13.0 * hinge,
            "thoracic_flexion": 10.0 * hinge,
            "neck_flexion": -20.0 * hinge,
            "thoracic_twist": sign * 17.0 * hinge,
            "pelvis_twist": sign * 6.0,
            "pelvis_bend": -sign * 3.0,
        }
        score.move(start + 0.35 * seconds, end, bowed)
        crossed = plant_x + sign * stage.vary("cross", 0.06, person=0.02, cycle=0.01) * bones.leg
        behind = level + stage.reach("behind", 0.42, spread=0.08) * bones.leg
        score.move(away - 0.1 * seconds, away + 0.06 * seconds, {f"{other}_heel": 38.0})
        score.move(away, end, {f"{other}_foot_z": stage.reach("lift", 0.17, spread=0.08)})
        score.move(
            away + 0.07 * seconds,
            end,
            {f"{other}_foot_x": crossed, f"{other}_foot_y": behind, f"{other}_foot_yaw": sign * 4.0},
        )
        arms = stage.arm(1 - side, stage.reach("front", 62.0), 100.0, rotation=0.0, elbow=28.0)
        arms |= stage.arm(side, min(70.0, stage.reach("back", 58.0)), -38.0, rotation=0.0, elbow=16.0)
        score.move(start + 0.2 * seconds, end, arms)
        stage.now = end
        stage.hold("balance", 0.35)
        if stage.one_of("wobbly", 2):
            stage.hesitate()
        side, started = 1 - side, True
    stand(stage)


def stand(stage: Stage) -> None:
    """Put lifted feet back where they belong and straighten up."""
    stage.move(1.6, stage.upright(), wait=False)
    for name in sorted(SIDES, key=lambda name: -stage.score.value(f"{name}_foot_z")):
        lifted = stage.score.value(f"{name}_foot_z") > 0
        home = {f"{name}_{part}": stage.rest[f"{name}_{part}"] for part in ("foot_x", "foot_y", "foot_yaw")}
        start, score = stage.now, stage.score
        score.move(start + 0.05, start + 0.3, {f"{name}_foot_z": 0.12 if lifted else 0.06})
        score.move(start + 0.1, start + 0.7, home)
        score.move(start + 0.3, start + 0.75, {f"{name}_foot_z": 0.0, f"{name}_heel": 0.0, f"{name}_toe": 0.0})
        stage.now = start + 0.8
