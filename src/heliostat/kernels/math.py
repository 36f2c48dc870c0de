"""Elementary functions as kernel IR: range reduction and polynomials, the same on every target. Given to `Op.scalar`.

Polynomials are Taylor series cut where the remainder is below half a unit in the last place of the reduced range, so
their coefficients can be checked by eye. Results below the smallest normal number may lose digits, never their size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Operand
from .group import COMPUTE


class Math:
    """What a scalar lowering may call. Values are f32 or f64 vectors or scalars, flags are i1."""

    def __init__(self, k: KernelBuilder) -> None:
        self.k = k

    # --- plain instructions ---------------------------------------------------------------------------------------
    def sqrt(self, x: Instruction) -> Instruction:
        return self.k.sqrt(x)

    def rsqrt(self, x: Instruction) -> Instruction:
        """1 / sqrt(x), both steps rounded."""
        return 1.0 / self.k.sqrt(x)

    def floor(self, x: Instruction) -> Instruction:
        return self.k.floor(x)

    def ceil(self, x: Instruction) -> Instruction:
        return self.k.ceil(x)

    def round(self, x: Instruction) -> Instruction:
        """To the nearest integer, ties to even."""
        return self.k.rint(x)

    def abs(self, x: Instruction) -> Instruction:
        assert x.type is not None
        return self.k.fabs(x) if x.type.is_float else self.k.maximum(x, -x)

    def select(self, condition: Instruction, a: Operand, b: Operand) -> Instruction:
        return self.k.select(condition, a, b)

    def constant(self, value: float, like: Instruction) -> Instruction:
        return self.k.const(value, like.elem, like.lanes)

    def cast(self, x: Instruction, dtype: DType) -> Instruction:
        """To the element that `dtype` is computed in, rounded to what `dtype` can hold."""
        k = self.k
        compute = COMPUTE[dtype.name][1]
        if dtype.name == "bool":
            return x if x.elem == "i1" else k.binary("ne", x, 0)
        if dtype.name == "f16":
            return k.convert(k.convert(k.convert(x, "f32"), "f16"), "f32")
        if dtype.name == "bf16":
            wide = k.convert(x, "f32")
            bits = k.bitcast(wide, "i32")
            rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
            return k.select(k.binary("ne", wide, wide), wide, k.bitcast(rounded, "f32"))
        assert x.type is not None
        if not dtype.is_float and dtype.bits < 32 and dtype.kind in "iu":
            low, high = (0, (1 << dtype.bits) - 1) if dtype.kind == "u" else (-(1 << dtype.bits - 1), (1 << dtype.bits - 1) - 1)
            if x.type.is_float:
                return k.minimum(k.maximum(k.convert(x, compute), low), high)
            narrow = k.convert(k.convert(x, compute), f"i{dtype.bits}")
            return k.convert(narrow, compute, signed=dtype.kind == "i")
        return k.convert(x, compute)

    def maximum(self, a: Operand, b: Operand) -> Instruction:
        """The larger; NaN if either is."""
        return self._extreme(a, b, self.k.maximum)

    def minimum(self, a: Operand, b: Operand) -> Instruction:
        """The smaller; NaN if either is."""
        return self._extreme(a, b, self.k.minimum)

    def _extreme(self, a: Operand, b: Operand, combine: Callable[[Operand, Operand], Instruction]) -> Instruction:
        y = combine(a, b)
        assert y.type is not None
        if not y.type.is_float:
            return y
        for x in (a, b):  # the plain instruction gives b for a NaN in either operand
            if isinstance(x, Instruction) and x.op != "const":
                y = self.k.select(self.k.binary("ne", x, x), x, y)
        return y

    def sign(self, x: Instruction) -> Instruction:
        """-1, 0 or 1; NaN stays."""
        k = self.k
        return k.select(x > 0, 1, k.select(x < 0, -1, x))

    # --- exponentials and logarithms --------------------------------------------------------------------------------
    def _series(self, x: Instruction, coefficients: Sequence[float]) -> Instruction:
        """Horner's rule; coefficients from the constant term up."""
        total = self.k.const(coefficients[-1], x.elem, x.lanes)
        for c in reversed(coefficients[:-1]):
            total = self.k.fma(total, x, c)
        return total

    def exp(self, x: Instruction) -> Instruction:
        """e ** x: 2 ** n times the exponential of |r| <= ln 2 / 2."""
        k, double = self.k, x.elem == "f64"
        low, high = (-746.0, 710.0) if double else (-105.0, 89.0)
        clamped = k.minimum(k.maximum(x, low), high)
        n = k.rint(clamped * (1 / math.log(2)))
        parts = _split(math.log(2), double)
        r = clamped
        for p in parts:
            r = k.fma(n, -p, r)
        y = self._series(r, [1 / math.factorial(i) for i in range(14 if double else 8)])
        whole = k.convert(n, "i64" if double else "i32")
        half = k.ashr(whole, 1)
        y = y * self._power_of_two(half, double) * self._power_of_two(whole - half, double)
        return k.select(k.binary("ne", x, x), x, y)

    def _power_of_two(self, n: Instruction, double: bool) -> Instruction:
        return self.k.bitcast((n + 1023) << 52, "f64") if double else self.k.bitcast((n + 127) << 23, "f32")

    def log(self, x: Instruction) -> Instruction:
        """Natural logarithm: n ln 2 + 2 atanh(s), s = (m - 1) / (m + 1) with m in sqrt(1/2) .. sqrt 2."""
        k, double = self.k, x.elem == "f64"
        integer, bits = ("i64", 52) if double else ("i32", 23)
        tiny = x < (2.0**-1022 if double else 2.0**-126)
        scaled = k.select(tiny, x * 2.0**bits, x)
        raw = k.bitcast(scaled, integer)
        # exponent such that the mantissa lies in sqrt(1/2) .. sqrt 2
        moved = raw - k.bitcast(self.k.const(math.sqrt(0.5), x.elem, x.lanes), integer)
        n = k.ashr(moved, bits)
        mantissa = k.bitcast(raw - (n << bits), x.elem)
        e = k.convert(n, x.elem) - k.select(tiny, float(bits), k.const(0.0, x.elem, x.lanes))
        f = mantissa - 1.0
        s = f / (mantissa + 1.0)
        z = s * s
        tail = self._series(z, [2 / (2 * i + 1) for i in range(1, 12 if double else 6)]) * z
        high, low = _split(math.log(2), double)[:2]
        half_square = f * f * 0.5
        y = k.fma(e, high, f - (half_square - (s * (half_square + tail) + e * low)))
        y = k.select(k.binary("eq", x, 0.0), -math.inf, y)
        y = k.select(x < 0.0, math.nan, y)
        return k.select(k.binary("eq", x, math.inf) | k.binary("ne", x, x), x, y)

    def sigmoid(self, x: Instruction) -> Instruction:
        """1 / (1 + exp(-x))."""
        return 1.0 / (self.exp(-x) + 1.0)

    def tanh(self, x: Instruction) -> Instruction:
        """Series near 0, else 1 - 2 / (exp(2|x|) + 1) with the sign of x."""
        k = self.k
        size = k.fabs(x)
        far = 1.0 - 2.0 / (self.exp(size * 2.0) + 1.0)
        far = k.select(x < 0.0, -far, far)
        coefficients = _TANH[:14] if x.elem == "f64" else _TANH[:8]
        near = x * self._series(x * x, coefficients)
        limit = 0.25 if x.elem == "f64" else 0.625
        return k.select(k.binary("ne", x, x), x, k.select(size < limit, near, far))

    def erf(self, x: Instruction) -> Instruction:
        """Series for |x| < 2 (exact to rounding in f64, 1e-7 in f32), a rational approximation of 1 - erf beyond.

        Source of the latter: Abramowitz and Stegun 7.1.26, absolute error 1.5e-7.
        """
        k = self.k
        size = k.fabs(x)
        terms = 32 if x.elem == "f64" else 12
        series = [2 / math.sqrt(math.pi) * (-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(terms)]
        near = x * self._series(x * x, series)
        t = 1.0 / (size * 0.3275911 + 1.0)
        poly = self._series(t, [0.0, 0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429])
        far = 1.0 - poly * self.exp(-(size * size))
        far = k.select(x < 0.0, -far, far)
        return k.select(size < (2.5 if x.elem == "f64" else 1.0), near, far)

    def pow(self, a: Instruction, b: Instruction) -> Instruction:
        """a ** b as exp(b log |a|), with the sign of odd integer powers; NaN for other powers of negative numbers."""
        k = self.k
        size = self.exp(b * self.log(k.fabs(a)))
        whole = k.binary("eq", k.rint(b), b)
        odd = k.binary("ne", k.rint(b * 0.5) * 2.0, b)
        negative = k.select(whole, k.select(odd, -size, size), math.nan)
        y = k.select(a < 0.0, negative, size)
        return k.select(k.binary("eq", b, 0.0), 1.0, y)

    # --- angles -----------------------------------------------------------------------------------------------------
    def sin(self, x: Instruction) -> Instruction:
        """Sine; the angle is reduced by multiples of pi / 2 held in three parts, good up to |x| of about 2 ** 17."""
        return self._circular(x, 0)

    def cos(self, x: Instruction) -> Instruction:
        """Cosine, as `sin`."""
        return self._circular(x, 1)

    def _circular(self, x: Instruction, quarter: int) -> Instruction:
        k, double = self.k, x.elem == "f64"
        n = k.rint(x * (2 / math.pi))
        r = x
        for p in _split(math.pi / 2, double):
            r = k.fma(n, -p, r)
        z = r * r
        sine = r * self._series(z, [(-1) ** i / math.factorial(2 * i + 1) for i in range(10 if double else 5)])
        cosine = self._series(z, [(-1) ** i / math.factorial(2 * i) for i in range(11 if double else 6)])
        turn = k.convert(n, "i64" if double else "i32") + quarter
        y = k.select(k.binary("eq", turn & 1, 0), sine, cosine)
        return k.select(k.binary("eq", turn & 2, 0), y, -y)


def _split(value: float, double: bool) -> list[float]:
    """A constant as three parts; the leading ones have few bits, so that their products with small integers are exact."""
    from fractions import Fraction

    exact = _EXACT.get(value, Fraction(value))
    parts: list[float] = []
    for bits in (33, 33, 53) if double else (12, 12, 24):
        scale = 2 ** (bits - 1 - math.floor(math.log2(abs(float(exact)))))
        part = Fraction(round(exact * scale), scale)
        parts.append(float(part))
        exact -= part
    return parts


def _exact_constants() -> dict[float, Any]:
    from fractions import Fraction

    pi = Fraction("3.14159265358979323846264338327950288419716939937510582")
    ln2 = Fraction("0.693147180559945309417232121458176568075500134360255254")
    return {math.pi / 2: pi / 2, math.log(2): ln2}


_EXACT = _exact_constants()


def _tanh_series(terms: int) -> list[float]:
    """Coefficients of tanh(x) / x in x * x: t' = 1 - t * t, solved term by term."""
    from fractions import Fraction

    t = [Fraction(1)]
    for n in range(1, terms):
        square = sum((t[i] * t[n - 1 - i] for i in range(n)), Fraction(0))
        t.append(-square / (2 * n + 1))
    return [float(c) for c in t]


_TANH = _tanh_series(16)
