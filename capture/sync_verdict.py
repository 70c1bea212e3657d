"""What an alignment came to, in sentences: the verdict of `sync.parquet` and its reasons."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from capture.camera_times import StreamTimes
from capture.matching import MatchResult
from capture.pulse_trains import Board, Train
from pipeline.sync import ClockFit, SyncReport

Verdict = Literal["aligned", "look", "ambiguous", "failed"]
_AMBIGUOUS_SHARE = 0.2
_DOUBTFUL_SHARE = 0.05
_WITHOUT_PICTURE_SHARE = 0.15
_RATE_SHARE = 0.005
_CAMERA_STOPS_S = 1.0
_DRIFT_PPM = 500.0
_CAMERA_GAP_S = 1.0


@dataclass
class Facts:
    """What a session was asked to be, and what was seen on the way (the fields with defaults)."""

    radar_frames: int
    radar_timed: int
    frame_period_s: float
    hardware_trigger: bool
    speed: float
    asked_hz: float | None
    asked_pulses: int | None
    asked_signature: bool | None
    board: Board | None
    color: StreamTimes | None
    depth: StreamTimes | None
    camera_rejected: int
    signature_on: bool = False
    signature_seen: bool = False
    free_running: bool = False
    busy: bool = False
    radar_steps: int = 0
    rivals: tuple[int, ...] = ()
    unstable_s: list[float] = field(default_factory=list)
    first_pulse: int | None = None
    latency_ms: float | None = None

    def note_match(self, match: MatchResult, timed: int, train: Train, *, frames: int, first_frame: int) -> None:
        """Keep what one run's matching says about the whole."""
        self.signature_seen |= match.signature
        if frames:
            self.rivals = self.rivals or match.rivals
        self.unstable_s += match.unstable_s
        self.busy |= match.busy
        if frames and first_frame == 0 and match.pulse[0] >= 0:
            self.first_pulse = int(match.pulse[0])
        if timed and self.latency_ms is None:
            self.latency_ms = float(np.nanmedian(match.latency_s)) * 1e3


def judge(
    facts: Facts, table: pd.DataFrame, mode: Literal["board", "host"], radar_clock: ClockFit | None
) -> SyncReport:
    """The report of an alignment table."""
    reasons: list[tuple[Verdict, str]] = []
    _of_radar(facts, table, reasons)
    if facts.hardware_trigger or facts.board is not None:
        _of_board(facts, table, mode, reasons)
    _of_camera(facts, table, reasons)
    counts = _counts(facts, table, mode)
    doubt = counts["ambiguous"]
    if doubt and not facts.rivals and facts.radar_timed:
        share = doubt / len(table)
        level: Verdict = "ambiguous" if share > _AMBIGUOUS_SHARE else "look" if share > _DOUBTFUL_SHARE else "aligned"
        reasons.append((level, f"{doubt} of {len(table)} rows cannot be matched for certain and are left out."))
    clocks = {
        name: clock
        for name, clock in (
            ("board", facts.board.clock if facts.board else None),
            ("radar", radar_clock),
            ("color", facts.color.clock if facts.color else None),
            ("depth", facts.depth.clock if facts.depth else None),
        )
        if clock is not None
    }
    for name, clock in clocks.items():
        drift_ppm = ((1 + clock.drift_ppm * 1e-6) / facts.speed - 1) * 1e6
        if abs(drift_ppm) > _DRIFT_PPM:
            reasons.append(
                ("look", f"The clock of the {name} runs {drift_ppm:+.0f} ppm off the host's, more than a crystal does.")
            )
    order: tuple[Verdict, ...] = ("failed", "ambiguous", "look", "aligned")
    reasons.sort(key=lambda reason: order.index(reason[0]))
    return SyncReport(
        mode=mode,
        verdict=reasons[0][0] if reasons else "aligned",
        reasons=tuple(sentence for _, sentence in reasons),
        algorithm_version="",
        radar_pulse_offset=facts.first_pulse if mode == "board" else None,
        other_offsets=facts.rivals,
        gap_signature=mode == "board" and facts.signature_seen,
        radar_latency_ms=facts.latency_ms if mode == "board" else None,
        camera_edges=facts.depth is not None and facts.depth.edges,
        clocks=clocks,
        counts=counts,
    )


def _of_radar(facts: Facts, table: pd.DataFrame, reasons: list[tuple[Verdict, str]]) -> None:
    if not facts.radar_frames:
        reasons.append(("failed", "There is no whole radar frame, so there is nothing to match."))
    elif not facts.radar_timed:
        reasons.append(
            ("failed", "No radar frame has a time (no packets.bin, or an empty one), so nothing can be matched.")
        )
    elif facts.radar_timed < facts.radar_frames:
        untimed = facts.radar_frames - facts.radar_timed
        reasons.append(("aligned", f"Radar frames lost whole, and placed by their neighbours: {untimed}."))
    if facts.radar_steps:
        reasons.append(
            (
                "look",
                f"The radar paused or began anew {facts.radar_steps} times; its frames are timed apart on either side.",
            )
        )


def _of_board(
    facts: Facts, table: pd.DataFrame, mode: Literal["board", "host"], reasons: list[tuple[Verdict, str]]
) -> None:
    board = facts.board
    if board is None:
        reasons.append(("look", "The radar waited for triggers but no board was recorded: matched by host time alone."))
        return
    if not board.trains:
        reasons.append(("look", "pulses.bin holds no pulses (was the board silent?): matched by host time alone."))
    elif not facts.hardware_trigger:
        reasons.append(("aligned", "The radar ran by its own clock, not by the board's pulses: matched by host time."))
    elif facts.free_running:
        period_ms, pulse_ms = _radar_period_s(table) * 1e3, board.trains[0].period_s * 1e3
        reasons.append(
            (
                "look",
                f"Radar frames come every {period_ms:.2f} ms and do not keep to the pulses, which come every {pulse_ms:.2f} ms: "
                "is the radar set to hardware trigger and the wire to SYNC_IN in place? Matched by host time alone.",
            )
        )
    elif mode == "board" and facts.radar_timed:
        _of_pulses(facts, board, table, reasons)
    if board.trains and board.late_s:
        reasons.append(
            (
                "look",
                f"No PING ties the board's clock to the host's: pulses may seem up to {board.late_s * 1e3:.0f} ms late.",
            )
        )
    if len(board.trains) > 1:
        reasons.append(
            ("look", f"The board ran {len(board.trains)} times in this recording: pulse numbers begin anew.")
        )
    if board.rejected:
        reasons.append(
            ("aligned", f"{board.rejected} records of pulses.bin are no sense or said twice and were left out.")
        )


def _of_pulses(facts: Facts, board: Board, table: pd.DataFrame, reasons: list[tuple[Verdict, str]]) -> None:
    train = max(board.trains, key=lambda run: len(run.pulse_s))
    board_hz, shown = 1 / train.board_period_s, 1 / train.period_s / facts.speed
    if facts.asked_hz and abs(board_hz / facts.asked_hz - 1) > _RATE_SHARE:
        reasons.append(("look", f"Pulses come at {board_hz:.3g} Hz although {facts.asked_hz:.3g} were asked for."))
    if train.period_s < facts.frame_period_s:
        reasons.append(
            (
                "look",
                f"Pulses come at {shown:.4g} Hz, faster than the radar's frame period of {facts.frame_period_s * 1e3:.4g} ms "
                "allows: it misses some; program a shorter period.",
            )
        )
    if facts.rivals:
        others = ", ".join(f"{other:+d}" for other in facts.rivals[:6])
        reasons.append(
            (
                "ambiguous",
                f"The radar's frames fit the pulses at other offsets nearly as well ({others} pulses): nothing tells which.",
            )
        )
    if facts.busy:
        reasons.append(
            (
                "look",
                "Most radar frames reached this machine late: it, or what feeds it, was too busy. Frames are placed only where "
                "some that were on time leave no doubt.",
            )
        )
    elif facts.signature_on and not facts.signature_seen:
        reasons.append(
            (
                "aligned",
                "No gap signature was found in the radar's frames (too short, or gaps on both sides); times decide.",
            )
        )
    if facts.unstable_s:
        reasons.append(
            (
                "look",
                f"In {len(facts.unstable_s)} windows of 10 s radar frames stand elsewhere between the pulses than in the rest.",
            )
        )
    missed = int((table["status"] == "no-radar").sum())
    fired = int((table["pulse"] >= 0).sum())
    if missed > 0.15 * fired:
        reasons.append(("look", f"{missed} of {fired} pulses have no radar frame."))
    lost = sum(int((~run.heard).sum()) for run in board.trains)
    if lost > 0.5 * sum(len(run.heard) for run in board.trains):
        reasons.append(("look", "More than half of the board's pulse lines were lost."))


def _of_camera(facts: Facts, table: pd.DataFrame, reasons: list[tuple[Verdict, str]]) -> None:
    color, depth = facts.color, facts.depth
    if color is None or depth is None:
        reasons.append(("failed", "No camera was recorded (there is no camera.bin), so no radar frame has a picture."))
        return
    if not len(color.index):
        reasons.append(("failed", "camera.bin holds no colour frame, so no radar frame has a picture."))
        return
    with_radar = table[table["radar_frame"] >= 0]
    if facts.radar_timed and len(with_radar):
        _of_span(color, with_radar, reasons)
        if not (with_radar["color_frame"] >= 0).any():
            reasons.append(("failed", "No colour frame is near any radar frame: the camera ran at another time."))
    if facts.camera_rejected:
        reasons.append(
            ("aligned", f"{facts.camera_rejected} records of camera.bin are no sense or said twice and were left out.")
        )
    for name, stream in (("colour", color), ("depth", depth)):
        if stream.frozen.any():
            reasons.append(
                (
                    "look",
                    f"{int(stream.frozen.sum())} {name} frames are frozen, the same picture again, and are not matched.",
                )
            )
        if stream.stretches > 1:
            reasons.append(
                (
                    "look",
                    f"The camera's clock was set anew {stream.stretches - 1} times in the {name} stream; each part has a line.",
                )
            )
        if stream.untimed:
            reasons.append(("aligned", f"{stream.untimed} {name} frames have no usable time and are not matched."))
    if color.clock is None:
        reasons.append(
            ("look", "The camera gives no time of its own: pictures are timed by their arrival at the host.")
        )
    if not color.edges:
        reasons.append(
            (
                "aligned",
                f"Camera times may be up to {color.late_s * 1e3:.0f} ms late: their shortest latency is unknown without the "
                "camera's sync-out wired to the board.",
            )
        )


def _of_span(color: StreamTimes, with_radar: pd.DataFrame, reasons: list[tuple[Verdict, str]]) -> None:
    """Where pictures begin, end and pause, against the radar."""
    begin_s, end_s = with_radar["time_ns"].iloc[0] * 1e-9, with_radar["time_ns"].iloc[-1] * 1e-9
    timed = np.sort(color.host_s[np.isfinite(color.host_s)])
    if not len(timed):
        return
    without = with_radar["color_frame"] < 0
    level: Verdict = "look" if without.mean() > _WITHOUT_PICTURE_SHARE else "aligned"
    if timed[0] - begin_s > _CAMERA_STOPS_S:
        reasons.append((level, f"Camera frames begin {timed[0] - begin_s:.1f} s after the radar's."))
    if end_s - timed[-1] > _CAMERA_STOPS_S:
        reasons.append(("look", f"Camera frames stop {end_s - timed[-1]:.1f} s before the radar's end."))
    inside = timed[(timed > begin_s) & (timed < end_s)]
    gaps = np.diff(inside)
    if len(gaps) and gaps.max() > _CAMERA_GAP_S:
        reasons.append(
            ("look", f"The camera paused {int((gaps > _CAMERA_GAP_S).sum())} times, for {gaps.max():.1f} s at most.")
        )
    if without.mean() > _WITHOUT_PICTURE_SHARE:
        reasons.append(("look", f"{int(without.sum())} of {len(without)} radar frames have no picture near enough."))


def _radar_period_s(table: pd.DataFrame) -> float:
    rows = table[table["radar_frame"] >= 0].sort_values("radar_frame")
    steps = np.diff(rows["time_ns"].to_numpy()) * 1e-9 / np.diff(rows["radar_frame"].to_numpy())
    return float(np.median(steps)) if len(steps) else float("nan")


def _counts(facts: Facts, table: pd.DataFrame, mode: Literal["board", "host"]) -> dict[str, int]:
    status = table["status"]
    counts = {
        "radar_frames": facts.radar_frames,
        "rows": len(table),
        "ok": int((status == "ok").sum()),
        "no_radar": int((status == "no-radar").sum()),
        "no_camera": int((status == "no-camera").sum()),
        "ambiguous": int((status == "ambiguous").sum()),
    }
    if facts.color is not None and facts.depth is not None:
        for name, stream in (("color", facts.color), ("depth", facts.depth)):
            counts[f"{name}_frames"] = len(stream.index)
            numbered = stream.number[stream.number >= 0]
            steps = np.diff(numbered)
            counts[f"{name}_dropped"] = int((steps[steps > 0] - 1).sum())
            counts[f"{name}_frozen"] = int(stream.frozen.sum())
        counts["camera_rejected"] = facts.camera_rejected
    if facts.board is not None:
        trains = facts.board.trains
        counts["pulses"] = int((table["pulse"] >= 0).sum())
        counts["pulse_lines"] = sum(int(train.heard.sum()) for train in trains)
        counts["pulse_lines_lost"] = counts["pulses"] - counts["pulse_lines"] if mode == "board" else 0
        counts["board_restarts"], counts["board_rejected"] = facts.board.restarts, facts.board.rejected
        if mode == "board":
            counts["radar_without_pulse"] = int(((table["radar_frame"] >= 0) & (table["pulse"] < 0)).sum())
    return counts
