"""What a labeller sees in a recording: the moments that have a picture, everybody in each, and how deep every joint lies."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Shaped, UInt8

from pipeline.camera_frames import CAMERA_RECORD, FLAG_FROZEN, STREAM_COLOR, STREAM_DEPTH, read_camera_records
from pipeline.camera_reader import ColorReader, read_depth
from pipeline.errors import PipelineError
from pipeline.recording import Recording
from pipeline.skeleton import COCO_INDEX
from processing.labelling.config import LabelConfig
from processing.labelling.imported import ImportedLabeller
from processing.labelling.people import Labeller, Person
from processing.labelling.scale import depth_at
from processing.labelling.thirteen import TRUNK

_BATCH = 8  # pictures handed to a labeller at once


@dataclass(frozen=True, eq=False)
class Seen:
    """A moment: radar frame, colour frame, and the people there; `joints_m` is the depth at each one's 13 joints, NaN."""

    radar_frame: int
    color_frame: int
    time_s: float
    people: list[Person]
    joints_m: list[Float64[np.ndarray, "13"]]

    @property
    def depth_m(self) -> Float64[np.ndarray, " person"]:
        """Each one's median depth at shoulders and hips, NaN where unknown."""
        trunks = [joints[list(TRUNK)] for joints in self.joints_m]
        known = [trunk[np.isfinite(trunk)] for trunk in trunks]
        return np.array([np.median(trunk) if len(trunk) else np.nan for trunk in known], np.float64)


@dataclass(frozen=True)
class Looked:
    """All moments in order; the picture's width and height; how many matched pictures could not be had, or stood still."""

    seen: tuple[Seen, ...]
    size_px: tuple[int, int]
    undecodable: int
    frozen: int


def moments_to_label(sync: pd.DataFrame, radar_frames: int, config: LabelConfig) -> pd.DataFrame:
    """Rows of an alignment that have a radar frame and a picture, each radar frame once, ascending."""
    usable = ["ok", "ambiguous"] if config.ambiguous == "include" else ["ok"]
    rows = sync[
        sync["status"].isin(usable) & sync["radar_frame"].between(0, radar_frames - 1) & (sync["color_frame"] >= 0)
    ]
    return rows.sort_values("radar_frame").drop_duplicates("radar_frame").reset_index(drop=True)


def look(
    recording: Recording,
    moments: pd.DataFrame,
    labeller: Labeller,
    config: LabelConfig,
    on_progress: Callable[[int, int], None] | None,
) -> Looked:
    """Run the labeller over the pictures of `moments` and take the depth at every joint.

    Raises PipelineError when the video is absent or was removed, and when none of its pictures decodes.
    """
    records = read_camera_records(recording.folder)
    if records is None:
        records = np.zeros(0, CAMERA_RECORD)
    color, depth = records[records["stream"] == STREAM_COLOR], records[records["stream"] == STREAM_DEPTH]
    camera = recording.manifest.camera
    unit_m = camera.depth_unit_m if camera is not None else None
    indices = [int(index) for index in np.unique(moments["color_frame"])]
    people: dict[int, list[Person]] = {}
    size: tuple[int, int] | None = None
    with ColorReader(recording.folder) as reader:
        given = _given(labeller, len(reader))
        for batch, pictures in _batches(reader, indices):
            size = pictures[0].shape[1], pictures[0].shape[0]
            found = [given[index] for index in batch] if given is not None else labeller.people(pictures)
            people |= dict(zip(batch, found, strict=True))
            if on_progress is not None:
                on_progress(len(people), len(indices))
    if size is None:
        raise PipelineError(
            f"None of the {len(indices)} pictures that {recording.id} should have decodes; its color.mkv is damaged."
        )
    start_ns = int(moments["time_ns"].iloc[0])
    seen = []
    for row in moments.to_dict("records"):
        index = int(row["color_frame"])
        if index in people:
            joints_m = _depth_of(recording, people[index], depth, int(row["depth_frame"]), unit_m, config)
            time_s = (int(row["time_ns"]) - start_ns) / 1e9
            seen.append(Seen(int(row["radar_frame"]), index, time_s, people[index], joints_m))
    stuck = set(np.flatnonzero(color["flags"] & FLAG_FROZEN).tolist())
    return Looked(tuple(seen), size, len(moments) - len(seen), sum(one.color_frame in stuck for one in seen))


def _given(labeller: Labeller, frame_count: int) -> list[list[Person]] | None:
    """Everything an imported labeller has, which goes by frame number and needs no pictures; None for one that looks."""
    if not isinstance(labeller, ImportedLabeller):
        return None
    return labeller.people([np.zeros((1, 1, 3), np.uint8)] * frame_count)


def _batches(
    reader: ColorReader, indices: Sequence[int]
) -> Iterator[tuple[list[int], list[UInt8[np.ndarray, "row column 3"]]]]:
    """Pictures that decode, some at a time, with their indices."""
    batch: list[int] = []
    pictures: list[UInt8[np.ndarray, "row column 3"]] = []
    for index in indices:
        try:
            pictures.append(reader[index])
        except PipelineError:
            continue  # counted by whoever misses it
        batch.append(index)
        if len(batch) == _BATCH:
            yield batch, pictures
            batch, pictures = [], []
    if batch:
        yield batch, pictures


def _depth_of(
    recording: Recording,
    people: Sequence[Person],
    records: Shaped[np.ndarray, " record"],
    index: int,
    unit_m: float | None,
    config: LabelConfig,
) -> list[Float64[np.ndarray, "13"]]:
    """Depth at the 13 joints of each person; NaN without depth, where it has holes, and at joints that were not found."""
    unknown = [np.full(len(COCO_INDEX), np.nan) for _ in people]
    if unit_m is None or not people or not 0 <= index < len(records):
        return unknown
    try:
        picture = read_depth(recording.folder, records[index])
    except PipelineError:
        return unknown  # one depth picture that is not whole costs one frame's metres
    out = []
    for person in people:
        joints = person.keypoints_px[list(COCO_INDEX)]
        sure = person.confidence[list(COCO_INDEX)] >= config.min_confidence
        places = np.where(sure[:, None], joints, np.nan)
        out.append(depth_at(picture, places, unit_m, config.depth_patch_px))
    return out
