"""Ops that move no arithmetic: reshape, transpose, broadcast, slice, concat. Sizes may be symbolic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..diagnostics import ShapeError
from ..ir.graph import Value
from ..ir.types import Dim, SymbolicDim, TensorType, lower_bound, numel
from .op import REGISTRY, Array, Op, broadcast, normalize_axis


def _shown(shape: Sequence[Dim]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


class Reshape(Op):
    """The same elements in order under another shape."""

    name = "reshape"

    def infer(self, x: TensorType, *, shape: tuple[Dim, ...]) -> TensorType:
        if x.layout is not None:
            raise ShapeError(f"reshape needs row-major elements, found {x}")
        if numel(shape) != numel(x.shape):
            raise ShapeError(
                f"cannot reshape {_shown(x.shape)} to {_shown(shape)}: {numel(x.shape)} elements are not {numel(shape)}"
            )
        if x.element.block > 1 and (not shape or shape[-1] != x.shape[-1]):
            raise ShapeError(f"reshape of {x} must keep its last axis, along which blocks lie")
        return TensorType(x.element, tuple(shape))

    def reference(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        return x.reshape(shape)

    def gradient(self, g: Value, x: Value, y: Value, *, shape: tuple[Dim, ...]) -> Sequence[Value]:
        return (reshape(g, shape=x.type.shape),)


class Permute(Op):
    """Axes in another order: result axis i is x's axis axes[i]."""

    name = "transpose"

    def infer(self, x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
        if sorted(axes) != list(range(x.rank)):
            raise ShapeError(f"transpose: {list(axes)} does not name the {x.rank} axes of {x} once each")
        return TensorType(x.element, tuple(x.shape[a] for a in axes), x.layout)

    def reference(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        return np.transpose(x, axes)

    def gradient(self, g: Value, x: Value, y: Value, *, axes: tuple[int, ...]) -> Sequence[Value]:
        return (transpose(g, axes=tuple(axes.index(i) for i in range(len(axes)))),)


class BroadcastTo(Op):
    """x repeated along axes of size 1 (and new leading axes) up to a shape."""

    name = "broadcast_to"

    def infer(self, x: TensorType, *, shape: tuple[Dim, ...]) -> TensorType:
        if broadcast(x.shape, tuple(shape), what="broadcast_to") != tuple(shape):
            raise ShapeError(f"cannot broadcast {_shown(x.shape)} to {_shown(shape)}")
        return TensorType(x.element, tuple(shape))

    def reference(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        return np.broadcast_to(x, shape)

    def gradient(self, g: Value, x: Value, y: Value, *, shape: tuple[Dim, ...]) -> Sequence[Value]:
        from .elementwise import sum_to

        return (sum_to(g, x.type),)


class Slice(Op):
    """Elements start .. stop along one axis, every step-th. Bounds may be symbolic; 0 <= start <= stop <= size."""

    name = "slice"

    def infer(self, x: TensorType, *, axis: int, start: Dim, stop: Dim, step: int = 1) -> TensorType:
        size = x.shape[axis]
        if lower_bound(start) < 0 and not isinstance(start, SymbolicDim):
            raise ShapeError(f"slice: start {start} is negative")
        if all(isinstance(d, int) for d in (start, stop, size)) and not start <= stop <= size:  # type: ignore[operator]
            raise ShapeError(f"slice {start}:{stop} does not lie in axis {axis} of {x}")
        if step < 1:
            raise ShapeError(f"slice: step must be at least 1, found {step}")
        length = stop - start
        if step > 1:
            if isinstance(length, SymbolicDim):
                raise ShapeError("slice: a step needs bounds that are known")
            length = -(-length // step)
        return TensorType(x.element, (*x.shape[:axis], length, *x.shape[axis + 1 :]))

    def reference(self, x: Array, *, axis: int, start: int, stop: int, step: int = 1) -> Array:
        return x[(slice_(None),) * axis + (slice_(start, stop, step),)]


class Concat(Op):
    """Tensors end to end along one axis."""

    name = "concat"

    def infer(self, *types: TensorType, axis: int) -> TensorType:
        first, total = types[0], types[0].shape[axis]
        for t in types[1:]:
            if t.element != first.element or t.rank != first.rank:
                raise ShapeError(f"concat needs tensors of one dtype and rank, found {first} and {t}")
            if any(a != b for i, (a, b) in enumerate(zip(t.shape, first.shape, strict=True)) if i != axis):
                raise ShapeError(
                    f"concat along axis {axis}: {_shown(first.shape)} and {_shown(t.shape)} differ elsewhere"
                )
            total = total + t.shape[axis]
        return TensorType(first.element, (*first.shape[:axis], total, *first.shape[axis + 1 :]))

    def reference(self, *xs: Array, axis: int) -> Array:
        return np.concatenate(xs, axis)


slice_ = slice


def reshape(x: Value, shape: Sequence[Dim]) -> Value:
    """The same elements in order under another shape. One size may be -1 where all others are known."""
    sizes = list(shape)
    unknown = [i for i, d in enumerate(sizes) if isinstance(d, int) and d == -1]
    if len(unknown) > 1:
        raise ShapeError("reshape: only one size may be -1")
    if unknown:
        rest = numel(tuple(d for i, d in enumerate(sizes) if i != unknown[0]))
        total = numel(x.type.shape)
        if not isinstance(rest, int) or rest == 0 or (isinstance(total, int) and total % rest):
            raise ShapeError(f"reshape: cannot tell the size left open in {_shown(shape)} from {_shown(x.type.shape)}")
        sizes[unknown[0]] = total // rest
    if tuple(sizes) == x.type.shape:
        return x
    return REGISTRY["reshape"].build(x, shape=tuple(sizes))


def transpose(x: Value, axes: Sequence[int] | None = None) -> Value:
    """Axes in another order; without `axes` the last two change places."""
    rank = x.type.rank
    if axes is None:
        if rank < 2:
            raise ShapeError(f"transpose needs at least two axes, found {x.type}")
        axes = (*range(rank - 2), rank - 1, rank - 2)
    return REGISTRY["transpose"].build(x, axes=tuple(normalize_axis(a, rank, "transpose") for a in axes))


def broadcast_to(x: Value, shape: Sequence[Dim]) -> Value:
    """x repeated along axes of size 1 (and new leading axes) up to a shape."""
    return x if tuple(shape) == x.type.shape else REGISTRY["broadcast_to"].build(x, shape=tuple(shape))


def slice(x: Value, axis: int, start: int | SymbolicDim, stop: int | SymbolicDim, step: int = 1) -> Value:
    """Elements start .. stop along one axis, every step-th."""
    axis = normalize_axis(axis, x.type.rank, "slice")
    return REGISTRY["slice"].build(x, axis=axis, start=start, stop=stop, step=step)


def concat(*tensors: Value, axis: int = -1) -> Value:
    """Tensors end to end along one axis."""
    return REGISTRY["concat"].build(*tensors, axis=normalize_axis(axis, tensors[0].type.rank, "concat"))


def unsqueeze(x: Value, axis: int) -> Value:
    """A new axis of size 1 at `axis`."""
    at = normalize_axis(axis, x.type.rank + 1, "unsqueeze")
    return reshape(x, (*x.type.shape[:at], 1, *x.type.shape[at:]))


def squeeze(x: Value, axis: int) -> Value:
    """Without the axis of size 1 at `axis`."""
    at = normalize_axis(axis, x.type.rank, "squeeze")
    if x.type.shape[at] != 1:
        raise ShapeError(f"squeeze: axis {at} of {x.type} has size {x.type.shape[at]}, not 1")
    return reshape(x, (*x.type.shape[:at], *x.type.shape[at + 1 :]))


def flatten(x: Value) -> Value:
    """All elements along one axis."""
    return reshape(x, (numel(x.type.shape),))
