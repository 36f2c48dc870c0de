"""`vmap`: a function of single elements, called for all elements of a batch at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .. import ops
from ..diagnostics import ShapeError, UnsupportedError
from ..ir.graph import Value
from ..ops.rules import shown
from . import lazy
from .core import Tensor, new, note_uses
from .gradient_mode import is_grad_enabled
from .levels import Level, open_levels
from .structure import mapped

RANDOMNESS = ("error", "different", "same")


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """func of one element as a function of batches: axis in_dims of each argument is left out inside of func, and
    stands at out_dims in the results. All of it is one graph, in which each op has one more axis; nothing loops.

    in_dims: an axis for all tensors in the arguments, or a tuple with an axis, None (the same for each element), or a
    structure of those for each argument. Keyword arguments are batched along axis 0, as in PyTorch. out_dims: likewise
    for the results. randomness: what random functions in func do: "error", "different" numbers for each element, or the
    "same" for all. chunk_size: elements at once. Raises ShapeError where axes do not fit, UnsupportedError for an op
    without a batching rule, and where func looks at a value."""
    if randomness not in RANDOMNESS:
        raise ValueError(f"vmap: randomness is one of {', '.join(RANDOMNESS)}, not {randomness!r}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"vmap: chunk_size is at least 1, not {chunk_size}")

    @functools.wraps(func)
    def batched(*args: Any, **kwargs: Any) -> Any:
        if isinstance(in_dims, tuple | list) and len(in_dims) != len(args):
            raise ShapeError(f"vmap: in_dims {in_dims} names {len(in_dims)} arguments, found {len(args)}")
        leaves = _leaves("in_dims", tuple(args), tuple(in_dims) if isinstance(in_dims, list) else in_dims)
        leaves += _leaves("in_dims", kwargs, 0)
        size = _size(leaves)
        if chunk_size is None or chunk_size >= size:
            return _call(func, args, kwargs, leaves, size, out_dims, randomness)
        parts = [
            _call(func, args, kwargs, _part(leaves, at, chunk_size), min(chunk_size, size - at), out_dims, randomness)
            for at in range(0, size, chunk_size)
        ]
        return _joined(parts, out_dims)

    return batched


Leaf = tuple[Any, int | None]


def _leaves(what: str, x: Any, dims: Any) -> list[Leaf]:
    """(tensor, axis) for each tensor of x in order. dims: an axis, or a structure that is x's as far as it goes."""
    if dims is None or isinstance(dims, int):
        return [(leaf, dims if isinstance(leaf, Tensor) else None) for leaf in _flat(x)]
    if isinstance(x, dict) and isinstance(dims, dict) and x.keys() == dims.keys():
        return [leaf for k in x for leaf in _leaves(what, x[k], dims[k])]
    if isinstance(x, tuple | list) and isinstance(dims, tuple | list) and len(x) == len(dims):
        return [leaf for i, d in zip(x, dims, strict=True) for leaf in _leaves(what, i, d)]
    raise ShapeError(f"vmap: {what} {dims!r} does not fit the structure of {type(x).__name__}")


def _flat(x: Any) -> list[Any]:
    found: list[Any] = []
    mapped(x, found.append)
    return found


def _size(leaves: list[Leaf]) -> int:
    sizes: dict[int, Any] = {}
    for x, dim in leaves:
        if dim is None:
            continue
        if not -x.ndim <= dim < x.ndim:
            raise ShapeError(f"vmap: axis {dim} of in_dims is outside a tensor of shape {shown(x.shape)}")
        sizes.setdefault(x.shape[dim], x)
    if not sizes:
        raise ShapeError("vmap needs at least one tensor with an axis to go over", help="see in_dims")
    if len(sizes) > 1:
        found = " and ".join(map(str, sizes))
        raise ShapeError(f"vmap goes over axes of one size, found {found}", help="see in_dims")
    size = next(iter(sizes))
    if size == 0:
        raise ShapeError("vmap goes over at least one element, found an axis of size 0")
    return size


def _part(leaves: list[Leaf], at: int, count: int) -> list[Leaf]:
    found: list[Leaf] = []
    for x, d in leaves:
        found.append((x, d) if d is None else (x.narrow(d, at, min(count, x.shape[d] - at)), d))
    return found


def _first(v: Value, dim: int) -> Value:
    rank = v.type.rank
    at = dim % rank
    return v if at == 0 else ops.transpose(v, [at, *(i for i in range(rank) if i != at)])


def _call(
    func: Callable[..., Any], args: Any, kwargs: Any, leaves: list[Leaf], size: int, out_dims: Any, randomness: str
) -> Any:
    sources = [x for x, d in leaves if d is not None]
    rest = iter(leaves)
    try:
        with Level(size, randomness) as level:

            def place(_: Tensor) -> Tensor:
                x, dim = next(rest)
                if dim is None:
                    return x
                rg = x.requires_grad and is_grad_enabled()
                return new(Tensor, level.placeholder(_first(x.value, dim)), rg)

            given, named = mapped((tuple(args), dict(kwargs)), place)
            result = func(*given, **named)
            del given, named
            _only_tensors(result)
            values = [_batched(level, t) for t in _flat(result)]
            _check_writes(level, result)
        dims = _out(result, out_dims)
        outs = iter(zip(values, dims, strict=True))

        def finish(t: Tensor) -> Tensor:
            v, dim = next(outs)
            rank = v.type.rank
            if not -rank <= dim < rank:
                raise ShapeError(f"vmap: axis {dim} of out_dims is outside a result of shape {shown(v.type.shape)}")
            at = dim % rank
            v = v if at == 0 else ops.transpose(v, [*range(1, at + 1), 0, *range(at + 1, rank)])
            made: Tensor = new(Tensor, v, t.requires_grad)
            if t.requires_grad:
                note_uses(v, made, sources)
            return made

        return mapped(result, finish)
    finally:
        result = None
        if not open_levels():
            lazy.drop_singles()


def _check_writes(level: Level, result: Any) -> None:
    """Raises UnsupportedError where a tensor from outside has the value of one element; it gets its old one back."""
    mine = {id(t) for t in _flat(result)}
    refused = None
    for written, before in level.written:
        t = written()
        if t is None or id(t) in mine or before.node.serial >= level.since or level.batched(before) is not None:
            continue
        if level.batched(t._v) is not None:
            t._v, refused = before, t
    if refused is not None:
        what = f"vmap: a tensor of shape {shown(refused.shape)} from outside is written with the value of one element"
        raise UnsupportedError(what, help="return the value, or hand the tensor over as an argument with an axis")


def _batched(level: Level, t: Any) -> Value:
    b = level.batched(t.value)
    return ops.broadcast_to(t.value, (level.size, *t.value.type.shape)) if b is None else b


def _out(result: Any, out_dims: Any) -> list[int]:
    leaves = _leaves("out_dims", result, out_dims)
    if any(d is None for _, d in leaves):
        raise ShapeError(f"vmap: out_dims {out_dims!r} names no axis for a result", help="name one for each tensor")
    return [int(d) for _, d in leaves if d is not None]


def _only_tensors(x: Any) -> None:
    if isinstance(x, dict):
        x = tuple(x.values())
    if isinstance(x, tuple | list):
        for i in x:
            _only_tensors(i)
    elif not isinstance(x, Tensor):
        raise TypeError(f"vmap: the function returns tensors in tuples, lists and dicts, found {type(x).__name__}")


def _joined(parts: list[Any], out_dims: Any) -> Any:
    from .register import FUNCTIONS

    dims = _out(parts[0], out_dims)
    columns = zip(*(_flat(p) for p in parts), strict=True)
    made = iter([FUNCTIONS["cat"](list(c), d) for c, d in zip(columns, dims, strict=True)])
    return mapped(parts[0], lambda _: next(made))
