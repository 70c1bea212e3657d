import numpy as np
import pytest

from pipeline.camera_frames import StreamIntrinsics
from pipeline.camera_geometry import (
    distort_px,
    metres_to_pixel,
    pixel_to_metres,
    shares_px,
    undistort_px,
    undistorted,
    uv_shares,
)
from pipeline.errors import PipelineError

INTRINSICS = StreamIntrinsics(
    width=640, height=480, fx=384.0, fy=380.0, cx=322.5, cy=236.0, distortion=(-0.056, 0.066, 0.0006, -0.0003, -0.02)
)


def test_undistortion_is_the_inverse_of_the_lens_all_over_the_picture():
    rows, columns = np.mgrid[:480:20, :640:20].astype(np.float64)
    taken = np.stack([columns, rows], axis=-1)
    straight = undistort_px(taken, INTRINSICS)
    assert np.abs(straight - taken).max() > 1.0  # the lens does bend the corners
    np.testing.assert_allclose(distort_px(straight, INTRINSICS), taken, atol=1e-5)


def test_the_lens_is_the_one_opencv_knows():
    cv2 = pytest.importorskip("cv2")
    points = np.random.default_rng(1).uniform([0, 0], [640, 480], (50, 2))
    matrix = np.array([[INTRINSICS.fx, 0, INTRINSICS.cx], [0, INTRINSICS.fy, INTRINSICS.cy], [0, 0, 1]])
    xyz = pixel_to_metres(points, np.full(50, 2.0), INTRINSICS)
    theirs, _ = cv2.projectPoints(xyz, np.zeros(3), np.zeros(3), matrix, np.array(INTRINSICS.distortion))
    np.testing.assert_allclose(distort_px(points, INTRINSICS), theirs[:, 0], atol=1e-6)


def test_a_joint_that_was_not_found_stays_not_found_and_hinders_no_other():
    points = np.array([[np.nan, np.nan], [10.0, 20.0]])
    straight = undistort_px(points, INTRINSICS)
    assert np.isnan(straight[0]).all()
    np.testing.assert_allclose(straight[1], undistort_px(points[1:], INTRINSICS)[0])


def test_metres_and_pixels_go_both_ways():
    points = np.random.default_rng(2).uniform([-1, -1, 0.5], [1, 1, 4], (3, 13, 3))
    uv = metres_to_pixel(points, INTRINSICS)
    np.testing.assert_allclose(pixel_to_metres(uv, points[..., 2], INTRINSICS), points)
    assert np.isnan(metres_to_pixel(np.array([[0.1, 0.1, -1.0]]), INTRINSICS)).all()


def test_shares_are_of_the_whole_picture():
    corners = np.array([[-0.5, -0.5], [639.5, 479.5], [319.5, 239.5]])
    np.testing.assert_allclose(uv_shares(corners, INTRINSICS), [[0, 0], [1, 1], [0.5, 0.5]])
    np.testing.assert_allclose(shares_px(uv_shares(corners, INTRINSICS), INTRINSICS), corners)


def test_a_lens_without_an_inverse_is_refused():
    with pytest.raises(PipelineError, match="folds the picture over itself"):
        undistorted(np.array([0.9]), np.array([0.9]), (-2.0, 0.0, 0.0, 0.0, 0.0))
