"""Lazy programs of symbolic sizes: loops over changing sizes compile a few times, and never give another result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.tensor import lazy, sizes

from .sizes_of_loops import array, exact, misses, no_programs

F = nn.functional


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Programs of other tests would be found."""
    with no_programs():
        yield


def test_the_second_size_makes_a_program_for_all() -> None:
    rng = np.random.default_rng(0)
    w = array(rng, 6, 3)

    def f(n: int) -> None:
        x = array(rng, n, 6)
        found = ((x @ w).relu().sum(0) / n).numpy()
        wanted = np.maximum(x.numpy().astype(np.float64) @ w.numpy(), 0).sum(0) / n
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)

    assert misses(f, [5, 9, 7, 2, 64, 5, 33]) == [1, 1, 0, 0, 0, 0, 0]
    assert misses(f, [65, 200]) == [1, 0], "larger bounds"
    assert misses(f, [1]) == [1], "1 has rules of its own"


def test_text_that_grows_by_a_token() -> None:
    rng = np.random.default_rng(1)
    table, places = array(rng, 11, 8), array(rng, 32, 8)
    mask = hs.tril(hs.ones(32, 32)).view(1, 32, 32)

    def logits(idx: Any) -> Any:
        count = idx.shape[1]
        x = table[idx] + places[hs.arange(count)]
        scores = (x @ x.transpose(1, 2)).masked_fill(mask[:, :count, :count] == 0, float("-inf"))
        return (scores.softmax(-1) @ x)[:, [-1], :] @ table.T

    def run() -> list[int]:
        idx = hs.tensor([[1, 2, 3]])
        for _ in range(6):
            idx = hs.cat([idx, logits(idx)[:, -1].argmax(-1, keepdim=True)], 1)
            idx.numpy()
        made: list[int] = idx[0].tolist()
        return made

    before = lazy.programs.misses
    found = run()
    assert lazy.programs.misses - before <= 4
    with exact():
        assert run() == found


@pytest.mark.parametrize("way", ["mean", "autocast", "dropout"])
def test_training_on_batches_of_any_size(way: str) -> None:
    def run() -> tuple[list[float], list[int]]:
        hs.manual_seed(0)
        rng = np.random.default_rng(2)
        model = nn.Linear(4, 3)
        optimizer = hs.optim.SGD(model.parameters(), 0.1)
        losses: list[float] = []

        def step(n: int) -> None:
            x, target = array(rng, n, 4), hs.tensor(rng.integers(0, 3, n))
            if way == "dropout":
                x = F.dropout(x, 0.3)
            with hs.autocast("cpu", enabled=way == "autocast"):
                loss = F.cross_entropy(model(x), target) + model(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

        step(8)  # draws the weights too
        return losses, misses(step, [8, 5, 7, 8, 3])

    found, counts = run()
    assert counts[2:] == [0, 0, 0], [kind.reason for kind in lazy.programs.symbolic.kinds.values()]
    with exact():
        wanted, _ = run()
    np.testing.assert_allclose(found, wanted, rtol=2e-2 if way == "autocast" else 1e-5)


def test_sizes_that_are_equal_by_chance() -> None:
    rng = np.random.default_rng(3)

    def f(n: int, m: int) -> None:
        x, y = array(rng, n, 3), array(rng, m, 3)
        np.testing.assert_allclose(
            (x.sum(0) * y.sum(0)).numpy(), x.numpy().sum(0) * y.numpy().sum(0), rtol=1e-4, atol=1e-5
        )

    for n, m in ((4, 4), (6, 6), (5, 7), (9, 5), (3, 3)):
        f(n, m)
    before = lazy.programs.misses
    f(8, 2)
    f(30, 9)
    assert lazy.programs.misses == before


def test_more_sizes_that_change_together() -> None:
    """Messages between nodes of several graphs: nodes, edges and graphs."""
    hs.manual_seed(0)
    layer = nn.Linear(3, 4)

    def step(case: int) -> list[Any]:
        rng = np.random.default_rng(case)
        graphs, nodes, edges = (int(rng.integers(low, 3 * low)) for low in (3, 9, 20))
        x, batch = array(rng, nodes, 3), hs.tensor(rng.integers(0, graphs, nodes))
        source, goal = (hs.tensor(rng.integers(0, nodes, edges)) for _ in range(2))
        h = layer(x)
        h = (h + hs.zeros_like(h).index_add(0, goal, h[source])).relu()
        loss = F.cross_entropy(hs.zeros(graphs, 4).index_add(0, batch, h), hs.tensor(rng.integers(0, 4, graphs)))
        return [v.numpy().copy() for v in (loss.detach(), *hs.autograd.grad(loss, list(layer.parameters())))]

    cases = list(range(7))
    found: list[list[Any]] = []
    made = misses(lambda case: found.append(step(case)), cases)
    assert made[4:] == [0, 0, 0], made
    with exact():
        for case in cases[-1:]:
            for a, b in zip(found[case], step(case), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def _slopes(f: Callable[[Any], Any], x: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """A function's value and gradient, of numbers that are computed first."""
    t = hs.tensor(x).requires_grad_()
    y = f(t * hs.tensor(1.5, dtype=t.dtype))
    (y * y).sum().backward()
    return [y.detach().numpy().copy(), t.grad.numpy().copy()]


def test_slices_by_steps() -> None:
    rng = np.random.default_rng(7)
    weight = hs.tensor(1.5)

    def f(case: tuple[int, int, int]) -> None:
        n, start, stop = case
        x = rng.standard_normal((n, 3)).astype(np.float32)
        y = hs.tensor(x) * weight
        z = (y[::2] + y[1::2]).sum(0) * y[start:stop:3].sum(0) + y[:, ::2].sum()
        w = x.astype(np.float64) * 1.5
        wanted = (w[::2] + w[1::2]).sum(0) * w[start:stop:3].sum(0) + w[:, ::2].sum()
        np.testing.assert_allclose(z.numpy(), wanted, rtol=1e-4, atol=1e-4)

    cases = [(20, 3, 15), (26, 4, 14), (32, 9, 30), (18, 2, 11), (30, 7, 17), (34, 5, 33), (20, 3, 14), (22, 6, 22)]
    counts = [misses(f, [case])[0] for case in cases]  # type: ignore[list-item, arg-type]
    assert counts[4:] == [0, 0, 0, 0], [kind.reason for kind in lazy.programs.symbolic.kinds.values()]
    for case in ((20, 3, 3), (20, 3, 4), (20, 18, 20), (4, 0, 4), (2, 0, 1), (200, 50, 199)):
        f(case)


@pytest.mark.parametrize("seed", range(2))
def test_gradients_of_slices_by_steps_at_random_places(seed: int) -> None:
    rng = np.random.default_rng(seed)
    step = int(rng.integers(2, 5))
    for _ in range(7):
        n = int(rng.integers(2, 24))
        start, stop = sorted(rng.integers(0, n + 1, 2).tolist())
        x = rng.standard_normal((n, 2)).astype(np.float32)
        found = _slopes(lambda y, a=start, b=stop: y[a:b:step].exp(), x)  # type: ignore[misc]
        wanted = np.zeros((n, 2))
        part = np.exp(1.5 * x[start:stop:step].astype(np.float64))
        wanted[start:stop:step] = 2 * part * part * 1.5
        np.testing.assert_allclose(found[0], part, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[1], wanted, rtol=1e-4, atol=1e-4)


def test_sums_of_sizes_in_shapes() -> None:
    rng = np.random.default_rng(9)

    def f(case: tuple[int, int, int]) -> None:
        n, m, k = case
        x, y, z = array(rng, n, 3), array(rng, m, 3), array(rng, k, 3)
        joined = hs.cat([x * 2, y, z]).reshape(-1)
        found = joined.view(n + m + k, 3)[: n + m].sum(0) + hs.ones(n * 3 + m * 3).sum()
        wanted = 2 * x.numpy().astype(np.float64).sum(0) + y.numpy().sum(0) + 3 * (n + m)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-4)

    cases = [(4, 9, 5), (7, 3, 11), (12, 5, 6), (3, 14, 9), (8, 6, 21), (5, 17, 4)]
    counts = [misses(f, [case])[0] for case in cases]  # type: ignore[list-item, arg-type]
    assert counts[3:] == [0, 0, 0], [kind.reason for kind in lazy.programs.symbolic.kinds.values()]


def test_products_of_three_sizes() -> None:
    """As many numbers as attention has weights: batch by length by length."""
    rng = np.random.default_rng(10)

    def f(case: tuple[int, int]) -> None:
        batch, n = case
        x = array(rng, batch, n, 2)
        weights = (x @ x.transpose(1, 2)) * hs.arange(2 * batch * n * n).view(2, batch, n, n).double()
        double = x.numpy().astype(np.float64)
        wanted = (double @ double.transpose(0, 2, 1)) * np.arange(2 * batch * n * n).reshape(2, batch, n, n)
        np.testing.assert_allclose(weights.numpy(), wanted, rtol=1e-4, atol=1e-2)

    counts = [misses(f, [case])[0] for case in [(4, 9), (7, 5), (5, 12), (6, 8), (9, 11)]]  # type: ignore[list-item, arg-type]
    assert counts[3:] == [0, 0], [kind.reason for kind in lazy.programs.symbolic.kinds.values()]


@pytest.mark.parametrize("join", ["cat", "stack"])
def test_lists_of_any_length_are_joined_without_a_program(join: str) -> None:
    rng = np.random.default_rng(4)
    memory = [array(rng, 1, 3) for _ in range(20)]
    weights = [array(rng, 1, 3).requires_grad_() for _ in range(20)]
    f = getattr(hs, join)

    def step(n: int) -> None:
        picks = rng.integers(0, 20, n).tolist()
        kept = [weights[p] * 2 for p in picks]
        hs.cat(kept, 0).sum().item()  # each has its data now, and is still made of its weight
        x, y = f([memory[p] for p in picks], 0), f(kept, 1)
        z = (x.tanh() @ hs.ones(3)).sum() + (y**2).sum()
        grads = hs.autograd.grad(z, weights, allow_unused=True)
        rows = [memory[p].numpy().astype(np.float64) for p in picks], [2.0 * weights[p].detach().numpy() for p in picks]
        wanted = np.tanh(getattr(np, "concatenate" if join == "cat" else join)(rows[0], 0)).sum() + sum(
            (r.astype(np.float64) ** 2).sum() for r in rows[1]
        )
        assert z.item() == pytest.approx(wanted, rel=1e-5)
        for p, (w, g) in enumerate(zip(weights, grads, strict=True)):
            uses = picks.count(p)
            assert (g is None) == (uses == 0)
            if g is not None:
                np.testing.assert_allclose(g.numpy(), 8 * uses * w.detach().numpy(), rtol=1e-5)

    for n in (8, 13, 9, 21):
        step(n)
    before = lazy.programs.misses
    joined = f(memory[:17], 0)
    assert joined._v.meta.buffer is not None
    assert lazy.programs.misses == before
    (joined + 1).numpy()
    assert not joined._v.node.inputs, "what it was made of is not kept"


def test_what_is_joined_is_a_copy_that_gradients_flow_through() -> None:
    rng = np.random.default_rng(5)
    parts = [array(rng, 2).requires_grad_() for _ in range(9)]
    scaled = [p * 3 for p in parts]
    hs.stack([s.sum() for s in scaled]).sum().item()
    y = hs.cat(scaled)
    whole = y.detach().numpy().copy()
    with hs.no_grad():
        parts[0].zero_()
    np.testing.assert_array_equal(y.detach().numpy(), whole)
    y.sum().backward()
    assert parts[1].grad.tolist() == [3.0, 3.0]
    (y.detach() + 1).numpy()
    assert not lazy._open.of.joined


def test_attributes_that_follow_by_chance() -> None:
    def f(n: int, start: int, stop: int) -> None:
        y = hs.tensor(np.arange(n, dtype=np.float32))
        np.testing.assert_array_equal((y + 1)[start:stop].numpy(), np.arange(start, stop) + 1.0)

    f(8, 3, 7)
    f(10, 5, 9)  # n - 5, n - 1
    f(12, 7, 11)
    f(12, 3, 11)
    f(20, 0, 4)
    f(20, 15, 19)
    f(5, 0, 4)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many values each graph had that no plan was found for."""
    found: list[int] = []

    class Counted(lazy.Closed):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            found.append(len(self.order))

    monkeypatch.setattr(lazy, "Closed", Counted)
    return found


def test_other_sizes_follow_a_plan(closed: list[int]) -> None:
    rng = np.random.default_rng(5)
    layer = nn.Linear(4, 3)

    def f(n: int) -> None:
        x, m = array(rng, n, 4), array(rng, n + 2, 3)
        y = hs.cat([layer(x).relu(), m])[1:].flip(0).reshape(-1) / n
        loss = (y * hs.arange(3 * (2 * n + 1))).mean()
        loss.backward()
        slope = layer.weight.grad.numpy().copy()
        layer.weight.grad = None
        with exact():
            layer.weight.grad = None
            again = hs.cat([layer(x).relu(), m])[1:].flip(0).reshape(-1) / n
            (again * hs.arange(3 * (2 * n + 1))).mean().backward()
            np.testing.assert_allclose(slope, layer.weight.grad.numpy(), rtol=1e-4, atol=1e-4)
            layer.weight.grad = None

    for n in (5, 9, 7):
        f(n)
    del closed[:]
    for n in (8, 3, 31, 8):
        f(n)
    assert closed, "the exact ones"
    assert misses(f, [11, 12]) == [1, 1], "the exact ones"


def test_a_plan_takes_no_sizes_but_its_own(closed: list[int]) -> None:
    def f(n: int, start: int, stop: int, size: float) -> float:
        y = hs.tensor(np.arange(n, dtype=np.float32))
        found: float = ((y + 1)[start:stop].flip(0).sum() / size).item()
        return found

    def wanted(n: int, start: int, stop: int, size: float) -> float:
        return (np.arange(start, stop) + 1.0).sum() / size

    for n in (8, 10, 12, 9, 17):
        assert f(n, 3, n - 1, n) == pytest.approx(wanted(n, 3, n - 1, n), rel=1e-6)
    del closed[:]
    assert f(11, 3, 10, 11) == pytest.approx(wanted(11, 3, 10, 11), rel=1e-6)
    assert not closed
    for case in ((11, 3, 9, 11), (11, 2, 10, 11), (11, 3, 10, 12), (4, 3, 3, 4), (70, 3, 69, 70), (11, 3, 10, 11)):
        assert f(*case) == pytest.approx(wanted(*case), rel=1e-6)


def test_parts_that_begin_anywhere() -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal((50, 4)).astype(np.float32)
    table = hs.tensor(x)

    def f(start: int) -> None:
        part = (table * 2).tanh()[start : start + 5]
        np.testing.assert_allclose(part.numpy(), np.tanh(x[start : start + 5] * 2), rtol=1e-5)

    assert misses(f, [7, 12, 0, 1, 45, 30, 44]) == [1, 1, 0, 0, 0, 0, 0]


def test_sizes_that_are_parts_of_those_of_inputs() -> None:
    def f(n: int) -> None:
        y = hs.tensor(np.arange(6 * n, dtype=np.float32)).view(n, 3, 2).sum(0)
        np.testing.assert_array_equal(y.numpy(), np.arange(6 * n).reshape(n, 3, 2).sum(0))

    assert misses(f, [4, 6, 8, 10]) == [1, 1, 0, 0]
    assert sum(misses(f, [9, 11, 5, 13])) <= 2


def test_sizes_that_no_input_has() -> None:
    def f(n: int) -> None:
        y = hs.arange(6 * n).view(n, 3, 2) + hs.zeros(n, 1, 2)
        assert y.sum().item() == 3 * n * (6 * n - 1)

    assert misses(f, [4, 6, 8, 10]) == [1, 1, 0, 0]
    assert sum(misses(f, [9, 11, 5, 13])) <= 2


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32", "float64"])
def test_numbers_divided_by_sizes_that_the_dtype_does_not_hold(name: str) -> None:
    scale = hs.ones((), requires_grad=True)

    def slope(n: int) -> float:
        x = (hs.tensor(np.ones(n, np.float32)) * scale).to(getattr(hs, name))
        x.retain_grad()
        x.mean().backward()
        found: float = x.grad[0].double().item()
        return found

    counts = [2123, 2091, 2059, 257, 261, 311]
    found = [slope(n) for n in counts]
    assert any(kind.entries for kind in lazy.programs.symbolic.kinds.values())
    with exact():
        assert [slope(n) for n in counts] == found


def test_weights_of_other_sizes_are_other_programs() -> None:
    for n in (4, 6, 8):
        w = hs.ones(n, 2, requires_grad=True)
        (w * w).sum().backward()
        assert w.grad.tolist() == [[2.0, 2.0]] * n
    assert not any(kind.entries for kind in lazy.programs.symbolic.kinds.values())


def test_sizes_that_come_often_get_programs_of_their_own() -> None:
    x = {n: hs.ones(n, 2).numpy() for n in (5, 6)}

    def g(n: int) -> None:
        assert (hs.tensor(x[n]) * 2 + 1).sum().item() == 6 * n

    assert misses(g, [5, 6]) == [1, 1]
    assert sum(misses(g, [6] * (sizes.OFTEN + 4))) == 1


def _recipe(rng: np.random.Generator) -> Callable[[Any, Any], Any]:
    """A random function of (n, 4) and (n, m)."""
    picks = rng.integers(0, 9, 4)

    def f(x: Any, y: Any) -> Any:
        for p in picks:
            if p == 0:
                x = hs.cat([x, x * 2], 0)[: x.shape[0]]
            elif p == 1:
                x = x.softmax(0)
            elif p == 2:
                x = (y @ (y.transpose(0, 1) @ x)).tanh()
            elif p == 3:
                x = x - x.mean(0)
            elif p == 4:
                x = x.unsqueeze(1).expand(-1, 3, -1).reshape(-1, 4)[: x.shape[0]]
            elif p == 5:
                x = x.cumsum(0).tanh()
            elif p == 6:
                x = x.reshape(-1).flip(0).reshape(-1, 4)
            elif p == 7:
                x = x + y.sum(1, keepdim=True) * y.shape[1]
            else:
                x = hs.where(x > x.max(0).values / 2, x, -x)
        return x

    return f


@pytest.mark.parametrize("seed", range(3))
def test_random_functions_at_random_sizes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    f = _recipe(rng)
    calls = [(array(rng, n, 4), array(rng, n, m)) for n, m in rng.integers(1, 14, (5, 2)).tolist()]
    rounds = [[f(*pair).numpy().copy() for pair in calls] for _ in range(3)]  # the later ones by plans
    for n, (x, y) in enumerate(calls):
        double = f(hs.tensor(x.numpy().astype(np.float64)), hs.tensor(y.numpy().astype(np.float64)))
        with exact():
            wanted = double.numpy()
        for found in rounds:
            np.testing.assert_allclose(found[n], wanted, rtol=2e-4, atol=2e-5)


def test_views_writes_and_threads() -> None:
    errors: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            rng = np.random.default_rng(seed)
            for n in rng.integers(2, 60, 12).tolist():
                x = array(rng, n, 4)
                wanted = x.numpy().copy()
                x[1:, 2].mul_(3.0)
                x.t()[0] += 1
                wanted[1:, 2] *= 3
                wanted[:, 0] += 1
                np.testing.assert_array_equal(x.numpy(), wanted)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[0]
    assert len(lazy.programs.found) < 12


def test_deterministic_mode_has_programs_of_fixed_sizes() -> None:
    hs.use_deterministic_algorithms(True)
    try:
        for n in (4, 5, 6):
            (hs.tensor(np.ones(n, np.float32)) + 1).numpy()
        assert not lazy.programs.symbolic.kinds
    finally:
        hs.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("stage", "most"), [("SymbolicProgram", 1), ("_graph_for", sizes.MOST_FAILURES)])
def test_what_cannot_have_symbols_is_not_tried_for_ever(stage: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def refuse(*_: Any) -> Any:
        tries.append(1)
        raise ValueError("a schedule does not know it")

    monkeypatch.setattr(sizes, stage, refuse)
    for n in range(2, 9):
        assert (hs.tensor(np.ones(n, np.float32)) * 3).sum().item() == 3 * n
    assert len(tries) == most
    assert "does not know" in next(iter(lazy.programs.symbolic.kinds.values())).reason


def test_a_plan_for_many_sizes_meets_other_numbers_of_axes() -> None:
    rng = np.random.default_rng(8)
    for shape in ((3, 5), (3, 9), (3, 7), (3, 12), (3, 9), (4,), (3, 0), (2, 3, 6), ()):
        x = array(rng, *shape)
        np.testing.assert_array_equal((x.exp() * 2).numpy(), 2 * x.exp().numpy())
