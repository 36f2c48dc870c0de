"""What scalar lowerings call, in NumPy: the names of `kernels.math.Math` that ops use, and no others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = Any


def _quiet(function: Any, *x: Any) -> Any:
    with np.errstate(all="ignore"):
        return function(*x)


class NumpyMath:
    def exp(self, x: Array) -> Array:
        return _quiet(np.exp, x)

    def log(self, x: Array) -> Array:
        return _quiet(np.log, x)

    def sqrt(self, x: Array) -> Array:
        return _quiet(np.sqrt, x)

    def rsqrt(self, x: Array) -> Array:
        return _quiet(lambda v: 1 / np.sqrt(v), x)

    def sin(self, x: Array) -> Array:
        return np.sin(x)

    def cos(self, x: Array) -> Array:
        return np.cos(x)

    def tanh(self, x: Array) -> Array:
        return np.tanh(x)

    def erf(self, x: Array) -> Array:
        return np.vectorize(math.erf, otypes=[np.float64])(x)

    def gelu(self, x: Array) -> Array:
        return 0.5 * x * (1 + self.erf(x * math.sqrt(0.5)))

    def gelu_slope(self, x: Array) -> Array:
        return 0.5 * (1 + self.erf(x * math.sqrt(0.5))) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)

    def gelu_tanh(self, x: Array) -> Array:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def sigmoid(self, x: Array) -> Array:
        return _quiet(lambda v: 1 / (1 + np.exp(-v)), x)

    def pow(self, a: Array, b: Array) -> Array:
        return _quiet(np.power, a, b)

    def floor(self, x: Array) -> Array:
        return np.floor(x)

    def ceil(self, x: Array) -> Array:
        return np.ceil(x)

    def round(self, x: Array) -> Array:
        return np.rint(x)

    def trunc(self, x: Array) -> Array:
        return np.trunc(x)

    def tan(self, x: Array) -> Array:
        return np.tan(x)

    def atan(self, x: Array) -> Array:
        return np.arctan(x)

    def expm1(self, x: Array) -> Array:
        return np.expm1(x)

    def exp2(self, x: Array) -> Array:
        return np.exp2(x)

    def log2(self, x: Array) -> Array:
        return np.log2(x)

    def log10(self, x: Array) -> Array:
        return np.log10(x)

    def bitcast(self, x: Array, dtype: Any) -> Array:
        size = 4 if dtype.bits == 32 else 8
        held = x.astype(f"i{size}" if dtype.is_float else f"f{size}")
        return held.view(f"f{size}" if dtype.is_float else f"i{size}")

    def log1p(self, x: Array) -> Array:
        return np.log1p(x)

    def floor_divide(self, a: Array, b: Array) -> Array:
        y, q = _quiet(np.floor_divide, a, b), _quiet(np.true_divide, a, b)
        return np.where(np.isinf(a) | np.isinf(b) | (b == 0), np.floor(q), y).astype(y.dtype)

    def remainder(self, a: Array, b: Array) -> Array:
        return _quiet(np.mod, a, b)

    def shift_left(self, a: Array, b: Array) -> Array:
        return np.left_shift(a, b)

    def shift_right(self, a: Array, b: Array) -> Array:
        return np.right_shift(a, b)

    def constant(self, value: float, like: Array) -> Array:
        return np.full_like(like, value)

    def high_half(self, x: Array) -> Array:
        return (x.view(np.uint64) >> np.uint64(32)).view(np.int64)

    def order_key(self, x: Array, bits: int) -> Array:
        whole = np.int64 if bits == 64 else np.int32
        if x.dtype.kind != "f":
            return x.astype(whole)
        size = np.abs(x).astype(np.float64 if bits == 64 else np.float32).view(whole)
        key = np.where(x < 0, -1 - size, size)
        return np.where(np.isnan(x), np.iinfo(whole).max, key)

    def cast(self, x: Array, dtype: Any) -> Array:
        return x.astype(np.float64)

    def logical_not(self, x: Array) -> Array:
        return np.logical_not(x)

    def repeat(self, state: Any, going: Any, step: Any, rounds: int) -> Any:
        for n in range(rounds):
            here = going(state)
            if not here.any():
                break
            state = [_quiet(np.where, here, new, old) for new, old in zip(step(n, state), state, strict=True)]
        return state

    def abs(self, x: Array) -> Array:
        return np.abs(x)

    def sign(self, x: Array) -> Array:
        return _quiet(np.sign, x)

    def signbit(self, x: Array) -> Array:
        return np.signbit(x)

    def maximum(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)

    def minimum(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)

    def select(self, condition: Array, a: Array, b: Array) -> Array:
        return np.where(condition, a, b)
