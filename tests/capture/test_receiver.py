"""The receiver against real UDP datagrams: what lands in adc.bin and packets.bin must be what a plain model says."""

import os
import socket
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from receiver_model import CARD, HOST, STRANGER, Model, Packet, counted, files, packets_of, record, send, settings_for

from capture.dca1000 import BYTE_COUNT_SPAN, SEQUENCE_SPAN, encode_data_header
from capture.receiver import Receiver
from capture.receiver_kernels import on_monotonic_clock, unwrap
from capture.reception import ReceiverCounters, ReceiverResult, ReceiverSettings
from pipeline.errors import PipelineError
from pipeline.packets import FLAG_LATE, missing_ranges


def check_against(model: Model, result: ReceiverResult, folder: Path) -> None:
    adc, packets = files(folder)
    assert adc == model.adc
    assert missing_ranges(packets, len(adc)).tolist() == model.missing
    assert [tuple(row) for row in packets[["byte_offset", "sequence", "length", "flags"]].tolist()] == model.records
    assert counted(result, model.counters) == model.counters
    assert result.counters.missing_bytes == sum(stop - start for start, stop in model.missing)
    assert result.counters.stream_bytes == result.counters.written_bytes == model.high
    assert result.counters.frames_closed == model.high // model.frame
    assert result.status == ("stopped" if model.records else "no-data")


# --- placing ---------------------------------------------------------------------------------------------------------


@st.composite
def deliveries(draw) -> tuple[int, int, int, list[Packet]]:
    """Frame bytes, window bytes, byte count base, and packets in order of arrival: lost, repeated, moved back."""
    largest = draw(st.sampled_from([7, 200, 1456, 9000]))
    sizes = st.integers(1, largest) if draw(st.booleans()) else st.just(largest)
    lengths = draw(st.lists(sizes, min_size=1, max_size=40))
    sent = packets_of(lengths, first_sequence=draw(st.sampled_from([1, SEQUENCE_SPAN - 5])), seed=sum(lengths))
    arrivals = []
    for place, packet in enumerate(sent):
        fate = draw(st.sampled_from(["in time"] * 4 + ["lost", "repeated", "late"]))
        delay = draw(st.integers(1, 20)) if fate != "in time" else 0
        if fate in ("in time", "repeated"):
            arrivals.append((place, packet))
        if (fate == "repeated" and place) or fate == "late":  # the first one repeated is a matter of its own below
            arrivals.append((place + delay + 0.5, packet))
    window = draw(st.integers(0, 12)) * largest
    base = draw(st.sampled_from([0, BYTE_COUNT_SPAN - sum(lengths) // 2, 123_456]))
    return (
        draw(st.integers(1, 3 * largest)),
        window,
        base,
        [packet for _, packet in sorted(arrivals, key=lambda a: a[0])],
    )


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(deliveries())
def test_any_delivery_lands_as_the_model_says(delivery) -> None:
    frame, window, base, arrivals = delivery
    model = Model(window, frame)
    for packet in arrivals:
        model.feed(packet)
    with tempfile.TemporaryDirectory() as folder:
        result = record(
            Path(folder),
            [packet.datagram(base) for packet in arrivals],
            frame_bytes=frame,
            window_bytes=window,
            byte_count_base=base,
        )
        check_against(model, result, Path(folder))


@pytest.mark.parametrize("seed", range(4))
def test_a_long_lossy_stream(tmp_path: Path, seed: int) -> None:
    """Thousands of packets, several times the ring: places wrap, holes are zeroed although the ring held other bytes."""
    noise = np.random.default_rng(seed)
    sent = packets_of(noise.choice([1456, 1456, 1456, 368, 24], 2500).tolist(), seed=seed)
    lost = noise.random(len(sent)) < 0.05
    keys = np.arange(len(sent)) + noise.exponential(6, len(sent)) * (noise.random(len(sent)) < 0.1)
    arrivals = [sent[index] for index in np.argsort(keys, kind="stable") if not lost[index]]
    model = Model(window=16_000, frame=8192)
    for packet in arrivals:
        model.feed(packet)
    assert model.counters["reordered"] > 50
    assert model.counters["too_late"] > 5
    with Receiver(tmp_path, settings_for(frame_bytes=8192, window_bytes=16_000, ring_bytes=2**18)) as receiver:
        receiver.start()
        for start in range(0, len(arrivals), 50):  # slowly enough for a ring this small
            part = arrivals[start : start + 50]
            send(receiver.address, [packet.datagram() for packet in part])
            while not _caught_up(receiver.progress(), start + len(part)):
                time.sleep(0.001)
        check_against(model, receiver.stop(), tmp_path)


def _caught_up(counters: ReceiverCounters, sent: int) -> bool:
    taken = counters.packets + counters.duplicates + counters.too_late + counters.writer_overruns
    return taken == sent and counters.stream_bytes - counters.written_bytes < 2**17


def _until(condition, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing came of it in time"
        time.sleep(0.001)


def test_the_first_packet_lost_is_a_hole_at_the_start(tmp_path: Path) -> None:
    sent = packets_of([1456] * 5)
    result = record(tmp_path, [packet.datagram() for packet in sent[1:]])
    adc, packets = files(tmp_path)
    assert adc == bytes(1456) + b"".join(packet.payload for packet in sent[1:])
    assert missing_ranges(packets, len(adc)).tolist() == [[0, 1456]]
    assert result.counters.missing_bytes == 1456


def test_the_first_packet_late_within_the_window_fills_it(tmp_path: Path) -> None:
    sent = packets_of([1456] * 5)
    result = record(tmp_path, [packet.datagram() for packet in [*sent[1:], sent[0]]])
    adc, packets = files(tmp_path)
    assert adc == b"".join(packet.payload for packet in sent)
    assert packets["flags"].tolist() == [0, 0, 0, 0, FLAG_LATE]
    assert result.counters.reordered == 1
    assert result.ok


def test_the_first_packet_beyond_the_window_is_too_late_and_no_restart(tmp_path: Path) -> None:
    sent = packets_of([1456] * 30)
    result = record(tmp_path, [packet.datagram() for packet in [*sent[1:], sent[0]]])
    assert counted(result, ["too_late", "missing_bytes", "duplicates"]) == {
        "too_late": 1,
        "missing_bytes": 1456,
        "duplicates": 0,
    }
    assert result.status == "stopped"


def test_a_short_last_packet_as_a_real_card_sends_it(tmp_path: Path) -> None:
    sent = packets_of([1456] * 11 + [368])
    assert record(tmp_path, [packet.datagram() for packet in sent], frame_bytes=16_384, expected_bytes=16_384).ok
    assert files(tmp_path)[0] == b"".join(packet.payload for packet in sent)


def test_a_datagram_of_the_largest_size(tmp_path: Path) -> None:
    sent = packets_of([65_497, 65_497])
    record(tmp_path, [packet.datagram() for packet in sent])
    adc, packets = files(tmp_path)
    assert adc == sent[0].payload + sent[1].payload
    assert packets["length"].tolist() == [65_497, 65_497]


def test_a_gap_longer_than_the_ring(tmp_path: Path) -> None:
    """The cable was out: the card counted on. Everything after the gap must lie where its count says."""
    gap = 3 * 2**20
    with Receiver(tmp_path, settings_for(ring_bytes=2**17, window_bytes=4096)) as receiver:
        receiver.start()
        send(receiver.address, [Packet(1, 0, b"a" * 100).datagram()])
        receiver.wait_first_packet(5)
        time.sleep(0.01)  # so long that the gap is what a link could have carried
        send(receiver.address, [Packet(9, 100 + gap, b"b" * 100).datagram()])
        _until(lambda: receiver.progress().stream_bytes > gap)
        result = receiver.stop()
    adc, packets = files(tmp_path)
    assert adc == b"a" * 100 + bytes(gap) + b"b" * 100
    assert missing_ranges(packets, len(adc)).tolist() == [[100, 100 + gap]]
    assert counted(result, ["missing_bytes", "writer_overruns"]) == {"missing_bytes": gap, "writer_overruns": 0}


def test_what_has_no_hole_before_it_is_written_at_once(tmp_path: Path) -> None:
    sent = packets_of([500] * 4)
    with Receiver(tmp_path, settings_for()) as receiver:
        receiver.start()
        send(receiver.address, [sent[0].datagram(), sent[1].datagram(), sent[3].datagram()])
        _until(lambda: (tmp_path / "packets.bin").stat().st_size == 64)
        assert (tmp_path / "adc.bin").read_bytes() == sent[0].payload + sent[1].payload
        send(receiver.address, [sent[2].datagram()])
        _until(lambda: (tmp_path / "packets.bin").stat().st_size == 128)
        assert (tmp_path / "adc.bin").read_bytes() == b"".join(packet.payload for packet in sent)
        assert receiver.stop().counters.reordered == 1


def test_bytes_close_after_a_time_however_slow_the_stream(tmp_path: Path) -> None:
    sent = packets_of([500, 500, 500])
    with Receiver(tmp_path, settings_for(close_after_s=0.2)) as receiver:
        receiver.start()
        send(receiver.address, [sent[0].datagram(), sent[2].datagram()])
        _until(lambda: (tmp_path / "packets.bin").stat().st_size == 64)
        assert (tmp_path / "adc.bin").read_bytes() == sent[0].payload + bytes(500) + sent[2].payload
        send(receiver.address, [sent[1].datagram()])
        result = receiver.stop()
    assert result.counters.too_late == 1
    assert result.counters.missing_bytes == 500


# --- what does not belong to the stream ------------------------------------------------------------------------------


def test_strangers_and_garbage_are_dropped_and_counted(tmp_path: Path) -> None:
    sent = packets_of([1000] * 4)
    with Receiver(tmp_path, settings_for()) as receiver:
        receiver.start()
        send(receiver.address, [sent[0].datagram()])
        send(receiver.address, [Packet(2, 1000, b"x" * 1000).datagram()], source=STRANGER)
        send(receiver.address, [b"", b"123", sent[1].datagram()[:10]])
        send(receiver.address, [packet.datagram() for packet in sent[1:]])
        result = receiver.stop()
    assert counted(result, ["foreign", "malformed", "packets"]) == {"foreign": 1, "malformed": 3, "packets": 4}
    assert files(tmp_path)[0] == b"".join(packet.payload for packet in sent)


def test_a_count_before_the_start_is_no_place(tmp_path: Path) -> None:
    sent = packets_of([1000] * 3)
    datagrams = [packet.datagram(5000) for packet in sent]
    result = record(
        tmp_path, [datagrams[0], encode_data_header(7, 4000) + b"x" * 100, *datagrams[1:]], byte_count_base=5000
    )
    assert result.counters.malformed == 1
    assert files(tmp_path)[0] == b"".join(packet.payload for packet in sent)


def test_a_count_no_link_could_have_reached_makes_no_terabytes(tmp_path: Path) -> None:
    sent = packets_of([1000] * 3)
    datagrams = [packet.datagram() for packet in sent]
    result = record(tmp_path, [datagrams[0], encode_data_header(7, 2**46) + b"x" * 100, *datagrams[1:]])
    assert result.counters.implausible == 1
    assert files(tmp_path)[0] == b"".join(packet.payload for packet in sent)


def test_packets_of_an_earlier_recording_are_forgotten(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, settings_for())
    receiver.open()
    send(receiver.address, [Packet(77, 0, b"old" * 100).datagram()])
    receiver.start()
    sent = packets_of([1000] * 3)
    send(receiver.address, [packet.datagram() for packet in sent])
    result = receiver.stop()
    assert any("1 packets that came before the start" in note for note in result.notes)
    assert files(tmp_path)[0] == b"".join(packet.payload for packet in sent)


# --- counters that wrap or begin again -------------------------------------------------------------------------------


def test_both_counters_wrap(tmp_path: Path) -> None:
    sent = packets_of([1456] * 10, first_sequence=SEQUENCE_SPAN - 4)
    base = BYTE_COUNT_SPAN - 3 * 1456 - 100
    result = record(tmp_path, [packet.datagram(base) for packet in sent], byte_count_base=base)
    adc, packets = files(tmp_path)
    assert adc == b"".join(packet.payload for packet in sent)
    assert packets["byte_offset"].tolist() == [packet.offset for packet in sent]
    assert packets["sequence"].tolist() == [*range(SEQUENCE_SPAN - 4, SEQUENCE_SPAN), *range(6)]
    assert result.ok


@pytest.mark.parametrize("near", [0, 5, 2**47, 2**48, 2**48 + 2**46, 2**60])
@pytest.mark.parametrize("ahead", [-3, 0, 1456, 2**40, -(2**40)])
def test_unwrapped_counts_are_the_nearest_ones(near: int, ahead: int) -> None:
    base = 999
    assert unwrap((near + ahead + base) % 2**48, base, near) == near + ahead


@pytest.mark.parametrize(("before", "after"), [(50, 50), (200, 20), (20, 200), (3, 100)])
def test_a_restart_ends_the_recording_before_it_corrupts(tmp_path: Path, before: int, after: int) -> None:
    """RECORD_START in mid-recording: counters from 1 and 0 again, other bytes."""
    first = packets_of([1456] * before, seed=1)
    second = packets_of([1456] * after, seed=2)
    with Receiver(tmp_path, settings_for()) as receiver:
        receiver.start()
        send(receiver.address, [packet.datagram() for packet in [*first, *second]])
        assert receiver.wait(5)
        result = receiver.stop()
    assert result.status == "restarted"
    assert f"began to count again after {before * 1456} bytes" in result.sentence
    assert files(tmp_path)[0] == b"".join(packet.payload for packet in first)


def test_a_restart_after_loss_does_not_fill_old_holes_with_new_bytes(tmp_path: Path) -> None:
    first = packets_of([1456] * 20, seed=1)
    second = packets_of([1456] * 20, seed=2)
    with Receiver(tmp_path, settings_for(window_bytes=2**17)) as receiver:
        receiver.start()
        send(receiver.address, [packet.datagram() for packet in [*first[:8], *first[10:], *second]])
        assert receiver.wait(5)
        assert receiver.stop().status == "restarted"
    adc, packets = files(tmp_path)
    assert missing_ranges(packets, len(adc)).tolist() == [[8 * 1456, 10 * 1456]]
    assert adc[10 * 1456 :] == b"".join(packet.payload for packet in first[10:])


def test_a_restart_whose_first_packets_were_lost_is_seen_too(tmp_path: Path) -> None:
    first, second = packets_of([1456] * 200, seed=1), packets_of([1456] * 200, seed=2)
    with Receiver(tmp_path, settings_for()) as receiver:
        receiver.start()
        send(receiver.address, [packet.datagram() for packet in [*first, *second[5:]]])
        assert receiver.wait(5)
        assert receiver.stop().status == "restarted"
    assert files(tmp_path)[0] == b"".join(packet.payload for packet in first)


def test_a_burst_that_comes_too_late_is_no_restart(tmp_path: Path) -> None:
    sent = packets_of([1456] * 300)
    arrivals = [*sent[:10], *sent[110:], *sent[10:110]]
    result = record(tmp_path, [packet.datagram() for packet in arrivals])
    assert result.status == "stopped"
    assert result.counters.too_late == 100


def test_repeated_first_packets_are_no_restart(tmp_path: Path) -> None:
    sent = packets_of([1456] * 30)
    arrivals = [sent[0], sent[0], sent[1], sent[0], sent[1], sent[2], *sent[3:], sent[0]]
    result = record(tmp_path, [packet.datagram() for packet in arrivals])
    assert result.status == "stopped"
    assert result.counters.duplicates == 4
    assert files(tmp_path)[0] == b"".join(packet.payload for packet in sent)


# --- times -----------------------------------------------------------------------------------------------------------


def test_kernel_times_lie_between_sending_and_now_on_both_clocks(tmp_path: Path) -> None:
    sent = packets_of([1000] * 3)
    real, monotonic = [time.time_ns()], [time.monotonic_ns()]
    with Receiver(tmp_path, settings_for()) as receiver:
        receiver.start()
        for packet in sent:
            real.append(time.time_ns())
            monotonic.append(time.monotonic_ns())
            send(receiver.address, [packet.datagram()])
            time.sleep(0.02)
        receiver.stop()
    real.append(time.time_ns())
    monotonic.append(time.monotonic_ns())
    _, packets = files(tmp_path)
    for name, clock in (("kernel_time_ns", real), ("monotonic_ns", monotonic)):
        for index, stamp in enumerate(packets[name]):
            assert clock[index + 1] - 100_000 <= stamp <= clock[index + 2]
    steps = np.diff(packets["kernel_time_ns"]) - np.diff(packets["monotonic_ns"])
    assert np.abs(steps).max() < 100_000


def test_a_wall_clock_step_does_not_move_monotonic_times() -> None:
    now, earliest, offset = 10_000_000_000, 9_950_000_000, 1_700_000_000_000_000_000
    arrival = 9_970_000_000
    for step in (3_600_000_000_000, -3_600_000_000_000, 5_000_000_000):
        stamped_before = on_monotonic_clock(arrival + offset, (now, earliest, offset + step, offset))
        stamped_after = on_monotonic_clock(arrival + offset + step, (now, earliest, offset + step, offset))
        assert stamped_before == stamped_after == arrival
        other_clock = arrival + offset - step  # as if kernel and process had different wall clocks
        assert on_monotonic_clock(other_clock, (now, earliest, offset, offset)) == now


# --- how it ends -----------------------------------------------------------------------------------------------------


def test_expected_bytes_end_it(tmp_path: Path) -> None:
    sent = packets_of([1456] * 10)
    with Receiver(tmp_path, settings_for(expected_bytes=14_560)) as receiver:
        receiver.start()
        send(receiver.address, [packet.datagram() for packet in sent])
        assert receiver.wait(5)
        result = receiver.stop()
    assert (result.status, result.counters.written_bytes) == ("complete", 14_560)


def test_expected_bytes_wait_for_a_hole_that_may_still_fill(tmp_path: Path) -> None:
    sent = packets_of([1456] * 10)
    with Receiver(tmp_path, settings_for(expected_bytes=14_560, window_bytes=2**17)) as receiver:
        receiver.start()
        send(receiver.address, [packet.datagram() for packet in [*sent[:4], *sent[5:]]])
        assert not receiver.wait(0.3)
        send(receiver.address, [sent[4].datagram()])
        assert receiver.wait(5)
        assert receiver.stop().counters.missing_bytes == 0


def test_no_data_is_no_success(tmp_path: Path) -> None:
    with Receiver(tmp_path, settings_for(first_packet_timeout_s=0.2)) as receiver:
        receiver.start()
        send(receiver.address, [Packet(1, 0, b"x" * 10).datagram()], source=STRANGER)
        assert not receiver.wait_first_packet(5)
        assert receiver.wait(5)
        result = receiver.stop()
    assert result.status == "no-data"
    assert not result.ok
    assert f"No data packet came from {CARD} to {HOST}:" in result.sentence
    assert "lvdsStreamCfg" in result.sentence
    assert "But 1 packets came from other addresses" in result.sentence


def test_a_card_already_recording_is_named(tmp_path: Path) -> None:
    result = record(tmp_path, [encode_data_header(70_000_000, 100_000_000_000) + b"x" * 100])
    assert result.status == "no-data"
    assert "1 packets said that the card was in the middle of a recording" in result.sentence


def test_silence_ends_it(tmp_path: Path) -> None:
    with Receiver(tmp_path, settings_for(silence_timeout_s=0.3)) as receiver:
        receiver.start()
        send(receiver.address, [packets_of([1000])[0].datagram()])
        assert receiver.wait(5)
        result = receiver.stop()
    assert result.status == "silent"
    assert "No packet came for 0.3 s after 1000 bytes" in result.sentence
    assert len(files(tmp_path)[0]) == 1000


def test_stop_takes_what_the_socket_still_holds_and_may_be_repeated(tmp_path: Path) -> None:
    sent = packets_of([1456] * 3000)
    receiver = Receiver(tmp_path, settings_for(ring_bytes=2**23))
    receiver.start()
    send(receiver.address, [packet.datagram() for packet in sent])
    first = receiver.stop()
    assert first.counters.written_bytes == 3000 * 1456
    assert receiver.stop() == first


def test_progress_is_reported_each_second_and_at_the_end(tmp_path: Path) -> None:
    reports: list[ReceiverCounters] = []
    with Receiver(tmp_path, settings_for(), on_progress=reports.append) as receiver:
        receiver.start()
        send(receiver.address, [packet.datagram() for packet in packets_of([1000] * 20)])
        _until(lambda: len(reports) == 1)
        receiver.stop()
    assert [report.packets for report in reports] == [20, 20]
    assert [report.written_bytes for report in reports] == [20_000, 20_000]


def test_a_report_that_fails_stops_nothing(tmp_path: Path) -> None:
    def fail(_: ReceiverCounters) -> None:
        raise RuntimeError("display gone")

    with Receiver(tmp_path, settings_for(), on_progress=fail) as receiver:
        receiver.start()
        send(receiver.address, [packets_of([1000])[0].datagram()])
        result = receiver.stop()
    assert result.ok
    assert any("display gone" in note for note in result.notes)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
        with pytest.raises(
            PipelineError, match=f"Cannot listen for the card's data: UDP port {port} of {HOST} is in use"
        ):
            Receiver(tmp_path, settings_for(data_port=port)).open()


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "packets.bin").write_bytes(b"")
    with Receiver(tmp_path, settings_for()) as receiver, pytest.raises(PipelineError, match=r"packets\.bin exists"):
        receiver.start()
    assert [path.name for path in tmp_path.iterdir()] == ["packets.bin"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with (
        Receiver(tmp_path / "gone", settings_for()) as receiver,
        pytest.raises(PipelineError, match=r"cannot be made .* check that the folder"),
    ):
        receiver.start()


def test_a_ring_too_small_for_the_window(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="cannot hold the reorder window of 10000 bytes"):
        Receiver(tmp_path, settings_for(ring_bytes=2**16))


def test_defaults_hold_any_frame() -> None:
    for frame_bytes in (4096, 2_088_960, 50_000_000):
        default = ReceiverSettings(frame_bytes=frame_bytes)
        assert default.window >= 2 * frame_bytes
        assert default.ring >= 128 * 2**20
        assert default.ring >= default.window + frame_bytes


def test_settings_that_mean_nothing_are_refused() -> None:
    for wrong in ({"frame_bytes": 0}, {"close_after_s": 0}, {"data_port": 70_000}, {"speed": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            settings_for(**wrong)


def test_the_buffer_given_is_said(tmp_path: Path) -> None:
    result = record(tmp_path, [packets_of([1000])[0].datagram()])
    assert "The socket buffer is" in result.notes[0]
    assert "priority" in result.notes[1] or "nice" in result.notes[1]


def test_threads_and_descriptors_are_given_back(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        record(tmp_path / name, [packets_of([1000])[0].datagram()])
    assert len(os.listdir("/proc/self/fd")) <= before + 1


# --- more holes than the list of holes holds -------------------------------------------------------------------------

EVERY_SECOND_BYTE = 70_000  # packets of one byte, each followed by a hole of one byte: 65,536 fit


def test_more_lost_holes_than_are_remembered(tmp_path: Path) -> None:
    datagrams = [encode_data_header(n + 1, 2 * n) + b"x" for n in range(EVERY_SECOND_BYTE)]
    late = [encode_data_header(2 * EVERY_SECOND_BYTE, 2 * EVERY_SECOND_BYTE - 3) + b"y"]
    result = record(tmp_path, datagrams + late, frame_bytes=1, window_bytes=0, receive_buffer_bytes=2**25)
    adc, packets = files(tmp_path)
    assert adc == b"x\0" * (EVERY_SECOND_BYTE - 1) + b"x"
    assert len(packets) == result.counters.packets == EVERY_SECOND_BYTE
    assert counted(result, ["missing_bytes", "too_late"]) == {"missing_bytes": EVERY_SECOND_BYTE - 1, "too_late": 1}


def test_more_open_holes_than_fit_drop_packets_and_count_them(tmp_path: Path) -> None:
    datagrams = [encode_data_header(n + 1, 2 * n) + b"x" for n in range(EVERY_SECOND_BYTE)]
    result = record(tmp_path, datagrams, window_bytes=2**18, receive_buffer_bytes=2**25)
    adc, packets = files(tmp_path)
    kept = result.counters.packets
    assert 65_000 < kept < 65_536
    assert kept + result.counters.writer_overruns == EVERY_SECOND_BYTE
    assert adc == b"x\0" * (kept - 1) + b"x"
    assert packets["byte_offset"].tolist() == list(range(0, 2 * kept, 2))
