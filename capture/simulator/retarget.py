"""Recorded points to a body: which way each bone points, legs that stand where the recorded ones do."""

import numpy as np
from jaxtyping import Float64

from capture.simulator.body import BODY_JOINTS, INDEX, SIDES, BoneLengths, Vectors
from capture.simulator.motion import Joints
from capture.simulator.tracks import POINT, Positions

_SOFT_LEG_M = 0.004
_STRAIGHT_LEG = 0.9992


def posed(bones: BoneLengths, points: Float64[np.ndarray, "time point 3"]) -> Joints:
    """A body with these bones, each pointing where the recorded points say."""
    out = np.empty((len(points), len(BODY_JOINTS), 3))

    def put(name: str, parent: str, way: Vectors, length: float) -> None:
        out[:, INDEX[name]] = out[:, INDEX[parent]] + length * way

    def way(start: str, stop: str) -> Vectors:
        return _unit(points[:, POINT[stop]] - points[:, POINT[start]])

    hips = middle(points, "hip")
    out[:, INDEX["pelvis"]] = hips
    hip_way = way("right_hip", "left_hip")
    put("left_hip", "pelvis", hip_way, bones.hip_half_width)
    put("right_hip", "pelvis", -hip_way, bones.hip_half_width)
    put("spine", "pelvis", _unit(points[:, POINT["spine"]] - hips), bones.lumbar)
    put("neck", "spine", way("spine", "neck"), bones.thoracic)
    head_way = way("neck", "head")
    put("head", "neck", head_way, bones.neck)
    put("head_top", "head", head_way, bones.crown)
    # A recording's skull is a point: it looks where the shoulders face, square to the neck.
    left = way("right_shoulder", "left_shoulder")
    ahead = _unit(np.cross(left, head_way))
    put(
        "nose",
        "head",
        _unit(bones.nose_forward * ahead - bones.nose_drop * head_way),
        np.hypot(bones.nose_forward, bones.nose_drop),
    )
    girdle = float(np.hypot(bones.shoulder_half_width, bones.shoulder_drop))
    for side in SIDES:
        put(f"{side}_shoulder", "neck", way("neck", f"{side}_shoulder"), girdle)
        put(f"{side}_elbow", f"{side}_shoulder", way(f"{side}_shoulder", f"{side}_elbow"), bones.upper_arm)
        forearm = way(f"{side}_elbow", f"{side}_wrist")
        put(f"{side}_wrist", f"{side}_elbow", forearm, bones.forearm)
        # Hands are tracked worst; no wrist bends back on itself.
        hand = points[:, POINT[f"{side}_hand"]] - points[:, POINT[f"{side}_wrist"]]
        put(f"{side}_hand", f"{side}_wrist", _unit(_leaning(hand, forearm, 0.015)), bones.hand)
        _put_leg(out, bones, side, points)
    return out


def _put_leg(out: Joints, bones: BoneLengths, side: str, points: Float64[np.ndarray, "time point 3"]) -> None:
    """A leg whose ankle is where the recorded one is, so that standing feet stay; its knee on the recorded knee's side."""
    hip = out[:, INDEX[f"{side}_hip"]]
    reach = points[:, POINT[f"{side}_ankle"]] - hip
    way, distance = _unit(reach), np.linalg.norm(reach, axis=1)
    straight = _STRAIGHT_LEG * bones.leg
    distance = straight - _SOFT_LEG_M * np.logaddexp(0.0, (straight - distance) / _SOFT_LEG_M)
    cos = np.clip((bones.thigh**2 + distance**2 - bones.shank**2) / (2 * bones.thigh * distance), -1.0, 1.0)
    # Knees bend forwards and toes point forwards, whatever the jitter of a straight leg or a badly seen foot says.
    left = points[:, POINT["left_hip"]] - points[:, POINT["right_hip"]]
    facing = _unit(np.cross(left, [0.0, 0.0, 1.0]))
    toe = points[:, POINT[f"{side}_toe"]] - points[:, POINT[f"{side}_ankle"]]
    toe = _unit(_leaning(toe, _unit(_across(facing, way)), 0.02))
    knee = _across(points[:, POINT[f"{side}_knee"]] - hip, way)
    knee = _unit(_leaning(knee, _unit(_across(_unit(facing + toe), way)), 0.02))
    thigh = cos[:, None] * way + np.sqrt(1.0 - cos**2)[:, None] * knee
    out[:, INDEX[f"{side}_knee"]] = hip + bones.thigh * thigh
    ankle = hip + distance[:, None] * way
    out[:, INDEX[f"{side}_ankle"]] = ankle
    # A rigid foot that points along `toe` and stands under the shank.
    forward = np.array([0.0, -bones.toe_forward, bones.toe_height - bones.ankle_height])
    back = np.array([0.0, bones.heel_back, bones.heel_height - bones.ankle_height])
    length = float(np.linalg.norm(forward))
    shank = _unit(ankle - out[:, INDEX[f"{side}_knee"]])
    square = np.cross(_unit(np.cross(toe, shank)), toe)  # downward, square to the toe's way
    along, down = forward / length, np.array([0.0, -forward[2], forward[1]]) / length
    out[:, INDEX[f"{side}_toe"]] = ankle + length * toe
    out[:, INDEX[f"{side}_heel"]] = ankle + (back @ along) * toe + (back @ down) * square


def put_on_floor(bones: BoneLengths, points: Positions, rate_hz: float) -> None:
    """Put the body on the floor z = 0, in place: each foot flat on it, over the take as a whole, where it stands.

    A foot stands where its ankle is slow and low. Recordings mark toes anywhere between the nail and the sole and their
    floors may slope: so each foot is turned by one angle, and each ankle raised by one length, for all of the take.
    """
    flat = np.arctan2(bones.toe_height - bones.ankle_height, bones.toe_forward)
    heights = []
    for side in SIDES:
        ankle, toe = points[:, POINT[f"{side}_ankle"]], points[:, POINT[f"{side}_toe"]]
        speed = np.linalg.norm(np.gradient(ankle, 1 / rate_hz, axis=0), axis=1)
        stands = (speed <= np.percentile(speed, 40)) & (ankle[:, 2] <= np.median(ankle[:, 2]) + 0.02)
        way, length = _unit(toe - ankle), np.linalg.norm(toe - ankle, axis=1, keepdims=True)
        turn = flat - float(np.median(np.arcsin(np.clip(way[stands, 2], -1.0, 1.0))))
        up = np.cross(_unit(np.cross(way, [0.0, 0.0, 1.0])), way)
        toe[:] = ankle + length * (np.cos(turn) * way + np.sin(turn) * up)
        heights.append(float(np.median(ankle[stands, 2])))
    points[:, :, 2] -= np.mean(heights) - bones.ankle_height
    for side, height in zip(SIDES, heights, strict=True):
        points[:, [POINT[f"{side}_ankle"], POINT[f"{side}_toe"]], 2] -= height - np.mean(heights)


def above_floor(bones: BoneLengths, joints: Joints) -> Float64[np.ndarray, "time sole"]:
    """How far the soles' round ends are above z = 0."""
    names = [
        (f"{side}_{part}", height)
        for side in SIDES
        for part, height in (("heel", bones.heel_height), ("toe", bones.toe_height))
    ]
    return np.stack([joints[:, INDEX[name], 2] - height for name, height in names], axis=1)


def middle(points: Positions, part: str) -> Vectors:
    """The point half-way between a left and a right part."""
    return 0.5 * (points[:, POINT[f"left_{part}"]] + points[:, POINT[f"right_{part}"]])


def _across(ways: Vectors, axis: Vectors) -> Vectors:
    """What of `ways` is square to `axis`."""
    return ways - np.einsum("ti,ti->t", ways, axis)[:, None] * axis


def _leaning(ways: Vectors, axis: Vectors, least_m: float) -> Vectors:
    """`ways` with at least about `least_m` along `axis`, smoothly."""
    along = np.einsum("ti,ti->t", ways, axis)
    softly = least_m * np.logaddexp(0.0, along / least_m) + least_m
    return ways + (softly - along)[:, None] * axis


def _unit(ways: Vectors) -> Vectors:
    return ways / np.maximum(np.linalg.norm(ways, axis=1, keepdims=True), 1e-9)
