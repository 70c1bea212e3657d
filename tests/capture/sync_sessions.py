"""Sessions with a trigger board, a radar and a camera as plain events, with the truth: for tests and trials of the alignment.

Everything happens at a true time, which is the host's monotonic clock; board and camera read clocks of their own. What is
written is what a recorder would have: packets.bin, pulses.bin, camera.bin, and an adc.bin without a sample in it.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.camera_frames import CAMERA_RECORD, DOMAIN_HARDWARE_CLOCK, STREAM_COLOR, STREAM_DEPTH, CameraDescription
from pipeline.manifest import RecordingManifest
from pipeline.packets import PACKET_RECORD
from pipeline.pulses import KIND_EDGE, KIND_PING, KIND_PULSE, PULSE_RECORD
from pipeline.recording import create_recording
from pipeline.waveform import Waveform

PAYLOAD = 1456
EDGE_TOLERANCE_S = 1e-3  # two frames so nearly equally near are both right
FLOOR_TOLERANCE_S = 3e-3  # the same, where the line lies along arrivals, and more where these scatter widely
WAVEFORM = Waveform(
    name="trial", start_frequency_ghz=77.0, idle_time_us=20.0, adc_start_time_us=6.0, ramp_end_time_us=60.0,
    slope_mhz_per_us=65.998, samples=64, sample_rate_ksps=4800, tx_order=(1, 3), loops=64, period_ms=95.0, trigger="hardware",
)  # fmt: skip
EXPOSURE_S, READOUT_S = 0.008, 0.002  # an edge rises as an exposure starts; a frame's own stamp is after its readout
ACTIVE_S = WAVEFORM.chirp_period_s * WAVEFORM.chirps_per_frame


@dataclass(frozen=True)
class Session:
    """What happens. Shares are probabilities; clocks: device reading = offset + (1 + ppm) * true time."""

    seed: int = 0
    seconds: float = 10.0
    hz: float = 10.0
    board: bool = True
    signature: bool = True
    edges: bool = False
    pings: bool = True
    board_ppm: float = 0.0
    board_offset_s: float = 0.0
    camera_ppm: float = 0.0
    camera_offset_s: float = 0.0
    radar_ppm: float = 0.0  # of a radar that runs by its own clock
    lose_lines: float = 0.0
    miss_triggers: float = 0.0
    miss_first: int = 0
    drop_camera: float = 0.0
    camera_late_s: float = -0.5  # after the first pulse
    camera_stops_s: float | None = None
    radar_jitter_s: float = 0.0002
    camera_latency_s: float = 0.010  # from the end of the readout to the host, at least
    camera_jitter_s: float = 0.003
    stalls: float = 0.0  # a radar frame, each of up to 0.3 s
    lose_packets: float = 0.0
    lose_whole: float = 0.0  # radar frames of which nothing arrives
    metadata: bool = True
    busy_s: float = 0.0  # every radar frame is held back for this long on average, then sent at once
    skip_exposures: float = 0.0  # of the camera: numbers it counts without exposing


HARD = Session(
    board_ppm=200.0, board_offset_s=30.0, camera_ppm=-200.0, camera_offset_s=-30.0, radar_ppm=200.0, lose_lines=0.05,
    miss_triggers=0.05, drop_camera=0.05, camera_late_s=3.0, miss_first=2, stalls=0.01, lose_packets=0.01, lose_whole=0.003,
)  # fmt: skip


@dataclass
class Truth:
    """What really happened, in true seconds."""

    pulse_s: np.ndarray
    fired: np.ndarray
    pulse_of_frame: np.ndarray  # -1: the frame belongs to none
    frame_s: np.ndarray
    color_s: np.ndarray  # by stored index
    depth_s: np.ndarray
    files: dict[str, np.ndarray] = field(default_factory=dict)


def play(session: Session) -> Truth:
    """Run a session."""
    rng = np.random.default_rng([77, session.seed])
    begin_s = 5000.0 + rng.uniform(0, 100)
    count = round(session.seconds * session.hz)
    board_rate, camera_rate = 1 + session.board_ppm * 1e-6, 1 + session.camera_ppm * 1e-6
    pulse_s = begin_s + np.arange(count) / session.hz / board_rate
    number = np.arange(count)
    fired = np.ones(count, bool)
    if session.signature and session.board:
        fired &= ~((number == 5) | (number == 6) | ((number > 0) & (number % round(30 * session.hz) == 0)))
    reaches = fired & (number >= session.miss_first) & (rng.random(count) >= session.miss_triggers)
    if session.board:
        pulse_of_frame = np.flatnonzero(reaches)
        frame_s = pulse_s[reaches] + 0.0006 + rng.normal(0, session.radar_jitter_s, int(reaches.sum()))
    else:
        frame_s = begin_s + np.arange(count) / session.hz / (1 + session.radar_ppm * 1e-6)
        pulse_of_frame = np.full(count, -1)
    files = {"packets.bin": _packets(session, frame_s, rng)}
    until_s = pulse_s[-1] + 0.5 if session.camera_stops_s is None else pulse_s[-1] - session.camera_stops_s
    depth_all = np.arange(begin_s + session.camera_late_s + rng.uniform(0, 1 / 30), until_s, 1 / 30 / camera_rate)
    exposed = rng.random(len(depth_all)) >= session.skip_exposures
    color_s, color = _camera(session, depth_all + 0.004, exposed, STREAM_COLOR, rng)
    depth_s, depth = _camera(session, depth_all, exposed, STREAM_DEPTH, rng)
    depth_all = depth_all[exposed]
    camera = np.concatenate([color, depth])
    files["camera.bin"] = camera[np.argsort(camera["received_ns"], kind="stable")]
    if session.board:
        files["pulses.bin"] = _pulses(session, pulse_s, fired, depth_all, begin_s, rng)
    return Truth(pulse_s, fired, pulse_of_frame, frame_s, color_s, depth_s, files)


def write(session: Session, truth: Truth, root: Path) -> Path:
    """A recording folder, not sealed, of a session that was played."""
    name = f"trial-{session.seed}"
    trigger = {"hz": session.hz, "signature": session.signature, "pulses": len(truth.pulse_s)} if session.board else {}
    waveform = (
        WAVEFORM
        if session.board
        else WAVEFORM.model_copy(update={"trigger": "software", "period_ms": 1e3 / session.hz})
    )
    manifest = RecordingManifest(
        id=name,
        simulated=True,
        waveform=waveform,
        camera=CameraDescription(name="trial", source="realsense", rate_hz=30),
        rig={"trigger": trigger} if trigger else {},
    )
    folder = create_recording(root, manifest)
    with (folder / "adc.bin").open("wb") as file:
        file.truncate(len(truth.frame_s) * waveform.frame_bytes)
    for file_name, records in truth.files.items():
        records.tofile(folder / file_name)
    return folder


@dataclass
class Count:
    """How rows came out against the truth."""

    rows: int = 0
    ok: int = 0
    ambiguous: int = 0
    wrong_radar: int = 0
    wrong_camera: int = 0
    unmatched: int = (
        0  # radar frames whose pulse is known to the truth and that have neither a right row nor an ambiguous one
    )
    color_off: int = 0  # pictures that are not the nearest by true time, because of the camera's unknown latency

    def __add__(self, other: "Count") -> "Count":
        return Count(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def compare(session: Session, truth: Truth, table: pd.DataFrame) -> Count:
    """Rows that are not ambiguous against the truth."""
    sure = table[table["status"] != "ambiguous"]
    count = Count(rows=len(table), ok=int((table["status"] == "ok").sum()), ambiguous=len(table) - len(sure))
    radar = sure[sure["radar_frame"] >= 0]
    frames, pulses = radar["radar_frame"].to_numpy(), radar["pulse"].to_numpy()
    if session.board:
        count.wrong_radar += int((truth.pulse_of_frame[frames] != pulses).sum())
        alone = sure[sure["radar_frame"] < 0]["pulse"].to_numpy()
        seen = table["pulse"].to_numpy()
        assert len(np.unique(seen[seen >= 0])) == (seen >= 0).sum()
        count.wrong_radar += int(np.isin(alone, truth.pulse_of_frame).sum())
    assert len(np.unique(frames)) == len(frames)
    held = np.unique(table["radar_frame"][table["radar_frame"] >= 0])
    count.unmatched = len(truth.frame_s) - len(held)
    # What the camera does not say, nobody can take off: its exposure and readout, and its latency.
    if session.edges and session.board:
        delay_s = 0.0 if session.metadata else -EXPOSURE_S / 2
    else:
        delay_s = session.camera_latency_s + (0.0 if session.metadata else EXPOSURE_S / 2 + READOUT_S)
    tolerance_s = (
        EDGE_TOLERANCE_S if session.edges and session.board else FLOOR_TOLERANCE_S + 0.3 * session.camera_jitter_s
    )
    true_start_s = truth.frame_s[frames] if not session.board else truth.pulse_s[pulses]
    middle_s = true_start_s + ACTIVE_S / 2
    for name, stored_s in (("color", truth.color_s), ("depth", truth.depth_s)):
        chosen = radar[f"{name}_frame"].to_numpy()
        best_s, _ = _nearest(stored_s + delay_s, middle_s)
        has = chosen >= 0
        off_s = np.abs(stored_s[chosen[has]] + delay_s - middle_s[has])
        count.wrong_camera += int((off_s > best_s[has] + tolerance_s).sum())
        count.wrong_camera += int((best_s[~has] < 0.5 / 30 - tolerance_s).sum())
        if name == "color":
            _, nearest = _nearest(stored_s, middle_s)
            count.color_off += int((nearest[has] != chosen[has]).sum())
    return count


def _nearest(times_s: np.ndarray, moments_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(times_s):
        return np.full(len(moments_s), np.inf), np.full(len(moments_s), -1)
    after = np.clip(np.searchsorted(times_s, moments_s), 1, max(len(times_s) - 1, 1))
    pair = np.stack([after - 1, np.minimum(after, len(times_s) - 1)])
    off_s = np.abs(times_s[pair] - moments_s)
    return off_s.min(0), np.take_along_axis(pair, off_s.argmin(0)[None], 0)[0]


def _packets(session: Session, frame_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    frame_bytes = WAVEFORM.frame_bytes
    total = len(frame_s) * frame_bytes
    offsets = np.arange(0, total, PAYLOAD)
    packets = np.zeros(len(offsets), PACKET_RECORD)
    packets["byte_offset"], packets["length"] = offsets, np.minimum(PAYLOAD, total - offsets)
    packets["sequence"] = np.arange(1, len(offsets) + 1)
    frame, within = np.divmod(offsets + packets["length"] - 1, frame_bytes)
    sent_s = frame_s[frame] + (within + 1) / frame_bytes * ACTIVE_S
    for start in np.flatnonzero(rng.random(len(frame_s)) < session.stalls):
        begin_s = frame_s[start] + rng.uniform(-0.05, 0.01)
        end_s = begin_s + rng.uniform(0.005, 0.3)
        held = (sent_s >= begin_s) & (sent_s < end_s)
        sent_s[held] = end_s + np.arange(held.sum()) * 15e-6
    if session.busy_s:
        sent_s = np.maximum(sent_s, (frame_s + rng.exponential(session.busy_s, len(frame_s)))[frame])
    sent_s = np.maximum.accumulate(sent_s + rng.exponential(3e-5, len(sent_s)))
    if len(packets) and packets["length"][-1] < PAYLOAD:
        sent_s[-1] += 2.0
    packets["monotonic_ns"] = np.round(sent_s * 1e9)
    kept = rng.random(len(packets)) >= session.lose_packets
    whole = np.flatnonzero(rng.random(len(frame_s)) < session.lose_whole)
    kept &= ~(np.isin(frame, whole) | np.isin(offsets // frame_bytes, whole))
    return packets[kept]


def _camera(
    session: Session, taken_s: np.ndarray, exposed: np.ndarray, stream: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    kept = exposed & (rng.random(len(taken_s)) >= session.drop_camera)
    records = np.zeros(int(kept.sum()), CAMERA_RECORD)
    stored_s = taken_s[kept]
    device_us = np.round((session.camera_offset_s + stored_s * (1 + session.camera_ppm * 1e-6)) * 1e6)
    readout_s = EXPOSURE_S / 2 + READOUT_S
    latency_s = readout_s + session.camera_latency_s + rng.exponential(session.camera_jitter_s, len(taken_s))
    latency_s += (rng.random(len(taken_s)) < 0.01) * rng.uniform(0, 0.1, len(taken_s))
    arrived_s = np.maximum.accumulate(taken_s + latency_s)[kept]
    records["stream"], records["domain"] = stream, DOMAIN_HARDWARE_CLOCK if session.metadata else 1
    records["index"] = np.arange(len(records))
    records["frame_number"] = np.flatnonzero(kept) + 17
    records["sensor_timestamp_us"] = device_us if session.metadata else -1
    records["frame_timestamp_us"] = device_us + readout_s * 1e6 if session.metadata else -1
    records["timestamp_ms"] = device_us / 1e3
    records["backend_timestamp_ms"] = records["time_of_arrival_ms"] = -1
    records["received_ns"] = np.round(arrived_s * 1e9)
    records["exposure_us"] = EXPOSURE_S * 1e6 if session.metadata else -1
    return stored_s, records


def _pulses(
    session: Session,
    pulse_s: np.ndarray,
    fired: np.ndarray,
    depth_s: np.ndarray,
    begin_s: float,
    rng: np.random.Generator,
) -> np.ndarray:
    def lines(kind: int, number: np.ndarray, true_s: np.ndarray) -> np.ndarray:
        records = np.zeros(len(number), PULSE_RECORD)
        records["kind"], records["run"], records["number"] = kind, 41, number
        reading_s = session.board_offset_s + (1 + session.board_ppm * 1e-6) * true_s
        records["board_us"] = np.round(reading_s * 1e6)
        records["received_ns"] = np.round((true_s + 0.001 + rng.exponential(0.002, len(number))) * 1e9)
        return records

    told = fired & (rng.random(len(pulse_s)) >= session.lose_lines)
    parts = [lines(KIND_PULSE, np.flatnonzero(told), pulse_s[told])]
    if session.edges:
        told = rng.random(len(depth_s)) >= session.lose_lines
        parts.append(lines(KIND_EDGE, np.flatnonzero(told), depth_s[told] - EXPOSURE_S / 2))
    if session.pings:
        asked_s = np.arange(begin_s - 1, pulse_s[-1] + 0.5, 1.0)
        there_s, back_s = 0.0002 + rng.exponential(0.0005, (2, len(asked_s)))
        ping = lines(KIND_PING, np.arange(len(asked_s)), asked_s + there_s)
        ping["sent_ns"] = np.round(asked_s * 1e9)
        ping["received_ns"] = np.round((asked_s + there_s + back_s) * 1e9)
        parts.append(ping)
    records = np.concatenate(parts)
    return records[np.argsort(records["received_ns"], kind="stable")]


def with_seed(session: Session, seed: int) -> Session:
    """The same kind of session, drawn anew: clock signs vary as well."""
    rng = np.random.default_rng([78, seed])
    signs = rng.choice([-1.0, 1.0], 5)
    return replace(
        session,
        seed=seed,
        board_ppm=session.board_ppm * signs[0],
        camera_ppm=session.camera_ppm * signs[1],
        board_offset_s=abs(session.board_offset_s),
        camera_offset_s=session.camera_offset_s * signs[2],
        radar_ppm=session.radar_ppm * signs[3],
    )


def anything(seed: int) -> Session:
    """A session of which every property is drawn, up to worse than a lab should be."""
    rng = np.random.default_rng([79, seed])
    return Session(
        seed=seed,
        seconds=float(rng.choice([8, 10, 15, 30, 60])),
        hz=float(rng.choice([5, 8, 10, 10, 10, 12.5, 20])),
        board=bool(rng.random() < 0.9),
        signature=bool(rng.random() < 0.7),
        edges=bool(rng.random() < 0.5),
        pings=bool(rng.random() < 0.8),
        board_ppm=rng.uniform(-200, 200),
        board_offset_s=float(rng.choice([0.0, 30.0, 3e5])),
        camera_ppm=rng.uniform(-200, 200),
        camera_offset_s=float(rng.choice([-30.0, 0.0, 30.0, 9e5])),
        radar_ppm=rng.uniform(-200, 200),
        lose_lines=rng.choice([0, 0.05, 0.3]),
        miss_triggers=rng.choice([0, 0.05, 0.2]),
        miss_first=int(rng.integers(0, 9)),
        drop_camera=rng.choice([0, 0.05, 0.3]),
        camera_late_s=rng.uniform(-2, 4),
        camera_stops_s=float(rng.uniform(0, 3)) if rng.random() < 0.2 else None,
        radar_jitter_s=rng.choice([5e-5, 2e-4, 1e-3]),
        camera_latency_s=rng.uniform(0.002, 0.022),
        camera_jitter_s=rng.choice([5e-4, 3e-3, 1e-2]),
        stalls=rng.choice([0, 0.01, 0.05]),
        lose_packets=rng.choice([0, 0.01, 0.1]),
        lose_whole=rng.choice([0, 0.003, 0.02]),
        metadata=bool(rng.random() < 0.8),
        busy_s=float(rng.choice([0, 0, 0, 0.005, 0.03])),
        skip_exposures=float(rng.choice([0, 0, 0.3])),
    )
