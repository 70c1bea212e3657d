"""Capsules into a z-buffer, paint and light on what is seen, a soft shadow on the floor. Numba; twins in `render_reference`.

Why it is fast: every limb is intersected in closed form, and only within the box of pixels it can cover; paint and light
are worked out once for each pixel that shows a body; the empty room comes from a table. Rays have z = 1 in the camera's
coordinates, so that the length along a ray is the depth.
"""

import math

import numpy as np
from numba import njit

# Columns of a limb's paint: five colours (linear light) and numbers that say where each goes.
FIRST, SECOND, THIRD, BELOW, SKIN = 0, 3, 6, 9, 12
PATTERN, PERIOD, DUTY, HEM, KIND, LENGTH, EDGE, PAINT_COLUMNS = 15, 16, 17, 18, 19, 20, 21, 22
"""PATTERN in FIRST and SECOND: 0 plain, 1 hoops, 2 stripes along, 3 checks, 4 SECOND below PERIOD of LENGTH, 5 a stripe down
each side; PERIOD metres; DUTY the share of SECOND. Past HEM of a limb's length SKIN shows. KIND: below. LENGTH: of the trunk
in metres, or size of the head. EDGE: metres above the pelvis below which BELOW shows; of the head: above the skull's centre
down to which hair grows behind. THIRD: a print on the chest."""
CLOTH, TORSO, HEAD = 0, 1, 2

# Columns of a posed limb: end A, the way to end B (both in the camera's coordinates), and derived numbers.
_A, _D, _RA, _DR, _INVERSE_M, _K0, _C, _C_A, _C_B = 0, 3, 6, 7, 8, 9, 10, 11, 12
LIMB_COLUMNS = 13


@njit(nogil=True, error_model="numpy", cache=True)
def prepare_limbs(first, second, radii, out):
    """Ends (limb, 3) and radii (limb, 2) into the columns that `draw_limbs` reads.

    A tapered capsule is all balls with centre A + t D and radius ra + t dr, t in [0, 1]. The balls' envelope along a ray
    s d: |s d - A|^2 - ra^2 = y^2 / m with y = D.(s d - A) + ra dr, m = |D|^2 - dr^2, touching at t = y / m. Where
    m <= 0 one ball holds all others, and the capsule is given as that ball alone.
    """
    for limb in range(first.shape[0]):
        ra, rb = radii[limb, 0], radii[limb, 1]
        squared = 0.0
        for axis in range(3):
            squared += (second[limb, axis] - first[limb, axis]) ** 2
        ball = squared <= (rb - ra) ** 2 * 1.0001 + 1e-12
        if ball:
            ra = rb = max(ra, rb)
        inside, along, other = 0.0, 0.0, 0.0
        for axis in range(3):
            a = first[limb, axis]
            b = second[limb, axis]
            if ball:
                a = b = a if radii[limb, 0] >= radii[limb, 1] else b
            out[limb, _A + axis], out[limb, _D + axis] = a, b - a
            inside += a * a
            along += a * (b - a)
            other += b * b
        dr = rb - ra
        out[limb, _RA], out[limb, _DR] = ra, dr
        out[limb, _INVERSE_M] = 0.0 if ball else 1.0 / (squared - dr * dr)
        out[limb, _K0] = ra * dr - along
        out[limb, _C] = inside - ra * ra - out[limb, _K0] ** 2 * out[limb, _INVERSE_M]
        out[limb, _C_A], out[limb, _C_B] = inside - ra * ra, other - rb * rb


@njit(inline="always", error_model="numpy")
def _ball(dd, along, c):
    """Depth at which a ray enters a ball, infinity where it misses or starts inside."""
    discriminant = along * along - dd * c
    if discriminant < 0.0:
        return math.inf
    depth = (along - math.sqrt(discriminant)) / dd
    return depth if depth > 0.0 else math.inf


@njit(nogil=True, error_model="numpy", cache=True)
def draw_limbs(rays, boxes, limbs, depth, seen):
    """Put limbs (limb, column) into the z-buffer: `depth` and the number of the limb `seen`, both (row, column).

    rays (row, column, 2): x and y at depth 1. boxes (limb, 4): columns and rows [u0, u1) x [v0, v1) it can cover.
    """
    for limb in range(limbs.shape[0]):
        ax, ay, az = limbs[limb, _A], limbs[limb, _A + 1], limbs[limb, _A + 2]
        dx, dy, dz = limbs[limb, _D], limbs[limb, _D + 1], limbs[limb, _D + 2]
        inverse_m, k0, c = limbs[limb, _INVERSE_M], limbs[limb, _K0], limbs[limb, _C]
        c_a, c_b = limbs[limb, _C_A], limbs[limb, _C_B]
        for row in range(boxes[limb, 2], boxes[limb, 3]):
            for column in range(boxes[limb, 0], boxes[limb, 1]):
                x, y = rays[row, column, 0], rays[row, column, 1]
                dd = x * x + y * y + 1.0
                to_a = x * ax + y * ay + az
                way = x * dx + y * dy + dz
                nearest = math.inf
                if inverse_m > 0.0:
                    # a s^2 + 2 b s + c = 0 on the cone between the two balls.
                    a = dd - way * way * inverse_m
                    b = -to_a - way * k0 * inverse_m
                    discriminant = b * b - a * c
                    if discriminant < 0.0 and a > 0.0:
                        continue  # misses the envelope of all balls, so all balls
                    if discriminant >= 0.0:
                        root = math.sqrt(discriminant)
                        for sign in (-1.0, 1.0):
                            s = (-b + sign * root) / a
                            t = (s * way + k0) * inverse_m
                            if s > 0.0 and 0.0 <= t <= 1.0 and s < nearest:
                                nearest = s
                nearest = min(nearest, _ball(dd, to_a, c_a), _ball(dd, to_a + way, c_b))
                if nearest < depth[row, column]:
                    depth[row, column] = nearest
                    seen[row, column] = limb


@njit(nogil=True, error_model="numpy", cache=True)
def paint_limbs(rays, box, limbs, frames, paint, body_of_limb, lamp, depth, seen, light, body, extent):
    """Colour every pixel of `box` (u0, u1, v0, v1) that shows a limb.

    frames (limb, 4, 3): origin, left, forward and up of the axes that a limb's paint is laid out in; lamp (4, 3): towards
    the lamp, key, ambient, upwards. Writes light (row, column, 3), body (row, column), and extent (body, 4): the first and
    last column and row that shows each body.
    """
    point, normal = np.empty(3), np.empty(3)
    for row in range(box[2], box[3]):
        for column in range(box[0], box[1]):
            limb = seen[row, column]
            if limb < 0:
                continue
            who = body_of_limb[limb]
            body[row, column] = who
            extent[who, 0], extent[who, 1] = min(extent[who, 0], column), max(extent[who, 1], column)
            extent[who, 2], extent[who, 3] = min(extent[who, 2], row), max(extent[who, 3], row)
            z = depth[row, column]
            point[0], point[1], point[2] = rays[row, column, 0] * z, rays[row, column, 1] * z, z
            share = limbs[limb, _K0]
            for axis in range(3):
                share += point[axis] * limbs[limb, _D + axis]
            share = min(max(share * limbs[limb, _INVERSE_M], 0.0), 1.0)
            radius = limbs[limb, _RA] + share * limbs[limb, _DR]
            key, up = 0.0, 0.0
            left, forward, height = 0.0, 0.0, 0.0
            for axis in range(3):
                normal[axis] = (point[axis] - limbs[limb, _A + axis] - share * limbs[limb, _D + axis]) / radius
                offset = point[axis] - frames[limb, 0, axis]
                left += offset * frames[limb, 1, axis]
                forward += offset * frames[limb, 2, axis]
                height += offset * frames[limb, 3, axis]
            if paint[limb, KIND] == TORSO:
                _smooth_trunk(normal, frames[limb], left, forward, height / paint[limb, LENGTH])
            for axis in range(3):
                key += normal[axis] * lamp[0, axis]
                up += normal[axis] * lamp[3, axis]
            colour, tone = _paint_at(paint[limb], left, forward, height, share)
            # A little light wraps round the edge, as it does from a lamp that is not a point.
            key = max(0.0, (key + 0.2) / 1.2)
            for channel in range(3):
                lit = lamp[2, channel] * (1.0 + 0.35 * up) + lamp[1, channel] * key
                light[row, column, channel] = paint[limb, colour + channel] * tone * lit


@njit(inline="always", error_model="numpy")
def _smooth_trunk(normal, frame, left, forward, height):
    """Bend a trunk's normal towards that of one elliptic cylinder, so that cloth hides where its capsules meet."""
    share = 0.75 * min(max(3.0 - 3.0 * height, 0.0), 1.0)
    across, ahead = 0.45 * left, forward
    length = math.sqrt(across * across + ahead * ahead) + 1e-9
    squared = 0.0
    for axis in range(3):
        round_ = (across * frame[1, axis] + ahead * frame[2, axis]) / length
        normal[axis] += share * (round_ - normal[axis])
        squared += normal[axis] * normal[axis]
    squared = 1.0 / (math.sqrt(squared) + 1e-9)
    for axis in range(3):
        normal[axis] *= squared


@njit(inline="always", error_model="numpy")
def _paint_at(paint, left, forward, height, share):
    """Which of a limb's colours shows at a place, as that colour's first column, and how light or dark it is there."""
    kind = paint[KIND]
    if kind == HEAD:
        size = paint[LENGTH]
        return _head_at(left / size, forward / size, height / size, paint[EDGE])
    tone = 1.0 + 0.07 * math.sin(31.0 * height + 2.5 * math.sin(23.0 * left + 17.0 * forward))  # folds
    if share > paint[HEM]:
        return SKIN, 1.0
    if kind == TORSO:
        length = paint[LENGTH]
        if height < paint[EDGE]:
            return BELOW, (tone if height < paint[EDGE] - 0.025 else 0.8)
        if forward > 0.0:
            if height > 0.94 * length and abs(left) < 0.9 * (height - 0.94 * length) + 0.008:
                return SKIN, 1.0
            if abs(left) < 0.075 and 0.62 * length < height < 0.78 * length:
                return THIRD, tone  # a print on the chest
        elif abs(left) < 0.004:
            tone *= 0.75  # a seam down the back
    pattern, period = paint[PATTERN], paint[PERIOD]
    second = False
    if pattern == 1.0:
        second = _phase(height / period) < paint[DUTY]
    elif pattern == 2.0:
        second = _phase(left / period) < 0.4 * paint[DUTY]
    elif pattern == 3.0:
        across, along = _phase(left / period) < paint[DUTY], _phase(height / period) < paint[DUTY]
        second = across and along
        tone *= 0.88 if across != along else 1.0
    elif pattern == 4.0:
        second = height < period * paint[LENGTH]
    elif pattern == 5.0:
        second = abs(forward) < 0.018
    return (SECOND if second else FIRST), tone


@njit(inline="always", error_model="numpy")
def _phase(x):
    return x - math.floor(x)


@njit(inline="always", error_model="numpy")
def _head_at(left, forward, height, hair_back):
    """Skin, hair, eyes, brows and mouth by metres from the skull's centre (of a head 0.122 m from there to its top)."""
    side = abs(left)
    if forward > 0.055:
        hairline = 0.074 + 0.25 * side
    else:
        hairline = hair_back + (0.074 - hair_back) * min(max((forward + 0.005) / 0.06, 0.0), 1.0)
    if height > hairline:
        return SECOND, 0.9 + 0.25 * _phase(37.0 * (left + 0.3 * forward))
    if forward > 0.03:
        eye = (side - 0.033) ** 2 / 0.016**2 + (height - 0.008) ** 2 / 0.0085**2
        if eye < 1.0:
            return (SECOND, 0.3) if (side - 0.033) ** 2 + (height - 0.008) ** 2 < 0.0075**2 else (FIRST, 1.5)
        if abs(side - 0.034) < 0.019 and abs(height - 0.031 + 0.15 * (side - 0.034)) < 0.005:
            return SECOND, 0.8
        if side < 0.026 and abs(height + 0.058) < 0.006:
            return FIRST, 0.45
        if abs(side - 0.045) < 0.015 and abs(height + 0.03) < 0.015:
            return FIRST, 0.94
    return FIRST, 1.0


@njit(nogil=True, error_model="numpy", cache=True)
def floor_shadow(first, second, radii, towards, low, step, ground, shadow):
    """Share of the lamp's light that limbs keep from the floor, on a grid of `step` metres from the corner `low`.

    Ends (limb, 3) and `towards` the lamp in the room's coordinates; shadow (x, y). The lamp is wide: a limb's shadow is
    the softer the higher the limb.
    """
    for i in range(shadow.shape[0]):
        for j in range(shadow.shape[1]):
            px, py = low[0] + i * step, low[1] + j * step
            dark = 0.0
            for limb in range(first.shape[0]):
                # Nearest points of the ray from the floor to the lamp and of the limb's axis.
                ox, oy, oz = px - first[limb, 0], py - first[limb, 1], ground - first[limb, 2]
                bx, by, bz = (
                    second[limb, 0] - first[limb, 0],
                    second[limb, 1] - first[limb, 1],
                    second[limb, 2] - first[limb, 2],
                )
                bb = bx * bx + by * by + bz * bz
                bd = bx * towards[0] + by * towards[1] + bz * towards[2]
                bo = bx * ox + by * oy + bz * oz
                od = ox * towards[0] + oy * towards[1] + oz * towards[2]
                spread = bb - bd * bd
                t = min(max((bo - od * bd) / spread, 0.0), 1.0) if spread > 1e-9 else 0.0
                s = max(t * bd - od, 0.0)
                x, y, z = ox + s * towards[0] - t * bx, oy + s * towards[1] - t * by, oz + s * towards[2] - t * bz
                gap = math.sqrt(x * x + y * y + z * z) - radii[limb, 0] - t * (radii[limb, 1] - radii[limb, 0])
                soft = 0.02 + 0.16 * s
                dark = max(dark, min(max(0.5 - 0.5 * gap / soft, 0.0), 1.0) * min(1.0, 0.35 / (0.2 + s)))
            shadow[i, j] = dark * dark * (3.0 - 2.0 * dark)


@njit(nogil=True, error_model="numpy", cache=True)
def darken_floor(pixels, places, low, step, shadow, share, light):
    """Take `share` of the light times the shadow from the floor: pixels (n,) of a flat picture, their places (n, 2)."""
    for n in range(pixels.shape[0]):
        u, v = (places[n, 0] - low[0]) / step, (places[n, 1] - low[1]) / step
        if 0.0 <= u < shadow.shape[0] - 1 and 0.0 <= v < shadow.shape[1] - 1:
            i, j = int(u), int(v)
            u -= i
            v -= j
            near = (1 - v) * shadow[i, j] + v * shadow[i, j + 1]
            far = (1 - v) * shadow[i + 1, j] + v * shadow[i + 1, j + 1]
            left = 1.0 - share * ((1 - u) * near + u * far)
            for channel in range(3):
                light[pixels[n], channel] *= left
