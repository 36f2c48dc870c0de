"""The packed order in which kernels read the weights of a matrix, derived from a format's declaration.

A matrix (N, K) is cut into panels of `rows` rows, the last one padded with zero bytes. A panel is a sequence of
K / block packed blocks: [parameters][chunk 0][chunk 1]..., each chunk 32 elements of K. The byte order is stated at
`PanelPlan`; `pack` and `unpack` are the reference for native repack kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heliostat.diagnostics import ShapeError, UnsupportedError
from heliostat.ir.types import DType, Layout
from heliostat.quant import codec
from heliostat.quant.algebra import references
from heliostat.quant.format import BlockFormat, Scalar

Bytes = npt.NDArray[np.uint8]

CHUNK = 32  # elements of K in a chunk
QUAD = 4  # neighbours of K that one 4-way byte dot product adds


@dataclass(frozen=True)
class Panel(Layout):
    """Matrix layout: `rows` rows interleaved, so that a vector register holds one row a lane.

    `run`: neighbours of a row that lie together, for plain dtypes: what one thread of a GPU loads at once.
    """

    rows: int
    run: int = 1

    def __str__(self) -> str:
        return f"panel({self.rows})" if self.run == 1 else f"panel({self.rows}, {self.run})"

    def plan(self, element: object) -> PanelPlan:
        """Where every bit of a matrix of that element lies. Raises UnsupportedError if it has no panels."""
        assert isinstance(element, (BlockFormat, DType))
        return panel_plan(element, self.rows, self.run)


@dataclass(frozen=True)
class PanelParam:
    """One scalar field in the parameter region of a packed block.

    storage: "f16" "bf16" "f32" "e8m0" "ue4m3" "u8" "i8" "u16" "i16": `count` rows of `rows` elements, index [j][row].
    "u4": `count / 2` rows of bytes, byte [j // 2][row] with even j in the low nibble and odd j in the high one.
    `offset` counts bytes from the start of the packed block, `nbytes` is the field's size there.
    `kind` is the dtype that the declaration gives (u6, say).
    """

    name: str
    kind: str
    count: int
    offset: int
    storage: str
    nbytes: int


@dataclass(frozen=True)
class Plane:
    """`bits` bits of every code of a chunk, going to bit `into_bit` of the code.

    `offset` counts bytes from the start of the chunk.
    """

    bits: int
    into_bit: int
    offset: int


@dataclass(frozen=True)
class PanelPlan:
    """Where every bit of a packed block lies.

    A plane of p bits holds p vectors of 4 * rows bytes. Byte 4 * r + b of vector v holds, at bit p * s, those bits of
    the code u of row r and element 32 * chunk + 4 * quad + b, where quad = v + p * s for s = 0 .. 8 / p - 1.
    Codes are the unsigned u of the normal form (signed fields biased, ternary digits as 2 bits). For a plain dtype a
    packed block is `run` neighbours of each of `rows` rows: no parameters, chunks or planes. Rows past the matrix are
    all zero bytes.
    """

    format: BlockFormat | DType
    rows: int
    block_bytes: int
    params: tuple[PanelParam, ...]
    chunk_offset: int
    chunk_bytes: int
    chunks: int
    planes: tuple[Plane, ...]
    run: int = 1

    def panels(self, n: int) -> int:
        """How many panels `n` rows take; the last one may be padded."""
        return -(-n // self.rows)

    def nbytes(self, n: int, k: int) -> int:
        """Bytes of a packed matrix of `n` rows of `k` elements."""
        return self.panels(n) * (k // max(self.format.block, self.run)) * self.block_bytes

    def param(self, name: str) -> PanelParam:
        for p in self.params:
            if p.name == name:
                return p
        raise KeyError(name)


def planes(width: int) -> tuple[int, ...]:
    """The plane widths of a code of 1 to 8 bits, low bits first: 7 -> (4, 2, 1)."""
    return tuple(p for p in (8, 4, 2, 1) if width & p)


def refusal(element: BlockFormat | DType, rows: int) -> str | None:
    """Why `element` has no panel layout of that many rows; None where it has."""
    if rows < 1:
        return f"a panel needs at least one row, not {rows}"
    if isinstance(element, DType):
        return None
    if element.normal is None:
        return f"{element.name} has no normal form: {element.reason}"
    if element.block % CHUNK:
        return f"blocks of {element.block} elements are not a multiple of {CHUNK}"
    if element.normal.width > 8:
        return f"codes of {element.normal.width} bits do not fit a byte"
    if element.normal.sub % QUAD:
        return f"a scale for every {element.normal.sub} elements is finer than {QUAD} neighbours"
    return None


def panel_plan(element: BlockFormat | DType, rows: int, run: int = 1) -> PanelPlan:
    """The byte plan of `element` in panels of `rows` rows. Raises UnsupportedError with the reason if it has none."""
    reason = refusal(element, rows)
    if reason is not None:
        raise UnsupportedError(f"no panel layout: {reason}")
    if isinstance(element, DType):
        return PanelPlan(element, rows, rows * run * element.nbytes, (), 0, 0, 0, (), run)
    assert element.normal is not None
    used = references(element.value)
    params: list[PanelParam] = []
    offset = 0
    for scalar in element.scalars:
        if scalar.name in used:  # sums that only an activation format stores are not read from weights
            storage = _storage(scalar)
            size = scalar.count * rows // 2 if storage == "u4" else scalar.count * rows * _STORAGE[storage].itemsize
            params.append(PanelParam(scalar.name, scalar.dtype.name, scalar.count, offset, storage, size))
            offset += size
    layers: list[Plane] = []
    at = into = 0
    for bits in planes(element.normal.width):
        layers.append(Plane(bits, into, at))
        at += QUAD * rows * bits
        into += bits
    chunks = element.block // CHUNK
    return PanelPlan(element, rows, offset + chunks * at, tuple(params), offset, at, chunks, tuple(layers))


_STORAGE: dict[str, np.dtype[Any]] = {
    "f16": np.dtype("<u2"),
    "bf16": np.dtype("<u2"),
    "f32": np.dtype("<u4"),
    "e8m0": np.dtype("u1"),
    "ue4m3": np.dtype("u1"),
    "u4": np.dtype("u1"),
    "u8": np.dtype("u1"),
    "i8": np.dtype("i1"),
    "u16": np.dtype("<u2"),
    "i16": np.dtype("<i2"),
}


def _storage(scalar: Scalar) -> str:
    dtype = scalar.dtype
    if dtype.is_float:
        return dtype.name
    if dtype.kind == "u" and dtype.bits <= 4 and scalar.count % 2 == 0:
        return "u4"
    return f"{dtype.kind}{8 if dtype.bits <= 8 else 16}"


@dataclass(frozen=True)
class Unpacked:
    """A packed matrix taken apart: `codes` (N, K), `params` by name (N, K / block, count), both as bit patterns.

    For a plain dtype the codes are its elements' bit patterns.
    """

    codes: npt.NDArray[Any]
    params: dict[str, npt.NDArray[Any]]


def pack(raw: Bytes, fmt: codec.Format, rows: int) -> Bytes:
    """Row-major bytes (N, row_bytes) of a format as panels of `rows` rows: `plan.nbytes(N, K)` bytes.

    Raises UnsupportedError if the format has no panel layout, ShapeError unless a row holds whole blocks.
    """
    element = codec.resolve(fmt)
    plan = panel_plan(element, rows)
    if raw.ndim != 2 or raw.shape[1] % element.nbytes:
        raise ShapeError(f"{element.name} rows must be whole blocks of {element.nbytes} bytes, have shape {raw.shape}")
    n, blocks = raw.shape[0], raw.shape[1] // element.nbytes
    panels = plan.panels(n)
    if isinstance(element, DType):
        padded = np.zeros((panels * rows, blocks, element.nbytes), np.uint8)
        padded[:n] = raw.reshape(n, blocks, element.nbytes)
        return np.ascontiguousarray(padded.reshape(panels, rows, blocks, element.nbytes).swapaxes(1, 2)).reshape(-1)
    flat = np.ascontiguousarray(raw).reshape(n * blocks, element.nbytes)
    out = np.zeros((panels, blocks, plan.block_bytes), np.uint8)
    for param in plan.params:
        bits = codec.scalar_bits(flat, element.scalar(param.name)).reshape(n, blocks, param.count)
        lanes = _lanes(bits, panels, rows)  # (panel, block, j, row)
        if param.storage == "u4":
            stored = (lanes[:, :, 0::2] | (lanes[:, :, 1::2] << np.uint8(4))).astype(np.uint8)
        else:
            scalar = element.scalar(param.name)
            values = codec.sign_extend(lanes, scalar.width) if scalar.signed else lanes
            stored = values.astype(_STORAGE[param.storage])
        place = out[:, :, param.offset : param.offset + param.nbytes]
        place[...] = np.ascontiguousarray(stored).view(np.uint8).reshape(place.shape)
    u = codec.codes(flat, element).astype(np.uint8).reshape(n, blocks, element.block)
    # (panel, block, element, row) -> (panel, block, chunk, quad, b, row)
    lanes = _lanes(u, panels, rows).reshape(panels, blocks, plan.chunks, CHUNK // QUAD, QUAD, rows)
    chunks = out[:, :, plan.chunk_offset :].reshape(panels, blocks, plan.chunks, plan.chunk_bytes)
    for plane in plan.planes:
        p = plane.bits
        bits = (lanes >> np.uint8(plane.into_bit)) & np.uint8((1 << p) - 1)
        slots = bits.reshape(panels, blocks, plan.chunks, 8 // p, p, QUAD, rows)  # quad = v + p * s
        shifts = (p * np.arange(8 // p, dtype=np.uint8)).reshape(-1, 1, 1, 1)
        vectors = np.bitwise_or.reduce(slots << shifts, axis=3).swapaxes(-1, -2)  # (..., v, row, b)
        chunks[..., plane.offset : plane.offset + QUAD * rows * p] = vectors.reshape(*chunks.shape[:-1], -1)
    return out.reshape(-1)


def _lanes(values: npt.NDArray[Any], panels: int, rows: int) -> npt.NDArray[Any]:
    """(N, blocks, j) as (panel, block, j, row), with zeros for the rows past N."""
    padded = np.zeros((panels * rows, *values.shape[1:]), values.dtype)
    padded[: values.shape[0]] = values
    return padded.reshape(panels, rows, *values.shape[1:]).transpose(0, 2, 3, 1)


def unpack(packed: Bytes, fmt: codec.Format, rows: int, n: int, k: int) -> Unpacked:
    """The inverse of `pack`: codes and parameter bit patterns of a packed (n, k) matrix, without the padding rows.

    Raises ShapeError if `packed` has not the size that the plan gives.
    """
    element = codec.resolve(fmt)
    plan = panel_plan(element, rows)
    codec.check_shape((n, k), element)
    if packed.size != plan.nbytes(n, k):
        raise ShapeError(f"{packed.size} bytes are not a packed {n} x {k} matrix, which has {plan.nbytes(n, k)}")
    panels, blocks = plan.panels(n), k // element.block
    if isinstance(element, DType):
        cells = packed.reshape(panels, blocks, rows, element.nbytes).swapaxes(1, 2).reshape(panels * rows, -1)
        return Unpacked(np.ascontiguousarray(cells[:n]).view(f"<u{element.nbytes}"), {})
    whole = packed.reshape(panels, blocks, plan.block_bytes)
    params: dict[str, npt.NDArray[Any]] = {}
    for param in plan.params:
        stored = np.ascontiguousarray(whole[:, :, param.offset : param.offset + param.nbytes])
        if param.storage == "u4":
            pairs = stored.reshape(panels, blocks, param.count // 2, 1, rows)
            lanes = np.concatenate([pairs & np.uint8(15), pairs >> np.uint8(4)], axis=3)
            lanes = lanes.reshape(panels, blocks, param.count, rows)
        else:
            lanes = stored.view(_STORAGE[param.storage]).reshape(panels, blocks, param.count, rows)
        width = element.scalar(param.name).width
        unsigned = lanes.astype(np.int64) & ((1 << width) - 1)
        params[param.name] = _rows(unsigned.astype(np.uint32), n)
    chunks = whole[:, :, plan.chunk_offset :].reshape(panels, blocks, plan.chunks, plan.chunk_bytes)
    codes = np.zeros((panels, blocks, plan.chunks, CHUNK // QUAD, rows, QUAD), np.uint8)
    for plane in plan.planes:
        p = plane.bits
        stored = chunks[..., plane.offset : plane.offset + QUAD * rows * p]
        vectors = stored.reshape(panels, blocks, plan.chunks, 1, p, rows, QUAD)
        shifts = (p * np.arange(8 // p, dtype=np.uint8)).reshape(-1, 1, 1, 1)
        bits = (vectors >> shifts) & np.uint8((1 << p) - 1)
        codes |= bits.reshape(codes.shape) << np.uint8(plane.into_bit)
    lanes = codes.swapaxes(-1, -2).reshape(panels, blocks, element.block, rows)
    return Unpacked(_rows(lanes, n).reshape(n, k), params)


def unpack_codes(packed: Bytes, fmt: codec.Format, rows: int, n: int, k: int) -> npt.NDArray[Any]:
    """The unsigned codes u (n, k) of a packed matrix."""
    return unpack(packed, fmt, rows, n, k).codes


def _rows(lanes: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """(panel, block, j, row) as (n, blocks, j)."""
    panels, blocks, count, rows = lanes.shape
    return np.ascontiguousarray(lanes.transpose(0, 3, 1, 2).reshape(panels * rows, blocks, count)[:n])
