"""Functions and modules as graphs in one file: `export` captures, `save` and `load` keep what was captured.

A file holds the graph as text, the tensors that it reads, and how arguments and results are nested: data alone. It is
parsed, its types are inferred anew and its checksum is compared before anything of it runs, and code is compiled where
it is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from .diagnostics import CaptureError, FileFormatError, HeliostatError, ShapeError
from .ir.graph import CONSTANT, PARAMETER, Graph, Value
from .ir.text import parse_graph, print_graph
from .ir.types import Symbol, SymbolicDim, TensorType, dim, evaluate, tensor
from .ir.verify import verify
from .nn import Module
from .ops import REGISTRY
from .serialization import load as load_file
from .serialization import save as save_file
from .tensor import Tensor
from .tensor.capture import capture
from .tensor.core import grad_mode, wrap
from .tensor.stance import exporting
from .tensor.step import Plan
from .tensor.structure import mapped, tensors_in

FORMAT, VERSION = "heliostat.export", 1
PLACE = "$tensor"  # the key of a dict that stands for the tensor of a number
MOST_SIZE = 1 << 16  # of a symbolic axis without a bound of its own

Place = str | os.PathLike[str] | BinaryIO


class Dim:
    """A size that is not fixed, from `min` to `max`, for `dynamic_shapes`. Raises ValueError for an empty range."""

    def __init__(self, name: str, *, min: int = 2, max: int = MOST_SIZE) -> None:
        if not name.isidentifier():
            raise ValueError(f"Dim: {name!r} is no name")
        if not 1 <= min <= max:
            raise ValueError(f"Dim {name}: sizes from {min} to {max} are none")
        self.name, self.min, self.max = name, min, max

    def __repr__(self) -> str:
        return f"Dim({self.name!r}, min={self.min}, max={self.max})"


class ExportedProgram:
    """A graph of tensors. `graph`: its parameters are the arguments' tensors in order, then those of `state`, by name.

    Called as what it was made of: arguments that are no tensors must be those of the export. Its result is lazy, and
    programs are compiled for the sizes that come."""

    def __init__(self, graph: Graph, inputs: Any, outputs: Any, state: Mapping[str, Tensor]) -> None:
        self.graph, self.inputs, self.outputs, self.state_dict = graph, inputs, outputs, dict(state)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = tensors_in((list(args), dict(kwargs)))
        if _numbered((list(args), dict(kwargs))) != _as_read(self.inputs):
            raise ShapeError("arguments are not nested as those of the export, or others than its tensors differ",
                             help=f"it was given {self.inputs}")  # fmt: skip
        values = [t.value for t in (*given, *self.state_dict.values())]
        with grad_mode(False):
            made = [wrap(v) for v in _applied(self.graph, values)]
        return _filled(self.outputs, made)

    def module(self) -> Module:
        """A module whose call is this program, and whose buffers are its state."""
        return _Exported(self)

    def graph_dump(self) -> str:
        """The graph as text."""
        return print_graph(self.graph)

    def __repr__(self) -> str:
        return f"ExportedProgram:\n{self.graph_dump()}"


class _Exported(Module):
    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        self.program = program
        for n, t in enumerate(program.state_dict.values()):
            self.register_buffer(f"state_{n}", t)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.program(*args, **kwargs)


# --- capturing --------------------------------------------------------------------------------------------------------
def export(
    function: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None, *, dynamic_shapes: Any = None
) -> ExportedProgram:
    """The graph of a function or a module for arguments like these, without gradients.

    dynamic_shapes: for each argument that is a tensor None, or a dict from its axes to `Dim`. Raises CaptureError where
    the function looks at a value, writes tensors from outside, or draws random numbers; ShapeError for a Dim that does
    not have the size which is there."""
    named = dict(kwargs or {})
    given = tensors_in((list(args), named))
    types = _types(given, dynamic_shapes)
    with grad_mode(False), exporting():
        captured = capture(function, list(args), named, lambda t: type(t) is not Tensor, types)
    if captured.fills:
        raise CaptureError("export: random numbers are drawn", help="call eval() on modules with dropout before")
    if any(o.final is not None for o in captured.outside) or captured.kept:
        raise CaptureError(
            "export: the function writes tensors from outside", help="call eval() before, or return them"
        )
    results = tensors_in(captured.result)
    outside = {id(o.tensor): o for o in captured.outside}
    roots = [captured.finals.get(id(t), t.value) for t in results]
    plan = Plan(captured, roots, [])
    graph = plan.graph()
    places = {id(v): n for n, v in enumerate(captured.values)}
    by_stand_in = {id(o.value): o.tensor for o in outside.values()}
    names = _names(function)
    used = {id(v): graph.parameters[n] for n, (v, _) in enumerate(plan.leaves)}
    state: dict[str, Tensor] = {}
    parameters: dict[int, Value] = {}
    rest: list[Value] = []
    for v, _ in plan.leaves:
        if id(v) in places:
            parameters[places[id(v)]] = used[id(v)]
            continue
        t = by_stand_in.get(id(v))
        t = wrap(v) if t is None else t.detach()
        state[names.get(id(by_stand_in.get(id(v))), f"tensor_{len(state)}")] = t
        rest.append(used[id(v)])
    inputs = [parameters.get(n) for n in range(len(types))]
    if missing := [n for n, p in enumerate(inputs) if p is None]:
        raise CaptureError(f"export: the result does not depend on tensor {missing[0]} of the arguments",
                           help="leave it out")  # fmt: skip
    graph = Graph("exported", [*(p for p in inputs if p is not None), *rest], graph.outputs)
    verify(graph)
    return ExportedProgram(graph, _numbered((list(args), named)), _numbered(captured.result), state)


def _types(given: Sequence[Tensor], dynamic_shapes: Any) -> list[TensorType]:
    wanted = list(dynamic_shapes.values()) if isinstance(dynamic_shapes, dict) else list(dynamic_shapes or ())
    if len(wanted) > len(given):
        raise ShapeError(f"export: dynamic_shapes are of {len(wanted)} arguments, tensors are {len(given)}")
    sizes: dict[str, int] = {}
    made = []
    for n, t in enumerate(given):
        shape: list[Any] = list(t.shape)
        for axis, d in ((wanted[n] or {}) if n < len(wanted) else {}).items():
            size = shape[axis]
            if not d.min <= size <= d.max or sizes.setdefault(d.name, size) != size:
                raise ShapeError(f"export: axis {axis} of tensor {n} has the size {size}, which is not that of {d}")
            shape[axis] = dim(Symbol(d.name, upper=d.max, lower=d.min))
        made.append(tensor(t.dtype, *shape))
    return made


def _names(function: Any) -> dict[int, str]:
    if not isinstance(function, Module):
        return {}
    return {id(t): name for name, t in (*function.named_parameters(), *function.named_buffers())}


# --- nesting ----------------------------------------------------------------------------------------------------------
def _numbered(x: Any) -> Any:
    """x with a dict in the place of each tensor, its number inside, and lists in the place of tuples."""
    numbers = iter(range(1 << 30))
    return _as_read(mapped(x, lambda t: {PLACE: next(numbers)}))


def _as_read(x: Any) -> Any:
    if isinstance(x, tuple | list):
        return {"tuple": [_as_read(v) for v in x]} if isinstance(x, tuple) else [_as_read(v) for v in x]
    return {k: _as_read(v) for k, v in x.items()} if isinstance(x, dict) else x


def _filled(x: Any, made: Sequence[Any]) -> Any:
    if isinstance(x, list):
        return [_filled(v, made) for v in x]
    if isinstance(x, dict):
        if x.keys() == {PLACE}:
            return made[x[PLACE]]
        if x.keys() == {"tuple"}:
            return tuple(_filled(v, made) for v in x["tuple"])
        return {k: _filled(v, made) for k, v in x.items()}
    return x


# --- running ----------------------------------------------------------------------------------------------------------
def _applied(graph: Graph, values: Sequence[Value]) -> list[Value]:
    """The outputs over other values, whose types must be those of the parameters but for symbols. Raises ShapeError."""
    if len(values) != len(graph.parameters):
        raise ShapeError(f"{len(graph.parameters)} tensors are asked for, {len(values)} given")
    sizes: dict[str, int] = {}
    made: dict[int, Value] = {}
    for p, v in zip(graph.parameters, values, strict=True):
        _match(p.type, v.type, sizes)
        made[id(p)] = v
    for node in graph.nodes():
        if node.op is PARAMETER or node.op is CONSTANT:
            for r in node.results:
                made.setdefault(id(r), r)
            continue
        attrs = {name: _concrete(a, sizes) for name, a in node.attrs.items()}
        results = REGISTRY[node.op.name].build_all(*(made[id(i)] for i in node.inputs), **attrs)
        made.update((id(r), new) for r, new in zip(node.results, results, strict=True))
    return [made[id(v)] for v in graph.outputs]


def _match(wanted: TensorType, found: TensorType, sizes: dict[str, int]) -> None:
    same = wanted.element == found.element and wanted.rank == found.rank
    for d, n in zip(wanted.shape, found.shape, strict=False) if same else ():
        if isinstance(d, SymbolicDim):
            s = d.symbols[0]
            same = same and isinstance(n, int) and s.lower <= n <= s.upper and sizes.setdefault(s.name, n) == n
        else:
            same = same and d == n
    if not same:
        raise ShapeError(f"a tensor {wanted} is asked for, found {found}")


def _concrete(a: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(a, SymbolicDim):
        return evaluate(a, sizes)
    if isinstance(a, TensorType):
        return TensorType(a.element, tuple(evaluate(d, sizes) for d in a.shape), a.layout)
    return tuple(_concrete(x, sizes) for x in a) if isinstance(a, tuple) else a


# --- files ------------------------------------------------------------------------------------------------------------
def save(program: ExportedProgram, f: Place) -> None:
    """Write a program: a safetensors file with a checksum, which takes the name of an older one after it is whole."""
    save_file(
        {
            "format": FORMAT, "version": VERSION, "graph": print_graph(program.graph), "inputs": program.inputs,
            "outputs": program.outputs, "state": program.state_dict,
        },
        f,
    )  # fmt: skip


def load(f: Place) -> ExportedProgram:
    """What `save` wrote. Raises FileFormatError for a file that is damaged or no program: nothing of it runs before
    its graph is verified."""
    name = getattr(f, "name", None) or (str(f) if isinstance(f, str | os.PathLike) else "the file")
    found = load_file(f)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise FileFormatError(f"{name}: holds no exported program")
    if found.get("version") != VERSION:
        raise FileFormatError(f"{name}: is of version {found.get('version')}, known is {VERSION}")
    try:
        graph = parse_graph(found["graph"], REGISTRY.__getitem__, path=str(name))
        verify(graph)
        state = found["state"]
        count = len(graph.parameters) - len(state)
        if graph.updates or count != _count(found["inputs"]) or not all(type(t) is Tensor for t in state.values()):
            raise FileFormatError(f"{name}: arguments and state are not those of its graph")
        for p, t in zip(graph.parameters[count:], state.values(), strict=True):
            _match(p.type, t.value.type, {})
        if _highest(found["outputs"]) >= len(graph.outputs):
            raise FileFormatError(f"{name}: its results are not those of its graph")
        return ExportedProgram(graph, found["inputs"], found["outputs"], state)
    except FileFormatError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, HeliostatError) as error:
        what = f"{name}: the program is not valid: {type(error).__name__} {str(error)[:120]}"
        raise FileFormatError(what) from None


def _places(x: Any) -> list[int]:
    if isinstance(x, dict):
        if x.keys() == {PLACE}:
            return [int(x[PLACE])]
        return [n for v in x.values() for n in _places(v)]
    return [n for v in x for n in _places(v)] if isinstance(x, list) else []


def _count(x: Any) -> int:
    found = _places(x)
    return len(found) if found == list(range(len(found))) else -1


def _highest(x: Any) -> int:
    return max((n if n >= 0 else 1 << 30 for n in _places(x)), default=-1)
