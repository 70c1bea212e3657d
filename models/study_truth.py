"""The labels that a study's predictions are held against, and what is known of the recordings they belong to."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ValidationError

from models.clips import clip_table
from models.config import ClipConfig
from models.metrics import HIPS, SHOULDERS
from models.study_folds import INSIDE_TEST, StudyData, who_does_what
from models.study_store import TRUE, TestedRecording, read_truth_key, write_truth
from pipeline.camera_frames import StreamIntrinsics
from pipeline.errors import PipelineError
from pipeline.labels import label_arrays, labels_path, read_labels
from pipeline.manifest import RecordingManifest
from pipeline.provenance import sha256_file, sha256_json
from pipeline.recording import open_recording
from pipeline.skeleton import JOINTS

TRUTH_VERSION = "1"


def write_truths(data: StudyData, folder: Path) -> None:
    """Write the labels of every data set at every frame that some unit may be tested at, where they are not current.

    None of a data set that nobody is held out of: it serves training alone. Raises PipelineError for a recording without cube or
    labels, and where no clip fits.
    """
    clip, inside = clip_shape(data), data.config.inside_split
    for data_set in data.config.data_sets:
        recordings = tested_recordings(data, data_set)
        described = [_described(data.root, name) for name in recordings]
        labels = [
            [name, sha256_file(labels_path(data.root, name)), who_does_what(data.root, name)] for name in recordings
        ]
        said = [one.model_dump(mode="json") for one in described]
        key = sha256_json([TRUTH_VERSION, labels, said, clip.model_dump(mode="json"), inside])
        if read_truth_key(folder, data_set) == key:
            continue
        if not recordings:
            write_truth(folder, data_set, pd.DataFrame(columns=list(TRUE)), [], key)
            continue
        clips = clip_table(data.root, recordings, clip, stride=clip.frames, labelled=False)
        if inside and data_set in data.config.trained_sets:
            clips = pd.concat([clips, _last_clips(data, data_set, recordings, clip)])
        of_each = {str(name): rows for name, rows in clips.groupby("recording", sort=True)}
        rows = [_labels(data.root, name, starts, clip) for name, starts in of_each.items()]
        write_truth(folder, data_set, pd.concat(rows, ignore_index=True), described, key)


def tested_recordings(data: StudyData, data_set: str) -> tuple[str, ...]:
    """Recordings of a data set that some unit is tested on: of people held out, or of everybody where it is split inside."""
    if data.config.inside_split and data_set in data.config.trained_sets:
        return data.recordings_of(data_set)
    people = data.tested_people(data_set)
    return tuple(sorted(name for person in people for name in data.recordings_of(data_set, person)))


def clip_shape(data: StudyData) -> ClipConfig:
    """The clips that units are tested on, as far as they decide which frames those are: the same for every row."""
    return data.config.base_preset("rd").clip


def _last_clips(data: StudyData, data_set: str, recordings: Sequence[str], clip: ClipConfig) -> pd.DataFrame:
    """Clips of the part that a split inside recordings tests."""
    part = clip.model_copy(update={"part": INSIDE_TEST})
    try:
        return clip_table(data.root, recordings, part, stride=clip.frames, labelled=False)
    except PipelineError as error:
        raise PipelineError(f"inside_split cannot test the last fifth of recordings of {data_set}: {error}") from None


def _labels(root: Path, recording_id: str, clips: pd.DataFrame, clip: ClipConfig) -> pd.DataFrame:
    """Labels of one recording at the target frames of its clips."""
    actions: dict[int, str] = {}
    for start, action in zip(clips["start"].tolist(), clips["action"].tolist(), strict=True):
        actions |= dict.fromkeys((start + target for target in clip.targets), action)
    frames = np.array(sorted(actions), np.int64)
    table = read_labels(root, recording_id).table
    arrays = label_arrays(table, int(frames.max(initial=0)) + 1)
    uv, confidence, xyz_m = arrays.uv[frames], arrays.confidence[frames], arrays.xyz_m[frames]
    confidence = np.where(np.isfinite(uv).all(axis=-1), confidence, 0)
    away_m = np.where(confidence > 0, np.linalg.norm(xyz_m, axis=-1), np.nan)[:, [*SHOULDERS, *HIPS]]
    seen = np.isfinite(away_m).any(axis=1)
    range_m = np.full(len(frames), np.nan)
    range_m[seen] = np.nanmedian(away_m[seen], axis=1)
    sources = table.drop_duplicates("frame").set_index("frame")["scale_source"].reindex(frames).fillna("none")
    return pd.DataFrame(
        {
            "recording": recording_id,
            "person": open_recording(root, recording_id).manifest.participant,
            "action": np.repeat([actions[int(frame)] for frame in frames], len(JOINTS)),
            "frame": np.repeat(frames, len(JOINTS)),
            "joint": np.tile(np.arange(len(JOINTS)), len(frames)),
            "u": uv[..., 0].ravel(),
            "v": uv[..., 1].ravel(),
            "confidence": confidence.ravel(),
            **{axis: xyz_m[..., number].ravel() for number, axis in enumerate(("x_m", "y_m", "z_m"))},
            "range_m": np.repeat(range_m, len(JOINTS)),
            "scale_source": np.repeat(sources.to_numpy(), len(JOINTS)),
        }
    )


def _described(root: Path, recording_id: str) -> TestedRecording:
    recording = open_recording(root, recording_id)
    manifest, making = recording.manifest, read_labels(root, recording_id).making
    camera = _intrinsics(manifest)
    size = (camera.width, camera.height) if camera is not None else None
    size = making.picture_px if making is not None and making.picture_px is not None else size
    return TestedRecording(
        recording=recording_id,
        person=manifest.participant or "",
        others=manifest.others,
        simulated=manifest.simulated,
        waveform=recording.waveform.name,
        frames=recording.frame_count,
        period_s=recording.frame_period_s,
        width_px=size[0] if size else None,
        height_px=size[1] if size else None,
        fx_px=camera.fx if camera is not None else None,
        fy_px=camera.fy if camera is not None else None,
    )


def _intrinsics(manifest: RecordingManifest) -> StreamIntrinsics | None:
    """Of the camera whose pictures were labelled; simulated data sets without pictures name that of their labels in `rig`."""
    if manifest.camera is not None:
        return manifest.camera.color
    try:
        return StreamIntrinsics.model_validate(manifest.rig.get("camera"))
    except ValidationError:
        return None
