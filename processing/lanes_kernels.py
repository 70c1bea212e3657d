"""Sixteen numbers handled as one: explicit vectors for the kernels.

A radar frame is many equal streams (loops x antennas), so the kernels put sixteen of them side by side and write each step
once, for all. `F32` holds 16 float32, `I32` 16 int32, `F64` 8 float64. Values of these types have + - * (also with a scalar
of their element type), I32 also & | << >>; functions below load, store, convert and transpose them. LLVM turns a vector into
one AVX-512 register, two AVX2 or four SSE/NEON ones: nothing here asks for a particular processor.

Why not loops for LLVM to vectorise: it gives up where it cannot prove that sixteen reads at run-time distances do not
overlap the writes, takes half-width vectors on many processors, and needs several times longer to compile.

Arrays are one-dimensional, indices count their elements and are NOT checked.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin
from numba.core.typing import signature
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic, models, register_model

LANES = 16
ROW = 2 * LANES  # a complex row: 16 real parts, then 16 imaginary parts
_INDEX = ir.IntType(32)
_FUSE = ("contract",)  # a * b + c may be one rounding, as in every fused multiply-add; nothing else is relaxed


class LaneType(types.Type):
    """Numba type of a vector of `count` numbers of type `element`."""

    def __init__(self, element: types.Type, count: int) -> None:
        self.element, self.count = element, count
        super().__init__(name=f"lanes({element} x {count})")


F32 = LaneType(types.float32, LANES)
I32 = LaneType(types.int32, LANES)
F64 = LaneType(types.float64, LANES // 2)
_HALF = LaneType(types.float32, F64.count)
_OF_ELEMENT = {kind.element: kind for kind in (F32, I32, F64)}


@register_model(LaneType)
class _LaneModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.VectorType(manager.lookup(kind.element).get_value_type(), kind.count))


def primitive(generate: Callable[..., Any]) -> Any:
    """Numba's `intrinsic`: `generate` writes LLVM code at compile time. Kernels call the result without its first argument,
    which a type checker cannot know: to one it is `Any`.
    """
    return intrinsic(prefer_literal=True)(generate)


# --- arithmetic ------------------------------------------------------------------------------------------------------
def _operator(symbol: Callable, instructions: dict[LaneType, str]) -> None:
    """Make `symbol` work on two vectors, and on a vector and a scalar."""

    @infer_global(symbol)
    class _Typing(ConcreteTemplate):
        cases = [signature(kind, kind, right) for kind in instructions for right in (kind, kind.element)]  # noqa: RUF012

    def lower(kind: LaneType, instruction: str) -> None:
        flags = _FUSE if instruction.startswith("f") else ()

        @lower_builtin(symbol, kind, kind)
        def vectors(context, builder, sig, args):
            return getattr(builder, instruction)(*args, flags=flags)

        @lower_builtin(symbol, kind, kind.element)
        def vector_and_scalar(context, builder, sig, args):
            return getattr(builder, instruction)(args[0], _filled(builder, args[1], kind.count), flags=flags)

    for kind, instruction in instructions.items():
        lower(kind, instruction)


for _symbol in (operator.add, operator.iadd):
    _operator(_symbol, {F32: "fadd", F64: "fadd", I32: "add"})
for _symbol in (operator.sub, operator.isub):
    _operator(_symbol, {F32: "fsub", F64: "fsub", I32: "sub"})
_operator(operator.mul, {F32: "fmul", F64: "fmul"})
_operator(operator.and_, {I32: "and_"})
_operator(operator.or_, {I32: "or_"})
_operator(operator.rshift, {I32: "ashr"})
_operator(operator.lshift, {I32: "shl"})


@primitive
def fill(typing, scalar):
    """A vector whose every lane is `scalar` (float32, int32 or float64)."""
    kind = _OF_ELEMENT[scalar]

    def codegen(context, builder, sig, args):
        return _filled(builder, args[0], kind.count)

    return kind(scalar), codegen


@primitive
def larger(typing, a, b):
    """The larger number of each lane; that of `b` where `a` is not a number."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, b), codegen


@primitive
def select_negative(typing, condition, if_negative, otherwise):
    """Lane by lane `if_negative` where the I32 `condition` is below zero, else `otherwise`."""

    def codegen(context, builder, sig, args):
        zero = ir.Constant(args[0].type, [0] * LANES)
        return builder.select(builder.icmp_signed("<", args[0], zero), args[1], args[2])

    return if_negative(condition, if_negative, otherwise), codegen


@primitive
def lane_sum(typing, value):
    """Sum over the lanes, a scalar."""

    def codegen(context, builder, sig, args):
        lanes = [builder.extract_element(args[0], _INDEX(lane)) for lane in range(value.count)]
        while len(lanes) > 1:  # pairwise, as exact as a sum gets without more bits
            lanes = [builder.fadd(a, b) for a, b in zip(lanes[::2], lanes[1::2], strict=True)]
        return lanes[0]

    return value.element(value), codegen


# --- conversions -----------------------------------------------------------------------------------------------------
def _conversion(result: LaneType, argument: LaneType, instruction: str, doc: str):
    def convert(typing, value):
        def codegen(context, builder, sig, args):
            return getattr(builder, instruction)(args[0], context.get_value_type(result))

        return result(argument), codegen

    convert.__doc__ = doc
    return primitive(convert)


bits_of = _conversion(I32, F32, "bitcast", "The IEEE-754 bits of F32 numbers.")
number_of = _conversion(F32, I32, "bitcast", "The F32 numbers that these bits mean.")
to_float = _conversion(F32, I32, "sitofp", "Whole numbers as F32.")


# --- memory ----------------------------------------------------------------------------------------------------------
@primitive
def load(typing, array, index):
    """Sixteen neighbours of a float32 or int32 array, or eight of a float64 one."""
    kind = _OF_ELEMENT[array.dtype]

    def codegen(context, builder, sig, args):
        return _load(context, builder, sig, args, 0, args[1], kind)

    return kind(array, types.intp), codegen


@primitive
def store(typing, array, index, value):
    """Write a vector from `array[index]` on. The array may be of another type: the bytes count."""

    def codegen(context, builder, sig, args):
        _store(context, builder, sig, args, 0, args[1], args[2])
        return context.get_dummy_value()

    return types.none(array, types.intp, value), codegen


@primitive
def store_narrow(typing, array, index, value, element):
    """Write I32 numbers as uint8 or uint16 (`element`, a Numba type), those above its range as its largest."""
    bits = element.dtype.bitwidth

    def codegen(context, builder, sig, args):
        top = ir.Constant(args[2].type, [2**bits - 1] * LANES)
        limited = builder.select(builder.icmp_unsigned("<", args[2], top), args[2], top)
        narrow = builder.trunc(limited, ir.VectorType(ir.IntType(bits), LANES))
        _store(context, builder, sig, args, 0, args[1], narrow)
        return context.get_dummy_value()

    return types.none(array, types.intp, value, element), codegen


@primitive
def store_complex(typing, array, index, real, imag):
    """Write sixteen (real, imaginary) pairs from `array[index]` on."""

    def codegen(context, builder, sig, args):
        pairs = [lane + LANES * part for lane in range(LANES) for part in (0, 1)]
        _store(context, builder, sig, args, 0, args[1], _shuffled(builder, args[2], args[3], pairs))
        return context.get_dummy_value()

    return types.none(array, types.intp, real, imag), codegen


@primitive
def copy_lanes(typing, target, to, source, at, count):
    """Copy `count` (a literal) float32 numbers as one move."""
    part = LaneType(types.float32, count.literal_value)

    def codegen(context, builder, sig, args):
        _store(context, builder, sig, args, 0, args[1], _load(context, builder, sig, args, 2, args[3], part))
        return context.get_dummy_value()

    return types.none(target, types.intp, source, types.intp, count), codegen


@primitive
def transpose_tile(typing, source, rows, first, column, target, target_rows, target_first, target_column):
    """Transpose 16 x 16 numbers of four bytes, in registers.

    Number l of source row i goes to number i of target row l. Source row i begins at `source[rows[first + i] + column]`,
    target row l at `target[target_rows[target_first + l] + target_column]`: both may lie anywhere, which is how the kernels
    bring streams into lanes and transforms into order without an extra pass.
    """

    def codegen(context, builder, sig, args):
        def start(table, begin, number, offset):
            pointer = context.make_array(sig.args[table])(context, builder, args[table]).data
            entry = builder.gep(pointer, [builder.add(args[begin], args[begin].type(number))])
            return builder.add(builder.load(entry), args[offset])

        tile = [_load(context, builder, sig, args, 0, start(1, 2, i, 3), F32) for i in range(LANES)]
        for lane, row in enumerate(_transposed(builder, tile)):
            _store(context, builder, sig, args, 4, start(5, 6, lane, 7), row)
        return context.get_dummy_value()

    index = types.intp
    return types.none(source, rows, index, index, target, target_rows, index, index), codegen


@primitive
def add_products(typing, rows, index, stride, sums):
    """Add to `sums` all products x[n + l] conj(x[n]) of eight complex columns, at eight neighbouring places, in float64.

    `rows` float32: real part of column n at `rows[index + n * stride]`, imaginary part eight rows later. `sums` float64, in
    vectors: real sum of lag 0, then real and imaginary sum of lags 1 to 7. Generated, not looped over: all sixteen
    inputs and fifteen sums stay in registers.
    """
    columns = 8

    def codegen(context, builder, sig, args):
        def input_row(number):
            at = builder.add(args[1], builder.mul(args[2], args[2].type(number)))
            return builder.fpext(_load(context, builder, sig, args, 0, at, _HALF), context.get_value_type(F64))

        real = [input_row(n) for n in range(columns)]
        imag = [input_row(n + columns) for n in range(columns)]

        def add_sum(place, products):
            at = args[1].type(place * F64.count)
            total = _load(context, builder, sig, args, 3, at, F64)
            for minus, a, b in products:
                product = builder.fmul(a, b, flags=_FUSE)
                total = (builder.fsub if minus else builder.fadd)(total, product, flags=_FUSE)
            _store(context, builder, sig, args, 3, at, total)

        add_sum(0, [(False, part[n], part[n]) for n in range(columns) for part in (real, imag)])
        for lag in range(1, columns):
            pairs = [(n + lag, n) for n in range(columns - lag)]
            add_sum(2 * lag - 1, [(False, part[a], part[b]) for a, b in pairs for part in (real, imag)])
            add_sum(2 * lag, [p for a, b in pairs for p in ((False, imag[a], real[b]), (True, real[a], imag[b]))])
        return context.get_dummy_value()

    return types.none(rows, types.intp, types.intp, sums), codegen


# --- pieces of generated code ----------------------------------------------------------------------------------------
def _filled(builder, scalar, count):
    kind = ir.VectorType(scalar.type, count)
    nothing = ir.Constant(kind, ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(nothing, scalar, _INDEX(0)),
        nothing,
        ir.Constant(ir.VectorType(_INDEX, count), [0] * count),
    )


def _pointer(context, builder, sig, args, array, index, kind):
    data = context.make_array(sig.args[array])(context, builder, args[array]).data
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


def _load(context, builder, sig, args, array, index, kind):
    vector = builder.load(_pointer(context, builder, sig, args, array, index, context.get_value_type(kind)))
    vector.align = sig.args[array].dtype.bitwidth // 8
    return vector


def _store(context, builder, sig, args, array, index, vector):
    builder.store(vector, _pointer(context, builder, sig, args, array, index, vector.type)).align = (
        sig.args[array].dtype.bitwidth // 8
    )


def _shuffled(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INDEX, len(lanes)), lanes))


def _transposed(builder, rows):
    """Exchange the off-diagonal quarters, then those of every quarter, and so on: log2(16) steps of two-row shuffles."""
    for step in (1, 2, 4, 8):
        upper = [lane if not lane & step else LANES + lane - step for lane in range(LANES)]
        lower = [lane + step if not lane & step else LANES + lane for lane in range(LANES)]
        turned = list(rows)
        for i in range(LANES):
            if not i & step:
                turned[i] = _shuffled(builder, rows[i], rows[i + step], upper)
                turned[i + step] = _shuffled(builder, rows[i], rows[i + step], lower)
        rows = turned
    return rows
