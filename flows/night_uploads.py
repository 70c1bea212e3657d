"""What the object store lacks of sealed recordings, sent at night: those of verbs, those whose upload failed. No Prefect here."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.archive import Upload, not_for_upload, standings, upload
from pipeline.errors import PipelineError
from pipeline.object_store import ObjectStore, StoreError
from pipeline.recording import open_recording, recording_ids


def send_what_lacks(root: Path, store: ObjectStore) -> Iterator[tuple[str, Upload | PipelineError]]:
    """Put there what the store lacks of each sealed recording; yields its id, and what was done or what went wrong.

    Those that are to stay at home for now (`not_for_upload`) are left out. A failure does not keep the others waiting, but for
    StoreError, which is raised: the store itself would fail the next one too.
    """
    stored = {one.id for one in standings(root, store) if one.where == "both"}
    for name in recording_ids(root):
        if name in stored:
            continue
        try:
            if not_for_upload(open_recording(root, name)):
                continue
            done = upload(root, name, store)
        except StoreError:
            raise
        except PipelineError as error:
            yield name, error
        else:
            yield name, done
