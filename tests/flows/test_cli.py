"""The command line: what it prints, what it exits with, and one life of a recording without any server."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.cli import main
from flows.console import progress_bar
from pipeline.cfg_text import parse_cfg
from pipeline.cube import open_cube
from pipeline.cube_config import CubeConfig, preset
from pipeline.manifest import RecordingManifest
from pipeline.recording import create_recording, open_recording
from pipeline.sealing import seal
from pipeline.waveform import PRESETS
from processing.cubes import process_recording

RIG = """
kind = "simulated"
waveform = "light"
seconds = 1.2
reserve_bytes = 0
camera = {width = 320, height = 240}
"""
VERBS = [
    *(
        "capture",
        "config",
        "demo",
        "doctor",
        "down",
        "export",
        "import",
        "label",
        "list",
        "process",
        "recover",
        "simulate",
    ),
    *("prune", "stop", "train-labeller", "up", "verify", "view"),
    *("upload", "fetch", "pretrain", "finetune", "predict", "live", "export-model", "study", "evaluate", "report"),
]


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run one verb in this process: (exit code, standard output, standard error)."""
    monkeypatch.setenv("MAEPOSE_ROOT", str(tmp_path / "data"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def verb(*words: object) -> tuple[int, str, str]:
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capsys.readouterr()

    yield verb
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_progress_goes_into_a_log_as_a_line_now_and_then(capsys, monkeypatch):
    with progress_bar("study") as bar:
        bar(1, 9, "1 of 9 units")
        assert capsys.readouterr().err == ""
        monkeypatch.setattr("flows.console.LINE_EVERY_S", 0.0)
        bar(2, 9, "[bold]2[/bold] of 9 units")  # what a terminal shows in bold
        bar(3, 9)
    assert capsys.readouterr().err == "study: 2 of 9 units\nstudy: 3 of 9\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_takes_root_and_json(run, verb):
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert "--root" in out
    assert "--json" in out


def test_help_names_every_verb(run):
    code, out, _ = run("--help")
    assert code == 0
    assert [verb for verb in VERBS if verb not in out] == []


@pytest.mark.parametrize(
    "words",
    [
        ("no-such-verb",),
        ("verify",),
        ("import",),
        ("import", "x.bin", "--sample-order", "backwards"),
        ("process", "x", "--preset", "fancy"),
        ("capture", "--seconds", "-1"),
        ("capture", "--participant", "a/b"),
        ("list", "--no-such-option"),
        ("up", "--port", "99999"),
    ],
)
def test_wrong_usage_exits_with_2(run, words):
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    assert err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("verify", "nobody"), "There is no recording 'nobody'"),
        (("process", "nobody"), "There is no recording 'nobody'"),
        (("process", "sim-*"), "No recording under"),
        (("process", "one", "two"), "2 of 2 recordings could not be processed. one: There is no recording 'one'"),
        (("view", "nobody"), "There is no recording 'nobody'"),
        (("recover", "nobody"), "There is no recording 'nobody'"),
        (("export", "nobody", "--pcap", "x.pcap"), "There is no recording 'nobody'"),
        (("verify", "../etc"), "is not a recording id"),
        (("import", "nothing.bin"), "nothing.bin"),
        (("capture", "--profile", "nothing"), "nothing"),
        (("upload",), "has no object store; write `address = "),
        (("fetch", "nobody"), "has no object store"),
        (("list", "--store"), "has no object store"),
        (("stop",), "none is running"),
        (("stop", "nobody"), "no session 'nobody'"),
    ],
)
def test_a_failure_is_one_sentence_and_exit_code_1(run, words, sentence):
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert sentence in err
    assert err.splitlines()[-1].startswith("maepose: ")
    assert "Traceback" not in err


def test_a_cube_keeps_its_configuration_until_another_preset_is_asked_for(run, tmp_path):
    root, small = tmp_path / "data", PRESETS["light"].model_copy(update={"samples": 32, "loops": 8})
    for name in ("made", "ordered"):
        folder = create_recording(root, RecordingManifest(id=name, simulated=True, waveform=small))
        (folder / "adc.bin").write_bytes(bytes(small.frame_bytes))
        seal(folder)
    only_maps = CubeConfig(products=("rd", "ra"))
    process_recording(open_recording(root, "made"), root, only_maps)
    code, out, _ = run("process", "made", "--json")
    assert (code, json.loads(out)["rebuilt"]) == (0, False)
    code, out, _ = run("process", "*", "--force", "--json")
    assert (code, [row["rebuilt"] for row in json.loads(out)["recordings"]]) == (0, [True, True])
    assert [open_cube(root, name).config for name in ("made", "ordered")] == [only_maps, preset("default")]
    code, out, _ = run("process", "made", "--preset", "paper", "--json")
    assert (code, json.loads(out)["rebuilt"]) == (0, True)
    assert open_cube(root, "made").config == preset("paper")


@pytest.mark.parametrize("words", [("--debug", "verify", "nobody"), ("verify", "nobody", "--debug")])
def test_debug_shows_where(maepose, words):
    done = maepose(*words)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_broken_rig_file_is_named(run, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rig.toml").write_text("seconds = -1\n")
    code, _, err = run("config")
    assert code == 1
    assert "rig.toml" in err
    assert "seconds" in err


def test_config_prints_what_holds(run):
    code, out, _ = run("config", "--json")
    settings = json.loads(out)
    assert code == 0
    assert settings["rig"]["kind"] == "simulated"
    assert settings["waveform"]["name"] == "light"
    assert settings["derived"]["frame_bytes"] == 64 * 2 * 4 * 256 * 4


def test_root_wins_over_the_environment_and_looking_creates_nothing(run, tmp_path):
    code, out, _ = run("list", "--json", "--root", tmp_path / "other")
    assert (code, json.loads(out)) == (0, {"root": str(tmp_path / "other"), "recordings": []})
    assert not (tmp_path / "other").exists()


def test_down_without_a_server_is_done_already(run):
    assert run("down", "--json")[:2] == (0, '{"stopped": false}\n')


def test_one_life_of_a_recording_without_any_server(run, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    (root / "rig.toml").write_text(RIG)

    code, out, _ = run("doctor", "--json")
    checks = json.loads(out)
    assert (code, checks["ok"]) == (0, True)
    assert {"card", "radar", "trigger board", "camera", "disk", "duty cycle"} <= {
        check["name"] for check in checks["checks"]
    }

    code, out, _ = run("capture", "--participant", "p03", "--json")
    captured = json.loads(out)
    assert (code, captured["status"], captured["simulated"]) == (0, "success", True)
    assert captured["frames"] == captured["pulses"] == 10  # 12 less the two of the gap signature
    assert captured["color_frames"] > 0
    assert captured["missing_bytes"] == 0
    made = captured["recording"]

    code, out, _ = run("process", made, "--json")
    processed = json.loads(out)
    assert (code, processed["rebuilt"], processed["frames_made"]) == (0, True, captured["frames"])
    assert processed["simulated"] is True
    assert processed["frames_per_s"] > 0
    code, out, _ = run("process", made, "--json")
    assert (code, json.loads(out)["rebuilt"]) == (0, False)

    code, out, _ = run("process", "*", made, "--json")
    assert (code, json.loads(out)["rebuilt"]) == (0, False)  # named twice, made once

    code, out, _ = run("label", made, "--json")
    labelled = json.loads(out)
    assert (code, labelled["rebuilt"], labelled["simulated"]) == (0, True, True)
    assert labelled["labelled"] > 0
    assert [Path(path).name for path in labelled["picture_files"]] == ["instant.png", f"{made}.worst.png"]
    code, out, _ = run("label", made, "--json")
    assert (code, json.loads(out)["rebuilt"]) == (0, False)
    code, out, _ = run("export", made, "--coco", tmp_path / "labels.json", "--json")
    assert (code, json.loads(out)["images"]) == (0, labelled["labelled"])
    assert {"images", "annotations", "categories"} <= set(json.loads((tmp_path / "labels.json").read_text()))
    assert run("export", made)[0] == 2
    code, out, _ = run("label", made, "--labels", tmp_path / "labels.json", "--json")
    assert (code, json.loads(out)["labelled"]) == (0, labelled["labelled"])
    assert json.loads(out)["labeller"].startswith("import:labels.json@")

    code, out, _ = run("view", made, "--json")
    pictures = [Path(name) for name in json.loads(out)["pictures"]]
    assert code == 0
    assert [path.read_bytes()[:4] for path in pictures] == [
        b"\x89PNG"
    ] * 5  # overview, liveliest frame, quality, alignment, and the instant with its skeleton

    code, out, _ = run("verify", made, "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)

    capture_file = tmp_path / "copy.pcap"
    code, out, _ = run("export", made, "--pcap", capture_file, "--json")
    assert (code, json.loads(out)["packets"]) == (0, captured["packets"])
    config = root / "recordings" / made / "radar.cfg"
    code, out, _ = run("import", capture_file, "--config", config, "--id", "copy", "--json")
    imported = json.loads(out)
    assert (code, imported["recording"], imported["frames"]) == (0, "copy", captured["frames"])
    assert (root / "recordings/copy/adc.bin").read_bytes() == (root / "recordings" / made / "adc.bin").read_bytes()

    code, out, _ = run("list", "--json")
    listed = json.loads(out)["recordings"]
    assert [(row["id"], row["status"], row["problem"]) for row in listed] == [
        (made, "success", None),
        ("copy", "success", None),
    ]
    assert run("recover")[0] == 0

    adc = root / "recordings" / "copy" / "adc.bin"
    adc.chmod(0o644)
    adc.write_bytes(adc.read_bytes()[:-1] + b"\1")
    code, out, err = run("verify", "copy", "--json")
    assert (code, json.loads(out)["ok"]) == (1, False)
    assert "SHA-256" in err


def test_one_recording_that_cannot_be_recovered_keeps_no_other_waiting(run, tmp_path):
    root = tmp_path / "data"
    waveform = PRESETS["light"]
    for name in ("a-broken", "b-busy", "c-died"):
        create_recording(root, RecordingManifest(id=name, simulated=True, waveform=waveform))
    (root / "recordings" / "a-broken" / "recording.json").write_text("{")
    (root / "recordings" / "b-busy" / "camera.bin").mkdir()
    code, out, err = run("recover", "--json")
    answer = json.loads(out)
    assert code == 1
    assert [row["recording"] for row in answer["recovered"]] == ["c-died"]
    assert open_recording(root, "c-died").manifest.status == "abort"
    assert "2 recordings could not be recovered. a-broken: " in err
    assert " b-busy: " in err


def test_recordings_go_to_a_store_and_come_back(run, tmp_path):
    share = tmp_path / "share"
    share.mkdir()
    for name in ("data", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rig.toml").write_text(RIG)
        (tmp_path / name / "store.toml").write_text(f'address = "file://{share}"')
    for name in ("a", "b", "going-on"):
        manifest = RecordingManifest(id=name, simulated=True, waveform=PRESETS["light"])
        (create_recording(tmp_path / "data", manifest) / "adc.bin").write_bytes(name.encode())
    for name in ("a", "b"):
        seal(tmp_path / "data/recordings" / name)
    (share / "recordings/a").mkdir(parents=True)
    (share / "recordings/a/adc.bin").write_bytes(b"?")
    code, out, err = run("upload", "--json")
    answer = json.loads(out)
    assert [one["recording"] for one in answer["uploaded"]] == ["b"]  # what is wrong with one stops no other
    assert list(answer["left"]) == ["going-on"]
    assert (code, list(answer["failed"])) == (1, ["a"])
    assert "holds another recordings/a/adc.bin" in err
    code, out, _ = run("list", "--store", "--json")
    assert {one["id"]: one["where"] for one in json.loads(out)["recordings"]} == {
        "a": "half there",
        "b": "both",
        "going-on": "here",
    }
    code, out, _ = run("fetch", "b", "--root", tmp_path / "other")
    assert (code, Path(out.strip()).joinpath("adc.bin").read_bytes()) == (0, b"b")
    assert run("upload", "b")[0] == 0
    assert run("fetch", "a", "--root", tmp_path / "other")[0] == 1


def test_a_renamed_folder_is_listed_not_uploaded_and_keeps_nobody_from_recovery(run, tmp_path):
    root, share = tmp_path / "data", tmp_path / "share"
    share.mkdir()
    for name in ("a", "going-on"):
        manifest = RecordingManifest(id=name, simulated=True, waveform=PRESETS["light"])
        (create_recording(root, manifest) / "adc.bin").write_bytes(name.encode())
    (root / "store.toml").write_text(f'address = "file://{share}"')
    seal(root / "recordings/a")
    (root / "recordings/a").rename(root / "recordings/b")
    sentence = "recordings/b holds the recording a:"
    code, out, _ = run("list", "--json")
    problems = {row["id"]: row["problem"] for row in json.loads(out)["recordings"]}
    assert (code, set(problems), problems["going-on"]) == (0, {"b", "going-on"}, None)
    assert sentence in problems["b"]
    code, _, err = run("upload", "b")
    assert (code, list(share.iterdir())) == (1, [])
    assert sentence in err
    code, out, err = run("recover", "--json")
    assert (code, [one["recording"] for one in json.loads(out)["recovered"]]) == (1, ["going-on"])
    assert sentence in err


def wait_for_samples(root: Path) -> None:
    """Return once two frames are on disk."""
    deadline = time.monotonic() + 180
    while not any(path.stat().st_size > 1_000_000 for path in root.glob("recordings/*/adc.bin")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_interrupting_a_capture_seals_it(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    (root / "rig.toml").write_text(RIG)
    command = [
        str(Path(sys.executable).with_name("maepose")),
        "capture",
        "--seconds",
        "600",
        "--json",
        "--root",
        str(root),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_samples(root)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, err
    answer = json.loads(out)
    recording = open_recording(root, answer["recording"])
    assert recording.sealed
    assert "Stopped by request" in recording.manifest.reason
    assert answer["status"] == recording.manifest.status


def test_a_recorder_whose_terminal_died_goes_on_and_can_be_stopped(tmp_path, run, monkeypatch):
    root = tmp_path / "data"
    root.mkdir()
    (root / "rig.toml").write_text(RIG)
    command = [str(Path(sys.executable).with_name("maepose")), "capture", "--seconds", "600", "--root", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_samples(root)
    process.kill()
    process.wait()
    (made,) = [path.name for path in (root / "recordings").iterdir()]
    code, _, err = run("recover", made)
    assert code == 1
    assert "still being recorded" in err
    code, out, _ = run("stop", "--json")
    assert (code, json.loads(out)["recording"]) == (0, made)
    assert open_recording(root, made).sealed


def test_a_waveform_is_printed_as_the_cfg_a_radar_takes(run):
    code, out, _ = run("config", "--cfg", "paper")
    assert code == 0
    assert parse_cfg(out, "paper").waveform == PRESETS["paper"]
    code, _, err = run("config", "--cfg", "nothing")
    assert code == 1
    assert "no waveform 'nothing'" in err
