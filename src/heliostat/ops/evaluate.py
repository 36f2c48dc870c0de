"""Runs a graph by the ops' NumPy references: the oracle of the compiler. Floats are computed in float64.

Quantized values are held as the float values they stand for, so every reference sees plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..diagnostics import ShapeError
from ..ir.graph import CONSTANT, PARAMETER, Graph, Node
from ..ir.types import Dim, DType, SymbolicDim, TensorType, bf16, concrete
from ..quant.codec import dequantize
from ..quant.format import BlockFormat
from .op import Array, Op
from .rounding import to_dtype

__all__ = ["evaluate", "run_node", "to_dtype"]


def evaluate(
    graph: Graph, inputs: Mapping[str, Array], symbols: Mapping[str, int] | None = None, exact: bool = True
) -> list[Array]:
    """Outputs, then the new states in the order of `graph.updates`. `inputs`: an array for each parameter by name.

    Block formats are given as raw uint8 rows (..., row_bytes), bf16 as float32 or as uint16 bits. `symbols`: values by
    name, where they do not follow from the arrays. With `exact` intermediate floats stay float64, and each output is
    rounded once to its dtype (bf16 held in float32); otherwise every result is rounded. Outputs of a block format are
    the floats that they stand for. Raises ShapeError for arrays and symbols that do not fit.
    """
    nodes = graph.nodes()
    given = {p.node.attrs["name"]: p.type for p in graph.parameters}
    for name in given:
        if name not in inputs:
            raise ShapeError(f"no array is given for parameter {name!r}")
    known = _symbols(graph, {n: (t, np.shape(inputs[n])) for n, t in given.items()}, symbols or {})
    values: dict[int, Array] = {}
    for node in nodes:
        if node.op is PARAMETER:
            name = node.attrs["name"]
            if name not in given:
                raise ShapeError(f"parameter {name!r} is not among those of graph {graph.name}")
            values[id(node.results[0])] = _given(np.asarray(inputs[name]), node.results[0].type, known, name)
        elif node.op is CONSTANT:
            values[id(node.results[0])] = _wide(node.attrs["value"])
        else:
            found = run_node(node, [values[id(v)] for v in node.inputs], known, exact)
            values.update((id(v), array) for v, array in zip(node.results, found, strict=True))
    out: list[Array] = []
    for v in graph.results():
        array, element = values[id(v)], v.type.element
        out.append(to_dtype(array, element) if isinstance(element, DType) else array)
    return out


def run_node(node: Node, arrays: Sequence[Array], symbols: Mapping[str, int], exact: bool = True) -> tuple[Array, ...]:
    """The results of one node. Raises ShapeError if the reference gives another shape than the type rule."""
    assert isinstance(node.op, Op)
    attrs = {k: _known(v, symbols) for k, v in node.attrs.items()}
    result = node.op.reference(*arrays, **attrs)
    results = result if isinstance(result, tuple) else (result,)
    made: list[Array] = []
    for value, raw in zip(node.results, results, strict=True):
        array = np.asarray(raw)
        if array.shape != _known(value.type.shape, symbols):
            raise ShapeError(f"{node.op.name} gives the shape {list(array.shape)}, its type rule says {value.type}")
        element = value.type.element
        if isinstance(element, DType):
            if not element.is_float or not exact:
                array = to_dtype(array, element)
            array = array.astype(np.float64) if element.is_float else array
        made.append(array)
    return tuple(made)


def _known(value: Any, symbols: Mapping[str, int]) -> Any:
    try:
        return concrete(value, symbols)
    except KeyError as missing:
        raise ShapeError(f"no value is given for the symbol {missing.args[0]}") from None


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array


def _symbols(
    graph: Graph, arrays: Mapping[str, tuple[TensorType, tuple[int, ...]]], given: Mapping[str, int]
) -> dict[str, int]:
    """Values of the symbols: those given, and those that follow from sizes that are linear in one unknown symbol."""
    known = dict(given)
    sizes = [pair for type, shape in arrays.values() for pair in zip(type.shape, shape, strict=False)]
    found = True
    while found:
        found = False
        for d, size in sizes:
            solved = _solve(d, size, known)
            if solved is not None:
                known[solved[0]] = solved[1]
                found = True
    for s in graph.symbols:
        if s.name in known and not s.lower <= known[s.name] <= s.upper:
            raise ShapeError(f"symbol {s.name} is {known[s.name]}, outside {s.lower} .. {s.upper}")
    return known


def _solve(d: Dim, size: int, known: Mapping[str, int]) -> tuple[str, int] | None:
    """The one unknown symbol of `d` and its value, where `d` is linear in it; None otherwise."""
    if not isinstance(d, SymbolicDim):
        return None
    unknown = [s for s in d.symbols if s.name not in known]
    if len(unknown) != 1:
        return None
    name, rest, factor = unknown[0].name, 0, 0
    for key, coefficient in d.terms:
        names = [s.name for s in key]
        product = coefficient
        for other in names:
            product *= known.get(other, 1)
        if names.count(name) > 1:
            return None
        if name in names:
            factor += product
        else:
            rest += product
    return (name, (size - rest) // factor) if factor and (size - rest) % factor == 0 else None


def _given(array: Array, type: TensorType, symbols: Mapping[str, int], name: str) -> Array:
    shape = _known(type.shape, symbols)
    if isinstance(type.element, BlockFormat):
        row = (*shape[:-1], shape[-1] // type.element.block * type.element.nbytes)
        if array.dtype != np.uint8 or array.size != np.prod(row, dtype=np.int64):
            raise ShapeError(
                f"parameter {name} is {type}: it takes uint8 of shape {list(row)}, found {_described(array)}"
            )
        return np.asarray(dequantize(array.reshape(row), type.element)).reshape(shape).astype(np.float64)
    if array.shape != shape:
        raise ShapeError(f"parameter {name} is {type}, but the array has shape {list(array.shape)}")
    if type.element == bf16 and array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return _wide(array)


def _described(array: Array) -> str:
    return f"{array.dtype} of shape {list(array.shape)}"
