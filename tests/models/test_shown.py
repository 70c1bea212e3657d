"""What figures show: axes of cropped and padded maps, masks as cells, poses side by side, whole figures of small networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from radar_sessions import MAPS, noise_words, session
from small_networks import CLIP, POSE, SMALL

from models.checkpoints import ModelCard, build_network, save_model
from models.figures import draw_poses, draw_reconstruction
from models.maps import MapReader, fit_clip_config
from models.predicting import predict
from models.shown import hidden_cells, map_extent, masked_clips, mean_pose, pose_strip, side_by_side
from pipeline.errors import PipelineError
from processing.cubes import process_recording


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("shown")
    session(root, "a", noise_words(12))
    return root


def _model(root: Path, network, name: str, modalities=("rd", "ra")) -> Path:
    clip = fit_clip_config(root, ["a"], CLIP.model_copy(update={"modalities": modalities}))
    card = ModelCard(clip=clip, network=network, training=SMALL.finetuning, recordings=("a",))
    path = root / "experiments" / name / "model.safetensors"
    torch.manual_seed(1)
    save_model(path, build_network(card), card)
    return path


def test_extent_of_cut_and_padded_maps(root):
    clip = CLIP.model_copy(update={"first_range_m": 1.0, "range_bins": 8, "doppler_bins": 20, "azimuth_bins": 16})
    reader = MapReader(root, "a", clip)
    axes = reader.cube.axes
    step = axes.range_m[1] - axes.range_m[0]
    rd, ra = map_extent(reader, "rd"), map_extent(reader, "ra")
    assert rd.near_m == pytest.approx(axes.range_m[reader.rows.start] - step / 2)
    assert rd.far_m - rd.near_m == pytest.approx(8 * step)
    velocity_step = axes.velocity_mps[1] - axes.velocity_mps[0]
    zero = rd.left + (20 // 2 + 0.5) * velocity_step  # the middle of the column that holds no Doppler
    assert zero == pytest.approx(0, abs=1e-9)
    assert rd.right - rd.left == pytest.approx(20 * velocity_step)
    columns = reader.columns("ra")
    sines = np.sin(np.radians(axes.azimuth_deg))
    assert ra.left == pytest.approx(sines[columns][0] - (sines[33] - sines[32]) / 2)


def test_a_hidden_token_covers_its_own_cells():
    mask = torch.zeros(1, 2 * 3 * 2, dtype=torch.bool)
    mask[0, 1 * 6 + 2 * 2 + 1] = True  # time 1, row 2, column 1
    cells = hidden_cells(mask, (2, 3, 2), (2, 4, 5))
    assert cells.shape == (1, 4, 12, 10)
    assert cells.sum() == 2 * 4 * 5
    assert cells[0, 2:, 8:, 5:].all()


def test_masked_clips_keep_what_was_visible_and_are_drawn(root, tmp_path):
    model = _model(root, SMALL.masked, "masked")
    clips = masked_clips(root, "a", model)
    assert [clip.modality for clip in clips] == ["rd", "ra"]
    for clip in clips:
        assert clip.hidden.mean() == pytest.approx(0.5, abs=0.05)
        np.testing.assert_allclose(clip.reconstructed[~clip.hidden], clip.maps[~clip.hidden], atol=1e-6)
        assert clip.error > 0
    assert draw_reconstruction(tmp_path / "r.png", clips, "t", "q", simulated=True).stat().st_size > 10_000
    with pytest.raises(PipelineError, match="masked autoencoder"):
        masked_clips(root, "a", _model(root, POSE, "no-autoencoder"))


@pytest.mark.parametrize("head", ["heatmap", "simcc", "mlp"])
def test_a_strip_of_predictions(root, tmp_path, head):
    model = _model(root, POSE.model_copy(update={"head": head}), f"pose-{head}")
    predict(root, "a", model)
    still = {"mean training pose": mean_pose(root, ["a"])}
    poses = side_by_side(root, "a", [f"pose-{head}"], still)
    assert poses.frames.tolist() == list(range(3, 12))
    labels = np.stack(np.broadcast_arrays(np.arange(3, 12)[:, None] / 100, np.arange(13) / 100), axis=-1)
    np.testing.assert_allclose(poses.truth, labels, atol=1e-6)
    # labels of frames 0 to 11 lie at u = frame / 100, so their mean at 0.055
    assert poses.errors()["mean training pose"] == pytest.approx(
        np.abs(np.arange(3, 12) / 100 - 0.055).mean(), abs=1e-6
    )
    strip = pose_strip(root, "a", {f"pose-{head}": model}, poses, moments=3)
    assert strip.time_s.shape == (3,)
    assert bool(strip.heatmaps) == (head != "mlp")
    for heatmaps in strip.heatmaps.values():
        at = heatmaps.reshape(3, 13, -1).argmax(axis=-1) % heatmaps.shape[-1]  # the column of each joint's peak
        found = strip.methods[f"pose-{head}"][..., 0] * heatmaps.shape[-1]
        assert np.median(np.abs(at + 0.5 - found)) < 1.5
    assert draw_poses(tmp_path / "p.png", strip, "t", "q", simulated=True).stat().st_size > 10_000


def test_nothing_to_set_side_by_side(root):
    with pytest.raises(PipelineError, match="run `maepose predict` first"):
        side_by_side(root, "a", ["nobody"], {})


def test_poses_of_another_cube_are_not_shown(tmp_path):
    recording = session(tmp_path, "a", noise_words(12))
    predict(tmp_path, "a", _model(tmp_path, POSE, "pose"))
    process_recording(recording, tmp_path, MAPS.model_copy(update={"clutter_removal": not MAPS.clutter_removal}))
    with pytest.raises(PipelineError, match="by pose were predicted from another cube than there is now"):
        side_by_side(tmp_path, "a", ["pose"], {})
