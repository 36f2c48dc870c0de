"""Functions of the package by axes: dtypes, nothing, no axes, other orders in memory, broadcasting, NaN and infinities,
gradients, in place, `out=`, refusals; against PyTorch. Each axis is shown to fail on a function with a fault that it is
there to see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs

from .compare import floats, ours, same, theirs, torch

ONE = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "deg2rad", "digamma", "erf",
    "erfc", "erfinv", "exp", "exp2", "expm1", "floor", "frac", "lgamma", "log", "log10", "log1p", "log2", "logit",
    "neg", "rad2deg", "reciprocal", "round", "rsqrt", "sgn", "sigmoid", "sign", "sin", "sinc", "sinh", "sqrt", "square",
    "tan", "tanh", "trunc",
)  # fmt: skip
TWO = (
    "add", "atan2", "copysign", "div", "eq", "floor_divide", "fmax", "fmin", "fmod", "ge", "gt", "hypot", "le",
    "logaddexp", "lt", "maximum", "minimum", "mul", "ne", "remainder", "sub", "xlogy",
)  # fmt: skip
OVER = ("amax", "amin", "argmax", "argmin", "logsumexp", "mean", "prod", "std", "sum", "var")
ALONG = ("cumprod", "cumsum", "log_softmax", "softmax", "sort")

Function = Callable[..., Any]


def call(m: Any, name: str, f: Function, *x: Any) -> Any:
    """The function of as many tensors as it takes, along the last axis where it takes one."""
    if name in ONE:
        return f(x[0])
    if name in TWO:
        return f(*x[:2])
    made = f(x[0], -1)
    return tuple(made) if isinstance(made, tuple) else made


def operands(dtype: str = "float64", shape: tuple[int, ...] = (3, 4)) -> list[Any]:
    """Numbers from 0.1 to 0.9, where every function is smooth and finite; whole ones in dtypes of those."""
    x = [floats(*shape, seed=n, low=0.1, high=0.9) for n in (0, 1)]
    return [(a * 9 + 1).astype(dtype) if dtype in ("int64", "uint8") else a.astype(dtype) for a in x]


Pairs = list[tuple[Any, Any]]
"""What was found and what PyTorch gives. Compared when all of an axis is built, so that one program computes it."""


def compared(name: str, f: Function, *given: Any, make: Function = lambda m, x: x) -> Pairs:
    """f and PyTorch's function of the name, of the same operands. What PyTorch does not have may be there."""
    try:
        expected = call(torch, name, getattr(torch, name), *(make(torch, theirs(x)) for x in given))
    except (TypeError, RuntimeError, ValueError, IndexError, NotImplementedError):
        return []
    return [(call(hs, name, f, *(make(hs, ours(x)) for x in given)), expected)]


def dtypes(name: str, f: Function) -> Pairs:
    return [pair for dtype in ("float32", "int64", "bool") for pair in compared(name, f, *operands(dtype))]


def nothing(name: str, f: Function) -> Pairs:
    return [*compared(name, f, *operands(shape=(2, 0))), *compared(name, f, *operands(shape=(0, 3)))]


def no_axes(name: str, f: Function) -> Pairs:
    return compared(name, f, *operands(shape=()))


def orders(name: str, f: Function) -> Pairs:
    return compared(name, f, *operands(), make=lambda m, x: x.t()[1:, ::2])


def broadcasting(name: str, f: Function) -> Pairs:
    a, b = operands()
    return [*compared(name, f, a, b[0]), *compared(name, f, a[:, :1], b)] if name in TWO else []


def specials(name: str, f: Function) -> Pairs:
    if name in ("floor_divide", "remainder", "prod", "cumprod"):  # docs/coming-from-pytorch.md; overflow
        return []
    x = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5]])
    return compared(name, f, np.repeat(x, 8, 0), np.repeat(x.T, 8, 1))


def gradients(name: str, f: Function) -> Pairs:
    if name == "floor_divide":  # PyTorch has none
        return []
    found = []
    for m, g, to in ((torch, getattr(torch, name), theirs), (hs, f, ours)):
        x = [to(a, True) for a in operands()]
        y = call(m, name, g, *x)
        y = y[0] if isinstance(y, tuple) else y
        if y.requires_grad:
            (y * to(floats(*y.shape, seed=5))).sum().backward()
        found.append([m.zeros_like(a) if a.grad is None else a.grad for a in x])
    return [(found[1], found[0])]


def in_place(name: str, f: Function) -> Pairs:
    if not hasattr(torch.Tensor, name + "_") or name not in (*ONE, *TWO):
        return []
    found = []
    for m, to in ((torch, theirs), (hs, ours)):
        x = [to(a) for a in operands()]
        write = getattr(m.Tensor, name + "_") if m is torch or f is getattr(hs, name) else f
        made = write(*x[: 1 + (name in TWO)])
        assert made is x[0], name
        found.append(x)
    return [(found[1], found[0])]


def into(name: str, f: Function) -> Pairs:
    found = []
    for m, g, to in ((torch, getattr(torch, name), theirs), (hs, f, ours)):
        x = [to(a) for a in operands()]
        made = call(m, name, g, *x)
        out = tuple(m.zeros_like(y) for y in made) if isinstance(made, tuple) else m.zeros_like(made)
        call(m, name, lambda *args, g=g, out=out: g(*args, out=out), *x)
        found.append(out)
    return [(found[1], found[0])]


def refusals(name: str, f: Function) -> Pairs:
    x = hs.ones(3, 4)
    bad = (x, hs.ones(2, 5)) if name in TWO else (x, 7) if name in (*OVER, *ALONG) else ("text",)
    with pytest.raises((ValueError, TypeError, IndexError)):
        f(*bad)
    return []


AXES: dict[str, Callable[[str, Function], Pairs]] = {
    "dtypes": dtypes, "nothing": nothing, "no axes": no_axes, "orders": orders, "broadcasting": broadcasting,
    "specials": specials, "gradients": gradients, "in place": in_place, "out": into, "refusals": refusals,
}  # fmt: skip

FAULTS: dict[str, tuple[str, Function]] = {
    "dtypes": ("add", lambda a, b: hs.add(a, b) if a.dtype.is_float else hs.add(a.double(), b)),
    "nothing": ("exp", lambda x: hs.exp(x) if x.numel() else hs.exp(x)[None]),
    "no axes": ("sin", lambda x: hs.sin(x) if x.ndim else hs.sin(x).reshape(1)),
    "orders": ("cos", lambda x: hs.cos(x) if x.is_contiguous() else hs.cos(x.flip(0))),
    "broadcasting": ("mul", lambda a, b: hs.mul(a, b) if a.shape == b.shape else hs.mul(a, b).flip(0)),
    "specials": ("tanh", lambda x: hs.tanh(x.nan_to_num())),
    "gradients": ("square", lambda x: x * x.detach()),
    "in place": ("sqrt", lambda x: x.sqrt_().clone()),
    "out": ("sum", lambda x, dim, out=None: hs.sum(x, dim)),
    "refusals": ("mul", lambda a, b: hs.mul(a[:2, :4], b[:2, :4])),
}
"""A function of the sweep with a fault that its axis is there to see."""


def faults(axis: str, functions: dict[str, Function]) -> list[str]:
    """The names of functions that an axis finds wrong, with what is wrong."""
    wrong, built = [], []
    for name, f in functions.items():
        try:
            built += [(name, *pair) for pair in AXES[axis](name, f)]
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
        except pytest.fail.Exception as error:
            wrong.append(f"{name}: {error}")
    for name, found, expected in built:
        try:
            same(found, expected, what=name)
        except AssertionError as error:
            wrong.append(f"{name}: {' '.join(str(error).split())[:200]}")
    return wrong


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("axis", AXES)
def test_functions_equal_pytorch(axis: str) -> None:
    assert faults(axis, {name: getattr(hs, name) for name in (*ONE, *TWO, *OVER, *ALONG)}) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("axis", AXES)
def test_each_axis_sees_its_fault(axis: str) -> None:
    name, broken = FAULTS[axis]
    assert [w.partition(":")[0] for w in faults(axis, {name: broken})][:1] == [name]
