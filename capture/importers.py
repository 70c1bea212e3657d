"""Recordings that other tools made, brought in whole: `import_recording`.

The recording is built under a hidden name and gets its own only when it is sealed, so that an import which fails or is killed
leaves nothing that looks like a recording.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from capture.dca1000_wire import CONFIG_PORT, DATA_PORT
from capture.import_order import Realign, settle_order
from capture.import_sources import Imported, ImportRequest, read_source
from pipeline.building import building_folder
from pipeline.cube_config import SampleOrder
from pipeline.errors import PipelineError
from pipeline.manifest import ID_PATTERN, NAME_PATTERN, RecordingManifest, Segment
from pipeline.recording import Recording, new_recording_id, open_recording, read_recording, write_manifest
from pipeline.sealing import seal


def import_recording(
    root: Path,
    source: Path,
    config_files: list[Path] | None = None,
    sample_order: SampleOrder | Literal["auto"] = "auto",
    recording_id: str | None = None,
    *,
    realign: Realign = "no",
    participant: str | None = None,
    action: str | None = None,
    room: str | None = None,
    simulated: bool = False,
    card_ip: str | None = None,
    data_port: int = DATA_PORT,
    config_port: int = CONFIG_PORT,
    session: int | None = None,
) -> Recording:
    """Make a sealed recording under `root` of something another tool recorded.

    `source` is a file or folder in one of the formats of `IMPORTABLE`; `config_files` are the radar's `.cfg` or mmWave Studio's
    JSON files (left out: those beside the source). `sample_order` names the layout, or `auto` judges it by the samples.
    `realign` repairs a stream that was cut off its alignment (see `settle_order`). `session` chooses one of several recordings
    in a packet capture. The manifest's notes tell everything a reader must know, its counters the losses.

    Raises PipelineError for a source that is none of these, too short, or at odds with its configuration; an id that is taken,
    what is no name; a data root that is full or cannot be written. Nothing is then left behind.
    """
    request = ImportRequest(source, tuple(config_files or ()), card_ip, data_port, config_port, session)
    recording_id = recording_id or new_recording_id(f"import-{source.stem}")
    if not re.fullmatch(ID_PATTERN, recording_id):
        raise PipelineError(f"{recording_id!r} is not a recording id; ids are letters, digits, '.', '_' and '-'.")
    for what, name in {"participant": participant, "action": action, "room": room}.items():
        if name is not None and not re.fullmatch(NAME_PATTERN, name):
            raise PipelineError(
                f"{name!r} is no name for {what}; names are 1 to 80 letters, digits, spaces and any of _ . , ( ) + -."
            )
    with building_folder(root, recording_id) as folder:
        imported = read_source(request, folder)
        _check_size(folder, imported, source.name)
        outcome = settle_order(
            folder,
            imported.waveform,
            imported.layout,
            requested=None if sample_order == "auto" else sample_order,
            realign=realign,
        )
        manifest = RecordingManifest(
            id=recording_id,
            origin=imported.origin,
            simulated=simulated or imported.simulated,
            participant=participant,
            room=room,
            segments=(Segment(action=action),) if action else (),
            waveform=imported.waveform.model_copy(update={"sample_order": outcome.order}),
            rig={"imported_from": source.name},
            clocks=imported.clocks,
            sources=tuple(_keep_sources(imported.sources, folder)),
            notes=(*imported.notes, *outcome.notes),
        )
        if imported.cfg_text:
            (folder / "radar.cfg").write_text(imported.cfg_text)
        write_manifest(folder, manifest)
        seal(folder, counters=imported.counters | _stream_counters(folder))
    return open_recording(root, recording_id)


def _stream_counters(folder: Path) -> dict[str, int]:
    """Bytes of the finished stream, and of those lost where packets are known."""
    recording = read_recording(folder)
    counters = {"stream_bytes": recording.stream_bytes}
    if recording.packets is not None:
        holes = recording.missing_ranges()
        counters |= {"packets": len(recording.packets), "missing_bytes": int((holes[:, 1] - holes[:, 0]).sum())}
    return counters


def _check_size(folder: Path, imported: Imported, name: str) -> None:
    """PipelineError below one frame; a note about bytes after the last whole one, and about frames that were to come."""
    size, waveform = (folder / "adc.bin").stat().st_size, imported.waveform
    frames, over = divmod(size, waveform.frame_bytes)
    loops, slots, receivers, samples = waveform.frame_shape
    shape = f"{loops} loops x {slots} TX x {receivers} RX x {samples} samples"
    if frames == 0:
        raise PipelineError(
            f"{name} holds {size} bytes of samples, {waveform.frame_bytes - size} short of one frame of "
            f"{waveform.frame_bytes} bytes ({waveform.name}: {shape}); it was cut short, or recorded with another configuration."
        )
    if over:
        imported.notes.append(
            f"{name} ends {over} bytes over {frames} whole frames of {waveform.frame_bytes} bytes ({shape}): the incomplete last "
            "frame is kept in adc.bin but not used. Many bytes over may mean that the configuration is another recording's."
        )
    if waveform.frames and frames != waveform.frames:
        imported.notes.append(f"The configuration asks for {waveform.frames} frames; {frames} whole ones are here.")


# --- the folder ------------------------------------------------------------------------------------------------------


def _keep_sources(paths: list[Path], folder: Path) -> Iterator[str]:
    """Copy the small original files under `source/`; yields their names there."""
    for path in paths:
        target = folder / "source" / path.name
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            shutil.copyfile(path, target)
            yield target.relative_to(folder).as_posix()
