"""Values that gradients need and that are changed in place before `backward`: refused where PyTorch refuses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import heliostat as hs
from heliostat.diagnostics import GradientError, ShapeError

from .compare import check, floats, ours, same, theirs, torch

Call = Callable[..., Any]
SQUARE, ROW, IMAGE = (3, 3), (3,), (1, 3, 4, 4)
UNARY = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "erfc", "exp", "exp2",
    "expm1", "floor", "frac", "lgamma", "log", "log10", "log1p", "log2", "logit", "neg", "reciprocal", "round",
    "rsqrt", "sigmoid", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "i0", "digamma", "logsumexp",
    "cumsum", "amax", "prod", "std", "var", "norm", "matrix_exp",
)  # fmt: skip
ACTIVATIONS = (
    "celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish",
    "relu", "relu6", "selu", "silu", "softmin", "softplus", "softshrink", "softsign", "tanhshrink", "log_softmax",
    "softmax",
)  # fmt: skip
BINARY = (
    "add", "sub", "mul", "div", "atan2", "maximum", "minimum", "logaddexp", "logaddexp2", "xlogy", "matmul", "cross",
    "dist",
)  # fmt: skip
AXIS = {"logsumexp": (1,), "cumsum": (1,), "amax": (1,), "softmin": (1,), "softmax": (1,), "log_softmax": (1,)}


def _functional(name: str) -> Call:
    return lambda m, *xs: getattr(m.nn.functional, name)(*xs, *AXIS.get(name, ()))


def _of(name: str) -> Call:
    return lambda m, *xs: getattr(m, name)(*xs, *AXIS.get(name, ()))


CASES: dict[str, tuple[Call, tuple[tuple[int, ...], ...]]] = {
    **{name: (_of(name), (SQUARE,)) for name in UNARY},
    **{name: (_functional(name), (SQUARE,)) for name in ACTIVATIONS},
    **{name: (_of(name), (SQUARE, SQUARE)) for name in BINARY},
    "rows": (lambda m, x, y: x * y, (SQUARE, ROW)),
    "pow": (lambda m, x, y: m.pow(x, y), (SQUARE, SQUARE)),
    "clamp": (lambda m, x, y: m.clamp(x, y, y + 1), (SQUARE, SQUARE)),
    "clamp by numbers": (lambda m, x: x.clamp(0.7, 1.2), (SQUARE,)),
    "where": (lambda m, x, y: m.where(x > 1, x, y), (SQUARE, SQUARE)),
    "lerp": (lambda m, x, y, z: m.lerp(x, y, z), (SQUARE, SQUARE, SQUARE)),
    "addcmul": (lambda m, x, y, z: m.addcmul(x, y, z), (SQUARE, SQUARE, SQUARE)),
    "addcdiv": (lambda m, x, y, z: m.addcdiv(x, y, z), (SQUARE, SQUARE, SQUARE)),
    "addmm": (lambda m, x, y, z: m.addmm(x, y, z), (SQUARE, SQUARE, SQUARE)),
    "expand": (lambda m, x, y: x.expand(3, 3) * y, (ROW, SQUARE)),
    "expand_as": (lambda m, x, y: x.expand_as(y) * y, (ROW, SQUARE)),
    "broadcast_tensors": (lambda m, x, y: m.mul(*m.broadcast_tensors(x, y)), (ROW, SQUARE)),
    "slices": (lambda m, x, y: x[1:] * y.t()[:2], (SQUARE, SQUARE)),
    "einsum": (lambda m, x, y: m.einsum("ij,jk->ik", x, y), (SQUARE, SQUARE)),
    "einsum of sums": (lambda m, x, y: m.einsum("ij,kj->k", x, y), (SQUARE, SQUARE)),
    "einsum of three": (lambda m, x, y, z: m.einsum("ij,jk,kl->il", x, y, z), (SQUARE, SQUARE, SQUARE)),
    "tensordot": (lambda m, x, y: m.tensordot(x, y, 1), (SQUARE, SQUARE)),
    "linear": (lambda m, x, y, z: m.nn.functional.linear(x, y, z), (SQUARE, SQUARE, ROW)),
    "bilinear": (lambda m, x, y, z: m.nn.functional.bilinear(x, y, z), (SQUARE, SQUARE, (2, 3, 3))),
    "prelu": (lambda m, x, y: m.nn.functional.prelu(x - 1, y), (SQUARE, ROW)),
    "conv2d": (lambda m, x, y: m.nn.functional.conv2d(x, y), (IMAGE, (2, 3, 2, 2))),
    "conv1d": (lambda m, x, y: m.nn.functional.conv1d(x, y), ((1, 3, 4), (2, 3, 2))),
    "conv_transpose2d": (lambda m, x, y: m.nn.functional.conv_transpose2d(x, y), (IMAGE, (3, 2, 2, 2))),
    "max_pool2d": (lambda m, x: m.nn.functional.max_pool2d(x, 2), (IMAGE,)),
    "layer_norm": (lambda m, x, y, z: m.nn.functional.layer_norm(x, (3,), y, z), (SQUARE, ROW, ROW)),
    "group_norm": (lambda m, x, y, z: m.nn.functional.group_norm(x, 1, y, z), (IMAGE, ROW, ROW)),
    "batch_norm": (
        lambda m, x, y, z: m.nn.functional.batch_norm(x, None, None, y, z, training=True),
        (IMAGE, ROW, ROW),
    ),
    "mse_loss": (lambda m, x, y: m.nn.functional.mse_loss(x, y), (SQUARE, SQUARE)),
    "huber_loss": (lambda m, x, y: m.nn.functional.huber_loss(x, y), (SQUARE, SQUARE)),
    "l1_loss": (lambda m, x, y: m.nn.functional.l1_loss(x, y), (SQUARE, SQUARE)),
    "margin_ranking_loss": (
        lambda m, x, y: m.nn.functional.margin_ranking_loss(x, y, m.ones(3, 3, dtype=m.float64)),
        (SQUARE, SQUARE),
    ),
    "kl_div": (lambda m, x, y: m.nn.functional.kl_div(x, y, reduction="sum"), (SQUARE, SQUARE)),
    "inverse": (lambda m, x: m.inverse(x), (SQUARE,)),
    "solve": (lambda m, x, y: m.linalg.solve(x, y), (SQUARE, SQUARE)),
    "det": (lambda m, x: m.linalg.det(x), (SQUARE,)),
    "cat": (lambda m, x, y: m.cat([x, y]), (SQUARE, SQUARE)),
    "two": (lambda m, x, y: (x * y).exp() * x, (SQUARE, SQUARE)),
}
"""A function by name, and the shapes that it takes."""

KEPT_BY_PYTORCH = frozenset((
    "amax", "cumsum", "i0", "logsumexp", "pow", "prod", "std", "var", "norm", "layer_norm",
    "group_norm", "batch_norm", "conv2d", "conv1d", "conv_transpose2d", "dist", "prelu", "lerp", "einsum of sums",
    "linear", "addcdiv", "acosh", "logit", "lgamma", "digamma", "sinc",
))  # fmt: skip
"""Functions of which PyTorch keeps more than some of their gradients need."""


def _raised(m: Any, call: Call, xs: list[Any], wants: int, changed: int) -> bool | None:
    """Whether `backward` refuses the change; None where there is nothing to ask."""
    given = [(x.requires_grad_(True) if n == wants else x) * 1 for n, x in enumerate(xs)]
    made = call(m, *given)
    if not made.requires_grad:
        return None
    loss = (made * 1).sum()
    try:
        (made if changed < 0 else given[changed]).add_(1)
    except (RuntimeError, ValueError):
        return None
    try:
        loss.backward()
    except RuntimeError as error:
        return "place" in str(error)
    return False


@pytest.mark.parametrize("name", CASES)
def test_changes_are_refused_where_pytorch_refuses_them(name: str) -> None:
    call, shapes = CASES[name]
    arrays = [floats(*shape, seed=n, low=0.1, high=0.9) for n, shape in enumerate(shapes)]
    if name == "acosh":
        arrays = [a + 1 for a in arrays]
    for wants in range(len(shapes)):
        for changed in range(-1, len(shapes)):
            expected = _raised(torch, call, [theirs(a) for a in arrays], wants, changed)
            found = _raised(hs, call, [ours(a) for a in arrays], wants, changed)
            where = f"gradient of operand {wants}, {'the result' if changed < 0 else f'operand {changed}'} changed"
            if name in KEPT_BY_PYTORCH:
                assert not (found and expected is False), where
            else:
                assert expected is None or found == expected, where


def test_the_message_names_the_function_and_both_versions() -> None:
    x = hs.ones(3, requires_grad=True)
    y = x * 1
    z = y.expand(2, 3).exp() * y.expand(2, 3)
    y.add_(1).add_(1)
    with pytest.raises(GradientError, match=r"gradient of mul .*\[2, 3\].* version 2, .* version 0"):
        z.sum().backward()


def test_what_a_function_returned_and_keeps_may_not_change() -> None:
    x = hs.tensor([[2.0, 0.0], [0.0, 4.0]], requires_grad=True)
    for f in (hs.inverse, hs.linalg.cholesky):
        y = f(x)
        kept = (y * 1).sum()
        y.mul_(2)
        with pytest.raises(GradientError, match="changed in place"):
            kept.backward()


def test_expand_is_a_view() -> None:
    def f(m: Any, x: Any) -> Any:
        y = x * 1
        e, whole = y.expand(4, 3), y.expand(1, 3)
        y.mul_(2)
        whole[0, 1] = 5.0
        whole.contiguous().add_(1)  # where nothing is repeated the order is that of the axes: no copy
        y.expand(3).reshape(3, 1)[2] = 7.0
        return [e, whole, y, e[1] + y]

    check(f, floats(3), grad=True)
    x = hs.zeros(3)
    with pytest.raises(ShapeError, match="several places"):
        x.expand(2, 3).add_(1)
    assert x.tolist() == [0, 0, 0]


GIVEN = floats(3, 4)
BY_MASK_OR_NUMBER: list[Any] = [
    lambda m, y: y.masked_fill(y > 0.5, 0.0), lambda m, y: m.where(y > 0.5, y, 0.0), lambda m, y: y * (y > 0.5),
    lambda m, y: y[m.arange(3), y.argmax(1)], lambda m, y: y.index_select(0, y.argmax(0)), lambda m, y: y.max(1)[0],
    lambda m, y: y.scatter(1, y.argsort(1), y * 2), lambda m, y: y.index_put((y.argmax(0),), y[0], True),
]  # fmt: skip


@pytest.mark.parametrize("f", BY_MASK_OR_NUMBER)
def test_what_a_mask_or_an_index_was_made_of_may_change(f: Any) -> None:
    """Its gradient needs the mask alone."""
    found = []
    for m, x in ((hs, ours(GIVEN, True)), (torch, theirs(GIVEN, True))):
        y = x * 1
        loss = (f(m, y) * 3).sum()
        y.add_(1)
        loss.backward()
        found.append(x.grad)
    same(*found)


def test_a_mask_or_an_index_may_not_change() -> None:
    for made, f in ((hs.tensor([True, False]), hs.masked_fill), (hs.tensor([1, 0]), lambda y, at, _: y[at])):
        y = f(hs.ones(2, requires_grad=True) * 1, made, 0.0) * 1
        made.copy_(made.flip(0))
        with pytest.raises(GradientError, match="changed in place"):
            y.sum().backward()
