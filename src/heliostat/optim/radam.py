"""RAdam: Adam that waits until its mean square can be trusted. Sources: arXiv 1908.03265, torch.optim.RAdam."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..tensor.comparison import where
from ..tensor.core import Tensor
from .optimizer import RuleOptimizer, check, check_betas, check_lr, like, mixed, penalized
from .walked import Group, Numbers, State  # fmt: skip


class _Shared(NamedTuple):
    n: Numbers
    first: Tensor  # 1 - beta1
    beta2: Tensor
    second: Tensor  # 1 - beta2
    size: Tensor  # lr / (1 - beta1 ** step)
    trusted: Tensor  # whether the mean square counts
    factor: Tensor  # what rectifies it


class RAdam(RuleOptimizer):
    """p <- p - lr * m', times r / sqrt(v') once enough steps are averaged."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check("epsilon value", eps >= 0, eps)
        check_betas(betas)
        check("weight_decay value", weight_decay >= 0, weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        })  # fmt: skip

    def begin(self, p: Tensor, group: Group) -> State:
        return {"exp_avg": like(p), "exp_avg_sq": like(p)}

    def shared(self, n: Numbers, step: Tensor, group: Group) -> _Shared:
        beta1, beta2 = n.at("betas", 0), n.at("betas", 1)
        power = beta2**step
        correction = 1 - power
        most = 2 / (1 - beta2) - 1
        rho = most - 2 * step * power / correction
        trusted = rho > 5
        safe = where(trusted, rho, most)
        rectified = ((safe - 4) * (safe - 2) * most / ((most - 4) * (most - 2) * safe)).sqrt()
        factor = rectified * correction.sqrt()
        return _Shared(n, 1 - beta1, beta2, 1 - beta2, n.lr / (1 - beta1**step), trusted, factor)

    def rule(self, p: Tensor, g: Tensor, s: State, n: _Shared, group: Group) -> tuple[Tensor, State]:
        p, g = penalized(p, g, n.n, group)
        average = mixed(s["exp_avg"], g, n.first)
        square = s["exp_avg_sq"] * n.beta2 + g * g * n.second
        plain = average * n.size
        update = where(n.trusted, plain * n.factor / (square.sqrt() + n.n.eps), plain)
        return p - update, {"exp_avg": average, "exp_avg_sq": square}
