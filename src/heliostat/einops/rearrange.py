"""Splitting, joining, moving, reducing and repeating axes by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..diagnostics import DTypeError, EinopsError
from ..tensor import FUNCTIONS, Tensor
from .pattern import ANY, ELLIPSIS, Axis, Group, Side, name_problem, parse

Reduction = str | Callable[[Tensor, tuple[int, ...]], Tensor]
REDUCTIONS = ("min", "max", "sum", "mean", "prod", "any", "all")


@dataclass(frozen=True)
class _Recipe:
    """What a pattern does to a tensor of some rank: groups of axes before and after; those that go, those that come."""

    left: tuple[Group, ...]
    right: tuple[Group, ...]
    reduced: tuple[Axis, ...]
    added: tuple[Axis, ...]


def _names(axes: set[Axis]) -> str:
    """The names as a set is written, in order."""
    return "{" + ", ".join(repr(name) for name in sorted(str(a) for a in axes)) + "}"


def _agree(left: Side, right: Side, pattern: str, reduction: Reduction, given: Sequence[str]) -> None:
    """Raises EinopsError unless axes come only in repeat and go only in reduce."""
    a, b = set(left.axes), set(right.axes)
    if right.has_ellipsis and not left.has_ellipsis:
        raise EinopsError(f"Ellipsis found in right side, but not left side of a pattern {pattern}")
    if left.has_ellipsis and not left.open_ellipsis:
        raise EinopsError(f"Ellipsis inside parenthesis in the left side is not allowed: {pattern}")
    if reduction == "rearrange":
        if any(x.length is not None for x in a | b):
            raise EinopsError("Non-unitary anonymous axes are not supported in rearrange (exception is length 1)")
        if a != b:
            raise EinopsError(f"Identifiers only on one side of expression (should be on both): {_names(a ^ b)}")
    elif reduction == "repeat":
        if a - b:
            raise EinopsError(f"Unexpected identifiers on the left side of repeat: {_names(a - b)}")
        unknown = {x for x in b - a if x.length is None and x.name not in given}
        if unknown:
            raise EinopsError(f"Specify sizes for new axes in repeat: {_names(unknown)}")
    elif reduction in REDUCTIONS or callable(reduction):
        if b - a:
            raise EinopsError(f"Unexpected identifiers on the right side of reduce {reduction}: {_names(b - a)}")
    else:
        raise EinopsError(f"Unknown reduction {reduction}. Expect one of {REDUCTIONS}.")


@lru_cache(maxsize=1024)
def _recipe(pattern: str, reduction: Reduction, given: tuple[str, ...], ndim: int) -> _Recipe:
    sides = pattern.split("->")
    if len(sides) != 2:
        raise EinopsError(f"a pattern has two sides with one '->' between them, found {len(sides) - 1} of it")
    left, right = parse(sides[0]), parse(sides[1], len(pattern))
    _agree(left, right, pattern, reduction, given)
    others = len(left.groups) - left.has_ellipsis
    if left.has_ellipsis and ndim < others:
        raise EinopsError(f"Wrong shape: expected >={others} dims. Received {ndim}-dim tensor.")
    if not left.has_ellipsis and ndim != others:
        raise EinopsError(f"Wrong shape: expected {others} dims. Received {ndim}-dim tensor.")
    rest = [Axis(f"{ELLIPSIS}{n}") for n in range(ndim - others)]
    before, after = _spread(left, rest), _spread(right, rest)
    old, new = [a for g in before for a in g], [a for g in after for a in g]
    for name in given:
        if name_problem(name):
            raise EinopsError(f"Invalid name for an axis: {name}")
        if Axis(name) not in {*old, *new}:
            raise EinopsError(f"Axis {name} is not used in transform")
    for group in before:
        unknown = [a for a in group if a.length is None and a.name not in given]
        if len(unknown) > 1:
            raise EinopsError(f"Could not infer sizes for {_names(set(unknown))}")
    kept = set(new)
    return _Recipe(
        tuple(before), tuple(after), tuple(a for a in old if a not in kept), tuple(a for a in new if a not in set(old))
    )


def _spread(side: Side, rest: Sequence[Axis]) -> list[Group]:
    """The groups with axes in the place of `...`: groups of their own, or inside of brackets."""
    groups: list[Group] = []
    for g in side.groups:
        if g == (ANY,) and side.open_ellipsis:
            groups += [(a,) for a in rest]
        else:
            groups.append(tuple(b for a in g for b in (rest if a == ANY else (a,))))
    return groups


def _sizes(recipe: _Recipe, shape: Sequence[int], given: dict[str, int]) -> dict[Axis, int]:
    """The length of every axis."""
    sizes = {a: a.length for g in (*recipe.left, *recipe.right) for a in g if a.length is not None}
    sizes.update((Axis(name), size) for name, size in given.items())
    for group, length in zip(recipe.left, shape, strict=True):
        if len(group) == 1 and group[0] not in sizes:  # a size of a compiled function may be a symbol, as it is
            sizes[group[0]] = length
            continue
        unknown = [a for a in group if a not in sizes]
        known = math.prod(sizes[a] for a in group if a in sizes)
        if not unknown and known != length:
            raise EinopsError(f"Shape mismatch, {length} != {known}")
        if unknown:
            if known == 0 or length % known:
                raise EinopsError(f"Shape mismatch, can't divide axis of length {length} in chunks of {known}")
            sizes[unknown[0]] = length // known
    return sizes


def _reduced(x: Tensor, reduction: Reduction, dims: tuple[int, ...]) -> Tensor:
    if not isinstance(reduction, str):
        return reduction(x, dims)
    if reduction == "mean" and x.dtype.kind not in "fc":
        raise DTypeError(f"reduce: the mean of {x.dtype} is not available", help="convert it with float()")
    if reduction in ("min", "max"):
        made: Tensor = x.amin(dims) if reduction == "min" else x.amax(dims)
        return made
    if reduction in ("sum", "mean"):
        return x.sum(dims) if reduction == "sum" else x.mean(dims)
    for d in sorted(dims, reverse=True):
        x = getattr(x, reduction)(d)
    return x


def _transformed(tensor: Any, pattern: str, reduction: Reduction, lengths: dict[str, int]) -> Tensor:
    if isinstance(tensor, list | tuple):
        if not tensor:
            raise TypeError("Rearrange/Reduce/Repeat can't be applied to an empty list")
        tensor = FUNCTIONS["stack"](list(tensor))
    if not isinstance(tensor, Tensor):
        raise DTypeError(f"einops takes tensors and lists of them, found {type(tensor).__name__}", help="use hs.tensor")
    try:
        for name, size in lengths.items():
            if not isinstance(size, int) or size < 0:
                raise EinopsError(f"Length of axis {name} should be an integer of at least 0, found {size!r}")
        recipe = _recipe(pattern, reduction, tuple(lengths), tensor.ndim)
        sizes = _sizes(recipe, tensor.shape, lengths)
    except EinopsError as error:
        raise EinopsError(
            f' Error while processing {reduction}-reduction pattern "{pattern}".\n Input tensor shape: '
            f"{tuple(tensor.shape)}. Additional info: {lengths}.\n {error}"
        ) from None
    old = [a for g in recipe.left for a in g]
    kept = [a for g in recipe.right for a in g if a in set(old)]
    x: Tensor = tensor
    if any(len(g) != 1 for g in recipe.left):
        x = x.reshape(tuple(sizes[a] for a in old))
    order = [old.index(a) for a in (*kept, *recipe.reduced)]
    if order != list(range(len(order))):
        x = x.permute(*order)
    if recipe.reduced:
        x = _reduced(x, reduction, tuple(range(len(kept), len(old))))
    new = [a for g in recipe.right for a in g]
    if recipe.added:
        for place, axis in enumerate(new):
            if axis in recipe.added:
                x = x.unsqueeze(place)
        x = x.expand(tuple(sizes[a] if a in recipe.added else -1 for a in new))
    if any(len(g) != 1 for g in recipe.right):
        x = x.reshape(tuple(math.prod(sizes[a] for a in g) for g in recipe.right))
    return x


def reduce(tensor: Any, pattern: str, reduction: Reduction, **axes_lengths: int) -> Tensor:
    """Reduce the axes that the right side of a pattern lacks, and rearrange the others.

    tensor: one, or a list of equal shapes that get a first axis. reduction: "min", "max", "sum", "mean", "prod", "any",
    "all", or a function of a tensor and dims. axes_lengths: sizes that do not follow. Raises EinopsError where pattern
    and tensor do not fit, DTypeError for the mean of integers."""
    return _transformed(tensor, pattern, reduction, axes_lengths)


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Tensor:
    """Split, join and move axes: "b (h w) c -> b c h w". Arguments and errors as of `reduce`."""
    return _transformed(tensor, pattern, "rearrange", axes_lengths)


def repeat(tensor: Any, pattern: str, **axes_lengths: int) -> Tensor:
    """Repeat along the axes that the left side of a pattern lacks: "h w -> h (w 2)". Arguments and errors as of
    `reduce`."""
    return _transformed(tensor, pattern, "repeat", axes_lengths)


def parse_shape(x: Tensor, pattern: str) -> dict[str, int]:
    """The sizes of axes by name: "batch _ h w", where `_` and `...` leave axes out. Raises EinopsError where the shape
    is another one."""
    side, shape = parse(pattern, allow_underscore=True), tuple(x.shape)
    if side.composed():
        raise EinopsError(f"Can't parse shape with composite axes: {pattern} {shape}")
    if side.has_ellipsis and len(shape) < len(side.groups) - 1:
        raise EinopsError(f"Can't parse shape with this number of dimensions: {pattern} {shape}")
    if not side.has_ellipsis and len(shape) != len(side.groups):
        raise EinopsError(f"Can't parse shape with different number of dimensions: {pattern} {shape}")
    found: dict[str, int] = {}
    groups = _spread(side, [Axis("_")] * (len(shape) - len(side.groups) + 1)) if side.has_ellipsis else side.groups
    for group, size in zip(groups, shape, strict=True):
        if not group:
            if size != 1:
                raise EinopsError(f"Length of axis is not 1: {pattern} {shape}")
        elif group[0].length is not None:
            if group[0].length != size:
                raise EinopsError(f"Length of anonymous axis does not match: {pattern} {shape}")
        elif group[0].name != "_":
            found[group[0].name] = size
    return found


def asnumpy(tensor: Tensor) -> Any:
    """The values as a NumPy array; without gradients, from a GPU too."""
    return tensor.detach().cpu().numpy()
