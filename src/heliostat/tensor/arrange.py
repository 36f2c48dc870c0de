"""Functions that put elements elsewhere: joining, repeating, reordering, triangles and diagonals, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..diagnostics import DTypeError, ShapeError
from ..ir.types import i64
from ..ops.rules import shown
from . import lazy
from .conversion import as_tensor, convert, from_array
from .core import Tensor, wrap
from .create import finished
from .dims import normal_dim
from .dtypes import dtype_of, result_dtype
from .places import number
from .register import FUNCTIONS, METHODS, function, method
from .shape import movedim, sizes_of, sliced, transpose, unsqueeze


# --- joining ----------------------------------------------------------------------------------------------------------
@function("concat", "concatenate", method=False)
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors end to end along an axis, in their common dtype. Empty vectors are left out."""
    if not tensors:
        raise ShapeError("cat needs at least one tensor")
    dtype = result_dtype(tensors)
    kept = [x for x in tensors if tuple(x.shape) != (0,)] or [tensors[0]]
    if not kept[0].ndim:
        raise ShapeError("cat takes tensors of at least one axis")
    at = normal_dim(dim, kept[0].ndim, "cat")
    found = [convert(x, dtype) for x in kept]
    v = ops.concat(*(x.value for x in found), axis=at)
    if len(found) >= lazy.MANY_JOINED and not lazy.capturing() and lazy.join(v):
        if all(map(lazy.is_data, v.node.inputs)):
            lazy.cut(v)
        else:
            lazy.note_joined(v)
    return wrap(v, *found)


@function(method=False)
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    if any(x.shape != tensors[0].shape for x in tensors):
        raise ShapeError(f"stack needs equal shapes, found {[list(x.shape) for x in tensors]}")
    return cat([unsqueeze(x, dim) for x in tensors], dim)


def _listed(tensors: tuple[Any, ...]) -> Sequence[Tensor]:
    """Tensors that were given one by one, or as one sequence."""
    return tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors


@function(method=False)
def atleast_1d(*tensors: Any) -> Any:
    """With at least one axis."""
    found = tuple(x if x.ndim else x.reshape(1) for x in _listed(tensors))
    return found if len(found) > 1 or isinstance(tensors[0], list | tuple) else found[0]


@function(method=False)
def atleast_2d(*tensors: Any) -> Any:
    """With at least two axes."""
    found = tuple(x if x.ndim > 1 else x.reshape(1, -1) for x in _listed(tensors))
    return found if len(found) > 1 or isinstance(tensors[0], list | tuple) else found[0]


@function(method=False)
def atleast_3d(*tensors: Any) -> Any:
    """With at least three axes."""
    given = _listed(tensors)
    found = tuple(x if x.ndim > 2 else (x.unsqueeze(-1) if x.ndim == 2 else x.reshape(1, -1, 1)) for x in given)
    return found if len(found) > 1 or isinstance(tensors[0], list | tuple) else found[0]


@function(method=False)
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Along the second axis (vectors along the first)."""
    found = [atleast_1d(x) for x in tensors]
    return cat(found, 0 if found[0].ndim == 1 else 1)


@function("row_stack", method=False)
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Along the first axis, vectors as rows."""
    return cat([atleast_2d(x) for x in tensors], 0)


@function(method=False)
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Along the third axis."""
    return cat([atleast_3d(x) for x in tensors], 2)


@function(method=False)
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Vectors as columns."""
    return hstack([x.reshape(-1, 1) if x.ndim < 2 else x for x in tensors])


@function(method=False)
def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along the diagonal, zeros elsewhere."""
    found = [atleast_2d(x) for x in tensors]
    width = sum(x.shape[1] for x in found)
    rows, at = [], 0
    for x in found:
        rows.append(pad(x, (at, width - at - x.shape[1])))
        at += x.shape[1]
    return cat(rows, 0)


@function(method=False)
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """A grid of coordinates from vectors."""
    found = list(tensors[0]) if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else list(tensors)
    if indexing == "xy" and len(found) > 1:
        found[:2] = found[1::-1]
    shape = [x.numel() for x in found]
    made = [x.reshape([-1 if i == n else 1 for i in range(len(found))]).expand(shape) for n, x in enumerate(found)]
    if indexing == "xy" and len(found) > 1:
        made[:2] = made[1::-1]
    return tuple(made)


@function(method=False)
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of elements of vectors, as rows. Raises ShapeError for tensors of more axes."""
    if any(t.ndim > 1 for t in tensors):
        raise ShapeError(f"cartesian_prod takes vectors, found {', '.join(shown(t.shape) for t in tensors)}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([g.reshape(-1) for g in meshgrid(*tensors)], 1)


# --- repeating --------------------------------------------------------------------------------------------------------
@method("repeat")
def repeat(self: Tensor, *repeats: Any) -> Tensor:
    """The tensor so many times along each axis."""
    counts = sizes_of(repeats)
    lead = len(counts) - self.ndim
    if lead < 0:
        raise ShapeError(f"repeat: {len(counts)} counts for a tensor of {self.ndim} axes")
    shape = (1,) * lead + tuple(self.shape)
    inter = [d for s in shape for d in (1, s)]
    wide = [d for n, s in zip(counts, shape, strict=True) for d in (n, s)]
    v = ops.broadcast_to(ops.reshape(self.value, inter), tuple(wide))
    return wrap(ops.reshape(v, tuple(n * s for n, s in zip(counts, shape, strict=True))), self)


FUNCTIONS["repeat"] = repeat


@function()
def tile(input: Tensor, *dims: Any) -> Tensor:
    """As repeat, with counts of 1 for axes in front that are not named."""
    counts = sizes_of(dims)
    return repeat(input, (1,) * (input.ndim - len(counts)) + counts)


@function()
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element so many times, next to each other; of repeats (N,) alone their places, as int64. `output_size`, the
    size of the axis of the result where it is known, is checked: ShapeError."""
    if repeats is None:
        input, repeats, dim = FUNCTIONS["arange"](input.numel()), input, 0
    made = _repeated(input, repeats, dim)
    if output_size is not None and made.shape[0 if dim is None else dim] != output_size:
        raise ShapeError(f"repeat_interleave: a result of {shown(made.shape)} is not of output_size {output_size}")
    return made


def _repeated(input: Tensor, repeats: Any, dim: int | None) -> Tensor:
    if dim is None:
        input, dim = input.reshape(-1), 0
    at = normal_dim(dim, input.ndim)
    if isinstance(repeats, Tensor) and repeats.dtype.is_float:
        raise DTypeError(f"repeat_interleave: repeats are whole numbers, found {repeats.dtype}")
    if isinstance(repeats, Tensor) and repeats.numel() != 1:
        if repeats.ndim != 1 or (input.ndim and repeats.shape[0] != input.shape[at]):
            what = f"repeat_interleave: repeats of {shown(repeats.shape)} for axis {at} of {shown(input.shape)}"
            raise ShapeError(what, help="give one number, or one for each element of the axis")
        if not repeats.shape[0]:
            return input.clone()
        repeats = repeats.detach()
        if lazy.capturing():
            number(repeats, "repeat_interleave")
        ends = repeats.cumsum(0)
        least, total = FUNCTIONS["stack"]([repeats.amin().to(ends.dtype), ends[-1]]).tolist()
        if least < 0:
            raise ShapeError(f"repeat_interleave: repeats are at least 0, found {least}")
        wanted = wrap(ops.arange(total)).to(ends.dtype)
        return FUNCTIONS["index_select"](input, at, FUNCTIONS["searchsorted"](ends, wanted, right=True))
    shape, n = tuple(input.shape), int(repeats)
    if n < 0:
        raise ShapeError(f"repeat_interleave: repeats are at least 0, found {n}")
    wide = ops.broadcast_to(ops.unsqueeze(input.value, at + 1), (*shape[: at + 1], n, *shape[at + 1 :]))
    return wrap(ops.reshape(wide, (*shape[:at], shape[at] * n, *shape[at + 1 :])), input)


# --- order ------------------------------------------------------------------------------------------------------------
@function()
def flip(input: Tensor, *given: Any, dims: Any = None) -> Tensor:
    """Elements of axes, `dims` or one after the other, in the opposite order."""
    for d in sizes_of(given if dims is None else (dims,)):
        at = normal_dim(d, input.ndim, "flip")
        if not input.ndim:
            return input.clone()
        n = input.shape[at]
        ids = wrap(ops.sub(n - 1, ops.arange(n)))
        input = FUNCTIONS["index_select"](input, at, ids) if n else input
    return input


@function()
def fliplr(input: Tensor) -> Tensor:
    """Columns in the opposite order."""
    return flip(input, 1)


@function()
def flipud(input: Tensor) -> Tensor:
    """Rows in the opposite order. Raises ShapeError for a tensor without axes."""
    if not input.ndim:
        raise ShapeError("flipud takes at least one axis, found a tensor without axes")
    return flip(input, 0)


@function()
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved along axes; what leaves at one end comes back at the other."""
    if dims is None:
        return roll(input.reshape(-1), shifts, 0).reshape(input.shape)
    if not isinstance(dims, int) and not len(dims):
        return roll(input, shifts)
    for s, d in zip(
        [shifts] if isinstance(shifts, int) else shifts, [dims] if isinstance(dims, int) else dims, strict=True
    ):
        at = normal_dim(d, input.ndim, "roll")
        if not input.ndim:
            return input.clone()
        n = input.shape[at]
        k = s % n if n else 0
        if k:
            input = cat([sliced(input, at, n - k, n), sliced(input, at, 0, n - k)], at)
    return input


@function()
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """A quarter turn, k times, in the plane of two axes."""
    a, b = (normal_dim(d, input.ndim, "rot90") for d in dims)
    if a == b:
        raise ShapeError(f"rot90: {list(dims)} is one axis, and a plane has two")
    k %= 4
    if k == 1:
        return transpose(flip(input, b), a, b)
    if k == 2:
        return flip(input, a, b)
    return flip(transpose(input, a, b), b) if k == 3 else input


# --- masks of matrices ------------------------------------------------------------------------------------------------
def _triangle(input: Tensor, diagonal: int, upper: bool) -> Tensor:
    if input.ndim < 2:
        raise ShapeError(f"a triangle needs at least two axes, found {shown(input.shape)}")
    n, m = input.shape[-2:]
    rows, columns = ops.reshape(ops.arange(n), (n, 1)), ops.reshape(ops.arange(m), (1, m))
    distance = ops.sub(columns, rows)
    kept = ops.ge(distance, diagonal) if upper else ops.le(distance, diagonal)
    zero: Any = False if input.dtype.kind == "b" else 0
    return wrap(ops.where(kept, input.value, zero), input)


@function(in_place=True)
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Matrices with zeros above a diagonal."""
    return _triangle(input, diagonal, False)


@function(in_place=True)
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Matrices with zeros below a diagonal."""
    return _triangle(input, diagonal, True)


@function(method=False)
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, **rest: Any) -> Tensor:
    """Rows and columns of the lower triangle, (2, n), int64 unless another dtype is named."""
    return _places_of(np.tril_indices(_size(row), offset, _size(col)), dtype, rest)


@function(method=False)
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, **rest: Any) -> Tensor:
    """Rows and columns of the upper triangle, (2, n), int64 unless another dtype is named."""
    return _places_of(np.triu_indices(_size(row), offset, _size(col)), dtype, rest)


def _size(n: int) -> int:
    if n < 0:
        raise ShapeError(f"the sizes of a matrix are not negative, found {n}")
    return n


def _places_of(found: tuple[Any, ...], dtype: Any, rest: dict[str, Any]) -> Tensor:
    return finished(from_array(np.stack(found), i64 if dtype is None else dtype_of(dtype)), False, rest)


@function()
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The matrix with a vector on its diagonal, or the diagonal of a matrix. Raises ShapeError for other tensors."""
    if input.ndim not in (1, 2):
        raise ShapeError(f"diag takes a vector or a matrix, found {shown(input.shape)}")
    return diag_embed(input, diagonal) if input.ndim == 1 else FUNCTIONS["diagonal"](input, diagonal).clone()


@function()
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices with the last axis on a diagonal, in two new axes."""
    n = input.shape[-1] + abs(offset)
    wide = pad(input, (max(offset, 0), max(-offset, 0)))  # columns
    rows, columns = ops.reshape(ops.arange(n), (n, 1)), ops.reshape(ops.arange(n), (1, n))
    here = ops.eq(ops.sub(columns, rows), offset)
    made = wrap(ops.where(here, ops.unsqueeze(wide.value, wide.ndim - 1), False if wide.dtype.kind == "b" else 0), wide)
    rank = made.ndim
    a, b = normal_dim(dim1, rank), normal_dim(dim2, rank)
    if a == b:
        raise ShapeError(f"diag_embed: the axes {dim1} and {dim2} are one")
    return made if (a, b) == (rank - 2, rank - 1) else movedim(made, (-2, -1), (a, b))


@function()
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements on its diagonal."""
    return diag_embed(input.reshape(-1), offset)


@function()
def trace(input: Tensor) -> Tensor:
    """Sum of the diagonal of a matrix. Raises ShapeError for other tensors."""
    if input.ndim != 2:
        raise ShapeError(f"trace takes a matrix, found {shown(input.shape)}")
    return FUNCTIONS["diagonal"](input).sum()


# --- padding ----------------------------------------------------------------------------------------------------------
@function(method=False)
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: complex | None = None) -> Tensor:
    """Elements added before and after axes, from the last on: (left, right, top, bottom ...). Negative ones cut off.

    mode: "constant" (value, 0), "reflect", "replicate" or "circular"."""
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ShapeError(f"pad: {list(pad)} does not give pairs for the axes of {shown(input.shape)}")
    for n in range(len(pad) // 2):
        at, low, high = input.ndim - 1 - n, int(pad[2 * n]), int(pad[2 * n + 1])
        size = input.shape[at]
        if mode in ("constant", "circular") and (low < 0 or high < 0):
            input = sliced(input, at, max(-low, 0), size - max(-high, 0))
            low, high, size = max(low, 0), max(high, 0), input.shape[at]
        if low == 0 and high == 0:
            continue
        if mode == "constant":
            input = _pad_constant(input, at, low, high, 0 if value is None else value)
        elif mode in ("reflect", "replicate", "circular"):
            if size + low + high < 0:
                raise ShapeError(f"pad: nothing is left of an axis of {size} by {low} and {high}")
            if mode == "reflect" and max(low, high) >= size:
                raise ShapeError(f"reflection by {max(low, high)} needs an axis longer than {size}")
            if mode == "circular" and max(low, high) > size:
                raise ShapeError(f"circular padding by {max(low, high)} of an axis of {size}")
            place = list(range(-low, size + high))  # what is cut off is still mirrored and repeated
            if mode == "reflect":
                place = [-p if p < 0 else 2 * (size - 1) - p if p >= size else p for p in place]
            else:
                place = [min(max(p, 0), size - 1) if mode == "replicate" else p % size for p in place]
            input = FUNCTIONS["index_select"](input, at, as_tensor(place))
        else:
            raise ValueError(f"pad: there is no mode {mode!r}")
    return input


def _pad_constant(x: Tensor, at: int, low: int, high: int, value: complex) -> Tensor:
    from ..ir.graph import constant
    from ..ir.types import TensorType

    v = x.value
    fill = constant(value, TensorType(v.type.element, ()))
    shape = v.type.shape
    parts = [
        ops.broadcast_to(fill, (*shape[:at], low, *shape[at + 1 :])) if low else None,
        v,
        ops.broadcast_to(fill, (*shape[:at], high, *shape[at + 1 :])) if high else None,
    ]
    return wrap(ops.concat(*(p for p in parts if p is not None), axis=at), x)


METHODS["pad"] = pad


@function(method=False)
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The place along each axis of a tensor of `shape`, of elements by number among all in order."""
    found: list[Tensor] = []
    for size in reversed((shape,) if isinstance(shape, int) else tuple(shape)):
        found.append(indices % size)
        indices = indices // size
    return tuple(reversed(found))


@function(method=False)
def gradient(input: Tensor, *, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> list[Tensor]:
    """Slopes along axes, all where None, by differences of neighbours, exact for polynomials of degree 2, or of degree
    `edge_order` (1 or 2) at both ends. spacing: how far neighbours are apart, a number or a tensor without axes, or one
    for each axis, or for each axis the places of elements, (N,). Source: B. Fornberg, Generation of finite difference
    formulas on arbitrarily spaced grids (1988), with three points.

    Raises ShapeError for axes of fewer than edge_order + 1 elements."""
    axes = list(range(input.ndim)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    axes = [normal_dim(d, input.ndim) for d in axes]
    if len({*axes}) < len(axes):
        raise ShapeError(f"gradient: an axis of {axes} is named twice")
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order is 1 or 2, not {edge_order!r}")
    if isinstance(spacing, Tensor) and spacing.ndim:
        raise ShapeError("gradient: places are given as a list with a tensor for each axis", help="put it in a list")
    steps = list(spacing) if isinstance(spacing, Sequence) else [1 if spacing is None else spacing] * len(axes)
    if len(steps) != len(axes):
        raise ShapeError(f"gradient: {len(steps)} spacings for {len(axes)} axes")
    return [_slope(input, axis, step, edge_order) for axis, step in zip(axes, steps, strict=True)]


def _slope(x: Tensor, axis: int, step: Any, edge_order: int) -> Tensor:
    n = x.shape[axis]
    if n <= edge_order:
        raise ShapeError(f"gradient: axis {axis} has {n} elements, fewer than edge_order + 1")
    sizes, wide = (n - 1, *[1] * (x.ndim - 1 - axis)), x.dtype if x.dtype.is_float else None
    if isinstance(step, Tensor) and not step.ndim:
        gaps = (step if wide is None else convert(step, wide)).expand(sizes)
    elif isinstance(step, Tensor):
        if tuple(step.shape) != (n,):
            raise ShapeError(f"gradient: places of shape {shown(step.shape)} for an axis of {n}")
        gaps = (step.narrow(0, 1, n - 1) - step.narrow(0, 0, n - 1)).reshape(-1, *[1] * (x.ndim - 1 - axis))
    else:
        gaps = FUNCTIONS["full"](sizes, step, dtype=wide, device=x.device)
    rises = (x.narrow(axis, 1, n - 1) - x.narrow(axis, 0, n - 1)) / gaps

    def at(t: Tensor, first: int, count: int) -> Tensor:
        return t.narrow(axis if t is rises else 0, first, count)

    def extended(near: int, far: int) -> Tensor:
        """At the outer end of a gap, by that gap and the next one."""
        if edge_order == 1:
            return at(rises, near, 1)
        share = at(gaps, near, 1) / (at(gaps, near, 1) + at(gaps, far, 1))
        return at(rises, near, 1) + share * (at(rises, near, 1) - at(rises, far, 1))

    left, right = at(gaps, 0, n - 2), at(gaps, 1, n - 2)
    if isinstance(step, Tensor):
        inner = (at(rises, 0, n - 2) * right + at(rises, 1, n - 2) * left) / (left + right)
    else:  # what stands between neighbours as far apart does not count, infinite or not
        inner = (x.narrow(axis, 2, n - 2) - x.narrow(axis, 0, n - 2)) / (at(gaps, 0, n - 2) * 2)
    made: Tensor = FUNCTIONS["cat"]([extended(0, min(1, n - 2)), inner, extended(n - 2, max(n - 3, 0))], axis)
    return made
