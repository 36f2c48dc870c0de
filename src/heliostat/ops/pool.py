"""Maxima of the windows of images: `max_pool2d` and its gradient, and the same over images with channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import ShapeError
from ..ir.graph import Value, constant
from ..ir.types import DType, TensorType, bf16, f16, f32, f64, i8, i64, tensor
from . import reduce
from .compare import eq, where
from .composite import Composite
from .elementwise import cast
from .error import EXACT, LargestUlp
from .index import put, take
from .op import REGISTRY, Amp, Array, Forward, NotDifferentiable, public
from .pixels import WindowOp, images, seen, whole_images, windows_of
from .rules import float_only, plain
from .samples import sample
from .shape import arange, broadcast_to, reshape, transpose
from .window import fold, lowest, unfold, window_count

Pair = tuple[int, int]
_HALVES: dict[str, Any] = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1)}
_WIDE: dict[str, Any] = {"kernel": (2, 3), "stride": (1, 2), "padding": (0, 1), "dilation": (2, 1)}


class MaxPool2d(Composite, name="max_pool2d", version=1, amp=Amp.KEEP_INPUT):
    """The largest element of each window of x, outside of which is nothing. x: (N, C, H, W) float; (N, C, H', W') with
    the windows of `unfold`. The gradient goes to the first such element of a window. Raises ShapeError."""

    samples = (
        sample(tensor(f32, 2, 3, 7, 8), **_HALVES),
        sample(tensor(f64, 1, 2, 6, 5), **_WIDE),
        sample(tensor(bf16, 1, 2, 4, 4), **{**_HALVES, "kernel": (2, 2), "padding": (0, 0)}),
    )
    error = EXACT

    def infer(self, x: TensorType, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> TensorType:
        plain(x, self.name)
        float_only(x, self.name)
        if x.rank != 4:
            raise ShapeError(f"max_pool2d needs (N, C, H, W), found {x}")
        counts = map(window_count, x.shape[2:], kernel, stride, padding, dilation)
        return TensorType(x.element, (*x.shape[:2], *counts))

    def call(self, x: Value, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Value:
        return self.build(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation)

    def reference(self, x: Array, **at: Any) -> Array:
        fill = {**at, "fill": -np.inf}
        return np.asarray(REGISTRY["unfold"].reference(x, **fill).max((2, 3)))

    def decompose(self, x: Value, **at: Any) -> Value:
        shape = self.infer(x.type, **at).shape
        if 0 in x.type.shape[:2]:
            return broadcast_to(constant(0, TensorType(x.type.dtype, ())), shape)
        numbers, count = _first(x, at)
        return reshape(take(reshape(x, (count, 1)), numbers), shape)

    def gradient(self, g: Value, x: Value, y: Value, **at: Any) -> Sequence[Value]:  # type: ignore[override]
        return (REGISTRY["max_pool2d_gradient"].build(g, x, **at),)


class MaxPool2dGradient(Composite, name="max_pool2d_gradient", version=1, amp=Amp.KEEP_INPUT):
    """The gradient of `max_pool2d` by x: g (N, C, H', W') and x (N, C, H, W) to x's type: each g where the first
    largest element of its window is, added up."""

    samples = (
        sample(tensor(f32, 2, 3, 4, 4), tensor(f32, 2, 3, 7, 8), **_HALVES),
        sample(tensor(f64, 1, 2, 4, 3), tensor(f64, 1, 2, 6, 5), **_WIDE),
    )
    error = LargestUlp(f64=8, f32=8, f16=4, bf16=4)

    def infer(
        self, g: TensorType, x: TensorType, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
    ) -> TensorType:
        at: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        if REGISTRY["max_pool2d"].infer(x, **at) != g:
            raise ShapeError(f"max_pool2d of {x} has no gradient of type {g}")
        return x

    def call(self, g: Value, x: Value, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Value:
        return self.build(g, x, kernel=kernel, stride=stride, padding=padding, dilation=dilation)

    def reference(self, g: Array, x: Array, **at: Any) -> Array:
        windows = REGISTRY["unfold"].reference(x, **{**at, "fill": -np.inf})
        flat = windows.reshape(*x.shape[:2], -1, *g.shape[2:])
        mine = np.arange(flat.shape[2])[:, None, None] == flat.argmax(2)[:, :, None]
        spread = (mine * g[:, :, None]).reshape(windows.shape)
        return np.asarray(REGISTRY["fold"].reference(spread, size=x.shape[2:], **at))

    def decompose(self, g: Value, x: Value, **at: Any) -> Value:
        if 0 in x.type.shape[:2]:
            return broadcast_to(constant(0, TensorType(x.type.dtype, ())), x.type.shape)
        numbers, count = _first(x, at)
        zero = broadcast_to(constant(0, TensorType(g.type.dtype, ())), (count, 1))
        rows = reshape(g, (numbers.type.shape[0], 1))
        return reshape(put(zero, numbers, rows, accumulate=True), x.type.shape)


def _first(x: Value, at: dict[str, Any]) -> tuple[Value, Any]:
    """Numbers of the first largest element of each window among all elements of x, and how many those are."""
    count, channels, height, width = x.type.shape
    size = (int(height), int(width))  # type: ignore[arg-type]
    kernel, stride, padding, dilation = (at[n] for n in ("kernel", "stride", "padding", "dilation"))
    grid = tuple(map(window_count, size, kernel, stride, padding, dilation))
    taps, places = kernel[0] * kernel[1], grid[0] * grid[1]
    windows = unfold(x, kernel, stride, padding, dilation, lowest(x.type.dtype))
    best = reduce.argmax(reshape(windows, (count, channels, taps, places)), 2)
    looks = list(seen(kernel, size, (grid[0], grid[1]), stride, padding, dilation, False))
    inside, table = np.stack([there for there, _ in looks]), np.stack([place for _, place in looks])
    # where all of a window is -inf, what lies outside is as large: it stands for the first element inside
    table = np.where(inside, table, table[inside.argmax(0), np.arange(places)])
    held = constant(table.reshape(-1, 1).astype(np.int64), tensor(i64, taps * places, 1))
    images_ = count * channels
    flat = reshape(best * places + arange(places), (images_ * places,))
    found = reshape(take(held, flat), (images_, places)) + reshape(arange(images_), (images_, 1)) * (size[0] * size[1])
    return reshape(found, (images_ * places,)), images_ * (size[0] * size[1])


class _PixelPool(WindowOp):
    def grid_type(self, x: TensorType, element: DType, at: dict[str, Any]) -> TensorType:
        plain(x, self.name)
        if x.rank != 2 or not x.static:
            raise ShapeError(f"{self.name} needs (pixels, C) of known size, found {x}")
        grid = at["grid"]
        counts = tuple(map(window_count, at["size"], *(at[n] for n in ("kernel", "stride", "padding", "dilation"))))
        if counts != grid:
            raise ShapeError(f"{self.name}: images of {at['size']} have {counts} windows, not {grid}")
        return TensorType(element, (whole_images(self.name, x.shape[0], at["size"]) * grid[0] * grid[1], x.shape[1]))


_AT: dict[str, Any] = {"size": (7, 8), "grid": (4, 4), **_HALVES}
_ACROSS: dict[str, Any] = {"size": (6, 5), "grid": (4, 3), **_WIDE}


class PixelMax(_PixelPool, name="pixel_max", version=1, amp=Amp.KEEP_INPUT):
    """`max_pool2d` of images as rows of pixels: x (N * H * W, C) float to (N * H' * W', C)."""

    samples = (sample(tensor(f32, 112, 3), **_AT), sample(tensor(bf16, 30, 72), **_ACROSS))
    error = EXACT
    gradient = NotDifferentiable("the compiler makes it of max_pool2d, whose gradient it has made already")  # type: ignore[assignment]

    def infer(self, x: TensorType, *, size: Pair, grid: Pair, kernel: Pair, stride: Pair, padding: Pair,
              dilation: Pair) -> TensorType:  # fmt: skip
        float_only(x, self.name)
        at = {"size": size, "grid": grid, "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        return self.grid_type(x, x.dtype, at)

    def reference(self, x: Array, **at: Any) -> Array:
        return np.asarray(windows_of(x, at, -np.inf).max(1))

    def decompose(self, x: Value, **at: Any) -> Value:
        return reduce.max(_wide(x, at), (2,))


class PixelArgmax(_PixelPool, name="pixel_argmax", version=1, amp=Amp.KEEP_INPUT):
    """Which place of a window, counted by rows, has the first largest element: as `pixel_max`, int8. At most 127."""

    samples = (sample(tensor(f32, 112, 3), **_AT), sample(tensor(f16, 30, 72), **_ACROSS))
    error = EXACT
    gradient = NotDifferentiable("its result is a whole number")  # type: ignore[assignment]

    def infer(self, x: TensorType, *, size: Pair, grid: Pair, kernel: Pair, stride: Pair, padding: Pair,
              dilation: Pair) -> TensorType:  # fmt: skip
        float_only(x, self.name)
        if kernel[0] * kernel[1] > 127:
            raise ShapeError(f"pixel_argmax counts 127 places of a window, not {kernel[0]} x {kernel[1]}")
        at = {"size": size, "grid": grid, "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        return self.grid_type(x, i8, at)

    def reference(self, x: Array, **at: Any) -> Array:
        return np.asarray(windows_of(x, at, -np.inf).argmax(1))

    def decompose(self, x: Value, **at: Any) -> Value:
        return cast(reduce.argmax(_wide(x, at), 2), i8)


class PixelMaxGradient(_PixelPool, name="pixel_max_gradient", version=1, amp=Amp.KEEP_INPUT):
    """The gradient of `pixel_max`: g (N * H' * W', C) float, places of `pixel_argmax`; (N * H * W, C) of g's dtype."""

    samples = (
        sample(tensor(f32, 32, 3), tensor(i8, 32, 3), **_AT),
        sample(tensor(bf16, 12, 72), tensor(i8, 12, 72), **_ACROSS),
    )
    error = LargestUlp(f64=8, f32=8, f16=4, bf16=4)
    forward = Forward.LINEAR

    def infer(self, g: TensorType, at: TensorType, *, size: Pair, grid: Pair, kernel: Pair, stride: Pair,
              padding: Pair, dilation: Pair) -> TensorType:  # fmt: skip
        float_only(g, self.name)
        how = {"size": size, "grid": grid, "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        count = whole_images(self.name, g.shape[0], grid)
        x = TensorType(g.element, (count * size[0] * size[1], g.shape[1]))
        if self.grid_type(x, i8, how) != at or at.shape != g.shape:
            raise ShapeError(f"pixel_max_gradient needs g and int8 places of one shape, found {g} and {at}")
        return x

    def reference(self, g: Array, at: Array, **how: Any) -> Array:
        count = len(g) // (how["grid"][0] * how["grid"][1])
        y = np.zeros((count, how["size"][0] * how["size"][1], g.shape[1]))
        rows, chosen = g.reshape(count, -1, g.shape[1]), at.reshape(count, -1, g.shape[1])
        kernel, size, grid = how["kernel"], how["size"], how["grid"]
        for tap, (inside, place) in enumerate(
            seen(kernel, size, grid, how["stride"], how["padding"], how["dilation"], False)
        ):
            y[:, place[inside]] += np.where(chosen == tap, rows, 0)[:, inside]  # each place once
        return y.reshape(-1, g.shape[1])

    def decompose(self, g: Value, places: Value, **at: Any) -> Value:
        grid, kernel, channels = at["grid"], at["kernel"], int(g.type.shape[1])  # type: ignore[arg-type]
        count, taps = int(g.type.shape[0]) // (grid[0] * grid[1]), kernel[0] * kernel[1]  # type: ignore[arg-type]
        shape = (count, grid[0] * grid[1], 1, channels)
        tap = reshape(arange(taps), (taps, 1))
        spread = where(eq(cast(reshape(places, shape), i64), tap), reshape(g, shape), 0.0)  # (N, H' W', taps, C)
        wide = reshape(transpose(spread, (0, 3, 2, 1)), (count, channels, *kernel, *grid))
        whole = fold(wide, at["size"], kernel, at["stride"], at["padding"], at["dilation"])
        return reshape(transpose(whole, (0, 2, 3, 1)), (count * at["size"][0] * at["size"][1], channels))


def _wide(x: Value, at: dict[str, Any]) -> Value:
    """(N * H' * W', C, taps): all windows, the lowest number outside."""
    kernel, grid, channels = at["kernel"], at["grid"], int(x.type.shape[1])  # type: ignore[arg-type]
    found = unfold(images(x, at["size"]), kernel, at["stride"], at["padding"], at["dilation"], lowest(x.type.dtype))
    count = int(x.type.shape[0]) // (at["size"][0] * at["size"][1])  # type: ignore[arg-type]
    taps = reshape(found, (count, channels, kernel[0] * kernel[1], grid[0] * grid[1]))
    return reshape(transpose(taps, (0, 3, 1, 2)), (count * grid[0] * grid[1], channels, kernel[0] * kernel[1]))


max_pool2d = public(MaxPool2d, MaxPool2d.call)
max_pool2d_gradient = public(MaxPool2dGradient, MaxPool2dGradient.call)
pixel_max = public(PixelMax, PixelMax.call)
pixel_argmax = public(PixelArgmax, PixelArgmax.call)
pixel_max_gradient = public(PixelMaxGradient, PixelMaxGradient.call)
