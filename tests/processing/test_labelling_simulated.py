"""From the network's maps to people: maps that are true of known people give those people back."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.skeleton import COCO_INDEX, MIRROR_PAIRS
from processing.labelling.joint_maps import BOX, CELLS, CENTRE, JointMaps, load_network, save_network
from processing.labelling.simulated import people_in, simulated_labeller
from processing.labelling.training import Examples, _window, wanted_maps
from processing.labelling.weight_files import BUNDLED, SIMULATED_PEOPLE

# Somebody who stands, in units of their height, from the middle of the hips: right and down.
STANDING = np.array(
    [(0, -0.42), (0.1, -0.3), (0.14, -0.14), (0.15, 0.0), (-0.1, -0.3), (-0.14, -0.14), (-0.15, 0.0), (0.05, 0.0), (-0.05, 0.0),
     (0.06, 0.25), (-0.06, 0.25), (0.06, 0.48), (-0.06, 0.48)]
)  # fmt: skip


def standing(u: float, v: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    joints = np.concatenate([STANDING * height + (u, v), np.full((13, 1), 2.0)], axis=1)
    return joints, np.array([u - 0.2 * height, v - 0.5 * height, u + 0.2 * height, v + 0.52 * height])


def maps_of(*people: tuple[np.ndarray, np.ndarray], shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """What a network that is right would say."""
    joints, boxes = (np.array(some) for some in zip(*people, strict=True))
    maps = wanted_maps(joints, boxes, shape)
    heights = np.clip(maps[: CENTRE + 1], 1e-6, 1 - 1e-6)
    distances = np.nan_to_num(maps[CENTRE + 1 :]) / CELLS
    return np.concatenate([np.log(heights / (1 - heights)), distances]).astype(np.float32)


def nearest(found, joints):
    return min(found, key=lambda one: np.linalg.norm(one.keypoints_px[list(COCO_INDEX)] - joints[:, :2], axis=1).mean())


def test_somebody_alone_is_found_below_a_cell():
    joints, box = standing(31.3, 30.6, 40.0)
    (person,) = people_in(maps_of((joints, box)))
    np.testing.assert_allclose(person.keypoints_px[list(COCO_INDEX)], joints[:, :2], atol=0.05)
    np.testing.assert_allclose(person.box_px, box, atol=0.6)
    assert person.confidence[list(COCO_INDEX)].min() > 0.8
    assert not person.confidence[1:5].any()


@pytest.mark.parametrize("apart", [9.0, 14.0, 30.0])
def test_people_side_by_side_keep_their_own_joints(apart):
    first, second = standing(25.0, 31.0, 36.0), standing(25.0 + apart, 29.0, 42.0)
    found = people_in(maps_of(first, second))
    assert len(found) == 2
    for joints, _ in (first, second):
        off = np.linalg.norm(nearest(found, joints).keypoints_px[list(COCO_INDEX)] - joints[:, :2], axis=1)
        assert off.max() < 1.0


def test_hidden_joints_are_less_sure_and_those_out_of_the_picture_not_found():
    joints, box = standing(31.0, 40.0, 50.0)
    joints[3, 2] = 1.0
    joints[11:, 2] = 0.0
    (person,) = people_in(maps_of((joints, box)))
    sure = person.confidence[list(COCO_INDEX)]
    assert 0.3 < sure[3] < 0.6 < sure[2]
    assert not sure[11:].any()


def test_an_empty_room_is_empty():
    maps = np.full((BOX.stop, 60, 80), -5.0, np.float32)
    assert people_in(maps) == []


def test_windows_carry_their_people_along_mirrored_or_not():
    joints, box = standing(160.0, 120.0, 150.0)
    picture = np.zeros((240, 320, 3), np.uint8)
    for joint, (u, v, _) in enumerate(joints):
        picture[round(v), round(u)] = 10 * joint + 10
    examples = Examples(picture[None], [joints[None]], [box[None]])
    mirrored = 0
    for seed in range(12):
        window, maps = _window(examples, 0, (160, 192), np.random.default_rng(seed))
        assert window.shape == (192, 160, 3)
        assert maps.shape == (BOX.stop, 48, 40)
        lit = {int(window[row, column, 0]) // 10 - 1: (row, column) for row, column in np.argwhere(window[..., 0])}
        flipped = lit[1][1] < lit[4][1] if {1, 4} <= set(lit) else None  # the left shoulder lies right in the picture
        mirrored += bool(flipped)
        for joint, (row, column) in lit.items():
            partner = dict([*MIRROR_PAIRS, *((b, a) for a, b in MIRROR_PAIRS)]).get(joint, joint)
            row_cell, column_cell = np.unravel_index(maps[partner if flipped else joint].argmax(), (48, 40))
            assert abs(4 * row_cell + 1.5 - row) <= 2.6
            assert abs(4 * column_cell + 1.5 - column) <= 2.6
    assert 2 <= mirrored <= 10


def test_weights_come_back_as_they_were_saved(tmp_path):
    import torch

    torch.manual_seed(1)
    network = JointMaps().eval()
    save_network(network, tmp_path / "one.safetensors")
    again = load_network(tmp_path / "one.safetensors")
    pictures = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(again(pictures), network(pictures), atol=0.02, rtol=0.02)
    assert again(pictures).shape == (1, BOX.stop, 16, 24)


def test_files_that_are_no_weights(tmp_path):
    with pytest.raises(PipelineError, match="make them with `maepose train-labeller`"):
        simulated_labeller(tmp_path / "absent.safetensors", root=tmp_path)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(PipelineError, match="holds no weights of the simulated rig's labeller"):
        simulated_labeller(tmp_path / "broken.safetensors", root=tmp_path)


def test_weights_retrained_in_the_data_root_go_first(tmp_path):
    (tmp_path / "weights").mkdir()
    retrained: Path = tmp_path / "weights" / SIMULATED_PEOPLE
    save_network(JointMaps(), retrained)
    own = simulated_labeller(root=BUNDLED).name
    assert simulated_labeller(root=tmp_path).name != own
    assert simulated_labeller(BUNDLED / SIMULATED_PEOPLE, root=tmp_path).name == own
