"""Checkpointing: gradients are bitwise those without it and nearly PyTorch's; memory is really saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.diagnostics import UnsupportedError
from heliostat.utils.checkpoint import checkpoint, checkpoint_sequential


def blocks(count: int = 4, size: int = 16, p: float = 0.25) -> Any:
    hs.manual_seed(11)
    return nn.Sequential(
        *(nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size), nn.Dropout(p)) for _ in range(count))
    )


def run(model: Any, x: Any, how: str) -> tuple[Any, list[Any]]:
    """The loss and all gradients, of the same draws."""
    hs.manual_seed(3)
    for p in model.parameters():
        p.grad = None
    x = x.clone().requires_grad_(True)
    y = x
    if how == "sequential":
        y = checkpoint_sequential(model, 2, y)
    else:
        for block in model:
            y = checkpoint(block, y) if how == "each" else block(y)
    loss = (y * y).mean()
    if how == "read":
        loss.item()
    loss.backward()
    hs.rand(1)
    state = hs.get_rng_state().tolist()
    return (loss.item(), state), [x.grad.numpy(), *(p.grad.numpy() for p in model.parameters())]


@pytest.mark.parametrize("how", ["each", "sequential"])
def test_gradients_are_bitwise_the_same(how: str) -> None:
    model, x = blocks(), hs.randn(8, 16)
    expected, grads = run(model, x, "plain")
    found, others = run(model, x, how)
    assert found == expected
    for n, (a, b) in enumerate(zip(others, grads, strict=True)):
        np.testing.assert_array_equal(a, b, err_msg=str(n))


def test_gradients_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.checkpoint import checkpoint as theirs

    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=s).astype(np.float32) for s in ((3, 4), (4, 5), (5,))]
    xs = [hs.tensor(a, requires_grad=True) for a in arrays]
    ys = [torch.tensor(a, requires_grad=True) for a in arrays]

    def f(x: Any, w: Any, *, b: Any) -> Any:
        h = (x @ w).tanh()
        return {"a": h * b, "twice": (h, x), "n": 3}

    found = checkpoint(f, xs[0], xs[1], b=xs[2])
    expected = theirs(f, ys[0], ys[1], b=ys[2], use_reentrant=False)
    assert found["n"] == 3
    assert found["twice"][1] is xs[0]
    (found["a"].sum() + (found["twice"][0] ** 2).sum()).backward()
    (expected["a"].sum() + (expected["twice"][0] ** 2).sum()).backward()
    for x, y in zip(xs, ys, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), atol=1e-5, rtol=1e-4)


def scratch(how: str) -> tuple[int, list[Any]]:
    """Scratch memory of a compiled step, and its gradients."""
    model = blocks(8, 64, 0.0)

    @hs.compile
    def step(x: Any) -> Any:
        y = x
        for block in model:
            y = checkpoint(block, y) if how == "each" else block(y)
        (y * y).mean().backward()
        return [p.grad for p in model.parameters()]

    hs.manual_seed(5)
    grads = [g.numpy() for g in step(hs.randn(256, 64))]
    (entry,) = step.entries[next(iter(step.entries))]
    return entry.step.native.program.arena_nbytes, grads


def test_memory_is_saved_in_a_compiled_step() -> None:
    plain, expected = scratch("plain")
    less, found = scratch("each")
    assert less < 0.6 * plain
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_hooks_functions_and_nesting() -> None:
    class Cube(hs.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * 3 * x * x

    def grads(wrap: Any) -> tuple[list[Any], list[int]]:
        w = hs.tensor([1.5, -2.0], requires_grad=True)
        calls: list[int] = []

        def hook(g: Any) -> Any:
            calls.append(1)
            return g * 2

        w.register_hook(hook)

        def inner(x: Any) -> Any:
            return Cube.apply(x * w).sin()

        def outer(x: Any) -> Any:
            return wrap(inner, x + w).exp() * w

        x = hs.tensor([0.5, 0.25], requires_grad=True)
        wrap(outer, x).sum().backward()
        return [w.grad.numpy(), x.grad.numpy()], calls

    (expected, once), (found, calls) = grads(lambda f, x: f(x)), grads(checkpoint)
    assert once == calls == [1]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_second_derivatives_and_twice() -> None:
    x = hs.tensor([0.3, 0.7], requires_grad=True)
    y = checkpoint(lambda t: t.sin() * t, x).sum()
    (g,) = hs.autograd.grad(y, x, create_graph=True)
    (h,) = hs.autograd.grad(g.sum(), x)
    np.testing.assert_allclose(h.numpy(), 2 * np.cos(x.tolist()) - np.sin(x.tolist()) * x.tolist(), rtol=1e-5)
    z = checkpoint(lambda t: t * t, x).sum()
    z.backward(retain_graph=True)
    z.backward()
    np.testing.assert_allclose(x.grad.numpy(), 4 * np.array(x.tolist()), rtol=1e-6)
    with pytest.raises(hs.diagnostics.GradientError, match="retain_graph"):
        z.backward()


def test_without_gradients_and_refusals() -> None:
    x = hs.ones(2)
    assert checkpoint(lambda t: t + 1, x).tolist() == [2.0, 2.0]
    with hs.no_grad():
        assert not checkpoint(lambda t: t + 1, x.clone().requires_grad_(True)).requires_grad
    for options in (
        {"use_reentrant": True}, {"debug": True}, {"context_fn": list}, {"determinism_check": "strict"}
    ):  # fmt: skip
        with pytest.raises(UnsupportedError, match=next(iter(options))):
            checkpoint(lambda t: t, x, **options)
    with pytest.raises(ValueError, match="3 segments of 2"):
        checkpoint_sequential([abs, abs], 3, x)
    with pytest.raises(UnsupportedError, match="surprise"):
        checkpoint_sequential([abs, abs], 2, x, surprise=1)
