"""Histograms, and reductions of elements that are grouped by numbers or by lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..diagnostics import DTypeError, ShapeError, UnsupportedError
from ..ir.types import bool_, f32, f64, i64
from ..ops.rules import shown
from . import lazy
from .conversion import as_tensor, convert
from .core import Tensor, wrap
from .devices import beside
from .dims import normal_dim
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


@function()
def histogram(
    input: Tensor,
    bins: Any = 100,
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
    edges = _edges("histogram", x, bins, range)
    if weight is not None and weight.shape != input.shape:
        raise ShapeError(f"histogram: weights of {shown(weight.shape)} for elements of {shown(input.shape)}")
    found = _summed(x, edges, None if weight is None else weight.detach().reshape(-1))
    if density:
        found = found / (found.sum() * _widths(edges))
    return Histogram(convert(found, input.dtype), edges)


def _edges(name: str, x: Tensor, bins: Any, limits: Sequence[float] | None) -> Tensor:
    """(bins + 1,) edges of buckets for the elements of x (N,): those given, or at equal distances."""
    if isinstance(bins, Tensor):
        if limits is not None:
            raise ValueError(f"{name}: range is for a number of bins, not for edges")
        return _checked(name, bins.detach(), x.dtype)
    low, high = _limits(name, x, int(bins), limits)
    return wrap(beside(as_tensor(np.linspace(low, high, int(bins) + 1), x.dtype).value, x.value))


def _widths(edges: Tensor) -> Tensor:
    return edges[1:] - edges[:-1]


def _checked(name: str, edges: Tensor, dtype: Any) -> Tensor:
    """Edges in the dtype of what is counted. Raises ShapeError for another shape, ValueError for those that fall, not
    where they are computed inside of a compiled function."""
    if edges.ndim != 1 or edges.shape[0] < 2:
        raise ShapeError(f"{name}: edges have one axis of at least two, found {shown(edges.shape)}")
    if lazy.on_host(edges.value):
        rise = bool((np.diff(lazy.array_of(edges.value)) >= 0).all())
    else:
        rise = bool(lazy.capturing() or lazy._levels.get()) or bool((edges[1:] >= edges[:-1]).all().item())
    if not rise:
        raise ValueError(f"{name}: edges must not fall, and none may be NaN")
    return convert(edges, dtype)


def _summed(x: Tensor, edges: Tensor, weight: Tensor | None) -> Tensor:
    """How many elements of x (N,) lie between neighbours of edges (B + 1,), or which sum of weights, f64 (B,). The last
    edge belongs to the last bucket, and what is NaN to none."""
    bins = edges.shape[0] - 1
    if weight is None:
        return convert(counted(x, edges, True), f64)
    at, inside = _bucket(x, edges)
    share = FUNCTIONS["where"](inside, convert(weight, f64), 0.0)
    made: Tensor = FUNCTIONS["zeros"](bins, dtype=f64).index_add(0, at, share)
    return made


def _bucket(x: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """The number of the bucket of each element, and whether it lies in one."""
    bins = edges.shape[0] - 1
    inside = (x >= edges.narrow(0, 0, 1)) & (x <= edges.narrow(0, bins, 1))
    return (FUNCTIONS["searchsorted"](edges, x, right=True) - 1).clamp(0, bins - 1), inside


def _limits(name: str, x: Tensor, bins: int, limits: Sequence[float] | None) -> tuple[float, float]:
    """Those given, or the least and the largest element, which the host reads."""
    if limits is None:
        ends = FUNCTIONS["stack"](FUNCTIONS["aminmax"](x)) if x.numel() else None
        if ends is not None and lazy.capturing():
            number(ends, name)
        limits = (0.0, 1.0) if ends is None else ends.tolist()
    low, high = limits
    return limits_of(name, bins, low, high, 0.5)


@function()
def histogramdd(
    input: Tensor,
    bins: Any,
    range: Sequence[float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Histogram:
    """`histogram` of points (..., N): of shape `bins`, one number or vector of edges for each of the N coordinates.

    range: N pairs of limits, one after the other."""
    given: Any
    for given in (input, weight, *(bins if not isinstance(bins, int | Tensor) else ())):
        if isinstance(given, Tensor):
            _check("histogramdd", given)
    if not input.ndim:
        raise ShapeError("histogramdd takes points along the last axis, found a tensor without axes")
    n = input.shape[-1]
    points = input.detach().reshape(math.prod(input.shape[:-1]), n)
    if weight is not None and weight.numel() != points.shape[0]:
        what = f"histogramdd: weights of {shown(weight.shape)} for points of {shown(input.shape)}"
        raise ShapeError(what, help="one of each point")
    given = [bins] * n if isinstance(bins, int) else list(bins)
    if len(given) != n or (range is not None and len(range) != 2 * n):
        raise ShapeError(f"histogramdd: {len(given)} bins for points of {n} coordinates", help="one of each")
    edges: list[Tensor] = []
    at, inside = FUNCTIONS["zeros"](points.shape[0], dtype=i64), FUNCTIONS["ones"](points.shape[0], dtype=bool_)
    for i, b in enumerate(given):
        x = points[:, i]
        edges.append(_edges("histogramdd", x, b, None if range is None else range[2 * i : 2 * i + 2]))
        bucket, there = _bucket(x, edges[-1])
        at, inside = at * (edges[-1].shape[0] - 1) + bucket, inside & there
    sizes = [e.shape[0] - 1 for e in edges]
    share: Any = 1.0 if weight is None else convert(weight.detach().reshape(-1), f64)
    share = FUNCTIONS["where"](inside, share, 0.0).to(f64)
    found = FUNCTIONS["zeros"](math.prod(sizes), dtype=f64).index_add(0, at, share).reshape(sizes)
    if density:
        found = found / found.sum()
        for i, e in enumerate(edges):
            found = found / _widths(e).reshape([-1 if i == j else 1 for j in np.arange(n)])
    return Histogram(convert(found, input.dtype), tuple(edges))


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

    An empty piece gives `initial`, by default 0, NaN, 1, -inf or inf. The host reads the lengths. Raises ShapeError
    for some that do not make the axis, also where `unsafe` allows it in PyTorch."""
    if reduce not in _OF_NOTHING:
        raise ValueError(f"segment_reduce: reduce is one of {', '.join(_OF_NOTHING)}, not {reduce!r}")
    if indices is not None:
        raise UnsupportedError("segment_reduce(indices=) is not there", help="use lengths or offsets")
    if (lengths is None) == (offsets is None):
        raise ValueError("segment_reduce takes lengths or offsets, one of both")
    at = normal_dim(axis, data.ndim, "segment_reduce")
    held: Tensor = lengths if lengths is not None else offsets  # type: ignore[assignment]
    if lazy.capturing():
        number(held, "segment_reduce")
    given: Any = np.asarray(held.host_array())
    if offsets is not None:
        if given[..., :1].any():
            raise ShapeError(f"segment_reduce: offsets begin at 0, found {given.tolist()}")
        given = np.diff(given, axis=-1)
    lead, rest = tuple(data.shape[:at]), tuple(data.shape[at + 1 :])
    if given.shape[:-1] != lead or (given < 0).any() or (given.sum(-1) != data.shape[at]).any():
        raise ShapeError(f"segment_reduce: lengths {given.tolist()} do not make axis {at} of {shown(data.shape)}")
    pieces, count = given.shape[-1], math.prod(lead) * data.shape[at]
    rows = data.reshape(count, math.prod(rest))
    empty = _OF_NOTHING[reduce] if initial is None else float(initial)
    start = data.new_full((given.size, math.prod(rest)), empty)
    sizes = (held if lengths is not None else held[..., 1:] - held[..., :-1]).to(i64)
    ids = FUNCTIONS["searchsorted"](sizes.reshape(-1).cumsum(0), FUNCTIONS["arange"](count), right=True)
    wide = ids.reshape(-1, 1).expand(tuple(rows.shape))
    kind = {"max": "amax", "min": "amin"}.get(reduce, reduce)
    # PyTorch begins each piece with `initial`, a mean divides by the number of elements
    if reduce == "mean":
        base = start * 0 if initial is not None else FUNCTIONS["zeros_like"](start)
        base = base + (0.0 if initial is None else float(initial))
        total = FUNCTIONS["scatter_reduce"](base, 0, wide, rows, "sum", include_self=True)
        counts = sizes.reshape(-1, 1).to(data.dtype)
        made = FUNCTIONS["where"](counts > 0, total / counts.clamp(min=1), start)
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
