"""Captured card traffic for tests: data packets and replies as Ethernet frames in a pcap."""

from capture.dca1000_wire import encode_data_header, encode_reply
from capture.pcap_file import PcapWriter
from capture.udp_frames import udp_frame
from pipeline.cfg_text import write_cfg
from pipeline.waveform import Waveform

CARD, HOST, STRANGER = (bytes([192, 168, 33, last]) for last in (180, 30, 99))
START_NS = 1_785_000_000_000_000_000
SMALL = Waveform(
    name="small",
    start_frequency_ghz=77,
    idle_time_us=20,
    adc_start_time_us=6,
    ramp_end_time_us=30,
    slope_mhz_per_us=60,
    samples=64,
    sample_rate_ksps=4800,
    tx_order=(1, 3),
    loops=8,
    period_ms=50,
)  # a frame is 16,384 bytes


def small_cfg(folder, waveform=SMALL):
    path = folder / "small.cfg"
    path.write_text(write_cfg(waveform))
    return path


def datagram(payload, *, source=CARD, destination=HOST, port=4098, hardware=b"\x12\x34\x56\x78\x90\x12"):
    return udp_frame(
        source,
        1024,
        destination,
        port,
        payload,
        hardware_source=hardware,
        hardware_destination=b"\2" * 6,
        identification=0,
    )


def packets_of(stream, *, payload=1456, first_sequence=1, first_count=0):
    """(sequence, datagram payload) of every packet the card makes of `stream`."""
    return [
        (
            first_sequence + number,
            encode_data_header(first_sequence + number, first_count + at) + stream[at : at + payload],
        )
        for number, at in enumerate(range(0, len(stream), payload))
    ]


def reply(code, status=0, **where):
    return datagram(encode_reply(code, status), port=4096, **where)


def write_pcap(path, frames, *, step_ns=70_000):
    """`frames` one after another, `step_ns` apart; an item (gap_ns, frame) waits longer before it."""
    time_ns = START_NS
    path.unlink(missing_ok=True)
    with PcapWriter(path) as writer:
        for item in frames:
            gap_ns, frame = item if isinstance(item, tuple) else (step_ns, item)
            time_ns += gap_ns
            writer.write(time_ns, frame)
    return path
