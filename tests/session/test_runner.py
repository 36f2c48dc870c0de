"""Programs on given buffers: results at new places, inputs that are results, constants, shared scratch memory."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from heliostat import ops
from heliostat.ir.graph import Graph, constant, parameter
from heliostat.ir.types import f32, tensor
from heliostat.runtime.buffer import Buffer
from heliostat.session import Runner, engine


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
