"""Maps cut, scaled and padded; clips that never cross a break; labels at the right frames; and what bad input is told."""

import numpy as np
import pandas as pd
import pytest
from radar_sessions import COARSE, MAPS, noise_words, session

from models.clips import clip_table, frame_labels, target_labels
from models.config import ClipConfig
from models.maps import MapReader, fit_clip_config
from pipeline.cube import open_cube
from pipeline.cube_config import preset
from pipeline.errors import PipelineError
from pipeline.manifest import Segment
from pipeline.recording import open_recording
from pipeline.sync import COLUMNS, SyncReport, write_sync

CLIP = ClipConfig(
    modalities=("rd", "ra"), frames=4, targets=(1, 3), range_bins=24, doppler_bins=8, azimuth_bins=32,
    window_db={"rd": (-76.0, -70.0), "ra": (-76.0, -70.0)},
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    halves = (Segment(action="wave", stop_frame=7), Segment(action="bow", start_frame=7, stop_frame=14))
    session(root, "halves", noise_words(16), segments=halves)
    session(root, "lossy", noise_words(14, seed=1), lost_frames=(5,), participant=None)
    return root


# --- maps --------------------------------------------------------------------------------------------------------------


def test_maps_are_cut_about_zero_doppler_and_boresight(root):
    cube, reader = open_cube(root, "halves"), MapReader(root, "halves", CLIP.model_copy(update={"first_range_m": 1.0}))
    first = int(np.argmin(np.abs(cube.axes.range_m - 1.0)))
    assert np.array_equal(reader.db("rd", 2, 5), cube.decibels("rd", slice(2, 5))[:, first : first + 24, 4:12])
    assert np.array_equal(reader.db("ra", 2, 5), cube.decibels("ra", slice(2, 5))[:, first : first + 24, 16:48])
    assert cube.axes.velocity_mps[4:12][4] == cube.axes.azimuth_deg[16:48][16] == 0


def test_a_window_becomes_0_to_1(root):
    reader = MapReader(root, "halves", CLIP)
    db = reader.db("rd", 0, 3)
    assert np.allclose(reader.scaled("rd", 0, 3), np.clip((db + 76) / 6, 0, 1), atol=1e-6)
    assert db.min() < -76 < -70 < db.max()  # so that something was clipped


def test_what_the_cube_does_not_have_is_padded_and_zero_stays_in_the_middle(root):
    clip = CLIP.model_copy(update={"range_bins": 70, "doppler_bins": 21, "azimuth_bins": 96})
    reader = MapReader(root, "halves", clip)
    rd, ra = reader.scaled("rd", 0, 2), reader.scaled("ra", 0, 2)
    assert rd.shape == (2, 70, 21)
    assert ra.shape == (2, 70, 96)
    assert np.array_equal(rd[:, :64, 2:18], np.clip((reader.db("rd", 0, 2) + 76) / 6, 0, 1))
    assert reader.db("rd", 0, 2).shape == (2, 64, 16)
    outside = rd.copy()
    outside[:, :64, 2:18] = 0
    assert not outside.any()
    assert rd[0, :64, 10] == pytest.approx(np.clip((open_cube(root, "halves").decibels("rd", 0)[:, 8] + 76) / 6, 0, 1))
    assert not ra[:, :, :16].any()
    assert ra[:, :64, 16].any()


def test_frame_minmax_scales_each_map_alone(root):
    reader = MapReader(root, "halves", CLIP.model_copy(update={"scaling": "frame-minmax"}))
    for values, db in zip(reader.scaled("ra", 0, 3), reader.db("ra", 0, 3), strict=True):
        assert (values.min(), values.max()) == (0, 1)
        assert np.allclose(values, (db - db.min()) / np.ptp(db), atol=1e-6)


def test_resampled_maps_keep_mirror_and_middle(root):
    clip = CLIP.model_copy(update={"range_bins": 64, "doppler_bins": 16, "azimuth_bins": 64})
    whole = MapReader(root, "halves", clip).scaled("ra", 0, 1)[0]
    small = MapReader(root, "halves", clip.model_copy(update={"resize_px": 56})).scaled("ra", 0, 1)[0]
    assert small.shape == (56, 56)
    assert small[28, 28] == pytest.approx(whole[32, 32], abs=1e-6)
    at = 32 + (40 - 28) * 64 / 56
    low = int(at)
    assert small[28, 40] == pytest.approx(whole[32, low] + (at - low) * (whole[32, low + 1] - whole[32, low]), abs=1e-5)


def test_the_authors_cubes_are_read_as_they_are_scaled(tmp_path):
    session(tmp_path, "p", noise_words(3), cube=preset("paper"))
    clip = CLIP.model_copy(update={"cube": "paper", "scaling": "frame-minmax", "azimuth_bins": 256, "range_bins": 64})
    clip = clip.model_copy(update={"doppler_bins": 16})
    reader = MapReader(tmp_path, "p", clip)
    assert np.allclose(reader.scaled("ra", 0, 3), reader.cube.ra(slice(0, 3)), atol=1e-6)
    assert fit_clip_config(tmp_path, ["p"], clip).window_db == CLIP.window_db  # given, and not used
    with pytest.raises(PipelineError, match="scaled to \\[0, 1\\]"):
        reader.db("rd", 0, 1)


# --- fitting -----------------------------------------------------------------------------------------------------------


def test_the_window_holds_the_20th_to_the_99th_9_percentile(root):
    clip = fit_clip_config(root, ["halves", "lossy"], CLIP.model_copy(update={"window_db": {}}))
    cells = np.concatenate(
        [
            MapReader(root, "halves", CLIP).db("rd", 0, 16),
            np.delete(MapReader(root, "lossy", CLIP).db("rd", 0, 14), 5, axis=0),
        ]
    )
    low, high = clip.window_db["rd"]
    assert np.mean(cells < low) == pytest.approx(0.2, abs=0.04)
    assert 0 < np.mean(cells > high) < 0.001 or cells.max() <= high < cells.max() + 1
    scaled = np.clip((cells - low) / (high - low), 0, 1)
    assert clip.levels["rd"] == pytest.approx((scaled.mean(), scaled.std()), rel=0.01)
    assert clip.range_step_m == pytest.approx(COARSE.range_resolution_m, rel=1e-6)
    assert fit_clip_config(root, ["halves"], clip) == clip  # what is fitted stays


def test_rows_begin_where_the_moving_power_comes_to_the_middle(tmp_path):
    words = noise_words(6)
    sample = np.arange(COARSE.samples)
    tone = np.exp(2j * np.pi * 40 * sample / COARSE.samples)  # range bin 40, moving: its sign changes from loop to loop
    sign = np.where(np.arange(COARSE.loops) % 4 < 2, 500, -500)[:, None, None, None]
    samples = np.broadcast_to(sign * tone, COARSE.frame_shape).reshape(-1, 2)
    echo = np.stack([samples.imag, samples.real], axis=1).round().astype(np.int16).ravel()  # q-first
    session(tmp_path, "r", [frame + echo for frame in words])
    clip = fit_clip_config(tmp_path, ["r"], CLIP.model_copy(update={"first_range_m": "auto", "window_db": {}}))
    reader = MapReader(tmp_path, "r", clip)
    assert abs(int(np.argmax(reader.db("rd", 0, 6).max(axis=(0, 2)))) - 12) <= 1
    assert reader.rows.start == pytest.approx(40 - 12, abs=1)


# --- clips -------------------------------------------------------------------------------------------------------------


def test_clips_stay_inside_one_action_and_between_losses(root):
    table = clip_table(root, ["halves", "lossy"], CLIP, stride=1, labelled=True)
    starts = {name: rows["start"].tolist() for name, rows in table.groupby("recording")}
    assert starts == {"halves": [0, 1, 2, 3, 7, 8, 9, 10], "lossy": [0, 1, 6, 7, 8, 9, 10]}
    actions = table[table["recording"] == "halves"].groupby("action")["start"].max().to_dict()
    assert actions == {"bow": 10, "wave": 3}
    assert table["participant"].tolist() == ["p01"] * 8 + [""] * 7
    lossy = table[table["recording"] == "lossy"]
    assert lossy["earliest"].tolist() == [0] * 2 + [6] * 5
    assert lossy["latest"].tolist() == [1] * 2 + [10] * 5
    assert clip_table(root, ["halves"], CLIP, stride=3, labelled=False)["start"].tolist() == [0, 3, 7, 10]


def test_a_pulse_the_radar_missed_breaks_a_clip(tmp_path):
    recording = session(tmp_path, "r", noise_words(12))
    pulses = [3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16]  # 6 and 7 were left out
    rows = pd.DataFrame({name: [-1] * 12 for name in COLUMNS})
    rows["radar_frame"], rows["pulse"], rows["run"], rows["status"] = range(12), pulses, 1, "no-camera"
    recording.folder.chmod(0o755)
    write_sync(recording.folder, rows, SyncReport(mode="board", verdict="aligned", algorithm_version="1"))
    table = clip_table(tmp_path, ["r"], CLIP, stride=1, labelled=False)
    assert table["start"].tolist() == [3, 4, 5, 6, 7, 8]
    assert set(table["earliest"]) == {3}


def test_labels_are_those_of_the_target_frames(root):
    table = clip_table(root, ["halves", "lossy"], CLIP, stride=1, labelled=True)
    uv, confidence = target_labels(root, table, CLIP)
    assert uv.shape == (15, 2, 13, 2)
    assert np.allclose(uv[..., 0], (table["start"].to_numpy()[:, None, None] + np.array([1, 3])[:, None]) / 100)
    assert np.allclose(uv[..., 1], np.arange(13) / 100)
    assert (confidence == 1).all()
    every, _ = frame_labels(root, table, CLIP)
    assert np.array_equal(every[:, [1, 3]], uv)


def test_a_clip_without_a_joint_in_its_targets_is_left_out_and_masked_joints_are_0(tmp_path):
    confidence = np.zeros((8, 13))
    confidence[3, 5] = 0.4
    uv = np.full((8, 13, 2), np.nan)
    uv[3, 5] = 0.3, 0.7
    confidence[6, 0] = 1  # says it is seen, and not where
    session(tmp_path, "r", noise_words(8), uv=uv, confidence=confidence)
    table = clip_table(tmp_path, ["r"], CLIP, stride=1, labelled=True)
    assert table["start"].tolist() == [0, 2]  # frame 3 is their second and their first target
    found_uv, found = target_labels(tmp_path, table, CLIP)
    assert found[0, 1, 5] == found[1, 0, 5] == np.float32(0.4)
    assert found.sum() == pytest.approx(0.8)
    assert np.isfinite(found_uv).all()
    assert np.allclose(found_uv[found > 0], (0.3, 0.7))
    assert not found_uv[found == 0].any()
    assert len(clip_table(tmp_path, ["r"], CLIP, stride=1, labelled=False)) == 5


# --- what cannot be done is said -----------------------------------------------------------------------------------------


def test_bad_input_gets_its_sentence(root, tmp_path):
    with pytest.raises(PipelineError, match="split is empty"):
        clip_table(root, [], CLIP, stride=1, labelled=False)
    with pytest.raises(PipelineError, match="split is empty"):
        fit_clip_config(root, [], CLIP)
    with pytest.raises(PipelineError, match="stride of 1 or more"):
        clip_table(root, ["halves"], CLIP, stride=0, labelled=False)
    with pytest.raises(PipelineError, match="No clip of 20 frames fits into halves"):
        clip_table(root, ["halves"], CLIP.model_copy(update={"frames": 20}), stride=1, labelled=False)
    with pytest.raises(PipelineError, match="frames 0 to 15, not 14 to 16"):
        MapReader(root, "halves", CLIP).db("rd", 14, 17)
    with pytest.raises(PipelineError, match="dB window of ra is not known yet"):
        MapReader(root, "halves", CLIP.model_copy(update={"window_db": {}})).scaled("ra", 0, 1)
    with pytest.raises(PipelineError, match="rows begin is still to be found"):
        MapReader(root, "halves", CLIP.model_copy(update={"first_range_m": "auto"})).scaled("ra", 0, 1)
    session(tmp_path, "masked", noise_words(6), confidence=np.zeros((6, 13)))
    with pytest.raises(PipelineError, match="All labels of masked are masked"):
        clip_table(tmp_path, ["masked"], CLIP, stride=1, labelled=True)


def test_a_cube_that_is_not_what_the_clip_is_made_for_is_refused(root, tmp_path):
    session(tmp_path, "one-map", noise_words(4), cube=MAPS.model_copy(update={"products": ("rd",)}))
    session(tmp_path, "authors", noise_words(4), cube=preset("paper"))
    slow = COARSE.model_copy(update={"idle_time_us": 100.0})
    session(tmp_path, "slow", noise_words(4, slow), waveform=slow)
    session(tmp_path, "none", noise_words(4), cube=None)
    for name, sentence in (
        ("one-map", "holds no ra; make it anew with `maepose process one-map --preset default`"),
        ("authors", "not made with preset 'default' .*clutter_removal"),
        ("none", "There is no cube of none"),
    ):
        with pytest.raises(PipelineError, match=sentence):
            MapReader(tmp_path, name, CLIP).db("rd", 0, 1)
    fitted = fit_clip_config(root, ["halves"], CLIP)
    with pytest.raises(PipelineError, match=r"Velocity bins of slow .* another waveform"):
        MapReader(tmp_path, "slow", fitted).db("rd", 0, 1)
    assert open_recording(tmp_path, "slow").frame_count == MapReader(tmp_path, "slow", CLIP).frames
