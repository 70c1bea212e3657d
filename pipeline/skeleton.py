"""The 13 joints of the paper, in its order, and how they relate to COCO's 17 (paper.md, "Joints")."""

JOINTS: tuple[str, ...] = (
    "nose",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

COCO_INDEX: tuple[int, ...] = (0, 5, 7, 9, 6, 8, 10, 11, 12, 13, 14, 15, 16)
"""Index of each joint among COCO's 17 keypoints."""

MIRROR_PAIRS: tuple[tuple[int, int], ...] = ((1, 4), (2, 5), (3, 6), (7, 8), (9, 10), (11, 12))
"""Joints that change places when a person is mirrored."""

MIRRORED: tuple[int, ...] = tuple(
    dict([*MIRROR_PAIRS, *(pair[::-1] for pair in MIRROR_PAIRS)]).get(joint, joint) for joint in range(len(JOINTS))
)
"""Joints in their order, each under the name it has in a mirror."""

LIMBS: tuple[tuple[int, int], ...] = (
    (1, 2),
    (2, 3),
    (4, 5),
    (5, 6),
    (1, 4),
    (7, 8),
    (1, 7),
    (4, 8),
    (7, 9),
    (9, 11),
    (8, 10),
    (10, 12),
)
"""Pairs of joints that a bone, or the trunk's edge, connects; the nose hangs between the shoulders and is drawn alone."""
