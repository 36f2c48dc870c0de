"""Running sums, products and extremes along the last axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..diagnostics import ShapeError, UnsupportedError
from ..ir.graph import Value, constant
from ..ir.types import Symbol, TensorType, bf16, bool_, dim, f32, f64, i32, tensor
from .compare import eq, ne, where
from .elementwise import cast
from .error import LargestUlp
from .op import Amp, Array, Batching, Op, public
from .rules import plain, summed
from .samples import Uniform, sample
from .shape import broadcast_to, concat, slice

N = Symbol("n", 8)
KINDS = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


class Scan(Op, name="scan", version=1, amp=Amp.FLOAT32):
    """y[..., i] is the sum (prod, max, min) of x[..., 0 .. i], or of x[..., i ..] if `reverse`. Shape of x, rank >= 1.

    Integers and bools are summed and multiplied in i64. A NaN stays from where it stands on."""

    samples = (
        sample(tensor(f32, 3, 5), kind="sum"),
        sample(tensor(f64, dim(N), 4), kind="sum", reverse=True, symbols={"n": 3}),
        sample((tensor(f64, 2, 6), Uniform(0.5, 2)), kind="prod"),
        sample((tensor(f64, 7), Uniform(-3, 3)), kind="prod", reverse=True),
        sample((tensor(i32, 2, 5), Uniform(-9, 9)), kind="sum"),
        sample((tensor(bool_, 2, 5), Uniform(0, 1)), kind="sum"),
        sample((tensor(i32, 2, 5), Uniform(-9, 9)), kind="max"),
        sample(tensor(bf16, 2, 0), kind="sum"),
    )
    error = LargestUlp(f64=16, f32=16, f16=4, bf16=4)
    batching = Batching.RULE

    def infer(self, x: TensorType, *, kind: str, reverse: bool = False) -> TensorType:
        dtype = plain(x, "scan")
        if not x.shape:
            raise ShapeError(f"scan needs at least one axis, found {x}")
        if kind not in KINDS:
            raise ShapeError(f"scan: kind is one of {', '.join(KINDS)}, not {kind!r}")
        return TensorType(summed(dtype) if kind in ("sum", "prod") else dtype, x.shape)

    def call(self, x: Value, kind: str, reverse: bool = False) -> Value:
        return self.build(x, kind=kind, reverse=reverse)

    def reference(self, x: Array, *, kind: str, reverse: bool = False) -> Array:
        ahead = x[..., ::-1] if reverse else x
        if ahead.dtype.kind in "iub" and kind in ("sum", "prod"):
            ahead = ahead.astype(np.int64)
        with np.errstate(all="ignore"):
            y = KINDS[kind].accumulate(ahead, axis=-1)
        return np.asarray(y[..., ::-1] if reverse else y)

    def gradient(self, g: Value, x: Value, y: Value, *, kind: str, reverse: bool) -> Sequence[Value | None]:
        if kind == "sum":
            return (scan(g, "sum", not reverse),)
        if kind != "prod":
            raise UnsupportedError(
                f"scan has no gradient for kind {kind!r}", help="gather the elements by their places"
            )
        size = x.type.shape[-1]
        if isinstance(size, int):
            return (products_before(x, reverse) * _behind(g, x, size, reverse),)
        # A size that is a symbol has no number of steps. This serves once: where it divides by what is not 0, its own
        # gradient at zeros is not that of a product.
        # before the first 0: sum of g * y over what follows, divided by x; at it: the same with a 1 in its place
        none = constant(0, TensorType(x.type.dtype, ()))
        zeros = scan(cast(eq(x, none), f32), "sum", reverse)
        first = where(eq(x, none), eq(zeros, 1.0), ne(zeros, zeros))
        one = where(first, 1.0, x)
        behind = scan(g * y, "sum", not reverse) / where(eq(x, none), 1.0, x)
        there = scan(g * scan(one, "prod", reverse), "sum", not reverse)
        return (where(eq(zeros, 0.0), behind, where(first, there, none)),)

    def batch(self, size: int, batched: Sequence[bool], x: Value, *, kind: str, reverse: bool = False) -> Value:
        return self.build(x, kind=kind, reverse=reverse)


scan = public(Scan, Scan.call)


def products_before(x: Value, reverse: bool = False) -> Value:
    """The product of x[..., 0 .. i - 1] for each i, or of x[..., i + 1 ..] if `reverse`; 1 at the end. Static size."""
    size = x.type.shape[-1]
    assert isinstance(size, int)
    if not size:
        return x
    one = broadcast_to(constant(1, TensorType(x.type.dtype, ())), (*x.type.shape[:-1], 1))
    y = scan(x, "prod", reverse)
    return concat(slice(y, -1, 1, size), one) if reverse else concat(one, slice(y, -1, 0, size - 1))


def _behind(g: Value, x: Value, size: int, reverse: bool) -> Value:
    """The sum of g[i] * x[m + 1] * ... * x[i] over i >= m for each m (i <= m if `reverse`), without a division, so that
    zeros do not matter: s[m] = g[m] + x[m + 1] * s[m + 1], by doubling the distance (Hillis and Steele 1986)."""

    def moved(v: Value, by: int) -> Value:
        none = broadcast_to(constant(0, TensorType(v.type.dtype, ())), (*v.type.shape[:-1], by))
        return concat(none, slice(v, -1, 0, size - by)) if reverse else concat(slice(v, -1, by, size), none)

    total, distance = g, 1
    factor = moved(x, 1) if size else x
    while distance < size:
        total = total + factor * moved(total, distance)
        factor = factor * moved(factor, distance)
        distance *= 2
    return total
