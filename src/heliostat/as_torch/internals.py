"""`torch._utils`: tensors laid end to end, errors of other threads, numbers of devices."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from ..tensor import PUBLIC, Tensor
from ..tensor import cuda as gpus
from . import refusal

_HELP = "torch.load reads files of PyTorch itself, and torch.save writes them"
_rebuild_tensor = refusal.function("torch._utils._rebuild_tensor", _HELP)
_rebuild_tensor_v2 = refusal.function("torch._utils._rebuild_tensor_v2", _HELP)
_rebuild_parameter = refusal.function("torch._utils._rebuild_parameter", _HELP)


def _flatten_dense_tensors(tensors: Sequence[Tensor]) -> Tensor:
    """All elements in one axis, tensor after tensor."""
    flat: Tensor = PUBLIC["cat"]([t.contiguous().view(-1) for t in tensors])
    return flat


def _unflatten_dense_tensors(flat: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Parts of `flat`, the first as large as the first tensor, and of its shape, and so on."""
    parts = flat.split([t.numel() for t in tensors])
    return tuple(part.view(t.shape) for part, t in zip(parts, tensors, strict=True))


def _take_tensors(tensors: Sequence[Tensor], size_limit: int) -> Iterator[list[Tensor]]:
    """Lists of tensors of one dtype of up to `size_limit` bytes together, or of one that is larger."""
    open_: dict[str, tuple[list[Tensor], int]] = {}
    for t in tensors:
        found, held = open_.get(t.type(), ([], 0))
        nbytes = t.numel() * t.element_size()
        if found and held + nbytes > size_limit:
            yield found
            found, held = [], 0
        open_[t.type()] = ([*found, t], held + nbytes)
    for found, _ in open_.values():
        yield found


class KeyErrorMessage(str):
    """A text that is its own repr: KeyError shows that."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class ExceptionWrapper:
    """An exception of another thread or process, with the text of its traceback."""

    def __init__(self, exc_info: Any = None, where: str = "in background") -> None:
        kind, error, trace = sys.exc_info() if exc_info is None else exc_info
        self.exc_type: Any = kind
        self.exc_msg = "".join(traceback.format_exception(kind, error, trace))
        self.where = where

    def reraise(self) -> None:
        """Raise an exception of the same class, with what was said and where; RuntimeError where its class takes other
        arguments."""
        said = f"Caught {self.exc_type.__name__} {self.where}.\nOriginal {self.exc_msg}"
        try:
            error = self.exc_type(KeyErrorMessage(said) if self.exc_type is KeyError else said)
        except Exception:  # whatever its __init__ does
            raise RuntimeError(said) from None
        raise error


def cpu_count() -> int | None:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _get_device_index(device: Any, optional: bool = False, allow_cpu: bool = False) -> int:
    """The number of a GPU, -1 of the cpu with `allow_cpu`, of None the current GPU's with `optional`. Raises ValueError
    for a device without a number."""
    if type(device) is int:
        return device
    if device is None:
        if optional:
            return int(gpus.current_device())
        raise ValueError(f"Expected a torch.device with a specified index or an integer, but got:{device}")
    found = PUBLIC["device"](device)
    if found.type == "cpu":
        if allow_cpu:
            return -1
        raise ValueError(f"Expected a non cpu device, but got: {found}")
    return int(found.index)


def _get_all_device_indices() -> list[int]:
    """Numbers of the GPUs."""
    return list(range(gpus.device_count()))
