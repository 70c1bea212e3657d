"""How much of each scatterer on a body the radar sees. Numba, because every scatterer is held against every limb.

The numpy twin that defines it is in `tests/capture/test_simulator_people.py`.
"""

import math

from numba import njit

PENUMBRA_M = 0.015  # half the width of a shadow's edge: the Fresnel zone of 4 mm waves 10 cm behind an edge is 2 cm
LIFT_M = (
    0.03  # a sight line starts this far in front of the skin, so that a limb's neighbours at a joint do not hide it
)


@njit(inline="always", fastmath=True, error_model="numpy")
def _rise(x):
    """From 0 at x <= -1 to 1 at x >= 1, smooth."""
    u = min(max(0.5 * (x + 1.0), 0.0), 1.0)
    return u * u * (3.0 - 2.0 * u)


@njit(inline="always", fastmath=True, error_model="numpy")
def _gap(px, py, pz, dx, dy, dz, a, b, radius_a, radius_b):
    """Least distance of the segment p + s d, s in [0, 1], from the capsule about a-b, metres, negative inside it."""
    ex, ey, ez = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    rx, ry, rz = px - a[0], py - a[1], pz - a[2]
    dd = dx * dx + dy * dy + dz * dz
    ee = ex * ex + ey * ey + ez * ez + 1e-12
    de = dx * ex + dy * ey + dz * ez
    dr = dx * rx + dy * ry + dz * rz
    er = ex * rx + ey * ry + ez * rz
    if dd < 1e-12:
        s, u = 0.0, er / ee
    else:
        s = min(max((de * er - dr * ee) / (dd * ee - de * de + 1e-12), 0.0), 1.0)
        u = (de * s + er) / ee
    if u < 0.0 or u > 1.0:
        u = min(max(u, 0.0), 1.0)
        if dd >= 1e-12:
            s = min(max((de * u - dr) / dd, 0.0), 1.0)
    x, y, z = rx + s * dx - u * ex, ry + s * dy - u * ey, rz + s * dz - u * ez
    return math.sqrt(x * x + y * y + z * z) - (radius_a + u * (radius_b - radius_a))


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def visible(positions, own_limb, ends_a, ends_b, radius_a, radius_b, buried, out):
    """out *= how much of each position (time, scatterer, 3) a radar at the origin sees past the limbs, 0 to 1.

    `own_limb` (scatterer) is the limb it lies on, which does not hide it, or -1; `ends_a`, `ends_b` (time, limb, 3) and the
    radii (limb) are the limbs; where `buried`, a scatterer inside another limb is hidden too.
    """
    times, scatterers, _ = positions.shape
    limbs = ends_a.shape[1]
    for t in range(times):
        for s in range(scatterers):
            if out[t, s] == 0.0:
                continue
            x, y, z = positions[t, s, 0], positions[t, s, 1], positions[t, s, 2]
            distance = math.sqrt(x * x + y * y + z * z)
            lift = LIFT_M / distance
            px, py, pz = x - lift * x, y - lift * y, z - lift * z
            seen = out[t, s]
            for limb in range(limbs):
                if limb == own_limb[s]:
                    continue
                a, b = ends_a[t, limb], ends_b[t, limb]
                gap = _gap(px, py, pz, -px, -py, -pz, a, b, radius_a[limb], radius_b[limb])
                seen *= _rise(gap / PENUMBRA_M)
                if buried:
                    inside = _gap(x, y, z, 0.0, 0.0, 0.0, a, b, radius_a[limb], radius_b[limb])
                    seen *= _rise((inside + 0.5 * PENUMBRA_M) / (0.5 * PENUMBRA_M))
                if seen <= 0.0:
                    break
            out[t, s] = seen
