"""Slices with symbolic bounds: sizes that do not fit are refused before any kernel runs."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.diagnostics import ShapeError
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import Symbol, dim, f32, tensor
from heliostat.session import compile_graph

N, M = dim(Symbol("n", 64)), dim(Symbol("m", 64))


def test_bounds_are_checked_when_sizes_are_known() -> None:
    x, y = parameter("x", tensor(f32, N, 4)), parameter("y", tensor(f32, M))
    session = compile_graph(Graph("g", [x, y], [ops.slice(x, 0, M, N) * 2.0, y + 1.0]), threads=1)
    for n, m in ((5, 2), (64, 64), (3, 0)):
        given = {"x": np.arange(4 * n, dtype=np.float32).reshape(n, 4), "y": np.zeros(m, np.float32)}
        np.testing.assert_array_equal(session.run(given)[0], given["x"][m:] * 2)
    with pytest.raises(ShapeError, match=r"slice \(?m\)?:\(?n\)? of axis 0.*m = 6, n = 5"):
        session.run({"x": np.zeros((5, 4), np.float32), "y": np.zeros(6, np.float32)})


def test_bounds_that_always_fit_cost_nothing() -> None:
    x = parameter("x", tensor(f32, dim(Symbol("k", 64, 1)), 4))
    last = ops.slice(x, 0, dim(Symbol("k", 64, 1)) - 1, dim(Symbol("k", 64, 1)))
    assert compile_graph(Graph("g", [x], [last])).compiled.program.constraints == ()
