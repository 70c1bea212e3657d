"""One take of a data set: echoes into a sealed recording, the truth into labels.

Without wires the samples are exactly what the simulated card would stream, and its packets are written as a card that loses
nothing sends them; through the wires they are what `wired` receives of it.
"""

import zlib
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from capture.simulator.actions import perform
from capture.simulator.body import INDEX
from capture.simulator.bystander import Area, Obstacle, bystander
from capture.simulator.camera import Camera
from capture.simulator.datasets import (
    BYSTANDERS,
    FIRST_BYSTANDER,
    SIMULATOR_VERSION,
    DataSet,
    SimulationRequest,
    Take,
    data_set,
    waveform_of,
)
from capture.simulator.echoes import EchoSynthesiser, frame_start_s
from capture.simulator.impairments import GOOD_BOARD
from capture.simulator.motion import Motion, PlacedMotion, placed
from capture.simulator.people_scene import people_scene
from capture.simulator.person import person
from capture.simulator.recorded import RecordedMotion
from capture.simulator.room import Room
from pipeline.building import building_folder
from pipeline.cfg_text import write_cfg
from pipeline.errors import PipelineError
from pipeline.labels import Labels, keypoint_table, write_labels
from pipeline.manifest import RecordingManifest, Segment
from pipeline.packets import PACKET_RECORD
from pipeline.recording import Recording, open_recording, recordings_folder, write_manifest
from pipeline.sealing import seal
from pipeline.skeleton import JOINTS
from pipeline.waveform import Waveform

PAYLOAD_BYTES = 1456
_SPOT_M = 2.5
_AT_LARGE = Area(-1.3, 1.3, 0.9, 4.0)  # also between person and radar
_CLEAR_M, _OFF_WALLS_M = 1.0, 0.4  # what recorded people keep from the radar and from the walls
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)  # a simulated recording has no date; a fixed one keeps it reproducible


def motions_of(request: SimulationRequest, take: Take, waveform: Waveform) -> list[Motion]:
    """Who moves in a take, put where the request says; the first is the one the recording is about, a bystander comes last.

    Raises PipelineError for recorded motion that takes more room than there is.
    """
    chosen = data_set(request.name)
    duration_s = take.frames * waveform.frame_period_s
    rng = np.random.default_rng([0x9AC3, take.person_seed, take.repetition_seed, _code(take.action)])
    motion: Motion
    if take.piece is None:
        motion = perform(take.action, person(take.person_seed), take.repetition_seed, duration_s)
    else:
        motion = RecordedMotion(take.piece.actor, take.piece.track)
    room = chosen.place()
    radar_height_m = room.radar_height_m
    if request.placement == "spot":
        # "One spot" in a laboratory is a mark on the floor: people stand on it to within a step.
        distance_m, bearing, turn = _SPOT_M + rng.normal(0, 0.06), rng.normal(0, 0.02), rng.normal(0, 0.05)
    else:
        distance_m, bearing, turn = rng.uniform(1.5, 5.0), rng.uniform(-0.5, 0.5), rng.uniform(-0.8, 0.8)
    if take.piece is not None:
        turn += take.piece.turn_rad
    about = placed(motion, float(distance_m), float(bearing), float(turn), radar_height_m=radar_height_m)
    if take.piece is not None:
        about = _kept_inside(about, room, duration_s, take.piece.track.source)
    if not chosen.bystander:
        return [about]
    x_m, y_m, _ = about.position_m
    stranger = person(FIRST_BYSTANDER + int(rng.integers(BYSTANDERS)))
    keep_off = (Obstacle(x_m, y_m, 0.6),)
    seed = int(rng.integers(2**31))
    return [about, bystander(stranger, _AT_LARGE, seed, duration_s, obstacles=keep_off, radar_height_m=radar_height_m)]


def _kept_inside(about: PlacedMotion, room: Room, duration_s: float, source: str) -> PlacedMotion:
    """The same motion, moved no further than needed to keep a metre from the radar and off the walls."""
    path = about.joints_at(np.arange(0.0, duration_s, 0.1))[:, INDEX["pelvis"]] - np.array(about.position_m)
    place = list(about.position_m)
    for axis, low, high in (
        (0, room.left_m + _OFF_WALLS_M, room.right_m - _OFF_WALLS_M),
        (1, _CLEAR_M, room.back_m - _OFF_WALLS_M),
    ):
        first, last = low - path[:, axis].min(), high - path[:, axis].max()
        if first > last:
            raise PipelineError(
                f"{source}: the person moves over {np.ptp(path[:, axis]):.1f} m, and the room has {high - low:.1f} m for it; "
                "leave that file out, or cut it."
            )
        place[axis] = float(np.clip(place[axis], first, last))
    return PlacedMotion(about.motion, (place[0], place[1], place[2]), about.turn_rad)


def make_take(root: Path, request: SimulationRequest, take: Take) -> Recording:
    """Make one sealed recording and its labels, or do nothing when both are there already.

    Labels are written before the recording gets its name, so that a recording which is there is whole.
    """
    if (recordings_folder(root) / take.recording_id / "recording.json").exists():
        return open_recording(root, take.recording_id)
    chosen, waveform = data_set(request.name), waveform_of(request, take.frames)
    motions = motions_of(request, take, waveform)
    scene = people_scene(motions, chosen.place())
    echo_seed = _code(take.recording_id)
    with building_folder(root, take.recording_id) as folder:
        (folder / "radar.cfg").write_text(write_cfg(waveform))
        if request.wires:
            from capture.simulator.wired import record_through_wires  # the receiver's compiled kernels come with it

            way = record_through_wires(folder, scene, waveform, echo_seed, GOOD_BOARD)
            created, clocks, counters, notes = datetime.now(UTC), way.clocks, way.counters, way.notes
        else:
            echoes = EchoSynthesiser(scene, waveform, echo_seed, impairments=GOOD_BOARD)
            with (folder / "adc.bin").open("wb") as file:
                for index in range(take.frames):
                    file.write(echoes.frame(index, frame_start_s(waveform, index)).tobytes())
            (folder / "packets.bin").write_bytes(_packets(waveform, take.frames).tobytes())
            created, notes = _EPOCH, ()
            clocks = {"host": {"note": "simulated: the first frame starts at monotonic second 1"}}
            counters = {"stream_bytes": take.frames * waveform.frame_bytes, "missing_bytes": 0}
        write_manifest(folder, _manifest(chosen, request, take, waveform, created, clocks))
        write_labels(root, take.recording_id, truth(motions[0], waveform, take.frames))
        seal(folder, reason=f"{take.frames} frames simulated.", counters=counters, notes=notes)
    return open_recording(root, take.recording_id)


def truth(motion: Motion, waveform: Waveform, frames: int, camera: Camera | None = None) -> Labels:
    """Keypoints of a motion at the middle of every frame, as the rig's camera would see them."""
    camera = camera or Camera()
    middle_s = 0.5 * waveform.chirp_period_s * waveform.chirps_per_frame
    times_s = np.array([frame_start_s(waveform, index) for index in range(frames)]) + middle_s
    joints_m = motion.joints_at(times_s)[:, : len(JOINTS)]
    u, v, _ = camera.project(joints_m)
    size = np.array([camera.intrinsics.width, camera.intrinsics.height], np.float64)
    uv: Float64[np.ndarray, "frame joint 2"] = (np.stack([u, v], axis=-1) + 0.5) / size
    inside = np.all((uv > 0) & (uv < 1), axis=-1)
    table = keypoint_table(uv, np.where(inside, 1.0, 0.0), camera.to_camera(joints_m), "simulator")
    return Labels(table, f"simulator {SIMULATOR_VERSION}")


def shown(take: Take) -> dict[str, object]:
    """What a take's manifest says of what was simulated; two takes of one name that differ in it are not the same."""
    facts: dict[str, object] = {
        "simulator_version": SIMULATOR_VERSION,
        "person_seed": take.person_seed,
        "repetition_seed": take.repetition_seed,
    }
    if take.piece is not None:
        facts |= {
            "motion": take.piece.track.source,
            "motion_sha256": take.piece.file_sha256,
            "height_m": round(take.piece.actor.height_m, 4),
        }
    return facts


def _manifest(
    chosen: DataSet,
    request: SimulationRequest,
    take: Take,
    waveform: Waveform,
    created_utc: datetime,
    clocks: dict[str, Any],
) -> RecordingManifest:
    return RecordingManifest(
        id=take.recording_id,
        created_utc=created_utc,
        origin=f"simulate: {chosen.name}",
        simulated=True,
        participant=take.participant,
        room=f"{chosen.room}-{chosen.room_seed}",
        segments=(Segment(action=take.action, stop_frame=take.frames),),
        waveform=waveform,
        rig={
            "kind": "simulated",
            **shown(take),
            "request": request.model_dump(mode="json"),
            "board": GOOD_BOARD.model_dump(mode="json"),
            "camera": asdict(Camera().intrinsics),
        },
        clocks=clocks,
    )


def _packets(waveform: Waveform, frames: int) -> np.ndarray:
    """The records of a card that sends full packets as they fill and loses none; times follow the samples."""
    total = frames * waveform.frame_bytes
    offsets = np.arange(0, total, PAYLOAD_BYTES, dtype=np.int64)
    packets = np.zeros(len(offsets), PACKET_RECORD)
    packets["byte_offset"] = offsets
    packets["length"] = np.minimum(PAYLOAD_BYTES, total - offsets)
    packets["sequence"] = np.arange(1, len(offsets) + 1)
    packets["monotonic_ns"] = _sent_ns(waveform, offsets + packets["length"] - 1)  # sent when its last byte is there
    packets["kernel_time_ns"] = packets["monotonic_ns"] + int(_EPOCH.timestamp()) * 10**9
    return packets


def _sent_ns(waveform: Waveform, offsets: Int64[np.ndarray, " packet"]) -> Int64[np.ndarray, " packet"]:
    """When the byte at each offset was sampled, nanoseconds after the clock's zero."""
    frame, within = np.divmod(offsets, waveform.frame_bytes)
    active_s = waveform.chirp_period_s * waveform.chirps_per_frame
    seconds = 1.0 + frame * waveform.frame_period_s + within / waveform.frame_bytes * active_s
    return np.round(seconds * 1e9).astype(np.int64)


def _code(text: str) -> int:
    return zlib.crc32(text.encode())
