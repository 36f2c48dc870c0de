"""Forward mode over tensors: tangents pushed along the graph from some values to others.

The graph is walked once it stands, so an op's tangent is built where a derivative is asked for and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..diagnostics import GradientError, UnsupportedError
from ..ir.graph import Value
from ..ops.forward import tangent, transposed
from . import lazy
from .gradient_mode import grad_mode


def push(outputs: Sequence[Value], given: Mapping[int, Value], since: int) -> list[Value | None]:
    """Derivatives of outputs in the direction of the tangents of some values, by id; None where they are zero.

    since: the serial of the oldest node that made one of those values. Raises UnsupportedError for an op, or a
    `Function`, that has no derivative of this kind."""
    found: dict[int, Value | None] = dict(given)
    for v in _behind(outputs, found, since):
        record = None if v.meta is None else v.meta.function
        if record is not None:
            if id(v) not in found:
                _of_function(record, found)
        else:
            found[id(v)] = tangent(v.node, [found.get(id(i)) for i in v.node.inputs])
    return [found.get(id(v)) for v in outputs]


def _behind(outputs: Sequence[Value], given: Mapping[int, Any], since: int) -> list[Value]:
    found: dict[int, Value] = {}
    stack = list(outputs)
    while stack:
        v = stack.pop()
        if id(v) in found or id(v) in given or v.node.serial < since:
            continue
        if lazy.is_cut(v):
            raise GradientError("a derivative goes forward through a value that lost what it was made of")
        found[id(v)] = v
        record = None if v.meta is None else v.meta.function
        stack.extend(v.node.inputs if record is None else record.inputs)
    return sorted(found.values(), key=lambda v: v.node.serial)


def _of_function(record: Any, found: dict[int, Value | None]) -> None:
    """The results' tangents of a user's `Function`: its backward is linear in what it is given."""
    tangents = [found.get(id(v)) for v in record.inputs]
    if all(t is None for t in tangents):
        found.update((id(y), None) for y in record.outputs)
        return
    if record.once:
        raise UnsupportedError(f"{record.name} has no forward derivative: its backward is once_differentiable")

    for y in record.outputs:

        def gradient(g: Value, y: Value = y) -> list[Value | None]:
            with grad_mode(True):
                return [p for _, p in record.gradients({id(y): g})]

        found[id(y)] = transposed(y.type, gradient, tangents)
