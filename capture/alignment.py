"""One recording's pulses, radar frames and pictures brought together: `sync.parquet` (`pipeline.sync` says what is in it).

    report = align(folder)                  # before it is sealed: computes and writes
    table, report = alignment_of(folder)    # computes only

With a trigger board and a radar that waits for it, moments are pulses (mode `board`). Without, or where the radar plainly does
not keep to the pulses, moments are the starts of radar frames as the host saw them (mode `host`). `docs/alignment.md` has the
method and its guarantees.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from capture.camera_times import StreamTimes, read_streams
from capture.frame_starts import FrameStarts, frame_starts
from capture.matching import nearest
from capture.moments import Moments, by_host_time, by_pulses
from capture.pulse_trains import Board, read_board
from capture.sync_verdict import Facts, judge
from pipeline.camera_frames import read_camera_records
from pipeline.errors import PipelineError
from pipeline.pulses import read_pulses
from pipeline.recording import Recording, read_recording
from pipeline.sync import COLUMNS, SyncReport, write_sync

ALGORITHM_VERSION = "1"
_GATE = 0.6  # of the camera's period: half of it reaches the nearest frame, the rest is jitter
_Streams = tuple[StreamTimes, StreamTimes, int]  # colour, depth, records left out


def align(folder: Path) -> SyncReport:
    """Compute the alignment of a recording that is not sealed yet, and write `sync.parquet` into its folder.

    Raises PipelineError when the recording is sealed, or when the folder is no recording. Bad pulses, camera records or radar
    times are no errors: the report says what they came to, and what can be matched is.
    """
    if read_recording(folder).sealed:
        raise PipelineError(
            f"{folder.name} is sealed, and sealed recordings never change; its alignment was made when it was recorded."
        )
    table, report = alignment_of(folder)
    write_sync(folder, table, report)
    return report


def alignment_of(folder: Path) -> tuple[pd.DataFrame, SyncReport]:
    """The alignment of a recording, sealed or not, computed from its raw files; nothing is written."""
    recording = read_recording(folder)
    speed, waveform = rig_speed(recording), recording.waveform
    active_s = waveform.chirp_period_s * waveform.chirps_per_frame / speed
    starts = frame_starts(recording.packets, recording.frame_count, waveform.frame_bytes, active_s)
    records = read_pulses(folder)
    board = read_board(records) if records is not None else None
    camera = read_camera_records(folder)
    streams = None
    if camera is not None:
        rate_hz = recording.manifest.camera.rate_hz if recording.manifest.camera else 30.0
        streams = read_streams(camera, board.edges if board else (), rate_hz, speed)
    facts = _facts(recording, starts, board, streams)
    moments = None
    if board is not None and board.trains and facts.hardware_trigger:
        moments = by_pulses(board, starts, waveform.trigger_delay_ms * 1e-3 / speed, facts)
    if moments is None:
        moments = by_host_time(starts, facts)
    table = _table(moments, recording, streams, active_s / 2)
    report = judge(facts, table, moments.mode, moments.radar_clock).model_copy(
        update={"algorithm_version": ALGORITHM_VERSION, "middle_offset_s": active_s / 2}
    )
    return table, report


def _facts(recording: Recording, starts: FrameStarts, board: Board | None, streams: _Streams | None) -> Facts:
    """What the manifest and the raw files say of the session."""
    trigger, settings = _part(recording.manifest.rig, "trigger"), _part(recording.manifest.rig, "settings")
    signature = trigger.get("signature", _part(settings, "trigger").get("signature"))
    hz, pulses = trigger.get("hz"), trigger.get("pulses")
    speed = rig_speed(recording)
    return Facts(
        radar_frames=recording.frame_count,
        radar_timed=int(np.isfinite(starts.start_s).sum()),
        frame_period_s=recording.waveform.frame_period_s / speed,
        hardware_trigger=recording.waveform.trigger == "hardware",
        speed=speed,
        asked_hz=float(hz) if isinstance(hz, int | float) and hz > 0 else None,
        asked_pulses=pulses if isinstance(pulses, int) and pulses > 0 else None,
        asked_signature=signature if isinstance(signature, bool) else None,
        board=board,
        color=streams[0] if streams else None,
        depth=streams[1] if streams else None,
        camera_rejected=streams[2] if streams else 0,
    )


def rig_speed(recording: Recording) -> float:
    """How many times as fast as the wall's a simulated rig's clock ran."""
    settings = _part(recording.manifest.rig, "settings")
    speed = _part(settings, "simulator").get("speed", 1.0) if settings.get("kind") == "simulated" else 1.0
    return float(speed) if isinstance(speed, int | float) and speed > 0 else 1.0


def _part(of: dict[str, Any], name: str) -> dict[str, Any]:
    part = of.get(name)
    return part if isinstance(part, dict) else {}


# --- the table -------------------------------------------------------------------------------------------------------
def _table(moments: Moments, recording: Recording, streams: _Streams | None, middle_s: float) -> pd.DataFrame:
    time_s = _joined(moments.time_s, np.float64)
    frame = _joined(moments.frame, np.int64)
    order = np.lexsort((frame, time_s))
    time_s, frame = time_s[order], frame[order]
    missing = np.zeros(len(frame), np.int64)
    missing[frame >= 0] = recording.frame_missing_bytes()[frame[frame >= 0]]
    table = pd.DataFrame(
        {
            "run": _joined(moments.run, np.int64)[order],
            "pulse": _joined(moments.pulse, np.int64)[order],
            "time_ns": np.round(time_s * 1e9).astype(np.int64),
            "radar_frame": frame,
            "missing_bytes": missing,
            "radar_offset_s": _joined(moments.offset_s, np.float64)[order],
        }
    )
    for name, stream in zip(("color", "depth"), streams[:2] if streams else (None, None), strict=True):
        found, offset_s = np.full(len(frame), -1, np.int64), np.full(len(frame), np.nan)
        if stream is not None and len(stream.index):
            usable_s = np.where(stream.frozen, np.nan, stream.host_s)
            near = nearest(time_s + middle_s, usable_s, _GATE * stream.period_s)
            has = near >= 0
            found[has] = stream.index[near[has]]
            offset_s[has] = stream.host_s[near[has]] - (time_s + middle_s)[has]
        table[f"{name}_frame"], table[f"{name}_offset_s"] = found, offset_s
    status = np.where(table["color_frame"] >= 0, "ok", "no-camera")
    status = np.where(frame >= 0, status, "no-radar")
    table["status"] = np.where(_joined(moments.doubt, np.bool_)[order], "ambiguous", status)
    return table[list(COLUMNS)].astype(COLUMNS)


def _joined(parts: list[Any], kind: type) -> Any:
    return np.concatenate(parts).astype(kind) if parts else np.zeros(0, kind)
