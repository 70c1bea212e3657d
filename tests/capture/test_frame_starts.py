import numpy as np
import pytest

from capture.frame_starts import frame_starts
from pipeline.packets import PACKET_RECORD

FRAME_BYTES, ACTIVE_S, PAYLOAD = 100_000, 0.02, 1456
BEGIN_S = 100 + 0.1 * np.arange(20)


def records(payload=PAYLOAD):
    total = len(BEGIN_S) * FRAME_BYTES
    packets = np.zeros(-(-total // payload), PACKET_RECORD)
    packets["byte_offset"] = np.arange(len(packets)) * payload
    packets["length"] = np.minimum(payload, total - packets["byte_offset"].astype(np.int64))
    frame, within = np.divmod(packets["byte_offset"].astype(np.int64) + packets["length"] - 1, FRAME_BYTES)
    packets["monotonic_ns"] = np.round((BEGIN_S[frame] + (within + 1) / FRAME_BYTES * ACTIVE_S) * 1e9)
    return packets, frame


def starts(packets):
    return frame_starts(packets, len(BEGIN_S), FRAME_BYTES, ACTIVE_S)


@pytest.mark.parametrize("payload", [PAYLOAD, 100])  # the second: more packets than are looked at
def test_a_frame_starts_when_its_first_byte_was_sampled(payload):
    found = starts(records(payload)[0])
    assert np.abs(found.start_s - BEGIN_S).max() < 1e-6
    assert found.steady.all()


def test_late_lost_and_shuffled_packets_do_not_move_a_frame():
    rng = np.random.default_rng(1)
    packets, frame = records()
    within_s = packets["monotonic_ns"] * 1e-9 - BEGIN_S[frame]
    late = (within_s < 0.006) & (frame % 3 == 0)
    packets["monotonic_ns"][late] += 40_000_000
    packets = packets[rng.random(len(packets)) < 0.7]
    found = starts(packets[rng.permutation(len(packets))])
    assert np.abs(found.start_s - BEGIN_S).max() < 1e-6
    assert found.steady.all()


def test_a_frame_that_came_all_at_once_is_known_to_have_begun_earlier():
    packets, frame = records()
    packets["monotonic_ns"][frame == 7] = round((BEGIN_S[7] + 0.25) * 1e9)
    found = starts(packets)
    assert found.steady.tolist() == [index != 7 for index in range(20)]
    assert found.start_s[7] > BEGIN_S[7]


def test_a_frame_of_which_nothing_or_little_arrived():
    packets, frame = records(100)
    kept = (frame != 5) & ((frame != 9) | (np.arange(len(packets)) % 301 == 0))
    found = starts(packets[kept])
    assert np.flatnonzero(np.isnan(found.start_s)).tolist() == [5]
    assert found.start_s[9] == pytest.approx(BEGIN_S[9], abs=1e-6)


@pytest.mark.parametrize("packets", [None, np.zeros(0, PACKET_RECORD)])
def test_no_packets(packets):
    found = starts(packets)
    assert np.isnan(found.start_s).all()
    assert not found.steady.any()
