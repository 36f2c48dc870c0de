"""RMSprop: gradients over the root of their mean square. Source: torch.optim.RMSprop."""

from __future__ import annotations

from typing import Any

from ..tensor.core import Tensor
from .optimizer import RuleOptimizer, check, check_lr, decayed, like, mixed
from .walked import Group, Numbers, State


class RMSprop(RuleOptimizer):
    """p <- p - lr * g / (sqrt(v) + eps); `centered` takes the square of the mean from v."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check("epsilon value", eps >= 0, eps)
        check("momentum value", momentum >= 0, momentum)
        check("weight_decay value", weight_decay >= 0, weight_decay)
        check("alpha value", alpha >= 0, alpha)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable,
        })  # fmt: skip

    def begin(self, p: Tensor, group: Group) -> State:
        made = {"square_avg": like(p)}
        if group["momentum"] > 0:
            made["momentum_buffer"] = like(p)
        if group["centered"]:
            made["grad_avg"] = like(p)
        return made

    def rule(self, p: Tensor, g: Tensor, s: State, n: Numbers, group: Group) -> tuple[Tensor, State]:
        g = decayed(g, p, n, group)
        square = s["square_avg"] * n.alpha + g * g * (1 - n.alpha)
        state = {"square_avg": square}
        if group["centered"]:
            mean = state["grad_avg"] = mixed(s["grad_avg"], g, 1 - n.alpha)
            square = square - mean * mean
        below = square.sqrt() + n.eps
        if group["momentum"] > 0:
            buffer = state["momentum_buffer"] = s["momentum_buffer"] * n.momentum + g / below
            return p - buffer * n.lr, state
        return p - g * n.lr / below, state
