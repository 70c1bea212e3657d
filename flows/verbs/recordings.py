"""Verbs about recordings: import, list, verify, mix, recover, export."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.console import Answer, JsonOption, RootOption, resolved_root, table
from pipeline.errors import PipelineError

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The recording; `maepose list` names them.")]
SampleOrderChoice = Literal["auto", "i-first", "q-first", "interleaved"]
RealignChoice = Literal["no", "pairs", "chirps"]
LISTED = ("id", "status", "simulated", "participant", "actions", "frames", "seconds", "missing_bytes", "problem")


def import_(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A .bin, .pcap or .pcapng file, or the folder of a session.")
    ],
    config: Annotated[
        list[Path] | None,
        typer.Option(
            "--config", metavar="FILE", help="A .cfg, or mmWave Studio's JSON files (repeat); default: beside SOURCE."
        ),
    ] = None,
    sample_order: Annotated[
        SampleOrderChoice, typer.Option(help="How samples lie; auto finds out from the data.")
    ] = "auto",
    recording_id: Annotated[str | None, typer.Option("--id", help="What to call it; default: time and source.")] = None,
    realign: Annotated[
        RealignChoice, typer.Option(help="Repair a stream that was cut: put I and Q together again, or chirps too.")
    ] = "no",
    session: Annotated[
        int | None, typer.Option(min=0, help="Which recording of a packet capture that holds several.")
    ] = None,
    card_ip: Annotated[
        str | None, typer.Option(help="The card's address in a packet capture; default: whoever sent most of it.")
    ] = None,
    data_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the data packets in a packet capture.")
    ] = 4098,
    participant: Annotated[str | None, typer.Option(help="Who was recorded, for example p01.")] = None,
    action: Annotated[str | None, typer.Option(help="What the person did, for example arm-raise.")] = None,
    room: Annotated[str | None, typer.Option(help="Where.")] = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="The source comes from a simulation, not from a radar.")
    ] = False,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring in a recording that another tool made. The original files are kept with it."""
    from capture.importers import import_recording
    from pipeline.catalogue import update_catalogue

    where = resolved_root(root)
    recording = import_recording(
        where,
        source,
        config,
        sample_order,
        recording_id,
        realign=realign,
        session=session,
        card_ip=card_ip,
        data_port=data_port,
        participant=participant,
        action=action,
        room=room,
        simulated=simulated,
    )
    update_catalogue(where)
    manifest = recording.manifest
    answer = {
        "recording": recording.id,
        "origin": manifest.origin,
        "simulated": manifest.simulated,
        "status": manifest.status,
        "frames": recording.frame_count,
        "trailing_bytes": recording.trailing_bytes,
        "sample_order": recording.waveform.sample_order,
        "folder": recording.folder,
        "notes": manifest.notes,
    }
    lines = [f"{name:<16}{value}" for name, value in answer.items() if name != "notes"]
    Answer(as_json).give(answer, lines + [f"{'note':<16}{note}" for note in manifest.notes])


def list_(
    store: Annotated[
        bool, typer.Option("--store", help="List what is here, in the object store, or both; and where they differ.")
    ] = False,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every recording of the data root, and write catalogue.parquet anew from the folders."""
    from pipeline.catalogue import build_catalogue, update_catalogue

    where = resolved_root(root)
    if store:
        from flows.verbs.archive import list_store

        list_store(where, as_json)
        return
    # a data root that is not there yet is empty, not something to create by looking
    catalogue = update_catalogue(where) if where.is_dir() else build_catalogue(where)
    records: list[dict[str, Any]] = [
        {str(name): None if _missing(value) else value for name, value in row.items()}
        for row in catalogue.drop(columns="manifest_ns").to_dict(orient="records")
    ]
    rows = [tuple(record[name] for name in LISTED) for record in records]
    empty = f"There are no recordings under {where}; `maepose capture` or `maepose import` makes one."
    Answer(as_json).give({"root": where, "recordings": records}, [table(LISTED, rows)] if rows else [empty])


def verify_(recording_id: IdArgument, root: RootOption = None, as_json: JsonOption = False) -> None:
    """Check a recording against its digests and its packet records."""
    from dataclasses import asdict

    from pipeline.recording import open_recording
    from pipeline.sealing import verify

    report = verify(open_recording(resolved_root(root), recording_id))
    Answer(as_json).give({"recording": recording_id, **asdict(report)})
    if not report.ok:
        raise PipelineError(f"{recording_id} is not what was sealed: {'; '.join(report.problems)}.")


def mix(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The recording of the person it is about.")],
    bystander: Annotated[str, typer.Argument(metavar="BYSTANDER", help="A recording of somebody else.")],
    gain_db: Annotated[float, typer.Option(help="How much stronger than recorded the bystander is.")] = 0.0,
    recording_id: Annotated[str | None, typer.Option("--id", help="What to call it; default: made of both.")] = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sum the samples of two recordings: TARGET with a bystander, to train on. Labels and participant are TARGET's."""
    from pipeline.catalogue import update_catalogue
    from processing.mixing import mix as make

    where = resolved_root(root)
    mixed = make(where, target, bystander, gain_db=gain_db, recording_id=recording_id)
    update_catalogue(where)
    Answer(as_json).give(
        {
            "recording": mixed.id,
            "participant": mixed.manifest.participant,
            "others": mixed.manifest.others,
            "frames": mixed.frame_count,
            "clipped_words": mixed.manifest.counters["clipped_words"],
            "folder": mixed.folder,
        }
    )


def recover_(
    recording_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The recording; default: every one without an end.")
    ] = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Seal recordings whose recorder died, keeping everything that had reached the disk."""
    from capture.recovering import recover_recording
    from capture.session import recorder_alive
    from pipeline.recording import Recording, open_recording, recording_ids

    where = resolved_root(root)
    recovered: list[Recording] = []
    failed: list[str] = []
    if recording_id is not None:
        recovered.append(recover_recording(where, recording_id))
    else:
        for name in recording_ids(where):
            try:
                if not open_recording(where, name).sealed and not recorder_alive(where, name):
                    recovered.append(recover_recording(where, name))
            except (PipelineError, OSError) as error:  # the others are none the worse for it
                failed.append(f"{name}: {error}")
    rows = [(one.id, one.manifest.status, one.frame_count, one.manifest.reason) for one in recovered]
    nothing = [] if failed else ["Every recording has its end."]
    Answer(as_json).give(
        {
            "recovered": [{"recording": row[0], "status": row[1], "frames": row[2], "reason": row[3]} for row in rows],
            "failed": failed,
        },
        [table(("recording", "status", "frames", "reason"), rows)] if rows else nothing,
    )
    if failed:
        raise PipelineError(f"{len(failed)} recordings could not be recovered. {' '.join(failed)}")


def export(
    recording_id: IdArgument,
    pcap: Annotated[Path | None, typer.Option("--pcap", metavar="FILE", help="The packet capture to write.")] = None,
    coco: Annotated[
        Path | None, typer.Option("--coco", metavar="FILE", help="The labels as COCO keypoints (.json) to write.")
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures", help="With --coco: its pictures too, beside it.")] = False,
    labeller: Annotated[
        str | None, typer.Option(help="With --coco: whose labels; default: those that training reads.")
    ] = None,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a recording as a packet capture, as a network sniffer would have seen it, or its labels as COCO keypoints."""
    from pipeline.recording import open_recording

    where = resolved_root(root)
    if (pcap is None) == (coco is None):
        raise typer.BadParameter("say what to write: --pcap FILE or --coco FILE")
    if pcap is not None:
        from capture.pcap_export import write_capture

        packets = write_capture(open_recording(where, recording_id), pcap)
        Answer(as_json).give({"recording": recording_id, "pcap": pcap, "packets": packets})
    if coco is not None:
        from processing.labelling.coco import export_coco

        written = export_coco(where, recording_id, coco, labeller=labeller, pictures=pictures)
        Answer(as_json).give(
            {"recording": recording_id, "coco": written.path, "images": written.images, "pictures": written.pictures}
        )


def _missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))
