"""Indexing as NumPy and PyTorch have it, reading and writing; gather, scatter and their relatives.

Indices that are known are checked; those that are themselves computed in the graph are not, and read row 0 or write
nothing where they lie outside: a step never reads outside a buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np

from .. import ops
from ..diagnostics import DTypeError, IndexOutOfRangeError, ShapeError
from ..ir.graph import Value
from ..ir.types import Dim, SymbolicDim, bool_, i64
from ..ops.rules import shown
from . import lazy
from .bounds import Range, require
from .conversion import as_tensor, convert, exact_tensor
from .core import Tensor, wrap
from .devices import beside
from .dims import Size, normal_dim
from .places import coordinates, number, places_of
from .register import FUNCTIONS, METHODS, function, method
from .shape import expand, movedim, select, sliced, unsqueeze


# --- reading ----------------------------------------------------------------------------------------------------------
def _parts(x: Tensor, index: Any) -> list[Any]:
    """The index as a list with one entry per axis, None and bools for new ones; masks become their places."""
    items = list(index) if isinstance(index, tuple) else [index]
    found: list[Any] = []
    masks: list[tuple[Tensor, int, bool]] = []  # with the axes before each, and whether an Ellipsis is
    used, dotted = 0, False
    for item in items:
        if isinstance(item, list | tuple | range | np.ndarray):
            item = as_tensor(np.asarray(item) if not isinstance(item, np.ndarray) else item)
            if item.numel() == 0 and item.dtype.is_float:
                item = convert(item, i64)
        if isinstance(item, bool | np.bool_):
            found.append(bool(item))
            continue
        if isinstance(item, np.integer):
            item = int(item)
        if isinstance(item, Tensor):
            if item.dtype == bool_ or item.dtype.name == "u8":
                if not item.ndim:
                    found.append(bool(item))
                    continue
                places = nonzero(item, as_tuple=True)
                masks.append((item, used, dotted))
                found += places
                used += item.ndim
                continue
            if item.dtype.is_float:
                raise DTypeError(f"a tensor used as an index has integers or bools, found {item.dtype}")
            if not item.ndim and lazy.on_host(item.value):
                item = int(item)
        elif item is not None and item is not Ellipsis and not isinstance(item, int | SymbolicDim | slice):
            raise DTypeError(f"an index is an integer, slice, None, Ellipsis or tensor, found {type(item).__name__}")
        found.append(item)
        dotted |= item is Ellipsis
        used += item is not None and item is not Ellipsis
    dots = [i for i, item in enumerate(found) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexOutOfRangeError("an index has one Ellipsis at most")
    if used > x.ndim:
        raise IndexOutOfRangeError(f"{used} indices for a tensor of {x.ndim} axes")
    for mask, before, behind in masks:
        _check_mask(x, mask, before + (x.ndim - used if behind else 0))
    fill: list[Any] = [slice(None)] * (x.ndim - used)
    return [*found[: dots[0]], *fill, *found[dots[0] + 1 :]] if dots else [*found, *fill]


def _check_mask(x: Tensor, mask: Tensor, at: int) -> None:
    """A mask has the sizes of the axes that it stands for, or 0, of which no element is meant: as in NumPy and in the
    array API standard; PyTorch refuses sizes of 0."""
    axes = x.shape[at : at + mask.ndim]
    if len(axes) != mask.ndim or any(have not in (0, size) for have, size in zip(mask.shape, axes, strict=True)):
        raise IndexOutOfRangeError(f"a mask of shape {shown(mask.shape)} does not fit axes of {shown(x.shape)}")


def _bounds(given: slice, size: Any) -> tuple[Any, Any, int]:
    """Start, stop and step of a slice of an axis, within it. Raises ShapeError for a step of 0, TypeError where a
    symbolic size leaves open what is within."""
    bounds = (given.start, given.stop, given.step)
    start, stop, step = (b if b is None or isinstance(b, SymbolicDim) else int(b) for b in bounds)
    if step == 0:
        raise ShapeError("a slice's step must not be 0")
    if not any(isinstance(b, SymbolicDim) for b in (start, stop, size)):
        return slice(start, stop, step).indices(size)
    if step not in (None, 1):
        raise TypeError(f"a slice of an axis of {size} elements by steps of {step} has an open size")

    def within(bound: Any) -> Dim:
        bound = bound + size if bound < 0 else bound
        return 0 if bound < 0 else size if bound > size else bound

    return 0 if start is None else within(start), size if stop is None else within(stop), 1


def _basic(x: Tensor, parts: list[Any]) -> tuple[Tensor, list[Tensor | None], list[int]]:
    """The part of an index that makes views, for each axis that is left its index tensor or None, and the axes that a
    negative step reads from the back: in the view they still are in order."""
    axis = 0
    tensors: list[Tensor | None] = []
    reversed_axes: list[int] = []
    for p in parts:
        if p is None:
            x = unsqueeze(x, axis)
        elif isinstance(p, bool):  # a new axis, with its only place or none
            x = unsqueeze(x, axis)
            tensors.append(as_tensor(np.zeros(int(p), np.int64)))
            axis += 1
            continue
        elif isinstance(p, int | SymbolicDim):
            x = select(x, axis, p)
            continue
        elif isinstance(p, slice):
            start, stop, step = _bounds(p, x.shape[axis])
            if step < 0:
                count = len(range(start, stop, step))
                x = sliced(x, axis, start + (count - 1) * step if count else 0, start + 1 if count else 0, -step)
                reversed_axes.append(axis)
            else:
                x = sliced(x, axis, start, stop, step)
        else:
            tensors.append(p)
            axis += 1
            continue
        tensors.append(None)
        axis += 1
    return x, tensors, reversed_axes


def _turned(x: Tensor, axes: list[int]) -> Tensor:
    """x with the order of some axes turned around."""
    return FUNCTIONS["flip"](x, tuple(axes)) if axes else x


class _Rows:
    """x as rows by number: the axes that index tensors go over come first, as one; `ids` says which rows are meant."""

    def __init__(self, x: Tensor, tensors: list[Tensor | None]) -> None:
        axes = [i for i, t in enumerate(tensors) if t is not None]
        self.given = found = [t for t in tensors if t is not None]
        self.rest = [i for i in range(x.ndim) if i not in axes]
        self.order = [*axes, *self.rest]
        self.shape = FUNCTIONS["broadcast_shapes"](*(tuple(t.shape) for t in found))
        sizes = [x.shape[a] for a in axes]
        flat: Value | None = None
        for t, size, axis in zip(found, sizes, axes, strict=True):
            v = wrapped_index(t, size, axis, x)
            v = v if v.type.shape == self.shape else ops.broadcast_to(v, tuple(self.shape))
            flat = v if flat is None else ops.add(ops.mul(flat, size), v)
        assert flat is not None
        self.ids = ops.reshape(flat, (self.shape.numel(),))
        self.rest_shape = tuple(x.shape[i] for i in self.rest)
        self.count = Size(sizes).numel()
        self.depth = Size(self.rest_shape).numel()
        together = axes == list(range(axes[0], axes[0] + len(axes)))
        self.place = axes[0] if together else 0

    def rows(self, v: Value) -> Value:
        """x as (count, depth)."""
        order = self.order
        moved = v if order == list(range(len(order))) else ops.transpose(v, order)
        return ops.reshape(moved, (self.count, self.depth))

    def back(self, v: Value, shape: Sequence[int]) -> Value:
        """Rows as x again."""
        moved = ops.reshape(v, tuple(shape[i] for i in self.order))
        order = self.order
        return (
            moved
            if order == list(range(len(order)))
            else ops.transpose(moved, [order.index(i) for i in range(len(order))])
        )

    def result(self, t: Tensor) -> Tensor:
        """Rows taken, in the shape of the result."""
        made = t.reshape((*self.shape, *self.rest_shape))
        n = len(self.shape)
        return movedim(made, tuple(range(n)), tuple(range(self.place, self.place + n))) if self.place and n else made


def check_known(what: str, t: Tensor, size: int, ignored: int | None = None, low: int = 0, counted: Any = None) -> None:
    """Raises IndexOutOfRangeError where numbers of `low` .. size - 1 are known and others but `ignored` are there, of
    those that an array of bools in `counted` names if it is given. In a capture they are checked at each call."""
    require(t.value, Range(what, low, size, ignored), counted)


def wrapped_index(t: Tensor, size: int, axis: int, x: Tensor) -> Value:
    """Indices as i64 from the front. Raises IndexOutOfRangeError where they are known and lie outside."""
    v = t.value
    if isinstance(size, int):
        require(v, Range("index", -size, size, of=f"axis {axis} of a tensor of shape {shown(x.shape)}"))
    if lazy.on_host(v):
        known = lazy.array_of(v)
        if not known.size or int(known.min()) >= 0:
            return ops.cast(v, i64)
    v = ops.cast(v, i64)
    return ops.where(ops.lt(v, 0), ops.add(v, size), v)


def taken(v: Value, ids: Value) -> Value:
    """Rows by number; of an empty table none."""
    if 0 in v.type.shape or ids.type.shape == (0,):
        from ..ir.graph import constant
        from ..ir.types import TensorType

        zero = constant(0, TensorType(v.type.element, ()))
        return beside(ops.broadcast_to(zero, (ids.type.shape[0], v.type.shape[1])), v)
    return ops.take(v, ids)


@method("__getitem__")
def getitem(self: Tensor, index: Any) -> Tensor:
    """A view for integers, slices, None and Ellipsis; elements by number for integer tensors and masks."""
    if isinstance(index, bool) or (isinstance(index, Tensor) and index.dtype == bool_ and not index.ndim):
        return unsqueeze(self, 0)[: int(bool(index))].clone()
    if isinstance(index, Tensor) and index.dtype == bool_ and index.ndim == self.ndim and self.ndim:
        _check_mask(self, index, 0)
        if 0 in index.shape:
            return self.reshape(-1)[:0].clone()
        return masked_select(self, index)
    view, tensors, back = _basic(self, _parts(self, index))
    x = _turned(view, back)
    if all(t is None for t in tensors):
        return x
    rows = _Rows(x, tensors)
    return rows.result(wrap(taken(rows.rows(x.value), rows.ids), x, *rows.given))


METHODS["__getitem__"] = getitem


@method("__setitem__")
def setitem(self: Tensor, index: Any, value: Any) -> None:
    """Write a number or a tensor, which is broadcast, to part of this tensor."""
    source = convert(exact_tensor(value, self.dtype), self.dtype)
    if isinstance(index, Tensor) and index.dtype == bool_ and source.numel() == 1:
        _check_mask(self, index, 0)
        if 0 in index.shape:
            return
        mask = index.reshape(*index.shape, *[1] * (self.ndim - index.ndim))
        self._assign(FUNCTIONS["where"](mask, source.reshape(()), self))
        return
    view, tensors, back = _basic(self, _parts(self, index))
    view._assign(_turned(_written(_turned(view, back), tensors, source, False), back))


METHODS["__setitem__"] = setitem


def _without_ones(x: Tensor, rank: int) -> Tensor:
    """Leading axes of size 1 that the target does not have go away."""
    while x.ndim > rank and x.shape[0] == 1:
        x = x.reshape(x.shape[1:])
    return x


def _written(x: Tensor, tensors: list[Tensor | None], source: Tensor, accumulate: bool) -> Tensor:
    """x with rows by number, or all of it where no axis has an index, replaced or added to."""
    if all(t is None for t in tensors):
        wide = expand(_without_ones(source, x.ndim), tuple(x.shape))
        return FUNCTIONS["add"](x, wide) if accumulate else wide
    rows = _Rows(x, tensors)
    n = len(rows.shape)
    shown_shape = [*rows.rest_shape]
    shown_shape[rows.place : rows.place] = rows.shape
    wide = expand(_without_ones(source, len(shown_shape)), tuple(shown_shape))
    if rows.place and n:
        wide = movedim(wide, tuple(range(rows.place, rows.place + n)), tuple(range(n)))
    new_rows = ops.reshape(wide.value, (rows.shape.numel(), rows.depth))
    if rows.shape.numel() == 0 or rows.depth == 0:
        return x
    made = ops.put(rows.rows(x.value), rows.ids, new_rows, accumulate)
    return wrap(rows.back(made, tuple(x.shape)), x, source, *rows.given)


@function()
def index_put(input: Tensor, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Tensor:
    """input with values written, or added, at places given by one tensor per axis."""
    made, source = input.clone(), convert(as_tensor(values), input.dtype)
    x, tensors, _ = _basic(made, _parts(input, tuple(indices)))
    written = _written(x, tensors, source, accumulate)
    if x is made:
        return written
    x._assign(written)
    return made


def _index_put(input: Tensor, indices: Any, values: Any, accumulate: bool = False) -> Tensor:
    """`index_put`, written into this tensor, which is returned."""
    return input._in_place(index_put, indices, values, accumulate)


METHODS["index_put_"] = _index_put


# --- along one axis ---------------------------------------------------------------------------------------------------
@function()
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Elements of an axis by number. index: (n,) integers."""
    if not input.ndim:
        return input.clone()
    at = normal_dim(dim, input.ndim, "index_select")
    ids = as_tensor(index)
    tensors: list[Tensor | None] = [None] * input.ndim
    tensors[at] = ids if ids.ndim else ids.reshape(1)
    rows = _Rows(input, tensors)
    return rows.result(wrap(taken(rows.rows(input.value), rows.ids), input, *rows.given))


@function()
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """y[i][j] = input[index[i][j]][j] for dim 0. index: integers, not larger than input along the other axes."""
    if not input.ndim:
        return input.reshape(1).gather(0, index.reshape(-1)).reshape(index.shape)
    at = normal_dim(dim, input.ndim, "gather")
    if index.numel() == 0:  # of any number of axes, as in PyTorch
        return wrap(input.reshape(-1)[:0].reshape(index.shape).value, input)
    flat = _flat_places(input, at, index, "gather")
    rows = ops.reshape(input.value, (input.numel(), 1))
    return wrap(ops.reshape(ops.take(rows, flat), tuple(index.shape)), input, index)


def _flat_places(x: Tensor, axis: int, index: Tensor, op: str) -> Value:
    """The number of each element that `index` means, among all of x in order."""
    if index.ndim != x.ndim:
        raise ShapeError(f"{op}: an index of {index.ndim} axes for a tensor of {x.ndim}")
    for i in range(x.ndim):
        if i != axis and index.shape[i] > x.shape[i]:
            raise ShapeError(f"{op}: index {shown(index.shape)} is larger than {shown(x.shape)} along axis {i}")
    total: Value | None = None
    step = 1
    shape = tuple(index.shape)
    for i in reversed(range(x.ndim)):
        if i == axis:
            v = wrapped_index(index, x.shape[i], i, x)
        else:
            v = ops.reshape(ops.arange(shape[i]), tuple(shape[i] if j == i else 1 for j in range(x.ndim)))
        v = ops.mul(v, step) if step != 1 else v
        total = v if total is None else ops.add(total, v)
        step *= x.shape[i]
    assert total is not None
    return ops.reshape(total if total.type.shape == shape else ops.broadcast_to(total, shape), (Size(shape).numel(),))


def _scattered(input: Tensor, dim: int, index: Tensor, src: Any, accumulate: bool, op: str) -> Tensor:
    if not input.ndim:
        normal_dim(dim, 0, op)
        source = src.reshape(1) if isinstance(src, Tensor) else src
        return _scattered(input.reshape(1), 0, index.reshape(1), source, accumulate, op).reshape(())
    at = normal_dim(dim, input.ndim, op)
    source = convert(exact_tensor(src, input.dtype), input.dtype)
    if not isinstance(src, Tensor) or (not source.ndim and index.numel() == 1):
        source = expand(source, tuple(index.shape))
    if index.numel() == 0:
        return input.clone()
    if source.ndim != index.ndim:
        what = f"{op}: indices of {shown(index.shape)} and values of {shown(source.shape)} have as many axes"
        raise ShapeError(what, help="expand() the values")
    for i in range(index.ndim):
        source = sliced(source, i, 0, index.shape[i])
    flat = _flat_places(input, at, index, op)
    rows = ops.reshape(input.value, (input.numel(), 1))
    made = ops.put(rows, flat, ops.reshape(source.value, (index.numel(), 1)), accumulate)
    return wrap(ops.reshape(made, tuple(input.shape)), input, source, index)


@function(in_place=True)
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: Any = None
) -> Tensor:
    """input with y[index[i][j]][j] = src[i][j] for dim 0."""
    what = src if src is not None else value
    if reduce is not None:
        return scatter_reduce(input, dim, index, what, {"add": "sum", "multiply": "prod"}[reduce])
    return _scattered(input, dim, index, what, False, "scatter")


@function(in_place=True)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """input with src added at the places of `index`."""
    return _scattered(input, dim, index, src, True, "scatter_add")


@function(in_place=True)
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Any, reduce: str, *, include_self: bool = True
) -> Tensor:
    """input with src put together with it at the places of `index`: sum, mean, prod, amax or amin."""
    source = src if isinstance(src, Tensor) else expand(as_tensor(src), tuple(index.shape))
    source = convert(source, input.dtype)
    one = convert(as_tensor(1), input.dtype)
    base = input
    if not include_self:
        hit = _scattered(
            FUNCTIONS["zeros_like"](input), dim, index, expand(one, tuple(index.shape)), False, "scatter_reduce"
        )
        start = {"sum": 0, "mean": 0, "prod": 1, "amax": None, "amin": None}[reduce]
        if start is not None:
            base = FUNCTIONS["where"](hit != 0, start, input)
    if reduce in ("sum", "mean"):
        total = _scattered(base, dim, index, source, True, "scatter_reduce")
        if reduce == "sum":
            return total
        ones = expand(one, tuple(index.shape))
        count = _scattered(
            FUNCTIONS["full_like"](input, int(include_self)), dim, index, ones, True, "scatter_reduce"
        ).clamp(min=1)
        return total / count if input.dtype.is_float else total // count
    if not input.ndim:
        one = scatter_reduce(
            input.reshape(1), 0, index.reshape(1), source.reshape(1), reduce, include_self=include_self
        )
        return one.reshape(())
    from .scatter import Scattered

    axis = normal_dim(dim, input.ndim)
    index = wrap(wrapped_index(index, input.shape[axis], axis, input))
    made: Tensor = Scattered.apply(input, source, index, axis, reduce, include_self)
    return made


def _rowwise(input: Tensor, dim: int, index: Tensor, source: Tensor, accumulate: bool) -> Tensor:
    if not input.ndim:
        normal_dim(dim, 0)
        return _rowwise(input.reshape(1), 0, index, source.reshape(-1), accumulate).reshape(())
    tensors: list[Tensor | None] = [None] * input.ndim
    tensors[normal_dim(dim, input.ndim)] = as_tensor(index).reshape(-1)
    return _written(input, tensors, convert(source, input.dtype), accumulate)


@function(in_place=True)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """input with source added to the elements of an axis named by `index`."""
    return _rowwise(input, dim, index, source if alpha == 1 else source * alpha, True)


@function(in_place=True)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """input with the elements of an axis named by `index` replaced by those of source."""
    return _rowwise(input, dim, index, source, False)


@function(in_place=True)
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """input with one number in the elements of an axis named by `index`."""
    return _rowwise(input, dim, index, exact_tensor(value, input.dtype), False)


@function()
def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements by number among all in order. Shape of index."""
    if index.numel() == 0:
        return input.reshape(-1)[:0].reshape(index.shape)
    v = wrapped_index(index, input.numel(), 0, input.reshape(-1))
    rows = ops.take(ops.reshape(input.value, (input.numel(), 1)), ops.reshape(v, (index.numel(),)))
    return wrap(ops.reshape(rows, tuple(index.shape)), input, index)


@function(in_place=True)
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """input with elements replaced, or added to, by number among all in order."""
    flat = _written(input.reshape(-1), [index.reshape(-1)], convert(source, input.dtype).reshape(-1), accumulate)
    return flat.reshape(input.shape)


@function()
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """As gather, with broadcasting; without an axis among all elements in order."""
    if dim is None:
        return input.reshape(-1).gather(0, indices.reshape(-1))
    at = normal_dim(dim, input.ndim)
    shape = [max(a, b) for a, b in zip(input.shape, indices.shape, strict=True)]
    a, b = list(shape), list(shape)
    a[at], b[at] = input.shape[at], indices.shape[at]
    return gather(expand(input, a), at, expand(indices, b))


@function()
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """input with one element of an axis replaced."""
    y = input.clone()
    select(y, dim, index)._assign(src)
    return y


@function()
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """input with a slice of an axis replaced."""
    y = input.clone()
    y[(*[slice(None)] * normal_dim(dim, input.ndim), slice(start, end, step))] = src
    return y


@function()
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """input with a diagonal replaced."""
    a, b = normal_dim(dim1, input.ndim), normal_dim(dim2, input.ndim)
    expected = tuple(FUNCTIONS["diagonal"](input.detach(), offset, dim1, dim2).shape)
    if tuple(src.shape) != expected:
        raise ShapeError(f"diagonal_scatter: src of {shown(src.shape)} for a diagonal of {shown(expected)}")
    n = src.shape[-1]
    place = as_tensor(np.arange(n))
    index: list[Any] = [slice(None)] * input.ndim
    index[a], index[b] = place + max(-offset, 0), place + max(offset, 0)
    y = input.clone()
    together = b == a + 1
    y[tuple(index)] = movedim(src, -1, a if together else 0)
    return y


@method("fill_diagonal_")
def fill_diagonal_(self: Tensor, fill_value: float, wrap: bool = False) -> Tensor:
    """Write a number on the main diagonal; with `wrap` of a tall matrix again below, a row left out between."""
    n = min(self.shape)
    at = np.arange(n)
    rows = [at] * self.ndim
    if wrap and self.ndim == 2 and n:
        flat = np.arange(0, self.numel(), self.shape[1] + 1)
        rows = [flat // self.shape[1], flat % self.shape[1]]
    self[tuple(as_tensor(r) for r in rows)] = fill_value
    return self


# --- places by value --------------------------------------------------------------------------------------------------
@overload
def nonzero(input: Tensor, *, as_tuple: Literal[False] = False) -> Tensor: ...
@overload
def nonzero(input: Tensor, *, as_tuple: Literal[True]) -> tuple[Tensor, ...]: ...
@function()
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Where elements are not 0: (n, rank), or one (n,) tensor per axis. Their number is known only when it runs: this
    computes input now, and the host reads it (see `places`)."""
    flat = places_of(input, "nonzero")
    found = coordinates(flat, tuple(input.shape) or (1,))
    if as_tuple:
        return tuple(found)
    if not input.ndim:
        return flat.reshape(flat.shape[0], 1).narrow(1, 0, 0)
    made: Tensor = FUNCTIONS["stack"](found, 1)
    return made


@function()
def argwhere(input: Tensor) -> Tensor:
    """Where elements are not 0: (n, rank)."""
    return nonzero(input)


@function()
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """Elements where the mask holds, along one axis."""
    x, m = FUNCTIONS["broadcast_tensors"](input, mask)
    places = places_of(m, "masked_select")
    if places.numel() == 0:
        return wrap(ops.slice(ops.reshape(x.value, (x.numel(),)), 0, 0, 0), x)
    rows = ops.take(ops.reshape(x.value, (x.numel(), 1)), places.value)
    return wrap(ops.reshape(rows, (places.numel(),)), x)


@function(in_place=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """input with the elements where the mask holds replaced by those of source in order."""
    input, mask = FUNCTIONS["broadcast_tensors"](input, mask)
    hit = mask.reshape(-1)
    if not lazy._levels.get() and (needed := number(hit.count_nonzero(), "masked_scatter")) > source.numel():
        raise ShapeError(f"masked_scatter: the mask holds at {needed} elements, source has {source.numel()}")
    if source.numel() == 0:
        return input.clone()
    place = (hit.cumsum(0) - 1).clamp(0, source.numel() - 1)
    found = FUNCTIONS["where"](hit, source.reshape(-1)[place], input.reshape(-1))
    return found.reshape(input.shape)
