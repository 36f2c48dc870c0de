"""GradScaler and custom functions against PyTorch's: numbers, skipped steps, order of calls, compiled steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn, optim
from heliostat.amp import GradScaler, custom_bwd, custom_fwd
from heliostat.diagnostics import DTypeError, ScopeError, UnsupportedError

torch = pytest.importorskip("torch")

SETTINGS = {"init_scale": 8.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 2}
OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9}, "Adam": {"lr": 0.05}, "AdamW": {"lr": 0.05, "amsgrad": True},
    "RMSprop": {"lr": 0.01, "momentum": 0.5}, "Adagrad": {"lr": 0.1},
}  # fmt: skip
FACTORS = [1.0, float("inf"), 2.0, 3.0, 1.0, float("nan"), 1.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("name", "compiled"), [("SGD", True), ("Adam", False), ("AdamW", True), ("RMSprop", False), ("Adagrad", False)]
)
def test_steps_are_pytorchs(name: str, compiled: bool) -> None:
    """Random losses of which some overflow: parameters, scale and growth are PyTorch's after every step."""
    rng = np.random.default_rng(7)
    w = rng.uniform(-1, 1, (3, 2)).astype(np.float32)
    p, q = hs.tensor(w, requires_grad=True), torch.tensor(w, requires_grad=True)
    a = getattr(optim, name)([p], **OPTIMIZERS[name])
    b = getattr(torch.optim, name)([q], **OPTIMIZERS[name])
    mine, theirs = GradScaler(**SETTINGS), torch.amp.GradScaler("cpu", **SETTINGS)
    a.make_state()

    def step(x: Any, factor: Any) -> None:
        a.zero_grad()
        mine.scale(((x @ p) ** 2).mean() * factor).backward()
        mine.step(a)
        mine.update()

    run = hs.compile(step) if compiled else step
    for n, factor in enumerate(FACTORS):
        x = rng.uniform(-1, 1, (4, 3)).astype(np.float32)
        b.zero_grad()
        theirs.scale(((torch.tensor(x) @ q) ** 2).mean() * factor).backward()
        theirs.step(b)
        theirs.update()
        run(hs.tensor(x), hs.tensor(factor))
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), atol=1e-5, rtol=1e-4, err_msg=f"step {n}")
        assert mine.get_scale() == theirs.get_scale(), n
        assert mine.state_dict()["_growth_tracker"] == theirs.state_dict()["_growth_tracker"], n
    if compiled:
        assert run.cache_info().misses <= 2


def test_two_optimizers_have_states_of_their_own() -> None:
    p, q = (hs.ones(2, requires_grad=True) for _ in range(2))
    a, b = optim.SGD([p], lr=1.0), optim.SGD([q], lr=1.0)
    scaler = GradScaler(init_scale=4.0)
    scaler.scale((p * 0.5).sum() + (q * float("inf")).sum()).backward()
    scaler.unscale_(a)
    assert p.grad.tolist() == [0.5, 0.5]
    assert q.grad.tolist() == [float("inf")] * 2
    scaler.step(a)
    scaler.step(b)
    scaler.update()
    assert (p.tolist(), q.tolist()) == ([0.5, 0.5], [1.0, 1.0])  # only the one that overflowed is skipped
    assert scaler.get_scale() == 2.0


def test_order_of_calls() -> None:
    p = hs.ones(2, requires_grad=True)
    a = optim.SGD([p], lr=0.1)
    scaler = GradScaler()
    with pytest.raises(ScopeError, match="before any optimizer"):
        scaler.update()
    with pytest.raises(ScopeError, match=r"no parameter.*has a gradient"):
        scaler.unscale_(a)
    scaler.scale(p.sum()).backward()
    scaler.unscale_(a)
    with pytest.raises(ScopeError, match=r"already been called.*update\(\)"):
        scaler.unscale_(a)
    with pytest.raises(ScopeError, match="closure"):
        scaler.step(a, closure=lambda: 0)
    scaler.step(a)
    with pytest.raises(ScopeError, match="already been called"):
        scaler.step(a)
    with pytest.raises(ScopeError, match="after step"):
        scaler.unscale_(a)
    scaler.update()
    scaler.update(16.0)
    assert scaler.get_scale() == 16.0
    with pytest.raises(DTypeError, match="iterable"):
        scaler.scale(3)
    half = hs.ones(2, dtype=hs.float16, requires_grad=True)
    b = optim.SGD([half], lr=0.1)
    scaler.scale(half.sum()).backward()
    with pytest.raises(DTypeError, match=r"float16 gradient.*autocast"):
        scaler.unscale_(b)
    with pytest.raises(UnsupportedError, match="'abacus'"):
        GradScaler("abacus")
    for bad in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}, {"backoff_factor": 0.0}):
        with pytest.raises(ValueError, match="factor"):
            GradScaler(**bad)


def test_a_step_that_is_half_compiled_is_refused() -> None:
    p = hs.ones(2, requires_grad=True)
    a = optim.SGD([p], lr=0.1)
    scaler = GradScaler(init_scale=2.0)

    @hs.compile
    def half() -> None:
        scaler.scale(p.sum()).backward()
        scaler.unscale_(a)

    half()
    with pytest.raises(ScopeError, match="same compiled step"):
        scaler.step(a)


def test_off_and_saved() -> None:
    p = hs.ones(2, requires_grad=True)
    a = optim.SGD([p], lr=0.5)
    off = GradScaler(enabled=False)
    assert off.scale("anything") == "anything"
    p.sum().backward()
    off.unscale_(a)
    off.step(a)
    off.update()
    assert p.tolist() == [0.5, 0.5]
    assert (off.get_scale(), off.state_dict(), off.is_enabled()) == (1.0, {}, False)
    one, two = GradScaler(**SETTINGS), GradScaler()
    one.set_growth_interval(7)
    one.set_growth_factor(3.0)
    one.set_backoff_factor(0.125)
    two.load_state_dict(one.state_dict())
    assert two.state_dict() == one.state_dict()
    got = (two.get_growth_factor(), two.get_backoff_factor(), two.get_growth_interval(), two.get_scale())
    assert got == (3.0, 0.125, 7, 8.0)
    with pytest.raises(ScopeError, match="empty"):
        one.load_state_dict({})
    scaled = one.scale([hs.ones(1), (hs.ones(1),)])
    assert [scaled[0].item(), scaled[1][0].item()] == [8.0, 8.0]


def test_rules_that_begin_with_their_first_step_and_own_optimizers() -> None:
    """Steps that cannot be chosen by a tensor are skipped by reading it."""
    for make in (lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, dampening=0.5), Own):
        p = hs.ones(2, requires_grad=True)
        a = make([p])
        scaler = GradScaler(init_scale=2.0)
        for factor, moved in ((float("nan"), False), (1.0, True)):
            a.zero_grad()
            before = p.tolist()
            scaler.scale(p.sum() * factor).backward()
            scaler.step(a)
            scaler.update()
            assert (p.tolist() != before) is moved


class Own(optim.Optimizer):
    """An optimizer of a user's."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    def step(self, closure: Any = None) -> None:
        with hs.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(p.grad)


def test_loops_under_float16() -> None:
    """The loop of the documentation: gradients are those of float32."""
    rng = np.random.default_rng(2)
    w, x = (rng.uniform(-1, 1, s).astype(np.float32) for s in ((1, 4), (3, 4)))
    model = nn.Linear(4, 1, bias=False)
    model.load_state_dict({"weight": hs.tensor(w)})
    a = optim.SGD(model.parameters(), lr=1.0)
    scaler = GradScaler(init_scale=2.0**12)
    with hs.autocast("cpu", hs.float16):
        y = model(hs.tensor(x))
        assert y.dtype == hs.float16
        loss = nn.functional.mse_loss(y, hs.zeros(3, 1))
    scaler.scale(loss).backward()
    scaler.unscale_(a)
    np.testing.assert_allclose(model.weight.grad.numpy(), 2 / 3 * (x @ w.T).T @ x, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("cast_inputs", [None, "float32"])
def test_custom_functions(cast_inputs: str | None) -> None:
    seen: dict[str, list[Any]] = {"hs": [], "torch": []}

    def make(room: Any, name: str, fwd: Any, bwd: Any) -> Any:
        cast = None if cast_inputs is None else getattr(room, cast_inputs)

        class Product(room.autograd.Function):
            @staticmethod
            @fwd(device_type="cpu", cast_inputs=cast)
            def forward(ctx: Any, a: Any, b: Any) -> Any:
                ctx.save_for_backward(a, b)
                seen[name].append(room.is_autocast_enabled("cpu"))
                y = a @ b
                seen[name].append(str(y.dtype).replace("torch.bfloat16", "bf16").replace("torch.float32", "f32"))
                return y

            @staticmethod
            @bwd(device_type="cpu")
            def backward(ctx: Any, g: Any) -> Any:
                a, b = ctx.saved_tensors
                seen[name].append(room.is_autocast_enabled("cpu"))
                return g @ b.T, a.T @ g

        x = room.ones(2, 3, requires_grad=True)
        with room.autocast("cpu", room.bfloat16):
            y = Product.apply(x.bfloat16() if cast is not None else x, room.ones(3, 2))
        y.sum().backward()
        return x.grad.tolist()

    found = make(hs, "hs", custom_fwd, custom_bwd)
    assert found == make(torch, "torch", torch.amp.custom_fwd, torch.amp.custom_bwd)
    assert seen["hs"] == seen["torch"]
