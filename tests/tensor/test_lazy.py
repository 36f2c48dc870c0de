"""When values are computed, which programs serve them, and that training goes as in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import CompileError
from heliostat.session import engine
from heliostat.tensor import lazy

from .compare import floats, integers, same, torch


def computed(x: Any) -> bool:
    return lazy.buffer_of(x.value) is not None


def test_reading_one_computes_all_that_is_alive() -> None:
    x = hs.tensor([1.0, 2.0])
    a, b = x + 1, x * 2
    dead = weak = x * 3
    value = dead.value
    del dead, weak
    assert not computed(a)
    assert a.tolist() == [2, 3]
    assert computed(b)
    assert lazy.buffer_of(value) is None


def test_structure_finds_a_program_and_numbers_do_not_matter() -> None:
    def run(array: Any, factor: float, shift: float) -> list[float]:
        return ((hs.tensor(array) * factor + shift).tanh().sum(0)).tolist()

    run(floats(3, 4), 0.5, 1.0)
    before = engine().compiled
    for n in range(4):
        expected = np.tanh(floats(3, 4, seed=n) * (n + 0.5) - n).sum(0)
        np.testing.assert_allclose(run(floats(3, 4, seed=n), n + 0.5, -n), expected, rtol=1e-9)
    assert engine().compiled == before
    run(floats(3, 5), 0.5, 1.0)
    assert engine().compiled == before + 1


def test_a_value_that_cannot_be_computed_keeps_no_other_from_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = engine().compile

    def picky(graph: Any) -> Any:
        if any(n.op.name == "tan" for n in graph.nodes()):
            raise CompileError("no schedule takes tan")
        return compile_(graph)

    monkeypatch.setattr(engine(), "compile", picky)
    bad = hs.tensor(floats(3, seed=8)).tan()
    good = hs.tensor(floats(3, seed=8)) * 9
    assert good.shape == (3,)
    np.testing.assert_allclose(good.numpy(), floats(3, seed=8) * 9)
    with pytest.raises(CompileError, match="tan"):
        bad.numpy()
    monkeypatch.undo()
    np.testing.assert_allclose(bad.numpy(), np.tan(floats(3, seed=8)), rtol=1e-12)


def test_many_open_tensors_are_computed_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "MANY", 50)
    x = hs.zeros(2)
    kept = []
    for _ in range(120):
        x = x + 1
        kept.append(x)
    assert computed(kept[0])
    assert x.tolist() == [120, 120]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_a_perceptron_goes_as_in_pytorch(momentum: float) -> None:
    """Five steps of SGD; from the second on nothing is compiled."""
    data = floats(5, 16, 20, dtype=np.float32)
    labels = integers(5, 16, low=0, high=4)
    weights = [floats(20, 12, dtype=np.float32) * 0.2, floats(12, dtype=np.float32), floats(12, 5, dtype=np.float32)]
    compiled: list[int] = []

    def train(m: Any) -> tuple[list[Any], list[Any]]:
        ps = [m.tensor(w).requires_grad_() for w in weights]
        speed = [m.zeros_like(p) for p in ps]
        losses = []
        for x, y in zip(data, labels, strict=True):
            hidden = (m.tensor(x) @ ps[0] + ps[1]).relu()
            scores = (hidden @ ps[2]).log_softmax(-1)
            loss = -scores.gather(1, m.tensor(y).unsqueeze(1)).mean()
            for p in ps:
                p.grad = None
            loss.backward()
            with m.no_grad():
                for p, v in zip(ps, speed, strict=True):
                    v.mul_(momentum).add_(p.grad)
                    p.sub_(v, alpha=0.1)
            losses.append(loss.detach())
            _ = loss.item()
            compiled.append(engine().compiled)
        return losses, [p.detach() for p in ps]

    found = train(hs)
    assert len(set(compiled[1:])) == 1
    expected = train(torch)
    for a, b in zip(found, expected, strict=True):
        same(a, b)


def test_steps_that_nobody_reads_let_go_of_the_steps_before() -> None:
    """The update of a parameter is computed, and gradients end there: what it was made of is forgotten each time."""
    from heliostat import nn, optim
    from heliostat.ir.graph import Value

    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    x, lengths = hs.randn(8, 6), []
    for _ in range(12):
        loss = (model(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen: set[int] = set()
        stack: list[Value] = [loss._v, *(p._v for p in model.parameters())]
        while stack:
            v = stack.pop()
            if id(v) not in seen:
                seen.add(id(v))
                stack.extend(v.node.inputs)
        lengths.append(len(seen))
    assert lengths[-1] == lengths[4]
