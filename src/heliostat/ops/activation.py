"""Activations: relu, sigmoid, silu, the two GELUs, and swiglu."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import ShapeError
from ..ir.graph import Value
from ..ir.types import Symbol, TensorType, bf16, dim, f16, f32, f64, tensor
from .compare import where
from .composite import Composite
from .elementwise import Unary, cast, error_function, exp, in_float64, mul, quiet, tanh
from .error import EXACT, Ulp
from .op import Amp, Array, public
from .rules import floating, plain, promote, shown
from .samples import SpecialFloats, Uniform, sample

_RANGE = Uniform(-40, 40) | SpecialFloats()
_ROOT_HALF = math.sqrt(0.5)
_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)


class Relu(Unary, name="relu", version=1, amp=Amp.KEEP_INPUT):
    """max(x, 0); NaN stays. Shape and dtype of x, which is not bool."""

    bools = False
    samples = _RANGE
    error = EXACT

    def reference(self, x: Array) -> Array:
        return quiet(np.maximum, x, 0)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.maximum(x, 0.0)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (where(y <= 0.0, 0.0, g),)


class Sigmoid(Unary, name="sigmoid", version=1, amp=Amp.KEEP_INPUT):
    """1 / (1 + exp(-x)) as float."""

    floats = True
    samples = _RANGE
    error = Ulp(f64=4, f32=4, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(lambda v: 1 / (1 + np.exp(-v)), x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.sigmoid(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g * y * (1.0 - y),)


class Silu(Unary, name="silu", version=1, amp=Amp.KEEP_INPUT):
    """x * sigmoid(x) as float. Source: arXiv 1702.03118."""

    floats = True
    samples = Uniform(-40, 40)
    error = Ulp(f64=6, f32=6, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(lambda v: v / (1 + np.exp(-v)), x)

    def scalar(self, k: Any, x: Any) -> Any:
        return x * k.sigmoid(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        s = sigmoid(x)
        return (g * (s * (1.0 + x * (1.0 - s))),)


class Gelu(Unary, name="gelu", version=1, amp=Amp.KEEP_INPUT):
    """x * (1 + erf(x / sqrt 2)) / 2 as float. Source: arXiv 1606.08415."""

    floats = True
    samples = Uniform(-3, 12)  # below, 1 + erf cancels: the relative error grows without bound
    error = Ulp(f64=4096, f32=4096, f16=8, bf16=2)

    def reference(self, x: Array) -> Array:
        return in_float64(lambda v: 0.5 * v * (1 + error_function(v * _ROOT_HALF)), x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.gelu(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g * gelu_slope(x),)


class GeluSlope(Unary, name="gelu_slope", version=1, amp=Amp.KEEP_INPUT):
    """The derivative of gelu: P(N < x) + x p(x) of a normally distributed N with density p, as float. Shares with gelu
    what takes longest of both."""

    floats = True
    samples = Uniform(-0.5, 12)  # near -0.75 it is zero
    error = Ulp(f64=4096, f32=4096, f16=8, bf16=2)

    def reference(self, x: Array) -> Array:
        def slope(v: Array) -> Array:
            density = np.exp(-0.5 * v * v) / math.sqrt(2 * math.pi)
            return np.asarray(0.5 * (1 + error_function(v * _ROOT_HALF)) + np.where(np.isinf(v), 0.0, v) * density)

        return in_float64(slope, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.gelu_slope(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        square = x * x
        return (g * (2.0 - square) * exp(square * -0.5) * (1 / math.sqrt(2 * math.pi)),)


class GeluTanh(Unary, name="gelu_tanh", version=1, amp=Amp.KEEP_INPUT):
    """GELU by tanh: x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2 as float. Source: arXiv 1606.08415."""

    floats = True
    samples = Uniform(-3, 12)  # below, 1 + tanh cancels
    error = Ulp(f64=4096, f32=4096, f16=8, bf16=2)

    def reference(self, x: Array) -> Array:
        return in_float64(lambda v: 0.5 * v * (1 + np.tanh(_ROOT_2_OVER_PI * (v + 0.044715 * v**3))), x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.gelu_tanh(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        square = x * x
        t = tanh((x + x * square * 0.044715) * _ROOT_2_OVER_PI)
        slope = (1.0 - t * t) * (square * (3 * 0.044715) + 1.0) * _ROOT_2_OVER_PI
        return (g * ((t + 1.0) * 0.5 + x * slope * 0.5),)


class Swiglu(Composite, name="swiglu", version=1, amp=Amp.KEEP_INPUT):
    """silu(gate) * up. gate, up: one shape; dtypes promote, the result is float. Source: arXiv 2002.05202."""

    samples = (
        sample((tensor(f32, 3, 5), Uniform(-20, 20)), tensor(f32, 3, 5)),
        sample(tensor(f64, dim(Symbol("n", 8)), 4), tensor(f64, dim(Symbol("n", 8)), 4), symbols={"n": 3}),
        sample(tensor(f16, 2, 4), tensor(bf16, 2, 4)),
        sample(tensor(bf16, 2, 4), tensor(bf16, 2, 4)),
    )
    error = Ulp(f64=8, f32=8, f16=2, bf16=2)

    def infer(self, gate: TensorType, up: TensorType) -> TensorType:
        dtype = promote(plain(gate, "swiglu"), plain(up, "swiglu"))
        if gate.shape != up.shape:
            raise ShapeError(f"swiglu needs equal shapes, found {shown(gate.shape)} and {shown(up.shape)}")
        return TensorType(floating(dtype), gate.shape)

    def call(self, gate: Value, up: Value) -> Value:
        return self.build(gate, up)

    def reference(self, gate: Array, up: Array) -> Array:
        return in_float64(lambda a, b: a / (1 + np.exp(-a)) * b, gate, up)

    def decompose(self, gate: Value, up: Value) -> Value:
        return mul(silu(cast(gate, promote(gate.type.dtype, up.type.dtype))), up)


relu = public(Relu, Unary.call)
sigmoid = public(Sigmoid, Unary.call)
silu = public(Silu, Unary.call)
gelu = public(Gelu, Unary.call)
gelu_slope = public(GeluSlope, Unary.call)
gelu_tanh = public(GeluTanh, Unary.call)
swiglu = public(Swiglu, Swiglu.call)
