"""The joint tables agree with COCO's names and with each other."""

from pipeline.skeleton import COCO_INDEX, JOINTS, LIMBS, MIRROR_PAIRS

FACE = ["nose", "left_eye", "right_eye", "left_ear", "right_ear"]
COCO = FACE + [
    f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
]


def test_tables():
    assert tuple(COCO[index] for index in COCO_INDEX) == JOINTS
    for left, right in MIRROR_PAIRS:
        assert JOINTS[left].replace("left", "right") == JOINTS[right]
    mirror = dict(MIRROR_PAIRS) | {b: a for a, b in MIRROR_PAIRS}
    edges = {frozenset(limb) for limb in LIMBS}
    assert {frozenset(mirror.get(joint, joint) for joint in limb) for limb in edges} == edges
