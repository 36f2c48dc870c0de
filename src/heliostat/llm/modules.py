"""Modules that build graph: `Module`, `Parameter`, the layers that decoders are made of, and `capture`, which runs a
function of graph values once and returns the graph it built. Weights are types; data is bound when the graph runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from .. import ops
from ..diagnostics import CompileError
from ..ir.graph import Graph, Value, parameter
from ..ir.types import Element, TensorType, f32, tensor


class _Capture:
    """Graph parameters made so far while a function is captured, by full name."""

    def __init__(self) -> None:
        self.values: dict[int, Value] = {}
        self.weights: list[Value] = []


_current: ContextVar[_Capture | None] = ContextVar("heliostat_capture", default=None)


class Parameter:
    """A weight: a type, and the name it gets from the module that owns it. Data is bound when the graph runs."""

    def __init__(self, type: TensorType, name: str = "") -> None:
        self.type = type
        self.name = name

    @property
    def value(self) -> Value:
        """The graph value of this weight in the capture that is going on. Raises CompileError outside one."""
        scope = _current.get()
        if scope is None:
            raise CompileError(
                f"parameter {self.name!r} is used outside a capture", help="call the module inside capture()"
            )
        found = scope.values.get(id(self))
        if found is None:
            found = scope.values[id(self)] = parameter(self.name, self.type, kind="weight")
            scope.weights.append(found)
        return found

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, {self.type})"


class Module:
    """Base of all modules. Assigning a Parameter or Module to an attribute registers it under that name."""

    _parameters: dict[str, Parameter]
    _modules: dict[str, Module]

    def __init__(self) -> None:
        self.__dict__["_parameters"] = {}
        self.__dict__["_modules"] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._parameters[name] = value
        elif isinstance(value, Module):
            self._modules[name] = value
        object.__setattr__(self, name, value)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, with dotted names."""
        yield prefix, self
        for name, module in self._modules.items():
            yield from module.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its dotted name."""
        seen: set[int] = set()
        for path, module in self.named_modules(prefix):
            for name, value in module._parameters.items():
                if id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Build the module's graph. Subclasses say what it takes and returns."""
        raise TypeError(f"{type(self).__name__} has no forward")


class ModuleList(Module):
    """Modules in order, named by their number."""

    def __init__(self, modules: Sequence[Module] = ()) -> None:
        super().__init__()
        for n, module in enumerate(modules):
            setattr(self, str(n), module)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, n: int) -> Module:
        return list(self._modules.values())[n]


# Weights of layers may be of any element type: dense or a quantized block format.


class Linear(Module):
    """y = x @ weight^T + bias. x: (..., in_features), weight: (out_features, in_features) of any element type."""

    def __init__(self, weight: Parameter, bias: Parameter | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = bias

    @classmethod
    def of(cls, in_features: int, out_features: int, element: Element = f32, bias: bool = False) -> Linear:
        """A layer of that shape; names come from the module that holds it."""
        return cls(
            Parameter(tensor(element, out_features, in_features)),
            Parameter(tensor(f32, out_features)) if bias else None,
        )

    def forward(self, x: Value) -> Value:
        y = ops.matmul(x, ops.transpose(self.weight.value))
        return y if self.bias is None else ops.add(y, self.bias.value)


class RMSNorm(Module):
    """x / sqrt(mean(x * x) + eps) * weight over the last axis. weight: (D,)."""

    def __init__(self, weight: Parameter, eps: float) -> None:
        super().__init__()
        self.weight = weight
        self.eps = eps

    def forward(self, x: Value) -> Value:
        return ops.rms_norm(x, self.weight.value, eps=self.eps)


class Embedding(Module):
    """Rows of a table by number. weight: (V, K) of any element type, ids: (N,) i32; result (N, K) f32."""

    def __init__(self, weight: Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, ids: Value) -> Value:
        return ops.embedding(self.weight.value, ids)


def capture(
    name: str,
    function: Callable[..., tuple[Sequence[Value], Sequence[tuple[Value, Value]]]],
    inputs: Mapping[str, TensorType],
    states: Mapping[str, TensorType] | None = None,
) -> Graph:
    """The graph of one call of `function(**inputs, **states)`, which returns (outputs, updates of states).

    Parameters of modules used on the way become weight parameters of the graph, in order of first use.
    """
    scope = _Capture()
    token = _current.set(scope)
    try:
        given = {n: parameter(n, t, kind="input") for n, t in inputs.items()}
        held = {n: parameter(n, t, kind="state") for n, t in (states or {}).items()}
        outputs, updates = function(**given, **held)
    finally:
        _current.reset(token)
    everything = (*given.values(), *held.values(), *scope.weights)
    return Graph(name, everything, tuple(outputs), updates=tuple(updates))
