"""Each defect that labels can have, put into good ones: it flips the verdict and is named."""

import numpy as np
import pytest
from stick_people import RATE_HZ, SIZE, Walker, still

from capture.simulator.actions import ACTIONS, perform
from capture.simulator.camera import Camera
from capture.simulator.motion import placed
from capture.simulator.person import person
from pipeline.labels import Labels, keypoint_table
from pipeline.skeleton import JOINTS, MIRROR_PAIRS
from processing.labelling.agreement import labels_error
from processing.labelling.contact_sheet import suspects
from processing.labelling.findings import Finding
from processing.labelling.quality import LabelQuality, Pictures, measure_labels
from processing.labelling.quality_defects import find_defects

FRAMES = 200
WALKER = Walker(still(0.1), still(2.5))


class Case:
    """Good labels, to spoil."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.places = np.stack([WALKER.joints_px(frame / RATE_HZ) for frame in range(FRAMES)])
        self.places += rng.normal(0, 1.0, self.places.shape)
        self.confidence = np.full((FRAMES, 13), 0.9)
        self.pictures = {"radar_frames": FRAMES, "ambiguous": 0, "without": 0, "frozen": 0, "undecodable": 0}
        self.others: list[Finding] = []
        self.agreement = None
        self.rng = rng

    def judged(self) -> LabelQuality:
        places = np.where(self.confidence[..., None] > 0, self.places, np.nan)
        self.defects = find_defects(places, np.arange(FRAMES), 1 / RATE_HZ)
        return measure_labels(
            recording="r", labeller="me", key="k", simulated=True,
            pictures=Pictures(looked_at=FRAMES - self.pictures["without"] - self.pictures["ambiguous"], **self.pictures),
            confidence=self.confidence, defects=self.defects, others=self.others, people=1, exchanges_s=(),
            scale_source="depth", scaled=int((self.confidence > 0).any(axis=1).sum()), agreement=self.agreement,
        )  # fmt: skip

    def labels(self, labeller: str) -> Labels:
        return Labels(keypoint_table((self.places + 0.5) / np.array(SIZE), self.confidence, None, "none"), labeller)


def jumps(case: Case, share: float) -> None:
    hit = case.rng.random(FRAMES) < share
    case.places[hit, 3] += (180, -60)


def stretched(case: Case, share: float) -> None:
    # An ankle drifts away slowly: nothing jumps, but no shank is twice as long as it is.
    hit = slice(20, 20 + int(share * FRAMES))
    count = case.places[hit].shape[0]
    case.places[hit, 11, 1] += 90 * np.sin(np.linspace(0, np.pi, count))


def flicker(case: Case, noise_px: float) -> None:
    case.places += case.rng.normal(0, noise_px, case.places.shape)


def swapped(case: Case, share: float) -> None:
    hit = np.arange(10, FRAMES, round(1 / share))
    for left, right in MIRROR_PAIRS[3:]:
        case.places[np.ix_(hit, [left, right])] = case.places[np.ix_(hit, [right, left])]


def unsure(case: Case, joints: float) -> None:
    case.confidence[:, : int(joints)] = 0.4


def rarely_found(case: Case, joints: float) -> None:
    case.confidence[: int(0.9 * FRAMES), : int(joints)] = 0


def not_found(case: Case, share: float) -> None:
    case.confidence[: int(share * FRAMES)] = 0


def pictures(name: str):
    def put(case: Case, share: float) -> None:
        case.pictures[name] = int(share * FRAMES)

    return put


def disagrees(case: Case, share: float) -> None:
    other = Case()
    hit = other.rng.random((FRAMES, 13)) < share
    other.places[hit] += 60
    case.agreement = labels_error(case.labels("me"), other.labels("the other"), picture_px=SIZE)


def no_scale(case: Case, share: float) -> None:
    case.others.append(Finding("fail" if share > 1 else "look", "The alignment's verdict is ambiguous."))


DEFECTS = {
    "jumps": (jumps, 0.05, 0.4, "Joints jump faster than people move"),
    "stretched": (stretched, 0.3, None, "Bones are longer than bones are"),
    "flicker": (flicker, 9.0, None, "Bone lengths flicker by"),
    "swaps": (swapped, 0.005, 0.1, "Left and right change places"),
    "unsure": (unsure, 2, 8, "Low confidence: nose (0.40), left shoulder (0.40)"),
    "rare": (rarely_found, 2, 9, "Rarely found: nose (10%), left shoulder (10%)"),
    "absent": (not_found, 0.2, 0.6, "The person is found in"),
    "ambiguous": (pictures("ambiguous"), 0.05, 0.6, "radar frames are matched ambiguously to pictures."),
    "without": (pictures("without"), 0.2, 0.6, "radar frames have no picture near enough in time."),
    "frozen": (pictures("frozen"), 0.05, 0.3, "pictures are frozen"),
    "undecodable": (pictures("undecodable"), 0.02, 0.2, "pictures cannot be decoded."),
    "disagrees": (disagrees, 0.2, 0.5, "lie more than a fifth of a trunk from where the other has them"),
    "elsewhere": (no_scale, 1, 2, "The alignment's verdict is ambiguous."),
}


def test_good_labels_pass_without_a_word():
    case = Case()
    quality = case.judged()
    assert (quality.verdict, quality.reasons) == ("pass", ("Nothing stands out.",))
    assert (quality.jump_share, quality.stretched_share, quality.swaps) == (0.0, 0.0, 0)
    assert 0 < quality.flicker < 0.05
    assert [joint.joint for joint in quality.joints] == list(JOINTS)
    assert quality.joints[0].confidence == pytest.approx(0.9)


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_flips_the_verdict_and_names_itself(name):
    put, look, fail, sentence = DEFECTS[name]
    for amount, verdict in ((look, "look"), (fail, "fail")):
        if amount is None:
            continue
        case = Case()
        put(case, amount)
        quality = case.judged()
        assert quality.verdict == verdict, quality.reasons
        assert sentence in quality.reasons[0]
        if verdict == "look":  # one defect, one sentence; where it is rife it may spoil other measures too
            assert len(quality.reasons) == 1, quality.reasons


def test_fast_people_are_not_called_wrong():
    # Arms up and down in a second, swaying by 2.4 m/s: as fast as exercise gets.
    places = np.stack(
        [
            Walker(lambda t: 0.4 * np.sin(3 * t), still(2.5), wave=1.0).joints_px(2 * t)
            for t in np.arange(FRAMES) / RATE_HZ
        ]
    )
    defects = find_defects(places, np.arange(FRAMES), 1 / RATE_HZ)
    assert defects.jumped.sum() == 0
    assert defects.stretched.sum() == 0
    assert defects.swapped.sum() == 0


def test_a_gap_in_the_frames_is_no_step():
    case = Case()
    case.places[100:] += 150
    frames = np.concatenate([np.arange(100), np.arange(150, 250)])
    assert find_defects(case.places, frames, 1 / RATE_HZ).jumped.sum() == 0
    assert find_defects(case.places, np.arange(FRAMES), 1 / RATE_HZ).jumped[100].sum() > 5


def test_the_worst_frames_are_those_with_the_defects():
    case = Case()
    case.places[60, 3] += (200, 0)
    case.confidence[120, [11, 12]] = 0
    for left, right in MIRROR_PAIRS[:3]:
        case.places[170, [left, right]] = case.places[170, [right, left]]
    case.judged()
    worst = suspects(case.defects, case.confidence, [30], count=4)
    assert {one.place for one in worst[:3]} <= {30, 60, 61, 170, 171}
    why = {one.place: one.why for one in worst}
    assert why[30].startswith("somebody else?")
    assert "left wrist jumped" in why[60]
    assert "arms exchanged" in why.get(170, "") + why.get(171, "")


def test_agreement_counts_what_both_have_and_measures_in_the_named_units():
    first, second = Case(), Case()
    second.places = first.places + np.array([3.0, 4.0])
    first.confidence[:50, 3] = 0
    error = labels_error(first.labels("a"), second.labels("b"), picture_px=SIZE)
    assert (error.labeller, error.against, error.compared) == ("a", "b", FRAMES * 13 - 50)
    assert error.found_share == pytest.approx(1 - 50 / (FRAMES * 13))
    assert error.mean_px == pytest.approx(5.0, abs=1e-3)
    assert error.mpjpe_norm == pytest.approx(np.hypot(3 / 640, 4 / 480), abs=1e-5)
    assert (error.pck_torso_02, error.pck_norm_005) == (1.0, 1.0)
    assert error.mpjpe_plane_m is None
    assert error.joints[3].compared == FRAMES - 50


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_no_action_people_do_is_called_a_defect(action):
    motion = placed(perform(action, person(1), 1, 8.0), 2.5, 0.0, 0.0)
    times_s = np.arange(80) / RATE_HZ
    u, v, _ = Camera().project(motion.joints_at(times_s)[:, : len(JOINTS)])
    places = np.stack([u, v], axis=-1) + np.random.default_rng(0).normal(0, 1.5, (80, 13, 2))
    defects = find_defects(places, np.arange(80), 1 / RATE_HZ)
    assert defects.jumped.sum() == 0
    assert defects.stretched_share < 0.002
    assert defects.swapped.sum() == 0
    assert np.nanmedian(defects.flicker) < 0.08
