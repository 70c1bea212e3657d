"""Which wall or piece of furniture each ray meets first, and how much light reaches a corner. Numba."""

import math

import numpy as np
from numba import njit

FLOOR = 4
"""Faces are numbered 6 * box + 2 * axis + (1 when seen along the axis, 0 against it); box 0 is the room, seen from inside."""


@njit(nogil=True, error_model="numpy", cache=True)
def room_faces(eye, way, low, high, boxes, depth, face):
    """Nearest surface along each ray `eye + depth * way[:, ray]` of a room between corners `low` and `high`.

    `boxes` is (box, corner, 3); no component of `way` may be 0. Writes `depth` and `face` (see `FLOOR`) of each ray.
    """
    inverse = np.empty(3)
    for ray in range(way.shape[1]):
        nearest, code = math.inf, 0
        for axis in range(3):
            inverse[axis] = 1.0 / way[axis, ray]
            wall = high[axis] if inverse[axis] > 0 else low[axis]
            reach = (wall - eye[axis]) * inverse[axis]
            if reach < nearest:
                nearest, code = reach, 2 * axis + (inverse[axis] > 0)
        for box in range(boxes.shape[0]):
            enter, leave, side = 0.05, nearest, -1
            for axis in range(3):
                first = (boxes[box, 0, axis] - eye[axis]) * inverse[axis]
                second = (boxes[box, 1, axis] - eye[axis]) * inverse[axis]
                if min(first, second) > enter:
                    enter, side = min(first, second), axis
                leave = min(leave, max(first, second))
            if enter < leave and side >= 0:
                nearest, code = enter, 6 * (box + 1) + 2 * side + (inverse[side] > 0)
        depth[ray], face[ray] = nearest, code


@njit(nogil=True, error_model="numpy", cache=True)
def corner_shade(points, face, low, high, boxes, shade):
    """Share of light left on walls, floor and ceiling near edges and furniture; 1 on the furniture itself."""
    for point in range(points.shape[1]):
        left = 1.0
        if face[point] < 6:
            for axis in range(3):
                if axis != face[point] // 2:
                    gap = min(points[axis, point] - low[axis], high[axis] - points[axis, point])
                    left *= 1.0 - 0.35 * math.exp(-4.0 * max(gap, 0.0))
            for box in range(boxes.shape[0]):
                squared = 0.0
                for axis in range(3):
                    below = boxes[box, 0, axis] - points[axis, point]
                    above = points[axis, point] - boxes[box, 1, axis]
                    squared += max(below, above, 0.0) ** 2
                if squared < 0.36:
                    left *= 1.0 - 0.4 * math.exp(-math.sqrt(squared) / 0.15)
        shade[point] = left
