"""Reductions over axes, norms and statistics, and running reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, overload

from .. import ops
from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value
from ..ir.types import bf16, bool_, f16, f32, f64
from ..ops.rules import shown
from .comparison import flags
from .conversion import as_tensor, convert
from .core import Tensor, wrap
from .dims import normal_dim, normal_dims
from .dtypes import dtype_of
from .pointwise import floats
from .register import FUNCTIONS, function

Dims = int | Sequence[int] | None


class ValuesIndices(NamedTuple):
    """Elements, and where they stand."""

    values: Tensor
    indices: Tensor


class MinMax(NamedTuple):
    """The smallest and the largest elements."""

    min: Tensor
    max: Tensor


def reduced(op: Any, x: Tensor, dim: Dims, keepdim: bool, name: str) -> Tensor:
    """A reduction op over axes; of a tensor without axes over its one element."""
    v = x.value
    if not v.type.shape:
        v = ops.reshape(v, (1,))
        return wrap(op(v, (0,), False), x)
    return wrap(op(v, normal_dims(dim, x.ndim, name), keepdim), x)


@function()
def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum over axes, all where none is named. Integers and bools are summed in int64."""
    x = as_tensor(input) if dtype is None else convert(input, dtype_of(dtype))
    y = reduced(ops.sum, x, dim, keepdim, "sum")
    return y if dtype is None else convert(y, dtype_of(dtype))


@function()
def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Mean over axes, all where none is named. Raises DTypeError for integers unless a float dtype is given."""
    x = input if dtype is None else convert(input, dtype_of(dtype))
    if not x.dtype.is_float:
        raise DTypeError(f"mean takes floats, found a tensor of {x.dtype}", help="give dtype=float32")
    return reduced(ops.mean, x, dim, keepdim, "mean")


@function()
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Product over one axis, or of all elements."""
    x = input if dtype is None else convert(input, dtype_of(dtype))
    y = reduced(ops.prod, x, dim, keepdim, "prod")
    return y if dtype is None else convert(y, dtype_of(dtype))


def _nonempty(x: Tensor, dim: Dims, name: str) -> None:
    if 0 in (x.shape[d] for d in normal_dims(dim, x.ndim, name)):
        raise ShapeError(f"{name} of an empty axis has no value: a tensor of shape {list(x.shape)}")


@function()
def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Largest elements over axes; equal ones share the gradient."""
    _nonempty(input, dim, "amax")
    return reduced(ops.max, input, dim, keepdim, "amax")


@function()
def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Smallest elements over axes; equal ones share the gradient."""
    _nonempty(input, dim, "amin")
    return reduced(ops.min, input, dim, keepdim, "amin")


@function()
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> MinMax:
    """Smallest and largest elements."""
    return MinMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


@function()
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the first largest element stands, along an axis or among all elements in order."""
    _nonempty(input, dim, "argmax")
    v = input.value
    if dim is None:
        y = ops.argmax(ops.reshape(v, (-1,)), 0)
        return wrap(ops.reshape(y, (1,) * input.ndim) if keepdim else y, input)
    if not input.ndim:
        return wrap(ops.argmax(ops.reshape(v, (1,)), 0), input)
    return wrap(ops.argmax(v, normal_dim(dim, input.ndim, "argmax"), keepdim), input)


@function()
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the first smallest element stands."""
    if input.dtype == bool_:
        return argmax(input.logical_not(), dim, keepdim)
    return argmax(~input if not input.dtype.is_float else -input, dim, keepdim)


def _extreme(input: Tensor, dim: Any, keepdim: bool, total: Any, place: Any, pair: Any) -> Any:
    if isinstance(dim, Tensor):
        return pair(input, dim)
    if dim is None:
        return total(input)
    at = place(input, dim, True)
    values = FUNCTIONS["gather"](input, dim, at) if input.ndim else input
    if not keepdim and input.ndim:
        values, at = values.squeeze(dim), at.squeeze(dim)
    return ValuesIndices(values, at)


@overload
def max(input: Tensor) -> Tensor: ...
@overload
def max(input: Tensor, dim: int, keepdim: bool = False) -> ValuesIndices: ...
@overload
def max(input: Tensor, dim: Tensor, /) -> Tensor: ...
@overload
def max(input: Tensor, *, other: Tensor) -> Tensor: ...
@function()
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The largest element; along an axis (values, indices); of two tensors the larger of each pair."""
    return _extreme(input, dim if other is None else other, keepdim, amax, argmax, FUNCTIONS["maximum"])


@overload
def min(input: Tensor) -> Tensor: ...
@overload
def min(input: Tensor, dim: int, keepdim: bool = False) -> ValuesIndices: ...
@overload
def min(input: Tensor, dim: Tensor, /) -> Tensor: ...
@overload
def min(input: Tensor, *, other: Tensor) -> Tensor: ...
@function()
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The smallest element; along an axis (values, indices); of two tensors the smaller of each pair."""
    return _extreme(input, dim if other is None else other, keepdim, amin, argmin, FUNCTIONS["minimum"])


@function()
def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether all elements are true (not 0); of uint8 as uint8, as PyTorch has it."""
    return _flag(input, dim, lambda x: x.logical_not().sum(dim, keepdim) == 0)


@function()
def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether an element is true (not 0); of uint8 as uint8, as PyTorch has it."""
    return _flag(input, dim, lambda x: x.sum(dim, keepdim) != 0)


def _flag(input: Tensor, dim: Dims, over: Callable[[Tensor], Tensor]) -> Tensor:
    x = flags(input)
    found = x if isinstance(dim, list | tuple) and not dim else over(x)
    return convert(found, input.dtype) if input.dtype.kind == "u" else found


@function()
def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements are not 0."""
    return sum(flags(input), dim)


@function()
def nansum(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Sum of what is not NaN."""
    return sum(input.masked_fill(input.isnan(), 0.0), dim, keepdim)


@function()
def nanmean(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Mean of what is not NaN."""
    return nansum(input, dim, keepdim) / input.isnan().logical_not().sum(dim, keepdim)


# --- statistics -------------------------------------------------------------------------------------------------------
def _count(x: Tensor, dim: Dims) -> int:
    total = 1
    for d in normal_dims(dim, x.ndim):
        total *= x.shape[d]
    return total


@function()
def var(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Variance over axes: squares of the distance from the mean, over their number less `correction` (1)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    less = (1 if unbiased else 0) if correction is None else correction
    t = input - mean(input, dim, True)
    total = sum(t * t, dim, keepdim)
    left = _count(input, dim) - less
    return total / (left if left > 0 else 0)


@function()
def std(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Square root of `var`."""
    return _root(var(input, dim, unbiased, keepdim, correction=correction))


@function(method=False)
def var_mean(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """(variance, mean) over axes."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


@function(method=False)
def std_mean(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """(standard deviation, mean) over axes."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


@function()
def norm(input: Tensor, p: Any = 2, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """(sum of |x|^p)^(1/p) over axes, computed in `dtype`; p may be infinite, 0, or "fro" for 2. "nuc": the sum of
    singular values of matrices in two axes, those of a matrix where none is named."""
    x = floats(input) if dtype is None else convert(input, dtype_of(dtype))
    if x.is_complex():
        raise DTypeError(f"norm: a real tensor has no norm in {x.dtype}", help="give a real dtype")
    if p == "nuc":
        from .spectra import matrix_norm  # which is made of this

        if dim is None and x.ndim != 2:
            raise ShapeError(f"norm: 'nuc' is of a matrix, found {shown(x.shape)}", help="name two axes")
        axes = (-2, -1) if dim is None else normal_dims(dim, x.ndim, "norm")
        if len(axes) != 2:
            raise ShapeError(f"norm: 'nuc' takes two axes, found {list(axes)}")
        return matrix_norm(x, "nuc", axes, keepdim)
    if isinstance(p, str) and p != "fro":
        raise ValueError(f"norm: p is a number, 'fro' or 'nuc', not {p!r}")
    size = x.abs()
    if p in ("fro", 2, None):
        return _root(sum(x * x, dim, keepdim))
    if p == math.inf:
        return amax(size, dim, keepdim)
    if p == -math.inf:
        return amin(size, dim, keepdim)
    if p == 0:
        return sum(convert(x != 0, x.dtype), dim, keepdim)
    if p == 1:
        return sum(size, dim, keepdim)
    if x.dtype in (f16, bf16):  # powers of theirs would overflow
        return convert(norm(convert(x, f32), p, dim, keepdim), x.dtype)
    if p < 0:  # of a 0 the power is infinite, and the norm 0
        zero = (x == 0).any(dim, keepdim) if dim is not None else (x == 0).any()
        inner = size.masked_fill(x == 0, 1.0) ** p
        return _root(sum(inner, dim, keepdim), p).masked_fill(zero.reshape(sum(inner, dim, keepdim).shape), 0.0)
    if p < 1:  # whose slope at 0 is infinite
        zero = x == 0
        return _root(sum((size.masked_fill(zero, 1.0) ** p).masked_fill(zero, 0.0), dim, keepdim), p)
    return _root(sum(size**p, dim, keepdim), p)


def _root(x: Tensor, p: float = 2.0) -> Tensor:
    """x ** (1 / p) whose gradient at 0 is 0, as PyTorch's of norms and standard deviations: not infinite, and NaN when
    the distances from which x comes are 0 too."""
    zero = x == 0
    inner = x.masked_fill(zero, 1.0)
    end = math.inf if p < 0 else 0.0
    return (inner.sqrt() if p == 2 else inner ** (1.0 / p)).masked_fill(zero, end)


@function()
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """Norm of input - other."""
    return norm(input - other, p)


@function()
def logsumexp(input: Tensor, dim: int | Sequence[int], keepdim: bool = False) -> Tensor:
    """log of the sum of exp over axes, without overflow."""
    x = floats(input)
    if 0 in (x.shape[d] for d in normal_dims(dim, x.ndim, "logsumexp") if x.ndim):
        return sum(x, dim, keepdim).log()  # of nothing: -inf
    top = amax(x.detach(), dim, True)
    top = top.masked_fill(top.isinf(), 0.0)
    y = sum((x - top).exp(), dim, True).log() + top
    return y if keepdim else y.reshape(sum(x, dim, False).shape)


def _along(x: Tensor, dim: int, build: Callable[[Value], Value], name: str) -> Tensor:
    """A function along the last axis, of another axis."""
    if not x.ndim:
        return wrap(ops.reshape(build(ops.reshape(x.value, (1,))), ()), x)
    at = normal_dim(dim, x.ndim, name)
    v = x.value
    if at == x.ndim - 1:
        return wrap(build(v), x)
    order = [*(i for i in range(x.ndim) if i != at), at]
    y = build(ops.transpose(v, order))
    return wrap(ops.transpose(y, [order.index(i) for i in range(x.ndim)]), x)


@function()
def softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """exp(x) over its sum along an axis."""
    x = floats(input) if dtype is None else convert(input, dtype_of(dtype))
    return _along(x, dim, ops.softmax, "softmax")


@function()
def log_softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """Logarithm of the softmax along an axis."""
    x = floats(input) if dtype is None else convert(input, dtype_of(dtype))
    return _along(x, dim, ops.log_softmax, "log_softmax")


# --- running reductions -----------------------------------------------------------------------------------------------
@function(in_place=True)
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sums along an axis; integers in int64."""
    x = input if dtype is None else convert(input, dtype_of(dtype))
    y = _along(x, dim, lambda v: ops.scan(v, "sum"), "cumsum")
    return y if dtype is None else convert(y, dtype_of(dtype))


@function(in_place=True)
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running products along an axis; integers in int64."""
    x = input if dtype is None else convert(input, dtype_of(dtype))
    y = _along(x, dim, lambda v: ops.scan(v, "prod"), "cumprod")
    return y if dtype is None else convert(y, dtype_of(dtype))


def _running(input: Tensor, dim: int, kind: str) -> ValuesIndices:
    best = _along(input.detach(), dim, lambda v: ops.scan(v, kind), f"cum{kind}")
    at = normal_dim(dim, input.ndim)
    shape = [-1 if i == at else 1 for i in range(input.ndim)]
    count = input.shape[at] if input.ndim else 1
    place = wrap(ops.reshape(ops.arange(count), tuple(shape) if input.ndim else ()))
    hit = (input.detach() == best).logical_or(input.isnan())
    here = FUNCTIONS["where"](hit, place, -1)
    indices = _along(here, dim, lambda v: ops.scan(v, "max"), "cummax")
    values = FUNCTIONS["gather"](input, at, indices) if input.ndim else input
    return ValuesIndices(values, indices)


@function()
def cummax(input: Tensor, dim: int) -> ValuesIndices:
    """Largest elements so far along an axis, and where the last of them stands."""
    return _running(input, dim, "max")


@function()
def cummin(input: Tensor, dim: int) -> ValuesIndices:
    """Smallest elements so far along an axis, and where the last of them stands."""
    return _running(input, dim, "min")


@function()
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log of the running sums of exp along an axis; in f64, where what is smaller by e^700 still counts."""
    if not input.numel():
        return input.clone()
    x = convert(input, f64)
    highest = amax(x.detach(), dim, True)
    top = FUNCTIONS["where"](highest.abs() == math.inf, 0.0, highest)
    return convert(cumsum((x - top).exp(), dim).log() + top, input.dtype)


@function()
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Differences of neighbours along an axis, n times, of input between prepend and append."""
    if n < 0:
        raise ShapeError(f"diff: n is not negative, found {n}")
    at = normal_dim(dim, input.ndim)
    if n == 0:  # nothing is put around it either
        return input.clone()
    if prepend is not None or append is not None:
        input = FUNCTIONS["cat"]([t for t in (prepend, input, append) if t is not None], at)
    for _ in range(n):
        first = int(input.shape[at] > 0)
        size = input.shape[at] - first
        ahead, behind = input.narrow(at, first, size), input.narrow(at, 0, size)
        input = ahead ^ behind if input.dtype == bool_ else ahead - behind
    return input


def _widths(y: Tensor, x: Tensor, at: int) -> Tensor:
    """Distances of the places x, (N,) or of the axes of y, along an axis of y."""
    if x.ndim == 1:
        return diff(x).reshape([-1 if i == at else 1 for i in range(y.ndim)])
    return diff(x.reshape((1,) * (y.ndim - x.ndim) + tuple(x.shape)), dim=at)


@function("trapz", method=False)
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """Area under y along an axis by trapezoids, at places x or dx apart."""
    at = normal_dim(dim, y.ndim)
    middle = _middles(y, at)
    return sum(middle * (dx if x is None else _widths(y, x, at)), at)


def _middles(y: Tensor, at: int) -> Tensor:
    n = y.shape[at]
    return (y.narrow(at, 0, n - 1) + y.narrow(at, 1, n - 1)) / 2 if n else y


@function(method=False)
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """Running area under y along an axis by trapezoids."""
    at = normal_dim(dim, y.ndim)
    middle = _middles(y, at)
    return cumsum(middle * (dx if x is None else _widths(y, x, at)), at)


@function()
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Slices along an axis whose p-norm is above maxnorm, brought to it."""
    at = normal_dim(dim, input.ndim)
    size = norm(input, p, [i for i in range(input.ndim) if i != at], True)
    return input * FUNCTIONS["where"](size > maxnorm, maxnorm / (size + 1e-7), 1.0)


@function()
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """Covariance of variables (rows) over observations (columns), which count `fweights` times and have the weights
    `aweights`, both (N,). A vector is one variable: its variance. Raises ShapeError for more axes and other weights."""
    if input.ndim > 2:
        raise ShapeError(f"cov takes at most two axes, found {shown(input.shape)}")
    x = floats(input)
    x = x.reshape(1, -1) if x.ndim < 2 else x
    n = x.shape[1]
    for w in (fweights, aweights):
        if w is not None and tuple(w.shape) != (n,):
            raise ShapeError(f"cov: weights of {shown(w.shape)} for {n} observations")
    if fweights is not None and fweights.dtype.kind not in "iu":
        raise DTypeError(f"cov: fweights are whole numbers, found {fweights.dtype}")
    weights = [convert(w, x.dtype) for w in (fweights, aweights) if w is not None]
    if not weights:
        t, left = x - mean(x, 1, True), n - correction
        product: Tensor = t @ t.transpose(0, 1) / (left if left > 0 else 0)
        return product.squeeze()
    each = weights[0] if len(weights) == 1 else weights[0] * weights[1]
    whole = sum(each)
    t = x - sum(x * each, 1, True) / whole
    lost = whole * 0 + correction
    if aweights is not None and correction:
        lost = correction * sum(each * weights[-1]) / whole
    product = (t * each) @ t.transpose(0, 1) / (whole - lost).clamp(min=0)
    return product.squeeze()


@function()
def corrcoef(input: Tensor) -> Tensor:
    """Correlation of variables (rows) over observations (columns)."""
    c = cov(input)
    if not c.ndim:
        return c / c
    d = c.diagonal().sqrt()
    made: Tensor = (c / d.unsqueeze(1) / d.unsqueeze(0)).clamp(-1, 1)
    return made
