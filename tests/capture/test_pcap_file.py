"""Capture files and the datagrams in them: every container, clock and link layer, written with dpkt or by hand."""

import contextlib
import gzip
import io
import random
import struct

import dpkt
import pytest

from capture import pcap_file
from capture.pcap_file import CaptureFile, Frame, FrameRun, PcapWriter, is_capture_file
from capture.udp_frames import UdpFrames, udp_frame
from pipeline.errors import PipelineError

CARD, HOST = bytes([192, 168, 33, 180]), bytes([192, 168, 33, 30])
MACS = {"hardware_source": bytes(range(6)), "hardware_destination": bytes(range(6, 12))}


def ethernet(payload):
    return udp_frame(CARD, 1024, HOST, 4098, payload, identification=7, **MACS)


def write(path, data):
    path.write_bytes(data)
    return path


def classic(frames, *, magic=b"\xd4\xc3\xb2\xa1", order="<", link=1, snap=65535):
    out = magic + struct.pack(order + "HHIIII", 2, 4, 0, 0, snap, link)
    for seconds, ticks, data in frames:
        out += struct.pack(order + "IIII", seconds, ticks, min(len(data), snap), len(data)) + data[:snap]
    return out


def block(kind, body, order="<"):
    body += b"\0" * (-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def section(order="<"):
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link=1, resolution=None, offset=None, order="<"):
    body = struct.pack(order + "HHI", link, 0, 0)
    if resolution is not None:
        body += struct.pack(order + "HHBxxx", 9, 1, resolution)
    if offset is not None:
        body += struct.pack(order + "HHq", 14, 8, offset)
    return block(1, body + struct.pack(order + "HH", 0, 0), order)


def packet(data, ticks, number=0, order="<"):
    return block(
        6, struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data)) + data, order
    )


def datagrams(path):
    return list(UdpFrames(CaptureFile(path)))


# --- containers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("magic", "order", "ticks", "time_ns"),
    [
        (b"\xd4\xc3\xb2\xa1", "<", 123456, 5_123_456_000),
        (b"\xa1\xb2\xc3\xd4", ">", 123456, 5_123_456_000),
        (b"\x4d\x3c\xb2\xa1", "<", 123456789, 5_123_456_789),
        (b"\xa1\xb2\x3c\x4d", ">", 123456789, 5_123_456_789),
    ],
)
def test_classic_pcap_of_either_byte_order_and_clock(tmp_path, magic, order, ticks, time_ns):
    path = write(tmp_path / "a.pcap", classic([(5, ticks, b"abcd")], magic=magic, order=order))
    assert list(CaptureFile(path)) == [Frame(time_ns, 1, b"abcd", 4)]
    assert is_capture_file(path)


def test_nanoseconds_of_this_century_survive_writing_and_reading(tmp_path):
    times = [1_785_000_000_123_456_789, 1_785_000_000_123_456_790]
    with PcapWriter(tmp_path / "a.pcap") as writer:
        for time_ns in times:
            writer.write(time_ns, b"x" * 60)
    assert [frame.time_ns for frame in CaptureFile(tmp_path / "a.pcap")] == times
    with (tmp_path / "a.pcap").open("rb") as file:  # and another program reads it
        assert [data for _, data in dpkt.pcap.Reader(file)] == [b"x" * 60] * 2


def test_pcapng_that_dpkt_wrote(tmp_path):
    file = io.BytesIO()
    writer = dpkt.pcapng.Writer(file)
    writer.writepkt(b"one", ts=1700000000.25)
    writer.writepkt(b"three", ts=1700000001.5)
    path = write(tmp_path / "a.pcapng", file.getvalue())
    assert [(f.time_ns, f.data) for f in CaptureFile(path)] == [
        (1_700_000_000_250_000_000, b"one"),
        (1_700_000_001_500_000_000, b"three"),
    ]


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_pcapng_packet_has_its_own_interfaces_clock_and_link(tmp_path, order):
    data = section(order) + interface(1, order=order) + interface(113, resolution=9, order=order)
    data += interface(101, resolution=0x80 | 10, offset=100, order=order) + block(5, b"statistics", order)
    data += packet(b"a", 3_000_001, 0, order) + packet(b"bb", 4_000_000_005, 1, order) + packet(b"ccc", 1536, 2, order)
    data += block(3, struct.pack(order + "I", 4) + b"dddd", order)
    data += block(2, struct.pack(order + "HHIIII", 1, 0, 0, 7, 2, 2) + b"ee", order)
    frames = list(CaptureFile(write(tmp_path / "a.pcapng", data)))
    assert [(f.time_ns, f.link_type, f.data) for f in frames] == [
        (3_000_001_000, 1, b"a"),
        (4_000_000_005, 113, b"bb"),
        (101_500_000_000, 101, b"ccc"),
        (0, 1, b"dddd"),
        (7, 113, b"ee"),
    ]


def test_a_second_section_starts_its_interfaces_again(tmp_path):
    data = (
        section()
        + interface(1)
        + packet(b"a", 1)
        + section(">")
        + interface(101, order=">")
        + packet(b"b", 2, order=">")
    )
    frames = list(CaptureFile(write(tmp_path / "a.pcapng", data)))
    assert [(f.link_type, f.data) for f in frames] == [(1, b"a"), (101, b"b")]


def test_gzipped_captures_are_read(tmp_path):
    path = write(tmp_path / "a.pcap.gz", gzip.compress(classic([(1, 0, b"abc")])))
    assert is_capture_file(path)
    assert [frame.data for frame in CaptureFile(path)] == [b"abc"]


@pytest.mark.parametrize(
    "whole", [classic([(1, 0, b"abc"), (2, 0, b"defg")]), section() + interface() + packet(b"abc", 1) * 2]
)
def test_a_capture_that_was_cut_short_gives_what_is_whole(tmp_path, whole):
    for keep in range(len(whole) - 1, len(whole) - 16, -1):
        file = CaptureFile(write(tmp_path / "a.pcap", whole[:keep]))
        assert len(list(file)) == 1
        assert file.cut_bytes > 0
    file = CaptureFile(write(tmp_path / "a.pcap", whole))
    assert len(list(file)) == 2
    assert file.cut_bytes == 0


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b"%PDF-1.4", "is no packet capture"),
        (b"\xd4\xc3\xb2\xa1\0\0", "ends inside its file header"),
        (classic([(1, 0, b"abc")]) + b"\xff" * 40, "damaged at byte"),
        (section() + interface() + struct.pack("<III", 6, 7, 0), "block of 7 bytes"),
        (section() + packet(b"abc", 1), "interface that is not described"),
        (section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 0, 99, 99)), "a packet of 99 bytes"),
        (block(0x0A0D0D0A, b"nonsense"), "byte-order mark"),
        (gzip.compress(classic([(1, 0, b"abc" * 1000)]), mtime=0)[:-20], "damaged gzip"),
    ],
)
def test_what_is_no_capture_is_said(tmp_path, data, sentence):
    with pytest.raises(PipelineError, match=sentence):
        list(CaptureFile(write(tmp_path / "a.pcap", data)))


def test_random_bytes_never_do_worse_than_a_sentence(tmp_path):
    generator = random.Random(1)
    good = section() + interface() + packet(ethernet(b"x" * 40), 1) * 3
    for number in range(400):
        data = bytearray(good if number % 2 else classic([(1, 0, ethernet(b"y" * 30))] * 3))
        for _ in range(generator.randrange(1, 12)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        with contextlib.suppress(PipelineError):
            datagrams(write(tmp_path / "a.pcap", bytes(data)))


def as_pcapng(frames):
    data = section() + interface() + interface(resolution=9) + interface(resolution=12)
    for number, (seconds, ticks, frame) in enumerate(frames):
        which = number // 50 % 3
        scale = (10**6, 10**9, 10**12)[which]
        data += packet(frame, seconds * scale + ticks, which)
    return data


@pytest.mark.parametrize("container", [classic, as_pcapng])
def test_frames_read_in_runs_are_the_frames_read_one_by_one(tmp_path, monkeypatch, container):
    generator = random.Random(3)
    frames = []
    while len(frames) < 900:
        source = CARD if generator.random() < 0.8 else HOST
        size, count = generator.choice([4, 100, 101, 1456]), generator.choice([1, 2, 7, 8, 9, 40])
        for _ in range(count):
            body = udp_frame(source, 1, HOST, 4098, generator.randbytes(size), identification=len(frames), **MACS)
            frames.append((len(frames), generator.randrange(10**6), body))
    path = write(tmp_path / "a.pcap", container(frames))
    pieces = list(CaptureFile(path).pieces())
    assert sum(isinstance(piece, FrameRun) for piece in pieces) > 5
    in_runs = list(CaptureFile(path)), datagrams(path)
    monkeypatch.setattr(pcap_file, "_SHORTEST_RUN", 10**9)
    assert all(isinstance(piece, Frame) for piece in CaptureFile(path).pieces())
    assert (list(CaptureFile(path)), datagrams(path)) == in_runs
    monkeypatch.setattr(pcap_file, "_BLOCK_BYTES", 777)
    assert list(CaptureFile(path)) == in_runs[0]


# --- link layers and UDP ---------------------------------------------------------------------------------------------


def test_frames_written_here_are_right_for_dpkt():
    for payload in (b"", b"x", b"odd length.", bytes(range(256)) * 5):
        frame = dpkt.ethernet.Ethernet(ethernet(payload))
        ip, udp = frame.data, frame.data.data
        assert (bytes(frame.src), bytes(frame.dst)) == tuple(MACS.values())
        assert (ip.src, ip.dst, udp.sport, udp.dport, bytes(udp.data)) == (CARD, HOST, 1024, 4098, payload)
        sums = ip.sum, udp.sum
        ip.sum = udp.sum = 0
        rebuilt = dpkt.ethernet.Ethernet(bytes(frame)).data  # dpkt fills both sums in when they are 0
        assert sums == (rebuilt.sum, rebuilt.data.sum)


def link_frames():
    ip = ethernet(b"payload")[14:]
    vlan = ethernet(b"payload")[:12] + b"\x81\x00\x00\x05" + b"\x08\x00" + ip
    double = ethernet(b"payload")[:12] + b"\x88\xa8\x00\x01\x81\x00\x00\x05\x08\x00" + ip
    cooked = struct.pack(">HHH8sH", 0, 1, 6, b"macmac\0\0", 0x0800) + ip
    cooked2 = struct.pack(">HHIHBB8s", 0x0800, 0, 3, 1, 0, 6, b"macmac\0\0") + ip
    return {
        "ethernet": (1, ethernet(b"payload")),
        "padded": (1, ethernet(b"payload") + b"\0" * 20),
        "vlan": (1, vlan),
        "double vlan": (1, double),
        "cooked": (113, cooked),
        "cooked v2": (276, cooked2),
        "raw": (101, ip),
        "raw bsd": (12, ip),
        "ipv4": (228, ip),
        "null": (0, struct.pack("<I", 2) + ip),
        "null, big-endian": (0, struct.pack(">I", 2) + ip),
        "loop": (108, struct.pack(">I", 2) + ip),
        "ip options": (
            1,
            ethernet(b"payload")[:14] + b"\x46" + ip[1:2] + struct.pack(">H", 39) + ip[4:20] + b"\1\1\1\1" + ip[20:],
        ),
    }


@pytest.mark.parametrize("name", link_frames())
def test_link_layers(tmp_path, name):
    link, data = link_frames()[name]
    found = datagrams(write(tmp_path / "a.pcap", classic([(1, 0, data)], link=link)))
    assert [(d.source, d.source_port, d.destination, d.port, d.payload, d.cut) for d in found] == [
        (CARD, 1024, HOST, 4098, b"payload", 0)
    ]


def test_what_is_not_udp_is_counted(tmp_path):
    ip6 = ethernet(b"x")[:12] + b"\x86\xdd" + b"\x60" + bytes(50)
    arp = ethernet(b"x")[:12] + b"\x08\x06" + bytes(28)
    tcp = ethernet(b"x")[:23] + b"\x06" + ethernet(b"x")[24:]
    frames = UdpFrames(
        CaptureFile(write(tmp_path / "a.pcap", classic([(1, 0, f) for f in (ip6, arp, tcp, b"", b"short")])))
    )
    assert (list(frames), frames.other_frames) == ([], 5)
    frames = UdpFrames(CaptureFile(write(tmp_path / "b.pcap", classic([(1, 0, bytes(60))], link=127))))
    assert (list(frames), frames.unknown_link_frames) == ([], 1)


def test_a_cut_packet_tells_how_much_is_gone(tmp_path):
    found = datagrams(write(tmp_path / "a.pcap", classic([(1, 0, ethernet(b"z" * 100))], snap=14 + 20 + 8 + 60)))
    assert [(d.payload, d.cut) for d in found] == [(b"z" * 60, 40)]


def fragments(payload, size, identification):
    whole = udp_frame(CARD, 1024, HOST, 4098, payload, identification=identification, **MACS)
    head, body = whole[:34], whole[34:]
    pieces = []
    for offset in range(0, len(body), size):
        part = body[offset : offset + size]
        more = 0x2000 if offset + size < len(body) else 0
        ip = head[14:16] + struct.pack(">HHH", 20 + len(part), identification, more | offset // 8) + head[22:34]
        pieces.append(head[:14] + ip + part)
    return pieces


def test_ip_fragments_are_put_together_in_any_order(tmp_path):
    first, second = fragments(b"A" * 3000, 1480, 1), fragments(b"B" * 2000, 800, 2)
    mixed = [first[1], second[2], first[0], second[0], first[2], second[1]]
    frames = UdpFrames(CaptureFile(write(tmp_path / "a.pcap", classic([(1, 0, f) for f in mixed]))))
    assert [d.payload for d in frames] == [b"A" * 3000, b"B" * 2000]
    assert frames.lost_fragments == 0


def test_fragments_without_their_counterpart_are_counted(tmp_path):
    pieces = fragments(b"A" * 3000, 1480, 1)
    frames = UdpFrames(CaptureFile(write(tmp_path / "a.pcap", classic([(1, 0, f) for f in pieces[1:]]))))
    assert (list(frames), frames.lost_fragments) == ([], 2)
