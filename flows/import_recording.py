"""`import-recording`: bring in a recording that another tool made; the imported recording then starts its own processing."""

from pathlib import Path
from typing import Annotated, Literal

from prefect import flow, get_run_logger
from pydantic import Field

from capture import importers
from flows.address import worker_root
from flows.artifacts import markdown_table, recording_rows, show_markdown, show_table
from flows.asked_paths import path_inside
from flows.events import emit_recording_closed
from pipeline.catalogue import update_catalogue
from pipeline.manifest import ID_PATTERN, NAME_PATTERN

Id = Annotated[str, Field(pattern=ID_PATTERN)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


def run_name() -> str:
    """`import-<file>`, as the run is called in the UI."""
    from prefect.runtime import flow_run

    return f"import-{Path(flow_run.parameters['source']).name}"


@flow(name="import-recording", flow_run_name=run_name)
def import_recording(
    source: str,
    configs: list[str] | None = None,
    sample_order: Literal["auto", "i-first", "q-first", "interleaved"] = "auto",
    recording_id: Id | None = None,
    realign: Literal["no", "pairs", "chirps"] = "no",
    session: Annotated[int, Field(ge=0)] | None = None,
    participant: Name | None = None,
    action: Name | None = None,
) -> str:
    """Bring in a recording that another tool made; returns its id.

    Args:
        source: File or folder in the data root: .bin of mmWave Studio or TI's recorder, .pcap, .pcapng, a session folder.
        configs: Radar configuration in the data root: .cfg, or *.mmwave.json and *.setup.json; empty to look beside the source.
        sample_order: How samples lie in the file; auto finds out from the data.
        recording_id: What to call it; empty for a name made from time and source.
        realign: Repair a stream that was cut off its alignment: put I and Q together again, or chirps too.
        session: Which recording of a packet capture that holds several.
        participant: Who was recorded, for example p01.
        action: What the person did, for example arm-raise.
    """
    root = worker_root()
    recording = importers.import_recording(
        root,
        path_inside(source, root),
        [path_inside(name, root) for name in configs or []],
        sample_order,
        recording_id,
        realign=realign,
        session=session,
        participant=participant,
        action=action,
    )
    update_catalogue(root)
    for note in recording.manifest.notes:
        get_run_logger().info(note)
    rows = recording_rows(recording)
    show_table("recording", rows, description=recording.id)
    show_markdown(
        "import-recording",
        f"Recording {recording.id}",
        markdown_table(rows),
        "\n".join(f"- {note}" for note in recording.manifest.notes),
        simulated=recording.manifest.simulated,
        description=f"What {recording.id} holds",
    )
    emit_recording_closed(recording)
    return recording.id
