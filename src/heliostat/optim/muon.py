"""Muon: momentum made orthogonal. Sources: Jordan 2024 (kellerjordan.github.io/posts/muon), torch.optim.Muon."""

from __future__ import annotations

import math
from typing import Any

from ..ir.types import bf16
from ..tensor.conversion import convert
from ..tensor.core import Tensor
from .optimizer import RuleOptimizer, check, check_lr, like, mixed
from .walked import Group, Numbers, State


class Muon(RuleOptimizer):
    """For matrices: p <- p - lr * o, o close to the nearest orthogonal matrix of the momentum."""

    counted = False

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        check("momentum value", momentum >= 0, momentum)
        check("weight_decay value", weight_decay >= 0, weight_decay)
        check("adjust_lr_fn", adjust_lr_fn in (None, "original", "match_rms_adamw"), adjust_lr_fn)
        check("ns_steps, fewer than 100 are needed", ns_steps < 100, ns_steps)
        check("ns_coefficients, 3 are needed", len(ns_coefficients) == 3, ns_coefficients)
        super().__init__(params, {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
        })  # fmt: skip

    def add_param_group(self, param_group: Group) -> None:
        super().add_param_group(param_group)
        for p in param_group["params"]:
            if p.ndim != 2:
                del self.param_groups[-1]
                raise ValueError(f"Muon only supports 2D parameters, found one of shape {list(p.shape)}")

    def begin(self, p: Tensor, group: Group) -> State:
        return {"momentum_buffer": like(p)}

    def rule(self, p: Tensor, g: Tensor, s: State, n: Numbers, group: Group) -> tuple[Tensor, State]:
        buffer = mixed(s["momentum_buffer"], g, 1 - n.momentum)
        update = mixed(g, buffer, n.momentum) if group["nesterov"] else buffer
        update = convert(orthogonal(update, n, group["ns_steps"]), p.dtype)
        rows, columns = p.shape
        ratio = math.sqrt(max(1, rows / columns))
        if group["adjust_lr_fn"] == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        return p * (1 - n.lr * n.weight_decay) - update * (n.lr * ratio), {"momentum_buffer": buffer}


def orthogonal(g: Tensor, n: Numbers, steps: int) -> Tensor:
    """An orthogonal matrix near g, up to the singular values of 0.5 to 1.5 that the iteration leaves; in bf16."""
    a, b, c = (n.at("ns_coefficients", k) for k in range(3))
    tall = g.shape[0] > g.shape[1]
    x = convert(g, bf16)
    x = x.transpose(0, 1) if tall else x
    x = x / (x * x).sum().sqrt().clamp(min=n.eps)
    for _ in range(steps):
        gram = x @ x.transpose(0, 1)
        x = x * a + (gram * b + (gram @ gram) * c) @ x
    return x.transpose(0, 1) if tall else x
