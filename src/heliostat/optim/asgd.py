"""Averaged stochastic gradient descent. Sources: Polyak and Juditsky 1992, torch.optim.ASGD."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..ir.types import f32, f64
from ..tensor.conversion import convert, number_tensor
from ..tensor.core import Tensor
from .optimizer import RuleOptimizer, check, check_lr, decayed, like
from .walked import Group, Numbers, State


class _Shared(NamedTuple):
    n: Numbers
    eta: Tensor  # the step size of the next step
    mu: Tensor  # the weight of the next step in the average


class ASGD(RuleOptimizer):
    """Gradient descent with a falling step size, and the average of the parameters in state "ax"."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check("weight_decay value", weight_decay >= 0, weight_decay)
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def begin(self, p: Tensor, group: Group) -> State:
        lr = group["lr"]
        eta = convert(lr.detach().reshape(()), f32) if isinstance(lr, Tensor) else number_tensor(float(lr), f32)
        return {"eta": eta, "mu": number_tensor(1.0, f32), "ax": like(p)}

    def shared(self, n: Numbers, step: Tensor, group: Group) -> _Shared:
        return _Shared(n, n.lr / (1 + n.lambd * n.lr * step) ** n.alpha, 1 / (step - n.t0).clamp(min=1))

    def rule(self, p: Tensor, g: Tensor, s: State, n: _Shared, group: Group) -> tuple[Tensor, State]:
        g = decayed(g, p, n.n, group)
        eta = convert(s["eta"], f64)
        p = p * (1 - n.n.lambd * eta) - g * eta
        average = s["ax"] + (p - s["ax"]) * s["mu"]
        return p, {"eta": n.eta, "mu": n.mu, "ax": average}
