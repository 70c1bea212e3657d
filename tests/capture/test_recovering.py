"""Recordings whose recorder died, with and without what it had been asked for."""

from pathlib import Path

import numpy as np
import pytest

from capture.recovering import recorder_died, recover_recording
from capture.script import parse_script
from capture.session import CaptureRequest, RecorderHandle, SessionOrder, session_folder
from pipeline.errors import PipelineError
from pipeline.manifest import RecordingManifest
from pipeline.packets import PACKET_RECORD
from pipeline.recording import create_recording, open_recording
from pipeline.settings import RigSettings
from pipeline.waveform import PRESETS

SMALL = PRESETS["light"].model_copy(update={"samples": 32, "loops": 8})
ORDER = SessionOrder(
    recording_id="died", request=CaptureRequest(script=parse_script("arm-raise 1")), rig=RigSettings(kind="simulated")
).model_dump_json(indent=2)


def leave(root: Path, order: str) -> RecorderHandle:
    """Six seconds of a recording whose recorder died, and its session with `order` as request.json."""
    folder = create_recording(root, RecordingManifest(id="died", simulated=True, waveform=SMALL))
    frames = np.arange(60)
    packets = np.zeros(len(frames), PACKET_RECORD)
    packets["byte_offset"], packets["length"] = frames * SMALL.frame_bytes, SMALL.frame_bytes
    packets["monotonic_ns"] = 10**9 + frames * 10**8
    (folder / "packets.bin").write_bytes(packets.tobytes())
    (folder / "adc.bin").write_bytes(bytes(len(frames) * SMALL.frame_bytes))
    session_folder(root, "died").mkdir(parents=True)
    (session_folder(root, "died") / "request.json").write_text(order)
    return RecorderHandle(root, "died")


def test_a_recording_is_recovered_with_the_segments_that_were_ordered(tmp_path):
    leave(tmp_path, ORDER)
    assert recorder_died(tmp_path, open_recording(tmp_path, "died"))
    manifest = recover_recording(tmp_path, "died").manifest
    assert manifest.status == "recovered"
    assert [segment.action for segment in manifest.segments] == ["arm-raise"]
    assert manifest.notes == ()


@pytest.mark.parametrize(
    "order",
    [
        pytest.param("", id="empty"),
        pytest.param(ORDER[:100], id="half"),
        pytest.param("\0" * 100, id="zeros"),
        pytest.param(ORDER.replace('"rig"', '"radar"'), id="another version's"),
    ],
)
def test_an_order_that_cannot_be_read_any_more_costs_segments_and_not_the_recording(tmp_path, order):
    handle = leave(tmp_path, order)
    with pytest.raises(PipelineError, match=r"request.json is not an order this version reads"):
        handle.order()
    recording = recover_recording(tmp_path, "died")
    assert (recording.manifest.status, recording.frame_count) == ("recovered", 60)
    assert recording.manifest.segments == ()
    (note,) = recording.manifest.notes
    assert note.startswith("What was ordered is not known, so segments of a script, if it had one, are left out: ")


def test_a_progress_file_that_a_power_cut_emptied_says_nothing(tmp_path):
    handle = leave(tmp_path, ORDER)
    (session_folder(tmp_path, "died") / "progress.json").write_text("")
    progress = handle.progress()
    assert progress.state == "failed"
    assert "maepose recover died" in progress.message
