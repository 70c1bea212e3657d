"""What cannot be imported gets one sentence, and leaves nothing behind."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from card_packets import SMALL, packets_of, small_cfg
from sample_streams import as_words, echoes

from capture.import_headers import has_packet_headers
from capture.importers import import_recording
from pipeline.errors import PipelineError

FRAME = SMALL.frame_bytes
STREAM = as_words(echoes((3, *SMALL.frame_shape)), "q-first").tobytes()
PROJECT = Path(__file__).resolve().parents[2]


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def refused(tmp_path):
    """Import something that must be refused; gives the sentence, after making sure that nothing was left behind."""

    def run(source, configs=None, **options):
        root = tmp_path / "data"
        with pytest.raises(PipelineError) as error:
            import_recording(root, source, [small_cfg(tmp_path)] if configs is None else configs, **options)
        assert "\n" not in str(error.value)
        left = list((root / "recordings").iterdir()) if (root / "recordings").exists() else []
        assert left == []
        return str(error.value)

    return run


def test_a_source_that_is_not_there(refused, tmp_path):
    assert "is not there; name a .bin of mmWave Studio" in refused(tmp_path / "none.bin")


@pytest.mark.parametrize("what", ["participant", "action", "room"])
@pytest.mark.parametrize("name", ["a/b", "p01\n", "", "x" * 81], ids=repr)
def test_who_what_and_where_are_names(refused, tmp_path, what, name):
    said = refused(put(tmp_path / "a.bin", STREAM), **{what: name})
    assert said.startswith(f"{name!r} is no name for {what}; names are 1 to 80 letters")


def test_an_empty_file(refused, tmp_path):
    assert "a.bin is empty" in refused(put(tmp_path / "a.bin", b""))


def test_less_than_a_frame(refused, tmp_path):
    said = refused(put(tmp_path / "a.bin", STREAM[:10_000]))
    assert "a.bin holds 10000 bytes of samples, 6384 short of one frame of 16384 bytes" in said
    assert "small.cfg: 8 loops x 2 TX x 4 RX x 64 samples" in said


def test_no_whole_number_of_frames(tmp_path):
    source = put(tmp_path / "a.bin", STREAM[: 2 * FRAME + 123])
    recording = import_recording(tmp_path / "data", source, [small_cfg(tmp_path)])
    assert (recording.frame_count, recording.trailing_bytes) == (2, 123)
    assert any("a.bin ends 123 bytes over 2 whole frames of 16384 bytes" in note for note in recording.manifest.notes)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"MATLAB 5.0 MAT-file, Platform" + bytes(200), "a MATLAB file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "an HDF5 file"),
        (b"\x93NUMPY\x01\x00" + bytes(200), "a NumPy array"),
        (b"PK\x03\x04" + bytes(200), "a ZIP archive"),
        (b"time,frame,x,y\n1,2,3,4\n5,6,7,8\n9,10,11\n", "a text file"),
    ],
)
def test_files_of_other_kinds(refused, tmp_path, data, what):
    said = refused(put(tmp_path / "a.bin", data))
    assert f"a.bin is {what}" in said
    assert "name a .bin of mmWave Studio or TI's DCA1000 recorder" in said


def test_a_folder_of_nothing(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty holds nothing to import; name" in refused(tmp_path / "empty")


def test_a_recording_of_our_own(refused, tmp_path):
    source = put(tmp_path / "a.bin", STREAM)
    recording = import_recording(tmp_path / "elsewhere", source, [small_cfg(tmp_path)], recording_id="one")
    assert "one is a recording already; copy the folder" in refused(recording.folder)


def test_a_folder_of_several(refused, tmp_path):
    for name in ("walk.bin", "jump.bin"):
        put(tmp_path / "takes" / name, STREAM)
    assert "takes holds 2 recordings (jump.bin, walk.bin); name one of them." in refused(tmp_path / "takes")


@pytest.mark.parametrize("name", ["../escape", "", "a b", ".hidden", "x" * 200])
def test_ids_that_are_none(tmp_path, name):
    source = put(tmp_path / "a.bin", STREAM)
    if name == "":
        assert import_recording(tmp_path / "data", source, [small_cfg(tmp_path)], recording_id=name).id
        return
    with pytest.raises(PipelineError, match="is not a recording id"):
        import_recording(tmp_path / "data", source, [small_cfg(tmp_path)], recording_id=name)


def test_an_id_that_is_taken(tmp_path):
    source = put(tmp_path / "a.bin", STREAM)
    first = import_recording(tmp_path / "data", source, [small_cfg(tmp_path)], recording_id="one")
    digest = first.raw_digest
    with pytest.raises(PipelineError, match=r"There is already a recording 'one' .* never overwritten"):
        import_recording(tmp_path / "data", source, [small_cfg(tmp_path)], recording_id="one")
    assert first.raw_digest == digest
    assert [path.name for path in (tmp_path / "data" / "recordings").iterdir()] == ["one"]


# --- configurations --------------------------------------------------------------------------------------------------


def test_no_configuration(refused, tmp_path):
    source = put(tmp_path / "alone" / "a.bin", STREAM)
    assert "a.bin comes without a radar configuration; name the .cfg or *.mmwave.json" in refused(source, [])


def test_several_configurations_beside_the_source(refused, tmp_path):
    source = put(tmp_path / "take" / "a.bin", STREAM)
    for name in ("one.cfg", "two.cfg"):
        put(tmp_path / "take" / name, small_cfg(tmp_path).read_bytes())
    assert "more than one radar configuration (one.cfg, two.cfg); name the right one with --config." in refused(
        source, []
    )


def test_a_configuration_beside_the_source_is_used(tmp_path):
    source = put(tmp_path / "take" / "a.bin", STREAM)
    put(tmp_path / "take" / "one.cfg", small_cfg(tmp_path).read_bytes())
    put(tmp_path / "take" / "other.json", b'{"unrelated": 1}')
    recording = import_recording(tmp_path / "data", source)
    assert recording.frame_count == 3
    assert "The configuration was found beside the source: one.cfg." in recording.manifest.notes


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.json", b'{"project": "x", "frames": 3}', "a.json is JSON of another tool (it has project, frames)"),
        ("a.json", b"[1, 2]", "a.json is JSON, but no object"),
        ("a.json", b'{"mmWaveDevices": ', "a.json is not JSON (line 1)"),
        ("a.mmwave.json", b'{"mmWaveDevices": [{}]}', "a.mmwave.json has no rfConfig"),
        ("a.setup.json", b'{"captureHardware": "DCA1000"}', "None of a.setup.json configures the radar"),
        ("a.cfg", b"sensorStop\nprofileCfg 0 77\n", "a.cfg line 2: profileCfg takes 14 values"),
        ("a.cfg", b"", "a.cfg holds no command"),
        ("a.cfg", bytes(range(256)), "a.cfg is not a text file"),
    ],
)
def test_configurations_that_say_nothing(refused, tmp_path, name, data, sentence):
    source = put(tmp_path / "a.bin", STREAM)
    assert sentence in refused(source, [put(tmp_path / "configs" / name, data)])


def test_a_configuration_that_is_not_there(refused, tmp_path):
    assert "none.cfg is not there" in refused(put(tmp_path / "a.bin", STREAM), [tmp_path / "none.cfg"])


def test_card_json_of_a_mode_that_is_not_supported(refused, tmp_path):
    card = put(tmp_path / "cf.json", json.dumps({"DCA1000Config": {"dataLoggingMode": "multi"}}).encode())
    said = refused(put(tmp_path / "a.bin", STREAM), [small_cfg(tmp_path), card])
    assert "dataLoggingMode is 'multi'" in said


# --- the data root ---------------------------------------------------------------------------------------------------


def test_a_data_root_that_is_a_file(tmp_path):
    put(tmp_path / "data", b"")
    with pytest.raises(PipelineError, match=r"The data root .* cannot be written"):
        import_recording(tmp_path / "data", put(tmp_path / "a.bin", STREAM), [small_cfg(tmp_path)])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(refused, tmp_path, monkeypatch):
    """The stream goes to /dev/full, which refuses every byte as a full disk does."""

    def open_on_full_disk(path, *arguments, **options):
        return original(Path("/dev/full") if path.name == "adc.bin" else path, *arguments, **options)

    original = Path.open
    monkeypatch.setattr(Path, "open", open_on_full_disk)
    assert "The disk of" in refused(put(tmp_path / "a.bin", STREAM))


def test_an_import_that_is_killed_leaves_nothing_that_looks_like_a_recording(tmp_path):
    """A real process is killed between copying the samples and sealing them."""
    program = (
        "import sys; from pathlib import Path; from capture.importers import import_recording; "
        "import capture.import_sources as s; original = s.copy_pieces\n"
        "def slow(pieces, target):\n"
        "    original(pieces, target); print('copied', flush=True); sys.stdin.read()\n"
        "s.copy_pieces = slow\n"
        "import_recording(Path(sys.argv[1]), Path(sys.argv[2]), [Path(sys.argv[3])], recording_id='one')"
    )
    source, cfg = put(tmp_path / "a.bin", STREAM), small_cfg(tmp_path)
    arguments = [sys.executable, "-c", program, str(tmp_path / "data"), str(source), str(cfg)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT) as process:
        assert process.stdout.readline() == b"copied\n"
        process.kill()
    left = [path.name for path in (tmp_path / "data" / "recordings").iterdir()]
    assert all(name.startswith(".building-one-") for name in left)
    recording = import_recording(tmp_path / "data", source, [cfg], recording_id="one")
    assert recording.frame_count == 3
    assert [path.name for path in (tmp_path / "data" / "recordings").iterdir()] == [
        "one"
    ]  # what was left is cleared away


# --- anything at all -------------------------------------------------------------------------------------------------


def test_random_bytes_never_do_worse_than_a_sentence(tmp_path):
    rng = np.random.default_rng(7)
    cfg = small_cfg(tmp_path)
    headed = b"".join(p[:4] + (len(p) - 10).to_bytes(4, "little") + p[4:] for _, p in packets_of(STREAM))
    magics = [b"", b"VMRF", b"\xd4\xc3\xb2\xa1", b"\x0a\x0d\x0d\x0a", b"\x1f\x8b", headed[:200], STREAM[:3000]]
    began = time.monotonic()
    for number in range(120):
        magic = magics[number % len(magics)]
        size = int(rng.choice([0, 3, 30, 500, FRAME + 11, 3 * FRAME]))
        source = put(tmp_path / f"{number}.bin", magic + rng.bytes(size))
        with contextlib.suppress(PipelineError):
            import_recording(tmp_path / "data", source, [cfg], recording_id=f"r{number}")
    for number in range(60):
        damaged = bytearray(headed if number % 2 else STREAM)
        for _ in range(int(rng.integers(1, 30))):
            damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        source = put(tmp_path / f"d{number}.bin", bytes(damaged[: int(rng.integers(len(damaged)))]))
        with contextlib.suppress(PipelineError):
            import_recording(tmp_path / "data", source, [cfg], recording_id=f"d{number}")
    assert time.monotonic() - began < 120
    assert not [name for name in os.listdir(tmp_path / "data" / "recordings") if name.startswith(".")]


def test_samples_are_not_mistaken_for_packet_headers(tmp_path):
    rng = np.random.default_rng(3)
    assert not any(has_packet_headers(put(tmp_path / "a.bin", rng.bytes(20_000))) for _ in range(200))
    assert not has_packet_headers(put(tmp_path / "a.bin", STREAM))
    small = rng.integers(-3, 4, 20_000).astype("<i2").tobytes()
    assert not has_packet_headers(put(tmp_path / "a.bin", small))
    assert not has_packet_headers(put(tmp_path / "a.bin", bytes(20_000)))
