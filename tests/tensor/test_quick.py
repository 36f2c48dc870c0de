"""The short road of element-wise ops builds what the whole way builds, and is left where more than that is needed."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import DeviceMismatchError
from heliostat.ops import op as op_module
from heliostat.tensor import lazy, quick

torch = pytest.importorskip("torch")

NUMBERS = [0.5, -2.0, 3, 0, 0.0, -0.0, 1, 1.0, 1 << 60, 1e300, math.inf, math.nan]
DTYPES = ["float32", "float64", "int32", "bool"]
UNARY = ["tanh", "abs", "sigmoid", "neg"]
OPERATORS = [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b]


def _pair(lib, rng, kind, dtype, shape):
    data = rng.uniform(-3, 3, shape).astype(np.float32)
    made = lib.from_numpy(data).to(getattr(lib, dtype))
    if kind == "view":
        made = made.reshape(1, *shape)[0]
    elif kind == "leaf" and dtype.startswith("float"):
        made = made.detach().requires_grad_(True)
    elif kind == "parameter" and dtype.startswith("float"):
        made = lib.nn.Parameter(made)
    return made


def _walk(lib, seed):
    """A random chain of functions, with the gradients of what it began with."""
    rng = np.random.default_rng(seed)
    shapes = [(3, 4), (4,), (3, 1), ()]
    leaves = [
        _pair(lib, rng, str(rng.choice(["plain", "view", "leaf", "parameter"])), str(rng.choice(DTYPES[:2])),
              shapes[rng.integers(4)])
        for _ in range(3)
    ]  # fmt: skip
    leaves.append(_pair(lib, rng, "plain", str(rng.choice(DTYPES)), (3, 4)))
    found = list(leaves)
    for _ in range(12):
        x = found[rng.integers(len(found))]
        if rng.integers(3) == 0:
            name = str(rng.choice(UNARY))
            if x.dtype == lib.bool and name in ("neg", "abs"):
                continue
            y = getattr(x, name)() if rng.integers(2) else getattr(lib, name)(x)
        else:
            op = OPERATORS[rng.integers(4)]
            numbers = [n for n in NUMBERS[:9] if x.is_floating_point() or not isinstance(n, float)]
            o = numbers[rng.integers(len(numbers))] if rng.integers(2) else found[rng.integers(len(found))]
            if lib.bool in (x.dtype, getattr(o, "dtype", None)):
                continue
            y = op(o, x) if rng.integers(2) else op(x, o)
        if rng.integers(6) == 0 and isinstance(y, lib.Tensor) and not y.requires_grad:
            y.mul_(0.5) if y.is_floating_point() else None
        found.append(y)
    floats = [t for t in found if t.requires_grad and t.numel()]
    if floats:
        sum(t.double().clamp(-5, 5).nan_to_num().sum() for t in floats).backward()
    gradients = [t.grad for t in leaves if t.requires_grad]
    return [*found, *gradients]


@pytest.mark.parametrize("seed", range(24))
def test_random_chains_equal_torch(seed):
    with np.errstate(all="ignore"):
        ours, theirs = _walk(hs, seed), _walk(torch, seed)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is None:
            continue
        assert a.dtype == getattr(hs, str(b.dtype).removeprefix("torch."))
        assert a.requires_grad == b.requires_grad
        assert a.is_leaf == b.is_leaf
        expected = b.detach().double().numpy()
        found = a.detach().double().numpy()
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_equal_torch(number, dtype):
    data = np.array([-1.5, -0.0, 0.0, 2.0])
    for op in OPERATORS:
        for _ in range(2):  # the second time by the short road
            for swapped in (False, True):
                x, y = (lib.from_numpy(data).to(getattr(lib, dtype)) for lib in (hs, torch))
                a, b = (op(number, t) if swapped else op(t, number) for t in (x, y))
                np.testing.assert_array_equal(a.numpy(), b.numpy())
                np.testing.assert_array_equal(np.signbit(a.numpy()), np.signbit(b.numpy()))


def _whole_way(monkeypatch):
    """What was not built by the short road."""
    made = []
    plain = op_module.Node
    monkeypatch.setattr(op_module, "Node", lambda op, *rest: made.append(op.name) or plain(op, *rest))
    return made


def _step(x, y):
    return (((x * 0.5 + 1.0).relu() - y) / x).tanh()


def test_a_chain_takes_the_short_road_the_second_time(monkeypatch):
    x, y = hs.randn(8), hs.randn(8)
    first = _step(x, y).numpy()
    made = _whole_way(monkeypatch)
    np.testing.assert_array_equal(_step(x, y).numpy(), first)
    assert not made
    last = _step(x.requires_grad_(True), y)
    assert not made
    node, found = last._v.node, []
    while node.inputs:
        found.append(node.op.name)
        node = node.inputs[0].node
    assert found == ["tanh", "div", "sub", "relu", "add", "mul"]


def test_a_longer_road_is_taken_where_it_is_needed(monkeypatch):
    x, y = hs.randn(8), hs.randn(8)
    _step(x, y).numpy()
    hs.exp(x).numpy()
    made = _whole_way(monkeypatch)
    chain = ["mul", "add", "relu", "sub", "div", "tanh"]
    step = hs.compile(_step)
    step(x, y)
    assert [name for name in made if name in chain] == chain, "while a step is captured"
    del made[:]
    with hs.autograd.detect_anomaly():
        _step(x, y).numpy()
    assert [name for name in made if name in chain] == chain, "in anomaly mode"
    del made[:]
    with hs.autocast("cpu"):
        hs.exp(x).numpy()
    assert "exp" in made, "of a function that autocast has a rule for"


def test_equal_numbers_make_no_new_program():
    x = hs.tensor(np.linspace(-2, 2, 16, dtype=np.float32))

    def run(a, b):
        return (x * a + b).numpy()

    run(0.25, 0.75)
    misses = lazy.programs.misses
    for a, b in ((0.5, 0.5), (2, 2.0), (0.0, -0.0), (7.5, 7.5)):
        np.testing.assert_array_equal(run(a, b), x.numpy() * np.float32(a) + np.float32(b))
    assert lazy.programs.misses == misses


def test_memory_of_numbers_is_bounded():
    x = hs.randn(4)
    for n in range(3 * quick.KEPT_NUMBERS):
        y = x * (n + 0.5)
    np.testing.assert_array_equal(y.numpy(), x.numpy() * np.float32(n + 0.5))
    assert all(len(kept) <= quick.KEPT_NUMBERS for kept in quick._numbers.values())


def test_operands_on_two_devices_are_an_error():
    x = hs.randn(4)
    y = x + x
    y._v.device = "cuda:0"
    with pytest.raises(DeviceMismatchError, match="two devices"):
        _ = y + x
    y._v.device = "cpu"
    assert y.numpy() == pytest.approx(2 * x.numpy())


def test_views_read_what_their_base_holds_now():
    for op in (lambda v, x: v + 1.0, lambda v, x: x * v, lambda v, x: v.tanh()):
        data = np.arange(8, dtype=np.float32)
        base, x = hs.tensor(data), hs.tensor(np.ones(8, np.float32))
        view, plain = base.detach(), hs.tensor(data)
        for _ in range(2):  # the type is known the second time
            op(view, x).numpy()
            op(plain, x).numpy()
        base.mul_(3.0)
        np.testing.assert_allclose(op(view, x).numpy(), op(plain * 3.0, x).numpy(), rtol=1e-6)


def test_types_that_change_from_call_to_call():
    """Each function remembers the types that it was given last: others must not get their result's type."""
    shapes = [(4,), (3, 4), (), (3, 1), (1, 4)]
    tensors = [hs.zeros(s, dtype=d) for s in shapes for d in (hs.float32, hs.float64, hs.int32)]
    for _ in range(2):  # the types are known the second time
        for x in tensors:
            assert (x * 0.5).shape == (3 - x).shape == abs(x).shape == x.shape
            assert (3 - x).dtype == abs(x).dtype == x.dtype
            for y in tensors:
                made = x - y
                assert made.shape == np.broadcast_shapes(x.shape, y.shape)
                assert made.dtype == hs.result_type(x, y)


def test_a_value_is_seen_with_its_memory_or_without_any() -> None:
    """Other threads look at values while one gives them data: between any two lines they must find them whole."""
    for _ in range(2):  # the second one follows a plan
        (hs.ones(3) * 5 + 1).numpy()
    v, whole = (hs.ones(3) * 5 + 1)._v, []

    def look(frame: Any, event: str, arg: Any) -> Any:
        if v.meta is not None:
            whole.append(hasattr(v.meta, "buffer"))
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        lazy.realize([v])
    finally:
        sys.settrace(before)
    assert whole
    assert all(whole)
