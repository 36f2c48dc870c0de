"""Derivatives of a function at a point, with torch.autograd.functional's names: products with Jacobians and Hessians,
and those matrices themselves. `transforms.py` has the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import ops
from ..diagnostics import GradientError, ShapeError
from . import transforms
from .core import Tensor, new
from .register import FUNCTIONS
from .structure import mapped

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tuple(x: Any, what: str) -> tuple[Tensor, ...]:
    found = tuple(x) if isinstance(x, tuple | list) else (x,)
    if not all(isinstance(t, Tensor) for t in found):
        raise TypeError(f"{what} are a tensor or a tuple of tensors")
    return found


def _like(x: Any, found: Any) -> Any:
    """A tuple as what the caller gave: alone if that was a tensor."""
    return tuple(found) if isinstance(x, tuple | list) else found[0]


def _ended(x: Any, create_graph: bool) -> Any:
    return x if create_graph else mapped(x, lambda t: new(Tensor, ops.detach(t.value)))


def _direction(v: Any, like: Any, what: str) -> Any:
    """v, or a 1 for what has one element."""
    if v is not None:
        return v
    if not isinstance(like, Tensor) or like.numel() != 1:
        raise GradientError(f"{what}: v may be left out only for one element", help="give v")
    return FUNCTIONS["ones_like"](like.detach())


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(output, v times the Jacobian): v of the output's structure, the product of the inputs'."""
    output, pull = transforms.vjp(func, *_tuple(inputs, "inputs"))
    given = _direction(v, output, "vjp")
    found = pull(given if isinstance(output, Tensor) else tuple(given))
    return _ended((output, _like(inputs, found)), create_graph)


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(output, the Jacobian times v), by forward mode: v of the inputs' structure."""
    given = _tuple(inputs, "inputs")
    direction = _tuple(_direction(v, inputs, "jvp"), "v")
    return _ended(transforms.jvp(func, given, direction, strict=strict), create_graph)


def _strategy(strategy: str, vectorize: bool) -> str:
    if strategy not in ("forward-mode", "reverse-mode"):
        raise ValueError(f"strategy is 'forward-mode' or 'reverse-mode', not {strategy!r}")
    if strategy == "forward-mode" and not vectorize:
        raise ValueError("strategy='forward-mode' needs vectorize=True")
    return strategy


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of func at inputs: (*output shape, *input shape) for each output and input. All rows are computed in
    one batch, whatever `vectorize` says."""
    given = _tuple(inputs, "inputs")
    make: Any = transforms.jacfwd if _strategy(strategy, vectorize) == "forward-mode" else transforms.jacrev
    if strict:
        transforms.jvp(func, given, tuple(FUNCTIONS["ones_like"](t.detach()) for t in given), strict=True)
    found = make(func, tuple(range(len(given))))(*given)
    return _ended(found if isinstance(inputs, tuple | list) else _each(found), create_graph)


def _each(found: Any) -> Any:
    """Blocks of a single input, without the tuples around each."""
    if isinstance(found, tuple) and len(found) == 1 and isinstance(found[0], Tensor):
        return found[0]
    return tuple(_each(f) for f in found)


def _number(func: Callable[..., Any]) -> Callable[..., Any]:
    """func, whose result has one element, with a result that has no axes."""

    def one(*args: Any) -> Tensor:
        y = func(*args)
        if not isinstance(y, Tensor) or y.numel() != 1:
            raise ShapeError("second derivatives are those of a function with one element")
        return y.reshape(())

    return one


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """Second derivatives of func, which gives one element: (*input shape, *input shape) for each pair of inputs."""
    given = _tuple(inputs, "inputs")
    numbers = tuple(range(len(given)))
    make: Any = transforms.jacfwd if _strategy(outer_jacobian_strategy, vectorize) == "forward-mode" else None
    found = (make or transforms.jacrev)(transforms.jacrev(_number(func), numbers), numbers)(*given)
    return _ended(found if isinstance(inputs, tuple | list) else found[0][0], create_graph)


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(output, v times the Hessian): reverse over reverse."""
    given = _tuple(inputs, "inputs")
    direction = _tuple(_direction(v, inputs, "vhp"), "v")
    both = transforms.grad_and_value(_number(func), tuple(range(len(given))))
    _, pull, output = transforms.vjp(both, *given, has_aux=True)
    found = pull(direction)
    return _ended((output, _like(inputs, found)), create_graph)


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(output, the Hessian times v): forward over reverse."""
    given = _tuple(inputs, "inputs")
    direction = _tuple(_direction(v, inputs, "hvp"), "v")
    both = transforms.grad_and_value(_number(func), tuple(range(len(given))))
    _, found, output = transforms.jvp(both, given, direction, has_aux=True)
    return _ended((output, _like(inputs, found)), create_graph)
