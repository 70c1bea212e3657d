"""Rendered training pictures: what the label files say is where the bodies are."""

import numpy as np
import pytest
from PIL import Image

from capture.simulator.picture_set import write_picture_set
from capture.simulator.render import HIDDEN, OUT_OF_PICTURE, VISIBLE
from pipeline.errors import PipelineError
from pipeline.skeleton import COCO_INDEX

LABELLED = np.isin(np.arange(17), COCO_INDEX)
PICTURES = 27  # two rooms


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("set")
    people = write_picture_set(where, "few", PICTURES, 310_000, divided_by=2)
    assert people == sum(len(rows) for _, rows in read(where, "few"))
    return where


def read(folder, part):
    found = []
    for path in sorted((folder / "images" / part).glob("*.jpg")):
        rows = [line.split() for line in (folder / "labels" / part / f"{path.stem}.txt").read_text().splitlines()]
        found.append((np.asarray(Image.open(path)), np.array(rows, np.float64).reshape(-1, 56)))
    return found


def test_labels_are_whole_and_keypoints_near_their_boxes(folder):
    shots = read(folder, "few")
    rows = np.concatenate([rows for _, rows in shots])
    assert all(picture.shape == (240, 320, 3) for picture, _ in shots)
    assert len(rows) >= len(shots)
    assert (rows[:, 0] == 0).all()
    low, high = rows[:, 1:3] - rows[:, 3:5] / 2, rows[:, 1:3] + rows[:, 3:5] / 2
    assert ((low >= -1e-5) & (high <= 1 + 1e-5) & (rows[:, 3:5] > 0)).all()
    keypoints = rows[:, 5:].reshape(-1, 17, 3)
    assert set(np.unique(keypoints[..., 2])) == {OUT_OF_PICTURE, HIDDEN, VISIBLE}
    assert (keypoints[keypoints[..., 2] == 0] == 0).all()
    assert not keypoints[:, ~LABELLED].any()
    visible = keypoints[..., 2] == VISIBLE
    margin = (
        0.05  # of the picture: a joint lies inside the flesh, but for a nose's tip or a face seen from behind a hand
    )
    inside = (keypoints[..., :2] > (low - margin)[:, None]) & (keypoints[..., :2] < (high + margin)[:, None])
    assert inside[visible].all()
    assert visible[:, LABELLED].mean() > 0.6


def test_the_same_seeds_give_the_same_files(folder, tmp_path):
    write_picture_set(tmp_path, "few", 2, 310_000, divided_by=2)
    for number in range(2):
        for name in (f"images/few/{number:05d}.jpg", f"labels/few/{number:05d}.txt"):
            assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_sets_that_cannot_be_made(tmp_path):
    with pytest.raises(PipelineError, match="set of 0 pictures"):
        write_picture_set(tmp_path, "none", 0, 310_000)
    with pytest.raises(PipelineError, match="640 x 480 pixels cannot be made 7 times smaller"):
        write_picture_set(tmp_path, "odd", 1, 310_000, divided_by=7)
