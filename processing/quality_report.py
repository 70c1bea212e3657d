"""The quality report of a recording as data, and the verdict that its figures give. Measured by `quality.py`."""

from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from pipeline.cube_config import SampleOrder
from pipeline.sample_order import Layout, pairing_of
from processing.quality_measures import FULL_SCALE

REPORT_VERSION = 2
SILENT_RMS = 0.5  # counts: less than rounding to whole numbers leaves

Verdict = Literal["good", "look", "bad"]
_RANK: dict[Verdict, int] = {"good": 0, "look": 1, "bad": 2}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Loss(_Part):
    """Bytes that never arrived. With `known` False the origin kept no packets and only all-zero chirps hint at loss."""

    known: bool
    missing_bytes: int
    share: float
    frames: int
    longest_hole_bytes: int
    zero_chirps: int
    trailing_bytes: int


class Receiver(_Part):
    """One receiver, over all transmitters. `imbalance_db`: power against the median receiver; counts are int16 steps."""

    rx: int
    saturated_share: float
    dc_i: float
    dc_q: float
    rms: float
    rms_dbfs: float
    imbalance_db: float


class Order(_Part):
    """Sample layout the recording is read with, and what the samples themselves say (`found` None: too weak to tell)."""

    expected: SampleOrder
    found: Layout | None
    byte_shift: int
    certain: bool
    sentence: str


class Interference(_Part):
    """Chirps whose energy jumps across the whole range axis."""

    chirps: int
    share: float


class Timing(_Part):
    """Frame times. `jitter_ms` is the 95 % quantile of |interval - period|; a gap is an interval above 1.5 periods."""

    known: bool
    configured_period_ms: float
    period_ms: float | None
    jitter_ms: float | None
    gaps: int
    missed_frames: int
    left_out_frames: int = Field(0, description="of the missed ones, those the trigger board leaves out on purpose")
    longest_gap_ms: float | None


class QualityReport(_Part):
    """Everything measured on one recording. `static_skirt_ratio`: 0.0002 good, 0.002 bad; None where nothing is static."""

    version: int = REPORT_VERSION
    recording: str
    raw_digest: str
    simulated: bool
    verdict: Verdict
    reasons: tuple[str, ...]
    frames: int
    frames_looked_at: int
    loss: Loss
    receivers: tuple[Receiver, ...]
    order: Order
    static_skirt_ratio: float | None
    noise_floor_dbfs: float | None
    range_m: tuple[float, ...]
    range_profile_dbfs: tuple[float, ...]
    interference: Interference
    timing: Timing


def judge(
    frames: int,
    ending: str,
    loss: Loss,
    receivers: Sequence[Receiver],
    order: Order,
    skirt: float | None,
    interference: Interference,
    timing: Timing,
) -> tuple[Verdict, tuple[str, ...]]:
    """The worst finding decides; every finding gives its sentence, and so does `ending` where it is not empty.

    A clean recording says so in one sentence.
    """
    found: list[tuple[Verdict, str]] = []

    def note(bad: bool, sentence: str) -> None:
        found.append(("bad" if bad else "look", sentence))

    if ending:
        note(False, ending)
    if loss.missing_bytes:
        note(
            loss.frames > 0.05 * frames or loss.share > 0.01,
            f"{loss.missing_bytes} bytes ({100 * loss.share:.2g} %) never arrived, in {loss.frames} of {frames} frames; "
            f"the longest hole is {loss.longest_hole_bytes} bytes.",
        )
    if not loss.known and loss.zero_chirps:
        note(
            False, f"{loss.zero_chirps} chirps hold nothing but zeros: lost bytes, most likely (no packets were kept)."
        )
    for receiver in receivers:
        name = f"Receiver {receiver.rx}"
        if receiver.rms < SILENT_RMS:
            note(True, f"{name} is silent (RMS {receiver.rms:.2g} counts): not enabled, or broken.")
            continue
        if receiver.saturated_share > 1e-6:
            note(
                receiver.saturated_share > 1e-3,
                f"{name} saturates in {receiver.saturated_share:.2g} of its values: lower the gain or move what is close.",
            )
        if max(abs(receiver.dc_i), abs(receiver.dc_q)) > 0.02 * FULL_SCALE:
            note(False, f"{name} has a DC offset of ({receiver.dc_i:.0f}, {receiver.dc_q:.0f}) counts in (I, Q).")
        if abs(receiver.imbalance_db) > 6:  # real boards in order reach 3 dB
            note(abs(receiver.imbalance_db) > 10, f"{name} is {receiver.imbalance_db:+.1f} dB off the median receiver.")
    if order.found is None:
        note(False, order.sentence)
    elif order.byte_shift:
        note(True, order.sentence)
    elif order.found != order.expected:
        same_pairs = pairing_of(order.found) == pairing_of(order.expected)
        doubt = same_pairs and not order.certain
        harm = "the range axis is mirrored" if same_pairs else "every echo shows up to four times"
        known = order.found in get_args(SampleOrder)
        remedy = f"import it with --sample-order {order.found}" if known else "export it again without reordering"
        note(
            not doubt,
            f"The recording is read as {order.expected}, but its samples lie as {order.found}: {harm}"
            f"{' (likely, not certain)' if doubt else ''}; {remedy}.",
        )
    if skirt is not None and skirt > 0.0006:
        note(
            skirt >= 0.002,
            f"Static echoes leak into Doppler: {skirt:.2g} of their energy lies beside zero (0.0002 is good, 0.002 bad); "
            "noisy firmware, vibration, or everything moved.",
        )
    if interference.share > 1e-3:
        note(
            interference.share > 0.05,
            f"{interference.chirps} chirps ({interference.share:.1%}) jump across all ranges: another radar in the band.",
        )
    if timing.period_ms is not None:
        if timing.missed_frames > timing.left_out_frames:
            missing = f"about {timing.missed_frames - timing.left_out_frames} frames missing in them"
            signature = f", besides {timing.left_out_frames} left out as the pulses' signature"
            note(
                False,
                f"{timing.gaps} gaps in the frame times, {missing}{signature if timing.left_out_frames else ''}.",
            )
        if abs(timing.period_ms / timing.configured_period_ms - 1) > 0.01:
            note(
                False,
                f"Frames come every {timing.period_ms:.2f} ms, configured are {timing.configured_period_ms:.2f} ms.",
            )
        if timing.jitter_ms is not None and timing.jitter_ms > 0.1 * timing.configured_period_ms:
            note(False, f"Frame times jitter by {timing.jitter_ms:.2f} ms.")
    if not found:
        return "good", ("Nothing stands out.",)
    return max((verdict for verdict, _ in found), key=_RANK.__getitem__), tuple(sentence for _, sentence in found)
