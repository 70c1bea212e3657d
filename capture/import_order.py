"""The sample layout of an import: what its files say, what its samples say, and what is done where they differ."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.cube_config import SampleOrder
from pipeline.errors import PipelineError
from pipeline.packets import PACKET_RECORD
from pipeline.sample_order import (
    Layout,
    OrderVerdict,
    detect_chirp_start,
    detect_sample_order,
    pairing_of,
)
from pipeline.waveform import Waveform

Realign = Literal["no", "pairs", "chirps"]
_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class OrderOutcome:
    """The layout `adc.bin` has now, and sentences on how it was found."""

    order: SampleOrder
    notes: tuple[str, ...]


def settle_order(
    folder: Path, waveform: Waveform, announced: Layout, *, requested: SampleOrder | None, realign: Realign
) -> OrderOutcome:
    """Judge the samples of `folder/adc.bin` and settle its layout; rewrites the file where it must.

    A `requested` layout is obeyed, with a note where the samples disagree. Else the samples win over what the files
    `announced` where they are certain, and a note says so either way. A misaligned stream is refused unless `realign` repairs
    it: `pairs` brings I and Q together again by a few bytes before the stream or off it, `chirps` shifts it until chirps begin
    where they should as well. Files with `Q0 I0 Q1 I1`, or with toggled top bits, are put back into the card's own form.
    """
    adc = folder / "adc.bin"
    notes: list[str] = []
    if _undo_toggled_bits(adc):
        notes.append("Every sample's top bit was toggled, as TI's recorder does with MSBToggle; that was undone.")
    verdict = _judge(adc, waveform)
    if verdict.byte_shift and realign != "no":
        notes.append(_realign(folder, waveform, verdict, realign))
        verdict = _judge(adc, waveform)
    elif verdict.byte_shift and requested is None:
        raise PipelineError(
            f"{verdict.sentence} Import it again with --realign pairs to repair that, or with --sample-order to take it as it is."
        )
    layout, said = _choose(announced, requested, verdict)
    notes += said
    if verdict.layout and not verdict.byte_shift and pairing_of(verdict.layout) == pairing_of(layout):
        start = detect_chirp_start(_words(adc), waveform, verdict)
        if start:
            notes.append(
                f"Chirps begin {start} samples into where {waveform.name} has them begin: this is another configuration's "
                "recording, or its beginning was cut; ranges and angles will be smeared."
            )
    if layout == "interleaved-q-first":
        _undo_reordering(adc)
        notes.append(
            "The file held pairs with Q before I, a Q-first stream that TI's recorder reordered; that was undone."
        )
        layout = "q-first"
    return OrderOutcome(layout, tuple(notes))


def _choose(announced: Layout, requested: SampleOrder | None, verdict: OrderVerdict) -> tuple[Layout, list[str]]:
    found, certain = verdict.layout, verdict.mirror_certain
    if requested is not None:
        same = found == requested or (found and not certain and pairing_of(found) == pairing_of(requested))
        if found is None or (same and not verdict.byte_shift):
            return requested, []
        return requested, [f"Sample order {requested} was asked for and taken, but: {verdict.sentence}"]
    if found is None:
        return announced, [f"Sample order {announced} is what the configuration says. {verdict.sentence}"]
    if found == announced:
        return announced, [verdict.sentence]
    if certain or pairing_of(found) != pairing_of(announced):
        # Without proof that Q leads, the layout that TI documents.
        chosen = found if certain or found != "interleaved-q-first" else "interleaved"
        return chosen, [
            f"The configuration says {announced}; the samples say otherwise and were believed. {verdict.sentence}"
        ]
    return announced, [
        f"Sample order {announced} is what the configuration says. Too few echoes stand out to prove it, and more of their "
        f"energy lies in the far half of range: if the strongest ones are near, import again with --sample-order {found}."
    ]


def _words(adc: Path) -> np.ndarray:
    return np.memmap(adc, "<i2", "r", shape=(adc.stat().st_size // 2,))


def _judge(adc: Path, waveform: Waveform) -> OrderVerdict:
    """The verdict on whole frames only: what follows the last one may be cut anywhere."""
    words = _words(adc)
    return detect_sample_order(words[: len(words) * 2 // waveform.frame_bytes * waveform.frame_bytes // 2], waveform)


def _realign(folder: Path, waveform: Waveform, verdict: OrderVerdict, realign: Realign) -> str:
    """Move the whole stream by the bytes that the verdict is off; returns the sentence about it."""
    adc = folder / "adc.bin"
    assert verdict.layout is not None
    start = detect_chirp_start(_words(adc), waveform, verdict)
    if start == 0:
        ahead = -verdict.byte_shift  # something stands before the first chirp
    elif realign == "chirps":
        if start is None:
            raise PipelineError(
                "Where chirps begin does not show in the samples, so they cannot be realigned; use --realign pairs."
            )
        ahead = (waveform.samples - start) * 4 - verdict.byte_shift
        ahead += waveform.samples * 4 * (ahead < 0)
    else:
        ahead = (8 if pairing_of(verdict.layout) == "grouped" else 4) - verdict.byte_shift
    _shift_stream(folder, ahead)
    done = f"{ahead} zero bytes were put before the stream" if ahead > 0 else f"its first {-ahead} bytes were taken off"
    return f"{verdict.sentence} Repaired: {done}."


def _shift_stream(folder: Path, ahead: int) -> None:
    """Put `ahead` zero bytes before `adc.bin`, or take its first `-ahead` bytes off, and move the packets with it."""
    adc, moved = folder / "adc.bin", folder / "adc.bin.moved"
    with adc.open("rb") as source, moved.open("wb") as target:
        target.write(bytes(max(ahead, 0)))
        source.seek(max(-ahead, 0))
        while block := source.read(_BLOCK_BYTES):
            target.write(block)
    moved.replace(adc)
    packets = folder / "packets.bin"
    if packets.exists():
        records = np.fromfile(packets, PACKET_RECORD)
        start = records["byte_offset"].astype(np.int64) + ahead
        cut = np.clip(-start, 0, records["length"])
        records["byte_offset"] = np.maximum(start, 0)
        records["length"] -= cut.astype(np.uint16)
        records[records["length"] > 0].tofile(packets)


def _undo_toggled_bits(adc: Path) -> bool:
    """Toggle every word's top bit where the recorder did: samples then fill the ends of the scale, none its middle half."""
    words = np.memmap(adc, "<i2", "r+", shape=(adc.stat().st_size // 2,))
    looked_at = words[: 1 << 20]
    if np.mean((looked_at >= 16384) | (looked_at < -16384)) < 0.999:
        return False
    for begin in range(0, len(words), _BLOCK_BYTES // 2):
        words[begin : begin + _BLOCK_BYTES // 2] ^= np.int16(-32768)
    words.flush()
    return True


def _undo_reordering(adc: Path) -> None:
    """Exchange the two middle words of every group of four, in place: TI's ReorderAlgorithm is its own inverse."""
    words = np.memmap(adc, "<i2", "r+", shape=(adc.stat().st_size // 8 * 4,))
    for begin in range(0, len(words), _BLOCK_BYTES // 2):
        block = words[begin : begin + _BLOCK_BYTES // 2].reshape(-1, 4)
        block[:, [1, 2]] = block[:, [2, 1]]
    words.flush()
