"""Radar, board and camera recorded together, aligned, labelled: the labels against where the joints truly were."""

from benchmarks.labels import record, score_session
from capture.simulator.shown import Act, SceneOrder


def test_labels_of_a_session_lie_where_the_simulated_person_truly_was(tmp_path):
    recording = record(tmp_path, "p01", "arm-raise", 3.0, people=1, seed=0, speed=0.5)
    scene = SceneOrder(seed=0, participant="p01", acts=(Act(action="arm-raise", start_s=0.0, stop_s=3.0),))
    score = score_session(tmp_path, recording, scene)
    assert score.frames >= 10
    assert score.labelled >= 0.9 * score.frames
    assert score.pck_torso > 0.8
    assert score.pck_picture > 0.85
    assert score.xy_m < 0.1
    assert score.verdict in ("pass", "look")
