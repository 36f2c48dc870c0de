"""Special functions, with torch.special's names, by ops in float64 (`ops/bessel.py`, `ops/special.py`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import ops
from .ir.graph import Value
from .tensor import FUNCTIONS, Tensor
from .tensor.conversion import as_tensor, common
from .tensor.function import Function
from .tensor.outputs import takes_out
from .tensor.pointwise import floats
from .tensor.register import of_tensors
from .tensor.special import grown_bessel_i0, grown_bessel_i1, in_f64
from .tensor.uses import noted

_F = FUNCTIONS
_KNOWN = {
    "digamma": "digamma", "erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "exp2": "exp2", "expit": "sigmoid",
    "expm1": "expm1", "gammainc": "igamma", "gammaincc": "igammac", "gammaln": "lgamma", "i0": "i0", "log1p": "log1p",
    "log_softmax": "log_softmax", "logit": "logit", "logsumexp": "logsumexp", "multigammaln": "mvlgamma",
    "polygamma": "polygamma", "psi": "digamma", "round": "round", "sinc": "sinc", "softmax": "softmax",
    "xlogy": "xlogy",
}  # fmt: skip
globals().update({name: _F[other] for name, other in _KNOWN.items()})


def _function(name: str, build: Callable[[Value], Value], what: str, differentiable: bool = True) -> Any:
    """A function of one tensor by what is made of its value in f64."""

    def f(input: Any) -> Tensor:
        x = floats(as_tensor(input))
        return in_f64(build, x if differentiable else x.detach())

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"{what} Shape of input, floats." + ("" if differentiable else " No gradient.")
    return f


def _times_exp(scaled: Callable[[Value], Value]) -> Callable[[Value], Value]:
    return lambda v: ops.mul(scaled(v), ops.exp(ops.neg(v)))


def _sinc(v: Value) -> Value:
    zero, end = ops.eq(v, 0.0), ops.eq(ops.abs(v), math.inf)
    x = ops.where(ops.logical_or(zero, end), 1.0, v)
    return ops.where(zero, 1.0, ops.where(end, 0.0, ops.div(ops.sin(x), x)))


bessel_j0 = _function("bessel_j0", ops.bessel_j0, "The Bessel function of the first kind, J0.")
bessel_j1 = _function("bessel_j1", ops.bessel_j1, "The Bessel function of the first kind, J1.")
bessel_y0 = _function("bessel_y0", ops.bessel_y0, "The Bessel function of the second kind, Y0.")
bessel_y1 = _function("bessel_y1", ops.bessel_y1, "The Bessel function of the second kind, Y1.")
airy_ai = _function("airy_ai", ops.airy_ai, "The Airy function Ai.", False)
modified_bessel_i0 = _function("modified_bessel_i0", grown_bessel_i0, "The modified Bessel function I0.")
modified_bessel_i1 = _function("modified_bessel_i1", grown_bessel_i1, "The modified Bessel function I1.")
modified_bessel_k0 = _function("modified_bessel_k0", _times_exp(ops.bessel_k0e), "The modified Bessel function K0.")
modified_bessel_k1 = _function("modified_bessel_k1", _times_exp(ops.bessel_k1e), "The modified Bessel function K1.")
scaled_modified_bessel_k0 = _function("scaled_modified_bessel_k0", ops.bessel_k0e, "exp(x) K0(x).")
scaled_modified_bessel_k1 = _function("scaled_modified_bessel_k1", ops.bessel_k1e, "exp(x) K1(x).")
spherical_bessel_j0 = _function("spherical_bessel_j0", _sinc, "sin(x) / x, 1 at 0.")
i0e = _function("i0e", ops.bessel_i0e, "exp(-|x|) I0(x).")
i1 = _function("i1", grown_bessel_i1, "The modified Bessel function I1.")
i1e = _function("i1e", ops.bessel_i1e, "exp(-|x|) I1(x).")
erfcx = _function("erfcx", ops.erfcx, "exp(x^2) erfc(x).")
ndtri = _function("ndtri", ops.ndtri, "The point below which a share x of the normal distribution lies.")


def ndtr(input: Tensor) -> Tensor:
    """The share of the normal distribution below x. Shape of input, floats."""
    return 0.5 * _F["erfc"](floats(input) * -math.sqrt(0.5))


def log_ndtr(input: Tensor) -> Tensor:
    """The logarithm of `ndtr`, of far values too. Shape of input, floats."""
    x = floats(input)
    low = x < -1
    below, above = _F["where"](low, x, -2.0), _F["where"](low, 0.0, x)
    tail = (0.5 * erfcx(below * -math.sqrt(0.5))).log() - below * below * 0.5
    return _F["where"](low, tail, (-0.5 * _F["erfc"](above * math.sqrt(0.5))).log1p())


class _Entropy(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _F["where"](x < 0, -math.inf, -_F["xlogy"](x, _F["where"](x < 0, 1.0, x)))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * (-x.log() - 1)  # infinite at 0, and NaN below


def entr(input: Tensor) -> Tensor:
    """-x log(x): 0 at 0, -infinity below. Shape of input, floats."""
    made: Tensor = _Entropy.apply(floats(input))
    return made


def xlog1py(input: Any, other: Any) -> Tensor:
    """input * log1p(other), 0 where input is 0. Shapes broadcast; floats."""
    x, y = (floats(t) for t in common(input, other)[0])
    nothing = (x == 0) & ((y <= -1) | (y == math.inf))  # elsewhere the product is 0 by itself
    return _F["where"](nothing, 0.0, x * _F["where"](nothing, 0.0, y).log1p())


def zeta(input: Any, other: Any) -> Tensor:
    """Hurwitz' sum of (other + k)^-input over k >= 0, for input > 1: infinite at 1 and where a term is, NaN below 1.
    Shapes broadcast; floats. No gradient."""
    s, q = (floats(t).detach() for t in common(input, other)[0])
    return in_f64(ops.zeta, s, q)


def _polynomials(
    name: str,
    what: str,
    recurrence: Callable[..., Value],
    first: Callable[[Value], Value],
    argument: Callable[[Value], Value] = lambda x: x,
    scale: Callable[[Value], Value] | None = None,
) -> Any:
    """A family by its recurrence at argument(x), with first(x) of degree 1; times scale(degree)."""

    def build(x: Value, degree: Value) -> Value:
        at = argument(x)
        n = ops.trunc(degree)
        y = recurrence(at, first(at), n)
        return y if scale is None else ops.mul(y, scale(n))

    def f(input: Any, n: Any) -> Tensor:
        x, degree = (floats(t).detach() for t in common(input, n)[0])
        return in_f64(build, x, degree)

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"{what} of degree n at input. Shapes broadcast; floats. No gradient."
    return f


def _linear(slope: float, start: float) -> Callable[[Value], Value]:
    return lambda x: ops.add(ops.mul(x, slope), start)


for _kind, _first in (
    ("t", _linear(1.0, 0.0)), ("u", _linear(2.0, 0.0)), ("v", _linear(2.0, -1.0)), ("w", _linear(2.0, 1.0)),
):  # fmt: skip
    for _prefix, _argument in (("", _linear(1.0, 0.0)), ("shifted_", _linear(2.0, -1.0))):
        _name = f"{_prefix}chebyshev_polynomial_{_kind}"
        globals()[_name] = _polynomials(
            _name,
            f"The {_prefix.replace('_', ' ')}Chebyshev polynomial {_kind.upper()}",
            ops.chebyshev_recurrence,
            _first,
            _argument,
        )
hermite_polynomial_he = _polynomials(
    "hermite_polynomial_he", "The probabilists' Hermite polynomial", ops.hermite_recurrence, _linear(1.0, 0.0)
)
hermite_polynomial_h = _polynomials(  # H(n, x) = 2^(n / 2) He(n, sqrt(2) x)
    "hermite_polynomial_h",
    "The physicists' Hermite polynomial",
    ops.hermite_recurrence,
    _linear(1.0, 0.0),
    _linear(math.sqrt(2), 0.0),
    lambda n: ops.exp(ops.mul(n, 0.5 * math.log(2))),
)
laguerre_polynomial_l = _polynomials(
    "laguerre_polynomial_l", "The Laguerre polynomial", ops.laguerre_recurrence, _linear(-1.0, 1.0)
)
legendre_polynomial_p = _polynomials(
    "legendre_polynomial_p", "The Legendre polynomial", ops.legendre_recurrence, _linear(1.0, 0.0)
)

__all__ = [
    *_KNOWN, "airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "entr", "erfcx", "hermite_polynomial_h",
    "hermite_polynomial_he", "i0e", "i1", "i1e", "laguerre_polynomial_l", "legendre_polynomial_p", "log_ndtr",
    "modified_bessel_i0", "modified_bessel_i1", "modified_bessel_k0", "modified_bessel_k1", "ndtr", "ndtri",
    "scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "spherical_bessel_j0", "xlog1py", "zeta",
    *(f"{p}chebyshev_polynomial_{k}" for p in ("", "shifted_") for k in "tuvw"),
]  # fmt: skip

for _public in __all__:
    _f = noted(_public, globals()[_public])
    globals()[_public] = _f if _public in _KNOWN else takes_out(_public, of_tensors(_public, _f))
