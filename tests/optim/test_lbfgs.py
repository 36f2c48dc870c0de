"""L-BFGS against PyTorch on smooth functions, with and without a line search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import optim
from heliostat.tensor import lazy

torch = pytest.importorskip("torch")


def run(library: Any, room: Any, options: dict[str, Any], steps: int) -> tuple[list[float], Any, Any]:
    rng = np.random.default_rng(1)
    m = library.tensor((rng.standard_normal((12, 5)) / 3).astype(np.float64))
    goal = library.tensor(rng.standard_normal((12, 3)).astype(np.float64))
    w = library.tensor(rng.standard_normal((5, 3))).requires_grad_(True)
    b = library.tensor(np.zeros(3)).requires_grad_(True)
    optimizer = room.LBFGS([w, b], **options)
    losses = []

    def closure() -> Any:
        optimizer.zero_grad()
        found = ((m @ w).tanh() + b - goal).pow(2).mean()
        found.backward()
        return found

    for _ in range(steps):
        losses.append(optimizer.step(closure).item())
    return losses, [w, b], optimizer


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.5, "max_iter": 4},
        {"line_search_fn": "strong_wolfe", "max_iter": 5},
        {"line_search_fn": "strong_wolfe", "max_iter": 10, "history_size": 3, "lr": 4.0},
        {"lr": 0.3, "max_iter": 8, "history_size": 2},
    ],
    ids=str,
)
def test_steps_equal_pytorch(options: dict[str, Any]) -> None:
    found, ours, a = run(hs, optim, options, 6)
    expected, theirs, b = run(torch, torch.optim, options, 6)
    assert found == pytest.approx(expected, rel=1e-6)
    assert found[-1] < found[0]
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-6, atol=1e-7)
    x, y = a.state_dict(), b.state_dict()
    assert x["param_groups"] == y["param_groups"]
    assert sorted(x["state"][0]) == sorted(y["state"][0])
    assert x["state"][0]["func_evals"] == y["state"][0]["func_evals"]


def test_a_long_history_compiles_nothing_new() -> None:
    run(hs, optim, {"line_search_fn": "strong_wolfe"}, 1)
    before = lazy.programs.misses
    run(hs, optim, {"line_search_fn": "strong_wolfe", "history_size": 30, "max_iter": 40}, 1)
    assert lazy.programs.misses <= before + 1


def test_what_it_cannot_do_is_refused() -> None:
    p = hs.ones(2).requires_grad_(True)
    with pytest.raises(ValueError, match="parameter groups"):
        optim.LBFGS([{"params": [p]}, {"params": [hs.ones(1).requires_grad_(True)]}])
    with pytest.raises(RuntimeError, match="strong_wolfe"):
        optim.LBFGS([p], line_search_fn="armijo")
    with pytest.raises(TypeError, match="closure"):
        optim.LBFGS([p]).step()
