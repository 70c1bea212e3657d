"""A person as the radar meets them: scatterers fixed to the skin of the limbs, seen or not, square on or not.

Each limb is a tapered capsule (`flesh`). Scatterers spread evenly over each limb, each standing for its share of the area:

    sigma = area * reflectivity * speckle * facing(n . v) * visible^2

`facing` falls from a specular lobe about the surface's normal n (cloth and skin are wavy at 4 mm) to a diffuse floor, zero
once the surface turns away; `visible` fades what lies behind or inside another limb. Scatterers turn with the limb, by the
shortest rotation from the limb's direction at rest, so a swinging arm carries the right Doppler at every point.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

from capture.simulator.body import INDEX
from capture.simulator.flesh import HEAD, Limb, head_axes, limbs_of, trunk_axes
from capture.simulator.person import Person
from capture.simulator.radar_body_kernels import visible

REFLECTIVITY = 1.2
"""Cross-section of a square metre of clothed skin met squarely: brings a standing adult to about -6 dBsm from the front,
within the -10 to 0 dBsm measured at 76-81 GHz. Over 1 because cloth sends most of what it scatters back."""
_SPECULAR, _LOBE, _DIFFUSE = 0.75, 0.10, 0.25  # the lobe's width in 1 - cos: a standard deviation of 18 degrees
_SPECKLE_SHAPE = 2.0  # of the gamma law of a patch's own strength

# Where each limb points at rest in the frame of chest or pelvis (x left, y back, z up), x mirrored for the right side. Any
# direction far from the opposite of what the limb can reach will do: there the shortest rotation is undefined.
_CHEST_REST = {
    "chest": (0.0, 0.0, 1.0), "neck": (0.0, 0.0, 1.0), "face": (0.0, -1.0, 0.0), "skull": (0.0, 0.0, 1.0),
    "side_chest": (0.5, 0.0, 0.85), "girdle": (1.0, 0.0, 0.0), "upper_arm": (0.87, -0.5, 0.0),
    "forearm": (0.5, -0.8, -0.3), "hand": (0.5, -0.8, -0.3),
}  # fmt: skip
_PELVIS_REST = {
    "abdomen": (0.0, 0.0, 1.0), "hips": (-1.0, 0.0, 0.0), "flank": (0.4, 0.0, -0.9), "thigh": (0.2, -0.5, -0.85),
    "shank": (0.0, 0.4, -0.9), "heel": (0.0, 0.6, -0.8), "foot": (0.0, -0.8, -0.5), "sole": (0.0, -1.0, 0.0),
}  # fmt: skip
_BREATHES = {"chest": 1.0, "side_chest": 0.8, "abdomen": 0.7, "flank": 0.4, "girdle": 0.2}

Joints = Float64[np.ndarray, "time joint 3"]
Points = Float64[np.ndarray, "time scatterer 3"]


@dataclass(frozen=True)
class Ends:
    """Where the limbs are: the centres of their two round ends, and the radii there."""

    a_m: Float64[np.ndarray, "time limb 3"]
    b_m: Float64[np.ndarray, "time limb 3"]
    radius_a_m: Float64[np.ndarray, " limb"]
    radius_b_m: Float64[np.ndarray, " limb"]


def joined(bodies: list[Ends]) -> Ends:
    """The limbs of several bodies as one."""
    return Ends(
        np.concatenate([body.a_m for body in bodies], axis=1),
        np.concatenate([body.b_m for body in bodies], axis=1),
        np.concatenate([body.radius_a_m for body in bodies]),
        np.concatenate([body.radius_b_m for body in bodies]),
    )


class RadarBody:
    """`count` scatterers on one person, spread and given their strengths by the person's seed."""

    def __init__(self, person: Person, count: int = 200) -> None:
        self.person = person
        self.limbs = limbs_of(person)
        self._a = np.array([INDEX[limb.joint_a] for limb in self.limbs])
        self._b = np.array([INDEX[limb.joint_b] for limb in self.limbs])
        self._radius_a = np.array([limb.radius_a_m for limb in self.limbs])
        self._radius_b = np.array([limb.radius_b_m for limb in self.limbs])
        self._shift = np.array([(limb.shift_a_m, limb.shift_b_m) for limb in self.limbs])
        self._on_head = np.array([limb.name in HEAD for limb in self.limbs])
        kinds = [_kind(limb) for limb in self.limbs]
        self._on_chest = np.array([kind in _CHEST_REST for kind in kinds])
        rest = np.array([(_CHEST_REST | _PELVIS_REST)[kind] for kind in kinds])
        rest[:, 0] *= [-1.0 if limb.name.startswith("right") else 1.0 for limb in self.limbs]
        self._rest = rest / np.linalg.norm(rest, axis=1, keepdims=True)
        areas = self._areas()
        rng = np.random.default_rng([0x5CA7, person.seed])
        counts = _shares(areas, max(count, len(self.limbs)))
        self.limb: Int64[np.ndarray, " scatterer"] = np.repeat(np.arange(len(self.limbs)), counts)
        self._along, self._around = _spread(counts, rng)
        speckle = rng.gamma(_SPECKLE_SHAPE, 1 / _SPECKLE_SHAPE, len(self.limb))
        self.cross_section_m2: Float64[np.ndarray, " scatterer"] = REFLECTIVITY * speckle * (areas / counts)[self.limb]
        self._breathes = np.array([_BREATHES.get(kind, 0.0) for kind in kinds])[self.limb]

    def _areas(self) -> Float64[np.ndarray, " limb"]:
        """Lateral areas of the limbs, square metres."""
        bones = self.person.bones
        lengths = {
            "chest": bones.thoracic, "abdomen": bones.lumbar, "hips": 2 * bones.hip_half_width, "neck": bones.neck,
            "face": bones.nose_forward, "skull": bones.crown, "girdle": bones.shoulder_half_width,
            "side_chest": float(np.hypot(bones.shoulder_half_width, bones.thoracic)),
            "flank": float(np.hypot(bones.hip_half_width, bones.lumbar)), "upper_arm": bones.upper_arm,
            "forearm": bones.forearm, "hand": bones.hand, "thigh": bones.thigh, "shank": bones.shank,
            "heel": bones.ankle_height, "foot": bones.toe_forward, "sole": bones.toe_forward + bones.heel_back,
        }  # fmt: skip
        return np.array([lengths[_kind(limb)] * np.pi * (limb.radius_a_m + limb.radius_b_m) for limb in self.limbs])

    @cached_property
    def _edges(self) -> Float64[np.ndarray, "2 limb 3"]:
        """Two directions across each limb at rest, at right angles."""
        helper = np.where(np.abs(self._rest[:, 1:2]) < 0.8, [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]])
        first = np.cross(self._rest, helper)
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        return np.stack([first, np.cross(self._rest, first)])

    def ends(self, joints: Joints) -> Ends:
        """The limbs of the body whose `body.BODY_JOINTS` are at `joints`."""
        axes = np.where(self._on_head[None, :, None, None], head_axes(joints)[:, None], trunk_axes(joints)[:, None])
        moved = np.einsum("lei,tlij->etlj", self._shift, axes)
        return Ends(joints[:, self._a] + moved[0], joints[:, self._b] + moved[1], self._radius_a, self._radius_b)

    def surface(self, joints: Joints, chest_rise_m: Float64[np.ndarray, " time"]) -> tuple[Points, Points]:
        """Where the scatterers are, metres, and the outward unit normals there."""
        chest, pelvis = _frames(joints)
        frames = np.where(self._on_chest[None, :, None, None], chest[:, None], pelvis[:, None])
        ends = self.ends(joints)
        start, along = ends.a_m, ends.b_m - ends.a_m
        length = np.linalg.norm(along, axis=2)
        axis = along / length[:, :, None]
        inner = np.einsum("tlji,tlj->tli", frames, axis)
        total = self._rest + inner
        turned = []
        for edge in self._edges:
            share = np.einsum("li,tli->tl", edge, inner) / (1.0 + np.einsum("li,tli->tl", self._rest, inner))
            turned.append(np.einsum("tlij,tlj->tli", frames, edge - share[:, :, None] * total))
        taper = np.arctan2(self._radius_a - self._radius_b, length)
        limb = self.limb
        radial = np.cos(self._around)[:, None] * turned[0][:, limb] + np.sin(self._around)[:, None] * turned[1][:, limb]
        radius = self._radius_a[limb] + self._along * (self._radius_b - self._radius_a)[limb]
        points = start[:, limb] + self._along[:, None] * along[:, limb] + radius[:, None] * radial
        normals = np.cos(taper)[:, limb, None] * radial + np.sin(taper)[:, limb, None] * axis[:, limb]
        front = -chest[:, None, :, 1]
        forward = np.maximum(np.sum(normals * front, axis=2), 0.0)
        points += (self._breathes * forward * chest_rise_m[:, None])[:, :, None] * front
        return points, normals

    def amplitudes(
        self, points: Points, normals: Points, limbs: Ends, first_limb: int
    ) -> Float64[np.ndarray, "time scatterer"]:
        """Roots of the cross-sections that a radar at the origin sees past `limbs`, among which this body's start at
        `first_limb`; metres.
        """
        facing = -np.sum(normals * points, axis=2) / np.linalg.norm(points, axis=2)
        squarely = np.maximum(facing, 0.0)
        lobe = np.sqrt(self.cross_section_m2 * (_DIFFUSE + _SPECULAR * np.exp((squarely - 1.0) / _LOBE)))
        amplitude = squarely * lobe
        visible(
            points, self.limb + first_limb, limbs.a_m, limbs.b_m, limbs.radius_a_m, limbs.radius_b_m, True, amplitude
        )
        return amplitude


def _kind(limb: Limb) -> str:
    name = limb.name.removeprefix("left_").removeprefix("right_")
    return "side_chest" if name == "chest" and name != limb.name else name


def _shares(areas: Float64[np.ndarray, " limb"], count: int) -> Int64[np.ndarray, " limb"]:
    """How many of `count` scatterers each limb gets: one at least, the rest so that thin limbs, which move
    fastest, are resolved in Doppler too (largest remainders)."""
    spare = count - len(areas)
    weights = areas**0.6
    wanted = spare * weights / weights.sum()
    counts = np.floor(wanted).astype(np.int64)
    for limb in np.argsort(counts - wanted, kind="stable")[: spare - int(counts.sum())]:
        counts[limb] += 1
    return counts + 1


def _spread(
    counts: Int64[np.ndarray, " limb"], rng: np.random.Generator
) -> tuple[Float64[np.ndarray, " scatterer"], Float64[np.ndarray, " scatterer"]]:
    """Share of the way along and angle around each limb: even along it, the golden angle apart around it, then shaken."""
    along, around = [], []
    for count in counts.tolist():
        number = np.arange(count)
        along.append((number + rng.uniform(0.15, 0.85, count)) / count)
        around.append(np.pi * (3 - np.sqrt(5)) * number + rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.25, count))
    return np.concatenate(along), np.concatenate(around)


def _frames(joints: Joints) -> tuple[Float64[np.ndarray, "time 3 3"], Float64[np.ndarray, "time 3 3"]]:
    """Chest and pelvis: columns to the person's left, to their back and up."""
    at = {
        name: joints[:, INDEX[name]]
        for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip", "spine", "neck", "pelvis")
    }
    return (
        _frame(at["left_shoulder"] - at["right_shoulder"], at["neck"] - at["spine"]),
        _frame(at["left_hip"] - at["right_hip"], at["spine"] - at["pelvis"]),
    )


def _frame(left: Float64[np.ndarray, "time 3"], up: Float64[np.ndarray, "time 3"]) -> Float64[np.ndarray, "time 3 3"]:
    up = up / np.linalg.norm(up, axis=1, keepdims=True)
    left = left - np.sum(left * up, axis=1, keepdims=True) * up
    left = left / np.linalg.norm(left, axis=1, keepdims=True)
    return np.stack([left, np.cross(up, left), up], axis=2)
