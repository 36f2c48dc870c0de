"""Sliding windows over the last axes: `unfold` takes them out, `fold` adds them back. Convolution and pooling are
products and reductions of what `unfold` gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..diagnostics import ShapeError
from ..ir.graph import Value
from ..ir.types import Dim, DType, TensorType, bf16, f16, f32, f64, i32, tensor
from .error import EXACT, LargestUlp
from .op import Amp, Array, Batching, Op, public
from .rules import plain
from .samples import sample
from .shape import reshape

Sizes = tuple[int, ...]


def window_count(size: Dim, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many windows an axis has. Raises ShapeError for an unknown size, or where not even one fits."""
    if not isinstance(size, int):
        raise ShapeError(f"windows slide over axes of known size, found {size}")
    if kernel < 1 or stride < 1 or dilation < 1 or padding < 0:
        raise ShapeError(
            f"a window has kernel, stride and dilation of at least 1 and no negative padding, "
            f"found {kernel}, {stride}, {dilation} and {padding}"
        )
    count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    if count < 1:
        raise ShapeError(
            f"a window of {dilation * (kernel - 1) + 1} does not fit an axis of {size} padded by {padding}"
        )
    return count


def _counts(spatial: Sequence[Dim], kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    if not len(spatial) == len(kernel) == len(stride) == len(padding) == len(dilation):
        raise ShapeError(f"windows of {len(kernel)} axes do not fit {len(spatial)} axes")
    return tuple(map(window_count, spatial, kernel, stride, padding, dilation))


def _slices(
    kernel: Sizes, counts: Sizes, stride: Sizes, dilation: Sizes
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Each place of the window, and the elements that stand there in all windows."""
    for at in itertools.product(*map(range, kernel)):
        starts = [k * d for k, d in zip(at, dilation, strict=True)]
        yield at, tuple(slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(starts, counts, stride, strict=True))


class Unfold(Op, name="unfold", version=1, amp=Amp.KEEP_INPUT):
    """All windows of x. x: (N, C, *S) plain; result (N, C, *kernel, *counts) of x's dtype, one window a place.

    Axis i of S is padded by padding[i] elements `fill` on both sides; windows begin every stride[i] elements and take
    every dilation[i]-th. Raises ShapeError where no window fits."""

    samples = (
        sample(tensor(f32, 2, 3, 5, 6), kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1)),
        sample(tensor(f64, 1, 2, 7), kernel=(3,), stride=(2,), padding=(1,), dilation=(2,)),
        sample(tensor(f64, 1, 1, 4, 5), kernel=(2, 2), stride=(2, 2), padding=(0, 1), dilation=(1, 1), fill=-1.5),
        sample(tensor(f32, 1, 1, 3, 4, 5), kernel=(2, 1, 3), stride=(1, 1, 1), padding=(0, 0, 1), dilation=(1, 1, 1)),
        sample(tensor(bf16, 1, 2, 40), kernel=(3,), stride=(1,), padding=(2,), dilation=(1,)),
        sample(tensor(i32, 1, 1, 6), kernel=(2,), stride=(3,), padding=(0,), dilation=(1,)),
    )
    error = EXACT
    batching = Batching.RULE

    def infer(
        self, x: TensorType, *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, fill: float = 0.0
    ) -> TensorType:
        plain(x, "unfold")
        if x.rank < 3:
            raise ShapeError(f"unfold needs (N, C, *S), found {x}")
        return TensorType(x.element, (*x.shape[:2], *kernel, *_counts(x.shape[2:], kernel, stride, padding, dilation)))

    def call(self, x: Value, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, fill: float = 0.0) -> Value:
        return self.build(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, fill=float(fill))

    def reference(
        self, x: Array, *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, fill: float = 0.0
    ) -> Array:
        counts = _counts(x.shape[2:], kernel, stride, padding, dilation)
        wide = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=fill)
        y = np.empty((*x.shape[:2], *kernel, *counts), x.dtype)
        for at, where in _slices(kernel, counts, stride, dilation):
            y[(slice(None), slice(None), *at)] = wide[(slice(None), slice(None), *where)]
        return y

    def gradient(
        self,
        g: Value,
        x: Value,
        y: Value,
        *,
        kernel: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        fill: float,
    ) -> Sequence[Value]:
        size = tuple(int(d) for d in x.type.shape[2:])  # type: ignore[arg-type]
        return (fold(g, size, kernel, stride, padding, dilation),)

    def batch(self, size: int, batched: Sequence[bool], x: Value, **attrs: Any) -> Value:
        return _in_one(self, size, x, attrs)


class Fold(Op, name="fold", version=1, amp=Amp.FLOAT32):
    """Windows added up where they overlap: the transpose of `unfold`. x: (N, C, *kernel, *counts); (N, C, *size)."""

    samples = (
        sample(
            tensor(f32, 2, 3, 3, 3, 5, 6), size=(5, 6), kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1)
        ),
        sample(tensor(f64, 1, 2, 3, 3), size=(7,), kernel=(3,), stride=(2,), padding=(1,), dilation=(2,)),
        sample(
            tensor(f64, 1, 1, 2, 2, 2, 3), size=(4, 5), kernel=(2, 2), stride=(2, 2), padding=(0, 1), dilation=(1, 1)
        ),
        sample(tensor(f16, 1, 2, 3, 42), size=(40,), kernel=(3,), stride=(1,), padding=(2,), dilation=(1,)),
    )
    error = LargestUlp(f64=8, f32=8, f16=2, bf16=2)
    batching = Batching.RULE

    def infer(
        self, x: TensorType, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
    ) -> TensorType:
        plain(x, "fold")
        counts = _counts(size, kernel, stride, padding, dilation)
        if x.rank != 2 + 2 * len(size) or x.shape[2:] != (*kernel, *counts):
            raise ShapeError(f"fold to {list(size)} needs (N, C, {list(kernel)}, {list(counts)}), found {x}")
        return TensorType(x.element, (*x.shape[:2], *size))

    def call(self, x: Value, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Value:
        return self.build(x, size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)

    def reference(
        self, x: Array, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
    ) -> Array:
        counts = _counts(size, kernel, stride, padding, dilation)
        y = np.zeros((*x.shape[:2], *(s + 2 * p for s, p in zip(size, padding, strict=True))), x.dtype)
        for at, where in _slices(kernel, counts, stride, dilation):
            y[(slice(None), slice(None), *where)] += x[(slice(None), slice(None), *at)]
        inside: tuple[Any, ...] = tuple(slice(p, p + s) for s, p in zip(size, padding, strict=True))
        return y[(slice(None), slice(None), *inside)]

    def gradient(
        self,
        g: Value,
        x: Value,
        y: Value,
        *,
        size: Sizes,
        kernel: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
    ) -> Sequence[Value]:
        return (unfold(g, kernel, stride, padding, dilation),)

    def batch(self, size_: int, batched: Sequence[bool], x: Value, **attrs: Any) -> Value:
        return _in_one(self, size_, x, attrs)


def _in_one(op: Op, size: int, x: Value, attrs: dict[str, Any]) -> Value:
    """An op of (N, ...) of all elements of a batch (B, N, ...) as one of (B * N, ...)."""
    y = op.build(reshape(x, (-1, *x.type.shape[2:])), **attrs)
    return reshape(y, (size, x.type.shape[1], *y.type.shape[1:]))


def lowest(dtype: DType) -> float:
    """What a maximum ignores: the smallest value of a dtype."""
    return float("-inf") if dtype.is_float else float(-(2 ** (dtype.bits - 1)) if dtype.kind == "i" else 0)


unfold = public(Unfold, Unfold.call)
fold = public(Fold, Fold.call)
