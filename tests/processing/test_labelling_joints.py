"""From 17 keypoints to 13 joints, smoothed and in metres, each step by itself."""

import numpy as np
import pytest
from stick_people import CENTRE, FOCAL, SIZE, Walker, person_at, still

from pipeline.camera_frames import StreamIntrinsics
from pipeline.skeleton import COCO_INDEX, JOINTS
from processing.labelling.config import OneEuro
from processing.labelling.people import COCO_KEYPOINTS, Person
from processing.labelling.scale import depth_at, hidden_in_front, metres_by_depth, plane_depth
from processing.labelling.smoothing import one_euro
from processing.labelling.thirteen import thirteen_joints

LENS = StreamIntrinsics(width=SIZE[0], height=SIZE[1], fx=FOCAL, fy=FOCAL, cx=CENTRE[0], cy=CENTRE[1])


def test_the_order_is_the_papers():
    keypoints = np.stack([np.arange(17.0), 100 + np.arange(17.0)], axis=-1)
    places, confidence = thirteen_joints([Person(np.zeros(4), 1.0, keypoints, np.ones(17)), None], 0.3, SIZE)
    assert [COCO_KEYPOINTS[int(column)] for column in places[0, :, 0]] == list(JOINTS)
    assert (confidence[0] == 1).all()
    assert np.isnan(places[1]).all()
    assert (confidence[1] == 0).all()


def test_unsure_joints_and_those_outside_the_picture_are_masked():
    joints = Walker(still(0.0), still(2.5)).joints_px(0.0)
    joints[12] = (300.0, 500.0)
    sure = np.full(13, 0.8)
    sure[[3, 5]] = 0.29, 0.3
    places, confidence = thirteen_joints([person_at(joints, confidence=sure)], 0.3, SIZE)
    assert np.flatnonzero(confidence[0] == 0).tolist() == [3, 12]
    assert np.isnan(places[0, [3, 12]]).all()
    assert places[0, 5] == pytest.approx(joints[5])


def _one_euro_by_the_paper(values, rate_hz, settings):
    """Algorithm 1 and 2 of Casiez, Roussel and Vogel (2012), for one coordinate pair."""

    def alpha(cutoff):
        return 1 / (1 + rate_hz / (2 * np.pi * cutoff))

    out, speed = [values[0]], np.zeros(2)
    for value in values[1:]:
        a = alpha(settings.speed_cutoff_hz)
        speed = a * (value - out[-1]) * rate_hz + (1 - a) * speed
        a = alpha(settings.min_cutoff_hz + settings.beta * np.hypot(*speed))
        out.append(a * value + (1 - a) * out[-1])
    return np.array(out)


def test_one_euro_is_the_papers_filter():
    rng = np.random.default_rng(0)
    values = 0.5 + np.cumsum(rng.normal(0, 0.01, (40, 2)), axis=0)
    settings = OneEuro(min_cutoff_hz=1.2, beta=3.0)
    smooth = one_euro(values[:, None], np.arange(40) / 10, settings, 0.15)
    assert smooth[:, 0] == pytest.approx(_one_euro_by_the_paper(values, 10.0, settings))


def test_smoothing_never_reaches_across_a_gap():
    values = np.repeat(np.array([0.2] * 10 + [np.nan] * 3 + [0.8] * 10), 2).reshape(-1, 1, 2)
    smooth = one_euro(values, np.arange(23) / 10, OneEuro(min_cutoff_hz=0.1, beta=0.0), 0.15)
    assert np.isnan(smooth[10:13]).all()
    assert smooth[13:] == pytest.approx(0.8)
    times_s = np.concatenate([np.arange(10), 20 + np.arange(10)]) / 10
    jumped = np.repeat(np.array([0.2] * 10 + [0.8] * 10), 2).reshape(-1, 1, 2)
    assert one_euro(jumped, times_s, OneEuro(min_cutoff_hz=0.1, beta=0.0), 0.15)[10:] == pytest.approx(0.8)
    slow = one_euro(jumped, np.arange(20) / 10, OneEuro(min_cutoff_hz=0.1, beta=0.0), 0.15)
    assert slow[10, 0, 0] < 0.3


def test_depth_is_the_median_of_what_is_not_a_hole():
    picture = np.full((48, 64), 2000, np.uint16)
    picture[10:13, 20:23] = 0
    picture[30:40, 30:40] = 0
    picture[0:5, 0:5] = 60_000
    places = np.array([[21.0, 11.0], [34.0, 34.0], [1.0, 1.0], [np.nan, 5.0], [-4.0, 5.0], [63.0, 47.0]])
    found = depth_at(picture, places, 0.001, 7)
    assert found[[0, 5]] == pytest.approx(2.0)
    assert np.isnan(found[1:5]).all()


def test_the_plane_is_one_depth_a_window_whoever_passes_in_front():
    frames = np.arange(60)
    depth_m = np.full((60, 13), 2.5) + np.random.default_rng(0).normal(0, 0.03, (60, 13))
    depth_m[:, 3] = 1.9  # a hand held out does not count
    depth_m[20:26, [1, 7]] = 1.2  # a bystander's arm over one side
    depth_m[30:36] = np.nan
    plane = plane_depth(frames, depth_m, 20)
    assert plane == pytest.approx(np.full(60, 2.5), abs=0.03)
    alone = plane_depth(np.array([0, 100, 200]), depth_m[[0, 32, 1]], 20)
    assert np.isfinite(alone).tolist() == [True, False, True]
    hidden = hidden_in_front(depth_m, plane)
    assert hidden[20:26, [1, 7]].all()
    assert hidden.sum() == 12


def test_a_plane_follows_a_person_who_walks():
    frames = np.arange(50)
    walk = 4.0 - 0.04 * frames
    plane = plane_depth(frames, np.repeat(walk[:, None], 13, axis=1), 20)
    assert plane[10:40] == pytest.approx(walk[10:40], abs=0.03)


def test_metres_are_those_of_the_definition():
    places = np.full((2, 13, 2), np.nan)
    places[:, 0] = (CENTRE[0] + 100, CENTRE[1] - 50)
    xyz_m = metres_by_depth(places, np.array([2.0, np.nan]), LENS)
    assert xyz_m[0, 0] == pytest.approx((100 * 2 / FOCAL, -50 * 2 / FOCAL, 2.0))
    assert np.isnan(xyz_m[0, 1:]).all()
    assert np.isnan(xyz_m[1]).all()
    assert len(COCO_INDEX) == places.shape[1]
