"""Predictions: one a frame from the clip that ends there, never across a gap, the same from a store, live and exported."""

import numpy as np
import pytest
import torch
from radar_sessions import COARSE, MAPS, noise_words, session
from safetensors.torch import load_file

from models.checkpoints import ModelCard, build_network, save_model
from models.config import ClipConfig, EncoderConfig, MaskedConfig, PoseConfig, TrainConfig
from models.live import FrameScaler, LivePose
from models.maps import MapReader, fit_clip_config
from models.predicting import clip_ends, predict
from pipeline.cube_config import PRESETS
from pipeline.errors import PipelineError
from pipeline.predictions import read_predictions
from processing.transform import FrameTransform

CLIP = ClipConfig(modalities=("rd", "ra"), frames=4, targets=(1, 3), range_bins=32, doppler_bins=16, azimuth_bins=16)
ENCODER = EncoderConfig(patch=(2, 8, 8), dim=16, depth=1, heads=2)
POSE = PoseConfig(encoder=ENCODER, width=8, heatmap_cells=16, decode="subpixel")


def write_model(path, clip, pose=POSE):
    """A model file with random weights."""
    card = ModelCard(clip=clip, network=pose, training=TrainConfig())
    torch.manual_seed(0)
    save_model(path, build_network(card), card)
    return path


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A data root with a recording of 14 frames, the sixth of which lost bytes, and an untrained model."""
    root = tmp_path_factory.mktemp("lab")
    recording = session(root, "walk", noise_words(14), lost_frames=(6,))
    clip = fit_clip_config(root, ["walk"], CLIP)
    return root, recording, write_model(root / "experiments" / "tiny" / "model.safetensors", clip), clip


def test_clips_end_where_enough_whole_frames_lie_behind():
    valid = np.array([1, 1, 1, 0, 1, 1, 1, 1], bool)
    assert clip_ends(valid, 3).tolist() == [2, 6, 7]
    assert clip_ends(valid, 4).tolist() == [7]
    assert clip_ends(valid, 9).tolist() == []
    assert clip_ends(valid, 1).tolist() == [0, 1, 2, 4, 5, 6, 7]


def test_every_frame_with_a_whole_clip_behind_it_is_predicted(lab):
    root, _, model, clip = lab
    result = predict(root, "walk", model, batch=2)
    made = read_predictions(root, "walk", "tiny")
    assert made.table["frame"].unique().tolist() == [3, 4, 5, 10, 11, 12, 13]
    assert (result.frames_predicted, result.rebuilt, result.simulated) == (7, True, True)
    assert made.making.lag_frames == 0
    # by hand: the clip that ends at frame 11
    reader = MapReader(root, "walk", clip)
    network = build_network(ModelCard(clip=clip, network=POSE, training=TrainConfig()))
    network.load_state_dict(load_file(model))
    maps = {name: torch.from_numpy(reader.scaled(name, 8, 12))[None, None] for name in clip.modalities}
    with torch.inference_mode():
        expected = network.eval()(maps).uv[0, -1].numpy()
    found = made.table[made.table["frame"] == 11][["u", "v"]].to_numpy()
    assert found == pytest.approx(expected, abs=1e-5)


def test_nothing_is_predicted_twice_until_something_changed(lab):
    root, _, model, _ = lab
    predict(root, "walk", model, name="again")
    assert not predict(root, "walk", model, name="again").rebuilt
    assert predict(root, "walk", model, name="again", force=True).rebuilt
    assert predict(root, "walk", model, name="again", batch=1).rebuilt is False


def test_metres_stand_in_the_plane_of_the_labels(tmp_path):
    """Without a camera's geometry there are none; with labels' depth they are X = (u - cx) Z / fx (paper.md, Protocol)."""
    from pipeline.camera_frames import CameraDescription, StreamIntrinsics
    from pipeline.labels import Labels, keypoint_table, write_labels

    color = StreamIntrinsics(width=640, height=480, fx=600.0, fy=600.0, cx=319.5, cy=239.5)
    camera = CameraDescription(name="test", source="video", rate_hz=30, color=color)
    session(tmp_path, "deep", noise_words(5), camera=camera)
    xyz_m = np.zeros((5, 13, 3))
    xyz_m[..., 2] = 2.5
    xyz_m[:, 0, 2] = 9.0  # the nose is not asked
    xyz_m[4] = np.nan
    uv = np.full((5, 13, 2), 0.5)
    write_labels(tmp_path, "deep", Labels(keypoint_table(uv, np.ones((5, 13)), xyz_m, "depth"), "test"))
    model = write_model(tmp_path / "m" / "model.safetensors", fit_clip_config(tmp_path, ["deep"], CLIP))
    assert predict(tmp_path, "deep", model).scale_source == "depth"
    table = read_predictions(tmp_path, "deep", "m").table
    first, second = (table[table["frame"] == frame] for frame in (3, 4))
    assert (first["z_m"] == 2.5).all()
    expected = (first["u"] * 640 - 0.5 - 319.5) * 2.5 / 600
    assert first["x_m"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-5)
    assert second["x_m"].isna().all()
    assert (second["scale_source"] == "none").all()


def test_live_says_what_predict_writes(lab):
    """The same frames, from samples in memory: the same maps to float rounding, the same poses."""
    root, recording, model, clip = lab
    predict(root, "walk", model)
    written = read_predictions(root, "walk", "tiny").table
    config = PRESETS["default"].model_copy(update={"products": ("ra", "rd")})
    transform = FrameTransform(recording.waveform, config, threads=1)
    scaler = FrameScaler("walk", clip, config, transform.axes())
    network = build_network(ModelCard(clip=clip, network=POSE, training=TrainConfig()))
    network.load_state_dict(load_file(model))
    live = LivePose(network, clip)
    live.warm_up()
    reader = MapReader(root, "walk", clip)
    for frame in range(7, 14):
        made = transform(recording.frame_words(frame))
        maps = scaler({"rd": made.rd, "ra": made.ra})
        for name in clip.modalities:
            assert maps[name] == pytest.approx(reader.scaled(name, frame, frame + 1)[0], abs=1e-5)
        live.push(maps)
        pose = live.pose()
        assert (pose is None) == (frame < 10)
        if pose is not None:
            rows = written[written["frame"] == frame]
            assert pose.uv == pytest.approx(rows[["u", "v"]].to_numpy(), abs=1e-4)
            assert pose.score == pytest.approx(rows["score"].to_numpy(), abs=1e-4)
    live.forget()
    assert live.pose() is None


def test_what_cannot_be_predicted_gets_its_sentence(lab, tmp_path):
    root, _, model, clip = lab
    with pytest.raises(PipelineError, match="There is no model file"):
        predict(root, "walk", tmp_path / "nothing.safetensors")
    session(root, "short", noise_words(3))
    with pytest.raises(PipelineError, match="no 4 frames in a row"):
        predict(root, "short", model)
    session(root, "other", noise_words(5, COARSE.model_copy(update={"name": "x", "slope_mhz_per_us": 30.0})),
            waveform=COARSE.model_copy(update={"name": "x", "slope_mhz_per_us": 30.0}))  # fmt: skip
    with pytest.raises(PipelineError, match="another waveform"):
        predict(root, "other", model)
    session(root, "paper", noise_words(5), cube=PRESETS["paper"])
    with pytest.raises(PipelineError, match="not made with preset 'default'"):
        predict(root, "paper", model)
    session(root, "raw", noise_words(5), cube=MAPS.model_copy(update={"products": ("rd",)}))
    with pytest.raises(PipelineError, match="holds no ra"):
        predict(root, "raw", model)
    masked = ModelCard(
        clip=clip, network=MaskedConfig(encoder=ENCODER, decoder_dim=16, decoder_depth=1, decoder_heads=2),
        training=TrainConfig(),
    )  # fmt: skip
    save_model(tmp_path / "masked.safetensors", build_network(masked), masked)
    with pytest.raises(PipelineError, match="predicts no poses"):
        predict(root, "walk", tmp_path / "masked.safetensors")
    lagging = clip.model_copy(update={"targets": (0, 2)})
    with pytest.raises(PipelineError, match="predicts frame 2 of 4, not the newest"):
        LivePose(build_network(ModelCard(clip=lagging, network=POSE, training=TrainConfig())), lagging)
