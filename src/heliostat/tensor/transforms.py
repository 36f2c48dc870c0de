"""Function transforms with torch.func's names: derivatives of functions as functions.

Each makes graph of graph, so that they nest in any order: `jacfwd(jacrev(f))`, `vmap(grad(f))`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from .. import ops
from ..diagnostics import DTypeError, GradientError, ShapeError
from ..ir.graph import Value, constant
from ..ir.types import TensorType
from ..ops.rules import shown
from .autograd import differentiate
from .conversion import convert
from .core import Tensor, new, note_uses
from .gradient_mode import grad_mode, is_grad_enabled
from .levels import tracked
from .register import FUNCTIONS
from .structure import mapped, tensors_in
from .tangents import push
from .vectorize import vmap

__all__ = [
    "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "vjp", "vmap",
]  # fmt: skip

Argnums = int | tuple[int, ...]
_marks: ContextVar[tuple[Value, ...]] = ContextVar("heliostat_marks", default=())
"""Inputs of the transforms that are open: gradients may flow to them."""


# --- what they share --------------------------------------------------------------------------------------------------
class _Run:
    """A function's run on inputs of its own, which are copies of those given: derivatives end at them."""

    def __init__(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Any, argnums: Sequence[int]) -> None:
        self.primals: list[Tensor] = []
        self.inputs: list[Tensor] = []
        given = [mapped(a, self._input) if i in argnums else a for i, a in enumerate(args)]
        token = _marks.set((*_marks.get(), *(t._v for t in self.inputs)))
        try:
            with grad_mode(True):
                self.result = func(*given, **kwargs)
        finally:
            _marks.reset(token)

    def _input(self, t: Tensor) -> Tensor:
        if not isinstance(t, Tensor):
            raise DTypeError(f"a derivative is taken by tensors, found {type(t).__name__}", help="see argnums")
        if not t.dtype.is_float:
            raise DTypeError(f"a derivative is taken by floats, found a tensor of {t.dtype}", help="see argnums")
        v = ops.get("reshape").build(t.value, shape=tuple(t.shape))
        made: Tensor = new(Tensor, v, True)
        note_uses(v, made, (t,))
        self.primals.append(t)
        self.inputs.append(made)
        return made

    @property
    def values(self) -> list[Value]:
        return [t._v for t in self.inputs]

    @property
    def since(self) -> int:
        return min(v.node.serial for v in self.values)


def _outer(v: Value) -> Tensor:
    """A result: gradients flow on through it where they can reach something outside."""
    if is_grad_enabled() and v.type.dtype.is_float and tracked(v, _marks.get()):
        made: Tensor = new(Tensor, v, True)
        note_uses(v, made, ())
        return made
    found: Tensor = new(Tensor, ops.detach(v))
    return found


def _zeros(v: Value) -> Value:
    return ops.broadcast_to(constant(0, TensorType(v.type.dtype, ())), v.type.shape)


def _chosen(what: str, argnums: Argnums, args: Sequence[Any]) -> tuple[int, ...]:
    named = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    found = tuple(n + len(args) if n < 0 else n for n in named)
    if not named or any(not 0 <= n < len(args) for n in found):
        raise ShapeError(f"{what}: argnums {argnums} does not name one of {len(args)} arguments")
    if len(set(found)) != len(found):
        raise ShapeError(f"{what}: argnums {argnums} names an argument twice")
    return found


def _split(result: Any, has_aux: bool, what: str) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{what}: with has_aux the function returns (output, aux), found {type(result).__name__}")
    return result


def _outputs(what: str, result: Any) -> list[Tensor]:
    found: list[Tensor] = []
    mapped(result, found.append)
    if not found or not all(isinstance(t, Tensor) for t in _flat(result)):
        raise TypeError(f"{what}: the function returns tensors, found {type(result).__name__}")
    return found


def _flat(x: Any) -> list[Any]:
    if isinstance(x, dict):
        x = list(x.values())
    return [i for part in x for i in _flat(part)] if isinstance(x, tuple | list) else [x]


def _plain(x: Any) -> Any:
    """Tensors of a result as what the function's caller sees."""
    return mapped(x, lambda t: _outer(t.value))


def _back(outputs: Sequence[Tensor], seeds: Sequence[Value], run: _Run) -> list[Value]:
    """The inputs' gradients."""
    pairs = [(y.value, g) for y, g in zip(outputs, seeds, strict=True) if y.dtype.is_float]
    with grad_mode(True):
        _, total = differentiate(pairs, run.values, keep=True)
    return [total[id(v)] if id(v) in total else _zeros(v) for v in run.values]


# --- reverse ----------------------------------------------------------------------------------------------------------
def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(output, function of cotangents): func at primals, and what takes cotangents of the output's structure to those
    of the primals, a tuple. With has_aux func returns (output, aux), and vjp (output,
    function, aux)."""
    run = _Run(func, primals, {}, range(len(primals)))
    result, aux = _split(run.result, has_aux, "vjp")
    outputs = _outputs("vjp", result)

    def pull(*cotangents: Any) -> Any:
        """Cotangents of the primals, of those of the output."""
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        seeds = tensors_in(given)
        if len(seeds) != len(outputs):
            raise ShapeError(f"vjp: {len(seeds)} cotangents for {len(outputs)} outputs")
        for y, g in zip(outputs, seeds, strict=True):
            if y.shape != g.shape:
                raise ShapeError(f"vjp: the cotangent of an output of {shown(y.shape)} has shape {shown(g.shape)}")
        found = iter(_back(outputs, [g.value for g in seeds], run))
        return tuple(mapped(p, lambda _: _outer(next(found))) for p in primals)

    shown_result = _plain(result)
    return (shown_result, pull, _plain(aux)) if has_aux else (shown_result, pull)


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives (gradient, func's result), or with has_aux (gradient, (result, aux)). func returns a tensor
    of one element, without axes."""

    @functools.wraps(func)
    def both(*args: Any, **kwargs: Any) -> Any:
        chosen = _chosen("grad", argnums, args)
        run = _Run(func, args, kwargs, chosen)
        result, aux = _split(run.result, has_aux, "grad")
        if not isinstance(result, Tensor):
            raise TypeError(f"grad: the function returns a tensor, found {type(result).__name__}")
        if result.ndim:
            what = f"grad: the function returns one number, found a tensor of shape {shown(result.shape)}"
            raise GradientError(what, help="sum() it, or use vjp, jacrev")
        if not result.dtype.is_float:
            raise DTypeError(f"grad: the function returns a float, found {result.dtype}")
        seed = constant(1, TensorType(result.dtype, ()))
        found = iter(_back([result], [seed], run))
        order = {n: mapped(args[n], lambda _: _outer(next(found))) for n in sorted(chosen)}
        gradients = order[chosen[0]] if isinstance(argnums, int) else tuple(order[n] for n in chosen)
        value = _plain(result)
        return gradients, ((value, _plain(aux)) if has_aux else value)

    return both


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of func, which returns a tensor of one element, by the arguments that argnums
    names: of their structure; with has_aux (gradient, aux)."""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


# --- forward ----------------------------------------------------------------------------------------------------------
def jvp(
    func: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], *, strict: bool = False,
    has_aux: bool = False,
) -> Any:  # fmt: skip
    """(output, its derivative in the direction of tangents), by forward mode. With has_aux (output, derivative, aux).

    primals, tangents: tuples of one structure, shapes and dtypes. strict: an output that depends on no primal raises
    GradientError instead of a tangent of zeros."""
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise TypeError("jvp: primals and tangents are tuples of arguments")
    run, push_ = _forward(func, primals, has_aux, strict)
    result = push_(tangents)
    output, aux = _split(run.result, has_aux, "jvp")
    return (_plain(output), result, _plain(aux)) if has_aux else (_plain(output), result)


def _forward(func: Callable[..., Any], primals: tuple[Any, ...], has_aux: bool, strict: bool) -> Any:
    run = _Run(func, primals, {}, range(len(primals)))
    output, _ = _split(run.result, has_aux, "jvp")
    outputs = _outputs("jvp", output)

    def derivative(tangents: tuple[Any, ...]) -> Any:
        given = tensors_in(tangents)
        if len(given) != len(run.inputs):
            raise ShapeError(f"jvp: {len(given)} tangents for {len(run.inputs)} primals")
        for p, t in zip(run.inputs, given, strict=True):
            if p.shape != t.shape:
                raise ShapeError(f"jvp: the tangent of a primal of {shown(p.shape)} has shape {shown(t.shape)}")
        by_id = {id(p._v): convert(t, p.dtype).value for p, t in zip(run.inputs, given, strict=True)}
        found = push([y.value for y in outputs], by_id, run.since)
        if strict and any(t is None for t in found):
            raise GradientError("jvp: an output does not depend on the primals", help="strict=False gives zeros")
        rest = iter(found)

        def of(y: Tensor) -> Tensor:
            t = next(rest)
            return _outer(_zeros(y.value) if t is None else t)

        return mapped(output, of)

    return run, derivative


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(output, function of tangents): func at primals, and its derivative there as a linear function of tangents. func
    is run once."""
    run, derivative = _forward(func, primals, False, False)
    return _plain(run.result), lambda *tangents: derivative(tangents)


# --- matrices ---------------------------------------------------------------------------------------------------------
def _units(t: Tensor) -> Tensor:
    """All directions along one element of t: (numel, *shape)."""
    n = t.numel()
    made: Tensor = FUNCTIONS["eye"](n, dtype=t.dtype).reshape(n, *t.shape)
    return made


def jacrev(
    func: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False, chunk_size: int | None = None
) -> Callable[..., Any]:
    """A function that gives the Jacobian of func by reverse mode: for each output, for each chosen argument a tensor
    (*output shape, *argument shape). One batched backward pass for each output, of chunk_size rows at once."""

    @functools.wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen = _chosen("jacrev", argnums, args)
        run = _Run(func, args, kwargs, chosen)
        result, aux = _split(run.result, has_aux, "jacrev")
        _outputs("jacrev", result)
        order = sorted(chosen)

        def rows(y: Tensor) -> Any:
            if not y.dtype.is_float:
                raise DTypeError(f"jacrev: outputs have float dtypes, found {y.dtype}", help="return it as aux")

            def pull(g: Tensor) -> tuple[Tensor, ...]:
                return tuple(new(Tensor, v) for v in _back([y], [g.value], run))

            if y.numel():
                found = vmap(pull, chunk_size=chunk_size)(_units(y))
            else:
                found = tuple(FUNCTIONS["zeros"](y.numel(), *p.shape, dtype=p.dtype) for p in run.inputs)
            each = iter(found)
            by = {n: mapped(args[n], lambda t: _outer(next(each).reshape(*y.shape, *t.shape).value)) for n in order}
            return by[chosen[0]] if isinstance(argnums, int) else tuple(by[n] for n in chosen)

        made = mapped(result, rows)
        return (made, _plain(aux)) if has_aux else made

    return jacobian


def jacfwd(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """As jacrev, by forward mode: one batched derivative for each argument, of chunk_size columns at once.
    randomness: as in vmap."""

    @functools.wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen = _chosen("jacfwd", argnums, args)
        run = _Run(func, args, kwargs, chosen)
        result, aux = _split(run.result, has_aux, "jacfwd")
        outputs = _outputs("jacfwd", result)
        columns: list[list[Tensor]] = []
        for p in run.inputs:

            def direction(t: Tensor, p: Tensor = p) -> tuple[Tensor, ...]:
                found = push([y.value for y in outputs], {id(p._v): t.value}, run.since)
                return tuple(
                    new(Tensor, _zeros(y.value) if f is None else f) for y, f in zip(outputs, found, strict=True)
                )

            made = vmap(direction, out_dims=-1, randomness=randomness, chunk_size=chunk_size)(_units(p))
            columns.append([m.reshape(*y.shape, *p.shape) for m, y in zip(made, outputs, strict=True)])
        order = sorted(chosen)
        at = iter(range(len(outputs)))

        def blocks(_: Tensor) -> Any:
            n = next(at)
            each = iter(c[n] for c in columns)
            by = {k: mapped(args[k], lambda _: _outer(next(each).value)) for k in order}
            return by[chosen[0]] if isinstance(argnums, int) else tuple(by[k] for k in chosen)

        found = mapped(result, blocks)
        return (found, _plain(aux)) if has_aux else found

    return jacobian


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that gives the second derivatives of func: jacfwd of jacrev."""
    return jacfwd(jacrev(func, argnums), argnums)


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """func itself: what is built here never has writes in place in it."""
    if remove not in ("mutations", "mutations_and_views"):
        raise ValueError(f"functionalize removes 'mutations' or 'mutations_and_views', not {remove!r}")
    return func
