"""A night's work without a server: what is made, what is told of it, and what a night cut short leaves for the next."""

import fcntl
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from waiting import killed_once_there

import processing.cubes
from capture.session import CaptureRequest, SessionOrder, session_folder
from flows.local_server import PROJECT
from flows.night_summary import reason_of, summary
from flows.night_uploads import send_what_lacks
from flows.nights import Night, NightRow, in_turn, make_again, night, work
from flows.products import config_for, needs_work
from pipeline.archive import upload
from pipeline.camera_frames import CameraDescription
from pipeline.cube import cube_path, open_cube
from pipeline.cube_config import preset
from pipeline.errors import PipelineError
from pipeline.manifest import RecordingManifest
from pipeline.object_store import open_object_store
from pipeline.packets import PACKET_RECORD
from pipeline.predictions import PredictionMaking, Predictions, prediction_table, write_predictions
from pipeline.recording import create_recording, read_recording, recordings_folder
from pipeline.sealing import seal
from pipeline.settings import RigSettings
from pipeline.waveform import PRESETS
from processing.cubes import process_recording

SMALL = PRESETS["light"].model_copy(update={"samples": 32, "loops": 8})


def make_recording(root: Path, recording_id: str, frames: int = 2, cube: str | None = "default") -> None:
    """A small sealed recording of noise, and its cube of the preset `cube`."""
    folder = create_recording(root, RecordingManifest(id=recording_id, simulated=True, waveform=SMALL))
    words = np.random.default_rng(len(recording_id)).integers(-200, 200, frames * SMALL.frame_bytes // 2, np.int16)
    (folder / "adc.bin").write_bytes(words.tobytes())
    recording = seal(folder)
    if cube is not None:
        process_recording(recording, root, preset(cube))


def one_night(root: Path, preset_name: str | None = None) -> tuple[Night, list[NightRow]]:
    """A whole night, its summary told; the night, and the rows it told."""
    with night(root) as going_on:
        assert going_on is not None
        work(root, preset_name, going_on, in_turn(lambda name, why: make_again(root, name, preset_name, why)))
        rows = going_on.told_rows()
        going_on.told()
    return going_on, rows


def test_a_new_version_is_told_with_what_it_changed_and_what_still_refers_to_the_old_cube(tmp_path, monkeypatch):
    for name in ("a", "b"):
        make_recording(tmp_path, name)
    poses = prediction_table(np.arange(2), np.full((2, 13, 2), 0.5))
    for model, key in (("old", open_cube(tmp_path, "a").key), ("later", "0" * 64)):
        making = PredictionMaking(
            key="k", algorithm_version="1", model_sha256="m", card={}, cube_key=key, lag_frames=0, simulated=True
        )
        write_predictions(tmp_path, "a", Predictions(poses, model, making))
    monkeypatch.setattr(processing.cubes, "ALGORITHM_VERSION", "a-later-one")
    make_recording(tmp_path, "c")  # current already
    _, rows = one_night(tmp_path)
    assert [row.recording for row in rows] == ["a", "b"]
    row = rows[0]
    assert (row.why, row.frames_made, row.simulated, row.failed) == ("stale", 2, True, "")
    assert reason_of(row) == "stale (algorithm version 1 -> a-later-one)"
    assert [(part.product, part.frames_compared, part.share_changed) for part in row.change.products] == [
        ("rad", 2, 0.0),
        ("rd", 2, 0.0),
        ("ra", 2, 0.0),
    ]
    assert row.other_predictions == ("later", "old")
    text = "\n\n".join(summary(rows, 0))
    assert "- stale (algorithm version 1 -> a-later-one): a, b" in text
    assert "| a | rad | 2 | 2x32x64x8 |" in text
    assert "maepose predict a" in text
    (kept,) = (tmp_path / "nights").glob("*.jsonl")
    assert [NightRow.model_validate_json(line) for line in kept.read_text().splitlines()] == rows
    assert one_night(tmp_path)[1] == []
    assert "Every cube is current" in summary([], 0)[0]


def test_a_damaged_cube_is_made_the_way_it_was_and_the_damage_is_told(tmp_path):
    for name in ("a", "b"):
        make_recording(tmp_path, name, cube="paper")
    (cube_path(tmp_path, "a") / "rd/c/0/0/0").unlink()
    for path in cube_path(tmp_path, "b").rglob("*.json"):
        path.write_text("{")
    assert config_for(tmp_path, "a", None) == preset("paper")
    assert needs_work(tmp_path, "a", None) == "damaged"
    _, rows = one_night(tmp_path)
    assert open_cube(tmp_path, "a").config == preset("paper")
    assert open_cube(tmp_path, "b").config == preset("default")
    assert rows[0].change.not_compared.startswith("The cube of a is damaged: rd/c/0/0/0 is gone")
    assert rows[1].why.startswith("damaged, and what it was made with is lost")
    text = "\n\n".join(summary(rows, 0))
    assert "- a: The cube of a is damaged" in text
    assert "the old cube does not say what it was made with" in text


def test_a_configuration_of_another_version_is_kept_and_said_every_night(tmp_path):
    make_recording(tmp_path, "a")
    store = cube_path(tmp_path, "a")
    metadata = json.loads((store / "zarr.json").read_text())
    metadata["attributes"]["provenance"]["config"]["sharpness"] = 3
    (store / "zarr.json").write_text(json.dumps(metadata))
    _, (row,) = one_night(tmp_path)
    assert "a configuration this version does not know (sharpness" in row.failed
    assert json.loads((store / "zarr.json").read_text()) == metadata
    _, (row,) = one_night(tmp_path, "default")
    assert (row.failed, row.frames_made) == ("", 2)
    assert row.change.before is None


def test_what_fails_is_told_with_what_is_there_then(tmp_path):
    make_recording(tmp_path, "a", cube=None)
    make_recording(tmp_path, "b", cube=None)
    (tmp_path / "pictures").write_text("")  # the cube can be made, its pictures cannot
    (tmp_path / "recordings" / "b" / "adc.bin").chmod(0o644)
    with (tmp_path / "recordings" / "b" / "adc.bin").open("ab") as file:
        file.write(b"\0\0")
    with night(tmp_path) as going_on:
        assert going_on is not None
        heard = []
        work(
            tmp_path, None, going_on,
            in_turn(lambda name, why: make_again(tmp_path, name, None, why)),
            on_error=lambda name, error: heard.append(name),
        )  # fmt: skip
        rows = going_on.told_rows()
    assert heard == ["a", "b"]
    assert [(row.recording, row.made) for row in rows] == [("a", True), ("b", False)]
    text = "\n\n".join(summary(rows, 0))
    assert "- a, its new cube is in place: Pictures cannot be written" in text
    assert "- b, what was there before is still there: adc.bin of b" in text
    # the summary was never shown: the next night tells what was made, and what failed and was tried again once
    (tmp_path / "pictures").unlink()
    with night(tmp_path) as again:
        assert again is not None
        work(tmp_path, None, again, in_turn(lambda name, why: make_again(tmp_path, name, None, why)))
        assert [(row.recording, bool(row.failed)) for row in again.told_rows()] == [("a", True), ("b", True)]
        assert list(again.rows) == ["b"]


def test_a_recording_whose_recorder_died_is_sealed_and_made(tmp_path):
    for name, begun_here in (("died", True), ("alive", True), ("elsewhere", False)):
        folder = create_recording(tmp_path, RecordingManifest(id=name, simulated=True, waveform=SMALL))
        (folder / "adc.bin").write_bytes(bytes(2 * SMALL.frame_bytes + 100))
        packets = np.zeros(2, PACKET_RECORD)
        packets["byte_offset"], packets["length"] = (0, SMALL.frame_bytes), SMALL.frame_bytes
        (folder / "packets.bin").write_bytes(packets.tobytes())
        if begun_here:
            order = SessionOrder(recording_id=name, request=CaptureRequest(), rig=RigSettings())
            session_folder(tmp_path, name).mkdir(parents=True)
            (session_folder(tmp_path, name) / "request.json").write_text(order.model_dump_json())
    with (session_folder(tmp_path, "alive") / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        going_on, rows = one_night(tmp_path)
    assert [(row.recording, row.why) for row in rows] == [
        ("died", "missing, and sealed only now: its recorder had died")
    ]
    assert list(going_on.rows) == ["died"]
    assert read_recording(recordings_folder(tmp_path) / "died").manifest.status == "recovered"
    assert open_cube(tmp_path, "died").frames == 2
    for name in ("alive", "elsewhere"):
        assert not read_recording(recordings_folder(tmp_path) / name).sealed


def test_a_copied_folder_is_noted_and_its_recording_made_once(tmp_path):
    make_recording(tmp_path, "a", cube=None)
    shutil.copytree(recordings_folder(tmp_path) / "a", recordings_folder(tmp_path) / "b")
    _, rows = one_night(tmp_path)
    assert [(row.recording, row.made) for row in rows] == [("a", True), ("b", False)]
    assert "holds the recording a:" in rows[1].failed


def test_a_full_disk_ends_the_night_with_a_sentence_and_the_next_one_goes_on(tmp_path):
    """A limit on the size of files does what a full disk does; the night's own notes do not fit any more."""
    for name in ("a", "b"):
        make_recording(tmp_path, name, cube=None)
    program = f"""
import resource
from pathlib import Path
from flows.nights import in_turn, make_again, night, work
root = Path({str(tmp_path)!r})
with night(root) as going_on:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    try:
        work(root, None, going_on, in_turn(lambda name, why: make_again(root, name, None, why)))
    except Exception as error:
        print(type(error).__name__, error)
"""
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("PipelineError")
    assert "so this night ends here; make room" in said
    assert len(said.splitlines()) == 1
    _, rows = one_night(tmp_path)
    assert [(row.recording, row.made) for row in rows] == [("a", True), ("b", True)]


def test_only_what_the_store_lacks_and_may_have_is_sent(tmp_path):
    """Another machine's half upload, open recordings and pictures that are to go are none of a night's business."""
    root, share = tmp_path / "data", tmp_path / "share"
    share.mkdir()
    (root / "recordings").mkdir(parents=True)
    (root / "store.toml").write_text(f'address = "file://{share}"')
    store = open_object_store(root)
    for name in ("there", "half", "new"):
        make_recording(root, name, cube=None)
    upload(root, "there", store)
    upload(root, "half", store)
    (share / "recordings" / "half" / "recording.json").unlink()
    (share / "recordings" / "elsewhere").mkdir()
    (share / "recordings" / "elsewhere" / "adc.bin").write_text("half")
    create_recording(root, RecordingManifest(id="open", simulated=True, waveform=SMALL))
    camera = CameraDescription(name="x", source="webcam", rate_hz=30, privacy="skeleton-only")
    waits = create_recording(root, RecordingManifest(id="waits", simulated=True, waveform=SMALL, camera=camera))
    (waits / "color.mkv").write_text("somebody")
    seal(waits)
    broken = create_recording(root, RecordingManifest(id="broken", simulated=True, waveform=SMALL))
    (broken / "recording.json").write_text("{")
    done = dict(send_what_lacks(root, store))
    assert sorted(done) == ["broken", "half", "new"]
    assert isinstance(done["broken"], PipelineError)
    assert (done["half"].sent, done["half"].there) == ((), ("adc.bin",))
    assert done["new"].sent == ("adc.bin",)
    assert list(dict(send_what_lacks(root, store))) == ["broken"]


def test_one_night_at_a_time(tmp_path):
    with night(tmp_path) as first, night(tmp_path) as second:
        assert first is not None
        assert second is None
    with night(tmp_path) as third:
        assert third is not None


def test_a_data_root_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "nights").write_text("")
    with pytest.raises(PipelineError, match="cannot be written"), night(tmp_path):
        pass


def test_a_night_killed_in_the_middle_goes_on_where_it_was(tmp_path):
    """A real process, killed while it compares the second recording's cubes: the first one's row and the shards are there."""
    for name in ("a", "b"):
        make_recording(tmp_path, name, frames=70)
    program = f"""
import time
from pathlib import Path
import processing.cubes
from flows.nights import in_turn, make_again, night, work
from processing.cube_changes import compare_stores
processing.cubes.ALGORITHM_VERSION = "a-later-one"
def compare(old, new):
    if old.name == "b.zarr":
        print("there", flush=True)
        time.sleep(600)
    return compare_stores(old, new)
processing.cubes.compare_stores = compare
root = Path({str(tmp_path)!r})
with night(root) as going_on:
    work(root, None, going_on, in_turn(lambda name, why: make_again(root, name, None, why)))
"""
    killed_once_there(program, PROJECT)
    old = open_cube(tmp_path, "b").key
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(processing.cubes, "ALGORITHM_VERSION", "a-later-one")
        began = time.time_ns()
        going_on, rows = one_night(tmp_path)
    assert open_cube(tmp_path, "b").key != old
    assert (cube_path(tmp_path, "a") / "commit.json").stat().st_mtime_ns < began
    assert list(going_on.rows) == ["b"]
    assert [(row.recording, row.frames_made) for row in rows] == [
        ("a", 70),
        ("b", 0),
    ]  # none had to be transformed again
    assert rows[1].made
    assert [part.share_changed for part in rows[1].change.products] == [0.0, 0.0, 0.0]
    assert "1 of these 2 recordings were done in a night that was cut short" in summary(rows, 1)[0]


def test_a_torn_line_of_a_night_that_died_is_left_out(tmp_path):
    (tmp_path / "nights").mkdir()
    row = NightRow(recording="a", why="missing", made=True, frames_made=3)
    (tmp_path / "nights" / "going-on.jsonl").write_text(row.model_dump_json() + '\n{"recording": "b", "wh')
    with night(tmp_path) as going_on:
        assert going_on is not None
        assert going_on.told_rows() == [row]
        going_on.add(NightRow(recording="c", why="missing", made=True, frames_made=1))
    with night(tmp_path) as going_on:
        assert going_on is not None
        assert [told.recording for told in going_on.told_rows()] == ["a", "c"]
