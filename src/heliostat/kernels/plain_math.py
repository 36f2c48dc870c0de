"""What scalar lowerings call that is an instruction or a few: roundings, casts, extremes, whole numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Operand
from .group import COMPUTE


def whole(k: KernelBuilder, x: Instruction) -> Instruction:
    """Whole f32 numbers, |x| < 2 ** 22, as i32. For anything else the result has no meaning.

    Exact, and a sixth of the time of `fptosi`, whose saturation LLVM does lane by lane on x86-64.
    """
    return k.bitcast(x + 1.5 * 2.0**23, "i32") - 0x4B400000


class PlainMath:
    """What a scalar lowering may call. Values are f32 or f64 vectors or scalars, flags are i1.

    Names that are not found here are those of the kernel builder.
    """

    def __init__(self, k: KernelBuilder) -> None:
        self.k = k

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["k"], name)

    # --- plain instructions ---------------------------------------------------------------------------------------
    def sqrt(self, x: Instruction) -> Instruction:
        return self.k.sqrt(x)

    def rsqrt(self, x: Instruction) -> Instruction:
        """1 / sqrt(x), both steps rounded."""
        return 1.0 / self.k.sqrt(x)

    def reciprocal(self, x: Instruction) -> Instruction:
        return 1.0 / x

    def floor(self, x: Instruction) -> Instruction:
        return self.k.floor(x)

    def ceil(self, x: Instruction) -> Instruction:
        return self.k.ceil(x)

    def round(self, x: Instruction) -> Instruction:
        """To the nearest integer, ties to even."""
        return self.k.rint(x)

    def trunc(self, x: Instruction) -> Instruction:
        """To an integer toward zero."""
        return self.k.select(x < 0.0, self.k.ceil(x), self.k.floor(x))

    def logical_and(self, a: Instruction, b: Instruction) -> Instruction:
        return a & b

    def logical_or(self, a: Instruction, b: Instruction) -> Instruction:
        return a | b

    def logical_xor(self, a: Instruction, b: Instruction) -> Instruction:
        return a ^ b

    def logical_not(self, x: Instruction) -> Instruction:
        return self.k.logical_not(x)

    def abs(self, x: Instruction) -> Instruction:
        assert x.type is not None
        return self.k.fabs(x) if x.type.is_float else self.k.maximum(x, -x)

    def select(self, condition: Instruction, a: Operand, b: Operand) -> Instruction:
        return self.k.select(condition, a, b)

    def constant(self, value: float, like: Instruction) -> Instruction:
        return self.k.const(value, like.elem, like.lanes)

    def bitcast(self, x: Instruction, dtype: DType) -> Instruction:
        """The same bits as another dtype of 32 or 64 bits."""
        return self.k.bitcast(x, COMPUTE[dtype.name][1])

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
        if dtype.kind in "iu" and compute != f"i{dtype.bits}":
            low, high = (
                (0, (1 << dtype.bits) - 1) if dtype.kind == "u" else (-(1 << dtype.bits - 1), (1 << dtype.bits - 1) - 1)
            )
            if x.elem == "f32" and dtype.bits < 32:
                inside = k.minimum(k.maximum(k.select(k.binary("ne", x, x), 0.0, x), float(low)), float(high))
                return whole(k, self.trunc(inside))
            if x.type.is_float:
                return k.minimum(k.maximum(k.convert(x, compute), low), high)
            narrow = k.convert(k.convert(x, compute), f"i{dtype.bits}")
            return k.convert(narrow, compute, signed=dtype.kind == "i")
        return k.convert(x, compute)

    def maximum(self, a: Operand, b: Operand) -> Instruction:
        """The larger; NaN if either is."""
        return self._extreme(a, b, "max")

    def minimum(self, a: Operand, b: Operand) -> Instruction:
        """The smaller; NaN if either is."""
        return self._extreme(a, b, "min")

    def _extreme(self, a: Operand, b: Operand, kind: str) -> Instruction:
        if self.k.capability >= 80 and any(isinstance(x, Instruction) and x.elem == "f32" for x in (a, b)):
            return self.k.binary(f"{kind}imum", a, b)
        y = self.k.binary(kind, a, b)
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

    def signbit(self, x: Instruction) -> Instruction:
        """Whether the sign is set, of zeros and NaN too."""
        assert x.type is not None
        return (self.k.bitcast(x, "i64" if x.elem == "f64" else "i32") if x.type.is_float else x) < 0

    def order_key(self, x: Instruction, bits: int) -> Instruction:
        """Integers of so many bits that are in order where numbers are: zeros equal, NaN the largest."""
        k = self.k
        if x.elem not in ("f32", "f64"):
            return x if x.elem == f"i{bits}" else k.convert(x, f"i{bits}", signed=x.elem != "i1")
        most = (1 << bits - 1) - 1
        held = k.bitcast(x, f"i{bits}")
        turned = held ^ (k.ashr(held, bits - 1) & most)
        turned = k.select(k.binary("eq", held, -1 << bits - 1), 0, turned)
        return k.select(k.binary("ne", x, x), most, turned)

    def _signed(self, size: Instruction, x: Instruction) -> Instruction:
        """`size` >= 0 with the sign of x, which may be a negative zero."""
        k, bits = self.k, 64 if x.elem == "f64" else 32
        integer = f"i{bits}"
        sign = k.bitcast(x, integer) & -(1 << bits - 1)
        return k.bitcast(k.bitcast(size, integer) | sign, x.elem)

    # --- whole numbers ----------------------------------------------------------------------------------------------
    def floor_divide(self, a: Instruction, b: Instruction) -> Instruction:
        """a / b rounded down; integers divided by 0 give 0."""
        k = self.k
        assert a.type is not None
        if a.type.is_float:
            q = a / b
            whole = k.rint((a - self.remainder(a, b)) / b)
            whole = k.select(whole == 0.0, q * 0.0, whole)  # the sign of a zero is that of the quotient
            endless = (k.fabs(a) == math.inf) | (k.fabs(b) == math.inf) | (k.fabs(q) == math.inf)
            return k.select(endless | (b == 0.0), k.floor(q), whole)
        zero = k.const(0, a.elem, a.lanes)
        safe = k.select((b == 0) | (b == -1), 1, b)
        q = a / safe
        rest = a - q * safe
        down = k.select(k.binary("ne", rest, 0) & ((rest < 0) ^ (safe < 0)), q - 1, q)
        return k.select(b == -1, zero - a, k.select(b == 0, zero, down))

    def remainder(self, a: Instruction, b: Instruction) -> Instruction:
        """a - floor(a / b) * b, with the sign of b; of integers and 0 it is 0."""
        k = self.k
        assert a.type is not None
        if not a.type.is_float:
            return k.select(b == 0, k.const(0, a.elem, a.lanes), a - self.floor_divide(a, b) * b)
        rest = a
        for _ in range(2 if a.elem == "f64" else 3):  # each takes as many bits of the quotient as a float has, exactly
            rest = k.fma(-k.rint(rest / b), b, rest)
        wrong = ((rest < 0.0) & (b > 0.0)) | ((rest > 0.0) & (b < 0.0))
        rest = k.select(wrong, rest + b, rest)
        infinite = (k.fabs(b) == math.inf) & (k.fabs(a) < math.inf)
        same = ((a >= 0.0) & (b > 0.0)) | ((a <= 0.0) & (b < 0.0))
        rest = k.select(infinite, k.select(same, a, b), rest)
        return k.select(rest == 0.0, self._signed(k.const(0.0, a.elem, a.lanes), b), rest)

    def shift_left(self, a: Instruction, b: Instruction) -> Instruction:
        k = self.k
        inside = (b >= 0) & (b < (64 if a.elem == "i64" else 32))
        return k.select(inside, a << k.select(inside, b, 0), 0)

    def shift_right(self, a: Instruction, b: Instruction) -> Instruction:
        last = 63 if a.elem == "i64" else 31
        return self.k.ashr(a, self.k.select((b >= 0) & (b < last), b, last))

    def repeat(
        self,
        state: Sequence[Instruction],
        going: Callable[[list[Instruction]], Instruction],
        step: Callable[[Instruction, list[Instruction]], Sequence[Instruction]],
        rounds: int,
    ) -> list[Instruction]:
        """`step(round, state)` as the new state of the lanes where `going(state)` holds, until it does in none, for so
        many rounds at most."""
        k = self.k
        held = [k.var(s) for s in state]
        for n in k.loop(rounds):
            before = [v.get() for v in held]
            here = going(before)
            for _ in k.when(k.any(here)):
                for v, new, old in zip(held, step(n, before), before, strict=True):
                    v.set(k.select(here, new, old))
        return [v.get() for v in held]

    def high_half(self, x: Instruction) -> Instruction:
        """The upper 32 bits of an i64."""
        return self.k.binary("lshr", x, 32)
