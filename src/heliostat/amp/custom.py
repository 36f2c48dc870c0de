"""Autocast in a `Function`: which dtype its forward gets, and the same scope for its backward."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from ..tensor.autocast import autocast, current, is_autocast_enabled, switched
from ..tensor.conversion import convert
from ..tensor.core import Tensor
from ..tensor.dtypes import dtype_of

F = TypeVar("F", bound=Callable[..., Any])


def custom_fwd(fwd: F | None = None, *, device_type: str, cast_inputs: Any = None) -> Any:
    """For the forward of a `Function`: remember the scope for its backward. cast_inputs: a float dtype that inputs
    have where autocast is on; forward then runs with autocast off."""
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def run(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        ctx._autocast = current()
        if cast_inputs is None or not is_autocast_enabled(device_type):
            return fwd(ctx, *args, **kwargs)
        dtype = dtype_of(cast_inputs)
        with autocast(device_type, enabled=False):
            ctx._autocast = current()
            return fwd(ctx, *(_cast(a, dtype) for a in args), **{k: _cast(a, dtype) for k, a in kwargs.items()})

    return run


def custom_bwd(bwd: F | None = None, *, device_type: str) -> Any:
    """For the backward of a `Function` whose forward has `custom_fwd`: run it in the scope of its forward."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def run(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with switched(ctx._autocast):
            return bwd(ctx, *args, **kwargs)

    return run


def _cast(a: Any, dtype: Any) -> Any:
    if isinstance(a, Tensor):
        return convert(a, dtype) if a.dtype.is_float and a.dtype.bits <= 32 else a
    if isinstance(a, list | tuple):
        return type(a)(_cast(x, dtype) for x in a)
    if isinstance(a, dict):
        return {k: _cast(x, dtype) for k, x in a.items()}
    return a
