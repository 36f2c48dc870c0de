"""Adam and AdamW. Sources: arXiv 1412.6980, arXiv 1711.05101, torch.optim.Adam."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

from ..diagnostics import UnsupportedError
from ..tensor.core import Tensor
from ..tensor.pointwise import maximum
from .optimizer import RuleOptimizer, check, check_betas, check_lr, like, mixed, penalized
from .walked import Group, Numbers, State  # fmt: skip


class _Shared(NamedTuple):
    n: Numbers
    first: Tensor  # 1 - beta1
    beta2: Tensor
    second: Tensor  # 1 - beta2
    scale: Tensor  # 1 / sqrt(1 - beta2 ** step): one division less for each element
    size: Tensor  # lr / (1 - beta1 ** step)


class Adam(RuleOptimizer):
    """p <- p - lr * m' / (sqrt(v') + eps), m and v running averages of g and g^2, m' and v' without their bias."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_lr(lr)
        check("epsilon value", eps >= 0, eps)
        check_betas(betas)
        check("weight_decay value", weight_decay >= 0, weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
            "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip

    def begin(self, p: Tensor, group: Group) -> State:
        made = {"exp_avg": like(p), "exp_avg_sq": like(p)}
        return {**made, "max_exp_avg_sq": like(p)} if group["amsgrad"] else made

    def shared(self, n: Numbers, step: Tensor, group: Group) -> _Shared:
        beta1, beta2 = n.at("betas", 0), n.at("betas", 1)
        scale, size = 1 / (1 - beta2**step).sqrt(), n.lr / (1 - beta1**step)
        return _Shared(n, 1 - beta1, beta2, 1 - beta2, scale, size)

    def rule(self, p: Tensor, g: Tensor, s: State, n: _Shared, group: Group) -> tuple[Tensor, State]:
        p, g = penalized(p, g, n.n, group)
        state = {
            "exp_avg": mixed(s["exp_avg"], g, n.first),
            "exp_avg_sq": s["exp_avg_sq"] * n.beta2 + g * g * n.second,
        }
        square = state["exp_avg_sq"]
        if group["amsgrad"]:
            square = state["max_exp_avg_sq"] = maximum(s["max_exp_avg_sq"], square)
        return p - state["exp_avg"] * n.size / (square.sqrt() * n.scale + n.n.eps), state


class AdamW(Adam):
    """Adam, with weights that decay by lr * weight_decay of themselves instead of a penalty in the gradient."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip


class SparseAdam:
    """Refused: there are no sparse tensors."""

    def __init__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise UnsupportedError("SparseAdam needs sparse gradients, and there are no sparse tensors", help="use Adam")
