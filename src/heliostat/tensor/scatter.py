"""Products and extremes of elements by number: NumPy on the cpu, graph on GPUs and in what is compiled. Gradients are
graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.types import i64
from . import lazy
from .conversion import convert, from_array
from .core import Tensor
from .function import Function
from .register import FUNCTIONS


class Scattered(Function):
    """input with src put together with it at the places of `index` along an axis: "prod", "amax" or "amin"."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, src: Tensor, index: Tensor, axis: int, reduce: str, include_self: bool) -> Tensor:
        if lazy.capturing() or x.device.type != "cpu":
            y = _reduced_in_graph(x.detach(), axis, index, src.detach(), reduce, include_self)
        else:
            y = from_array(_reduced(x, axis, index, src, reduce, include_self), x.dtype)
        ctx.save_for_backward(x, src, index, y)
        ctx.axis, ctx.reduce, ctx.include_self = axis, reduce, include_self
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Extremes share their gradient among all that are equal, as in PyTorch. That of a product differentiates again
        where no factor is 0."""
        x, src, index, y = ctx.saved_tensors
        part = src[tuple(slice(0, s) for s in index.shape)]
        share = _of_product if ctx.reduce == "prod" else _of_extreme
        gx, gs = share(ctx, x, part, index, y, g)
        whole = FUNCTIONS["zeros_like"](src)
        whole[tuple(slice(0, s) for s in index.shape)] = gs
        if not ctx.include_self:
            ones = FUNCTIONS["ones_like"](part.detach())
            gx = gx * (FUNCTIONS["scatter_add"](FUNCTIONS["zeros_like"](x), ctx.axis, index, ones) == 0)
        return gx, whole, None, None, None, None


def _of_extreme(ctx: Any, x: Tensor, src: Tensor, index: Tensor, y: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    own = convert(x == y, g.dtype)
    hits = convert(src == y.gather(ctx.axis, index), g.dtype)
    if not ctx.include_self:
        reached = FUNCTIONS["scatter_add"](own * 0, ctx.axis, index, FUNCTIONS["ones_like"](hits)) != 0
        own = FUNCTIONS["where"](reached, 0.0, own)
    share = g / FUNCTIONS["scatter_add"](own, ctx.axis, index, hits).clamp(min=1)
    return own * share, hits * share.gather(ctx.axis, index)


def _of_product(ctx: Any, x: Tensor, src: Tensor, index: Tensor, y: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    where = FUNCTIONS["where"]
    full = where(x == 0, 1.0, x), where(src == 0, 1.0, src)
    others: Tensor = Scattered.apply(full[0], full[1], index, ctx.axis, "prod", ctx.include_self)
    own = convert(x == 0, g.dtype)
    if not ctx.include_self:
        reached = FUNCTIONS["scatter_add"](own * 0, ctx.axis, index, FUNCTIONS["ones_like"](src)) != 0
        own = where(reached, 0.0, own)
    zeros = FUNCTIONS["scatter_add"](own, ctx.axis, index, convert(src == 0, g.dtype))

    def share(element: Tensor, product: Tensor, count: Tensor) -> Tensor:
        one = where(element == 0, 1.0, element)
        found: Tensor = product / one * convert(where(element == 0, count == 1, count == 0), g.dtype)
        return found

    at = ctx.axis
    return g * share(x, others, zeros), (
        g.gather(at, index) * share(src, others.gather(at, index), zeros.gather(at, index))
    )


def _reduced(x: Tensor, axis: int, index: Tensor, src: Tensor, reduce: str, include_self: bool) -> Any:
    y = np.array(x.detach().array())
    places = list(np.indices(tuple(index.shape)))
    places[axis] = np.asarray(index.array())
    key = tuple(places)
    if not include_self:
        y[key] = {"prod": 1, "amax": _lowest(y.dtype), "amin": _highest(y.dtype)}[reduce]
    values = src.detach().array()[tuple(slice(0, s) for s in index.shape)]
    {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum}[reduce].at(y, key, values)
    return y


def _reduced_in_graph(x: Tensor, axis: int, index: Tensor, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    """The same: elements in the order of where they go, a scan of each run of equal places by doubling steps (Hillis
    and Steele 1986), and from each place of x the last of its run."""
    if not index.numel():
        return x.clone()
    join = {"prod": FUNCTIONS["mul"], "amax": FUNCTIONS["maximum"], "amin": FUNCTIONS["minimum"]}[reduce]
    cat, where, arange = FUNCTIONS["cat"], FUNCTIONS["where"], FUNCTIONS["arange"]
    places: Any = 0
    numbers = index.to(i64)
    for a, size in enumerate(index.shape):
        column = [1] * a + [size] + [1] * (index.ndim - 1 - a)
        places = places * x.shape[a] + (numbers if a == axis else arange(size).reshape(column))
    # numbers outside of the axis go nowhere: without this they would go to other rows
    places = where((numbers >= 0) & (numbers < x.shape[axis]), places, x.numel())
    places, order = places.expand(tuple(index.shape)).reshape(-1).sort(stable=True)
    values = src[tuple(slice(0, s) for s in index.shape)].reshape(-1)[order]
    step = 1
    while step < len(places):
        joined = join(values[step:], values[:-step]).to(values.dtype)
        same = places[step:] == places[:-step]
        values = cat([values[:step], where(same, joined, values[step:])])
        step *= 2
    own = x.reshape(-1)
    every = arange(len(own))
    last = FUNCTIONS["searchsorted"](places, every, right=True) - 1
    there = (last >= 0) & (places[last.clamp(min=0)] == every)
    found = values[last.clamp(min=0)]
    made: Tensor = where(there, join(own, found).to(x.dtype) if include_self else found, own)
    return made.reshape(tuple(x.shape))


def _lowest(dtype: Any) -> Any:
    return -np.inf if dtype.kind == "f" else dtype.kind != "b" and np.iinfo(dtype).min


def _highest(dtype: Any) -> Any:
    return np.inf if dtype.kind == "f" else dtype.kind == "b" or np.iinfo(dtype).max
