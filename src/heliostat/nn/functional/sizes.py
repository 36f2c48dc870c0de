"""Sizes that are given once for all axes, or one for each."""

from __future__ import annotations

from typing import Any

from ...diagnostics import ShapeError
from ...tensor import Tensor


def many(value: Any, count: int, name: str = "size") -> tuple[int, ...]:
    """`count` integers: one number for all, or as many. Raises ShapeError for another number of them."""
    if isinstance(value, int):
        return (int(value),) * count
    found = tuple(int(v) for v in value)
    if len(found) == 1:
        return found * count
    if len(found) != count:
        raise ShapeError(f"{name} must be one number or {count}, found {list(found)}")
    return found


def batched(input: Tensor, axes: int, name: str) -> tuple[Tensor, bool]:
    """input as (N, C, *axes), and whether it came without N."""
    if input.ndim == axes + 2:
        return input, False
    if input.ndim == axes + 1:
        return input.unsqueeze(0), True
    raise ShapeError(
        f"Expected {axes + 1}D (unbatched) or {axes + 2}D (batched) input to {name}, "
        f"but got input of size: {list(input.shape)}"
    )


def unbatched(y: Tensor, single: bool) -> Tensor:
    """y without N where it came without."""
    return y.squeeze(0) if single else y
