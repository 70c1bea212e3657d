"""Biovision hierarchy (BVH) motion files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from capture.simulator.joint_names import Skeleton
from capture.simulator.tracks import Track, in_metres, numbers, read_text, takes, upright
from pipeline.errors import PipelineError

_CHANNELS = {f"{axis}{kind}" for axis in ("x", "y", "z") for kind in ("position", "rotation")}


@dataclass
class _Joint:
    name: str
    parent: str | None
    offset: Float64[np.ndarray, "3"]
    channels: tuple[str, ...] = ()
    first_column: int = 0
    end: Float64[np.ndarray, "3"] | None = None


def read_bvh(path: Path) -> tuple[Track, ...]:
    """The takes of a BVH file, gzipped or not; a rest pose in the first row is cut away as a jump.

    Channels may come in any order and number; units and the axis that points up are found from the body. Raises
    PipelineError for a file that ends early, has rows of another length than its channels, or holds no human skeleton.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    motion = next((number for number, line in enumerate(lines) if line.upper().startswith("MOTION")), None)
    if motion is None or not any(line.upper().startswith("HIERARCHY") for line in lines[:motion]):
        raise PipelineError(f"{path} is no BVH file: it lacks HIERARCHY or MOTION.")
    joints = _hierarchy(lines[:motion], path)
    frame_s, rows = _motion(lines[motion + 1 :], sum(len(joint.channels) for joint in joints), path, motion + 1)
    points = upright(in_metres(_skeleton(joints, rows, path).points(), str(path)), str(path))
    return takes(Track(path.name, 1.0 / frame_s, points))


def _hierarchy(lines: list[str], path: Path) -> list[_Joint]:
    joints: list[_Joint] = []
    open_joints: list[_Joint] = []
    in_end, columns, depth = False, 0, 0
    for number, line in enumerate(lines, start=1):
        words = line.split()
        where = f"{path}, line {number}"
        if not words:
            continue
        keyword = words[0].upper()
        if keyword in ("ROOT", "JOINT"):
            name = " ".join(words[1:]) or f"joint {len(joints)}"
            if any(joint.name == name for joint in joints):
                raise PipelineError(f"{where}: a second joint is called {name!r}.")
            parent = open_joints[-1].name if open_joints else None
            open_joints.append(_Joint(name, parent, np.zeros(3)))
            joints.append(open_joints[-1])
        elif keyword == "END":
            in_end = True
        elif keyword == "{":
            depth += 1
        elif keyword == "}":
            depth -= 1
            if in_end:
                in_end = False
            elif open_joints:
                open_joints.pop()
        elif keyword == "OFFSET" and open_joints:
            offset = np.array(numbers(words[1:], where))
            if offset.shape != (3,):
                raise PipelineError(f"{where}: an OFFSET needs three numbers, not {len(offset)}.")
            if in_end:
                open_joints[-1].end = offset
            else:
                open_joints[-1].offset = offset
        elif keyword == "CHANNELS" and open_joints:
            names = tuple(word.lower() for word in words[2:])
            if not words[1:] or words[1] != str(len(names)) or not set(names) <= _CHANNELS:
                raise PipelineError(f"{where}: {line!r} does not name as many known channels as it counts.")
            open_joints[-1].channels, open_joints[-1].first_column = names, columns
            columns += len(names)
    if depth or not joints or not columns:
        raise PipelineError(f"{path}: the hierarchy is incomplete; the file is damaged or cut short.")
    return joints


def _motion(
    lines: list[str], columns: int, path: Path, first_line: int
) -> tuple[float, Float64[np.ndarray, "frame column"]]:
    announced, frame_s = None, None
    rows: list[list[float]] = []
    for number, line in enumerate(lines, start=first_line + 1):
        where = f"{path}, line {number}"
        key, _, value = line.partition(":")
        if key.lower() == "frames":
            announced = int(numbers([value.strip()], where)[0])
        elif key.lower() == "frame time":
            frame_s = numbers([value.strip()], where)[0]
        elif line:
            row = numbers(line.split(), where)
            if len(row) != columns:
                raise PipelineError(f"{where}: {len(row)} values where the hierarchy has {columns} channels.")
            rows.append(row)
    if frame_s is None or not 1e-4 < frame_s < 1.0:
        raise PipelineError(f"{path}: no frame time between 0.1 ms and 1 s is given.")
    if announced is not None and announced != len(rows):
        raise PipelineError(f"{path} announces {announced} frames and holds {len(rows)}; it is damaged or cut short.")
    if len(rows) < 2:
        raise PipelineError(f"{path} holds no motion: {len(rows)} frames.")
    return frame_s, np.array(rows)


def _skeleton(joints: list[_Joint], rows: Float64[np.ndarray, "frame column"], path: Path) -> Skeleton:
    """Forward kinematics: rotations in the order in which a joint's channels name them, each about the turned axes."""
    rest: dict[str, np.ndarray] = {}
    positions: dict[str, np.ndarray] = {}
    rest_ends: dict[str, np.ndarray] = {}
    ends: dict[str, np.ndarray] = {}
    turns: dict[str, Rotation] = {}
    for joint in joints:
        values = rows[:, joint.first_column : joint.first_column + len(joint.channels)]
        shift = np.tile(joint.offset, (len(rows), 1))
        moved = [number for number, channel in enumerate(joint.channels) if channel.endswith("position")]
        for number in moved:
            shift[:, "xyz".index(joint.channels[number][0])] = values[:, number]
        turned = [number for number, channel in enumerate(joint.channels) if channel.endswith("rotation")]
        own = Rotation.identity(len(rows))
        for number in turned:
            own = own * Rotation.from_euler(joint.channels[number][0], values[:, [number]], degrees=True)
        if joint.parent is None:
            rest[joint.name], positions[joint.name], turns[joint.name] = joint.offset, shift, own
        else:
            rest[joint.name] = rest[joint.parent] + joint.offset
            positions[joint.name] = positions[joint.parent] + turns[joint.parent].apply(shift)
            turns[joint.name] = turns[joint.parent] * own
        if joint.end is not None:
            rest_ends[joint.name] = rest[joint.name] + joint.end
            ends[joint.name] = positions[joint.name] + turns[joint.name].apply(joint.end)
    return Skeleton(str(path), {joint.name: joint.parent for joint in joints}, rest, positions, rest_ends, ends)
