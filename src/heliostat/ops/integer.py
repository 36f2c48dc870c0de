"""Elementwise ops in which whole numbers count: floor division and remainder, bits and shifts, random bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import DTypeError
from ..ir.graph import Value
from ..ir.types import TensorType, i32, i64, tensor, u8
from .elementwise import Binary, Elementwise, Unary, quiet
from .error import EXACT, LargestUlp, Ulp
from .gradient import sum_to
from .op import Amp, Array, NotDifferentiable, public
from .rules import broadcast, plain
from .samples import SpecialFloats, Uniform, sample

_WHOLE = NotDifferentiable("its result is a whole number")
_DIVISOR = Uniform(0.5, 9) | Uniform(-9, -0.5)


class FloorDivide(Binary, name="floor_divide", version=1, amp=Amp.FLOAT32):
    """a / b rounded down to a whole number, in the promoted dtype. Integers divided by 0 give 0. Of floats the
    quotient itself is rounded down where an operand is infinite: inf // 2 is inf, 1 // -inf is -0.
    Source: the Python array API standard, floor_divide."""

    bools = False
    samples = (Uniform(-40, 40) | SpecialFloats(), _DIVISOR | SpecialFloats())
    error = Ulp(f64=1, f32=1, f16=1, bf16=1)

    def reference(self, a: Array, b: Array) -> Array:
        y = quiet(np.floor_divide, a, b)
        if not np.issubdtype(y.dtype, np.floating):
            return y
        q = quiet(np.true_divide, a, b)
        return np.where(np.isinf(a) | np.isinf(b) | (np.asarray(b) == 0), quiet(np.floor, q), y)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return k.floor_divide(a, b)

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value | None]:
        return None, None


class Remainder(Binary, name="remainder", version=1, amp=Amp.FLOAT32):
    """a - floor(a / b) * b: it has the sign of b, zeros too. In the promoted dtype; the remainder of an integer and 0
    is 0. Exact for quotients below 2 ** 69, in f64 below 2 ** 104."""

    bools = False
    samples = (Uniform(-40, 40), _DIVISOR)
    error = LargestUlp(f64=4, f32=4, f16=2, bf16=2)

    def reference(self, a: Array, b: Array) -> Array:
        return quiet(np.mod, a, b)

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return k.remainder(a, b)

    def gradient(self, g: Value, a: Value, b: Value, y: Value) -> Sequence[Value | None]:
        return sum_to(g, a.type), sum_to(-(g * floor_divide(a, b)), b.type)


class Bits(Elementwise):
    """Of integers and bools only, in the promoted dtype."""

    gradient = _WHOLE
    error = EXACT

    def infer(self, *types: TensorType) -> TensorType:
        for t in types:
            if plain(t, self.name).is_float:
                raise DTypeError(f"{self.name} takes integers and bools, found {t}", help="convert it by to()")
        return super().infer(*types)


_TWO = (
    sample((tensor(i32, 3, 4), Uniform(-99, 99)), (tensor(i32, 4), Uniform(-99, 99))),
    sample((tensor(i64, 3), Uniform(-99, 99)), (tensor(u8, 2, 3), Uniform(0, 99))),
)


class BitAnd(Bits, Binary, name="bitwise_and", version=1, amp=Amp.KEEP_INPUT):
    """Bits that both have."""

    samples = _TWO

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.bitwise_and(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a & b


class BitOr(Bits, Binary, name="bitwise_or", version=1, amp=Amp.KEEP_INPUT):
    """Bits that either has."""

    samples = _TWO

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.bitwise_or(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a | b


class BitXor(Bits, Binary, name="bitwise_xor", version=1, amp=Amp.KEEP_INPUT):
    """Bits that one of the two has."""

    samples = _TWO

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.bitwise_xor(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return a ^ b


class Gcd(Bits, Binary, name="gcd", version=1, amp=Amp.KEEP_INPUT):
    """Greatest common divisor, not negative, by Euclid's steps; of 0 and b it is |b|."""

    bools = False
    samples = (
        sample((tensor(i32, 3, 4), Uniform(-99, 99)), (tensor(i32, 4), Uniform(-9, 9))),
        sample((tensor(i64, 3), Uniform(-99, 99)), (tensor(u8, 2, 3), Uniform(0, 99))),
    )

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.gcd(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        start = [k.abs(a), k.abs(b)]
        steps = 93  # of int64 at most, where both are neighbouring Fibonacci numbers
        found = k.repeat(start, lambda s: k.logical_not(s[1] == 0), lambda n, s: [s[1], k.remainder(*s)], steps)[0]
        return k.abs(found)  # the least number of a dtype stays negative, and so do remainders by it


class BitNot(Bits, Unary, name="bitwise_not", version=1, amp=Amp.KEEP_INPUT):
    """All bits turned round. Not of bools: see logical_not."""

    bools = False
    samples = (sample((tensor(i32, 3, 4), Uniform(-99, 99))), sample((tensor(u8, 5), Uniform(0, 255))))

    def reference(self, x: Array) -> Array:
        return np.asarray(np.bitwise_not(x))

    def scalar(self, k: Any, x: Any) -> Any:
        return x ^ -1


class ShiftLeft(Bits, Binary, name="shift_left", version=1, amp=Amp.KEEP_INPUT):
    """a * 2 ** b by bits; 0 where b is negative or as many bits as there are, or more."""

    bools = False
    samples = (
        sample((tensor(i32, 3, 4), Uniform(-99, 99)), (tensor(i32, 4), Uniform(0, 9))),
        sample((tensor(i64, 3), Uniform(-99, 99)), (tensor(i64, 3), Uniform(0, 40))),
    )

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.left_shift(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return k.shift_left(a, b)


class ShiftRight(Bits, Binary, name="shift_right", version=1, amp=Amp.KEEP_INPUT):
    """a / 2 ** b rounded down, by bits; of b bits too many the sign is left."""

    bools = False
    samples = (
        sample((tensor(i32, 3, 4), Uniform(-99, 99)), (tensor(i32, 4), Uniform(0, 9))),
        sample((tensor(i64, 3), Uniform(-99, 99)), (tensor(i64, 3), Uniform(0, 40))),
    )

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.right_shift(a, b))

    def scalar(self, k: Any, a: Any, b: Any) -> Any:
        return k.shift_right(a, b)


_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF


class RandomBits(Elementwise, name="random_bits", version=1, amp=Amp.KEEP_INPUT):
    """32 random bits in an i64, as a function of three i64: an element's number, a key, and the number of the draw.

    Philox 4x32 with 10 rounds: equal numbers on every device, in any order. `word` 0 .. 3 picks one of the four that a
    round makes. Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011)."""

    operands = ("number", "key", "draw")
    gradient = _WHOLE
    error = EXACT
    samples = (
        sample((tensor(i64, 5), Uniform(0, 999)), (tensor(i64), Uniform(0, 2**40)), (tensor(i64), Uniform(0, 2**33))),
        sample((tensor(i64, 5), Uniform(0, 999)), (tensor(i64), Uniform(0, 99)), (tensor(i64), Uniform(0, 9)), word=3),
    )

    def infer(self, number: TensorType, key: TensorType, draw: TensorType, *, word: int = 0) -> TensorType:  # type: ignore[override]
        for t in (number, key, draw):
            if t.element != i64:
                raise DTypeError(f"random_bits takes i64, found {t}")
        return TensorType(i64, broadcast(number.shape, key.shape, draw.shape, what="operands of random_bits"))

    def call(self, number: Value, key: Value, draw: Value, word: int = 0) -> Value:
        return self.build(number, key, draw, word=word)

    def reference(self, number: Array, key: Array, draw: Array, *, word: int = 0) -> Array:
        u = np.uint64
        number, key, draw = (np.asarray(v).astype(np.int64).view(u) for v in np.broadcast_arrays(number, key, draw))
        low = u(_LOW)
        c = [number & low, number >> u(32), draw & low, draw >> u(32)]
        k = [key & low, key >> u(32)]
        with np.errstate(over="ignore"):
            for _ in range(_ROUNDS):
                a, b = c[0] * u(_MULTIPLIERS[0]), c[2] * u(_MULTIPLIERS[1])
                c = [(b >> u(32)) ^ c[1] ^ k[0], b & low, (a >> u(32)) ^ c[3] ^ k[1], a & low]
                k = [(k[0] + u(_WEYL[0])) & low, (k[1] + u(_WEYL[1])) & low]
        return c[word].view(np.int64)

    def scalar(self, k: Any, number: Any, key: Any, draw: Any, *, word: int = 0) -> Any:
        return philox(k, number, key, draw)[word]


def philox(k: Any, number: Any, key: Any, draw: Any) -> list[Any]:
    """The four words that `random_bits` picks from, as kernel instructions."""
    high = k.high_half
    c = [number & _LOW, high(number), draw & _LOW, high(draw)]
    keys = [key & _LOW, high(key)]
    for _ in range(_ROUNDS):
        a, b = c[0] * _MULTIPLIERS[0], c[2] * _MULTIPLIERS[1]
        c = [high(b) ^ c[1] ^ keys[0], b & _LOW, high(a) ^ c[3] ^ keys[1], a & _LOW]
        keys = [(keys[0] + _WEYL[0]) & _LOW, (keys[1] + _WEYL[1]) & _LOW]
    return c


floor_divide = public(FloorDivide, Binary.call)
remainder = public(Remainder, Binary.call)
gcd = public(Gcd, Binary.call)
bitwise_and = public(BitAnd, Binary.call)
bitwise_or = public(BitOr, Binary.call)
bitwise_xor = public(BitXor, Binary.call)
bitwise_not = public(BitNot, Unary.call)
shift_left = public(ShiftLeft, Binary.call)
shift_right = public(ShiftRight, Binary.call)
random_bits = public(RandomBits, RandomBits.call)
