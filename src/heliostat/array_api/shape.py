"""Shapes, indices, and products of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..diagnostics import ShapeError
from ..tensor import FUNCTIONS, Tensor
from .dtypes import promoted

Axes = int | Sequence[int] | None


def broadcast_arrays(*arrays: Tensor) -> tuple[Tensor, ...]:
    """Arrays in their common shape."""
    return tuple(FUNCTIONS["broadcast_tensors"](*arrays))


def broadcast_to(x: Tensor, /, shape: Sequence[int]) -> Tensor:
    """x in a shape that it broadcasts to."""
    made: Tensor = FUNCTIONS["broadcast_to"](x, tuple(shape))
    return made


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """Arrays end to end; all elements in a row where axis is None."""
    xs = promoted(*arrays)
    made: Tensor = FUNCTIONS["cat"]([x.reshape(-1) for x in xs] if axis is None else xs, axis or 0)
    return made


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Arrays along a new axis."""
    made: Tensor = FUNCTIONS["stack"](promoted(*arrays), axis)
    return made


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The parts of x along an axis."""
    return tuple(FUNCTIONS["unbind"](x, axis))


def expand_dims(x: Tensor, /, axis: int | Sequence[int] = 0) -> Tensor:
    """x with new axes of size 1, counted in the result."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    rank = x.ndim + len(axes)
    if any(not -rank <= a < rank for a in axes) or len({a % rank for a in axes}) != len(axes):
        raise IndexError(f"expand_dims: {list(axes)} are not different axes of {rank}")
    for a in sorted(a % rank for a in axes):
        x = x.unsqueeze(a)
    return x


def flip(x: Tensor, /, *, axis: Axes = None) -> Tensor:
    """x in the opposite order along axes, all where None."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    made: Tensor = FUNCTIONS["flip"](x, tuple(axes))
    return made


def moveaxis(x: Tensor, source: Any, destination: Any, /) -> Tensor:
    """x with axes at other places."""
    made: Tensor = FUNCTIONS["moveaxis"](x, source, destination) if x.ndim else x
    return made


def permute_dims(x: Tensor, /, axes: Sequence[int]) -> Tensor:
    """x with its axes in another order."""
    made: Tensor = FUNCTIONS["permute"](x, tuple(axes))
    return made


def matrix_transpose(x: Tensor, /) -> Tensor:
    """x with its last two axes exchanged."""
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose needs at least two axes, found {x.ndim}")
    made: Tensor = x.mT
    return made


def repeat(x: Tensor, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Elements of an axis, each several times; of all in a row where axis is None."""
    if isinstance(repeats, Tensor) and not repeats.numel():
        repeats = 0 if not (x.numel() if axis is None else x.shape[axis]) else repeats
    made: Tensor = FUNCTIONS["repeat_interleave"](x, repeats, axis)
    return made


def reshape(x: Tensor, /, shape: Sequence[int], *, copy: Any = None) -> Tensor:
    """The elements in another shape."""
    y: Tensor = FUNCTIONS["reshape"](x, tuple(shape))
    return y.clone() if copy else y


def roll(x: Tensor, /, shift: Any, *, axis: Axes = None) -> Tensor:
    """Elements moved along axes, in at the front what goes out at the end."""
    if axis is None:
        return FUNCTIONS["roll"](x.reshape(-1), shift, 0).reshape(x.shape)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    shifts = (shift,) * len(axes) if isinstance(shift, int) else tuple(shift)
    made: Tensor = FUNCTIONS["roll"](x, shifts, axes)
    return made


def squeeze(x: Tensor, /, axis: int | Sequence[int]) -> Tensor:
    """x without axes of size 1. Raises ShapeError for one of another size."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in sorted((a % max(x.ndim, 1) for a in axes), reverse=True):
        if x.shape[a] != 1:
            raise ShapeError(f"squeeze: axis {a} has size {x.shape[a]}, not 1")
        x = x.squeeze(a)
    return x


def tile(x: Tensor, repetitions: Sequence[int], /) -> Tensor:
    """x several times along each axis."""
    made: Tensor = FUNCTIONS["tile"](x, tuple(repetitions))
    return made


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """Elements of an axis by number."""
    if axis is None:
        if x.ndim != 1:
            raise ShapeError(f"take needs an axis for an array of {x.ndim} axes")
        axis = 0
    if not indices.ndim:
        return FUNCTIONS["index_select"](x, axis, indices.reshape(1)).squeeze(axis)
    made: Tensor = FUNCTIONS["index_select"](x, axis, indices)
    return made


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """Elements by number along an axis, at the places of indices."""
    made: Tensor = FUNCTIONS["take_along_dim"](x, indices, axis)
    return made


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The product of matrices, and of stacks of them."""
    made: Tensor = FUNCTIONS["matmul"](*promoted(x1, x2))
    return made


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: Any = 2) -> Tensor:
    """Sums of products over axes of both."""
    made: Tensor = FUNCTIONS["tensordot"](*promoted(x1, x2), axes)
    return made


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Sums of products over an axis of both, which is counted from the back."""
    a, b = promoted(x1, x2)
    if not -min(a.ndim, b.ndim) <= axis < 0:
        raise IndexError(f"vecdot: axis {axis} is not counted from the back of both arrays")
    if a.shape[axis] != b.shape[axis]:
        raise ShapeError(f"vecdot: axes of {a.shape[axis]} and {b.shape[axis]}")
    made: Tensor = (FUNCTIONS["conj"](a) * b).sum(axis).to(a.dtype)
    return made


TABLE: dict[str, Any] = {
    f.__name__: f
    for f in (
        broadcast_arrays, broadcast_to, concat, expand_dims, flip, matmul, matrix_transpose, moveaxis, permute_dims,
        repeat, reshape, roll, squeeze, stack, take, take_along_axis, tensordot, tile, unstack, vecdot,
    )
}  # fmt: skip
TABLE["broadcast_shapes"] = FUNCTIONS["broadcast_shapes"]
