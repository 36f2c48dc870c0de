"""The graph IR: `Node`, `Value` and `Graph`, a typed SSA function of tensors. It knows no op; ops are records above it.

Parameters and constants are nodes too. A graph is immutable once made; passes build new ones (`rewrite.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .types import DType, Symbol, TensorType

PARAMETER_KINDS = ("input", "weight", "state")


class OpRecord(Protocol):
    """What the graph needs of an op: its name, its version, and its type rule."""

    name: str
    version: int

    def infer_types(self, inputs: Sequence[TensorType], attrs: dict[str, Any]) -> tuple[TensorType, ...]:
        """Result types for input types. Raises ShapeError or DTypeError."""


@dataclass(frozen=True)
class LeafOp:
    """The two leaves: parameter (attrs name, kind) and constant (attrs value, a NumPy array)."""

    name: str
    version: int = 1

    def infer_types(self, inputs: Sequence[TensorType], attrs: dict[str, Any]) -> tuple[TensorType, ...]:
        raise TypeError(f"a {self.name} carries its type and has no rule")


PARAMETER = LeafOp("parameter")
CONSTANT = LeafOp("constant")

# Python operators on values; `ops` fills it: name of the dunder method -> function of values and numbers.
OPERATORS: dict[str, Callable[..., Any]] = {}


class Node:
    """One operation. `results` are its values; identity is the object."""

    __slots__ = ("attrs", "inputs", "op", "results")

    def __init__(
        self,
        op: OpRecord,
        inputs: tuple[Value, ...],
        attrs: dict[str, Any],
        types: Sequence[TensorType],
        name: str = "",
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.results = tuple(Value(self, i, t, name) for i, t in enumerate(types))

    def __repr__(self) -> str:
        return f"<{self.op.name} {', '.join(str(r.type) for r in self.results)}>"


class Value:
    """One result of a node: a tensor of a known type. Compared by identity."""

    __slots__ = ("index", "name", "node", "type")

    def __init__(self, node: Node, index: int, type: TensorType, name: str = "") -> None:
        self.node, self.index, self.type, self.name = node, index, type, name

    @property
    def is_parameter(self) -> bool:
        return self.node.op is PARAMETER

    @property
    def is_constant(self) -> bool:
        return self.node.op is CONSTANT

    @property
    def kind(self) -> str:
        """input, weight or state of a parameter; "" of any other value."""
        return self.node.attrs["kind"] if self.is_parameter else ""

    def __repr__(self) -> str:
        return f"<%{self.name or self.node.op.name}: {self.type}>"

    def _operate(self, name: str, *others: Any) -> Any:
        if name not in OPERATORS:
            raise TypeError(f"operator {name} of graph values is not defined: import heliostat.ops")
        return OPERATORS[name](self, *others)

    def __add__(self, o: Any) -> Value:
        return self._operate("add", o)  # type: ignore[no-any-return]

    def __radd__(self, o: Any) -> Value:
        return self._operate("radd", o)  # type: ignore[no-any-return]

    def __sub__(self, o: Any) -> Value:
        return self._operate("sub", o)  # type: ignore[no-any-return]

    def __rsub__(self, o: Any) -> Value:
        return self._operate("rsub", o)  # type: ignore[no-any-return]

    def __mul__(self, o: Any) -> Value:
        return self._operate("mul", o)  # type: ignore[no-any-return]

    def __rmul__(self, o: Any) -> Value:
        return self._operate("rmul", o)  # type: ignore[no-any-return]

    def __truediv__(self, o: Any) -> Value:
        return self._operate("div", o)  # type: ignore[no-any-return]

    def __rtruediv__(self, o: Any) -> Value:
        return self._operate("rdiv", o)  # type: ignore[no-any-return]

    def __matmul__(self, o: Any) -> Value:
        return self._operate("matmul", o)  # type: ignore[no-any-return]

    def __neg__(self) -> Value:
        return self._operate("neg")  # type: ignore[no-any-return]


def parameter(name: str, type: TensorType, kind: str = "input") -> Value:
    """A graph parameter. `kind`: input (given at each run), weight (bound once), state (kept and updated)."""
    if kind not in PARAMETER_KINDS:
        raise ValueError(f"a parameter is one of {', '.join(PARAMETER_KINDS)}, not {kind!r}")
    return Node(PARAMETER, (), {"name": name, "kind": kind}, (type,), name).results[0]


def constant(value: Any, type: TensorType) -> Value:
    """A constant of a plain dtype. `value` is broadcast to the type's shape, which must be known."""
    storage = _STORAGE[type.dtype.name]
    array = np.broadcast_to(np.asarray(value, storage), tuple(int(d) for d in type.shape)).copy()  # type: ignore[arg-type]
    array.setflags(write=False)
    return Node(CONSTANT, (), {"value": array}, (type,)).results[0]


# NumPy has no bf16: bf16 constants are held in f32.
_STORAGE: dict[str, Any] = {
    "f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": np.float32, "i64": np.int64, "i32": np.int32,
    "i16": np.int16, "i8": np.int8, "u32": np.uint32, "u16": np.uint16, "u8": np.uint8, "bool": np.bool_,
}  # fmt: skip


def storage_dtype(dtype: DType) -> Any:
    """The NumPy dtype that holds values of `dtype` in references; bf16 is held in float32."""
    return _STORAGE[dtype.name]


class Graph:
    """A function of tensors. `updates` pairs a state parameter with the value it holds after the run.

    `symbols` are those of all parameter types. Raises ValueError if two symbols of one name differ.
    """

    def __init__(
        self,
        name: str,
        parameters: Iterable[Value],
        outputs: Iterable[Value],
        updates: Iterable[tuple[Value, Value]] = (),
    ) -> None:
        self.name = name
        self.parameters = tuple(parameters)
        self.outputs = tuple(outputs)
        self.updates = tuple(updates)
        found: dict[str, Symbol] = {}
        for p in self.parameters:
            for s in p.type.symbols:
                if found.setdefault(s.name, s) != s:
                    raise ValueError(f"symbol {s.name} has two different bounds in graph {name}")
        for v in self.results():
            for s in v.type.symbols:
                found.setdefault(s.name, s)
        self.symbols = tuple(sorted(found.values(), key=lambda s: s.name))

    def results(self) -> Iterator[Value]:
        """Outputs, then the new values of states."""
        yield from self.outputs
        yield from (new for _, new in self.updates)

    def nodes(self) -> list[Node]:
        """Every node that an output or an update needs, and every parameter, operands before users. Iterative."""
        order: list[Node] = []
        done: set[int] = set()
        for p in self.parameters:
            if id(p.node) not in done:
                done.add(id(p.node))
                order.append(p.node)
        for root in self.results():
            stack: list[tuple[Node, int]] = [(root.node, 0)]
            while stack:
                node, at = stack.pop()
                if id(node) in done:
                    continue
                if at < len(node.inputs):
                    stack.append((node, at + 1))
                    child = node.inputs[at].node
                    if id(child) not in done:
                        stack.append((child, 0))
                    continue
                done.add(id(node))
                order.append(node)
        return order

    def users(self) -> dict[int, list[Node]]:
        """The nodes that read each value, by the value's id()."""
        found: dict[int, list[Node]] = {}
        for node in self.nodes():
            for value in node.inputs:
                found.setdefault(id(value), []).append(node)
        return found

    def structural_key(self) -> str:
        """A hash of ops, versions, attributes, types and connections. Names do not count, parameters go by position."""
        return structural_key(
            self.nodes(), self.parameters, [*self.outputs, *(v for pair in self.updates for v in pair)]
        )

    def __str__(self) -> str:
        from .text import print_graph

        return print_graph(self)


def attribute_text(value: Any) -> str:
    """An attribute as text that is equal for equal values."""
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"array({value.dtype}, {value.shape}, {digest})"
    if isinstance(value, (tuple, list)):
        return "(" + ",".join(map(attribute_text, value)) + ")"
    return repr(value) if isinstance(value, (int, float, str, bool, type(None))) else str(value)


def structural_key(nodes: Sequence[Node], inputs: Sequence[Value], outputs: Sequence[Value]) -> str:
    """The same for a part of a graph: `inputs` go by position and type, `outputs` say what is taken out."""
    numbers: dict[int, str] = {}
    lines: list[str] = []
    for i, v in enumerate(inputs):
        numbers[id(v)] = f"p{i}"
        lines.append(f"{v.type}{_bounds(v.type)} {v.kind}")
    for n, node in enumerate(nodes):
        if node.op is PARAMETER:
            continue
        for r in node.results:
            numbers[id(r)] = f"{n}.{r.index}"
        args = ",".join(
            numbers.get(id(v)) or f"?{attribute_text(v.node.attrs.get('value'))}:{v.type}" for v in node.inputs
        )
        attrs = ",".join(f"{k}={attribute_text(v)}" for k, v in sorted(node.attrs.items()))
        types = ";".join(f"{r.type}{_bounds(r.type)}" for r in node.results)
        lines.append(f"{node.op.name}@{node.op.version}({args}){{{attrs}}}{types}")
    lines.append(",".join(numbers.get(id(v), "?") for v in outputs))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _bounds(type: TensorType) -> str:
    return "".join(f"[{s.lower}<={s.name}<={s.upper}]" for s in type.symbols)
