"""Gradients where a formula is not smooth or its parts are infinite: PyTorch's, not NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
import heliostat.nn.functional as hf
import heliostat.special
from heliostat import func
from heliostat.diagnostics import GradientError

from .compare import check, floats, ours, same, theirs, torch

ZEROS = np.array([[0.0, 0.0], [3.0, 0.0], [-4.0, 1.0]])
MOVED = np.array([[0.0], [1.0], [0.0]])


@pytest.mark.parametrize("p", [0.5, -0.5, -1, 1, 1.5, 2, 3, "fro", float("inf"), -float("inf")])
@pytest.mark.parametrize("x", [ZEROS, np.zeros((2, 3))], ids=["some", "all"])
def test_norms_of_zeros(p: Any, x: Any) -> None:
    check(lambda m, x: [m.norm(x, p), m.norm(x, p, dim=1)], x, grad=True)


def test_what_is_made_of_norms() -> None:
    x = np.zeros((2, 3))
    check(lambda m, a, b: [m.dist(a, b), m.cdist(a, b), m.cdist(a, a)], ZEROS, ZEROS + MOVED, grad=True)
    check(lambda m, a: [a.renorm(2, 0, 0.5), a.std(0), m.std_mean(a, 1)[0]], ZEROS, grad=True)
    check(lambda m, a: [a.std(), a.std(1)], x + 2, grad=True)
    xs, ys = ours(ZEROS, True), theirs(ZEROS, True)
    hf.normalize(xs).sum().backward()
    torch.nn.functional.normalize(ys).sum().backward()
    same(xs.grad, ys.grad)


def test_fmod_and_its_kin_at_zero() -> None:
    check(lambda m, a: [a.fmod(2), a.remainder(2), a.frac()], np.array([0.0, -1.5, 2.5, -0.0]), grad=True)


def test_angles_on_the_axes() -> None:
    a = np.array([0.0, 0.0, 2.0, -2.0, 1.0, -1.0, 3.0, -3.0, 0.0, -0.0])
    b = np.array([1.0, -1.0, 0.0, -0.0, 1.0, -1.0, -4.0, 4.0, 0.0, -0.0])
    check(lambda m, a, b: m.atan2(a, b), a, b, grad=True)
    for point in ([2.0, 0.0], [-1.0, 3.0]):
        found = func.hessian(lambda v: hs.atan2(v[0], v[1]))(hs.tensor(point, dtype=hs.float64))
        same(found, torch.func.hessian(lambda v: torch.atan2(v[0], v[1]))(torch.tensor(point, dtype=torch.float64)))


def test_slopes_of_hypot() -> None:
    """At infinity and at (0, 0) those of the limit, which PyTorch has as NaN; elsewhere PyTorch's."""
    inf, nan = np.inf, np.nan
    a, b = np.array([3.0, 0, -5, 1e-300, nan, 1]), np.array([-4.0, 2, 0, 1e-300, 1, nan])
    check(lambda m, a, b: m.hypot(a, b), a, b, grad=True)
    x, y = (hs.tensor(v, requires_grad=True) for v in ([inf, -inf, inf, 0, nan], [1.0, inf, nan, 0, -inf]))
    found = hs.hypot(x, y)
    found.sum().backward()
    half = np.sqrt(0.5)
    for t, expected in (
        (found, [inf] * 3 + [0, inf]), (x.grad, [1, -half, 1, 0, 0]), (y.grad, [0, half, 0, 0, -1])
    ):  # fmt: skip
        np.testing.assert_allclose(t.detach().numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_angles_of_special_numbers(dtype: Any) -> None:
    some = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, 3e38, -3e38]
    a, b = (v.astype(dtype).reshape(-1) for v in np.meshgrid(some, some))
    found, expected = hs.atan2(hs.tensor(a), hs.tensor(b)).numpy(), np.arctan2(a, b)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    here = ~np.isnan(expected)
    assert (np.signbit(found) == np.signbit(expected))[here].all()


def test_relu_passes_the_gradient_where_there_is_no_number() -> None:
    check(lambda m, x: m.relu(x), np.array([np.nan, 1.5, -1.5, 0.0, -0.0, np.inf, -np.inf]), grad=True)


ENDS = np.array([
    np.nan, np.inf, -np.inf, 0.0, -0.0, 1, -1, 0.5, -0.5, 3, -3, 6, -6, 1e-30, -1e-30, 20, 2.5, 1e30, -1e30,
])  # fmt: skip
F = "nn.functional"
OF_ENDS = (
    "abs", "asinh", "atan", "cosh", "erf", "exp", "exp2", "expm1", "frac", "log", "log1p", "neg", "reciprocal",
    "relu", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh", "tanhshrink", "silu", "mish",
    "softplus", "softsign", "relu6", "hardtanh", "hardswish", "hardsigmoid", "hardshrink", "softshrink", "leaky_relu",
    "logsigmoid", "clamp", "clamp_min", "clamp_max", "nan_to_num",
)  # fmt: skip
ARGUMENTS: dict[str, Any] = {"clamp": (-1, 1), "clamp_min": (0.5,), "clamp_max": (0.5,)}


def test_all_functions_at_the_ends_and_kinks_of_their_ranges() -> None:
    """f64, and all of them in one program."""

    def run(m: Any, x: Any) -> Any:
        found = []
        for name in OF_ENDS:
            room = m if hasattr(torch, name) and name not in ("hardshrink",) else m.nn.functional
            found.append(getattr(room, name)(x, *ARGUMENTS.get(name, ())))
        return found

    xs, ys = ours(ENDS, True), theirs(ENDS, True)
    made, expected = run(hs, xs), run(torch, ys)
    for name, a, b in zip(OF_ENDS, made, expected, strict=True):
        if name not in ("sin", "tan"):  # of 1e30 in f64
            same(a, b, what=name)
        else:
            same(a[:17], b[:17], what=name)
    total = hs.stack([hs.autograd.grad(y.sum(), [xs], retain_graph=True)[0] for y in made])
    for name, row, y in zip(OF_ENDS, total, expected, strict=True):
        (wanted,) = torch.autograd.grad(y.sum(), [ys], retain_graph=True)
        kept = slice(0, 17) if name in ("sin", "tan") else slice(None)
        same(row[kept], wanted[kept], 1e-7, f"gradient of {name}")


def test_special_functions_at_their_ends() -> None:
    x = np.array([np.nan, 0.0, -0.0, 1e-30, -1e-12, 0.5, 2.0, -1.0, -3.0, 150.0, 1e10])
    check(
        lambda m, x: [m.digamma(x), m.special.scaled_modified_bessel_k0(x), m.special.scaled_modified_bessel_k1(x)], x
    )
    check(lambda m, x: [m.special.i1(x), m.special.i1e(x)], x[1:-2], grad=True)
    check(lambda m, x: m.special.spherical_bessel_j0(x), np.array([np.inf, -np.inf, 1.0]))
    a, b = np.array([0.0, 0.0, 2.0, 0.0]), np.array([2.0, np.nan, 3.0, 0.5])
    check(lambda m, x, y: [m.xlogy(x, y), m.special.xlog1py(x, y)], a, b, grad=True)


SECOND: dict[str, Any] = {
    "prod": (lambda m, x: x.prod(), [[2.0, 0.0, 3.0], [1.0, 4.0, 0.5]]),
    "prod of two zeros": (lambda m, x: x.prod(1), [[2.0, 0.0, 0.0, 3.0], [1.0, 4.0, 0.5, 2.0]]),
    "cumprod": (lambda m, x: x.cumprod(1), [[1.0, 0.0, 3.0, 2.0, 0.0], [1.0, 2.0, 3.0, 0.5, 4.0]]),
    "i0": (lambda m, x: m.i0(x), [0.0, -0.5, 2.0, 31.0]),
    "scatter_reduce": (
        lambda m, x: x.new_ones(2).scatter_reduce(0, m.tensor([0, 1, 0, 0]), x, "prod"), [2.0, 3.0, -1.0, 4.0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives(name: str) -> None:
    f, values = SECOND[name]

    def twice(m: Any, x: Any) -> Any:
        y = f(m, x)
        y = y * m.arange(1, y.numel() + 1, dtype=y.dtype).reshape(y.shape)
        (first,) = m.autograd.grad(y.sum(), x, create_graph=True)
        (second,) = m.autograd.grad((first * first + first * x).sum(), x)
        return [first.detach(), second]

    same(twice(hs, ours(np.array(values), True)), twice(torch, theirs(np.array(values), True)))


def test_gradients_at_the_ends_of_a_range() -> None:
    ends = np.array([0.0, 1.0, 2.0, -1.0, 0.5])
    check(lambda m, x: [m.logit(x), m.special.entr(x)], ends, grad=True)
    check(lambda m, x: m.logit(x, eps=0.1), ends, grad=True)


def test_backward_has_a_gradient_for_each_result() -> None:
    """Those without gradients too: zeros, or None where nothing is materialized or it is no tensor."""
    for materialize in (True, False):

        def call(m: Any, x: Any, materialize: bool = materialize) -> Any:
            seen: list[Any] = []

            class Several(m.autograd.Function):  # type: ignore[misc, name-defined]
                @staticmethod
                def forward(x: Any, k: float) -> Any:
                    return x > 0, x * k, "text", x * 2

                @staticmethod
                def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
                    ctx.k = inputs[1]
                    ctx.mark_non_differentiable(output[0], output[1])
                    ctx.set_materialize_grads(materialize)

                @staticmethod
                def backward(ctx: Any, flags: Any, scaled: Any, text: Any, g: Any) -> Any:
                    seen.extend([flags is None, scaled is None, text])
                    return (g if scaled is None else g + scaled) * ctx.k, None

            y = Several.apply(x, 3.0)
            (g,) = m.autograd.grad(y[3].sum(), x)
            return [g, y[0], y[1].requires_grad, *seen]

        x, y = hs.tensor(floats(3), requires_grad=True), torch.tensor(floats(3), requires_grad=True)
        same(call(hs, x), call(torch, y))


def test_a_function_that_writes_its_input() -> None:
    def call(m: Any, x: Any) -> Any:
        class Doubled(m.autograd.Function):  # type: ignore[misc, name-defined]
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                ctx.mark_dirty(x)
                return x.mul_(2)

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                return g * 2

        class Exp(m.autograd.Function):  # type: ignore[misc, name-defined]
            @staticmethod
            def forward(ctx: Any, x: Any, y: Any) -> Any:
                x.copy_(x.exp() * y)
                ctx.mark_dirty(x)
                ctx.save_for_backward(x, y)
                return x

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                x, y = ctx.saved_tensors
                return g * x, g * x / y

        b = x * 1
        view = b[0]
        c = Doubled.apply(b)
        assert c is b
        d = x.sin()
        e = Exp.apply(d, x + 3)
        assert e is d
        plain = m.ones_like(x).detach()
        assert Doubled.apply(plain) is plain
        assert not plain.requires_grad
        return [c, view, e, plain, (x * 1)[0]]

    check(call, floats(3), grad=True)

    class Leaf(hs.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)
            return x.mul_(2)

    with pytest.raises(GradientError, match="leaf"):
        Leaf.apply(hs.ones(2, requires_grad=True))


def test_generators_without_gradients() -> None:
    def call(m: Any, x: Any) -> Any:
        found: list[Any] = []

        @m.no_grad()  # type: ignore[untyped-decorator]
        def steps(n: int) -> Any:
            try:
                got = yield (x * n).requires_grad
                found.append((got, (x * n).requires_grad))
                try:
                    yield (x * n).requires_grad
                except KeyError:
                    found.append(m.is_grad_enabled())
                yield 3
            finally:
                found.append(m.is_grad_enabled())
            return 4

        made = steps(2)
        found += [next(made), (x * 2).requires_grad, made.send(5), (x * 2).requires_grad, made.throw(KeyError())]
        assert list(made) == []
        broken = steps(2)
        next(broken)
        broken.close()
        return [found, m.is_grad_enabled()]

    x, y = hs.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    assert call(hs, x) == call(torch, y)
