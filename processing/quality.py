"""What is wrong with a recording: measured, judged, and stored as `<root>/quality/<id>.json`.

Losses and frame times are those of the whole recording; everything else is measured on frames chosen evenly over it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int16
from pydantic import ValidationError

from pipeline.errors import PipelineError
from pipeline.files import write_report
from pipeline.recording import Recording
from pipeline.sample_order import detect_sample_order
from pipeline.waveform import Waveform
from processing import quality_measures as measures
from processing.adc import decode
from processing.quality_report import (
    REPORT_VERSION,
    SILENT_RMS,
    Interference,
    Loss,
    Order,
    QualityReport,
    Receiver,
    Timing,
    judge,
)

__all__ = ["FRAMES_LOOKED_AT", "QualityReport", "make_quality", "measure_quality", "quality_path"]

FRAMES_LOOKED_AT = 32
_ORDER_FRAMES = 8


def quality_path(root: Path, recording_id: str) -> Path:
    """Where the report of a recording lies."""
    return root / "quality" / f"{recording_id}.json"


def make_quality(recording: Recording, root: Path, *, force: bool = False) -> QualityReport:
    """The recording's report: the stored one where it is of these samples and this version, else measured and stored."""
    path = quality_path(root, recording.id)
    if path.is_file() and not force:
        try:
            report = QualityReport.model_validate_json(path.read_bytes())
        except ValidationError:
            report = None
        if report and (report.version, report.raw_digest) == (REPORT_VERSION, recording.raw_digest):
            return report
    report = measure_quality(recording)
    write_report(path, report)
    return report


def measure_quality(recording: Recording, frames_looked_at: int = FRAMES_LOOKED_AT) -> QualityReport:
    """Measure a sealed recording. Raises PipelineError when it has no whole frame."""
    frames, waveform, manifest = recording.frame_count, recording.waveform, recording.manifest
    if frames == 0:
        raise PipelineError(
            f"{recording.id} has no whole frame ({recording.stream_bytes} of {waveform.frame_bytes} bytes), "
            "so there is nothing to judge."
        )
    chosen = np.unique(np.linspace(0, frames - 1, min(frames_looked_at, frames)).round().astype(int)).tolist()
    looks = [_look(recording, frame) for frame in chosen]
    seen = [look for look in looks if look.loops]
    loss = _loss(recording, sum(look.zero_chirps for look in looks))
    receivers = _receivers(waveform, seen)
    order = _order(recording, [frame for frame, look in zip(chosen, looks, strict=True) if look.loops][:_ORDER_FRAMES])
    # The calmest quarter of the frames: people who move widen the skirts of the others.
    calm = sorted(look.skirt for look in seen if look.skirt is not None)
    skirt = float(np.median(calm[: max(1, len(calm) // 4)])) if calm else None
    noise = [look.noise for look in seen if look.noise is not None]
    profile = np.mean([look.profile for look in seen], axis=0) if seen else np.zeros(waveform.samples)
    chirps, hit = sum(look.loops for look in seen) * waveform.tx_slots, sum(look.interfered for look in seen)
    interference = Interference(chirps=hit, share=hit / max(chirps, 1))
    timing = _timing(recording)
    ending = "" if manifest.status == "success" else f"It ended as {manifest.status}: {manifest.reason}"
    verdict, reasons = judge(frames, ending, loss, receivers, order, skirt, interference, timing)
    return QualityReport(
        recording=recording.id,
        raw_digest=recording.raw_digest,
        simulated=manifest.simulated,
        verdict=verdict,
        reasons=reasons,
        frames=frames,
        frames_looked_at=len(chosen),
        loss=loss,
        receivers=receivers,
        order=order,
        static_skirt_ratio=skirt,
        noise_floor_dbfs=_decibels(float(np.median(noise))) if noise else None,
        range_m=tuple(float(f"{metres:.4f}") for metres in waveform.range_axis_m()),
        range_profile_dbfs=tuple(round(_decibels(power), 2) for power in profile),
        interference=interference,
        timing=timing,
    )


@dataclass(frozen=True)
class _Look:
    """What one frame shows; with `loops` 0 none of its loops arrived whole and the rest says nothing."""

    zero_chirps: int
    loops: int
    saturated: Float64[np.ndarray, " rx"]
    dc: Float64[np.ndarray, "rx 2"]
    power: Float64[np.ndarray, " rx"]
    profile: Float64[np.ndarray, " range"]
    noise: float | None
    skirt: float | None
    interfered: int


def _look(recording: Recording, frame: int) -> _Look:
    waveform = recording.waveform
    words, usable = _words(recording, frame)
    samples = decode(words.reshape(-1), waveform)[usable]
    loops = int(usable.sum())
    if loops == 0:
        nothing = np.zeros(waveform.rx_count)
        profile = np.zeros(waveform.samples)
        return _Look(
            measures.zero_chirps(words), 0, nothing, np.zeros((len(nothing), 2)), nothing, profile, None, None, 0
        )
    dc, power = measures.mean_and_power(samples)
    spectra = measures.range_spectra(samples)
    return _Look(
        zero_chirps=measures.zero_chirps(words),
        loops=loops,
        saturated=measures.saturated_words(words[usable]) / (words[usable].size / waveform.rx_count),
        dc=dc,
        power=power,
        profile=measures.range_power(spectra),
        noise=measures.noise_power(spectra),
        skirt=measures.skirt_ratio(spectra),
        interfered=int(measures.interfered_chirps(spectra).sum()),
    )


def _words(recording: Recording, frame: int) -> tuple[Int16[np.ndarray, "loop tx rx word"], Bool[np.ndarray, " loop"]]:
    """A frame's words, and which of its loops arrived whole (a loop of zeros is lost, whatever the packets say)."""
    loops, slots, receivers, samples = recording.waveform.frame_shape
    words = np.asarray(recording.frame_words(frame)).reshape(loops, slots, receivers, samples * 2)
    return words, recording.loop_valid(frame) & words.any(axis=(1, 2, 3))


def _loss(recording: Recording, zero_chirps: int) -> Loss:
    holes, missing = recording.missing_ranges(), recording.frame_missing_bytes()
    lengths = holes[:, 1] - holes[:, 0]
    return Loss(
        known=recording.packets is not None,
        missing_bytes=int(lengths.sum()),
        share=float(lengths.sum() / max(recording.stream_bytes, 1)),
        frames=int((missing > 0).sum()),
        longest_hole_bytes=int(lengths.max(initial=0)),
        zero_chirps=zero_chirps,
        trailing_bytes=recording.trailing_bytes,
    )


def _receivers(waveform: Waveform, seen: Sequence[_Look]) -> tuple[Receiver, ...]:
    if not seen:
        seen = [_Look(0, 0, np.zeros(4), np.zeros((4, 2)), np.zeros(4), np.zeros(0), None, None, 0)]
    saturated, dc = np.mean([look.saturated for look in seen], axis=0), np.mean([look.dc for look in seen], axis=0)
    rms = np.sqrt(np.mean([look.power for look in seen], axis=0))
    heard = rms[rms >= SILENT_RMS]
    middle = float(np.median(heard)) if len(heard) else 1.0
    return tuple(
        Receiver(
            rx=rx,
            saturated_share=float(saturated[index]),
            dc_i=float(dc[index, 0]),
            dc_q=float(dc[index, 1]),
            rms=float(rms[index]),
            rms_dbfs=_decibels((rms[index] / measures.FULL_SCALE) ** 2),
            imbalance_db=_decibels((rms[index] / middle) ** 2) if rms[index] >= SILENT_RMS else 0.0,
        )
        for index, rx in enumerate(waveform.rx_channels)
    )


def _order(recording: Recording, frames: Sequence[int]) -> Order:
    chirps = [words[usable].reshape(-1) for words, usable in (_words(recording, frame) for frame in frames)]
    verdict = detect_sample_order(np.concatenate(chirps) if chirps else np.zeros(0, np.int16), recording.waveform)
    return Order(
        expected=recording.waveform.sample_order,
        found=verdict.layout,
        byte_shift=verdict.byte_shift,
        certain=verdict.mirror_certain,
        sentence=verdict.sentence,
    )


def _timing(recording: Recording) -> Timing:
    configured_ms = 1000 * recording.frame_period_s
    times_ns = recording.frame_time_ns()
    if len(times_ns) < 2 or not (times_ns > 0).all():
        return Timing(
            known=False,
            configured_period_ms=configured_ms,
            period_ms=None,
            jitter_ms=None,
            gaps=0,
            missed_frames=0,
            longest_gap_ms=None,
        )
    intervals_ms = np.diff(times_ns) / 1e6
    period_ms = float(np.median(intervals_ms))
    wide = intervals_ms > 1.5 * period_ms
    missed = int((np.round(intervals_ms[wide] / period_ms) - 1).sum()) if period_ms > 0 else 0
    return Timing(
        known=True,
        configured_period_ms=configured_ms,
        period_ms=period_ms,
        jitter_ms=float(np.quantile(np.abs(intervals_ms[~wide] - period_ms), 0.95)),
        gaps=int(wide.sum()),
        missed_frames=missed,
        left_out_frames=min(missed, len(recording.manifest.rig.get("trigger", {}).get("left_out", ()))),
        longest_gap_ms=float(intervals_ms.max()),
    )


def _decibels(power: float) -> float:
    return float(10 * np.log10(max(power, 1e-30)))
