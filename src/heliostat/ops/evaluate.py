"""Runs a graph by the ops' NumPy references: the oracle of the compiler. Floats are computed in float64.

Quantized values are held as the float values they stand for, so every reference sees plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..diagnostics import ShapeError
from ..ir.graph import CONSTANT, PARAMETER, Graph, storage_dtype
from ..ir.types import DType, Element, SymbolicDim, TensorType, bf16
from ..quant.activation import ActivationFormat
from ..quant.codec import dequantize
from ..quant.format import BlockFormat
from ..quant.quantize import encode
from .op import Array


def evaluate(
    graph: Graph, inputs: Mapping[str, Array], symbols: Mapping[str, int] | None = None, exact: bool = True
) -> list[Array]:
    """Outputs, then the new states, of one run. `inputs`: an array for each parameter by name.

    Block formats are given as raw uint8 rows (N, row_bytes). With `exact` intermediate floats stay float64; otherwise
    each
    result is rounded to its dtype. Raises ShapeError for arrays that do not fit.
    """
    values: dict[int, Array] = {}
    named = dict(symbols or {})
    for node in graph.nodes():
        if node.op is PARAMETER:
            name = node.attrs["name"]
            if name not in inputs:
                raise ShapeError(f"no array is given for parameter {name!r}")
            values[id(node.results[0])] = _given(inputs[name], node.results[0].type, named, name)
        elif node.op is CONSTANT:
            values[id(node.results[0])] = _wide(node.attrs["value"])
        else:
            arrays = [values[id(v)] for v in node.inputs]
            attrs = {k: _concrete(v, named) for k, v in node.attrs.items()}
            result = node.op.reference(*arrays, **attrs)  # type: ignore[attr-defined]
            results = result if isinstance(result, tuple) else (result,)
            for value, array in zip(node.results, results, strict=True):
                if not exact and isinstance(value.type.element, DType):
                    array = _wide(to_dtype(array, value.type.element))
                values[id(value)] = np.asarray(array)
    out: list[Array] = []
    for v in graph.results():
        array = values[id(v)]
        out.append(to_dtype(array, v.type.element) if isinstance(v.type.element, DType) else array)
    return out


def _concrete(value: Any, symbols: Mapping[str, int]) -> Any:
    if isinstance(value, SymbolicDim):
        return value.evaluate(symbols)
    if isinstance(value, tuple):
        return tuple(_concrete(v, symbols) for v in value)
    return value


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array


def _given(array: Array, type: TensorType, symbols: dict[str, int], name: str) -> Array:
    array = np.asarray(array)
    if isinstance(type.element, BlockFormat):
        shape = tuple(_concrete(d, symbols) for d in type.shape)
        return np.asarray(dequantize(array, type.element)).reshape(shape).astype(np.float64)
    if type.rank != array.ndim:
        raise ShapeError(f"parameter {name} is {type}, but the array has shape {array.shape}")
    for d, size in zip(type.shape, array.shape, strict=True):
        if isinstance(d, SymbolicDim) and len(d.terms) == 1 and len(d.symbols) == 1 and d.terms[0][1] == 1:
            symbols.setdefault(d.symbols[0].name, size)
        if _concrete(d, symbols) != size:
            raise ShapeError(f"parameter {name} is {type}, but the array has shape {array.shape}")
    if type.element == bf16 and array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return _wide(array)


def to_dtype(array: Array, dtype: DType) -> Array:
    """Values rounded to a dtype, as the array type that holds it (bf16 in float32)."""
    if dtype == bf16:
        bits = np.asarray(array, np.float32).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
        return np.where(np.isnan(array), np.float32(np.nan), rounded.view(np.float32))
    target = np.dtype(storage_dtype(dtype))
    array = np.asarray(array)
    if target.kind in "iu" and array.dtype.kind == "f":
        info = np.iinfo(target)
        with np.errstate(invalid="ignore"):
            clipped = np.clip(np.nan_to_num(np.trunc(array), nan=0.0), float(info.min), float(info.max))
            return np.where(clipped >= float(info.max), info.max, clipped.astype(target)).astype(target)
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(target)


def round_through(array: Array, format: Element) -> Array:
    """The values that remain after quantizing to a format."""
    if isinstance(format, ActivationFormat):
        rows = np.asarray(array, np.float32).reshape(-1, array.shape[-1])
        return format.decode(format.encode(rows), array.shape[-1]).reshape(array.shape).astype(np.float64)
    assert isinstance(format, BlockFormat)
    raw = encode(np.asarray(array, np.float32), format)
    return np.asarray(dequantize(raw, format)).reshape(array.shape).astype(np.float64)
