"""NAdam: Adam with Nesterov momentum. Sources: Dozat 2016 (ICLR workshop), torch.optim.NAdam."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..ir.types import f32, f64
from ..tensor.conversion import convert, number_tensor
from ..tensor.core import Tensor
from .optimizer import RuleOptimizer, check, check_betas, check_lr, like, mixed, penalized
from .walked import Group, Numbers, State  # fmt: skip


class _Shared(NamedTuple):
    n: Numbers
    first: Tensor  # 1 - beta1
    beta2: Tensor
    second: Tensor  # 1 - beta2
    correction: Tensor  # 1 - beta2 ** step
    mu: Tensor
    mu_next: Tensor


class NAdam(RuleOptimizer):
    """Adam whose average of gradients looks one step ahead."""

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check("momentum_decay value", momentum_decay >= 0, momentum_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable,
        })  # fmt: skip

    def begin(self, p: Tensor, group: Group) -> State:
        return {"mu_product": number_tensor(1.0, f32), "exp_avg": like(p), "exp_avg_sq": like(p)}

    def shared(self, n: Numbers, step: Tensor, group: Group) -> _Shared:
        beta1, beta2 = n.at("betas", 0), n.at("betas", 1)

        def mu(count: Tensor) -> Tensor:
            return beta1 * (1 - 0.5 * 0.96 ** (count * n.momentum_decay))

        return _Shared(n, 1 - beta1, beta2, 1 - beta2, 1 - beta2**step, mu(step), mu(step + 1))

    def rule(self, p: Tensor, g: Tensor, s: State, n: _Shared, group: Group) -> tuple[Tensor, State]:
        p, g = penalized(p, g, n.n, group)
        product = convert(s["mu_product"] * convert(n.mu, f32), f64)
        average = mixed(s["exp_avg"], g, n.first)
        square = s["exp_avg_sq"] * n.beta2 + g * g * n.second
        below = (square / n.correction).sqrt() + n.n.eps
        now = n.n.lr * (1 - n.mu) / (1 - product)
        ahead = n.n.lr * n.mu_next / (1 - product * n.mu_next)
        state = {"mu_product": product, "exp_avg": average, "exp_avg_sq": square}
        return p - g * now / below - average * ahead / below, state
