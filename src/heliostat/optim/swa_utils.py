"""Averages of a model's weights over steps. Source: torch.optim.swa_utils."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

from ..diagnostics import UnsupportedError
from ..ir.types import i64
from ..nn.module import Module
from ..tensor.conversion import number_tensor
from ..tensor.core import Tensor
from ..tensor.gradient_mode import grad_mode
from .lr_scheduler import SWALR
from .optimizer import held

Average = Callable[[Tensor, Tensor, Tensor], Tensor]
MultiAverage = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Any]


def get_swa_avg_fn() -> Average:
    """The plain average of all: of (average, newest, how many the average is of)."""

    def average(mean: Tensor, now: Tensor, count: Tensor) -> Tensor:
        return mean + (now - mean) / (count + 1)

    return average


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """decay of the average before, and the rest of the newest: of (average, newest, how many the average is of)."""
    if not 0 <= decay <= 1:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")

    def average(mean: Tensor, now: Tensor, count: Tensor) -> Tensor:
        return mean * decay + now * (1 - decay)

    return average


def get_swa_multi_avg_fn() -> MultiAverage:
    """`get_swa_avg_fn` of many: writes into the averages of one dtype and device."""
    return _of_many(get_swa_avg_fn())


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """`get_ema_avg_fn` of many: writes into the averages of one dtype and device."""
    return _of_many(get_ema_avg_fn(decay))


def _of_many(average: Average) -> MultiAverage:
    def averages(means: Sequence[Tensor], newest: Sequence[Tensor], count: Tensor) -> None:
        for mean, now in zip(means, newest, strict=True):
            _write(mean, average(mean, now, count))

    return averages


def _write(to: Tensor, value: Tensor) -> None:
    to._assign(value.to(to.dtype))


class AveragedModel(Module):
    """A copy of a model, `module`, whose parameters are averages that `update_parameters` counts a model into; with
    `use_buffers` its buffers are too, else they are the newest ones.

    avg_fn: the new average from (average, newest, how many the average is of). multi_avg_fn: writes the new averages
    into lists of one dtype and device, (averages, newest, how many). The plain average where neither is given.
    n_averaged: how many models the averages are of, int64. Raises UnsupportedError where both are given."""

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise UnsupportedError("only one of avg_fn and multi_avg_fn can be given", help="leave one of them out")
        self.module = deepcopy(model)
        count = number_tensor(0, i64)
        if device is not None:
            self.module = self.module.to(device)
            count = count.to(device)
        self.register_buffer("n_averaged", count)
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Count the model as it is now into the averages. Raises ValueError for a model of other parameters."""
        means = [*self.module.parameters(), *(self.module.buffers() if self.use_buffers else ())]
        newest = [*model.parameters(), *(model.buffers() if self.use_buffers else ())]
        with grad_mode(False):
            now = [held(new).to(mean.device) for mean, new in zip(means, newest, strict=True)]
            if int(self.n_averaged) == 0:
                for mean, value in zip(means, now, strict=True):
                    _write(mean, value)
            else:
                self._average(means, now)
            if not self.use_buffers:
                for mean, new in zip(self.module.buffers(), model.buffers(), strict=True):
                    _write(mean, held(new).to(mean.device))
            self.n_averaged += 1

    def _average(self, means: Sequence[Tensor], newest: Sequence[Tensor]) -> None:
        groups: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
        for mean, now in zip(means, newest, strict=True):
            found = groups.setdefault((str(mean.device), mean.dtype), ([], []))
            found[0].append(mean.detach())
            found[1].append(now)
        update = self.multi_avg_fn or _of_many(self.avg_fn or get_swa_avg_fn())
        for of_group, of_newest in groups.values():
            update(of_group, of_newest, self.n_averaged.to(of_group[0].device))


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


__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn",
    "update_bn",
]  # fmt: skip
