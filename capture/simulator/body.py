"""A jointed body: which joints it has, how long its bones are, and where they go for given joint angles.

Body frame, equal to the radar's when the person faces the radar: x to the person's left, y to their back, z up, so they
look along -y. Two-sided quantities carry an axis `side`: 0 left, 1 right. Angles are radians, signed so that the two
sides mean the same: a right angle mirrored is a left angle.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from pipeline.skeleton import JOINTS

BODY_JOINTS: tuple[str, ...] = (
    *JOINTS,
    "pelvis",
    "spine",
    "neck",
    "head",
    "head_top",
    "left_hand",
    "right_hand",
    "left_heel",
    "right_heel",
    "left_toe",
    "right_toe",
)
"""The paper's 13 first, in its order. pelvis: between the hip joints; spine: where the ribs end; neck: its base; head: the
skull's centre; hand: the knuckles' far end; heel and toe: centres of the shoe's round ends."""

Matrices = Float64[np.ndarray, "time 3 3"]
Vectors = Float64[np.ndarray, "time 3"]
Angles = Float64[np.ndarray, " time"]

INDEX: dict[str, int] = {name: number for number, name in enumerate(BODY_JOINTS)}

SIDES = ("left", "right")

BONES: tuple[tuple[str, str], ...] = (
    ("pelvis", "spine"),
    ("spine", "neck"),
    ("neck", "head"),
    ("head", "head_top"),
    ("head", "nose"),
    *(
        (parent if parent in ("neck", "pelvis") else f"{side}_{parent}", f"{side}_{child}")
        for side in SIDES
        for parent, child in (
            ("neck", "shoulder"),
            ("shoulder", "elbow"),
            ("elbow", "wrist"),
            ("wrist", "hand"),
            ("pelvis", "hip"),
            ("hip", "knee"),
            ("knee", "ankle"),
            ("ankle", "heel"),
            ("ankle", "toe"),
        )
    ),
)
"""(parent, child) of every bone; each keeps its length. The pelvis is the root."""


@dataclass(frozen=True)
class BoneLengths:
    """Lengths in metres of a body whose left and right are alike."""

    thigh: float
    shank: float
    ankle_height: float  # of the ankle joint above the sole
    heel_back: float  # of the heel's centre behind the ankle
    heel_height: float  # of the heel's centre above the sole, so also its radius
    toe_forward: float
    toe_height: float
    hip_half_width: float
    lumbar: float  # pelvis to spine
    thoracic: float  # spine to neck
    shoulder_half_width: float
    shoulder_drop: float  # of the shoulder joints below the neck's base
    upper_arm: float
    forearm: float
    hand: float  # wrist to the knuckles' far end
    neck: float  # neck's base to the skull's centre
    crown: float  # the skull's centre to its top
    nose_forward: float  # of the nose's tip in front of the skull's centre
    nose_drop: float

    @property
    def leg(self) -> float:
        """Hip to ankle of a straight leg."""
        return self.thigh + self.shank

    @property
    def arm(self) -> float:
        """Shoulder to wrist of a straight arm."""
        return self.upper_arm + self.forearm

    @property
    def height(self) -> float:
        """Sole to crown of somebody who stands bolt upright."""
        return self.ankle_height + self.leg + self.lumbar + self.thoracic + self.neck + self.crown


@dataclass(frozen=True)
class Pose:
    """Joint angles over time, radians.

    Trunk and neck angles are (flexion forward, bend to the left, twist to the left), each segment relative to the one
    below it; `pelvis_rad` is relative to the room. A clavicle is (raised, forward); an arm is (raise, across, rotation,
    elbow, wrist), see `arm_directions`; a leg is (hip flexion, abduction, outward rotation, knee flexion, ankle
    dorsiflexion, inversion, outward rotation).
    """

    pelvis_m: Float64[np.ndarray, "time 3"]
    pelvis_rad: Float64[np.ndarray, "time 3"]
    lumbar: Float64[np.ndarray, "time 3"]
    thoracic: Float64[np.ndarray, "time 3"]
    neck: Float64[np.ndarray, "time 3"]
    clavicle: Float64[np.ndarray, "time side 2"]
    arm: Float64[np.ndarray, "time side 5"]
    leg: Float64[np.ndarray, "time side 7"]


def forward(bones: BoneLengths, pose: Pose) -> Float64[np.ndarray, "time joint 3"]:
    """Where every joint of `BODY_JOINTS` is, metres."""
    b = bones
    out = np.empty((len(pose.pelvis_m), len(BODY_JOINTS), 3))

    def put(name: str, parent: str, turn: Matrices, offset: Vectors | tuple[float, float, float]) -> None:
        out[:, INDEX[name]] = out[:, INDEX[parent]] + np.einsum("tij,...j->ti", turn, offset)

    pelvis = trunk_turn(pose.pelvis_rad)
    lumbar = pelvis @ trunk_turn(pose.lumbar)
    thorax = lumbar @ trunk_turn(pose.thoracic)
    head = thorax @ trunk_turn(pose.neck)
    out[:, INDEX["pelvis"]] = pose.pelvis_m
    # A stretch of spine curves evenly, so the line between its ends turns by half of what its upper end does.
    put("spine", "pelvis", pelvis @ trunk_turn(0.5 * pose.lumbar), (0.0, 0.0, b.lumbar))
    put("neck", "spine", lumbar @ trunk_turn(0.5 * pose.thoracic), (0.0, 0.0, b.thoracic))
    put("head", "neck", head, (0.0, 0.0, b.neck))
    put("head_top", "head", head, (0.0, 0.0, b.crown))
    put("nose", "head", head, (0.0, -b.nose_forward, -b.nose_drop))
    for number, (side, sign) in enumerate(zip(SIDES, (1.0, -1.0), strict=True)):
        raised, forwards = sign * pose.clavicle[:, number].T
        girdle = thorax @ about_z(-forwards) @ about_y(-raised)
        put(f"{side}_shoulder", "neck", girdle, (sign * b.shoulder_half_width, 0.0, -b.shoulder_drop))
        mirror = np.array([sign, 1.0, 1.0])
        for child, parent, length, way in zip(
            ("elbow", "wrist", "hand"),
            ("shoulder", "elbow", "wrist"),
            (b.upper_arm, b.forearm, b.hand),
            arm_directions(pose.arm[:, number]),
            strict=True,
        ):
            out[:, INDEX[f"{side}_{child}"]] = out[:, INDEX[f"{side}_{parent}"]] + length * np.einsum(
                "tij,tj->ti", thorax, mirror * way
            )
        put(f"{side}_hip", "pelvis", pelvis, (sign * b.hip_half_width, 0.0, 0.0))
        thigh, shank, foot = leg_turns(pelvis, pose.leg[:, number], sign)
        put(f"{side}_knee", f"{side}_hip", thigh, (0.0, 0.0, -b.thigh))
        put(f"{side}_ankle", f"{side}_knee", shank, (0.0, 0.0, -b.shank))
        put(f"{side}_heel", f"{side}_ankle", foot, (0.0, b.heel_back, b.heel_height - b.ankle_height))
        put(f"{side}_toe", f"{side}_ankle", foot, (0.0, -b.toe_forward, b.toe_height - b.ankle_height))
    return out


# --- rotations -------------------------------------------------------------------------------------------------------


def about_x(angle: Angles) -> Matrices:
    """Turn z towards -y: flexion of the trunk."""
    return _turns(angle, 1, 2)


def about_y(angle: Angles) -> Matrices:
    """Turn z towards x: a bend to the left."""
    return _turns(angle, 2, 0)


def about_z(angle: Angles) -> Matrices:
    """Turn x towards y: a twist to the left."""
    return _turns(angle, 0, 1)


def _turns(angle: Angles, first: int, second: int) -> Matrices:
    out = np.zeros((len(angle), 3, 3))
    third = 3 - first - second
    out[:, third, third] = 1.0
    out[:, first, first] = out[:, second, second] = np.cos(angle)
    out[:, second, first] = np.sin(angle)
    out[:, first, second] = -out[:, second, first]
    return out


def trunk_turn(angles: Float64[np.ndarray, "time 3"]) -> Matrices:
    """The rotation of a trunk segment by (flexion, bend, twist): flexed first, then bent, then twisted."""
    return about_z(angles[:, 2]) @ about_y(angles[:, 1]) @ about_x(angles[:, 0])


# --- limbs -----------------------------------------------------------------------------------------------------------

SCAPULAR_PLANE_RAD = np.radians(30.0)  # the shoulder blade faces this far forward of the frontal plane
ARM_CENTRE = np.array([np.cos(SCAPULAR_PLANE_RAD), -np.sin(SCAPULAR_PLANE_RAD), 0.0])
ARM_ACROSS = np.array([-np.sin(SCAPULAR_PLANE_RAD), -np.cos(SCAPULAR_PLANE_RAD), 0.0])
ARM_UP = np.array([0.0, 0.0, 1.0])


def arm_directions(arm: Float64[np.ndarray, "time 5"]) -> tuple[Vectors, Vectors, Vectors]:
    """Unit vectors along a left arm's upper arm, forearm and hand, in the frame of the thorax.

    (raise, across) are the exponential map about an arm held level in the plane of the shoulder blade: hanging is
    raise = -pi/2, overhead pi/2, and nowhere an arm can go does the map break down. `rotation` outward turns a bent
    forearm up from where it lies level when the arm is level, or from straight ahead when the arm hangs.
    """
    up, across, rotation, elbow, wrist = arm.T
    angle_squared = up**2 + across**2
    angle = np.sqrt(angle_squared)
    sinc = np.sinc(angle / np.pi)
    versine = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2  # (1 - cos) / angle^2
    bearing = across[:, None] * ARM_ACROSS + up[:, None] * ARM_UP
    upper = np.cos(angle)[:, None] * ARM_CENTRE + sinc[:, None] * bearing
    swung = versine[:, None] * bearing + sinc[:, None] * ARM_CENTRE
    ahead, upward = ARM_ACROSS - across[:, None] * swung, ARM_UP - up[:, None] * swung  # carried along by the arm
    bent = np.cos(rotation)[:, None] * ahead + np.sin(rotation)[:, None] * upward
    whole = elbow + wrist
    forearm = np.cos(elbow)[:, None] * upper + np.sin(elbow)[:, None] * bent
    return upper, forearm, np.cos(whole)[:, None] * upper + np.sin(whole)[:, None] * bent


def leg_turns(pelvis: Matrices, leg: Float64[np.ndarray, "time 7"], sign: float) -> tuple[Matrices, Matrices, Matrices]:
    """Rotations of thigh, shank and foot in the room; `sign` is 1 for the left leg, -1 for the right."""
    flexion, abduction, outward, knee, dorsiflexion, inversion, foot_outward = leg.T
    thigh = pelvis @ about_x(-flexion) @ about_y(-sign * abduction) @ about_z(sign * outward)
    shank = thigh @ about_x(knee)
    foot = shank @ about_x(-dorsiflexion) @ about_y(sign * inversion) @ about_z(sign * foot_outward)
    return thigh, shank, foot
