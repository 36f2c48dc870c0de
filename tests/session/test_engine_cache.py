"""Programs of large graphs come from disk in another process: the same results, no compiler, and no mix-up of names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, Value, constant, parameter
from heliostat.ir.types import Symbol, dim, f16, f32, tensor
from heliostat.runtime.buffer import Buffer
from heliostat.runtime.object_cache import ObjectCache
from heliostat.session import runner, step
from heliostat.session.runner import Engine
from heliostat.session.step import key_text
from heliostat.tensor.dims import Size


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectCache:
    tmp_path.chmod(0o700)
    made = ObjectCache(tmp_path)
    monkeypatch.setattr(ObjectCache, "default", classmethod(lambda cls: made))
    monkeypatch.setattr(runner, "LARGE", 4)
    return made


def graph(kind: str, factor: float = 2.0) -> Graph:
    x, w = parameter("x", tensor(f32, 24, 32)), parameter("w", tensor(f32, 32, 48))
    y: Value = ops.matmul(x, w)
    y = ops.tanh(y) if kind == "tanh" else ops.mul(y, constant(factor, tensor(f32)))
    return Graph("g", [x, w], [ops.sum(ops.add(y, 1.0), axes=(1,)), y])


def want(kind: str, x: np.ndarray, w: np.ndarray, factor: float = 2.0) -> list[np.ndarray]:
    y = x.astype(np.float64) @ w
    y = np.tanh(y) if kind == "tanh" else y * factor
    return [(y + 1).sum(1), y]


def check(engine: Engine, kind: str, seed: int, factor: float = 2.0) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((24, 32), np.float32), rng.standard_normal((32, 48), np.float32)
    made = engine.compile(graph(kind, factor)).run([Buffer.of(x), Buffer.of(w)])
    for b, y in zip(made, want(kind, x, w, factor), strict=True):
        np.testing.assert_allclose(b.array(np.float32, y.shape), y, rtol=2e-5, atol=2e-5)


def test_another_engine_compiles_nothing() -> None:
    first, second = Engine(), Engine()
    check(first, "tanh", 0)
    check(second, "tanh", 1)
    assert (first.compiled, second.compiled) == (1, 0)
    assert second.code.compiled == 0


def test_names_that_another_process_gave_do_not_meet_those_given_here() -> None:
    check(Engine(), "tanh", 0)
    other = Engine()
    check(other, "mul", 1)  # its kernels have the names that those on disk have
    check(other, "tanh", 2)
    check(other, "mul", 3)
    back = Engine()
    check(back, "tanh", 4)
    check(back, "mul", 5)
    assert back.compiled == 0


def test_what_differs_is_compiled_anew() -> None:
    check(Engine(), "mul", 0)
    other = Engine()
    check(other, "mul", 1, factor=3.0)
    assert other.compiled == 1


def test_a_damaged_entry_is_passed_over(tmp_path: Path) -> None:
    check(Engine(), "tanh", 0)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-9])
    other = Engine()
    check(other, "tanh", 1)
    assert other.compiled == 1


def test_a_structure_that_is_known_needs_no_graph() -> None:
    """What is looked up by a text is found by it alone, and by no other."""
    first, second = Engine(), Engine()
    built: list[str] = []

    def build() -> Graph:
        built.append("graph")
        return graph("mul")

    first.made_from("one", build)
    second.made_from("one", build)
    assert built == ["graph"]
    second.made_from("other", build)
    second.made_from("", build)
    second.made_from("", build)
    assert len(built) == 4


def test_steps_are_found_by_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """In another process the key of a large step is enough; small ones, and those of ops from elsewhere, are built."""
    counts = []
    for nodes in (9, 9, 3, 0):
        monkeypatch.setattr(step, "LARGE", 4)
        monkeypatch.setattr(runner, "LARGE", 1000)
        monkeypatch.setattr(step, "_made", type(step._made)())
        monkeypatch.setattr(step, "engine", Engine)
        built: list[int] = []

        def build(built: list[int] = built) -> Graph:
            built.append(1)
            return graph("mul")

        _, there = step.compiled_step(("key", 1, ((f32, (2, 3)),)), build, nodes=nodes)
        assert not there
        counts.append(len(built))
    assert counts == [1, 0, 1, 1]


def test_keys_as_text() -> None:
    n = dim(Symbol("n", 8, 1))
    m = dim(Symbol("n", 9, 1))
    values = [1, 1.0, True, "1", b"1", None, f32, f16, (1,), ((1,),), (1, 1), n, m, np.ones(1), np.ones(1, np.float32)]
    values += [(1, "1"), ("1", 1), ("1,", 1), ("1", ",1"), -0.0, 0.0, float("nan")]
    texts = [key_text((v,)) for v in values]
    assert "" not in texts
    assert len(set(texts)) == len(texts)
    assert key_text((np.ones(2), (f32, n))) == key_text((np.ones(2), (f32, dim(Symbol("n", 8, 1)))))
    assert key_text((Size([2, 3]),)) == key_text(((2, 3),))
    assert key_text((object(),)) == ""
    assert key_text((1, (np.float32(1),))) == ""
