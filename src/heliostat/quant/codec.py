"""The reference codec: bytes to fields, fields to values and fields to bytes, from a declaration alone.

Vectorised NumPy; the oracle of every native dequantizer and repack. The f32 operations are those of the value rule in
the order written there, so results equal the reference decoders' bit for bit. Choosing codes is `quantize.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from heliostat.diagnostics import FormatError, ShapeError
from heliostat.ir.types import DType
from heliostat.quant import formats
from heliostat.quant.algebra import Binary, Expr, Lookup, Negate, Number, Ref
from heliostat.quant.bits import Digits, Part, place
from heliostat.quant.format import BlockFormat, Codes, Grid, Scalar

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Format = str | BlockFormat | DType

CHUNK_ELEMENTS = 1 << 15  # a few arrays of this many f32 stay in the second-level cache


def resolve(fmt: Format) -> BlockFormat | DType:
    """The format that a name or an object stands for. Raises FormatError for an unknown name or an integer dtype."""
    if isinstance(fmt, BlockFormat):
        return fmt
    return formats.get(fmt if isinstance(fmt, str) else fmt.name)


# Fields <-> bytes


@dataclass(frozen=True)
class _Layer:
    """One slice of every element, as arrays over the elements. `width` 0 where an element has no such slice."""

    byte: npt.NDArray[np.intp]
    shift: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    into: npt.NDArray[np.uint8]
    radix: int


@lru_cache(maxsize=1024)
def _layers(parts: tuple[Part, ...], count: int) -> tuple[_Layer, ...]:
    elements = place(parts, count, "")
    layers = []
    for k in range(max(len(e) for e in elements)):
        column = [e[k] if k < len(e) else None for e in elements]
        radix = max((s.radix for s in column if s), default=0)
        layers.append(
            _Layer(
                np.array([s.byte_offset if s else 0 for s in column], np.intp),
                np.array([s.shift if s else 0 for s in column], np.uint8),
                np.array([(1 << s.width) - 1 if s else 0 for s in column], np.uint8),
                np.array([s.into_bit if s else 0 for s in column], np.uint8),
                radix,
            )
        )
    return tuple(layers)


def _unsigned(width: int) -> np.dtype[Any]:
    return np.dtype(np.uint8 if width <= 8 else np.uint16 if width <= 16 else np.uint32)


def gather(raw: Bytes, parts: Sequence[Part], count: int, width: int) -> Array:
    """The bit patterns of `count` elements of `width` bits from blocks (n, nbytes): (n, count) unsigned."""
    dtype = _unsigned(width)
    total: Array | None = None
    for layer in _layers(tuple(parts), count):
        part = raw.take(layer.byte, axis=1)
        if layer.radix:
            powers = np.array([pow(layer.radix, int(s), 256) for s in layer.shift], np.uint8)
            part *= powers
            part = ((part.astype(np.uint16) * layer.radix) >> 8).astype(np.uint8)
        else:
            if layer.shift.any():
                part >>= layer.shift
            if (layer.mask != 0xFF).any():
                part &= layer.mask
        if dtype != np.uint8:
            part = part.astype(dtype)
        if layer.into.any():
            part <<= layer.into.astype(dtype)
        total = part if total is None else np.bitwise_or(total, part, out=total)
    assert total is not None
    return total


def scatter(raw: Bytes, parts: Sequence[Part], count: int, bits: Array) -> None:
    """The inverse of `gather`: OR the elements' bit patterns (n, count) into zeroed bytes (n, nbytes)."""
    parts = tuple(parts)
    digits = [p for p in parts if isinstance(p, Digits)]
    for part in digits:
        length = count - part.start if part.count is None else part.count
        own = bits[:, part.start : part.start + length].astype(np.uint32)
        places = part.places(length)
        number = np.zeros(raw.shape, np.uint32)
        for digit in range(part.digits):
            at = [e for e, p in enumerate(places) if p[0][1] == digit]
            number[:, [places[e][0][0] for e in at]] += own[:, at] * np.uint32(part.radix ** (part.most - 1 - digit))
        whole = part.radix**part.most
        raw |= ((number * 256 + (whole - 1)) // whole).astype(np.uint8)
    if len(digits) == len(parts):
        return
    for layer in _layers(parts, count):
        left = layer.mask != 0
        if layer.radix:
            continue
        while left.any():  # several elements share a byte: take one for every byte at a time
            _, first = np.unique(np.where(left, layer.byte, -1), return_index=True)
            first = first[left[first]]
            piece = (bits[:, first] >> layer.into[first].astype(bits.dtype)).astype(np.uint8) & layer.mask[first]
            raw[:, layer.byte[first]] |= piece << layer.shift[first]
            left[first] = False


def sign_extend(bits: Array, width: int) -> npt.NDArray[np.int32]:
    """Two's complement of `width` bits as int32."""
    top = np.int32(1 << (width - 1))
    return (bits.astype(np.int32) ^ top) - top


def codes(raw: Bytes, fmt: BlockFormat) -> Array:
    """The unsigned codes u of blocks (n, nbytes), as the normal form counts them: (n, block)."""
    field = fmt.codes
    bits = gather(raw, field.parts, fmt.block, field.width)
    return bits ^ bits.dtype.type(field.flip) if field.flip else bits


def scalar_bits(raw: Bytes, scalar: Scalar) -> Array:
    """The bit patterns of a scalar field: (n, count)."""
    return gather(raw, scalar.parts, scalar.count, scalar.width)


def scalar_values(raw: Bytes, scalar: Scalar) -> Array:
    """A scalar field as f32 or int32: (n, count)."""
    return decode_scalar(scalar_bits(raw, scalar), scalar.dtype)


def assemble(fmt: BlockFormat, fields: Mapping[str, Array]) -> Bytes:
    """Blocks (n, nbytes) from bit patterns by field: scalars (n, count), codes (n, block) as stored.

    A grid has two: its indices under its own name, its sign bits under name + ".signs".
    """
    n = next(iter(fields.values())).shape[0]
    raw = np.zeros((n, fmt.nbytes), np.uint8)
    for field in fmt.fields:
        if isinstance(field, Grid):
            scatter(raw, field.index, field.count // field.vector, fields[field.name])
            if field.signs:
                scatter(raw, field.signs, field.sign_count, fields[f"{field.name}.signs"])
        else:
            scatter(raw, field.parts, field.count, fields[field.name])
    return raw


# Scalar types


def _e8m0_values() -> F32:
    exponent = np.arange(256, dtype=np.uint32)
    bits = np.where(exponent < 2, np.uint32(0x00200000) << np.minimum(exponent, 1), (exponent - 1) << np.uint32(23))
    return bits.astype(np.uint32).view(np.float32)


def _ue4m3_values() -> F32:
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    raw = np.where(exponent == 0, mantissa * 2.0**-9, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    return np.where((code == 0) | (code == 0x7F), 0.0, raw * 0.5).astype(np.float32)


E8M0 = _e8m0_values()  # the f32 of every e8m0 byte
UE4M3 = _ue4m3_values()  # the f32 of every ue4m3 byte


def decode_scalar(bits: Array, dtype: DType) -> Array:
    """Bit patterns of a scalar type as f32 (exact) or int32."""
    if dtype.kind == "i":
        return sign_extend(bits, dtype.bits)
    if dtype.kind == "u":
        return bits.astype(np.int32)
    if dtype.name == "f16":
        return bits.view(np.float16).astype(np.float32)
    if dtype.name == "bf16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype.name == "f32":
        return bits.view(np.float32)
    values: F32 = _TABLES[dtype.name][bits]
    return values


_TABLES = {"e8m0": E8M0, "ue4m3": UE4M3}
UNSIGNED_FLOATS = tuple(_TABLES)


def encode_scalar(values: Array, dtype: DType) -> Array:
    """The nearest bit patterns for f32 values, or those of in-range integers. Floats beyond the range become infinite,
    or the largest value where the type has no infinity; negative values of an unsigned float become the smallest."""
    if not dtype.is_float:
        kind = _unsigned(dtype.bits)
        return (values.astype(np.int64) & ((1 << dtype.bits) - 1)).astype(kind)
    values = np.ascontiguousarray(values, np.float32)
    if dtype.name == "f16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).view(np.uint16)
    if dtype.name == "f32":
        return values.view(np.uint32)
    if dtype.name == "bf16":
        return bf16_bits(values)
    if dtype.name == "e8m0":
        with np.errstate(divide="ignore"):
            exponent = np.rint(np.log2(np.maximum(values, 0)))
        return (np.clip(exponent, -128, 126) + 128).astype(np.uint8)
    return _ue4m3_bits(values)


def bf16_bits(values: F32) -> npt.NDArray[np.uint16]:
    """bf16 patterns: to nearest, ties to even; NaNs are made quiet and keep their upper payload bits."""
    bits = values.view(np.uint32)
    nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    rounded = (bits.astype(np.uint64) + (np.uint64(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint64(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(nan, quiet, rounded).astype(np.uint16)


def _ue4m3_bits(values: F32) -> npt.NDArray[np.uint8]:
    # Halves round up, unlike IEEE: so does the reference encoder (ggml_fp32_to_ue4m3).
    plain = np.clip(values * np.float32(2), 0, 448).astype(np.float32)
    bits = plain.view(np.uint32)
    number = ((bits >> np.uint32(20)) + ((bits >> np.uint32(19)) & np.uint32(1))).astype(np.int64) - (120 << 3)
    small = np.minimum((plain * np.float32(512) + np.float32(0.5)).astype(np.int64), 7)
    exponent = (bits >> np.uint32(23)).astype(np.int64) - 120
    found: npt.NDArray[np.int64] = np.where(exponent <= 0, small, np.minimum(number, 0x7E))
    return found.astype(np.uint8)


# Values


def _spread(a: Array, count: int) -> Array:
    """(n, c) as (n, count), each value repeated for its share; a single value per block is left to broadcasting."""
    return a if a.shape[1] in (1, count) else np.repeat(a, count // a.shape[1], axis=1)


_OPERATIONS: dict[str, Callable[[Array, Array], Array]] = {"+": np.add, "-": np.subtract, "*": np.multiply}


def _combine(op: str, a: Array, b: Array) -> Array:
    if a.dtype != b.dtype:
        a, b = a.astype(np.float32, copy=False), b.astype(np.float32, copy=False)
    few, many = sorted((a.shape[1], b.shape[1]))
    if few > 1 and many % few == 0 and few != many:
        # one scale for a run of codes: broadcast over the run, no copy of the scales
        n = max(a.shape[0], b.shape[0])
        folded = [
            x.reshape(x.shape[0], few, -1) if x.shape[1] == many else x.reshape(x.shape[0], few, 1) for x in (a, b)
        ]
        return _OPERATIONS[op](*folded).reshape(n, many)
    count = int(np.lcm(few, many))
    return _OPERATIONS[op](_spread(a, count), _spread(b, count))


def _evaluate(node: Expr, fields: Mapping[str, Array]) -> Array:
    if isinstance(node, Number):
        return np.array([[node.value]], np.int32 if isinstance(node.value, int) else np.float32)
    if isinstance(node, Ref):
        return fields[node.name]
    if isinstance(node, Negate):
        value: Array = np.negative(_evaluate(node.operand, fields))
        return value
    if isinstance(node, Lookup):
        whole = all(isinstance(v, int) for v in node.table.values)
        table = np.array(node.table.values, np.int32 if whole else np.float32)
        return table[_evaluate(node.index, fields)]
    assert isinstance(node, Binary)
    return _combine(node.op, _evaluate(node.left, fields), _evaluate(node.right, fields))


@lru_cache(maxsize=64)
def _grid_table(table: tuple[tuple[int | float, ...], ...]) -> F32:
    return np.array(table, np.float32)


def _grid_values(raw: Bytes, grid: Grid) -> F32:
    indices = grid.count // grid.vector
    width = max(sum(s.width for s in e) for e in grid.index_slices())
    values = _grid_table(grid.table)[gather(raw, grid.index, indices, width)].reshape(raw.shape[0], grid.count)
    if grid.signs:
        signs = gather(raw, grid.signs, grid.sign_count, 7 if grid.parity else 1)
        if grid.parity:
            bits = (signs[:, :, None] >> np.arange(7, dtype=np.uint8)) & np.uint8(1)
            last = np.bitwise_xor.reduce(bits, axis=2, keepdims=True)
            signs = np.concatenate([bits, last], axis=2).reshape(raw.shape[0], grid.count)
        values = values * np.where(signs == 0, np.float32(1), np.float32(-1))
    return values


def field_values(raw: Bytes, fmt: BlockFormat) -> dict[str, Array]:
    """Every field of blocks (n, nbytes) as the value rule reads it: f32 or int32, (n, count)."""
    values: dict[str, Array] = {}
    for field in fmt.fields:
        if isinstance(field, Scalar):
            values[field.name] = scalar_values(raw, field)
        elif isinstance(field, Codes):
            bits = gather(raw, field.parts, field.count, field.width)
            values[field.name] = sign_extend(bits, field.width) if field.signed else bits.astype(np.int32)
        else:
            values[field.name] = _grid_values(raw, field)
    return values


def decode_blocks(raw: Bytes, fmt: BlockFormat) -> F32:
    """Blocks (n, nbytes) as values (n, block). NaN and infinite scales give what IEEE arithmetic gives."""
    out = np.empty((raw.shape[0], fmt.block), np.float32)
    step = max(1, CHUNK_ELEMENTS // fmt.block)
    with np.errstate(all="ignore"):
        for start in range(0, raw.shape[0], step):
            out[start : start + step] = _evaluate(fmt.value, field_values(raw[start : start + step], fmt))
    return out


def as_bytes(data: bytes | bytearray | memoryview | Array) -> Bytes:
    """Bytes of any buffer or array; an array keeps its shape but for the last axis, which counts bytes."""
    if isinstance(data, np.ndarray):
        return np.atleast_1d(np.ascontiguousarray(data)).view(np.uint8)
    return np.frombuffer(data, np.uint8)


def dequantize(data: bytes | bytearray | memoryview | Array, fmt: Format, shape: Sequence[int] | None = None) -> F32:
    """The values of quantized bytes as float32.

    data: bytes, or an array (..., nbytes * k) of bytes. fmt: a name such as "Q4_0" (also F32, F16, BF16), or a
    declaration. Returns (..., block * k), or `shape`, whose last axis must hold whole blocks. NaN and infinite scales
    decode as IEEE arithmetic has it. Raises FormatError if the bytes are no whole number of blocks or do not fill
    `shape`, ShapeError if blocks do not tile its last axis.
    """
    fmt = resolve(fmt)
    raw = as_bytes(data)
    if raw.shape[-1] % fmt.nbytes:
        raise FormatError(
            f"{raw.shape[-1]} bytes are no whole number of {fmt.name} blocks of {fmt.nbytes} bytes",
            help="check the format and that the data is complete",
        )
    lead = raw.shape[:-1]
    result = (*lead, raw.shape[-1] // fmt.nbytes * fmt.block)
    flat = raw.reshape(-1, fmt.nbytes)
    if isinstance(fmt, BlockFormat):
        values = decode_blocks(flat, fmt)
    else:
        values = decode_scalar(flat.reshape(-1).view(_unsigned(fmt.bits).newbyteorder("<")), fmt)
    if shape is not None:
        result = tuple(shape)
        _check_shape(result, fmt)
        if int(np.prod(result, dtype=np.int64)) != values.size:
            raise FormatError(
                f"{fmt.name} data holds {values.size} elements, shape {result} needs {int(np.prod(result))}"
            )
    return np.array(values.reshape(result), np.float32, copy=None)


def _check_shape(shape: tuple[int, ...], fmt: BlockFormat | DType) -> None:
    """Raise ShapeError unless blocks of `fmt` tile the last axis."""
    if fmt.block > 1 and (not shape or shape[-1] % fmt.block):
        last = shape[-1] if shape else "none"
        raise ShapeError(
            f"the last axis must be a multiple of {fmt.block} for {fmt.name}, is {last}",
            help=f"pad it to a multiple of {fmt.block}, or choose a format with smaller blocks",
        )


check_shape = _check_shape
