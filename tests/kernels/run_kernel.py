"""Runs one kernel on NumPy arrays: as machine code of the host, or by the interpreter. For tests of schedules.

`run_group` builds the kernel of a small graph; arrays lie against an inaccessible page where `guard` is set.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heliostat.ir.graph import Graph, Value, storage_dtype
from heliostat.ir.types import DType, TensorType, evaluate
from heliostat.kernel.interp import interpret
from heliostat.kernel.ir import Kernel
from heliostat.kernel.verify import verify
from heliostat.kernels.group import Accept, Group
from heliostat.quant.activation import ActivationFormat
from heliostat.runtime.guard import guarded_buffer
from heliostat.runtime.jit import Loaded, load_objects
from heliostat.session.host import host_target
from heliostat.targets.llvm import print_llvm
from heliostat.targets.llvm_compile import emit_object
from heliostat.targets.target import X86_AVX2, Target

Array = NDArray[Any]
HOST: Target = host_target()


@lru_cache(maxsize=4096)
def _object(text: str, target: Target) -> bytes:
    """Machine code of LLVM IR: seeds and sizes that are symbols make the same kernel again."""
    return emit_object(text, target)


class Compiled:
    """A kernel as machine code of the host."""

    def __init__(self, kernel: Kernel, target: Target = HOST) -> None:
        verify(kernel)
        self.kernel = kernel
        self.loaded: Loaded = load_objects([_object(print_llvm([kernel], target), target)])
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        self.call = kind(self.loaded[kernel.name])

    def arguments(self, arrays: Sequence[Array]) -> Any:
        """The argument block for C-contiguous arrays, one for each parameter; it keeps none of them alive."""
        assert len(arrays) == len(self.kernel.parameters)
        assert all(a.flags.c_contiguous for a in arrays)
        return (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))

    def run(self, arrays: Sequence[Array], workers: int = 1) -> None:
        """One worker after the other; parallel regions have nothing to wait for inside a test."""
        block = self.arguments(arrays)
        for worker in range(workers):
            self.call(ctypes.addressof(block), worker, workers)


def run_kernel(
    kernel: Kernel, arrays: Sequence[Array], workers: int = 1, interp: bool = False, target: Target = HOST
) -> None:
    if interp:
        interpret(kernel, arrays, workers)
    else:
        Compiled(kernel, target).run(arrays, workers)


def targets() -> list[Target]:
    """The host, and the host with narrow vectors where it has wide ones."""
    found = [HOST]
    if HOST.architecture == "x86-64" and HOST.vector_bytes > X86_AVX2.vector_bytes:
        found.append(replace(X86_AVX2, triple=HOST.triple))
    return found


def group_of(outputs: Sequence[Value], root: str = "") -> Group:
    """Every node behind `outputs` as one group; parameters and constants of more than one element are its inputs.

    `root`: the op of the group's root where that is not the last node."""
    graph = Graph("test", (), outputs)
    nodes = [n for n in graph.nodes() if n.op.name not in ("parameter", "constant")]
    inputs: dict[Value, None] = {}
    for node in nodes:
        for v in node.inputs:
            leaf = v.is_parameter or (v.is_constant and any(d != 1 for d in v.type.shape))
            if leaf:
                inputs.setdefault(v)
    chosen = next(n for n in reversed(nodes) if root in ("", n.op.name))
    return Group(tuple(nodes), tuple(inputs), tuple(outputs), chosen)


def stored(array: Array, dtype: DType) -> Array:
    """An array as its bytes lie in memory: bf16 as the upper halves of f32, rounded."""
    if dtype.name != "bf16":
        return np.ascontiguousarray(array, storage_dtype(dtype))
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def loaded(array: Array, dtype: DType) -> Array:
    """The values of what `stored` made."""
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype.name == "bf16" else array


def output_array(type: TensorType, symbols: Mapping[str, int]) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype of an output's memory: quantized rows are bytes."""
    shape = tuple(evaluate(d, symbols) for d in type.shape)
    if isinstance(type.element, ActivationFormat):
        return (int(np.prod(shape[:-1], dtype=np.int64)), type.element.row_bytes(shape[-1])), np.dtype(np.uint8)
    return shape, np.dtype(np.uint16) if type.element.name == "bf16" else np.dtype(storage_dtype(type.dtype))


def run_group(
    schedule: Any,
    outputs: Sequence[Value],
    inputs: Mapping[Value, Array],
    symbols: Mapping[str, int] | None = None,
    workers: int = 1,
    interp: bool = False,
    guard: bool = False,
    target: Target = HOST,
    root: str = "",
) -> list[Array]:
    """The outputs of a graph as one kernel of `schedule` computes them. Outputs start poisoned with 0xA5.

    `guard`: inputs and outputs end where an inaccessible page begins. `root`: as for `group_of`.
    """
    group = group_of(outputs, root)
    verdict = schedule.accepts(group, target)
    assert isinstance(verdict, Accept), verdict
    kernel = schedule.build(group, target, "test_kernel")
    sizes = dict(symbols or {})
    keep: list[Any] = []

    def place(shape: tuple[int, ...], dtype: Any, values: Array | None) -> Array:
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if guard:
            buffer = guarded_buffer(nbytes)
            keep.append(buffer)
            flat = np.ctypeslib.as_array((ctypes.c_uint8 * max(nbytes, 1)).from_address(buffer.address))[:nbytes]
        else:
            flat = np.full(nbytes, 0xA5, np.uint8)
        made: Array = flat.view(dtype).reshape(shape)
        if values is not None:
            made[...] = values
        return made

    arrays: list[Array] = []
    for v in group.inputs:
        raw = stored(v.node.attrs["value"] if v.is_constant else inputs[v], v.type.dtype)
        arrays.append(place(raw.shape, raw.dtype, raw))
    results = [place(*output_array(v.type, sizes), None) for v in group.outputs]
    arrays += results
    arrays += [np.array([sizes[s.name]], np.int64) for s in group.symbols]
    run_kernel(kernel, arrays, workers, interp, target)
    return [
        r.copy() if isinstance(v.type.element, ActivationFormat) else loaded(r.copy(), v.type.dtype)
        for v, r in zip(group.outputs, results, strict=True)
    ]
