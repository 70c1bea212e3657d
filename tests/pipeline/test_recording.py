"""A recording folder: loss arithmetic against brute force, sealing, verifying, recovering, listing."""

import fcntl
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import sealing
from pipeline.building import building_folder
from pipeline.camera_frames import CAMERA_RECORD
from pipeline.catalogue import build_catalogue, update_catalogue
from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from pipeline.manifest import RecordingManifest
from pipeline.packets import PACKET_RECORD, missing_ranges
from pipeline.recording import (
    Recording,
    create_recording,
    matching,
    new_recording_id,
    open_recording,
    read_recording,
    recording_ids,
    recordings_folder,
)
from pipeline.sealing import recover, seal, verify
from pipeline.waveform import PRESETS

SMALL = PRESETS["light"].model_copy(update={"loops": 3, "samples": 8, "tx_order": (1,), "rx_channels": (1, 2)})
assert SMALL.frame_bytes == 192


def _records(spans):
    packets = np.zeros(len(spans), PACKET_RECORD)
    packets["byte_offset"] = [start for start, _ in spans]
    packets["length"] = [length for _, length in spans]
    packets["sequence"] = np.arange(1, len(spans) + 1)
    packets["monotonic_ns"] = 1000 + np.arange(len(spans))
    return packets


def _write(root, spans, total, name="r1", waveform=SMALL):
    """An unsealed recording whose stored bytes are never 0 and whose holes are."""
    folder = create_recording(root, RecordingManifest(id=name, simulated=True, waveform=waveform))
    stream = np.zeros(total, np.uint8)
    for start, length in spans:
        stream[start : start + length] = 7
    (folder / "adc.bin").write_bytes(stream.tobytes())
    (folder / "packets.bin").write_bytes(_records(spans).tobytes())
    return folder, stream


@given(
    spans=st.lists(st.tuples(st.integers(0, 900), st.integers(1, 200)), max_size=20),
    total=st.integers(0, 1000),
)
def test_missing_ranges_equal_brute_force(spans, total):
    covered = np.zeros(2000, bool)
    for start, length in spans:
        covered[start : start + length] = True
    found = np.zeros(2000, bool)
    ranges = missing_ranges(_records(spans), total)
    for start, stop in ranges:
        assert start < stop <= total
        found[start:stop] = True
    assert np.array_equal(found[:total], ~covered[:total])
    assert np.all(ranges[1:, 0] > ranges[:-1, 1])  # ascending, and never two that touch


@given(spans=st.lists(st.tuples(st.integers(0, 900), st.integers(1, 200)), max_size=20))
def test_losses_per_frame_and_loop_equal_brute_force(tmp_path_factory, spans):
    root = tmp_path_factory.mktemp("root")
    folder, stream = _write(root, spans, 1000)
    recording = Recording(folder, RecordingManifest(id="r1", simulated=True, waveform=SMALL))
    lost = (stream[: 5 * 192] == 0).reshape(5, 192)
    assert recording.frame_count == 5
    assert recording.trailing_bytes == 40
    assert np.array_equal(recording.frame_missing_bytes(), lost.sum(axis=1))
    for frame in range(5):
        assert np.array_equal(recording.loop_valid(frame), ~lost[frame].reshape(3, 64).any(axis=1))
        assert np.array_equal(recording.frame_words(frame).view(np.uint8), stream[frame * 192 : (frame + 1) * 192])


def test_a_frame_is_dated_by_its_first_byte(tmp_path):
    folder, _ = _write(tmp_path, [(0, 100), (100, 100), (300, 100), (400, 176)], 576)
    recording = Recording(folder, RecordingManifest(id="r1", simulated=True, waveform=SMALL))
    # Frame 0 begins in packet 0, frame 1 (byte 192) in packet 1, frame 2 (byte 384) in packet 2.
    assert recording.frame_time_ns().tolist() == [1000, 1001, 1002]


def test_seal_makes_read_only_and_verify_finds_every_change(tmp_path):
    folder, _ = _write(tmp_path, [(0, 100), (150, 50)], 200)
    (folder / "radar.cfg").write_text("% cfg\n")
    sealed = seal(folder, counters={"packets": 2}, notes=("a note",))
    assert sealed.manifest.status == "success"
    assert sealed.manifest.counters == {"packets": 2}
    assert set(sealed.manifest.digests) == {"adc.bin", "packets.bin", "radar.cfg"}
    for path in (folder, *folder.iterdir()):
        assert path.stat().st_mode & 0o222 == 0, path
    report = verify(open_recording(tmp_path, "r1"))
    assert report.ok
    assert (report.frames, report.trailing_bytes, report.missing_bytes, report.frames_with_loss) == (1, 8, 50, 1)
    with pytest.raises(PipelineError, match="already sealed"):
        seal(folder)
    with pytest.raises(PipelineError, match="nothing to recover"):
        recover(folder)

    folder.chmod(0o755)
    for name, change, says in [
        ("adc.bin", lambda b: b[:10] + b"\x00" + b[11:], "adc.bin is not the file that was sealed"),
        ("adc.bin", lambda b: b[:120] + b"\x01" + b[121:], "holds data where packets.bin says"),
        ("packets.bin", lambda b: b[:-32], "packets.bin has 32 bytes, sealed with 64"),
        ("radar.cfg", lambda b: None, "radar.cfg is gone"),
        ("extra.bin", lambda b: b"x", "extra.bin was added"),
    ]:
        path = folder / name
        before = path.read_bytes() if path.exists() else b""
        after = change(before)
        path.unlink(missing_ok=True)
        if after is not None:
            path.write_bytes(after)
        problems = verify(open_recording(tmp_path, "r1")).problems
        assert any(says in problem for problem in problems), problems
        path.unlink(missing_ok=True)
        if before:
            path.write_bytes(before)


def test_the_raw_digest_follows_the_data_and_the_waveform(tmp_path):
    digests = set()
    for name, spans, waveform in [
        ("a", [(0, 192)], SMALL),
        ("b", [(0, 191)], SMALL),
        ("c", [(0, 192)], SMALL.model_copy(update={"slope_mhz_per_us": 60.0})),
    ]:
        folder, _ = _write(tmp_path, spans, 192, name, waveform)
        with pytest.raises(PipelineError, match="not sealed yet"):
            _ = open_recording(tmp_path, name).raw_digest
        digests.add(seal(folder).raw_digest)
    assert len(digests) == 3
    folder, _ = _write(tmp_path, [(0, 192)], 192, "same")
    assert seal(folder).raw_digest in digests


def test_recover_keeps_what_whole_records_vouch_for(tmp_path):
    folder, _ = _write(tmp_path, [(0, 192), (192, 192), (384, 192)], 576)
    with (folder / "adc.bin").open("ab") as file:
        file.write(b"\x01" * 30)  # written, but the records that vouch for it were not
    with (folder / "packets.bin").open("ab") as file:
        file.write(b"\x01" * 17)  # half a record
    recording = recover(folder)
    assert recording.manifest.status == "recovered"
    assert "3 whole frames" in recording.manifest.reason
    assert "30 unconfirmed bytes" in recording.manifest.reason
    assert recording.stream_bytes == 576
    assert len(recording.packets) == 3
    assert verify(recording).ok


def test_recover_drops_records_whose_bytes_never_reached_the_disk(tmp_path):
    folder, _ = _write(tmp_path, [(0, 192), (192, 192), (384, 192)], 400)
    recording = recover(folder)
    assert (len(recording.packets), recording.stream_bytes, recording.frame_count) == (2, 384, 2)
    assert verify(recording).ok


def test_recover_waits_for_the_process_that_still_writes_the_cameras_files(tmp_path, monkeypatch):
    folder, _ = _write(tmp_path, [(0, 192)], 192)
    (folder / "camera.bin").write_bytes(b"")
    with (folder / "camera.bin").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        monkeypatch.setattr(sealing, "CAMERA_ENDS_WITHIN_S", 0.2)
        with pytest.raises(PipelineError, match="still writes the camera's files of r1"):
            recover(folder)
        assert not read_recording(folder).sealed
        monkeypatch.setattr(sealing, "CAMERA_ENDS_WITHIN_S", 60.0)
        threading.Timer(0.3, lambda: (held.write(bytes(CAMERA_RECORD.itemsize)), held.close())).start()
        recording = recover(folder)
    assert recording.manifest.digests["camera.bin"].bytes == CAMERA_RECORD.itemsize
    assert verify(recording).ok


def test_recover_of_nothing_is_an_abort(tmp_path):
    folder = create_recording(tmp_path, RecordingManifest(id="r1", simulated=True, waveform=SMALL))
    assert recover(folder).manifest.status == "abort"


def test_ids(tmp_path):
    assert new_recording_id("P 01 ä/../Arm raise")[15:].startswith("-p-01-arm-raise-")
    assert new_recording_id() != new_recording_id()
    for bad in ("../x", "a/b", "", ".hidden", "x" * 101):
        with pytest.raises(PipelineError, match="not a recording id"):
            open_recording(tmp_path, bad)
    with pytest.raises(PipelineError, match="There is no recording 'r9'"):
        open_recording(tmp_path, "r9")
    create_recording(tmp_path, RecordingManifest(id="r1", simulated=True, waveform=SMALL))
    with pytest.raises(PipelineError, match="already a recording 'r1'"):
        create_recording(tmp_path, RecordingManifest(id="r1", simulated=True, waveform=SMALL))


def test_a_data_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match="cannot be written"):
        create_recording(tmp_path / "file", RecordingManifest(id="r1", simulated=True, waveform=SMALL))


def test_a_broken_manifest_is_named(tmp_path):
    folder, _ = _write(tmp_path, [], 0)
    (folder / "recording.json").write_text('{"id": "r1", "simulated": true}')
    with pytest.raises(PipelineError, match=r"recording.json is not a manifest this version reads: waveform"):
        open_recording(tmp_path, "r1")
    (folder / "recording.json").unlink()
    with pytest.raises(PipelineError, match=r"has no recording\.json"):
        open_recording(tmp_path, "r1")


def test_a_renamed_or_copied_folder_is_named_with_its_recording(tmp_path):
    folder, _ = _write(tmp_path, [(0, 192)], 192, "r1")
    seal(folder)
    update_catalogue(tmp_path)
    copied = folder.with_name("r2")
    shutil.copytree(folder, copied)  # with the manifest's time
    sentence = rf"{copied} holds the recording r1: .* rename it back to r1, or, where that is there too, move the copy"
    with pytest.raises(PipelineError, match=sentence):
        open_recording(tmp_path, "r2")
    table = update_catalogue(tmp_path).set_index("id")
    assert pd.isna(table.loc["r1", "problem"])
    assert "holds the recording r1" in table.loc["r2", "problem"]
    shutil.rmtree(copied)
    folder.rename(copied)
    assert update_catalogue(tmp_path)[["id", "frames"]].isna().to_numpy().tolist() == [[False, True]]
    copied.rename(folder)
    assert open_recording(tmp_path, "r1").frame_count == 1


def test_the_catalogue_lists_everything_and_can_be_rebuilt(tmp_path):
    assert build_catalogue(tmp_path).empty
    folder, _ = _write(tmp_path, [(0, 192), (300, 84)], 384, "good")
    seal(folder)
    _write(tmp_path, [(0, 192)], 192, "open")
    (tmp_path / "recordings" / "broken").mkdir()
    table = update_catalogue(tmp_path).set_index("id")
    assert set(table.index) == {"good", "open", "broken"}
    assert table.loc["good", ["status", "frames", "missing_bytes"]].tolist() == ["success", 2, 108]
    assert table.loc["open", "status"] == "recording"
    assert "no recording.json" in table.loc["broken", "problem"]
    stored = pd.read_parquet(tmp_path / "catalogue.parquet")
    pd.testing.assert_frame_equal(stored.set_index("id"), table, check_dtype=False)


def test_the_catalogue_reads_a_sealed_recording_once(tmp_path):
    folder, _ = _write(tmp_path, [(0, 192), (300, 84)], 384, "good")
    seal(folder)
    first = update_catalogue(tmp_path)
    packets = folder / "packets.bin"
    packets.chmod(0o644)
    packets.write_bytes(b"")  # whoever reads it again counts other losses
    pd.testing.assert_frame_equal(update_catalogue(tmp_path), first)
    assert build_catalogue(tmp_path)["missing_bytes"].tolist() == [384]
    (tmp_path / "catalogue.parquet").write_bytes(b"no table")
    assert update_catalogue(tmp_path)["missing_bytes"].tolist() == [384]
    first.drop(columns="manifest_ns").to_parquet(tmp_path / "catalogue.parquet")  # as an earlier version wrote it
    assert update_catalogue(tmp_path)["missing_bytes"].tolist() == [384]
    first.to_parquet(tmp_path / "catalogue.parquet", index=False)
    os.utime(folder / "recording.json")  # its pictures were removed, say
    assert update_catalogue(tmp_path)["missing_bytes"].tolist() == [384]


def test_the_catalogue_looks_at_an_open_recording_each_time(tmp_path):
    folder, _ = _write(tmp_path, [(0, 192)], 192, "open")
    assert update_catalogue(tmp_path)["bytes"].tolist() == [192]
    with (folder / "adc.bin").open("ab") as stream:
        stream.write(bytes(100))
    assert update_catalogue(tmp_path)["bytes"].tolist() == [292]


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "x.json"
    write_atomic(path, "old")
    with pytest.raises(TypeError):
        write_atomic(path, 3)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.json"]


def test_only_what_is_surely_left_behind_of_a_building_is_cleared_away(tmp_path):
    """Process ids say something about this machine's own builders alone; of others' folders their age does."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    dead, here, days = ended.pid, socket.gethostname(), 86_400

    def leave(name: str, age_days: float) -> None:
        folder = recordings_folder(tmp_path) / name
        folder.mkdir(parents=True)
        (folder / "adc.bin").touch()
        then = time.time() - age_days * days
        for path in (folder / "adc.bin", folder):
            os.utime(path, (then, then))

    kept = {f".building-r1-{here}-{os.getppid()}", f".building-r1-other-{dead}", f".building-r1-{dead}"}
    for name in kept:
        leave(name, 1)
    for name, age in ((f".building-r1-{here}-{dead}", 0), (".building-r1-third-1", 8), (".building-r1-1", 8)):
        leave(name, age)
    leave(".building-r1-fourth-1", 8)
    (recordings_folder(tmp_path) / ".building-r1-fourth-1" / "adc.bin").write_bytes(b"living")
    with building_folder(tmp_path, "r1") as building:
        names = {path.name for path in recordings_folder(tmp_path).iterdir()}
    assert names == {*kept, ".building-r1-fourth-1", building.name}


def test_a_temporary_file_of_another_machine_with_the_same_process_id_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 7)  # as in two containers that share the disk
    path, replace = tmp_path / "x.json", Path.replace

    def other_first(temporary: Path, target: Path) -> None:
        monkeypatch.setattr(Path, "replace", replace)
        write_atomic(path, "the other's, which is longer")
        replace(temporary, target)

    monkeypatch.setattr(Path, "replace", other_first)
    write_atomic(path, "ours")
    assert path.read_text() == "ours"
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_recording_that_is_just_being_made_is_not_listed(tmp_path):
    folder = create_recording(tmp_path, RecordingManifest(id="r1", simulated=True, waveform=SMALL))
    half = folder.with_name(".building-r2-1")
    half.mkdir()
    (half / "recording.json").write_text("{}")
    assert recording_ids(tmp_path) == ["r1"]
    assert matching(tmp_path, ["*"]) == ("r1",)
