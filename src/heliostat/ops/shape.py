"""Ops that move no arithmetic: reshape, transpose, broadcast_to, slice, concat. Sizes may be symbolic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value, constant
from ..ir.types import (
    Dim,
    DType,
    Symbol,
    SymbolicDim,
    TensorType,
    bf16,
    bool_,
    dim,
    f16,
    f32,
    f64,
    i32,
    i64,
    numel,
    tensor,
    upper_bound,
)
from .error import EXACT
from .gradient import sum_to
from .op import Amp, Array, Batching, Forward, NotDifferentiable, Op, get, public
from .rules import broadcast, normalize_axis, plain, shown
from .samples import sample

N, M = Symbol("n", 8), Symbol("m", 8)
_n: Dim = dim(N)
Bound = int | SymbolicDim


def in_rows(x: TensorType, op: str) -> None:
    """Raise DTypeError for a packed layout: its elements do not lie in the order of the axes."""
    if x.layout is not None:
        raise DTypeError(f"{op} takes elements in rows, found {x}", help="apply it before repack(x)")


class Reshape(Op, name="reshape", version=1, amp=Amp.KEEP_INPUT):
    """The same elements in order under another shape. One size may be -1 where all others are known.

    Blocks of a format lie along the last axis, which must stay. Raises ShapeError if the number of elements differs."""

    samples = (
        sample(tensor(f32, 3, 4), shape=(2, 6)),
        sample(tensor(f64, dim(N), 4), shape=(_n * 2, 2), symbols={"n": 3}),
        sample(tensor(bf16, dim(N), 6), shape=(dim(N), 2, 3), symbols={"n": 5}),
        sample(tensor(f32), shape=(1, 1)),
        sample(tensor(bool_, 0, 4), shape=(0,)),
        sample(tensor(i32, 2, 2), shape=(4,)),
    )
    error = EXACT
    batching = Batching.RULE
    forward = Forward.LINEAR

    def infer(self, x: TensorType, *, shape: tuple[Dim, ...]) -> TensorType:
        in_rows(x, "reshape")
        if numel(shape) != numel(x.shape) or any(upper_bound(d) < 0 for d in shape):
            sizes = f"{numel(x.shape)} elements are not {numel(shape)}"
            raise ShapeError(f"cannot reshape {shown(x.shape)} to {shown(shape)}: {sizes}")
        if x.element.block > 1 and (not shape or shape[-1] != x.shape[-1]):
            raise ShapeError(f"reshape of {x} must keep its last axis, along which blocks lie, found {shown(shape)}")
        return TensorType(x.element, tuple(shape))

    def call(self, x: Value, shape: Sequence[Dim]) -> Value:
        sizes = list(shape)
        unknown = [i for i, d in enumerate(sizes) if isinstance(d, int) and d == -1]
        if len(unknown) > 1:
            raise ShapeError(f"reshape: only one size may be -1, found {shown(shape)}")
        if unknown:
            rest = numel(tuple(d for i, d in enumerate(sizes) if i != unknown[0]))
            sizes[unknown[0]] = _left_open(numel(x.type.shape), rest, x.type.shape, shape)
        return x if tuple(sizes) == x.type.shape else self.build(x, shape=tuple(sizes))

    def reference(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        return np.reshape(x, shape)

    def gradient(self, g: Value, x: Value, y: Value, *, shape: tuple[Dim, ...]) -> Sequence[Value]:
        return (reshape(g, x.type.shape),)

    def batch(self, size: int, batched: Sequence[bool], x: Value, *, shape: tuple[Dim, ...]) -> Value:
        return self.build(x, shape=(size, *shape))


def _left_open(total: Dim, rest: Dim, old: Sequence[Dim], new: Sequence[Dim]) -> Dim:
    """total / rest, where that is known. Raises ShapeError."""
    if isinstance(rest, int) and rest > 0:
        if not isinstance(total, int):
            try:
                return total // rest
            except ValueError:
                pass
        elif total % rest == 0:
            return total // rest
    elif not isinstance(rest, int) and total == rest:
        return 1
    raise ShapeError(f"reshape: cannot tell the size left open in {shown(new)} from {shown(old)}")


class Transpose(Op, name="transpose", version=1, amp=Amp.KEEP_INPUT):
    """Axes in another order: axis i of the result is axis axes[i] of x. Without `axes` the last two change places.

    Of a matrix of blocks only products read the transposed form: the blocks lie along the axis that was the last."""

    samples = (
        sample(tensor(f32, 3, 4), axes=(1, 0)),
        sample(tensor(f64, 2, dim(N), 4), axes=(1, 2, 0), symbols={"n": 3}),
        sample(tensor(i32, 2, 3), axes=(0, 1)),
        sample(tensor(bf16, 2, 1, 0, 3), axes=(3, 1, 0, 2)),
    )
    error = EXACT
    batching = Batching.RULE
    forward = Forward.LINEAR

    def infer(self, x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
        in_rows(x, "transpose")
        if sorted(axes) != list(range(x.rank)):
            raise ShapeError(f"transpose: {list(axes)} does not name the {x.rank} axes of {x} once each")
        return TensorType(x.element, tuple(x.shape[a] for a in axes))

    def call(self, x: Value, axes: Sequence[int] | None = None) -> Value:
        rank = x.type.rank
        if axes is None:
            if rank < 2:
                raise ShapeError(f"transpose needs at least two axes, found {x.type}")
            axes = (*range(rank - 2), rank - 1, rank - 2)
        return self.build(x, axes=tuple(normalize_axis(a, rank, "transpose") for a in axes))

    def reference(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        return np.transpose(x, axes)

    def gradient(self, g: Value, x: Value, y: Value, *, axes: tuple[int, ...]) -> Sequence[Value]:
        return (transpose(g, tuple(axes.index(i) for i in range(len(axes)))),)

    def batch(self, size: int, batched: Sequence[bool], x: Value, *, axes: tuple[int, ...]) -> Value:
        return self.build(x, axes=(0, *(a + 1 for a in axes)))


class BroadcastTo(Op, name="broadcast_to", version=1, amp=Amp.KEEP_INPUT):
    """x repeated along axes of size 1, and along new leading axes, up to a shape."""

    samples = (
        sample(tensor(f32, 3, 1), shape=(2, 3, 4)),
        sample(tensor(f64, 4), shape=(dim(N), 4), symbols={"n": 3}),
        sample(tensor(i32), shape=(2, 2)),
        sample(tensor(f16, 1, 3), shape=(0, 3)),
    )
    error = EXACT
    batching = Batching.RULE
    forward = Forward.LINEAR

    def infer(self, x: TensorType, *, shape: tuple[Dim, ...]) -> TensorType:
        plain(x, "broadcast_to")
        if len(shape) < x.rank or broadcast(x.shape, tuple(shape), what="shapes of broadcast_to") != tuple(shape):
            raise ShapeError(f"cannot broadcast {shown(x.shape)} to {shown(shape)}")
        return TensorType(x.element, tuple(shape))

    def call(self, x: Value, shape: Sequence[Dim]) -> Value:
        return x if tuple(shape) == x.type.shape else self.build(x, shape=tuple(shape))

    def reference(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        return np.broadcast_to(x, shape)

    def gradient(self, g: Value, x: Value, y: Value, *, shape: tuple[Dim, ...]) -> Sequence[Value]:
        return (sum_to(g, x.type),)

    def batch(self, size: int, batched: Sequence[bool], x: Value, *, shape: tuple[Dim, ...]) -> Value:
        return broadcast_to(lengthened(x, len(shape)), (size, *shape))


class Slice(Op, name="slice", version=1, amp=Amp.KEEP_INPUT):
    """Elements start .. stop along one axis, every step-th. Bounds may be symbolic; 0 <= start <= stop <= size.

    Raises ShapeError for bounds that fit for no value of their symbols; those that do for some are checked when the
    values are known, before the program runs.
    With a step other than 1 and symbolic bounds the stop stands behind the last element. Blocks are not cut."""

    samples = (
        sample(tensor(f32, 5, 4), axis=0, start=1, stop=3),
        sample(tensor(f64, 5, 7), axis=1, start=1, stop=6, step=2),
        sample(tensor(f32, dim(N), 4), axis=0, start=_n + -1, stop=_n, symbols={"n": 3}),
        sample(tensor(f64, 9), axis=0, start=dim(M), stop=dim(M) + _n, symbols={"n": 3, "m": 4}),
        sample(tensor(f64, _n * 2, 2), axis=0, start=1, stop=_n * 2, step=2, symbols={"n": 3}),
        sample(tensor(i32, 3), axis=0, start=2, stop=2),
    )
    error = EXACT
    batching = Batching.RULE
    forward = Forward.LINEAR

    def infer(self, x: TensorType, *, axis: int, start: Dim, stop: Dim, step: int = 1) -> TensorType:
        in_rows(x, "slice")
        if not 0 <= axis < x.rank:
            raise ShapeError(f"slice: axis {axis} is outside {x}")
        if step < 1:
            raise ShapeError(f"slice: step must be at least 1, found {step}")
        size = x.shape[axis]
        if any(upper_bound(d) < 0 for d in (start, stop - start, size - stop)):
            raise ShapeError(f"slice {start}:{stop} does not lie in axis {axis} of {x}")
        block = x.element.block if axis == x.rank - 1 else 1
        if isinstance(start, int) and start % block:
            raise ShapeError(f"a slice of {x.element} begins at a multiple of {block}, the block, not at {start}")
        if block > 1 and (step > 1 or (isinstance(stop - start, int) and (stop - start) % block)):
            raise ShapeError(f"a slice of {x.element} has a multiple of {block} elements, the block")
        length = stop - start
        if step > 1:
            if isinstance(length, SymbolicDim):
                try:
                    length = (length - 1) // step + 1
                except ValueError:
                    what = f"slice: how many elements {start}:{stop}:{step} has depends on the symbols"
                    raise ShapeError(what, help="let it end behind its last element") from None
            else:
                length = -(-length // step)
        return TensorType(x.element, (*x.shape[:axis], length, *x.shape[axis + 1 :]))

    def call(self, x: Value, axis: int, start: Bound, stop: Bound, step: int = 1) -> Value:
        at = normalize_axis(axis, x.type.rank, "slice")
        return self.build(x, axis=at, start=start, stop=stop, step=step)

    def reference(self, x: Array, *, axis: int, start: int, stop: int, step: int = 1) -> Array:
        if not 0 <= start <= stop <= x.shape[axis]:
            raise ShapeError(f"slice {start}:{stop} does not lie in axis {axis} of {shown(x.shape)}")
        return x[(*[slice_(None)] * axis, slice_(start, stop, step))]

    def gradient(
        self, g: Value, x: Value, y: Value, *, axis: int, start: Dim, stop: Dim, step: int = 1
    ) -> Sequence[Value]:
        """Zeros around; with a step, zeros between the elements too, by a new axis that holds each with its zeros."""
        if step > 1:
            length = y.type.shape[axis]
            g = unsqueeze(g, axis + 1)
            g = concat(g, _zeros_along(g, axis + 1, step - 1), axis=axis + 1)
            g = reshape(g, (*x.type.shape[:axis], length * step, *x.type.shape[axis + 1 :]))
            stop = start + length * step
            if upper_bound(stop - x.type.shape[axis]) > 0:  # zeros behind the last element that x does not have
                stop = stop - (step - 1) if isinstance(length, SymbolicDim) else x.type.shape[axis]
                g = slice(g, axis, 0, stop - start)
        parts = [_zeros_along(g, axis, start), g, _zeros_along(g, axis, x.type.shape[axis] - stop)]
        kept = [p for p in parts if p.type.shape[axis] != 0] or parts[:1]
        return (kept[0] if len(kept) == 1 else concat(*kept, axis=axis),)

    def batch(
        self, size: int, batched: Sequence[bool], x: Value, *, axis: int, start: Dim, stop: Dim, step: int = 1
    ) -> Value:
        return self.build(x, axis=axis + 1, start=start, stop=stop, step=step)


def lengthened(x: Value, rank: int) -> Value:
    """A batched operand with axes of size 1 behind the first, so that `rank` axes follow it."""
    size, *rest = x.type.shape
    missing = rank - len(rest)
    return reshape(x, (size, *[1] * missing, *rest)) if missing else x


def repeated(x: Value, size: int) -> Value:
    """An operand that is the same for each element of a batch, with the leading axis."""
    return broadcast_to(x, (size, *x.type.shape))


def all_batched(size: int, batched: Sequence[bool], *xs: Value) -> list[Value]:
    """Operands with the leading axis, of which some have it."""
    return [x if on else repeated(x, size) for x, on in zip(xs, batched, strict=True)]


def _zeros_along(like: Value, axis: int, size: Dim) -> Value:
    shape = like.type.shape
    zero = constant(0, TensorType(like.type.dtype, ()))
    return broadcast_to(zero, (*shape[:axis], size, *shape[axis + 1 :]))


class Concat(Op, name="concat", version=1, amp=Amp.KEEP_INPUT):
    """Tensors of one element type and rank, end to end along one axis. Blocks are not cut."""

    samples = (
        sample(tensor(f32, 2, 3), tensor(f32, 4, 3), axis=0),
        sample(tensor(f64, 2, 3), tensor(f64, 2, 1), tensor(f64, 2, 0), axis=1),
        sample(tensor(f64, dim(N), 3), tensor(f64, 2, 3), axis=0, symbols={"n": 4}),
        sample(tensor(i32, 2), axis=0),
    )
    error = EXACT
    batching = Batching.RULE
    forward = Forward.LINEAR

    def infer(self, *types: TensorType, axis: int) -> TensorType:
        if not types:
            raise ShapeError("concat needs at least one tensor")
        first = types[0]
        if not 0 <= axis < first.rank:
            raise ShapeError(f"concat: axis {axis} is outside {first}")
        total: Dim = 0
        for t in types:
            in_rows(t, "concat")
            if t.element != first.element:
                raise DTypeError(f"concat needs tensors of one dtype, found {first} and {t}", help="use cast(x, dtype)")
            others = [i for i in range(first.rank) if i != axis]
            if t.rank != first.rank or any(t.shape[i] != first.shape[i] for i in others):
                raise ShapeError(
                    f"concat along axis {axis}: {shown(first.shape)} and {shown(t.shape)} differ elsewhere",
                    help="all other axes must be equal",
                )
            total = total + t.shape[axis]
        return TensorType(first.element, (*first.shape[:axis], total, *first.shape[axis + 1 :]))

    def call(self, *tensors: Value, axis: int = -1) -> Value:
        if not tensors:
            raise ShapeError("concat needs at least one tensor")
        return self.build(*tensors, axis=normalize_axis(axis, tensors[0].type.rank, "concat"))

    def reference(self, *xs: Array, axis: int) -> Array:
        return np.concatenate(xs, axis)

    def gradient(self, g: Value, *xs_and_y: Value, axis: int) -> Sequence[Value]:
        found, start = [], 0
        for x in xs_and_y[:-1]:
            stop = start + x.type.shape[axis]
            found.append(slice(g, axis, start, stop))
            start = stop  # type: ignore[assignment]
        return found

    def batch(self, size: int, batched: Sequence[bool], *xs: Value, axis: int) -> Value:
        return self.build(*all_batched(size, batched, *xs), axis=axis + 1)


slice_ = slice
reshape = public(Reshape, Reshape.call)
transpose = public(Transpose, Transpose.call)
broadcast_to = public(BroadcastTo, BroadcastTo.call)
slice = public(Slice, Slice.call)
concat = public(Concat, Concat.call)


def unsqueeze(x: Value, axis: int) -> Value:
    """A new axis of size 1 at `axis`, counted in the result."""
    at = normalize_axis(axis, x.type.rank + 1, "unsqueeze")
    return reshape(x, (*x.type.shape[:at], 1, *x.type.shape[at:]))


def squeeze(x: Value, axis: int) -> Value:
    """Without the axis of size 1 at `axis`. Raises ShapeError if it has another size."""
    at = normalize_axis(axis, x.type.rank, "squeeze")
    if x.type.shape[at] != 1:
        raise ShapeError(f"squeeze: axis {at} of {x.type} has size {x.type.shape[at]}, not 1")
    return reshape(x, (*x.type.shape[:at], *x.type.shape[at + 1 :]))


def flatten(x: Value) -> Value:
    """All elements along one axis."""
    return reshape(x, (numel(x.type.shape),))


def take_rows(x: Value, start: int | SymbolicDim, stop: int | SymbolicDim) -> Value:
    """Rows start .. stop of the first axis. Bounds may be symbolic."""
    return slice(x, 0, start, stop)


def last_row(x: Value) -> Value:
    """The last row of the first axis, which stays with size 1. x: (N, ...), N >= 1."""
    if not x.type.shape:
        raise ShapeError(f"last_row needs at least one axis, found {x.type}")
    n: Any = x.type.shape[0]
    return slice(x, 0, n - 1, n)


class Arange(Op, name="arange", version=1, amp=Amp.KEEP_INPUT):
    """0, 1 .. size - 1 as (size,) i64. A kernel that it is fused into counts instead of reading it."""

    samples = (sample(size=5), sample(size=0), sample(size=_n, symbols={"n": 4}))
    error = EXACT
    batching = Batching.REFUSED  # without operands there is nothing to batch

    def infer(self, *, size: Dim) -> TensorType:
        if isinstance(size, int) and size < 0:
            raise ShapeError(f"arange: the size must not be negative, found {size}")
        return TensorType(i64, (size,))

    def call(self, size: Dim) -> Value:
        return self.build(size=size)

    def reference(self, *, size: int) -> Array:
        return np.arange(size)

    def gradient(self, g: Value, y: Value, *, size: Dim) -> Sequence[Value]:
        return ()


class Detach(Op, name="detach", version=1, amp=Amp.KEEP_INPUT):
    """x itself, through which no gradient flows. The compiler takes it away."""

    samples = (sample(tensor(f32, 3, 4)), sample(tensor(i32, 2)))
    error = EXACT
    batching = Batching.RULE
    gradient = NotDifferentiable("detach ends gradients")
    kind = "composite"

    def infer(self, x: TensorType) -> TensorType:
        return x

    def call(self, x: Value) -> Value:
        return self.build(x)

    def reference(self, x: Array) -> Array:
        return np.asarray(x)

    def decompose(self, x: Value) -> Value:
        return x

    def batch(self, size: int, batched: Sequence[bool], x: Value) -> Value:
        return self.build(x)


class ToDevice(Op, name="to_device", version=1, amp=Amp.KEEP_INPUT):
    """x on another device, by name: the one op whose result may lie elsewhere than its operand. The gradient goes back
    to where x lies. Whoever runs a graph copies; inside of a program it means x."""

    samples = (sample(tensor(f32, 3, 4), device="cpu"), sample(tensor(bool_, 0, 2), device="cpu"))
    error = EXACT
    batching = Batching.RULE
    forward = Forward.LINEAR
    kind = "composite"

    def infer(self, x: TensorType, *, device: str) -> TensorType:
        return x

    def call(self, x: Value, device: str) -> Value:
        return self.build(x, device=device)

    def reference(self, x: Array, *, device: str) -> Array:
        return np.asarray(x)

    def decompose(self, x: Value, *, device: str) -> Value:
        return x

    def gradient(self, g: Value, x: Value, y: Value, *, device: str) -> Sequence[Value]:
        return (g if x.device is None else self.build(g, device=x.device),)

    def batch(self, size: int, batched: Sequence[bool], x: Value, *, device: str) -> Value:
        return self.build(x, device=device)


arange = public(Arange, Arange.call)
detach = public(Detach, Detach.call)
to_device = public(ToDevice, ToDevice.call)


def counted(n: SymbolicDim, dtype: DType) -> Value:
    """A size, or a sum of products of sizes, as a number without axes: 0 or below where they take each other away."""
    add, mul = get("add"), get("mul")
    terms = []
    for symbols, factor in n.terms:
        term: Value = constant(factor, TensorType(i64, ()))
        for s in symbols:
            term = mul.build(term, _elements(SymbolicDim((((s,), 1),))))
        terms.append(term)
    total = terms[0]
    for term in terms[1:]:
        total = add.build(total, term)
    made: Value = get("cast").build(total, dtype=dtype)
    return made


def _elements(n: SymbolicDim) -> Value:
    """A symbol as i64 without axes: the last that `arange` counts of one more."""
    return reshape(slice(arange(n + 1), 0, n, n + 1), ())


def iota(n: Dim) -> Value:
    """0, 1 .. n - 1 as (n,) i32; a symbolic n takes the front of a constant as long as its bound."""
    whole = constant(np.arange(max(upper_bound(n), 0)), tensor(i32, max(upper_bound(n), 0)))
    return whole if isinstance(n, int) else get("slice").build(whole, axis=0, start=0, stop=n)
