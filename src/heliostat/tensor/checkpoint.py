"""Activation checkpointing: what a function computed on its way is computed again in the backward pass, not kept.

The function runs once. Its part of the graph is copied when gradients come, on inputs that wait for them, so that the
compiler can neither share the copy with the first run nor begin it earlier. Random numbers are part of the graph: the
copy has the same.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from .. import ops
from ..diagnostics import UnsupportedError
from ..ir.graph import CONSTANT, Node, Value
from . import lazy
from .autograd import differentiate
from .core import Tensor, new
from .gradient_mode import is_grad_enabled
from .structure import mapped, tensors_in


class _Nobody:
    __slots__ = ("__weakref__",)


_NOBODY = weakref.ref(_Nobody())


class Recomputed:
    """The record of one call: `roots`, its results, over `inputs`, the values that were there before it. Those among
    `waiting` wait for gradients before they are used again."""

    def __init__(self, inputs: Sequence[Value], roots: Sequence[Value], waiting: Sequence[Value]) -> None:
        self.inputs, self.roots, self.waiting = list(inputs), list(roots), list(waiting)
        self.outputs: list[Value] = []

    def needs(self) -> list[Value]:
        """The values that a backward may read."""
        return [*self.inputs, *self.roots]

    def mapped(self, new_: dict[int, Value]) -> Recomputed:
        """The same over other values."""
        return Recomputed(*([new_.get(id(v), v) for v in part] for part in (self.inputs, self.roots, self.waiting)))

    def gradients(self, total: dict[int, Value]) -> list[tuple[Value, Value | None]]:
        """(input, its gradient) for each input."""
        given = [(y, total[id(v)]) for y, v in zip(self.roots, self.outputs, strict=True) if id(v) in total]
        first = given[0][1]
        after = ops.reshape(ops.slice(ops.reshape(first, (-1,)), 0, 0, 1), ())
        ready = ops.eq(after, after)
        new_: dict[int, Value] = {}
        held: list[Value] = []
        for v in self.waiting:
            made = new_[id(v)] = ops.where(ready, v, v)
            lazy.meta(made).leaf = _NOBODY  # gradients end here, until they are there
            held.append(made)
        copies = _copied([y for y, _ in given], self.inputs, new_)
        wanted = [new_.get(id(v), v) for v in self.inputs]
        pairs = [(y, g) for y, (_, g) in zip(copies, given, strict=True)]
        _, found = differentiate(pairs, wanted, is_grad_enabled())
        for v in held:
            v.meta.leaf = None
        return [(v, found.get(id(w))) for v, w in zip(self.inputs, wanted, strict=True)]


def _waits(v: Value, given: set[int]) -> bool:
    """Whether an input is one that the copy begins with: not parameters that the function reads from outside, of which
    a copy would cost more than it saves. One with a hook is: the hook must see the sum of all gradients."""
    m = v.meta
    if m is not None and m.is_end:
        return id(v) in given or bool(m.hooks)
    return bool(v.type.shape or v.node.inputs)


def _inside(roots: Sequence[Value], start: int) -> tuple[list[Value], list[Value]]:
    """What was made since `start` behind the roots, operands first, and what it was made of."""
    inside: list[Value] = []
    before: list[Value] = []
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        v = stack.pop()
        if id(v) in seen:
            continue
        seen.add(id(v))
        m = v.meta
        if v.node.serial <= start or not v.node.inputs or (m is not None and (m.is_end or m.buffer is not None)):
            if v.node.op is not CONSTANT:
                before.append(v)
            continue
        inside.append(v)
        stack.extend(v.node.inputs)
    return sorted(inside, key=lambda v: v.node.serial), before


def _copied(roots: Sequence[Value], inputs: Sequence[Value], new_: dict[int, Value]) -> list[Value]:
    """The graph between inputs and roots again, over `new_` of the inputs, which gets all values of the copy."""
    ends = {id(v) for v in inputs}
    order: list[Value] = []
    seen = set(ends)
    stack = list(roots)
    while stack:
        v = stack.pop()
        if id(v) not in seen:
            seen.add(id(v))
            if v.node.inputs:
                order.append(v)
                stack.extend(v.node.inputs)
    records: dict[int, Any] = {}
    for v in sorted(order, key=lambda v: v.node.serial):
        if id(v) in new_:
            continue
        node = v.node
        made = Node(node.op, [new_.get(id(i), i) for i in node.inputs], node.attrs, [r.type for r in node.results])
        new_.update((id(a), b) for a, b in zip(node.results, made.results, strict=True))
        y, m = new_[id(v)], v.meta
        if m is None:
            continue
        if m.hooks:
            lazy.meta(y).hooks = m.hooks
        if m.function is not None:  # of a call inside of this one
            record = records.get(id(m.function))
            if record is None:
                record = records[id(m.function)] = m.function.mapped(new_)
            lazy.meta(y).function = record
            record.outputs.append(y)
    return [new_.get(id(v), v) for v in roots]


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that do nothing: the default of `checkpoint`."""
    return nullcontext(), nullcontext()


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
    context_fn: Callable[[], Any] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs), of which only the results are kept for the backward pass: the rest is computed again.

    Gradients, of what the function reads from outside too, are bitwise those without it. Python code of the function
    runs once, and random numbers are the same again, `preserve_rng_state` or not. `early_stop` has no effect: only
    what gradients need is computed again. Raises UnsupportedError for `use_reentrant`, `context_fn`, `debug`, and
    other `determinism_check`s than "default" and "none"."""
    if use_reentrant:
        raise UnsupportedError("checkpoint: use_reentrant=True does not exist here", help="use_reentrant=False does")
    if context_fn is not noop_context_fn:
        raise UnsupportedError("checkpoint: context_fn does not exist here", help="Python code runs once only")
    if debug:
        raise UnsupportedError("checkpoint: debug=True does not exist here", help="the copy is of the same graph")
    if determinism_check not in ("default", "none"):
        raise UnsupportedError(f"checkpoint: determinism_check={determinism_check!r} does not exist here")
    if not is_grad_enabled():
        return function(*args, **kwargs)
    start = next(Node.count)
    result = function(*args, **kwargs)
    tracked: dict[int, Value] = {}

    def note(t: Tensor) -> Tensor:
        v = t.value
        if t.requires_grad and v.node.serial > start and v.node.inputs:
            tracked[id(v)] = v
        return t

    mapped(result, note)
    if not tracked:
        return result
    _, before = _inside(list(tracked.values()), start)
    given = {id(t.value) for t in tensors_in((args, kwargs))}
    record = Recomputed(before, list(tracked.values()), [v for v in before if _waits(v, given)])
    outside: dict[int, Value] = {}
    for v in record.roots:
        outside[id(v)] = ops.detach(v)
        lazy.meta(outside[id(v)]).function = record
        record.outputs.append(outside[id(v)])

    def replaced(t: Tensor) -> Any:
        v = outside.get(id(t.value))
        return t if v is None else new(Tensor, v, True)

    return mapped(result, replaced)


def checkpoint_sequential(
    functions: Any,
    segments: int,
    input: Any,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """Functions or modules one after the other, in `segments` parts that are each checkpointed, but for the last one.

    functions: an `nn.Sequential`, or a list. Raises ValueError for fewer functions than segments, or no segment."""
    if use_reentrant:
        raise UnsupportedError("checkpoint_sequential: use_reentrant=True does not exist here")
    if kwargs:
        raise UnsupportedError(f"checkpoint_sequential takes no {', '.join(kwargs)}")
    listed = list(functions.children()) if hasattr(functions, "children") else list(functions)
    if not 1 <= segments <= max(len(listed), 1):
        raise ValueError(f"checkpoint_sequential: {segments} segments of {len(listed)} functions are not possible")

    def run(first: int, stop: int) -> Callable[[Any], Any]:
        def part(x: Any) -> Any:
            for f in listed[first:stop]:
                x = f(x)
            return x

        return part

    size = len(listed) // segments
    for n in range(segments - 1):
        input = checkpoint(run(n * size, (n + 1) * size), input, preserve_rng_state=preserve_rng_state)
    return run((segments - 1) * size, len(listed))(input)
