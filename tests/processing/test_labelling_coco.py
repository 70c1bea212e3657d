"""COCO's own tools load what is exported, and the labels read back are the labels."""

import contextlib
import io
import json

import numpy as np
import pytest
from camera_sessions import imported, session
from PIL import Image
from stick_people import SIZE, Walker, look_at, still

from pipeline.errors import PipelineError
from pipeline.labels import read_labels
from pipeline.skeleton import COCO_INDEX
from processing.labelling.coco import export_coco
from processing.labelling.imported import imported_labeller
from processing.labelling.session import label_recording

FRAMES = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    scene = look_at([Walker(still(0.4), still(2.2))], FRAMES / 10)
    for people in scene.people[2:4]:
        people[0].confidence[15] = 0.0
    scene.people[6] = []
    scene.depth_m[6] = np.zeros(0)
    recording = session(root, scene)
    label_recording(recording, root, imported(root / "given.json", scene))
    return root


def test_pycocotools_loads_it_and_agrees_with_itself(root, tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    done = export_coco(root, "s1", tmp_path / "out" / "s1.json")
    assert done.images == FRAMES - 1  # nobody was found in one
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(done.path))
        results = [
            {key: one[key] for key in ("image_id", "category_id", "keypoints", "score")}
            for one in truth.dataset["annotations"]
        ]
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)
    (person,) = truth.loadCats(truth.getCatIds(["person"]))
    assert len(person["keypoints"]) == 17
    named = {(person["keypoints"][a - 1], person["keypoints"][b - 1]) for a, b in person["skeleton"]}
    assert ("left_shoulder", "left_elbow") in named
    assert ("left_hip", "right_hip") in named


def test_joints_that_were_not_found_are_not_labelled(root, tmp_path):
    content = json.loads(export_coco(root, "s1", tmp_path / "s1.json").path.read_text())
    visible = np.array([one["keypoints"] for one in content["annotations"]]).reshape(-1, 17, 3)[..., 2]
    never = [at for at in range(17) if at not in COCO_INDEX]
    assert (visible[:, never] == 0).all()
    assert [one["num_keypoints"] for one in content["annotations"]] == [13, 13, 12, 12, 13, 13, 13]
    assert [image["radar_frame"] for image in content["images"]] == [0, 1, 2, 3, 4, 5, 7]
    assert [image["frame"] for image in content["images"]] == [1, 3, 5, 7, 9, 11, 15]
    assert {(image["width"], image["height"]) for image in content["images"]} == {SIZE}


def test_exported_labels_can_be_imported_again(root, tmp_path):
    path = export_coco(root, "s1", tmp_path / "s1.json").path
    black = np.zeros((4, 4, 3), np.uint8)
    again = imported_labeller(path, 2 * FRAMES).people([black] * 2 * FRAMES)
    given = imported_labeller(root / "given.json", 2 * FRAMES).people([black] * 2 * FRAMES)
    for index in (1, 9):
        apart = again[index][0].keypoints_px[list(COCO_INDEX)] - given[index][0].keypoints_px[list(COCO_INDEX)]
        assert np.abs(apart).max() < 0.02  # the lens put back; two decimals are written
    assert [len(people) for people in again] == [0, 1] * 6 + [0, 0, 0, 1]  # nobody was found in frame 13


def test_an_export_of_another_recording_is_refused(root, tmp_path):
    path = export_coco(root, "s1", tmp_path / "s1.json").path
    with pytest.raises(PipelineError, match="of 16 frames, the recording has 17"):
        imported_labeller(path, 17)
    content = json.loads(path.read_text())
    content["info"]["color_frames"] = 4
    path.write_text(json.dumps(content))
    with pytest.raises(PipelineError, match="an image is of frame 15"):
        imported_labeller(path, 4)


def test_pictures_come_with_it_when_asked_for(root, tmp_path):
    done = export_coco(root, "s1", tmp_path / "s1.json", pictures=True)
    names = [image["file_name"] for image in json.loads(done.path.read_text())["images"]]
    assert all((tmp_path / name).is_file() for name in names)
    assert Image.open(tmp_path / names[0]).size == SIZE


def test_without_labels_there_is_nothing_to_export(root, tmp_path):
    with pytest.raises(PipelineError, match="label it first"):
        export_coco(root, "s1", tmp_path / "s1.json", labeller="nobody")
    assert read_labels(root, "s1").making is not None
