"""Adamax: Adam with the largest gradient in place of the mean square. Sources: arXiv 1412.6980, torch.optim.Adamax."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..tensor.core import Tensor
from ..tensor.pointwise import maximum
from .optimizer import RuleOptimizer, check, check_betas, check_lr, decayed, like, mixed
from .walked import Group, Numbers, State


class _Shared(NamedTuple):
    n: Numbers
    first: Tensor  # 1 - beta1
    beta2: Tensor
    size: Tensor  # lr / (1 - beta1 ** step)


class Adamax(RuleOptimizer):
    """p <- p - lr * m' / u, u <- max(beta2 * u, |g| + eps)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check("epsilon value", eps >= 0, eps)
        check_betas(betas)
        check("weight_decay value", weight_decay >= 0, weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def begin(self, p: Tensor, group: Group) -> State:
        return {"exp_avg": like(p), "exp_inf": like(p)}

    def shared(self, n: Numbers, step: Tensor, group: Group) -> _Shared:
        beta1 = n.at("betas", 0)
        return _Shared(n, 1 - beta1, n.at("betas", 1), n.lr / (1 - beta1**step))

    def rule(self, p: Tensor, g: Tensor, s: State, n: _Shared, group: Group) -> tuple[Tensor, State]:
        g = decayed(g, p, n.n, group)
        average = mixed(s["exp_avg"], g, n.first)
        largest = maximum(s["exp_inf"] * n.beta2, g.abs() + n.n.eps)
        return p - average * n.size / largest, {"exp_avg": average, "exp_inf": largest}
