"""Formulas are tested on the ops' NumPy references: nothing is compiled, so a table of all distributions is cheap.

`test_native.py` runs some of them compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from heliostat.ops.evaluate import evaluate
from heliostat.runtime.buffer import Buffer
from heliostat.tensor import lazy


class _Interpreted:
    """A graph run by `evaluate`, with the interface of a program."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def run(self, inputs: Sequence[Buffer], sizes: Sequence[int] = ()) -> list[Buffer]:
        types = [(p.node.attrs["name"], p.type) for p in self.graph.parameters]
        given = {
            name: buffer.array(lazy.NUMPY[t.dtype.name], t.shape)
            for (name, t), buffer in zip(types, inputs, strict=True)
        }
        found = evaluate(self.graph, given, exact=False)
        results = zip(found, self.graph.results(), strict=True)
        return [Buffer.of(np.array(a, lazy.NUMPY[v.type.dtype.name], order="C")) for a, v in results]


class _Programs(lazy.Programs):
    def get(self, key: Any, build: Callable[[], Any], device: str = "cpu") -> _Interpreted:
        return _Interpreted(build())


@pytest.fixture(autouse=True)
def interpreted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs of this test are interpreted, unless it is marked otherwise by its module's name."""
    if request.module.__name__.endswith("test_native"):
        yield
        return
    lazy.flush()
    monkeypatch.setattr(lazy, "programs", _Programs())
    yield
    lazy.flush()
