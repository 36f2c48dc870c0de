"""Sorting, searching and counting. The order of elements is found on the host (NumPy); values are then gathered in the
graph, so that gradients flow to them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..diagnostics import DTypeError, IndexOutOfRangeError, ShapeError
from ..ir.types import f64, i32, i64
from ..ops.rules import shown
from .core import Tensor, as_tensor, common, convert, from_array, normal_dim
from .levels import on_host
from .reduce import ValuesIndices
from .register import FUNCTIONS, function

Array = np.ndarray[Any, np.dtype[Any]]


def order(x: Tensor, dim: int, descending: bool) -> Tensor:
    """Places of the elements of an axis in order, i64; NaN counts as the largest. Equal ones keep their order."""
    axis = dim - x.ndim

    def places(a: Array) -> Array:
        if not descending:
            return np.argsort(a, axis=axis, kind="stable")
        found = np.flip(np.argsort(np.flip(a, axis), axis=axis, kind="stable"), axis)
        return a.shape[axis] - 1 - found

    return on_host(places, x)


@function()
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> ValuesIndices:
    """Elements of an axis in order, and where they stood. Equal ones keep their order."""
    if not input.ndim:
        return ValuesIndices(input.clone(), as_tensor(0))
    at = normal_dim(dim, input.ndim, "sort")
    places = order(input, at, descending)
    return ValuesIndices(FUNCTIONS["gather"](input, at, places), places)


@function()
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Places of the elements of an axis in order."""
    return sort(input, dim, descending).indices


@function()
def msort(input: Tensor) -> Tensor:
    """Elements of the first axis in order."""
    return sort(input, 0).values


@function()
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesIndices:
    """The k largest (smallest) elements of an axis, in order."""
    at = normal_dim(dim, input.ndim, "topk")
    if not 0 <= k <= (input.shape[at] if input.ndim else 1):
        raise IndexOutOfRangeError(f"topk: {k} of an axis of {input.shape[at] if input.ndim else 1} elements")
    if not input.ndim:
        return ValuesIndices(input.clone(), as_tensor(0))
    places = order(input, at, largest).narrow(at, 0, k)
    return ValuesIndices(FUNCTIONS["gather"](input, at, places), places)


@function()
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The k-th smallest element of an axis, counted from 1."""
    at = normal_dim(dim, input.ndim)
    size = input.shape[at] if input.ndim else 1
    if not 1 <= k <= size:
        raise IndexOutOfRangeError(f"kthvalue: {k} is not from 1 to {size}")
    if not input.ndim:
        return ValuesIndices(input.clone(), as_tensor(0))
    places = order(input, at, False).narrow(at, k - 1, 1)
    values = FUNCTIONS["gather"](input, at, places)
    return ValuesIndices(values, places) if keepdim else ValuesIndices(values.squeeze(at), places.squeeze(at))


def _middle(input: Tensor, dim: int | None, keepdim: bool, ignore_nan: bool) -> Any:
    if dim is not None and not input.ndim:
        normal_dim(dim, 0, "median")
        return ValuesIndices(input.clone(), as_tensor(0))
    if dim is None and not input.numel() and input.dtype.is_float:
        return as_tensor(np.nan, input.dtype)
    x = input.reshape(-1) if dim is None else input
    at = 0 if dim is None else normal_dim(dim, x.ndim)
    axis = at - x.ndim

    def place(data: Array) -> Array:
        a = np.moveaxis(data, axis, -1)
        places = np.argsort(a, axis=-1, kind="stable")
        bad = np.isnan(a) if a.dtype.kind == "f" else np.zeros(a.shape, bool)
        count = np.where(ignore_nan | ~bad.any(-1), (~bad).sum(-1), a.shape[-1])
        rank = np.maximum((count - 1) // 2, 0)
        if not ignore_nan:
            rank = np.where(bad.any(-1), a.shape[-1] - bad.sum(-1), rank)
        return np.moveaxis(np.take_along_axis(places, rank[..., None], -1), -1, axis)

    index = on_host(place, x)
    values = FUNCTIONS["gather"](x, at, index)
    if dim is None:
        return values.reshape(())
    return ValuesIndices(values, index) if keepdim else ValuesIndices(values.squeeze(at), index.squeeze(at))


@function()
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element, the lower of two; NaN if there is one."""
    return _middle(input, dim, keepdim, False)


@function()
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element of those that are not NaN."""
    return _middle(input, dim, keepdim, True)


@function()
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The most frequent element of an axis, the smallest of several, and where it stands last."""
    at = normal_dim(dim, input.ndim)
    if not input.ndim:
        return ValuesIndices(input.clone(), as_tensor(0))
    axis = at - input.ndim

    def place(data: Array) -> Array:
        a = np.moveaxis(data, axis, -1)
        flat = a.reshape(-1, a.shape[-1])
        found = np.empty(len(flat), np.int64)
        for i, row in enumerate(flat):
            values, counts = np.unique(row, return_counts=True, equal_nan=False)
            most = values[counts.argmax()]
            found[i] = np.flatnonzero((row == most) | ((row != row) & (most != most)))[-1]
        return np.moveaxis(found.reshape(*a.shape[:-1], 1), -1, axis)

    index = on_host(place, input)
    values_ = FUNCTIONS["gather"](input, at, index)
    return ValuesIndices(values_, index) if keepdim else ValuesIndices(values_.squeeze(at), index.squeeze(at))


@function()
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """Values below which a share q of an axis lies."""
    return _quantile(input, q, dim, keepdim, interpolation)


@function()
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """Quantiles of what is not NaN; without gradients."""
    if not input.ndim:
        return nanquantile(input.reshape(1), q, 0, interpolation=interpolation)
    f = np.asarray(input.detach().array())
    method: Any = interpolation
    y = np.nanquantile(
        f, np.asarray(q if isinstance(q, float) else as_tensor(q).array()), axis=dim, keepdims=keepdim, method=method
    )
    return from_array(np.asarray(y), input.dtype)


def _quantile(x: Tensor, q: Any, dim: int | None, keepdim: bool, how: str) -> Tensor:
    if not x.ndim:
        return _quantile(x.reshape(1), q, 0, False, how)
    share = q if isinstance(q, Tensor) else as_tensor(q, f64)
    at = 0 if dim is None else normal_dim(dim, x.ndim)
    rank = x.ndim
    ordered = sort(x.reshape(-1) if dim is None else x, at).values
    n = ordered.shape[at]
    last = ordered.narrow(at, n - 1, 1)  # NaN where there is one in the row
    parts = []
    for p in np.atleast_1d(np.asarray(share.array(), np.float64)):
        place = p * (n - 1)
        low = int(np.floor(place))
        high = min(low + 1, n - 1)
        w = {"linear": place - low, "lower": 0.0, "higher": float(place > low), "midpoint": 0.5 * (place > low),
             "nearest": float(np.rint(place) > low)}[how]  # fmt: skip
        a, b = ordered.narrow(at, low, 1), ordered.narrow(at, high, 1)
        made = FUNCTIONS["where"](last != last, last, a + (b - a) * float(w))
        if dim is None:
            made = made.reshape((1,) * rank) if keepdim else made.reshape(())
        else:
            made = made if keepdim else made.squeeze(at)
        parts.append(made)
    return FUNCTIONS["stack"](parts) if share.ndim else parts[0]


# --- sets -------------------------------------------------------------------------------------------------------------
@function()
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """Different elements in order, each NaN for itself; with the number of each among them, and how often it occurs."""
    a = np.asarray(input.detach().array())
    values, inverse, counts = np.unique(a, return_inverse=True, return_counts=True, axis=dim, equal_nan=False)
    inverse = np.asarray(inverse).reshape(a.shape if dim is None else (-1,))
    parts = [from_array(values, input.dtype)]
    parts += [from_array(inverse)] if return_inverse else []
    parts += [from_array(counts)] if return_counts else []
    return parts[0] if len(parts) == 1 else tuple(parts)


@function()
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """Elements without those that equal the one before."""
    a = np.asarray(input.detach().array())
    if dim is None:
        a = a.reshape(-1)
    rows = np.moveaxis(a, dim or 0, 0)
    flat = rows.reshape(len(rows), -1) if rows.size else rows.reshape(len(rows), 0)
    begins = np.concatenate([[True], (flat[1:] != flat[:-1]).any(1)])[: len(rows)]
    parts = [from_array(np.moveaxis(rows[begins], 0, dim or 0), input.dtype)]
    inverse = np.cumsum(begins) - 1
    if return_inverse:
        parts.append(from_array(inverse.reshape(input.shape) if dim is None else inverse))
    if return_counts:
        parts.append(from_array(np.bincount(inverse, minlength=0)))
    return parts[0] if len(parts) == 1 else tuple(parts)


@function()
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is among the test elements."""
    a, b = as_tensor(elements), as_tensor(test_elements)
    return from_array(np.isin(np.asarray(a.detach().array()), np.asarray(b.detach().array()), invert=invert))


@function()
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number from 0 on occurs, or the sum of its weights."""
    a = np.asarray(input.array())
    if a.ndim != 1 or (a.size and a.min() < 0):
        raise ShapeError("bincount takes numbers of at least 0 along one axis")
    if weights is None:
        return from_array(np.bincount(a, minlength=minlength).astype(np.int64))
    found = np.bincount(a, np.asarray(weights.array()), minlength)
    return from_array(found, weights.dtype if weights.dtype.is_float else None)


@function()
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements lie in each of so many equal bins from min to max (of all where both are 0)."""
    a = np.asarray(input.detach().array())
    if not a.size:
        return from_array(np.zeros(bins), input.dtype)
    low, high = (min, max) if (min, max) != (0, 0) else (float(a.min()), float(a.max()))
    if low == high:
        low, high = low - 1, high + 1
    return from_array(np.histogram(a, bins, (low, high))[0], input.dtype)


@function()
def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Where to put elements into rows that are in order so that they stay so, int64, or int32 with `out_int32`.

    sorted_sequence: (..., N), whose leading sizes are those of input, or (N,). input: a tensor or a number; the result
    has its shape. Both are compared in their common dtype. `right`, or side="right": behind equal ones. sorter: the
    order of rows that are in none, int64, as argsort gives it. NaN in a row counts as less than everything, a NaN that
    is looked for as more, as in PyTorch. Raises ShapeError for shapes that do not fit, DTypeError for another sorter,
    ValueError for other sides."""
    (sorted_sequence, x), _ = common(sorted_sequence, input)
    _fits_rows(sorted_sequence, x, sorter)
    if side not in (None, "left", "right"):
        raise ValueError(f"searchsorted: side is 'left' or 'right', not {side!r}")
    if right and side == "left":
        raise ValueError("searchsorted: side is 'left', and right is True")
    behind = right or side == "right"
    one, rank = sorted_sequence.ndim == 1, x.ndim

    def places(s: Array, a: Array, *order: Array) -> Array:
        if order:
            s = np.take_along_axis(s, np.broadcast_to(order[0], s.shape), -1)
        if s.ndim == 1:
            return _places(s, a, behind)
        values = a.reshape(*a.shape[: a.ndim - rank], math.prod(a.shape[a.ndim - rank :])) if one else a
        found = np.zeros(values.shape, np.int64)
        for row in np.ndindex(s.shape[:-1]):
            found[row] = _places(s[row], values[row], behind)
        return found.reshape(a.shape)

    tensors = (sorted_sequence, x) if sorter is None else (sorted_sequence, x, sorter)
    return convert(on_host(places, *tensors), i32 if out_int32 else i64)


def _fits_rows(rows: Tensor, x: Tensor, sorter: Tensor | None) -> None:
    if not rows.ndim:
        raise ShapeError("searchsorted: boundaries are rows, found a tensor without axes")
    if rows.ndim > 1 and rows.shape[:-1] != x.shape[:-1]:
        raise ShapeError(f"searchsorted: rows of {shown(rows.shape)} do not fit an input of {shown(x.shape)}")
    if sorter is not None and sorter.dtype != i64:
        raise DTypeError(f"searchsorted: the sorter is int64, found {sorter.dtype}")
    if sorter is not None and sorter.shape != rows.shape:
        raise ShapeError(f"searchsorted: a sorter of {shown(sorter.shape)} for rows of {shown(rows.shape)}")


def _places(row: Array, values: Array, behind: bool) -> Array:
    """`np.searchsorted`, but a search by halves where it sees NaN: what that ends at depends on the steps."""
    if row.dtype.kind != "f" or not (np.isnan(row).any() or np.isnan(values).any()):
        return np.asarray(np.searchsorted(row, values, "right" if behind else "left"))
    low, high = np.zeros(values.shape, np.int64), np.full(values.shape, len(row), np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        here = row[np.minimum(middle, len(row) - 1)]
        after = ~(here > values if behind else here >= values)
        low, high = np.where((low < high) & after, middle + 1, low), np.where((low < high) & ~after, middle, high)
    return low


@function()
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The number of the bucket of each element, between boundaries (N,) in order; see `searchsorted`."""
    if boundaries.ndim != 1:
        raise ShapeError(f"bucketize: boundaries have one axis, found {shown(boundaries.shape)}")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@function(method=False)
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of r elements of a vector, as rows."""
    import itertools

    pick = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    ids = np.array(list(pick(range(input.shape[0]), r)), np.int64).reshape(-1, r)
    return input[from_array(ids)]
