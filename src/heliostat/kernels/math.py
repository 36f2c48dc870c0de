"""Elementary functions as kernel IR: range reduction and polynomials, the same on every target. Given to `Op.scalar`.

Most polynomials are Taylor series cut where the remainder is below half a unit in the last place of the reduced range,
so their coefficients can be checked by eye; those of `erf` are fitted (interpolated at Chebyshev points). Results are
within 3 units in the last place; below the smallest normal number they may lose digits, never their size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ..kernel.ir import Instruction
from .math_constants import (
    ERF_NEAR_F32,
    ERF_NEAR_F64,
    ERFC_F32,
    ERFC_F64,
    EXP2_NEAR_F32,
    LOG2_E,
    NORMAL_TAIL_F32,
    TANH_NEAR_F32,
    TWO_OVER_PI,
    atanh_series,
    exp_series,
    split,
)
from .plain_math import PlainMath


class Math(PlainMath):
    """What a scalar lowering may call. Values are f32 or f64 vectors or scalars, flags are i1."""

    # --- exponentials and logarithms --------------------------------------------------------------------------------
    def _series(self, x: Instruction, coefficients: Sequence[float]) -> Instruction:
        """Coefficients from the constant term up. Pairs first, then pairs of pairs (Estrin's scheme): a third of the
        latency of Horner's rule. The lowest terms, which decide the rounding, come last.
        """
        k = self.k
        if len(coefficients) < 4 or k.capability:  # on a GPU other threads hide the latency, and powers of x cost
            total = k.const(coefficients[-1], x.elem, x.lanes)
            for c in reversed(coefficients[:-1]):
                total = k.fma(total, x, c)
            return total
        # c0 + x * (the rest), the rest by halves
        return k.fma(self._estrin(x, coefficients[1:]), x, coefficients[0])

    def _estrin(self, x: Instruction, coefficients: Sequence[float]) -> Instruction:
        k = self.k
        terms: list[Instruction] = [k.const(c, x.elem, x.lanes) for c in coefficients]
        power = x
        while len(terms) > 1:
            pairs = [k.fma(high, power, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
            terms = pairs + ([terms[-1]] if len(terms) % 2 else [])
            if len(terms) > 1:
                power = power * power
        return terms[0]

    def _clamp(self, x: Instruction, low: float, high: float) -> Instruction:
        """x within bounds; a NaN stays, because it is the second operand."""
        if self.k.capability >= 80 and x.elem == "f32":
            return self.maximum(self.minimum(x, high), low)
        return self.k.maximum(low, self.k.minimum(high, x))

    def _nearest(self, x: Instruction, factor: float) -> tuple[Instruction, Instruction]:
        """rint(x * factor) as a float and as an integer. |x * factor| < 2 ** 22 (f32) or 2 ** 51 (f64).

        Adding 1.5 * 2 ** 23 leaves the integer in the low bits; a saturating conversion is several instructions more.
        """
        k, double = self.k, x.elem == "f64"
        magic, integer = (1.5 * 2.0**52, "i64") if double else (1.5 * 2.0**23, "i32")
        moved = k.fma(x, factor, magic)
        offset = 0x4338000000000000 if double else 0x4B400000
        return moved - magic, k.bitcast(moved, integer) - offset

    def _exp_parts(self, x: Instruction) -> tuple[Instruction, Instruction]:
        """n and r with x = n ln 2 + r, |r| <= ln 2 / 2."""
        n, whole = self._nearest(x, 1 / math.log(2))
        r = x
        for p in split(math.log(2), x.elem == "f64", fused=True)[:2]:
            r = self.k.fma(n, -p, r)
        return whole, r

    def _scaled(self, y: Instruction, n: Instruction) -> Instruction:
        """y * 2 ** n in two steps: n may be beyond the exponents of normal numbers."""
        half = self.k.ashr(n, 1)
        return y * self._power_of_two(half) * self._power_of_two(n - half)

    def _power_of_two(self, n: Instruction) -> Instruction:
        double = n.elem == "i64"
        return self.k.bitcast((n + 1023) << 52, "f64") if double else self.k.bitcast((n + 127) << 23, "f32")

    def exp(self, x: Instruction) -> Instruction:
        """e ** x: 2 ** n times the exponential of |r| <= ln 2 / 2."""
        double = x.elem == "f64"
        inside = self._clamp(x, -746.0, 710.0) if double else self._clamp(x, -105.0, 89.0)
        if self.k.capability and not double:
            return self._exp2_of_product(inside, LOG2_E)
        n, r = self._exp_parts(inside)
        return self._scaled(self._series(r, exp_series(double)), n)

    def _exp_inside(self, x: Instruction) -> Instruction:
        """e ** x of an f32 with |x| <= 88, in fewer steps."""
        k = self.k
        if k.capability:
            n, whole = self._nearest(x, LOG2_E[0])
            r = k.fma(x, LOG2_E[1], k.fma(x, LOG2_E[0], -n))
            return k.exp2(r) * self._power_of_two(whole)
        moved = k.fma(x, LOG2_E[0], 1.5 * 2.0**23)
        r = k.fma(x, LOG2_E[1], k.fma(x, LOG2_E[0], 1.5 * 2.0**23 - moved))
        return self._times_power_of_two(self._series(r, EXP2_NEAR_F32), moved)

    def _times_power_of_two(self, y: Instruction, moved: Instruction) -> Instruction:
        """y * 2 ** n, where `moved` is 1.5 * 2 ** 23 + n and the result a normal number: its low bits are n."""
        k = self.k
        return k.bitcast(k.bitcast(y, "i32") + (k.bitcast(moved, "i32") << 23), "f32")

    def _exp2_inside(self, x: Instruction) -> Instruction:
        """2 ** x of an f32 with |x| < 126."""
        if self.k.capability:
            return self.k.exp2(x)
        n, whole = self._nearest(x, 1.0)
        return self._series((x - n) * math.log(2), exp_series(False)) * self._power_of_two(whole)

    def exp2_below(self, x: Instruction) -> Instruction:
        """2 ** x of an f32 x <= 0, within 1.5 units in the last place; 0 below 2 ** -126 and for -inf. In 12 steps."""
        k = self.k
        moved = x + 1.5 * 2.0**23
        r = x - (moved - 1.5 * 2.0**23)
        y = k.const(EXP2_NEAR_F32[-1], "f32", x.lanes)
        for c in EXP2_NEAR_F32[-2::-1]:
            y = k.fma(y, r, c)
        return k.select(x < -126.0, 0.0, self._times_power_of_two(y, moved))

    def _exp2_of_product(self, x: Instruction, factor: tuple[float, float]) -> Instruction:
        """2 ** (x * factor) of an f32 on a GPU, factor in two parts, |x * factor| < 160: denormals and all.

        2 ** n twice, n half of the product rounded to a whole number, and the GPU's own 2 ** r for the rest, |r| <= 1.
        """
        k = self.k
        moved = k.fma(x, factor[0] / 2, 1.5 * 2.0**23)
        n = moved - 1.5 * 2.0**23
        r = k.fma(x, factor[1] / 2, k.fma(x, factor[0] / 2, -n))
        power = k.bitcast((k.bitcast(moved, "i32") << 23) + (127 << 23), "f32")
        return k.exp2(r + r) * power * power

    def exp2(self, x: Instruction) -> Instruction:
        """2 ** x."""
        double = x.elem == "f64"
        inside = self._clamp(x, -1080.0, 1025.0) if double else self._clamp(x, -155.0, 129.0)
        if self.k.capability and not double:
            return self._exp2_of_product(inside, (1.0, 0.0))
        n, whole = self._nearest(inside, 1.0)
        return self._scaled(self._series((inside - n) * math.log(2), exp_series(double)), whole)

    def expm1(self, x: Instruction) -> Instruction:
        """e ** x - 1, accurate near 0."""
        k, double = self.k, x.elem == "f64"
        n, r = self._exp_parts(self._clamp(x, -38.0, 710.0) if double else self._clamp(x, -18.0, 89.0))
        p = k.fma(r * r, self._series(r, exp_series(double)[2:]), r)
        # By halves: 2 ** n alone is infinite for the largest results. What the series leaves below 0.5 is exact.
        power = self._power_of_two(n - 1)
        y = k.fma(p, power, power - 0.5) * 2.0
        return k.select(k.binary("eq", x, 0.0), x, y)

    def _mantissa(self, x: Instruction) -> tuple[Instruction, Instruction]:
        """e and m with x = 2 ** e * m, m in sqrt(1/2) .. sqrt 2, for finite x > 0, as floats."""
        k, double = self.k, x.elem == "f64"
        integer, bits = ("i64", 52) if double else ("i32", 23)
        tiny = x < (2.0**-1022 if double else 2.0**-126)
        raw = k.bitcast(k.select(tiny, x * 2.0**bits, x), integer)
        n = k.ashr(raw - k.bitcast(k.const(math.sqrt(0.5), x.elem, x.lanes), integer), bits)
        e = k.convert(n, x.elem) - k.select(tiny, float(bits), k.const(0.0, x.elem, x.lanes))
        return e, k.bitcast(raw - (n << bits), x.elem)

    def log(self, x: Instruction) -> Instruction:
        """Natural logarithm."""
        return self._logarithm(x, math.log(2), 1.0)

    def log2(self, x: Instruction) -> Instruction:
        """Logarithm of the base 2, exact of its powers."""
        return self._logarithm(x, 1.0, 1 / math.log(2))

    def log10(self, x: Instruction) -> Instruction:
        """Logarithm of the base 10."""
        return self._logarithm(x, math.log10(2), 1 / math.log(10))

    def _logarithm(self, x: Instruction, two: float, scale: float) -> Instruction:
        """e log 2 + 2 atanh(s) * scale, s = (m - 1) / (m + 1), for x = m * 2 ** e. `two`: the logarithm of 2; `scale`:
        the one of Euler's number."""
        k, double = self.k, x.elem == "f64"
        e, m = self._mantissa(x)
        f = m - 1.0
        s = self._quotient(f, m + 1.0)
        z = s * s
        tail = self._series(z, atanh_series(double)) * z
        half_square = f * f * 0.5
        if scale == 1.0:
            high, low = split(two, double)[:2]
            y = k.fma(e, high, f - (half_square - (s * (half_square + tail) + e * low)))
        else:
            part = f - (half_square - s * (half_square + tail))
            high, low = (1.0, 0.0) if two == 1.0 else split(two, double)[:2]
            y = k.fma(e, high, k.fma(part, scale, e * low) if low else part * scale)
        y = k.select(k.binary("eq", x, 0.0), -math.inf, y)
        y = k.select(x < 0.0, math.nan, y)
        return k.select(k.binary("eq", x, math.inf) | k.binary("ne", x, x), x, y)

    def _quotient(self, a: Instruction, b: Instruction) -> Instruction:
        """a / b of moderate numbers. On a GPU by its own reciprocal and what that leaves over: a division of f32 is a
        call there, with which products by four warps together wait for each other."""
        k = self.k
        if not k.capability or a.elem != "f32":
            return a / b
        inverse = k.rcp(b)
        near = a * inverse
        return k.fma(k.fma(-near, b, a), inverse, near)

    def log1p(self, x: Instruction) -> Instruction:
        """log(1 + x), accurate near 0: log(u) and what rounding took from u = 1 + x, divided by u."""
        k = self.k
        u = x + 1.0
        y = self.log(u)
        lost = k.select(x < 1.0, x - (u - 1.0), 1.0 - (u - x))
        y = k.select((u > 0.0) & (u < math.inf), y + lost / u, y)
        return k.select(k.binary("eq", x, 0.0), x, y)

    def _log_pair(self, x: Instruction) -> tuple[Instruction, Instruction]:
        """log(x) as high + low for x >= 0: half as many correct digits more than `log`, for powers."""
        k, double = self.k, x.elem == "f64"
        e, m = self._mantissa(x)
        f = m - 1.0
        d = m + 1.0
        back = d - m
        d_low = (m - (d - back)) + (1.0 - back)
        s = f / d
        s_low = (k.fma(-s, d, f) - s * d_low) / d
        z = s * s
        tail = s * z * self._series(z, atanh_series(double))
        first, second, third = split(math.log(2), double)
        a, b = e * first, s * 2.0  # the product is exact: `first` has few bits
        high = a + b
        back = high - a
        low = (a - (high - back)) + (b - back)
        low = low + k.fma(e, second + third, k.fma(s_low, 2.0, tail))
        total = high + low
        low = low - (total - high)
        total = k.select(k.binary("eq", x, 0.0), -math.inf, total)
        return k.select(x < math.inf, total, x), low

    def pow(self, a: Instruction, b: Instruction) -> Instruction:
        """a ** b as exp(b log |a|) with a logarithm in two parts; signs and special values as C99 has them."""
        k = self.k
        size = k.fabs(a)
        high, low = self._log_pair(size)
        p = b * high
        rest = k.fma(b, low, k.fma(b, high, -p))
        y = self.exp(p)
        exact = (k.fabs(rest) < 1.0) & (y < math.inf)  # false for the NaN that infinities leave in `rest`
        y = k.select(exact, k.fma(y, rest, y), y)
        y = k.select(k.binary("eq", size, 1.0), 1.0, y)
        whole = k.binary("eq", k.rint(b), b)
        odd = whole & k.binary("ne", k.rint(b * 0.5) * 2.0, b)
        y = k.select(odd, self._signed(y, a), y)
        y = k.select((a < 0.0) & (a > -math.inf) & k.logical_not(whole), math.nan, y)
        y = k.select(k.binary("ne", b, b), b, y)
        return k.select(k.binary("eq", b, 0.0) | k.binary("eq", a, 1.0), 1.0, y)

    def sigmoid(self, x: Instruction) -> Instruction:
        """1 / (1 + exp(-x)). What would be a denormal is 0, and none is met on the way: one costs a hundred cycles."""
        k, largest = self.k, 708.3 if x.elem == "f64" else 87.3
        if k.capability and x.elem == "f32":  # of e ** 88 the reciprocal is a denormal, which counts as 0
            return k.rcp(self._exp_inside(self._clamp(-x, -87.0, 88.0)) + 1.0)
        if x.elem == "f32":
            y = 1.0 / (self._exp_inside(self._clamp(-x, -87.0, largest)) + 1.0)
            return k.select(x < -largest, 0.0, y)
        inside = k.select(x > largest, largest, k.select(x < -largest, -math.inf, x))
        return 1.0 / (self.exp(-inside) + 1.0)

    def tanh(self, x: Instruction) -> Instruction:
        """t / (t + 2) with t = expm1(2 |x|), and the sign of x."""
        if self.k.capability and x.elem == "f32":
            return self._tanh_by_exp(x)
        size = self.k.minimum(20.0 if x.elem == "f64" else 10.0, self.k.fabs(x))
        t = self.expm1(size * 2.0)
        return self._signed(t / (t + 2.0), x)

    def _tanh_by_exp(self, x: Instruction) -> Instruction:
        """A polynomial in x * x near 0; beyond it 1 - 2 / (e ** 2 |x| + 1), with the sign of x. On a GPU."""
        k = self.k
        size, z = k.fabs(x), x * x
        near = k.fma(self._series(z, TANH_NEAR_F32) * z, x, x)
        far = k.fma(k.rcp(self._exp_inside(k.minimum(10.0, size) * 2.0) + 1.0), -2.0, 1.0)
        return k.select(size < 0.56, near, self._signed(far, x))

    def erf(self, x: Instruction) -> Instruction:
        """A polynomial in x * x near 0; beyond it 1 - erfc(|x|), which is exp of a polynomial, in f64 times one."""
        k, double = self.k, x.elem == "f64"
        size = k.minimum(6.0 if double else 3.95, k.fabs(x))
        near = k.fma(x, self._series(x * x, ERF_NEAR_F64 if double else ERF_NEAR_F32), x)
        if double:
            t = 1.0 / k.fma(size, 0.5, 1.0)
            far = 1.0 - self.exp(-(size * size)) * self._series(t - 0.45, ERFC_F64)
        else:
            far = 1.0 - self._exp_inside(-(size * self._series(size, ERFC_F32)))
        return k.select(size < (1.0 if double else 0.875), near, self._signed(far, x))

    def gelu(self, x: Instruction) -> Instruction:
        """x * P(N < x) of a normally distributed N. In f32 max(x, 0) - |x| * P(N > |x|), where nothing cancels."""
        k = self.k
        if x.elem == "f64":
            return x * 0.5 * (self.erf(x * math.sqrt(0.5)) + 1.0)
        size = k.minimum(11.5, k.fabs(x))
        return k.fma(-size, self._exp2_inside(self._series(size, NORMAL_TAIL_F32)), k.maximum(x, 0.0))

    def gelu_slope(self, x: Instruction) -> Instruction:
        """P(N < x) + x p(x), p the density. In f32 what lies at -|x|, by the tail that `gelu` takes, or 1 less that."""
        k = self.k
        if x.elem == "f64":
            inside = self._clamp(x, -40.0, 40.0)  # beyond, the density is zero
            density = self.exp(inside * inside * -0.5) * (1 / math.sqrt(2 * math.pi))
            return (self.erf(x * math.sqrt(0.5)) + 1.0) * 0.5 + inside * density
        size = k.minimum(11.5, k.fabs(x))
        tail = self._exp2_inside(self._series(size, NORMAL_TAIL_F32))
        density = self._exp2_inside(size * size * (-0.5 * LOG2_E[0])) * (1 / math.sqrt(2 * math.pi))
        below = k.fma(-size, density, tail)
        return k.select(x > 0.0, 1.0 - below, below)

    def gelu_tanh(self, x: Instruction) -> Instruction:
        """x * (1 + tanh(u)) / 2 with u = sqrt(2 / pi) * (x + 0.044715 x^3), which is x * sigmoid(2 u)."""
        u = (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)
        if self.k.capability and x.elem == "f32":
            return x * self.sigmoid(u + u)
        return x * 0.5 * (self.tanh(u) + 1.0)

    # --- angles -----------------------------------------------------------------------------------------------------
    def atan(self, x: Instruction) -> Instruction:
        """Of 1 / |x| beyond 1 and of (t - 1) / (t + 1) beyond tan(pi / 8), then the Taylor series up to tan(pi / 8)."""
        k, double = self.k, x.elem == "f64"
        size = k.fabs(x)
        turned = size > 1.0
        t = k.select(turned, 1.0 / size, size)
        high = t > math.sqrt(2) - 1
        s = k.select(high, (t - 1.0) / (t + 1.0), t)
        series = [(-1) ** n / (2 * n + 1) for n in range(22 if double else 11)]
        y = s * self._series(s * s, series)
        y = k.select(high, y + math.pi / 4, y)
        return self._signed(k.select(turned, math.pi / 2 - y, y), x)

    def sin(self, x: Instruction) -> Instruction:
        """Sine; the angle is reduced by multiples of pi / 2 held in three parts, from 2 ** 22 on (f64: 2 ** 50) by the
        bits of 2 / pi."""
        sine, cosine, turn = self._circular(x)
        y = self._quadrant(sine, cosine, turn)
        return self.k.select(self.k.binary("eq", x, 0.0), x, y)

    def cos(self, x: Instruction) -> Instruction:
        """Cosine, as `sin`."""
        sine, cosine, turn = self._circular(x)
        return self._quadrant(sine, cosine, turn + 1)

    def tan(self, x: Instruction) -> Instruction:
        """Tangent, as `sin`."""
        k = self.k
        sine, cosine, turn = self._circular(x)
        even = k.binary("eq", turn & 1, 0)
        y = k.select(even, sine, -cosine) / k.select(even, cosine, sine)
        return k.select(k.binary("eq", x, 0.0), x, y)

    def _quadrant(self, sine: Instruction, cosine: Instruction, turn: Instruction) -> Instruction:
        k = self.k
        y = k.select(k.binary("eq", turn & 1, 0), sine, cosine)
        return k.select(k.binary("eq", turn & 2, 0), y, -y)

    def _circular(self, x: Instruction) -> tuple[Instruction, Instruction, Instruction]:
        """Sine and cosine of the angle within -pi/4 .. pi/4, and how many quarter turns were taken off."""
        k, double = self.k, x.elem == "f64"
        size = k.fabs(x)
        near = size < (2.0**50 if double else 2.0**22)
        n, turn = self._nearest(x, 2 / math.pi)
        r = x
        for p in split(math.pi / 2, double, fused=True):
            r = k.fma(n, -p, r)
        r, turn = self._reduced_far(x, k.logical_not(near), r, turn)
        z = r * r
        sines = [(-1) ** i / math.factorial(2 * i + 1) for i in range(1, 10 if double else 5)]
        cosines = [(-1) ** i / math.factorial(2 * i) for i in range(1, 11 if double else 6)]
        return k.fma(r * z, self._series(z, sines), r), k.fma(z, self._series(z, cosines), 1.0), turn

    def _reduced_far(
        self, x: Instruction, far: Instruction, r: Instruction, turn: Instruction
    ) -> tuple[Instruction, Instruction]:
        """r and turn of angles of many turns, and where `far` holds of those beyond the reach of `fma`, NaN and
        infinities: a step that is passed over where no lane asks for it.

        |x| is a whole number m times 2 ** e. Of m * (2 / pi * 2 ** e) only what is left modulo 4 counts, the product
        with 96 bits (f64: 192) of 2 / pi that begin where 4 * 2 ** -e stands (Payne and Hanek). No f32 comes closer to
        multiples of pi / 2 than 2 ** -31 and no f64 closer than 2 ** -61, so that the 62 bits (126) behind the point
        are enough.
        """
        k, double = self.k, x.elem == "f64"
        digits, bias, whole = (52, 1023, "i64") if double else (23, 127, "i32")
        rest, turns = k.var(r), k.var(turn)
        for _ in k.when(k.any(far)):
            bits = k.bitcast(x, whole)
            power = k.binary("lshr", bits, digits) & (2 * bias + 1)
            place = power - (bias + digits + 2 - 32)  # of the first bit, in words with 32 zeros in front
            m = k.convert((bits & (2**digits - 1)) | 2**digits, "i64")
            words = self._shifted(k.convert(k.ashr(place, 5), "i64"), k.convert(place & 31, "i64"), 6 if double else 3)
            parts = self._product(m, words)
            high = (parts[0] << 32) | parts[1]  # quarter turns in the two highest bits
            quarters = k.binary("lshr", high + (1 << 61), 62)
            behind = high - (quarters << 62)
            if double:
                left = k.convert(parts[2], "f64") * 2.0**-94 + k.convert(parts[3], "f64") * 2.0**-126
                left = left + k.convert(behind & 0xFFFFFFFF, "f64") * 2.0**-62
                left = left + k.convert(k.ashr(behind, 32), "f64") * 2.0**-30
            else:
                left = k.convert(behind, "f32") * 2.0**-62
            left = left * (math.pi / 2)
            count = k.convert(quarters, turn.elem)
            below = x < 0.0
            left = k.select(k.fabs(x) < math.inf, k.select(below, -left, left), math.nan)
            rest.set(k.select(far, left, r))
            turns.set(k.select(far, k.select(below, 0 - count, count), turn))
        return rest.get(), turns.get()

    def _shifted(self, index: Instruction, shift: Instruction, count: int) -> list[Instruction]:
        """`count` words of 32 bits of the table, from bit `shift` of word `index` on, which is below 8 where 3 are
        asked for, else below 32. By halves: 61 selects for seven words of 38, not 217."""
        k = self.k
        stages = (4, 2, 1) if count == 3 else (16, 8, 4, 2, 1)
        found = [k.const(w, "i64", index.lanes) for w in TWO_OVER_PI[: count + 2 * stages[0]]]
        for stage in stages:
            ahead = k.binary("ne", index & stage, 0)
            found = [k.select(ahead, found[i + stage], found[i]) for i in range(count + stage)]
        joined = (((a << shift) | k.binary("lshr", b, 32 - shift)) & 0xFFFFFFFF for a, b in itertools.pairwise(found))
        return list(joined)

    def _product(self, m: Instruction, words: list[Instruction]) -> list[Instruction]:
        """The lowest words of m, below 2 ** 53, times the number that the words make, the highest first."""
        k = self.k
        low, high = m & 0xFFFFFFFF, k.binary("lshr", m, 32)
        columns = [k.const(0, "i64", m.lanes) for _ in words]
        for i, w in enumerate(words):
            for at, product in ((i, low * w), (i - 1, high * w)):
                if at >= 0:
                    columns[at] = columns[at] + (product & 0xFFFFFFFF)
                if at >= 1:
                    columns[at - 1] = columns[at - 1] + k.binary("lshr", product, 32)
        made: list[Instruction] = []
        carry = k.const(0, "i64", m.lanes)
        for column in reversed(columns):
            made.insert(0, (column + carry) & 0xFFFFFFFF)
            carry = k.binary("lshr", column + carry, 32)
        return made


class RoundedMath(Math):
    """Functions of f32 whose results are rounded to f16 or bf16 in the end, in fewer steps on a GPU."""

    def exp(self, x: Instruction) -> Instruction:
        """e ** x within 2 ** -16 of itself, a 64th of a unit in the last place of f16; denormals are 0."""
        if self.k.capability and x.elem == "f32":
            return self.k.exp2(x * sum(LOG2_E))
        return super().exp(x)
