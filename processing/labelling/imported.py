"""Labels that somebody made already, read from a file in place of looking at the pictures.

COCO keypoints (`.json`), either
    an object   `images` (each with `id`; the frame is its `frame`, else its place in the list) and `annotations`
                (each with `image_id`, `keypoints`, and where there are `bbox`, `score`); `info.color_frames`, which our export
                writes, is how many frames the video has: those without an image hold nobody; or
    a list      COCO's results: each with `image_id` (the frame), `keypoints`, and where there are `bbox`, `score`.
`keypoints` are 17 times x, y and visibility (0 not labelled, 1 hidden, 2 visible) or confidence (0 to 1); `bbox` is x, y, w, h.

A table (`.csv`) with a header, either
    long   `frame`, `joint`, `x_px`, `y_px`, and where there are `confidence`, `person`: a row a joint
    wide   `frame`, `<joint>_x`, `<joint>_y`, and where there are `<joint>_confidence`, `person`: a row a person
where a joint is one of COCO's names (left_shoulder) or, in `joint`, its number among COCO's 17. Joints that are not there, or
whose place is empty, were not found. A frame with nobody has a row with its number and nothing else.

Frames count from 0 in the order of the colour video, pixels from the middle of the first one. Every frame must be there, but in
a list of COCO's results, which says nothing about frames with nobody, and in our own export.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import PipelineError
from processing.labelling.people import COCO_KEYPOINTS, Frame, Person

_NAMES = {name: number for number, name in enumerate(COCO_KEYPOINTS)}


class ImportedLabeller:
    """A `people.Labeller` that gives out the frames of a file one after another. Build it with `imported_labeller`."""

    def __init__(self, name: str, people: list[list[Person]]) -> None:
        self.name, self._people, self._next = name, people, 0

    def people(self, frames: Sequence[Frame]) -> list[list[Person]]:
        """The people of the next frames; see `people.Labeller`. Raises PipelineError past the file's last frame."""
        first, self._next = self._next, self._next + len(frames)
        if self._next > len(self._people):
            raise PipelineError(f"The labels {self.name} are of {len(self._people)} frames; more were asked for.")
        return self._people[first : self._next]


def imported_labeller(path: Path, frame_count: int) -> ImportedLabeller:
    """The labels in `path`, of a recording with `frame_count` colour frames.

    Raises PipelineError for a file that is neither format, and where the numbers of frames disagree.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}.") from error
    if path.suffix.lower() == ".json":
        people = _from_json(path, data, frame_count)
    elif path.suffix.lower() == ".csv":
        people = _from_csv(path)
    else:
        raise PipelineError(
            f"{path.name} is neither .json (COCO keypoints) nor .csv; those are the labels that are read."
        )
    if len(people) != frame_count:
        raise PipelineError(
            f"The labels {path.name} are of {len(people)} frames, the recording has {frame_count} colour frames: they are not "
            "of this recording, or not of all of it."
        )
    digest = hashlib.sha256(data).hexdigest()[:12]
    return ImportedLabeller(f"import:{path.name}@{digest}", people)


def _from_json(path: Path, data: bytes, frame_count: int) -> list[list[Person]]:
    try:
        content = json.loads(data)
        if isinstance(content, dict):
            images = content["images"]
            frames = {image["id"]: int(image.get("frame", place)) for place, image in enumerate(images)}
            annotations = content["annotations"]
            last = max(frames.values(), default=-1)
            said = dict(content.get("info") or {}).get("color_frames")
            count = last + 1 if said is None else int(said)
            if last >= count:
                raise ValueError(f"an image is of frame {last}, and info.color_frames says that there are {count}")
        else:
            annotations = content
            frames = {one["image_id"]: int(one["image_id"]) for one in annotations}
            count = max(frame_count, max(frames.values(), default=-1) + 1)  # a list is silent on frames with nobody
        people: list[list[Person]] = [[] for _ in range(count)]
        for one in annotations:
            people[frames[one["image_id"]]].append(_coco_person(one))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise PipelineError(f"{path} is not COCO keypoints: {what}.") from error
    return _ordered(people)


def _coco_person(one: dict[str, Any]) -> Person:
    values = np.array(one["keypoints"], np.float64)
    if values.shape != (51,):
        raise ValueError(f"an annotation has {values.size} numbers in keypoints, not 51")
    keypoints = values.reshape(17, 3)
    box = None
    if "bbox" in one:
        x, y, width, height = np.array(one["bbox"], np.float64)
        box = np.array([x, y, x + width, y + height])
    return _person(keypoints[:, :2], np.clip(keypoints[:, 2], 0.0, 1.0), box, float(one.get("score", 1.0)))


def _from_csv(path: Path) -> list[list[Person]]:
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (ValueError, OSError) as error:
        raise PipelineError(f"{path} is not a table: {error}.") from error
    wide = [name for name in COCO_KEYPOINTS if {f"{name}_x", f"{name}_y"} <= set(table.columns)]
    long = {"frame", "joint", "x_px", "y_px"} <= set(table.columns)
    if "frame" not in table.columns or not (long or wide):
        raise PipelineError(
            f"{path} has the columns {', '.join(map(str, table.columns[:8]))}; labels need frame, joint, x_px, y_px, or frame "
            "and <joint>_x, <joint>_y."
        )
    numbers = pd.to_numeric(table["frame"], errors="coerce")
    if numbers.isna().any() or (numbers < 0).any() or (numbers % 1 != 0).any():
        raise PipelineError(f"{path}: frame has to be a whole number from 0 on in every row.")
    table = table.assign(frame=numbers.astype(int), person=table.get("person", 0))
    people: list[list[Person]] = [[] for _ in range(int(table["frame"].max()) + 1 if len(table) else 0)]
    missing = sorted(set(range(len(people))) - set(table["frame"]))
    if missing:
        raise PipelineError(f"{path} says nothing about frame {missing[0]}; a frame with nobody has a row of its own.")
    try:
        for _, rows in table.groupby(["frame", "person"], sort=True, dropna=False):
            keypoints, confidence = _long_person(rows) if long else _wide_person(rows, wide)
            if (confidence > 0).any():
                people[int(rows["frame"].iloc[0])].append(_person(keypoints, confidence, None, 1.0))
    except ValueError as error:
        raise PipelineError(f"{path}: {error}.") from error
    return _ordered(people)


def _long_person(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    keypoints, confidence = np.zeros((17, 2)), np.zeros(17)
    for row in rows.to_dict("records"):
        if pd.isna(row["joint"]):
            continue
        joint = _joint(row["joint"])
        if confidence[joint] > 0:
            raise ValueError(
                f"frame {row['frame']} has {COCO_KEYPOINTS[joint]} twice; several people need a column person"
            )
        keypoints[joint], confidence[joint] = _place(row["x_px"], row["y_px"], row.get("confidence"))
    return keypoints, confidence


def _wide_person(rows: pd.DataFrame, joints: list[str]) -> tuple[np.ndarray, np.ndarray]:
    if len(rows) != 1:
        raise ValueError(f"frame {rows['frame'].iloc[0]} has {len(rows)} rows; several people need a column person")
    row = rows.iloc[0]
    keypoints, confidence = np.zeros((17, 2)), np.zeros(17)
    for name in joints:
        at = _NAMES[name]
        keypoints[at], confidence[at] = _place(row[f"{name}_x"], row[f"{name}_y"], row.get(f"{name}_confidence"))
    return keypoints, confidence


def _joint(value: Any) -> int:
    text = str(value).strip().lower().replace(" ", "_")
    if text in _NAMES:
        return _NAMES[text]
    number = float(text) if text.replace(".", "", 1).isdigit() else -1.0
    if number.is_integer() and 0 <= number < len(_NAMES):
        return int(number)
    raise ValueError(f"there is no joint {value!r}; joints are COCO's names or 0 to 16")


def _place(x: Any, y: Any, confidence: Any) -> tuple[np.ndarray, float]:
    place = np.array([x, y], np.float64)
    if not np.isfinite(place).all():
        return np.zeros(2), 0.0
    sure = 1.0 if confidence is None else float(confidence)
    return place, float(np.clip(sure, 0.0, 1.0)) if np.isfinite(sure) else 0.0


def _person(keypoints: np.ndarray, confidence: np.ndarray, box: np.ndarray | None, score: float) -> Person:
    if box is None:
        seen = keypoints[confidence > 0]
        box = np.concatenate([seen.min(axis=0), seen.max(axis=0)]) if len(seen) else np.zeros(4)
    return Person(box, score, keypoints, confidence)


def _ordered(people: list[list[Person]]) -> list[list[Person]]:
    return [sorted(some, key=lambda one: -one.score) for some in people]
