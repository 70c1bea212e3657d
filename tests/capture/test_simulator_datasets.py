"""Data sets: who does what, made twice alike, resumed after a kill, with labels that are the truth."""

import itertools
import multiprocessing
import os
import re
import signal

import numpy as np
import pytest
from recorded_tables import write_table

from capture.simulator.body import INDEX
from capture.simulator.camera import Camera
from capture.simulator.datasets import BYSTANDERS, DATA_SETS, FIRST_BYSTANDER, SimulationRequest, takes
from capture.simulator.simulate import simulate
from capture.simulator.take import make_take, motions_of
from flows.cli import main
from pipeline.errors import PipelineError
from pipeline.labels import Labels, keypoint_table, labels_path, read_labels, write_labels
from pipeline.recording import open_recording, recordings_folder
from pipeline.sealing import verify
from pipeline.skeleton import JOINTS
from pipeline.waveform import PRESETS

SMALL = SimulationRequest(name="sim-move", frames=60, waveform="light")


SCRIPTED = [name for name, chosen in DATA_SETS.items() if not chosen.recorded]


@pytest.mark.parametrize("name", SCRIPTED)
@pytest.mark.parametrize("frames", [20, 2000, 43_217, None])
def test_the_frames_asked_for_are_shared_out_fairly(name, frames):
    chosen = DATA_SETS[name]
    found = takes(SimulationRequest(name=name, frames=frames))
    assert sum(take.frames for take in found) == (frames or chosen.paper_frames)
    assert {20 <= take.frames <= 200 for take in found} == {True}
    assert len({take.recording_id for take in found}) == len(found)
    counts = [
        sum(take.frames for take in found if take.participant == who) for who in {take.participant for take in found}
    ]
    assert max(counts) <= min(counts) + 200
    if frames != 20:
        assert len(counts) == chosen.people
        assert {take.action for take in found} == set(chosen.actions)


def test_people_are_shared_exactly_where_the_paper_shares_them(tmp_path):
    """And nobody who is recorded, or walks through, is anybody else, whatever the day."""
    people: dict[str, set[int]] = {name: set() for name in SCRIPTED}
    for name, seed in itertools.product(SCRIPTED, (0, 1, 7)):
        people[name] |= {take.person_seed for take in takes(SimulationRequest(name=name, frames=5000, seed=seed))}
    assert people["sim-move"] == people["sim-yoga"] == people["sim-bystander"]
    write_table(tmp_path / "anna.csv")
    write_table(tmp_path / "ben.csv")
    recorded = [
        {take.person_seed for take in takes(SimulationRequest(name="sim-mars", motion=tmp_path, seed=seed))}
        for seed in (0, 1, 7)
    ]
    bystanders = set(range(FIRST_BYSTANDER, FIRST_BYSTANDER + BYSTANDERS))
    groups = [people["sim-move"], people["sim-tryon"], bystanders, *recorded]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 9 + 8 + 50 + 3 * 2


def test_a_take_is_a_recording_with_its_truth_and_the_same_again(tmp_path):
    take = takes(SMALL)[0]
    recording = make_take(tmp_path / "one", SMALL, take)
    again = make_take(tmp_path / "two", SMALL, take)
    assert verify(recording).ok
    assert recording.manifest.digests == again.manifest.digests
    assert recording.manifest.simulated
    assert recording.frame_count == take.frames
    assert recording.missing_ranges().shape == (0, 2)
    assert np.allclose(np.diff(recording.frame_time_ns()), 100e6, atol=1e5)
    labels = read_labels(tmp_path / "one", take.recording_id)
    assert labels.labeller.startswith("simulator")
    assert len(labels.table) == take.frames * len(JOINTS)
    # The truth is where the motion has the joints, in the camera's own axes and image.
    waveform = recording.waveform
    middle_s = 3 * 0.1 + 0.5 * waveform.chirps_per_frame * waveform.chirp_period_s
    joints_m = motions_of(SMALL, take, waveform)[0].joints_at(np.array([middle_s]))[0, : len(JOINTS)]
    rows = labels.table[labels.table.frame == 3]
    x, y, z = Camera().to_camera(joints_m).T
    assert np.allclose(rows[["x_m", "y_m", "z_m"]], np.stack([x, y, z], axis=1), atol=1e-5)
    inner = Camera().intrinsics
    assert np.allclose(rows.u * inner.width - 0.5, inner.fx * x / z + inner.cx, atol=1e-3)
    assert np.allclose(rows.v * inner.height - 0.5, inner.fy * y / z + inner.cy, atol=1e-3)
    left, right = rows[rows.joint == 1].u.item(), rows[rows.joint == 4].u.item()
    assert left > right  # somebody who faces the camera has their left on the picture's right


def test_a_killed_simulation_goes_on_where_it_was(tmp_path):
    seen: list[tuple[int, int]] = []
    request = SimulationRequest(name="sim-move", frames=120, waveform="light")

    def kill_a_worker(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == 2:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    with pytest.raises(PipelineError, match=r"A process that simulated was killed.*start again, with fewer --jobs"):
        simulate(tmp_path, request, jobs=2, on_progress=kill_a_worker)
    assert seen[0] == (0, 6)
    whole = {path.name: path.stat().st_ino for path in recordings_folder(tmp_path).glob("sim-*")}
    assert 1 <= len(whole) < 6
    result = simulate(tmp_path, request, jobs=1, on_progress=lambda done, total: seen.append((done, total)))
    assert result.made == 6 - len(whole)
    assert seen[-1] == (6, 6)
    assert not list(recordings_folder(tmp_path).glob(".building*"))
    assert {
        path.name: path.stat().st_ino for path in recordings_folder(tmp_path).glob("sim-*")
    }.items() >= whole.items()
    assert all(verify(open_recording(tmp_path, name)).ok for name in result.recordings)
    card = result.card.read_text()
    assert "# sim-move (simulated)" in card
    assert "| m01 | 2000 |" in card
    assert simulate(tmp_path, request).made == 0
    with pytest.raises(PipelineError, match="is there already with 20 frames"):
        simulate(tmp_path, request.model_copy(update={"waveform": "paper"}))


def test_placement_anywhere_leaves_the_spot():
    request = SMALL.model_copy(update={"frames": 500, "placement": "anywhere"})
    where = np.array(
        [motions_of(request, take, PRESETS["light"])[0].joints_at(np.zeros(1))[0, 0, :2] for take in takes(request)]
    )
    distance_m = np.hypot(*where.T)
    assert distance_m.min() > 1.0
    assert distance_m.max() > 4.0
    assert np.ptp(np.degrees(np.arctan2(where[:, 0], where[:, 1]))) > 30


def test_a_bystander_comes_between_now_and_then():
    request = SMALL.model_copy(update={"name": "sim-bystander", "frames": 400})
    between = []
    for take in takes(request)[:4]:
        participant, stranger = motions_of(request, take, PRESETS["light"])
        assert stranger.person.seed >= 9000
        times_s = np.arange(0, take.frames * 0.1, 0.1)
        one, other = (motion.joints_at(times_s)[:, INDEX["pelvis"], :2] for motion in (participant, stranger))
        assert np.hypot(*(one - other).T).min() > 0.4  # they do not walk through each other
        between.append(np.hypot(*other.T).min() < np.hypot(*one.T).min())
    assert any(between)


def test_bad_requests(tmp_path):
    for changes, says in [
        ({"name": "sim-dance"}, "no data set 'sim-dance'; the data sets are sim-tryon"),
        ({"people": 10}, "sim-move has 9 people, not 10"),
        ({"waveform": "x.cfg"}, "no waveform preset 'x.cfg'"),
        ({"frames": 10**6, "waveform": "paper"}, "GB are free"),
    ]:
        with pytest.raises(PipelineError, match=says):
            simulate(tmp_path, SMALL.model_copy(update=changes))
    assert not recordings_folder(tmp_path).exists()


def test_labels_that_are_none(tmp_path):
    with pytest.raises(PipelineError, match="r1 has no labels"):
        read_labels(tmp_path, "r1")
    table = keypoint_table(np.zeros((2, 13, 2)), np.ones((2, 13)), None, "none")
    write_labels(tmp_path, "r1", Labels(table, "vitpose"), own=True)
    assert read_labels(tmp_path, "r1", "vitpose").table.x_m.isna().all()
    assert not labels_path(tmp_path, "r1").exists()
    labels_path(tmp_path, "r1").write_bytes(b"PAR1 not quite")
    with pytest.raises(PipelineError, match="is not a keypoint table"):
        read_labels(tmp_path, "r1")
    with pytest.raises(PipelineError, match="13 joints, not 12"):
        keypoint_table(np.zeros((2, 12, 2)), np.ones((2, 12)), None, "none")


def test_a_take_through_the_wires_has_the_same_samples_and_labels(tmp_path):
    request = SMALL.model_copy(update={"wires": True})
    take = takes(request)[1]
    plain = make_take(tmp_path / "plain", SMALL, take)
    wired = make_take(tmp_path / "wired", request, take)
    assert wired.manifest.digests["adc.bin"] == plain.manifest.digests["adc.bin"]
    assert wired.manifest.waveform == plain.manifest.waveform
    assert verify(wired).ok
    assert wired.missing_ranges().shape == (0, 2)
    assert wired.manifest.counters["packets"] == len(plain.packets)
    # The card's own pace: twenty frames take two seconds, less what a slow machine owed at the start.
    seconds = np.ptp(wired.frame_time_ns()) * 1e-9
    assert 1.0 < seconds < 30.0
    assert wired.manifest.clocks["host"]["wall_minus_monotonic_ns"] > 0
    ours, theirs = (read_labels(tmp_path / where, take.recording_id).table for where in ("wired", "plain"))
    assert ours.equals(theirs)
    assert make_take(tmp_path / "wired", request, take).manifest == wired.manifest  # there already


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["sim-dance"], 1, "There is no data set 'sim-dance'; the data sets are sim-tryon, "),
        (["sim-move", "--frames", "-3"], 2, "--frames"),
        (["sim-move", "--frames", "many"], 2, "--frames"),
        (["sim-move", "--people", "10"], 1, "sim-move has 9 people, not 10."),
        (["sim-move", "--placement", "moon"], 2, "--placement"),
        (["sim-move", "--waveform", "none"], 1, "There is no waveform preset 'none'; the presets are "),
        (["sim-mars"], 1, "name its folder or file with --motion"),
        (["sim-mars", "--motion", "nowhere"], 1, "There is no motion at "),
        (["sim-move", "--frames", "999999"], 1, "ask for fewer --frames"),
        (["sim-move", "--frames", "20", "--root", "{file}"], 1, "cannot be written"),
    ],
)
def test_the_command_line_says_what_is_wrong(tmp_path, capsys, words, code, says):
    (tmp_path / "file").write_text("no folder")
    words = [word.replace("{file}", str(tmp_path / "file" / "root")) for word in words]
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *words, *([] if "--root" in words else ["--root", str(tmp_path)])])
    assert ended.value.code == code
    assert says in re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err)
