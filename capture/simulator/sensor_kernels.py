"""What the camera's sensors make of light and depth: blur, noise, tone curve; disparity, stereo shadow, holes. Numba.

Why it is fast: noise is read from tables, from a fresh random place for every row, so that no random number is drawn per
pixel; the tone curve is a table; loops run along rows. Plain numpy twins in `render_reference`.
"""

import numpy as np
from numba import njit


@njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}, cache=True)
def expose(light, gains, blur, vignette, shot, read, noise, starts, curve, out):
    """Linear light (row, 3 * column) to 8 bits `out` of the same shape.

    gains (3,): exposure and white balance; blur: share of each neighbour, above, below and beside; vignette: share of
    light lost in the corners; noise of variance shot * signal + read^2 from row `starts[row]` of `noise` on; curve: 8-bit
    value of linear light in equal steps from 0 to 1.
    """
    rows, width = light.shape
    centre = np.float32(1.0) - np.float32(2.0) * blur
    line = np.empty(width + 6, np.float32)
    edge = np.empty(width, np.float32)
    gain = np.empty(width, np.float32)
    for n in range(width):
        across = (n // 3 - (width / 3 - 1) / 2) / (width / 6)
        edge[n] = 0.5 * vignette * across * across
        gain[n] = gains[n % 3]
    steps = np.float32(curve.shape[0] - 1)
    for row in range(rows):
        above, below = max(row - 1, 0), min(row + 1, rows - 1)
        for n in range(width):
            line[n + 3] = centre * light[row, n] + blur * (light[above, n] + light[below, n])
        for n in range(3):
            line[n], line[width + 3 + n] = line[n + 3], line[width + n]
        down = (row - (rows - 1) / 2) / (rows / 2)
        kept = np.float32(1.0 - 0.5 * vignette * down * down)
        start = starts[row]
        for n in range(width):
            signal = (centre * line[n + 3] + blur * (line[n] + line[n + 6])) * gain[n] * (kept - edge[n])
            signal += np.sqrt(shot * signal + read * read) * noise[start + n]
            signal = min(max(signal, np.float32(0.0)), np.float32(1.0))
            line[n] = signal * steps + np.float32(0.5)
        for n in range(width):
            out[row, n] = curve[int(line[n])]


@njit(nogil=True, error_model="numpy", cache=True)
def measure_depth(
    depth, stereo_px, jitter_px, field, across, down, grain, chance, chances, edge, nearest, farthest, out
):
    """Depth in metres to millimetres as a stereo camera gives them, 0 where it has none.

    stereo_px: focal length times baseline, pixels metres; jitter_px: standard deviation of disparity, taken from `field`
    (which repeats) from row `down`, column `across` on; grain: steps of disparity in a pixel, 0 for none. A place is lost
    where the right-hand imager does not see it, nearer than `nearest` or beyond `farthest`, and with probability `edge`
    where depth jumps by more than 3 % beside it; `chance` rows of random numbers start at `chances[row]`.
    """
    rows, columns = depth.shape
    for row in range(rows):
        noise, above, below = (row + down) % field.shape[0], max(row - 1, 0), min(row + 1, rows - 1)
        hidden = np.inf  # leftmost column of the right-hand image that things further right in this one have taken
        for column in range(columns - 1, -1, -1):
            z = depth[row, column]
            disparity = stereo_px / z
            there = column - disparity
            lost = edge > 0.0 and there > hidden + 1.0
            hidden = min(hidden, there)
            if edge > 0.0 and not lost:
                left, right = depth[row, max(column - 1, 0)], depth[row, min(column + 1, columns - 1)]
                low = min(min(left, right), min(depth[above, column], depth[below, column]))
                high = max(max(left, right), max(depth[above, column], depth[below, column]))
                if high - z > 0.03 * z or z - low > 0.03 * z:
                    lost = chance[chances[row] + column] < edge
            disparity += jitter_px * field[noise, across + column]
            if grain > 0.0:
                disparity = np.floor(disparity * grain + 0.5) / grain
            millimetres = 0.0
            if not lost and disparity > 0.0:
                measured = stereo_px / disparity
                if nearest <= measured <= farthest:
                    millimetres = min(1000.0 * measured + 0.5, 65535.0)
            out[row, column] = np.uint16(millimetres)
