"""Functions that move elements: views (reshape, transpose, narrow ...), joining, splitting, repeating, padding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..diagnostics import IndexOutOfRangeError, ShapeError
from ..ir.graph import Value
from ..ops.rules import shown
from .core import Size, Tensor, as_tensor, convert, normal_dim, normal_dims, view_of, wrap
from .dtypes import dtype_of, result_dtype
from .register import FUNCTIONS, METHODS, function, method


def sizes_of(shape: Any) -> tuple[int, ...]:
    """A shape given as one sequence or as several numbers."""
    if len(shape) == 1 and not isinstance(shape[0], int) and isinstance(shape[0], Sequence):
        shape = shape[0]
    return tuple(int(s) for s in shape)


# --- views ------------------------------------------------------------------------------------------------------------
def _reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    sizes = list(shape)
    if sizes.count(-1) > 1 or any(s < -1 for s in sizes):
        raise ShapeError(f"reshape: one size may be -1 and none less, found {shown(shape)}")
    if -1 in sizes:
        known = 1
        for s in sizes:
            known *= s if s != -1 else 1
        if known == 0 or x.numel() % known:
            raise ShapeError(f"cannot reshape {shown(x.shape)} to {shown(shape)}")
        sizes[sizes.index(-1)] = x.numel() // known
    old, size = x.value.type.shape, tuple(sizes)
    if Size(size).numel() != x.numel():
        raise ShapeError(f"cannot reshape {shown(x.shape)} ({x.numel()} elements) to {shown(shape)}")
    return view_of(x, lambda v: ops.reshape(v, size), lambda b, v: ops.reshape(v, old), False)


@function(method=False)
def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements under another shape: a view, except of what lies in another order (a transpose)."""
    return _reshape_method(input, *shape)


@method("reshape")
def _reshape_method(self: Tensor, *shape: Any) -> Tensor:
    size = sizes_of(shape)
    if self._view is not None and self._view.strided and size != tuple(self.shape):
        return wrap(_reshaped(self, size).value, self)
    return _reshaped(self, size)


METHODS["reshape"] = _reshape_method


@method("view")
def view(self: Tensor, *shape: Any) -> Tensor:
    """The same elements under another shape, or in the bytes of another dtype of the same width."""
    if len(shape) == 1 and not isinstance(shape[0], int | Sequence):
        from .core import from_array

        dtype = dtype_of(shape[0])
        return self if dtype == self.dtype else from_array(self.detach().array().view(str_dtype(dtype)))
    return _reshaped(self, sizes_of(shape))


def str_dtype(dtype: Any) -> Any:
    from .lazy import NUMPY

    return NUMPY[dtype.name]


@method("view_as", "reshape_as")
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """This tensor in the shape of another."""
    return _reshaped(self, tuple(other.shape))


@function()
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Axes in another order: a view."""
    order = tuple(normal_dim(d, input.ndim, "permute") for d in sizes_of(dims))
    if sorted(order) != list(range(input.ndim)):
        raise ShapeError(f"permute: {list(order)} does not name the {input.ndim} axes once each")
    if order == tuple(range(input.ndim)):
        return view_of(input, lambda v: v, lambda b, v: v, False)
    back = tuple(order.index(i) for i in range(input.ndim))
    return view_of(input, lambda v: ops.transpose(v, order), lambda b, v: ops.transpose(v, back), True)


@function("swapaxes", "swapdims")
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes change places: a view."""
    a, b = normal_dim(dim0, input.ndim, "transpose"), normal_dim(dim1, input.ndim, "transpose")
    order = list(range(input.ndim))
    if order:
        order[a], order[b] = order[b], order[a]
    return permute(input, order)


@function()
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a tensor of fewer axes itself."""
    if input.ndim > 2:
        raise ShapeError(f"t() takes at most two axes, found {shown(input.shape)}")
    return transpose(input, 0, 1) if input.ndim == 2 else input


@function("moveaxis")
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places, the others in order: a view."""
    src = [normal_dim(d, input.ndim) for d in ([source] if isinstance(source, int) else source)]
    dst = [normal_dim(d, input.ndim) for d in ([destination] if isinstance(destination, int) else destination)]
    order: list[int] = [-1] * input.ndim
    for s, d in zip(src, dst, strict=True):
        order[d] = s
    rest = iter(i for i in range(input.ndim) if i not in src)
    return permute(input, [next(rest) if o == -1 else o for o in order])


@function()
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without axes of size 1, or without those of them that are named: a view."""
    dims = normal_dims(dim, input.ndim, "squeeze") if dim is not None else tuple(range(input.ndim))
    return _reshaped(input, tuple(s for i, s in enumerate(input.shape) if i not in dims or s != 1))


@function()
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new axis of size 1: a view."""
    if not -input.ndim - 1 <= dim <= input.ndim:
        raise IndexOutOfRangeError(f"unsqueeze: axis {dim} is outside a result of {input.ndim + 1} axes")
    at = dim % (input.ndim + 1)
    shape = tuple(input.shape)
    return _reshaped(input, (*shape[:at], 1, *shape[at:]))


@function()
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes from start_dim to end_dim as one."""
    if not input.ndim:
        return _reshape_method(input, (1,))
    a, b = normal_dim(start_dim, input.ndim, "flatten"), normal_dim(end_dim, input.ndim, "flatten")
    if a > b:
        raise ShapeError(f"flatten: axis {start_dim} comes after {end_dim}")
    shape = tuple(input.shape)
    return _reshape_method(input, (*shape[:a], Size(shape[a : b + 1]).numel(), *shape[b + 1 :]))


@function()
def ravel(input: Tensor) -> Tensor:
    """All elements along one axis."""
    return _reshape_method(input, (-1,))


@function()
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One axis as several."""
    at = normal_dim(dim, input.ndim, "unflatten")
    shape = tuple(input.shape)
    known = Size(s for s in sizes if s != -1).numel()
    full = [shape[at] // known if s == -1 else s for s in sizes]
    return _reshaped(input, (*shape[:at], *full, *shape[at + 1 :]))


def sliced(input: Tensor, axis: int, start: int, stop: int, step: int = 1) -> Tensor:
    """Elements start .. stop of an axis, every step-th: a view. Bounds lie inside."""
    size = input.shape[axis]
    if (start, stop, step) == (0, size, 1):
        return view_of(input, lambda v: v, lambda b, v: v, False)
    stop = max(stop, start)

    def forward(v: Value) -> Value:
        return ops.slice(v, axis, start, stop, step)

    def put(b: Value, v: Value) -> Value:
        return _put_slice(b, v, axis, start, stop, step)

    return view_of(input, forward, put, True)


def _put_slice(b: Value, v: Value, axis: int, start: int, stop: int, step: int) -> Value:
    size: Any = b.type.shape[axis]
    if v.type.shape[axis] == 0:
        return b
    if step == 1:
        parts = [ops.slice(b, axis, 0, start), v, ops.slice(b, axis, stop, size)]
        kept = [p for p in parts if p.type.shape[axis] != 0]
        return kept[0] if len(kept) == 1 else ops.concat(*kept, axis=axis)
    rank = b.type.rank
    order = [axis, *(i for i in range(rank) if i != axis)]
    back = [order.index(i) for i in range(rank)]
    count: Any = v.type.shape[axis]
    rows = ops.transpose(b, order) if axis else b
    new_rows = ops.transpose(v, order) if axis else v
    ids = ops.add(ops.mul(ops.arange(count), step), start)
    made = ops.put(ops.reshape(rows, (size, -1)), ids, ops.reshape(new_rows, (count, -1)))
    made = ops.reshape(made, rows.type.shape)
    return ops.transpose(made, back) if axis else made


@function()
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` elements of an axis from `start` on: a view."""
    at = normal_dim(dim, input.ndim, "narrow")
    first = int(start)
    first = first + input.shape[at] if first < 0 else first
    if not 0 <= first <= first + length <= input.shape[at]:
        raise IndexOutOfRangeError(f"narrow: {first} .. {first + length} lies outside an axis of {input.shape[at]}")
    return sliced(input, at, first, first + length)


@function()
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One element of an axis, which goes away: a view."""
    if not input.ndim:
        raise IndexOutOfRangeError("select of a tensor without axes")
    at = normal_dim(dim, input.ndim, "select")
    size = input.shape[at]
    if not -size <= index < size:
        raise IndexOutOfRangeError(f"index {index} is outside axis {at} of a tensor of shape {shown(input.shape)}")
    i = index % size
    shape = tuple(input.shape)
    kept = (*shape[:at], 1, *shape[at + 1 :])
    short = (*shape[:at], *shape[at + 1 :])
    return view_of(
        input,
        lambda v: ops.reshape(ops.slice(v, at, i, i + 1), short),
        lambda b, v: _put_slice(b, ops.reshape(v, kept), at, i, i + 1, 1),
        True,
    )


@method("expand")
def expand(self: Tensor, *sizes: Any) -> Tensor:
    """Repeated along axes of size 1 and new leading axes; -1 keeps a size. It shares no memory with this tensor."""
    shape = list(sizes_of(sizes))
    lead = len(shape) - self.ndim
    if lead < 0:
        raise ShapeError(f"expand: {shown(shape)} has fewer axes than {shown(self.shape)}")
    full = [self.shape[i - lead] if s == -1 and i >= lead else s for i, s in enumerate(shape)]
    for i, s in enumerate(full):
        if s < 0 or (i >= lead and self.shape[i - lead] not in (1, s)):
            raise ShapeError(f"expand: {shown(self.shape)} does not go to {shown(shape)}")
    return wrap(ops.broadcast_to(self.value, tuple(full)), self)


@method("expand_as")
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """Expanded to the shape of another."""
    return expand(self, tuple(other.shape))


@function()
def broadcast_to(input: Tensor, shape: Sequence[int]) -> Tensor:
    """Expanded to a shape."""
    return expand(input, tuple(shape))


@function(method=False)
def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All expanded to their common shape."""
    shape = broadcast_shapes(*(x.shape for x in tensors))
    return tuple(expand(x, tuple(shape)) for x in tensors)


@function(method=False)
def broadcast_shapes(*shapes: Any) -> Size:
    """The common shape."""
    from ..ops.rules import broadcast

    return Size(broadcast(*(tuple(s) if not isinstance(s, int) else (s,) for s in shapes)))  # type: ignore[arg-type]


@function()
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Elements (i, i + offset) of two axes, along a new last axis."""
    a, b = normal_dim(dim1, input.ndim), normal_dim(dim2, input.ndim)
    rest = [i for i in range(input.ndim) if i not in (a, b)]
    moved = permute(input, [*rest, a, b])
    n, m = input.shape[a], input.shape[b]
    r, c = max(-offset, 0), max(offset, 0)
    count = max(min(n - r, m - c), 0)
    flat = moved.reshape(*(input.shape[i] for i in rest), n * m)
    ids = wrap(ops.add(ops.mul(ops.arange(count), m + 1), r * m + c))
    return FUNCTIONS["index_select"](flat, -1, ids)


@function()
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The elements of an axis, as views."""
    return tuple(select(input, dim, i) for i in range(input.shape[normal_dim(dim, input.ndim)]))


@function()
def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of an axis, of one size or of given sizes, as views."""
    at = normal_dim(dim, input.ndim, "split")
    size, given = input.shape[at], split_size_or_sections
    if isinstance(given, int):
        if given <= 0 and size:
            raise ShapeError(f"split: a piece must have at least 1 element, found {given}")
        sizes = [min(given, size - i) for i in range(0, size, max(given, 1))] or [0]
    else:
        sizes = list(given)
        if sum(sizes) != size:
            raise ShapeError(f"split: pieces of {sizes} do not make an axis of {size}")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(sliced(input, at, s, s + n) for s, n in zip(starts, sizes, strict=True))


@method("split_with_sizes")
def split_with_sizes(self: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of given sizes."""
    return split(self, split_sizes, dim)


@function()
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of an axis, all of one size but for the last."""
    size = input.shape[normal_dim(dim, input.ndim, "chunk")]
    return split(input, max(-(-size // chunks), 1), dim)


@function()
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of an axis: so many of nearly one size, or cut at given places."""
    at = normal_dim(dim, input.ndim)
    size = input.shape[at]
    if isinstance(indices_or_sections, int):
        n = indices_or_sections
        cuts = [sum(size // n + (i < size % n) for i in range(k)) for k in range(1, n)]
    else:
        cuts = [min(max(c + size if c < 0 else c, 0), size) for c in indices_or_sections]
    edges = [0, *cuts, size]
    return tuple(sliced(input, at, a, max(a, b)) for a, b in itertools.pairwise(edges))


@function()
def hsplit(input: Tensor, sections: Any) -> tuple[Tensor, ...]:
    """Pieces of the second axis (of a vector the first)."""
    return tensor_split(input, sections, 0 if input.ndim == 1 else 1)


@function()
def vsplit(input: Tensor, sections: Any) -> tuple[Tensor, ...]:
    """Pieces of the first axis."""
    return tensor_split(input, sections, 0)


@function()
def dsplit(input: Tensor, sections: Any) -> tuple[Tensor, ...]:
    """Pieces of the third axis."""
    return tensor_split(input, sections, 2)


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
    return wrap(ops.concat(*(x.value for x in found), axis=at), *found)


@function(method=False)
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    if any(x.shape != tensors[0].shape for x in tensors):
        raise ShapeError(f"stack needs equal shapes, found {[list(x.shape) for x in tensors]}")
    return cat([unsqueeze(x, dim) for x in tensors], dim)


@function(method=False)
def atleast_1d(*tensors: Tensor) -> Any:
    """With at least one axis."""
    found = tuple(x if x.ndim else x.reshape(1) for x in tensors)
    return found[0] if len(found) == 1 else found


@function(method=False)
def atleast_2d(*tensors: Tensor) -> Any:
    """With at least two axes."""
    found = tuple(x if x.ndim > 1 else x.reshape(1, -1) for x in tensors)
    return found[0] if len(found) == 1 else found


@function(method=False)
def atleast_3d(*tensors: Tensor) -> Any:
    """With at least three axes."""
    found = tuple(x if x.ndim > 2 else (x.unsqueeze(-1) if x.ndim == 2 else x.reshape(1, -1, 1)) for x in tensors)
    return found[0] if len(found) == 1 else found


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
        made = [transpose(x, 0, 1) for x in made]
    return tuple(made)


@function(method=False)
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of elements of vectors, as rows."""
    if len(tensors) == 1:
        return tensors[0]
    return stack([g.reshape(-1) for g in meshgrid(*tensors)], 1)


# --- repeating --------------------------------------------------------------------------------------------------------
@method("repeat")
def repeat(self: Tensor, *sizes: Any) -> Tensor:
    """The tensor so many times along each axis."""
    counts = sizes_of(sizes)
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
def repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None) -> Tensor:
    """Each element so many times, next to each other."""
    if dim is None:
        input, dim = input.reshape(-1), 0
    at = normal_dim(dim, input.ndim)
    if isinstance(repeats, Tensor) and repeats.numel() > 1:
        import numpy as np

        ids = as_tensor(np.repeat(np.arange(input.shape[at]), repeats.array()))
        return FUNCTIONS["index_select"](input, at, ids)
    shape, n = tuple(input.shape), int(repeats)
    wide = ops.broadcast_to(ops.unsqueeze(input.value, at + 1), (*shape[: at + 1], n, *shape[at + 1 :]))
    return wrap(ops.reshape(wide, (*shape[:at], shape[at] * n, *shape[at + 1 :])), input)


# --- order ------------------------------------------------------------------------------------------------------------
@function()
def flip(input: Tensor, *dims: Any) -> Tensor:
    """Elements of axes in the opposite order."""
    for d in sizes_of(dims):
        at = normal_dim(d, input.ndim, "flip")
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
    """Rows in the opposite order."""
    return flip(input, 0)


@function()
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved along axes; what leaves at one end comes back at the other."""
    if dims is None:
        return roll(input.reshape(-1), shifts, 0).reshape(input.shape)
    for s, d in zip(
        [shifts] if isinstance(shifts, int) else shifts, [dims] if isinstance(dims, int) else dims, strict=True
    ):
        at = normal_dim(d, input.ndim, "roll")
        n = input.shape[at]
        k = s % n if n else 0
        if k:
            input = cat([sliced(input, at, n - k, n), sliced(input, at, 0, n - k)], at)
    return input


@function()
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """A quarter turn, k times, in the plane of two axes."""
    a, b = dims
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
def tril_indices(row: int, col: int, offset: int = 0) -> Tensor:
    """Rows and columns of the lower triangle, (2, n)."""
    import numpy as np

    return as_tensor(np.stack(np.tril_indices(row, offset, col)))


@function(method=False)
def triu_indices(row: int, col: int, offset: int = 0) -> Tensor:
    """Rows and columns of the upper triangle, (2, n)."""
    import numpy as np

    return as_tensor(np.stack(np.triu_indices(row, offset, col)))


@function()
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The matrix with a vector on its diagonal, or the diagonal of a matrix."""
    return diag_embed(input, diagonal) if input.ndim == 1 else FUNCTIONS["diagonal"](input, diagonal)


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
    return made if (a, b) == (rank - 2, rank - 1) else movedim(made, (-2, -1), (a, b))


@function()
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements on its diagonal."""
    return diag_embed(input.reshape(-1), offset)


@function()
def trace(input: Tensor) -> Tensor:
    """Sum of the diagonal of a matrix."""
    return FUNCTIONS["diagonal"](input).sum()


# --- padding ----------------------------------------------------------------------------------------------------------
@function(method=False)
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Elements added before and after axes, from the last on: (left, right, top, bottom ...). Negative ones cut off.

    mode: "constant" (value, 0), "reflect", "replicate" or "circular"."""
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ShapeError(f"pad: {list(pad)} does not give pairs for the axes of {shown(input.shape)}")
    for n in range(len(pad) // 2):
        at, low, high = input.ndim - 1 - n, int(pad[2 * n]), int(pad[2 * n + 1])
        size = input.shape[at]
        if low < 0 or high < 0:
            input = sliced(input, at, max(-low, 0), size - max(-high, 0))
            low, high, size = max(low, 0), max(high, 0), input.shape[at]
        if low == 0 and high == 0:
            continue
        if mode == "constant":
            input = _pad_constant(input, at, low, high, value or 0)
        elif mode in ("reflect", "replicate", "circular"):
            if mode == "reflect" and max(low, high) >= size:
                raise ShapeError(f"reflection by {max(low, high)} needs an axis longer than {size}")
            if mode == "circular" and max(low, high) > size:
                raise ShapeError(f"circular padding by {max(low, high)} of an axis of {size}")
            place = list(range(-low, size + high))
            if mode == "reflect":
                place = [-p if p < 0 else 2 * (size - 1) - p if p >= size else p for p in place]
            else:
                place = [min(max(p, 0), size - 1) if mode == "replicate" else p % size for p in place]
            input = FUNCTIONS["index_select"](input, at, as_tensor(place))
        else:
            raise ValueError(f"pad: there is no mode {mode!r}")
    return input


def _pad_constant(x: Tensor, at: int, low: int, high: int, value: float) -> Tensor:
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


# --- copies and conversions -------------------------------------------------------------------------------------------
@function()
def clone(input: Tensor) -> Tensor:
    """A tensor of its own with the same values. It costs nothing: values are never written in place."""
    return wrap(input.value, input)


@method("contiguous")
def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """This tensor; of a view in another order a copy."""
    return clone(self) if self._view is not None and self._view.strided else self


@method("is_contiguous")
def is_contiguous(self: Tensor, memory_format: Any = None) -> bool:
    """Whether elements lie in the order of the axes, as seen from outside."""
    return self._view is None or not self._view.strided


@method("to")
def to(self: Tensor, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, **rest: Any) -> Tensor:
    """This tensor in another dtype, given as such or as another tensor's. There is one device."""
    from ..ir.types import DType
    from .core import Device

    for a in (*args, device):
        if isinstance(a, Tensor):
            dtype = a.dtype
        elif isinstance(a, DType) or a in (float, int, bool):
            dtype = a
        elif a is not None and not isinstance(a, bool):
            Device(a)
    unknown = set(rest) - {"non_blocking", "memory_format"}
    if unknown:
        raise TypeError(f"to() takes no {', '.join(sorted(unknown))}")
    made = self if dtype is None else convert(self, dtype_of(dtype))
    return clone(made) if copy and made is self else made


@method("type")
def type_method(self: Tensor, dtype: Any = None) -> Any:
    """The dtype, or this tensor in another."""
    return str(self.dtype) if dtype is None else convert(self, dtype_of(dtype))


METHODS["type"] = type_method
del METHODS["type_method"]


@method("type_as")
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """This tensor in the dtype of another."""
    return convert(self, other.dtype)


@method("cpu")
def cpu(self: Tensor) -> Tensor:
    """This tensor: it is there already."""
    return self


@method("copy_")
def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Write the values of another tensor, broadcast to this shape and in this dtype."""
    source = convert(as_tensor(src), self.dtype)
    return self._assign(expand(source, tuple(self.shape)))


@method("fill_")
def fill_(self: Tensor, value: Any) -> Tensor:
    """Write one number everywhere."""
    return self._assign(expand(convert(as_tensor(value), self.dtype), tuple(self.shape)))


@method("zero_")
def zero_(self: Tensor) -> Tensor:
    """Write 0 everywhere."""
    return fill_(self, 0)


for _name in ("squeeze", "unsqueeze", "transpose", "t", "swapaxes", "swapdims"):

    def _in_place_view(self: Tensor, *args: Any, _f: Any = FUNCTIONS[_name]) -> Tensor:
        self._check_in_place()
        v = _f(self, *args)
        if self._base is not None:
            self._base, self._view, self._seen = v._base, v._view, v._seen
        self._v = v._v
        return self

    METHODS[_name + "_"] = _in_place_view


@method("stride")
def stride(self: Tensor, dim: int | None = None) -> Any:
    """Elements between neighbours of each axis, as for a tensor in order."""
    steps: list[int] = []
    total = 1
    for s in reversed(self.shape):
        steps.insert(0, total)
        total *= max(s, 1)
    return tuple(steps) if dim is None else steps[dim]


@method("sum_to_size")
def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """Summed over the axes along which `size` would be broadcast to this shape."""
    from ..ir.types import TensorType
    from ..ops.gradient import sum_to

    return wrap(sum_to(self.value, TensorType(self.dtype, sizes_of(size))), self)


@method("unfold")
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All pieces of `size` elements of an axis that begin every `step`, along a new last axis."""
    at = normal_dim(dimension, self.ndim)
    count = (self.shape[at] - size) // step + 1
    if count < 1:
        raise ShapeError(f"unfold: pieces of {size} do not fit an axis of {self.shape[at]}")
    ids = ops.add(ops.mul(ops.reshape(ops.arange(count), (count, 1)), step), ops.reshape(ops.arange(size), (1, size)))
    picked = FUNCTIONS["index_select"](self, at, wrap(ops.reshape(ids, (count * size,))))
    return movedim(picked.unflatten(at, (count, size)), at + 1, -1)


def _property(name: str, build: Any) -> None:
    METHODS[name] = property(build)


_property("T", lambda self: permute(self, tuple(reversed(range(self.ndim)))))
_property("mT", lambda self: transpose(self, -2, -1))
_property("H", lambda self: transpose(self, 0, 1) if self.ndim == 2 else self)
_property("mH", lambda self: transpose(self, -2, -1))
_property("is_cuda", lambda self: False)
_property("is_cpu", lambda self: True)
_property("real", lambda self: self)


@function()
def adjoint(input: Tensor) -> Tensor:
    """Matrices transposed: the last two axes change places."""
    return transpose(input, -2, -1)


@function(method=True)
def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.shape.numel()


@function()
def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a float dtype."""
    return input.dtype.is_float


@function()
def is_complex(input: Tensor) -> bool:
    """False: there are no complex tensors."""
    return False


@function()
def is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative numbers."""
    return input.dtype.kind in "if"


@function()
def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not 0."""
    return bool(input.item())


@function(method=False)
def is_tensor(obj: Any) -> bool:
    """Whether something is a tensor."""
    return isinstance(obj, Tensor)


@function()
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two shapes are equal."""
    return input.shape == other.shape


@function()
def detach(input: Tensor) -> Tensor:
    """The same values, through which no gradient flows."""
    return input.detach()


METHODS.pop("detach", None)
METHODS["get_device"] = lambda self: -1
METHODS["storage_offset"] = lambda self: 0
METHODS["is_pinned"] = lambda self: False
METHODS["pin_memory"] = METHODS["share_memory_"] = lambda self, *a: self
METHODS["new_tensor"] = lambda self, data, **kw: FUNCTIONS["tensor"](data, **{"dtype": self.dtype, **kw})
