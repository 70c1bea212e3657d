"""Recorded motion: three formats read whatever their units and axes, bad files named, and bodies that move as recorded."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded_tables import csv_text, kinect_table, recording

from capture.simulator.asf_amc import read_amc
from capture.simulator.body import BODY_JOINTS, BONES, INDEX, SIDES
from capture.simulator.kinect_csv import read_kinect_csv
from capture.simulator.motion import Motion
from capture.simulator.person import person
from capture.simulator.recorded import RecordedMotion, read_motion, recorded_person, smoothed
from capture.simulator.tracks import POINT, POINTS, Track, takes
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS

# --- a small skeleton, written as BVH or as ASF and AMC --------------------------------------------------------------

# Metres, y up, facing +z, left at +x, in a T-pose: name, parent, offset from the parent.
SKELETON: tuple[tuple[str, str | None, tuple[float, float, float]], ...] = (
    ("Hips", None, (0.0, 0.95, 0.0)),
    ("Spine", "Hips", (0.0, 0.2, 0.0)),
    ("Neck", "Spine", (0.0, 0.34, 0.0)),
    ("Head", "Neck", (0.0, 0.1, 0.0)),
    *(
        bone
        for side, sign in (("Left", 1.0), ("Right", -1.0))
        for bone in (
            (f"{side}Shoulder", "Spine", (sign * 0.03, 0.3, 0.0)),
            (f"{side}Arm", f"{side}Shoulder", (sign * 0.15, 0.0, 0.0)),
            (f"{side}ForeArm", f"{side}Arm", (sign * 0.3, 0.0, 0.0)),
            (f"{side}Hand", f"{side}ForeArm", (sign * 0.25, 0.0, 0.0)),
            (f"{side}UpLeg", "Hips", (sign * 0.09, 0.0, 0.0)),
            (f"{side}Leg", f"{side}UpLeg", (0.0, -0.43, 0.0)),
            (f"{side}Foot", f"{side}Leg", (0.0, -0.43, 0.0)),
            (f"{side}ToeBase", f"{side}Foot", (0.0, -0.05, 0.13)),
        )
    ),
)
ENDS = {"Head": (0.0, 0.2, 0.0), "LeftHand": (0.1, 0.0, 0.0), "RightHand": (-0.1, 0.0, 0.0)}
FRAMES = 400


def angles_deg(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rotations about x and about z of a joint over time."""
    phase = 2 * np.pi * np.arange(FRAMES) / 120.0 * 0.8
    about_x, about_z = np.zeros(FRAMES), np.zeros(FRAMES)
    if name == "LeftArm":
        about_z = -40.0 + 30.0 * np.sin(phase)
    if name == "RightArm":
        about_z = np.full(FRAMES, 70.0)
    if name == "LeftForeArm":
        about_z = 20.0 + 15.0 * np.cos(phase)
    if name == "RightLeg":
        about_x = 25.0 - 25.0 * np.cos(phase)
    return about_x, about_z


def bvh_text(per_metre: float = 100.0, *, z_up: bool = False, order: str = "ZXY", prefix: str = "") -> str:
    def turned(offset):
        x, y, z = (per_metre * value for value in offset)
        return (x, -z, y) if z_up else (x, y, z)

    def channels(name):
        about_x, about_z = angles_deg(name)
        values = (
            {"X": about_x, "Y": -about_z, "Z": 0 * about_x} if z_up else {"X": about_x, "Y": 0 * about_x, "Z": about_z}
        )
        return [values[axis] for axis in order]

    def joint(name, depth):
        parent, offset = next((p, o) for n, p, o in SKELETON if n == name)
        indent = "\t" * depth
        rotations = " ".join(f"{axis}rotation" for axis in order)
        names = f"6 Xposition Yposition Zposition {rotations}" if parent is None else f"3 {rotations}"
        lines = [f"{indent}{'ROOT' if parent is None else 'JOINT'} {prefix}{name}", f"{indent}{{"]
        lines += [f"{indent}\tOFFSET {' '.join(f'{v:.6f}' for v in turned(offset))}", f"{indent}\tCHANNELS {names}"]
        columns.extend(([None] * 3 if parent is None else []) + channels(name))
        for child in (n for n, p, _ in SKELETON if p == name):
            lines += joint(child, depth + 1)
        if name in ENDS:
            end = " ".join(f"{v:.6f}" for v in turned(ENDS[name]))
            lines += [f"{indent}\tEnd Site", f"{indent}\t{{", f"{indent}\t\tOFFSET {end}", f"{indent}\t}}"]
        return [*lines, f"{indent}}}"]

    columns: list = []
    head = ["HIERARCHY", *joint("Hips", 0)]
    root = turned((0.3, 0.95, -0.2))
    table = np.stack([np.full(FRAMES, root[i]) if c is None else c for i, c in enumerate(columns)], axis=1)
    rows = [" ".join(f"{value:.6f}" for value in row) for row in table]
    return "\n".join([*head, "MOTION", f"Frames: {FRAMES}", "Frame Time: 0.00833333", *rows]) + "\n"


def acclaim_texts() -> tuple[str, str]:
    """The same skeleton and motion; bones carry what in BVH is the rotation of the joint where they begin."""
    scale = 0.45 / 0.0254
    ends = {name: (child, offset) for child, name, offset in reversed(SKELETON) if name} | {
        name: (None, offset) for name, offset in ENDS.items()
    }
    renamed = {
        "Spine": "thorax", "Neck": "lowerneck", "Head": "head",
        **{
            f"{side}{old}": f"{side[0].lower()}{new}"
            for side in ("Left", "Right")
            for old, new in (
                ("Shoulder", "clavicle"), ("Arm", "humerus"), ("ForeArm", "radius"), ("Hand", "wrist"),
                ("UpLeg", "femur"), ("Leg", "tibia"), ("Foot", "foot"), ("ToeBase", "toes"),
            )
        },
    }  # fmt: skip
    # An ASF bone ends where its child begins, so a joint that branches needs bones of its own to each further child.
    bones, hierarchy, moving = [], [], []

    def bone(name, parent, offset, turn_z=None, dof=False):
        length = float(np.linalg.norm(offset)) * scale
        way = np.array(offset) / np.linalg.norm(offset)
        lines = [
            "  begin",
            f"    name {name}",
            f"    direction {way[0]:.8f} {way[1]:.8f} {way[2]:.8f}",
            f"    length {length:.8f}",
        ]
        lines.append(f"    axis 0 0 {turn_z or 0} XYZ")
        bones.extend([*lines, *(["    dof rx rz", "    limits (-180 180)", "    (-180 180)"] if dof else []), "  end"])
        hierarchy.append((parent, name))

    for side in ("Left", "Right"):
        bone(f"{side[0].lower()}hipjoint", "root", next(o for n, _, o in SKELETON if n == f"{side}UpLeg"))
    bone("lowerback", "root", (0.0, 0.2, 0.0))
    bone("thorax", "lowerback", (0.0, 0.34, 0.0))
    bone("lowerneck", "thorax", (0.0, 0.1, 0.0))
    bone("head", "lowerneck", ENDS["Head"])
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        letter = side[0].lower()
        bone(f"{letter}chest", "lowerback", (sign * 0.03, 0.3, 0.0))
        chain = ["Shoulder", "Arm", "ForeArm", "Hand"]
        parent = f"{letter}chest"
        for part in chain:
            name = renamed[f"{side}{part}"]
            child = ends.get(f"{side}{part}")
            bone(name, parent, child[1], dof=True)
            moving.append((name, f"{side}{part}"))
            parent = name
        parent = f"{letter}hipjoint"
        for part in ("UpLeg", "Leg", "Foot"):
            name = renamed[f"{side}{part}"]
            bone(name, parent, ends[f"{side}{part}"][1], dof=True)
            moving.append((name, f"{side}{part}"))
            parent = name
    links: dict[str, list[str]] = {}
    for parent, name in hierarchy:
        links.setdefault(parent, []).append(name)
    asf = [
        "# a test", ":version 1.10", ":name tiny", ":units", "  mass 1.0", "  length 0.45", "  angle deg", ":root",
        "  order TX TY TZ RX RY RZ", "  axis XYZ", "  position 0 0 0", "  orientation 0 0 0", ":bonedata", *bones, ":hierarchy",
        "  begin", *(f"    {parent} {' '.join(names)}" for parent, names in links.items()), "  end",
    ]  # fmt: skip
    amc = ["#!OML:ASF tiny", ":FULLY-SPECIFIED", ":DEGREES"]
    root = np.array([0.3, 0.95, -0.2]) * scale
    for frame in range(FRAMES):
        amc += [str(frame + 1), f"root {root[0]:.6f} {root[1]:.6f} {root[2]:.6f} 0 0 0"]
        for name, source in moving:
            about_x, about_z = angles_deg(source)
            amc.append(f"{name} {about_x[frame]:.6f} {about_z[frame]:.6f}")
    return "\n".join(asf) + "\n", "\n".join(amc) + "\n"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


# --- reading ---------------------------------------------------------------------------------------------------------


def test_bvh_is_the_same_motion_in_any_units_axes_and_channel_order(tmp_path):
    (plain,) = read_motion(written(tmp_path, "a.bvh", bvh_text()))
    assert plain.rate_hz == pytest.approx(120.0, rel=1e-4)
    assert plain.positions_m.shape == (FRAMES, len(POINTS), 3)
    at = {name: plain.positions_m[:, number] for name, number in POINT.items()}
    shoulder_to_elbow = at["left_elbow"] - at["left_shoulder"]
    angle = np.radians(angles_deg("LeftArm")[1])
    np.testing.assert_allclose(shoulder_to_elbow[:, 0], 0.3 * np.cos(angle), atol=1e-5)  # left is +x
    np.testing.assert_allclose(shoulder_to_elbow[:, 2], 0.3 * np.sin(angle), atol=1e-5)  # up is +z
    assert (at["left_toe"] - at["left_ankle"])[:, 1].max() < -0.1  # ahead is -y
    assert (at["right_ankle"] - at["right_knee"])[:, 1].max() > 0.2  # a bent knee: the shank goes back
    for others in (
        {"per_metre": 1 / 0.0254, "order": "XYZ"},
        {"per_metre": 1000.0, "z_up": True},
        {"per_metre": 1.0, "prefix": "mixamorig:"},
        {"per_metre": 0.45 / 0.0254, "z_up": True, "order": "YZX"},
    ):
        (other,) = read_motion(written(tmp_path, "b.bvh.gz", bvh_text(**others)))
        np.testing.assert_allclose(other.positions_m, plain.positions_m, atol=2e-4)


def test_acclaim_files_give_what_bvh_gives(tmp_path):
    asf, amc = acclaim_texts()
    written(tmp_path, "07.asf", asf)
    (track,) = read_motion(written(tmp_path, "07_01.amc.gz", amc))
    (other,) = read_motion(written(tmp_path, "a.bvh", bvh_text()))
    assert track.rate_hz == 120.0
    for name in (
        "left_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_knee",
        "right_ankle",
        "left_toe",
        "neck",
    ):
        ours, theirs = (t.positions_m[:, POINT[name]] - t.positions_m[:, POINT["left_hip"]] for t in (track, other))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    tilted = asf.replace("    name lhumerus", "    name lhumerus").replace(
        "axis 0 0 0 XYZ\n    dof rx rz", "axis 0 0 90 XYZ\n    dof rx rz"
    )
    (turned,) = read_amc(tmp_path / "07_01.amc.gz", written(tmp_path, "tilted.asf", tilted))
    arm = turned.positions_m[:, POINT["left_elbow"]] - turned.positions_m[:, POINT["left_shoulder"]]
    np.testing.assert_allclose(  # about z nothing changes with axes turned about z
        arm, track.positions_m[:, POINT["left_elbow"]] - track.positions_m[:, POINT["left_shoulder"]], atol=1e-5
    )
    knee = turned.positions_m[:, POINT["right_ankle"]] - turned.positions_m[:, POINT["right_knee"]]
    np.testing.assert_allclose(knee[:, 0], 0.0, atol=1e-6)  # its x axis is now along the shank: no bending


@pytest.mark.parametrize("action", ["arm-raise", "stepping", "crescent-side-stretch"])
def test_a_body_recorded_as_a_table_moves_as_it_did(tmp_path, action):
    original = recording(action)
    (track,) = read_motion(written(tmp_path, "kinect.csv", csv_text(kinect_table(original))))
    actor = recorded_person((track,), seed=8)
    assert actor.height_m == pytest.approx(person(3).height_m, abs=0.02)
    assert actor.bones.thigh == pytest.approx(person(3).bones.thigh, rel=0.02)
    assert actor.bones.forearm == pytest.approx(person(3).bones.forearm, rel=0.02)
    motion = RecordedMotion(actor, track)
    assert isinstance(motion, Motion)
    times = np.arange(1.0, 10.9, 0.1)
    cos, sin = np.cos(motion.recorded_turn_rad), np.sin(motion.recorded_turn_rad)
    back = motion.joints_at(times + 0.3) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]]).T
    back[:, :, :2] += motion.recorded_at_m
    back[:, :, 2] -= 1.0
    error = np.linalg.norm(back - original[10:109], axis=2)[:, : len(JOINTS)]
    # The skull of a recording is a point, so where the nose looks is a guess; a quick step is softened by the low-pass.
    assert np.median(error[:, 1:]) < 0.015
    assert np.percentile(error[:, 1:], 95) < 0.06


def test_tables_may_have_the_sensors_own_axes_or_no_headings(tmp_path):
    original = recording()
    (mars,) = read_motion(written(tmp_path, "a.csv", csv_text(kinect_table(original))))
    (bare,) = read_motion(written(tmp_path, "b.csv.gz", csv_text(kinect_table(original), header=False)))
    (sensor,) = read_motion(written(tmp_path, "c.csv", csv_text(kinect_table(original, "kinect"))))
    (millimetres,) = read_motion(written(tmp_path, "d.csv", csv_text(1000 * kinect_table(original))))
    mirrored = original * [-1, 1, 1]  # left-handed axes
    (flipped,) = read_motion(written(tmp_path, "e.csv", csv_text(kinect_table(mirrored))))
    for other in (bare, sensor, millimetres, flipped):
        np.testing.assert_allclose(other.positions_m, mars.positions_m, atol=2e-5)
    np.testing.assert_allclose(mars.positions_m[:, POINT["left_wrist"]], original[:, INDEX["left_wrist"]], atol=1e-5)


def test_tables_are_cut_where_takes_meet_even_in_one_arm(tmp_path):
    joints = recording(seconds=15.0)
    joints[50:] += [0.4, -0.3, 0.0]
    arm = [INDEX[f"left_{part}"] for part in ("elbow", "wrist", "hand")]
    joints[100:, arm] += np.array([0.35, 0.1, 0.35])
    found = read_motion(written(tmp_path, "kinect.csv", csv_text(kinect_table(joints))))
    assert [take.source.split("rows ")[1] for take in found] == ["0 to 49", "50 to 99", "100 to 149"]


def test_jitter_makes_no_doppler(tmp_path):
    rng = np.random.default_rng(0)
    still = np.repeat(recording(seconds=12.0)[:1], 120, axis=0)
    noisy = still + rng.normal(0, 0.002, still.shape)
    (track,) = read_motion(written(tmp_path, "kinect.csv", csv_text(kinect_table(noisy))))
    motion = RecordedMotion(recorded_person((track,), 0), track)
    joints = motion.joints_at(np.arange(1, 11, 0.005))
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=2) / 0.005
    raw = np.linalg.norm(np.diff(noisy, axis=0), axis=2) / 0.1
    trunk = [INDEX[name] for name in ("pelvis", "spine", "neck", "left_ankle", "left_shoulder")]
    assert np.median(speed[:, trunk]) < 0.03  # less than the paper's Doppler bin of 48 mm/s
    assert np.median(speed[:, trunk]) < 0.7 * np.median(raw[:, trunk])
    towards = np.abs(np.diff(joints[:, trunk, 1], axis=0)) / 0.005
    assert np.sqrt(np.mean(towards**2)) < 0.022  # 17 mm/s along any line, says the module


def test_smoothing_keeps_what_people_do_and_drops_the_rest():
    times = np.arange(0, 8, 0.01)
    slow, fast = np.sin(2 * np.pi * 1.5 * times), 0.1 * np.sin(2 * np.pi * 15 * times)
    positions = np.zeros((len(times), len(POINTS), 3))
    positions[:, 3, 0] = slow + fast
    out = smoothed(Track("made here", 100.0, positions))[100:-100, 3, 0]
    assert np.abs(out - slow[100:-100]).max() < 0.015
    half = positions.copy()
    half[:, 3, 0] = np.sin(2 * np.pi * 6.0 * times)
    assert np.abs(smoothed(Track("made here", 100.0, half))[200:-200, 3, 0]).max() == pytest.approx(
        np.sqrt(0.5), abs=0.02
    )


def test_recorded_motion_starts_and_stops_gently_and_is_smooth(tmp_path):
    (track,) = read_motion(written(tmp_path, "a.bvh", bvh_text()))
    motion = RecordedMotion(recorded_person((track,), 1), track)
    assert motion.duration_s == pytest.approx(track.duration_s + 0.6)
    step = 1e-3
    times = np.arange(-0.5, motion.duration_s + 0.5, step)
    joints = motion.joints_at(times)
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=2) / step
    assert speed[:400].max() < 1e-9
    assert speed[-400:].max() < 1e-9
    assert speed.max() > 0.5
    acceleration = np.diff(joints, 2, axis=0) / step**2
    assert np.abs(np.diff(acceleration, axis=0)).max() < 1.5
    for parent, child in BONES:
        length = np.linalg.norm(joints[:, INDEX[child]] - joints[:, INDEX[parent]], axis=1)
        assert np.ptp(length) < 1e-6 * length.mean()
    assert np.ptp(motion.chest_rise_at(np.arange(0, 20, 0.1))) > 0.003


# --- bad files -------------------------------------------------------------------------------------------------------


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda t: t[: t.index("MOTION")], "is no BVH file: it lacks HIERARCHY or MOTION"),
        (
            lambda t: t[: len(t) * 3 // 4].rsplit("\n", 1)[0],
            r"announces 400 frames and holds \d+; it is damaged or cut short",
        ),
        (lambda t: t[:-30], r"line \d+: \d+ values where the hierarchy has 63 channels"),
        (lambda t: changed(t, "CHANNELS 3 Z", "CHANNELS 4 Z"), r"line \d+: 'CHANNELS 4 .*' does not name as many"),
        (lambda t: changed(t, "70.000000", "nan"), r"line \d+: a value is not finite"),
        (lambda t: changed(t, "70.000000", "7O.0"), r"line \d+: '7O.0' is not a number"),
        (lambda t: changed(t, "Frame Time: 0.00833333", "Frame Time: 0"), "no frame time between"),
        (lambda t: t.replace("RightForeArm", "Blob"), r"no joint is recognisably the right elbow among Hips, "),
        (lambda t: changed(t, "\tOFFSET 0.000000 34", "\tOFFSET 34"), r"an OFFSET needs three numbers, not 2"),
        (lambda t: t.replace("}\nMOTION", "MOTION"), "the hierarchy is incomplete"),
        (lambda t: t.replace("JOINT LeftLeg", "JOINT LeftUpLeg"), "a second joint is called 'LeftUpLeg'"),
    ],
)
def test_bad_bvh_files_are_named(tmp_path, spoil, sentence):
    path = written(tmp_path, "bad.bvh", spoil(bvh_text()))
    with pytest.raises(PipelineError, match=sentence) as error:
        read_motion(path)
    assert "bad.bvh" in str(error.value)


def test_a_body_of_no_human_size_is_named(tmp_path):
    with pytest.raises(PipelineError, match=r"a body 1\.7\d+e\+06 units tall is human in none of metre, centimetre"):
        read_motion(written(tmp_path, "giant.bvh", bvh_text(per_metre=1e6)))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda a, m: (None, m), r"needs its skeleton: none of 07_01\.asf, .*07\.asf.* lies beside it"),
        (
            lambda a, m: (a, changed(m, "\nlhumerus", "\nlhumerous")),
            r"line \d+: 'lhumerous' is no bone with degrees of freedom",
        ),
        (lambda a, m: (a, m[: m.rindex("rradius")]), r"frame 400 lacks or repeats .*rradius.*; the file is damaged"),
        (lambda a, m: (a, changed(m, "\nlhumerus 0.0", "\nlhumerus 1.0 0.0")), r"3 values for lhumerus, which has 2"),
        (lambda a, m: (a, changed(m, "lhumerus 0.000000", "lhumerus NaN")), "a value is not finite"),
        (lambda a, m: (a[: a.index(":hierarchy")], m), r"is no complete ASF skeleton: \d+ bones, 0 in its hierarchy"),
        (lambda a, m: (changed(a, "    length", "    lenght"), m), r"line \d+: a bone without length"),
        (lambda a, m: (a, ":FULLY-SPECIFIED\n"), "holds no motion: 0 frames|frame 0 lacks"),
    ],
)
def test_bad_acclaim_files_are_named(tmp_path, spoil, sentence):
    asf, amc = spoil(*acclaim_texts())
    if asf is not None:
        written(tmp_path, "07.asf", asf)
    with pytest.raises(PipelineError, match=sentence):
        read_motion(written(tmp_path, "07_01.amc", amc))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda t: "", "is empty"),
        (lambda t: t.split("\n")[0] + "\n", "holds no motion: 0 rows"),
        (lambda t: t[:-40] + "\n", r"row 121: \d+ columns where 75 are needed"),
        (
            lambda t: "\n".join(row.rsplit(",", 1)[0] for row in t.split("\n")[1:]),
            "row 1: 74 columns where 75 are needed",
        ),
        (lambda t: changed(t, "KneeLeft_Y", "KneeLeft_Q"), "the columns KneeLeft_Y are missing"),
        (lambda t: t.replace("\n0.", "\nnan,0.", 1).replace("nan,0.", "nan,", 1), r"columns where 75|not finite"),
        (lambda t: t.rstrip()[:-3] + "hello\n", r"row 121: '.*hello' is not a number"),
    ],
)
def test_bad_tables_are_named(tmp_path, spoil, sentence):
    with pytest.raises(PipelineError, match=sentence):
        read_motion(written(tmp_path, "bad.csv", spoil(csv_text(kinect_table(recording())))))


def test_other_files_are_named(tmp_path):
    with pytest.raises(PipelineError, match="is no motion file this reads: BVH, AMC with its ASF, or a Kinect CSV"):
        read_motion(written(tmp_path, "a.fbx", "x"))
    with pytest.raises(PipelineError, match=r"nowhere\.bvh cannot be read as a motion file: .*No such file"):
        read_motion(tmp_path / "nowhere.bvh")
    whole = gzip.compress(bvh_text().encode())
    (tmp_path / "cut.bvh.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PipelineError, match="cannot be read as a motion file"):
        read_motion(tmp_path / "cut.bvh.gz")
    with pytest.raises(PipelineError, match=r"rate of 0\.5 frames a second"):
        read_motion(written(tmp_path, "a.csv", "1"), rate_hz=0.5)
    with pytest.raises(PipelineError, match="at least one take"):
        recorded_person((), 0)
    restless = Track("made here", 10.0, np.random.default_rng(0).normal(0, 1, (100, len(POINTS), 3)))
    with pytest.raises(PipelineError, match=r"no take of at least 1\.5 s without a jump"):
        takes(restless)


# --- real recordings -------------------------------------------------------------------------------------------------


def body_of(path: Path, **options) -> list[RecordedMotion]:
    tracks = read_motion(path, **options)
    actor = recorded_person(tracks, 4)
    return [RecordedMotion(actor, track) for track in tracks]


@pytest.mark.parametrize(
    ("name", "height_m"),
    [
        ("mocap/13_29.bvh.gz", (1.5, 1.9)),
        ("mocap/141_16.bvh.gz", (1.4, 1.9)),
        ("mocap/02_01.amc.gz", (1.6, 1.9)),
    ],
)
def test_motion_capture_drives_a_body(shared_data, name, height_m):
    (motion,) = body_of(shared_data / name)
    assert height_m[0] < motion.person.height_m < height_m[1]
    times = np.arange(-0.3, min(motion.duration_s, 20.0), 0.01)
    joints = motion.joints_at(times)
    assert joints.shape == (len(times), len(BODY_JOINTS), 3)
    assert joints[:, :, 2].min() > -0.01
    assert (joints[:, INDEX["head_top"], 2] > joints[:, INDEX["pelvis"], 2]).all()
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=2) / 0.01
    assert speed.max() < 8.0
    left = joints[:, INDEX["left_hip"]] - joints[:, INDEX["right_hip"]]
    assert abs(np.degrees(np.arctan2(left[:, 1].mean(), left[:, 0].mean()))) < 45  # faces the radar on average


def test_the_recorded_walk_is_a_walk(shared_data):
    (motion,) = body_of(shared_data / "mocap/02_01.amc.gz")
    times = np.arange(0.7, motion.duration_s - 0.7, 0.01)
    joints = motion.joints_at(times)
    pelvis = np.linalg.norm(np.diff(joints[:, INDEX["pelvis"], :2], axis=0), axis=1) / 0.01
    ankle = np.linalg.norm(np.diff(joints[:, INDEX["left_ankle"]], axis=0), axis=1) / 0.01
    assert 1.0 < pelvis.mean() < 1.6
    assert 2.6 < ankle.max() / pelvis.mean() < 4.0
    assert joints[-1, INDEX["pelvis"], 1] < joints[0, INDEX["pelvis"], 1] - 1.5  # the way it faces
    for side in SIDES:
        shank = joints[:, INDEX[f"{side}_ankle"]] - joints[:, INDEX[f"{side}_knee"]]
        thigh = joints[:, INDEX[f"{side}_knee"]] - joints[:, INDEX[f"{side}_hip"]]
        assert np.cross(shank, thigh)[:, 0].max() < 0.01  # knees bend backward only
        sole = np.minimum(joints[:, INDEX[f"{side}_heel"], 2], joints[:, INDEX[f"{side}_toe"], 2])
        assert np.percentile(sole, 20) < 0.05


@pytest.mark.parametrize("subject", ["subject1", "subject2", "subject3"])
def test_kinect_takes_become_people(shared_data, subject):
    path = shared_data / "mars" / subject / "kinect_data_test.csv.gz"
    tracks = read_kinect_csv(path)
    assert 9 <= len(tracks) <= 13  # ten exercises
    assert sum(len(track.positions_m) for track in tracks) > 0.97 * 1769
    actor = recorded_person(tracks, 4)
    assert 1.45 < actor.height_m < 1.95
    for track in tracks[:6]:
        motion = RecordedMotion(actor, track)
        times = np.arange(0.0, motion.duration_s, 0.02)
        joints = motion.joints_at(times)
        speed = np.linalg.norm(np.diff(joints, axis=0), axis=2) / 0.02
        assert speed.max() < 7.0
        assert joints[:, :, 2].min() > -0.01
        assert 1.6 < motion.recorded_at_m[1] < 2.4  # where its person stood before the sensor
        assert abs(np.degrees(motion.recorded_turn_rad)) < 35
        # Arms hang or work at the sides they are on: left is on the left.
        assert (joints[:, INDEX["left_shoulder"], 0] > joints[:, INDEX["right_shoulder"], 0]).all()
        raw = track.positions_m
        spread = np.linalg.norm(raw[:, POINT["left_wrist"]] - raw[:, POINT["right_wrist"]], axis=1)
        ours = np.linalg.norm(joints[:, INDEX["left_wrist"]] - joints[:, INDEX["right_wrist"]], axis=1)
        assert np.percentile(ours, 90) == pytest.approx(np.percentile(spread, 90), abs=0.12)


def test_the_same_person_has_the_same_bones_whatever_the_seed(shared_data):
    tracks = read_kinect_csv(shared_data / "mars" / "subject3" / "kinect_data_test.csv.gz")
    one, other = recorded_person(tracks, 1), recorded_person(tracks, 2)
    assert one.bones == other.bones
    assert one.manner != other.manner
    assert replace(one, seed=2, manner=other.manner, clothing=other.clothing, mass_kg=other.mass_kg) == other
