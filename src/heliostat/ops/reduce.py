"""Reductions over axes: sum, mean, max, min, prod, argmax. The composites built on them are in `normalize.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ..diagnostics import ShapeError
from ..ir.graph import Value, constant
from ..ir.types import Dim, DType, Symbol, TensorType, bf16, bool_, dim, f16, f32, f64, i8, i32, i64, numel, tensor
from .compare import eq, where
from .elementwise import cast
from .error import EXACT, LargestUlp, Ulp
from .op import Amp, Array, Batching, Forward, NotDifferentiable, Op, public
from .rules import floating, normalize_axis, plain, summed
from .samples import Sample, Samples, SpecialFloats, Uniform, Values, sample
from .scan import products_before
from .shape import broadcast_to, reshape, transpose

N = Symbol("n", 8)
Axes = int | Sequence[int] | None


class Reduction(Op):
    """Over `axes` (sorted, different, not negative); `keepdim` leaves them with size 1."""

    samples: ClassVar[Samples] = Uniform()
    batching = Batching.RULE
    empty = True  # an empty axis has a result

    def infer(self, x: TensorType, *, axes: tuple[int, ...], keepdim: bool = False) -> TensorType:
        plain(x, self.name)
        if list(axes) != sorted(set(axes)) or any(not 0 <= a < x.rank for a in axes):
            raise ShapeError(f"{self.name}: {list(axes)} are not different, sorted axes of {x}")
        if not self.empty and any(x.shape[a] == 0 for a in axes):
            raise ShapeError(f"{self.name} of an empty axis has no value: {x} over {list(axes)}")
        shape: list[Dim] = []
        for i, d in enumerate(x.shape):
            if i not in axes:
                shape.append(d)
            elif keepdim:
                shape.append(1)
        return TensorType(self.result_dtype(x.dtype), tuple(shape))

    def result_dtype(self, dtype: DType) -> DType:
        return dtype

    def call(self, x: Value, axes: int | Sequence[int] | None = None, keepdim: bool = False) -> Value:
        return self.build(x, axes=_axes(x, axes, self.name), keepdim=keepdim)

    def batch(
        self, size: int, batched: Sequence[bool], x: Value, *, axes: tuple[int, ...], keepdim: bool = False
    ) -> Value:
        return self.build(x, axes=tuple(a + 1 for a in axes), keepdim=keepdim)

    def reference(self, x: Array, *, axes: tuple[int, ...], keepdim: bool = False) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(self.function(x, axis=axes, keepdims=keepdim))

    function: Callable[..., Any]

    def cases(self) -> tuple[Sample, ...]:
        """Axes in front, at the end, several, none and all; symbolic sizes; each dtype."""
        v = self.samples
        assert isinstance(v, Values)
        found = [
            sample((tensor(f32, 3, 4), v), axes=(1,)),
            sample((tensor(f32, 2, 3, 4), v), axes=(0, 2), keepdim=True),
            sample((tensor(f32, dim(N), 4), v), axes=(0,), symbols={"n": 5}),
            sample((tensor(f32, dim(N), 4), v), axes=(0, 1), keepdim=True, symbols={"n": 3}),
            sample((tensor(f32, 3), v), axes=()),
            sample((tensor(f32), v), axes=()),
            sample((tensor(f32, 0, 3), v), axes=(1,)),
        ]
        found += [sample((tensor(d, 3, 7), v), axes=(1,)) for d in (f64, f16, bf16, i32, i8, bool_)]
        if self.empty:
            found.append(sample((tensor(f32, 3, 0), v), axes=(1,)))
        return tuple(found)


def _axes(x: Value, axes: Axes, op: str) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(x.type.rank))
    named = (axes,) if isinstance(axes, int) else tuple(axes)
    found = tuple(sorted({normalize_axis(a, x.type.rank, op) for a in named}))
    if len(found) != len(named):
        raise ShapeError(f"{op}: an axis is named twice in {list(named)}")
    return found


def _kept(g: Value, x: TensorType, axes: tuple[int, ...]) -> Value:
    """A reduced value with its axes back, of size 1."""
    return reshape(g, tuple(1 if i in axes else d for i, d in enumerate(x.shape)))


class Sum(Reduction, name="sum", version=1, amp=Amp.FLOAT32):
    """Sum over axes (all where None). Integers and bools are summed in i64; 0 over an empty axis."""

    samples = Uniform(-3, 3)
    error = LargestUlp(f64=16, f32=16, f16=4, bf16=4)
    forward = Forward.LINEAR
    function = staticmethod(np.sum)

    def result_dtype(self, dtype: DType) -> DType:
        return summed(dtype)

    def gradient(self, g: Value, x: Value, y: Value, *, axes: tuple[int, ...], keepdim: bool) -> Sequence[Value]:
        return (broadcast_to(_kept(g, x.type, axes), x.type.shape),)


class Mean(Reduction, name="mean", version=1, amp=Amp.FLOAT32):
    """Mean over axes (all where None), as float; NaN over an empty axis."""

    samples = Uniform(-3, 3)
    error = LargestUlp(f64=16, f32=16, f16=4, bf16=4)
    forward = Forward.LINEAR

    def result_dtype(self, dtype: DType) -> DType:
        return floating(dtype)

    def reference(self, x: Array, *, axes: tuple[int, ...], keepdim: bool = False) -> Array:
        count = float(np.prod([x.shape[a] for a in axes], dtype=np.int64))
        with np.errstate(all="ignore"):
            return np.asarray(np.sum(x, axis=axes, keepdims=keepdim, dtype=np.float64) / count)

    def gradient(self, g: Value, x: Value, y: Value, *, axes: tuple[int, ...], keepdim: bool) -> Sequence[Value]:
        g = _kept(g, x.type, axes)
        count = numel(tuple(x.type.shape[a] for a in axes))
        if isinstance(count, int):
            return (broadcast_to(g * (1.0 / max_(count, 1)), x.type.shape),)
        ones = broadcast_to(constant(1, TensorType(g.type.dtype, ())), x.type.shape)  # counts a size known at run time
        return (broadcast_to(g / sum(ones, axes, keepdim=True), x.type.shape),)


class Extreme(Reduction):
    """Of an extreme the gradient goes to all elements that have its value, in equal parts."""

    samples = Uniform(-40, 40) | SpecialFloats()
    error = EXACT
    empty = False

    def gradient(self, g: Value, x: Value, y: Value, *, axes: tuple[int, ...], keepdim: bool) -> Sequence[Value]:
        here = cast(eq(x, _kept(y, x.type, axes)), x.type.dtype)
        return (here * (_kept(g, x.type, axes) / sum(here, axes, keepdim=True)),)


class Max(Extreme, name="max", version=1, amp=Amp.KEEP_INPUT):
    """Largest element over axes (all where None); NaN if there is one. Shape error over an empty axis."""

    function = staticmethod(np.max)


class Min(Extreme, name="min", version=1, amp=Amp.KEEP_INPUT):
    """Smallest element over axes (all where None); NaN if there is one. Shape error over an empty axis."""

    function = staticmethod(np.min)


class Prod(Reduction, name="prod", version=1, amp=Amp.FLOAT32):
    """Product over axes (all where None). Integers and bools are multiplied in i64; 1 over an empty axis."""

    samples = Uniform(-2, 2)
    error = Ulp(f64=16, f32=16, f16=4, bf16=4)
    function = staticmethod(np.prod)

    def result_dtype(self, dtype: DType) -> DType:
        return summed(dtype)

    def gradient(self, g: Value, x: Value, y: Value, *, axes: tuple[int, ...], keepdim: bool) -> Sequence[Value]:
        """The product of the others, of those before and those behind, which differentiates again."""
        if all(isinstance(x.type.shape[a], int) for a in axes):
            others, part = _kept(g, x.type, axes), x
            for a in reversed(axes):
                last = (*(i for i in range(x.type.rank) if i != a), a)
                v = transpose(part, last)
                product = products_before(v) * products_before(v, reverse=True)
                others = others * transpose(product, tuple(last.index(i) for i in range(x.type.rank)))
                part = prod(part, (a,), keepdim=True)
            return (others,)
        # y / x where no factor is 0; where one is, it alone has a gradient
        zero = eq(x, 0.0)
        zeros = sum(cast(zero, x.type.dtype), axes, keepdim=True)
        others = prod(where(zero, 1.0, x), axes, keepdim=True)
        none = constant(0, TensorType(x.type.dtype, ()))
        only = where(
            zero, where(eq(zeros, 1.0), others, none), where(eq(zeros, 0.0), others / where(zero, 1.0, x), none)
        )
        return (_kept(g, x.type, axes) * only,)


class Argmax(Reduction, name="argmax", version=1, amp=Amp.KEEP_INPUT):
    """Index of the first largest element along one axis, i64; of the first NaN if there is one."""

    samples = Uniform(-9, 9) | SpecialFloats()
    error = EXACT
    empty = False
    gradient = NotDifferentiable("its result is an integer")

    def infer(self, x: TensorType, *, axes: tuple[int, ...], keepdim: bool = False) -> TensorType:
        if len(axes) != 1:
            raise ShapeError(f"argmax goes along one axis, found {list(axes)} of {x}")
        return super().infer(x, axes=axes, keepdim=keepdim)

    def result_dtype(self, dtype: DType) -> DType:
        return i64

    def call(self, x: Value, axis: int = -1, keepdim: bool = False) -> Value:  # type: ignore[override]
        return self.build(x, axes=_axes(x, axis, "argmax"), keepdim=keepdim)

    def reference(self, x: Array, *, axes: tuple[int, ...], keepdim: bool = False) -> Array:
        return np.asarray(np.argmax(x, axis=axes[0], keepdims=keepdim))

    def cases(self) -> tuple[Sample, ...]:
        return tuple(s for s in super().cases() if len(s.attrs["axes"]) == 1)


max_ = max
sum = public(Sum, Reduction.call)
mean = public(Mean, Reduction.call)
max = public(Max, Reduction.call)
min = public(Min, Reduction.call)
prod = public(Prod, Reduction.call)
argmax = public(Argmax, Argmax.call)
