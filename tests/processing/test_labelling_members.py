"""Every labeller with its real library: loading, boxes and keypoints in pixels, and what is said when something is missing."""

from pathlib import Path

import numpy as np
import pytest
from tiny_networks import save_bright_spot_vitpose, save_detector, save_yolo_pose

from pipeline.errors import PipelineError
from processing.labelling.choosing import labeller_for
from processing.labelling.detector import LabellerBoxes, person_detector
from processing.labelling.vitpose import vitpose_labeller
from processing.labelling.weight_files import BUNDLED, simulated_weights, transformers_weights, yolo_weights
from processing.labelling.yolo import YoloLabeller, yolo_labeller

BOX = (200.0, 100.0, 400.0, 420.0, 0.9)


class Boxes:
    """A detector that has been told."""

    name = "told"

    def __init__(self, *boxes: tuple[float, ...]) -> None:
        self._boxes = np.array(boxes, np.float64).reshape(-1, 5)

    def boxes(self, frames):
        return [self._boxes.copy() for _ in frames]


def bright_spot(u: float, v: float) -> np.ndarray:
    rows, columns = np.mgrid[:480, :640]
    light = 20 + 220 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 12.0**2))
    return np.repeat(light.astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    save_bright_spot_vitpose(folder / "weights" / "someone" / "pose")
    save_bright_spot_vitpose(folder / "plus", experts=6)
    save_detector(folder / "detector")
    return folder


@pytest.fixture(scope="module")
def yolo(tmp_path_factory) -> YoloLabeller:
    path = save_yolo_pose(tmp_path_factory.mktemp("yolo"))
    return yolo_labeller(str(path), path.parent, image_px=320, least_score=1e-4)


# --- ViTPose ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [BOX, (250.0, 50.0, 350.0, 450.0, 0.9), (100.0, 200.0, 500.0, 300.0, 0.8)])
@pytest.mark.parametrize("spot", [(300, 250), (320, 230), (280, 270)])
def test_vitpose_finds_the_spot_wherever_the_box_lies(networks, box, spot):
    labeller = vitpose_labeller("someone/pose", networks, detector=Boxes(box))
    ((person,),) = labeller.people([bright_spot(*spot)])
    # The cut-out is the box at 3 : 4 with a quarter more; a patch is a twelfth of its width, known to half a patch and a bit.
    patch_px = 1.25 * max(box[2] - box[0], 0.75 * (box[3] - box[1])) / 12
    assert np.abs(person.keypoints_px - spot).max() < 0.75 * patch_px
    np.testing.assert_allclose(person.box_px, box[:4])
    assert person.score == box[4]
    assert 0 < person.confidence.min() <= person.confidence.max() <= 1


def test_vitpose_moves_with_box_and_picture(networks):
    here = vitpose_labeller("someone/pose", networks, detector=Boxes(BOX))
    there = vitpose_labeller("someone/pose", networks, detector=Boxes(tuple(np.add(BOX, (50, -30, 50, -30, 0)))))
    ((first,),) = here.people([bright_spot(310, 240)])
    ((second,),) = there.people([bright_spot(360, 210)])
    np.testing.assert_allclose(second.keypoints_px - first.keypoints_px, np.tile([50.0, -30.0], (17, 1)), atol=0.05)


def test_vitpose_in_batches_is_vitpose_one_by_one(networks):
    labeller = vitpose_labeller("someone/pose", networks, detector=Boxes(BOX, (50.0, 60.0, 250.0, 400.0, 0.5)))
    frames = [bright_spot(220 + 5 * i, 200 + 3 * i) for i in range(10)]  # 20 people: more than one pass
    together = labeller.people(frames)
    for frame, people in zip(frames, together, strict=True):
        (alone,) = labeller.people([frame])
        assert len(people) == len(alone) == 2
        for one, other in zip(people, alone, strict=True):
            np.testing.assert_allclose(one.keypoints_px, other.keypoints_px, atol=1e-3)
            np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-5)


def test_vitpose_with_nobody_there(networks):
    labeller = vitpose_labeller("someone/pose", networks, detector=Boxes())
    assert labeller.people([bright_spot(300, 200)] * 2) == [[], []]
    assert labeller.people([]) == []


def test_plus_models_are_told_to_answer_for_coco(networks):
    labeller = vitpose_labeller(str(networks / "plus"), networks, detector=Boxes(BOX))
    ((person,),) = labeller.people([bright_spot(300, 250)])
    assert np.abs(person.keypoints_px - (300, 250)).max() < 20


def test_a_vitpose_of_other_keypoints_is_refused(tmp_path):
    save_bright_spot_vitpose(tmp_path / "crowd", joints=14)
    with pytest.raises(PipelineError, match=r"finds 14 keypoints; COCO's 17"):
        vitpose_labeller(str(tmp_path / "crowd"), tmp_path, detector=Boxes(BOX))


# --- detector --------------------------------------------------------------------------------------------------------


def test_detector_gives_pixels_best_first(networks):
    import torch

    detector = person_detector(str(networks / "detector"), networks)
    frame = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    (boxes,) = detector.boxes([frame])
    assert len(boxes) >= 5
    assert (np.diff(boxes[:, 4]) <= 0).all()
    pixels = detector._processor(images=[frame], return_tensors="pt")
    with torch.inference_mode():
        raw = detector._network(**pixels).pred_boxes[0].numpy().astype(np.float64)
    corners = np.concatenate([raw[:, :2] - raw[:, 2:] / 2, raw[:, :2] + raw[:, 2:] / 2], axis=1)
    wanted = corners * [320, 240, 320, 240] - 0.5
    for box in boxes:
        assert np.abs(wanted - box[:4]).max(axis=1).min() < 1e-3


def test_detector_in_batches_is_detector_one_by_one(networks):
    detector = person_detector(str(networks / "detector"), networks)
    frames = list(np.random.default_rng(1).integers(0, 255, (5, 120, 160, 3)).astype(np.uint8))
    for together, frame in zip(detector.boxes(frames), frames, strict=True):
        np.testing.assert_allclose(together, detector.boxes([frame])[0], atol=1e-2)


def test_a_detector_that_knows_no_people_is_refused(tmp_path):
    save_detector(tmp_path / "furniture", ("chair", "table"))
    with pytest.raises(PipelineError, match="no detector of people"):
        person_detector(str(tmp_path / "furniture"), tmp_path)


# --- YOLO ------------------------------------------------------------------------------------------------------------


def test_yolo_counts_pixels_from_the_middle_of_the_first(yolo):
    small = np.random.default_rng(2).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    padded = np.full((256, 320, 3), 114, np.uint8)  # as it is letterboxed: grey, eight rows above and below
    padded[8:248] = small
    ((inner,), (outer,)) = (yolo.people([frame]) for frame in (padded, small.repeat(2, axis=0).repeat(2, axis=1)))
    assert len(inner) == len(outer) > 20
    for one, other in zip(inner, outer, strict=True):
        wanted = (one.keypoints_px + 0.5 - (0, 8)) * 2 - 0.5
        within = np.all((wanted > -0.5) & (wanted < (639, 479)), axis=1)  # others are drawn to the picture's edge
        np.testing.assert_allclose(other.keypoints_px[within], wanted[within], atol=0.02)
        assert other.score == pytest.approx(one.score, abs=1e-5)


def test_yolo_is_its_network(yolo):
    import torch

    frame = np.random.default_rng(3).integers(0, 255, (256, 320, 3)).astype(np.uint8)
    (people,) = yolo.people([frame])
    with torch.inference_mode():
        network = yolo._network.model.float().eval()
        raw = network(torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255)[0][0].numpy().T
    best = raw[raw[:, 4].argmax()]
    x, y, width, height = best[:4]
    wanted = np.clip([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 0, [320, 256, 320, 256]) - 0.5
    np.testing.assert_allclose(people[0].box_px, wanted, atol=0.02)
    np.testing.assert_allclose(people[0].confidence, best[5:].reshape(17, 3)[:, 2], atol=1e-3)


def test_yolo_in_batches_is_yolo_one_by_one(yolo):
    frames = list(np.random.default_rng(4).integers(0, 255, (9, 120, 160, 3)).astype(np.uint8))
    for frame, people in zip(frames, yolo.people(frames), strict=True):
        (alone,) = yolo.people([frame])
        assert [one.score for one in people] == sorted((one.score for one in people), reverse=True)
        assert len(alone) == len(people)
        np.testing.assert_allclose(people[0].keypoints_px, alone[0].keypoints_px, atol=0.05)
    assert yolo.people([]) == []


def test_a_yolo_of_other_keypoints_is_refused(tmp_path):
    with pytest.raises(PipelineError, match="COCO's 17"):
        yolo_labeller(str(save_yolo_pose(tmp_path, joints=5)), tmp_path)


def test_vitpose_takes_boxes_of_yolo(networks, yolo):
    labeller = vitpose_labeller("someone/pose", networks, detector=LabellerBoxes(yolo))
    assert labeller.name.endswith(f" boxes {yolo.name}")
    frame = bright_spot(300, 250)
    (people,), (boxes,) = labeller.people([frame]), yolo.people([frame])
    np.testing.assert_array_equal([one.box_px for one in people], [one.box_px for one in boxes])


# --- weights ---------------------------------------------------------------------------------------------------------


def test_absent_weights_are_named_with_the_place_they_belong_to(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        PipelineError, match=rf"model\.safetensors from https://huggingface.co/some/pose into {tmp_path}/weights"
    ):
        transformers_weights("some/pose", tmp_path, download=True)
    with pytest.raises(PipelineError, match=rf"put yolo99-pose\.pt into {tmp_path}/weights"):
        yolo_weights("yolo99-pose", tmp_path)


def test_a_hub_that_cannot_be_reached_is_no_hang(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(PipelineError, match="not on this machine"):
        transformers_weights("some/pose", tmp_path, download=True)


def test_the_local_cache_of_the_hub_is_looked_into(networks, tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit = "0" * 40
    kept = tmp_path / "cache" / "models--some--pose"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(commit)
    (kept / "snapshots").mkdir()
    (kept / "snapshots" / commit).symlink_to(networks / "weights" / "someone" / "pose")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    found = transformers_weights("some/pose", tmp_path)
    assert found.digest == transformers_weights("someone/pose", networks).digest
    assert vitpose_labeller("some/pose", tmp_path, detector=Boxes(BOX)).name == f"vitpose:{found.label} boxes told"


def test_files_that_are_no_weights(tmp_path):
    (tmp_path / "broken.pt").write_bytes(b"not a network")
    with pytest.raises(PipelineError, match="does not load as YOLO pose weights"):
        yolo_labeller(str(tmp_path / "broken.pt"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PipelineError, match=r"there is no model\.safetensors"):
        vitpose_labeller(str(tmp_path / "empty"), tmp_path)
    (tmp_path / "empty" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(PipelineError, match="does not load as a VitPose"):
        vitpose_labeller(str(tmp_path / "empty"), tmp_path, detector=Boxes(BOX))


# --- choosing --------------------------------------------------------------------------------------------------------


def test_auto_suits_the_recording(networks, tmp_path, yolo):
    assert labeller_for("auto", tmp_path, simulated=True).name == f"simulated:{simulated_weights(None, BUNDLED).label}"
    with pytest.raises(PipelineError, match="usyd-community/vitpose-base-simple"):
        labeller_for("auto", tmp_path, simulated=False)
    with pytest.raises(PipelineError, match="rtdetr"):
        labeller_for("vitpose", networks, simulated=True, weights="someone/pose")
    with pytest.raises(PipelineError, match=r"yolo11n-pose\.pt"):
        labeller_for("yolo", tmp_path, simulated=False)
