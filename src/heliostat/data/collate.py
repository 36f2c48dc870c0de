"""Batches of samples: tensors and arrays are stacked, numbers become tensors, containers are gone through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..diagnostics import ShapeError
from ..ir.types import f64
from ..tensor.arrange import stack
from ..tensor.conversion import from_array
from ..tensor.core import Tensor


def default_convert(data: Any) -> Any:
    """Arrays become tensors, in containers too; all else stays."""
    if isinstance(data, np.ndarray | np.generic):
        return data if data.dtype.kind in "SUO" else from_array(np.asarray(data), device="cpu")
    if isinstance(data, Mapping):
        return _like(data, {k: default_convert(v) for k, v in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(d) for d in data))
    if isinstance(data, tuple):
        return [default_convert(d) for d in data]
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return [default_convert(d) for d in data]
    return data


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch of a list of samples of one structure. Raises TypeError for what cannot be put together."""
    return collate(batch)


def collate(batch: Sequence[Any], *, collate_fn_map: Mapping[Any, Callable[..., Any]] | None = None) -> Any:
    """As `default_collate`, with functions for more types: f(samples, collate_fn_map=...)."""
    first = batch[0]
    for kind, f in (collate_fn_map or {}).items():
        if isinstance(first, kind):
            return f(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, Tensor):
        return _stacked(batch)
    if isinstance(first, np.ndarray | np.generic):
        if first.dtype.kind in "SUO":
            raise TypeError(f"a batch cannot be made of arrays of {first.dtype}")
        return from_array(_same([np.asarray(b) for b in batch]), device="cpu")
    if isinstance(first, bool | int):
        return from_array(np.array(batch), device="cpu")
    if isinstance(first, float):
        return from_array(np.array(batch, np.float64), f64, "cpu")
    if isinstance(first, str | bytes):
        return batch

    def again(samples: Sequence[Any]) -> Any:
        return collate(samples, collate_fn_map=collate_fn_map)

    if isinstance(first, Mapping):
        return _like(first, {k: again([b[k] for b in batch]) for k in first})
    if isinstance(first, Sequence):
        if any(len(b) != len(first) for b in batch):
            raise ShapeError("each element in list of batch should be of equal size")
        columns = [again(column) for column in zip(*batch, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    raise TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {type(first)}"
    )


def _stacked(batch: Sequence[Any]) -> Tensor:
    if any(t.requires_grad for t in batch):
        return stack(list(batch))
    return from_array(_same([t.array() for t in batch]), batch[0].dtype, "cpu")


def _same(arrays: Sequence[Any]) -> Any:
    shapes = {a.shape for a in arrays}
    if len(shapes) != 1:
        listed = ", ".join(map(str, sorted(shapes)))
        raise ShapeError(f"a batch needs items of one shape, found {listed}", help="give a collate_fn that pads them")
    return np.stack(arrays)


def _like(data: Any, items: dict[Any, Any]) -> Any:
    try:
        return type(data)(items)
    except TypeError:
        return items
