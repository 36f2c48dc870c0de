"""Loops that Python unrolls: another count of steps compiles no more, and gives the same."""

from __future__ import annotations

import gc
import inspect
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.tensor import lazy, repeats, rewound
from heliostat.tensor.recorded import Recorded

from .sizes_of_loops import array, exact, misses, no_programs

F = nn.functional


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Programs of other tests would be found."""
    with no_programs():
        yield


def _unrolled(kind: str) -> Callable[[int], list[np.ndarray[Any, Any]]]:
    """One step of training of a loop of n steps, whose loss and gradients are given."""
    hs.manual_seed(0)
    cell: Any = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}[kind](3, 5)
    head = nn.Linear(5, 2)
    modules = nn.ModuleList([cell, head])

    def step(n: int) -> list[np.ndarray[Any, Any]]:
        rng = np.random.default_rng(n)
        x, target = array(rng, n, 4, 3), array(rng, n, 4, 2)
        h: Any = (hs.zeros(4, 5), hs.zeros(4, 5)) if kind == "lstm" else hs.zeros(4, 5)
        found = []
        for t in range(n):
            h = cell(x[t], h)
            found.append(head(h[0] if kind == "lstm" else h))
        loss = F.mse_loss(hs.stack(found), target)
        loss.backward()
        values = [loss.detach(), *[p.grad for p in modules.parameters()]]
        made = [v.numpy().copy() for v in values]
        modules.zero_grad()
        return made

    return step


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_other_counts_of_steps_are_the_same_program(kind: str) -> None:
    step = _unrolled(kind)
    counts = [9, 12, 7, 10, 11, 14, 15]
    found: dict[int, Any] = {}
    made = misses(lambda n: found.update({n: step(n)}), counts)
    with exact():
        for n in (counts[2], counts[5]):  # two that were cut
            for a, b in zip(found[n], step(n), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert sum(made[3:5]) <= 5, made
    assert not any(made[5:]), made


def test_the_first_count_keeps_a_program_of_its_own() -> None:
    step = _unrolled("rnn")
    misses(step, [9, 9])
    found = misses(step, [9, 9, 12, 12, 9])
    assert (found[0], found[1], found[3], found[4]) == (0, 0, 0, 0)
    assert found[2]


def test_a_count_that_comes_often_gets_a_program_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "OFTEN", 2)
    step = _unrolled("rnn")
    assert misses(step, [9, 12])[1] > 1
    assert misses(step, [12, 12, 12, 12]) == [0, 1, 0, 0]


def test_the_same_count_elsewhere_is_not_cut() -> None:
    hs.manual_seed(0)
    layers = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.LayerNorm(4)) for _ in range(9)])

    def train(_: int) -> None:
        layers(hs.ones(3, 4)).square().mean().backward()
        layers[0][0].weight.grad.numpy()
        layers.zero_grad()

    def look(_: int) -> None:
        with hs.no_grad():
            (layers(hs.ones(3, 4)) + 1).numpy()

    misses(train, [1, 1])
    assert misses(look, [1, 1]) == [1, 0]


def test_steps_that_are_cut_from_what_gathers_a_gradient() -> None:
    counts = [9, 12, 11, 10, 14, 13, 15]
    data = {n: np.random.default_rng(n).standard_normal((n, 3, 4)).astype(np.float32) for n in counts}

    def step(n: int) -> np.ndarray[Any, Any]:
        x = hs.tensor(data[n]).requires_grad_()  # its gradient has another place for each step
        h = hs.zeros(3, 4)
        for t in range(n):
            h = hs.tanh(x[t] + h.softmax(-1) * 2 - h.roll(1, 0))
        (h**2).mean().backward()
        made: np.ndarray[Any, Any] = x.grad.numpy().copy()
        return made

    found: dict[int, Any] = {}
    made = misses(lambda n: found.update({n: step(n)}), counts)
    assert made[4:] == [0, 0, 0], made
    with exact():
        for n in counts[-2:]:
            np.testing.assert_allclose(found[n], step(n), rtol=1e-4, atol=1e-6)


def test_batches_that_change_with_the_count_of_steps() -> None:
    hs.manual_seed(0)
    cell, head = nn.RNNCell(3, 5), nn.Linear(5, 2)
    weights = [*cell.parameters(), *head.parameters()]

    def step(case: int) -> list[np.ndarray[Any, Any]]:
        n, batch = divmod(case, 100)
        rng = np.random.default_rng(case)
        x, target = array(rng, batch, n, 3), array(rng, batch, n, 2)
        state, found = hs.zeros(batch, 5), []
        for t in range(n):
            state = cell(x[:, t], state)
            found.append(head(state))
        loss = F.mse_loss(hs.stack(found, 1), target)
        grads = hs.autograd.grad(loss, weights)
        return [v.numpy().copy() for v in (loss.detach(), *grads)]

    cases = [1204, 1507, 1403, 1306, 1605, 1708, 1609]  # 100 times the count and the batch
    found: dict[int, Any] = {}
    made = misses(lambda case: found.update({case: step(case)}), cases)
    assert sum(made[4:]) <= 1, made
    with exact():
        for case in cases[-1:]:
            for a, b in zip(found[case], step(case), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_loops_whose_pieces_do_not_come_again_are_compiled_whole() -> None:
    loop = repeats._Loop()
    for _ in range(repeats.FIRST_CUTS + repeats.MOST_WASTED - 1):
        repeats.Cut([], [], [], [(loop, 9)]).compiled(repeats.MOST_COMPILED + 1)
    assert not loop.has_own(9)
    repeats.Cut([], [], [], [(loop, 9)]).compiled(repeats.MOST_COMPILED + 1)
    assert loop.has_own(9)


def test_deterministic_mode_does_not_cut() -> None:
    step = _unrolled("rnn")
    hs.use_deterministic_algorithms(True)
    try:
        assert misses(step, [8, 9, 10]) == [1, 1, 1]
    finally:
        hs.use_deterministic_algorithms(False)


@pytest.mark.parametrize("seed", range(3))
def test_random_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, 6, 6).tolist()

    def run(n: int, x: Any, dtype: Any) -> list[Any]:
        held, y, z = [], x, x * 0
        for t in range(n):
            for p in picks:
                if p == 0:
                    y = (y + z).tanh()
                elif p == 1:
                    z = y.softmax(-1) - z * 0.5
                elif p == 2:
                    y = y @ (y.transpose(0, 1) @ z) * 0.1
                elif p == 3:
                    z = z.roll(1, 0)
                elif p == 4:
                    held.append((y - z).mean())
                else:
                    y = y.sort(-1).values + t
            z = z + y.detach()
            y = y.tanh()
        return [y, z, *held[-2:], hs.ones(3, dtype=dtype)]

    data = rng.standard_normal((3, 3))
    for n in (12, 17, 15, 14, 15):
        found = [v.numpy().copy() for v in run(n, hs.tensor(data.astype(np.float32)), hs.float32)]
        with exact():
            wanted = [v.numpy() for v in run(n, hs.tensor(data), hs.float64)]
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_counts_of_steps_hold_no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[weakref.ref[Recorded]] = []
    make = Recorded.__init__

    def remember(self: Recorded, *values: Any) -> None:
        make(self, *values)
        if len(self.graph.nodes()) >= repeats.LEAST_VALUES:
            graphs.append(weakref.ref(self))

    monkeypatch.setattr(Recorded, "__init__", remember)
    rewound._known.clear()  # backwards of other tests are not recorded again
    misses(_unrolled("rnn"), [9, 12, 10, 11])
    assert graphs
    lazy.programs.found.clear()
    lazy.programs.plans.clear()
    lazy.programs.symbolic.kinds.clear()
    rewound._known.clear()
    gc.collect()
    assert not any(graph() for graph in graphs)


def test_regions_of_numbers() -> None:
    def regions(*tokens: int) -> list[tuple[int, int, int]]:
        return repeats._regions(np.array(tokens, np.int64))

    step = [1, 2, 3, 4, 5, 6, 7, 8]
    assert regions(*[9, 10], *(step * 5), *[11], *([12, *step] * 4)) == [(2, 8, 5), (43, 9, 4)]
    assert regions(*(step * 3)) == []
    assert regions(*([1, 2] * 41)) == [(0, 2, 41)]
    assert list(repeats._ends(5, 2, 11)) == [5, 13, 21, 23, 25, 27]
    assert regions() == []


def test_many_loops_one_behind_the_other() -> None:
    """More than Python's stack has places."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        found = repeats._regions(np.repeat(np.arange(150), 16))
    finally:
        sys.setrecursionlimit(before)
    assert found == [(16 * n, 1, 16) for n in range(150)]
