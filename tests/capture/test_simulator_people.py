"""People, rooms and boards as the radar simulator models them, part by part."""

import numpy as np
import pytest

from capture.simulator.actions import ACTIONS, perform
from capture.simulator.antenna_pattern import field_factor, one_way_loss_db
from capture.simulator.body import INDEX
from capture.simulator.echoes import EchoSynthesiser, direct_sum, simulate_frames
from capture.simulator.impairments import GOOD_BOARD, IDEAL, NOISY_BOARD, PRESETS, Impairments, board
from capture.simulator.motion import PlacedMotion, placed
from capture.simulator.people_scene import PeopleScene, people_scene
from capture.simulator.person import person
from capture.simulator.radar_body import RadarBody, joined
from capture.simulator.radar_body_kernels import LIFT_M, PENUMBRA_M, visible
from capture.simulator.radar_room import restless, still_scatterers
from capture.simulator.room import lab_room, studio_room
from capture.simulator.scene import EchoingScene, PointScene, Scatterer, Scene, line
from capture.simulator.shown import Act, SceneOrder, shown, shown_person, shown_scene
from pipeline.errors import PipelineError
from pipeline.waveform import PRESETS as WAVEFORMS
from processing.adc import decode

SMALL = WAVEFORMS["light"].model_copy(update={"name": "test", "loops": 32, "samples": 64, "period_ms": 20.0})
KNOTS = np.arange(17) * 2.5e-3


def standing(seed: int = 1, action: str = "head-turn", **where: float) -> PlacedMotion:
    return placed(perform(action, person(seed), seed, 8.0), where.pop("distance_m", 2.5), **where)


# --- bodies ----------------------------------------------------------------------------------------------------------


def seen_by_definition(point, own, a, b, radius_a, radius_b, buried):
    """`visible` for one point, by trying every place on its sight line and on every limb's axis."""
    sight = point * np.linspace(0, 1 - LIFT_M / np.linalg.norm(point), 1501)[:, None]
    seen = 1.0
    for limb in range(len(a)):
        if limb == own:
            continue
        share = np.linspace(0, 1, 201)[:, None]
        axis, radius = (
            a[limb] + share * (b[limb] - a[limb]),
            (radius_a[limb] + share * (radius_b[limb] - radius_a[limb])).ravel(),
        )
        apart = np.linalg.norm(sight[:, None] - axis[None], axis=2) - radius
        # The kernel measures to the nearest point of the axis, as a capsule that hardly tapers has it.
        step = np.unravel_index(np.argmin(apart + radius), apart.shape)
        seen *= rise(apart[step] / PENUMBRA_M)
        if buried:
            depth = np.linalg.norm(point - axis, axis=1)
            inside = depth.min() - radius[np.argmin(depth)]
            seen *= rise((inside + PENUMBRA_M / 2) / (PENUMBRA_M / 2))
    return seen


def rise(x: float) -> float:
    u = np.clip((x + 1) / 2, 0, 1)
    return float(u * u * (3 - 2 * u))


@pytest.mark.parametrize("buried", [True, False])
def test_what_hides_what_is_as_defined(buried):
    rng = np.random.default_rng(3)
    limbs, points = 3, 12
    a = rng.uniform((-0.3, 1.0, -0.5), (0.3, 2.5, 0.5), (1, limbs, 3))
    b = a + rng.uniform(-0.3, 0.3, (1, limbs, 3))
    ra, rb = rng.uniform(0.03, 0.12, (2, limbs))
    at = rng.uniform((-0.4, 1.5, -0.6), (0.4, 3.0, 0.6), (1, points, 3))
    own = rng.integers(-1, limbs, points)
    out = np.ones((1, points))
    visible(at, own, a, b, ra, rb, buried, out)
    expected = [seen_by_definition(at[0, n], own[n], a[0], b[0], ra, rb, buried) for n in range(points)]
    assert 0 < np.mean(expected) < 1
    np.testing.assert_allclose(out[0], expected, atol=0.03)


def test_scatterers_stay_on_the_skin_and_do_not_spin():
    who = person(4)
    body = RadarBody(who)
    times = np.arange(0, 8.0, 2.5e-3)
    for action in ("arm-raise", "arm-swing", "torso-twist", "standing-heart-opener", "reverse-warrior-reach"):
        motion = placed(perform(action, who, 2, 8.0), 2.5)
        joints = motion.joints_at(times)
        points, normals = body.surface(joints, np.zeros(len(times)))
        ends = body.ends(joints)
        axis = ends.b_m - ends.a_m
        length = np.linalg.norm(axis, axis=2, keepdims=True)
        away = points - ends.a_m[:, body.limb]
        unit = (axis / length)[:, body.limb]
        off = np.linalg.norm(away - np.sum(away * unit, axis=2, keepdims=True) * unit, axis=2)
        assert np.all(np.ptp(off, axis=0) < 0.002)  # rigid on its limb
        assert np.all((off[0] > 0.009) & (off[0] < 0.25))
        np.testing.assert_allclose(np.linalg.norm(normals, axis=2), 1.0, atol=1e-9)
        joint_speed = np.linalg.norm(np.diff(joints, axis=0), axis=2).max() / 2.5e-3
        speed = np.linalg.norm(np.diff(points, axis=0), axis=2).max() / 2.5e-3
        assert speed < 1.6 * joint_speed + 0.3, action


@pytest.mark.parametrize("seed", range(4))
def test_an_adult_is_as_bright_as_measured(seed):
    scene = people_scene([standing(seed)])
    area = np.mean([np.sum(scene.scatterers_at(t + KNOTS)[1] ** 2, axis=1).mean() for t in np.arange(0, 6, 0.5)])
    assert -11 < 10 * np.log10(area) < 0


def test_amplitudes_fade_smoothly_and_repeat():
    scene, again = (people_scene([standing(3, "arm-swing")]) for _ in range(2))
    times = np.arange(0, 3, 2.5e-3)
    _, amplitude = scene.scatterers_at(times)
    np.testing.assert_array_equal(amplitude, again.scatterers_at(times)[1])
    step = np.abs(np.diff(amplitude, axis=0)).max(axis=0)
    assert np.all(step < 0.35 * np.abs(amplitude).max(axis=0) + 1e-6)
    assert np.mean(amplitude.max(axis=0) > 0) > 0.4
    assert np.any(
        amplitude != people_scene([standing(4, "arm-swing")]).scatterers_at(times)[1][:, : amplitude.shape[1]]
    )


def test_breathing_moves_the_chest_and_not_the_legs():
    motion, body = standing(2), RadarBody(person(2))
    joints = motion.joints_at(np.zeros(2))
    points, _ = body.surface(joints, np.array([-0.004, 0.004]))
    moved = np.linalg.norm(points[1] - points[0], axis=1)
    names = np.array([limb.name for limb in body.limbs])[body.limb]
    assert 0.006 < moved[names == "chest"].max() <= 0.008
    assert moved[np.char.find(names, "shank") >= 0].max() < 1e-9


def test_whoever_stands_in_front_hides_whoever_stands_behind():
    front, behind = standing(1, distance_m=1.6), standing(2, distance_m=3.0)
    count = len(RadarBody(person(2)).limb)
    alone = np.sum(people_scene([behind]).scatterers_at(KNOTS)[1][:, :count] ** 2)
    both = np.sum(people_scene([front, behind]).scatterers_at(KNOTS)[1][:, count : 2 * count] ** 2)
    assert 0 <= both < 0.3 * alone
    aside = standing(1, distance_m=1.6, bearing_rad=0.6)
    assert np.sum(people_scene([aside, behind]).scatterers_at(KNOTS)[1][:, count : 2 * count] ** 2) > 0.95 * alone


def test_a_body_takes_away_what_it_stands_in_front_of():
    room = lab_room(1)
    scene = people_scene([standing(1, distance_m=1.5)], room)
    still, amplitude = scene.room()
    positions, moving = scene.scatterers_at(KNOTS)
    shadow = moving[0] < 0
    assert 0 < shadow.sum() < 24
    for place, taken in zip(positions[0, shadow], moving[0, shadow], strict=True):
        nearest = np.argmin(np.linalg.norm(still - place, axis=1))
        np.testing.assert_allclose(still[nearest], place)
        assert 0 < -taken <= amplitude[nearest]
        assert abs(np.arctan2(place[0], place[1])) < 0.35  # behind the person


# --- mirrors and rooms -----------------------------------------------------------------------------------------------


def test_a_mirror_lengthens_the_way_there_or_back():
    room = lab_room(2)
    scene = people_scene([standing(1)], room)
    assert isinstance(scene, Scene)
    assert isinstance(scene, EchoingScene)
    assert not isinstance(PointScene(), EchoingScene)
    sent, heard, amplitude = scene.bounces_at(KNOTS)
    direct = scene.scatterers_at(KNOTS)
    ways = np.linalg.norm(sent, axis=2) + np.linalg.norm(heard, axis=2)
    assert ways.min() > 2 * 2.2
    assert np.sum(amplitude[0] ** 2) < np.sum(direct[1][0] ** 2)
    images = heard[0][np.abs(sent[0] - heard[0]).max(axis=1) > 0.1]
    assert images[:, 2].min() < -room.radar_height_m  # below the floor
    assert images[:, 0].max() > room.right_m
    assert images[:, 0].min() < room.left_m
    assert people_scene([standing(1)]).bounces_at(KNOTS)[0].shape[1] == 0


@pytest.mark.parametrize("make", [lab_room, studio_room])
def test_a_room_is_full_of_fixed_echoes_and_something_stirs(make):
    room = make(5)
    points, amplitude = still_scatterers(room)
    assert len(points) == len(amplitude) > 150
    assert np.all(amplitude > 0)
    low = np.array([room.left_m, room.front_m, -room.radar_height_m]) - 1e-9
    assert np.all((points >= low) & (points <= np.array([room.right_m, room.back_m, room.ceiling_m]) + 1e-9))
    np.testing.assert_array_equal(points, still_scatterers(make(5))[0])
    assert len(still_scatterers(make(6))[0]) != len(points) or np.any(still_scatterers(make(6))[0] != points)
    stir = restless(room)
    at = stir.positions_at(np.arange(0, 10, 0.01))
    travel = np.ptp(at, axis=0).max(axis=1)
    assert np.all(travel[:6] > 0.1)  # the fan
    assert np.all((travel[6:] > 0.001) & (travel[6:] < 0.03))  # the curtain
    assert np.all((at >= low - 0.2) & (at <= np.array([room.right_m, room.back_m, room.ceiling_m]) + 0.2))


def test_a_mean_over_time_does_not_remove_an_empty_room():
    """The trap: with a perfectly static room the mean of all frames leaves nothing but noise."""
    w, room = SMALL.model_copy(update={"samples": 256}), lab_room(3)
    breathing = simulate_frames(
        people_scene([], room), w.model_copy(update={"period_ms": 400.0}), 10, impairments=GOOD_BOARD
    )
    points, amplitude = still_scatterers(room)
    still = PointScene(fixed=tuple((tuple(at), a) for at, a in zip(points.tolist(), amplitude.tolist(), strict=True)))
    dead = simulate_frames(still, w, 10)
    residue = []
    for frames in (breathing, dead):
        mean_over_loops = np.stack([decode(words, w).mean(axis=0) for words in frames])
        residue.append(np.mean(np.abs(np.fft.fft(mean_over_loops - mean_over_loops.mean(axis=0))) ** 2))
    assert 10 * np.log10(residue[0] / residue[1]) > 10


def test_nobody_stands_in_the_radar_or_outside_the_room():
    with pytest.raises(PipelineError, match=r"Person 1 stands 0\.\d\d m from the radar"):
        people_scene([standing(1, distance_m=0.2)])
    with pytest.raises(PipelineError, match="outside the room"):
        people_scene([standing(1, distance_m=9.0)], lab_room(1))


def test_a_rig_shows_who_is_named_doing_what_the_script_says_with_bones_that_keep_their_length():
    scene = shown_scene(SceneOrder(seed=7))
    assert isinstance(scene, PeopleScene)
    assert scene.motions[0].person == person(7)
    named = shown(SceneOrder(seed=7, participant="p01", people=2))[0]
    assert named[0].person == shown_person(SceneOrder(seed=3, participant="p01"))
    assert named[0].person != shown_person(SceneOrder(seed=7, participant="p02"))
    assert len(named) == 2
    assert shown(SceneOrder(people=0))[0] == ()
    acts = (Act(action="arm-raise", start_s=1.0, stop_s=5.0), Act(action="stepping", start_s=7.0, stop_s=11.0))
    motion = shown(SceneOrder(seed=7, participant="p01", acts=acts))[0][0]
    times_s = np.arange(0.0, 12.0, 0.02)
    joints_m = motion.joints_at(times_s)
    speed_mps = np.linalg.norm(np.diff(joints_m, axis=0), axis=2) / 0.02
    assert speed_mps.max() < 6.0  # no jump where one action ends and the next begins
    wrist = INDEX["left_wrist"]
    assert speed_mps[:40, wrist].max() < 0.1  # stands before the first
    assert np.ptp(joints_m[(times_s > 1) & (times_s < 5), wrist, 2]) > 0.3
    for upper, lower in (("left_hip", "left_knee"), ("right_elbow", "right_wrist")):
        bone_m = np.linalg.norm(joints_m[:, INDEX[upper]] - joints_m[:, INDEX[lower]], axis=1)
        assert np.ptp(bone_m) < 1e-6
    unknown = SceneOrder(seed=7, acts=(Act(action="dance", start_s=0.0, stop_s=3.0),))
    assert shown(unknown)[0][0].joints_at(np.zeros(1)).shape == (1, len(INDEX), 3)


# --- antennas and boards ---------------------------------------------------------------------------------------------


def test_the_antenna_pattern_goes_through_its_four_figures():
    for azimuth, elevation, loss in ((0, 0, 0), (28, 0, 3), (-28, 0, 3), (50, 0, 6), (0, 14, 3), (0, -20, 6)):
        found = one_way_loss_db(np.array([float(azimuth)]), np.array([float(elevation)]))[0]
        assert found == pytest.approx(loss, abs=0.4), (azimuth, elevation)
    assert 10 < one_way_loss_db(np.zeros(1), np.array([60.0]))[0] <= 14.1
    ahead = np.array([[0.0, 3.0, 0.0]])
    aside = 3 * np.array([[np.sin(np.radians(28)), np.cos(np.radians(28)), 0.0]])
    scenes = [PointScene(fixed=((tuple(at[0].tolist()), 1.0),)) for at in (ahead, aside)]
    w = SMALL.model_copy(update={"loops": 1})
    wide = Impairments(antenna="awr1843boost")
    powers = [np.mean(np.abs(direct_sum(scene, w, impairments=wide)) ** 2) for scene in scenes]
    assert 10 * np.log10(powers[0] / powers[1]) == pytest.approx(6, abs=0.2)  # there and back
    assert np.all(field_factor(aside, "isotropic") == 1)


def test_an_ideal_board_changes_nothing_and_presets_have_their_names():
    made = board(IDEAL, SMALL)
    np.testing.assert_array_equal(made.factors(3, 1.0), 1)
    assert not np.any(made.added)
    assert set(PRESETS) == {"ideal", "good-board", "noisy-board"}


@pytest.mark.parametrize("wanted", [GOOD_BOARD, NOISY_BOARD])
@pytest.mark.parametrize(
    "waveform", [SMALL.model_copy(update={"loops": 64}), WAVEFORMS["paper"].model_copy(update={"samples": 32})]
)
def test_the_skirt_of_a_static_echo_is_as_wide_as_asked(wanted, waveform):
    """Energy in the 4 Doppler bins on either side over that at zero, far noise taken out, as hardware.md measures it."""
    w = waveform
    scene = PointScene(fixed=(((0.0, 0.5, 0.0), 1.0),))
    echoes = EchoSynthesiser(scene, w, 5, impairments=wanted.model_copy(update={"leak_lsb": 0.0, "dc_lsb": 0.0}))
    ratios = []
    for index in range(12):
        samples = decode(echoes.frame(index, index * w.frame_period_s), w)
        spectra = np.fft.fft(np.fft.fft(samples * np.hanning(w.samples), axis=3), axis=0)
        power = np.mean(np.abs(spectra) ** 2, axis=(1, 2))
        bin_of_it = np.argmax(power[0])
        far = power[w.loops // 4 : -(w.loops // 4), bin_of_it].mean()
        ratios.append((power[1:5, bin_of_it].sum() + power[-4:, bin_of_it].sum() - 8 * far) / power[0, bin_of_it])
    assert np.mean(ratios) == pytest.approx(wanted.skirt_ratio, rel=0.4)


def test_a_board_keeps_its_errors_and_another_has_others():
    two, three = (board(GOOD_BOARD, SMALL.model_copy(update={"tx_order": order}), 1) for order in ((1, 3), (3, 2, 1)))
    np.testing.assert_array_equal(two.channel[0], three.channel[2])
    np.testing.assert_array_equal(two.channel[1], three.channel[0])
    np.testing.assert_array_equal(two.channel, board(GOOD_BOARD, SMALL, 2).channel)
    assert np.any(two.channel != board(GOOD_BOARD.model_copy(update={"board_seed": 1}), SMALL, 1).channel)
    assert 1 < np.degrees(np.angle(two.channel)).std() < 30


def test_leak_and_offset_lie_in_the_first_range_bins():
    w = SMALL.model_copy(update={"samples": 128})
    loud = Impairments(leak_lsb=200.0, dc_lsb=20.0)
    samples = decode(EchoSynthesiser(PointScene(), w, impairments=loud).frame(0, 0.0), w)
    profile = np.mean(np.abs(np.fft.fft(samples * np.hanning(w.samples), axis=3)) ** 2, axis=(0, 1, 2))
    assert np.argmax(profile) <= 3
    assert profile[:5].max() > 1e4 * np.median(profile)
    quiet = decode(EchoSynthesiser(PointScene(), w, impairments=Impairments(dc_lsb=20.0)).frame(0, 0.0), w)
    assert 2 < np.abs(quiet.mean(axis=(0, 1, 3))).max() < 100


def test_fast_and_plain_agree_with_a_person_a_room_and_a_board():
    w = SMALL.model_copy(update={"loops": 6, "samples": 96, "tx_order": (1, 3, 2)})
    scene = people_scene(
        [standing(3, "arm-swing", distance_m=1.8), standing(4, distance_m=3.1, bearing_rad=-0.4)], lab_room(3), 60
    )
    quiet = GOOD_BOARD.model_copy(update={"noise_lsb": 0.0, "leak_lsb": 2000.0, "drift_deg": 20.0})
    exact = direct_sum(scene, w, 2.3, 60_000.0, impairments=quiet, seed=4, index=7)
    fast = decode(EchoSynthesiser(scene, w, 4, impairments=quiet, gain=60_000.0).frame(7, 2.3), w)
    assert 5_000 < np.abs(exact).max() < 32_000
    assert 10 * np.log10(np.mean(np.abs(fast - exact) ** 2) / np.mean(np.abs(exact) ** 2)) < -60


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_every_action_can_be_simulated(action):
    frames = simulate_frames(people_scene([standing(2, action)], lab_room(2)), SMALL, 2, impairments=GOOD_BOARD)
    assert 50 < np.abs(frames.astype(int)).max() < 32767


def test_movers_beyond_half_the_range_keep_their_sign():
    """Beat frequencies over half the sample rate once turned every other block."""
    w = SMALL.model_copy(update={"loops": 4})
    scene = PointScene(moving=(Scatterer(line((0.5, 0.8 * w.range_max_m, 0.0), (0.0, 1.0, 0.0)), 1.0),))
    exact = direct_sum(scene, w, gain=300_000.0)
    fast = decode(EchoSynthesiser(scene, w, gain=300_000.0, impairments=Impairments(noise_lsb=0.0)).frame(0, 0.0), w)
    assert 10 * np.log10(np.mean(np.abs(fast - exact) ** 2) / np.mean(np.abs(exact) ** 2)) < -60


def test_limbs_of_several_bodies_are_joined_in_order():
    motion, body = standing(1), RadarBody(person(1))
    ends = body.ends(motion.joints_at(KNOTS))
    both = joined([ends, ends])
    assert both.a_m.shape == (len(KNOTS), 2 * len(body.limbs), 3)
    np.testing.assert_array_equal(both.radius_b_m[len(body.limbs) :], ends.radius_b_m)
