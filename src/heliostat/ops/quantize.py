"""Between plain elements, quantized blocks and packed layouts: quantize, dequantize, repack."""

from __future__ import annotations

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value
from ..ir.types import DType, Element, Layout, TensorType, f32
from .op import REGISTRY, Array, Op, plain


class Quantize(Op):
    """x as blocks of `format` along its last axis."""

    name = "quantize"

    def infer(self, x: TensorType, *, format: Element) -> TensorType:
        plain(x, "quantize")
        last = x.shape[-1] if x.shape else 1
        if not isinstance(last, int) or last % format.block:
            raise ShapeError(f"quantize to {format} needs a last axis that is a multiple of {format.block}, found {x}")
        return TensorType(format, x.shape)

    def reference(self, x: Array, *, format: Element) -> Array:
        from .evaluate import round_through

        return round_through(x, format)


class Dequantize(Op):
    """The float values of blocks."""

    name = "dequantize"

    def infer(self, x: TensorType) -> TensorType:
        if isinstance(x.element, DType):
            raise DTypeError(f"dequantize takes quantized blocks, found {x}")
        return TensorType(f32, x.shape)

    def reference(self, x: Array) -> Array:
        return x


class Repack(Op):
    """The same matrix in another layout, for the kernels that read it. w: (N, K) of any element type."""

    name = "repack"

    def infer(self, w: TensorType, *, layout: Layout) -> TensorType:
        if w.rank != 2 or w.layout is not None:
            raise ShapeError(f"repack takes a row-major matrix, found {w}")
        return TensorType(w.element, w.shape, layout)

    def reference(self, w: Array, *, layout: Layout) -> Array:
        return w


def quantize(x: Value, format: Element) -> Value:
    """x as blocks of `format` along its last axis."""
    return REGISTRY["quantize"].build(x, format=format)


def dequantize(x: Value) -> Value:
    """The float values of blocks, f32."""
    return REGISTRY["dequantize"].build(x)


def repack(w: Value, layout: Layout) -> Value:
    """The same matrix in another layout, for the kernels that read it."""
    return REGISTRY["repack"].build(w, layout=layout)
