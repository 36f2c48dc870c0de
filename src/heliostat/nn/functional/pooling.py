"""Poolings: means and maxima of windows, of parts of an axis (adaptive), and of random parts (fractional).

A maximum is found in a table of places: which elements of the input each result looks at. Its value is then read from
the input by number, so that the gradient goes to that one element.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import ops
from ...diagnostics import ShapeError
from ...ops.window import lowest
from ...tensor import FUNCTIONS, Tensor
from ...tensor.autocast import ruled
from ...tensor.conversion import from_array
from ...tensor.core import wrap
from ...tensor.special import no_more
from .sizes import batched, many, unbatched

Sizes = tuple[int, ...]
Array = np.ndarray[Any, np.dtype[Any]]
pad = FUNCTIONS["pad"]


def _counts(name: str, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil: bool) -> Sizes:
    found = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        if s < 1 or k < 1 or d < 1:
            raise ShapeError(f"{name}: kernel, stride and dilation must be greater than zero, found {k}, {s}, {d}")
        if p < 0 or p > (d * (k - 1) + 1) // 2:
            raise ShapeError(
                f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and "
                f"dilation={d}"
            )
        count = (n + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil else 0)) // s + 1
        if ceil and (count - 1) * s >= n + p:
            count -= 1
        if count < 1:
            raise ShapeError(
                f"Given input size: {list(size)}. Calculated output size is too small for windows of {list(kernel)}"
            )
        found.append(count)
    return tuple(found)


def _windows(
    x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, counts: Sizes, fill: float
) -> Tensor:
    """(N, C, taps, windows)."""
    size = tuple(x.shape[2:])
    extra = [
        max(0, (c - 1) * s + d * (k - 1) + 1 - n - 2 * p)
        for c, s, d, k, n, p in zip(counts, stride, dilation, kernel, size, padding, strict=True)
    ]
    if any(extra):
        x = pad(x, [n for p, e in zip(reversed(padding), reversed(extra), strict=True) for n in (p, p + e)], value=fill)
        padding = (0,) * len(size)
    v = ops.unfold(x.value, kernel, stride, padding, dilation, fill)
    found = wrap(v, x)
    grid = tuple(found.shape[2 + len(kernel) :])
    cut: Any = (..., *(slice(0, c) for c in counts))
    found = found if grid == counts else found[cut]
    return found.reshape(x.shape[0], x.shape[1], math.prod(kernel), math.prod(counts))


def _divided(total: Tensor, count: Any) -> Tensor:
    """Means of integers are integers, as PyTorch's are."""
    return total.div(count, rounding_mode=None if total.dtype.is_float else "trunc").to(total.dtype)


# --- means ------------------------------------------------------------------------------------------------------------
def _avg_pool(
    axes: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:  # fmt: skip
    name = f"avg_pool{axes}d"
    x, single = batched(input, axes, name)
    kernel = many(kernel_size, axes, "kernel_size")
    steps = kernel if stride is None or stride == () or stride == [] else many(stride, axes, "stride")
    around, ones = many(padding, axes, "padding"), (1,) * axes
    size = tuple(x.shape[2:])
    counts = _counts(name, size, kernel, steps, around, ones, ceil_mode)
    total = _windows(x, kernel, steps, around, ones, counts, 0.0).sum(2, dtype=x.dtype)
    if divisor_override is not None:
        if divisor_override == 0:
            raise ValueError("divisor must be not zero")
        y = _divided(total, divisor_override)
    else:
        share = np.ones((), np.float64)
        for n, k, s, p, c in zip(size, kernel, steps, around, counts, strict=True):
            begin = np.arange(c) * s - p
            end = np.minimum(begin + k, n + p)
            if not count_include_pad:
                begin, end = np.maximum(begin, 0), np.minimum(end, n)
            share = share[..., None] * (end - begin)
        first = share.reshape(-1)[0]
        y = _divided(total, int(first) if (share == first).all() else from_array(share.reshape(-1), x.dtype))
    return unbatched(y.reshape(*x.shape[:2], *counts), single)


def avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """Means of windows. input: (N, C, L) or (C, L)."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Means of windows. input: (N, C, H, W) or (C, H, W)."""
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@ruled
def avg_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Means of windows. input: (N, C, D, H, W) or (C, D, H, W)."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _lp_pool(axes: int, input: Tensor, p: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Tensor:
    kernel = many(kernel_size, axes, "kernel_size")
    y = _avg_pool(axes, input**p, kernel, stride, 0, ceil_mode, True, None)
    return (y.sign() * y.abs().relu() * math.prod(kernel)) ** (1.0 / p)


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x^p)^(1/p) of windows. input: (N, C, L) or (C, L)."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x^p)^(1/p) of windows. input: (N, C, H, W) or (C, H, W)."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x^p)^(1/p) of windows. input: (N, C, D, H, W) or (C, D, H, W)."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


def _parts(size: int, count: int) -> list[tuple[int, int]]:
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _wanted(output_size: Any, size: Sizes) -> Sizes:
    given = (output_size,) * len(size) if isinstance(output_size, int) or output_size is None else tuple(output_size)
    if len(given) != len(size):
        raise ShapeError(f"output_size must be one number or {len(size)}, found {list(given)}")
    return tuple(n if g is None else int(g) for g, n in zip(given, size, strict=True))


def along(x: Tensor, axis: int, matrix: Array) -> Tensor:
    """Each vector along an axis times a matrix (out, in)."""
    m = from_array(np.ascontiguousarray(matrix.T), x.dtype)
    last = axis in (-1, x.ndim - 1)
    return x @ m if last else (x.transpose(axis, -1) @ m).transpose(axis, -1)


def adaptive_average(axes: int, input: Tensor, output_size: Any) -> Tensor:
    x, single = batched(input, axes, f"adaptive_avg_pool{axes}d")
    size = tuple(x.shape[2:])
    for i, (n, count) in enumerate(zip(size, _wanted(output_size, size), strict=True)):
        if count < 0:
            raise ShapeError(f"adaptive_avg_pool{axes}d: sizes are at least 0, found {output_size}")
        if n == count:
            continue
        if count == 0:
            x = x.narrow(2 + i, 0, 0)
            continue
        if count == 1:
            x = x.mean(2 + i, True)
            continue
        if n % count == 0:
            x = x.unflatten(2 + i, (count, n // count)).mean(3 + i)
            continue
        matrix = np.zeros((count, n))
        for row, (begin, end) in enumerate(_parts(n, count)):
            matrix[row, begin:end] = 1 / (end - begin)
        x = along(x, 2 + i, matrix)
    return unbatched(x, single)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many parts. input: (N, C, L) or (C, L)."""
    return adaptive_average(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many parts of each axis, None keeps it. input: (N, C, H, W) or (C, H, W)."""
    return adaptive_average(2, input, output_size)


@ruled
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many parts of each axis, None keeps it. input: (N, C, D, H, W) or (C, D, H, W)."""
    return adaptive_average(3, input, output_size)


# --- maxima -----------------------------------------------------------------------------------------------------------
def _table(size: Sizes, places: Sequence[Array]) -> Array:
    """Numbers of elements that each result looks at, (results, looks), of places (results_i, looks_i) of each axis."""
    flat = np.zeros((1, 1), np.int64)
    outside = np.zeros((1, 1), bool)
    for n, p in zip(size, places, strict=True):
        flat = (flat[:, None, :, None] * n + p[None, :, None, :]).reshape(len(flat) * len(p), -1)
        out = (p < 0) | (p >= n)
        outside = (outside[:, None, :, None] | out[None, :, None, :]).reshape(len(flat), -1)
    return np.where(outside, -1, flat)


def _inside(table: Array) -> Array:
    """A table whose looks outside are those at the first element inside: where all of it is -inf, both are as large."""
    first = np.take_along_axis(table, (table >= 0).argmax(-1)[..., None], -1)
    return np.maximum(np.where(table < 0, first, table), 0)


def _values(x: Tensor, indices: Tensor) -> Tensor:
    """Elements by number among those of the spatial axes. indices: (N, C, results)."""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:])).gather(2, indices)


def _max_of_table(x: Tensor, table: Array) -> tuple[Tensor, Tensor]:
    """(N, C, results) values and numbers. table: (results, looks), or (N, C, results, looks)."""
    n, c, *size = x.shape
    flat = x.detach().reshape(n, c, math.prod(size))
    numbers = from_array(_inside(table))
    if table.ndim == 2:
        seen = flat.index_select(2, numbers.reshape(-1)).reshape(n, c, *table.shape)
    else:
        seen = flat.gather(2, numbers.reshape(n, c, math.prod(table.shape[2:]))).reshape(table.shape)
    if (table < 0).any():
        seen = seen.masked_fill(from_array(table < 0), lowest(x.dtype))
    at = seen.argmax(-1)
    if table.ndim == 2:
        indices = numbers.take(at + FUNCTIONS["arange"](table.shape[0]) * table.shape[1])
    else:
        indices = numbers.gather(3, at.unsqueeze(-1)).squeeze(-1)
    return _values(x, indices), indices


def _max_pool(
    axes: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    return_indices: bool,
) -> Any:  # fmt: skip
    name = f"max_pool{axes}d"
    x, single = batched(input, axes, name)
    kernel = many(kernel_size, axes, "kernel_size")
    steps = kernel if stride is None or stride == () or stride == [] else many(stride, axes, "stride")
    around, gaps = many(padding, axes, "padding"), many(dilation, axes, "dilation")
    size = tuple(x.shape[2:])
    counts = _counts(name, size, kernel, steps, around, gaps, ceil_mode)
    whole = axes == 2 and counts == _counts(name, size, kernel, steps, around, gaps, False)
    if whole and not return_indices and x.requires_grad:
        pairs = [(p[0], p[1]) for p in (kernel, steps, around, gaps)]
        return unbatched(wrap(ops.max_pool2d(x.value, *pairs), x), single)
    seen = _windows(x.detach(), kernel, steps, around, gaps, counts, lowest(x.dtype))
    if not return_indices and not x.requires_grad:
        return unbatched(seen.amax(2).reshape(*x.shape[:2], *counts), single)
    places = [
        np.arange(c)[:, None] * s - p + np.arange(k) * d
        for c, s, p, k, d in zip(counts, steps, around, kernel, gaps, strict=True)
    ]
    table = np.ascontiguousarray(_inside(_table(size, places)).T)  # (taps, windows)
    at = seen.argmax(2) * table.shape[1] + FUNCTIONS["arange"](table.shape[1])
    indices = from_array(table).take(at)
    y = unbatched(_values(x, indices).reshape(*x.shape[:2], *counts), single)
    return (y, unbatched(indices.reshape(*x.shape[:2], *counts), single)) if return_indices else y


def max_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Maxima of windows; with `return_indices` also where they stand. input: (N, C, L) or (C, L)."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Maxima of windows; with `return_indices` also where they stand. input: (N, C, H, W) or (C, H, W)."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@ruled
def max_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Maxima of windows; with `return_indices` also where they stand. input: (N, C, D, H, W) or without N."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _adaptive_max(axes: int, input: Tensor, output_size: Any, return_indices: bool) -> Any:
    x, single = batched(input, axes, f"adaptive_max_pool{axes}d")
    size = tuple(x.shape[2:])
    counts = _wanted(output_size, size)
    places = []
    for n, count in zip(size, counts, strict=True):
        parts = _parts(n, count)
        longest = max(end - begin for begin, end in parts)
        places.append(np.array([[min(begin + j, end - 1) for j in range(longest)] for begin, end in parts]))
    values, indices = _max_of_table(x, _table(size, places))
    y = unbatched(values.reshape(*x.shape[:2], *counts), single)
    return (y, unbatched(indices.reshape(*x.shape[:2], *counts), single)) if return_indices else y


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of as many parts. input: (N, C, L) or (C, L)."""
    return _adaptive_max(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of as many parts of each axis, None keeps it. input: (N, C, H, W) or (C, H, W)."""
    return _adaptive_max(2, input, output_size, return_indices)


@ruled
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of as many parts of each axis, None keeps it. input: (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive_max(3, input, output_size, return_indices)


def _fractional(
    axes: int, input: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any, return_indices: bool,
    samples: Tensor | None,
) -> Any:  # fmt: skip
    name = f"fractional_max_pool{axes}d"
    x, single = batched(input, axes, name)
    kernel = many(kernel_size, axes, "kernel_size")
    size = tuple(x.shape[2:])
    if (output_size is None) == (output_ratio is None):
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if output_size is None:
        ratios = (output_ratio,) * axes if isinstance(output_ratio, float | int) else tuple(output_ratio)
        counts = tuple(int(n * r) for n, r in zip(size, ratios, strict=True))
    else:
        counts = many(output_size, axes, "output_size")
    if any(c + k - 1 > n for c, k, n in zip(counts, kernel, size, strict=True)):
        raise ShapeError(f"{name}: {list(counts)} windows of {list(kernel)} do not fit {list(size)}")
    n, c = x.shape[:2]
    random = FUNCTIONS["rand"](n, c, axes) if samples is None else samples
    drawn = np.asarray(random.detach().array(), np.float32)  # (N, C, axes)
    tables = np.empty((n, c, math.prod(counts), math.prod(kernel)), np.int64)
    for i, j in itertools.product(range(n), range(c)):
        places = []
        for axis in range(axes):  # the first number belongs to the last axis
            u = drawn[i, j, axes - 1 - axis if axes == 2 else axis]
            starts = _starts(float(u), size[axis], counts[axis], kernel[axis])
            places.append(starts[:, None] + np.arange(kernel[axis]))
        tables[i, j] = _table(size, places)
    values, indices = _max_of_table(x, tables)
    y = unbatched(values.reshape(n, c, *counts), single)
    return (y, unbatched(indices.reshape(n, c, *counts), single)) if return_indices else y


def _starts(u: float, size: int, count: int, kernel: int) -> Array:
    if count == 1:
        return np.array([size - kernel])
    alpha = np.float32(size - kernel) / np.float32(count - 1)
    draw = np.float32(u)
    found = [int((np.float32(i) + draw) * alpha) - int(draw * alpha) for i in range(count - 1)]
    return np.array([*found, size - kernel])


@ruled
def fractional_max_pool2d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """Maxima of windows at random steps. input: (N, C, H, W) or (C, H, W). Source: arXiv 1412.6071."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


@ruled
def fractional_max_pool3d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """Maxima of windows at random steps. input: (N, C, D, H, W) or without N. Source: arXiv 1412.6071."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def _max_unpool(
    axes: int, input: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    x, single = batched(input, axes, f"max_unpool{axes}d")
    if input.shape != indices.shape:
        raise ShapeError(f"Expected shape of indices to be: {list(input.shape)} but got: {list(indices.shape)}")
    kernel = many(kernel_size, axes, "kernel_size")
    steps = kernel if stride is None else many(stride, axes, "stride")
    around = many(padding, axes, "padding")
    usual = [(n - 1) * s + k - 2 * p for n, s, k, p in zip(x.shape[2:], steps, kernel, around, strict=True)]
    size = usual if output_size is None else list(output_size)[-axes:]
    if any(not u - s < n < u + s for n, u, s in zip(size, usual, steps, strict=True)):
        raise ValueError(f"invalid output_size {size}: it must lie within one stride of {usual}")
    n, c = x.shape[:2]
    count = math.prod(x.shape[2:])
    flat, places = x.reshape(n, c, count), indices.reshape(n, c, count)
    empty = x.new_zeros((n, c, math.prod(size)))
    y = empty.scatter(2, places, flat.detach())
    if x.requires_grad:  # of those that share a place each has the gradient of it, as in PyTorch
        y = y - empty.scatter_add(2, places, no_more(flat))
    return unbatched(y.reshape(n, c, *size), single)


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Maxima put back where they stood, 0 elsewhere. input, indices: (N, C, L) or (C, L)."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


@ruled
def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Maxima put back where they stood, 0 elsewhere. input, indices: (N, C, H, W) or (C, H, W)."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


@ruled
def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Maxima put back where they stood, 0 elsewhere. input, indices: (N, C, D, H, W) or without N."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)
