"""Automatic mixed precision, with the names of `torch.amp`: `autocast`, `GradScaler`, `custom_fwd`, `custom_bwd`.

The rules per function are `ops.amp`, the scopes `tensor.autocast`."""

from ..tensor.autocast import autocast, get_autocast_dtype, is_autocast_available, is_autocast_enabled
from .custom import custom_bwd, custom_fwd
from .grad_scaler import GradScaler

__all__ = [
    "GradScaler", "autocast", "custom_bwd", "custom_fwd", "get_autocast_dtype", "is_autocast_available",
    "is_autocast_enabled",
]  # fmt: skip
