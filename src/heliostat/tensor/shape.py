"""Views: other shapes, other orders of the axes, parts. Writing to a view writes to what it looks at.

Joining, repeating and padding stand in `arrange`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..diagnostics import IndexOutOfRangeError, ShapeError, UnsupportedError
from ..ir.graph import Value
from ..ir.types import DType, SymbolicDim, f32, f64, i32, i64, tensor, u8
from ..ops.rules import shown
from ..session.devices import gpu_engine
from . import lazy
from .core import Tensor, change_shape, new, view_of, wrap
from .dims import Size, normal_dim, normal_dims
from .dtypes import REAL_OF, dtype_of
from .register import FUNCTIONS, METHODS, attribute, function, method


def sizes_of(shape: Any) -> tuple[int, ...]:
    """A shape given as one sequence or as several numbers; symbolic sizes stay."""
    if len(shape) == 1 and not isinstance(shape[0], int) and isinstance(shape[0], Sequence):
        shape = shape[0]
    made: Any = tuple(s if isinstance(s, SymbolicDim) else int(s) for s in shape)
    return made


# --- views ------------------------------------------------------------------------------------------------------------
def _reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    sizes = list(shape)
    if sizes.count(-1) > 1 or any(isinstance(s, int) and s < -1 for s in sizes):
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
        what = f"cannot reshape {shown(x.shape)} ({x.numel()} elements) to {shown(shape)}"
        raise ShapeError(what, help="the sizes must have the same product; one may be -1")
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


METHODS["reshape"] = METHODS.pop("_reshape_method")


@method("view")
def view(self: Tensor, *size: Any, dtype: Any = None) -> Tensor:
    """The same elements under another shape, or their bytes as elements of another dtype: the last axis is as
    much longer as those are shorter."""
    if dtype is not None or (len(size) == 1 and not isinstance(size[0], int | Sequence)):
        dtype = dtype_of(size[0] if dtype is None else dtype)
        if dtype == self.dtype:
            return self
        if {dtype, self.dtype} in ({f32, i32}, {f64, i64}):
            return wrap(ops.bitcast(self.detach().value))
        return _reinterpreted(self.detach(), dtype)
    return _reshaped(self, sizes_of(size))


def _reinterpreted(x: Tensor, dtype: DType) -> Tensor:
    """The bytes of a tensor, as they are now, as elements of another dtype."""
    from .float8 import of_bits
    from .pairs import over

    if dtype.kind == "e":
        found: Tensor = of_bits(view(x, u8), dtype)
        return found
    if dtype.kind == "c":
        parts = view(x, REAL_OF[dtype])
        if not parts.ndim or parts.shape[-1] % 2:
            raise ShapeError(f"view: bytes of {shown(x.shape)} {x.dtype} make no whole numbers {dtype}")
        pair: Tensor = over(_reshaped(parts, (*parts.shape[:-1], parts.shape[-1] // 2, 2)))
        return pair
    if dtype.name not in lazy.NUMPY:
        raise UnsupportedError(f"view as {dtype} is not supported", help="use to(), or view_as_complex() of pairs")
    x.array()  # computes it, and refuses what is on no host
    try:
        array = lazy.array_of(x.value).view(lazy.NUMPY[dtype.name]).copy()  # the memory may be given to a step
    except ValueError:
        raise ShapeError(f"view: bytes of {shown(x.shape)} {x.dtype} make no whole elements {dtype}") from None
    made: Tensor = new(Tensor, lazy.leaf_of(array, dtype, x.value.device))
    return made


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
    longer = [d for d in order if input.shape[d] != 1]  # where only axes of size 1 move, elements stay in order
    moved = longer != sorted(longer)
    return view_of(input, lambda v: ops.transpose(v, order), lambda b, v: ops.transpose(v, back), moved)


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
    for what, dims in (("source", src), ("destination", dst)):
        if len(set(dims)) < len(dims):
            raise ShapeError(f"movedim: an axis is named twice in {what} {list(dims)}")
    if len(src) != len(dst):
        raise ShapeError(f"movedim: {len(src)} axes do not go to {len(dst)} places")
    order: list[int] = [-1] * input.ndim
    for s, d in zip(src, dst, strict=True):
        order[d] = s
    rest = iter(i for i in range(input.ndim) if i not in src)
    return permute(input, [next(rest) if o == -1 else o for o in order])


@function()
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without axes of size 1, or without those of them that are named: a view."""
    if dim == ():
        return _reshaped(input, tuple(input.shape))
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
        return _part(v, axis, start, stop, step)

    def put(b: Value, v: Value) -> Value:
        return _put_slice(b, v, axis, start, stop, step)

    return view_of(input, forward, put, True)


COPIED = 64 << 20
"""Parts of known data of up to so many bytes are copied at once, as `_part` says."""


def _part(v: Value, axis: int, start: int, stop: int, step: int) -> Value:
    """Elements of an axis. Of known data without a gradient a copy that has its data too: rows and batches at other
    places are then not other programs. On GPUs that is so where they lie side by side."""
    shape: Any = v.type.shape
    at_once = lazy.is_data(v) and (lazy.on_host(v) or (math.prod(shape[:axis]) == step == 1 and start < stop))
    if step > 1 and start < stop:  # behind its last element, so that the length follows from the bounds
        stop = start + (stop - start - 1) // step * step + 1
    if not at_once:
        return ops.slice(v, axis, start, stop, step)
    row = v.type.dtype.nbytes * math.prod(shape) // max(1, shape[axis])
    nbytes = row * max(0, stop - start)
    if nbytes > COPIED:
        return ops.slice(v, axis, start, stop, step)
    if not lazy.on_host(v):
        assert v.device is not None
        part = gpu_engine(v.device).copy(v.meta.buffer.slice(row * start, nbytes), nbytes)
        return lazy.leaf(part, tensor(v.type.dtype, *shape[:axis], stop - start, *shape[axis + 1 :]), v.device)
    array = lazy.array_of(v)[(slice(None),) * axis + (slice(start, stop, step),)]
    return lazy.leaf_of(np.array(array, order="C").reshape(array.shape), v.type.dtype, v.device)


def _short(v: Value, shape: tuple[int, ...]) -> Value:
    if not lazy.is_data(v):
        return ops.reshape(v, shape)
    if not lazy.on_host(v):
        return lazy.leaf(v.meta.buffer, tensor(v.type.dtype, *shape), v.device)
    return lazy.leaf_of(lazy.array_of(v).reshape(shape), v.type.dtype, v.device)


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
    first: Any = start if isinstance(start, SymbolicDim) else int(start)
    first = first + input.shape[at] if first < 0 else first
    if not 0 <= first <= first + length <= input.shape[at]:
        raise IndexOutOfRangeError(f"narrow: {first} .. {first + length} lies outside an axis of {input.shape[at]}")
    return sliced(input, at, first, first + length)


@function()
def select(input: Tensor, dim: int, index: Any) -> Tensor:
    """One element of an axis, which goes away: a view."""
    if not input.ndim:
        raise IndexOutOfRangeError("select of a tensor without axes")
    at = normal_dim(dim, input.ndim, "select")
    size = input.shape[at]
    if not -size <= index < size:
        what = f"index {index} is outside axis {at} of a tensor of shape {shown(input.shape)}"
        raise IndexOutOfRangeError(what, help=f"{-size} to {size - 1} are there")
    i = index + size if index < 0 else index
    shape = tuple(input.shape)
    kept = (*shape[:at], 1, *shape[at + 1 :])
    short = (*shape[:at], *shape[at + 1 :])
    return view_of(
        input,
        lambda v: _short(_part(v, at, i, i + 1, 1), short),
        lambda b, v: _put_slice(b, ops.reshape(v, kept), at, i, i + 1, 1),
        True,
    )


@method("expand")
def expand(self: Tensor, *size: Any) -> Tensor:
    """Repeated along axes of size 1 and new leading axes; -1 keeps a size: a view. Raises ShapeError for other sizes,
    and where elements that are there several times are written."""
    shape = list(sizes_of(size))
    lead = len(shape) - self.ndim
    if lead < 0:
        raise ShapeError(f"expand: {shown(shape)} has fewer axes than {shown(self.shape)}")
    full = [self.shape[i - lead] if s == -1 and i >= lead else s for i, s in enumerate(shape)]
    for i, s in enumerate(full):
        if s < 0 or (i >= lead and self.shape[i - lead] not in (1, s)):
            raise ShapeError(f"expand: {shown(self.shape)} does not go to {shown(shape)}")
    whole, before = tuple(full), tuple(self.shape)
    repeated = math.prod(whole) != math.prod(before)

    def put(b: Value, v: Value) -> Value:
        if repeated:
            what = f"an element of {shown(before)} stands in several places of what is written, {shown(whole)}"
            raise ShapeError(what, help="clone() what expand gives before it is written")
        return ops.reshape(v, before)

    return view_of(self, lambda v: ops.broadcast_to(v, whole), put, repeated)


@method("expand_as")
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """Expanded to the shape of another."""
    return expand(self, tuple(other.shape))


@function()
def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """Expanded to a shape."""
    return expand(input, tuple(size))


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
    """Elements (i, i + offset) of two axes, along a new last axis: a view."""
    a, b = normal_dim(dim1, input.ndim), normal_dim(dim2, input.ndim)
    rest = [i for i in range(input.ndim) if i not in (a, b)]
    moved = permute(input, [*rest, a, b])
    n, m = input.shape[a], input.shape[b]
    r, c = max(-offset, 0), max(offset, 0)
    count = max(min(n - r, m - c), 0)
    if not count:
        return moved.reshape(*(input.shape[i] for i in rest), n * m).narrow(-1, 0, 0)
    whole, at = tuple(moved.shape), len(rest)
    row = (*whole[:at], n * m)
    first, step = r * m + c, m + 1
    last = first + (count - 1) * step + 1
    return view_of(
        moved,
        lambda v: _part(_short(v, row), at, first, last, step),
        lambda b, v: ops.reshape(_put_slice(ops.reshape(b, row), v, at, first, last, step), whole),
        True,
    )


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
    """Pieces of an axis: so many of nearly one size, or cut at given places; both may be tensors of integers."""
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
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
    """Pieces of the second axis (of a vector the first). Raises ShapeError where a number does not divide it."""
    return _equal_parts("hsplit", input, sections, 0 if input.ndim == 1 else 1, 1)


@function()
def vsplit(input: Tensor, sections: Any) -> tuple[Tensor, ...]:
    """Pieces of the first axis of at least two. Raises ShapeError where a number does not divide it."""
    return _equal_parts("vsplit", input, sections, 0, 2)


@function()
def dsplit(input: Tensor, sections: Any) -> tuple[Tensor, ...]:
    """Pieces of the third axis. Raises ShapeError where a number does not divide it."""
    return _equal_parts("dsplit", input, sections, 2, 3)


def _equal_parts(name: str, input: Tensor, sections: Any, at: int, axes: int) -> tuple[Tensor, ...]:
    if input.ndim < axes:
        raise ShapeError(f"{name} takes at least {axes} axes, found {shown(input.shape)}")
    if isinstance(sections, int) and (sections < 1 or input.shape[at] % sections):
        raise ShapeError(f"{name}: axis {at} of size {input.shape[at]} is not divided into {sections} equal pieces")
    made: tuple[Tensor, ...] = FUNCTIONS["tensor_split"](input, sections, at)
    return made


for _name in ("squeeze", "unsqueeze", "transpose", "t", "swapaxes", "swapdims"):

    def _in_place_view(self: Tensor, *args: Any, _f: Any = FUNCTIONS[_name], **kwargs: Any) -> Tensor:
        return change_shape(self, _f(self, *args, **kwargs))

    METHODS[_name + "_"] = _in_place_view


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
    if not self.ndim:
        return unfold(self.reshape(1), 0, size, step).reshape(size)
    count = (self.shape[at] - size) // step + 1
    if count < 1:
        raise ShapeError(f"unfold: pieces of {size} do not fit an axis of {self.shape[at]}")
    ids = ops.add(ops.mul(ops.reshape(ops.arange(count), (count, 1)), step), ops.reshape(ops.arange(size), (1, size)))
    picked = FUNCTIONS["index_select"](self, at, wrap(ops.reshape(ids, (count * size,))))
    return movedim(picked.unflatten(at, (count, size)), at + 1, -1)


attribute("T", lambda self: permute(self, tuple(reversed(range(self.ndim)))), "Tensor")
attribute("mT", lambda self: transpose(self, -2, -1), "Tensor")
attribute("H", lambda self: transpose(self, 0, 1) if self.ndim == 2 else self, "Tensor")
attribute("mH", lambda self: transpose(self, -2, -1), "Tensor")


@function()
def adjoint(input: Tensor) -> Tensor:
    """Matrices transposed: the last two axes change places. A tensor without axes stays as it is."""
    return input if not input.ndim else transpose(input, -2, -1)
