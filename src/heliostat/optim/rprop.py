"""Rprop: sizes that grow while a gradient keeps its sign. Sources: Riedmiller, Braun 1993, torch.optim.Rprop."""

from __future__ import annotations

from typing import Any

from ..tensor.comparison import where
from ..tensor.core import Tensor
from .optimizer import RuleOptimizer, check, check_lr, like
from .walked import Group, Numbers, State


class Rprop(RuleOptimizer):
    """p <- p - size * sign(g), with a size of each element."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check("eta values", 0 < etas[0] < 1 < etas[1], etas)
        super().__init__(params, {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def begin(self, p: Tensor, group: Group) -> State:
        lr = group["lr"]
        return {"prev": like(p), "step_size": like(p, float(lr))}

    def rule(self, p: Tensor, g: Tensor, s: State, n: Numbers, group: Group) -> tuple[Tensor, State]:
        product = g * s["prev"]
        turned = product < 0
        factor = where(product > 0, n.at("etas", 1), where(turned, n.at("etas", 0), 1.0))
        size = (s["step_size"] * factor.to(p.dtype)).clamp(n.at("step_sizes", 0), n.at("step_sizes", 1))
        slope = where(turned, 0.0, g)
        return p - slope.sign() * size, {"prev": slope, "step_size": size}
