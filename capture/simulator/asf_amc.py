"""Acclaim motion: an ASF file holds a skeleton, an AMC file what it does (as in the Carnegie Mellon database)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from capture.simulator.joint_names import Skeleton
from capture.simulator.tracks import Track, in_metres, numbers, read_text, takes, upright
from pipeline.errors import PipelineError

AMC_RATE_HZ = 120.0
"""Frames a second of the Carnegie Mellon recordings; AMC files themselves do not say."""

_TRANSLATIONS = ("tx", "ty", "tz")
_ROTATIONS = ("rx", "ry", "rz")


@dataclass
class _Bone:
    name: str
    way: Float64[np.ndarray, "3"]  # from its start to its end, at rest
    axes: Rotation  # of its own frame
    dof: tuple[str, ...] = ()
    parent: str = "root"


@dataclass
class _Body:
    bones: dict[str, _Bone]
    root_order: tuple[str, ...]
    root_axes: Rotation
    degrees: bool


def read_amc(path: Path, skeleton: Path | None = None, rate_hz: float = AMC_RATE_HZ) -> tuple[Track, ...]:
    """The takes of an AMC file, gzipped or not; the skeleton is looked for beside it (02.asf for 02_01.amc) unless given.

    Raises PipelineError where the skeleton is missing, a bone or a value is, frames do not count up, or a value is no
    number.
    """
    body = _read_asf(skeleton or skeleton_beside(path))
    rows = _read_frames(path, body)
    points = upright(in_metres(_skeleton(body, rows, path).points(), str(path)), str(path))
    return takes(Track(path.name, rate_hz, points))


def skeleton_beside(path: Path) -> Path:
    """The ASF file that belongs to an AMC file by its name; PipelineError naming those that were looked for."""
    stem = path.name.removesuffix(".gz").removesuffix(".amc").removesuffix(".AMC")
    candidates = [
        path.with_name(f"{name}{suffix}")
        for name in (stem, stem.split("_")[0])
        for suffix in (".asf", ".asf.gz", ".ASF")
    ]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise PipelineError(
            f"{path} needs its skeleton: none of {', '.join(c.name for c in candidates)} lies beside it."
        )
    return found


def _read_asf(path: Path) -> _Body:
    """Sections begin with a colon; bones stand between `begin` and `end`."""
    degrees, root_axes = True, Rotation.identity()
    root_order: tuple[str, ...] = (*_TRANSLATIONS, *_ROTATIONS)
    bone: dict[str, list[str]] = {}
    bones: dict[str, _Bone] = {}
    section, links = "", 0
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split("#")[0].split()
        where = f"{path}, line {number}"
        if not words:
            continue
        key, values = words[0].lower(), words[1:]
        if key.startswith(":"):
            section = key
        elif section == ":units" and key == "angle":
            degrees = values[:1] != ["rad"]
        elif section == ":root" and key == "order":
            root_order = tuple(value.lower() for value in values)
            if not set(root_order) <= {*_TRANSLATIONS, *_ROTATIONS}:
                raise PipelineError(f"{where}: the root's order {' '.join(values)} names unknown channels.")
        elif section == ":root" and key == "orientation":
            root_axes = _fixed(numbers(values[:3], where), degrees)
        elif section == ":bonedata" and key == "begin":
            bone = {}
        elif section == ":bonedata" and key == "end":
            made = _bone(bone, degrees, where)
            bones[made.name] = made
        elif section == ":bonedata":
            bone[key] = values
        elif section == ":hierarchy" and key not in ("begin", "end"):
            for child in values:
                if child not in bones or (words[0] != "root" and words[0] not in bones):
                    raise PipelineError(f"{where}: the hierarchy names a bone that the file does not describe.")
                bones[child].parent = words[0]
                links += 1
    if not bones or links != len(bones):
        raise PipelineError(f"{path} is no complete ASF skeleton: {len(bones)} bones, {links} in its hierarchy.")
    return _Body(bones, root_order, root_axes, degrees)


def _bone(fields: dict[str, list[str]], degrees: bool, where: str) -> _Bone:
    lacking = [key for key in ("name", "direction", "length", "axis") if not fields.get(key)]
    if lacking:
        raise PipelineError(f"{where}: a bone without {' and '.join(lacking)}.")
    way = np.array(numbers(fields["direction"][:3], where)) * numbers(fields["length"][:1], where)[0]
    dof = tuple(value.lower() for value in fields.get("dof", []))
    if way.shape != (3,) or not set(dof) <= {*_ROTATIONS}:
        raise PipelineError(
            f"{where}: the bone {fields['name'][0]} has a direction or degrees of freedom that make no sense."
        )
    return _Bone(fields["name"][0], way, _fixed(numbers(fields["axis"][:3], where), degrees), dof)


def _read_frames(path: Path, body: _Body) -> dict[str, Float64[np.ndarray, "frame value"]]:
    wanted = {"root": len(body.root_order)} | {name: len(bone.dof) for name, bone in body.bones.items() if bone.dof}
    values: dict[str, list[list[float]]] = {name: [] for name in wanted}
    frames = 0
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        where = f"{path}, line {number}"
        if not words or words[0].startswith(("#", ":")):
            continue
        if len(words) == 1 and words[0].isdigit():
            _all_there(values, frames, path)
            frames += 1
            continue
        name = words[0]
        if frames == 0 or name not in wanted:
            raise PipelineError(f"{where}: {name[:30]!r} is no bone with degrees of freedom of this skeleton.")
        row = numbers(words[1:], where)
        if len(row) != wanted[name]:
            raise PipelineError(f"{where}: {len(row)} values for {name}, which has {wanted[name]} degrees of freedom.")
        values[name].append(row)
    _all_there(values, frames, path)
    if frames < 2:
        raise PipelineError(f"{path} holds no motion: {frames} frames.")
    return {name: np.array(rows) for name, rows in values.items()}


def _all_there(values: dict[str, list[list[float]]], frames: int, path: Path) -> None:
    bad = [name for name, rows in values.items() if len(rows) != frames]
    if bad:
        raise PipelineError(
            f"{path}: frame {frames} lacks or repeats {', '.join(bad[:4])}; the file is damaged or cut short."
        )


def _skeleton(body: _Body, rows: dict[str, Float64[np.ndarray, "frame value"]], path: Path) -> Skeleton:
    """Forward kinematics; a joint carries the name of the bone that begins at it."""
    root = rows["root"]
    at = {channel: root[:, number] for number, channel in enumerate(body.root_order)}
    frames = len(root)
    nothing = np.zeros(frames)
    start = np.stack([at.get(channel, nothing) for channel in _TRANSLATIONS], axis=1)
    angles = np.stack([at.get(channel, nothing) for channel in _ROTATIONS], axis=1)
    parents: dict[str, str | None] = {"root": None}
    rest, positions = {"root": np.zeros(3)}, {"root": start}
    rest_ends, ends = {"root": np.zeros(3)}, {"root": start}
    turns = {"root": body.root_axes * Rotation.from_euler("xyz", angles, degrees=body.degrees) * body.root_axes.inv()}
    waiting = list(body.bones.values())
    while waiting:
        ready = [bone for bone in waiting if bone.parent in turns]
        if not ready:
            raise PipelineError(f"{path}: the skeleton's hierarchy runs in a circle.")
        waiting = [bone for bone in waiting if bone.parent not in turns]
        for bone in ready:
            turn = np.zeros((frames, 3))
            for number, channel in enumerate(bone.dof):
                turn[:, _ROTATIONS.index(channel)] = rows[bone.name][:, number]
            own = bone.axes * Rotation.from_euler("xyz", turn, degrees=body.degrees) * bone.axes.inv()
            turns[bone.name] = turns[bone.parent] * own
            parents[bone.name] = bone.parent
            rest[bone.name], positions[bone.name] = rest_ends[bone.parent], ends[bone.parent]
            rest_ends[bone.name] = rest[bone.name] + bone.way
            ends[bone.name] = positions[bone.name] + turns[bone.name].apply(bone.way)
    leaves = {name for name in body.bones if name not in {bone.parent for bone in body.bones.values()}}
    return Skeleton(
        str(path),
        parents,
        rest,
        positions,
        {name: rest_ends[name] for name in leaves},
        {name: ends[name] for name in leaves},
    )


def _fixed(angles: list[float], degrees: bool) -> Rotation:
    """A rotation about the fixed axes x, then y, then z, as ASF writes them."""
    return Rotation.from_euler("xyz", angles, degrees=degrees)
