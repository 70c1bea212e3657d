"""Packet captures of a card: looked over, told apart, and brought in as recordings with their exact losses."""

from itertools import pairwise

import numpy as np
import pytest
from card_packets import (
    CARD,
    HOST,
    SMALL,
    START_NS,
    STRANGER,
    datagram,
    packets_of,
    reply,
    small_cfg,
    write_pcap,
)
from sample_streams import as_words, echoes

from capture import pcap_file
from capture.dca1000_wire import CommandCode, encode_data_header
from capture.importers import import_recording
from capture.pcap import require_data, survey_capture
from capture.pcap_copy import copy_session
from capture.stream_placer import StreamPlacer
from pipeline.errors import PipelineError
from pipeline.packets import FLAG_LATE
from pipeline.sealing import verify
from pipeline.waveform import Waveform

FRAMES = 6


def stream(seed=0, frames=FRAMES):
    return as_words(echoes((frames, *SMALL.frame_shape), seed=seed), "q-first").tobytes()


STREAM = stream()


def sent(data=STREAM, **how):
    return [datagram(payload) for _, payload in packets_of(data, **how)]


@pytest.fixture
def bring_in(tmp_path):
    """Write a capture of these frames and import it."""

    def run(frames, **options):
        path = write_pcap(tmp_path / "capture.pcap", frames)
        return import_recording(tmp_path / "data", path, [small_cfg(tmp_path)], **options)

    return run


def adc(recording):
    return (recording.folder / "adc.bin").read_bytes()


# --- real captures ---------------------------------------------------------------------------------------------------


def test_real_replies_to_all_ten_commands(shared_data):
    survey = survey_capture(shared_data / "iwr1843_dca1000_pcap" / "test_cmd.pcap")
    assert survey.card == "192.168.33.180"
    assert [(int(r.reply.code), r.reply.status) for r in survey.replies] == [
        (code, 0) for code in (1, 2, 5, 6, 0x0B, 3, 4, 9, 0x0A)
    ] + [(0x0E, 0x0402)]
    assert str(survey.replies[-1]) == "READ_FPGA_VERSION: 2.8"
    assert str(survey.replies[0]) == "RESET_FPGA: done"
    with pytest.raises(PipelineError, match="10 replies of the card but no data on UDP port 4098"):
        require_data(survey)


def test_real_frame_comes_out_right(shared_data, tmp_path):
    path = shared_data / "iwr1843_dca1000_pcap" / "test_one_frame.pcap"
    survey = survey_capture(path)
    assert [str(r) for r in survey.replies][-2:] == ["RECORD_START: done", "recording completed"]
    assert (survey.session().packets, survey.session().payload_bytes) == (12, 16384)
    waveform = Waveform(**{**SMALL.model_dump(), "tx_order": (1,), "rx_channels": (1,), "samples": 256, "loops": 16})
    recording = import_recording(tmp_path / "data", path, [small_cfg(tmp_path, waveform)], recording_id="real")
    assert recording.manifest.status == "success"
    assert recording.manifest.origin == "DCA1000 packet capture"
    assert not recording.manifest.simulated
    assert recording.waveform.sample_order == "q-first"
    assert (recording.frame_count, recording.trailing_bytes, recording.stream_bytes) == (1, 0, 16384)
    assert recording.missing_ranges().tolist() == []
    assert recording.packets["length"].tolist() == [1456] * 11 + [368]
    assert recording.packets["sequence"].tolist() == list(range(1, 13))
    assert recording.frame_time_ns().tolist() == [1685137893899989000]  # the frame's first byte, not the tail 2 s later
    assert verify(recording).ok
    words = recording.frame_words(0).reshape(16, -1, 4).astype(float)
    samples = (words[..., 2:] + 1j * words[..., :2]).reshape(16, 256)
    power = (np.abs(np.fft.fft(samples * np.hanning(256), axis=1)) ** 2).mean(0)
    strongest = np.argsort(power)[::-1][:4]
    assert sorted(strongest.tolist()) == [38, 39, 58, 59]  # one echo in bin 59, one between bins 38 and 39
    assert (recording.folder / "radar.cfg").read_text() == small_cfg(tmp_path, waveform).read_text()
    assert recording.manifest.sources == ("source/small.cfg",)


# --- order, loss, strangers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [48, 1000, 1456, 1464, 8192])
def test_any_payload_size(bring_in, payload):
    recording = bring_in(sent(payload=payload))
    assert adc(recording) == STREAM
    assert (recording.frame_count, len(recording.missing_ranges())) == (FRAMES, 0)
    assert recording.manifest.counters["packets"] == -(-len(STREAM) // payload)


def test_loss_reorder_and_duplicates(bring_in):
    frames = sent()
    lost = [5, 6, 30]
    order = [n for n in range(len(frames)) if n not in lost]
    order.remove(10)
    order.insert(order.index(14) + 1, 10)  # comes four packets late
    order.insert(order.index(20) + 1, 20)  # comes twice
    order.append(2)  # comes again at the very end
    recording = bring_in([frames[n] for n in order])
    expected = bytearray(STREAM)
    for n in lost:
        expected[n * 1456 : (n + 1) * 1456] = bytes(1456)
    assert adc(recording) == expected
    assert recording.missing_ranges().tolist() == [[5 * 1456, 7 * 1456], [30 * 1456, 31 * 1456]]
    late = recording.packets["flags"] == FLAG_LATE
    assert recording.packets["sequence"][late].tolist() == [11]
    counters = recording.manifest.counters
    assert (counters["duplicates"], counters["reordered"], counters["conflicting"]) == (2, 1, 0)
    assert counters["missing_bytes"] == 3 * 1456
    assert verify(recording).ok


def test_packet_times_are_the_captures_to_the_nanosecond(bring_in):
    recording = bring_in(sent())
    expected = [START_NS + 70_000 * (n + 1) for n in range(len(recording.packets))]
    assert recording.packets["kernel_time_ns"].tolist() == expected
    assert recording.packets["monotonic_ns"].tolist() == expected


def test_another_sender_is_left_out_and_said(bring_in):
    frames = sent()
    strange = [datagram(p, source=STRANGER) for _, p in packets_of(stream(9, 1))]
    recording = bring_in([f for pair in zip(frames[:12], strange, strict=True) for f in pair] + frames[12:])
    assert adc(recording) == STREAM
    assert recording.manifest.counters["foreign"] == 12
    assert any("12 datagrams on the data port came from 192.168.33.99" in note for note in recording.manifest.notes)


def test_the_card_can_be_named(bring_in):
    frames = sent() + [datagram(p, source=STRANGER) for _, p in packets_of(stream(9, 1))]
    assert adc(bring_in(frames, card_ip="192.168.33.99")) == stream(9, 1)
    with pytest.raises(
        PipelineError, match=r"nothing from 10\.0\.0\.1 .* only from 192\.168\.33\.180, 192\.168\.33\.99"
    ):
        bring_in(frames, card_ip="10.0.0.1")


def test_chatter_on_the_data_port_is_no_card(bring_in):
    rng = np.random.default_rng(0)
    with pytest.raises(PipelineError, match=r"The 40 datagrams on UDP port 4098 .* are no DCA1000 data"):
        bring_in([datagram(rng.bytes(200)) for _ in range(40)])


def test_garbage_between_packets_is_counted(bring_in):
    frames = sent()
    wild = datagram(encode_data_header(9, 1 << 40) + b"x" * 1456)
    recording = bring_in([*frames[:8], wild, datagram(b"tiny"), *frames[8:]])
    assert adc(recording) == STREAM
    assert recording.manifest.counters["malformed"] == 2


def test_packets_cut_by_the_snap_length_lose_their_ends(tmp_path):
    frames = sent()
    path = tmp_path / "capture.pcap"
    write_pcap(path, frames)
    data = bytearray(path.read_bytes())
    place = 24 + 3 * (16 + len(frames[0]))  # the fourth record: keep 500 bytes of it
    data[place + 8 : place + 12] = (500).to_bytes(4, "little")
    del data[place + 16 + 500 : place + 16 + len(frames[0])]
    path.write_bytes(data)
    recording = import_recording(tmp_path / "data", path, [small_cfg(tmp_path)])
    kept = 500 - 14 - 20 - 8 - 10
    assert recording.missing_ranges().tolist() == [[3 * 1456 + kept, 4 * 1456]]
    assert any(f"cut {1456 - kept} bytes off 1 packets" in note for note in recording.manifest.notes)


def test_a_capture_of_headers_only_is_refused(tmp_path):
    path = write_pcap(tmp_path / "capture.pcap", sent())
    data, place, out = path.read_bytes(), 24, bytearray(path.read_bytes()[:24])
    while place < len(data):
        kept = int.from_bytes(data[place + 8 : place + 12], "little")
        out += data[place : place + 8] + (96).to_bytes(4, "little") + data[place + 12 : place + 16 + 96]
        place += 16 + kept
    path.write_bytes(out)
    with pytest.raises(PipelineError, match=r"snap length cut 68 of the 68 data packets .*tcpdump -s 0"):
        import_recording(tmp_path / "data", path, [small_cfg(tmp_path)])
    assert not list((tmp_path / "data" / "recordings").iterdir())


def test_a_capture_cut_in_the_middle_of_a_packet_is_said(tmp_path):
    path = write_pcap(tmp_path / "capture.pcap", sent())
    path.write_bytes(path.read_bytes()[:-300])
    recording = import_recording(tmp_path / "data", path, [small_cfg(tmp_path)])
    assert recording.frame_count == FRAMES - 1
    assert any("ends in the middle of a packet" in note for note in recording.manifest.notes)


def test_the_cards_faults_are_told(bring_in):
    frames = sent()
    trouble = reply(CommandCode.SYSTEM_ERROR, 1 << 7)
    recording = bring_in([reply(CommandCode.RECORD_START), *frames, trouble, reply(CommandCode.SYSTEM_ERROR, 1 << 8)])
    said = [note for note in recording.manifest.notes if note.startswith("The card said")]
    assert len(said) == 1
    assert "memory is full" in said[0]


def test_a_capture_that_begins_in_the_middle_keeps_the_frame_grid(bring_in):
    first = 5000
    frames = sent(first_sequence=first + 1, first_count=first * 1456)
    recording = bring_in(frames)
    into_frame = first * 1456 % SMALL.frame_bytes
    assert recording.missing_ranges().tolist() == [[0, into_frame]]
    assert adc(recording) == bytes(into_frame) + STREAM
    assert any(f"begins at byte {first * 1456} of the card's stream" in note for note in recording.manifest.notes)


def test_losing_the_first_packets_is_a_loss(bring_in):
    recording = bring_in([reply(CommandCode.RECORD_START), *sent()[3:]])
    assert recording.missing_ranges().tolist() == [[0, 3 * 1456]]


def test_counters_that_wrap_run_on(bring_in):
    frames = sent(first_sequence=2**32 - 10, first_count=2**48 - 3 * SMALL.frame_bytes)
    recording = bring_in(frames)
    assert recording.stream_bytes - len(STREAM) < SMALL.frame_bytes
    assert adc(recording).endswith(STREAM)


@pytest.mark.parametrize("seed", range(8))
def test_packets_read_in_runs_become_the_recording_they_become_one_by_one(tmp_path, monkeypatch, seed):
    """A capture of everything at once: losses, reorder, duplicates, strangers, replies, a restart, at random places."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(2):
        packets = sent(stream(number), payload=int(rng.choice([200, 1456])))
        for n, packet in enumerate(packets):
            if rng.random() < 0.03:
                continue
            frames.append(packet)
            if rng.random() < 0.02 and n > 3:
                frames.append(packets[n - int(rng.integers(1, 4))])
            if rng.random() < 0.02:
                frames[-2:] = frames[-2:][::-1]
            if rng.random() < 0.01:
                frames.append(datagram(packets_of(stream(5, 1))[0][1], source=STRANGER))
        if number == 0 and seed % 2:
            frames.append(reply(CommandCode.RECORD_START))
    path = write_pcap(tmp_path / "capture.pcap", frames)

    def whole():
        survey = survey_capture(path)
        results = [copy_session(survey, s, tmp_path, frame_bytes=SMALL.frame_bytes) for s in survey.sessions[:1]]
        stored = [(tmp_path / name).read_bytes() for name in ("adc.bin", "packets.bin")]
        return survey, results, stored

    in_runs = whole()
    monkeypatch.setattr(pcap_file, "_SHORTEST_RUN", 10**9)
    assert whole() == in_runs
    assert len(in_runs[0].sessions) == 2


# --- several recordings ----------------------------------------------------------------------------------------------


def test_recordings_are_told_apart_by_record_start(tmp_path):
    frames = [reply(CommandCode.RECORD_START), *sent(), reply(CommandCode.RECORD_START), *sent(stream(1))[2:]]
    path = write_pcap(tmp_path / "capture.pcap", frames)
    survey = survey_capture(path)
    assert [s.packets for s in survey.sessions] == [68, 66]
    with pytest.raises(PipelineError, match=r"holds 2 recordings \(recording 1: 68 packets.*--session"):
        import_recording(tmp_path / "data", path, [small_cfg(tmp_path)])
    with pytest.raises(PipelineError, match="there is no number 3"):
        import_recording(tmp_path / "data", path, [small_cfg(tmp_path)], session=3)
    first = import_recording(tmp_path / "data", path, [small_cfg(tmp_path)], session=1)
    assert adc(first) == STREAM
    second = import_recording(tmp_path / "data", path, [small_cfg(tmp_path)], session=2)
    assert adc(second) == bytes(2 * 1456) + stream(1)[2 * 1456 :]
    assert any("this is number 2" in note for note in second.manifest.notes)


@pytest.mark.parametrize("pause_ns", [70_000, 3_000_000_000])
def test_recordings_are_told_apart_by_their_counters(tmp_path, pause_ns):
    again = sent(stream(1))
    path = write_pcap(tmp_path / "capture.pcap", [*sent(), (pause_ns, again[0]), *again[1:]])
    assert [s.packets for s in survey_capture(path).sessions] == [68, 68]


def test_the_same_recording_sent_again_later_is_another(tmp_path):
    again = sent()
    path = write_pcap(tmp_path / "capture.pcap", [*sent(), (3_000_000_000, again[0]), *again[1:]])
    assert len(survey_capture(path).sessions) == 2


def test_the_rest_of_an_earlier_stream_needs_no_choice(bring_in):
    rest = sent(stream(3, 1), first_sequence=9001, first_count=9000 * 1456)[:5]
    recording = bring_in([*rest, reply(CommandCode.RECORD_START), *sent()])
    assert adc(recording) == STREAM
    assert any("holds 2 recordings; this is number 2" in note for note in recording.manifest.notes)


def test_record_start_said_twice_does_not_split(bring_in):
    frames = sent()
    recording = bring_in([reply(CommandCode.RECORD_START), *frames[:20], reply(CommandCode.RECORD_START), *frames[20:]])
    assert adc(recording) == STREAM


def test_a_command_of_the_host_is_no_reply_of_the_card(bring_in):
    frames = sent()
    command = reply(CommandCode.RECORD_START, source=HOST, destination=CARD)
    assert adc(bring_in([*frames[:20], command, *frames[20:]])) == STREAM


# --- nothing to import -----------------------------------------------------------------------------------------------


def test_a_capture_without_the_card_says_what_it_holds(bring_in):
    with pytest.raises(PipelineError, match=r"nothing was sent to UDP port 4098; UDP went to ports 53 \(3\)"):
        bring_in([datagram(b"query", port=53)] * 3)


def test_other_ports_can_be_named(bring_in):
    frames = [datagram(payload, port=14098) for _, payload in packets_of(STREAM)]
    assert adc(bring_in(frames, data_port=14098)) == STREAM


# --- placing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_any_pieces_gives_the_stream_back(tmp_path, seed):
    rng = np.random.default_rng(seed)
    data = rng.bytes(20_000)
    cuts = [0, *sorted(rng.choice(np.arange(1, 20_000), 60, replace=False).tolist()), 20_000]
    pieces = list(pairwise(cuts))
    kept = [piece for piece in pieces if rng.random() < 0.8]
    shuffled = [kept[n] for n in rng.permutation(len(kept))] + kept[:3]
    with StreamPlacer(tmp_path) as placer:
        for a, b in shuffled:
            placer.place(a, data[a:b], 1, 1)
    expected = bytearray(max(b for _, b in kept))
    for a, b in kept:
        expected[a:b] = data[a:b]
    assert (tmp_path / "adc.bin").read_bytes() == expected
    assert placer.counters.packets == len(kept)
    assert placer.counters.duplicates == 3


def test_bytes_that_are_there_are_never_overwritten(tmp_path):
    with StreamPlacer(tmp_path) as placer:
        placer.place(0, b"a" * 10, 1, 1)
        placer.place(20, b"b" * 10, 3, 2)
        placer.place(5, b"x" * 10, 2, 3)  # contradicts the first packet
        placer.place(8, b"aacc", 2, 4)  # agrees where it overlaps
        placer.place(28, b"bbdd", 4, 5)  # agrees and goes on
    assert (tmp_path / "adc.bin").read_bytes() == b"a" * 10 + b"cc" + b"\0" * 8 + b"b" * 10 + b"dd"
    assert (placer.counters.packets, placer.counters.conflicting, placer.counters.duplicates) == (4, 1, 0)
