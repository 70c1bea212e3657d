"""What the source of an import is, told by its content, and its bytes written as `adc.bin` and `packets.bin`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capture.dca1000_wire import CONFIG_PORT, DATA_PORT
from capture.import_config import ImportConfig, find_configs, read_import_config
from capture.import_headers import copy_headed_pieces, has_packet_headers
from capture.import_plain import copy_pieces, find_log, gather_pieces, packets_from_log, read_log
from capture.import_platform import (
    PlatformSession,
    check_geometry,
    copy_platform_session,
    find_platform_session,
    platform_geometry,
)
from capture.pcap import require_data, survey_capture
from capture.pcap_copy import copy_session
from capture.pcap_file import is_capture_file
from pipeline.cfg_text import RadarConfig, write_cfg
from pipeline.errors import PipelineError
from pipeline.files import free_bytes
from pipeline.sample_order import Layout
from pipeline.waveform import PRESETS, Waveform

IMPORTABLE = (
    "a .bin of mmWave Studio or TI's DCA1000 recorder (in pieces or with packet headers), a .pcap or .pcapng of a DCA1000 "
    "session, or a session folder of the first authors' platform (raw.bin or raw/mmwave.bin)"
)
_FOREIGN_BEGINNINGS = {
    b"MATLAB 5.0": "a MATLAB file",
    b"\x89HDF\r\n": "an HDF5 file (MATLAB 7.3 .mat among them)",
    b"\x93NUMPY": "a NumPy array",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip file",
    b"#ROSBAG": "a ROS bag",
    b"SQLite format 3": "an SQLite file",
}


@dataclass(frozen=True)
class ImportRequest:
    """What to import and where to look in it; `config_files` empty: those found beside the source."""

    source: Path
    config_files: tuple[Path, ...] = ()
    card_ip: str | None = None
    data_port: int = DATA_PORT
    config_port: int = CONFIG_PORT
    session: int | None = None


@dataclass
class Imported:
    """What a format's reader found out while it wrote `adc.bin` and `packets.bin`."""

    origin: str
    waveform: Waveform
    layout: Layout
    cfg_text: str = ""
    simulated: bool = False
    counters: dict[str, int | float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    clocks: dict[str, Any] = field(default_factory=dict)


def read_source(request: ImportRequest, folder: Path) -> Imported:
    """Write `adc.bin` (and `packets.bin` where packets are known) into `folder` from whatever the source is."""
    source = request.source
    if not source.exists():
        raise PipelineError(f"{source} is not there; name {IMPORTABLE}.")
    if (source / "recording.json").is_file():
        raise PipelineError(
            f"{source} is a recording already; copy the folder into the data root's recordings/ as it is."
        )
    session = find_platform_session(source)
    if session:
        return _read_platform(request, session, folder)
    if source.is_dir():
        source = _only_recording_in(source)
    if is_capture_file(source):
        return _read_capture(request, source, folder)
    _refuse_foreign(source)
    return _read_bin(request, source, folder)


def _read_capture(request: ImportRequest, source: Path, folder: Path) -> Imported:
    config, notes = _configuration(request, source.parent)
    data_port, config_port = request.data_port, request.config_port
    if config.card and (data_port, config_port) == (DATA_PORT, CONFIG_PORT):
        data_port, config_port = config.card.data_port, config.card.config_port
    survey = survey_capture(source, card_ip=request.card_ip, data_port=data_port, config_port=config_port)
    require_data(survey)
    imported = _imported(config, "DCA1000 packet capture", notes)
    frame_bytes = imported.waveform.frame_bytes
    whole = [session.number for session in survey.sessions if session.payload_bytes >= frame_bytes]
    number = whole[0] if request.session is None and len(whole) == 1 else request.session
    result = copy_session(survey, survey.session(number), folder, frame_bytes=frame_bytes)
    imported.counters, imported.simulated = result.counters, survey.simulated
    imported.layout = imported.waveform.sample_order  # no recorder reordered these samples
    imported.notes += result.notes
    imported.clocks["host"] = {
        "wall_minus_monotonic_ns": 0,
        "note": "packet times are those of the capture file; it has no monotonic clock",
    }
    return imported


def _read_bin(request: ImportRequest, source: Path, folder: Path) -> Imported:
    config, notes = _configuration(request, source.parent)
    size = source.stat().st_size
    if size == 0:
        raise PipelineError(f"{source.name} is empty; look for the recorder's own messages, nothing was captured.")
    pieces = gather_pieces(source, config.setup.processed_files if config.setup else ())
    if len(pieces) > 1:
        notes.append(f"The recording was in {len(pieces)} pieces: {', '.join(piece.name for piece in pieces)}.")
    headed = has_packet_headers(source)
    imported = _imported(config, "DCA1000 .bin with packet headers" if headed else "DCA1000 .bin", notes)
    log_path = find_log(source)
    log = read_log(log_path) if log_path else None
    if log_path:
        imported.sources.append(log_path)
    _require_space(folder, sum(piece.stat().st_size for piece in pieces))
    if headed:
        imported.counters, more = copy_headed_pieces(pieces, folder, frame_bytes=imported.waveform.frame_bytes)
        imported.notes += more
        imported.layout = imported.waveform.sample_order  # the recorder reorders only what it strips of headers
    else:
        copy_pieces(pieces, folder / "adc.bin")
    if log:
        imported.counters |= {f"log_{name}": value for name, value in vars(log).items()}
    if headed:
        return imported
    packets = packets_from_log(folder / "adc.bin", log) if log else None
    if log and packets is not None:
        packets.tofile(folder / "packets.bin")
        imported.notes.append(
            f"Losses are those of the recorder's log: {log.zero_filled_bytes} bytes; packets have no times."
        )
    elif log:
        imported.notes.append(
            f"The recorder's log ({log.received} packets received, {log.zero_filled_bytes} bytes zero-filled) does not fit the "
            "file to the byte, so where bytes were lost is unknown."
        )
    else:
        imported.notes.append(
            "The file has no packet headers and no recorder's log beside it: lost packets are unknown."
        )
    return imported


def _read_platform(request: ImportRequest, session: PlatformSession, folder: Path) -> Imported:
    config, notes = _configuration(request, session.folder, session)
    imported = _imported(config, f"capture platform session, version {2 if session.numbered else 1}", notes)
    check_geometry(session, imported.waveform)
    imported.layout = "i-first"  # the platform's radar is set up by mmWave Studio and its reader takes I first
    _require_space(folder, session.raw.stat().st_size)
    imported.counters, more = copy_platform_session(session, folder, frame_bytes=imported.waveform.frame_bytes)
    imported.notes += more
    imported.sources += session.sources
    imported.clocks["host"] = {
        "wall_minus_monotonic_ns": 0,
        "note": "frame times are the platform's Unix clock; it has no monotonic one",
    }
    return imported


def _imported(config: ImportConfig, origin: str, notes: list[str]) -> Imported:
    assert config.radar is not None
    radar = config.radar
    if not radar.adc_streamed:
        notes.append(
            f"{radar.where.get('lvdsStreamCfg', radar.waveform.name)} switches raw data off, yet here is some."
        )
    return Imported(
        origin,
        radar.waveform,
        config.layout or radar.waveform.sample_order,
        cfg_text=radar.text,
        notes=[*radar.notes, *notes],
        sources=list(config.files),
    )


def _configuration(
    request: ImportRequest, beside: Path, session: PlatformSession | None = None
) -> tuple[ImportConfig, list[str]]:
    """The configuration files named, or those beside the source; PipelineError when none configures the radar."""
    paths = list(request.config_files) or find_configs(beside)
    config = read_import_config(paths)
    notes = []
    if not request.config_files and paths:
        notes.append(f"The configuration was found beside the source: {', '.join(path.name for path in paths)}.")
    if config.radar is None and session is not None:
        preset, said = PRESETS["paper"], platform_geometry(session)
        if tuple(said.get(name) for name in ("chirps", "tx", "rx", "samples")) == preset.frame_shape:
            notes.append(
                "No radar configuration was named; the session's frames have the shape of the platform's published profile, "
                "which was taken (preset paper)."
            )
            return ImportConfig(
                RadarConfig(preset, write_cfg(preset), {}), config.setup, config.card, config.files
            ), notes
    if config.radar is None:
        named = ", ".join(path.name for path in paths)
        what = (
            f"None of {named} configures the radar"
            if paths
            else f"{request.source.name} comes without a radar configuration"
        )
        raise PipelineError(f"{what}; name the .cfg or *.mmwave.json it was recorded with (--config FILE).")
    return config, notes


def _only_recording_in(folder: Path) -> Path:
    """The one recording of a folder: a capture, a raw file with packet headers, else the processed `.bin`."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    captures = [path for path in files if is_capture_file(path)]
    bins = [path for path in files if path.suffix.lower() == ".bin"]
    firsts = {gather_pieces(path)[0] for path in bins if path == _first_piece(path, bins)}
    headed = [path for path in firsts if has_packet_headers(path)]
    raw_of_processed = {path for path in firsts if _processed_name(path) in {other.name for other in firsts}}
    candidates = captures or headed or sorted(firsts - raw_of_processed)
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise PipelineError(f"{folder} holds nothing to import; name {IMPORTABLE}.")
    names = ", ".join(sorted(path.name for path in candidates))
    raise PipelineError(f"{folder} holds {len(candidates)} recordings ({names}); name one of them.")


def _first_piece(path: Path, bins: list[Path]) -> Path:
    head, mark, _ = path.name.lower().rpartition("_raw_")
    return min(
        (other for other in bins if mark and other.name.lower().startswith(head + mark)),
        key=_piece_number,
        default=path,
    )


def _piece_number(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdigit() else 0


def _processed_name(path: Path) -> str:
    """mmWave Studio writes `adc_data_Raw_0.bin` and makes `adc_data.bin` of it."""
    head, mark, _ = path.name.rpartition("_Raw_")
    return f"{head}.bin" if mark else ""


def _refuse_foreign(source: Path) -> None:
    try:
        with source.open("rb") as file:
            begin = file.read(512)
    except OSError as error:
        raise PipelineError(f"{source} cannot be read: {error.strerror}.") from error
    for magic, what in _FOREIGN_BEGINNINGS.items():
        if begin.startswith(magic):
            raise PipelineError(f"{source.name} is {what}, which cannot be imported; name {IMPORTABLE}.")
    if len(begin) >= 32 and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in begin):
        raise PipelineError(f"{source.name} is a text file, not samples; name {IMPORTABLE}.")


def _require_space(folder: Path, size: int) -> None:
    free = free_bytes(folder)
    if size > free:
        raise PipelineError(
            f"The import needs {size} bytes and the disk has {free} left; free some space and import again."
        )
