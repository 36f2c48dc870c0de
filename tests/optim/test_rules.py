"""Twenty steps of every optimizer and option against PyTorch, from the same parameters and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import optim
from heliostat.tensor import lazy

torch = pytest.importorskip("torch")

STEPS = 20
SHAPES = [(4, 3), (5,), (2, 3, 4)]

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.1, "maximize": True, "decoupled_weight_decay": True, "weight_decay": 0.2}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "amsgrad": True, "maximize": True, "weight_decay": 0.3}),
    ("Adamax", {"lr": 0.05}),
    ("Adamax", {"lr": 0.05, "weight_decay": 0.1, "maximize": True, "betas": (0.7, 0.9)}),
    ("NAdam", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "momentum_decay": 0.02}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RAdam", {"lr": 0.05}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "betas": (0.9, 0.9)}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "maximize": True, "alpha": 0.9}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.7, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.1, "lambd": 0.01, "alpha": 0.6, "t0": 5, "weight_decay": 0.1, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.4, 1.5), "step_sizes": (1e-3, 0.15), "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.2, "weight_decay": 0.1, "d": 1.5, "eps": (1e-4, 0.01), "maximize": True}),
]


def start(shapes: Any = SHAPES, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(np.float32) for s in shapes]


def gradients(step: int, shapes: Any = SHAPES) -> list[Any]:
    rng = np.random.default_rng([7, step])
    return [(rng.standard_normal(s) + 0.3).astype(np.float32) for s in shapes]


def both(name: str, options: dict[str, Any], shapes: Any = SHAPES) -> tuple[Any, Any, Any, Any]:
    """Our parameters and optimizer, PyTorch's parameters and optimizer."""
    ours = [hs.tensor(a).requires_grad_(True) for a in start(shapes)]
    theirs = [torch.tensor(a).requires_grad_(True) for a in start(shapes)]
    return ours, getattr(optim, name)(ours, **options), theirs, getattr(torch.optim, name)(theirs, **options)


def advance(ours: Any, a: Any, theirs: Any, b: Any, step: int, shapes: Any = SHAPES) -> None:
    for p, q, g in zip(ours, theirs, gradients(step, shapes), strict=True):
        p.grad, q.grad = hs.tensor(g), torch.tensor(g)
    a.step()
    b.step()


def close(found: Any, expected: Any, bound: float = 1e-6) -> None:
    x, y = found.detach().numpy(), expected.detach().numpy()
    assert x.shape == y.shape
    assert np.abs(x - y).max() <= bound * max(1e-3, np.abs(y).max()), (x, y)


def same_state(a: Any, b: Any, bound: float) -> None:
    """Both state dicts have one layout and nearly equal values."""
    assert list(a["param_groups"][0]) == list(b["param_groups"][0])
    assert a["param_groups"] == b["param_groups"]
    assert list(a["state"]) == list(b["state"])
    for k, state in b["state"].items():
        assert list(a["state"][k]) == list(state)
        for key, value in state.items():
            close(a["state"][k][key], value, bound)


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda c: c if isinstance(c, str) else ",".join(c) or "plain")
def test_steps_equal_pytorch(name: str, options: dict[str, Any]) -> None:
    ours, a, theirs, b = both(name, options)
    misses = 0
    for step in range(STEPS):
        advance(ours, a, theirs, b, step)
        for p, q in zip(ours, theirs, strict=True):
            close(p, q)
        if step == 1:
            misses = lazy.programs.misses
    assert lazy.programs.misses == misses, "a step was compiled anew"
    same_state(a.state_dict(), b.state_dict(), 3e-6)
