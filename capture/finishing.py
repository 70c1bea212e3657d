"""What is added to a recording just before it is sealed, by its recorder or by `maepose recover`."""

import logging
from pathlib import Path

import numpy as np

from capture.alignment import align, rig_speed
from capture.script import Act
from pipeline.manifest import Segment
from pipeline.recording import Recording, amend_manifest, read_recording

log = logging.getLogger("recorder")


def finish(folder: Path, acts: tuple[Act, ...] = ()) -> None:
    """What is added to a recording just before it is sealed: the alignment, and the frames of each act of its script.

    A recording of the radar alone has no alignment. Whatever goes wrong in here is a note in the manifest.
    """
    recording = read_recording(folder)
    changes: dict[str, object] = {}
    if acts and recording.frame_count:
        changes["segments"] = _segments(recording, acts)
    if any((folder / name).exists() for name in ("camera.bin", "pulses.bin")):
        try:
            report = align(folder)
            if report.verdict != "aligned":
                changes["notes"] = (
                    *recording.manifest.notes,
                    f"Alignment: {report.verdict}. {' '.join(report.reasons)}",
                )
        except Exception as error:  # an alignment that fails must not cost the recording its seal
            log.exception("The alignment failed")
            changes["notes"] = (*recording.manifest.notes, f"The alignment failed ({error}); pictures are not matched.")
    if changes:
        amend_manifest(folder, **changes)


def _segments(recording: Recording, acts: tuple[Act, ...]) -> tuple[Segment, ...]:
    """The acts in frames, by when frames really began: a frame that never came moves no segment."""
    times_s = recording.frame_time_ns() / 1e9
    since_s = (times_s - times_s[0]) * rig_speed(recording)
    edges = [(act.action, *np.searchsorted(since_s, (act.start_s, act.stop_s)).tolist()) for act in acts]
    return tuple(
        Segment(action=action, start_frame=start, stop_frame=stop) for action, start, stop in edges if stop > start
    )
