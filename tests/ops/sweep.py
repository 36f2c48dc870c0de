"""Every sample of every registered op, as pytest parameters: a new op is tested by being declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import DType, TensorType, evaluate, f64
from heliostat.ops import REGISTRY, Op
from heliostat.ops.evaluate import evaluate as run
from heliostat.ops.samples import Operand, Sample

Array = np.ndarray[Any, np.dtype[Any]]


def cases() -> list[Any]:
    """(op, sample) for each."""
    return [
        pytest.param(op, case, id=f"{op.name}-{n}") for op in REGISTRY.values() for n, case in enumerate(op.cases())
    ]


def leaves(case: Sample) -> list[Value]:
    return [parameter(f"x{i}", operand.type) for i, operand in enumerate(case.operands)]


def graph_of(op: Op, case: Sample) -> Graph:
    """A graph of the op alone."""
    inputs = leaves(case)
    return Graph(op.name, inputs, op.build_all(*inputs, **case.attrs))


def given(arrays: list[Array]) -> dict[str, Array]:
    return {f"x{i}": a for i, a in enumerate(arrays)}


def decomposed(op: Any, case: Sample) -> Graph:
    inputs = leaves(case)
    return Graph(op.name, inputs, [op.decompose(*inputs, **{**op.defaults, **case.attrs})])


def evaluated(graph: Graph, arrays: list[Array], symbols: Mapping[str, int], exact: bool = True) -> list[Array]:
    return run(graph, given(arrays), symbols, exact)


def shape_of(type: TensorType, symbols: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(d, symbols) for d in type.shape)


def in_f64(case: Sample) -> Sample | None:
    """The sample with every float in f64, drawn without special values; None where nothing can be differentiated."""
    operands: list[Operand] = []
    for o in case.operands:
        values = o.values.plain()
        if values is None or not isinstance(o.type.element, DType):
            return None
        type = replace(o.type, element=f64) if o.type.element.is_float else o.type
        operands.append(Operand(type, values))
    return replace(case, operands=tuple(operands)) if any(o.type.element == f64 for o in operands) else None
