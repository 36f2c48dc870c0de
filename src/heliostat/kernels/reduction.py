"""The arithmetic of reductions, for schedules that choose where their parts come from."""

from __future__ import annotations

import math

from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction
from ..kernel.warp import WARP
from .elementwise import wrapped
from .group import compute_elem
from .math import Math
from .quantize_block import tree

REDUCTIONS = frozenset({"sum", "mean", "max", "min", "prod", "argmax"})


class Reduction:
    """The arithmetic of one reduction: where it starts, how two parts combine, what is stored. argmax stands apart."""

    def __init__(self, k: KernelBuilder, name: str, dtype: DType) -> None:
        """`name` of REDUCTIONS but argmax; `dtype` of the result."""
        self.k, self.name, self.math = k, name, Math(k)
        self.dtype = dtype
        elem = compute_elem(self.dtype)
        self.elem = "i32" if elem == "i1" else elem
        self.start = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}[self.name]
        if self.elem in ("i32", "i64") and self.name in ("max", "min"):
            half = 1 << int(self.elem[1:]) - 1
            self.start = -half if self.name == "max" else half - 1

    def taken(self, value: Instruction) -> Instruction:
        """An element as it is accumulated."""
        return self.k.convert(value, self.elem, signed=value.elem != "i1")

    def combine(self, a: Instruction, b: Instruction) -> Instruction:
        if self.name in ("sum", "mean"):
            return a + b
        if self.name == "prod":
            return a * b
        return self.math.maximum(a, b) if self.name == "max" else self.math.minimum(a, b)

    def across(self, a: Instruction) -> Instruction:
        """The lanes of a vector combined, in a fixed tree."""
        k = self.k
        if k.capability and a.lanes > WARP:  # what a thread holds first: then threads exchange one value, not several
            each = a.lanes // WARP
            a = tree([k.shuffle(a, a, range(n, a.lanes, each)) for n in range(each)], self.combine)
        if k.capability >= 80 and self.elem == "f32" and self.name in ("max", "min"):
            return k.reduce_by(f"{self.name}imum", a)
        if self.name in ("sum", "mean"):
            return k.reduce_add(a)
        assert a.type is not None
        if self.name in ("max", "min"):
            extreme = k.reduce_max(a) if self.name == "max" else k.reduce_min(a)
            if not a.type.is_float or a.lanes == 1:
                return extreme
            nan = k.select(k.binary("ne", a, a), 1, k.zeros("i32", a.lanes))  # any NaN is the result
            return k.select(k.reduce_max(nan) > 0, math.nan, extreme)
        while a.lanes > 1:
            half = a.lanes // 2
            a = self.combine(k.lanes_of(a, 0, half), k.lanes_of(a, half, half))
        return a

    def result(self, total: Instruction, count: Instruction) -> Instruction:
        if self.name == "mean":
            total = total / self.k.convert(count, self.elem)
        if self.dtype.kind == "b":
            return self.k.binary("ne", total, 0)
        return wrapped(self.k, total, self.dtype)


class First:
    """argmax: the largest value so far and its place. The first of equal ones; a NaN beats all numbers, as in NumPy."""

    def __init__(self, k: KernelBuilder, value: Instruction, place: Instruction) -> None:
        self.k = k
        self.best, self.place = k.var(value), k.var(place)

    def see(self, value: Instruction, place: Instruction, mask: Instruction | None = None) -> None:
        """Later places than any before."""
        best = self.best.get()
        better = value > best
        assert value.type is not None
        if value.type.is_float:
            better = better | (self.k.binary("ne", value, value) & self.k.binary("eq", best, best))
        if mask is not None:
            better = better & mask
        self.best.set(self.k.select(better, value, best))
        self.place.set(self.k.select(better, place, self.place.get()))

    def across(self) -> Instruction:
        """The place among all lanes."""
        k = self.k
        value, place = self.best.get(), self.place.get()
        assert value.type is not None
        while value.lanes > 1:
            half = value.lanes // 2
            a, b = (k.lanes_of(value, n, half) for n in (0, half))
            p, q = (k.lanes_of(place, n, half) for n in (0, half))
            better, equal = b > a, k.binary("eq", a, b)
            if value.type.is_float:
                a_nan, b_nan = k.binary("ne", a, a), k.binary("ne", b, b)
                better = better | (b_nan & k.logical_not(a_nan))
                equal = equal | (a_nan & b_nan)
            better = better | (equal & (q < p))
            value, place = k.select(better, b, a), k.select(better, q, p)
        return place
