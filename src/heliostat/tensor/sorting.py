"""Sorting, searching and counting, by the ops of order (`ops.argsort`, `ops.search`). Values are gathered, so that
gradients flow to them. Sets and counts whose size depends on data are NumPy's on the cpu, see `places`.
"""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import numpy as np

from .. import ops
from ..diagnostics import DTypeError, IndexOutOfRangeError, ShapeError, UnsupportedError
from ..ir.types import bool_, f32, f64, i32, i64
from ..ops.rules import shown
from . import lazy
from .conversion import as_tensor, common, convert, from_array
from .core import Tensor, wrap
from .devices import beside
from .dims import normal_dim
from .levels import on_host
from .places import begins_of, lengths_of, number, on_gpu, places_of
from .reduce import ValuesIndices
from .register import FUNCTIONS, function
from .shape import movedim

NATIVE = 1 << 16
"""Elements from which on the cpu runs a program of its own for an order outside of compiled functions: each size is
another program, of which compiling takes longer than NumPy sorts fewer elements many times."""
MOST_COLUMNS = 64  # of rows that `unique` puts in order by one column at a time


def order(x: Tensor, dim: int, descending: bool, count: int = -1) -> Tensor:
    """Places of the elements of an axis in order, i64, the first `count` of them; all where it is -1. NaN counts as the
    largest. Equal ones keep their order."""
    if not on_gpu(x) and not lazy.capturing() and x.numel() < NATIVE:
        axis, numpy = dim - x.ndim, ops.get("argsort").reference

        def places(a: Any) -> Any:
            return np.moveaxis(numpy(np.moveaxis(a, axis, -1), descending=descending, count=count), -1, axis)

        return on_host(places, x)
    at_end = movedim(x.detach(), dim, -1)
    return movedim(wrap(ops.argsort(at_end.value, descending, count)), -1, dim)


def _searched(rows: Tensor, x: Tensor, right: bool = False) -> Tensor:
    """`ops.search` of elements, by the dtypes that it takes. In rows without elements all have place 0."""
    if not rows.shape[-1]:
        return FUNCTIONS["zeros_like"](x, dtype=i64)
    wide = {"f16": f32, "bf16": f32, "u32": i64}.get(x.dtype.name, i32)
    kept = x.dtype in (f32, f64, i32, i64)
    values, wanted = (t if kept else convert(t, wide) for t in (rows.detach(), x.detach()))
    return wrap(ops.search(values.value, wanted.value, right))


@function()
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> ValuesIndices:
    """Elements of an axis in order, and where they stood. Equal ones keep their order."""
    at = normal_dim(dim, input.ndim, "sort")
    if not input.ndim:
        return ValuesIndices(input.clone(), input.new_zeros((), dtype=i64))
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
        return ValuesIndices(input.clone(), input.new_zeros((), dtype=i64))
    places = order(input, at, largest, k)
    return ValuesIndices(FUNCTIONS["gather"](input, at, places), places)


@function()
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The k-th smallest element of an axis, counted from 1."""
    at = normal_dim(dim, input.ndim)
    size = input.shape[at] if input.ndim else 1
    if not 1 <= k <= size:
        raise IndexOutOfRangeError(f"kthvalue: {k} is not from 1 to {size}")
    if not input.ndim:
        return ValuesIndices(input.clone(), input.new_zeros((), dtype=i64))
    places = order(input, at, False, k).narrow(at, k - 1, 1)
    values = FUNCTIONS["gather"](input, at, places)
    return ValuesIndices(values, places) if keepdim else ValuesIndices(values.squeeze(at), places.squeeze(at))


def _some(x: Tensor, at: int, op: str) -> Any:
    """The size of an axis. Raises ShapeError where it has nothing of which an element could be chosen."""
    size = x.shape[at]
    if isinstance(size, int) and not size:
        raise ShapeError(f"{op}: axis {at} of {shown(x.shape)} is empty", help="it needs at least one element")
    return size


def _middle(input: Tensor, dim: int | None, keepdim: bool, ignore_nan: bool) -> Any:
    if dim is not None and not input.ndim:
        normal_dim(dim, 0, "median")
        return ValuesIndices(input.clone(), input.new_zeros((), dtype=i64))
    if dim is None and not input.numel() and input.dtype.is_float:
        return input.new_full((), np.nan)
    x = input.reshape(-1) if dim is None else input
    at = 0 if dim is None else normal_dim(dim, x.ndim)
    size = _some(x, at, "nanmedian" if ignore_nan else "median")
    places = order(x, at, False)
    if x.dtype.is_float:
        held = x.detach()
        numbers = (held == held).sum(at, True)
        rank = FUNCTIONS["maximum"](numbers - 1, as_tensor(0)) // 2
        if not ignore_nan:  # the first NaN, if there is one
            rank = FUNCTIONS["where"](numbers < size, numbers, as_tensor((size - 1) // 2))
        index = FUNCTIONS["gather"](places, at, rank)
    else:
        index = places.narrow(at, (size - 1) // 2, 1)
    values = FUNCTIONS["gather"](x, at, index)
    if dim is None:
        return values.reshape(())
    return ValuesIndices(values, index) if keepdim else ValuesIndices(values.squeeze(at), index.squeeze(at))


@overload
def median(input: Tensor) -> Tensor: ...
@overload
def median(input: Tensor, dim: int, keepdim: bool = False) -> ValuesIndices: ...
@function()
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element, the lower of two; NaN if there is one."""
    return _middle(input, dim, keepdim, False)


@overload
def nanmedian(input: Tensor) -> Tensor: ...
@overload
def nanmedian(input: Tensor, dim: int, keepdim: bool = False) -> ValuesIndices: ...
@function()
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element of those that are not NaN."""
    return _middle(input, dim, keepdim, True)


@function()
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The most frequent element of an axis, the smallest of several, and where it stands last."""
    at = normal_dim(dim, input.ndim)
    if not input.ndim:
        return ValuesIndices(input.clone(), input.new_zeros((), dtype=i64))
    _some(input, at, "mode")
    places = movedim(order(input, at, False), at, -1)
    ordered = FUNCTIONS["gather"](movedim(input.detach(), at, -1), -1, places)
    keys = wrap(ops.order_key(ordered.value))
    behind = _searched(keys, keys, True)
    counts = behind - _searched(keys, keys)
    if input.dtype.is_float:
        counts = FUNCTIONS["where"](ordered == ordered, counts, as_tensor(1))  # each NaN is for itself
    most = counts.argmax(-1, True)
    last = FUNCTIONS["gather"](behind, -1, most) - 1
    index = movedim(FUNCTIONS["gather"](places, -1, last), -1, at)
    values_ = FUNCTIONS["gather"](input, at, index)
    return ValuesIndices(values_, index) if keepdim else ValuesIndices(values_.squeeze(at), index.squeeze(at))


@function()
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """Values below which a share q of an axis lies, () or (S,) from 0 to 1; NaN where one that is computed is outside.

    interpolation: between the elements next to that place, "linear", "lower", "higher", "midpoint" or "nearest". Whole
    numbers become floats. Raises ValueError for other shares and names, ShapeError for nothing."""
    return _quantile(input, q, dim, keepdim, interpolation, False)


@function()
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """Quantiles of what is not NaN; see `quantile`."""
    return _quantile(input, q, dim, keepdim, interpolation, True)


_WEIGHTS: dict[str, Any] = {
    "linear": lambda place, low: place - low,
    "lower": lambda place, low: low * 0,
    "higher": lambda place, low: convert(place > low, f64),
    "midpoint": lambda place, low: convert(place > low, f64) * 0.5,
    "nearest": lambda place, low: place.round() - low,
}
"""Of the element above a place between two, by interpolation."""


def _shares(q: Any) -> Tensor:
    """Shares of an axis, f64 () or (S,), NaN for those outside of 0 to 1. Raises ValueError where they are known."""
    given = as_tensor(q)
    if given.ndim > 1:
        raise ShapeError(f"quantile: shares are a number or have one axis, found {shown(given.shape)}")
    share = convert(q, f64) if isinstance(q, Tensor) else as_tensor(q, f64)
    if not lazy.on_host(given.value):
        return FUNCTIONS["where"]((share >= 0) & (share <= 1), share, np.nan)
    known = lazy.array_of(given.value)
    if not ((known >= 0) & (known <= 1)).all():
        raise ValueError(f"quantile: shares are from 0 to 1, found {known.tolist()}")
    return share


def _quantile(x: Tensor, q: Any, dim: int | None, keepdim: bool, how: str, ignore_nan: bool) -> Tensor:
    if how not in _WEIGHTS:
        raise ValueError(f"quantile: interpolation is one of {', '.join(_WEIGHTS)}, not {how!r}")
    if not x.ndim:
        normal_dim(0 if dim is None else dim, 0, "quantile")
        return _quantile(x.reshape(1), q, 0, False, how, ignore_nan)
    x = x if x.dtype.is_float else x * 1.0
    share = _shares(q)
    at = 0 if dim is None else normal_dim(dim, x.ndim)
    rows = x.reshape(-1) if dim is None else movedim(x, at, -1)
    _some(rows, rows.ndim - 1, "quantile")
    ordered = sort(rows).values
    held = rows.detach()
    count = convert((held == held).sum(-1, True), f64) if ignore_nan else as_tensor(float(rows.shape[-1]), f64)
    most = FUNCTIONS["maximum"](count - 1, as_tensor(0.0, f64))
    place = most * share.reshape(-1)  # (..., number of shares)
    low = place.floor()
    high = place.ceil()
    w = _WEIGHTS[how](place, low)
    shape = (*rows.shape[:-1], place.shape[-1])
    a, b = (FUNCTIONS["gather"](ordered, -1, convert(p, i64).expand(*shape)) for p in (low, high))
    # an element that is met is itself: the way to an infinite or a much larger neighbour is no number times 0
    between = a + (b - a) * convert(w, x.dtype)
    made = FUNCTIONS["where"](w == 0, a, FUNCTIONS["where"](w == 1, b, between))
    if not ignore_nan:  # NaN where there is one in the row
        last = ordered.narrow(-1, rows.shape[-1] - 1, 1)
        made = FUNCTIONS["where"](last != last, last, made)
    if dim is None:
        kept = made.reshape(*((1,) * x.ndim if keepdim else ()), place.shape[-1])
    else:
        kept = made.unsqueeze(at) if keepdim else made
    return movedim(kept, -1, 0) if share.ndim else kept.squeeze(-1)


# --- sets -------------------------------------------------------------------------------------------------------------
@overload
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: Literal[False] = False,
    return_counts: Literal[False] = False,
    dim: int | None = None,
) -> Tensor: ...
@overload
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any: ...
@function()
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """Different elements in order, each NaN for itself; with the number of each among them, and how often it occurs."""
    dim = _set_axis(input, dim, "unique")
    if on_gpu(input):
        return _unique_there(input, return_inverse, return_counts, dim)
    a = np.asarray(input.detach().array())
    values, inverse, counts = np.unique(a, return_inverse=True, return_counts=True, axis=dim, equal_nan=False)
    inverse = np.asarray(inverse).reshape(a.shape if dim is None else (-1,))
    return _as_asked(
        from_array(values, input.dtype),
        from_array(inverse) if return_inverse else None,
        from_array(counts) if return_counts else None,
    )


def _as_asked(values: Tensor, inverse: Tensor | None, counts: Tensor | None) -> Any:
    """The values alone, or in a tuple with those of the others that were asked for."""
    parts = [part for part in (values, inverse, counts) if part is not None]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _of_rows(rows: Tensor, inverse: Tensor | None, counts: Tensor | None, input: Tensor, dim: int | None) -> Any:
    """`_as_asked` of rows along axis 0: that axis where it was, numbers of elements in the shape of the input."""
    if dim is not None:
        return _as_asked(movedim(rows, 0, dim), inverse, counts)
    return _as_asked(rows, None if inverse is None else inverse.reshape(input.shape), counts)


def _set_axis(x: Tensor, dim: int | None, op: str) -> int | None:
    if dim is not None and not x.ndim:
        raise IndexOutOfRangeError(f"{op}: axis {dim} of a tensor without axes", help="leave dim out")
    return None if dim is None else normal_dim(dim, x.ndim, op)


def _unique_there(input: Tensor, return_inverse: bool, return_counts: bool, dim: int | None) -> Any:
    """`unique` on a GPU: what differs from the one before, in order. Rows are put in order by one column at a time."""
    x = input.detach()
    rows = x.reshape(-1) if dim is None else movedim(x, dim, 0)
    size = rows.shape[0]
    if not size:
        none = x.new_zeros(0, dtype=i64)
        return _of_rows(rows, none if return_inverse else None, none if return_counts else None, input, dim)
    width = math.prod(rows.shape[1:])
    if width > MOST_COLUMNS:
        raise UnsupportedError(
            f"unique of rows of {width} elements has no CUDA schedule", help="copy it by .cpu() first"
        )
    columns = rows.reshape(size, width)
    places = order(columns.select(1, width - 1), 0, False) if width else wrap(beside(ops.arange(size), x.value))
    for c in range(width - 2, -1, -1):
        places = places[order(columns.select(1, c)[places], 0, False)]
    ordered = rows[places]
    starts = places_of(begins_of(ordered), "unique")
    inverse = _searched(starts, order(convert(places, i32), 0, False), True) - 1 if return_inverse else None
    counts = lengths_of(starts, size) if return_counts else None
    return _of_rows(ordered[starts], inverse, counts, input, dim)


@overload
def unique_consecutive(
    input: Tensor,
    return_inverse: Literal[False] = False,
    return_counts: Literal[False] = False,
    dim: int | None = None,
) -> Tensor: ...
@overload
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any: ...
@function()
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """Elements without those that equal the one before."""
    x, dim = input.detach(), _set_axis(input, dim, "unique_consecutive")
    rows = x.reshape(-1) if dim is None else movedim(x, dim, 0)
    size = rows.shape[0]
    starts = places_of(begins_of(rows), "unique_consecutive") if size else x.new_zeros(0, dtype=i64)
    inverse = counts = None
    if return_inverse:
        inverse = _searched(starts, wrap(ops.arange(size)), True) - 1 if size else starts
    if return_counts:
        counts = lengths_of(starts, size) if size else starts
    return _of_rows(rows[starts], inverse, counts, input, dim)


@function()
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is among the test elements."""
    given, among = as_tensor(elements), as_tensor(test_elements)
    if isinstance(elements, Tensor) and not isinstance(test_elements, Tensor):
        among = among.to(given.device)
    elif isinstance(test_elements, Tensor) and not isinstance(elements, Tensor):
        given = given.to(among.device)
    (a, b), _ = common(given, among)
    x, tests = a.detach().reshape(-1), b.detach().reshape(-1)
    if not tests.numel() or not x.numel():
        return a.new_full(tuple(a.shape), invert, dtype=bool_)
    keys = wrap(ops.order_key(FUNCTIONS["gather"](tests, 0, order(tests, 0, False)).value))
    mine = wrap(ops.order_key(x.value))
    place = _searched(keys, mine).clamp(max=tests.shape[0] - 1)
    found = (FUNCTIONS["gather"](keys, 0, place) == mine) & (x == x)
    return (~found if invert else found).reshape(tuple(a.shape))


@function()
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number from 0 on occurs, or the sum of its weights. The host reads the largest of them."""
    if input.dtype.is_float or input.ndim != 1:
        raise (DTypeError if input.dtype.is_float else ShapeError)(
            f"{_WHOLE}, found {input.dtype} of {shown(input.shape)}"
        )
    if minlength < 0:
        raise ValueError(f"bincount: minlength is at least 0, found {minlength}")
    if weights is not None and weights.shape != input.shape:
        raise ShapeError(f"bincount: weights of {shown(weights.shape)} for numbers of {shown(input.shape)}")
    if on_gpu(input):
        return _bincount_there(input, weights, minlength)
    if lazy.capturing():
        number(input, "bincount")
    a = np.asarray(input.array())
    if a.size and a.min() < 0:
        raise ShapeError(f"{_WHOLE}, found {a.min()}")
    if weights is None:
        return from_array(np.bincount(a, minlength=minlength).astype(np.int64))
    found = np.bincount(a, np.asarray(weights.array()), minlength)
    return from_array(found, weights.dtype if weights.dtype.is_float else None)


_WHOLE = "bincount takes whole numbers of at least 0 along one axis"


def _bincount_there(input: Tensor, weights: Tensor | None, minlength: int) -> Tensor:
    x, size = convert(input, i64), minlength
    if x.numel():
        ends = FUNCTIONS["stack"](FUNCTIONS["aminmax"](x))
        if lazy.capturing():
            number(ends, "bincount")
        least, most = ends.tolist()
        if least < 0:
            raise ShapeError(f"{_WHOLE}, found {least}")
        size = max(size, most + 1)
    if weights is not None:
        dtype = weights.dtype if weights.dtype.is_float else f64
        made: Tensor = FUNCTIONS["zeros"](size, dtype=f64).index_add(0, x, convert(weights, f64))
        return convert(made, dtype)
    if not x.numel():
        return x.new_zeros(size, dtype=i64)
    return counted(x, wrap(ops.arange(size + 1)), False)


def counted(x: Tensor, edges: Tensor, closed: bool) -> Tensor:
    """How many elements of x (N,) lie from each edge (B + 1,) up to the next, without it; with the last if `closed`.
    NaN is nowhere."""
    bins = edges.shape[0] - 1
    if not x.shape[0]:
        return x.new_zeros(bins, dtype=i64)
    real = x == x
    held = FUNCTIONS["where"](real, x, np.inf) if x.dtype.is_float else x
    ordered = FUNCTIONS["gather"](held, 0, order(held, 0, False))
    below = _searched(ordered, edges)
    ends = below.narrow(0, 1, bins)
    if closed:
        last = FUNCTIONS["minimum"](_searched(ordered, edges.narrow(0, bins, 1), True), real.sum())
        ends = FUNCTIONS["cat"]([ends.narrow(0, 0, bins - 1), last])
    return ends - below.narrow(0, 0, bins)


def limits_of(op: str, bins: int, low: float, high: float, apart: float) -> tuple[float, float]:
    """The limits of so many bins; where both are the same, `apart` to both sides. Raises ValueError for none."""
    if bins <= 0:
        raise ValueError(f"{op}: at least one bin is needed, found {bins}")
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"{op}: bins from {low} to {high} are not possible; give finite limits in order")
    return (low - apart, high + apart) if low == high else (low, high)


@function()
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements lie in each of so many equal bins from min to max (of all where both are the same).

    Raises ValueError for no bins, and for limits that are not finite or fall; not where those of all are computed
    inside of a compiled function."""
    x = convert(input.detach().reshape(-1), f64)
    given = min != max
    known = given or not x.numel() or not (lazy.capturing() or lazy._levels.get())
    least, most = (min, max) if given or not x.numel() else FUNCTIONS["aminmax"](x)
    if known:
        low, high = (as_tensor(v, f64) for v in limits_of("histc", bins, float(least), float(most), 1.0))
    else:
        apart = convert(FUNCTIONS["eq"](least, most), f64)
        low, high = least - apart, most + apart
    inner = wrap(ops.arange(bins + 1)).to(f64)
    edges = FUNCTIONS["where"](inner == bins, high, low + inner * ((high - low) / bins))
    return convert(counted(x, edges, True), input.dtype)


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
    if sorter is not None:
        sorted_sequence = FUNCTIONS["gather"](sorted_sequence, -1, sorter)
    if not sorted_sequence.shape[-1] or not x.numel():
        return x.new_zeros(tuple(x.shape), dtype=i32 if out_int32 else i64)
    wanted = x.reshape(-1) if sorted_sequence.ndim == 1 else x
    return convert(_searched(sorted_sequence, wanted, behind).reshape(tuple(x.shape)), i32 if out_int32 else i64)


def _fits_rows(rows: Tensor, x: Tensor, sorter: Tensor | None) -> None:
    if not rows.ndim:
        raise ShapeError("searchsorted: boundaries are rows, found a tensor without axes")
    if rows.ndim > 1 and rows.shape[:-1] != x.shape[:-1]:
        raise ShapeError(f"searchsorted: rows of {shown(rows.shape)} do not fit an input of {shown(x.shape)}")
    if sorter is not None and sorter.dtype != i64:
        raise DTypeError(f"searchsorted: the sorter is int64, found {sorter.dtype}")
    if sorter is not None and sorter.shape != rows.shape:
        raise ShapeError(f"searchsorted: a sorter of {shown(sorter.shape)} for rows of {shown(rows.shape)}")


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
