"""Yoga actions on legs set far apart: revolved crescent lunge, warrior chest opener, reverse warrior."""

from capture.simulator.actions.poses import by_the_side
from capture.simulator.body import SIDES
from capture.simulator.flesh import trunk_radius_m
from capture.simulator.stage import Stage

BOTH = (0, 1)


def revolved_crescent_lunge(stage: Stage) -> None:
    """Step back into a lunge with the rear heel up, palms joined; twist to the front leg's side, open the arms, come back."""
    leg = stage.person.bones.leg
    front = stage.first_side()
    while stage.on:
        stage.hesitate()
        rear = 1 - front
        left = 1.0 - 2.0 * front
        prayer = pray(stage)
        home = stage.rest
        front_y = home[f"{SIDES[front]}_foot_y"]
        back_y = front_y + leg * stage.vary("stride", 1.09, person=0.03, take=0.012, cycle=0.01)
        seconds = stage.seconds("step", 1.25)
        stage.move(0.85 * seconds, prayer | {"lumbar_flexion": 3.0, "pelvis_tilt": 18.0}, wait=False)
        middle = home["x"], front_y + leg * stage.vary("forward", 0.40, person=0.02, cycle=0.01)
        stage.step(
            rear, home[f"{SIDES[rear]}_foot_x"], back_y, yaw=0.0, seconds=seconds, lift_m=0.09, lean=0.4,
            heel_first=False, to=middle, heel=stage.vary("heel", 48.0, person=5.0, take=2.0),
        )  # fmt: skip
        stage.hold("settle", 0.3)
        for _ in range(1 + stage.one_of("twists", 2)):
            twist = left * stage.reach("twist", 1.0, spread=0.1)
            turned = {
                "pelvis_tilt": 19.0,
                "lumbar_flexion": 14.0,
                "pelvis_twist": home["pelvis_twist"] + 9.0 * twist,
                "lumbar_twist": 11.0 * twist,
                "thoracic_twist": 27.0 * twist,
                "neck_twist": 22.0 * twist,
                "crouch": 0.0,
            }
            stage.move(stage.seconds("twist", 1.7), turned)
            # One arm to the floor, the other to the sky, along the line of the twisted shoulders.
            opened = stage.arm(front, stage.reach("open", 96.0, spread=0.05), -12.0, rotation=10.0, elbow=12.0)
            opened |= stage.arm(rear, stage.vary("down", 74.0, person=5.0, cycle=2.0), 25.0, rotation=10.0, elbow=14.0)
            opened["thoracic_bend"] = -left * 10.0
            stage.move(stage.seconds("open", 1.3), opened)
            stage.hold("opened", 0.9)
            stage.move(stage.seconds("close", 1.3), prayer | {"thoracic_bend": 0.0})
            back = {name: home[name] for name in turned if name not in ("pelvis_tilt", "lumbar_flexion")}
            stage.move(stage.seconds("untwist", 1.4), back | {"pelvis_tilt": 18.0, "lumbar_flexion": 3.0})
        come_back(stage, rear)
        front = rear
    stage.move(0.9, stage.rest)


def warrior_chest_opener(stage: Stage) -> None:
    """Lunge forward; arms level in front open wide to the back while the chest lifts over the bent leg, a few times a side."""
    leg = stage.person.bones.leg
    front = stage.first_side()
    closed: dict[str, float] = {}
    opened: dict[str, float] = {}
    tilted = {"pelvis_tilt": 19.0, "lumbar_flexion": -10.0}
    for side in BOTH:
        name = SIDES[side]
        closed |= stage.arm(side, stage.vary("level", 84.0, person=5.0, take=2.0), 88.0, rotation=5.0, elbow=18.0)
        opened |= stage.arm(
            side, stage.vary("wide", 96.0, person=7.0, take=2.0), -stage.vary("open", 24.0, person=5.0, least=10.0, most=34.0),
            rotation=stage.vary("palms", 35.0, person=8.0), elbow=stage.vary("soft", 16.0, person=6.0, least=5.0),
        )  # fmt: skip
        closed[f"{name}_protract"], opened[f"{name}_protract"] = 12.0, -22.0
    while stage.on:
        stage.hesitate()
        home = stage.rest
        rear = 1 - front
        seconds = stage.seconds("step", 1.2)
        forward_y = home[f"{SIDES[front]}_foot_y"] - leg * stage.vary(
            "stride", 1.04, person=0.04, take=0.012, cycle=0.01
        )
        deep = stage.vary("deep", 0.39, person=0.02, take=0.01)
        middle = home["x"], forward_y + leg * deep
        stage.move(1.1 * seconds, closed | tilted, wait=False)
        lift = {f"{SIDES[rear]}_heel": stage.vary("heel", 34.0, person=5.0, take=2.0)}
        stage.score.move(stage.now + 0.6 * seconds, stage.now + 1.1 * seconds, lift)
        stage.step(
            front, home[f"{SIDES[front]}_foot_x"], forward_y, yaw=0.0, seconds=seconds, lift_m=0.1, lean=0.5, to=middle
        )
        stage.hold("settle", 0.15)
        for _ in range(2 + stage.one_of("openings", 2)):
            chest = stage.reach("chest", 1.0)
            wide = {
                "thoracic_flexion": -15.0 * chest,
                "lumbar_flexion": -10.0 - 8.0 * chest,
                "neck_flexion": -20.0 * chest,
                "y": forward_y + leg * (deep - 0.06 * chest),
            }
            stage.move(stage.seconds("open", 1.6), opened | wide)
            stage.hold("opened", 0.8)
            narrow = {name: home[name] for name in wide} | {"y": forward_y + leg * deep} | tilted
            stage.move(stage.seconds("close", 1.4), closed | narrow)
        come_back(stage, front)
        front = rear
    stage.move(0.9, stage.rest)


def reverse_warrior_reach(stage: Stage) -> None:
    """Feet wide apart, front knee bent over turned-out toes; the trunk arches back over the straight leg, arm overhead."""
    leg = stage.person.bones.leg
    front = stage.first_side()
    half = 0.5 * leg * stage.vary("stance", 0.945, person=0.02, take=0.01)
    stage.move(0.8, stage.arm(0, 36.0, 5.0) | stage.arm(1, 36.0, 5.0), wait=False)
    spread_feet(stage, front, half)
    while stage.on:
        stage.hesitate()
        left = 1.0 - 2.0 * front
        shift = stage.rest["x"] + left * leg * stage.vary("shift", 0.15, person=0.02, take=0.005)
        level = by_the_side(stage, 2.0) | {f"{name}_elbow": 8.0 for name in SIDES}
        stance = {"x": shift, **_squared(left)}
        stage.move(stage.seconds("warrior", 1.4), level | stance | {"neck_twist": left * 40.0})
        stage.hold("warrior", 0.4)
        for _ in range(2 + stage.one_of("reaches", 2)):
            arch = left * stage.reach("arch", 1.0)
            back = {
                "x": shift - left * 0.01 * leg,
                "pelvis_bend": -5.0 * arch,
                "lumbar_bend": -22.0 * arch,
                "thoracic_bend": -24.0 * arch,
                "lumbar_flexion": -4.0,
                "neck_bend": -8.0 * arch,
                "neck_twist": left * stage.vary("gaze", 15.0, person=15.0),
                "neck_flexion": -8.0,
            }
            reach = stage.arm(
                front, min(172.0, stage.reach("over", 160.0, spread=0.04)), 20.0, rotation=20.0, elbow=12.0
            )
            reach |= stage.arm(
                1 - front, stage.vary("slide", 48.0, person=3.0, cycle=2.0), -4.0, rotation=0.0, elbow=14.0
            )
            stage.move(stage.seconds("arch", 2.0), back | reach)
            stage.hold("reach", 1.1)
            upright = {name: stage.rest[name] for name in back if name not in ("x", "neck_twist")}
            stage.move(stage.seconds("rise", 1.7), level | upright | {"x": shift, "neck_twist": left * 40.0})
        if stage.on:
            front = 1 - front
            stage.move(0.9, {"x": stage.rest["x"], "neck_twist": 0.0})
            spread_feet(stage, front, half, switch=True)
    # A turned-out foot keeps the pelvis turned.
    stage.move(1.4, {name: value for name, value in stage.upright().items() if not name.endswith("_twist")})
    for side in (front, 1 - front):
        come_back(stage, side, 0.9)


def pray(stage: Stage) -> dict[str, float]:
    """Palms joined in front of the chest."""
    size = stage.person.height_m / 1.72
    both: dict[str, float] = {}
    for side in BOTH:
        front = trunk_radius_m(stage.person) + 0.1 * size
        both |= stage.hand(side, 0.03 * size, front, -0.16 * size, elbow_out=(1.0, 0.1, -0.7))
    return both


def spread_feet(stage: Stage, front: int, half_m: float, *, switch: bool = False) -> None:
    """Feet `half_m` to either side, the front one turned out, the other in; stepped, not slid, the pelvis turning along.

    To `switch` sides the foot that was in front turns in first.
    """
    left = 1.0 - 2.0 * front
    x, y = stage.rest["x"], 0.5 * (stage.rest["left_foot_y"] + stage.rest["right_foot_y"])
    yaws = {front: left * stage.vary("turn out", 63.0, person=3.0), 1 - front: left * 20.0}
    for number, side in enumerate((1 - front, front) if switch else (front, 1 - front)):
        seconds = stage.seconds("set", 0.6 if switch else 0.8)
        turn = 0.45 * left if switch and number == 0 else left
        late = 0.3 * seconds if switch and number else 0.0
        stage.move(1.1 * seconds - late, _squared(turn), wait=False, delay=late)
        stage.step(
            side, x + (1.0 - 2.0 * side) * half_m, y, yaw=yaws[side], seconds=seconds, lift_m=0.045 if switch else 0.07,
            lean=0.05 if switch else 0.45, heel_first=False,
        )  # fmt: skip


def _squared(turn: float) -> dict[str, float]:
    """The pelvis turned half-way to the front foot, the chest turned back; `turn` 1 to the left, -1 to the right."""
    return {"pelvis_twist": turn * 32.0, "lumbar_twist": -turn * 8.0, "thoracic_twist": -turn * 14.0}


def come_back(stage: Stage, side: int, mean_s: float = 1.15) -> None:
    """Step back to where the foot of `side` rests, and straighten up."""
    name, other = SIDES[side], SIDES[1 - side]
    seconds = stage.seconds("return", mean_s)
    upright = {name: value for name, value in stage.upright().items() if name not in ("x", "y")}
    stage.move(0.75 * seconds, upright, wait=False, delay=0.5 * seconds)
    stage.score.move(stage.now + 0.85 * seconds, stage.now + 1.3 * seconds, {f"{other}_heel": 0.0})
    stage.step(
        side, stage.rest[f"{name}_foot_x"], stage.rest[f"{name}_foot_y"], yaw=stage.rest[f"{name}_foot_yaw"], seconds=seconds,
        lift_m=0.09, lean=0.6, heel_first=False,
    )  # fmt: skip
