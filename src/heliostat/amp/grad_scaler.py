"""`GradScaler`: a loss times a scale, so that small gradients survive half precision, and steps that overflow skipped.

Whether a step overflowed stays a tensor: nothing is read between backward and step, which are one program, compiled or
not. An optimizer's new values are chosen by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..diagnostics import DTypeError, ScopeError, UnsupportedError
from ..ir.types import f16, f32, i32
from ..tensor import FUNCTIONS, Tensor, lazy, no_grad
from ..tensor.autocast import is_autocast_available
from ..tensor.autograd import usable
from ..tensor.conversion import convert, live_scalar, number_tensor
from ..tensor.devices import name_of

where = FUNCTIONS["where"]


class _Stage:
    """How far an optimizer is since the last `update`. capture: the compiled step that this happens in, if any."""

    def __init__(self) -> None:
        self.capture = lazy._capture.get()
        self.found_inf: Tensor | None = None
        self.stepped = False


class GradScaler:
    """Scales losses, and gradients back; skips steps with an infinity or NaN among the gradients and lowers the scale.

    device: where losses and parameters lie; a compiled step on a GPU needs it said. init_scale: the first scale.
    growth_factor: what the scale is multiplied with after growth_interval steps in a row without overflow.
    backoff_factor: what with after an overflow. enabled: False makes every method do nothing more than the plain
    loop. Per step: `scale(loss).backward()`, `unscale_(optimizer)` if gradients are looked at, `step(optimizer)` for
    each, `update()`. Raises ScopeError for another order, DTypeError for float16 gradients."""

    def __init__(
        self,
        device: str = "cpu",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if growth_factor <= 1.0:
            raise ValueError(f"the growth factor must be greater than 1, found {growth_factor}")
        if not 0 < backoff_factor < 1.0:
            raise ValueError(f"the backoff factor must lie between 0 and 1, found {backoff_factor}")
        if not is_autocast_available(device):
            raise UnsupportedError(f"there is no GradScaler for device {device!r}", help="cpu and cuda are known")
        self._device, self._enabled = device, bool(enabled)
        self._init_scale, self._growth_interval = float(init_scale), int(growth_interval)
        self._growth_factor, self._backoff_factor = float(growth_factor), float(backoff_factor)
        self._scale = number_tensor(self._init_scale, f32)
        self._growth_tracker = number_tensor(0, i32)
        if self._enabled and (name := name_of(device)) != "cpu":
            for t in (self._scale, self._growth_tracker):
                t._place(name)
        self._stages: dict[int, _Stage] = {}

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def scale(self, outputs: Any) -> Any:
        """A tensor, or each of an iterable, times the scale. Raises DTypeError for anything else."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, Iterable) and not isinstance(outputs, str):
            made = [self.scale(y) for y in outputs]
            return made if isinstance(outputs, list) else tuple(made)
        raise DTypeError(f"scale takes a tensor or an iterable of tensors, found {type(outputs).__name__}")

    # --- one step -------------------------------------------------------------------------------------------------
    def _stage(self, optimizer: Any) -> _Stage:
        now = lazy._capture.get()
        if any(s.capture is not None and s.capture is not now for s in self._stages.values()):
            self._stages.clear()  # a capture failed on its way
            if now is None:
                raise ScopeError(
                    "what a compiled step began with this GradScaler is not finished outside of it",
                    help="call unscale_, step and update in the same compiled step",
                )
        return self._stages.setdefault(id(optimizer), _Stage())

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, and see whether all are finite. Once between
        updates, before its step. Raises ScopeError otherwise, DTypeError for float16 gradients."""
        if not self._enabled:
            return
        stage = self._stage(optimizer)
        if stage.stepped:
            raise ScopeError("unscale_() is called after step()", help="call it before step(), once between updates")
        if stage.found_inf is not None:
            raise ScopeError(
                "unscale_() has already been called on this optimizer since the last update()",
                help="call update() at the end of each step",
            )
        with no_grad():
            inverse = 1.0 / self._scale
            finite = None
            for group in optimizer.param_groups:
                for p in group["params"]:
                    g = p.grad
                    if g is None:
                        continue
                    if g.dtype == f16:
                        raise DTypeError(
                            f"a float16 gradient of shape {list(g.shape)} cannot be unscaled without losing it",
                            help="keep parameters in float32 and run the forward pass under autocast",
                        )
                    p.grad = g = usable(g) * convert(inverse, g.dtype)
                    here = g.isfinite().all()
                    finite = here if finite is None else finite.logical_and(here)
            if finite is None:
                raise ScopeError("no parameter of the optimizer has a gradient", help="call backward() before")
            stage.found_inf = finite.logical_not()

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """The optimizer's step, unless a gradient is not finite; unscales first if that was not done. Returns what the
        step returns. Raises ScopeError for a second step before `update`, and for a closure."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if args or kwargs.get("closure") is not None:
            raise ScopeError("an enabled GradScaler takes no closure", help="compute the gradients before step()")
        stage = self._stage(optimizer)
        if stage.stepped:
            raise ScopeError("step() has already been called since the last update()", help="call update() after it")
        if stage.found_inf is None:
            self.unscale_(optimizer)
            stage = self._stage(optimizer)
        stage.stepped = True
        found = stage.found_inf
        if not getattr(optimizer, "takes_found_inf", False):
            return None if bool(found) else optimizer.step(*args, **kwargs)
        optimizer.found_inf = found
        try:
            return optimizer.step(*args, **kwargs)
        finally:
            optimizer.found_inf = None

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """End a step: grow or lower the scale, or set it. Raises ScopeError where no optimizer was unscaled."""
        if not self._enabled:
            return
        with no_grad():
            if new_scale is not None:
                self._scale.copy_(new_scale if isinstance(new_scale, Tensor) else number_tensor(float(new_scale), f32))
            else:
                self._adapt()
        self._stages.clear()

    def _adapt(self) -> None:
        found = [s.found_inf for s in self._stages.values() if s.found_inf is not None]
        if not found:
            raise ScopeError("update() before any optimizer was unscaled or stepped", help="call step(optimizer) first")
        overflow = found[0]
        for other in found[1:]:
            overflow = overflow.logical_or(other)
        lower = live_scalar(lambda: self._backoff_factor, f32)
        higher = live_scalar(lambda: self._growth_factor, f32)
        interval = live_scalar(lambda: float(self._growth_interval), f32)
        count = self._growth_tracker + 1
        full = count.to(f32) >= interval
        grown = self._scale * higher
        grown = where(grown < math.inf, grown, self._scale)
        self._scale.copy_(where(overflow, self._scale * lower, where(full, grown, self._scale)))
        self._growth_tracker.copy_(where(overflow.logical_or(full), 0, count))

    # --- numbers --------------------------------------------------------------------------------------------------
    def get_scale(self) -> float:
        """The scale, which is read; 1 if not enabled."""
        return float(self._scale.item()) if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """The factor of growth."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set the factor of growth."""
        self._growth_factor = float(new_factor)

    def get_backoff_factor(self) -> float:
        """The factor after an overflow."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set the factor after an overflow."""
        self._backoff_factor = float(new_factor)

    def get_growth_interval(self) -> int:
        """Steps without overflow before the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set the steps without overflow before the scale grows."""
        self._growth_interval = int(new_interval)

    def state_dict(self) -> dict[str, Any]:
        """Scale, factors, interval and steps since the last growth; empty if not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": int(self._growth_tracker.item()),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave. Raises ScopeError for that of a scaler that was not enabled."""
        if not self._enabled:
            return
        if not state_dict:
            raise ScopeError("the state of a GradScaler is empty", help="it was saved from one with enabled=False")
        with no_grad():
            self._scale.copy_(number_tensor(float(state_dict["scale"]), f32))
            self._growth_tracker.copy_(number_tensor(int(state_dict["_growth_tracker"]), i32))
        self._growth_factor = float(state_dict["growth_factor"])
        self._backoff_factor = float(state_dict["backoff_factor"])
        self._growth_interval = int(state_dict["growth_interval"])
