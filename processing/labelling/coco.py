"""Labels as COCO keypoints, for every tool that reads those: 17 keypoints of which the paper's 13 are filled.

Pixels are those of the pictures as taken (the lens put back), counted from the middle of the first one; `frame` of an image is
the colour frame, as `imported` reads it, `radar_frame` the radar's. Only frames in which the person was found have an image:
to COCO's tools an image without an annotation is one without a person. `bbox` is spanned by the joints, a tenth wider;
`area` is the box's.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.camera_geometry import distort_px
from pipeline.camera_reader import ColorReader
from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from pipeline.labels import label_arrays, read_labels
from pipeline.recording import Recording, open_recording
from pipeline.skeleton import COCO_INDEX, LIMBS
from pipeline.sync import read_sync
from processing.labelling.people import COCO_KEYPOINTS

_MARGIN = 0.1  # of the joints' extent: flesh beyond them


@dataclass(frozen=True)
class CocoExport:
    """What was written."""

    path: Path
    images: int
    pictures: Path | None


def export_coco(
    root: Path, recording_id: str, path: Path, *, labeller: str | None = None, pictures: bool = False
) -> CocoExport:
    """Write the labels of a recording as COCO keypoints to `path`; with `pictures` its JPEGs too, in a folder beside.

    Raises PipelineError without labels, where nothing says how large the picture was, and where pictures are asked for
    that are not there.
    """
    recording = open_recording(root, recording_id)
    labels = read_labels(root, recording_id, labeller)
    size = labels.making.picture_px if labels.making and labels.making.picture_px else _size(recording)
    frames = int(labels.table["frame"].max()) + 1 if len(labels.table) else 0
    arrays = label_arrays(labels.table, frames)
    found = (arrays.confidence > 0) & np.isfinite(arrays.uv).all(axis=-1)
    # The inverse of `uv_shares`; the picture may be known without its intrinsics.
    places = arrays.uv * np.array(size) - 0.5
    camera = recording.manifest.camera
    if camera is not None and camera.color is not None:
        places = distort_px(places, camera.color)
    color_frame, time_ns = _pictures_of(recording, frames)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for frame in np.flatnonzero(found.any(axis=1)).tolist():
        number = len(images) + 1
        images.append(
            {
                "id": number,
                "width": size[0],
                "height": size[1],
                "file_name": f"{recording_id}/{color_frame[frame]:06d}.jpg",
                "frame": int(color_frame[frame]),
                "radar_frame": frame,
                "time_ns": int(time_ns[frame]),
            }
        )
        annotations.append(_annotation(number, places[frame], found[frame], arrays.confidence[frame], size))
    info: dict[str, Any] = {
        "description": f"Labels of recording {recording_id} by {labels.labeller}",
        "version": "1.0",
        "simulated": recording.manifest.simulated,
    }
    if camera is not None:
        with ColorReader(recording.folder) as color:
            info["color_frames"] = len(color)  # how many `imported` has to account for
    content = {
        "info": info,
        "licenses": [],
        "categories": [_category()],
        "images": images,
        "annotations": annotations,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise PipelineError(f"{path} cannot be written: {error.strerror}.") from error
    folder = _write_pictures(recording, path.parent / recording_id, images) if pictures else None
    return CocoExport(path, len(images), folder)


def _category() -> dict[str, Any]:
    edges = [[COCO_INDEX[first] + 1, COCO_INDEX[second] + 1] for first, second in LIMBS]  # COCO counts from 1 here
    return {
        "id": 1, "name": "person", "supercategory": "person", "keypoints": list(COCO_KEYPOINTS), "skeleton": edges,
    }  # fmt: skip


def _annotation(
    number: int, places: np.ndarray, found: np.ndarray, confidence: np.ndarray, size: tuple[int, int]
) -> dict[str, Any]:
    keypoints = np.zeros((17, 3))
    for joint, at in enumerate(COCO_INDEX):
        if found[joint]:
            keypoints[at] = (*np.round(places[joint], 2), 2)
    low, high = places[found].min(axis=0), places[found].max(axis=0)
    margin = _MARGIN / 2 * np.maximum(high - low, 1.0)
    low, high = np.clip(low - margin, 0, size), np.clip(high + margin, 0, size)
    box = [round(float(value), 2) for value in (*low, *(high - low))]
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": [float(value) for value in keypoints.ravel()],
        "num_keypoints": int(found.sum()),
        "bbox": box,
        "area": round(box[2] * box[3], 2),
        "score": round(float(confidence[found].mean()), 4),
    }


def _size(recording: Recording) -> tuple[int, int]:
    """Width and height of a recording's picture, where its labels do not say it."""
    camera = recording.manifest.camera
    if camera is not None and camera.color is not None:
        return camera.color.width, camera.color.height
    drawn = recording.manifest.rig.get("camera", {})  # a data set of the simulator has a camera, but no pictures
    if isinstance(drawn, dict) and {"width", "height"} <= set(drawn):
        return int(drawn["width"]), int(drawn["height"])
    raise PipelineError(
        f"Nothing says how large the pictures of {recording.id} were, so its labels have no pixels; label it again."
    )


def _pictures_of(recording: Recording, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour frame and host time of each radar frame; without a camera the radar frame's own."""
    if recording.manifest.camera is None:
        times = np.zeros(frames, np.int64)
        known = recording.frame_time_ns()[:frames]
        times[: len(known)] = known
        return np.arange(frames), times
    table, _ = read_sync(recording.folder)
    rows = table[(table["color_frame"] >= 0) & table["radar_frame"].between(0, frames - 1)]
    color_frame, time_ns = np.full(frames, -1, np.int64), np.zeros(frames, np.int64)
    color_frame[rows["radar_frame"].to_numpy()] = rows["color_frame"].to_numpy()
    time_ns[rows["radar_frame"].to_numpy()] = rows["time_ns"].to_numpy()
    return color_frame, time_ns


def _write_pictures(recording: Recording, folder: Path, images: list[dict[str, Any]]) -> Path:
    from PIL import Image

    with ColorReader(recording.folder) as color:
        folder.mkdir(parents=True, exist_ok=True)
        for index, picture in color.frames(sorted({image["frame"] for image in images})):
            Image.fromarray(picture).save(folder / f"{index:06d}.jpg", quality=92)
    return folder
