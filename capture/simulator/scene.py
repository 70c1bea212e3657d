"""What stands and moves in front of the simulated radar: point scatterers, as functions of time.

Coordinates in metres with the radar at the origin: x to the right (seen from behind the radar), y forward, z up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

Trajectory = Callable[[Float64[np.ndarray, " time"]], Float64[np.ndarray, "time 3"]]
Vector = tuple[float | int, float | int, float | int]


Positions = Float64[np.ndarray, "time scatterer 3"]
Amplitudes = Float64[np.ndarray, "*time scatterer"]
"""Square roots of radar cross-sections, metres: one a scatterer, or one a time and scatterer."""


@runtime_checkable
class Scene(Protocol):
    """Anything that can say where its scatterers are; amplitude is the square root of radar cross-section, in metres.

    The number of scatterers must stay the same, and each must move smoothly (echoes interpolate between positions taken
    every 2.5 ms, and between amplitudes where those change with time). Times may be any, negative ones included.
    """

    def scatterers_at(self, times_s: Float64[np.ndarray, " time"]) -> tuple[Positions, Amplitudes]:
        """Positions of the moving scatterers at `times_s`, metres, and their amplitudes then, or all the while."""
        ...

    def room(self) -> tuple[Float64[np.ndarray, "scatterer 3"], Float64[np.ndarray, " scatterer"]]:
        """Positions and amplitudes of what never moves."""
        ...


@runtime_checkable
class EchoingScene(Scene, Protocol):
    """A scene with mirrors: some echoes go out one way and come back another."""

    def bounces_at(self, times_s: Float64[np.ndarray, " time"]) -> tuple[Positions, Positions, Amplitudes]:
        """Where the transmitters see each such scatterer, where the receivers do, and its amplitude, losses included.

        A wall puts the scatterer's mirror image in one of the two places.
        """
        ...


def paths_at(
    scene: Scene, times_s: Float64[np.ndarray, " time"]
) -> tuple[Float64[np.ndarray, "time path 3"], Float64[np.ndarray, "time path 3"], Float64[np.ndarray, "time path"]]:
    """All moving echoes of a scene: seen by the transmitters, seen by the receivers, and amplitudes at every time."""
    positions, amplitude = scene.scatterers_at(times_s)
    amplitude = np.broadcast_to(amplitude, positions.shape[:2])
    if not isinstance(scene, EchoingScene):
        return positions, positions, amplitude
    sent, heard, bounced = scene.bounces_at(times_s)
    bounced = np.broadcast_to(bounced, sent.shape[:2])
    return (
        np.concatenate([positions, sent], axis=1),
        np.concatenate([positions, heard], axis=1),
        np.concatenate([amplitude, bounced], axis=1),
    )


@dataclass(frozen=True)
class Scatterer:
    """A point that reflects: where it is at every time, and its amplitude (square root of cross-section, metres)."""

    trajectory: Trajectory
    amplitude_m: float = 1.0


@dataclass(frozen=True)
class PointScene:
    """A scene made of single points: `moving` along their trajectories, `fixed` ones as (position, amplitude)."""

    moving: tuple[Scatterer, ...] = ()
    fixed: tuple[tuple[Vector, float], ...] = ()

    def scatterers_at(self, times_s: Float64[np.ndarray, " time"]) -> tuple[Positions, Amplitudes]:
        """See `Scene`."""
        positions = np.empty((len(times_s), len(self.moving), 3))
        for index, scatterer in enumerate(self.moving):
            positions[:, index] = scatterer.trajectory(times_s)
        return positions, np.array([scatterer.amplitude_m for scatterer in self.moving], np.float64)

    def room(self) -> tuple[Float64[np.ndarray, "scatterer 3"], Float64[np.ndarray, " scatterer"]]:
        """See `Scene`."""
        positions = np.array([position for position, _ in self.fixed], np.float64).reshape(-1, 3)
        return positions, np.array([amplitude for _, amplitude in self.fixed], np.float64)


# --- trajectories ----------------------------------------------------------------------------------------------------


def line(start_m: Vector, velocity_mps: Vector) -> Trajectory:
    """Straight motion, at `start_m` at time 0."""
    start, velocity = np.array(start_m, np.float64), np.array(velocity_mps, np.float64)
    return lambda times_s: start + times_s[:, None] * velocity


def circle(centre_m: Vector, radius_m: float, turns_per_s: float, phase_turns: float = 0.0) -> Trajectory:
    """Round a horizontal circle, counter-clockwise seen from above, starting to the right of its centre."""
    centre = np.array(centre_m, np.float64)

    def at(times_s: Float64[np.ndarray, " time"]) -> Float64[np.ndarray, "time 3"]:
        angle = 2 * np.pi * (turns_per_s * times_s + phase_turns)
        return centre + radius_m * np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)

    return at


def oscillation(centre_m: Vector, swing_m: Vector, cycles_per_s: float, phase_turns: float = 0.0) -> Trajectory:
    """To and fro about `centre_m` by `swing_m` either way, a sine that starts at the centre when the phase is 0."""
    centre, swing = np.array(centre_m, np.float64), np.array(swing_m, np.float64)
    return lambda times_s: centre + np.sin(2 * np.pi * (cycles_per_s * times_s + phase_turns))[:, None] * swing


def along(*parts: Trajectory) -> Trajectory:
    """The sum of several trajectories: a limb that swings about a body that walks."""
    return lambda times_s: np.sum([part(times_s) for part in parts], axis=0)


# --- the scene a fresh rig shows -------------------------------------------------------------------------------------


def default_scene(seed: int = 0) -> PointScene:
    """Somebody walks to and fro between 2 and 3.5 m, a fan turns to the right, something swings to the left.

    22 moving scatterers in a furnished room of 6 m depth; `seed` varies tempo, stride, places and amplitudes.
    """
    rng = np.random.default_rng(seed)
    walker = _walker(rng)
    fan_centre = (1.2 + 0.3 * rng.random(), 3.9 + 0.4 * rng.random(), 0.4)
    fan = [Scatterer(circle(fan_centre, 0.18, 2.2, blade / 3), 0.12) for blade in range(3)]
    pendulum = Scatterer(oscillation((-1.1, 1.7 + 0.2 * rng.random(), 0.2), (0.02, 0.12, 0.0), 0.7), 0.2)
    return PointScene(moving=(*walker, *fan, pendulum), fixed=_furnished_room(rng))


def _walker(rng: np.random.Generator) -> list[Scatterer]:
    """Torso, head and four limbs of a person who paces to and fro; each limb swings twice as fast at its end."""
    step_hz = 0.85 + 0.2 * rng.random()  # full stride cycles a second
    pace = oscillation((0.3, 2.75, 0.0), (0.25, 0.75, 0.0), 0.2, rng.random())
    height = 1.55 + 0.35 * rng.random()
    radar_height = 1.0

    def point(x: float, share: float, swing_m: float, phase: float, amplitude: float) -> Scatterer:
        offset = (x, 0.05 * rng.standard_normal(), share * height - radar_height)
        limb = oscillation(offset, (0.01, swing_m, 0.0), step_hz, phase)
        return Scatterer(along(pace, limb), amplitude * (0.8 + 0.4 * rng.random()))

    torso = [point(x, share, 0.01, 0.0, 0.30) for x in (-0.12, 0.12) for share in (0.58, 0.68, 0.78)]
    head = [point(0.0, 0.93, 0.01, 0.0, 0.18)]
    limbs = []
    for side, phase in ((-1, 0.0), (1, 0.5)):
        limbs += [
            point(0.20 * side, share, swing, phase, 0.10) for share, swing in ((0.70, 0.08), (0.58, 0.17), (0.48, 0.26))
        ]
        limbs += [point(0.10 * side, share, swing, phase + 0.5, 0.12) for share, swing in ((0.38, 0.12), (0.22, 0.24))]
    return [*torso, *head, *limbs, point(0.0, 0.52, 0.02, 0.25, 0.2)]


def _furnished_room(rng: np.random.Generator) -> tuple[tuple[Vector, float], ...]:
    """Walls, corners and furniture as fixed points, the back wall the brightest."""
    places: list[tuple[Vector, float]] = [((x, 5.8, 0.1 * x), 0.9) for x in np.linspace(-2.4, 2.4, 7).tolist()]
    places += [((side * 2.6, y, 0.0), 0.35) for side in (-1, 1) for y in (2.2, 3.4, 4.6)]
    places += [((-1.5, 3.0, -0.6), 0.4), ((1.9, 2.6, -0.5), 0.3), ((0.1, 0.6, -0.9), 0.05)]
    return tuple(
        (
            (x + 0.05 * rng.standard_normal(), y + 0.05 * rng.standard_normal(), z),
            amplitude * (0.7 + 0.6 * rng.random()),
        )
        for (x, y, z), amplitude in places
    )
