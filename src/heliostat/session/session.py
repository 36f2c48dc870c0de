"""A graph compiled for this machine and run with arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..compiler.pipeline import Compiled, KernelLibrary, Options
from ..diagnostics import ShapeError
from ..ir.graph import Graph, Value, storage_dtype
from ..ir.types import DType, SymbolicDim, TensorType, evaluate
from ..kernels.cache_layout import arranged
from ..ops.rounding import to_dtype
from ..runtime.buffer import Buffer
from ..runtime.worker_pool import WorkerPool
from ..targets.target import Target
from . import stages
from .executable import CodeStore, Executable, as_array
from .host import host_target
from .tuning import load_tuning


def shaped(array: npt.NDArray[Any], value: Value, symbols: Mapping[str, int]) -> npt.NDArray[Any]:
    """An output in its own shape: its buffer may be that of the value it was reshaped from."""
    if not isinstance(value.type.element, DType) or value.type.layout is not None:
        return array
    return array.reshape(value.type.shape_at(symbols))


class Session:
    """A compiled graph bound to this machine, run with arrays: for `.lum` functions and tests."""

    def __init__(self, graph: Graph, target: Target, threads: int | None, options: Options) -> None:
        self.graph = graph
        self.compiled: Compiled = stages.compile_graph(graph, target, options, KernelLibrary())
        self.pool = WorkerPool(threads)
        self.code = CodeStore(target)
        kernels = [k for p in (*self.compiled.loads.values(), self.compiled.program) for k in p.kernels]
        self.addresses = self.code.load(kernels)
        self.executable: Executable | None = None
        self.bound: dict[str, Any] = {}

    def run(
        self, inputs: Mapping[str, npt.NDArray[Any]], symbols: Mapping[str, int] | None = None
    ) -> list[npt.NDArray[Any]]:
        """Outputs, then the new states. `inputs`: an array per parameter; block formats as uint8 rows, bf16 as uint16.

        Weights are packed at the first run with them, and again when other arrays are given. Raises ShapeError.
        """
        known = dict(symbols or {})
        raw = prepare(self.graph, inputs, known)
        weights = {p.node.attrs["name"] for p in self.graph.parameters if p.kind == "weight"}
        same = self.executable is not None and all(self.bound.get(n) is inputs[n] for n in weights)
        if not same:
            self._bind(raw, weights)
            self.bound = {n: inputs[n] for n in weights}
        executable = self.executable
        assert executable is not None
        executable.set_symbols(known)
        for plan, buffer in zip(executable.program.buffers, executable.buffers, strict=True):
            if plan.kind in ("input", "state") and plan.name in raw:
                data = raw[plan.name].reshape(-1).view(np.uint8)
                if plan.type.layout is not None:
                    data = to_layout(data, plan.type)
                buffer.array(np.uint8)[: data.size] = data
        executable.run()
        results = [
            shaped(executable.output(n, known), value, known).copy() for n, value in enumerate(self.graph.outputs)
        ]
        for old, _ in self.graph.updates:
            number = executable.program.by_name(old.node.attrs["name"])
            type = executable.program.buffers[number].type
            data = as_array(executable.buffers[number], type, known)
            results.append(from_layout(data, type).copy() if type.layout is not None else data.copy())
        return results

    def _bind(self, raw: Mapping[str, npt.NDArray[Any]], weights: set[str]) -> None:
        given = {n: Buffer.of(raw[n]) for n in weights}
        for name, program in self.compiled.loads.items():
            load = Executable(program, self.addresses, self.pool, given)
            load.run()
            given[name] = load.buffers[program.outputs[0]]
        self.executable = Executable(self.compiled.program, self.addresses, self.pool, given)


def prepare(graph: Graph, inputs: Mapping[str, npt.NDArray[Any]], known: dict[str, int]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of all parameters in the bytes that programs read; learns symbol values from shapes."""
    raw: dict[str, npt.NDArray[Any]] = {}
    for p in graph.parameters:
        name = p.node.attrs["name"]
        if name not in inputs:
            raise ShapeError(f"no array is given for parameter {name!r}")
        raw[name] = _prepare(np.asarray(inputs[name]), p.type, known, name)
    return raw


def _prepare(array: npt.NDArray[Any], type: TensorType, known: dict[str, int], name: str) -> npt.NDArray[Any]:
    """The array in the bytes that the program reads; learns symbol values from its shape."""
    if not isinstance(type.element, DType):
        return np.ascontiguousarray(array, np.uint8)
    if array.ndim != type.rank:
        raise ShapeError(f"parameter {name} is {type}, but the array has shape {list(array.shape)}")
    for d, size in zip(type.shape, array.shape, strict=True):
        if isinstance(d, SymbolicDim) and len(d.terms) == 1 and d.terms[0][1] == 1 and len(d.terms[0][0]) == 1:
            known.setdefault(d.symbols[0].name, size)
        if evaluate(d, known) != size:
            raise ShapeError(f"parameter {name} is {type}, but the array has shape {list(array.shape)}")
    if type.element.name == "bf16":
        if array.dtype == np.uint16:
            return np.ascontiguousarray(array)
        rounded = np.ascontiguousarray(to_dtype(array, type.element), np.float32)
        return (rounded.view(np.uint32) >> 16).astype(np.uint16)
    return np.ascontiguousarray(array, storage_dtype(type.element))


def to_layout(data: npt.NDArray[np.uint8], type: TensorType) -> npt.NDArray[np.uint8]:
    """Row-major cache bytes in the order of the type's layout."""
    return _swap(data, type, inverse=False)


def from_layout(data: npt.NDArray[np.uint8], type: TensorType) -> npt.NDArray[Any]:
    """A cache in its layout as a row-major array, bf16 as uint16."""
    kind = np.uint16 if type.element.name == "bf16" else storage_dtype(type.dtype)
    shape = tuple(int(d) for d in type.shape)  # type: ignore[arg-type]
    return _swap(data, type, inverse=True).view(kind).reshape(shape)


def _swap(data: npt.NDArray[np.uint8], type: TensorType, inverse: bool) -> npt.NDArray[np.uint8]:
    *_, capacity, size = (int(d) for d in type.shape)  # type: ignore[arg-type]
    assert type.layout is not None
    return arranged(data.reshape(-1, capacity, size, type.element.nbytes), type.layout, inverse)


def compile_graph(
    graph: Graph, threads: int | None = None, target: Target | None = None, options: Options | None = None
) -> Session:
    """Compile a graph for this machine (or a given target that it can run)."""
    target = target or host_target()
    return Session(graph, target, threads, options or Options(tuning=load_tuning(target)))
