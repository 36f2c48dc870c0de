"""Programs on given buffers: results at new places, inputs that are results, constants, shared scratch memory."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, constant, parameter
from heliostat.ir.types import f32, tensor
from heliostat.runtime.buffer import Buffer
from heliostat.runtime.worker_pool import WorkerPool, native
from heliostat.session import Runner, engine, step
from heliostat.session.runner import Engine


def two_results() -> Runner:
    x = parameter("x", tensor(f32, 8, 33))
    c = constant(np.arange(33, dtype=np.float32), tensor(f32, 33))
    y = ops.softmax(ops.add(x, c))
    return engine().compile(Graph("g", [x], [ops.sum(y, (0,)), x, ops.mul(y, 2.0)]))


def expected(a: Any) -> list[Any]:
    e = np.exp(a + np.arange(33) - (a + np.arange(33)).max(-1, keepdims=True))
    y = e / e.sum(-1, keepdims=True)
    return [y.sum(0), a, 2 * y]


def check(runner: Runner, a: Any) -> list[Buffer]:
    found = runner.run([Buffer.of(a)])
    for b, want in zip(found, expected(a), strict=True):
        np.testing.assert_allclose(b.array(np.float32, want.shape), want, rtol=1e-4, atol=1e-6)
    return found


def test_results_stay_when_the_program_runs_again() -> None:
    runner = two_results()
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((8, 33)).astype(np.float32) for _ in range(2))
    a = check(runner, first)
    b = check(runner, second)
    np.testing.assert_allclose(a[0].array(np.float32, (33,)), expected(first)[0], rtol=1e-4, atol=1e-6)
    assert a[0].address != b[0].address
    assert a[1].address == first.ctypes.data  # an input that is a result is not copied


def test_threads_take_turns() -> None:
    runners = [two_results(), two_results()]
    errors: list[Exception] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(30):
                check(runners[seed % 2], rng.standard_normal((8, 33)).astype(np.float32))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []


@pytest.mark.parametrize("kind", ["runner", "step"])
def test_chunks_are_taken_over(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention of many queries, by one, two and three threads: the same bits, run after run."""
    q, k, v = (parameter(n, tensor(f32, 3, 130, 64)) for n in "qkv")
    graph = Graph("g", [q, k, v], [ops.dot_product_attention(q, k, v, causal=True, scale=0.125)])
    rng = np.random.default_rng(0)
    given = [Buffer.of(rng.standard_normal((3, 130, 64)).astype(np.float32)) for _ in range(3)]
    found = []
    for threads in (1, 2, 3):
        owner = Engine()
        with WorkerPool(threads) as owner.pool:
            made = owner.made(graph)
            monkeypatch.setattr(step, "engine", lambda owner=owner: owner)
            runner = Runner(made.program, owner) if kind == "runner" else step.NativeStep(made)
            assert any(launch.chunks > 1 for launch in made.program.launches)
            assert (native().share in runner.table[:, 0]) == (threads > 1)
            for _ in range(2):
                if isinstance(runner, Runner):
                    (out,) = runner.run(given)
                else:
                    out = Buffer.allocate(made.program.buffers[made.program.outputs[0]].nbytes)
                    for n, buffer in zip([*made.program.inputs, *made.program.outputs], [*given, out], strict=True):
                        runner.set(n, buffer.address)
                    runner.run()
                found.append(out.array(np.float32).copy())
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
