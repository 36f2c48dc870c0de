"""Tensors of different ranks as one: the axes at `*` are joined to one, along which the tensors are concatenated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from ..diagnostics import EinopsError
from ..tensor import FUNCTIONS, Size, Tensor
from .pattern import name_problem


@lru_cache(maxsize=1024)
def _around(pattern: str, name: str) -> tuple[int, int]:
    """How many axes stand before and after `*`."""
    axes = pattern.split()
    if len(axes) != len(set(axes)):
        raise EinopsError(f'Duplicates in axes names in {name}(..., "{pattern}")')
    if "*" not in axes:
        raise EinopsError(f'No *-axis in {name}(..., "{pattern}")')
    for axis in axes:
        if axis != "*" and name_problem(axis):
            raise EinopsError(f'Invalid axis name {axis} in {name}(..., "{pattern}")')
    before = axes.index("*")
    return before, len(axes) - before - 1


def pack(tensors: Sequence[Tensor], pattern: str) -> tuple[Tensor, list[Size]]:
    """One tensor of several, and the shapes that `*` stood for: `pack([(2, 3, 5), (2, 3, 7, 5)], "i j * k")` has the
    shape (2, 3, 8, 5), and the shapes are (), (7,). Raises EinopsError for a tensor of too few axes."""
    before, after = _around(pattern, "pack")
    if not tensors:
        raise EinopsError(f'pack(..., "{pattern}") needs at least one tensor')
    pieces, shapes = [], []
    for n, t in enumerate(tensors):
        shape = tuple(t.shape)
        if len(shape) < before + after:
            raise EinopsError(
                f"packed tensor #{n} (enumeration starts with 0) has shape {shape}, while pattern {pattern} assumes at "
                f"least {before + after} axes"
            )
        cut = len(shape) - after
        inner = Size(shape[before:cut])
        shapes.append(inner)
        pieces.append(t if len(inner) == 1 else t.reshape((*shape[:before], inner.numel(), *shape[cut:])))
    made: Tensor = FUNCTIONS["cat"](pieces, before)
    return made, shapes


def unpack(tensor: Tensor, packed_shapes: Sequence[Sequence[int]], pattern: str) -> list[Tensor]:
    """The tensors that `pack` joined, of the shapes it returned; one number may be -1. Raises EinopsError where the
    axis at `*` has another size than the shapes together."""
    before, after = _around(pattern, "unpack")
    shape = tuple(tensor.shape)
    if len(shape) != before + 1 + after:
        raise EinopsError(f"unpack(..., {pattern}) received input of wrong dim with shape {shape}")
    wanted = [tuple(s) for s in packed_shapes]
    unknown = [n for s in wanted for n in s if n == -1]
    if len(unknown) > 1:
        raise EinopsError(f"unpack(..., {pattern}) received more than one -1 in {wanted} and can't infer dimensions")
    left = shape[before] - sum(math.prod(s) for s in wanted if -1 not in s)
    problem = EinopsError(
        f'Error during unpack(..., "{pattern}"): could not split axis of size {shape[before]} into requested {wanted}'
    )
    found: list[Tensor] = []
    at = 0
    if left < 0 or (left and not unknown):
        raise problem
    for s in wanted:
        if -1 in s:
            step = math.prod(n for n in s if n != -1)
            if left % step if step else left:
                raise problem
            s = tuple((left // step if step else 0) if n == -1 else n for n in s)
        size = math.prod(s)
        found.append(tensor.narrow(before, at, size).reshape((*shape[:before], *s, *shape[before + 1 :])))
        at += size
    return found
