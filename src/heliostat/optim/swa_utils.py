"""Averages of a model's weights over steps. Source: torch.optim.swa_utils.

A model is anything with `parameters()`, `buffers()`, `modules()` and a call: modules stand in a room beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

from ..ir.types import i64
from ..tensor.conversion import number_tensor
from ..tensor.core import Tensor
from ..tensor.gradient_mode import grad_mode
from .lr_scheduler import SWALR
from .optimizer import held

Average = Callable[[Tensor, Tensor, Tensor], Tensor]


def get_swa_avg_fn() -> Average:
    """The plain average of all."""

    def average(mean: Tensor, now: Tensor, count: Tensor) -> Tensor:
        return mean + (now - mean) / (count + 1).to(mean.dtype)

    return average


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """decay of the average before, and the rest of the newest."""
    if not 0 <= decay <= 1:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")

    def average(mean: Tensor, now: Tensor, count: Tensor) -> Tensor:
        return mean * decay + now * (1 - decay)

    return average


class AveragedModel:
    """A copy of a model whose parameters are averages, made by `update_parameters`. Buffers are those of the model, or
    with use_buffers averages too."""

    def __init__(
        self, model: Any, device: Any = None, avg_fn: Average | None = None, use_buffers: bool = False
    ) -> None:
        self.module = deepcopy(model)
        self.n_averaged = number_tensor(0, i64)
        self.avg_fn = avg_fn or get_swa_avg_fn()
        self.use_buffers = use_buffers
        if device is not None:
            self.module = self.module.to(device)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    forward = __call__

    def parameters(self) -> Any:
        """The averaged parameters."""
        return self.module.parameters()

    def buffers(self) -> Any:
        """The buffers of the copy."""
        return self.module.buffers()

    def state_dict(self) -> dict[str, Any]:
        """The averages, under "module.", and how many models they are of."""
        return {"n_averaged": self.n_averaged, **{f"module.{k}": v for k, v in self.module.state_dict().items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.module.load_state_dict({k[7:]: v for k, v in state_dict.items() if k.startswith("module.")})
        self.n_averaged = number_tensor(int(state_dict["n_averaged"]), i64)

    def update_parameters(self, model: Any) -> None:
        """Count the model as it is now into the averages."""
        first = int(self.n_averaged) == 0
        averaged = [*self.module.parameters(), *(self.module.buffers() if self.use_buffers else ())]
        newest = [*model.parameters(), *(model.buffers() if self.use_buffers else ())]
        with grad_mode(False):
            for mean, now in zip(averaged, newest, strict=True):
                value = held(now)
                if not first and mean.dtype.is_float:
                    value = self.avg_fn(held(mean), value, self.n_averaged)
                mean._assign(value)
            if not self.use_buffers:
                for mean, now in zip(self.module.buffers(), model.buffers(), strict=True):
                    mean._assign(held(now))
        self.n_averaged = number_tensor(int(self.n_averaged) + 1, i64)


def update_bn(loader: Iterable[Any], model: Any, device: Any = None) -> None:
    """Run a model over data so that its batch norms have the statistics of the weights as they are now."""
    norms = [m for m in model.modules() if hasattr(m, "reset_running_stats")]
    if not norms:
        return
    momenta = [m.momentum for m in norms]
    training = model.training
    model.train()
    try:
        for m in norms:
            m.reset_running_stats()
            m.momentum = None
        with grad_mode(False):
            for batch in loader:
                x = batch[0] if isinstance(batch, list | tuple) else batch
                model(x if device is None else x.to(device))
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
        model.train(training)


__all__ = ["SWALR", "AveragedModel", "get_ema_avg_fn", "get_swa_avg_fn", "update_bn"]
