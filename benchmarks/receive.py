"""How much of a processor core receiving costs, and what is lost: our receiver beside a plain Python `recvfrom` loop.

    python benchmarks/receive.py                                   # a minute at the paper's rate, line rate for 30 s
    python benchmarks/receive.py --seconds 600                     # the paper's rate for ten minutes
    python benchmarks/receive.py --only ours --folder /data/tmp    # where the bytes are written

A sender in its own process paces packets of 1456 payload bytes over the loopback with `sendmmsg`. Each receiver runs in a
process of its own with the same socket buffer, and writes what comes to disk; every byte of the file is compared with what
was sent. "Share of a core" is the receiver process's processor time (user and system, all threads) over the time packets
came. In the last scenario a cube job on two threads and a pure-Python busy loop run beside it.

The `xwr` package's receiver (MIT) is measured where that package can be imported. It is no dependency of the project:

    pip install --no-deps --target /tmp/xwr xwr && PYTHONPATH=/tmp/xwr python benchmarks/receive.py
"""

import argparse
import importlib.util
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit, types

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capture.receiver import Receiver, ReceiverSettings
from capture.receiver_socket import kernel_drops, open_data_socket
from pipeline.packets import PACKET_RECORD

PAYLOAD = 1456
FRAME_BYTES = 255 * 2 * 4 * 256 * 4
PAPER_RATE, LINE_RATE = 14_350, 81_600
PATTERN_BYTES = 1_000_003  # the stream repeats this many random bytes: no power of two, so that misplaced bytes show
CARD = HOST = "127.0.0.1"
BUFFER_BYTES = 32 * 2**20
SO_RCVBUFFORCE = 33


def pattern() -> np.ndarray:
    """The bytes of the stream: byte b is `pattern[b % PATTERN_BYTES]`; a payload's length is repeated behind the end."""
    block = np.random.default_rng(1).integers(0, 256, PATTERN_BYTES, np.uint8)
    return np.concatenate([block, block[:PAYLOAD]])


# --- the sender ------------------------------------------------------------------------------------------------------

_sendmmsg = types.ExternalFunction("sendmmsg", types.int32(types.int32, types.uintp, types.uint32, types.int32))
_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))
_nanosleep = types.ExternalFunction("nanosleep", types.int32(types.uintp, types.uintp))


@njit(cache=True)
def _send_paced(fd, messages, vectors, headers, block_address, rate, expected):
    """Send `expected` bytes as packets at `rate` a second, each half millisecond what is due; nanoseconds it took."""
    time_now = np.zeros(2, np.int64)
    pause = np.array([0, 500_000], np.int64)
    _clock_gettime(np.int32(1), np.uintp(time_now.ctypes.data))
    start = time_now[0] * 1_000_000_000 + time_now[1]
    packets = -(-expected // 1456)
    sent = np.int64(0)
    elapsed = np.int64(0)
    while sent < packets:
        _clock_gettime(np.int32(1), np.uintp(time_now.ctypes.data))
        elapsed = time_now[0] * 1_000_000_000 + time_now[1] - start
        due = min(np.int64(elapsed * 1e-9 * rate), packets)
        if due <= sent:
            _nanosleep(np.uintp(pause.ctypes.data), np.uintp(0))
            continue
        batch = min(due - sent, messages.shape[0])
        for index in range(batch):
            number = sent + index
            offset = number * 1456
            for byte in range(4):
                headers[index, byte] = ((number + 1) >> (8 * byte)) & 0xFF
            for byte in range(6):
                headers[index, 4 + byte] = (offset >> (8 * byte)) & 0xFF
            vectors[index, 2] = block_address + offset % 1_000_003
            vectors[index, 3] = min(1456, expected - offset)
        done = _sendmmsg(np.int32(fd), np.uintp(messages.ctypes.data), np.uint32(batch), np.int32(0))
        sent += max(np.int64(done), 0)
    return elapsed


def send(port: int, rate: int, expected: int) -> None:
    """The sender's process: `expected` bytes to `port` as a card sends them."""
    batch = 256
    block = pattern()
    headers = np.zeros((batch, 10), np.uint8)
    vectors = np.zeros((batch, 4), np.int64)  # two struct iovec: header, payload
    vectors[:, 0] = headers.ctypes.data + np.arange(batch) * 10
    vectors[:, 1] = 10
    messages = np.zeros((batch, 8), np.int64)
    messages[:, 2] = vectors.ctypes.data + np.arange(batch) * vectors.strides[0]
    messages[:, 3] = 2
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((CARD, 0))
        sender.connect((HOST, port))
        _send_paced(sender.fileno(), messages, vectors, headers, block.ctypes.data, 1.0, 0)
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))  # a card waits for nobody
        except OSError:
            print("the sender may not raise its priority: it may be slower than asked", file=sys.stderr)
        elapsed = _send_paced(sender.fileno(), messages, vectors, headers, block.ctypes.data, float(rate), expected)
    print(json.dumps({"packets": -(-expected // PAYLOAD), "seconds": elapsed / 1e9}))


# --- the receivers: each prints its port, receives until `expected` bytes or silence, prints what it counted ---------


def receive_ours(folder: Path, expected: int) -> dict:
    """`capture.receiver`."""
    settings = ReceiverSettings(
        frame_bytes=FRAME_BYTES,
        host_ip=HOST,
        card_ip=CARD,
        data_port=0,
        expected_bytes=expected,
        first_packet_timeout_s=60,
        silence_timeout_s=2,
        reserve_bytes=0,
    )
    receiver = Receiver(folder, settings)
    receiver.open()
    receiver.start()
    print(receiver.address[1], flush=True)
    receiver.wait_first_packet(60)
    before = resource.getrusage(resource.RUSAGE_SELF)
    receiver.wait()
    result = receiver.stop()
    peak_mb, sync_ms = result.counters.backlog_peak_bytes / 1e6, result.counters.slowest_sync_ms
    held = f"At most {peak_mb:.0f} MB waited in the ring; the slowest fdatasync took {sync_ms} ms."
    return _used(before) | {"notes": [*result.notes, held]}


def receive_recvfrom(folder: Path, expected: int) -> dict:
    """What one writes first: a loop over `recvfrom` that parses, fills gaps with zeros, and writes bytes and records."""
    data = open_data_socket(HOST, 0, BUFFER_BYTES)
    data.settimeout(60)
    print(data.getsockname()[1], flush=True)
    header, record = struct.Struct("<IIH"), struct.Struct("<QqqIHH")
    position, before = 0, None
    with (folder / "adc.bin").open("wb") as adc, (folder / "packets.bin").open("wb") as records:
        synced = time.monotonic()
        while position < expected:
            try:
                datagram, address = data.recvfrom(4096)
            except TimeoutError:
                break
            if before is None:
                before = resource.getrusage(resource.RUSAGE_SELF)
                data.settimeout(2)
            if address[0] != CARD:
                continue
            sequence, low, high = header.unpack_from(datagram)
            offset = low | high << 32
            if offset > position:
                adc.write(bytes(offset - position))
            adc.write(datagram[10:])
            position = offset + len(datagram) - 10
            now = time.monotonic_ns()
            records.write(record.pack(offset, time.time_ns(), now, sequence, len(datagram) - 10, 0))
            if now * 1e-9 - synced > 1:
                synced = now * 1e-9
                os.fsync(adc.fileno())
    return _used(before) | {"notes": [f"The kernel dropped {kernel_drops(data)} packets."]}


def receive_xwr(folder: Path, expected: int) -> dict:
    """The `xwr` package's own receive loop, its frames written to one file: no records, no times, late packets dropped."""
    from xwr.capture import DCA1000EVM

    with open_data_socket(HOST, 0, 2**16) as unused:
        port = unused.getsockname()[1]
    card = DCA1000EVM(sys_ip=HOST, fpga_ip=CARD, data_port=port, config_port=0, timeout=10.0)
    card.data_socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)  # what the others have
    print(port, flush=True)
    before = None
    with (folder / "adc.bin").open("wb") as adc:
        for frame in card.stream((FRAME_BYTES // 2,)):
            before = before or resource.getrusage(resource.RUSAGE_SELF)
            adc.write(frame.data)
            if adc.tell() == expected:
                break
    return _used(before) | {"notes": [f"The kernel dropped {kernel_drops(card.data_socket)} packets."]}


RECEIVERS = {"ours": receive_ours, "recvfrom": receive_recvfrom, "xwr": receive_xwr}


def _used(before) -> dict:
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


# --- the neighbours --------------------------------------------------------------------------------------------------


def cube_job() -> None:
    """Cubes of the paper's frames without end, on two threads."""
    from pipeline.cube_config import PRESETS as CUBES
    from pipeline.waveform import PRESETS as WAVEFORMS
    from processing.transform import FrameTransform

    transform = FrameTransform(WAVEFORMS["paper"], CUBES["default"], threads=2)
    words = np.random.default_rng(0).integers(-2000, 2000, FRAME_BYTES // 2, np.int16)
    while True:
        transform(words)


def busy_loop() -> None:
    """Pure Python without end."""
    while True:
        pass


NEIGHBOURS = {"cube": cube_job, "busy": busy_loop}

# --- one measurement -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """What is sent, and beside what."""

    name: str
    rate: int
    frames: int
    neighbours: tuple[str, ...] = ()


def measure(scenario: Scenario, receiver: str, root: Path) -> dict:
    """Run `scenario` through one receiver in fresh processes; compare every byte of the file it made; the figures."""
    expected = scenario.frames * FRAME_BYTES
    neighbours = [_run("--neighbour", name, stdout=subprocess.DEVNULL) for name in scenario.neighbours]
    time.sleep(8 if neighbours else 0)  # they compile first
    with tempfile.TemporaryDirectory(dir=root) as folder:
        receiving = _run("--receive", receiver, "--folder", folder, "--expected", str(expected))
        assert receiving.stdout
        port = int(receiving.stdout.readline())
        sending = _run("--send", str(port), "--rate", str(scenario.rate), "--expected", str(expected))
        sent = json.loads(sending.communicate()[0])
        got = json.loads(receiving.communicate()[0])
        for process in neighbours:
            process.kill()
            process.wait()
        lost = lost_packets(Path(folder), expected)
    return got | {
        "seconds": sent["seconds"],
        "rate": sent["packets"] / sent["seconds"],
        "lost": lost,
        "loss": 100 * lost / sent["packets"],
        "core": 100 * got["cpu_s"] / sent["seconds"],
        "mbytes": expected / sent["seconds"] / 1e6,
    }


def lost_packets(folder: Path, expected: int) -> int:
    """Packets whose bytes in adc.bin are not the stream's, whatever the receiver believes of them.

    Where there are records, none may vouch for such a packet: that would be worse than losing it.
    """
    block = pattern()[:PATTERN_BYTES]
    packets = -(-expected // PAYLOAD)
    right = np.zeros(packets, bool)
    with (folder / "adc.bin").open("rb") as file:
        span = PAYLOAD * 4096
        for start in range(0, expected, span):
            stream = np.frombuffer(file.read(min(span, expected - start)), np.uint8)
            wanted = np.resize(np.roll(block, -(start % PATTERN_BYTES)), len(stream))
            wrong = np.flatnonzero(stream != wanted)
            whole = -(-len(stream) // PAYLOAD)
            right[start // PAYLOAD : start // PAYLOAD + whole] = True
            right[start // PAYLOAD + np.unique(wrong // PAYLOAD)] = False
    if (folder / "packets.bin").exists():
        vouched = np.fromfile(folder / "packets.bin", PACKET_RECORD)["byte_offset"].astype(np.int64) // PAYLOAD
        assert right[vouched].all(), "packets.bin vouches for bytes that are not the stream's"
    return int(packets - right.sum())


def _run(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, __file__, *arguments], stdout=stdout, text=True)


def main() -> None:
    """Everything, as a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="at the paper's rate")
    parser.add_argument("--line-seconds", type=float, default=30, help="at line rate; 0 leaves it out")
    parser.add_argument("--only", choices=RECEIVERS, help="one receiver")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where recordings are written")
    for internal in ("--receive", "--send", "--rate", "--expected", "--neighbour"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.send:
        send(int(arguments.send), int(arguments.rate), int(arguments.expected))
    elif arguments.receive:
        print(json.dumps(RECEIVERS[arguments.receive](arguments.folder, int(arguments.expected))))
    elif arguments.neighbour:
        NEIGHBOURS[arguments.neighbour]()
    else:
        compare(arguments.seconds, arguments.line_seconds, arguments.only, arguments.folder)


def compare(paper_s: float, line_s: float, only: str | None, root: Path) -> None:
    """Print the table."""
    names = [only] if only else list(RECEIVERS)
    if "xwr" in names and not importlib.util.find_spec("xwr"):
        names.remove("xwr")
        print("The xwr package is not installed here, so its receiver is not measured.\n")
    paper, line = (round(rate * PAYLOAD / FRAME_BYTES * s) for rate, s in ((PAPER_RATE, paper_s), (LINE_RATE, line_s)))
    scenarios = [
        Scenario("the paper's rate", PAPER_RATE, paper),
        Scenario("a full 1 Gbit/s link", LINE_RATE, line),
        Scenario("the same beside a cube job and a busy loop", LINE_RATE, line, ("cube", "busy")),
    ]
    print("| scenario | receiver | packets/s | MB/s | s | packets lost | lost % | share of a core % | x ours |")
    print("|---|---|---|---|---|---|---|---|---|")
    notes: dict[str, None] = {}
    for scenario in scenarios:
        ours = None
        for name in names if scenario.frames else ():
            row = measure(scenario, name, root)
            ours = ours or row["core"]
            print(
                f"| {scenario.name} | {name} | {row['rate']:.0f} | {row['mbytes']:.1f} | {row['seconds']:.0f} "
                f"| {row['lost']} | {row['loss']:.3f} | {row['core']:.1f} | {row['core'] / ours:.1f} |",
                flush=True,
            )
            notes |= dict.fromkeys(f"{name}, {scenario.name}: {note}" for note in row.get("notes", ()))
    print("", *notes, sep="\n")


if __name__ == "__main__":
    main()
