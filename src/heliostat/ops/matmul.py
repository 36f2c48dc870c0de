"""Products: `matmul` as users write it, and `linear`, the form x @ transpose(w) that weights take in the compiler."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import OPERATORS, Value
from ..ir.types import DType, TensorType, f32
from ..quant.activation import ActivationFormat
from .op import REGISTRY, Amp, Array, Op, broadcast, promote
from .shape import transpose


class Matmul(Op):
    """a @ b over the last two axes, leading axes broadcast. b may be a transposed matrix of quantized blocks."""

    name, amp = "matmul", Amp.LOWER

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        if a.rank < 1 or b.rank < 1:
            raise ShapeError(f"`@` needs tensors of at least one axis, got {a} and {b}")
        inner_a, inner_b = a.shape[-1], b.shape[-2] if b.rank > 1 else b.shape[-1]
        if inner_a != inner_b:
            raise ShapeError(f"`@` needs equal inner dimensions, got {inner_a} and {inner_b}")
        if not isinstance(a.element, DType):
            raise DTypeError(f"the left side of `@` must have plain elements, found {a}")
        batch = broadcast(a.shape[:-2], b.shape[:-2], what="leading axes of `@`")
        rows, columns = a.shape[-2:-1], b.shape[-1:] if b.rank > 1 else ()
        if isinstance(b.element, DType):
            dtype = promote(a.element, b.element)
        else:
            dtype = a.element if a.element.is_float else f32
        return TensorType(dtype, (*batch, *rows, *columns))

    def reference(self, a: Array, b: Array) -> Array:
        return np.matmul(a, b)

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value | None]:
        from .elementwise import sum_to

        if a.type.rank < 2 or b.type.rank < 2:
            raise ShapeError("the gradient of matmul needs two axes on both sides")
        ga = sum_to(matmul(g, transpose(b)), a.type)
        gb = None if not isinstance(b.type.element, DType) else sum_to(matmul(transpose(a), g), b.type)
        return ga, gb


class Linear(Op):
    """y[..., o] = sum_k x[..., k] * w[o, k].

    x: (..., K) float or int8 activations, w: (O, K) of any element; y f32 or x's.
    """

    name, amp = "linear", Amp.LOWER

    def infer(self, x: TensorType, w: TensorType) -> TensorType:
        if w.rank != 2 or x.rank < 1 or x.shape[-1] != w.shape[1]:
            raise ShapeError(f"linear needs x (..., K) and w (O, K), found {x} and {w}")
        if isinstance(x.element, ActivationFormat):
            dtype = f32
        elif isinstance(x.element, DType) and isinstance(w.element, DType):
            dtype = promote(x.element, w.element)
        elif isinstance(x.element, DType):
            dtype = x.element if x.element.is_float else f32
        else:
            raise DTypeError(f"linear takes plain or int8 activations, found {x}")
        return TensorType(dtype, (*x.shape[:-1], w.shape[0]))

    def reference(self, x: Array, w: Array) -> Array:
        return np.matmul(x, w.T)


def matmul(a: Value, b: Value) -> Value:
    """a @ b over the last two axes, leading axes broadcast. b may be a transposed matrix of quantized blocks."""
    return REGISTRY["matmul"].build(a, b)


def linear(x: Value, w: Value) -> Value:
    """y[..., o] = sum_k x[..., k] * w[o, k]. w: (O, K) of any element type."""
    return REGISTRY["linear"].build(x, w)


OPERATORS.update(matmul=matmul)
