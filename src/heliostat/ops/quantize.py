"""Between plain elements, quantized blocks and packed layouts: quantize, dequantize, repack.

References hold blocks as the floats that they stand for, so that every other reference sees plain arrays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value
from ..ir.types import DType, Element, Layout, Symbol, TensorType, bf16, dim, f16, f32, register_element_family, tensor
from ..quant.activation import MOST_I16, ActivationFormat, activation_format
from ..quant.codec import dequantize as decode
from ..quant.format import BlockFormat
from ..quant.formats import Q4_0, Q4_K, Q6_K, Q8_0
from ..quant.panel import Panel
from ..quant.quantize import encode
from .error import EXACT, LargestUlp
from .op import Amp, Array, Batching, NotDifferentiable, Op, public
from .rules import float_only
from .samples import Uniform, sample

N = Symbol("n", 8)


def _activation(name: str) -> ActivationFormat | None:
    """The int8 activation format of a name, which says all about it: `a8_256_16_i32x-32`, `a16_...` of two planes."""
    match = re.fullmatch(r"a(8|16)_(\d{1,6})_(\d{1,6})_(i32|i16|f32)x(-?\d{1,6})(?:_to(\d{1,6}))?(_biased)?", name)
    if match is None or int(match[2]) < 1 or int(match[3]) < 1 or int(match[2]) % int(match[3]):
        return None
    block, sub, most = int(match[2]), int(match[3]), int(match[6] or 0)
    if (match[4] == "i16" and sub > MOST_I16) or (match[6] is not None and most <= sub):
        return None
    if match[7] and match[4] != "i32":
        return None
    return activation_format(block, sub, match[4], int(match[5]), int(match[1]) // 8, most, bool(match[7]))


register_element_family(_activation)


class Quantize(Op, name="quantize", version=1, amp=Amp.KEEP_INPUT):
    """x as blocks of `format` along its last axis. x: (..., K) float, K a multiple of the block.

    The gradient passes through unchanged, as in quantization-aware training. Source of that: arXiv 1308.3432."""

    samples = (
        sample((tensor(f32, 3, 64), Uniform(-4, 4)), format=Q8_0),
        sample(tensor(f32, dim(N), 32), format=Q4_0, symbols={"n": 3}),
        sample(tensor(f16, 2, 256), format=Q6_K),
        sample((tensor(f32, 2, 256), Uniform(-9, 9)), format=activation_format(256, 16, "i32", -32)),
        sample(tensor(f32, 3, 64), format=activation_format(32, 32, "f32")),
        sample(tensor(f32, 3, 64), format=activation_format(32, 16, "i32", -8, 2)),
        sample(tensor(f32, 2, 256), format=activation_format(256, 16, "i16", most=1023)),
        sample(tensor(f32, 3, 64), format=activation_format(32, 32, "i32", -8, biased=True)),
    )
    error = LargestUlp(f32=4)
    batching = Batching.REFUSED

    def infer(self, x: TensorType, *, format: Element) -> TensorType:
        float_only(x, "quantize")
        if not isinstance(format, (BlockFormat, ActivationFormat)):
            raise DTypeError(f"quantize goes to a block format, not {format}", help="use cast(x, dtype) for a dtype")
        last = x.shape[-1] if x.shape else 1
        if not isinstance(last, int) or last % format.block:
            raise ShapeError(f"quantize to {format} needs a last axis that is a multiple of {format.block}, found {x}")
        return TensorType(format, x.shape)

    def call(self, x: Value, format: Element) -> Value:
        return self.build(x, format=format)

    def reference(self, x: Array, *, format: Element) -> Array:
        rows = np.asarray(x, np.float32).reshape(-1, x.shape[-1])
        if isinstance(format, ActivationFormat):
            values = format.decode(format.encode(rows), x.shape[-1])
        else:
            assert isinstance(format, BlockFormat)
            values = decode(encode(rows, format), format)
        return np.asarray(values, np.float64).reshape(x.shape)

    def gradient(self, g: Value, x: Value, y: Value, *, format: Element) -> Sequence[Value]:
        return (g,)


class Dequantize(Op, name="dequantize", version=1, amp=Amp.KEEP_INPUT):
    """The float values of blocks. x: any block format, in rows. f32, or another float dtype and a layout that kernels
    read, rounded to it.
    """

    samples = (sample(tensor(Q8_0, 3, 64)), sample(tensor(Q4_K, 2, 256)), sample(tensor(Q4_0, 2, 3, 32)))
    error = LargestUlp(f32=4)
    batching = Batching.REFUSED

    def infer(self, x: TensorType, *, dtype: DType = f32, layout: Layout | None = None) -> TensorType:
        if not isinstance(x.element, BlockFormat):
            raise DTypeError(f"dequantize takes quantized blocks, found {x}")
        return TensorType(dtype, x.shape, layout)

    def call(self, x: Value) -> Value:
        return self.build(x)

    def reference(self, x: Array, *, dtype: DType = f32, layout: Layout | None = None) -> Array:
        return x

    def gradient(
        self, g: Value, x: Value, y: Value, *, dtype: DType = f32, layout: Layout | None = None
    ) -> Sequence[Value]:
        return (g,)


class Repack(Op, name="repack", version=1, amp=Amp.KEEP_INPUT):
    """The same matrix in another layout, for the kernels that read it. w: (N, K) of any element type, in rows."""

    samples = (
        sample(tensor(Q8_0, 20, 64), layout=Panel(16)),
        sample(tensor(f16, 9, 8), layout=Panel(8)),
        sample(tensor(bf16, 16, 4), layout=Panel(16)),
    )
    error = EXACT
    batching = Batching.REFUSED
    gradient = NotDifferentiable("packed weights are for inference; differentiate before repack(w)")

    def infer(self, w: TensorType, *, layout: Layout) -> TensorType:
        if w.rank != 2 or w.layout is not None or not isinstance(w.element, (DType, BlockFormat)):
            raise ShapeError(f"repack takes a row-major matrix, found {w}")
        if not isinstance(layout, Layout):
            raise DTypeError(f"repack goes to a layout, not {layout}")
        return TensorType(w.element, w.shape, layout)

    def call(self, w: Value, layout: Layout) -> Value:
        return self.build(w, layout=layout)

    def reference(self, w: Array, *, layout: Layout) -> Array:
        return w


quantize = public(Quantize, Quantize.call)
dequantize = public(Dequantize, Dequantize.call)
repack = public(Repack, Repack.call)
