"""A recording's manifest as it comes back from an object store: what others may have written is checked before it is believed."""

import hashlib
from pathlib import PurePosixPath

from pydantic import ValidationError

from pipeline.errors import PipelineError
from pipeline.manifest import RecordingManifest
from pipeline.object_store import ObjectStore

FOLDER, MANIFEST = "recordings", "recording.json"


def stored_manifest(store: ObjectStore, recording_id: str, data: bytes, said_digest: str | None) -> RecordingManifest:
    """The manifest that `data` from the store holds.

    Raises PipelineError where its digest is not `said_digest` (None: nobody said one), it is not the manifest of a sealed
    `recording_id`, or it names a file that would lie outside the recording's folder.
    """
    key = f"{FOLDER}/{recording_id}/{MANIFEST}"
    if said_digest is not None and hashlib.sha256(data).hexdigest() != said_digest:
        raise PipelineError(f"{key} in the store {store.address} is not what was uploaded: its SHA-256 differs.")
    try:
        manifest = RecordingManifest.model_validate_json(data)
    except ValidationError:
        raise PipelineError(f"{key} in the store {store.address} is not a manifest this version reads.") from None
    if manifest.id != recording_id or manifest.status == "recording":
        raise PipelineError(f"{key} in the store {store.address} is not the manifest of a sealed {recording_id}.")
    for name in manifest.digests:
        path = PurePosixPath(name)
        climbs = path.is_absolute() or ".." in path.parts or not path.parts
        if climbs or "\0" in name or name == MANIFEST or path.as_posix() != name:
            raise PipelineError(
                f"{key} in the store {store.address} names the file {name!r}, which would lie outside its recording; nothing "
                "was fetched."
            )
    return manifest
