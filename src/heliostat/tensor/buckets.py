"""Histograms, and reductions of elements that are grouped by numbers or by lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..diagnostics import DTypeError, ShapeError, UnsupportedError
from ..ir.types import f32, f64, i64
from ..ops.rules import shown
from . import lazy
from .core import Tensor, as_tensor, convert, from_array, normal_dim, wrap
from .devices import beside
from .places import coordinates, number
from .register import FUNCTIONS, METHODS, function
from .sorting import counted, limits_of


class Histogram(NamedTuple):
    """Sums of weights by bucket, and the edges of buckets."""

    hist: Tensor
    bin_edges: Any


def _check(name: str, x: Tensor) -> None:
    if x.dtype not in (f32, f64):
        raise DTypeError(f"{name} takes float32 or float64, found {x.dtype}", help="convert it by to()")


def _known(name: str, x: Tensor) -> Any:
    _check(name, x)
    return np.asarray(x.detach().array())


@function()
def histogram(
    input: Tensor,
    bins: Any,
    *,
    range: Sequence[float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Histogram:
    """How many elements, or which sum of weights, lies in each bucket: so many equal ones over `range`, by default from
    the least element to the largest, or those between the edges (bins + 1,) that are given.

    f32 and f64, without gradients; with `density` shares per width. Elements outside count for nothing."""
    for x in (input, weight, bins):
        if isinstance(x, Tensor):
            _check("histogram", x)
    x = input.detach().reshape(-1)
    if isinstance(bins, Tensor):
        if range is not None:
            raise ValueError("histogram: range is for a number of bins, not for edges")
        edges = _checked(bins.detach(), x.dtype)
    else:
        low, high = _limits(x, int(bins), range)
        edges = wrap(beside(as_tensor(np.linspace(low, high, int(bins) + 1), x.dtype).value, x.value))
    if weight is not None and weight.shape != input.shape:
        raise ShapeError(f"histogram: weights of {shown(weight.shape)} for elements of {shown(input.shape)}")
    found = _summed(x, edges, None if weight is None else weight.detach().reshape(-1))
    if density:
        found = found / (found.sum() * (edges.narrow(0, 1, found.shape[0]) - edges.narrow(0, 0, found.shape[0])))
    return Histogram(convert(found, input.dtype), edges)


def _checked(edges: Tensor, dtype: Any) -> Tensor:
    """Edges in the dtype of what is counted. Raises ShapeError for another shape, ValueError for those that fall, not
    where they are computed inside of a compiled function."""
    if edges.ndim != 1 or edges.shape[0] < 2:
        raise ShapeError(f"histogram: edges have one axis of at least two, found {shown(edges.shape)}")
    if lazy.on_host(edges.value):
        rise = bool((np.diff(lazy.array_of(edges.value)) >= 0).all())
    else:
        rise = bool(lazy.capturing() or lazy._levels.get()) or bool((edges[1:] >= edges[:-1]).all().item())
    if not rise:
        raise ValueError("histogram: edges must not fall, and none may be NaN")
    return convert(edges, dtype)


def _summed(x: Tensor, edges: Tensor, weight: Tensor | None) -> Tensor:
    """How many elements of x (N,) lie between neighbours of edges (B + 1,), or which sum of weights, f64 (B,). The last
    edge belongs to the last bucket, and what is NaN to none."""
    bins = edges.shape[0] - 1
    if weight is None:
        return convert(counted(x, edges, True), f64)
    inside = (x >= edges.narrow(0, 0, 1)) & (x <= edges.narrow(0, bins, 1))
    number = (FUNCTIONS["searchsorted"](edges, x, right=True) - 1).clamp(0, bins - 1)
    share = FUNCTIONS["where"](inside, convert(weight, f64), 0.0)
    made: Tensor = FUNCTIONS["zeros"](bins, dtype=f64).index_add(0, number, share)
    return made


def _limits(x: Tensor, bins: int, limits: Sequence[float] | None) -> tuple[float, float]:
    """Those given, or the least and the largest element, which the host reads."""
    if limits is None:
        ends = FUNCTIONS["stack"](FUNCTIONS["aminmax"](x)) if x.numel() else None
        if ends is not None and lazy.capturing():
            number(ends, "histogram")
        limits = (0.0, 1.0) if ends is None else ends.tolist()
    low, high = limits
    return limits_of("histogram", bins, low, high, 0.5)


def _edges(a: Any, bins: int, limits: Sequence[float] | None) -> Any:
    low, high = limits if limits is not None else (float(a.min()), float(a.max())) if a.size else (0.0, 1.0)
    return np.linspace(*limits_of("histogram", bins, low, high, 0.5), bins + 1)


@function()
def histogramdd(
    input: Tensor,
    bins: Any,
    *,
    range: Sequence[float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Histogram:
    """`histogram` of points (..., N): of shape `bins`, one number or vector of edges for each of the N coordinates.

    range: N pairs of limits, one after the other."""
    a = _known("histogramdd", input)
    if not a.ndim:
        raise ShapeError("histogramdd takes points along the last axis, found a tensor without axes")
    points = a.reshape(-1, a.shape[-1])
    n = points.shape[1]
    given = [bins] * n if isinstance(bins, int) else list(bins)
    if len(given) != n or (range is not None and len(range) != 2 * n):
        raise ShapeError(f"histogramdd: {len(given)} bins for points of {n} coordinates", help="one of each")
    limits = [None] * n if range is None else [tuple(range[2 * i : 2 * i + 2]) for i in np.arange(n)]
    edges = [
        _known("histogramdd", b) if isinstance(b, Tensor) else _edges(points[:, i], int(b), limits[i]).astype(a.dtype)
        for i, b in enumerate(given)
    ]
    w = None if weight is None else _known("histogramdd", weight).reshape(-1)
    found = np.histogramdd(points, edges, weights=w, density=density)[0]
    return Histogram(from_array(found, input.dtype), tuple(from_array(e, input.dtype) for e in edges))


@function(in_place=True)
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """input with slices of source put together with the elements of an axis that `index` (n,) names: "prod", "mean",
    "amax" or "amin"."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise ValueError(f"index_reduce: reduce is 'prod', 'mean', 'amax' or 'amin', not {reduce!r}")
    at = normal_dim(dim, input.ndim, "index_reduce")
    ids = as_tensor(index).reshape(-1)
    if input.ndim != source.ndim or (source.ndim and source.shape[at] != ids.shape[0]):
        raise ShapeError(f"index_reduce: {shown(source.shape)} and {shown(ids.shape)} do not fit axis {at}")
    if not input.ndim:
        one = index_reduce(input.reshape(1), 0, ids, source.reshape(1), reduce, include_self=include_self)
        return one.reshape(())
    wide = ids.reshape([-1 if i == at else 1 for i in np.arange(input.ndim)]).expand(tuple(source.shape))
    made: Tensor = FUNCTIONS["scatter_reduce"](input, at, wide, source, reduce, include_self=include_self)
    return made


_OF_NOTHING = {"sum": 0.0, "mean": math.nan, "prod": 1.0, "max": -math.inf, "min": math.inf}


@function(method=False)
def segment_reduce(
    data: Tensor,
    reduce: str,
    *,
    lengths: Tensor | None = None,
    indices: Tensor | None = None,
    offsets: Tensor | None = None,
    axis: int = 0,
    unsafe: bool = False,
    initial: float | None = None,
) -> Tensor:
    """ "sum", "mean", "prod", "max" or "min" of neighbouring pieces of an axis, of `lengths` (..., S), or from offsets
    (..., S + 1) on; leading axes are those of data in front of `axis`. The gradient goes to the elements.

    An empty piece gives `initial`, by default 0, NaN, 1, -inf or inf. Raises ShapeError for lengths that do not make
    the axis, also where `unsafe` allows it in PyTorch."""
    if reduce not in _OF_NOTHING:
        raise ValueError(f"segment_reduce: reduce is one of {', '.join(_OF_NOTHING)}, not {reduce!r}")
    if indices is not None:
        raise UnsupportedError("segment_reduce(indices=) is not there", help="use lengths or offsets")
    if (lengths is None) == (offsets is None):
        raise ValueError("segment_reduce takes lengths or offsets, one of both")
    at = normal_dim(axis, data.ndim, "segment_reduce")
    given: Any = np.asarray((lengths if lengths is not None else offsets).array())  # type: ignore[union-attr]
    if offsets is not None:
        given = np.diff(given, axis=-1)
    lead, rest = tuple(data.shape[:at]), tuple(data.shape[at + 1 :])
    if given.shape[:-1] != lead or (given < 0).any() or (given.sum(-1) != data.shape[at]).any():
        raise ShapeError(f"segment_reduce: lengths {given.tolist()} do not make axis {at} of {shown(data.shape)}")
    pieces = given.shape[-1]
    ids = np.repeat(np.arange(given.size), given.reshape(-1))
    rows = data.reshape(len(ids), math.prod(rest))
    empty = _OF_NOTHING[reduce] if initial is None else float(initial)
    start = FUNCTIONS["full"]((given.size, math.prod(rest)), empty, dtype=data.dtype)
    wide = as_tensor(ids.astype(np.int64)).reshape(-1, 1).expand(tuple(rows.shape))
    kind = {"max": "amax", "min": "amin"}.get(reduce, reduce)
    # PyTorch begins each piece with `initial`, a mean divides by the number of elements
    if reduce == "mean":
        base = start * 0 if initial is not None else FUNCTIONS["zeros_like"](start)
        base = base + (0.0 if initial is None else float(initial))
        total = FUNCTIONS["scatter_reduce"](base, 0, wide, rows, "sum", include_self=True)
        count = from_array(given.reshape(-1, 1)).to(data.dtype)
        made = FUNCTIONS["where"](count > 0, total / count.clamp(min=1), start)
    else:
        made = FUNCTIONS["scatter_reduce"](start, 0, wide, rows, kind, include_self=True)
    found: Tensor = made.reshape(*lead, pieces, *rest)
    return found


@function()
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """As `nonzero`, of exactly `size` rows: cut off, or filled up with `fill_value`. i64 (size, rank)."""
    flat = input.detach().reshape(-1) != 0
    count = min(size, flat.shape[0])
    order = FUNCTIONS["argsort"](flat, descending=True).narrow(0, 0, count)
    there = wrap(ops.arange(count)) < flat.sum()
    found = [FUNCTIONS["where"](there, p, fill_value) for p in coordinates(order, tuple(input.shape))]
    rows = FUNCTIONS["stack"](found, 1) if found else FUNCTIONS["full"]((count, 0), fill_value, dtype=i64)
    fill = FUNCTIONS["full"]((size - count, input.ndim), fill_value, dtype=i64)
    made: Tensor = FUNCTIONS["cat"]([rows, fill])
    return made


METHODS.pop("histogramdd")
