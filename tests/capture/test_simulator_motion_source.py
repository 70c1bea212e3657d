"""Recorded motion as a data set: who is who in a folder, takes in pieces, other bodies, and rooms that are too small."""

import gzip
import re

import numpy as np
import pytest
from recorded_tables import csv_text, kinect_table, recording, write_table

from capture.simulator.body import INDEX
from capture.simulator.datasets import SimulationRequest, data_set, takes
from capture.simulator.motion_source import another_body, pieces, read_subjects
from capture.simulator.recorded import RecordedMotion
from capture.simulator.simulate import simulate
from capture.simulator.take import motions_of
from pipeline.errors import PipelineError
from pipeline.recording import open_recording
from pipeline.sealing import verify
from pipeline.waveform import PRESETS

LIGHT = PRESETS["light"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Anna in a folder of two files, one of them with a jump in it; Ben in one file; notes that are no motion."""
    root = tmp_path_factory.mktemp("motion")
    write_table(root / "anna" / "a.csv", "arm-raise", 26.0, 3)
    first, second = recording("torso-twist", 6.0, 3), recording("sleeve-adjust", 5.0, 3) + np.array([0.3, 0.0, 0.0])
    jumping = csv_text(kinect_table(np.concatenate([first, second])))
    (root / "anna" / "b.csv.gz").write_bytes(gzip.compress(jumping.encode()))
    write_table(root / "ben of 2.csv", "sleeve-adjust", 8.0, 8)
    (root / "NOTE.md").write_text("who they are")
    (root / "empty").mkdir()
    return root


def test_a_folder_is_one_person_and_so_is_a_file(folder):
    anna, ben = read_subjects(folder)
    assert (anna.name, ben.name) == ("anna", "ben-of-2")
    assert [take.track.source for take in anna.takes] == [
        "a.csv rows 0 to 259",
        "b.csv.gz rows 0 to 59",
        "b.csv.gz rows 60 to 109",
    ]
    assert len({take.file_sha256 for take in anna.takes}) == 2
    (alone,) = read_subjects(folder / "ben of 2.csv")
    assert alone.name == "ben-of-2"


def test_acclaim_files_of_one_skeleton_are_one_person(shared_data):
    found = {subject.name: len(subject.takes) for subject in read_subjects(shared_data / "mocap")}
    assert found == {"02": 1, "13_29": 1, "141_16": 1}


def test_pieces_cover_the_takes_and_none_is_too_long_or_too_short(folder):
    anna, _ = read_subjects(folder)
    actor = another_body(anna, 5)
    found = pieces(anna, actor, 20.0, 2.0)
    assert [len(piece.track.positions_m) for piece in found] == [130, 131, 60, 50]
    whole = anna.takes[0].track.positions_m
    np.testing.assert_array_equal(found[1].track.positions_m, whole[129:])
    assert found[1].track.source == "a.csv rows 0 to 259, of these 129 to 259"
    assert all(2.0 <= piece.duration_s <= 20.0 for piece in found)
    assert found[0].duration_s == RecordedMotion(actor, found[0].track).duration_s
    assert len(pieces(anna, actor, 20.0, 5.7)) == 3


def test_another_body_moves_alike_and_is_of_another_size(folder):
    anna, _ = read_subjects(folder)
    own, large = another_body(anna, 5), another_body(anna, 6, 1.1)
    assert large.height_m == pytest.approx(1.1 * own.height_m, rel=1e-6)
    assert large.bones.forearm == pytest.approx(1.1 * own.bones.forearm, rel=1e-6)
    times_s = np.arange(0.0, 5.0, 0.1)
    arms = []
    for actor in (own, large):
        joints = RecordedMotion(actor, anna.takes[0].track).joints_at(times_s)
        arm = joints[:, INDEX["left_elbow"]] - joints[:, INDEX["left_shoulder"]]
        arms.append(arm / np.linalg.norm(arm, axis=1, keepdims=True))
        assert joints[:, :, 2].min() > -0.01  # on the floor, neither in it
        assert np.abs(joints[:, INDEX["left_toe"], 2]).min() < 0.05  # nor above it
    np.testing.assert_allclose(*arms, atol=1e-9)


def test_the_frames_asked_for_are_shared_out_over_people(folder):
    request = SimulationRequest(name="sim-mars", motion=folder)
    everything = takes(request)
    assert sum(take.frames for take in everything) == 135 + 136 + 65 + 55 + 85
    assert [take.participant for take in everything] == ["anna", "ben-of-2", "anna", "anna", "anna"]
    assert [take.recording_id for take in everything[:3]] == [
        "sim-mars-anna-000",
        "sim-mars-ben-of-2-000",
        "sim-mars-anna-001",
    ]
    for frames in (20, 45, 200, 333, 470):
        found = takes(request.model_copy(update={"frames": frames}))
        assert sum(take.frames for take in found) == frames
        assert all(take.frames >= 20 for take in found)
        assert len({take.participant for take in found}) == min(2, frames // 20)
    two = takes(request.model_copy(update={"frames": 200}))
    assert [take.frames for take in two] == [115, 85]
    with pytest.raises(
        PipelineError, match=r"holds 476 frames of motion, not 477; ask for fewer, or .* another --seed"
    ):
        takes(request.model_copy(update={"frames": 477}))
    other = takes(request.model_copy(update={"seed": 2}))
    assert {take.recording_id.rpartition("-")[0] for take in other} == {"sim-mars-s2-anna", "sim-mars-s2-ben-of-2"}
    sizes = [two.piece.actor.height_m / one.piece.actor.height_m for one, two in zip(everything, other, strict=True)]
    assert all(0.88 <= size <= 1.12 for size in sizes)
    assert len({round(size, 6) for size in sizes}) == 2  # one body a person
    with pytest.raises(PipelineError, match="has 2 people, not 3"):
        takes(request.model_copy(update={"people": 3}))


@pytest.mark.parametrize("placement", ["spot", "anywhere"])
def test_recorded_people_stay_in_the_room_and_off_the_radar(shared_data, placement):
    request = SimulationRequest(name="sim-mars", motion=shared_data / "mocap", placement=placement)
    room = data_set("sim-mars").place()
    for take in takes(request):  # a walk of metres among them
        motion = motions_of(request, take, LIGHT)[0]
        x, y, z = motion.joints_at(np.arange(0, take.frames * 0.1, 0.1))[:, INDEX["pelvis"]].T
        assert np.hypot(x, y).min() > 0.99
        assert x.min() > room.left_m
        assert x.max() < room.right_m
        assert y.max() < room.back_m
        assert (z + room.radar_height_m).min() > 0.2  # lying down happens, flying does not
        assert (z + room.radar_height_m).max() < 1.6


def test_turned_people_stay_turned(shared_data):
    """Exercises of MARS that are done half turned away from the sensor are so here too."""
    request = SimulationRequest(name="sim-mars", motion=shared_data / "mars" / "subject3")
    turns = []
    for take in takes(request):
        joints = motions_of(request, take, LIGHT)[0].joints_at(np.linspace(0, 10, 40))
        left = joints[:, INDEX["left_hip"]] - joints[:, INDEX["right_hip"]]
        turns.append((np.degrees(np.arctan2(*left.mean(axis=0)[[1, 0]])), np.degrees(take.piece.turn_rad)))
    seen, recorded = np.array(turns).T
    assert np.ptp(recorded) > 15
    assert np.corrcoef(seen, recorded)[0, 1] > 0.8


def test_a_data_set_of_recorded_motion_is_made_and_told_from_another(folder, tmp_path):
    request = SimulationRequest(name="sim-mars", frames=45, motion=folder, waveform="light")
    result = simulate(tmp_path, request, jobs=1)
    assert (result.made, result.frames, len(result.recordings)) == (2, 45, 2)
    first = open_recording(tmp_path, "sim-mars-anna-000")
    assert verify(first).ok
    assert first.manifest.participant == "anna"
    assert first.manifest.rig["motion"] == "a.csv rows 0 to 259, of these 0 to 129"
    card = result.card.read_text()
    assert "One participant a recorded person" in card
    assert re.search(r"\| anna \| 100000 \| \d\.\d\d \| \d+ \| as recorded \|", card)
    assert f"--motion {folder}" in card or f"--motion '{folder}'" in card
    assert simulate(tmp_path, request, jobs=1).made == 0
    other = tmp_path / "other"
    write_table(other / "anna" / "a.csv", "arm-raise", 26.0, 4)
    write_table(other / "ben of 2.csv", "sleeve-adjust", 8.0, 8)
    with pytest.raises(
        PipelineError, match="sim-mars-anna-000 is there already, simulated otherwise: its motion sha256"
    ):
        simulate(tmp_path, request.model_copy(update={"motion": other}))


def test_motion_that_cannot_be_shown_is_named(folder, tmp_path):
    request = SimulationRequest(name="sim-mars", motion=tmp_path / "nowhere")
    for changes, says in [
        ({}, r"There is no motion at .*nowhere"),
        ({"motion": None}, "name its folder or file with --motion"),
        ({"name": "sim-move", "motion": folder}, r"recorded motion \(--motion\) is for sim-mars"),
        ({"motion": folder / "empty"}, r"empty holds no motion: .* \.bvh, \.amc or \.csv"),
        ({"motion": folder / "NOTE.md"}, r"NOTE\.md is no motion file"),
    ]:
        with pytest.raises(PipelineError, match=says):
            takes(request.model_copy(update=changes))
    broken = tmp_path / "people" / "carl"
    write_table(broken / "good.csv")
    (broken / "spoilt.csv").write_text("1,2,3\n")
    with pytest.raises(PipelineError, match=r"spoilt\.csv, row 1: 3 columns where 75"):
        takes(request.model_copy(update={"motion": tmp_path / "people"}))
    write_table(tmp_path / "twins" / "di a.csv", seconds=3.0)
    write_table(tmp_path / "twins" / "di-a" / "x.csv", seconds=3.0)
    with pytest.raises(PipelineError, match="would both be called 'di-a'"):
        takes(request.model_copy(update={"motion": tmp_path / "twins"}))


def test_a_motion_larger_than_the_room_is_named(tmp_path):
    standing = recording("arm-raise", 12.0)
    far = standing + np.linspace(0, 9, len(standing))[:, None, None] * np.array([1.0, 0.0, 0.0])
    (tmp_path / "runner.csv").write_text(csv_text(kinect_table(far)))
    request = SimulationRequest(name="sim-mars", motion=tmp_path)
    with pytest.raises(
        PipelineError, match=r"runner\.csv rows 0 to 119: the person moves over [89]\.\d m, and the room"
    ):
        motions_of(request, takes(request)[0], LIGHT)
