"""Verbs about the object store: upload, fetch, and `list --store`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from flows.console import Answer, Bar, JsonOption, RootOption, progress_bar, resolved_root, table, tell
from pipeline.errors import PipelineError

LISTED = ("id", "where", "stored_bytes", "problem")


def upload(
    asked: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="The recordings; default: every sealed one.")
    ] = None,
    read_back: Annotated[
        bool, typer.Option("--read-back", help="Read everything from the store again afterwards, and compare digests.")
    ] = False,
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy sealed recordings into the object store of the data root. What is there is not sent again; nothing is deleted."""
    from dataclasses import asdict

    from pipeline import archive
    from pipeline.object_store import StoreError, open_object_store
    from pipeline.recording import open_recording, recording_ids

    where = resolved_root(root)
    store = open_object_store(where)
    left: dict[str, str] = {}
    if asked:
        wanted = list(dict.fromkeys(asked))
    else:
        names = recording_ids(where)
        wanted = []
        for name in names:
            try:
                problem = archive.not_for_upload(open_recording(where, name))
            except PipelineError as error:
                problem = str(error)
            if problem:
                left[name] = problem
            else:
                wanted.append(name)
    done, failed = [], {}
    for name in wanted:
        with progress_bar(name) as bar:
            try:
                done.append(archive.upload(where, name, store, read_back=read_back, on_progress=_megabytes(bar)))
            except StoreError:
                raise
            except PipelineError as error:  # the others are none the worse for it
                failed[name] = str(error)
    rows = [(one.recording, f"{one.sent_bytes:,}", len(one.sent), len(one.there)) for one in done]
    for sentence in left.values():
        tell(sentence)
    drawn = table(("recording", "bytes sent", "files sent", "files there"), rows)
    Answer(as_json).give(
        {"store": store.address, "uploaded": [asdict(one) for one in done], "left": left, "failed": failed},
        [drawn] if rows else [f"Nothing was uploaded to {store.address}."],
    )
    if failed:
        raise PipelineError(" ".join(failed.values()))


def fetch(
    recording_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="`maepose list --store` names them.")],
    root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring recordings back from the object store; each gets its name once all its digests have been checked."""
    from pipeline import archive
    from pipeline.catalogue import update_catalogue
    from pipeline.object_store import open_object_store

    where = resolved_root(root)
    store = open_object_store(where)
    fetched = []
    for name in dict.fromkeys(recording_ids):
        with progress_bar(name) as bar:
            fetched.append(archive.fetch(where, name, store, _megabytes(bar)))
    update_catalogue(where)
    Answer(as_json).give(
        {"store": store.address, "fetched": [{"recording": one.id, "folder": one.folder} for one in fetched]},
        [str(one.folder) for one in fetched],
    )


def list_store(where: Path, as_json: bool) -> None:
    """`maepose list --store`: what is here, there or both, and what differs."""
    from dataclasses import asdict

    from pipeline.archive import standings
    from pipeline.object_store import open_object_store

    store = open_object_store(where)
    records = [asdict(one) for one in standings(where, store)]
    rows = [tuple(record[name] for name in LISTED) for record in records]
    empty = f"There are no recordings under {where}, and none in {store.address}."
    Answer(as_json).give(
        {"root": where, "store": store.address, "recordings": records}, [table(LISTED, rows)] if rows else [empty]
    )


def _megabytes(bar: Bar) -> Callable[[int, int], None]:
    return lambda done, total: bar(done, total, f"{done >> 20} of {total >> 20} MB")
