"""What `str` says of dtypes, and that no text of graphs or kernels, nor a key made of them, depends on it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from heliostat import ops
from heliostat.compiler.driver import emit
from heliostat.ir import types
from heliostat.ir.graph import Graph, attribute_text, parameter
from heliostat.ir.types import bf16, f32, i32, speak, tensor
from heliostat.session.host import host_target
from heliostat.session.step import key_text

from .random_graphs import graphs


def everything(graph: Graph) -> tuple[object, ...]:
    return str(graph), graph.structural_key(), [(str(v.type), f"{v.type.element}") for v in graph.parameters]


@given(graphs())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_graphs_do_not_depend_on_it(graph: Graph) -> None:
    before = everything(graph)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(types, "_SPOKEN", dict(types._SPOKEN))
        speak({e.name: f"spoken.{e.name}" for e in types.elements() if isinstance(e, types.DType)})
        assert str(f32) == repr(f32) == "spoken.f32"
        assert f"{f32}" == f"{f32:>3}" == "f32"
        assert everything(graph) == before
    assert str(f32) == repr(f32) == "f32"


def test_kernels_do_not_depend_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def texts() -> list[str]:
        x, w = parameter("x", tensor(f32, 4, 8)), parameter("w", tensor(f32, 8, 3))
        y = ops.cast(ops.softmax(ops.matmul(ops.cast(x, bf16), ops.cast(w, bf16)), 1), f32)
        graph = Graph("f", [x, w], [y, ops.cast(x, i32)])
        key = (("leaf", "f32", (1,)), ("dtype", f32), tensor(f32, 2).element)
        return [
            *(emit([graph], stage, host_target()) for stage in ("graph", "kernel", "llvm")), key_text(key),
            attribute_text((f32, 1)),
        ]  # fmt: skip

    before = texts()
    monkeypatch.setattr(types, "_SPOKEN", {"f32": "spoken.f32", "bf16": "spoken.bf16", "i32": "spoken.i32"})
    assert texts() == before
    assert not any("spoken" in text for text in before)
