"""From a sealed recording to labels: right in place and metres, made once, never over somebody else's, every bad input said."""

import json

import matplotlib.image
import numpy as np
import pytest
from camera_sessions import LENS, imported, session
from stick_people import CENTRE, FOCAL, SIZE, Walker, look_at, passing, still

from pipeline.errors import PipelineError
from pipeline.labels import Labels, keypoint_table, label_arrays, label_tables, read_labels, write_labels
from pipeline.recording import open_recording
from pipeline.sealing import verify
from processing.labelling.agreement import labels_error
from processing.labelling.config import LabelConfig, OneEuro
from processing.labelling.session import LabelResult, label_recording

ABOUT = Walker(still(0.3), still(2.4), 1.75)
SECONDS = 1.2
FRAMES = 12


@pytest.fixture(scope="module")
def scene():
    return look_at([ABOUT], SECONDS)


def _truth(walker: Walker = ABOUT, frames: int = FRAMES) -> Labels:
    px = np.stack([walker.joints_px(frame / 10) for frame in range(frames)])
    z_m = np.array([walker.z_m(frame / 10) for frame in range(frames)])[:, None]
    xy_m = (px - np.array(CENTRE)) / FOCAL * z_m[..., None]
    xyz_m = np.concatenate([xy_m, np.broadcast_to(z_m[..., None], (*xy_m.shape[:2], 1))], axis=-1)
    table = keypoint_table((px + 0.5) / np.array(SIZE), np.ones(px.shape[:2]), xyz_m, "simulator")
    return Labels(table, "simulator 0")


def _label(tmp_path, scene, config=None, **options) -> LabelResult:
    recording = session(tmp_path, scene, **options)
    return label_recording(recording, tmp_path, imported(tmp_path / "given.json", scene), config)


def test_labels_are_undistorted_shares_and_metres_by_depth(tmp_path, scene):
    done: list[tuple[int, int]] = []
    recording = session(tmp_path, scene)
    labeller = imported(tmp_path / "given.json", scene)
    result = label_recording(recording, tmp_path, labeller, on_progress=lambda *at: done.append(at))
    assert done[-1] == (FRAMES, FRAMES)
    assert (result.rebuilt, result.quality.verdict) == (True, "pass"), result.quality.reasons
    labels = read_labels(tmp_path, "s1")
    assert labels.labeller == labeller.name
    assert labels.making.picture_px == SIZE
    assert (labels.making.key, labels.making.verdict, labels.making.smoothing) == (result.key, "pass", None)
    assert len(labels.table) == FRAMES * 13
    assert set(labels.table["scale_source"]) == {"depth"}
    error = labels_error(labels, _truth(), intrinsics=LENS)
    assert (error.frames, error.found_share, error.pck_torso_02) == (FRAMES, 1.0, 1.0)
    assert (
        error.median_px < 1.5
    )  # the jitter of the labels, a pixel in each direction; the lens alone moves joints by up to 4
    assert error.mpjpe_plane_m == pytest.approx(error.mean_px * 2.3 / FOCAL, rel=0.02)
    # Depth is that of the skin, 0.1 m in front of joints 2.4 m away.
    z_m = label_arrays(labels.table, FRAMES).xyz_m[..., 2]
    assert np.abs(z_m - 2.3).max() < 0.03
    assert error.xy_m < 0.05
    assert result.quality.scaled_share == 1.0
    assert json.loads(result.quality_path.read_text())["verdict"] == "pass"
    assert matplotlib.image.imread(result.contact_sheet).shape[0] > 300
    assert verify(recording).ok


def test_the_same_again_is_nothing_to_do_and_a_damaged_table_is_made_anew(tmp_path, scene):
    first = _label(tmp_path, scene)
    recording, before = first.recording, first.path.read_bytes()

    def again(config=None, **options):
        return label_recording(recording, tmp_path, imported(tmp_path / "given.json", scene), config, **options)

    assert not again().rebuilt
    assert again(force=True).rebuilt
    assert first.path.read_bytes() == before
    first.path.write_bytes(before[: len(before) // 2])
    assert again().rebuilt
    assert first.path.read_bytes() == before
    changed = again(LabelConfig(min_confidence=0.4))
    assert changed.rebuilt
    assert changed.key != first.key


def test_the_simulators_truth_is_never_replaced_and_serves_to_measure(tmp_path, scene):
    write_labels(tmp_path, "s1", _truth())
    result = _label(tmp_path, scene)
    assert read_labels(tmp_path, "s1").labeller == "simulator 0"
    assert result.path.name.startswith("s1.import-given-json-")
    assert label_tables(tmp_path, "s1") == (tmp_path / "labels" / "s1.parquet", result.path)
    agreement = result.quality.agreement
    assert (agreement.against, agreement.compared) == ("simulator 0", FRAMES * 13)
    assert agreement.pck_torso_02 == 1.0
    assert not label_recording(result.recording, tmp_path, imported(tmp_path / "given.json", scene)).rebuilt


def test_a_labeller_that_disagrees_with_the_truth_fails_and_the_sentence_says_so(tmp_path, scene):
    moved = look_at([Walker(still(0.45), still(2.4), 1.75)], SECONDS)
    write_labels(tmp_path, "s1", _truth())
    recording = session(tmp_path, scene)
    quality = label_recording(recording, tmp_path, imported(tmp_path / "given.json", moved)).quality
    assert quality.verdict == "fail"
    assert "100% of joints lie more than a fifth of a trunk from where simulator 0 has them" in quality.reasons[0]


def test_frames_without_a_sure_picture_have_no_rows(tmp_path, scene):
    status = {4: "ambiguous", 5: "ambiguous", 9: "no-camera"}
    result = _label(tmp_path, scene, status=status)
    frames = set(read_labels(tmp_path, "s1").table["frame"])
    assert frames == set(range(FRAMES)) - {4, 5, 9}
    assert (result.quality.pictures.ambiguous, result.quality.pictures.without) == (2, 1)
    assert result.quality.verdict == "look"
    assert "2 of 12 radar frames are matched ambiguously to pictures." in result.quality.reasons
    asked = label_recording(
        result.recording, tmp_path, imported(tmp_path / "given.json", scene), LabelConfig(ambiguous="include")
    )
    assert set(read_labels(tmp_path, "s1").table["frame"]) == set(range(FRAMES)) - {9}
    assert (asked.quality.pictures.ambiguous, asked.quality.pictures.without) == (2, 1)


def test_masked_joints_are_not_invented_and_smoothing_is_said(tmp_path, scene):
    smoothed = _label(tmp_path, scene, LabelConfig(smoothing=OneEuro(beta=0.0, min_cutoff_hz=0.5)))
    labels = read_labels(tmp_path, "s1")
    assert labels.making.smoothing == {"filter": "one-euro", "min_cutoff_hz": 0.5, "beta": 0.0, "speed_cutoff_hz": 1.0}
    rough = label_recording(smoothed.recording, tmp_path, imported(tmp_path / "given.json", scene))
    assert rough.rebuilt
    still_hip = [label_arrays(one.table, FRAMES).uv[:, 7] for one in (labels, read_labels(tmp_path, "s1"))]
    assert np.abs(np.diff(still_hip[0], axis=0)).mean() < 0.5 * np.abs(np.diff(still_hip[1], axis=0)).mean()
    for people in scene.people:
        people[0].confidence[[9, 10]] = 0.1
    try:
        hidden = label_recording(smoothed.recording, tmp_path, imported(tmp_path / "other.json", scene)).path
    finally:
        for people in scene.people:
            people[0].confidence[[9, 10]] = 0.9
    wrists = read_labels(tmp_path, "s1", hidden.stem[3:]).table.query("joint == 3 or joint == 6")
    assert len(wrists) == 2 * FRAMES
    assert (wrists["confidence"] == 0).all()
    assert wrists[["u", "v", "x_m", "y_m", "z_m"]].isna().all(axis=None)


def test_without_depth_there_are_no_metres_but_by_a_stated_height(tmp_path, scene):
    plain = _label(tmp_path, scene, depth=False)
    labels = read_labels(tmp_path, "s1")
    assert set(labels.table["scale_source"]) == {"none"}
    assert labels.table[["x_m", "y_m", "z_m"]].isna().all(axis=None)
    assert plain.quality.verdict == "pass"
    assert "There are no metres: neither depth nor a body height gives a scale." in plain.quality.reasons
    label_recording(
        plain.recording, tmp_path, imported(tmp_path / "given.json", scene), LabelConfig(body_height_m=1.75)
    )
    labels = read_labels(tmp_path, "s1")
    assert set(labels.table["scale_source"]) == {"height"}
    assert labels_error(labels, _truth()).xy_m < 0.05


def test_a_video_without_geometry_has_a_scale_by_height_without_depth(tmp_path, scene):
    _label(tmp_path, scene, LabelConfig(body_height_m=1.75), depth=False, color=None)
    table = read_labels(tmp_path, "s1").table
    assert table["z_m"].isna().all()
    tall_m = table.query("joint == 11")["y_m"].to_numpy() - table.query("joint == 0")["y_m"].to_numpy()
    assert np.median(tall_m) == pytest.approx(0.87 * 1.75, rel=0.02)


def test_who_walks_in_front_is_neither_labelled_nor_measured(tmp_path):
    bystander = Walker(passing(2.0, 0.3, 1.0), still(1.3), 1.75, 0.1, score=0.97)
    scene = look_at([ABOUT, bystander], 4.0)
    hidden = [frame for frame, who in enumerate(scene.who) if 0 not in who]
    assert hidden
    result = _label(tmp_path, scene)
    labels = read_labels(tmp_path, "s1")
    error = labels_error(labels, _truth(frames=40))
    assert error.worst_5_percent_px < 5
    arrays = label_arrays(labels.table, 40)
    assert (arrays.confidence[hidden] == 0).all()
    assert np.isnan(arrays.uv[hidden]).all()
    assert len(labels.table) == 40 * 13
    assert np.nanmax(np.abs(arrays.xyz_m[..., 2] - 2.3)) < 0.05
    assert result.quality.people == 2


def test_skeleton_only_deletes_pictures_once_labels_passed_and_never_shows_one(tmp_path, scene):
    result = _label(tmp_path, scene, privacy="skeleton-only")
    assert result.pictures_removed
    recording = open_recording(tmp_path, "s1")
    assert not (recording.folder / "color.mkv").exists()
    assert not (recording.folder / "depth.bin").exists()
    assert "labels" in recording.manifest.notes[-1]
    assert verify(recording).ok
    drawn = matplotlib.image.imread(result.contact_sheet)[..., :3]
    assert not _wall_is_in(drawn)
    given = imported(tmp_path / "given.json", scene)
    assert not label_recording(recording, tmp_path, given).rebuilt  # the key is what it was
    with pytest.raises(PipelineError, match="pictures were deleted on purpose"):
        label_recording(recording, tmp_path, imported(tmp_path / "given.json", scene), LabelConfig(min_score=0.5))
    shown = _label(tmp_path / "keep", scene)
    assert _wall_is_in(matplotlib.image.imread(shown.contact_sheet)[..., :3])


def _wall_is_in(drawn: np.ndarray) -> bool:
    """Whether the drawn wall's greys, stripes from 60 to 139, are on a sheet: more than a few dozen different ones."""
    grey = drawn[(drawn.max(axis=-1) - drawn.min(axis=-1)) < 0.02][:, 0]
    values, counts = np.unique(np.round(grey * 255), return_counts=True)
    return int(((counts > 500) & (values >= 60) & (values < 140)).sum()) > 40


def test_pictures_stay_while_labels_have_not_passed(tmp_path, scene):
    result = _label(tmp_path, scene, privacy="skeleton-only", verdict="ambiguous")
    assert (result.quality.verdict, result.pictures_removed) == ("look", False)
    assert (result.recording.folder / "color.mkv").exists()


def test_frozen_and_absent_pictures_are_counted(tmp_path, scene):
    quality = _label(tmp_path, scene, frozen=range(5, 10)).quality
    assert quality.pictures.frozen == 5
    assert quality.verdict == "fail"
    assert "pictures are frozen: bit for bit the one before." in " ".join(quality.reasons)
    cut = _label(tmp_path / "cut", scene, cut_video=0.9)
    assert 0 < cut.quality.pictures.undecodable < 10
    assert cut.quality.verdict in ("look", "fail")
    assert "pictures cannot be decoded." in " ".join(cut.quality.reasons)
    assert len(read_labels(tmp_path / "cut", "s1").table) == 13 * (FRAMES - cut.quality.pictures.undecodable)


def test_nobody_in_view_is_a_sentence_and_a_fail(tmp_path):
    scene = look_at([], 1.0)
    result = _label(tmp_path, scene)
    assert result.quality.verdict == "fail"
    assert result.quality.reasons[0] == "Nobody is in view in any of the 10 frames looked at."
    table = read_labels(tmp_path, "s1").table
    assert len(table) == 130
    assert (table["confidence"] == 0).all()


def test_bad_input_is_one_sentence(tmp_path, scene):
    few = look_at([ABOUT], 0.5)
    with pytest.raises(PipelineError, match="not sealed yet"):
        _label(tmp_path / "a", few, sealed=False)
    with pytest.raises(PipelineError, match="recorded without a camera"):
        _label(tmp_path / "b", few, camera=False)
    with pytest.raises(PipelineError, match=r"No radar frame of s1 is matched to a picture \(Two offsets fit equally"):
        _label(tmp_path / "c", few, status=dict.fromkeys(range(5), "ambiguous"), verdict="ambiguous")
    with pytest.raises(PipelineError, match=r"color\.mkv"):
        _label(tmp_path / "d", few, cut_video=0.001)
    other = LENS.model_copy(update={"width": 848})
    with pytest.raises(PipelineError, match=r"640 x 480 pixels, its manifest says 848 x 480"):
        _label(tmp_path / "e", few, color=other)
