"""Retention: what goes and what stays, that raw is byte for byte the same afterwards, and that all of it can be made again."""

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from waiting import killed_once_there

import flows.pruning
from flows.cli import main
from flows.local_server import PROJECT
from flows.nights import Night, NightRow, in_turn, make_again, night, work
from flows.products import config_for, make_products
from flows.pruning import remove
from flows.retention import PrunePlan, plan
from pipeline.cube import cube_path, open_cube, stored_config
from pipeline.cube_config import preset
from pipeline.errors import PipelineError
from pipeline.labels import Labels, keypoint_table, labels_path, write_labels
from pipeline.manifest import RecordingManifest
from pipeline.predictions import PredictionMaking, Predictions, prediction_table, predictions_path, write_predictions
from pipeline.provenance import sha256_file
from pipeline.pruned import pruned_path, read_pruned
from pipeline.recording import create_recording, open_recording, recordings_folder
from pipeline.sealing import seal, verify
from pipeline.settings import RetentionSettings, read_retention
from pipeline.waveform import PRESETS
from processing.cubes import cube_lock, process_recording

SMALL = PRESETS["light"].model_copy(update={"samples": 32, "loops": 8})
ALL = RetentionSettings(keep_days=0, kinds=("cubes", "runs", "pictures", "predictions"))
DAY_S = 86_400


def make_recording(root: Path, recording_id: str, cube: str = "default", pictures: bool = False) -> None:
    """A small sealed recording of noise with labels and a cube, and pictures where they are asked for."""
    folder = create_recording(root, RecordingManifest(id=recording_id, simulated=True, waveform=SMALL))
    words = np.random.default_rng(len(recording_id)).integers(-200, 200, SMALL.frame_bytes, np.int16)
    (folder / "adc.bin").write_bytes(words.tobytes())
    recording = seal(folder)
    uv = np.full((2, 13, 2), 0.5)
    write_labels(root, recording_id, Labels(keypoint_table(uv, np.ones((2, 13)), None, "none"), "by hand"))
    process_recording(recording, root, preset(cube))
    if pictures:
        make_products(root, recording_id, preset(cube))


def age(path: Path, days: float) -> None:
    """Make files look as if nobody had made or read them for so long."""
    when = time.time() - days * DAY_S
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.utime(file, (when, when))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def went(planned: PrunePlan) -> list[tuple[str, str]]:
    return [(one.kind, one.name) for one in planned.going]


def why(planned: PrunePlan, name: str) -> str:
    return next(reason for _, kept, reason in planned.kept if kept == name)


def one_night(root: Path, pruned: bool = False) -> list[NightRow]:
    with night(root) as going_on:
        assert going_on is not None
        again: Night = going_on
        work(root, None, again, in_turn(lambda name, why: make_again(root, name, None, why)), pruned=pruned)
        rows = again.told_rows()
        again.told()
    return rows


def test_raw_and_labels_are_byte_for_byte_the_same_after_everything_went_and_all_of_it_comes_back(tmp_path):
    for name, cube in (("a", "default"), ("b", "paper")):
        make_recording(tmp_path, name, cube, pictures=True)
    weights = tmp_path / "experiments" / "m" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    for model, digest in (("m", sha256_file(weights)), ("gone", "0" * 64)):
        making = PredictionMaking(
            key="k", algorithm_version="1", model_sha256=digest, card={}, cube_key="c", lag_frames=0, simulated=True
        )
        write_predictions(
            tmp_path, "a", Predictions(prediction_table(np.arange(2), np.full((2, 13, 2), 0.5)), model, making)
        )
    kept = ("recordings", "labels", "quality", "experiments")
    before = {name: contents(tmp_path / name) for name in kept}
    made = {name: (open_cube(tmp_path, name).key, contents(cube_path(tmp_path, name) / "rad")) for name in "ab"}

    planned = plan(tmp_path, ALL)
    assert sorted(went(planned)) == [
        ("cubes", "a"), ("cubes", "b"), ("pictures", "a"), ("pictures", "b"), ("predictions", "a.m")
    ]  # fmt: skip
    assert "model that made it is not among the experiments" in why(planned, "a.gone")
    assert planned.bytes == sum(
        len(data) for name in "ab" for data in contents(cube_path(tmp_path, name)).values()
    ) + sum(
        path.stat().st_size for path in [*(tmp_path / "pictures").rglob("*.*"), predictions_path(tmp_path, "a", "m")]
    )
    gone, busy = remove(planned)
    assert (gone, busy) == (planned.going, ())
    assert {name: contents(tmp_path / name) for name in kept} == before
    assert all(verify(open_recording(tmp_path, name)).ok for name in "ab")
    assert not list(tmp_path.glob("cubes/*.zarr*"))
    assert not (tmp_path / "pictures" / "a").exists()
    assert predictions_path(tmp_path, "a", "gone").exists()

    assert one_night(tmp_path) == []  # a night does not undo it
    rows = one_night(tmp_path, pruned=True)
    assert [(row.recording, row.made) for row in rows] == [("a", True), ("b", True)]
    assert {name: (open_cube(tmp_path, name).key, contents(cube_path(tmp_path, name) / "rad")) for name in "ab"} == made
    assert not list(tmp_path.glob("cubes/*.pruned.json"))
    assert (tmp_path / "pictures" / "a" / "overview.png").exists()
    shutil.rmtree(cube_path(tmp_path, "a"))  # removed by hand: that a night mends
    assert [row.recording for row in one_night(tmp_path)] == ["a"]


def test_the_longest_unused_goes_first_and_no_more_than_needed(tmp_path):
    for name, days in (("a", 5), ("b", 40), ("c", 20)):
        make_recording(tmp_path, name)
        age(cube_path(tmp_path, name), days)
    assert went(plan(tmp_path, RetentionSettings(keep_days=0))) == [("cubes", "b"), ("cubes", "c"), ("cubes", "a")]
    planned = plan(tmp_path, RetentionSettings(keep_days=10))
    assert went(planned) == [("cubes", "b"), ("cubes", "c")]
    assert why(planned, "a") == "used within 10 days"
    free = planned.free_bytes
    # the disk is shared with others, so what is free is put in by hand
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("flows.retention.free_bytes", lambda _: free)
        planned = plan(tmp_path, RetentionSettings(free_gb=(free + 1) / 1e9))
        assert went(planned) == [("cubes", "b")]
        assert "GB are free without it" in why(planned, "c")
        assert went(plan(tmp_path, RetentionSettings(keep_days=10, free_gb=1e6))) == [("cubes", "b"), ("cubes", "c")]
        assert went(plan(tmp_path, RetentionSettings(free_gb=free / 1e9))) == []
    assert went(plan(tmp_path, RetentionSettings())) == []
    for shard in (cube_path(tmp_path, "b") / "rad").rglob("*"):  # somebody trains on it
        os.utime(shard)
    assert went(plan(tmp_path, RetentionSettings(keep_days=10))) == [("cubes", "c")]


def test_a_clock_that_jumped_lets_nothing_go_that_was_just_used(tmp_path):
    make_recording(tmp_path, "a")
    age(cube_path(tmp_path, "a"), -1)  # made before the clock was set back a day
    assert went(plan(tmp_path, RetentionSettings(keep_days=1))) == []


def test_what_cannot_be_made_again_or_is_in_use_stays(tmp_path):
    for name in ("lost", "changed", "trained", "busy", "linked", "read"):
        make_recording(tmp_path, name)
    (recordings_folder(tmp_path) / "lost").chmod(0o755)
    shutil.rmtree(recordings_folder(tmp_path) / "lost")
    raw = recordings_folder(tmp_path) / "changed" / "adc.bin"
    raw.chmod(0o644)
    raw.write_bytes(raw.read_bytes()[:-1])
    cube_path(tmp_path, "linked").rename(tmp_path / "elsewhere.zarr")
    cube_path(tmp_path, "linked").symlink_to(tmp_path / "elsewhere.zarr")
    run = tmp_path / "experiments" / "one" / "run.json"
    run.parent.mkdir(parents=True)
    run.write_text(json.dumps({"asked": {"recordings": ["trained"], "validation": []}, "finished": False}))
    for name in ("busy", "read"):
        age(cube_path(tmp_path, name), 3)
    policy = RetentionSettings(keep_days=0)
    planned = plan(tmp_path, policy)
    assert sorted(went(planned)) == [("cubes", "busy"), ("cubes", "read")]
    assert "recording is gone" in why(planned, "lost")
    assert why(planned, "changed") == "its recording is not the one that was sealed"
    assert why(planned, "trained") == "the training one is not finished"
    assert why(planned, "linked") == "a link"
    for shard in (cube_path(tmp_path, "read") / "rad").rglob("*"):
        os.utime(shard)
    with cube_lock(tmp_path, "busy"):
        gone, stay = remove(planned)
    assert gone == ()
    assert [name for _, name, _ in stay] == ["busy", "read"]
    assert "is making the cube of busy" in stay[0][2]
    assert "a moment ago" in stay[1][2]
    assert open_cube(tmp_path, "busy").frames == 2

    run.write_text(json.dumps({"asked": {"recordings": ["trained"], "validation": []}, "finished": True}))
    assert ("cubes", "trained") in went(plan(tmp_path, policy))
    run.write_text("{")
    planned = plan(tmp_path, policy)
    assert went(planned) == []
    assert "what one was trained on cannot be read" in why(planned, "busy")


def test_a_study_under_way_keeps_its_cubes_and_runs_and_a_finished_one_lets_them_go(tmp_path):
    sys.path.insert(0, str(PROJECT / "tests" / "models"))
    from made_study import made_study, small_config

    root = tmp_path
    folder = made_study(root / "experiments" / "made", small_config(), frames=6)
    run = folder / "runs" / "maepose-1234"
    run.mkdir(parents=True)
    (run / "model.safetensors").write_bytes(b"weights")
    policy = RetentionSettings(keep_days=0)
    assert went(plan(root, policy)) == [("runs", f"{folder.name}/maepose-1234")]
    some = next((folder / "predictions").iterdir())
    taken = some.read_bytes()
    some.unlink()
    planned = plan(root, policy)
    assert went(planned) == []
    assert why(planned, f"{folder.name}/maepose-1234") == f"the study {folder.name} is not finished"

    some.write_bytes(taken)
    planned = plan(root, policy)
    (folder / "locks").mkdir(exist_ok=True)
    with (folder / "locks" / "a-unit").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove(planned)[1][0][2] == "somebody is at it just now"
    assert run.exists()
    kept = {name: contents(folder / name) for name in ("predictions", "truth")}
    assert [one.name for one in remove(planned)[0]] == [f"{folder.name}/maepose-1234"]
    assert not list((folder / "runs").iterdir())
    assert {name: contents(folder / name) for name in ("predictions", "truth")} == kept


def test_killed_while_it_removes_it_leaves_no_half_cube(tmp_path):
    make_recording(tmp_path, "a", "paper")
    program = f"""
import shutil, time
from pathlib import Path
from flows.pruning import remove
from flows.retention import plan
from pipeline.settings import RetentionSettings
def some(path):
    next(file for file in path.rglob("0") if file.is_file()).unlink()
    print("there", flush=True)
    time.sleep(600)
shutil.rmtree = some
remove(plan(Path({str(tmp_path)!r}), RetentionSettings(keep_days=0)))
"""
    killed_once_there(program, PROJECT)
    assert not cube_path(tmp_path, "a").exists()
    assert stored_config(tmp_path, "a") == config_for(tmp_path, "a", None) == preset("paper")
    assert remove(plan(tmp_path, RetentionSettings(keep_days=0))) == ((), ())
    assert not list(tmp_path.glob("cubes/*.zarr*"))
    noted = read_pruned(tmp_path, "a")
    assert noted is not None
    again = process_recording(open_recording(tmp_path, "a"), tmp_path, config_for(tmp_path, "a", None))
    assert again.key == noted.key
    assert not pruned_path(tmp_path, "a").exists()


def test_nothing_is_removed_elsewhere_whatever_a_plan_says(tmp_path):
    make_recording(tmp_path, "a")
    planned = plan(tmp_path, ALL)
    for path in (recordings_folder(tmp_path) / "a", labels_path(tmp_path, "a"), tmp_path / "cubes"):
        with pytest.raises(AssertionError, match="nothing that retention removes"):
            flows.pruning._check(tmp_path, path)
    with pytest.raises(ValueError, match="is not in the subpath"):
        flows.pruning._check(tmp_path / "cubes", recordings_folder(tmp_path))
    assert all(
        path.relative_to(tmp_path).parts[0] in flows.pruning.REMOVABLE for one in planned.going for path in one.paths
    )


def test_the_verb_says_what_would_go_and_removes_it_when_told_to(tmp_path, capsys):
    def verb(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["prune", "--root", str(tmp_path), *words])
        return int(ended.value.code or 0), *capsys.readouterr()

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    make_recording(tmp_path, "a")
    code, _, err = verb()
    assert code == 1
    assert "write keep_days or free_gb into" in err
    assert len(err.splitlines()) == 1
    (tmp_path / "retention.toml").write_text("keep_days = 0\n")
    code, out, _ = verb()
    assert code == 0
    assert "cubes  a" in out
    assert "1 of 1 would go" in out
    assert "Nothing was removed" in out
    assert cube_path(tmp_path, "a").exists()
    code, out, _ = verb("--keep-days", "1", "--json")
    assert json.loads(out)["kept"] == [{"kind": "cubes", "name": "a", "why": "used within 1 days"}]
    code, out, _ = verb("--yes", "--json")
    said = json.loads(out)
    assert (code, said["removed"], [one["name"] for one in said["items"]]) == (0, True, ["a"])
    assert not cube_path(tmp_path, "a").exists()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("keep_days = -1", "keep_days"),
        ("keep_days", "is not TOML"),
        ('kinds = ["recordings"]', "kinds"),
        ("raw = 1", "raw"),
    ],
)
def test_a_policy_that_does_not_fit_is_one_sentence(tmp_path, text, says):
    (tmp_path / "retention.toml").write_text(text)
    with pytest.raises(PipelineError, match=says) as raised:
        read_retention(tmp_path)
    assert "\n" not in str(raised.value)
