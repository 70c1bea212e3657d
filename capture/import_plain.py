"""Plain `.bin` files of sample bytes: mmWave Studio's, TI's command-line recorder's, anybody's; and the recorder's log.

Source for the log and the splitting: TI's DCA1000 CLI (BSD), `recorddatarecv.cpp` and `rf_api.cpp`. It begins a new piece
`<prefix>_Raw_<n>.bin` when a maximum size is reached, replaces lost packets by zeros, and writes `<prefix>_LogFile.csv`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from pipeline.errors import PipelineError
from pipeline.packets import PACKET_RECORD

PAYLOAD_BYTES = 1456  # of a full packet in TI's recorder (PAYLOAD_BYTES_PER_PACKET)
_PIECE = re.compile(r"^(?P<prefix>.*_Raw_)(?P<number>\d+)\.bin$", re.IGNORECASE)
_COPY_BYTES = 4 << 20


def gather_pieces(source: Path, listed: tuple[str, ...] = ()) -> list[Path]:
    """The files that make up the recording `source` belongs to, in order.

    `<prefix>_Raw_0.bin` brings `_Raw_1.bin` and so on with it; a capture set-up (`listed`) that names several files with
    `source` first brings those. PipelineError when a piece in between is missing or `source` is not the first one.
    """
    match = _PIECE.match(source.name)
    if match:
        pieces = {
            int(found["number"]): path
            for path in source.parent.iterdir()
            if (found := _PIECE.match(path.name)) and found["prefix"].lower() == match["prefix"].lower()
        }
        if int(match["number"]) != min(pieces):
            raise PipelineError(f"{source.name} is not the recording's first piece; name {pieces[min(pieces)].name}.")
        absent = sorted(set(range(min(pieces), max(pieces) + 1)) - set(pieces))
        if min(pieces) != 0 or absent:
            gone = absent[0] if absent else 0
            raise PipelineError(f"{match['prefix']}{gone}.bin is missing: the recording's pieces must all be there.")
        return [pieces[number] for number in sorted(pieces)]
    if len(listed) > 1 and listed[0] == source.name:
        paths = [source.with_name(name) for name in listed]
        for path in paths:
            if not path.is_file():
                raise PipelineError(f"{path.name} is missing: the capture set-up lists it as a piece of the recording.")
        return paths
    return [source]


def copy_pieces(pieces: list[Path], target: Path) -> int:
    """Write the pieces one after another to `target`; returns the bytes written."""
    total = 0
    with target.open("wb") as out:
        for piece in pieces:
            with piece.open("rb") as file:
                while block := file.read(_COPY_BYTES):
                    out.write(block)
                    total += len(block)
    return total


@dataclass(frozen=True)
class RecorderLog:
    """What TI's recorder logged of the raw stream."""

    first_packet: int
    last_packet: int
    received: int
    out_of_sequence: int
    zero_filled_packets: int
    zero_filled_bytes: int


_LOG_FIELDS = {
    "first_packet": "First Packet ID",
    "last_packet": "Last Packet ID",
    "received": "Number of received packets",
    "out_of_sequence": "Out of sequence count",
    "zero_filled_packets": "Number of zero filled packets",
    "zero_filled_bytes": "Number of zero filled bytes",
}


def find_log(first_piece: Path) -> Path | None:
    """The log that lies beside a recording and bears its name, or None."""
    prefix = re.sub(r"(_Raw_\d+)?\.bin$", "", first_piece.name, flags=re.IGNORECASE).lower()
    for path in sorted(first_piece.parent.iterdir()):
        if path.name.lower() in (f"{prefix}_logfile.csv", f"{prefix}_raw_logfile.csv") and path.is_file():
            return path
    return None


def read_log(path: Path) -> RecorderLog | None:
    """The raw stream's counts, or None when the file is no log of TI's recorder or was not finished."""
    text = path.read_bytes()[: 64 << 20].decode("latin-1")
    _, mark, summary = text.rpartition("Raw Data :")
    if not mark:
        return None
    counts = {}
    for name, label in _LOG_FIELDS.items():
        found = re.search(rf"^{label} - (\d+)", summary, re.MULTILINE)
        if found is None:
            return None
        counts[name] = int(found[1])
    return RecorderLog(**counts)


def packets_from_log(adc: Path, log: RecorderLog) -> Shaped[np.ndarray, " packets"] | None:
    """The packets that made `adc`, without times, when log and file agree to the byte; else None.

    TI's recorder fills lost packets with zeros, and real samples are never zero for a whole packet: a recording whose all-zero
    packets are as many as the log counts has its exact losses.
    """
    size = adc.stat().st_size
    count = log.last_packet - log.first_packet + 1
    if (
        size == 0
        or count != -(-size // PAYLOAD_BYTES)
        or log.zero_filled_bytes != log.zero_filled_packets * PAYLOAD_BYTES
    ):
        return None
    stream = np.memmap(adc, np.uint8, "r")
    filled = np.ones(count, bool)
    whole = size // PAYLOAD_BYTES
    for begin in range(0, whole, 4096):
        stop = min(begin + 4096, whole)
        block = stream[begin * PAYLOAD_BYTES : stop * PAYLOAD_BYTES].reshape(-1, PAYLOAD_BYTES)
        filled[begin:stop] = block.any(axis=1)
    if int((~filled).sum()) != log.zero_filled_packets:
        return None
    records = np.zeros(count, PACKET_RECORD)
    records["byte_offset"] = np.arange(count, dtype=np.uint64) * PAYLOAD_BYTES
    records["sequence"] = np.arange(log.first_packet, log.last_packet + 1, dtype=np.uint64).astype(np.uint32)
    records["length"] = np.minimum(PAYLOAD_BYTES, size - records["byte_offset"].astype(np.int64))
    return records[filled]
