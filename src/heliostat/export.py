"""Functions and modules as graphs in one file: `export` captures, `save` and `load` keep what was captured.

A file holds the graph as text, the versions of its ops, the tensors that it reads, and how arguments and results are
nested: data alone. It is
parsed, its types are inferred anew and its checksum is compared before anything of it runs, and code is compiled where
it is loaded.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from .diagnostics import CaptureError, FileFormatError, HeliostatError, ShapeError, UnsupportedError
from .ir.graph import CONSTANT, PARAMETER, Graph, Value
from .ir.text import parse_graph, print_graph
from .ir.types import Symbol, SymbolicDim, TensorType, concrete, dim, tensor
from .ir.verify import verify
from .nn import Module
from .ops import REGISTRY
from .ops.older import finder, renewed, versions_of
from .serialization import load as load_file
from .serialization import save as save_file
from .tensor import Tensor
from .tensor.capture import capture
from .tensor.core import wrap
from .tensor.gradient_mode import grad_mode
from .tensor.pairs import ComplexTensor, over
from .tensor.quantized import QuantizedTensor
from .tensor.stance import exporting, uncompiled
from .tensor.step import Plan
from .tensor.structure import mapped, tensors_in

FORMAT, VERSION = "heliostat.export", 1
PLACE, PAIR = "tensor", "complex"  # the key of a dict that stands for the tensor of a number, or for a complex one
TUPLE, DICT = "tuple", "dict"  # of dicts that stand for the containers of these names; all else stands for itself
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
        given: list[Tensor] = []
        if not _take(self.inputs, (list(args), kwargs), given):
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
    function = uncompiled(function)
    if not isinstance(args, list | tuple):
        raise TypeError(f"export: args is a tuple of arguments, found a {type(args).__name__}")
    inputs = _described((list(args), dict(kwargs or {})), "an argument")
    # parameters and buffers that are arguments are arguments alone
    listed, named = mapped((list(args), dict(kwargs or {})), lambda t: t if type(t) is Tensor else t.detach())
    types = _types(tensors_in((listed, named)), _axes(function, listed, named, dynamic_shapes))
    try:
        with grad_mode(False), exporting():
            captured = capture(function, listed, named, lambda t: False, types)
    except (TypeError, ValueError) as error:
        if isinstance(error, HeliostatError) or not dynamic_shapes:
            raise
        raise CaptureError(
            f"export: the function does not run with sizes that are not fixed: {error}",
            help="leave those axes out of dynamic_shapes",
        ) from error
    if captured.fills:
        raise CaptureError("export: random numbers are drawn", help="call eval() on modules with dropout before")
    if any(o.final is not None for o in captured.outside) or captured.kept:
        raise CaptureError(
            "export: the function writes tensors from outside", help="call eval() before, or return them"
        )
    if any(captured.finals[id(t)] is not v for t, v in zip(captured.arguments, captured.values, strict=True)):
        raise CaptureError("export: the function writes its arguments", help="clone() them inside, and return them")
    if any(grad is not o.grad for o, grad in captured.grads) or any(t._grad is not None for t in captured.arguments):
        raise CaptureError("export: the function leaves gradients", help="return those of autograd.grad")
    results = tensors_in(captured.result)
    outside = {id(o.tensor): o for o in captured.outside}
    roots = [captured.finals.get(id(t), t.value) for t in results]
    plan = Plan(captured, roots, [])
    graph = plan.graph()
    places = {id(v): n for n, v in enumerate(captured.values)}
    by_stand_in = {id(o.value): o.tensor for o in outside.values()}
    names = _names(function)
    taken = set(names.values())
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
        name = names.get(id(by_stand_in.get(id(v)))) or _free(taken)
        taken.add(name)
        state[name] = t
        rest.append(used[id(v)])
    read = [parameters.get(n) for n in range(len(types))]
    if missing := [n for n, p in enumerate(read) if p is None]:
        raise CaptureError(f"export: the result does not depend on tensor {missing[0]} of the arguments",
                           help="leave it out")  # fmt: skip
    graph = Graph("exported", [*(p for p in read if p is not None), *rest], graph.outputs)
    verify(graph)
    return ExportedProgram(graph, inputs, _described(captured.result, "the result"), state)


def _axes(function: Any, args: Sequence[Any], named: Mapping[str, Any], dynamic_shapes: Any) -> dict[int, Any]:
    """What `dynamic_shapes` says of each tensor, by its number. Raises ShapeError for what is not there."""
    if not isinstance(dynamic_shapes, Mapping):
        count = len(tensors_in((args, named)))
        if len(dynamic_shapes or ()) > count:
            raise ShapeError(f"export: dynamic_shapes are of {len(dynamic_shapes)} arguments, tensors are {count}")
        return dict(enumerate(dynamic_shapes or ()))
    call = function.forward if isinstance(function, Module) else function
    places: dict[str, int] = {}
    n = 0
    for name, x in _by_name(call, args, named):
        if isinstance(x, Tensor):
            places[name] = n
        n += len(tensors_in(x))
    if unknown := [name for name in dynamic_shapes if name not in places]:
        raise ShapeError(f"export: dynamic_shapes name {unknown[0]!r}, which is no argument that is a tensor",
                         help=f"such are {', '.join(places) or 'none'}")  # fmt: skip
    return {places[name]: axes for name, axes in dynamic_shapes.items()}


def _by_name(call: Any, args: Sequence[Any], named: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The arguments in order, each with the name of its parameter; those of `*args` have none."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        names = [p.name for p in inspect.signature(call).parameters.values() if p.kind in kinds]
    except (TypeError, ValueError):  # it has no signature
        names = []
    names += [""] * (len(args) - len(names))
    return [*zip(names, args, strict=False), *named.items()]


def _types(given: Sequence[Tensor], axes: Mapping[int, Any]) -> list[TensorType]:
    sizes: dict[str, int] = {}
    made = []
    for n, t in enumerate(given):
        shape: list[Any] = list(t.shape)
        wanted = axes.get(n) or {}
        if not isinstance(wanted, Mapping):
            raise TypeError(f"export: dynamic_shapes of tensor {n} is a dict from axes to Dim, found {wanted!r}")
        for axis, d in wanted.items():
            if d is None:
                continue
            if not isinstance(d, Dim):
                raise TypeError(f"export: axis {axis} of tensor {n} is a Dim or None, found {d!r}")
            if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
                raise ShapeError(f"export: tensor {n} of shape {list(t.shape)} has no axis {axis!r}")
            size = t.shape[axis]
            if not d.min <= size <= d.max or sizes.setdefault(d.name, size) != size:
                raise ShapeError(f"export: axis {axis} of tensor {n} has the size {size}, which is not that of {d}")
            shape[axis] = dim(Symbol(d.name, upper=d.max, lower=d.min))
        made.append(tensor(t.dtype, *shape))
    return made


def _names(function: Any) -> dict[int, str]:
    if not isinstance(function, Module):
        return {}
    return {id(t): name for name, t in (*function.named_parameters(), *function.named_buffers())}


def _free(taken: set[str]) -> str:
    n = 0
    while f"tensor_{n}" in taken:
        n += 1
    return f"tensor_{n}"


# --- nesting ----------------------------------------------------------------------------------------------------------
def _described(x: Any, what: str) -> Any:
    """How x is nested: a dict of one key in the place of each tensor, tuple and dict, with what is inside of it."""
    numbers = iter(range(1 << 30))

    def walk(x: Any) -> Any:
        if isinstance(x, ComplexTensor):
            return {PAIR: next(numbers)}
        if isinstance(x, QuantizedTensor):
            raise UnsupportedError(f"export: {what} is a quantized tensor", help="dequantize() it")
        if isinstance(x, Tensor):
            return {PLACE: next(numbers)}
        if isinstance(x, tuple | list):
            rows = [walk(v) for v in x]
            return {TUPLE: rows} if isinstance(x, tuple) else rows
        if isinstance(x, dict):
            return {DICT: [[k, walk(v)] for k, v in x.items()]}
        if isinstance(x, np.ndarray):
            raise CaptureError(f"export: {what} is a NumPy array", help="make it heliostat.tensor(array)")
        if dataclasses.is_dataclass(x) and tensors_in(x):
            raise UnsupportedError(f"export: {what} is a {type(x).__name__}", help="use tuples, lists and dicts")
        return x

    return walk(x)


def _take(described: Any, x: Any, found: list[Tensor]) -> bool:
    """Whether x is nested so and equal but for its tensors, which are appended in the order of their numbers."""
    if isinstance(described, list):
        return isinstance(x, list) and _take_all(described, x, found)
    if not isinstance(described, dict):
        return type(x) is type(described) and (x == described or (x != x and described != described))
    ((kind, inner),) = described.items()
    if kind == TUPLE:
        return isinstance(x, tuple) and _take_all(inner, x, found)
    if kind == DICT:
        same = isinstance(x, dict) and len(x) == len(inner) and all(k in x for k, _ in inner)
        return same and all(_take(v, x[k], found) for k, v in inner)
    if not isinstance(x, Tensor) or isinstance(x, ComplexTensor) is not (kind == PAIR):
        return False
    found.extend(tensors_in(x))
    return not isinstance(x, QuantizedTensor)


def _take_all(described: Sequence[Any], x: Sequence[Any], found: list[Tensor]) -> bool:
    return len(described) == len(x) and all(_take(d, v, found) for d, v in zip(described, x, strict=True))


def _filled(described: Any, made: Sequence[Any]) -> Any:
    if isinstance(described, list):
        return [_filled(v, made) for v in described]
    if not isinstance(described, dict):
        return described
    ((kind, inner),) = described.items()
    if kind == TUPLE:
        return tuple(_filled(v, made) for v in inner)
    if kind == DICT:
        return {k: _filled(v, made) for k, v in inner}
    return over(made[inner]) if kind == PAIR else made[inner]


def _places(described: Any) -> list[tuple[str, int]]:
    """The kinds and numbers of tensors, in order. Raises ValueError or TypeError for what `_described` does
    not make."""
    if isinstance(described, list):
        return [found for v in described for found in _places(v)]
    if not isinstance(described, dict):
        return []
    ((kind, inner),) = described.items()
    if kind == TUPLE and isinstance(inner, list):
        return _places(inner)
    if kind == DICT and isinstance(inner, list):
        return [found for _, v in dict(inner).items() for found in _places(v)]  # a key that has no hash is a TypeError
    if kind not in (PLACE, PAIR) or type(inner) is not int or inner < 0:
        raise ValueError(f"{kind!r} of {str(inner)[:40]} stands for nothing")
    return [(kind, inner)]


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
        attrs = {name: concrete(a, sizes) for name, a in node.attrs.items()}
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


# --- files ------------------------------------------------------------------------------------------------------------
def save(program: ExportedProgram, f: Place) -> None:
    """Write a program: a safetensors file with a checksum, which takes the name of an older one after it is whole."""
    save_file(
        {
            "format": FORMAT, "version": VERSION, "graph": print_graph(program.graph), "inputs": program.inputs,
            "outputs": program.outputs, "state": program.state_dict, "ops": versions_of(program.graph),
        },
        f,
    )  # fmt: skip


def load(f: Place) -> ExportedProgram:
    """What `save` wrote, in earlier versions too: ops whose meaning has changed since become what they were. Raises
    FileFormatError for a file that is damaged or no program, and for ops of unknown versions: nothing of it runs
    before its graph is verified."""
    name = getattr(f, "name", None) or (str(f) if isinstance(f, str | os.PathLike) else "the file")
    found = load_file(f)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise FileFormatError(f"{name}: holds no exported program")
    if found.get("version") != VERSION:
        raise FileFormatError(f"{name}: is of version {found.get('version')}, known is {VERSION}")
    try:
        graph = renewed(parse_graph(found["graph"], finder(str(name), found.get("ops")), path=str(name)))
        verify(graph)
        state = found["state"]
        count = len(graph.parameters) - len(state)
        given, results = _places(found["inputs"]), _places(found["outputs"])
        if (
            graph.updates
            or [n for _, n in given] != list(range(count))
            or not all(type(t) is Tensor for t in state.values())
        ):
            raise FileFormatError(f"{name}: arguments and state are not those of its graph")
        for p, t in zip(graph.parameters[count:], state.values(), strict=True):
            _match(p.type, t.value.type, {})
        _check_symbols(graph)
        if any(n >= len(graph.outputs) for _, n in results):
            raise FileFormatError(f"{name}: its results are not those of its graph")
        for types, places in ((graph.parameters, given), (graph.outputs, results)):
            for kind, n in places:
                if kind == PAIR and (
                    types[n].type.element.name not in ("f32", "f64") or types[n].type.shape[-1:] != (2,)
                ):
                    raise FileFormatError(f"{name}: {types[n].type} is said to be of complex numbers")
        return ExportedProgram(graph, found["inputs"], found["outputs"], state)
    except FileFormatError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, HeliostatError) as error:
        what = f"{name}: the program is not valid: {type(error).__name__} {str(error)[:120]}"
        raise FileFormatError(what) from None


def _check_symbols(graph: Graph) -> None:
    """Sizes that are not fixed are axes of arguments. Raises ShapeError: a call could not tell them."""
    found = set()
    for p in graph.parameters:
        for d in p.type.shape:
            if isinstance(d, SymbolicDim):
                if d != dim(d.symbols[0]):
                    raise ShapeError(f"an axis of a parameter has the size {d}, not a symbol")
                found.add(d.symbols[0].name)
    if unknown := [s.name for s in graph.symbols if s.name not in found]:
        raise ShapeError(f"{unknown[0]} is the size of no parameter's axis")
