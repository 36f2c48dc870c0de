"""Levels of `vmap`: inside, a tensor stands for one element of a batch; here are the values of all elements together.

A placeholder stands for an element. What is built of it is batched when it is wanted, node by node, by the rule of each
op's record. NumPy functions of data (`on_host`) get the data of all elements at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..diagnostics import UnsupportedError
from ..ir.graph import PARAMETER, Node, Value
from ..ir.types import TensorType
from ..ops.batching import batch_node
from . import lazy
from .conversion import from_array
from .core import Tensor, new

Array = np.ndarray[Any, np.dtype[Any]]


class Level:
    """One vmap: `size` elements. Values that depend on its placeholders have a batched value with a leading axis."""

    def __init__(self, size: int, randomness: str = "error") -> None:
        self.size, self.randomness = size, randomness
        self.known: dict[int, tuple[Value, Value | None]] = {}
        self.since = next(Node.count)
        self.index: Value | None = None
        self.written: list[tuple[Any, Value]] = []
        self._before: Any = None

    def __enter__(self) -> Level:
        self._before = lazy._levels.set((*lazy._levels.get(), self))
        return self

    def __exit__(self, *rest: object) -> None:
        lazy._levels.reset(self._before)

    def held(self) -> list[Value]:
        """The batched values made so far, which must not be cut off from what they were made of."""
        return [b for _, b in self.known.values() if b is not None]

    def placeholder(self, batched: Value) -> Value:
        """What stands for one element of a value (size, ...)."""
        type = TensorType(batched.type.element, batched.type.shape[1:])
        v = Node(PARAMETER, (), {"name": "element", "kind": "input"}, (type,)).results[0]
        v.device = batched.device
        self.known[id(v)] = (v, batched)
        return v

    def number(self) -> Value:
        """Which element it is, () i64."""
        if self.index is None:
            self.index = self.placeholder(ops.arange(self.size))
        return self.index

    def batched(self, v: Value) -> Value | None:
        """The value of all elements, None where it is the same for each. Raises UnsupportedError for an op that has no
        rule."""
        for u in self._behind(v):
            self.known[id(u)] = (u, self._batch(u))
        return self.known[id(v)][1]

    def _behind(self, v: Value) -> list[Value]:
        """The values behind v that are not known yet, operands before users."""
        found: dict[int, Value] = {}
        stack = [v]
        while stack:
            u = stack.pop()
            if id(u) in self.known or id(u) in found:
                continue
            if u.node.serial < self.since:
                self.known[id(u)] = (u, None)
                continue
            found[id(u)] = u
            stack.extend(_operands(u))
        return sorted(found.values(), key=lambda u: u.node.serial)

    def _batch(self, u: Value) -> Value | None:
        record = None if u.meta is None else u.meta.function
        if record is not None:
            _Batched(record, self)
            return self.known[id(u)][1]
        inputs = [self.known[id(i)] for i in u.node.inputs]
        flags = [b is not None for _, b in inputs]
        if not any(flags):
            return None
        return batch_node(u.node, self.size, flags, [i if b is None else b for i, b in inputs])


def _operands(u: Value) -> Sequence[Value]:
    record = None if u.meta is None else u.meta.function
    return u.node.inputs if record is None else [*u.node.inputs, *record.inputs]


class _Batched:
    """A call of a user's `Function`, for all elements: its backward is that of one, batched."""

    def __init__(self, record: Any, level: Level) -> None:
        self.record, self.level = record, level
        found = [level.known[id(v)] for v in record.inputs]
        self.inputs = [v if b is None else b for v, b in found]
        self.shared = [b is None for _, b in found]
        self.outputs: list[Value] = []
        for v in record.outputs:
            inner = level.batched(v.node.inputs[0])
            if inner is None and all(self.shared):
                level.known[id(v)] = (v, None)
                continue
            whole = ops.broadcast_to(v.node.inputs[0], (level.size, *v.type.shape)) if inner is None else inner
            made = ops.detach(whole)
            lazy.meta(made).function = self
            self.outputs.append(made)
            level.known[id(v)] = (v, made)

    @property
    def once(self) -> bool:
        return bool(self.record.once)

    @property
    def name(self) -> str:
        return str(self.record.name)

    def needs(self) -> list[Value]:
        found = [(v, self.level.batched(v)) for v in self.record.needs()]
        return [*self.inputs, *(v if b is None else b for v, b in found)]

    def gradients(self, total: dict[int, Value]) -> list[tuple[Value, Value | None]]:
        """(input, its gradient) for each tensor input; of those that all elements share the sum."""
        level = self.level
        given: dict[int, Value] = {}
        for v, made in zip(self.record.outputs, self.outputs, strict=True):
            if id(made) in total:
                given[id(v)] = level.placeholder(total[id(made)])
        with level:
            pairs = self.record.gradients(given)
            found: list[tuple[Value, Value | None]] = []
            for v, shared, (_, g) in zip(self.inputs, self.shared, pairs, strict=True):
                if g is not None:
                    b = level.batched(g)
                    whole = ops.broadcast_to(g, (level.size, *g.type.shape)) if b is None else b
                    g = ops.sum(whole, (0,)) if shared else whole
                found.append((v, g))
        return found


def open_levels() -> tuple[Level, ...]:
    """The levels that are open, the innermost last."""
    return lazy._levels.get()


def whole(x: Tensor) -> Tensor:
    """x with all elements of the batches that are open in front, without gradients: what the host may read."""
    v = x.value
    for level in reversed(open_levels()):
        batch = level.batched(v)
        v = v if batch is None else batch
    return new(Tensor, ops.detach(v))


def on_host(function: Callable[..., Any], *tensors: Tensor, on_gpu: Callable[..., Any] | None = None) -> Any:
    """Tensors of what a NumPy function gives of the data: an array, or a tuple of them. Of a GPU's tensors what
    `on_gpu` gives of them, without gradients; they are refused where it is None.

    Inside of vmap the arrays have leading axes for the elements of batches: the function must leave those alone, and
    count axes from the back. Raises CaptureError while a step is captured."""
    if lazy.capturing():
        raise lazy.refused(
            "a function that computes at once, as factorizations do, is called while a step is captured",
            help="call it outside of the compiled function, and hand in what it gives",
        )
    values = [t.value for t in tensors]
    for level in reversed(open_levels()):
        whole = [level.batched(v) for v in values]
        if any(w is not None for w in whole):
            wide = [
                ops.broadcast_to(v, (level.size, *v.type.shape)) if w is None else w
                for v, w in zip(values, whole, strict=True)
            ]
            made = on_host(function, *(new(Tensor, ops.detach(w)) for w in wide), on_gpu=on_gpu)
            one = not isinstance(made, tuple)
            parts = tuple(new(Tensor, level.placeholder(m.value)) for m in ((made,) if one else made))
            return parts[0] if one else parts
    if on_gpu is not None and tensors[0].device.type == "cuda":
        return on_gpu(*(t.detach() for t in tensors))
    y = function(*(np.asarray(t.detach().array()) for t in tensors))
    if not isinstance(y, tuple):
        return from_array(np.asarray(y), device="cpu")
    return tuple(from_array(np.asarray(v), device="cpu") for v in y)


def checked_random(shape: Sequence[int]) -> Value | None:
    """What to add to the numbers of elements of a draw inside of vmap, so that each element of the batch draws for
    itself; None where all share it. Raises UnsupportedError with randomness="error"."""
    total: Value | None = None
    count = int(np.prod(shape, dtype=np.int64))
    for level in reversed(open_levels()):
        if level.randomness == "error":
            raise UnsupportedError(
                "random numbers are drawn inside of vmap",
                help='say whether elements share them: vmap(f, randomness="same") or "different"',
            )
        if level.randomness == "different":
            step = ops.mul(level.number(), count)
            total = step if total is None else ops.add(total, step)
            count *= level.size
    return total


def tracked(v: Value, marks: Sequence[Value] = ()) -> bool:
    """Whether a gradient can flow from a value to a leaf, or to one of `marks`."""
    wanted = {id(m) for m in marks}
    seen: set[int] = set()
    stack = [v]
    while stack:
        u = stack.pop()
        if id(u) in seen:
            continue
        seen.add(id(u))
        m = u.meta
        if id(u) in wanted or (m is not None and m.leaf is not None and m.leaf() is not None):
            return True
        if m is not None and m.function is not None:
            stack.extend(m.function.inputs)
        elif u.node.op is not lazy.DETACH:
            stack.extend(i for i in u.node.inputs if i.type.dtype.is_float)
    return False
