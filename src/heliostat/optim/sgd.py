"""Stochastic gradient descent with momentum. Source: torch.optim.SGD."""

from __future__ import annotations

from typing import Any

from ..tensor.core import Tensor
from .optimizer import RuleOptimizer, check, check_lr, decayed, like
from .walked import Group, Numbers, State


class SGD(RuleOptimizer):
    """p <- p - lr * v, v <- momentum * v + (1 - dampening) * g, or v = g without momentum."""

    counted = False

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: Any = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check("momentum value", momentum >= 0, momentum)
        check("weight_decay value", weight_decay >= 0, weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach, "differentiable": differentiable,
            "fused": fused,
        })  # fmt: skip

    def begin(self, p: Tensor, group: Group) -> State:
        # With dampening the first step is another: its buffer is the whole gradient.
        return {"momentum_buffer": like(p)} if group["momentum"] != 0 and group["dampening"] == 0 else {}

    @property
    def takes_found_inf(self) -> bool:
        """Not with dampening, whose first step makes the buffer."""
        return all(g["momentum"] == 0 or g["dampening"] == 0 for g in self.param_groups)

    def rule(self, p: Tensor, g: Tensor, s: State, n: Numbers, group: Group) -> tuple[Tensor, State]:
        g = decayed(g, p, n, group)
        if group["momentum"] == 0:
            return p - g * n.lr, {}
        before = s.get("momentum_buffer")
        buffer = g if before is None else before * n.momentum + g * (1 - n.dampening)
        slope = g + buffer * n.momentum if group["nesterov"] else buffer
        return p - slope * n.lr, {"momentum_buffer": buffer}
