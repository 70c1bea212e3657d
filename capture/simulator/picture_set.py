"""Rendered people with their keypoints, as a folder that a pose detector is trained on or measured with (YOLO's layout).

    images/<part>/00012.jpg   what the simulated camera sees, 640 x 480 or that divided by a whole number
    labels/<part>/00012.txt   one line a person: 0, box centre x and y, box width and height, then u v visibility 17 times

Positions are shares of the picture's width and height from its outer edges, so that the middle of the first pixel is at
0.5 / width. Keypoints follow COCO's order; visibility is COCO's: 0 not labelled (and u = v = 0), 1 hidden, 2 visible. A body has
no eyes and ears of its own, so those four are never labelled. The people and rooms of a part have the seeds from `first_seed` on:
parts far enough apart share nobody, nor do they with the data sets (1000 to 2999, bystanders 9000 to 9049).
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from capture.simulator.actions import ACTIONS, perform
from capture.simulator.bystander import Area, Obstacle, bystander
from capture.simulator.camera import Camera
from capture.simulator.motion import PlacedMotion, placed
from capture.simulator.person import person
from capture.simulator.render import OUT_OF_PICTURE, Picture, Renderer, posed
from capture.simulator.room import Room, lab_room, studio_room
from pipeline.errors import PipelineError
from pipeline.skeleton import COCO_INDEX

_STREAM = 0x91C7
_A_ROOM = 25  # pictures taken in one room: a room takes as long to build as some thirty pictures of it
_MOTION_S = 8.0
_EMPTY = 0.04  # share of pictures with nobody
_BYSTANDERS = (0.6, 0.33, 0.07)  # share of the others with none, one and two people beside the participant
_AT_LARGE = Area(-1.3, 1.3, 0.9, 4.0)  # also between participant and camera
_LEAST_PIXELS = 150  # somebody of whom less is seen is nobody
_JPEG_QUALITY = 92

Rows = Float64[np.ndarray, "person 56"]
"""The lines of a label file."""


def write_picture_set(
    folder: Path,
    part: str,
    pictures: int,
    first_seed: int,
    *,
    divided_by: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write one part of a set, its pictures `divided_by` times smaller each way; returns how many people are in them.

    The same arguments write the same files. Raises PipelineError where no picture is asked for.
    """
    if pictures < 1:
        raise PipelineError(f"A set of {pictures} pictures cannot be made; ask for at least 1.")
    people = 0
    for number, picture in enumerate(_pictures(pictures, first_seed)):
        colour, rows = Image.fromarray(_smaller(picture.colour, divided_by)), _rows(picture)
        _write(folder, part, number, colour, rows)
        people += len(rows)
        on_progress(number + 1, pictures)
    return people


def _write(folder: Path, part: str, number: int, colour: Image.Image, rows: Rows) -> None:
    images, labels = folder / "images" / part, folder / "labels" / part
    if number == 0:
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
    colour.save(images / f"{number:05d}.jpg", quality=_JPEG_QUALITY)
    lines = []
    for row in rows:
        points = " ".join(f"{u:.6f} {v:.6f} {int(seen)}" for u, v, seen in row[5:].reshape(17, 3))
        lines.append(f"{int(row[0])} " + " ".join(f"{value:.6f}" for value in row[1:5]) + f" {points}\n")
    (labels / f"{number:05d}.txt").write_text("".join(lines))


def _pictures(count: int, first_seed: int) -> Iterator[Picture]:
    people = iter(range(first_seed, first_seed + 4 * count))
    for first in range(0, count, _A_ROOM):
        seed = first_seed + first // _A_ROOM
        rng = np.random.default_rng([_STREAM, seed])
        renderer = _renderer(seed, rng)
        for _ in range(min(_A_ROOM, count - first)):
            motions = _motions(people, renderer.room, rng)
            time_s = float(rng.uniform(0.0, _MOTION_S))
            yield renderer.render([posed(motion, time_s) for motion in motions], time_s)


def _renderer(seed: int, rng: np.random.Generator) -> Renderer:
    """A room with its own light, and a camera about where the rig's stands."""
    room = (lab_room if rng.random() < 0.5 else studio_room)(seed, float(rng.uniform(0.85, 1.15)))
    camera = Camera(position_m=(0.0, 0.0, float(rng.uniform(0.0, 0.15))), pitch_rad=float(rng.normal(0.0, 0.04)))
    return Renderer(camera, room, seed)


def _motions(people: Iterator[int], room: Room, rng: np.random.Generator) -> list[PlacedMotion]:
    """Nobody, or a participant 1.5 to 5 m away who mostly faces the camera, and perhaps people who walk about."""
    if rng.random() < _EMPTY:
        return []
    action = list(ACTIONS)[int(rng.integers(len(ACTIONS)))]
    motion = perform(action, person(next(people)), int(rng.integers(1000)), _MOTION_S)
    distance_m = float(rng.uniform(1.5, 5.0))
    aside = min(0.5, float(np.arcsin(min(1.0, (min(-room.left_m, room.right_m) - 0.5) / distance_m))))
    turn = rng.normal(0.0, 0.5) if rng.random() < 0.65 else rng.uniform(-np.pi, np.pi)
    bearing = float(rng.uniform(-aside, aside))
    about = placed(motion, distance_m, bearing, float(turn), radar_height_m=room.radar_height_m)
    x_m, y_m, _ = about.position_m
    return [about] + [
        bystander(
            person(next(people)),
            _AT_LARGE,
            int(rng.integers(2**31)),
            _MOTION_S,
            obstacles=(Obstacle(x_m, y_m, 0.6),),
            radar_height_m=room.radar_height_m,
        )
        for _ in range(int(rng.choice(len(_BYSTANDERS), p=_BYSTANDERS)))
    ]


def _rows(picture: Picture) -> Rows:
    """The people of a picture of whom enough is seen."""
    height, width = picture.body.shape
    size = np.array([width, height])
    rows = []
    for body, (left, right, top, bottom) in enumerate(picture.boxes_px):
        if np.count_nonzero(picture.body == body) < _LEAST_PIXELS:
            continue
        low, high = np.array([left, top]) / size, np.array([right + 1, bottom + 1]) / size
        keypoints = np.zeros((17, 3))
        labelled = picture.visibility[body] != OUT_OF_PICTURE
        places = np.concatenate(
            [(picture.keypoints_px[body] + 0.5) / size, picture.visibility[body][:, None].astype(np.float64)], axis=1
        )
        keypoints[np.array(COCO_INDEX)[labelled]] = places[labelled]
        rows.append(np.concatenate([[0.0], 0.5 * (low + high), high - low, keypoints.ravel()]))
    return np.array(rows, np.float64).reshape(-1, 56)


def _smaller(
    picture: UInt8[np.ndarray, "row column 3"], divided_by: int
) -> UInt8[np.ndarray, "fewer_rows fewer_columns 3"]:
    """Each pixel the mean of `divided_by` x `divided_by`, which is what halving bilinearly gives for 2."""
    rows, columns, _ = picture.shape
    if divided_by < 1 or rows % divided_by or columns % divided_by:
        raise PipelineError(f"A picture of {columns} x {rows} pixels cannot be made {divided_by} times smaller.")
    blocks = picture.reshape(rows // divided_by, divided_by, columns // divided_by, divided_by, 3)
    return np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)
