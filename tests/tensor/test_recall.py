"""Structures that were run before are found again, and no other ones are taken for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import ops
from heliostat.ir.types import f32, tensor
from heliostat.tensor import lazy, recall, recorded
from heliostat.tensor.core import new

torch = pytest.importorskip("torch")

SHAPE = (3, 4)
Recipe = list[tuple[Any, ...]]


def _recipe(rng: np.random.Generator, count: int) -> Recipe:
    """Functions of what was made before, by place; places 0 to 2 are inputs."""
    made: Recipe = []
    for at in range(3, 3 + count):
        a, b = (int(n) for n in rng.integers(max(0, at - 4), at, 2))
        kind = rng.integers(7)
        if kind < 3:
            made.append((("add", "sub", "mul")[kind], a, b))
        elif kind == 3:
            made.append(("number", a, float(rng.integers(1, 9)) / 8))
        elif kind == 4:
            made.append(("roll", a, int(rng.integers(1, 4))))
        elif kind == 5:
            made.append(("detach", a))
        else:
            made.append(("extreme", a, int(rng.integers(2))))
    return made


def _mutant(rng: np.random.Generator, recipe: Recipe) -> Recipe:
    """A recipe that differs in one place."""
    found = list(recipe)
    at = int(rng.integers(len(found)))
    name, *rest = found[at]
    if name in ("add", "sub", "mul"):
        swap = rng.integers(2)
        found[at] = (name, rest[1], rest[0]) if swap else (("sub", "mul", "add")[len(name + str(at)) % 3], *rest)
    elif name == "roll":
        found[at] = (name, rest[0], rest[1] % 3 + 1)
    elif name == "extreme":
        found[at] = (name, rest[0], 1 - rest[1])
    else:
        found[at] = ("mul", rest[0], int(rng.integers(3)))
    return found


def _follow(lib: Any, recipe: Recipe, inputs: list[Any], wanted: list[int]) -> list[np.ndarray[Any, Any]]:
    found = list(inputs)
    for name, a, *rest in recipe:
        x = found[a]
        if name == "number":
            y = x * rest[0]
        elif name == "roll":
            y = x.transpose(0, 1).roll(rest[0], 0).transpose(0, 1)
        elif name == "detach":
            y = x.detach() + 0.0
        elif name == "extreme":
            y = x.topk(2, 1)[0][:, rest[0] : rest[0] + 1] - x
        else:
            y = {"add": x.__add__, "sub": x.__sub__, "mul": x.__mul__}[name](found[rest[0]])
        found.append(y.tanh())
    kept = [found[n] for n in wanted]
    del found
    return [np.array(t.detach().numpy()) for t in kept]


@pytest.mark.parametrize("seed", range(2))
def test_random_structures_and_their_mutants_equal_torch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = _recipe(rng, 9)
    recipes = [first, *(_mutant(rng, first) for _ in range(3))]
    wanted = [int(n) for n in rng.integers(3, 12, 2)]
    misses = 0
    for turn in range(12):
        recipe = recipes[turn % 4 if turn < 4 else rng.integers(4)]
        arrays = [rng.standard_normal(SHAPE).astype(np.float32) for _ in range(3)]
        if turn % 3 == 2:
            arrays[2] = arrays[0]
        ours, theirs = ([lib.from_numpy(a) for a in arrays] for lib in (hs, torch))
        if turn % 3 == 2:
            ours[2], theirs[2] = ours[0], theirs[0]
        found, expected = (_follow(lib, recipe, given, wanted) for lib, given in ((hs, ours), (torch, theirs)))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        if turn == 4:
            misses = lazy.programs.misses
    assert lazy.programs.misses <= misses + 4, "with an input twice four more"


def _walked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many values were numbered, each time that a graph was walked whole."""
    seen: list[int] = []
    plain = lazy.Closed.__init__

    def init(self: Any, *args: Any) -> None:
        plain(self, *args)
        seen.append(len(self.order))

    monkeypatch.setattr(lazy.Closed, "__init__", init)
    return seen


def test_a_loop_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = hs.from_numpy(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))

    def step(a: float) -> Any:
        return ((x * a).tanh() + x).sum(0).numpy()

    step(0.5)
    seen, hits = _walked(monkeypatch), lazy.programs.hits
    for a in (0.25, 3, 0.5, 7.0):
        np.testing.assert_allclose(step(a), (np.tanh(x.numpy() * np.float32(a)) + x.numpy()).sum(0), rtol=1e-5)
    assert not seen
    assert lazy.programs.hits == hits + 4


@pytest.mark.parametrize(
    "other",
    [
        lambda x, y: (x.tanh() - y).sum(0),  # an operand
        lambda x, y: (y - x.tanh()).sum(0),  # their order
        lambda x, y: (x.tanh() - x).sum(1),  # an attribute
        lambda x, y: (x.tanh() * x).sum(0),  # an op
        lambda x, y: (x.tanh() - x.tanh()).sum(0),  # a value in two places made twice
    ],
)
def test_what_differs_is_not_taken_for_it(other: Any) -> None:
    for _ in range(2):
        for f in (lambda x, y: (x.tanh() - x).sum(0), other):
            x, y = (np.random.default_rng(n).standard_normal((4, 4)).astype(np.float32) for n in (1, 2))
            found, expected = (f(*(lib.from_numpy(a) for a in (x, y))).numpy() for lib in (hs, torch))
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_other_sizes_and_dtypes_are_other_structures() -> None:
    for shape in ((2, 3), (4, 5), (2, 3)):
        for dtype in (np.float32, np.float64):
            data = np.random.default_rng(0).standard_normal(shape).astype(dtype)
            found = (hs.from_numpy(data).tanh() * 2).numpy()
            assert found.dtype == dtype
            np.testing.assert_allclose(found, np.tanh(data) * 2, rtol=1e-5)


def test_results_of_one_node_are_told_apart() -> None:
    """Which result, and of which arguments."""
    pair = recorded.record(lambda t: [t[0] - t[1], t[0] * t[1]], [tensor(f32, 4)] * 2)
    assert pair is not None
    for kind in (0, 1, 2, 0, 1, 2):
        x, y, z = (np.random.default_rng(n).uniform(1, 2, 4).astype(np.float32) for n in range(3))
        a, b, c = (hs.from_numpy(t)._v for t in (x, y, z))
        first, second = pair([a, b])
        if kind == 1:
            first, second = second, first
        if kind == 2:
            second = pair([c, b])[1]
        expected = ((x - y) / (x * y), x * y / (x - y), (x - y) / (z * y))[kind]
        np.testing.assert_allclose(new(hs.Tensor, ops.div(first, second)).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("grad", [False, True])  # with gradients it is known how a value was made
def test_what_is_known_by_now_is_read(grad: bool) -> None:
    x = hs.from_numpy(np.ones(4, np.float32)).requires_grad_(grad)
    for known in (False, True, False):
        y = x.tanh()
        if known:
            y.detach().numpy()
            y._v.meta.buffer = hs.zeros(4)._v.meta.buffer
        z = y.exp()
        del y
        np.testing.assert_allclose(z.detach().numpy(), 1.0 if known else np.exp(np.tanh(1.0)), rtol=1e-5)


def test_plans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    x = hs.from_numpy(np.ones((2, 2), np.float32))
    kept = lazy.programs.plans.found
    kept.clear()
    monkeypatch.setattr(recall, "PATIENCE", 3)
    for n in range(1, 2 * recall.MOST_ALIKE):
        for _ in range(2):
            total = x
            for _ in range(n):
                total = total + x
            np.testing.assert_array_equal((total * 2).numpy(), 2.0 * (n + 1))
        ((kind),) = kept.values()
        assert 1 <= len(kind.plans) <= recall.MOST_ALIKE
    assert len(kind.plans) < recall.MOST_ALIKE, "forgotten, and made anew"
    monkeypatch.setattr(recall, "MOST_KINDS", 2)
    for f in (hs.tanh, hs.exp, hs.sin, hs.cos):
        f(x).numpy()
        assert len(kept) <= 2
    monkeypatch.setattr(recall, "MOST_VALUES", 3)
    kept.clear()
    (x.tanh().exp().sin() + 1).numpy()
    assert not kept
