"""Composites along the last axis: softmax, log_softmax, logsumexp, rms_norm, layer_norm. Narrow floats are widened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..diagnostics import ShapeError
from ..ir.graph import Value
from ..ir.types import Symbol, TensorType, bf16, dim, f16, f32, f64, i32, tensor
from . import reduce
from .compare import eq, where
from .composite import Composite
from .elementwise import abs, cast, exp, log, reciprocal, rsqrt, widened
from .error import Bound, LargestUlp
from .op import Amp, Array, Batching, public
from .rules import floating, normalize_axis, plain, shown
from .samples import Sample, Uniform, sample
from .shape import reshape, transpose

N = Symbol("n", 8)


class RowComposite(Composite):
    """x: (..., D), plain. The result has its shape and is float; further operands have the shape (D,)."""

    error: ClassVar[Bound] = LargestUlp(f64=32, f32=32, f16=4, bf16=4)

    def infer(self, x: TensorType, *rest: TensorType, **attrs: Any) -> TensorType:
        if not x.shape:
            raise ShapeError(f"{self.name} needs at least one axis, found {x}")
        for n, w in enumerate(rest):
            plain(w, self.name)
            if w.shape != x.shape[-1:]:
                raise ShapeError(f"{self.name}: operand {n + 2} must have shape {shown(x.shape[-1:])}, found {w}")
        return TensorType(floating(plain(x, self.name)), x.shape)


def _rows(*more: int, **attrs: Any) -> tuple[Sample, ...]:
    """Samples of x alone (`more` empty), or with as many operands of shape (D,)."""
    v = Uniform(-5, 5)
    found = []
    shapes = (
        (f32, (3, 5)),
        (f32, (dim(N), 4)),
        (f64, (2, 3, 4)),
        (f16, (2, 8)),
        (bf16, (2, 8)),
        (i32, (2, 5)),
        (f32, (7,)),
    )
    for dtype, shape in shapes:
        rest = [tensor(f32 if dtype == i32 else dtype, shape[-1]) for _ in more]
        found.append(sample((tensor(dtype, *shape), v), *rest, symbols={"n": 3}, **attrs))
    return tuple(found)


def _along(x: Value, axis: int, op: str) -> tuple[Value, tuple[int, ...] | None]:
    """x with `axis` moved to the end, and the order of axes that moves it back; None where it is there already."""
    rank = x.type.rank
    at = normalize_axis(axis, rank, op)
    if at == rank - 1:
        return x, None
    order = [i for i in range(rank) if i != at] + [at]
    return transpose(x, order), tuple(order.index(i) for i in range(rank))


class Softmax(RowComposite, name="softmax", version=1, amp=Amp.FLOAT32):
    """exp(x - max) / sum along one axis, the last where none is named. Shape of x, float. NaN for a row of -inf."""

    samples = _rows()
    batching = Batching.RULE

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        return super().infer(x)

    def call(self, x: Value, axis: int = -1) -> Value:
        rows, back = _along(x, axis, "softmax")
        y = self.build(rows)
        return y if back is None else transpose(y, back)

    def reference(self, x: Array) -> Array:
        with np.errstate(all="ignore"):
            wide = np.asarray(x, np.float64)
            t = np.exp(wide - wide.max(-1, keepdims=True, initial=-np.inf))
            return np.asarray(t / t.sum(-1, keepdims=True))

    def decompose(self, x: Value) -> Value:
        if x.type.shape[-1] == 0:  # no largest element to take away, and nothing to take it from
            return cast(x, floating(x.type.dtype))
        wide = widened(x)
        t = exp(wide - reduce.max(wide, -1, True))
        return cast(t * reciprocal(reduce.sum(t, -1, True)), floating(x.type.dtype))

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:  # type: ignore[override]
        return (y * (g - reduce.sum(g * y, -1, True)),)

    def batch(self, size: int, batched: Sequence[bool], x: Value) -> Value:
        return self.build(x)


class LogSoftmax(RowComposite, name="log_softmax", version=1, amp=Amp.FLOAT32):
    """x - logsumexp(x) along one axis, the last where none is named. Shape of x, float."""

    samples = _rows()
    batching = Batching.RULE

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        return super().infer(x)

    def call(self, x: Value, axis: int = -1) -> Value:
        rows, back = _along(x, axis, "log_softmax")
        y = self.build(rows)
        return y if back is None else transpose(y, back)

    def reference(self, x: Array) -> Array:
        with np.errstate(all="ignore"):
            wide = np.asarray(x, np.float64)
            t = wide - wide.max(-1, keepdims=True, initial=-np.inf)
            return np.asarray(t - np.log(np.exp(t).sum(-1, keepdims=True)))

    def decompose(self, x: Value) -> Value:
        if x.type.shape[-1] == 0:
            return cast(x, floating(x.type.dtype))
        wide = widened(x)
        t = wide - reduce.max(wide, -1, True)
        return cast(t - log(reduce.sum(exp(t), -1, True)), floating(x.type.dtype))

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:  # type: ignore[override]
        return (g - exp(y) * reduce.sum(g, -1, True),)

    def batch(self, size: int, batched: Sequence[bool], x: Value) -> Value:
        return self.build(x)


class LogSumExp(Composite, name="logsumexp", version=1, amp=Amp.FLOAT32):
    """log(sum(exp(x))) over the last axis as float, without overflow; -inf for a row of -inf, inf for one with inf."""

    samples = _rows() + _rows(keepdim=True)[:2]
    error = LargestUlp(f64=16, f32=16, f16=4, bf16=4)
    batching = Batching.RULE

    def infer(self, x: TensorType, *, keepdim: bool = False) -> TensorType:
        dtype = floating(plain(x, "logsumexp"))
        if not x.shape:
            raise ShapeError(f"logsumexp needs at least one axis, found {x}")
        return TensorType(dtype, (*x.shape[:-1], 1) if keepdim else x.shape[:-1])

    def call(self, x: Value, keepdim: bool = False) -> Value:
        return self.build(x, keepdim=keepdim)

    def reference(self, x: Array, *, keepdim: bool = False) -> Array:
        with np.errstate(all="ignore"):
            wide = np.asarray(x, np.float64)
            top = wide.max(-1, keepdims=True, initial=-np.inf)
            top = np.where(np.isinf(top), 0.0, top)
            y = np.log(np.exp(wide - top).sum(-1, keepdims=True)) + top
        return np.asarray(y if keepdim else y[..., 0])

    def decompose(self, x: Value, *, keepdim: bool = False) -> Value:
        wide = widened(cast(x, floating(x.type.dtype)))
        top = reduce.max(wide, -1, True)
        top = where(eq(abs(top), math.inf), 0.0, top)  # inf - inf is NaN
        y = cast(log(reduce.sum(exp(wide - top), -1, True)) + top, floating(x.type.dtype))
        return y if keepdim else reshape(y, x.type.shape[:-1])

    def gradient(self, g: Value, x: Value, y: Value, *, keepdim: bool = False) -> Sequence[Value]:  # type: ignore[override]
        kept = (*x.type.shape[:-1], 1)
        return (reshape(g, kept) * exp(x - reshape(y, kept)),)

    def batch(self, size: int, batched: Sequence[bool], x: Value, *, keepdim: bool = False) -> Value:
        return self.build(x, keepdim=keepdim)


class RmsNorm(RowComposite, name="rms_norm", version=1, amp=Amp.FLOAT32):
    """x / sqrt(mean(x * x) + eps) * weight over the last axis. x: (..., D), weight: (D,), eps > 0. Shape of x, float.

    Source: arXiv 1910.07467."""

    samples = _rows(1, eps=1e-5)

    def infer(self, x: TensorType, weight: TensorType, *, eps: float = 1e-6) -> TensorType:  # type: ignore[override]
        return super().infer(x, weight)

    def call(self, x: Value, weight: Value, eps: float = 1e-6) -> Value:
        return self.build(x, weight, eps=float(eps))

    def reference(self, x: Array, weight: Array, *, eps: float) -> Array:
        wide = np.asarray(x, np.float64)
        return np.asarray(wide / np.sqrt((wide * wide).mean(-1, keepdims=True) + eps) * weight)

    def decompose(self, x: Value, weight: Value, *, eps: float) -> Value:
        wide = widened(x)
        y = wide * rsqrt(reduce.mean(wide * wide, -1, True) + eps) * weight
        return cast(y, floating(x.type.dtype))

    def gradient(self, g: Value, x: Value, weight: Value, y: Value, *, eps: float) -> Sequence[Value]:  # type: ignore[override]
        wide, given = widened(x), widened(g)
        scale = rsqrt(reduce.mean(wide * wide, -1, True) + eps)
        n, of_n = wide * scale, given * weight
        back = (of_n - n * reduce.mean(of_n * n, -1, True)) * scale
        return cast(back, x.type.dtype), _over_rows(given * n, weight)


class LayerNorm(RowComposite, name="layer_norm", version=1, amp=Amp.FLOAT32):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axis, var over all D. x: (..., D), weight, bias: (D,).

    Shape of x, float. Source: arXiv 1607.06450."""

    samples = _rows(1, 1, eps=1e-5)

    def infer(self, x: TensorType, weight: TensorType, bias: TensorType, *, eps: float = 1e-5) -> TensorType:  # type: ignore[override]
        return super().infer(x, weight, bias)

    def call(self, x: Value, weight: Value, bias: Value, eps: float = 1e-5) -> Value:
        return self.build(x, weight, bias, eps=float(eps))

    def reference(self, x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
        t = x - np.asarray(x, np.float64).mean(-1, keepdims=True)
        return np.asarray(t / np.sqrt((t * t).mean(-1, keepdims=True) + eps) * weight + bias)

    def decompose(self, x: Value, weight: Value, bias: Value, *, eps: float) -> Value:
        wide = widened(x)
        t = wide - reduce.mean(wide, -1, True)
        y = t * rsqrt(reduce.mean(t * t, -1, True) + eps) * weight + bias
        return cast(y, floating(x.type.dtype))

    def gradient(  # type: ignore[override]
        self, g: Value, x: Value, weight: Value, bias: Value, y: Value, *, eps: float
    ) -> Sequence[Value]:
        wide = widened(x)
        t = wide - reduce.mean(wide, -1, True)
        scale = rsqrt(reduce.mean(t * t, -1, True) + eps)
        n, given = t * scale, widened(g)
        of_n = given * weight
        back = (of_n - reduce.mean(of_n, -1, True) - n * reduce.mean(of_n * n, -1, True)) * scale
        return cast(back, x.type.dtype), _over_rows(given * n, weight), _over_rows(given, bias)


def _over_rows(v: Value, like: Value) -> Value:
    """v summed over all axes but the last."""
    leading = tuple(range(v.type.rank - 1))
    return cast(reduce.sum(v, leading) if leading else v, like.type.dtype)


class BatchNorm(Composite, name="batch_norm", version=1, amp=Amp.FLOAT32):
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and var of each channel over all else. x: (N, C, ...) float,
    weight, bias: (C,) of its dtype. Shape and dtype of x. Source: arXiv 1502.03167."""

    samples = (
        sample((tensor(f32, 3, 4), Uniform(-5, 5)), tensor(f32, 4), tensor(f32, 4), eps=1e-5),
        sample((tensor(f64, 2, 3, 4, 5), Uniform(-5, 5)), tensor(f64, 3), tensor(f64, 3), eps=1e-3),
        sample((tensor(f32, 2, 3, 7), Uniform(-5, 5)), tensor(f32, 3), tensor(f32, 3), eps=1e-5),
        sample((tensor(f16, 4, 2, 3, 3), Uniform(-5, 5)), tensor(f16, 2), tensor(f16, 2), eps=1e-5),
    )
    error = LargestUlp(f64=32, f32=32, f16=4, bf16=4)

    def infer(self, x: TensorType, weight: TensorType, bias: TensorType, *, eps: float = 1e-5) -> TensorType:
        if x.rank < 2 or not plain(x, self.name).is_float:
            raise ShapeError(f"batch_norm needs floats (N, C, ...), found {x}")
        for w in (weight, bias):
            if w.shape != (x.shape[1],) or w.element != x.element:
                raise ShapeError(f"batch_norm: weight and bias are {x.dtype} of shape ({x.shape[1]},), found {w}")
        return x

    def call(self, x: Value, weight: Value, bias: Value, eps: float = 1e-5) -> Value:
        return self.build(x, weight, bias, eps=float(eps))

    def reference(self, x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
        axes, shape = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
        t = x - np.asarray(x, np.float64).mean(axes, keepdims=True)
        scale = np.sqrt((t * t).mean(axes, keepdims=True) + eps)
        return np.asarray(t / scale * weight.reshape(shape) + bias.reshape(shape))

    def decompose(self, x: Value, weight: Value, bias: Value, *, eps: float) -> Value:
        t, scale, shape = self._centred(x, eps)
        y = t * scale * reshape(widened(weight), shape) + reshape(widened(bias), shape)
        return cast(y, x.type.dtype)

    def gradient(  # type: ignore[override]
        self, g: Value, x: Value, weight: Value, bias: Value, y: Value, *, eps: float
    ) -> Sequence[Value]:
        """Two sums over all pixels, of g and of g times what was normalized, are all that any of the three needs."""
        t, scale, shape = self._centred(x, eps)
        axes = (0, *range(2, x.type.rank))
        g = widened(g)
        normal = t * scale
        of_bias, of_weight = reduce.sum(g, axes, True), reduce.sum(g * normal, axes, True)
        if x.type.static:
            share = 1 / math.prod(int(x.type.shape[a]) for a in axes)
            rest = g - of_bias * share - normal * (of_weight * share)
        else:
            rest = g - reduce.mean(g, axes, True) - normal * reduce.mean(g * normal, axes, True)
        of_x = rest * (scale * reshape(widened(weight), shape))
        flat = weight.type.shape
        return (
            cast(of_x, x.type.dtype),
            cast(reshape(of_weight, flat), x.type.dtype),
            cast(reshape(of_bias, flat), x.type.dtype),
        )

    @staticmethod
    def _centred(x: Value, eps: float) -> tuple[Value, Value, tuple[Any, ...]]:
        """x less its mean, one over its deviation, and the shape that channels have beside it."""
        wide = widened(x)
        axes = (0, *range(2, x.type.rank))
        t = wide - reduce.mean(wide, axes, True)
        shape = (1, x.type.shape[1], *[1] * (x.type.rank - 2))
        return t, rsqrt(reduce.mean(t * t, axes, True) + eps), shape


softmax = public(Softmax, Softmax.call)
log_softmax = public(LogSoftmax, LogSoftmax.call)
logsumexp = public(LogSumExp, LogSumExp.call)
rms_norm = public(RmsNorm, RmsNorm.call)
layer_norm = public(LayerNorm, LayerNorm.call)
batch_norm = public(BatchNorm, BatchNorm.call)
