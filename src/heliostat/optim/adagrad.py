"""Adagrad: gradients over the root of the sum of their squares. Source: torch.optim.Adagrad."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..tensor.core import Tensor
from .optimizer import RuleOptimizer, check, check_lr, decayed, like
from .walked import Group, Numbers, State


class _Shared(NamedTuple):
    n: Numbers
    size: Tensor  # lr / (1 + (step - 1) * lr_decay)


class Adagrad(RuleOptimizer):
    """p <- p - lr * g / (sqrt(sum of g^2) + eps)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check("lr_decay value", lr_decay >= 0, lr_decay)
        check("weight_decay value", weight_decay >= 0, weight_decay)
        check("initial_accumulator_value value", initial_accumulator_value >= 0, initial_accumulator_value)
        check("epsilon value", eps >= 0, eps)
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused,
        })  # fmt: skip
        self.make_state()  # as PyTorch, which has it from the start

    def begin(self, p: Tensor, group: Group) -> State:
        return {"sum": like(p, group["initial_accumulator_value"])}

    def shared(self, n: Numbers, step: Tensor, group: Group) -> _Shared:
        return _Shared(n, n.lr / (1 + (step - 1) * n.lr_decay))

    def rule(self, p: Tensor, g: Tensor, s: State, n: _Shared, group: Group) -> tuple[Tensor, State]:
        g = decayed(g, p, n.n, group)
        total = s["sum"] + g * g
        return p - g * n.size / (total.sqrt() + n.n.eps), {"sum": total}
