"""Groups, hooks, state, closures, laziness and memory of optimizers."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn, optim
from heliostat.diagnostics import UnsupportedError
from heliostat.tensor import lazy

from .test_rules import SHAPES, advance, both, close, gradients, same_state

torch = pytest.importorskip("torch")
NAMES = [
    "SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "ASGD", "Rprop", "Adafactor",
]  # fmt: skip


def leaf(*values: float) -> Any:
    return hs.tensor(list(values)).requires_grad_(True)


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_that_changes_is_not_another_program(name: str) -> None:
    ours, a, theirs, b = both(name, {})
    misses = 0
    for step in range(8):
        for optimizer in (a, b):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (step + 1)
        advance(ours, a, theirs, b, step)
        for p, q in zip(ours, theirs, strict=True):
            close(p, q)
        misses = lazy.programs.misses if step == 1 else misses
    assert lazy.programs.misses == misses


def test_cycled_momentum_is_not_another_program() -> None:
    ours, a, theirs, b = both("AdamW", {"lr": 0.05})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = optim.lr_scheduler.OneCycleLR(a, 0.1, total_steps=12)
        y = torch.optim.lr_scheduler.OneCycleLR(b, 0.1, total_steps=12)
    misses = 0
    for step in range(12):
        advance(ours, a, theirs, b, step)
        x.step()
        y.step()
        for p, q in zip(ours, theirs, strict=True):
            close(p, q)
        misses = lazy.programs.misses if step == 1 else misses
    assert lazy.programs.misses == misses


@pytest.mark.parametrize("name", NAMES)
def test_parameters_without_gradients_wait(name: str) -> None:
    ours, a, theirs, b = both(name, {"lr": 0.05})
    for step in range(9):
        for n, (p, q, g) in enumerate(zip(ours, theirs, gradients(step), strict=True)):
            here = n == 0 or (n == 1 and step % 2) or (n == 2 and step > 4)
            p.grad, q.grad = (hs.tensor(g), torch.tensor(g)) if here else (None, None)
        a.step()
        b.step()
        for p, q in zip(ours, theirs, strict=True):
            close(p, q)
    same_state(a.state_dict(), b.state_dict(), 3e-6)


@pytest.mark.parametrize("name", NAMES)
def test_loaded_state_goes_on_as_pytorch(name: str) -> None:
    """PyTorch's state, loaded here, gives PyTorch's next steps."""
    options = {"lr": 0.05, "momentum": 0.9} if name == "SGD" else {"lr": 0.05}
    ours, a, theirs, b = both(name, options)
    for step in range(4):
        advance(ours, a, theirs, b, step)
    state = copy.deepcopy(b.state_dict())
    for s in state["state"].values():
        for k, v in s.items():
            s[k] = hs.tensor(v.numpy()) if isinstance(v, torch.Tensor) else v
    fresh = [hs.tensor(q.detach().numpy()).requires_grad_(True) for q in theirs]
    c = getattr(optim, name)(fresh, lr=0.9)
    group = c.param_groups[0]
    c.load_state_dict(state)
    assert c.param_groups[0] is group
    assert group["lr"] == 0.05
    for step in range(4, 8):
        advance(fresh, c, theirs, b, step)
    for p, q in zip(fresh, theirs, strict=True):
        close(p, q)


def test_groups_have_options_of_their_own() -> None:
    (x, y), (u, v) = ([m.tensor(np.ones(3, np.float32)).requires_grad_(True) for _ in range(2)] for m in (hs, torch))
    a = optim.SGD([{"params": [x], "lr": 0.1}], lr=0.5, momentum=0.9)
    b = torch.optim.SGD([{"params": [u], "lr": 0.1}], lr=0.5, momentum=0.9)
    a.add_param_group({"params": y, "momentum": 0.0, "weight_decay": 0.1})
    b.add_param_group({"params": v, "momentum": 0.0, "weight_decay": 0.1})
    for step in range(5):
        g = gradients(step, [(3,), (3,)])
        x.grad, y.grad, u.grad, v.grad = hs.tensor(g[0]), hs.tensor(g[1]), torch.tensor(g[0]), torch.tensor(g[1])
        a.step()
        b.step()
    close(x, u)
    close(y, v)
    same_state(a.state_dict(), b.state_dict(), 1e-6)
    assert repr(a) == repr(b)


def test_named_parameters_keep_their_names() -> None:
    o = optim.SGD([("w", leaf(1.0)), ("b", leaf(2.0))], lr=0.1)
    assert o.state_dict()["param_groups"][0]["param_names"] == ["w", "b"]
    with pytest.raises(ValueError, match="names"):
        o.add_param_group({"params": [leaf(1.0)]})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_float_dtypes(dtype: str) -> None:
    p = hs.tensor(np.ones(5), dtype=dtype).requires_grad_(True)
    o = optim.Adam([p], lr=0.01)
    for _ in range(5):
        p.grad = hs.tensor(np.linspace(-1, 1.2, 5), dtype=dtype)
        o.step()
    assert p.dtype == o.state[p]["exp_avg"].dtype == getattr(hs, dtype)
    expected = 1 - 0.05 * np.sign(np.linspace(-1, 1.2, 5))
    np.testing.assert_allclose(p.detach().to(hs.float64).numpy(), expected, atol=0.02)


def test_a_closure_runs_first_with_gradients_on() -> None:
    p = leaf(1.0, -2.0)
    o = optim.SGD([p], lr=0.25)

    def closure() -> Any:
        o.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with hs.no_grad():
        assert float(o.step(closure)) == 5.0
    assert p.tolist() == [0.5, -1.0]


def test_zero_grad() -> None:
    p = leaf(1.0)
    o = optim.SGD([p])
    p.grad = hs.tensor([3.0])
    o.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0]
    o.zero_grad()
    assert p.grad is None


def test_hooks_run_in_order_and_are_removed() -> None:
    seen: list[str] = []
    p = leaf(1.0)
    p.grad = hs.tensor([1.0])
    o = optim.SGD([p], lr=0.5)
    handles = [
        optim.register_optimizer_step_pre_hook(lambda o, a, k: seen.append("global before")),
        o.register_step_pre_hook(lambda o, a, k: seen.append("before")),
        o.register_step_post_hook(lambda o, a, k: seen.append("after")),
        optim.register_optimizer_step_post_hook(lambda o, a, k: seen.append("global after")),
    ]
    o.step()
    assert seen == ["global before", "before", "after", "global after"]
    for h in handles:
        h.remove()
    o.step()
    assert len(seen) == 4
    o.register_state_dict_post_hook(lambda o, d: {**d, "more": 1})
    o.register_load_state_dict_pre_hook(lambda o, d: {k: v for k, v in d.items() if k != "more"})
    o.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    o.load_state_dict(o.state_dict())
    assert o.state_dict()["more"] == 1
    assert seen[-1] == "loaded"
    o.register_step_pre_hook(lambda o, a, k: 5)
    with pytest.raises(RuntimeError, match="new_args"):
        o.step()


def test_an_optimizer_of_a_user_has_hooks() -> None:
    class Plain(optim.Optimizer):
        def step(self, closure: Any = None) -> None:
            with hs.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        p.sub_(p.grad * group["lr"])

    p = leaf(1.0)
    p.grad = hs.tensor([1.0])
    o, seen = Plain([p], {"lr": 0.5}), []
    o.register_step_post_hook(lambda o, a, k: seen.append(p.item()))
    o.step()
    assert seen == [0.5]


def test_copies_and_pickles() -> None:
    p = leaf(1.0, 2.0)
    o = optim.Adam([p], lr=0.1)
    p.grad = hs.tensor([1.0, -1.0])
    o.step()
    other = pickle.loads(pickle.dumps(o))
    (q,) = other.param_groups[0]["params"]
    assert q.tolist() == p.tolist()
    assert other.state[q]["exp_avg"].tolist() == o.state[p]["exp_avg"].tolist()


def test_a_step_computes_nothing() -> None:
    p = leaf(1.0, 2.0)
    o = optim.Adam([p], lr=0.1)
    lazy.flush()
    before = lazy.programs.misses + lazy.programs.hits
    (p * p).sum().backward()
    o.step()
    assert lazy.programs.misses + lazy.programs.hits == before
    assert p.tolist() == pytest.approx([0.9, 1.9])


@pytest.mark.parametrize("name", NAMES)
def test_state_made_before_changes_nothing(name: str) -> None:
    options = {"lr": 0.05, "momentum": 0.9} if name == "SGD" else {"lr": 0.05}
    ours, a, theirs, b = both(name, options)
    a.make_state()
    misses = lazy.programs.misses
    for step in range(3):
        advance(ours, a, theirs, b, step)
        for p, q in zip(ours, theirs, strict=True):
            close(p, q)
    assert lazy.programs.misses <= misses + 1, "the first step is the same program"
    same_state(a.state_dict(), b.state_dict(), 3e-6)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_steps_that_nobody_reads_do_not_gather_memory() -> None:
    p = hs.ones(1000).requires_grad_(True)
    o = optim.Adam([p], lr=0.1)

    def some(count: int) -> tuple[int, int, int]:
        for _ in range(count):
            o.zero_grad()
            (p * p).sum().backward()
            o.step()
        gc.collect()
        return resident(), len(lazy._open.of.entries), lazy.programs.misses

    some(300)
    before = some(10)
    after = some(2000)
    assert after[2] == before[2], "a step was compiled anew"
    assert after[1] <= before[1] + 50
    assert after[0] - before[0] < 20 << 20


def test_what_is_wrong_or_not_there_is_refused() -> None:
    p = leaf(1.0)
    with pytest.raises(TypeError, match="iterable"):
        optim.SGD(p)
    with pytest.raises(ValueError, match="empty"):
        optim.SGD([])
    with pytest.raises(ValueError, match="non-leaf"):
        optim.SGD([p * 2])
    with pytest.raises(TypeError, match="tensors"):
        optim.SGD([3.0])
    with pytest.raises(ValueError, match="more than one"):
        optim.SGD([{"params": [p]}, {"params": [p]}])
    with pytest.warns(UserWarning, match="twice"):
        optim.SGD([p, p])
    with pytest.raises(ValueError, match="Nesterov"):
        optim.SGD([p], nesterov=True)
    with pytest.raises(ValueError, match="learning rate"):
        optim.Adam([p], lr=-1.0)
    with pytest.raises(ValueError, match="beta"):
        optim.Adam([p], betas=(1.0, 0.9))
    with pytest.raises(UnsupportedError, match="differentiable"):
        optim.Adam([p], differentiable=True)
    with pytest.raises(RuntimeError, match="foreach"):
        optim.Adam([p], foreach=True, fused=True)
    with pytest.raises(UnsupportedError, match="SparseAdam"):
        optim.SparseAdam([p])
    with pytest.raises(ValueError, match="2D"):
        optim.Muon([p])
    o = optim.SGD([p])
    with pytest.raises(ValueError, match="groups"):
        o.load_state_dict({"state": {}, "param_groups": []})
    with pytest.raises(ValueError, match="size"):
        o.load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optim.Adam([p], foreach=True, capturable=True)


@pytest.mark.parametrize("options", [{}, {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "lr": 0.02}], ids=str)
def test_muon_is_near_pytorch(options: dict[str, Any]) -> None:
    """Both compute in bf16, and round at other places: as near as bf16 allows."""
    shapes = [(4, 6), (7, 3)]
    ours, a, theirs, b = both("Muon", options, shapes)
    for step in range(20):
        advance(ours, a, theirs, b, step, shapes)
    bound = 20 * a.param_groups[0]["lr"] * 0.03
    for p, q in zip(ours, theirs, strict=True):
        assert np.abs(p.detach().numpy() - q.detach().numpy()).max() < bound
    same_state(a.state_dict(), b.state_dict(), 1e-6)


def test_averages_of_models() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(hs.zeros(2))

    model = Model()
    plain = optim.swa_utils.AveragedModel(model)
    moving = optim.swa_utils.AveragedModel(model, avg_fn=optim.swa_utils.get_ema_avg_fn(0.5))
    for n in range(1, 5):
        with hs.no_grad():
            model.w.copy_(hs.tensor([float(n), 2.0 * n]))
        plain.update_parameters(model)
        moving.update_parameters(model)
    assert plain.module.w.tolist() == [2.5, 5.0]
    assert moving.module.w.tolist() == [3.125, 6.25]
    assert int(plain.n_averaged) == 4
    assert model.w.tolist() == [4.0, 8.0]


def test_shapes_of_the_rules_are_covered() -> None:
    assert {len(s) for s in SHAPES} == {1, 2, 3}


@pytest.mark.parametrize(("make", "idle"), [
    (lambda p: optim.AdamW(p, 0.1), False), (lambda p: optim.SGD(p, 0.1, momentum=0.9), True),
], ids=["AdamW", "SGD"])  # fmt: skip
def test_a_compiled_step_is_one_program_from_the_start(make: Any, idle: bool) -> None:
    """Its state is made before the capture, and only of parameters that the step changes. `idle`: of one that could
    have a gradient, and gets none."""
    found = []
    for compiled in (False, True):
        hs.manual_seed(1)
        net, other = nn.Linear(4, 2), nn.Parameter(hs.ones(3), requires_grad=idle)
        optimizer = make([*net.parameters(), other])

        def step(x: hs.Tensor, net: Any = net, optimizer: Any = optimizer) -> hs.Tensor:
            optimizer.zero_grad()
            loss = (net(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = hs.compile(step) if compiled else step
        losses = [float(run(hs.ones(3, 4))) for _ in range(3)]
        if compiled:
            assert run.cache_info().compiled == 1
        found.append((losses, sorted(optimizer.state_dict()["state"])))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5)
    assert found[1][1] == found[0][1] == [0, 1]
