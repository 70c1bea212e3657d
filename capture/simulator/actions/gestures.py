"""Try-on and movement actions of the arms."""

import numpy as np

from capture.simulator.body import SIDES
from capture.simulator.flesh import trunk_radius_m
from capture.simulator.stage import Stage

BOTH = (0, 1)


def sleeve_adjust(stage: Stage) -> None:
    """One forearm is held out in front; the other hand takes its cuff and tugs the sleeve up, twice or so; then the other."""
    size = stage.person.height_m / 1.72
    side = stage.first_side()
    while stage.on:
        stage.hesitate()
        held, pulling = SIDES[side], 1 - side
        front = size * stage.vary("front", 0.36, person=0.03, take=0.01, cycle=0.01)
        up = size * stage.vary("up", -0.24, person=0.04, take=0.01, cycle=0.01)
        arm = stage.hand(side, size * stage.vary("out", 0.04, person=0.03), front, up, elbow_out=(0.75, 0.2, -0.9))
        elbow, wrist = stage.elbow_and_wrist(side, arm)
        look = {
            "neck_flexion": stage.reach("nod", 24.0),
            "neck_twist": (1.0 - 2.0 * side) * stage.reach("look", 14.0),
            "thoracic_flexion": stage.rest["thoracic_flexion"] + 4.0,
        }

        def grip(
            share: float, wrist: np.ndarray = wrist, elbow: np.ndarray = elbow, pulling: int = pulling
        ) -> dict[str, float]:
            """The other hand on the forearm, `share` of the way from wrist to elbow."""
            place = wrist + share * (elbow - wrist)
            return stage.hand(
                pulling,
                -place[0] + 0.05 * size,
                place[1] + 0.04 * size,
                place[2] + 0.05 * size,
                elbow_out=(0.8, -0.1, -0.6),
            )

        stage.move(stage.seconds("ready", 0.9), {**arm, **grip(0.1), **look, f"{held}_wrist": 0.0})
        tugs = 2 + stage.one_of("tugs", 2)
        for _ in range(tugs):
            stage.move(stage.seconds("tug", 0.55), grip(stage.reach("slide", 0.72)))
            stage.move(stage.seconds("back", 0.4), grip(stage.vary("cuff", 0.12, person=0.05, cycle=0.03)))
        if stage.one_of("drop", 2):
            stage.move(stage.seconds("drop", 0.9), stage.arms_at_rest(0, 1))
        side = 1 - side
    stage.move(1.0, stage.rest)


def arm_raise(stage: Stage) -> None:
    """Both arms, or one after the other, go up overhead, by the side or by the front as the person likes, and down."""
    plane = (12.0, 82.0, 45.0)[stage.one_of("way", 3)]
    alternate = stage.one_of("alternate", 4) == 0
    side = stage.first_side()
    while stage.on:
        stage.hesitate()
        seconds = stage.seconds("raise", 1.25)
        sides = (side,) if alternate else BOTH
        middle: dict[str, float] = {}
        top: dict[str, float] = {}
        for arm in sides:
            height = float(np.clip(stage.reach("height", 163.0, side=arm, spread=0.06), 138.0, 174.0))
            way = stage.vary("plane", plane, person=6.0, take=2.0, cycle=2.0)
            elbow = stage.vary("elbow", 12.0, person=8.0, take=2.0, least=3.0)
            middle |= stage.arm(arm, 90.0, way)
            top |= stage.arm(
                arm, height, 0.5 * (way + 30.0), rotation=stage.vary("turn", 15.0, person=10.0), elbow=elbow
            )
        trunk = {"thoracic_flexion": stage.rest["thoracic_flexion"] - 8.0, "neck_flexion": -stage.reach("look", 6.0)}
        stage.move_through(seconds, middle, top | trunk)
        stage.hold("top", 0.3)
        lowered = stage.arms_at_rest(*sides) | stage.back_to_rest("thoracic_flexion", "neck_flexion")
        stage.move_through(stage.seconds("lower", 1.2), middle, lowered)
        stage.hold("bottom", 0.2)
        side = 1 - side
    stage.move(0.5, stage.rest)


def chest_expand(stage: Stage) -> None:
    """Level arms meet in front of the chest, then open as wide as they go while the chest comes out."""
    bent = stage.one_of("bent", 2) == 1
    while stage.on:
        stage.hesitate()
        closed: dict[str, float] = {}
        opened: dict[str, float] = {}
        for side in BOTH:
            level = stage.vary("level", 82.0, person=6.0, take=2.0, cycle=1.0)
            bend = 95.0 if bent else 40.0
            inward = stage.vary("inward", 82.0 if bent else 88.0, person=4.0, cycle=2.0)
            closed |= stage.arm(side, level, inward, rotation=4.0, elbow=bend + stage.vary("bend", 0.0, person=8.0))
            outward = -stage.reach("open", 24.0, side=side)
            opened |= stage.arm(
                side, level, outward, rotation=8.0, elbow=stage.vary("unbend", 75.0 if bent else 14.0, person=6.0)
            )
            name = SIDES[side]
            closed[f"{name}_protract"], opened[f"{name}_protract"] = 16.0, -stage.reach("retract", 22.0, side=side)
        closed |= {"thoracic_flexion": stage.rest["thoracic_flexion"] + 6.0, "neck_flexion": 8.0, "lumbar_flexion": 2.0}
        chest = stage.reach("chest", 10.0)
        opened |= {"thoracic_flexion": -chest, "lumbar_flexion": -0.3 * chest, "neck_flexion": -0.4 * chest}
        stage.move(stage.seconds("close", 1.0), closed)
        stage.hold("closed", 0.1)
        stage.move(stage.seconds("open", 1.0), opened)
        stage.hold("opened", 0.3)
    stage.move(1.0, stage.rest)


def arm_flap(stage: Stage) -> None:
    """Both arms go up to the sides and down again like wings; the elbows trail a little."""
    while stage.on:
        if stage.one_of("pausing", 3) == 0:
            stage.hesitate()
        half = stage.seconds("flap", 1.25) / 2
        up: dict[str, float] = {}
        down: dict[str, float] = {}
        for side in BOTH:
            way = stage.vary("way", 8.0, person=8.0, take=2.0, cycle=2.0)
            elbow = stage.vary("elbow", 22.0, person=9.0, take=2.0, least=6.0)
            up |= stage.arm(side, min(125.0, stage.reach("up", 98.0, side=side)), way, rotation=0.0, elbow=elbow - 4.0)
            down |= stage.arm(
                side,
                stage.vary("down", 20.0, person=5.0, cycle=2.0, least=12.0),
                way,
                rotation=-8.0,
                elbow=elbow + 14.0,
            )
        bounce = stage.reach("bounce", 0.012)
        stage.move(half, {**up, "crouch": stage.rest["crouch"]})
        stage.move(half, {**down, "crouch": stage.rest["crouch"] + bounce})
    stage.move(0.7, stage.rest)


def hand_slide(stage: Stage) -> None:
    """Both hands, or one, slide down the front of the body from chest to thighs as if to smooth a garment, and come back."""
    size = stage.person.height_m / 1.72
    front = trunk_radius_m(stage.person) + 0.055 * size
    both = stage.one_of("both", 4) > 0
    side = stage.first_side()
    while stage.on:
        stage.hesitate()
        sides = BOTH if both else (side,)
        track = []
        apart = stage.vary("apart", 0.12, person=0.02, cycle=0.01)
        for out, ahead, up in ((0.0, 0.0, -0.16), (0.015, 0.03, -0.3), (0.035, 0.05, -0.48)):
            posture: dict[str, float] = {}
            for arm in sides:
                high = up * stage.reach("low", 1.0, side=arm, spread=0.05) if up < -0.4 else up
                posture |= stage.hand(
                    arm, size * (apart + out), front + size * ahead, size * max(high, -0.49), elbow_out=(0.8, 0.5, -0.6)
                )
            track.append(posture)
        bow = stage.reach("bow", 11.0)
        look = stage.reach("look", 16.0)
        stage.move(stage.seconds("ready", 0.8), {**track[0], "neck_flexion": look, "lumbar_flexion": 0.0})
        slide = stage.seconds("slide", 1.3)
        lean = {
            "lumbar_flexion": bow,
            "thoracic_flexion": stage.rest["thoracic_flexion"] + 0.4 * bow,
            "neck_flexion": look + 6.0,
        }
        stage.move(slide, lean, wait=False)
        stage.move(0.45 * slide, track[1])
        stage.move(0.55 * slide, track[2])
        stage.hold("low", 0.15)
        back = stage.seconds("back", 0.9)
        upright = {name: stage.rest[name] for name in lean}
        stage.move(back, upright, wait=False)
        stage.move(back, track[1] if stage.one_of("short", 3) == 0 else track[0])
        side = 1 - side
    stage.move(1.0, stage.rest)


def arm_swing(stage: Stage) -> None:
    """Straight arms swing forward and backward beside the body, against each other or together."""
    together = stage.one_of("together", 3) == 0
    side = stage.first_side()
    while stage.on:
        half = stage.seconds("swing", 1.5) / 2
        target: dict[str, float] = {}
        for arm in BOTH:
            name = SIDES[arm]
            carry = 0.4 * stage.rest[f"{name}_elbow"]
            if (not side) if together else (arm == side):
                target |= stage.arm(
                    arm, min(100.0, stage.reach("front", 56.0, side=arm)), 84.0, elbow=carry + 14.0, rotation=0.0
                )
                continue
            target |= stage.arm(
                arm, min(48.0, stage.reach("back", 32.0, side=arm)), -76.0, elbow=carry + 4.0, rotation=0.0
            )
        left = 0.0 if together else 1.0 - 2.0 * side
        target["thoracic_twist"] = -left * stage.reach("twist", 8.0)
        target["pelvis_twist"] = stage.rest["pelvis_twist"] + left * stage.reach("counter", 2.5)
        if together:
            target["lumbar_flexion"] = stage.vary("bow", 4.0, person=3.0) * (1 if side else -1)
        stage.move(half, target)
        side = 1 - side
    stage.move(0.8, stage.rest)


def forearm_lift(stage: Stage) -> None:
    """Forearms come up in front while the upper arms hang, together or one after the other."""
    alternate = stage.one_of("alternate", 2) == 1
    side = stage.first_side()
    while stage.on:
        stage.hesitate()
        sides = (side,) if alternate else BOTH
        lift: dict[str, float] = {}
        lower: dict[str, float] = {}
        for arm in sides:
            name = SIDES[arm]
            lift[f"{name}_elbow"] = min(140.0, stage.reach("lift", 112.0, side=arm))
            lift[f"{name}_rotation"] = stage.vary("outward", 0.0, person=8.0, take=2.0)
            lift |= stage.arm(arm, stage.vary("forward", 14.0, person=5.0, cycle=1.0, least=6.0), 55.0)
            lower |= stage.arms_at_rest(arm)
        stage.move(stage.seconds("lift", 0.75), lift)
        stage.hold("top", 0.2)
        stage.move(stage.seconds("lower", 0.8), lower)
        stage.hold("bottom", 0.15)
        side = 1 - side
    stage.move(0.6, stage.rest)
