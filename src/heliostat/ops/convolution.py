"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import ShapeError
from ..ir.graph import Value, constant
from ..ir.types import Dim, Symbol, TensorType, dim, f16, f32, f64, i32, tensor
from . import reduce
from .composite import Composite
from .error import LargestUlp
from .index import take
from .matmul import matmul
from .op import REGISTRY, Amp, Array, Batching, Forward, Op, public
from .rules import float_only, plain
from .samples import sample
from .shape import repeated, reshape, transpose
from .window import fold, unfold

Pair = tuple[int, int]


class Conv2d(Op, name="conv2d", version=1, amp=Amp.LOWER):
    """y[n, o] = sum of x[n, i] correlated with w[o, i]. x: (N, C, H, W) float; w: (O, C / groups, KH, KW), as x.

    Result: (N, O, H', W') with H' = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1, likewise W'. Outside of x
    are zeros. Sums are f32 for narrower floats. A bias is added as a tensor of shape (O, 1, 1). Raises ShapeError.
    """

    samples = (
        sample(tensor(f32, 2, 3, 7, 9), tensor(f32, 4, 3, 3, 3), padding=(1, 1)),
        sample(tensor(f64, 1, 4, 8, 8), tensor(f64, 6, 2, 3, 2), stride=(2, 2), padding=(1, 0), groups=2),
        sample(tensor(f32, 1, 2, 9, 20), tensor(f32, 3, 2, 2, 3), stride=(1, 3), dilation=(2, 2)),
        sample(tensor(f16, 1, 2, 5, 6), tensor(f16, 2, 2, 1, 1)),
        sample(tensor(f32, dim(Symbol("n", 4)), 1, 4, 4), tensor(f32, 9, 1, 3, 3), symbols={"n": 2}),
    )
    error = LargestUlp(f64=32, f32=32, f16=4, bf16=4)
    batching = Batching.RULE
    forward = Forward.MULTILINEAR

    def infer(
        self,
        x: TensorType,
        w: TensorType,
        *,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> TensorType:
        for t in (x, w):
            plain(t, "conv2d")
            float_only(t, "conv2d")
        if x.rank != 4 or w.rank != 4 or x.element != w.element:
            raise ShapeError(
                f"conv2d needs x (N, C, H, W) and w (O, C / groups, KH, KW) of one dtype, found {x} and {w}"
            )
        if min(*stride, *dilation, groups) < 1 or min(padding) < 0:
            raise ShapeError(f"conv2d: stride, dilation and groups are positive, found {stride}, {dilation}, {groups}")
        out, inner, *kernel = w.shape
        if not all(isinstance(d, int) for d in (*w.shape, x.shape[1])):
            raise ShapeError(f"conv2d: channels and kernel sizes must be known, found {x} and {w}")
        if x.shape[1] != inner * groups or out % groups:
            raise ShapeError(f"conv2d: {x.shape[1]} channels in and {out} out do not fit {w} in {groups} groups")
        sizes: list[Dim] = []
        for size, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True):
            reach = d * (k - 1) + 1
            if isinstance(size, int) and isinstance(reach, int):
                if size + 2 * p < reach or reach < 1:
                    raise ShapeError(f"conv2d: a kernel of {reach} does not fit into {size} with padding {p}")
                sizes.append((size + 2 * p - reach) // s + 1)
            elif s == 1:
                sizes.append(size + (2 * p - reach + 1))
            else:
                raise ShapeError(f"conv2d: a stride of {s} needs a known size, found {x}")
        return TensorType(x.element, (x.shape[0], out, *sizes))

    def call(
        self,
        x: Value,
        w: Value,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
    ) -> Value:
        return self.build(
            x, w, stride=_pair(stride), padding=_pair(padding), dilation=_pair(dilation), groups=int(groups)
        )

    def reference(
        self,
        x: Array,
        w: Array,
        *,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> Array:
        (ph, pw), (sh, sw), (dh, dw) = padding, stride, dilation
        padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
        inner, kh, kw = w.shape[1:]
        reach = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach, (2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]
        parts = [
            np.einsum("nihwkl,oikl->nohw", windows[:, g * inner : (g + 1) * inner], part)
            for g, part in enumerate(np.split(w, groups))
        ]
        return np.concatenate(parts, 1)

    def gradient(
        self, g: Value, x: Value, w: Value, y: Value, *, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> Sequence[Value]:
        """By `conv2d_input_gradient` and `conv2d_weight_gradient`, which targets take as they can."""
        at: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        height, width, kh, kw = (int(d) for d in (*x.type.shape[2:], *w.type.shape[2:]))  # type: ignore[arg-type]
        of_x = REGISTRY["conv2d_input_gradient"].build(g, w, size=(height, width), **at)
        return of_x, REGISTRY["conv2d_weight_gradient"].build(x, g, kernel=(kh, kw), **at)

    def batch(
        self,
        size: int,
        batched: Sequence[bool],
        x: Value,
        w: Value,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Value:
        """Where w is shared, images of all elements are one batch; else each has groups of channels of its own."""
        at: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        if not batched[1]:
            y = self.build(reshape(x, (-1, *x.type.shape[2:])), w, groups=groups, **at)
            return reshape(y, (size, x.type.shape[1], *y.type.shape[1:]))
        x = x if batched[0] else repeated(x, size)
        count, channels, *space = x.type.shape[1:]
        side_by_side = reshape(transpose(x, (1, 0, 2, 3, 4)), (count, size * channels, *space))
        y = self.build(side_by_side, reshape(w, (-1, *w.type.shape[2:])), groups=groups * size, **at)
        apart = reshape(y, (count, size, w.type.shape[1], *y.type.shape[2:]))
        return transpose(apart, (1, 0, 2, 3, 4))


class Conv2dInputGradient(Composite, name="conv2d_input_gradient", version=1, amp=Amp.LOWER):
    """The gradient of `conv2d` by its input of `size`: g (N, O, H', W') and w (O, C / groups, KH, KW) to (N, C, *size).

    A convolution with w turned round where each element has its window, else the windows' own gradients, added up.
    Raises ShapeError where g is no result of that convolution."""

    samples = (
        sample(tensor(f32, 2, 4, 7, 9), tensor(f32, 4, 3, 3, 3), size=(7, 9), padding=(1, 1)),
        sample(tensor(f64, 1, 6, 4, 4), tensor(f64, 6, 2, 3, 2), size=(8, 8), stride=(2, 2), padding=(1, 0), groups=2),
        sample(tensor(f32, 1, 3, 7, 6), tensor(f32, 3, 2, 2, 3), size=(9, 20), stride=(1, 3), dilation=(2, 2)),
        sample(tensor(f16, 1, 2, 5, 6), tensor(f16, 2, 2, 1, 1), size=(5, 6)),
    )
    error = LargestUlp(f64=32, f32=32, f16=8, bf16=8)
    forward = Forward.MULTILINEAR

    def infer(
        self,
        g: TensorType,
        w: TensorType,
        *,
        size: Pair,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> TensorType:
        channels = int(w.shape[1]) * groups  # type: ignore[arg-type]
        x = TensorType(g.element, (g.shape[0], channels, *size))
        _same(g, x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
        return x

    def call(
        self,
        g: Value,
        w: Value,
        size: Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
    ) -> Value:
        at = {"stride": _pair(stride), "padding": _pair(padding), "dilation": _pair(dilation), "groups": int(groups)}
        return self.build(g, w, size=_pair(size), **at)

    def reference(self, g: Array, w: Array, *, size: Pair, groups: int, **at: Any) -> Array:
        (ph, pw), (sh, sw), (dh, dw) = at["padding"], at["stride"], at["dilation"]
        count, _, rows, columns = g.shape
        out, inner, kh, kw = w.shape
        whole = np.zeros((count, inner * groups, size[0] + 2 * ph, size[1] + 2 * pw), np.result_type(g, w))
        each = out // groups
        for n, y, x in np.ndindex(groups, kh, kw):
            mine = np.einsum("nohw,oi->nihw", g[:, n * each : (n + 1) * each], w[n * each : (n + 1) * each, :, y, x])
            down = slice(y * dh, y * dh + (rows - 1) * sh + 1, sh)
            across = slice(x * dw, x * dw + (columns - 1) * sw + 1, sw)
            whole[:, n * inner : (n + 1) * inner, down, across] += mine
        return np.asarray(whole[:, :, ph : ph + size[0], pw : pw + size[1]])

    def decompose(
        self, g: Value, w: Value, *, size: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> Value:
        out, inner, kh, kw = (int(d) for d in w.type.shape)  # type: ignore[arg-type]
        around = [d * (k - 1) - p for d, k, p in zip(dilation, (kh, kw), padding, strict=True)]
        if stride == (1, 1) and min(around) >= 0:
            return conv2d(g, _turned(w, groups), 1, (around[0], around[1]), dilation, groups)
        count, _, *grid = g.type.shape
        rows, columns = (int(d) for d in grid)  # type: ignore[arg-type]
        taps, each = inner * kh * kw, out // groups
        taps_first = transpose(reshape(w, (groups, each, taps)), (0, 2, 1))
        part = reshape(g, (count, groups, each, rows * columns))
        of_windows = reshape(matmul(taps_first, part), (count, inner * groups, kh, kw, rows, columns))
        return fold(of_windows, size, (kh, kw), stride, padding, dilation)


class Conv2dWeightGradient(Composite, name="conv2d_weight_gradient", version=1, amp=Amp.LOWER):
    """The gradient of `conv2d` by its weight: x (N, C, H, W) and g (N, O, H', W') to (O, C / groups, *kernel).

    Products of the windows of x with g. Raises ShapeError where g is no result of that convolution."""

    samples = (
        sample(tensor(f32, 2, 3, 7, 9), tensor(f32, 2, 4, 7, 9), kernel=(3, 3), padding=(1, 1)),
        sample(
            tensor(f64, 1, 4, 8, 8), tensor(f64, 1, 6, 4, 4), kernel=(3, 2), stride=(2, 2), padding=(1, 0), groups=2
        ),
        sample(tensor(f32, 1, 2, 9, 20), tensor(f32, 1, 3, 7, 6), kernel=(2, 3), stride=(1, 3), dilation=(2, 2)),
        sample(tensor(f16, 1, 2, 5, 6), tensor(f16, 1, 2, 5, 6), kernel=(1, 1)),
    )
    error = LargestUlp(f64=32, f32=32, f16=8, bf16=8)
    forward = Forward.MULTILINEAR

    def infer(
        self,
        x: TensorType,
        g: TensorType,
        *,
        kernel: Pair,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> TensorType:
        w = TensorType(x.element, (g.shape[1], int(x.shape[1]) // groups, *kernel))  # type: ignore[arg-type]
        _same(g, x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
        return w

    def call(
        self,
        x: Value,
        g: Value,
        kernel: Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
    ) -> Value:
        at = {"stride": _pair(stride), "padding": _pair(padding), "dilation": _pair(dilation), "groups": int(groups)}
        return self.build(x, g, kernel=_pair(kernel), **at)

    def reference(self, x: Array, g: Array, *, kernel: Pair, groups: int, **at: Any) -> Array:
        (ph, pw), (sh, sw), (dh, dw) = at["padding"], at["stride"], at["dilation"]
        padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
        reach = (dh * (kernel[0] - 1) + 1, dw * (kernel[1] - 1) + 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach, (2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]
        parts = zip(np.split(windows, groups, 1), np.split(g, groups, 1), strict=True)
        return np.concatenate([np.einsum("nihwkl,nohw->oikl", a, b) for a, b in parts])

    def decompose(
        self, x: Value, g: Value, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> Value:
        count, out, *grid = g.type.shape
        rows, columns, out = (int(d) for d in (*grid, out))  # type: ignore[arg-type]
        inner, each = int(x.type.shape[1]) // groups, out // groups  # type: ignore[arg-type]
        taps, places = inner * kernel[0] * kernel[1], rows * columns
        wide = reshape(unfold(x, kernel, stride, padding, dilation), (count, groups, taps, places))
        part = reshape(g, (count, groups, each, places))
        if each <= taps:  # the smaller operand is transposed
            of_w = transpose(reduce.sum(matmul(wide, transpose(part, (0, 1, 3, 2))), (0,)), (0, 2, 1))
        else:
            of_w = reduce.sum(matmul(part, transpose(wide, (0, 1, 3, 2))), (0,))
        return reshape(of_w, (out, inner, *kernel))


def _same(g: TensorType, x: TensorType, w: TensorType, **at: Any) -> None:
    """Raise ShapeError where g is not of the type of conv2d(x, w)."""
    y = REGISTRY["conv2d"].infer(x, w, **at)
    if y != g:
        raise ShapeError(f"a gradient of conv2d of {x} by {w} has its type {y}, found {g}")


def _turned(w: Value, groups: int) -> Value:
    """w with its taps in the opposite order and its channels, in and out, swapped. (O, C / g, KH, KW) to
    (C, O / g, KH, KW)."""
    out, inner, kh, kw = (int(d) for d in w.type.shape)  # type: ignore[arg-type]
    taps, each = kh * kw, out // groups
    backwards = constant(np.arange(taps)[::-1], tensor(i32, taps))
    rows = take(transpose(reshape(w, (out * inner, taps))), backwards)
    swapped = transpose(reshape(rows, (kh, kw, groups, each, inner)), (2, 4, 3, 0, 1))
    return reshape(swapped, (groups * inner, each, kh, kw))


def _pair(value: int | Pair) -> Pair:
    if isinstance(value, int):
        return value, value
    first, second = value
    return int(first), int(second)


conv2d = public(Conv2d, Conv2d.call)
conv2d_input_gradient = public(Conv2dInputGradient, Conv2dInputGradient.call)
conv2d_weight_gradient = public(Conv2dWeightGradient, Conv2dWeightGradient.call)
