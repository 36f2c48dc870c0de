"""Dual numbers, with torch.autograd.forward_ad's names: tensors with tangents, and those of what is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from .. import ops
from ..diagnostics import DTypeError, GradientError, ShapeError
from ..ir.graph import Value
from ..ops.rules import shown
from .core import Tensor, new, note_uses
from .tangents import push

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """A tensor and its tangent, None where it has none."""

    primal: Tensor
    tangent: Tensor | None


class _Duals:
    """The dual tensors of a level: their values and tangents."""

    def __init__(self) -> None:
        self.values: dict[int, tuple[Value, Value]] = {}


_level: ContextVar[_Duals | None] = ContextVar("heliostat_dual_level", default=None)


def enter_dual_level() -> int:
    """Begin a level, 0. Raises GradientError inside of another: nest `func.jvp` instead."""
    if _level.get() is not None:
        raise GradientError("a dual level is open already", help="heliostat.func.jvp nests")
    _level.set(_Duals())
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level: its tangents are gone."""
    if _level.get() is None:
        raise GradientError("no dual level is open")
    _level.set(None)


@contextmanager
def dual_level() -> Iterator[int]:
    """A level for as long as the block runs."""
    number = enter_dual_level()
    try:
        yield number
    finally:
        exit_dual_level()


def _open() -> _Duals:
    found = _level.get()
    if found is None:
        raise GradientError("no dual level is open", help="with forward_ad.dual_level(): ...")
    return found


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """tensor with a tangent of its shape and dtype. The dual tensor requires grad, so that what is made of it stays
    connected with it when values are read."""
    if not tensor.dtype.is_float:
        raise DTypeError(f"a dual tensor has a float dtype, found {tensor.dtype}")
    if tangent.shape != tensor.shape or tangent.dtype != tensor.dtype:
        found = f"{tangent.dtype} of shape {shown(tangent.shape)}"
        raise ShapeError(f"the tangent of {tensor.dtype} of shape {shown(tensor.shape)} is {found}")
    duals = _open()
    v = ops.get("reshape").build(tensor.value, shape=tuple(tensor.shape))
    duals.values[id(v)] = (v, tangent.value)
    made: Tensor = new(Tensor, v, True)
    note_uses(v, made, (tensor,))
    return made


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """A tensor's value and its tangent."""
    values = _open().values
    tangent = None
    if values and tensor.dtype.is_float:
        since = min(v.node.serial for v, _ in values.values())
        tangent = push([tensor.value], {i: t for i, (_, t) in values.items()}, since)[0]
    primal: Tensor = new(Tensor, ops.detach(tensor.value))
    return UnpackedDualTensor(primal, None if tangent is None else new(Tensor, tangent))
