"""Adafactor: mean squares as products of a row and a column. Sources: arXiv 1804.04235, torch.optim.Adafactor."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..ir.types import f64
from ..tensor.conversion import convert
from ..tensor.core import Tensor
from ..tensor.dtypes import finfo
from ..tensor.pointwise import maximum, minimum
from .optimizer import RuleOptimizer, check, check_lr, like, mixed, shrunk
from .walked import Group, Numbers, State


class _Shared(NamedTuple):
    n: Numbers
    weight: Tensor  # of the newest gradient in the mean square
    rate: Tensor  # min(lr, 1 / sqrt(step))


class Adafactor(RuleOptimizer):
    """Steps relative to the size of the parameters, with state of rows + columns instead of rows * columns."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_lr(lr)
        check("beta2_decay value", beta2_decay <= 0, beta2_decay)
        check("epsilon1 value", eps[0] is None or eps[0] >= 0, eps[0])
        check("epsilon2 value", eps[1] >= 0, eps[1])
        check("clipping threshold d", d >= 1, d)
        check("weight_decay value", weight_decay >= 0, weight_decay)
        super().__init__(params, {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize,
        })  # fmt: skip

    def begin(self, p: Tensor, group: Group) -> State:
        if p.ndim < 2:
            return {"variance": like(p)}
        z = p.detach()
        return {
            "row_var": z.new_zeros(*p.shape[:-1], 1),
            "col_var": z.new_zeros(*p.shape[:-2], 1, p.shape[-1]),
        }

    def shared(self, n: Numbers, step: Tensor, group: Group) -> _Shared:
        return _Shared(n, step**n.beta2_decay, minimum(n.lr, 1 / step.sqrt()))

    def rule(self, p: Tensor, g: Tensor, s: State, n: _Shared, group: Group) -> tuple[Tensor, State]:
        least = finfo(p.dtype).eps if group["eps"][0] is None else n.n.at("eps", 0)
        alpha = maximum(n.n.at("eps", 1), _rms(p)) * n.rate
        p = shrunk(p, n.n, group)
        square = g * g
        if g.ndim > 1:
            row = mixed(s["row_var"], square.mean(-1, keepdim=True), n.weight)
            column = mixed(s["col_var"], square.mean(-2, keepdim=True), n.weight)
            state = {"row_var": row, "col_var": column}
            estimate = row * column / row.mean(-2, keepdim=True).clamp(min=least)
        else:
            estimate = mixed(s["variance"], square, n.weight)
            state = {"variance": estimate}
        update = estimate.clamp(min=least * least).rsqrt() * g
        size = alpha / (_rms(update) / n.n.d).clamp(min=1.0)
        return p - update * size, state


def _rms(x: Tensor) -> Tensor:
    """The root of the mean square, in float64 from a norm in x's dtype."""
    return convert((x * x).sum().sqrt(), f64) / x.numel() ** 0.5
