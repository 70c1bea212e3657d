"""Lines of power -> the stored type of the cube, as bytes: uint8 dB steps, float16 dB, float32 power, complex64 amplitude.

The twin is `processing.reference.encode`. The logarithm, a polynomial on the float's mantissa, is right within 1e-4 dB, so a
uint8 code differs from the twin's, by one step, only where that lies so close to the border of two: for steps of 0.5 dB one
cell in five thousand.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, types

from processing.lanes_kernels import (
    LANES,
    bits_of,
    fill,
    larger,
    load,
    number_of,
    select_negative,
    store,
    store_complex,
    store_narrow,
    to_float,
)

DTYPES = ("none", "uint8", "float16", "float32", "complex64")
NONE, UINT8, FLOAT16, FLOAT32, COMPLEX64 = range(5)
ITEM_BYTES = (0, 1, 2, 4, 8)

# log2(m) for m in [1, 2) within 1.3e-5: minimax polynomial, constant term first.
LOG2_OF_MANTISSA = (-2.8003646, 5.0917131, -3.5507965, 1.6311516, -0.41656476, 0.044873774)
# Added to a number it leaves that number, rounded half to even, as the difference of the bits.
_WHOLE, _WHOLE_BITS = np.float32(1.5 * 2**23), np.int32(0x4B400000)


class StorePlan(NamedTuple):
    """How power becomes stored numbers: float bits times `slope`, plus the polynomial `curve` of the mantissa."""

    dtype: int  # place in `DTYPES`
    floor_power: np.float32  # uint8, float16: power below this is taken as this; a hair above the floor
    slope: np.float32
    curve: tuple[np.float32, ...]  # six, constant term first


@njit(nogil=True, error_model="numpy")
def store_four_lines(lines, width, count, plan, bins, four, spare, cube, first_bin):
    """Write the first `count` of each line's `width` numbers to the bytes of `cube`, line i as bin `first_bin + bins[four, i]`.

    A line whose bin is -1 is left out. Lines shorter than a vector go through `spare`, 128 bytes of this thread's own.
    """
    size = count * ITEM_BYTES[plan.dtype]
    for i in range(4):
        if bins[four, i] >= 0:
            place = (first_bin + bins[four, i]) * size
            if count >= LANES:
                _store_line(lines, i * width, width, count, plan, cube, place)
            else:
                _store_line(lines, i * width, width, LANES, plan, spare, 0)
                for byte in range(size):
                    cube[place + byte] = spare[byte]


@njit(nogil=True, error_model="numpy")
def _store_line(lines, line, width, count, plan, target, to):
    """Whole vectors only: the last one begins early and writes some numbers twice."""
    last = count - LANES
    if plan.dtype == UINT8:
        for i in range(0, count, LANES):
            at = min(i, last)
            step = _logarithm(load(lines, line + at), plan)
            store_narrow(target, to + at, bits_of(step + _WHOLE) - _WHOLE_BITS, types.uint8)
    elif plan.dtype == FLOAT16:
        for i in range(0, count, LANES):
            at = min(i, last)
            store_narrow(target, to + 2 * at, _half_bits(_logarithm(load(lines, line + at), plan)), types.uint16)
    elif plan.dtype == FLOAT32:
        for i in range(0, count, LANES):
            at = min(i, last)
            store(target, to + 4 * at, load(lines, line + at))
    else:
        for i in range(0, count, LANES):
            at = min(i, last)
            store_complex(target, to + 8 * at, load(lines, line + at), load(lines, line + 4 * width + at))


@njit(nogil=True, error_model="numpy")
def _logarithm(power, plan):
    """The stored number: `plan`'s multiple of the logarithm. Float bits, read as a number, are the exponent plus the mantissa:
    a logarithm already, but for the curve between powers of two, which the polynomial adds.
    """
    bits = bits_of(larger(power, fill(plan.floor_power)))
    mantissa = number_of((bits & np.int32(0x7FFFFF)) | np.int32(0x3F800000))
    curve = mantissa * plan.curve[5] + plan.curve[4]
    curve = curve * mantissa + plan.curve[3]
    curve = curve * mantissa + plan.curve[2]
    curve = curve * mantissa + plan.curve[1]
    curve = curve * mantissa + plan.curve[0]
    return to_float(bits) * plan.slope + curve


@njit(nogil=True, error_model="numpy")
def _half_bits(value):
    """Float16 bits, rounded half to even, by hand: not every processor and compiler library converts."""
    bits = bits_of(value)
    sign, size = (bits >> np.int32(16)) & np.int32(0x8000), bits & np.int32(0x7FFFFFFF)
    odd = (size >> np.int32(13)) & np.int32(1)
    normal = ((size + np.int32(0xFFF) + odd) >> np.int32(13)) - np.int32(112 << 10)
    tiny = bits_of(number_of(size) + np.float32(0.5)) - np.int32(0x3F000000)
    return select_negative(size - np.int32(0x38800000), tiny, normal) | sign
