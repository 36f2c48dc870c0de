"""Which elements hold: results whose size depends on data. They are found where the data lies, and the host reads one
number, how many there are; on the cpu it has the data anyway, and NumPy finds them in place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..ir.graph import constant
from ..ir.types import TensorType, bool_
from ..ops.sort import flags_in_front
from . import lazy
from .conversion import as_tensor, from_array
from .core import Tensor, new
from .register import FUNCTIONS


def on_gpu(x: Tensor) -> bool:
    """Whether a tensor has its place on a GPU."""
    return x._v.device is not None and x._v.device != "cpu"


def number(x: Tensor, what: str) -> Any:
    """The one element of a tensor, for sizes: the host waits for it. Raises CaptureError, naming `what`, while a step
    is captured."""
    if lazy.capturing():
        raise lazy.refused(
            f"{what} has a result whose size depends on data, while a step is captured",
            help="call it outside of the compiled function, or choose with where()",
        )
    return x.detach().item()


def places_of(mask: Tensor, what: str) -> Tensor:
    """The numbers of elements that are not 0, among all in order, i64 (n,). `what`: who asks, for a refusal.

    On a GPU they are counted in chunks; the result lies at the front of the places of all."""
    if not on_gpu(mask):
        if lazy.capturing():
            number(mask, what)
        return from_array(np.flatnonzero(mask.detach().array()))
    size = math.prod(mask.shape)
    v = ops.reshape(mask.detach().value, (size,))
    flags = v if v.type.element == bool_ else ops.ne(v, constant(0, TensorType(v.type.dtype, ())))
    places, counts = flags_in_front(flags)
    order: Tensor = new(Tensor, places)
    total: Tensor = new(Tensor, ops.sum(counts, (0,)))
    if not lazy.capturing():
        lazy.realize([order.value, total.value])
    return front(order, int(number(total, what)))


def front(x: Tensor, count: int) -> Tensor:
    """The first `count` elements of a computed vector, over its memory."""
    v = x.value
    if not count or lazy.buffer_of(v) is None:
        return x.narrow(0, 0, count)
    made: Tensor = new(Tensor, lazy.leaf(lazy.buffer_of(v), TensorType(v.type.element, (count,)), v.device))
    return made


def coordinates(flat: Tensor, shape: Sequence[int]) -> list[Tensor]:
    """Numbers of elements, among all of a shape in order, as an index along each axis."""
    found: list[Tensor] = []
    step = 1
    for n, size in reversed(list(enumerate(shape))):
        outer = flat if step == 1 else FUNCTIONS["floor_divide"](flat, step)
        found.insert(0, outer if n == 0 else outer % size)
        step *= size
    return found


def begins_of(rows: Tensor) -> Tensor:
    """Which rows (N, ...) differ from the one before, bool (N,): the first does. N is at least 1."""
    n = rows.shape[0]
    differ = rows.narrow(0, 1, n - 1) != rows.narrow(0, 0, n - 1)
    if differ.ndim > 1:
        differ = differ.reshape(n - 1, math.prod(rows.shape[1:])).any(-1)
    made: Tensor = FUNCTIONS["cat"]([rows.new_ones(1, dtype=bool_), differ])
    return made


def lengths_of(starts: Tensor, size: int) -> Tensor:
    """How far it is from each start (N,) to the next, and from the last to `size`; i64 (N,)."""
    after = FUNCTIONS["cat"]([starts.narrow(0, 1, starts.shape[0] - 1), as_tensor(np.full(1, size, np.int64))])
    made: Tensor = after - starts
    return made
