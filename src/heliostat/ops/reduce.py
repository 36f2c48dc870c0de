"""Reductions over axes, and the composites built on them: softmax, log_softmax, logsumexp, rms_norm, layer_norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..diagnostics import ShapeError
from ..ir.graph import Value
from ..ir.types import Dim, TensorType, i64, numel
from . import elementwise as e
from .op import REGISTRY, Amp, Array, Op, floating, normalize_axis, plain
from .shape import broadcast_to, reshape


class Reduction(Op, register=False):
    """Over `axes` (sorted, not negative); `keepdim` leaves them with size 1."""

    amp = Amp.FLOAT32

    def infer(self, x: TensorType, *, axes: tuple[int, ...], keepdim: bool = False) -> TensorType:
        plain(x, self.name)
        shape: list[Dim] = []
        for i, d in enumerate(x.shape):
            if i not in axes:
                shape.append(d)
            elif keepdim:
                shape.append(1)
        return TensorType(self.result_dtype(x), tuple(shape))

    def result_dtype(self, x: TensorType) -> Any:
        return x.element

    def reference(self, x: Array, *, axes: tuple[int, ...], keepdim: bool = False) -> Array:
        return self.function(x, axis=axes, keepdims=keepdim)

    function: Callable[..., Any] = staticmethod(np.sum)


class Sum(Reduction):
    """Sum over axes. Integers are summed in i64."""

    name = "sum"
    function = staticmethod(np.sum)

    def result_dtype(self, x: TensorType) -> Any:
        return x.element if x.dtype.is_float else i64

    def gradient(self, g: Value, x: Value, y: Value, *, axes: tuple[int, ...], keepdim: bool) -> Sequence[Value]:
        return (broadcast_to(_kept(g, x.type, axes), x.type.shape),)


class Mean(Reduction):
    """Mean over axes, as float."""

    name = "mean"
    function = staticmethod(np.mean)

    def result_dtype(self, x: TensorType) -> Any:
        return floating(x.dtype)

    def gradient(self, g: Value, x: Value, y: Value, *, axes: tuple[int, ...], keepdim: bool) -> Sequence[Value]:
        count = numel(tuple(x.type.shape[a] for a in axes))
        if not isinstance(count, int):
            raise ShapeError("the gradient of mean needs a known size")
        return (broadcast_to(e.mul(_kept(g, x.type, axes), 1.0 / count), x.type.shape),)


class Max(Reduction):
    """Largest element over axes; NaN if there is one."""

    name = "max"
    function = staticmethod(np.max)


class Min(Reduction):
    """Smallest element over axes; NaN if there is one."""

    name = "min"
    function = staticmethod(np.min)


class Prod(Reduction):
    """Product over axes."""

    name = "prod"
    function = staticmethod(np.prod)


class Argmax(Reduction):
    """Index of the first largest element along one axis, i64."""

    name = "argmax"

    def result_dtype(self, x: TensorType) -> Any:
        return i64

    def reference(self, x: Array, *, axes: tuple[int, ...], keepdim: bool = False) -> Array:
        return np.argmax(x, axis=axes[0], keepdims=keepdim)


def _kept(g: Value, x: TensorType, axes: tuple[int, ...]) -> Value:
    return reshape(g, tuple(1 if i in axes else d for i, d in enumerate(x.shape)))


def _axes(x: Value, axes: int | Sequence[int] | None, op: str) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(x.type.rank))
    named = (axes,) if isinstance(axes, int) else tuple(axes)
    found = tuple(sorted({normalize_axis(a, x.type.rank, op) for a in named}))
    if len(found) != len(named):
        raise ShapeError(f"{op}: an axis is named twice in {list(named)}")
    return found


def sum(x: Value, axes: int | Sequence[int] | None = None, keepdim: bool = False) -> Value:
    """Sum over axes (all where None). Integers are summed in i64."""
    return REGISTRY["sum"].build(x, axes=_axes(x, axes, "sum"), keepdim=keepdim)


def mean(x: Value, axes: int | Sequence[int] | None = None, keepdim: bool = False) -> Value:
    """Mean over axes (all where None), as float."""
    return REGISTRY["mean"].build(x, axes=_axes(x, axes, "mean"), keepdim=keepdim)


def max(x: Value, axes: int | Sequence[int] | None = None, keepdim: bool = False) -> Value:
    """Largest element over axes (all where None)."""
    return REGISTRY["max"].build(x, axes=_axes(x, axes, "max"), keepdim=keepdim)


def min(x: Value, axes: int | Sequence[int] | None = None, keepdim: bool = False) -> Value:
    """Smallest element over axes (all where None)."""
    return REGISTRY["min"].build(x, axes=_axes(x, axes, "min"), keepdim=keepdim)


def prod(x: Value, axes: int | Sequence[int] | None = None, keepdim: bool = False) -> Value:
    """Product over axes (all where None)."""
    return REGISTRY["prod"].build(x, axes=_axes(x, axes, "prod"), keepdim=keepdim)


def argmax(x: Value, axis: int = -1, keepdim: bool = False) -> Value:
    """Index of the first largest element along one axis, i64."""
    return REGISTRY["argmax"].build(x, axes=_axes(x, axis, "argmax"), keepdim=keepdim)


# --- composites -------------------------------------------------------------------------------------------------
class RowComposite(Op, register=False):
    """Same shape out as in, along the last axis; defined by its decomposition."""

    kind = "composite"
    amp = Amp.FLOAT32

    def infer(self, x: TensorType, *rest: TensorType, **attrs: Any) -> TensorType:
        for n, w in enumerate(rest):
            if w.shape != x.shape[-1:]:
                raise ShapeError(f"{self.name}: operand {n + 2} must have shape [{x.shape[-1]}], found {w}")
        return TensorType(floating(plain(x, self.name)), x.shape)


class Softmax(RowComposite):
    """exp(x - max) / sum over the last axis."""

    name = "softmax"

    def reference(self, x: Array) -> Array:
        t = np.exp(x - x.max(-1, keepdims=True))
        return t / t.sum(-1, keepdims=True)

    def decompose(self, x: Value) -> Value:
        t = e.exp(e.sub(x, max(x, -1, True)))
        return e.div(t, sum(t, -1, True))

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (e.mul(y, e.sub(g, sum(e.mul(g, y), -1, True))),)


class LogSoftmax(RowComposite):
    """x - logsumexp(x) over the last axis."""

    name = "log_softmax"

    def reference(self, x: Array) -> Array:
        t = x - x.max(-1, keepdims=True)
        return t - np.log(np.exp(t).sum(-1, keepdims=True))

    def decompose(self, x: Value) -> Value:
        t = e.sub(x, max(x, -1, True))
        return e.sub(t, e.log(sum(e.exp(t), -1, True)))

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (e.sub(g, e.mul(e.exp(y), sum(g, -1, True))),)


class RmsNorm(RowComposite):
    """x / sqrt(mean(x * x) + eps) * weight over the last axis. weight: (D,). Source: arXiv 1910.07467."""

    name = "rms_norm"

    def reference(self, x: Array, weight: Array, *, eps: float) -> Array:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight

    def decompose(self, x: Value, weight: Value, *, eps: float) -> Value:
        return e.mul(e.mul(x, e.rsqrt(e.add(mean(e.mul(x, x), -1, True), eps))), weight)


class LayerNorm(RowComposite):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axis. weight, bias: (D,). Source: arXiv 1607.06450."""

    name = "layer_norm"

    def reference(self, x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
        t = x - x.mean(-1, keepdims=True)
        return t / np.sqrt((t * t).mean(-1, keepdims=True) + eps) * weight + bias

    def decompose(self, x: Value, weight: Value, bias: Value, *, eps: float) -> Value:
        t = e.sub(x, mean(x, -1, True))
        return e.add(e.mul(e.mul(t, e.rsqrt(e.add(mean(e.mul(t, t), -1, True), eps))), weight), bias)


class Swiglu(Op):
    """silu(gate) * up. Source: arXiv 2002.05202."""

    name, kind = "swiglu", "composite"

    def infer(self, gate: TensorType, up: TensorType) -> TensorType:
        if gate.shape != up.shape:
            raise ShapeError(f"swiglu needs equal shapes, found {gate} and {up}")
        return TensorType(floating(plain(gate, "swiglu")), gate.shape)

    def reference(self, gate: Array, up: Array) -> Array:
        return gate / (1 + np.exp(-gate)) * up

    def decompose(self, gate: Value, up: Value) -> Value:
        return e.mul(e.silu(gate), up)


def softmax(x: Value) -> Value:
    """exp(x - max) / sum over the last axis."""
    return REGISTRY["softmax"].build(x)


def log_softmax(x: Value) -> Value:
    """x - logsumexp(x) over the last axis."""
    return REGISTRY["log_softmax"].build(x)


def logsumexp(x: Value, keepdim: bool = False) -> Value:
    """log(sum(exp(x))) over the last axis, without overflow."""
    top = max(x, -1, True)
    y = e.add(e.log(sum(e.exp(e.sub(x, top)), -1, True)), top)
    return y if keepdim else reshape(y, x.type.shape[:-1])


def rms_norm(x: Value, weight: Value, eps: float = 1e-6) -> Value:
    """x / sqrt(mean(x * x) + eps) * weight over the last axis. weight: (D,)."""
    return REGISTRY["rms_norm"].build(x, weight, eps=float(eps))


def layer_norm(x: Value, weight: Value, bias: Value, eps: float = 1e-5) -> Value:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axis. weight, bias: (D,)."""
    return REGISTRY["layer_norm"].build(x, weight, bias, eps=float(eps))


def swiglu(gate: Value, up: Value) -> Value:
    """silu(gate) * up."""
    return REGISTRY["swiglu"].build(gate, up)
