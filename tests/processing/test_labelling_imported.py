"""Labels from files: both COCO shapes, both tables, and every way a file can be wrong."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import PipelineError
from pipeline.skeleton import COCO_INDEX, JOINTS
from processing.labelling.imported import imported_labeller
from processing.labelling.people import COCO_KEYPOINTS

FRAME = np.zeros((480, 640, 3), np.uint8)


def keypoints(shift: float = 0.0, visibility: float = 2) -> list[float]:
    return [value for i in range(17) for value in (100.0 + 10 * i + shift, 50.0 + 7 * i, visibility)]


def write(path, content) -> None:
    path.write_text(json.dumps(content))


def test_coco_object(tmp_path):
    content = {
        "images": [{"id": 70, "file_name": "a.png"}, {"id": 71}, {"id": 72}],
        "annotations": [
            {"image_id": 70, "keypoints": keypoints(), "bbox": [90, 40, 200, 150], "score": 0.4},
            {"image_id": 70, "keypoints": keypoints(5, 1), "score": 0.9},
            {"image_id": 72, "keypoints": [*keypoints()[:-3], 0, 0, 0]},
        ],
    }
    write(tmp_path / "labels.json", content)
    labeller = imported_labeller(tmp_path / "labels.json", 3)
    first, second = labeller.people([FRAME, FRAME])
    (third,) = labeller.people([FRAME])
    assert [person.score for person in first] == [0.9, 0.4]
    np.testing.assert_array_equal(first[1].box_px, [90, 40, 290, 190])
    np.testing.assert_array_equal(first[0].box_px, [105, 50, 265, 162])
    np.testing.assert_array_equal(first[1].keypoints_px[3], [130, 71])
    assert second == []
    np.testing.assert_array_equal(third[0].confidence, [1.0] * 16 + [0.0])
    assert labeller.name.startswith("import:labels.json@")
    with pytest.raises(PipelineError, match="are of 3 frames; more were asked for"):
        labeller.people([FRAME])


def test_coco_results_are_silent_on_empty_frames(tmp_path):
    write(tmp_path / "results.json", [{"image_id": 1, "category_id": 1, "keypoints": keypoints(0, 0.5), "score": 0.7}])
    people = imported_labeller(tmp_path / "results.json", 4).people([FRAME] * 4)
    assert [len(some) for some in people] == [0, 1, 0, 0]
    np.testing.assert_array_equal(people[1][0].confidence, np.full(17, 0.5))


def test_long_table_by_name_or_number(tmp_path):
    rows = [(0, name, 10.0 + at, 20.0 - at, 0.25) for at, name in enumerate(JOINTS)]
    rows += [(1, None, None, None, None), (2, "16", 7.0, 8.0, 1.0), (2, 5, None, None, None)]
    pd.DataFrame(rows, columns=["frame", "joint", "x_px", "y_px", "confidence"]).to_csv(tmp_path / "l.csv", index=False)
    first, second, third = imported_labeller(tmp_path / "l.csv", 3).people([FRAME] * 3)
    np.testing.assert_array_equal(first[0].keypoints_px[list(COCO_INDEX)], [(10 + i, 20 - i) for i in range(13)])
    assert set(np.flatnonzero(first[0].confidence)) == set(COCO_INDEX)
    assert second == []
    np.testing.assert_array_equal(third[0].keypoints_px[16], [7, 8])
    assert third[0].confidence.sum() == 1.0


def test_wide_table_with_two_people(tmp_path):
    rows = []
    for frame, person in ((0, 0), (0, 1), (1, 0)):
        row = {"frame": frame, "person": person}
        for at, name in enumerate(COCO_KEYPOINTS):
            row |= {f"{name}_x": 10 * person + at, f"{name}_y": frame + at, f"{name}_confidence": 0.5}
        rows.append(row)
    pd.DataFrame(rows).to_csv(tmp_path / "wide.csv", index=False)
    first, second = imported_labeller(tmp_path / "wide.csv", 2).people([FRAME] * 2)
    assert [person.keypoints_px[4, 0] for person in first] == [4, 14]
    assert second[0].keypoints_px[4, 1] == 5


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "is not COCO keypoints"),
        ("a.json", '{"images": []}', "no 'annotations'"),
        ("a.json", '[{"image_id": 0, "keypoints": [1, 2, 3]}]', "3 numbers in keypoints, not 51"),
        ("a.json", '{"images": [], "annotations": [{"image_id": 4, "keypoints": []}]}', "is not COCO keypoints"),
        ("a.csv", "frame,u,v\n0,1,2\n", "labels need frame, joint, x_px, y_px"),
        ("a.csv", "frame,joint,x_px,y_px\n0,tail,1,2\n", "there is no joint 'tail'"),
        ("a.csv", "frame,joint,x_px,y_px\n0,nose,1,2\n0,nose,3,4\n", "frame 0 has nose twice"),
        ("a.csv", "frame,joint,x_px,y_px\n0.5,nose,1,2\n", "whole number"),
        ("a.csv", "frame,joint,x_px,y_px\n0,nose,1,2\n2,nose,3,4\n", "nothing about frame 1"),
        ("a.csv", "frame,nose_x,nose_y\n0,1,2\n0,3,4\n", "several people need a column person"),
        ("a.csv", "", "is not a table"),
        ("a.txt", "", r"neither \.json"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(PipelineError, match=said):
        imported_labeller(tmp_path / name, 1)
    with pytest.raises(PipelineError, match="cannot be read"):
        imported_labeller(tmp_path / f"absent-{name}", 1)


def test_numbers_of_frames_that_disagree(tmp_path):
    write(tmp_path / "l.json", {"images": [{"id": 0}, {"id": 1}], "annotations": []})
    with pytest.raises(PipelineError, match=r"l\.json are of 2 frames, the recording has 600 colour frames"):
        imported_labeller(tmp_path / "l.json", 600)
    write(tmp_path / "r.json", [{"image_id": 9, "keypoints": keypoints()}])
    with pytest.raises(PipelineError, match="are of 10 frames, the recording has 4"):
        imported_labeller(tmp_path / "r.json", 4)
