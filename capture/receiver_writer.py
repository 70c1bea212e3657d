"""The receiver's way to disk: closed stream bytes into `adc.bin`, then the records that vouch for them into `packets.bin`.

Both files are only ever appended to. Bytes are written before their records, so whatever moment a process is killed at,
`packets.bin` speaks only of bytes that `adc.bin` holds; after a power cut, records beyond its length count for nothing.
"""

import errno
import os
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from capture.receiver_kernels import CLOSED, RECORDS, RECORDS_WRITTEN, TAIL
from pipeline.errors import PipelineError
from pipeline.packets import PACKET_RECORD

DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PIECE_BYTES = 4 * 2**20


class DiskFullError(OSError):
    """Only the reserve is left on the disk."""


class StreamWriter:
    """The two files of a recording being made, fed from the receive loop's ring and record ring.

    `state` is the words shared with `capture.receiver_kernels.receive`; `ring` holds stream byte b at b % size, `records`
    record n at row n % rows. `reserve_bytes` stay free on the disk, for what is written when a recording is closed.
    """

    def __init__(
        self,
        folder: Path,
        state: Int64[np.ndarray, " words"],
        ring: UInt8[np.ndarray, " bytes"],
        records: Int64[np.ndarray, "records 4"],
        reserve_bytes: int,
    ) -> None:
        self.folder = folder
        self._state = state
        self._ring = ring.data
        self._records = records
        self._reserve_bytes = reserve_bytes
        self._adc = _create(folder / "adc.bin")
        try:
            self._packets = _create(folder / "packets.bin")
        except PipelineError:
            os.close(self._adc)
            (folder / "adc.bin").unlink()
            raise
        directory = os.open(folder, os.O_RDONLY)
        os.fsync(directory)  # or a power cut could lose the names
        os.close(directory)

    def write_closed(self) -> int:
        """Write the bytes closed by now, then the records they allow; how many bytes. OSError where the disk refuses."""
        closed = int(self._state[CLOSED])
        start = tail = int(self._state[TAIL])
        while tail < closed:
            at = tail % len(self._ring)
            room = self.free_bytes() - self._reserve_bytes
            if room <= 0:
                raise DiskFullError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            length = min(closed - tail, len(self._ring) - at, _PIECE_BYTES, room)
            tail += os.write(self._adc, self._ring[at : at + length])
            self._state[TAIL] = tail
        self.write_records()
        return tail - start

    def write_records(self) -> None:
        """Append the records of bytes on disk."""
        while self._write_some_records():
            pass  # twice where the record ring wraps

    def _write_some_records(self) -> bool:
        """Append records, in order of arrival, up to the first whose bytes are not on disk yet; False where none is due."""
        rows = len(self._records)
        written = int(self._state[RECORDS_WRITTEN])
        first = written % rows
        ready = self._records[first : min(first + int(self._state[RECORDS]) - written, rows)]
        stops = ready[:, 0] + (ready[:, 3] >> 32 & 0xFFFF)
        ahead = np.flatnonzero(stops > int(self._state[TAIL]))
        ready = ready[: ahead[0]] if len(ahead) else ready
        if not len(ready):
            return False
        data = ready.data.cast("B")
        done = 0
        try:
            while done < len(data):
                done += os.write(self._packets, data[done:])
        finally:
            whole = done // PACKET_RECORD.itemsize
            if done % PACKET_RECORD.itemsize:
                os.ftruncate(self._packets, (written + whole) * PACKET_RECORD.itemsize)
            self._state[RECORDS_WRITTEN] = written + whole
        return True

    def free_bytes(self) -> int:
        """What the disk still takes."""
        disk = os.fstatvfs(self._adc)
        return disk.f_bavail * disk.f_frsize

    def sync(self) -> None:
        """Force what is written onto the disk. Safe beside `write_closed` in another thread: neither waits for the other."""
        os.fdatasync(self._adc)
        os.fdatasync(self._packets)

    def close(self) -> None:
        """Close both files."""
        os.close(self._adc)
        os.close(self._packets)


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise PipelineError(f"{path} exists: a recording is never written over; choose another recording id.") from None
    except OSError as error:
        raise PipelineError(f"{path} cannot be made ({error.strerror}): check that the folder is writable.") from error
