"""Elements by strides, and changes of a tensor's size: over the elements in order, since there are no storages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..diagnostics import ShapeError, UnsupportedError
from ..ir.graph import Value
from ..ops.rules import shown
from .conversion import as_tensor
from .core import Tensor, view_of
from .create import zeros
from .gradient_mode import grad_mode
from .index import taken
from .register import FUNCTIONS, METHODS, function, method
from .shape import narrow, reshape, sizes_of


@function()
def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """Element i, j, ... is number storage_offset + i * stride[0] + j * stride[1] ... of input's elements in order: a
    view; written where elements are there twice, the last one counts.

    Raises ShapeError for places outside, UnsupportedError for a view whose elements lie in another order."""
    if input._view is not None and input._view.strided:
        raise UnsupportedError("as_strided of a view in another order", help="use its contiguous()")
    shape, steps, first = tuple(size), tuple(stride), storage_offset or 0
    if len(shape) != len(steps) or any(s < 0 for s in (*shape, *steps, first)):
        raise ShapeError(f"as_strided: size {list(shape)}, stride {list(steps)} and offset {first} are not possible")
    count, whole = math.prod(shape), tuple(input.shape)
    if count and first + sum((s - 1) * t for s, t in zip(shape, steps, strict=True)) >= input.numel():
        what = f"as_strided: size {list(shape)} with stride {list(steps)} from {first} on"
        raise ShapeError(f"{what} goes beyond the {input.numel()} elements of {shown(whole)}")
    places = np.full(shape, first, np.int64)
    for axis, step in enumerate(steps):
        places += (np.arange(shape[axis]) * step).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    ids = as_tensor(places.reshape(-1)).value

    def forward(v: Value) -> Value:
        return ops.reshape(taken(ops.reshape(v, (-1, 1)), ids), shape)

    def put(b: Value, v: Value) -> Value:
        if not count:
            return b
        return ops.reshape(ops.put(ops.reshape(b, (-1, 1)), ids, ops.reshape(v, (count, 1))), whole)

    return view_of(input, forward, put, True)


@function()
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """input with src written to what `as_strided` gives."""
    made: Tensor = FUNCTIONS["clone"](input)
    as_strided(made, size, stride, storage_offset)._assign(src)
    return made


@method("as_strided_")
def as_strided_(self: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """Make this tensor its own `as_strided`."""
    return _become(self, as_strided(self, size, stride, storage_offset))


def _become(self: Tensor, v: Tensor) -> Tensor:
    self._check_in_place()
    if self._base is not None:
        raise UnsupportedError("a view changes its size in place", help="take a clone() of it")
    self._v = v.value
    self._version += 1
    return self


@function(method=False)
def empty_strided(size: Sequence[int], stride: Sequence[int], **rest: Any) -> Tensor:
    """Zeros of a shape. Strides are an order in memory, which is always that of the axes here."""
    if len(tuple(size)) != len(tuple(stride)):
        raise ShapeError(f"empty_strided: {len(tuple(size))} sizes and {len(tuple(stride))} strides")
    return zeros(tuple(size), **rest)


@function(method=False)
def empty_permuted(size: Sequence[int], physical_layout: Sequence[int], **rest: Any) -> Tensor:
    """Zeros of a shape. The layout is an order in memory, which is always that of the axes here."""
    if sorted(physical_layout) != list(range(len(tuple(size)))):
        raise ShapeError(f"empty_permuted: {list(physical_layout)} is no order of {len(tuple(size))} axes")
    return zeros(tuple(size), **rest)


@method("new_empty_strided")
def new_empty_strided(self: Tensor, size: Sequence[int], stride: Sequence[int], **rest: Any) -> Tensor:
    """`empty_strided` in the dtype and on the device of this tensor."""
    return empty_strided(size, stride, **{"dtype": self.dtype, "device": self.device, **rest})


@method("narrow_copy")
def narrow_copy(self: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`narrow` as a tensor of its own."""
    made: Tensor = FUNCTIONS["clone"](narrow(self, dim, start, length))
    return made


@method("resize_")
def resize_(self: Tensor, *size: Any, memory_format: Any = None) -> Tensor:
    """Give this tensor another shape: its first elements in order, then zeros. Not of one that requires grad."""
    shape = sizes_of(size)
    if self.requires_grad:
        raise UnsupportedError("resize_ of a tensor that requires grad", help="use reshape, or detach() it")
    count = math.prod(shape)
    with grad_mode(False):
        flat = self.reshape(-1)
        if count > self.numel():
            flat = FUNCTIONS["cat"]([flat, zeros(count - self.numel(), dtype=self.dtype)])
        return _become(self, reshape(flat[:count], shape))


@method()
def resize_as_(self: Tensor, the_template: Tensor, memory_format: Any = None) -> Tensor:
    """`resize_` to the shape of another tensor."""
    return resize_(self, tuple(the_template.shape))


METHODS["resize"] = METHODS["view"]


@method()
def resize_as(self: Tensor, other: Tensor) -> Tensor:
    """`view` in the shape of another tensor."""
    made: Tensor = self.view(tuple(other.shape))
    return made


@method()
def dim_order(self: Tensor) -> tuple[int, ...]:
    """The axes from the slowest to the fastest: their order."""
    return tuple(range(self.ndim))


def _refused(name: str, what: str) -> Any:
    def f(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError(f"{name}: {what}", help="docs/coming-from-pytorch.md lists what is otherwise")

    f.__name__ = name
    f.__doc__ = f"Refused: {what}. Raises UnsupportedError."
    return f


for _name in ("set_", "is_set_to", "storage"):
    METHODS[_name] = _refused(_name, "tensors have no storages that others could share")
METHODS["record_stream"] = _refused("record_stream", "there are no streams on the cpu")
