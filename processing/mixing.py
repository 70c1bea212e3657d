"""A recording with a bystander who was never there: the samples of two recordings summed, since a radar is linear.

The sum is what one radar would have received from both rooms at once: both people, both rooms' static echoes (which clutter
removal takes out), and the noise of both, 3 dB above either. What it lacks is that nobody hides or shadows the other.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int16, Shaped

from pipeline.building import building_folder
from pipeline.errors import PipelineError
from pipeline.labels import read_labels, write_labels
from pipeline.manifest import RecordingManifest, Segment
from pipeline.packets import PACKET_RECORD, missing_ranges
from pipeline.recording import Recording, open_recording, write_manifest
from pipeline.sealing import seal
from pipeline.waveform import Waveform

_MOST_COUNTS = np.iinfo(np.int16).max
_MAY_DIFFER = {"name", "frames", "trigger", "trigger_delay_ms"}


def mix(
    root: Path, target_id: str, bystander_id: str, *, gain_db: float = 0.0, recording_id: str | None = None
) -> Recording:
    """Make a sealed recording of `target_id` with whoever is in `bystander_id` as a bystander, `gain_db` stronger than recorded.

    It is as long as the shorter of the two, has the target's participant, actions and labels and no pictures, and names the
    bystander's people among `others`. Bytes that either lost are lost. `recording_id` None: made of both names.
    Raises PipelineError when the two were recorded with different waveforms or lie unsealed, when both show the same person,
    when the target has no labels, and when the id is taken.
    """
    target, bystander = open_recording(root, target_id), open_recording(root, bystander_id)
    _check(target, bystander)
    labels = read_labels(root, target_id)
    name = recording_id or f"{target_id}.with.{bystander_id}"
    frames = min(target.frame_count, bystander.frame_count)
    with building_folder(root, name) as folder:
        manifest = _manifest(target, bystander, name, frames)  # first, so that a bad id is found before any work
        packets, lost = _packets(target, bystander, frames)
        if packets is not None:
            (folder / "packets.bin").write_bytes(packets.tobytes())
        clipped = _write_sum(folder / "adc.bin", target, bystander, frames, gain_db, lost)
        cfg = target.folder / "radar.cfg"
        if cfg.exists():
            (folder / "radar.cfg").write_bytes(cfg.read_bytes())
        write_manifest(folder, manifest)
        notes = [f"Nobody was there together: samples of {target_id} and {bystander_id} ({gain_db:+g} dB) were summed."]
        if clipped:
            notes.append(f"{clipped} of {frames * target.waveform.frame_bytes // 2} summed words were cut to 16 bits.")
        write_labels(root, name, labels)
        seal(
            folder,
            reason=f"{frames} frames summed.",
            counters={"stream_bytes": frames * target.waveform.frame_bytes, "clipped_words": clipped},
            notes=tuple(notes),
        )
    return open_recording(root, name)


def _check(target: Recording, bystander: Recording) -> None:
    for one in (target, bystander):
        if not one.sealed or one.frame_count == 0:
            raise PipelineError(f"{one.id} is not sealed or has no whole frame, so it cannot be mixed; choose another.")
    first, second = (_comparable(one.waveform) for one in (target, bystander))
    other = [name for name, value in first.items() if second[name] != value]
    if other:
        raise PipelineError(
            f"{target.id} and {bystander.id} were recorded differently ({', '.join(other)}), so their samples cannot be summed; "
            "mix recordings of one waveform."
        )
    who = target.manifest.participant
    if who is not None and who in (bystander.manifest.participant, *bystander.manifest.others):
        raise PipelineError(
            f"{target.id} and {bystander.id} both show {who}, who cannot be their own bystander; choose another."
        )


def _comparable(waveform: Waveform) -> dict[str, object]:
    return waveform.model_dump(mode="json", exclude=_MAY_DIFFER)


def _manifest(target: Recording, bystander: Recording, name: str, frames: int) -> RecordingManifest:
    about, stranger = target.manifest, bystander.manifest
    people = (*about.others, stranger.participant or "unknown", *stranger.others)
    segments = tuple(
        Segment(
            action=one.action,
            start_frame=one.start_frame,
            stop_frame=None if one.stop_frame is None else min(one.stop_frame, frames),
        )
        for one in about.segments
        if one.start_frame < frames
    )
    try:
        return RecordingManifest(
            id=name,
            origin="mix",
            simulated=about.simulated or stranger.simulated,
            participant=about.participant,
            others=tuple(dict.fromkeys(people)),
            mixed_from=(target.id, bystander.id),
            room=about.room,
            segments=segments,
            waveform=about.waveform,
            pulse_rate_hz=about.pulse_rate_hz,
            rig=about.rig,
            clocks=about.clocks,
        )
    except ValueError as error:
        raise PipelineError(
            f"{name!r} is no name for a recording: letters, digits, '.', '_', '-', 100 at most; give --id."
        ) from error


def _packets(
    target: Recording, bystander: Recording, frames: int
) -> tuple[Shaped[np.ndarray, " packet"] | None, list[tuple[int, int]]]:
    """The target's packets that no loss of the bystander's touches (None: it has no records), and what is lost of the sum."""
    total = frames * target.waveform.frame_bytes
    holes = bystander.missing_ranges()
    holes = holes[holes[:, 0] < total]
    if target.packets is None:
        return None, [(int(start), int(stop)) for start, stop in holes]
    packets = np.array(target.packets)
    starts = packets["byte_offset"].astype(np.int64)
    packets = packets[starts < total]
    starts = packets["byte_offset"].astype(np.int64)
    packets["length"] = np.minimum(packets["length"], total - starts)
    # Holes ascend and are disjoint, so the first that ends after a packet's begin is the only one to look at.
    following = np.searchsorted(holes[:, 1], starts, "right")
    begins = np.append(holes[:, 0], total)[following]
    packets = packets[begins >= starts + packets["length"]].astype(PACKET_RECORD)
    return packets, [(int(start), int(stop)) for start, stop in missing_ranges(packets, total)]


def _write_sum(
    path: Path, target: Recording, bystander: Recording, frames: int, gain_db: float, lost: list[tuple[int, int]]
) -> int:
    """Write the sum frame by frame, then zeros over what was lost; returns how many words did not fit into 16 bits."""
    factor, clipped = np.float32(10 ** (gain_db / 20)), 0
    with path.open("wb") as file:
        for index in range(frames):
            words, over = _sum(target.frame_words(index), bystander.frame_words(index), factor)
            clipped += int(over.sum())
            file.write(words.tobytes())
        for start, stop in lost:
            file.seek(start)
            file.write(bytes(stop - start))
    return clipped


def _sum(
    first: Int16[np.ndarray, " word"], second: Int16[np.ndarray, " word"], factor: np.float32
) -> tuple[Int16[np.ndarray, " word"], Bool[np.ndarray, " word"]]:
    """Words of the sum: I adds to I and Q to Q, whatever their order. Saturates as the card's converter does."""
    total = np.rint(first.astype(np.float32) + factor * second)
    return np.clip(total, -_MOST_COUNTS - 1, _MOST_COUNTS).astype(np.int16), np.abs(total) > _MOST_COUNTS
