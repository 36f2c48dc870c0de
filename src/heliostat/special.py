"""Special functions, with torch.special's names. What no op serves runs on the host, through NumPy in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .tensor import FUNCTIONS, Tensor
from .tensor import bessel as _bessel
from .tensor.core import as_tensor, common, convert
from .tensor.function import Function
from .tensor.gamma import zeta as _zeta
from .tensor.levels import on_host
from .tensor.outputs import takes_out
from .tensor.pointwise import floats
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


def _function(
    name: str, run: Callable[..., Any], what: str, slope: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Any:
    """A function of one tensor on the host; slope(x, y) is its derivative, None where PyTorch has none either."""

    class OnHost(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            y = convert(on_host(run, x.detach()), x.dtype)
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            assert slope is not None
            x, _ = ctx.saved_tensors
            return g * slope(x, f(x))

    def f(input: Any) -> Tensor:
        x = floats(as_tensor(input))
        if slope is None:
            return convert(on_host(run, x.detach()), x.dtype)
        made: Tensor = OnHost.apply(x)
        return made

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"{what} Shape of input, floats; computed on the host." + (" No gradient." if slope is None else "")
    return f


bessel_j0 = _function("bessel_j0", lambda x: _bessel.bessel_j(0, x), "The Bessel function of the first kind, J0.")
bessel_j1 = _function("bessel_j1", lambda x: _bessel.bessel_j(1, x), "The Bessel function of the first kind, J1.")
bessel_y0 = _function("bessel_y0", lambda x: _bessel.bessel_y(0, x), "The Bessel function of the second kind, Y0.")
bessel_y1 = _function("bessel_y1", lambda x: _bessel.bessel_y(1, x), "The Bessel function of the second kind, Y1.")
airy_ai = _function("airy_ai", _bessel.airy_ai, "The Airy function Ai.")
modified_bessel_i0 = _function(
    "modified_bessel_i0", lambda x: _bessel.bessel_i(0, x, False), "The modified Bessel function I0."
)
modified_bessel_i1 = _function(
    "modified_bessel_i1", lambda x: _bessel.bessel_i(1, x, False), "The modified Bessel function I1."
)
modified_bessel_k0 = _function(
    "modified_bessel_k0", lambda x: _bessel.bessel_k(0, x, False), "The modified Bessel function K0."
)
modified_bessel_k1 = _function(
    "modified_bessel_k1", lambda x: _bessel.bessel_k(1, x, False), "The modified Bessel function K1."
)
scaled_modified_bessel_k0 = _function(
    "scaled_modified_bessel_k0", lambda x: _bessel.bessel_k(0, x, True), "exp(x) K0(x)."
)
scaled_modified_bessel_k1 = _function(
    "scaled_modified_bessel_k1", lambda x: _bessel.bessel_k(1, x, True), "exp(x) K1(x)."
)


def _sinc(x: Any) -> Any:
    x = np.asarray(x, np.float64)
    return np.where(np.isinf(x), 0.0, np.sinc(np.where(np.isinf(x), 0.0, x) / np.pi))


i0e: Any
i1: Any
i1e: Any
spherical_bessel_j0 = _function("spherical_bessel_j0", _sinc, "sin(x) / x, 1 at 0.")


def _over(y: Tensor, x: Tensor, at_zero: float) -> Tensor:
    zero = x.abs() < 1e-8  # below, y is rounded to a few digits, and the limit is as good
    made: Tensor = _F["where"](zero, at_zero, y / _F["where"](zero, 1.0, x))
    return made


i0e = _function(
    "i0e", lambda x: _bessel.bessel_i(0, x, True), "exp(-|x|) I0(x).", lambda x, y: i1e(x) - x.sign() * y
)  # fmt: skip
i1 = _function(
    "i1", lambda x: _bessel.bessel_i(1, x, False), "The modified Bessel function I1.",
    lambda x, y: _F["i0"](x) - _over(y, x, 0.5),
)  # fmt: skip
i1e = _function(
    "i1e", lambda x: _bessel.bessel_i(1, x, True), "exp(-|x|) I1(x).",
    lambda x, y: i0e(x) - x.sign() * y - _over(y, x, 0.5),
)  # fmt: skip
erfcx = _function(
    "erfcx", _bessel.erfcx, "exp(x^2) erfc(x).", lambda x, y: 2 * x * y - 2 / math.sqrt(math.pi)
)  # fmt: skip
ndtri = _function(
    "ndtri", _bessel.ndtri, "The point below which a share x of the normal distribution lies.",
    lambda x, y: math.sqrt(2 * math.pi) * (y * y / 2).exp(),
)  # fmt: skip


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

    def run(s: Any, q: Any) -> Any:
        s, q = np.broadcast_arrays(np.asarray(s, np.float64), np.asarray(q, np.float64))
        with np.errstate(all="ignore"):
            steps = np.where(q <= 0, np.floor(-q) + 1, 0)  # terms below 0 go one by one
            total = np.zeros(s.shape)
            for k in range(int(np.nanmax(steps, initial=0))):
                total = total + np.where(k < steps, (q + k) ** -s, 0.0)
            y = total + _zeta(np.where(s > 1, s, 2.0), q + steps)
        y = np.where((q <= 0) & (q == np.floor(q)), np.inf, np.where((q < 0) & (s != np.floor(s)), np.nan, y))
        return np.where(s == 1, np.inf, np.where(s > 1, y, np.nan))

    s, q = (floats(t) for t in common(input, other)[0])
    return convert(on_host(run, s.detach(), q.detach()), s.dtype)


def _polynomials(name: str, what: str, first: Any, step: Any, shifted: bool = False) -> Any:
    def run(x: Any, n: Any) -> Any:
        x = np.asarray(x, np.float64)
        return _bessel.polynomial(first, step, 2 * x - 1 if shifted else x, n)

    def f(input: Any, n: Any) -> Tensor:
        x, degree = (floats(t) for t in common(input, n)[0])
        return convert(on_host(run, x.detach(), degree.detach()), x.dtype)

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"{what} of degree n at input. Shapes broadcast; floats; computed on the host. No gradient."
    return f


def _chebyshev(x: Any, k: int, p: Any, q: Any) -> Any:
    return 2 * x * p - q


for _kind, _first in (
    ("t", lambda x: x), ("u", lambda x: 2 * x), ("v", lambda x: 2 * x - 1), ("w", lambda x: 2 * x + 1),
):  # fmt: skip
    for _prefix in ("", "shifted_"):
        _name = f"{_prefix}chebyshev_polynomial_{_kind}"
        globals()[_name] = _polynomials(
            _name,
            f"The {_prefix.replace('_', ' ')}Chebyshev polynomial {_kind.upper()}",
            _first,
            _chebyshev,
            bool(_prefix),
        )
hermite_polynomial_h = _polynomials(
    "hermite_polynomial_h",
    "The physicists' Hermite polynomial",
    lambda x: 2 * x,
    lambda x, k, p, q: 2 * (x * p - k * q),
)
hermite_polynomial_he = _polynomials(
    "hermite_polynomial_he", "The probabilists' Hermite polynomial", lambda x: x, lambda x, k, p, q: x * p - k * q
)
laguerre_polynomial_l = _polynomials(
    "laguerre_polynomial_l", "The Laguerre polynomial", lambda x: 1 - x,
    lambda x, k, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1),
)  # fmt: skip
legendre_polynomial_p = _polynomials(
    "legendre_polynomial_p", "The Legendre polynomial", lambda x: x,
    lambda x, k, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1),
)  # fmt: skip

__all__ = [
    *_KNOWN, "airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "entr", "erfcx", "hermite_polynomial_h",
    "hermite_polynomial_he", "i0e", "i1", "i1e", "laguerre_polynomial_l", "legendre_polynomial_p", "log_ndtr",
    "modified_bessel_i0", "modified_bessel_i1", "modified_bessel_k0", "modified_bessel_k1", "ndtr", "ndtri",
    "scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "spherical_bessel_j0", "xlog1py", "zeta",
    *(f"{p}chebyshev_polynomial_{k}" for p in ("", "shifted_") for k in "tuvw"),
]  # fmt: skip

for _public in __all__:
    _f = noted(_public, globals()[_public])
    globals()[_public] = _f if _public in _KNOWN else takes_out(_public, _f)
