"""The receiver as a process that is killed, starved, refused its priority, or left without disk. All of it for real."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from receiver_model import files, send, settings_for

from capture.dca1000 import encode_data_header
from capture.receiver import Receiver
from pipeline.packets import PACKET_RECORD, missing_ranges

PAYLOAD = 1456
PATTERN_BYTES = 100_003
PATTERN = np.random.default_rng(0).integers(1, 256, PATTERN_BYTES + PAYLOAD, np.uint8)

CHILD = """
import json, os, resource, sys, tempfile, threading
from pathlib import Path
from capture.receiver import Receiver
from capture.reception import ReceiverSettings

settings, folder, does = ReceiverSettings(**json.loads(sys.argv[1])), Path(sys.argv[2]), sys.argv[3:]
if "unprivileged" in does:
    with tempfile.TemporaryDirectory() as warm, Receiver(Path(warm), settings) as receiver:
        receiver.start()  # what is compiled is kept where only its owner may write
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
    if os.getuid() == 0:
        os.setuid(65534)
receiver = Receiver(folder, settings)
receiver.start()
if "busy" in does:
    def count():
        n = 0
        while True:
            n += 1
    threading.Thread(target=count, daemon=True).start()
print(receiver.address[1], flush=True)
sys.stdin.readline()
result = receiver.stop()
print(json.dumps([result.status, result.sentence, result.counters.as_dict(), result.notes]), flush=True)
"""


@contextlib.contextmanager
def receiving(folder: Path, *does: str, **changes) -> Iterator[tuple[subprocess.Popen, tuple[str, int]]]:
    """A child that receives into `folder` until it reads a line; its process and the address to send to."""
    options = settings_for(**{"close_after_s": 0.2, "ring_bytes": 2**25, "receive_buffer_bytes": 2**25, **changes})
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, options.model_dump_json(), str(folder), *does],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        assert child.stdout
        yield child, (options.host_ip, int(child.stdout.readline()))
    finally:
        child.kill()
        child.communicate()


def stopped(child: subprocess.Popen) -> tuple[str, str, dict[str, int], list[str]]:
    output, _ = child.communicate("stop\n")
    return tuple(json.loads(output))


def datagrams(first: int, stop: int) -> list[bytes]:
    """Packets `first` to `stop` - 1 of a stream that repeats PATTERN."""
    return [
        encode_data_header(n + 1, n * PAYLOAD)
        + PATTERN[n * PAYLOAD % PATTERN_BYTES : n * PAYLOAD % PATTERN_BYTES + PAYLOAD].tobytes()
        for n in range(first, stop)
    ]


def send_paced(address: tuple[str, int], packets: int, packets_per_s: float) -> None:
    started = time.monotonic()
    for first in range(0, packets, 50):
        send(address, datagrams(first, min(first + 50, packets)))
        time.sleep(max(0.0, started + (first + 50) / packets_per_s - time.monotonic()))


def check_consistent(folder: Path) -> tuple[int, np.ndarray]:
    """Records are whole, speak only of bytes that are there, and every byte they speak of is the stream's."""
    assert (folder / "packets.bin").stat().st_size % PACKET_RECORD.itemsize == 0
    adc, packets = files(folder)
    stream = np.frombuffer(adc, np.uint8)
    for offset, length in packets[["byte_offset", "length"]].tolist():
        assert offset + length <= len(stream)
        at = offset % PATTERN_BYTES
        assert np.array_equal(stream[offset : offset + length], PATTERN[at : at + length])
    for start, stop in missing_ranges(packets, len(stream)).tolist():
        if stop < len(stream):  # at the very end bytes may be there whose record is not yet
            assert not stream[start:stop].any()
    return len(stream), packets


@pytest.mark.parametrize("seconds", [0.3, 1.1, 1.7])
def test_kill_9_leaves_a_readable_pair(tmp_path: Path, seconds: float) -> None:
    rate = 10_000
    with receiving(tmp_path) as (child, address):
        send_paced(address, round(rate * seconds), rate)
        child.send_signal(signal.SIGKILL)
        child.wait()
    size, packets = check_consistent(tmp_path)
    sent = round(rate * seconds) * PAYLOAD
    assert sent - size < rate * PAYLOAD  # at most a second is gone: what was still open, and one turn of the writer
    assert missing_ranges(packets, size).sum() == 0 or missing_ranges(packets, size)[0, 0] > 0


@pytest.mark.parametrize("reserve_bytes", [0, 2**18])
def test_a_full_disk_ends_it_cleanly(tmp_path: Path, reserve_bytes: int) -> None:
    """A file system of 4 MiB; where one cannot be mounted, the next test is the one that runs."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk], check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        with receiving(disk, reserve_bytes=reserve_bytes) as (child, address):
            send_paced(address, 6000, 20_000)
            status, sentence, counters, _ = stopped(child)
        size, packets = check_consistent(disk)
        left = shutil.disk_usage(disk).free
    finally:
        subprocess.run(["umount", disk], check=True)
    assert status == "disk-full"
    assert sentence.startswith(f"The disk of {disk} is full (No space left on device)")
    assert f"ends at byte {size}" in sentence
    assert size == counters["written_bytes"] > 3 * 2**20
    if reserve_bytes:  # every whole packet on disk is vouched for, and there is room to close the recording
        assert missing_ranges(packets, size // PAYLOAD * PAYLOAD).tolist() == []
        assert reserve_bytes // 2 < left <= reserve_bytes


def test_a_file_size_limit_ends_it_cleanly(tmp_path: Path) -> None:
    with receiving(tmp_path) as (child, address):
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        send_paced(address, 4000, 20_000)
        status, sentence, counters, _ = stopped(child)
    size, packets = check_consistent(tmp_path)
    assert status == "disk-full"
    assert "File too large" in sentence
    assert size == counters["written_bytes"] == 2_000_000
    assert len(packets) == 2_000_000 // PAYLOAD


def test_records_that_no_longer_fit_are_cut_to_whole_ones(tmp_path: Path) -> None:
    """Small payloads: packets.bin is the larger file and meets the limit first, in the middle of a record."""
    with receiving(tmp_path, window_bytes=0, frame_bytes=8) as (child, address):
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (10_010, 10_010))
        send(address, [encode_data_header(n + 1, 8 * n) + PATTERN[8 * n : 8 * n + 8].tobytes() for n in range(1000)])
        status, _, counters, _ = stopped(child)
    size, packets = check_consistent(tmp_path)
    assert status == "disk-full"
    assert len(packets) == 10_010 // 32
    # all that came in one turn of the writer or, on a busy machine, in its first ones
    assert 8 * len(packets) < size <= 8000
    assert size == counters["written_bytes"]


def test_the_reserve_is_left_free(tmp_path: Path) -> None:
    more_than_there_is = shutil.disk_usage(tmp_path).free + 2**33
    with Receiver(tmp_path, settings_for(reserve_bytes=more_than_there_is, window_bytes=0)) as receiver:
        receiver.start()
        send(receiver.address, datagrams(0, 10))
        assert receiver.wait(5)
        result = receiver.stop()
    assert result.status == "disk-full"
    assert not result.ok
    assert files(tmp_path)[0] == b""


def test_a_writer_too_slow_is_counted_and_said(tmp_path: Path) -> None:
    """20 MB at once through a ring of 128 KiB: packets must go, and every one that goes is counted."""
    sent = 14_000
    with Receiver(tmp_path, settings_for(ring_bytes=2**17, receive_buffer_bytes=2**22)) as receiver:
        receiver.start()
        send(receiver.address, datagrams(0, sent))
        send(receiver.address, datagrams(sent, sent + 1))
        result = receiver.stop()
    size, packets = check_consistent(tmp_path)
    counters = result.counters
    assert counters.writer_overruns > 0
    assert counters.packets + counters.writer_overruns + counters.kernel_drops == sent + 1
    assert len(packets) == counters.packets
    assert missing_ranges(packets, size).sum(axis=0).tolist()[1] - missing_ranges(packets, size).sum(axis=0).tolist()[
        0
    ] == (counters.missing_bytes)
    assert counters.missing_bytes + counters.bytes == size == counters.stream_bytes
    assert any(
        note.startswith(f"{counters.writer_overruns} packets were dropped because the disk") for note in result.notes
    )


def test_a_busy_interpreter_loses_nothing(tmp_path: Path) -> None:
    """A pure-Python loop in the receiver's own process holds the interpreter lock all the time."""
    with receiving(tmp_path, "busy") as (child, address):
        send_paced(address, 20_000, 20_000)
        status, _, counters, _ = stopped(child)
    assert status == "stopped"
    assert counters["packets"] == 20_000
    assert check_consistent(tmp_path)[0] == 20_000 * PAYLOAD


def test_what_the_machine_does_not_permit_is_said() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        with receiving(Path(folder), "unprivileged", receive_buffer_bytes=2**28, data_port=0) as (child, address):
            send_paced(address, 100, 10_000)
            status, _, counters, notes = stopped(child)
    assert (status, counters["packets"]) == ("stopped", 100)
    assert "sysctl -w net.core.rmem_max=268435456" in notes[0]
    assert "The receive thread runs at ordinary priority (Operation not permitted)" in notes[1]
    assert "CAP_SYS_NICE" in notes[1]
