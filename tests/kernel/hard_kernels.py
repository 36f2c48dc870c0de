"""Kernels of one op over inputs chosen for it: ties, edges of ranges, specials. Random kernels meet these rarely.

`hard_kernel` applies an op lane by lane to `COUNT` inputs at a given number of lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from heliostat.kernel.builder import KernelBuilder
from heliostat.kernel.interp import interpret
from heliostat.kernel.ir import ELEMENT_BYTES, FLOATS, Kernel, Type
from kernel.random_kernels import BITS, DTYPES, copies

Array = np.ndarray[Any, Any]
COUNT = 1024
LANES = (1, 2, 4, 8, 16, 32)
INTEGERS = ("i8", "i16", "i32", "i64")
MANTISSA = {"f16": 11, "f32": 24, "f64": 53}
_SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 65504.0, 65519.9, 65520.0, 2.0**-24,
            2.0**-25, 3 * 2.0**-25, 3.4028235677973366e38, 2.0**-149, 2.0**-150, 1e-310, 127.5, -128.5, 32767.5,
            2.0**31, -(2.0**31), 2.0**63, -(2.0**63), 2.0**53 + 2, 1e300)  # fmt: skip


def cases() -> Iterator[tuple[str, str, str]]:
    """(op, element of the operands, element of the result)"""
    for source in FLOATS:
        yield from ((op, source, source) for op in ("fma", "sqrt", "floor", "ceil", "rint", "fabs", "neg", "div", "add",
                                                    "mul", "min", "max"))  # fmt: skip
        yield from ((op, source, "i1") for op in ("eq", "ne", "lt", "le"))
        yield from (("fptosi", source, target) for target in INTEGERS)
        yield from (("fpcast", source, target) for target in FLOATS if target != source)
        yield from ((op, i, source) for i in INTEGERS for op in ("sitofp", "uitofp"))
    for source in INTEGERS:
        yield from ((op, source, source) for op in ("mul", "min", "max", "add", "sub"))
        yield from ((op, source, "i1") for op in ("lt", "le", "ult"))


def inputs(elem: str, rng: np.random.Generator) -> Array:
    """COUNT numbers of the element: a third random bits, a third of few bits, and specials."""
    dtype = DTYPES[elem]
    third = COUNT // 3
    random = rng.integers(0, 256, COUNT * ELEMENT_BYTES[elem], np.uint8).view(dtype)
    if elem in FLOATS:
        few = (2 * rng.integers(-(1 << 6), 1 << 6, third) + 1) * 2.0 ** rng.integers(-20, 12, third)
        # points halfway between two numbers of a narrower type, and their neighbours
        bits = rng.choice([11, 24])
        tie = (2 * rng.integers(1 << (bits - 1), 1 << bits, third) + 1) * 2.0 ** rng.integers(-bits - 12, 6, third)
        tie = np.nextafter(tie, rng.choice([-np.inf, np.inf], third)) if rng.random() < 0.7 else tie
        with np.errstate(all="ignore"):
            special = np.array(_SPECIAL).astype(dtype)
            random[:third], random[third : 2 * third] = few.astype(dtype), tie.astype(dtype)
            random[-2 * special.size :] = rng.permutation(np.tile(special, 2))
        return random
    bits = BITS[elem]
    shift = rng.integers(0, bits, third).astype(dtype)
    random[:third] >>= shift
    # integers halfway between two floats, plus -1, 0 or 1
    width = rng.choice(np.array([11, 24, 53], np.uint64), third)
    one = np.uint64(1)
    halfway = 2 * rng.integers(one << width - one, one << width, dtype=np.uint64) + one << rng.integers(
        0, 10, third, np.uint64
    )
    value = halfway + rng.integers(-1, 2, third).astype(np.uint64)
    random[third : 2 * third] = np.where(value < 1 << 63, value, value >> np.uint64(12)).astype(dtype)
    random[-5:] = np.array([0, 1, -1, -(1 << (bits - 1)), (1 << (bits - 1)) - 1]).astype(dtype)
    return random


def hard_kernel(op: str, source: str, target: str, lanes: int) -> Kernel:
    """y[i] = op(a[i], b[i], c[i]) as far as the op has operands; an i1 is stored as an i8."""
    k = KernelBuilder(f"{op}_{source}_{target}_{lanes}")
    operands = [k.buffer(name) for name in "abc"]
    y = k.buffer("y", "w")
    arity = 3 if op == "fma" else 1 if op in _UNARY else 2
    for i in k.parallel(COUNT // lanes):
        at = i * (lanes * ELEMENT_BYTES[source])
        args = tuple(k.load(b, at, source, lanes) for b in operands[:arity])
        made = k.emit(op, Type(target, lanes), args)
        stored = k.convert(made, "i8", signed=False) if target == "i1" else made
        k.store(y, i * (lanes * ELEMENT_BYTES[stored.elem]), stored)
    return k.finish()


_UNARY = frozenset({"sqrt", "floor", "ceil", "rint", "fabs", "neg", "fptosi", "fpcast", "sitofp", "uitofp"})


@lru_cache(maxsize=256)
def hard_arrays(op: str, source: str, target: str, seed: int) -> list[Array]:
    """Operands and room for results; to be copied before a kernel writes them."""
    rng = np.random.default_rng(seed)
    arrays = [inputs(source, rng) for _ in range(3)]
    if op == "fma":
        half = COUNT // 2
        arrays[2][:half] = _fma_ties(arrays, source, rng)[:half]
    return [*arrays, np.zeros(COUNT, DTYPES["i8" if target == "i1" else target])]


@lru_cache(maxsize=1024)
def hard_results(op: str, source: str, target: str, seed: int, lanes: int) -> list[Array]:
    """What the interpreter makes of `hard_arrays`, for targets that are compared with it in turn."""
    arrays = copies(hard_arrays(op, source, target, seed))
    interpret(hard_kernel(op, source, target, lanes), arrays)
    return arrays


def hard_cases(lanes: Sequence[int]) -> list[tuple[Kernel, list[Array], list[Array]]]:
    """Every kernel at these numbers of lanes, its arrays, and what the interpreter makes of them."""
    return [
        (hard_kernel(*c, n), hard_arrays(*c, seed), hard_results(*c, seed, n))
        for seed, c in enumerate(cases())
        for n in lanes
    ]


def _fma_ties(arrays: list[Array], elem: str, rng: np.random.Generator) -> Array:
    """Third operands, and new first two, for which a * b is half a unit of c and a little more or less.

    A sum rounded to twice the digits first loses the little.
    """
    a, b, c = arrays
    digits = MANTISSA[elem]
    half, span = COUNT // 2, {"f16": 4, "f32": 60, "f64": 300}[elem]
    scale = rng.integers(-span // 2, span // 2, half)
    unit = 2.0 ** (1 - digits)
    base = 1 + unit * rng.integers(0, 1 << 8, half)
    # (1 + u)(1 - u) = 1 - u^2 and (1 + u)^2 = 1 + 2u + u^2: the product is next to a power of two
    first = 1 + unit * rng.choice([1, 2, 3], half)
    second = np.where(rng.random(half) < 0.5, 2 - first, 1.0 + 0 * first)
    with np.errstate(all="ignore"):
        a[:half] = (first * np.ldexp(1.0, scale)).astype(a.dtype)
        b[:half] = (second * np.ldexp(1.0, -digits)).astype(b.dtype)
        c[:half] = (base * np.ldexp(1.0, scale) * rng.choice([-1, 1], half)).astype(c.dtype)
    return c
