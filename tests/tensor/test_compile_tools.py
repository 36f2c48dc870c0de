"""What stands around `compile`: diagnosis, whole steps, NumPy."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn, optim
from heliostat.diagnostics import CaptureError, UnsupportedError


def test_diagnosis() -> None:
    layer = nn.Linear(3, 2)
    x = hs.ones(4, 3)
    report = hs.compile.diagnose(lambda x: hs.relu(layer(x)), x)
    assert report.compilable
    assert {"matmul", "relu"} <= {op.name for op in report.ops}
    assert report.nodes == sum(op.count for op in report.ops)
    assert (report.reads, report.writes, report.random) == (2, 0, False)
    assert "can be compiled" in str(report)
    counter = hs.zeros(3)
    assert hs.compile.diagnose(lambda x: counter.add_(x.sum(0)), x).writes == 1
    assert counter.tolist() == [0, 0, 0]  # nothing is changed
    report = hs.compile.diagnose(lambda x: x if x.sum() > 0 else -x, x)
    assert not report.compilable
    assert "CaptureError" in report.reason
    assert "test_compile_tools.py" in report.where


def test_whole_steps() -> None:
    losses = []
    for compiled in (True, False):
        hs.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = hs.optim.Adam(model.parameters(), 0.1)
        step = hs.compile.make_step(model, nn.functional.mse_loss, optimizer)
        x, y = hs.ones(4, 3), hs.zeros(4, 1)
        losses.append([(step if compiled else step.function)(x, y).item() for _ in range(4)])
        assert not compiled or step.cache_info().hits >= 2
    np.testing.assert_allclose(losses[0], losses[1], 1e-5)
    assert losses[0][-1] < losses[0][0]
    w = nn.Parameter(hs.ones(3))
    optimizer = hs.optim.SGD([w], 0.5)
    update = hs.compile.compile_optimizer(optimizer)
    for _ in range(2):
        w.grad = hs.ones(3)
        update()
    assert w.tolist() == [0, 0, 0]


def test_functions_of_arrays() -> None:
    @hs.compile.wrap_numpy
    def ordered(x: Any, *, by: int) -> Any:
        return np.sort(x) * by, {"least": x.min()}

    y, rest = ordered(hs.tensor([3, 1, 2]), by=2)
    assert y.tolist() == [2, 4, 6]
    assert rest["least"].item() == 1
    found = hs.compile.wrap_numpy(np.linalg.eigh)(hs.eye(2))  # a named tuple
    assert found.eigenvalues.tolist() == [1, 1]
    with pytest.raises(CaptureError, match="NumPy"):
        hs.compile(lambda x: ordered(x, by=1)[0])(hs.ones(2))


def test_what_is_so_already() -> None:
    f = hs.compile.allow_in_graph(hs.compile.assume_constant_result(lambda: 3))
    assert hs.compile(lambda x: x * f())(hs.ones(2)).tolist() == [3, 3]
    assert "cpu" in hs.compile.list_backends()
    assert isinstance(hs.compile(nn.Linear(2, 2)), hs.compile.CompiledModule)


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = hs.compile(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)))
        self.rest = nn.Sequential(hs.compile(nn.Linear(4, 4)), nn.ReLU())

    def forward(self, x: Any) -> Any:
        return self.rest(self.block(x))


def test_compiled_modules_stand_where_modules_may(tmp_path: Path) -> None:
    hs.manual_seed(0)
    model = Tower()
    assert isinstance(model.block, nn.Module)
    assert [*model.state_dict()][:2] == ["block.0.weight", "block.0.bias"]
    assert len(list(model.parameters())) == 6
    x = hs.randn(5, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    before = [p.tolist() for p in model.parameters()]
    model(x).pow(2).sum().backward()
    optimizer.step()
    assert [p.tolist() for p in model.parameters()] != before
    assert model.block.cache_info().misses == 1
    assert model.eval() is model
    assert not model.block.module.training
    for alone in (model.block.eval(), model.block.to("cpu"), model.block.requires_grad_(True), model.block.double()):
        assert alone is model.block  # and not the module without its programs
    assert model.block(x.double()).dtype == hs.float64
    model.float()
    expected = model.rest.double().float()(model.block.module(x))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other.block) is type(model.block)
        np.testing.assert_allclose(other(x).detach().numpy(), expected.detach().numpy(), rtol=1e-6)
        assert other.block.module is not model.block.module
        assert other.block.cache_info().misses == 1
    again = Tower().eval()
    again.load_state_dict(model.state_dict())
    np.testing.assert_allclose(hs.compile(again)(x).detach().numpy(), expected.detach().numpy(), rtol=1e-6)
    model.block.kind = "first"
    assert model.block.module.kind == "first"
    with pytest.raises(UnsupportedError, match="compiled module"):
        hs.save(model, tmp_path / "model")


def test_a_refusal_that_is_caught_is_one_all_the_same() -> None:
    """The handler would go another way than without a capture."""

    def double_or_not(x: Any) -> Any:
        try:
            return x * 2 if x.sum() > 0 else x
        except RuntimeError:
            return x

    for look in (lambda x: x.nonzero(), lambda x: hs.linalg.inv(x), double_or_not):

        def f(x: Any, look: Any = look) -> Any:
            with contextlib.suppress(RuntimeError):
                look(x)
            return x

        with pytest.raises(CaptureError):
            hs.compile(f)(hs.eye(2))
        assert f(hs.eye(2)).tolist() == hs.eye(2).tolist()


def test_threads_read_what_another_diagnoses() -> None:
    weight, wrong, over = hs.ones(3), [], threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                wrong.extend(v for v in weight.tolist() if v != 1)
            except Exception as error:
                wrong.append(error)

    def slow(x: Any) -> Any:
        y = weight + x
        time.sleep(0.02)
        return y

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(3):
        assert hs.compile.diagnose(slow, hs.ones(3)).compilable
    over.set()
    reader.join()
    assert not wrong


def test_diagnosis_of_what_compile_would_do() -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.function = hs.relu

        def forward(self, x: Any) -> Any:
            return self.function(x) * 2

    assert {op.name for op in hs.compile.diagnose(Parts(), hs.ones(2)).ops} >= {"relu", "mul"}
    layer = nn.Linear(3, 2)
    optimizer = hs.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    step = hs.compile.make_step(layer, nn.functional.mse_loss, optimizer)
    report = hs.compile.diagnose(step, hs.ones(4, 3), hs.zeros(4, 2))
    assert (report.leaves, report.writes) == (0, 4)  # weights and their momentum, which compile makes before
    assert not optimizer.state
