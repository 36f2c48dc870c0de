"""Backward: what it gathers, what it refuses, functions of one's own, hooks, and gradients of gradients."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import DTypeError, GradientError, ShapeError
from heliostat.tensor import lazy

from .compare import check, floats, same, torch


def gradcheck(f: Any, *arrays: Any) -> None:
    """Gradients in float64 against differences of the function itself."""
    xs = [hs.tensor(a, requires_grad=True) for a in arrays]
    y = f(*xs)
    seed = np.random.default_rng(0).standard_normal(tuple(y.shape))
    found = hs.autograd.grad(y, xs, hs.tensor(seed), allow_unused=True, materialize_grads=True)
    step = 1e-5
    for n, a in enumerate(arrays):
        expected = np.zeros(a.shape)
        for i in np.ndindex(a.shape):
            sides = []
            for s in (step, -step):
                moved = a.copy()
                moved[i] += s
                with hs.no_grad():
                    sides.append(f(*(hs.tensor(moved if k == n else b) for k, b in enumerate(arrays))).numpy())
            expected[i] = (seed * (sides[0] - sides[1])).sum() / (2 * step)
        np.testing.assert_allclose(found[n].numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: (x @ y.t()).softmax(-1), lambda x, y: (x * y).tanh().sum(0), lambda x, y: x.exp() / (1 + y * y),
        lambda x, y: hs.where(x > y, x * y, x - y), lambda x, y: x[hs.tensor([0, 2, 0])] * y,
        lambda x, y: hs.cat([x, y], 1).cumsum(1), lambda x, y: (x.reshape(-1)[2:8].view(2, 3) + y[:2, :3]).prod(1),
        lambda x, y: x.std(1) * y.var(0)[:3], lambda x, y: hs.einsum("ij,kj->ik", x, y).logsumexp(1),
        lambda x, y: x.scatter_add(1, hs.tensor([[0, 1, 1, 0]] * 3), y), lambda x, y: hs.atan2(x, y + 3),
        lambda x, y: x.sort(1).values.cumprod(1) * y, lambda x, y: hs.stack([x, y]).amax(0),
        lambda x, y: hs.lgamma(x * x + y * y + 1),
        lambda x, y: (x.norm(dim=1) * y.norm(1, dim=1)), lambda x, y: hs.pad(x, (1, 0), "reflect")[:, :4] * y.flip(0),
        lambda x, y: x.masked_fill(y > 0, 0.5).log_softmax(0),
        lambda x, y: (x @ x.t() + 5 * hs.eye(3, dtype=hs.float64)).inverse() @ y,
    ],
)  # fmt: skip
def test_gradients_are_those_of_differences(f: Any) -> None:
    gradcheck(f, floats(3, 4), floats(3, 4, seed=1))


def test_the_example() -> None:
    x = hs.tensor([[1.0, 2.0]], requires_grad=True)
    (x * 2).relu().sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[2.0, 2.0]]


def test_gradients_are_added_and_cleared() -> None:
    x = hs.tensor([1.0, 2.0], requires_grad=True)
    for n in (1, 2, 3):
        (x * x).sum().backward()
        assert x.grad.tolist() == [2.0 * n, 4.0 * n]
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_what_requires_grad() -> None:
    x, y = hs.ones(2, requires_grad=True), hs.ones(2)
    assert x.is_leaf
    assert (x + y).requires_grad
    assert not (x + y).is_leaf
    assert not (y + y).requires_grad
    assert not x.detach().requires_grad
    assert not (x > 0).requires_grad
    with hs.no_grad():
        assert not (x * 2).requires_grad
        with hs.enable_grad():
            assert (x * 2).requires_grad
    with hs.inference_mode():
        assert not (x * 2).requires_grad
    assert hs.is_grad_enabled()

    @hs.no_grad()
    def f() -> Any:
        return x * 2

    assert not f().requires_grad
    with hs.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_gradients_of_inner_tensors() -> None:
    x = hs.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [6.0, 12.0]
    assert x.grad.tolist() == [18.0, 36.0]
    z = x * 2
    (g,) = hs.autograd.grad((z * z).sum(), [z])
    assert g.tolist() == [4.0, 8.0]
    assert x.grad.tolist() == [18.0, 36.0]


def test_gradients_of_gradients() -> None:
    def f(m: Any, x: Any) -> Any:
        y = (x**3 + x.sin() * x.exp()).sum()
        (g,) = m.autograd.grad(y, [x], create_graph=True)
        (h,) = m.autograd.grad((g * g).sum(), [x], create_graph=True)
        return [g, h, m.autograd.grad(h.sum(), [x])[0]]

    a = floats(4)
    same(f(hs, hs.tensor(a, requires_grad=True)), f(torch, torch.tensor(a, requires_grad=True)), 1e-8)


def test_a_penalty_on_gradients_trains() -> None:
    def f(m: Any, w: Any) -> Any:
        x = m.ones(3, 4, dtype=m.float64)
        y = (x @ w).tanh().sum()
        (g,) = m.autograd.grad(y, [w], create_graph=True)
        ((g * g).sum() + y).backward()
        return w.grad

    a = floats(4, 2)
    same(f(hs, hs.tensor(a, requires_grad=True)), f(torch, torch.tensor(a, requires_grad=True)))


# --- what is refused --------------------------------------------------------------------------------------------------
def test_backward_twice_needs_the_graph() -> None:
    x = hs.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0]
    with pytest.raises(GradientError, match="second time"):
        y.backward()
    shared = x.exp()
    a, b = (shared * 2).sum(), shared.mean()
    a.backward()
    with pytest.raises(GradientError, match="second time"):
        b.backward()
    _ = y.item()
    with pytest.raises(GradientError, match="second time"):
        y.backward()


def test_a_graph_that_keeps_nothing_can_be_gone_through_again() -> None:
    x = hs.tensor([1.0, 2.0], requires_grad=True)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("count", [1, 2])
def test_a_function_reads_the_gradient_of_a_sum(count: int) -> None:
    """Of one element it is another name of a constant."""
    seen = []

    class Twice(hs.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: hs.Tensor) -> hs.Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: hs.Tensor) -> hs.Tensor:
            seen.append(g.tolist())
            return g * 2

    x = hs.ones(count, requires_grad=True)
    Twice.apply(x).sum().backward()
    assert seen == [[1.0] * count]
    assert x.grad.tolist() == [2.0] * count


@pytest.mark.parametrize("name", ["asinh", "atanh", "sinh", "tan", "erf", "expm1", "log1p", "asin", "atan"])
def test_slopes_at_zero(name: str) -> None:
    x = hs.tensor([0.0, -0.0], dtype=hs.float64, requires_grad=True)
    getattr(hs, name)(x).sum().backward()
    slope = 2 / np.sqrt(np.pi) if name == "erf" else 1.0
    np.testing.assert_allclose(x.grad.numpy(), [slope, slope], rtol=1e-12)


@pytest.mark.parametrize("name", ["asin", "acos", "atanh", "acosh"])
def test_slopes_at_the_ends(name: str) -> None:
    """Infinite, as PyTorch's are."""
    x = hs.tensor([1.0] if name == "acosh" else [1.0, -1.0], dtype=hs.float64, requires_grad=True)
    getattr(hs, name)(x).sum().backward()
    assert x.grad.tolist() == [-math.inf if name == "acos" else math.inf] * len(x)


@pytest.mark.parametrize("read", [True, False])
def test_a_graph_that_is_kept_keeps_its_masks(read: bool) -> None:
    """A mask has no gradient, and the result that was made of it is computed long before the last backward."""
    x = hs.tensor([0.5, -1.0, 3.0], requires_grad=True)
    a, b = hs.exp(x * 2), hs.sin(x * 3)
    y = hs.where(a - b > 1.0, a * b, b)
    if read:
        y.tolist()
    del a, b
    size = np.exp(2 * x.detach().numpy()), np.sin(3 * x.detach().numpy())
    slopes = 2 * size[0], 3 * np.cos(3 * x.detach().numpy())
    wanted = np.where(size[0] - size[1] > 1.0, slopes[0] * size[1] + size[0] * slopes[1], slopes[1])
    for n in range(4):
        (g,) = hs.autograd.grad(y, x, hs.ones(3), retain_graph=n < 3)
        np.testing.assert_allclose(g.numpy(), wanted, rtol=1e-5)


def test_backward_starts_at_one_element() -> None:
    x = hs.ones(2, requires_grad=True)
    with pytest.raises(GradientError, match="one element"):
        (x * 2).backward()
    (x * 2).backward(hs.tensor([1.0, 3.0]))
    assert x.grad.tolist() == [2.0, 6.0]
    with pytest.raises(ShapeError, match="gradient"):
        (x * 2).backward(hs.ones(3))
    with pytest.raises(GradientError, match="does not require grad"):
        hs.ones(1).backward()
    with pytest.raises(GradientError, match="not used"):
        hs.autograd.grad((x * 2).sum(), [hs.ones(2, requires_grad=True)])
    assert hs.autograd.grad((x * 2).sum(), [hs.ones(2, requires_grad=True)], allow_unused=True) == (None,)


def test_only_float_leaves_require_grad() -> None:
    with pytest.raises(DTypeError, match="floats"):
        hs.ones(2, dtype=hs.int64).requires_grad_()
    x = hs.ones(2, requires_grad=True)
    with pytest.raises(GradientError, match="leaves"):
        (x * 2).requires_grad_(False)
    with pytest.raises(GradientError, match="requires grad"):
        x.numpy()
    with pytest.raises(ShapeError, match="gradient"):
        x.grad = hs.ones(3)


CHANGES: dict[str, Any] = {
    "operand of a product": lambda x, y: (y * y, y), "factor": lambda x, y: (x * y, y),
    "result of exp": lambda x, y: ((e := y.exp()), e),
    "view": lambda x, y: (y[0] * y[0], y), "base of a view": lambda x, y: ((v := y[0]) * v, v),
    "sqrt": lambda x, y: ((s := y.sqrt()), s),
    "matmul": lambda x, y: (y @ y.t(), y), "divisor": lambda x, y: (x / y, y), "pow": lambda x, y: (y**2.5, y),
    "reshaped": lambda x, y: (y.view(-1) * 2 * y.view(-1), y), "softmax": lambda x, y: ((s := y.softmax(-1)), s),
    "own function": lambda x, y: (hs.lgamma(y), y),
}  # fmt: skip


WEIGHTS: dict[str, Any] = {
    "linear": ((3, 3), lambda x, w: hs.nn.functional.linear(x, w)),
    "linear behind relu": ((3, 3), lambda x, w: hs.nn.functional.linear(x, w).relu()),
    "gru": ((9, 3), lambda x, w: _gru(w)(x)),
    "attention": ((9, 3), lambda x, w: _attention(w)(x)),
}  # fmt: skip


def _gru(w: Any) -> Any:
    return lambda x: hs.func.functional_call(hs.nn.GRU(3, 3), {"weight_hh_l0": w}, (x,))[0]


def _attention(w: Any) -> Any:
    return lambda x: hs.func.functional_call(hs.nn.MultiheadAttention(3, 1), {"in_proj_weight": w}, (x, x, x))[0]


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("needed", [True, False], ids=["needed", "unused"])
def test_a_weight_that_a_function_turned_round_and_that_was_changed_in_place_is_found(name: str, needed: bool) -> None:
    shape, run = WEIGHTS[name]
    x = hs.tensor(floats(3, 3, low=0.5), dtype=hs.float32, requires_grad=needed)
    w = hs.tensor(floats(*shape), dtype=hs.float32, requires_grad=True)
    for kept in (True, False):  # by the rules, and by the node that is kept for a structure
        run(x, w).sum().backward()
        y = run(x, w).sum()
        with hs.no_grad():
            w.add_(1)
        if needed or name == "gru":  # the state of a step before
            with pytest.raises(GradientError, match="changed in place"):
                y.backward(retain_graph=kept)
        else:
            y.backward(retain_graph=kept)


@pytest.mark.parametrize("name", CHANGES)
def test_a_needed_value_that_was_changed_in_place_is_found(name: str) -> None:
    x = hs.tensor(floats(3, 3, low=0.5), requires_grad=True)
    made, changed = CHANGES[name](x, x * 1)
    changed.add_(1)
    with pytest.raises(GradientError, match="changed in place"):
        made.sum().backward()


UNNEEDED: dict[str, Any] = {
    "sum": lambda x, y: (y + y, y), "scaled": lambda x, y: (y * 2, y),
    "result of a sum": lambda x, y: ((s := x + y), s),
    "operand of exp": lambda x, y: (y.exp(), y), "clone": lambda x, y: (y * y, y.clone()),
    "copy": lambda x, y: (y * y, y.detach()),
    "reshape": lambda x, y: (y.reshape(9), y), "concat": lambda x, y: (hs.cat([x, y]), y),
    "twice": lambda x, y: (y.mul_(y).exp_(), x * 1),
    "relu": lambda x, y: ((x * 1).relu(), y),
}  # fmt: skip


@pytest.mark.parametrize("name", UNNEEDED)
def test_changes_of_other_values_are_fine(name: str) -> None:
    x = hs.tensor(floats(3, 3, low=0.5), requires_grad=True)
    made, changed = UNNEEDED[name](x, x * 1)
    made.detach().numpy()
    changed.add_(1)
    made.sum().backward()
    assert x.grad is not None


def test_leaves_are_changed_under_no_grad_only() -> None:
    w = hs.ones(2, requires_grad=True)
    for change in (
        lambda: w.add_(1),
        lambda: w.__setitem__(0, 2.0),
        lambda: w.view(2, 1).mul_(2),
        lambda: w.copy_(w * 2),
    ):
        with pytest.raises(GradientError, match="leaf"):
            change()
    (w * w).sum().backward()
    with hs.no_grad():
        w -= 0.5 * w.grad
    assert w.tolist() == [0.0, 0.0]
    assert w.requires_grad
    assert w.is_leaf
    y = (w * w).sum()
    with hs.no_grad():
        w.add_(1)
    with pytest.raises(GradientError, match="changed in place"):
        y.backward()


# --- functions of one's own, hooks ------------------------------------------------------------------------------------
def test_a_function_with_its_own_gradient() -> None:
    def build(m: Any) -> Any:
        class Cube(m.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any, scale: float) -> Any:
                ctx.save_for_backward(x)
                ctx.scale = scale
                return x * x * x * scale

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                (x,) = ctx.saved_tensors
                return g * 3 * x * x * ctx.scale, None

        return Cube

    check(lambda m, x: build(m).apply(x, 2.0) * x, floats(4), grad=True)


def test_a_function_with_two_results() -> None:
    def build(m: Any) -> Any:
        class Both(m.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any, y: Any) -> Any:
                ctx.save_for_backward(x, y)
                return x * y, x + y

            @staticmethod
            def backward(ctx: Any, g: Any, h: Any) -> Any:
                x, y = ctx.saved_tensors
                return g * y + h, g * x + h

        return Both

    check(lambda m, x, y: list(build(m).apply(x, y)), floats(4), floats(4, seed=1), grad=True)
    check(lambda m, x, y: build(m).apply(x, y)[1], floats(4), floats(4, seed=1), grad=True)


def test_a_function_with_too_few_gradients() -> None:
    class Wrong(hs.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            return x * y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g

    x = hs.ones(2, requires_grad=True)
    with pytest.raises(GradientError, match="1 gradients for 2"):
        Wrong.apply(x, x).sum().backward()


def test_hooks() -> None:
    x = hs.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    seen: list[Any] = []
    handle = y.register_hook(lambda g: seen.append(g.tolist()) or g * 10)
    y.sum().backward()
    assert seen == [[1.0, 1.0]]
    assert x.grad.tolist() == [20.0, 20.0]
    handle.remove()
    after: list[Any] = []
    x.register_post_accumulate_grad_hook(lambda t: after.append(t.grad.tolist()))
    (x * 3).sum().backward()
    assert after == [[23.0, 23.0]]
    with pytest.raises(GradientError):
        hs.ones(1).register_hook(lambda g: None)


WRITES: list[Any] = [
    lambda m, w: m.optim.SGD([w], lr=0.25).step(), lambda m, w: m.optim.Adam([w], lr=0.25).step(),
    lambda m, w: w.mul_(0.5), lambda m, w: w.copy_(m.ones(2)), lambda m, w: w.view(2, 1)[0].fill_(3.0),
    lambda m, w: w.data.mul_(0.5), lambda m, w: setattr(w, "data", w.data * 0.5),
    lambda m, w: w.requires_grad_(False).requires_grad_(True),
]  # fmt: skip


@pytest.mark.parametrize("change", WRITES)
def test_hooks_of_a_leaf_outlast_its_values(change: Any) -> None:
    found = []
    for m in (hs, torch):
        w = m.tensor([1.0, 2.0]).requires_grad_(True)
        handle = w.register_hook(lambda g: g * 10)
        grads = []
        for n in range(4):
            if n == 3:
                handle.remove()
            w.grad = None
            (w * w).sum().backward()
            grads.append(w.grad.tolist())
            with m.no_grad():
                change(m, w)
        other = w.detach().requires_grad_(True)
        other.sum().backward()
        found.append([*grads, other.grad.tolist()])
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_deep_graphs_need_no_deep_stack() -> None:
    x = hs.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(1100):
        y = y + x
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.item() == 1101


# --- what is computed when, and how long it is kept -------------------------------------------------------------------
def test_reading_on_the_way_changes_no_gradient() -> None:
    """Reading computes values and lets go of what they were made of, but for what gradients still need."""

    def run(read: bool) -> list[Any]:
        x = hs.tensor([0.5, 1.5], requires_grad=True)
        inner = x + 1
        a, b = inner.sin(), inner * 2
        c = (b.exp() * a).logsumexp(0)
        del inner
        for t in (a, b, c) if read else ():
            t.detach().numpy()
        a.sum().backward()
        if read:
            x.grad.numpy()
        (b.sum() + c).backward(retain_graph=False)
        return [x.grad.tolist()]

    with pytest.raises(GradientError, match="second time"):  # `a` is behind both
        run(True)
    with pytest.raises(GradientError, match="second time"):
        run(False)

    def kept(read: bool) -> list[Any]:
        x = hs.tensor([0.5, 1.5], requires_grad=True)
        inner = x + 1
        a, b = inner.sin(), inner + 2
        del inner
        for t in (a, b) if read else ():
            t.detach().numpy()
        a.sum().backward()
        first = x.grad.tolist() if read else None
        assert first is None or len(first) == 2
        b.sum().backward()
        y = (b.exp() * b).cumprod(0).logsumexp(0)
        for n in range(3):
            y.backward(retain_graph=n < 2)
            if read:
                x.grad.numpy()
        return x.grad.tolist()

    np.testing.assert_allclose(kept(True), kept(False), rtol=1e-6)


def test_memory_is_free_at_once_after_a_step() -> None:
    """Values and nodes refer to each other, but old weights do not wait for the garbage collector."""
    w = hs.randn(200, 100, requires_grad=True)  # small memory is kept for the next value of its size
    w.array()
    old: list[Any] = []
    losses = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(6):
            w.grad = None
            loss = ((w * 2).tanh() ** 2).mean()
            loss.backward()
            old.append(weakref.ref(lazy.buffer_of(w.value).owner))
            with hs.no_grad():
                w -= 0.1 * w.grad
            losses.append(loss)
            loss.item()
        assert not [r for r in old if r() is not None]
    finally:
        gc.enable()
    assert losses[-1].item() < losses[0].item()


def test_a_step_that_repeats_is_compiled_once() -> None:
    w, b = hs.randn(7, 3, requires_grad=True), hs.zeros(3, requires_grad=True)
    counts = []
    for n in range(5):
        x = hs.tensor(np.full((4, 7), n, np.float32))
        loss = ((x @ w + b).relu() ** 2).mean() * (n + 1.0)
        w.grad = b.grad = None
        loss.backward()
        with hs.no_grad():
            w -= 0.01 * w.grad
            b -= 0.01 * b.grad
        loss.item()
        counts.append(lazy.programs.misses)
    assert len(set(counts[1:])) == 1


def test_gradients_pass_through_a_retained_tensor_that_is_gone() -> None:
    def f(m: Any, x: Any) -> Any:
        between = x * 2
        between.retain_grad()
        return (between * 3).sum()

    check(f, floats(4), grad=True)
