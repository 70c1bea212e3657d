"""Rendered people, one of whom walks through between camera and person: pictures' own depth, visibility and boxes."""

from dataclasses import replace

import numpy as np
import pytest
from stick_people import person_at

from capture.simulator.actions import perform
from capture.simulator.body import BODY_JOINTS
from capture.simulator.camera import D455_640X480, Camera, scaled
from capture.simulator.motion import placed
from capture.simulator.person import person
from capture.simulator.render import VISIBLE, Renderer, posed
from capture.simulator.room import lab_room
from pipeline.camera_frames import StreamIntrinsics
from pipeline.skeleton import COCO_INDEX
from processing.labelling.config import LabelConfig
from processing.labelling.people import Person
from processing.labelling.scale import depth_at, metres_by_depth, plane_depth
from processing.labelling.thirteen import TRUNK, thirteen_joints
from processing.labelling.tracking import track_people

FRAMES, RATE_HZ = 60, 10.0
HALF = scaled(D455_640X480, 0.5)
LENS = StreamIntrinsics(width=HALF.width, height=HALF.height, fx=HALF.fx, fy=HALF.fy, cx=HALF.cx, cy=HALF.cy)
SIZE = (HALF.width, HALF.height)


@pytest.fixture(scope="module")
def pictures():
    renderer = Renderer(Camera(HALF), lab_room(seed=1), seed=1)
    about = placed(perform("arm-raise", person(3), 1, FRAMES / RATE_HZ), 2.6, 0.0, 0.0)
    other = placed(perform("stepping", person(8), 2, FRAMES / RATE_HZ), 1.4, 0.0, 0.0)
    shots = []
    for frame in range(FRAMES):
        time_s = frame / RATE_HZ
        passer = posed(other, time_s)
        moved = passer.joints_m + np.array([0.5 * (time_s - 3.0), 0.0, 0.0])
        assert moved.shape == (len(BODY_JOINTS), 3)
        shots.append(renderer.render([posed(about, time_s), replace(passer, joints_m=moved)], time_s))
    return shots


def _seen(picture) -> tuple[list[Person], list[int]]:
    """What a good labeller makes of a picture: visible joints surely, hidden ones hardly, nobody of whom little is seen."""
    rng = np.random.default_rng(int(picture.time_s * 10))
    people, who = [], []
    for body in (1, 0):  # the passer-by, larger and surer, first
        visible = picture.visibility[body] == VISIBLE
        if visible.sum() < 7:
            continue
        places = picture.keypoints_px[body] + rng.normal(0, 1.0, (13, 2))
        found = person_at(places, 0.97 if body else 0.85, np.where(visible, 0.9, 0.15))
        left, right, top, bottom = picture.boxes_px[body]
        people.append(
            Person(np.array([left, top, right + 1, bottom + 1]), found.score, found.keypoints_px, found.confidence)
        )
        who.append(body)
    return people, who


def test_the_person_keeps_their_labels_and_metres_while_somebody_passes_in_front(pictures):
    config = LabelConfig(depth_patch_px=5)
    seen = [_seen(picture) for picture in pictures]
    depths = [
        [depth_at(picture.depth_mm, one.keypoints_px[list(COCO_INDEX)], 0.001, 5) for one in people]
        for picture, (people, _) in zip(pictures, seen, strict=True)
    ]  # fmt: skip
    trunks = [np.array([np.nanmedian(one[list(TRUNK)]) for one in some]).reshape(len(some)) for some in depths]
    times_s = np.arange(FRAMES) / RATE_HZ
    tracking = track_people(times_s, [people for people, _ in seen], trunks, SIZE, config)
    hidden = [frame for frame, (_, who) in enumerate(seen) if 0 not in who]
    assert len(hidden) >= 3
    taken = [who[at] if at >= 0 else -1 for (_, who), at in zip(seen, tracking.chosen.tolist(), strict=True)]
    assert 1 not in taken
    assert sum(one == 0 for one in taken) >= FRAMES - len(hidden) - 3

    about = [people[at] if at >= 0 else None for (people, _), at in zip(seen, tracking.chosen.tolist(), strict=True)]
    places, confidence = thirteen_joints(about, config.min_confidence, SIZE)
    depth_m = np.array(
        [some[at] if at >= 0 else np.full(13, np.nan) for some, at in zip(depths, tracking.chosen, strict=True)]
    )
    depth_m = np.where(confidence > 0, depth_m, np.nan)
    plane_m = plane_depth(np.arange(FRAMES), depth_m, config.scale_window_frames)
    true_m = np.stack([picture.keypoints_m[0] for picture in pictures])
    skin_m = np.nanmedian(true_m[:, list(TRUNK), 2], axis=1) - plane_m
    assert (
        np.abs(skin_m - 0.09).max() < 0.08
    )  # what flesh lies in front of shoulders and hips, never the passer-by's 1.2 m
    xyz_m = metres_by_depth(places, plane_m, LENS)
    apart = np.linalg.norm(xyz_m[..., :2] - true_m[..., :2], axis=-1)
    assert np.nanmedian(apart) < 0.05
    assert np.isnan(xyz_m[hidden]).all()
