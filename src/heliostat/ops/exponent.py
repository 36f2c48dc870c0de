"""Powers and logarithms of the bases 2 and 10, and the bits of floats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..diagnostics import DTypeError
from ..ir.graph import Value
from ..ir.types import DType, TensorType, f32, f64, i32, i64, tensor
from .elementwise import Elementwise, Unary, in_float64
from .error import EXACT, Ulp
from .op import Amp, Array, NotDifferentiable, public
from .rules import plain
from .samples import SpecialFloats, Uniform, sample


class Exp2(Unary, name="exp2", version=1, amp=Amp.FLOAT32):
    """2 ** x as float; exact where x is whole."""

    floats = True
    samples = Uniform(-80, 80) | SpecialFloats()
    error = Ulp(f64=3, f32=3, f16=1, bf16=1)

    def reference(self, x: Array) -> Array:
        return in_float64(np.exp2, x)

    def scalar(self, k: Any, x: Any) -> Any:
        return k.exp2(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g * y * math.log(2),)


class Logarithm(Unary):
    """Of the base `base`, as float; NaN below 0. NumPy's and the kernels' functions have the op's name."""

    floats = True
    samples = Uniform(0.01, 100) | SpecialFloats()
    error = Ulp(f64=3, f32=3, f16=1, bf16=1)
    base: ClassVar[int]

    def reference(self, x: Array) -> Array:
        return in_float64(getattr(np, self.name), x)

    def scalar(self, k: Any, x: Any) -> Any:
        return getattr(k, self.name)(x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (g / (x * math.log(self.base)),)


class Log2(Logarithm, name="log2", version=1, amp=Amp.FLOAT32):
    """Logarithm of the base 2 as float, exact of powers of 2; NaN below 0."""

    base = 2


class Log10(Logarithm, name="log10", version=1, amp=Amp.FLOAT32):
    """Logarithm of the base 10 as float; NaN below 0."""

    base = 10


LAST_OF_TF32 = 1 << 13  # what the last bit of tf32 counts among those of f32
_SAME_SIZE = {f32: i32, i32: f32, f64: i64, i64: f64}
_NUMPY: dict[DType, Any] = {f32: np.float32, f64: np.float64, i32: np.int32, i64: np.int64}


class Bitcast(Elementwise, name="bitcast", version=1, amp=Amp.KEEP_INPUT):
    """The bits of each element as another dtype: f32 and i32, f64 and i64, both ways."""

    mixed = True
    gradient = NotDifferentiable("bits are whole numbers")
    error = EXACT
    samples = (
        sample((tensor(f32, 3, 9), Uniform(-40, 40) | SpecialFloats()), dtype=i32),
        sample((tensor(f64, 9), Uniform(-40, 40) | SpecialFloats()), dtype=i64),
        sample((tensor(i32, 2, 9), Uniform(-(2**30), 2**30)), dtype=f32),
        sample((tensor(i64, 9), Uniform(-(2**62), 2**62)), dtype=f64),
    )

    def infer(self, x: TensorType, *, dtype: DType) -> TensorType:  # type: ignore[override]
        if _SAME_SIZE.get(plain(x, "bitcast")) != dtype:
            raise DTypeError(f"bitcast goes between f32 and i32 and between f64 and i64, not from {x} to {dtype}")
        return TensorType(dtype, x.shape)

    def call(self, x: Value) -> Value:
        return self.build(x, dtype=_SAME_SIZE.get(x.type.dtype, x.type.dtype))

    def reference(self, x: Array, *, dtype: DType) -> Array:
        return np.array(x, _NUMPY[_SAME_SIZE[dtype]], order="C").view(_NUMPY[dtype])

    def scalar(self, k: Any, x: Any, *, dtype: DType) -> Any:
        return k.bitcast(x, dtype)


class RoundTf32(Unary, name="round_tf32", version=1, amp=Amp.KEEP_INPUT):
    """The nearest numbers of tf32 in f32: 10 bits behind the first, ties away from zero. What tensor cores multiply
    exactly. Raises DTypeError for other dtypes than f32. Source: PTX ISA, cvt.rna.tf32.f32."""

    gradient = NotDifferentiable("the compiler rounds operands of products, behind all gradients")
    error = EXACT
    samples = (
        sample((tensor(f32, 3, 9), Uniform(-40, 40) | SpecialFloats())),
        sample((tensor(f32, 64), Uniform(-1e-3, 1e-3))),
    )

    def infer(self, x: TensorType) -> TensorType:  # type: ignore[override]
        if plain(x, "round_tf32") != f32:
            raise DTypeError(f"round_tf32 takes f32, not {x}", help="use cast(x, f32) first")
        return x

    def reference(self, x: Array) -> Array:
        single = np.array(x, np.float32, order="C")
        rounded = (single.view(np.int32) + np.int32(LAST_OF_TF32 >> 1)) & np.int32(-LAST_OF_TF32)
        return np.where(np.isfinite(single), rounded.view(np.float32), single)

    def scalar(self, k: Any, x: Any) -> Any:
        bits = k.bitcast(x, i32)
        return k.select(k.abs(x) < math.inf, k.bitcast((bits + (LAST_OF_TF32 >> 1)) & -LAST_OF_TF32, f32), x)


exp2 = public(Exp2, Unary.call)
log2 = public(Log2, Unary.call)
log10 = public(Log10, Unary.call)
bitcast = public(Bitcast, Bitcast.call)
round_tf32 = public(RoundTf32, Unary.call)
