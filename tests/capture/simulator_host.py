"""The host's end of a simulated rig's wires for tests: plain sockets, the radar's driver, the card's client."""

import contextlib
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from capture.awr1843 import RadarClient
from capture.dca1000 import CardClient, decode_data_header
from capture.receiver_socket import open_data_socket
from capture.simulator.rig import SimulatedRig
from pipeline.cfg_text import write_cfg
from pipeline.packets import PACKET_RECORD, missing_ranges
from pipeline.waveform import Waveform

SMALL = Waveform(
    name="small",
    start_frequency_ghz=77.0,
    idle_time_us=20.0,
    adc_start_time_us=6.0,
    ramp_end_time_us=30.0,
    slope_mhz_per_us=60.0,
    samples=50,
    sample_rate_ksps=2500,
    tx_order=(1, 3),
    loops=16,
    period_ms=20.0,
)
assert SMALL.frame_bytes % 1456  # frames end inside packets


@dataclass(frozen=True)
class Datagram:
    arrived_s: float  # CLOCK_REALTIME, by the kernel: a reader that was kept from the processor changes nothing
    sender: tuple[str, int]
    data: bytes


class DataPort:
    """The host's data port, read by a thread for as long as the context lasts."""

    def __init__(self) -> None:
        self.socket = open_data_socket("127.0.0.1", 0, 4 << 20)
        self.socket.settimeout(0.05)
        self.port = self.socket.getsockname()[1]
        self.datagrams: list[Datagram] = []
        self._closed = False
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "DataPort":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._thread.join()
        self.socket.close()

    def _read(self) -> None:
        while not self._closed:
            with contextlib.suppress(TimeoutError):
                data, ((_, _, stamp), *_), _, sender = self.socket.recvmsg(4096, 64)
                seconds, nanoseconds = struct.unpack("qq", stamp)
                self.datagrams.append(Datagram(seconds + nanoseconds / 1e9, sender, data))

    def settle(self) -> list[Datagram]:
        """What has come, once nothing more does."""
        count = -1
        while count != len(self.datagrams):
            count = len(self.datagrams)
            time.sleep(0.1)
        return self.datagrams


@dataclass
class Wires:
    rig: SimulatedRig
    radar: RadarClient
    card: CardClient
    data: DataPort

    def configure(self, waveform: Waveform, delay_us: int = 5) -> None:
        self.radar.send_config(write_cfg(waveform))
        self.card.configure_fpga()
        self.card.configure_packets(delay_us=delay_us)

    def arm(self, waveform: Waveform, delay_us: int = 5) -> None:
        self.configure(waveform, delay_us)
        self.card.record_start()

    def wait_status(self, timeout_s: float = 60.0) -> int:
        deadline = time.monotonic() + timeout_s
        while not (statuses := self.card.poll(0.1)):
            assert time.monotonic() < deadline, "no asynchronous status came"
        return statuses[0].status

    def record(self, waveform: Waveform) -> list[Datagram]:
        """All datagrams of a recording of `waveform.frames` frames."""
        self.arm(waveform)
        self.radar.start()
        assert self.wait_status() == 0x0100
        return self.data.settle()


@contextlib.contextmanager
def connected(**rig_options: object) -> Iterator[Wires]:
    rig_options.setdefault("firmware", "mmwDemo")  # answers at the baud rate tried first
    with (
        DataPort() as data,
        SimulatedRig(data_port=data.port, **rig_options) as rig,  # type: ignore[arg-type]
        RadarClient(rig.radar.port) as radar,
        CardClient(rig.card.card_ip, "127.0.0.1", rig.card.config_port, host_port=0, timeout_s=0.5) as card,
    ):
        yield Wires(rig, radar, card, data)


def place(datagrams: list[Datagram], total: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The stream's bytes, each packet put at its byte count, and the ranges that no packet covers."""
    stream, records = np.zeros(total, np.uint8), np.zeros(len(datagrams), PACKET_RECORD)
    for record, datagram in zip(records, datagrams, strict=True):
        _, offset = decode_data_header(datagram.data)
        payload = datagram.data[10:]
        stream[offset : offset + len(payload)] = np.frombuffer(payload, np.uint8)
        record["byte_offset"], record["length"] = offset, len(payload)
    return stream, [tuple(pair) for pair in missing_ranges(records, total).tolist()]
