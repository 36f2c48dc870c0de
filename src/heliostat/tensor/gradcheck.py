"""Gradients against differences of neighbouring values, with torch.autograd's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..diagnostics import HeliostatError, UnsupportedError
from .autograd import grad
from .conversion import as_tensor, from_array
from .core import Tensor
from .pairs import ComplexTensor, over
from .transforms import jvp


class GradcheckError(HeliostatError, RuntimeError):
    """A gradient that is not the derivative."""


def _many(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, tuple | list) else (x,)


def _floats(x: Any) -> Tensor:
    """The floats of a tensor: of complex numbers both parts."""
    made: Tensor = x._pair if isinstance(x, ComplexTensor) else x
    return made


def _like(pair: Tensor, x: Any) -> Any:
    return over(pair) if isinstance(x, ComplexTensor) else pair


def _results(func: Callable[..., Any], inputs: tuple[Any, ...]) -> list[Any]:
    found = [y for y in _many(func(*inputs)) if isinstance(y, Tensor)]
    return [y for y in found if _floats(y).dtype.is_float]


def _numerical(func: Callable[..., Any], inputs: tuple[Any, ...], at: int, eps: float) -> list[Any]:
    """For each output the Jacobian (outputs, elements of input `at`) by central differences."""
    x = inputs[at]
    base = np.array(_floats(x).detach().array())
    columns: list[list[Any]] = []
    for n in range(base.size):
        ends = []
        for step in (eps, -eps):
            moved = base.copy()
            moved.reshape(-1)[n] += step
            given = _like(from_array(moved), x)
            ends.append(
                [
                    np.array(_floats(y).detach().array(), np.float64).reshape(-1)
                    for y in _results(func, (*inputs[:at], given, *inputs[at + 1 :]))
                ]
            )
        columns.append([(a - b) / (2 * eps) for a, b in zip(*ends, strict=True)])
    count = len(_results(func, inputs))
    return [np.stack([c[i] for c in columns], -1) if columns else np.zeros((0, 0)) for i in range(count)]


def _analytical(outputs: list[Any], x: Any, which: int) -> Any:
    """The Jacobian of one output by as many backwards as it has elements."""
    y = _floats(outputs[which])
    pair = _floats(x)
    if not y.requires_grad:
        return np.zeros((y.numel(), pair.numel()))
    rows = []
    for n in range(y.numel()):
        seed = np.zeros(tuple(y.shape))
        seed.reshape(-1)[n] = 1
        (g,) = grad(y, pair, from_array(seed, y.dtype), retain_graph=True, allow_unused=True)
        rows.append(np.zeros(pair.numel()) if g is None else np.array(g.detach().array()).reshape(-1))
    return np.stack(rows) if rows else np.zeros((0, pair.numel()))


def _forward(func: Callable[..., Any], inputs: tuple[Any, ...], at: int) -> list[Any]:
    """The same by forward mode, one column at a time."""
    x = inputs[at]
    pair = _floats(x).detach()

    def run(moved: Tensor) -> tuple[Tensor, ...]:
        return tuple(_floats(y) for y in _results(func, (*inputs[:at], _like(moved, x), *inputs[at + 1 :])))

    columns = []
    for n in range(pair.numel()):
        seed = np.zeros(tuple(pair.shape))
        seed.reshape(-1)[n] = 1
        tangents = jvp(run, (pair,), (from_array(seed, pair.dtype),))[1]
        columns.append([np.array(t.detach().array()).reshape(-1) for t in _many(tangents)])
    count = len(_results(func, inputs))
    return [np.stack([c[i] for c in columns], -1) if columns else np.zeros((0, 0)) for i in range(count)]


def _refuse(**options: Any) -> None:
    for name, on in options.items():
        if on:
            raise UnsupportedError(f"gradcheck({name}=True) is not there", help="leave it out")


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether gradients of func at inputs, float64 and complex128, are differences of its values; by forward mode too
    with check_forward_ad. Raises GradcheckError if not, gives False without raise_exception.

    All elements are checked, with fast_mode too, and rules never see undefined gradients. Batched gradients and masked
    tensors are refused."""
    _refuse(check_batched_grad=check_batched_grad, check_batched_forward_grad=check_batched_forward_grad, masked=masked)
    given = _many(inputs)
    wanted = [i for i, x in enumerate(given) if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ValueError("gradcheck needs an input that requires grad")
    try:
        outputs = _results(func, given)
        if not any(y.requires_grad for y in outputs):
            raise GradcheckError("no output of the function requires grad", help="return what is made of the inputs")
        for i in wanted:
            numerical = _numerical(func, given, i, eps)
            forward = _forward(func, given, i) if check_forward_ad else None
            for n, expected in enumerate(numerical):
                ways = [("backward", _analytical(outputs, given[i], n))] if check_backward_ad else []
                if check_backward_ad:
                    again = _analytical(outputs, given[i], n)
                    if np.abs(again - ways[0][1]).max(initial=0) > nondet_tol:
                        raise GradcheckError(
                            f"gradients of output {n} for input {i} differ from time to time", help="raise nondet_tol"
                        )
                if forward is not None:
                    ways.append(("forward mode", forward[n]))
                for way, found in ways:
                    if not np.allclose(found, expected, rtol, atol, equal_nan=True):
                        what = (
                            f"{way} of output {n} for input {i} gives the Jacobian\n{found}\nof differences\n{expected}"
                        )
                        raise GradcheckError(what, help="inputs in float64, away from corners, make differences exact")
            if check_grad_dtypes:
                total = _floats(next(y for y in outputs if y.requires_grad)).sum()
                (g,) = grad(total, _floats(given[i]), retain_graph=True, allow_unused=True)
                if g is not None and g.dtype != _floats(given[i]).dtype:
                    raise GradcheckError(f"the gradient of input {i} is of {g.dtype}", help="cast it in backward")
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """`gradcheck` of the gradients of func, as a function of inputs and of where gradients start: random numbers unless
    they are given. Tensors have no strides: gen_non_contig_grad_outputs has no influence."""
    given = _many(inputs)
    outputs = [y for y in _results(func, given) if y.requires_grad]
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        seeds = [_like(from_array(rng.standard_normal(tuple(_floats(y).shape)), _floats(y).dtype), y) for y in outputs]
    else:
        seeds = [as_tensor(g) for g in _many(grad_outputs)]
    seeds = [s if s.requires_grad else s.detach().requires_grad_(True) for s in seeds]
    count = len(given)

    def gradients(*args: Any) -> tuple[Any, ...]:
        xs = tuple(
            x if isinstance(x, Tensor) and x.requires_grad else _tracked(x, given[i])
            for i, x in enumerate(args[:count])
        )
        made = [y for y in _results(func, xs) if y.requires_grad]
        chosen = [x for i, x in enumerate(xs) if isinstance(x, Tensor) and given[i].requires_grad]
        found = grad(made, chosen, args[count:], create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        gradients, (*given, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol, check_grad_dtypes=check_grad_dtypes, check_batched_grad=check_batched_grad,
        check_forward_ad=check_fwd_over_rev, check_backward_ad=check_rev_over_rev, fast_mode=fast_mode, masked=masked,
    )  # fmt: skip


def _tracked(x: Any, like: Any) -> Any:
    """A moved input, through which gradients flow as through what it stands for."""
    return x.detach().requires_grad_(True) if isinstance(x, Tensor) and like.requires_grad else x
