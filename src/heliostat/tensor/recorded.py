"""A function of tensors that is walked once: afterwards all of it is one node of the lazy graph.

An optimizer's step is ten nodes for each parameter, and the same ones each time. `Recorded` keeps them as they were
built for stand-ins; `Closed.graph` puts them in the place of the node when a program is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..diagnostics import HeliostatError
from ..ir.graph import PARAMETER, Node, Value
from ..ir.types import TensorType
from . import lazy
from .autocast import current
from .core import Tensor, new
from .gradient_mode import is_grad_enabled

_PLACE = {"name": "", "kind": "input"}


def unwatched() -> bool:
    """Whether nobody looks at the tensors inside of a call, as captures, transforms and anomaly mode do."""
    return not lazy.capturing() and not lazy._levels.get() and lazy.anomaly.active is None


def allowed() -> bool:
    """Whether a call may be one node here: gradients would look at what is in it too."""
    return unwatched() and not is_grad_enabled() and current() is None


class Recorded(lazy.Inlined):
    """What `function(*tensors)`, a list of tensors, builds for tensors of some types."""

    name = "recorded"
    version = 1

    def __init__(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
        """Raises ValueError where an output is an input or known already."""
        given = {id(v): n for n, v in enumerate(inputs)}
        closed = lazy.Closed(outputs, lambda v: id(v) in given or lazy.buffer_of(v) is not None)
        found = {closed.number[v]: n for n, v in enumerate(closed.results)}
        if any(closed.number[v] not in found for v in outputs):
            raise ValueError("an output of a recorded function is none of what it computes")
        # what is read: the number of an argument, or a value with its data, such as a number in the source
        self.read: list[int | Value] = [given.get(id(v), v) for v in closed.leaves]
        self.which = [found[closed.number[v]] for v in outputs]
        self.types = tuple(v.type for v in closed.results)
        self.graph = closed.graph("recorded")
        self.deterministic = all(getattr(v.node.op, "deterministic", True) for v in closed.order)
        self.key = closed.key
        self._hash = hash(self.key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Recorded) and self.key == other.key)

    def infer_types(self, inputs: Sequence[TensorType], attrs: Mapping[str, Any]) -> tuple[TensorType, ...]:
        return self.types

    def __call__(self, arguments: Sequence[Value]) -> list[Value]:
        """The outputs for arguments of the types that it was recorded for."""
        made = Node(self, [arguments[r] if type(r) is int else r for r in self.read], {}, self.types).results  # type: ignore[misc]
        return [made[n] for n in self.which]


class Unrolled:
    """A recorded function whose nodes are built at each call, without the function being run: steps of a loop, which
    gradients go through one by one. What depends on `fixed` arguments alone, given by their numbers, is built once."""

    def __init__(self, recorded: Recorded, fixed: Mapping[int, Value]) -> None:
        graph = recorded.graph
        self.values: list[Any] = []  # of the latest call, and the fixed ones
        self.given: list[tuple[int, int]] = []  # place, number of the argument
        self.nodes: list[tuple[Any, list[int], Mapping[str, Any], list[TensorType], int]] = []
        place: dict[int, int] = {}
        known: set[int] = set()
        for p, r in zip(graph.parameters, recorded.read, strict=True):
            at = place[id(p)] = len(self.values)
            if type(r) is int and r not in fixed:
                self.given.append((at, r))
                self.values.append(None)
            else:
                known.add(at)
                self.values.append(fixed[r] if type(r) is int else r)
        for node in graph.nodes():
            if node.op is PARAMETER:
                continue
            inputs, first = [place[id(i)] for i in node.inputs], len(self.values)
            results = list(range(first, first + len(node.results)))
            place |= {id(v): n for v, n in zip(node.results, results, strict=True)}
            types = [v.type for v in node.results]
            if known.issuperset(inputs):
                known.update(results)
                made = Node(node.op, [self.values[i] for i in inputs], node.attrs, types) if inputs else node
                self.values += made.results
            else:
                self.nodes.append((node.op, inputs, node.attrs, types, first))
                self.values += [None] * len(results)
        self.which = [place[id(graph.outputs[n])] for n in recorded.which]

    def __call__(self, arguments: Sequence[Value | None]) -> list[Value]:
        """The outputs for arguments of the types that it was recorded for; None stands for a fixed one."""
        values = self.values
        for at, n in self.given:
            values[at] = arguments[n]
        for op, inputs, attrs, types, first in self.nodes:
            for n, v in enumerate(Node(op, [values[i] for i in inputs], attrs, types).results, first):
                values[n] = v
        return [values[n] for n in self.which]


def record(function: Callable[[list[Tensor]], Sequence[Tensor]], types: Sequence[TensorType]) -> Recorded | None:
    """What the function builds for tensors of these types; None for one that reads values or returns its arguments."""
    inputs = [Node(PARAMETER, (), _PLACE, (t,)).results[0] for t in types]
    try:
        made = Recorded(inputs, [t.value for t in function([new(Tensor, v) for v in inputs])])
    except (HeliostatError, ValueError):
        return None
    return made
