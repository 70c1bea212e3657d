"""Folders and files of recorded motion as people: who was recorded, with which bones, and their takes in pieces.

A file is one person, named after it (an AMC file: after its skeleton). In a folder, every sub-folder that holds motion files
is one person, named after it, and every motion file that lies in the folder itself is one, but that AMC files which share a
skeleton are one together.

Motion files are .bvh, .amc with its .asf, and Kinect .csv, any of them gzipped (`recorded.read_motion`).
"""

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from capture.simulator.asf_amc import skeleton_beside
from capture.simulator.person import Person, with_bones
from capture.simulator.recorded import GENTLE_S, read_motion, recorded_person
from capture.simulator.tracks import Track, facing_rad
from pipeline.errors import PipelineError
from pipeline.provenance import sha256_file

SIZES = (0.88, 1.12)
"""Body sizes, as shares of the recorded one, among which another body of the same person is drawn."""

_KINDS = ("bvh", "amc", "csv")
_LONGEST_NAME = 40


@dataclass(frozen=True, eq=False)
class Recorded:
    """One uninterrupted take of one file. `turn_rad` is how far they face away from the sensor, where the file tells."""

    track: Track
    turn_rad: float
    file_sha256: str


@dataclass(frozen=True, eq=False)
class Subject:
    """Somebody who was recorded."""

    name: str
    takes: tuple[Recorded, ...]


@dataclass(frozen=True, eq=False)
class Piece:
    """What one recording of a data set shows: `actor` doing what `track` says."""

    actor: Person
    track: Track
    turn_rad: float
    file_sha256: str

    @property
    def duration_s(self) -> float:
        """Of the motion that `recorded.RecordedMotion` makes of it."""
        return self.track.duration_s + GENTLE_S


def read_subjects(source: Path) -> tuple[Subject, ...]:
    """Everybody recorded in `source`, by name.

    Raises PipelineError for a source that is not there, holds no motion or gives two people one name, and whatever
    `read_motion` raises for a file that is broken.
    """
    if not source.exists():
        raise PipelineError(
            f"There is no motion at {source}: name a folder or file of BVH, AMC with ASF, or Kinect CSV."
        )
    if source.is_file():
        people = {_name_of(source): [source]}
    else:
        try:
            people = _people_in(source)
        except OSError as error:
            raise PipelineError(f"{source} cannot be listed: {error.strerror}.") from error
    if not people:
        raise PipelineError(
            f"{source} holds no motion: neither it nor a folder in it has a .bvh, .amc or .csv file (or one of them gzipped)."
        )
    return tuple(Subject(name, _takes(people[name])) for name in sorted(people))


def another_body(subject: Subject, seed: int, size: float = 1.0) -> Person:
    """Somebody with the subject's proportions, `size` times as large; looks, scatterers and manner come from `seed`."""
    own = recorded_person([one.track for one in subject.takes], seed)
    if size == 1.0:
        return own
    return with_bones(own, replace(own.bones, **{name: size * value for name, value in vars(own.bones).items()}))


def pieces(subject: Subject, actor: Person, longest_s: float, shortest_s: float) -> list[Piece]:
    """The subject's takes by `actor`, in order, cut evenly into pieces of motion no longer than `longest_s`.

    What is shorter than `shortest_s` is left out.
    """
    found = []
    for one in subject.takes:
        rate_hz, rows = one.track.rate_hz, len(one.track.positions_m)
        count = max(1, int(np.ceil(one.track.duration_s / (longest_s - GENTLE_S))))
        edges = np.linspace(0, rows - 1, count + 1).astype(int).tolist()
        for first, last in pairwise(edges):
            if (last - first) / rate_hz + GENTLE_S < shortest_s:
                continue
            part = one.track.positions_m[first : last + 1]
            source = one.track.source if count == 1 else f"{one.track.source}, of these {first} to {last}"
            found.append(Piece(actor, Track(source, rate_hz, part), one.turn_rad, one.file_sha256))
    return found


def _people_in(folder: Path) -> dict[str, list[Path]]:
    people: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            files = [file for file in sorted(path.iterdir()) if _is_motion(file)]
            name = _slug(path.name)
        else:
            files = [path] if _is_motion(path) else []
            name = _name_of(path) if files else ""
        if not files:
            continue
        if name in people and not (files[0].parent == people[name][0].parent and _kind(files[0]) == "amc"):
            raise PipelineError(
                f"{people[name][0]} and {files[0]} would both be called {name!r}; rename one, or put what belongs to one person "
                "into a folder of its own."
            )
        people.setdefault(name, []).extend(files)
    return people


def _takes(files: list[Path]) -> tuple[Recorded, ...]:
    found = []
    for file in files:
        tracks, digest = read_motion(file), sha256_file(file)
        for track in tracks:
            # A Kinect's own axes say where the sensor was; a motion laboratory's say nothing of the kind.
            turn = facing_rad(track.positions_m) if _kind(file) == "csv" else 0.0
            found.append(Recorded(track, turn, digest))
    return tuple(found)


def _kind(path: Path) -> str:
    return path.name.lower().removesuffix(".gz").rpartition(".")[2]


def _is_motion(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and _kind(path) in _KINDS


def _name_of(file: Path) -> str:
    named_after = skeleton_beside(file) if _kind(file) == "amc" else file
    return _slug(re.sub(r"(\.gz)?$", "", named_after.name, flags=re.IGNORECASE).rpartition(".")[0] or named_after.name)


def _slug(name: str) -> str:
    """A name that a recording's id may hold."""
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:_LONGEST_NAME]
    return plain or "somebody"
