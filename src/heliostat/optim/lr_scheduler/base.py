"""`LRScheduler`: counts epochs, asks for the rates of each, and writes them into the optimizer's groups."""

from __future__ import annotations

import types
import warnings
from collections.abc import Sequence
from typing import Any

from ...tensor.core import Tensor
from ..optimizer import Optimizer
from ..walked import Group

Rate = Any  # a number, or a tensor of one


class LRScheduler:
    """Base of all schedules. Subclasses say in `get_lr` which rates the epoch `last_epoch` has."""

    _initial = False  # whether the first rates are being set
    _left_out: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for n, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{n}] when resuming a scheduler: load the "
                    "optimizer's state first"
                )
        self.base_lrs: list[Rate] = rates(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        optimizer._opt_called = False
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._initial = True
        try:
            self.step()
        finally:
            del self._initial

    def get_lr(self) -> list[Rate]:
        """The rates of the groups in this epoch."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr")

    def closed_form(self) -> list[Rate]:
        """The rates of the groups in this epoch, from the epoch alone."""
        return self.get_lr()

    def get_last_lr(self) -> list[Rate]:
        """The rates that were set last."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch, or to a given one."""
        if self._step_count == 1 and not self.optimizer._opt_called:
            warnings.warn(
                "lr_scheduler.step() is called before optimizer.step(): the first rate is passed over", stacklevel=2
            )
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is None:
            self.last_epoch += 1
            values = self.get_lr()
        else:
            self.last_epoch = epoch
            values = self.closed_form()
        self._set(values)

    def _set(self, values: Sequence[Rate]) -> None:
        for group, rate in zip(self.optimizer.param_groups, values, strict=True):
            put(group, "lr", rate)
        self._last_lr = rates(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """What a scheduler made with the same arguments needs to go on from here."""
        return {k: v for k, v in self.__dict__.items() if k not in self._left_out}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was called."""
        self.__dict__.update(state_dict)


def check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def copied(rate: Rate) -> Rate:
    return rate.detach().clone() if isinstance(rate, Tensor) else rate


def rates(optimizer: Optimizer, key: str = "lr") -> list[Rate]:
    """An option of all groups."""
    return [copied(group[key]) for group in optimizer.param_groups]


def put(group: Group, key: str, value: Rate) -> None:
    """Set an option; a tensor keeps its place."""
    if isinstance(group[key], Tensor):
        group[key].fill_(float(value))
    else:
        group[key] = value


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """A value for each group, given as one or as a list. Raises ValueError for a list of another length."""
    if not isinstance(value, list | tuple):
        return [copied(value) for _ in optimizer.param_groups]
    if len(value) != len(optimizer.param_groups):
        raise ValueError(f"{name}: {len(value)} values for {len(optimizer.param_groups)} groups of parameters")
    return [copied(v) for v in value]


def saved_function(function: Any) -> dict[str, Any] | None:
    """What is saved of a function: nothing, but of an object that is called its attributes."""
    return None if isinstance(function, types.FunctionType) else dict(function.__dict__)
