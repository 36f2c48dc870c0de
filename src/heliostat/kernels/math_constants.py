"""Coefficients and parts of constants for `math`: series, fitted polynomials, 2 / pi to 1216 bits."""

from __future__ import annotations

import math
from fractions import Fraction


def exp_series(double: bool) -> list[float]:
    return [1 / math.factorial(i) for i in range(14 if double else 8)]


def atanh_series(double: bool) -> list[float]:
    """Of 2 atanh(s) / s - 2 in s * s, without the factor s * s; s <= 0.1716."""
    return [2 / (2 * i + 1) for i in range(1, 12 if double else 6)]


def split(value: float, double: bool, fused: bool = False) -> list[float]:
    """pi / 2 or ln 2 as three parts, the leading two of few bits, so that their products with integers are exact.

    `fused`: all parts have full precision, for use in fma, where the product is exact anyway.
    """
    exact = _EXACT[value]
    full = 53 if double else 24
    few = 33 if double else 12
    parts: list[float] = []
    for bits in (full, full, full) if fused else (few, few, full):
        scale = Fraction(2) ** (bits - 1 - math.floor(math.log2(abs(float(exact)))))
        part = round(exact * scale) / scale
        parts.append(float(part))
        exact -= part
    return parts


_EXACT = {
    math.pi / 2: Fraction("3.14159265358979323846264338327950288419716939937510582097494") / 2,
    math.log(2): Fraction("0.693147180559945309417232121458176568075500134360255254120680"),
    math.log10(2): Fraction("0.301029995663981195213738894724493026768189881462108541310427"),
}


def _words_of_two_over_pi(count: int) -> tuple[int, ...]:
    """The bits of 2 / pi behind the point, 32 in a word, after a word of zeros: pi by Machin's formula
    pi / 4 = 4 atan(1/5) - atan(1/239) in whole numbers, with 64 bits more than are asked for."""
    size = 32 * count + 64

    def inverse_tangent(n: int) -> int:
        total, term, i = 0, (1 << size) // n, 0
        while term:
            total += (-term if i & 1 else term) // (2 * i + 1)
            term, i = term // (n * n), i + 1
        return total

    pi = 4 * (4 * inverse_tangent(5) - inverse_tangent(239))
    digits = ((2 << (2 * size)) // pi) >> 64
    return 0, *((digits >> (32 * i)) & 0xFFFFFFFF for i in reversed(range(count)))


TWO_OVER_PI = _words_of_two_over_pi(38)

LOG2_E = (1.4426950216293335, 1.92596298909109e-08)  # log2(e) as an f32 and what is left of it

# 2 ** x for |x| <= 0.5, fitted for the least relative error.
EXP2_NEAR_F32 = (
    1.0, 0.693146977599165, 0.24022242085375, 0.055507337432515486, 0.009671512639652952, 0.0013264727197411993,
)  # fmt: skip
# The binary logarithm of P(N > x), fitted for 0 <= x <= 6 to 1e-6; beyond, to 11.5, it falls faster than it should.
NORMAL_TAIL_F32 = (
    -0.9999996963155464, -1.1511172740502755, -0.45912980402969034, -0.052682871009530584, 0.007266853274383187,
    -0.0002390201455725168, -0.00017283410584320453, 4.736506443756129e-05, -6.244917399461952e-06,
    4.3943255672649044e-07, -1.3164751660194535e-08,
)  # fmt: skip
# (tanh(x) / x - 1) / x ** 2 in x * x, for |x| < 0.56.
TANH_NEAR_F32 = (-0.333329040302915, 0.1331966766753433, -0.052600415667386186, 0.016296347240108002)
# erf(x) / x - 1 in x * x, for |x| < 0.875 (f32) and |x| < 1 (f64).
ERF_NEAR_F32 = (
    0.1283791581332127, -0.37612554506584434, 0.11282496599586316, -0.02679294777783731, 0.005034370663204096,
    -0.0006214585361977137,
)  # fmt: skip
ERF_NEAR_F64 = (
    0.1283791670955126, -0.37612638903183754, 0.1128379167095512, -0.02686617064512984, 0.0052239776254232985,
    -0.000854832702193483, 0.00012055332902888736, -1.4925647567519332e-05, 1.6462045441468418e-06,
    -1.6364642158167616e-07, 1.4792401209404813e-08, -1.216456005728345e-09, 8.709045129053106e-11,
    -4.230945824295338e-12,
)  # fmt: skip
# -log(erfc(x)) / x, for 0.875 <= x <= 3.95.
ERFC_F32 = (
    1.1286982455739516, 0.6349186565823685, 0.10666997051343938, -0.024172454077605463, 0.0038512576879950254,
    -0.0003769638316970334, 1.6840679859594736e-05,
)  # fmt: skip
# exp(x * x) * erfc(x) in 1 / (1 + x / 2) - 0.45, for 1 <= x <= 6.
ERFC_F64 = (
    0.2150151372496481, 0.7624103866942096, 0.8730283721094605, 0.6144481467622682, 0.11313139166801149,
    -0.20120487068881496, -0.09646382701092666, 0.11290574977431822, 0.053160292499264544, -0.0941163383198951,
    -0.011524179583806441, 0.08542441741653238, -0.03308473702158133, -0.06086899170087885, 0.062457163723778214,
    0.007301134995856917,
)  # fmt: skip
