"""Shard files of a cube store: one frame encoded after the other, the index at the end (Zarr v3, `sharding_indexed`).

Layout of a shard (Zarr v3 "Sharding codec", index_location "end"): encoded inner chunks one after another, then for every
inner chunk in C order its offset and length as little-endian uint64 (both 2**64 - 1 where there is none), then the CRC-32C
of those pairs. Cubes are cut along frames only, so C order is time order and a shard can be streamed: memory holds one frame,
never a shard. Zarr's own writer takes a shard at a time and costs half as much again.

Every inner chunk ends with its own CRC-32C, which Zarr checks when it reads the chunk.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np
from jaxtyping import Shaped
from numcodecs import Blosc, Zstd
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

_NO_CHUNK = 2**64 - 1
_READ_BYTES = 1 << 22


@dataclass(frozen=True)
class FileSum:
    """Size and CRC-32C of a file."""

    bytes: int
    crc32c: int


def file_sum(path: Path) -> FileSum:
    """Size and CRC-32C of the file at `path`, read in a stream."""
    size, crc = 0, 0
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            size += len(block)
            crc = google_crc32c.extend(crc, block)
    return FileSum(size, crc)


@dataclass(frozen=True)
class ChunkCodec:
    """How one inner chunk becomes bytes.

    uint8 power has no bits to shuffle and wants entropy coding: zstd level 1. Anything wider: lz4 over shuffled bits.
    """

    dtype: np.dtype

    def zarr_codecs(self) -> list[ZstdCodec | BloscCodec | Crc32cCodec]:
        """The same as Zarr metadata, for readers."""
        if self.dtype.itemsize == 1:
            return [ZstdCodec(level=1), Crc32cCodec()]
        return [
            BloscCodec(typesize=self.dtype.itemsize, cname="lz4", clevel=5, shuffle="bitshuffle", blocksize=0),
            Crc32cCodec(),
        ]

    def encode(self, block: Shaped[np.ndarray, "..."]) -> bytes:
        """A contiguous block in this codec's dtype -> compressed bytes with their CRC-32C behind them."""
        if self.dtype.itemsize == 1:
            packed = Zstd(level=1).encode(block)
        else:
            packed = Blosc("lz4", 5, Blosc.BITSHUFFLE, typesize=self.dtype.itemsize).encode(block)
        return packed + int(google_crc32c.value(packed)).to_bytes(4, "little")


class ShardFile:
    """One shard being written as `*.part`; `close` gives it its name."""

    def __init__(self, path: Path, chunks: int) -> None:
        self.path = path
        self._part = path.with_name(path.name + ".part")
        self._index = np.full((chunks, 2), _NO_CHUNK, "<u8")
        self._filled = 0
        self._bytes = 0
        self._crc = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb", buffering=0)

    def append(self, chunk: bytes) -> None:
        """Write the next inner chunk, already encoded."""
        self._index[self._filled] = self._bytes, len(chunk)
        self._filled += 1
        self._write(chunk)

    def close(self) -> FileSum:
        """Write the index and give the file its name."""
        index = self._index.tobytes()
        self._write(index + int(google_crc32c.value(index)).to_bytes(4, "little"))
        self._file.close()
        self._part.replace(self.path)
        return FileSum(self._bytes, self._crc)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:  # an unbuffered write may stop short, on a disk that fills up above all
            view = view[self._file.write(view) :]
        self._bytes += len(data)
        self._crc = google_crc32c.extend(self._crc, data)

    def abandon(self) -> None:
        """Forget the unfinished shard."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
