"""Try-on and movement actions led by trunk, head and feet."""

from capture.simulator.body import SIDES
from capture.simulator.stage import Stage

BOTH = (0, 1)


def shoulder_roll(stage: Stage) -> None:
    """Both shoulder girdles go round, mostly up and backward; some people roll one after the other."""
    backward = 1.0 if stage.one_of("direction", 4) else -1.0
    alternate = stage.one_of("alternate", 4) == 0
    first = stage.first_side()
    cycle = 0
    while stage.on:
        stage.hesitate()
        quarter = stage.seconds("roll", 1.8) / 4
        sides = BOTH if not alternate else ((first + cycle) % 2,)
        cycle += 1
        for protract, shrug, elbow, flexion in (
            (1.0, 0.45, 6, 3),
            (0.0, 1.0, 12, 0),
            (-1.0, 0.4, 8, -4),
            (0.0, -0.2, 0, 0),
        ):
            target = {"thoracic_flexion": stage.rest["thoracic_flexion"] + flexion * stage.reach("chest", 1.0)}
            for side in sides:
                name = SIDES[side]
                target[f"{name}_protract"] = backward * protract * stage.reach("protract", 25.0, side=side)
                target[f"{name}_shrug"] = shrug * stage.reach("shrug", 34.0, side=side)
                target[f"{name}_elbow"] = stage.rest[f"{name}_elbow"] + elbow
            stage.move(quarter, target)
    stage.move(0.6, stage.rest)


def stepping(stage: Stage) -> None:
    """A foot steps forward or to the side, the other follows, and both come back; the arms swing a little."""
    cycle = 0
    sideways_habit = stage.one_of("pattern", 3)
    side = stage.first_side()
    while stage.on:
        stage.hesitate()
        sideways = sideways_habit == 2 or (sideways_habit == 1 and cycle % 2 == 1)
        seconds = stage.seconds("step", 0.72)
        far = stage.reach("stride", 0.5 * stage.person.bones.leg)
        outward = 1.0 - 2.0 * side
        dx, dy = (0.6 * far * outward, 0.0) if sideways else (0.0, -far)
        lift = stage.reach("lift", 0.09)
        for share, order in ((1.0, (side, 1 - side)), (0.0, (1 - side, side) if sideways else (side, 1 - side))):
            for foot in order:
                name = SIDES[foot]
                swing = 0.0 if sideways else stage.reach("arm", 16.0)
                forwards = 1.0 if share else -0.6
                arms = {f"{SIDES[1 - foot]}_raise": stage.rest[f"{SIDES[1 - foot]}_raise"] + 0.5 * swing}
                arms[f"{SIDES[1 - foot]}_across"] = stage.rest[f"{SIDES[1 - foot]}_across"] + forwards * swing
                arms[f"{SIDES[1 - foot]}_elbow"] = stage.rest[f"{SIDES[1 - foot]}_elbow"] + 10.0
                arms |= stage.back_to_rest(f"{name}_raise", f"{name}_across", f"{name}_elbow")
                stage.move(seconds, arms, wait=False)
                x, y = stage.rest[f"{name}_foot_x"] + share * dx, stage.rest[f"{name}_foot_y"] + share * dy
                stage.step(foot, x, y, seconds=seconds, lift_m=lift, heel_first=not sideways)
            stage.hold("dwell", 0.12)
        side = 1 - side if sideways or stage.one_of("swap", 2) else side
        cycle += 1
    stage.move(0.8, stage.rest)


def torso_twist(stage: Stage) -> None:
    """Turn the trunk left and right over still feet, with arms held in front of the chest or hanging loose."""
    habit = stage.one_of("arms", 3)
    carried: dict[str, float] = {}
    for side in BOTH:
        if habit == 0:
            carried |= stage.arm(side, 70.0, 55.0, rotation=0.0, elbow=stage.vary("bend", 105.0, person=8.0, take=3.0))
        elif habit == 1:
            carried |= stage.arm(side, 28.0, 45.0, rotation=5.0, elbow=stage.vary("bend", 85.0, person=8.0, take=3.0))
    stage.move(stage.seconds("ready", 0.8), carried)
    side = stage.first_side()
    while stage.on:
        stage.hesitate()
        left = 1.0 - 2.0 * side
        turn = stage.reach("twist", left, side=side)
        seconds = stage.seconds("twist", 1.05)
        target = {
            "pelvis_twist": stage.rest["pelvis_twist"] + 13.0 * turn,
            "lumbar_twist": 10.0 * turn,
            "thoracic_twist": 27.0 * turn,
            "neck_twist": stage.vary("gaze", 0.0, person=14.0) * turn,
            "thoracic_bend": 3.0 * turn,
        }
        if not carried:  # loose arms wrap around the turning trunk
            leading, trailing = SIDES[side], SIDES[1 - side]
            target |= stage.arm(side, 32.0, -60.0) | stage.arm(1 - side, 38.0, 80.0)
            target |= {f"{leading}_elbow": 35.0, f"{trailing}_elbow": 55.0}
        stage.move(seconds, target)
        stage.hold("end", 0.12)
        side = 1 - side
    stage.move(1.0, stage.rest)


def head_turn(stage: Stage) -> None:
    """Look over one shoulder, then over the other; some look up or down on the way."""
    side = stage.first_side()
    while stage.on:
        stage.hesitate()
        left = 1.0 - 2.0 * side
        turn = left * stage.reach("turn", 62.0, side=side)
        nod = stage.vary("nod", 0.0, person=6.0, take=2.0, cycle=2.0)
        share = stage.vary("trunk", 0.10, person=0.05, least=0.0)
        target = {
            "neck_twist": turn,
            "neck_flexion": stage.rest["neck_flexion"] + nod,
            "neck_bend": -0.06 * turn,
            "thoracic_twist": share * turn,
        }
        stage.move(stage.seconds("turn", 0.95), target)
        stage.hold("look", 0.35)
        side = 1 - side
    stage.move(0.8, stage.rest)
