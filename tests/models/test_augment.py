"""Symmetries, one test a channel: an augmented clip is the clip of the mirrored, or reversed, person."""

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import torch
from radar_sessions import noise_words, session

from capture.simulator.actions import perform
from capture.simulator.camera import Camera
from capture.simulator.echoes import EchoSynthesiser, element_positions, frame_start_s, window_start_s
from capture.simulator.impairments import Impairments
from capture.simulator.motion import placed
from capture.simulator.people_scene import people_scene
from capture.simulator.person import person
from models.augment import flipped_columns
from models.batch import ClipBatch
from models.clips import clip_table
from models.config import AugmentConfig, ClipConfig
from models.loader import ClipSet
from models.maps import MapReader, fit_clip_config
from models.passersby import Walk, added, moved
from pipeline.errors import PipelineError
from pipeline.skeleton import JOINTS, MIRROR_PAIRS
from pipeline.waveform import PRESETS

W = PRESETS["light"].model_copy(update={"name": "test", "samples": 128, "loops": 32})
FRAMES = 4
BEGIN_S = 1.1  # the arms are in full swing
CLIP = ClipConfig(
    modalities=("rd", "ra"), frames=FRAMES, targets=(0, 2), first_range_m=1.5, range_bins=16, doppler_bins=32, azimuth_bins=64
)  # fmt: skip
MIRROR, REVERSE = AugmentConfig(mirror=1.0), AugmentConfig(reverse=1.0)
SWAPPED = [
    dict([*MIRROR_PAIRS, *(pair[::-1] for pair in MIRROR_PAIRS)]).get(joint, joint) for joint in range(len(JOINTS))
]


class Seen:
    """A person in an empty room, as they are, mirrored about the array's middle, or backwards about the clip's."""

    def __init__(self, *, mirrored: bool = False, backwards: bool = False) -> None:
        self._motion = placed(perform("arm-swing", person(7), 1, 5.0), 2.3, 0.2)
        self._scene = people_scene([self._motion])
        tx, rx = element_positions(W)
        self._middle_m = float((tx[:, 0].mean() + rx[:, 0].mean()) / 2)
        starts = [frame_start_s(W, index) for index in (0, FRAMES - 1)]
        edges = window_start_s(W).ravel()[[0, -1]] + 0.5 * W.samples / W.sample_rate_hz
        self._middle_s = (starts[0] + edges[0] + starts[1] + edges[1]) / 2
        self._mirrored, self._backwards = mirrored, backwards

    def _times(self, times_s):
        return BEGIN_S + (2 * self._middle_s - times_s if self._backwards else times_s)

    def scatterers_at(self, times_s):
        positions, amplitude = self._scene.scatterers_at(self._times(times_s))
        if self._mirrored:
            positions = positions.copy()
            positions[:, :, 0] = 2 * self._middle_m - positions[:, :, 0]
        return positions, amplitude

    def room(self):
        return np.zeros((0, 3)), np.zeros(0)

    def uv(self):
        """Where the camera sees the joints at the middle of every frame, shares of the picture."""
        edges = window_start_s(W).ravel()[[0, -1]] + 0.5 * W.samples / W.sample_rate_hz
        times_s = np.array([frame_start_s(W, index) + edges.mean() for index in range(FRAMES)])
        joints = self._motion.joints_at(self._times(times_s))[:, : len(JOINTS)]
        if self._mirrored:
            joints = joints[:, SWAPPED] * [-1, 1, 1]  # about the camera, 3 mm from the array's middle
        u, v, _ = Camera().project(joints)
        return np.stack([(u + 0.5) / 640, (v + 0.5) / 480], axis=-1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("augment")
    for name, seen in (("as-is", Seen()), ("mirrored", Seen(mirrored=True)), ("backwards", Seen(backwards=True))):
        echoes = EchoSynthesiser(seen, W, impairments=Impairments(noise_lsb=0.5), gain=20_000.0)
        words = [echoes.frame(index, frame_start_s(W, index)) for index in range(FRAMES)]
        confidence = np.ones((FRAMES, len(JOINTS)))
        confidence[2, SWAPPED[3] if name == "mirrored" else 3] = 0  # frame 2, left wrist: not seen
        if name == "backwards":
            confidence = confidence[::-1]
        session(root, name, words, waveform=W, uv=seen.uv(), confidence=confidence)
    return root


def clip_of(root, name: str, augment: AugmentConfig | None = None, **clip: object) -> ClipBatch:
    config = fitted(root).model_copy(update=clip)
    table = clip_table(root, [name], config, stride=1, labelled=True)
    return ClipSet(root, table, config, labelled=True, augment=augment).batch([0], epoch=0)


@lru_cache
def fitted(root) -> ClipConfig:
    return fit_clip_config(root, ["as-is"], CLIP)


def likeness(first: torch.Tensor, second: torch.Tensor) -> float:
    """Correlation of the cells that stand out of the noise in either."""
    bright = torch.maximum(first, second) > 0.45
    assert bright.sum() > 150
    return float(np.corrcoef(first[bright], second[bright])[0, 1])


CASES = [
    (MIRROR, "mirrored", "rd"), (MIRROR, "mirrored", "ra"), (REVERSE, "backwards", "rd"), (REVERSE, "backwards", "ra"),
]  # fmt: skip


@pytest.mark.parametrize(("augment", "truth", "channel"), CASES)
def test_an_augmented_map_is_the_map_of_the_other_person(root, augment, truth, channel):
    made, there = (clip.maps[channel] for clip in (clip_of(root, "as-is", augment), clip_of(root, truth)))
    assert likeness(made, there) > 0.99
    # and nothing else would do: neither the other flip of columns nor the frames the other way round
    assert likeness(flipped_columns(made), there) < 0.9
    assert likeness(made.flip(2), there) < likeness(made, there) - 0.01


@pytest.mark.parametrize(("augment", "truth"), [(MIRROR, "mirrored"), (REVERSE, "backwards")])
def test_augmented_labels_are_the_labels_of_the_other_person(root, augment, truth):
    made, there = clip_of(root, "as-is", augment), clip_of(root, truth)
    assert torch.allclose(made.uv, there.uv, atol=1e-5)
    assert torch.equal(made.confidence, there.confidence)
    assert not torch.allclose(made.uv, clip_of(root, "as-is").uv, atol=0.01)
    assert made.confidence.sum() == (2 * 13 - 1 if truth == "mirrored" else 2 * 13)


def test_reversed_targets_are_read_at_the_frames_they_came_from(root):
    uv = Seen().uv()
    made = clip_of(root, "as-is", REVERSE)
    assert np.allclose(made.uv[0].numpy(), uv[[FRAMES - 1 - 0, FRAMES - 1 - 2]], atol=1e-6)


def test_twice_mirrored_and_twice_reversed_is_as_before():
    for columns in (16, 15):
        values = torch.rand(1, 1, 2, 3, columns)
        assert torch.equal(flipped_columns(flipped_columns(values)), values)
        zero = columns // 2
        assert torch.equal(flipped_columns(values)[..., zero], values[..., zero])
        assert torch.equal(flipped_columns(values)[..., zero + 2], values[..., zero - 2])


def test_the_boresight_is_where_the_mirror_stands(root):
    plain = clip_of(root, "as-is")
    made = clip_of(root, "as-is", MIRROR.model_copy(update={"boresight_u": 0.45}))
    seen = made.confidence[0, 0] > 0
    assert torch.allclose(made.uv[0, 0, seen, 0], 0.9 - plain.uv[0, 0, SWAPPED][seen, 0])
    # a joint that the mirror puts outside the picture is masked
    far = clip_of(root, "as-is", MIRROR.model_copy(update={"boresight_u": -0.1}))
    assert not far.confidence.any()
    assert not far.uv.any()


def test_noise_and_level_are_in_decibels_of_the_window(root):
    low, high = fitted(root).window_db["rd"]
    plain = clip_of(root, "as-is").maps["rd"]
    inside = (plain > 0.2) & (plain < 0.8)
    noisy = clip_of(root, "as-is", AugmentConfig(noise_db=2.0)).maps
    change = (noisy["rd"] - plain)[inside] * (high - low)
    assert float(change.std()) == pytest.approx(2.0, rel=0.1)
    assert float(change.mean()) == pytest.approx(0.0, abs=0.3)
    assert noisy["rd"].min() >= 0
    assert noisy["rd"].max() <= 1
    shifts = []
    table = clip_table(root, ["as-is"], fitted(root), stride=1, labelled=False)
    for seed in range(40):
        set_ = ClipSet(root, table, fitted(root), labelled=False, augment=AugmentConfig(level_db=3.0), seed=seed)
        change = (set_.batch([0]).maps["rd"] - plain)[inside] * (high - low)
        assert float(change.std()) < 1e-3
        shifts.append(float(change.mean()))
    assert max(map(abs, shifts)) <= 3.0
    assert np.std(shifts) == pytest.approx(3.0 / np.sqrt(3), rel=0.35)


def test_both_modalities_have_noise_of_their_own(root):
    made, plain = clip_of(root, "as-is", AugmentConfig(noise_db=1.0)).maps, clip_of(root, "as-is").maps
    rd = (made["rd"] - plain["rd"])[0, 0, :, :, :32].flatten()
    ra = (made["ra"] - plain["ra"])[0, 0, :, :, :32].flatten()
    assert abs(np.corrcoef(rd, ra)[0, 1]) < 0.1


BY = {"there": np.array([True]), "of": np.array([0]), "gain_db": np.array([0.0])}


def passing(*, range_m: float = 0.0, speed_mps: float = 0.0, azimuth: float = 0.0) -> Walk:
    return Walk(**BY, range_m=np.array([range_m]), speed_mps=np.array([speed_mps]), azimuth=np.array([azimuth]))


def test_powers_of_two_people_together_are_the_map_of_both(tmp_path):
    first, second = (
        placed(perform(action, person(7 + number), 1, 5.0), 1.8 + 0.6 * number, 0.3 - 0.6 * number)
        for number, action in enumerate(("arm-swing", "arm-flap"))
    )
    for name, people in (("first", [first]), ("second", [second]), ("both", [first, second])):
        echoes = EchoSynthesiser(people_scene(people), W, impairments=Impairments(noise_lsb=0.5), gain=20_000.0)
        words = [echoes.frame(index, BEGIN_S + frame_start_s(W, index)) for index in range(FRAMES)]
        session(tmp_path, name, words, waveform=W)
    wide = CLIP.model_copy(update={"first_range_m": 1.2, "range_bins": 40})
    clip = fit_clip_config(tmp_path, ["first", "second", "both"], wide)
    # side lobes in azimuth lie under the other person, where phases have their say
    for channel, wanted in (("rd", 0.999), ("ra", 0.9)):
        first, second, both = (
            torch.from_numpy(MapReader(tmp_path, name, clip).scaled(channel, 0, FRAMES))
            for name in ("first", "second", "both")
        )
        assert likeness(added(channel, first, second, clip, 0.0), both) > wanted
        assert likeness(first, both) < 0.7
        # weaker by more than the window is deep: not there
        assert torch.allclose(added(channel, first, second, clip, -200.0), first, atol=1e-5)


def test_who_passes_by_is_elsewhere_and_walks(root):
    clip = fitted(root)
    spot = torch.zeros(FRAMES, *clip.map_shape("rd"))
    spot[:, 5, 16] = 1.0
    still = moved("rd", spot, clip, passing(range_m=2 * clip.range_step_m), 0, 0.1)
    assert torch.nonzero(still[:, :, 16])[:, 1].tolist() == [7] * FRAMES
    speed = 2 * clip.velocity_step_mps
    period_s = clip.range_step_m / speed  # a row a frame
    walking = moved("rd", spot, clip, passing(speed_mps=speed), 0, period_s)
    assert torch.nonzero(walking).tolist() == [[frame, 5 + frame, 18] for frame in range(FRAMES)]
    spot = torch.zeros(FRAMES, *clip.map_shape("ra"))
    spot[:, 5, 32] = 1.0
    right = moved("ra", spot, clip, passing(speed_mps=-speed, azimuth=0.25), 0, period_s)
    assert torch.nonzero(right).tolist() == [[frame, 5 - frame, 48] for frame in range(FRAMES)]
    assert not moved("ra", spot, clip, passing(range_m=-50.0), 0, 0.1).any()  # out of the maps


def test_people_walk_past_some_clips_and_change_no_label(root):
    table = pd.concat([clip_table(root, ["as-is"], fitted(root), stride=1, labelled=True)] * 40, ignore_index=True)
    made = ClipSet(root, table, fitted(root), labelled=True, augment=AugmentConfig(passersby=0.5)).batch(range(40))
    plain = clip_of(root, "as-is")
    changed = [not torch.equal(values, plain.maps["ra"][0]) for values in made.maps["ra"]]
    assert 10 <= sum(changed) <= 30
    for values in made.maps.values():
        assert values.min() >= 0
        assert values.max() <= 1
    assert torch.equal(made.uv, plain.uv.expand_as(made.uv))
    more = (made.maps["ra"] - plain.maps["ra"]).min()
    assert more > -1e-5  # power is added, never taken away


def test_what_is_no_symmetry_is_refused(root, tmp_path):
    session(tmp_path, "r", noise_words(8), cube=None)
    clip = fitted(root)
    table = clip_table(root, ["as-is"], clip, stride=1, labelled=True)
    with pytest.raises(PipelineError, match="lack TDM compensation"):
        ClipSet(root, table, clip.model_copy(update={"cube": "paper"}), labelled=True, augment=MIRROR)
    with pytest.raises(PipelineError, match="have no dB"):
        ClipSet(root, table, clip.model_copy(update={"scaling": "frame-minmax"}), labelled=True,
                augment=AugmentConfig(noise_db=1.0))  # fmt: skip
    with pytest.raises(PipelineError, match="preset 'default'"):
        ClipSet(root, table, clip.model_copy(update={"cube": "paper"}), labelled=True,
                augment=AugmentConfig(passersby=0.5))  # fmt: skip
