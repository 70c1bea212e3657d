"""The joint tables agree with COCO's names and with each other."""

from pipeline.skeleton import COCO_INDEX, JOINTS, LIMBS, MIRROR_PAIRS

COCO = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle"
).split()


def test_tables():
    assert tuple(COCO[index] for index in COCO_INDEX) == JOINTS
    for left, right in MIRROR_PAIRS:
        assert JOINTS[left].replace("left", "right") == JOINTS[right]
    mirror = dict(MIRROR_PAIRS) | {b: a for a, b in MIRROR_PAIRS}
    edges = {frozenset(limb) for limb in LIMBS}
    assert {frozenset(mirror.get(joint, joint) for joint in limb) for limb in edges} == edges
