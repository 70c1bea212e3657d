"""People in a room, as the radar meets them: bodies that hide one another and the wall behind them, mirrors, unrest."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from capture.simulator.antenna_pattern import field_factor
from capture.simulator.body import INDEX
from capture.simulator.motion import Motion
from capture.simulator.radar_body import Ends, RadarBody, joined
from capture.simulator.radar_body_kernels import visible
from capture.simulator.radar_room import Restless, restless, still_scatterers
from capture.simulator.room import Room
from pipeline.errors import PipelineError

SHADOWED = 24
"""How many of the room's brightest scatterers a person in front of them dims."""

GLINTS = 18
"""How many of the room's scatterers send echoes of one person on a detour."""
_GLINT_GAIN = 2.0  # each stands for the many that are left out
_GLINT_MOST_M = 0.3  # corners and mirrors send their echo back to where it came from, not on to a person

_WALL_FIELD, _FLOOR_FIELD = 0.15, 0.15  # field that a bounce leaves: plaster, lino; the rough part is in the detours
_LUMPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("spine", "neck", ("chest", "left_chest", "right_chest", "neck", "skull", "face", "left_girdle", "right_girdle")),
    ("pelvis", "spine", ("abdomen", "hips", "left_flank", "right_flank")),
    ("left_elbow", "left_wrist", ("left_upper_arm", "left_forearm", "left_hand")),
    ("right_elbow", "right_wrist", ("right_upper_arm", "right_forearm", "right_hand")),
    ("left_knee", "left_ankle", ("left_thigh", "left_shank", "left_foot")),
    ("right_knee", "right_ankle", ("right_thigh", "right_shank", "right_foot")),
)
"""What a mirror shows of a person: six points, each halfway between two joints and as bright as its limbs together."""
_LUMP_ASPECT = 0.12  # cross-section of a limb seen from anywhere over that of all its skin met squarely


class PeopleScene:
    """A `scene.EchoingScene` of people who move in a room. Build it with `people_scene`."""

    def __init__(self, motions: Sequence[Motion], place: Room | None, scatterers: int) -> None:
        self.motions, self.place = tuple(motions), place
        self._bodies = tuple(RadarBody(motion.person, scatterers) for motion in motions)
        self._latest: tuple[bytes, list[np.ndarray]] = b"", []
        self._first_limb = np.cumsum([0, *(len(body.limbs) for body in self._bodies)]).tolist()
        self._unrest: Restless | None = None
        self._still: tuple[np.ndarray, np.ndarray] = np.zeros((0, 3)), np.zeros(0)
        self._mirrors: list[tuple[int, float, float]] = []
        if place is not None:
            self._unrest, self._still = restless(place), still_scatterers(place)
            self._mirrors = [
                (2, -place.radar_height_m, _FLOOR_FIELD),
                (0, place.left_m, _WALL_FIELD),
                (0, place.right_m, _WALL_FIELD),
            ]
        self._glints = self._glints_near() if place is not None else []
        points, amplitude = self._still
        heard = amplitude * field_factor(points, "awr1843boost") ** 2 / np.maximum(np.sum(points**2, axis=1), 1e-6)
        behind = np.where(points[:, 1] > 1.0, heard, 0.0) if self._bodies else np.zeros(0)
        self._shadowed = np.argsort(-behind, kind="stable")[:SHADOWED] if self._bodies else np.zeros(0, int)

    def room(self) -> tuple[Float64[np.ndarray, "scatterer 3"], Float64[np.ndarray, " scatterer"]]:
        """See `scene.Scene`."""
        return self._still

    def scatterers_at(
        self, times_s: Float64[np.ndarray, " time"]
    ) -> tuple[Float64[np.ndarray, "time scatterer 3"], Float64[np.ndarray, "time scatterer"]]:
        """See `scene.Scene`: people, then fan and curtain, then what people's shadows take from the room."""
        positions, amplitudes = [], []
        if self._bodies:
            joints = self._joints(times_s)
            limbs = joined([body.ends(at) for body, at in zip(self._bodies, joints, strict=True)])
            for number, (body, motion, at) in enumerate(zip(self._bodies, self.motions, joints, strict=True)):
                points, normals = body.surface(at, motion.chest_rise_at(times_s))
                positions.append(points)
                amplitudes.append(body.amplitudes(points, normals, limbs, self._first_limb[number]))
            shadow_m, shadow = self._shadows(limbs, len(times_s))
            positions.append(shadow_m)
            amplitudes.append(shadow)
        if self._unrest is not None:
            positions.append(self._unrest.positions_at(times_s))
            amplitudes.append(np.broadcast_to(self._unrest.amplitude_m, positions[-1].shape[:2]))
        if not positions:
            return np.zeros((len(times_s), 0, 3)), np.zeros((len(times_s), 0))
        return np.concatenate(positions, axis=1), np.concatenate(amplitudes, axis=1)

    def bounces_at(
        self, times_s: Float64[np.ndarray, " time"]
    ) -> tuple[
        Float64[np.ndarray, "time path 3"], Float64[np.ndarray, "time path 3"], Float64[np.ndarray, "time path"]
    ]:
        """See `scene.EchoingScene`: six points of each person, mirrored in floor and side walls, there or back; and the
        detours by the room's brightest scatterers, each taken one way, twice as strong in power for the other.
        """
        times = len(times_s)
        sent, heard, amplitude = [np.zeros((times, 0, 3))], [np.zeros((times, 0, 3))], [np.zeros((times, 0))]
        for number, (body, joints) in enumerate(zip(self._bodies, self._joints(times_s), strict=True)):
            lumps = np.stack([0.5 * (joints[:, INDEX[a]] + joints[:, INDEX[b]]) for a, b, _ in _LUMPS], axis=1)
            strength = np.sqrt(_LUMP_ASPECT * _lump_cross_sections(body))
            for axis, plane_m, field in self._mirrors:
                image = lumps.copy()
                image[:, :, axis] = 2 * plane_m - image[:, :, axis]
                sent += [lumps, image]
                heard += [image, lumps]
                amplitude += [np.broadcast_to(field * strength, (times, len(strength)))] * 2
            for whose, glint, glint_amplitude, lump in self._glints:
                if whose != number:
                    continue
                point = lumps[:, lump]
                far = float(np.linalg.norm(glint))
                way = np.linalg.norm(point - glint, axis=1)
                image = (way + far)[:, None] / far * glint  # as far as the wave went, in the direction it came from
                field = glint_amplitude / np.sqrt(4 * np.pi) * (way + far) / (way * far)
                pair = (point, image) if lump % 2 else (image, point)
                sent.append(pair[0][:, None])
                heard.append(pair[1][:, None])
                amplitude.append((field * strength[lump] * np.sqrt(2.0))[:, None])
        return np.concatenate(sent, axis=1), np.concatenate(heard, axis=1), np.concatenate(amplitude, axis=1)

    def _joints(self, times_s: Float64[np.ndarray, " time"]) -> list[Float64[np.ndarray, "time joint 3"]]:
        """Everybody's joints; those of the moments asked for last are kept, because a frame asks twice."""
        asked, known = self._latest
        if asked != times_s.tobytes():
            known = [motion.joints_at(times_s) for motion in self.motions]
            self._latest = times_s.tobytes(), known
        return known

    def _glints_near(self) -> list[tuple[int, np.ndarray, float, int]]:
        """For each person a few scatterers of the room that light them up or mirror them, and the lump each one meets."""
        points, amplitude = self._still
        found = []
        for number, motion in enumerate(self.motions):
            centre = motion.joints_at(np.zeros(1))[0, INDEX["pelvis"]]
            apart = np.linalg.norm(points - centre, axis=1)
            far = np.linalg.norm(points, axis=1)
            heard = np.where(
                (apart > 0.5) & (far > 0.5),
                np.minimum(amplitude, _GLINT_MOST_M) * field_factor(points, "awr1843boost") / (apart * far),
                0.0,
            )
            for rank, glint in enumerate(np.argsort(-heard, kind="stable")[:GLINTS].tolist()):
                strength = _GLINT_GAIN * min(float(amplitude[glint]), _GLINT_MOST_M)
                found.append((number, points[glint], strength, rank % len(_LUMPS)))
        return found

    def _shadows(
        self, limbs: Ends, times: int
    ) -> tuple[Float64[np.ndarray, "time scatterer 3"], Float64[np.ndarray, "time scatterer"]]:
        """What the room loses behind people: its scatterers once more, with what is hidden of them taken away."""
        points, amplitude = self._still[0][self._shadowed], self._still[1][self._shadowed]
        everywhere = np.ascontiguousarray(np.broadcast_to(points, (times, *points.shape)))
        seen = np.ones((times, len(points)))
        alone = np.full(len(points), -1)
        visible(everywhere, alone, limbs.a_m, limbs.b_m, limbs.radius_a_m, limbs.radius_b_m, False, seen)
        return everywhere, amplitude * (seen - 1.0)


def _lump_cross_sections(body: RadarBody) -> Float64[np.ndarray, " lump"]:
    names = [limb.name for limb in body.limbs]
    return np.array(
        [
            body.cross_section_m2[np.isin(body.limb, [names.index(name) for name in members])].sum()
            for *_, members in _LUMPS
        ]
    )


def people_scene(motions: Sequence[Motion], room: Room | None = None, scatterers: int = 200) -> PeopleScene:
    """People, `scatterers` points on each, in a room, or in empty space; the same for the same motions and room.

    Raises PipelineError where somebody stands within 0.3 m of the radar or outside the room at the motion's start.
    """
    for motion in motions:
        x, y, _ = motion.joints_at(np.zeros(1))[0, INDEX["pelvis"]].tolist()
        if np.hypot(x, y) < 0.3:
            raise PipelineError(
                f"Person {motion.person.seed} stands {np.hypot(x, y):.2f} m from the radar; place them 0.3 m away or more."
            )
        if room is not None and not (room.left_m < x < room.right_m and room.front_m < y < room.back_m):
            raise PipelineError(
                f"Person {motion.person.seed} stands at x {x:.2f} m, y {y:.2f} m, outside the room "
                f"(x {room.left_m:.2f} to {room.right_m:.2f} m, y {room.front_m:.2f} to {room.back_m:.2f} m)."
            )
    return PeopleScene(motions, room, scatterers)
