"""Which instant of a session is drawn."""

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import PipelineError
from pipeline.labels import Labels, keypoint_table
from processing.instant_picture import _liveliest


def labels_of(place: np.ndarray) -> Labels:
    """Everybody's joints at (place, place), a share of the picture a frame; NaN: nobody was found."""
    uv = np.repeat(np.repeat(place[:, None, None], 13, axis=1), 2, axis=2)
    confidence = np.where(np.isnan(uv[..., 0]), 0.0, 0.9)
    return Labels(keypoint_table(uv, confidence, None, "none"), "test")


def test_the_liveliest_frame_is_found_where_frames_at_the_beginning_show_nobody():
    labels = labels_of(np.array([np.nan, np.nan, np.nan, 0.4, 0.41, 0.6, 0.61]))
    good = pd.DataFrame({"radar_frame": np.arange(7)})
    assert _liveliest(labels, good, 7) == 5
    assert _liveliest(labels, good, 5) == 4  # the cube ends before the liveliest


def test_a_session_that_shows_nobody_is_said():
    labels = labels_of(np.full(4, np.nan))
    with pytest.raises(PipelineError, match="no instant to draw"):
        _liveliest(labels, pd.DataFrame({"radar_frame": np.arange(4)}), 4)
