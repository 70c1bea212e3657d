"""A card's data packets into `adc.bin` and `packets.bin` of a recording folder.

Three threads: the receive loop (`capture/receiver_kernels.py`: compiled, without the interpreter lock), the writer
(`capture/receiver_writer.py`), both at raised priority where permitted, and one that forces the files onto the disk every
second and reports progress. Between the first two lies a bounded ring; when the writer cannot keep up and the ring is
full, packets are dropped and counted (`writer_overruns`). Nothing is lost without a count.

    receiver = Receiver(folder, ReceiverSettings(frame_bytes=waveform.frame_bytes))
    receiver.open()        # takes the port: fails now if it is in use
    receiver.start()       # forgets what lies in the socket, then receives; call it right before RECORD_START
    ...
    result = receiver.stop()
"""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped

from capture import receiver_kernels as kernels
from capture.dca1000_wire import ipv4_bytes
from capture.receiver_socket import buffer_seconds, describe_buffer, drain, kernel_drops, open_data_socket
from capture.receiver_writer import DISK_FULL_ERRORS, StreamWriter
from capture.reception import ReceiverCounters, ReceiverResult, ReceiverSettings, Status, losses, outcome
from pipeline.errors import PipelineError

_RECORD_ROWS = 2**19  # more than six seconds of a full 1 Gbit/s link
_HOLE_ROWS = 2**16
_BATCH = 512
_RECEIVE_PRIORITY, _WRITE_PRIORITY = 10, 5  # SCHED_FIFO; both threads sleep most of the time
_NICE = -10
_WRITE_INTERVAL_S, _SHORTEST_WRITE_INTERVAL_S = 0.05, 0.002
_WRITE_BYTES = 2**20  # a write of so many finds them in the processor's cache still
_SYNC_INTERVAL_S = 1.0
_LONGEST_PAUSE_S = 0.004


class Receiver:
    """One reception. Use it once; as a context manager it stops when left."""

    def __init__(
        self,
        folder: Path,
        settings: ReceiverSettings,
        on_progress: Callable[[ReceiverCounters], None] | None = None,
    ) -> None:
        """`on_progress` is called about once a second from a thread of the receiver's.

        Raises PipelineError where settings contradict each other.
        """
        self.folder = folder
        self.settings = settings
        self._ring_bytes = settings.ring
        self._on_progress = on_progress
        self._card_ip = ipv4_bytes(settings.card_ip)
        self._socket: socket.socket | None = None
        self._address = (settings.host_ip, settings.data_port)
        self._state = np.zeros(kernels.STATE_WORDS, np.int64)
        self._notes: list[str] = []
        self._received = threading.Event()  # the receive loop has ended
        self._written = threading.Event()  # the writer too
        self._finished = threading.Event()  # and everything is forced onto the disk
        self._failure: tuple[Status, str] | None = None
        self._slowest_sync_s = 0.0
        self._drops_before = 0
        self._drops = 0
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads:
            self.stop()
        elif self._socket:
            self._socket.close()

    # --- life --------------------------------------------------------------------------------------------------------
    def open(self) -> tuple[str, int]:
        """Take the data port; its address. PipelineError where the port is in use or the host has no such address."""
        if sys.platform != "linux":
            raise PipelineError("Receiving needs Linux (recvmmsg, kernel timestamps); this is " + sys.platform + ".")
        if not self._socket:
            asked = self.settings.receive_buffer_bytes
            self._socket = open_data_socket(self.settings.host_ip, self.settings.data_port, asked)
            self._address = self._socket.getsockname()
            self._notes.append(describe_buffer(self._socket, asked))
        return self._address

    @property
    def address(self) -> tuple[str, int]:
        """Where the data socket was bound by `open`."""
        if not self._socket:
            raise PipelineError("The receiver has no port yet: open() it first.")
        return self._address

    def start(self) -> None:
        """Make the files, forget packets of an earlier recording that lie in the socket, and receive."""
        self.open()
        assert self._socket
        buffers = _Buffers(self._ring_bytes)
        config = self._config(self._socket)
        self._state[kernels.STOP] = kernels.ABORT
        buffers.receive(self._state, config)  # compiles, or loads what was compiled before
        self._state[kernels.STOP] = kernels.RUN
        self._writer = StreamWriter(
            self.folder, self._state, buffers.ring, buffers.records, self.settings.reserve_bytes
        )
        if stale := drain(self._socket):
            self._notes.append(f"{stale} packets that came before the start were dropped.")
        self._drops_before = self._drops = kernel_drops(self._socket)
        self._state[kernels.LAST_NS] = time.monotonic_ns()
        self._threads = [
            threading.Thread(target=self._receive, args=(buffers, config), name="dca1000-receive", daemon=True),
            threading.Thread(target=self._write, name="dca1000-write", daemon=True),
            threading.Thread(target=self._sync, name="dca1000-sync", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def wait_first_packet(self, timeout_s: float | int) -> bool:
        """True as soon as a packet is stored; False when none is within `timeout_s`, or when reception ended."""
        deadline = time.monotonic() + timeout_s
        while not self._state[kernels.PACKETS]:
            if time.monotonic() > deadline or self._received.wait(0.005):
                return bool(self._state[kernels.PACKETS])
        return True

    def wait(self, timeout_s: float | int | None = None) -> bool:
        """True once reception ended by itself and everything is on disk; False after `timeout_s`."""
        return self._finished.wait(timeout_s)

    def stop(self) -> ReceiverResult:
        """End reception with what the socket still holds, write everything, force it onto the disk. May be repeated."""
        if self._state[kernels.STOP] == kernels.RUN:
            self._state[kernels.STOP] = kernels.DRAIN
        for thread in self._threads:
            thread.join()
        counters = self.progress()
        if self._socket:
            self._socket.close()
        reason = int(self._state[kernels.EXIT])
        status, sentence = self._failure or outcome(reason, counters, self.settings, self._address)
        return ReceiverResult(status, sentence, counters, (*self._notes, *losses(counters)))

    def progress(self) -> ReceiverCounters:
        """The counters now."""
        state = self._state
        if self._socket and self._socket.fileno() >= 0:
            self._drops = kernel_drops(self._socket)
        return ReceiverCounters(
            packets=int(state[kernels.PACKETS]),
            bytes=int(state[kernels.BYTES]),
            stream_bytes=int(state[kernels.HIGH]),
            written_bytes=int(state[kernels.TAIL]),
            frames_closed=int(state[kernels.CLOSED]) // self.settings.frame_bytes,
            missing_bytes=int(state[kernels.MISSING]),
            duplicates=int(state[kernels.DUPLICATES]),
            reordered=int(state[kernels.REORDERED]),
            too_late=int(state[kernels.TOO_LATE]),
            foreign=int(state[kernels.FOREIGN]),
            malformed=int(state[kernels.MALFORMED]),
            implausible=int(state[kernels.IMPLAUSIBLE]),
            kernel_drops=self._drops - self._drops_before,
            writer_overruns=int(state[kernels.OVERRUNS]),
            backlog_peak_bytes=int(state[kernels.BACKLOG_PEAK]),
            slowest_sync_ms=round(self._slowest_sync_s * 1e3),
            seconds=int(state[kernels.LAST_NS] - state[kernels.FIRST_NS]) / 1e9 if state[kernels.FIRST_NS] else 0.0,
        )

    # --- the three threads -------------------------------------------------------------------------------------------
    def _receive(self, buffers: "_Buffers", config: Int64[np.ndarray, " settings"]) -> None:
        try:
            self._notes.append(_raise_priority(_RECEIVE_PRIORITY, "receive"))
            buffers.receive(self._state, config)
        except Exception as error:
            self._fail("failed", f"The receive loop failed: {error!r}.")
        finally:
            self._received.set()

    def _write(self) -> None:
        state = self._state
        self._notes.append(_raise_priority(_WRITE_PRIORITY, "write"))
        interval_s = _WRITE_INTERVAL_S
        try:
            while True:
                last = self._received.is_set()
                wrote_bytes = self._writer.write_closed()
                if last and state[kernels.TAIL] == state[kernels.CLOSED]:
                    break
                fit_s = interval_s * _WRITE_BYTES / max(wrote_bytes, 1)
                interval_s = min(max(fit_s, _SHORTEST_WRITE_INTERVAL_S), _WRITE_INTERVAL_S)
                full = state[kernels.HIGH] - state[kernels.TAIL] > self._ring_bytes // 4 * 3
                self._received.wait(_SHORTEST_WRITE_INTERVAL_S if full else interval_s)
        except OSError as error:
            self._disk_failed(error)
            with contextlib.suppress(OSError):  # what is on disk can still be vouched for, if the disk takes that much
                self._writer.write_records()
        except Exception as error:
            self._fail("failed", f"The writer failed: {error!r}.")
        finally:
            self._written.set()

    def _sync(self) -> None:
        last = False
        while not last:
            last = self._written.wait(_SYNC_INTERVAL_S)
            started = time.monotonic()
            try:
                self._writer.sync()
            except OSError as error:
                self._disk_failed(error)
            self._slowest_sync_s = max(self._slowest_sync_s, time.monotonic() - started)
            if self._on_progress:
                try:
                    self._on_progress(self.progress())
                except Exception as error:
                    self._on_progress = None
                    self._notes.append(f"Reporting progress failed ({error!r}) and was given up; receiving went on.")
        self._writer.close()
        self._finished.set()

    # --- how it ended ------------------------------------------------------------------------------------------------
    def _fail(self, status: Status, sentence: str) -> None:
        self._failure = self._failure or (status, sentence)
        self._state[kernels.STOP] = kernels.ABORT

    def _disk_failed(self, error: OSError) -> None:
        whole = f"the recording ends at byte {self._state[kernels.TAIL]}, and what was written is whole"
        if error.errno in DISK_FULL_ERRORS:
            self._fail("disk-full", f"The disk of {self.folder} is full ({error.strerror}): {whole}. Make room first.")
        else:
            self._fail("write-failed", f"{self.folder} could not be written ({error.strerror}): {whole}.")

    def _config(self, data: socket.socket) -> Int64[np.ndarray, " settings"]:
        settings = self.settings
        config = np.zeros(kernels.CONFIG_WORDS, np.int64)
        config[kernels.FD] = data.fileno()
        config[kernels.CARD] = int.from_bytes(self._card_ip, "little")
        config[kernels.COUNT_BASE] = settings.byte_count_base
        config[kernels.FRAME_BYTES] = settings.frame_bytes
        config[kernels.WINDOW_BYTES] = settings.window
        config[kernels.CLOSE_AFTER_NS] = settings.close_after_s * 1e9
        config[kernels.EXPECTED_BYTES] = settings.expected_bytes or 0
        config[kernels.FIRST_TIMEOUT_NS] = (settings.first_packet_timeout_s or 0) * 1e9
        config[kernels.SILENCE_NS] = (settings.silence_timeout_s or 0) * 1e9
        config[kernels.PAUSE_NS] = min(buffer_seconds(data) / 4, _LONGEST_PAUSE_S) * 1e9
        return config


class _Buffers:
    """The memory of the receive loop: ring, records, holes, and `recvmmsg`'s messages pointing into slots."""

    def __init__(self, ring_bytes: int) -> None:
        self.ring = np.zeros(ring_bytes, np.uint8)
        self.records = np.zeros((_RECORD_ROWS, kernels.RECORD_WORDS), np.int64)
        self._holes = np.zeros((_HOLE_ROWS, 2), np.int64)
        self._slots = np.zeros((_BATCH, kernels.SLOT_BYTES), np.uint8)
        self._names = np.zeros((_BATCH, kernels.NAME_WORDS), np.uint32)
        self._control = np.zeros((_BATCH, kernels.CONTROL_WORDS), np.int64)
        self._vectors = np.zeros((_BATCH, 2), np.int64)  # struct iovec
        self._vectors[:, 0] = _row_addresses(self._slots)
        self._vectors[:, 1] = kernels.SLOT_BYTES
        self._messages = np.zeros((_BATCH, kernels.MESSAGE_WORDS), np.int64)
        self._messages[:, kernels.MESSAGE_NAME] = _row_addresses(self._names)
        self._messages[:, kernels.MESSAGE_NAME_BYTES] = self._names.strides[0]
        self._messages[:, kernels.MESSAGE_IOV] = _row_addresses(self._vectors)
        self._messages[:, kernels.MESSAGE_IOVS] = 1
        self._messages[:, kernels.MESSAGE_CONTROL] = _row_addresses(self._control)
        self._messages[:, kernels.MESSAGE_CONTROL_BYTES] = self._control.strides[0]
        self.ring.fill(0)  # touched now rather than page by page while packets wait
        self._slots[:, :2048] = 0

    def receive(self, state: Int64[np.ndarray, " words"], config: Int64[np.ndarray, " settings"]) -> None:
        """Run the receive loop until it ends."""
        kernels.receive(
            state,
            config,
            self.ring,
            self.records,
            self._holes,
            self._slots,
            self._messages,
            self._names,
            self._control,
        )


def _row_addresses(array: Shaped[np.ndarray, "rows columns"]) -> Int64[np.ndarray, " rows"]:
    return array.ctypes.data + np.arange(len(array), dtype=np.int64) * array.strides[0]


def _raise_priority(priority: int, thread: str) -> str:
    """Put the calling thread before ordinary programs, as far as permitted; what came of it."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        refusal = error.strerror
    else:
        return f"The {thread} thread runs at real-time priority {priority}."
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)  # 0: on Linux the calling thread
    except OSError:
        return (
            f"The {thread} thread runs at ordinary priority ({refusal}): packets may be lost when the machine is busy; "
            f"grant CAP_SYS_NICE, or an rtprio limit of {_RECEIVE_PRIORITY} in /etc/security/limits.conf."
        )
    return f"The {thread} thread runs at nice {_NICE}; real-time priority was refused ({refusal})."
