"""`out=` of functions, against PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import heliostat as hs
from heliostat.diagnostics import DTypeError, GradientError, ShapeError
from heliostat.tensor.outputs import TAKE_OUT
from heliostat.tensor.register import FUNCTIONS

from .compare import check, floats, integers

ONE: dict[str, Callable[[Any, Any], tuple[Any, ...]]] = {
    "atan2": lambda m, x: (x, x[0]),
    "softmax": lambda m, x: (x, -1),
    "gather": lambda m, x: (x, 1, m.tensor([[0, 2], [1, 1], [3, 0]])),
    "masked_select": lambda m, x: (x, x > 0),
    "cat": lambda m, x: ([x, x], 1),
    "addmm": lambda m, x: (x, m.ones(3, 2).to(x.dtype), m.ones(2, 4).to(x.dtype)),
    "cumsum": lambda m, x: (x, 0),
    "argmax": lambda m, x: (x, 1),
    "logical_not": lambda m, x: (x,),
    "where": lambda m, x: (x > 0, x, x * 2),
    "linalg.norm": lambda m, x: (x,),
    "linalg.cross": lambda m, x: (x[:, :3], x[:, 1:]),
    "special.i1": lambda m, x: (x,),
    "special.ndtr": lambda m, x: (x,),
    "special.expit": lambda m, x: (x,),
    "fft.fft": lambda m, x: (x,),
    "nn.functional.normalize": lambda m, x: (x,),
    "searchsorted": lambda m, x: (m.tensor([-1.0, 0.0, 1.0]).to(x.dtype), x),
}
SEVERAL: dict[str, Callable[[Any, Any], tuple[Any, ...]]] = {
    "sort": lambda m, x: (x, 1), "topk": lambda m, x: (x, 2), "max": lambda m, x: (x, 1), "aminmax": lambda m, x: (x,),
    "cummax": lambda m, x: (x, 0), "kthvalue": lambda m, x: (x, 2), "linalg.qr": lambda m, x: (x.mT,),
    "frexp": lambda m, x: (x,),
}  # fmt: skip


def _function(m: Any, name: str) -> Any:
    for part in name.split("."):
        if part in ("fft", "linalg", "special") and m is hs:
            __import__(f"heliostat.{part}")
        m = getattr(m, part)
    return m


@pytest.mark.parametrize("name", ONE)
def test_a_result_is_written_into_out(name: str) -> None:
    def call(m: Any, x: Any) -> Any:
        f, args = _function(m, name), ONE[name](m, x)
        made = f(*args)
        full, empty = m.zeros(tuple(made.shape), dtype=made.dtype), m.empty(0, dtype=made.dtype)
        assert f(*args, out=full) is full
        assert f(*args, out=empty) is empty
        return [full, empty]

    check(call, floats(3, 4))


@pytest.mark.parametrize("name", SEVERAL)
def test_several_results_are_written_into_out(name: str) -> None:
    def call(m: Any, x: Any) -> Any:
        f, args = _function(m, name), SEVERAL[name](m, x)
        out = tuple(m.zeros_like(y) for y in f(*args))
        f(*args, out=out)
        return list(out)

    check(call, floats(3, 4))


def test_makers_write_into_any_dtype() -> None:
    def call(m: Any, x: Any) -> Any:
        out = m.empty(4, dtype=m.int32)
        m.arange(4, out=out)
        other = m.empty(0, dtype=m.float64)
        m.linspace(0, 1, 5, out=other)
        return [out, other, m.ones(2, 2, out=x), m.eye(3, out=m.empty(0)), m.full((2,), 1.5, out=m.empty(0))]

    check(call, integers(2, 2))


def test_what_is_written_into_a_view_reaches_its_base() -> None:
    def call(m: Any, x: Any) -> Any:
        m.add(x[0], 1, out=x[1])
        m.sin(x, out=x)
        return x

    check(call, floats(3, 4))


def test_names_are_functions_that_take_out() -> None:
    torch = pytest.importorskip("torch")
    for name in sorted(TAKE_OUT):
        assert name in FUNCTIONS, name
        assert hasattr(torch, name), name
    x = hs.ones(2)
    for name in ("clone", "flip", "roll"):  # PyTorch's have none either
        with pytest.raises(TypeError):
            FUNCTIONS[name](x, 0, out=x)


def test_errors() -> None:
    x, w = hs.ones(2, 3), hs.ones(3, requires_grad=True)
    with pytest.raises(ShapeError, match="does not fit out"):
        hs.add(x, 1, out=hs.zeros(3))
    with pytest.raises(DTypeError):
        hs.add(x, 1, out=hs.zeros(2, 3, dtype=hs.int64))
    for f in (lambda: hs.add(x, w, out=hs.zeros(2, 3)), lambda: hs.exp(x[0], out=w)):
        with pytest.raises(GradientError, match="out"):
            f()
    with hs.no_grad():
        assert hs.add(x, w, out=hs.zeros(2, 3)).tolist() == [[2, 2, 2], [2, 2, 2]]
    for f in (lambda: hs.add(x, 1, out=3), lambda: hs.sort(x, out=x), lambda: hs.sort(x, out=(x,))):
        with pytest.raises(TypeError):
            f()
