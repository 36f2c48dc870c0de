"""Adadelta: steps in the units of the parameters. Sources: arXiv 1212.5701, torch.optim.Adadelta."""

from __future__ import annotations

from typing import Any

from ..tensor.core import Tensor
from .optimizer import RuleOptimizer, check, check_lr, decayed, like
from .walked import Group, Numbers, State


class Adadelta(RuleOptimizer):
    """p <- p - lr * d, d = g * sqrt(mean of d^2 + eps) / sqrt(mean of g^2 + eps)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check("rho value", 0 <= rho <= 1, rho)
        check("epsilon value", eps >= 0, eps)
        check("weight_decay value", weight_decay >= 0, weight_decay)
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        })  # fmt: skip

    def begin(self, p: Tensor, group: Group) -> State:
        return {"square_avg": like(p), "acc_delta": like(p)}

    def rule(self, p: Tensor, g: Tensor, s: State, n: Numbers, group: Group) -> tuple[Tensor, State]:
        g = decayed(g, p, n, group)
        square = s["square_avg"] * n.rho + g * g * (1 - n.rho)
        delta = (s["acc_delta"] + n.eps).sqrt() / (square + n.eps).sqrt() * g
        moved = s["acc_delta"] * n.rho + delta * delta * (1 - n.rho)
        return p - delta * n.lr, {"square_avg": square, "acc_delta": moved}
