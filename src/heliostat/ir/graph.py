"""The graph IR: `Node`, `Value` and `Graph`, a typed SSA function of tensors. It knows no op; ops are records above it.

Parameters and constants are nodes too. A graph is immutable once made; passes build new ones (`rewrite.py`).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn, Protocol

import numpy as np

from ..diagnostics import DeviceMismatchError, DTypeError, ShapeError, VerifyError
from .types import DType, Element, Symbol, SymbolicDim, TensorType, bf16, concrete, dim

PARAMETER_KINDS = ("input", "weight", "state")


class OpRecord(Protocol):
    """What the graph needs of an op: its name, its version, and its type rule."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    def infer_types(self, inputs: Sequence[TensorType], attrs: Mapping[str, Any]) -> tuple[TensorType, ...]:
        """Result types for input types. Raises ShapeError or DTypeError."""


@dataclass(frozen=True)
class LeafOp:
    """The two leaves: parameter (attrs name, kind) and constant (attrs value, a read-only NumPy array)."""

    name: str
    version: int = 1

    def infer_types(self, inputs: Sequence[TensorType], attrs: Mapping[str, Any]) -> tuple[TensorType, ...]:
        raise TypeError(f"a {self.name} carries its type and has no rule")


PARAMETER: OpRecord = LeafOp("parameter")
CONSTANT: OpRecord = LeafOp("constant")

# Python operators on values; `ops` fills it: name of the dunder method -> function of values and numbers.
OPERATORS: dict[str, Callable[..., Any]] = {}


NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})


serials = itertools.count()


class Node:
    """One operation. `results` are its values, `attrs` a read-only mapping of hashables; identity is the object.

    `serial` grows from node to node: a later one was made later."""

    __slots__ = ("attrs", "inputs", "op", "results", "serial")
    count = serials

    def __init__(
        self,
        op: OpRecord,
        inputs: Iterable[Value],
        attrs: Mapping[str, Any],
        types: Sequence[TensorType],
        name: str = "",
    ) -> None:
        """`name` becomes that of every result. Lists in `attrs` become tuples, NumPy scalars Python numbers.

        Results are placed where the operands lie, or where an attribute `device` says.
        Raises TypeError for an attribute that is not hashable, DeviceMismatchError for operands on two devices."""
        self.op = op
        self.serial = next(serials)
        self.inputs = tuple(inputs)
        self.attrs: Mapping[str, Any] = NO_ATTRIBUTES
        if attrs.__class__ is MappingProxyType:
            self.attrs = attrs  # of a node that was made before
        elif attrs:
            frozen = {key: _frozen(op, key, value) for key, value in attrs.items()} if op is not CONSTANT else attrs
            self.attrs = MappingProxyType(dict(frozen) if op is CONSTANT else frozen)
        device: str | None = None
        for v in self.inputs:
            if v.device is not device and v.device is not None:
                if device is not None:
                    device = _one_device(op, self.inputs)
                    break
                device = v.device
        if attrs and "device" in attrs:
            device = attrs["device"]
        if len(types) == 1:
            self.results: tuple[Value, ...] = (Value(self, 0, types[0], name),)
            self.results[0].device = device
        else:
            self.results = tuple(Value(self, i, t, name) for i, t in enumerate(types))
            for result in self.results:
                result.device = device

    def __repr__(self) -> str:
        return f"<{self.op.name} {', '.join(str(r.type) for r in self.results)}>"


def _one_device(op: OpRecord, inputs: Sequence[Value]) -> str:
    """The device of operands that are placed on more than one: numbers of the cpu follow the others."""
    found: dict[str, Value] = {}
    for v in inputs:
        if v.device is not None and (v.device != "cpu" or v.type.shape):
            found.setdefault(v.device, v)
    if not found:
        return "cpu"
    if len(found) == 1:
        return next(iter(found))
    (here, a), (there, b) = list(found.items())[:2]
    raise DeviceMismatchError(
        f"{op.name}: operands lie on two devices, {a.type} on {here} and {b.type} on {there}",
        help=f"copy one of them, by .to({there!r}) or .to({here!r})",
    )


def _frozen(op: OpRecord, key: str, value: Any) -> Any:
    kind = type(value)
    if kind is int or kind is str or kind is float or kind is bool:
        return value
    if isinstance(value, (list, tuple)):
        return tuple([_frozen(op, key, item) for item in value])
    if isinstance(value, np.generic):
        return value.item()
    try:
        hash(value)
    except TypeError:
        raise TypeError(f"attribute {key} of {op.name} must be hashable, found {type(value).__name__}") from None
    return value


class Value:
    """One result of a node: a tensor of a known type. Compared by identity; only its `name` may change later.

    `meta` belongs to who builds a graph that goes on growing (lazy tensors keep data there); passes never look at it.
    `device` is the name of the device that a value of such a graph is computed on, None where it may be any.

    Operators (`+`, `@`, `<` ...) build nodes once `heliostat.ops` is imported. `==` stays identity: use `ops.eq`.
    """

    __slots__ = ("device", "index", "meta", "name", "node", "type")
    __array_ufunc__ = None  # np.float32(2) * value is left to __rmul__

    def __init__(self, node: Node, index: int, type: TensorType, name: str = "") -> None:
        self.node, self.index, self.type, self.name = node, index, type, name
        self.meta: Any = None
        self.device: str | None = None

    @property
    def is_parameter(self) -> bool:
        return self.node.op is PARAMETER

    @property
    def is_constant(self) -> bool:
        return self.node.op is CONSTANT

    @property
    def kind(self) -> str:
        """input, weight or state of a parameter; "" of any other value."""
        return str(self.node.attrs["kind"]) if self.is_parameter else ""

    def __repr__(self) -> str:
        return f"<%{self.name or self.node.op.name}: {self.type}>"

    def __bool__(self) -> NoReturn:
        raise TypeError("a graph value has no truth value while the graph is built: use ops.where to choose by it")

    def _operate(self, name: str, *others: Any) -> Value:
        if name not in OPERATORS:
            raise TypeError(f"operator {name} of graph values is not defined: import heliostat.ops")
        result: Value = OPERATORS[name](self, *others)
        return result

    def __add__(self, o: Any) -> Value:
        return self._operate("add", o)

    def __radd__(self, o: Any) -> Value:
        return self._operate("radd", o)

    def __sub__(self, o: Any) -> Value:
        return self._operate("sub", o)

    def __rsub__(self, o: Any) -> Value:
        return self._operate("rsub", o)

    def __mul__(self, o: Any) -> Value:
        return self._operate("mul", o)

    def __rmul__(self, o: Any) -> Value:
        return self._operate("rmul", o)

    def __truediv__(self, o: Any) -> Value:
        return self._operate("div", o)

    def __rtruediv__(self, o: Any) -> Value:
        return self._operate("rdiv", o)

    def __pow__(self, o: Any) -> Value:
        return self._operate("pow", o)

    def __rpow__(self, o: Any) -> Value:
        return self._operate("rpow", o)

    def __matmul__(self, o: Any) -> Value:
        return self._operate("matmul", o)

    def __neg__(self) -> Value:
        return self._operate("neg")

    def __lt__(self, o: Any) -> Value:
        return self._operate("lt", o)

    def __le__(self, o: Any) -> Value:
        return self._operate("le", o)

    def __gt__(self, o: Any) -> Value:
        return self._operate("gt", o)

    def __ge__(self, o: Any) -> Value:
        return self._operate("ge", o)


def parameter(name: str, type: TensorType, kind: str = "input") -> Value:
    """A graph parameter. `kind`: input (given at each run), weight (bound once), state (kept and updated).

    Raises ValueError for another kind."""
    if kind not in PARAMETER_KINDS:
        raise ValueError(f"a parameter is one of {', '.join(PARAMETER_KINDS)}, not {kind!r}")
    return Node(PARAMETER, (), {"name": name, "kind": kind}, (type,), name).results[0]


def constant(value: Any, type: TensorType) -> Value:
    """A constant of a plain dtype. `value` is broadcast to the type's shape, which must be known, and rounded to it.

    Raises DTypeError for a value that the dtype cannot hold or a block format, ShapeError for one of another shape.
    """
    kind = value.__class__
    number = (kind is int or kind is float) and value != 0 and not type.shape  # 0.0 and -0.0 would be one key
    if number:
        known = _numbers.get((type.element, kind, value))
        if known is not None:
            return Node(CONSTANT, (), known, (type,)).results[0]
    if not isinstance(type.element, DType) or type.layout is not None:
        raise DTypeError(f"a constant has plain elements in rows, not {type}")
    if not type.static:
        raise ShapeError(f"a constant has a known shape, not {type}")
    shape = tuple(int(d) for d in type.shape if isinstance(d, int))
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(value, storage_dtype(type.element))
    except (OverflowError, ValueError, TypeError) as error:
        raise DTypeError(f"a constant of {type} cannot be made: {error}") from None
    if array.size == 0 and 0 in shape:
        array = array.reshape(shape)
    try:
        array = np.broadcast_to(array, shape).copy()
    except ValueError:
        raise ShapeError(f"values of shape {list(array.shape)} do not fill a constant of {type}") from None
    if type.element == bf16:
        array = round_bf16(array)
    array.setflags(write=False)
    made = Node(CONSTANT, (), {"value": array}, (type,))
    if number and len(_numbers) < 1024:
        _numbers[type.element, kind, value] = made.attrs
    return made.results[0]


_numbers: dict[tuple[Element, Any, Any], Mapping[str, Any]] = {}
"""Attributes of constants without axes that were made before: loops make them again and again."""


def round_bf16(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Values rounded to bf16, nearest even, held in float32."""
    bits = np.ascontiguousarray(array, np.float32).reshape(-1).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    quiet = (bits & np.uint32(0x80000000)) | np.uint32(0x7FC00000)  # a NaN keeps its sign
    values = np.where(np.isnan(bits.view(np.float32)), quiet, rounded)
    return values.view(np.float32).reshape(np.shape(array))


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

    `symbols`, by name: those given, and all in the types and attributes of its nodes.
    Raises VerifyError if two symbols of one name differ, or if values form a cycle.
    """

    def __init__(
        self,
        name: str,
        parameters: Iterable[Value],
        outputs: Iterable[Value],
        updates: Iterable[tuple[Value, Value]] = (),
        *,
        symbols: Iterable[Symbol] = (),
    ) -> None:
        self.name = name
        self.parameters = tuple(parameters)
        self.outputs = tuple(outputs)
        self.updates = tuple(updates)
        self._nodes = self.walk()
        found: dict[str, Symbol] = {}
        for s in (*symbols, *(s for node in self._nodes for s in node_symbols(node))):
            if found.setdefault(s.name, s) != s:
                raise VerifyError(f"symbol {s.name} has two different bounds in graph {name}")
        self.symbols = tuple(sorted(found.values(), key=lambda s: s.name))

    def results(self) -> Iterator[Value]:
        """Outputs, then the new values of states."""
        yield from self.outputs
        yield from (new for _, new in self.updates)

    def nodes(self) -> list[Node]:
        """Every node that an output or an update needs, and every parameter, operands before users."""
        return list(self._nodes)

    def walk(self) -> list[Node]:
        """The same found anew, for nodes that were changed. Any depth; raises VerifyError if values form a cycle."""
        leaves = [*self.parameters, *(old for old, _ in self.updates)]
        return topological([*leaves, *self.results()], self.name)

    def users(self) -> dict[int, list[Node]]:
        """The nodes that read each value, by the value's id(). A node that reads it twice stands there twice."""
        found: dict[int, list[Node]] = {}
        for node in self.nodes():
            for value in node.inputs:
                found.setdefault(id(value), []).append(node)
        return found

    def structural_key(self) -> str:
        """A hash of ops, versions, attributes, types and connections. Equal for equal graphs in any process.

        Names do not count, but for those of symbols; parameters go by position."""
        updates = [v for pair in self.updates for v in pair]
        return structural_key(self.nodes(), self.parameters, self.outputs, updates)

    def __str__(self) -> str:
        from .text import print_graph  # text.py is about graphs: the one cycle among the modules of ir

        return print_graph(self)


def topological(values: Iterable[Value], name: str = "") -> list[Node]:
    """The nodes behind `values`, operands before users, in the order of first need. Iterative, so of any depth.

    Raises VerifyError, naming a value, if values form a cycle. `name`: the graph's, for the message."""
    order: list[Node] = []
    state: dict[int, bool] = {}  # by id of the node: False while its operands are walked, True when it is placed
    for root in values:
        if id(root.node) in state:
            continue
        state[id(root.node)] = False
        stack = [(root.node, iter(root.node.inputs))]
        while stack:
            node, operands = stack[-1]
            for value in operands:
                child = value.node
                placed = state.get(id(child))
                if placed is None:
                    state[id(child)] = False
                    stack.append((child, iter(child.inputs)))
                    break
                if not placed:
                    raise VerifyError(f"graph {name}: %{value.name or child.op.name} depends on itself")
            else:
                stack.pop()
                state[id(node)] = True
                order.append(node)
    return order


def node_symbols(node: Node) -> Iterator[Symbol]:
    """The symbols in a node's result types and in its attributes."""
    for value in node.results:
        for d in value.type.shape:
            if isinstance(d, SymbolicDim):
                yield from d.symbols
    for attribute in node.attrs.values():
        yield from _attribute_symbols(attribute)


def _attribute_symbols(value: Any) -> Iterator[Symbol]:
    if isinstance(value, SymbolicDim):
        yield from value.symbols
    elif isinstance(value, tuple):
        for item in value:
            yield from _attribute_symbols(item)


def attribute_text(value: Any) -> str:
    """An attribute as text that is equal for equal values only."""
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"array({value.dtype}, {value.shape}, {digest})"
    if isinstance(value, tuple):
        return "(" + ",".join(map(attribute_text, value)) + ",)"
    if isinstance(value, Element):
        return f"!{value.declaration}"
    if isinstance(value, SymbolicDim):
        return f"({value}){_bounds(value.symbols)}"
    return repr(value)


def structural_key(
    nodes: Sequence[Node],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    updates: Sequence[Value] = (),
    symbols: Mapping[str, Symbol] | None = None,
) -> str:
    """The same for a part of a graph: `inputs` go by position and type, `outputs` and `updates` say what is taken out.

    Values from outside that are not among `inputs` go by the order in which they are first read. `symbols`: what stands
    for each symbol, by its name; all of them then."""
    numbers: dict[int, str] = {}
    lines: list[str] = []
    sizes = {name: dim(s) for name, s in (symbols or {}).items()}

    def shown(value: Any) -> Any:
        return concrete(value, sizes) if sizes else value

    for i, v in enumerate(inputs):
        numbers[id(v)] = f"p{i}"
        lines.append(f"{type_text(shown(v.type))} {v.kind}")

    def number(v: Value) -> str:
        if id(v) not in numbers:
            numbers[id(v)] = f"x{len(numbers)}"
            held = attribute_text(v.node.attrs["value"]) if v.is_constant else v.kind
            lines.append(f"{numbers[id(v)]}: {type_text(shown(v.type))} {held}")
        return numbers[id(v)]

    for n, node in enumerate(nodes):
        if node.op is PARAMETER:
            continue
        args = ",".join(map(number, node.inputs))
        attrs = ",".join(f"{k}={attribute_text(shown(v))}" for k, v in sorted(node.attrs.items()))
        types = ";".join(type_text(shown(r.type)) for r in node.results)
        for r in node.results:
            numbers[id(r)] = f"{n}.{r.index}"
        lines.append(f"{node.op.name}@{node.op.version}({args}){{{attrs}}}{types}")
    lines += [f"{word} {','.join(map(number, values))}" for word, values in (("return", outputs), ("update", updates))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def type_text(type: TensorType) -> str:
    """A type as text that is equal for equal types only: bounds of symbols and the format's declaration are in it."""
    return f"{type}{type.element.declaration}{_bounds(type.symbols)}"


def _bounds(symbols: Iterable[Symbol]) -> str:
    return "".join(f"[{s.lower}<={s.name}<={s.upper}]" for s in symbols)
