"""`upload-recording`: copy one sealed recording into the data root's object store; does nothing twice, and deletes nothing."""

import json
from collections.abc import Mapping
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.blocks.system import Secret

from flows.address import worker_root
from flows.artifacts import ProgressBar, show_table
from flows.process_recording import RecordingId
from pipeline.archive import not_for_upload, upload
from pipeline.errors import PipelineError
from pipeline.object_store import ObjectStore, open_object_store
from pipeline.recording import open_recording
from pipeline.settings import read_store

KEY_NAMES = {"access_key_id", "secret_access_key", "session_token"}


@flow(name="upload-recording", flow_run_name="upload-{recording_id}")
def upload_recording(recording_id: RecordingId, read_back: bool = False) -> str:
    """Put what the store lacks of a recording there; returns what was done, in a word: sent, there or waits.

    Args:
        recording_id: The recording; it must be sealed.
        read_back: Read everything from the store again afterwards, and compare its digests.
    """
    logger = get_run_logger()
    root = worker_root()
    recording = open_recording(root, recording_id)
    waits = not_for_upload(recording)
    if waits and recording.sealed:
        logger.info(waits)  # the run that deletes its pictures starts this one again
        return "waits"
    store = worker_store(root)
    bar = ProgressBar("upload-progress", f"Uploading {recording_id}", logger.warning)
    shown = -1

    def on_progress(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // max(1, total)
        if percent // 2 != shown // 2:
            shown = percent
            bar.show(percent)

    done = upload(root, recording_id, store, read_back=read_back, on_progress=on_progress)
    bar.show(100)
    rows = {
        "store": store.address,
        "sent": ", ".join(done.sent),
        "bytes": done.sent_bytes,
        "there": ", ".join(done.there),
    }
    show_table("upload", rows | {"read back": read_back}, description=recording_id)
    logger.info("%s: %d bytes sent to %s.", recording_id, done.sent_bytes, store.address)
    return "sent" if done.sent else "there"


def worker_store(root: Path) -> ObjectStore:
    """The data root's object store with the keys that a flow has for it; PipelineError as `keys_of` and `open_object_store`."""
    settings = read_store(root)
    return open_object_store(root, keys_of(settings.keys_block) if settings and settings.keys_block else None)


def keys_of(block: str) -> Mapping[str, str]:
    """The store's keys in the Prefect Secret block of that name; PipelineError where it is not there or holds something else."""
    what = f'a JSON object with "access_key_id" and "secret_access_key" as the Prefect Secret block {block!r}'
    try:
        value = Secret.load(block).get()  # type: ignore[union-attr]
    except ValueError:
        raise PipelineError(f"store.toml names a Secret block that is not there; make {what}.") from None
    try:
        keys = json.loads(value) if isinstance(value, str) else dict(value)
        fits = {"access_key_id", "secret_access_key"} <= set(keys) <= KEY_NAMES
    except (ValueError, TypeError):
        fits = False
    if not fits or not all(isinstance(one, str) for one in keys.values()):
        raise PipelineError(f"The Secret block that store.toml names does not hold the store's keys; store {what}.")
    return keys
