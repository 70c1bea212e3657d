import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.firmware.schedule import left_out
from capture.matching import match_events, nearest

PERIOD_S = 0.1
TIED = (-0.002, 0.05)


def rule(count: int) -> np.ndarray:
    return np.array([not left_out(number, 10_000) for number in range(count)], bool)


def every(count: int) -> np.ndarray:
    return np.ones(count, bool)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(30, 400),
    missed=st.floats(0, 0.3),
    unknown=st.floats(0, 0.05),
    signature=st.booleans(),
)
def test_what_is_placed_is_placed_right(seed, count, missed, unknown, signature):
    rng = np.random.default_rng(seed)
    pulse_s = 100 + PERIOD_S * np.arange(count)
    fired = rule(count) if signature else every(count)
    true = np.flatnonzero(fired & (rng.random(count) >= missed))
    event_s = pulse_s[true] + 0.0006 + rng.normal(0, 2e-4, len(true))
    event_s[rng.random(len(true)) < unknown] = np.nan
    match = match_events(pulse_s, fired, event_s, PERIOD_S, TIED)
    placed = match.pulse >= 0
    assert not match.rivals
    assert (match.pulse[placed] == true[placed]).all()
    assert placed[np.isfinite(event_s)].all()
    bounded = match.open & (match.earliest >= 0)
    assert (match.earliest[bounded] <= true[bounded]).all()
    assert (match.latest[bounded] >= true[bounded]).all()


def test_an_event_without_a_time_between_neighbours_that_leave_it_one_pulse_is_placed():
    pulse_s = PERIOD_S * np.arange(50)
    event_s = pulse_s[3:40] + 0.001
    event_s[10] = np.nan
    match = match_events(pulse_s, every(50), event_s, PERIOD_S, TIED)
    assert (match.pulse == np.arange(3, 40)).all()


def test_an_event_that_could_belong_to_either_of_two_pulses_is_left_open():
    pulse_s = PERIOD_S * np.arange(50)
    true = np.delete(np.arange(50), 20)  # a missed pulse, and the event after it has no time
    event_s = pulse_s[true] + 0.001
    event_s[20] = np.nan
    match = match_events(pulse_s, every(50), event_s, PERIOD_S, TIED)
    assert match.open.tolist() == [index == 20 for index in range(49)]
    assert (match.earliest[20], match.latest[20]) == (20, 21)


def test_events_that_a_stall_brings_all_at_once_go_back_to_their_pulses():
    pulse_s = PERIOD_S * np.arange(60)
    event_s = pulse_s + 0.001
    event_s[30:34] = pulse_s[33] + 0.047 + 1e-4 * np.arange(4)
    match = match_events(pulse_s, every(60), event_s, PERIOD_S, TIED)
    assert (match.pulse == np.arange(60)).all()


def test_events_late_by_a_whole_period_do_not_push_others_off_their_pulses():
    pulse_s = PERIOD_S * np.arange(60)
    event_s = pulse_s + 0.001
    event_s[30] = event_s[31] + 1e-5  # on time for pulse 31, whose own event is on time as well
    match = match_events(pulse_s, every(60), event_s, PERIOD_S, TIED)
    placed = match.pulse >= 0
    assert (match.pulse[placed] == np.flatnonzero(placed)).all()
    assert placed[:30].all()
    assert placed[32:].all()


def test_one_event_too_many_leaves_its_surroundings_open_and_the_rest_right():
    pulse_s = PERIOD_S * np.arange(60)
    event_s = np.insert(pulse_s + 0.001, 31, pulse_s[30] + 0.05)
    match = match_events(pulse_s, every(60), event_s, PERIOD_S, TIED)
    assert match.open[31]
    true = np.insert(np.arange(60), 31, -1)
    placed = match.pulse >= 0
    assert (match.pulse[placed] == true[placed]).all()
    assert match.open.sum() <= 10


def test_without_tied_clocks_the_signature_decides_or_nothing_does():
    rng = np.random.default_rng(3)
    for seconds, signature, sure in ((300, True, True), (300, False, False), (10, True, False)):
        count = seconds * 10
        fired = rule(count) if signature else every(count)
        pulse_s = PERIOD_S * np.arange(count)
        true = np.flatnonzero(fired & (rng.random(count) >= 0.05) & (np.arange(count) >= 2))
        event_s = pulse_s[true] + 17.318 + rng.normal(0, 2e-4, len(true))
        match = match_events(pulse_s, fired, event_s, PERIOD_S, (-40.0, 40.0))
        assert bool(match.rivals) is not sure
        if sure:
            assert match.signature
            placed = match.pulse >= 0
            assert placed.all()
            assert (match.pulse == true).all()


def test_a_signature_that_contradicts_the_clocks_wins_over_them():
    fired = rule(3000)
    pulse_s = PERIOD_S * np.arange(3000)
    true = np.flatnonzero(fired)[2:]
    match = match_events(pulse_s, fired, pulse_s[true] + 0.2006, PERIOD_S, TIED)  # two periods more than plausible
    assert (match.pulse == true).all()
    assert match.latency_s[0] == pytest.approx(0.2006)


def test_events_that_do_not_keep_to_the_pulses_are_told():
    pulse_s = PERIOD_S * np.arange(600)
    match = match_events(pulse_s, every(600), 0.0991 * np.arange(600), PERIOD_S, TIED)
    assert not match.follows


def test_a_window_whose_latency_differs_is_not_trusted():
    pulse_s = PERIOD_S * np.arange(600)
    event_s = pulse_s + 0.001
    event_s[300:400] += 0.03
    match = match_events(pulse_s, every(600), event_s, PERIOD_S, TIED)
    assert len(match.unstable_s) == 1
    assert match.unstable_s[0] == pytest.approx(30.0, abs=0.1)
    placed = match.pulse >= 0
    assert (match.pulse[placed] == np.flatnonzero(placed)).all()


@pytest.mark.parametrize("events", [0, 1, 2])
def test_hardly_any_events(events):
    pulse_s = PERIOD_S * np.arange(30)
    match = match_events(pulse_s, every(30), pulse_s[10 : 10 + events] + 0.001, PERIOD_S, TIED)
    assert match.pulse.tolist() == list(range(10, 10 + events))


def test_no_event_has_a_time():
    match = match_events(PERIOD_S * np.arange(30), every(30), np.full(5, np.nan), PERIOD_S, TIED)
    assert match.open.all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), events=st.integers(0, 40), gate=st.floats(0.001, 1))
def test_nearest_is_the_nearest_within_the_gate(seed, events, gate):
    rng = np.random.default_rng(seed)
    event_s, moment_s = rng.uniform(0, 5, events), rng.uniform(-1, 6, 30)
    event_s[rng.random(events) < 0.2] = np.nan
    found = nearest(moment_s, event_s, gate)
    for moment, chosen in zip(moment_s, found, strict=True):
        off = np.abs(event_s - moment)
        best = np.nanmin(off) if np.isfinite(off).any() else np.inf
        assert (chosen == -1) if best > gate else (off[chosen] == best)
