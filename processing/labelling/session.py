"""A sealed recording with a camera -> `labels/<id>.parquet`, its quality report and contact sheet. Does nothing twice.

Frames that no picture was matched to have no rows; ambiguously matched ones neither, unless asked for. A frame whose picture
does not show the person has 13 rows of confidence 0. Another labeller's table is never replaced, least of all the simulator's
truth: this one then lies beside it, as `labels/<id>.<labeller>.parquet`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.camera_reader import ColorReader
from pipeline.errors import PipelineError
from pipeline.files import write_report
from pipeline.labels import (
    LabelMaking,
    Labels,
    keypoint_table,
    label_stem,
    label_tables,
    labels_path,
    read_labels,
    write_labels,
)
from pipeline.provenance import sha256_file, sha256_json
from pipeline.recording import Recording
from pipeline.sealing import remove_pictures
from pipeline.sync import read_sync
from processing.labelling.agreement import LabelsError, labels_error
from processing.labelling.config import LabelConfig
from processing.labelling.contact_sheet import Suspect, Tile, draw_contact_sheet, suspects
from processing.labelling.findings import Finding
from processing.labelling.people import Labeller
from processing.labelling.quality import (
    LabelQuality,
    Pictures,
    measure_labels,
    quality_path,
    read_quality,
)
from processing.labelling.quality_defects import find_defects
from processing.labelling.seeing import Looked, look, moments_to_label
from processing.labelling.session_joints import PersonJoints, person_joints
from processing.labelling.tracking import Tracking, track_people

ALGORITHM_VERSION = "labels-1"
_SOURCES = ("color.mkv", "depth.bin", "camera.bin", "sync.parquet")


@dataclass(frozen=True)
class LabelResult:
    """What `label_recording` did; `rebuilt` is False where the labels were current already."""

    recording: Recording
    key: str
    path: Path
    quality_path: Path
    contact_sheet: Path
    quality: LabelQuality
    rebuilt: bool
    pictures_removed: bool
    seconds: float

    def rows(self) -> dict[str, Any]:
        """What a person wants to know first."""
        quality = self.quality
        return {
            "recording": self.recording.id,
            "simulated": quality.simulated,
            "labels": str(self.path),
            "labeller": quality.labeller,
            "frames": quality.pictures.radar_frames,
            "labelled": quality.labelled_frames,
            "scale_source": quality.scale_source,
            "verdict": quality.verdict,
            "made": f"labelled in {self.seconds:.1f} s" if self.rebuilt else "nothing to do: the labels are current",
            "pictures": "removed (skeleton-only)" if self.pictures_removed else "kept",
        }


def label_key(recording: Recording, labeller: str, config: LabelConfig) -> str:
    """What labels are addressed by: hex SHA-256 of radar data, pictures, alignment, labeller, configuration, algorithm.

    The same after the pictures were removed for privacy. Raises PipelineError when the recording is not sealed.
    """
    manifest = recording.manifest
    sealed = manifest.removed | manifest.digests
    return sha256_json(
        {
            "raw": recording.raw_digest,
            "pictures": {name: sealed[name].sha256 for name in _SOURCES if name in sealed},
            "camera": manifest.camera.model_dump(mode="json") if manifest.camera else None,
            "labeller": labeller,
            "config": config.model_dump(mode="json"),
            "algorithm": ALGORITHM_VERSION,
        }
    )


def contact_sheet_path(root: Path, recording_id: str, labeller: str | None = None) -> Path:
    """Where the picture of the worst frames lies."""
    return root / "labels" / f"{label_stem(recording_id, labeller)}.worst.png"


def label_recording(
    recording: Recording,
    root: Path,
    labeller: Labeller,
    config: LabelConfig | None = None,
    *,
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelResult:
    """Label a recording; `on_progress` gets pictures done and all of them.

    With privacy `skeleton-only` its pictures are deleted once the verdict is `pass`. Raises PipelineError when it is not sealed,
    has no camera, no alignment or no picture that matches, or its pictures were removed and the labels are not current.
    """
    config = config or LabelConfig()
    key = label_key(recording, labeller.name, config)
    owner = labeller.name if _is_anothers(root, recording.id, labeller.name) else None
    path, report = labels_path(root, recording.id, owner), quality_path(root, recording.id, owner)
    sheet = contact_sheet_path(root, recording.id, owner)
    started = time.perf_counter()
    quality = None if force else _current(path, report, key)
    rebuilt = quality is None
    if quality is None:
        quality = _make(recording, root, labeller, config, key, owner, on_progress)
    removed = False
    camera = recording.manifest.camera
    if camera is not None and camera.privacy == "skeleton-only":
        removed = bool(recording.manifest.removed)
        if quality.verdict == "pass" and not removed:
            recording = remove_pictures(
                recording,
                f"Colour and depth were deleted once the labels by {labeller.name} had passed (skeleton-only).",
            )
            removed = True
    seconds = time.perf_counter() - started
    return LabelResult(recording, key, path, report, sheet, quality, rebuilt, removed, seconds)


def _make(
    recording: Recording,
    root: Path,
    labeller: Labeller,
    config: LabelConfig,
    key: str,
    owner: str | None,
    on_progress: Callable[[int, int], None] | None,
) -> LabelQuality:
    camera = recording.manifest.camera
    if camera is None:
        raise PipelineError(f"{recording.id} was recorded without a camera, so there is nothing to label.")
    sync, alignment = read_sync(recording.folder)
    moments = moments_to_label(sync, recording.frame_count, config)
    if not len(moments):
        why = f" ({alignment.reasons[0]})" if alignment.reasons else ""
        raise PipelineError(
            f"No radar frame of {recording.id} is matched to a picture{why}, so there is nothing to label."
        )
    looked = look(recording, moments, labeller, config, on_progress)
    intrinsics = camera.color
    if intrinsics is not None and (intrinsics.width, intrinsics.height) != looked.size_px:
        raise PipelineError(
            f"The pictures of {recording.id} have {looked.size_px[0]} x {looked.size_px[1]} pixels, its manifest says "
            f"{intrinsics.width} x {intrinsics.height}; without the right geometry there are no labels."
        )
    tracking = _tracked(looked, config)
    joints = person_joints(recording, looked, tracking.chosen, config)
    period_s = recording.frame_period_s
    places_px = joints.uv * np.array(looked.size_px) - 0.5
    defects = find_defects(places_px, joints.frames, period_s)
    status = sync[sync["radar_frame"].between(0, recording.frame_count - 1)].groupby("status")["radar_frame"].nunique()
    ambiguous = int(status.get("ambiguous", 0))
    matched = len(moments) if config.ambiguous == "leave-out" else int(status.get("ok", 0))
    pictures = Pictures(
        radar_frames=recording.frame_count,
        ambiguous=ambiguous,
        without=max(recording.frame_count - matched - ambiguous, 0),
        looked_at=len(looked.seen),
        frozen=looked.frozen,
        undecodable=looked.undecodable,
    )
    making = LabelMaking(
        key=key,
        algorithm_version=ALGORITHM_VERSION,
        config=config.model_dump(mode="json"),
        picture_px=looked.size_px,
        smoothing={"filter": "one-euro", **config.smoothing.model_dump()} if config.smoothing else None,
    )
    table = keypoint_table(joints.uv, joints.confidence, joints.xyz_m, joints.scale, frames=joints.frames)
    labels = Labels(table, labeller.name, making)
    quality = measure_labels(
        recording=recording.id,
        labeller=labeller.name,
        key=key,
        simulated=recording.manifest.simulated,
        pictures=pictures,
        confidence=joints.confidence,
        defects=defects,
        others=[*_alignment(alignment.verdict, alignment.reasons), *tracking.findings],
        people=tracking.people,
        exchanges_s=tracking.exchanges_s,
        scale_source=joints.scale,
        scaled=int(np.isfinite(joints.xyz_m).any(axis=(1, 2)).sum()) if joints.xyz_m is not None else 0,
        agreement=_agreement(recording, root, labels, owner),
    )
    times_s = np.array([one.time_s for one in looked.seen])
    exchanged = np.searchsorted(times_s, tracking.exchanges_s).clip(0, len(times_s) - 1).tolist()
    tiles = _tiles(recording, looked, tracking, joints, suspects(defects, joints.confidence, exchanged))
    sheet = contact_sheet_path(root, recording.id, owner)
    draw_contact_sheet(sheet, quality, looked.size_px, tiles, period_s)
    labels = Labels(table, labeller.name, making.model_copy(update={"verdict": quality.verdict}))
    path = write_labels(root, recording.id, labels, own=owner is not None)
    quality = quality.model_copy(update={"table_sha256": sha256_file(path)})
    write_report(quality_path(root, recording.id, owner), quality)  # last: it vouches for the table
    return quality


def _tracked(looked: Looked, config: LabelConfig) -> Tracking:
    times_s = np.array([one.time_s for one in looked.seen])
    people = [one.people for one in looked.seen]
    return track_people(times_s, people, [one.depth_m for one in looked.seen], looked.size_px, config)


def _tiles(
    recording: Recording, looked: Looked, tracking: Tracking, joints: PersonJoints, worst: list[Suspect]
) -> list[Tile]:
    """What the contact sheet shows; no picture where the recording is to be skeleton-only."""
    camera = recording.manifest.camera
    shown: dict[int, Any] = {}
    if camera is not None and camera.privacy != "skeleton-only":
        with ColorReader(recording.folder) as reader:
            shown = dict(reader.frames(sorted({looked.seen[one.place].color_frame for one in worst})))
    tiles = []
    for suspect in worst:
        one, who = looked.seen[suspect.place], tracking.person_of[suspect.place]
        others = tuple(person.box_px for number, person in enumerate(one.people) if who[number] > 0)
        picture, drawn_px = shown.get(one.color_frame), joints.taken_px[suspect.place]
        tiles.append(Tile(one.radar_frame, suspect.why, picture, drawn_px, others))
    return tiles


def _current(path: Path, report: Path, key: str) -> LabelQuality | None:
    """The report of labels that are there, were made with `key` and are what was written; else None."""
    quality = read_quality(report)
    if quality is None or quality.key != key or not path.is_file():
        return None
    return quality if sha256_file(path) == quality.table_sha256 else None


def _is_anothers(root: Path, recording_id: str, labeller: str) -> bool:
    """Whether the table that training reads is by another labeller; newer weights of the same one replace it."""
    if not labels_path(root, recording_id).exists():
        return False
    try:
        there = read_labels(root, recording_id).labeller
    except PipelineError:
        return False  # not a table: nothing to lose
    return there.partition("@")[0] != labeller.partition("@")[0]


def _alignment(verdict: str, reasons: tuple[str, ...]) -> list[Finding]:
    """What labels take over from the alignment: it decides which picture belongs to which radar frame."""
    said = f" {reasons[0]}" if reasons else ""
    if verdict in ("failed", "ambiguous"):
        return [Finding("fail" if verdict == "failed" else "look", f"The alignment's verdict is {verdict}.{said}")]
    return [Finding("pass", f"Alignment: {reasons[0]}")] if verdict == "look" and reasons else []


def _agreement(recording: Recording, root: Path, labels: Labels, owner: str | None) -> LabelsError | None:
    """How far another table of the recording lies from this one: the simulator's truth where there is one."""
    mine = labels_path(root, recording.id, owner)
    others = []
    for path in label_tables(root, recording.id):
        if path == mine:
            continue
        try:
            others.append(read_labels(root, recording.id, path.stem[len(recording.id) + 1 :] or None))
        except PipelineError:
            continue
    others.sort(key=lambda other: not other.labeller.startswith("simulator"))
    camera = recording.manifest.camera
    return labels_error(labels, others[0], intrinsics=camera.color if camera else None) if others else None
