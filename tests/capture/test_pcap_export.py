"""Recordings as packet captures and back, byte for byte; captures sent again over a real socket."""

import math
import socket
import threading
import time

import dpkt
import numpy as np
import pytest
from card_packets import CARD, HOST, SMALL, START_NS, datagram, packets_of, small_cfg, write_pcap
from sample_streams import as_words, echoes

from capture.importers import import_recording
from capture.pcap import SIMULATED_MAC
from capture.pcap_export import replay_capture, write_capture
from capture.receiver import Receiver
from capture.reception import ReceiverSettings
from pipeline.errors import PipelineError
from pipeline.packets import PACKET_RECORD, missing_ranges

STREAM = as_words(echoes((3, *SMALL.frame_shape)), "q-first").tobytes()


@pytest.fixture
def recording(tmp_path):
    """Three frames with a packet lost in each, one late and the last one short."""
    frames = [datagram(payload) for _, payload in packets_of(STREAM, payload=1400)]
    order = [n for n in range(len(frames)) if n not in (0, 13, 25)]
    order.insert(9, order.pop(5))
    path = write_pcap(tmp_path / "original.pcap", [frames[n] for n in order], step_ns=123_457)
    return import_recording(tmp_path / "data", path, [small_cfg(tmp_path)], recording_id="first")


def test_out_and_in_again_is_the_same_to_the_byte(recording, tmp_path):
    count = write_capture(recording, tmp_path / "out.pcap")
    assert count == len(recording.packets)
    again = import_recording(tmp_path / "data", tmp_path / "out.pcap", [small_cfg(tmp_path)], recording_id="second")
    for name in ("adc.bin", "packets.bin"):
        assert (again.folder / name).read_bytes() == (recording.folder / name).read_bytes()
    assert again.missing_ranges().tolist() == recording.missing_ranges().tolist()
    assert again.raw_digest == recording.raw_digest


def test_another_program_reads_what_was_written(recording, tmp_path):
    write_capture(recording, tmp_path / "out.pcap", card_ip="10.1.2.3", host_ip="10.1.2.4", data_port=5000)
    with (tmp_path / "out.pcap").open("rb") as file:
        reader = dpkt.pcap.Reader(file)
        frames = [dpkt.ethernet.Ethernet(data) for _, data in reader]
    records = recording.packets
    assert len(frames) == len(records)
    for frame, record in zip(frames, records, strict=True):
        ip, udp = frame.data, frame.data.data
        assert (ip.src, ip.dst, udp.sport, udp.dport) == (bytes([10, 1, 2, 3]), bytes([10, 1, 2, 4]), 1024, 5000)
        assert int.from_bytes(udp.data[:4], "little") == record["sequence"]
        assert int.from_bytes(udp.data[4:10], "little") == record["byte_offset"]
        assert len(udp.data) == 10 + record["length"]


def test_a_recording_without_packets_is_cut_into_full_ones(tmp_path):
    (tmp_path / "plain.bin").write_bytes(STREAM)
    plain = import_recording(tmp_path / "data", tmp_path / "plain.bin", [small_cfg(tmp_path)], recording_id="plain")
    assert plain.packets is None
    assert write_capture(plain, tmp_path / "out.pcap") == math.ceil(len(STREAM) / 1456)
    again = import_recording(tmp_path / "data", tmp_path / "out.pcap", [small_cfg(tmp_path)], recording_id="again")
    assert (again.folder / "adc.bin").read_bytes() == STREAM
    period_ns = np.diff(again.frame_time_ns())
    assert period_ns == pytest.approx([50e6, 50e6], abs=5e6)  # a frame's first byte need not begin a packet


def test_what_was_simulated_stays_simulated(tmp_path):
    frames = [datagram(payload, hardware=SIMULATED_MAC + b"\0\1") for _, payload in packets_of(STREAM)]
    path = write_pcap(tmp_path / "original.pcap", frames)
    first = import_recording(tmp_path / "data", path, [small_cfg(tmp_path)], recording_id="first")
    assert first.manifest.simulated
    write_capture(first, tmp_path / "out.pcap")
    again = import_recording(tmp_path / "data", tmp_path / "out.pcap", [small_cfg(tmp_path)], recording_id="again")
    assert again.manifest.simulated


def test_captures_are_not_overwritten(recording, tmp_path):
    (tmp_path / "out.pcap").write_bytes(b"precious")
    with pytest.raises(PipelineError, match="exists; choose another name"):
        write_capture(recording, tmp_path / "out.pcap")
    assert (tmp_path / "out.pcap").read_bytes() == b"precious"
    with pytest.raises(PipelineError, match="cannot be written"):
        write_capture(recording, tmp_path / "nowhere" / "out.pcap")


# --- replay ----------------------------------------------------------------------------------------------------------


class Listener:
    """A UDP socket on a port of the system's choice, read by a thread until it has been silent for half a second."""

    def __enter__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.5)
        self.port = self.socket.getsockname()[1]
        self.received = []
        self.thread = threading.Thread(target=self._read)
        return self

    def start(self):
        self.socket.settimeout(5)
        self.thread.start()

    def _read(self):
        try:
            while True:
                data, sender = self.socket.recvfrom(65536)
                self.received.append((time.monotonic(), sender[0], data))
                self.socket.settimeout(0.5)
        except TimeoutError:
            pass

    def __exit__(self, *_):
        self.thread.join()
        self.socket.close()


def test_replay_sends_every_packet_at_its_own_time(recording, tmp_path):
    write_capture(recording, tmp_path / "out.pcap")
    with Listener() as listener:
        listener.start()
        began = time.monotonic()
        counts = replay_capture(tmp_path / "out.pcap", "127.0.0.1", listener.port, speed=0.05, source_ip="127.0.0.9")
    records = recording.packets
    assert counts.packets == len(records)
    assert counts.payload_bytes == int(records["length"].sum())
    stream = (recording.folder / "adc.bin").read_bytes()
    for (_, sender, data), record in zip(listener.received, records, strict=True):
        at, length = int(record["byte_offset"]), int(record["length"])
        assert sender == "127.0.0.9"
        assert data[10:] == stream[at : at + length]
        assert int.from_bytes(data[:4], "little") == record["sequence"]
    wanted = (records["kernel_time_ns"] - START_NS - 123_457) / 1e9 / 0.05
    came = np.array([moment for moment, _, _ in listener.received])
    assert counts.seconds >= wanted[-1] - 0.002
    assert (came - began >= wanted - 0.002).all()  # never early


def test_replay_into_the_projects_own_receiver(recording, tmp_path):
    """The whole circle: a recording, its capture, the wire, the live receiver, the same bytes and the same losses."""
    write_capture(recording, tmp_path / "out.pcap")
    live = tmp_path / "live"
    live.mkdir()
    settings = ReceiverSettings(
        frame_bytes=SMALL.frame_bytes, host_ip="127.0.0.1", data_port=0, card_ip="127.0.0.1", reserve_bytes=0
    )
    with Receiver(live, settings) as receiver:
        receiver.start()
        replay_capture(tmp_path / "out.pcap", *receiver.address, source_ip="127.0.0.1")
        result = receiver.stop()
    assert result.ok
    assert (live / "adc.bin").read_bytes() == (recording.folder / "adc.bin").read_bytes()
    packets = np.fromfile(live / "packets.bin", PACKET_RECORD)
    assert missing_ranges(packets, recording.stream_bytes).tolist() == recording.missing_ranges().tolist()


def test_replay_as_fast_as_it_goes(recording, tmp_path):
    write_capture(recording, tmp_path / "out.pcap")
    with Listener() as listener:
        listener.start()
        counts = replay_capture(tmp_path / "out.pcap", "127.0.0.1", listener.port, speed=math.inf)
    assert counts.packets == len(recording.packets) == len(listener.received)


def test_replay_of_real_packets(shared_data):
    path = shared_data / "iwr1843_dca1000_pcap" / "test_one_frame.pcap"
    with Listener() as listener:
        listener.start()
        counts = replay_capture(path, "127.0.0.1", listener.port, speed=10)
    assert (counts.packets, counts.payload_bytes) == (12, 16384)
    assert counts.seconds == pytest.approx(0.2014, abs=0.05)
    assert [len(data) for _, _, data in listener.received] == [1466] * 11 + [378]


@pytest.mark.parametrize("speed", [0, -1, math.nan])
def test_replay_speed_must_be_positive(tmp_path, speed):
    with pytest.raises(PipelineError, match="replay speed"):
        replay_capture(tmp_path / "none.pcap", "127.0.0.1", speed=speed)


def test_replay_of_a_capture_without_data_is_refused(tmp_path):
    path = write_pcap(tmp_path / "a.pcap", [datagram(b"query", port=53)])
    with pytest.raises(PipelineError, match="holds no DCA1000 data"):
        replay_capture(path, "127.0.0.1")


def test_replay_into_a_network_that_refuses(recording, tmp_path):
    write_capture(recording, tmp_path / "out.pcap")
    with pytest.raises(PipelineError, match="cannot be sent to"):
        replay_capture(tmp_path / "out.pcap", "127.0.0.1", 9, source_ip="203.0.113.7")


def test_hosts_and_cards_have_names(recording, tmp_path):
    with pytest.raises(PipelineError, match="no IPv4 address"):
        write_capture(recording, tmp_path / "out.pcap", card_ip="card")
    assert (bytes([192, 168, 33, 180]), bytes([192, 168, 33, 30])) == (CARD, HOST)
